//! Where a test keeps its things.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fs, thread};

/// A private folder, removed with everything in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(place: &Path, name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = place.join(format!("clawdis-{name}-{}-{count}", std::process::id()));
        for inner in ["home", "probe"] {
            fs::create_dir_all(path.join(inner)).unwrap();
        }
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A killed daemon's agent may still be writing its last file.
        for _ in 0..100 {
            // Tests make trees that are deeper than their own stack.
            let _ = Command::new("rm").arg("-rf").arg(&self.0).stderr(Stdio::null()).status();
            if !self.0.exists() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A place outside of `/tmp` and `/run`, which a sandbox empties, that every user can reach.
pub(crate) fn in_view() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        // The build folder may lie below a home that is closed to others.
        PathBuf::from("/var/lib")
    } else {
        PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
    }
}

/// A file system in memory, where the system has one: disks are slow with tens of thousands of files.
pub(crate) fn in_memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}
