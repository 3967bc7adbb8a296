//! Which channel an address belongs to, and what names a person or group there.

use crate::channels::message::Route;
use crate::protocol::call::Channel;
use crate::protocol::error::WireError;

/// The channel of the address `to`, where the caller named none.
pub(crate) fn channel_of(to: &str) -> Result<Channel, WireError> {
    if is_phone(to) || is_whatsapp_jid(to) {
        return Ok(Channel::Whatsapp);
    }
    if is_telegram(to) {
        return Ok(Channel::Telegram);
    }
    Err(WireError::invalid(
        "`/params/to`: cannot tell the channel; give a phone number as +15550001111 or a WhatsApp jid, \
         telegram:ID, @name or a bare chat id, or name the `channel`",
    ))
}

/// The chat that the address `to` names on a channel.
pub(crate) fn route(channel: Channel, to: &str) -> Result<Route, WireError> {
    let bare = bare_id(channel, to);
    // A phone number stays one: WhatsApp is asked for its address when something is sent.
    let chat = match channel {
        Channel::Telegram if bare.starts_with('@') && is_telegram(&bare) => Ok(bare),
        _ => checked_id(channel, &bare),
    };
    let chat = chat.map_err(|expected| WireError::invalid(format!("`/params/to`: {expected}")))?;
    Ok(Route { channel, chat, topic: None })
}

/// What was typed, without blanks and the channel's name in front of it.
fn bare_id(channel: Channel, typed: &str) -> String {
    let id: String = typed.chars().filter(|character| !character.is_whitespace()).collect();
    id.strip_prefix(&[channel.name(), ":"].concat()).map_or(id.clone(), str::to_owned)
}

/// The direct chat with a person, whose id has the form of [`person_id`]; a group's is its own.
pub(crate) fn chat_of(channel: Channel, person: &str) -> String {
    match (channel, person.strip_prefix('+')) {
        (Channel::Whatsapp, Some(digits)) => format!("{digits}@s.whatsapp.net"),
        _ => person.to_owned(),
    }
}

/// The person behind a direct chat, in the form of [`person_id`]; other chats stay as they are.
pub(crate) fn person_of(channel: Channel, chat: &str) -> String {
    person_id(channel, chat).unwrap_or_else(|_| chat.to_owned())
}

/// The one form in which the id of a person or group is kept and compared: a Telegram id as a number
/// (`-` in front of a group's), a phone number as `+15550001111` (also if given as its jid), any
/// other WhatsApp jid as it is. Fails with what it should look like.
pub(crate) fn person_id(channel: Channel, id: &str) -> Result<String, &'static str> {
    checked_id(channel, &bare_id(channel, id))
}

/// The id in its one form, or what it should look like.
fn checked_id(channel: Channel, id: &str) -> Result<String, &'static str> {
    match channel {
        Channel::Telegram => telegram_id(id),
        Channel::Whatsapp => whatsapp_id(id),
    }
}

/// Whether that id, in the form of [`person_id`], is a chat of several people.
pub(crate) fn is_group(channel: Channel, id: &str) -> bool {
    match channel {
        Channel::Telegram => id.starts_with('-'),
        Channel::Whatsapp => id.ends_with("@g.us"),
    }
}

fn telegram_id(id: &str) -> Result<String, &'static str> {
    if id.starts_with('@') {
        return Err(
            "a Telegram name can change hands; give the numeric id, which `status` lists of whoever \
                    has written and was refused",
        );
    }
    let number = is_number(id.strip_prefix('-').unwrap_or(id)).then(|| id.parse::<i64>().ok());
    match number.flatten() {
        Some(number) if number != 0 => Ok(number.to_string()),
        _ => Err("a Telegram id is a number such as 123456789, or -1001234567890 of a group"),
    }
}

fn whatsapp_id(id: &str) -> Result<String, &'static str> {
    if is_number(id) {
        return Err("a phone number begins with + and the country code, such as +15550001111");
    }
    if is_phone(id) {
        return Ok(id.to_owned());
    }
    let expected = "a WhatsApp id is a phone number such as +15550001111, or a jid such as 123@g.us";
    let (user, server) = id.split_once('@').filter(|_| is_whatsapp_jid(id)).ok_or(expected)?;
    // Behind the colon stands one of the person's devices.
    let person = user.split_once(':').map_or(user, |(person, _)| person);
    match server {
        "s.whatsapp.net" if is_phone(&format!("+{person}")) => Ok(format!("+{person}")),
        "lid" if is_number(person) => Ok(format!("{person}@lid")),
        "g.us" if user.split('-').all(is_number) => Ok(id.to_owned()),
        _ => Err(expected),
    }
}

/// Whether it is `+` and digits, at most the 15 of E.164.
fn is_phone(to: &str) -> bool {
    to.strip_prefix('+').is_some_and(|digits| is_number(digits) && digits.len() <= 15)
}

