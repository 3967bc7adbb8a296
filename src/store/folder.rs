//! The state folder as a whole: private, and held by one gateway at a time. What is in it is not looked at.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, test_kill_process};

use crate::limits::{LOCK_WAIT_MAX, ms};
use crate::store::layout::{MEDIA, SESSIONS};
use crate::store::{Layout, agent_folder, disk, trash};

/// Makes the folder (and its parents) private, durably; one that is there already is made private.
pub fn make_private(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for parent in missing.iter().filter_map(|folder| folder.parent()) {
        disk::sync_folder(parent)?;
    }
    let permissions = fs::metadata(path)?.permissions();
    if permissions.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Makes the folders in a state folder. What an earlier life left in the middle of being made is discarded.
pub(super) fn prepare(layout: &Layout) -> io::Result<()> {
    let root = layout.open()?;
    root.make_folder(SESSIONS.as_ref())?;
    // These are made when they are needed, too: on a disk that is full now the gateway can start.
    let others = [root.make_folder(MEDIA.as_ref()).map(drop), agent_folder::open(layout).map(drop)];
    let cleared = layout.open_tmp().and_then(|tmp| trash::discard_leftovers(&tmp));
    for error in others.into_iter().chain([cleared]).filter_map(Result::err) {
        log::warn!("a folder in the state folder is not as it should be: {error}");
    }
    Ok(())
}

/// Why the lock on a state folder cannot be had.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another gateway holds the lock, and has written this into the file.
    Held(String),
    /// The lock's file cannot be used.
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The kernel's lock on a state folder, held as long as this lives (and not a moment longer,
/// however the process ends).
pub(crate) struct FolderLock {
    file: File,
}

impl FolderLock {
    /// Takes the lock, or says who has it.
    pub(crate) fn take(path: &Path) -> Result<Self, LockError> {
        let file = disk::open(path)?;
        // What is written into it would be written into that other file.
        if file.metadata()?.nlink() > 1 {
            let text = format!("`{}` is in the way: it is another file, too", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text).into());
        }
        let deadline = Instant::now() + LOCK_WAIT_MAX;
        let mut again = false;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    // Where the last holder listened, somebody else may listen by now.
                    file.set_len(0)?;
                    return Ok(Self { file });
                }
                Err(rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(LockError::Io(error.into())),
            }
            let mut text = vec![0; 4096];
            let count = file.read_at(&mut text, 0)?;
            let text = String::from_utf8_lossy(&text[..count]).into_owned();
            // A client that only asks whether somebody holds it does so for a moment.
            if again && is_alive(&text) || Instant::now() >= deadline {
                return Err(LockError::Held(text));
            }
            std::thread::sleep(ms(10));
            again = true;
        }
    }

    /// Writes into the lock's file who holds it.
    pub(crate) fn announce(&self, text: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(text.as_bytes(), 0)
    }
}

/// Whether the process that a lock file names exists.
fn is_alive(holder: &str) -> bool {
    let value: serde_json::Value = serde_json::from_str(holder).unwrap_or_default();
    let pid = value["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid).is_ok())
}
