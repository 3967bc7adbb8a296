//! The store thread: every durable file of the gateway.
//!
//! Holds no logic: it is told what to write (`StoreCommand`) and says when that is durable (`StoreEvent`).
//! It does not know what the slots and records are about.
//!
//! One journal is synced per group of commands (`store_loop`, `commit`, `journal`); the sessions' own files are
//! written from it without a sync of their own and made whole from it after a crash (`session_files`). So a
//! message costs one fsync for each promise that is made about it, however many files it
//! touches. Every change of a file goes through `disk`.
//!
//! What others put into the state folder, the agent first of all, is hostile: it is reached through descriptors
//! only (`folder_handle`), the agent's own folder by one module (`agent_folder`), and it is counted and deleted
//! by a thread on which nobody waits (`janitor`, `quota`, `trash`).
//!
//! # Who waits for whom
//!
//! State never waits for room in the queue of commands: it counts what it sends, and a full queue is a defect
//! (`limits::STORE_INBOX`). The store waits for room in state's queue, which state empties whatever the store
//! does; if state waited, too, the two could stop each other for good.

pub(crate) mod agent_folder;
mod checked_line;
mod commit;
mod disk;
pub mod folder;
pub(crate) mod folder_handle;
pub mod history;
mod janitor;
mod journal;
mod layout;
pub(crate) mod media;
mod old_files;
mod quota;
mod session_files;
mod store_loop;
pub(crate) mod trash;
mod walk;

pub use commit::{Recovered, Store};
pub use janitor::Janitor;
pub use layout::Layout;
pub(crate) use layout::file_name;
pub(crate) use store_loop::spawn;

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