fn is_whatsapp_jid(to: &str) -> bool {
    to.split_once('@')
        .is_some_and(|(user, server)| !user.is_empty() && matches!(server, "s.whatsapp.net" | "g.us" | "lid"))
}

fn is_telegram(to: &str) -> bool {
    let bare = to.strip_prefix("telegram:").unwrap_or(to);
    if let Some(name) = bare.strip_prefix('@') {
        return !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    }
    is_number(bare.strip_prefix('-').unwrap_or(bare))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::{channel_of, is_group, person_id, person_of, route};
    use crate::protocol::call::Channel;

    #[test]
    fn addresses_tell_their_channel() {
        for to in ["+15550001111", "15550001111@s.whatsapp.net", "123-456@g.us", "99@lid"] {
            assert_eq!(channel_of(to).unwrap(), Channel::Whatsapp, "{to}");
        }
        for to in ["telegram:123", "telegram:-100123", "@durov", "telegram:@durov", "123456789", "-100123"] {
            assert_eq!(channel_of(to).unwrap(), Channel::Telegram, "{to}");
        }
        for to in [
            "",
            "bob",
            "+",
            "+abc",
            "bob@example.com",
            "@",
            "telegram:",
            "+1555 0001111",
            "12a",
            "@s.whatsapp.net",
        ] {
            assert!(channel_of(to).is_err(), "{to}");
        }
    }

    #[test]
    fn messages_find_their_chat() {
        for (to, chat) in [
            ("telegram:123", "123"),
            ("-100123", "-100123"),
            ("@durov", "@durov"),
            ("telegram:@durov", "@durov"),
            ("+1555 000 1111", "+15550001111"),
            ("15550001111@s.whatsapp.net", "+15550001111"),
            ("123-456@g.us", "123-456@g.us"),
        ] {
            assert_eq!(route(channel_of(&to.replace(' ', "")).unwrap(), to).unwrap().chat, chat, "{to}");
        }
        for (channel, to) in
            [(Channel::Telegram, "+1555"), (Channel::Telegram, "@"), (Channel::Whatsapp, "123")]
        {
            let error = route(channel, to).unwrap_err();
            assert!(error.message.starts_with("`/params/to`: "), "{error:?}");
        }
        assert_eq!(person_of(Channel::Whatsapp, "15550001111@s.whatsapp.net"), "+15550001111");
        assert_eq!(person_of(Channel::Telegram, "@durov"), "@durov");
    }

    #[test]
    fn ids_are_kept_in_one_form() {
        for (channel, typed, kept) in [
            (Channel::Telegram, "123456789", "123456789"),
            (Channel::Telegram, " telegram:123 456 789\n", "123456789"),
            (Channel::Telegram, "007", "7"),
            (Channel::Telegram, "-1001234567890", "-1001234567890"),
            (Channel::Whatsapp, "+15550001111", "+15550001111"),
            (Channel::Whatsapp, "whatsapp: +1 555 000 1111", "+15550001111"),
            (Channel::Whatsapp, "15550001111@s.whatsapp.net", "+15550001111"),
            (Channel::Whatsapp, "15550001111:12@s.whatsapp.net", "+15550001111"),
            (Channel::Whatsapp, "99:3@lid", "99@lid"),
            (Channel::Whatsapp, "15550001111-1400000000@g.us", "15550001111-1400000000@g.us"),
        ] {
            assert_eq!(person_id(channel, typed).unwrap(), kept, "{typed}");
            assert_eq!(person_id(channel, kept).unwrap(), kept, "{kept}");
        }
    }

    #[test]
    fn what_is_no_id_is_refused_with_what_to_give() {
        for (channel, typed, expected) in [
            (Channel::Telegram, "@durov", "numeric id"),
            (Channel::Telegram, "+15550001111", "123456789"),
            (Channel::Telegram, "--5", "123456789"),
            (Channel::Telegram, "0", "123456789"),
            (Channel::Telegram, "99999999999999999999", "123456789"),
            (Channel::Telegram, " ", "123456789"),
            (Channel::Whatsapp, "15550001111", "begins with +"),
            (Channel::Whatsapp, "telegram:123", "+15550001111"),
            (Channel::Whatsapp, "+1234567890123456", "+15550001111"),
            (Channel::Whatsapp, "bob@s.whatsapp.net", "+15550001111"),
            (Channel::Whatsapp, "status@broadcast", "+15550001111"),
            (Channel::Whatsapp, "1-@g.us", "+15550001111"),
            (Channel::Whatsapp, ":1@lid", "+15550001111"),
        ] {
            let error = person_id(channel, typed).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn groups_are_known_by_their_id() {
        assert!(is_group(Channel::Telegram, "-100") && is_group(Channel::Whatsapp, "1@g.us"));
        assert!(!is_group(Channel::Telegram, "100") && !is_group(Channel::Whatsapp, "+1555"));
        assert!(!is_group(Channel::Whatsapp, "99@lid"));
    }
}
