//! Texts as channels show them: Markdown into messages that fit, with their looks. Pure.

mod entity_builder;
pub(super) mod markdown;
pub(super) mod split;
mod table;
pub(super) mod whatsapp_marks;
