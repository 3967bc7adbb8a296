//! The store thread: every durable file of the gateway.
//!
//! Holds no logic: it is told what to write and says when that is durable. One journal is synced
//! per group of commands (`journal`, `commit`); the sessions' own files are written from it without
//! a sync of their own and made whole from it after a crash (`sessions`). So a message costs one
//! fsync for each promise that is made about it, however many files it touches. Every change of a
//! file goes through `disk`.
//!
//! What others put into the state folder, the agent first of all, is hostile: it is reached through
//! descriptors only (`handle`), the agent's own folder by one module (`agent_folder`), and it is
//! counted and deleted by a thread on which nobody waits (`tidy`).

use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;

pub mod agent_folder;
mod checked_line;
mod commit;
mod disk;
pub mod folder;
pub(crate) mod folder_handle;
pub mod history;
mod janitor;
mod journal;
mod journal_entry;
pub(crate) mod media;
mod old_files;
mod quota;
mod session_file;
mod session_files;
mod store_loop;
pub(crate) mod trash;
mod unapplied;
mod walk;

pub use commit::{Recovered, Store};
pub use janitor::Janitor;
pub use store_loop::spawn;

use folder_handle::FolderHandle;

/// Number that state gives to a command; the answer carries it.
pub type Ticket = u64;

/// Operations that become durable together or not at all.
#[derive(Debug, PartialEq)]
pub struct StoreCommand {
    /// Echoed in [`StoreEvent::Done`].
    pub ticket: Ticket,
    /// In this order.
    pub ops: Vec<StoreOp>,
}

impl StoreCommand {
    /// Bytes of what is to be written, but for names.
    pub(crate) fn bytes(&self) -> usize {
        self.ops.iter().map(StoreOp::bytes).sum()
    }
}

impl StoreOp {
    /// Bytes of what is to be written, but for its name.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Put { value, .. } => value.len(),
            Self::Append { record, .. } => record.len(),
            Self::Delete { .. } | Self::Forget { .. } | Self::Compact => 0,
        }
    }
}

/// One thing to write.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreOp {
    /// The value of a named slot; a later one replaces it.
    Put {
        /// `toggles`, `key/agent/...`, `session/...`
        slot: String,
        /// JSON text.
        value: String,
    },
    /// A slot is gone.
    Delete {
        /// Its name.
        slot: String,
    },
    /// One more record of a session.
    Append {
        /// The session.
        session_key: String,
        /// JSON text of a [`history::SessionRecord`].
        record: String,
    },
    /// A session's records, and what the journal still says of them, are gone.
    Forget {
        /// The session.
        session_key: String,
    },
    /// Nothing stays in the journal of what was deleted so far: it is written anew.
    Compact,
}

/// What state learns from the store.
#[derive(Debug, PartialEq)]
pub enum StoreEvent {
    /// The command is durable, or none of it is.
    Done {
        /// The command's.
        ticket: Ticket,
        /// A sentence for people, if it failed.
        result: Result<(), String>,
        /// The command's operations, if it failed.
        back: Vec<StoreOp>,
    },
    /// The folder's condition has changed.
    Usage(Usage),
}

/// Condition of the state folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// Why nothing can be written, and what to do about it.
    pub trouble: Option<String>,
    /// Bytes in it.
    pub used_bytes: u64,
    /// Bytes left on its file system.
    pub free_bytes: u64,
}

/// Folder of the records.
const SESSIONS: &str = "sessions";
/// Folder of what people sent.
const MEDIA: &str = "media";
/// Folder of files on their way, and of what is to be deleted.
const TMP: &str = "tmp";

/// Where things lie in the state folder.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Below this folder.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Held for life; says who serves this folder.
    pub fn lock(&self) -> PathBuf {
        self.root.join("gateway.lock")
    }

    /// Where the folder itself really is, behind all links.
    pub(crate) fn real_root(&self) -> io::Result<PathBuf> {
        self.root.canonicalize()
    }

    /// Opens the folder itself.
    pub(crate) fn open(&self) -> io::Result<FolderHandle> {
        FolderHandle::open_root(&self.root)
    }

    /// Opens the folder for files on their way, and makes it if it is not there.
    pub(crate) fn open_tmp(&self) -> io::Result<FolderHandle> {
        self.open()?.make_folder(TMP.as_ref())
    }

    /// Makes the folders in it. What an earlier life left on its way is discarded.
    pub fn prepare(&self) -> io::Result<()> {
        let root = self.open()?;
        root.make_folder(SESSIONS.as_ref())?;
        // These are made when they are needed, too: on a disk that is full now the gateway can start.
        let others = [root.make_folder(MEDIA.as_ref()).map(drop), agent_folder::make(self)];
        let cleared = self.open_tmp().and_then(|tmp| trash::discard_leftovers(&tmp));
        for error in others.into_iter().chain([cleared]).filter_map(Result::err) {
            log::warn!("a folder in the state folder is not as it should be: {error}");
        }
        Ok(())
    }

    fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Records of conversations, one file per session key.
    pub fn sessions(&self) -> PathBuf {
        self.root.join(SESSIONS)
    }

    /// What people sent, one folder per session key.
    pub fn media(&self) -> PathBuf {
        self.root.join(MEDIA)
    }

    /// What people sent in a session.
    pub fn media_of(&self, session_key: &str) -> PathBuf {
        self.media().join(file_name(session_key))
    }

    fn session(&self, session_key: &str) -> PathBuf {
        self.sessions().join(format!("{}.log", file_name(session_key)))
    }
}

/// A file name for a session key: keys are free text of up to 256 characters.
pub fn file_name(session_key: &str) -> String {
    use sha2::{Digest, Sha256};
    HEXLOWER.encode(&Sha256::digest(session_key.as_bytes())[..20])
}
