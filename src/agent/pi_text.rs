//! Texts of a line of Pi's, taken out of it in pieces of bounded size.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use serde_json::value::RawValue;

use crate::limits::DELTA_BYTES_MAX;
use crate::protocol::cut;

/// The text of a JSON string, cut to so many bytes; `None` if it is no string.
pub(super) fn excerpt(raw: &RawValue, bytes_max: usize) -> Option<String> {
    let written = inner(raw)?;
    // An escape is at most six times as long as what it means.
    let mut text = text(&written[..end_of_piece(written, 6 * bytes_max)])?;
    text.truncate(cut(&text, bytes_max).len());
    Some(text)
}

/// The text of a JSON string in pieces, at least one; with each, whether there are more. What is no
/// string has one empty piece.
pub(super) fn pieces(raw: Option<&RawValue>) -> impl Iterator<Item = (String, bool)> {
    let mut rest = Some(raw.and_then(inner).unwrap_or_default());
    std::iter::from_fn(move || {
        let written = rest?;
        let (piece, more) = written.split_at(end_of_piece(written, DELTA_BYTES_MAX));
        rest = (!more.is_empty()).then_some(more);
        Some((text(piece).unwrap_or_default(), !more.is_empty()))
    })
}

/// What stands between the quotes of a JSON string.
fn inner(raw: &RawValue) -> Option<&str> {
    raw.get().strip_prefix('"')?.strip_suffix('"')
}

/// Where a piece of at most so many bytes ends, without cutting through a character or an escape.
/// Only a single character or escape may be longer than that.
fn end_of_piece(written: &str, bytes_max: usize) -> usize {
    if written.len() <= bytes_max {
        return written.len();
    }
    let bytes = written.as_bytes();
    let mut end = 0;
    loop {
        let next = end + one(&bytes[end..]);
        if next > bytes_max && end > 0 {
            return end;
        }
        end = next;
    }
}

/// Bytes of the first character as it is written; two escapes may be the halves of one.
fn one(written: &[u8]) -> usize {
    match written {
        [b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', _, _, b'\\', b'u', ..] => 12,
        [b'\\', b'u', ..] => 6,
        [b'\\' | 0x80..=0xdf, ..] => 2,
        [0..=0x7f, ..] => 1,
        [0xe0..=0xef, ..] => 3,
        _ => 4,
    }
}

/// The text that is written like that between quotes. JavaScript cuts astral characters in halves and escapes
/// each half, which no UTF-8 text can hold: such a half becomes a replacement character.
fn text(written: &str) -> Option<String> {
    struct Lossy(String);
    impl<'de> Deserialize<'de> for Lossy {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Bytes;
            impl Visitor<'_> for Bytes {
                type Value = Lossy;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a string")
                }
                fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Lossy, E> {
                    Ok(Lossy(String::from_utf8_lossy(bytes).into_owned()))
                }
            }
            from.deserialize_bytes(Bytes)
        }
    }
    serde_json::from_str::<Lossy>(&format!("\"{written}\"")).ok().map(|lossy| lossy.0)
}

#[cfg(test)]
mod tests {
    use super::{end_of_piece, excerpt, one, text};
    use serde_json::value::RawValue;

    #[test]
    fn characters_and_escapes_stay_whole() {
        for (written, bytes) in [
            ("a", 1),
            ("ñ", 2),
            ("€", 3),
            ("🦀", 4),
            ("\\n", 2),
            ("\\\"", 2),
            ("\\u0041", 6),
            ("\\ud83d\\udc00", 12),
            ("\\udc00\\u0041", 6),
            ("\\ud83d!", 6),
        ] {
            assert_eq!(one(format!("{written}tail").as_bytes()), bytes, "{written}");
        }
        let all = "a\\\\ñ\\u00e9\\ud83d\\ude00🦀".repeat(50);
        for bytes_max in 1..60 {
            let (mut rest, mut said) = (all.as_str(), String::new());
            while !rest.is_empty() {
                let end = end_of_piece(rest, bytes_max);
                assert!(end > 0 && (end <= bytes_max || end <= 12));
                said.push_str(&text(&rest[..end]).unwrap());
                rest = &rest[end..];
            }
            assert_eq!(Some(said), text(&all), "{bytes_max}");
        }
    }

    #[test]
    fn excerpts_are_cut_and_only_strings_have_any() {
        let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
        assert_eq!(excerpt(&raw(r#""añb""#), 2).as_deref(), Some("a"));
        assert_eq!(excerpt(&raw(r#""\u00f1b""#), 2).as_deref(), Some("ñ"));
        assert_eq!(excerpt(&raw("\"\""), 2).as_deref(), Some(""));
        for json in ["1", "[34]", "{}", "null"] {
            assert_eq!(excerpt(&raw(json), 9), None, "{json}");
        }
    }
}
