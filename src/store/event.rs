//! What the store tells the state thread. Plain data: who handles it, and how, is not known here.

use crate::store::command::{StoreOp, Ticket};

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
    Usage(Usage),
}

/// The condition of the state folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    /// Why nothing can be written, and what to do about it.
    pub(crate) trouble: Option<String>,
    /// Bytes in the folder.
    pub(crate) used_bytes: u64,
    /// Bytes left on the folder's file system.
    pub(crate) free_bytes: u64,
}
