//! Pictures for `agent`: read, recognised by their first bytes, encoded.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::exit::Failure;
use crate::limits::PAYLOAD_BYTES_MAX;

/// One attachment of an `agent` request.
pub(crate) fn attachment(path: &Path) -> Result<Value, Failure> {
    let shown = path.display();
    let usage = |text: String| Failure::Usage(text);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(PAYLOAD_BYTES_MAX as u64).read_to_end(&mut bytes))
        .map_err(|error| usage(format!("cannot read the image {shown}: {error}")))?;
    if bytes.len() * 4 / 3 >= PAYLOAD_BYTES_MAX {
        let most = PAYLOAD_BYTES_MAX / 4 * 3 / 1024;
        return Err(usage(format!(
            "the image {shown} is too large: all together may have about {most} KiB; scale it down"
        )));
    }
    let mime =
        mime_type(&bytes).ok_or_else(|| usage(format!("{shown} is no PNG, JPEG, GIF or WebP image")))?;
    let mut attachment = json!({ "type": "image", "mimeType": mime, "content": base64(&bytes) });
    if let Some(name) = path.file_name() {
        attachment["name"] = json!(name.to_string_lossy());
    }
    Ok(attachment)
}

fn mime_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

/// RFC 4648, section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = ALPHABET[(bits >> shift & 63) as usize];
            text.push(if at <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{base64, mime_type};

    #[test]
    fn base64_matches_the_vectors_of_the_rfc() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ];
        for (bytes, text) in vectors {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn only_the_first_bytes_count() {
        assert_eq!(mime_type(b"\x89PNG\r\n\x1a\nrest"), Some("image/png"));
        assert_eq!(mime_type(b"\xff\xd8\xff\xe0"), Some("image/jpeg"));
        assert_eq!(mime_type(b"GIF89a"), Some("image/gif"));
        assert_eq!(mime_type(b"RIFF\0\0\0\0WEBPVP8 "), Some("image/webp"));
        assert_eq!(mime_type(b"<svg/>"), None);
        assert_eq!(mime_type(b""), None);
    }
}
