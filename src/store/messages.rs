//! What state tells the store to write, and what the store tells state. What is in the values and records the store
//! does not know, nor who handles its events, and how.

use crate::protocol::payload::StorageHealth;

/// Number that state gives to a command; the event that ends the command bears it.
pub(crate) type Ticket = u64;

/// Operations that become durable together or not at all.
#[derive(Debug, PartialEq)]
pub(crate) struct StoreCommand {
    pub(crate) ticket: Ticket,
    /// In the order in which they are carried out.
    pub(crate) ops: Vec<StoreOp>,
}

impl StoreCommand {
    /// Bytes of the values and records to be written, without the names of slots and sessions.
    pub(crate) fn bytes(&self) -> usize {
        self.ops.iter().map(StoreOp::bytes).sum()
    }
}

/// One thing to be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StoreOp {
    /// The value of a named slot; a later one replaces it.
    Put {
        slot: String,
        /// The value as JSON text.
        value: String,
    },
    /// A slot and its value are gone.
    Delete { slot: String },
    /// One more record of a session.
    Append {
        session_key: String,
        /// JSON text of a [`SessionRecord`](crate::store::history::SessionRecord).
        record: String,
    },
    /// A session's records, and what the journal still says of them, are gone.
    Forget { session_key: String },
    /// Nothing stays in the journal of what was deleted so far: it is written anew.
    Compact,
}

impl StoreOp {
    /// Bytes of the value or record to be written.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Put { value, .. } => value.len(),
            Self::Append { record, .. } => record.len(),
            Self::Delete { .. } | Self::Forget { .. } | Self::Compact => 0,
        }
    }
}

/// What the store tells the state thread.
#[derive(Debug, PartialEq)]
pub(crate) enum StoreEvent {
    /// The command is durable, or none of it is.
    Done {
        ticket: Ticket,
        /// A sentence for people, if the command failed.
        result: Result<(), String>,
        /// The operations of a command that failed.
        back: Vec<StoreOp>,
    },
    /// The condition of the folder has changed.
    Usage(StorageHealth),
}
