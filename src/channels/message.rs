//! What comes in on a channel, in the same form for all channels. It is stored as it is, so names are short
//! and additions need defaults.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::names;
use crate::protocol::call::Channel;
pub(crate) use crate::protocol::event::MediaKind;

/// Where answers go: fixed when a message is admitted and never looked up again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Route {
    pub(crate) channel: Channel,
    /// Id of the chat: Telegram's number, or a jid of WhatsApp.
    pub(crate) chat: String,
    /// Topic of a forum; the general one has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) topic: Option<String>,
}

/// A message from a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inbound {
    /// Unique on its channel for good, such as `BOT/UPDATE`: a message that comes twice is known by it. It
    /// holds nothing that names a person.
    pub(crate) key: String,
    /// The chat that it came from, to which its answer goes.
    pub(crate) route: Route,
    /// Whether it is a note to oneself: from the account that the gateway itself has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_self: bool,
    /// Whether the chat is one of several people.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_group: bool,
    /// Who wrote it: user id, or phone number with `+`.
    pub(crate) from: String,
    /// The name of that person on the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Its id in that chat.
    pub(crate) message_id: String,
    /// When it was written, in milliseconds since 1970, by the channel's clock.
    pub(crate) ts: u64,
    /// Its text or caption, without the mention of us.
    pub(crate) text: String,
    /// What the text is, where it does not say so itself, in our words: `forwarded from Ann`, `a place`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) about: Option<String>,
    /// Whether it is for us: a direct chat, a mention, a reply to us or a command for us.
    pub(crate) addressed: bool,
    /// Beginning of the message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) quoted: Option<String>,
    /// Its pictures and files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) media: Vec<InboundMedia>,
    /// Messages of one album are one message in several pieces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) album: Option<String>,
    /// What was in it that cannot be given to the agent: `a sticker`, `a picture of 31 MB (20 at most)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_out: Option<String>,
}

impl Inbound {
    /// Leaves out pictures and files beyond so many; its sender is told so.
    pub(crate) fn keep_media(&mut self, max: usize) {
        let excess = self.media.len().saturating_sub(max);
        if excess == 0 {
            return;
        }
        self.media.truncate(max);
        let told = format!("{excess} more pictures or files (I take {max} with a message)");
        let before = self.left_out.take().map(|before| format!("{before}, "));
        self.left_out = Some(before.unwrap_or_default() + &told);
    }

    /// Its text as people are shown it.
    pub(crate) fn shown_text(&self) -> String {
        match &self.about {
            Some(about) if self.text.trim().is_empty() => format!("[{about}]"),
            Some(about) => format!("[{about}] {}", self.text),
            None => self.text.clone(),
        }
    }
}

/// An [`Inbound::key`] for channels whose own would name people: it stays on record longer than what they
/// said.
pub(crate) fn anonymous_key(of: &str) -> String {
    names::digest(of, 16)
}

/// A picture or file that has not been fetched yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InboundMedia {
    pub(crate) kind: MediaKind,
    /// MIME type that the channel tells.
    pub(crate) mime_type: String,
    /// Name of the file, if it has one; not to be trusted as a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Size that the channel tells; 0 if it does not.
    pub(crate) bytes: u64,
    /// What the channel needs to fetch it.
    pub(crate) handle: String,
}

#[cfg(test)]
impl InboundMedia {
    /// A picture or file without a name, for tests.
    pub(crate) fn nameless(kind: MediaKind, mime_type: &str, bytes: u64) -> Self {
        Self { kind, mime_type: mime_type.to_owned(), name: None, bytes, handle: "f".to_owned() }
    }
}

/// Words for [`Inbound::left_out`] about a file that is larger than `bytes_max`.
pub(crate) fn too_large(what: &str, bytes: u64, bytes_max: u64) -> String {
    let megabyte = 1024 * 1024;
    format!("{what} of {} MB ({} at most)", bytes.div_ceil(megabyte), bytes_max / megabyte)
}

/// An order to fetch a picture or file of a message.
#[derive(Debug, Clone)]
pub(crate) struct Fetch {
    /// [`Inbound::key`] of the message.
    pub(crate) key: String,
    /// Which of [`Inbound::media`] it is.
    pub(crate) index: usize,
    pub(crate) channel: Channel,
    pub(crate) media: InboundMedia,
    /// A folder of the gateway's own for what people send, made if it is not there.
    pub(crate) folder: PathBuf,
}

/// One thing that a channel hands over.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Arrival {
    /// Somebody has written.
    Message(Box<Inbound>),
    /// A chat has got another id.
    Migrated { key: String, from: String, to: String },
    /// Something cannot be understood; it is kept for a person to look at.
    Garbled { key: String, why: String, raw: String },
}

/// What a channel hands over at once. It goes on only when all of it is durable.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) channel: Channel,
    pub(crate) arrivals: Vec<Arrival>,
    /// Name and value of the cursor to go on from, durable together with the arrivals.
    pub(crate) cursor: Option<(String, String)>,
}
