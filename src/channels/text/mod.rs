//! Texts as channels show them: Markdown becomes messages that fit. Pure.

use crate::channels::delivery::{Entity, Part};
use crate::limits::{TELEGRAM_FILE_CAPTION_UNITS, TELEGRAM_MESSAGES_MAX};
use crate::protocol::call::Channel;

mod entity_builder;
mod markdown;
pub(super) mod split;
mod table;

/// What `markdown` becomes on a channel: messages that it shows without cutting them, or a file where there
/// would be too many of them for Telegram.
pub(crate) fn compose(channel: Channel, markdown: &str) -> Vec<Part> {
    let parts = markdown::compose(markdown);
    match (channel, parts.first()) {
        (Channel::Telegram, Some(Part::Text { text, .. })) if parts.len() > TELEGRAM_MESSAGES_MAX => {
            vec![file(markdown, text)]
        }
        (Channel::Telegram, _) => parts,
        (Channel::Whatsapp, _) => parts.into_iter().map(with_marks).collect(),
    }
}

/// The whole answer as a file, with the beginning of its text below it.
fn file(markdown: &str, text: &str) -> Part {
    let caption = format!("{}… (all of it is in the file)", split::clip(text, TELEGRAM_FILE_CAPTION_UNITS));
    Part::File { name: "answer.md".to_owned(), text: markdown.to_owned(), caption }
}

/// The part as WhatsApp shows it: with marks in its text in place of entities, `*bold*`, `_italic_`, `~struck~`, and
/// backquotes around code.
fn with_marks(part: Part) -> Part {
    match part {
        Part::Text { text, entities } => Part::Text { text: mark(&text, &entities), entities: Vec::new() },
        file @ (Part::Media { .. } | Part::File { .. }) => file,
    }
}

/// Puts the marks in. An entity that ends in white space or has none of our marks stays plain.
fn mark(text: &str, entities: &[Entity]) -> String {
    let mut marks: Vec<(usize, i64, String)> = Vec::new();
    for entity in entities {
        let end = entity.offset + entity.length;
        let (open, close) = match entity.kind.as_str() {
            "bold" => ("*".to_owned(), "*".to_owned()),
            "italic" => ("_".to_owned(), "_".to_owned()),
            "strikethrough" => ("~".to_owned(), "~".to_owned()),
            "code" => ("`".to_owned(), "`".to_owned()),
            "pre" => ("```\n".to_owned(), "\n```".to_owned()),
            "text_link" => {
                (String::new(), entity.url.as_ref().map_or_else(String::new, |url| format!(" ({url})")))
            }
            _ => continue,
        };
        // At one place what closes comes before what opens, and the inner closes before the outer.
        let length = i64::try_from(entity.length).unwrap_or(i64::MAX);
        marks.push((entity.offset, i64::MAX - length, open));
        marks.push((end, length - i64::MAX, close));
    }
    marks.sort_by_key(|(at, order, _)| (*at, *order));
    let mut marked = String::with_capacity(text.len() + 4 * marks.len());
    let mut marks = marks.into_iter().peekable();
    let mut at = 0;
    for character in text.chars() {
        while let Some((_, _, mark)) = marks.next_if(|(place, ..)| *place <= at) {
            marked.push_str(&mark);
        }
        marked.push(character);
        at += character.len_utf16();
    }
    for (_, _, mark) in marks {
        marked.push_str(&mark);
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::mark;
    use crate::channels::delivery::Entity;

    fn entity(kind: &str, offset: usize, length: usize) -> Entity {
        Entity { kind: kind.into(), offset, length, url: Some("http://x".into()), language: None }
    }

    #[test]
    fn marks_stand_around_what_they_mean() {
        for (text, entities, marked) in [
            ("so bold", vec![entity("bold", 3, 4)], "so *bold*"),
            ("😀 hi you", vec![entity("italic", 3, 2), entity("code", 6, 3)], "😀 _hi_ `you`"),
            ("ab", vec![entity("bold", 0, 2), entity("italic", 0, 1)], "*_a_b*"),
            ("ab", vec![entity("bold", 0, 1), entity("italic", 1, 1)], "*a*_b_"),
            ("x", vec![entity("pre", 0, 1)], "```\nx\n```"),
            ("here", vec![entity("text_link", 0, 4)], "here (http://x)"),
            ("q", vec![entity("blockquote", 0, 1)], "q"),
        ] {
            assert_eq!(mark(text, &entities), marked);
        }
    }
}
