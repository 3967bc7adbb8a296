//! The format of the journal: what a line of it says. How lines are written and read is not known here.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::limits::{OFFSET_MAX, SESSION_KEY_CHARS_MAX};

/// Format of the journal.
pub(super) const VERSION: u32 = 1;

/// What a line of the journal says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum JournalEntry<'a> {
    /// The first line: the format of the journal.
    Journal(u32),
    /// The value of a slot.
    Put {
        slot: String,
        #[serde(borrow)]
        value: &'a RawValue,
    },
    /// A slot and its value are gone.
    Del(String),
    /// A record of a session, at this place of its file.
    App {
        key: String,
        offset: u64,
        #[serde(borrow)]
        record: &'a RawValue,
    },
    /// A session is gone.
    Forget(String),
    /// Several entries, in order, that hold together or not at all.
    All(#[serde(borrow)] Vec<JournalEntry<'a>>),
}

impl JournalEntry<'_> {
    /// Whether its numbers are ones that can be reckoned with, and its keys fit into a session's file.
    pub(super) fn is_sane(&self) -> bool {
        let fits = |key: &str| key.chars().nth(SESSION_KEY_CHARS_MAX).is_none();
        match self {
            Self::App { key, offset, .. } => *offset <= OFFSET_MAX && fits(key),
            Self::Forget(key) => fits(key),
            Self::All(lines) => lines.iter().all(Self::is_sane),
            _ => true,
        }
    }
}
