//! What people send, in a folder of the gateway's own: one folder in it per session.
//!
//! The session's agent may read what is in there. In its sandbox it can do nothing else with it; without
//! one it can do anything, so nothing in there is trusted to be what it was. Where it came from is not known here.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::store::agent_folder;
use crate::store::folder_handle::FolderHandle;

/// Opens a session's folder, and makes it if it is not there.
pub(crate) fn folder(path: &Path) -> io::Result<FolderHandle> {
    let (parent, name) = split(path)?;
    FolderHandle::make(parent)?.make_folder(name)
}

/// Opens a file in a session's folder for reading.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let (folder, name) = split(path)?;
    let (parent, folder) = split(folder)?;
    FolderHandle::open(parent)?.folder(folder)?.read(name)
}

/// Removes a file of a session's folder. The folder goes, too, if that was all and the session was forgotten:
/// while it has an agent, that sees what lies in there by the folder that it was given.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let (folder, name) = split(path)?;
    let (parent, key) = split(folder)?;
    let media = FolderHandle::open(parent)?;
    let removed = media.folder(key).and_then(|folder| folder.unlink(name));
    removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    if !agent_folder::knows(&media.parent()?, key) {
        // There may be others in it.
        let _ = media.remove_folder(key);
    }
    Ok(())
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let parts = path.parent().zip(path.file_name());
    parts.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "that is no path of a file here"))
}
