//! Takes bot tokens out of texts, whoever wrote them: the last line of defence, not the first.

use std::borrow::Cow;

/// What stands in a token's place.
const MARK: &str = "<redacted>";
/// Characters behind the colon of a token that stands alone; Telegram's have 35.
const BARE_SECRET_MIN: usize = 30;

/// `bot123:secret`, as in URLs, becomes `bot<redacted>`; and so does a token without `bot` before
/// it, if it is as long as tokens are. The colon may be encoded (`%3A`).
pub(crate) fn redact(text: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let mut copied = 0;
    let mut at = 0;
    let bytes = text.as_bytes();
    while at < bytes.len() {
        let begins = bytes[at].is_ascii_digit() && (at == 0 || !bytes[at - 1].is_ascii_digit());
        match begins.then(|| token_end(&bytes[at..], text[..at].ends_with("bot"))).flatten() {
            Some(length) => {
                clean.push_str(&text[copied..at]);
                clean.push_str(MARK);
                at += length;
                copied = at;
            }
            None => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    clean.push_str(&text[copied..]);
    Cow::Owned(clean)
}

/// Length of the token that begins here, if one does.
fn token_end(bytes: &[u8], in_url: bool) -> Option<usize> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = &bytes[digits..];
    let colon = match rest {
        [b':', ..] => 1,
        [b'%', b'3', b'A' | b'a', ..] => 3,
        _ => return None,
    };
    let secret = rest[colon..].iter().take_while(|byte| is_secret(**byte)).count();
    (secret >= if in_url { 1 } else { BARE_SECRET_MIN }).then_some(digits + colon + secret)
}

fn is_secret(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn tokens_go() {
        let token = "123456789:AAE-abcdefghijklmnopqrstuvwxyz_0123";
        for (text, clean) in [
            (format!("GET https://x/bot{token}/getMe failed"), "GET https://x/bot<redacted>/getMe failed"),
            (
                format!("/file/bot{token}/a.jpg and bot4:gramlab_x!"),
                "/file/bot<redacted>/a.jpg and bot<redacted>!",
            ),
            (format!("it is {token}, {token}"), "it is <redacted>, <redacted>"),
            (format!("bot{}", token.replace(':', "%3A")), "bot<redacted>"),
            ("é bot7:ü".to_owned(), "é bot7:ü"),
        ] {
            assert_eq!(redact(&text), clean);
        }
    }

    #[test]
    fn other_texts_stay() {
        for text in ["", "at 12:30:45Z", "127.0.0.1:8080", "robot 5: beep", "key dm:telegram:123456", "😀1:2"]
        {
            assert_eq!(redact(text), text);
        }
    }
}
