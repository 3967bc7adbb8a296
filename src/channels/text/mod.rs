//! Texts as channels show them: Markdown becomes messages that fit. Pure.

use crate::channels::delivery::Part;
use crate::limits::{TELEGRAM_FILE_CAPTION_UNITS, TELEGRAM_MESSAGES_MAX};
use crate::protocol::call::Channel;

mod entity_builder;
mod markdown;
pub(super) mod split;
mod table;
mod whatsapp_marks;

/// What `markdown` becomes on a channel: messages that it shows without cutting them, or a file where there
/// would be too many of them for Telegram.
pub(crate) fn compose(channel: Channel, markdown: &str) -> Vec<Part> {
    let parts = markdown::compose(markdown);
    match (channel, parts.first()) {
        (Channel::Telegram, Some(Part::Text { text, .. })) if parts.len() > TELEGRAM_MESSAGES_MAX => {
            vec![file(markdown, text)]
        }
        (Channel::Telegram, _) => parts,
        (Channel::Whatsapp, _) => parts.into_iter().map(whatsapp_marks::mark_part).collect(),
    }
}

/// The whole answer as a file, with the beginning of its text below it.
fn file(markdown: &str, text: &str) -> Part {
    let caption = format!("{}… (all of it is in the file)", split::clip(text, TELEGRAM_FILE_CAPTION_UNITS));
    Part::File { name: "answer.md".to_owned(), text: markdown.to_owned(), caption }
}
