//! The content of a message: text, files that can be fetched, and what cannot be given to the agent. Pure.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::channels::message::{InboundMedia, MediaKind, too_large};
use crate::channels::telegram::mention::MessageEntity;
use crate::channels::web::sniff;

/// The members of a message that have content.
#[derive(Deserialize)]
pub(super) struct Body {
    pub(super) text: Option<String>,
    pub(super) caption: Option<String>,
    #[serde(default)]
    pub(super) entities: Vec<MessageEntity>,
    #[serde(default)]
    pub(super) caption_entities: Vec<MessageEntity>,
    #[serde(default)]
    photo: Vec<File>,
    document: Option<File>,
    animation: Option<File>,
    audio: Option<File>,
    voice: Option<File>,
    video: Option<File>,
    location: Option<Location>,
    venue: Option<Venue>,
    contact: Option<Contact>,
    sticker: Option<IgnoredAny>,
    video_note: Option<IgnoredAny>,
    poll: Option<IgnoredAny>,
    dice: Option<IgnoredAny>,
    game: Option<IgnoredAny>,
    story: Option<IgnoredAny>,
    invoice: Option<IgnoredAny>,
    paid_media: Option<IgnoredAny>,
    checklist: Option<IgnoredAny>,
}

/// The content as state takes it.
pub(super) struct Content {
    pub(super) text: String,
    /// What the text is, where it is none that was written: `a place`.
    pub(super) about: Option<String>,
    pub(super) media: Vec<InboundMedia>,
    pub(super) left_out: Option<String>,
}

/// Takes the content out of a message. Files of more than `media_bytes_max` are not fetched.
pub(super) fn extract(body: &Body, media_bytes_max: u64) -> Content {
    let mut media = Vec::new();
    let mut left_out = Vec::new();
    let mut take = |what: &str, file: &File, kind: MediaKind, mime_default: &str| {
        if file.bytes > media_bytes_max {
            left_out.push(too_large(what, file.bytes, media_bytes_max));
        } else {
            media.push(file.media(kind, mime_default));
        }
    };
    // The photos are sizes of one picture: the largest that fits is taken.
    let fits = |file: &&File| file.bytes <= media_bytes_max;
    let photo = body.photo.iter().filter(fits).max_by_key(|photo| photo.width.saturating_mul(photo.height));
    if let Some(photo) = photo.or(body.photo.first()) {
        take("a picture", photo, MediaKind::Image, "image/jpeg");
    }
    if let Some(file) = &body.animation {
        // Telegram sends an animation as a document, too.
        take("an animation", file, MediaKind::Video, "video/mp4");
    } else if let Some(file) = &body.document {
        let kind = sniff::kind(file.mime_type.as_deref().unwrap_or_default());
        take("a file", file, kind, sniff::UNKNOWN);
    }
    let rest = [
        ("a piece of music", &body.audio, MediaKind::Audio, "audio/mpeg"),
        ("a voice message", &body.voice, MediaKind::Audio, "audio/ogg"),
        ("a video", &body.video, MediaKind::Video, "video/mp4"),
    ];
    for (what, file, kind, mime_default) in rest {
        if let Some(file) = file {
            take(what, file, kind, mime_default);
        }
    }
    left_out.extend(unsupported(body).map(str::to_owned));
    let left_out = (!left_out.is_empty()).then(|| left_out.join(", "));
    let (about, text) = text_of(body);
    Content { text, about: about.map(str::to_owned), media, left_out }
}

fn unsupported(body: &Body) -> Option<&'static str> {
    let kinds = [
        (&body.sticker, "a sticker"),
        (&body.video_note, "a video note"),
        (&body.poll, "a poll"),
        (&body.dice, "a die"),
        (&body.game, "a game"),
        (&body.story, "a story"),
        (&body.invoice, "an invoice"),
        (&body.paid_media, "paid media"),
        (&body.checklist, "a checklist"),
    ];
    kinds.into_iter().find_map(|(member, name)| member.is_some().then_some(name))
}

/// The text of a message, or what can be said in words of its content, and what that is.
fn text_of(body: &Body) -> (Option<&'static str>, String) {
    if let Some(text) = body.text.as_ref().or(body.caption.as_ref()) {
        return (None, text.clone());
    }
    if let Some(Venue { location, title, address }) = &body.venue {
        return (Some("a place"), format!("{title}, {address}, {}", location.words()));
    }
    if let Some(location) = &body.location {
        return (Some("a place"), location.words());
    }
    if let Some(contact) = &body.contact {
        let name = [Some(&contact.first_name), contact.last_name.as_ref()];
        let name: Vec<&str> = name.into_iter().flatten().map(String::as_str).collect();
        return (Some("a contact"), format!("{}, {}", name.join(" "), contact.phone_number));
    }
    (None, String::new())
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "file_id")]
    id: String,
    #[serde(default, rename = "file_size")]
    bytes: u64,
    mime_type: Option<String>,
    #[serde(rename = "file_name")]
    name: Option<String>,
    #[serde(default)]
    width: u64,
    #[serde(default)]
    height: u64,
}

impl File {
    fn media(&self, kind: MediaKind, mime_default: &str) -> InboundMedia {
        InboundMedia {
            kind,
            mime_type: self.mime_type.clone().unwrap_or_else(|| mime_default.to_owned()),
            name: self.name.clone(),
            bytes: self.bytes,
            handle: self.id.clone(),
        }
    }
}

#[derive(Deserialize)]
struct Location {
    latitude: f64,
    longitude: f64,
}

impl Location {
    fn words(&self) -> String {
        format!("{:.6}, {:.6}", self.latitude, self.longitude)
    }
}

#[derive(Deserialize)]
struct Venue {
    location: Location,
    title: String,
    address: String,
}

#[derive(Deserialize)]
struct Contact {
    phone_number: String,
    first_name: String,
    last_name: Option<String>,
}
