//! Telegram.

mod canvas;
mod content;
pub(crate) mod format;
mod mention;
mod split;
mod table;
mod update;
