//! What goes out on a surface, one message at a time, and what became of it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::channels::message::Route;

/// Number that state gives to an attempt; the outcome carries it.
pub type AttemptId = u64;

/// One message of an answer: what the surface shows without cutting it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// Text and its looks.
    #[serde(rename = "t")]
    Text {
        /// What is read.
        text: String,
        /// How it looks, where the surface takes that apart from the text.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        entities: Vec<Entity>,
    },
    /// A picture or file.
    #[serde(rename = "m")]
    Media {
        /// `http(s)://...`, or the path of a file in a folder that the config allows.
        source: String,
        /// Text below it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        caption: String,
    },
    /// A text that is too long for messages, as a file.
    #[serde(rename = "f")]
    File {
        /// What the file is called.
        name: String,
        /// What is in it.
        text: String,
        /// Text below it.
        caption: String,
    },
}

/// A stretch of text that looks different. Telegram's own shape: it is sent as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entity {
    /// `bold`, `italic`, `strikethrough`, `code`, `pre`, `text_link`, `blockquote`
    #[serde(rename = "type")]
    pub kind: String,
    /// First UTF-16 unit.
    pub offset: usize,
    /// UTF-16 units.
    pub length: usize,
    /// Of a `text_link`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Of a `pre`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// One attempt to deliver one part. State has put on record that it is being made.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Echoed in the outcome.
    pub id: AttemptId,
    /// Where to.
    pub route: Route,
    /// The message that this answers.
    pub reply_to: Option<String>,
    /// Id that it is to have, on surfaces where the sender chooses; the same at every attempt.
    pub message_id: String,
    /// What.
    pub part: Part,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptOutcome {
    /// The surface has it.
    Sent {
        /// Its id there.
        message_id: String,
        /// The chat's id there, where the address was a name.
        chat: Option<String>,
    },
    /// Surely not sent, but it may work later.
    NotSent {
        /// Why, for people.
        why: String,
        /// When the surface wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It may have been sent, but the same message id can be tried again without harm.
    Unsure {
        /// Why, for people.
        why: String,
    },
    /// The surface will never take it.
    Refused {
        /// Why, for people.
        why: String,
    },
    /// The request asks for what may not be sent: a fault of whoever asked, surely not sent.
    Invalid {
        /// Why, for people.
        why: String,
    },
    /// The chat has another id now; surely not sent.
    Moved {
        /// The new id.
        chat: String,
    },
    /// It may or may not have been sent: nobody may repeat it.
    Unknown {
        /// Why, for people.
        why: String,
    },
}

/// Not sent, and nobody says when it may work.
pub(crate) fn not_sent(why: impl Into<String>) -> AttemptOutcome {
    AttemptOutcome::NotSent { why: why.into(), retry_after: None }
}

/// Not sent, for good.
pub(crate) fn refused(why: impl Into<String>) -> AttemptOutcome {
    AttemptOutcome::Refused { why: why.into() }
}

/// Not sent, for good: what is asked for may not be sent.
pub(crate) fn invalid(why: impl Into<String>) -> AttemptOutcome {
    AttemptOutcome::Invalid { why: why.into() }
}

/// A picture or file that was fetched.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchedFile {
    /// Where it lies: in a folder that the agent can read.
    pub path: PathBuf,
    /// What it is, by its first bytes where they tell.
    pub mime_type: String,
    /// How large it is.
    pub bytes: u64,
}

impl FetchedFile {
    /// Whether models take it for a picture. Their providers refuse any other kind, and with it
    /// every later prompt of the conversation that has it.
    pub fn is_picture(&self) -> bool {
        matches!(self.mime_type.as_str(), "image/jpeg" | "image/png" | "image/gif" | "image/webp")
    }
}
