//! The oldest of many files, a bounded number of them at a time. Which files may go is for `quota`.

use std::collections::BinaryHeap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{FileType, Stat};

use crate::clock::wall_ms;
use crate::limits::QUOTA_BATCH;
use crate::store::folder_handle::{DAMAGED, FolderHandle};
use crate::store::trash;
use crate::store::walk::{used_bytes, weight};

/// A file that may be removed. Of two the lesser goes first, which for those of one kind is the older.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OldFile {
    /// It is no copy of a damaged file: those go before anything else.
    is_original: bool,
    modified_ms: i64,
    /// The names of folders, from the state folder down, and of the file.
    pub(super) path: Vec<OsString>,
    pub(super) bytes: u64,
}

impl OldFile {
    pub(super) fn has_ending(&self, ending: &str) -> bool {
        self.path.last().is_some_and(|name| name.as_bytes().ends_with(ending.as_bytes()))
    }

    /// Removes the file, or whatever is in its place by now.
    pub(super) fn remove(&self, root: &FolderHandle, tmp: &FolderHandle) -> io::Result<()> {
        let Some((name, folders)) = self.path.split_last() else { return Ok(()) };
        let mut folder = root.again()?;
        for name in folders {
            folder = folder.folder(name)?;
        }
        trash::discard(&folder, name, tmp)
    }
}

/// Those files among many that go first.
pub(super) struct OldestFiles {
    pub(super) files: BinaryHeap<OldFile>,
    /// Files that were changed later stay.
    pub(super) until_ms: i64,
    /// There are more files that may go.
    pub(super) is_cut: bool,
}

impl OldestFiles {
    pub(super) fn older_than(age_ms: u64) -> Self {
        let until_ms = i64::try_from(wall_ms().saturating_sub(age_ms)).unwrap_or(i64::MAX);
        Self { files: BinaryHeap::new(), until_ms, is_cut: false }
    }

    /// Adds a file, in the place of one that goes later if there are too many.
    pub(super) fn add(&mut self, file: OldFile) {
        if file.modified_ms > self.until_ms && file.is_original {
            return;
        }
        self.files.push(file);
        if self.files.len() > QUOTA_BATCH {
            self.files.pop();
            self.is_cut = true;
        }
    }

    /// Hands each plain file of a folder to `each`, and adds what comes back. What cannot be read stays.
    pub(super) fn add_files_in(
        &mut self,
        folder: &FolderHandle,
        path: &[&OsStr],
        mut each: impl FnMut(OldFile) -> Option<OldFile>,
    ) {
        let Ok(names) = folder.names() else { return };
        for name in names.map_while(Result::ok) {
            let Ok(about) = folder.look(&name) else { continue };
            if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
                continue;
            }
            if let Some(file) = each(old_file(true, &about, path, name)) {
                self.add(file);
            }
        }
    }

    /// Adds the copies of damaged files in a folder, and whatever else was set aside there.
    pub(super) fn add_copies_in(&mut self, folder: &FolderHandle, path: &[&OsStr]) {
        let Ok(names) = folder.names() else { return };
        let is_copy = |name: &OsString| name.to_string_lossy().contains(DAMAGED);
        for name in names.map_while(Result::ok).filter(is_copy) {
            let Ok(about) = folder.look(&name) else { continue };
            let below = folder.folder(&name).map_or(0, |below| used_bytes(&below));
            let mut copy = old_file(false, &about, path, name);
            copy.bytes += below;
            self.add(copy);
        }
    }
}

#[allow(clippy::useless_conversion, reason = "the numbers have other widths on other systems")]
fn old_file(is_original: bool, about: &Stat, folder: &[&OsStr], name: OsString) -> OldFile {
    let nanos = i64::try_from(about.st_mtime_nsec).unwrap_or_default();
    OldFile {
        is_original,
        modified_ms: i64::from(about.st_mtime).saturating_mul(1_000).saturating_add(nanos / 1_000_000),
        path: folder.iter().map(|name| (*name).to_owned()).chain([name]).collect(),
        bytes: weight(about),
    }
}
