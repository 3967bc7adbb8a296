//! Which surface an address belongs to.

use crate::protocol::call::Channel;
use crate::protocol::error::WireError;

/// The surface of `to`, where the caller named none.
pub fn channel_of(to: &str) -> Result<Channel, WireError> {
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

/// `+` and digits: E.164 has 15 at most.
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
    use super::channel_of;
    use crate::protocol::call::Channel;

    #[test]
    fn addresses_tell_their_surface() {
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
}
