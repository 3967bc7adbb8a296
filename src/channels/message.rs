//! What comes in on a surface, made equal for all surfaces. Stored as it is, so names are short and
//! additions need defaults.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::protocol::call::Channel;
pub use crate::protocol::event::MediaKind;

/// Where answers go: fixed when a message is admitted and never looked up again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// The surface.
    pub channel: Channel,
    /// Chat id, or jid.
    pub chat: String,
    /// Topic of a forum; the general one has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

/// One message from a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inbound {
    /// Unique on its surface for good, such as `BOT/UPDATE`; what comes twice is known by it. Names nobody.
    pub key: String,
    /// Where it came from and its answer goes.
    pub route: Route,
    /// A note to oneself: from the account that the gateway itself has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_self: bool,
    /// A chat of several people.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_group: bool,
    /// Who wrote it: user id, or phone number with `+`.
    pub from: String,
    /// What that person is called there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its id in that chat.
    pub message_id: String,
    /// When it was written, in milliseconds since 1970, by the surface's clock.
    pub ts: u64,
    /// Its text or caption, without the mention of us.
    pub text: String,
    /// What the text is, where it does not say so itself, in our words: `forwarded from Ann`, `a place`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// A direct chat, a mention, a reply to us or a command for us.
    pub addressed: bool,
    /// Beginning of the message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoted: Option<String>,
    /// Pictures and files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<InboundMedia>,
    /// Messages with the same album are one message in several pieces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub album: Option<String>,
    /// What was in it that cannot be given to the agent: `a sticker`, `a picture of 31 MB (20 at most)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
}

impl Inbound {
    /// Leaves out pictures and files beyond so many; its sender is told so.
    pub fn keep_media(&mut self, max: usize) {
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
    pub fn shown_text(&self) -> String {
        match &self.about {
            Some(about) if self.text.trim().is_empty() => format!("[{about}]"),
            Some(about) => format!("[{about}] {}", self.text),
            None => self.text.clone(),
        }
    }
}

/// An [`Inbound::key`] for surfaces whose own would name people: it stays on record longer than what they
/// said.
pub fn anonymous_key(of: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(of)[..16])
}

/// A picture or file that has not been fetched yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InboundMedia {
    /// Which kind.
    pub kind: MediaKind,
    /// As the surface says.
    pub mime_type: String,
    /// Name of the file, if it has one; not to be trusted as a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// As the surface says; 0 if it does not.
    pub bytes: u64,
    /// What the surface needs to fetch it.
    pub handle: String,
}

/// One thing that a surface handed over.
#[derive(Debug, Clone, PartialEq)]
pub enum Arrival {
    /// Somebody wrote.
    Message(Box<Inbound>),
    /// A chat has got another id.
    Migrated {
        /// Unique, as [`Inbound::key`].
        key: String,
        /// Its old id.
        from: String,
        /// Its new one.
        to: String,
    },
    /// What cannot be understood; kept for a person to look at.
    Garbled {
        /// Unique, as [`Inbound::key`].
        key: String,
        /// Why not.
        why: String,
        /// Its beginning.
        raw: String,
    },
}

/// What a surface hands over at once. It goes on only when all of it is durable.
#[derive(Debug)]
pub struct Batch {
    /// The surface.
    pub channel: Channel,
    /// In order.
    pub arrivals: Vec<Arrival>,
    /// Name and value of the cursor to go on from, durable together with the arrivals.
    pub cursor: Option<(String, String)>,
}
