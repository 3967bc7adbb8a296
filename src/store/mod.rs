//! The store thread: every durable file of the gateway.
//!
//! Holds no logic: it is told what to write (`StoreCommand`) and says when that is durable (`StoreEvent`).
//! It does not know what the slots and records are about.
//!
//! One journal is synced per group of commands (`store_loop`, `commit`, `journal`); the sessions' own files are
//! written from it without a sync of their own and made whole from it after a crash (`session_files`,
//! `unapplied`). So a message costs one fsync for each promise that is made about it, however many files it
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
mod messages;
mod old_files;
mod quota;
mod session_files;
mod store_loop;
pub(crate) mod trash;
mod unapplied;
mod walk;

pub use commit::{Recovered, Store};
pub use janitor::Janitor;
pub use layout::Layout;
pub(crate) use layout::file_name;
pub(crate) use messages::{StoreCommand, StoreEvent, StoreOp, Ticket};
pub(crate) use store_loop::spawn;
