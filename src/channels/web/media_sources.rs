//! Where files that are sent may come from: folders and hosts that the config names.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::channels::delivery::{AttemptOutcome, invalid};
use crate::channels::web::media_hosts::MediaHosts;
use crate::plain_file;

/// What the config allows to be sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct MediaSources {
    /// Folders whose files may be sent.
    pub(crate) folders: Vec<PathBuf>,
    /// The gateway's own folder, none of whose files may be, whatever folder above it is named.
    pub(crate) state_dir: PathBuf,
    /// Hosts of this network that may be asked.
    pub(crate) hosts: MediaHosts,
}

impl MediaSources {
    /// Opens a file that is to be sent. State has looked at the words of its path only; what counts is where
    /// the file that was opened lies, and what it is.
    pub(crate) fn open(&self, path: &Path) -> Result<File, AttemptOutcome> {
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => invalid("there is no such file"),
            _ => invalid(format!("the file cannot be read: {error}")),
        };
        let file = plain_file::open_named(path).map_err(unreadable)?;
        let real = path_of(&file, path).map_err(unreadable)?;
        let is_below = |folder: &PathBuf| folder.canonicalize().is_ok_and(|folder| real.starts_with(folder));
        if is_below(&self.state_dir) {
            return Err(invalid("the file is one of the gateway's own"));
        }
        if !self.folders.iter().any(is_below) {
            return Err(invalid("the file is a link out of the folders that gateway.mediaFolders names"));
        }
        Ok(file)
    }
}

/// Where the kernel says that an open file lies: a path may lead elsewhere by now.
#[cfg(target_os = "linux")]
fn path_of(file: &File, _: &Path) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd as _;
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Where the path leads now: other systems do not tell where an open file lies.
#[cfg(not(target_os = "linux"))]
fn path_of(_: &File, path: &Path) -> io::Result<PathBuf> {
    path.canonicalize()
}
