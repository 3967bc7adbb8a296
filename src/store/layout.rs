//! Where things lie in the state folder. Names only: what is in them is for the modules that use them.

use std::io;
use std::path::{Path, PathBuf};

use crate::names;
use crate::store::folder_handle::FolderHandle;

/// Name of the folder of sessions' records.
pub(super) const SESSIONS: &str = "sessions";
/// Name of the folder of the pictures and files that people sent.
pub(super) const MEDIA: &str = "media";
/// Name of the folder of files that are being made, and of what is to be deleted.
const TMP: &str = "tmp";

/// The paths of everything in the state folder.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The paths below a state folder.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The state folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the state folder really is, behind all links.
    pub(crate) fn real_root(&self) -> io::Result<PathBuf> {
        self.root.canonicalize()
    }

    /// The file whose lock a gateway holds for as long as it lives; it says who serves this folder.
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("gateway.lock")
    }

    /// Opens the state folder itself.
    pub(crate) fn open(&self) -> io::Result<FolderHandle> {
        FolderHandle::open_root(&self.root)
    }

    /// Opens the folder of files that are being made, and makes it if it is not there.
    pub(crate) fn open_tmp(&self) -> io::Result<FolderHandle> {
        self.open()?.make_folder(TMP.as_ref())
    }

    /// The journal's file.
    pub(super) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// The folder of records, one file per session key.
    pub(crate) fn sessions(&self) -> PathBuf {
        self.root.join(SESSIONS)
    }

    /// The folder of what people sent, with one folder per session key.
    pub(crate) fn media(&self) -> PathBuf {
        self.root.join(MEDIA)
    }

    /// The folder of what people sent in a session.
    pub(crate) fn media_of(&self, session_key: &str) -> PathBuf {
        self.media().join(file_name(session_key))
    }

    /// The file of a session's records.
    pub(super) fn session(&self, session_key: &str) -> PathBuf {
        self.sessions().join(format!("{}.log", file_name(session_key)))
    }
}

/// A file name for a session key: keys are free text of up to 256 characters.
pub(crate) fn file_name(session_key: &str) -> String {
    names::digest(session_key, 20)
}
