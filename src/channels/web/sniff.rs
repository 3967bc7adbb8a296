//! What a file is, by its first bytes: names and senders' claims are not to be trusted. Pure,
//! but for the reading of those bytes.

use std::io::{self, Read};

use crate::channels::message::MediaKind;

/// First bytes of a file that are enough to tell.
const HEAD_BYTES: u64 = 16;

/// MIME type of a file of which nobody can tell what it is.
pub(crate) const UNKNOWN: &str = "application/octet-stream";

/// Reads the first bytes of a file, as many as are enough to tell.
pub(crate) fn read_head(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(head)
}

/// The MIME type of a file that somebody sent, who claims another. What does not begin like any picture is none,
/// whatever its sender says.
pub(crate) fn received_type<'a>(head: &[u8], claimed: &'a str) -> &'a str {
    mime_type(head).unwrap_or(if claimed.starts_with("image/") { UNKNOWN } else { claimed })
}

/// The MIME type of a file that begins like that, if its first bytes tell.
pub(crate) fn mime_type(head: &[u8]) -> Option<&'static str> {
    let container = |at: usize| head.get(at..at + 4);
    match head {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'%', b'P', b'D', b'F', ..] => Some("application/pdf"),
        [b'O', b'g', b'g', b'S', ..] => Some("audio/ogg"),
        [b'I', b'D', b'3', ..] | [0xff, 0xfb | 0xf3 | 0xf2, ..] => Some("audio/mpeg"),
        [b'P', b'K', 3, 4, ..] => Some("application/zip"),
        [b'R', b'I', b'F', b'F', ..] if container(8) == Some(b"WEBP") => Some("image/webp"),
        [b'R', b'I', b'F', b'F', ..] if container(8) == Some(b"WAVE") => Some("audio/wav"),
        _ if container(4) == Some(b"ftyp") && container(8) == Some(b"heic") => Some("image/heic"),
        _ if container(4) == Some(b"ftyp") && container(8) == Some(b"M4A ") => Some("audio/mp4"),
        _ if container(4) == Some(b"ftyp") => Some("video/mp4"),
        _ => None,
    }
}

/// The kind of media that has that MIME type.
pub(crate) fn kind(mime_type: &str) -> MediaKind {
    match mime_type.split_once('/') {
        Some(("image", _)) => MediaKind::Image,
        Some(("audio", _)) => MediaKind::Audio,
        Some(("video", _)) => MediaKind::Video,
        _ => MediaKind::Document,
    }
}

/// The extension of a file's name for that MIME type, if it is one of the known ones.
pub(crate) fn extension(mime_type: &str) -> Option<&'static str> {
    Some(match mime_type {
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/heic" => "heic",
        "application/pdf" => "pdf",
        "audio/ogg" => "ogg",
        "audio/mpeg" => "mp3",
        "audio/mp4" => "m4a",
        "audio/wav" => "wav",
        "video/mp4" => "mp4",
        "application/zip" => "zip",
        "text/plain" => "txt",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::{extension, mime_type};

    #[test]
    fn first_bytes_tell() {
        for (head, expected) in [
            (&b"\xff\xd8\xff\xe0\0\x10JFIF"[..], Some("image/jpeg")),
            (b"\x89PNG\r\n\x1a\n", Some("image/png")),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"RIFF\0\0\0\0WAVEfmt ", Some("audio/wav")),
            (b"OggS\0\x02", Some("audio/ogg")),
            (b"\0\0\0\x20ftypisom", Some("video/mp4")),
            (b"\0\0\0\x20ftypM4A ", Some("audio/mp4")),
            (b"RIFF", None),
            (b"#!/bin/sh", None),
            (b"", None),
        ] {
            assert_eq!(mime_type(head), expected, "{head:?}");
            assert!(expected.is_none_or(|expected| extension(expected).is_some()));
        }
    }
}
