//! Prepares the messages of a batch that a channel hands over, and keeps which of them were let in. Pure.

use crate::channels::message::{Arrival, Inbound, InboundMedia};
use crate::limits::{MEDIA_MAX, MIME_BYTES_MAX};
use crate::protocol::call::Channel;
use crate::state::model::inbox::{Inbox, InboxId};
use crate::text;

/// The messages of a batch that were let in, until its commit is durable.
#[derive(Debug, Default)]
pub(crate) struct AcceptedBatch {
    pub(crate) inbox_ids: Vec<InboxId>,
    /// Keys of those that are too old to be answered, and done with at once.
    pub(crate) old: Vec<(Channel, String)>,
}

/// Marks all pieces of an album as addressed to the gateway where one is: in a group the caption, and so the
/// mention, is on one piece only.
pub(crate) fn with_addressed_albums(mut arrivals: Vec<Arrival>, inbox: &Inbox) -> Vec<Arrival> {
    let album = |arrival: &Arrival| match arrival {
        Arrival::Message(message) if message.addressed => {
            Some((message.route.clone(), message.from.clone(), message.album.clone()?))
        }
        _ => None,
    };
    let addressed: Vec<_> = arrivals.iter().filter_map(album).collect();
    for arrival in &mut arrivals {
        let Arrival::Message(message) = arrival else { continue };
        let Some(album) = &message.album else { continue };
        let in_batch = addressed
            .iter()
            .any(|(route, from, name)| (route, from, name) == (&message.route, &message.from, album));
        message.addressed |= in_batch || inbox.has_piece_of(&message.route, &message.from, album);
    }
    arrivals
}

/// Cleans a message of what could pass for the gateway's words: names are what people say they are.
pub(crate) fn clean(message: &mut Inbound) {
    let clean = |name: &mut Option<String>| {
        *name = name.as_deref().map(text::name).filter(|name| !name.is_empty());
    };
    clean(&mut message.name);
    message.keep_media(MEDIA_MAX);
    for media in &mut message.media {
        clean(&mut media.name);
        let kind = media.mime_type.as_str();
        if kind.len() > MIME_BYTES_MAX || !kind.bytes().all(|byte| byte.is_ascii_graphic()) {
            "application/octet-stream".clone_into(&mut media.mime_type);
        }
    }
}

/// A picture or file in a few words.
pub(crate) fn describe(media: &InboundMedia) -> String {
    use crate::channels::message::MediaKind;
    let kind = match media.kind {
        MediaKind::Image => "picture",
        MediaKind::Audio => "recording",
        MediaKind::Video => "video",
        MediaKind::Document => "file",
    };
    match &media.name {
        Some(name) => format!("the {kind} `{name}`"),
        None => format!("the {kind}"),
    }
}
