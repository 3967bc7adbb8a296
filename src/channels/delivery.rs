//! What goes out on a channel, one message at a time, and what became of it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::channels::message::Route;

/// Number that state gives to an attempt; the outcome carries it.
pub(crate) type AttemptId = u64;

/// A part of an answer: one message, which the channel shows without cutting it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Part {
    /// A text with its entities.
    #[serde(rename = "t")]
    Text {
        text: String,
        /// The entities of the text, where the channel takes them apart from it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        entities: Vec<Entity>,
    },
    /// A picture or file with a caption.
    #[serde(rename = "m")]
    Media {
        /// `http(s)://...`, or the path of a file in a folder that the config allows.
        source: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        caption: String,
    },
    /// A text that is too long for messages, as a file.
    #[serde(rename = "f")]
    File { name: String, text: String, caption: String },
}

/// A stretch of text that looks different. It has Telegram's own shape and is sent as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entity {
    /// `bold`, `italic`, `strikethrough`, `code`, `pre`, `text_link`, `blockquote`
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Its first UTF-16 unit.
    pub(crate) offset: usize,
    /// Length in UTF-16 units.
    pub(crate) length: usize,
    /// Where a `text_link` leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// Language of the code in a `pre`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) language: Option<String>,
}

/// One attempt to deliver one part. State has put on record that it is being made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Attempt {
    pub(crate) id: AttemptId,
    pub(crate) route: Route,
    /// The message that this answers.
    pub(crate) reply_to: Option<String>,
    /// Id that the message is to have, on channels where the sender chooses it; the same at every attempt.
    pub(crate) message_id: String,
    pub(crate) part: Part,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AttemptOutcome {
    /// The channel has the message.
    Sent {
        /// Id of the message on the channel.
        message_id: String,
        /// Id of the chat, where the address was a name.
        chat: Option<String>,
    },
    /// Surely not sent, but it may work later.
    NotSent {
        why: String,
        /// After what pause the channel wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It may have been sent, but the same message id can be tried again without harm.
    Unsure { why: String },
    /// The channel will never take it.
    Refused { why: String },
    /// The request asks for what may not be sent: a fault of whoever asked, surely not sent.
    Invalid { why: String },
    /// The chat has another id now; surely not sent.
    Moved { chat: String },
    /// It may or may not have been sent: nobody may repeat it.
    Unknown { why: String },
}

/// The outcome of an attempt that may work later, nobody says when.
pub(crate) fn not_sent(why: impl Into<String>) -> AttemptOutcome {
    AttemptOutcome::NotSent { why: why.into(), retry_after: None }
}

/// The outcome of an attempt that the channel will never take.
pub(crate) fn refused(why: impl Into<String>) -> AttemptOutcome {
    AttemptOutcome::Refused { why: why.into() }
}

/// The outcome of an attempt to send what may not be sent.
pub(crate) fn invalid(why: impl Into<String>) -> AttemptOutcome {
    AttemptOutcome::Invalid { why: why.into() }
}

/// A picture or file that was fetched.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FetchedFile {
    /// Where it lies: in a folder that the agent can read.
    pub(crate) path: PathBuf,
    /// MIME type, by its first bytes where they tell.
    pub(crate) mime_type: String,
    pub(crate) bytes: u64,
}

impl FetchedFile {
    /// Whether models take it for a picture. Their providers refuse any other kind, and with it
    /// every later prompt of the conversation that has it.
    pub(crate) fn is_picture(&self) -> bool {
        matches!(self.mime_type.as_str(), "image/jpeg" | "image/png" | "image/gif" | "image/webp")
    }
}
