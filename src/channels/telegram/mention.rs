//! Which bot a text is for, by its mentions and commands, and the text without our bot's name. Pure.

use serde::Deserialize;

use crate::channels::telegram::api::BotAccount;

/// An entity of a text, in UTF-16 units.
#[derive(Debug, Deserialize)]
pub(super) struct MessageEntity {
    #[serde(rename = "type")]
    kind: String,
    offset: usize,
    length: usize,
    user: Option<Mentioned>,
}

#[derive(Debug, Deserialize)]
struct Mentioned {
    id: i64,
}

/// Which bot a text is for.
#[derive(Debug, PartialEq)]
pub(super) enum Addressing {
    /// It is for our bot.
    ThisBot {
        /// The text without our bot's name.
        text: String,
    },
    /// It is a command for another bot, whoever else is mentioned.
    OtherBot,
    /// It names no bot.
    Nobody,
}

/// Reads the mentions and commands in `text`. Entities beyond the text do not count.
pub(super) fn address(text: &str, entities: &[MessageEntity], bot: &BotAccount) -> Addressing {
    let mut ours: Vec<(usize, usize)> = Vec::new();
    let mut addressed = false;
    for entity in entities {
        let Some((start, end)) = bytes_of(text, entity) else { continue };
        let covered = &text[start..end];
        match entity.kind.as_str() {
            "mention" if is_bot_name(covered.strip_prefix('@').unwrap_or(covered), bot) => {
                addressed = true;
                ours.push((start, end));
            }
            "text_mention" if entity.user.as_ref().is_some_and(|user| user.id == bot.id) => {
                addressed = true;
                ours.push((start, end));
            }
            "bot_command" => match covered.split_once('@') {
                Some((command, name)) if is_bot_name(name, bot) => {
                    addressed = true;
                    ours.push((start + command.len(), end));
                }
                Some(_) if start == 0 => return Addressing::OtherBot,
                None if start == 0 => addressed = true,
                Some(_) | None => {}
            },
            _ => {}
        }
    }
    if addressed { Addressing::ThisBot { text: without(text, &ours) } } else { Addressing::Nobody }
}

fn is_bot_name(name: &str, bot: &BotAccount) -> bool {
    !bot.username.is_empty() && name.eq_ignore_ascii_case(&bot.username)
}

/// The bytes of an entity, if it lies in the text and between characters.
fn bytes_of(text: &str, entity: &MessageEntity) -> Option<(usize, usize)> {
    let last = entity.offset.checked_add(entity.length)?;
    let (mut start, mut end) = (None, None);
    let mut unit = 0;
    for (at, character) in text.char_indices().chain([(text.len(), '\0')]) {
        start = start.or((unit == entity.offset).then_some(at));
        end = end.or((unit == last).then_some(at));
        if unit > last {
            break;
        }
        unit += character.len_utf16();
    }
    Some((start?, end?))
}

/// The text without these stretches, and without what only served to attach them.
fn without(text: &str, stretches: &[(usize, usize)]) -> String {
    let mut left = String::with_capacity(text.len());
    let mut at = 0;
    for &(start, end) in stretches {
        if start < at {
            continue;
        }
        left.push_str(&text[at..start]);
        at = end;
        // `hey @bot, you`: one blank, no comma at the beginning.
        if left.trim().is_empty() {
            at += text[at..].len() - text[at..].trim_start_matches([',', ':', ' ']).len();
        } else if left.ends_with(' ') && text[at..].starts_with(' ') {
            at += 1;
        }
    }
    left.push_str(&text[at..]);
    left.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Addressing, address};
    use crate::channels::telegram::api::BotAccount;

    fn addressing(text: &str, spans: Value) -> Addressing {
        let bot = BotAccount { id: 42, username: "OurBot".to_owned(), can_read_all_group_messages: false };
        address(text, &serde_json::from_value::<Vec<_>>(spans).unwrap(), &bot)
    }

    fn us(text: &str) -> Addressing {
        Addressing::ThisBot { text: text.to_owned() }
    }

    fn span(kind: &str, offset: usize, length: usize) -> Value {
        json!([{"type": kind, "offset": offset, "length": length}])
    }

    #[test]
    fn our_name_calls_us_and_is_taken_out() {
        assert_eq!(addressing("@ourbot, what is it?", span("mention", 0, 7)), us("what is it?"));
        assert_eq!(addressing("😀 hey @OurBot you", span("mention", 7, 7)), us("😀 hey you"));
        assert_eq!(addressing("thanks @OURBOT", span("mention", 7, 7)), us("thanks"));
        assert_eq!(addressing("@OurBot", span("mention", 0, 7)), us(""));
        let named = json!([{"type": "text_mention", "offset": 0, "length": 3, "user": {"id": 42, "first_name": "Bot"}}]);
        assert_eq!(addressing("Bot: hi", named), us("hi"));
        let twice = json!([{"type": "mention", "offset": 0, "length": 7}, {"type": "mention", "offset": 8, "length": 7}]);
        assert_eq!(addressing("@OurBot @OurBot hi", twice), us("hi"));
    }

    #[test]
    fn other_names_do_not() {
        assert_eq!(addressing("@OurBot2 hi", span("mention", 0, 8)), Addressing::Nobody);
        assert_eq!(addressing("a@OurBot.de", span("email", 0, 11)), Addressing::Nobody);
        assert_eq!(
            addressing("@OurBot", json!([])),
            Addressing::Nobody,
            "only what Telegram took for a mention"
        );
        let named = json!([{"type": "text_mention", "offset": 0, "length": 3, "user": {"id": 43}}]);
        assert_eq!(addressing("Bob hi", named), Addressing::Nobody);
    }

    #[test]
    fn commands() {
        assert_eq!(addressing("/new@OurBot now", span("bot_command", 0, 11)), us("/new now"));
        assert_eq!(addressing("/new now", span("bot_command", 0, 4)), us("/new now"));
        assert_eq!(addressing("/new@Other now", span("bot_command", 0, 10)), Addressing::OtherBot);
        assert_eq!(addressing("say /new", span("bot_command", 4, 4)), Addressing::Nobody);
        assert_eq!(addressing("say /new@Other", span("bot_command", 4, 10)), Addressing::Nobody);
    }

    #[test]
    fn spans_that_cannot_be_are_passed_over() {
        for (offset, length) in [(0, 100), (100, 1), (usize::MAX, 2), (1, 6), (0, 1)] {
            assert_eq!(addressing("😀@OurBot", span("mention", offset, length)), Addressing::Nobody);
        }
    }
}
