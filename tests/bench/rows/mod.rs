//! The measurements, one module per kind of question. Each module has a `rows` function.

pub(crate) mod agent;
pub(crate) mod crowd;
pub(crate) mod fanout;
pub(crate) mod idle;
pub(crate) mod project;
pub(crate) mod requests;
pub(crate) mod start;
pub(crate) mod whatsapp;
