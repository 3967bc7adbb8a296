//! What is to be deleted is moved out of the way first, then deleted without hurry.
//!
//! A tree of folders may be deeper than any stack, longer than any path and locked against its owner:
//! the agent can make such ones. So nothing goes down into it: each folder in the folder that is being
//! emptied is moved up beside that one, and has its turn later. Why something goes is not known here.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::FileType;

use crate::clock::wall_ms;
use crate::limits::{ASIDE_NAMES_MAX, TIDY_STEPS_MAX, TMP_ENTRIES_MAX};
use crate::store::folder_handle::FolderHandle;

/// Beginning of the names of what is to be deleted.
const GONE: &str = "gone-";

/// Takes what lies under a name out of view; there need be nothing. A folder is only moved into `tmp`: its
/// deletion is for [`clear`].
pub(crate) fn discard(from: &FolderHandle, name: &OsStr, tmp: &FolderHandle) -> io::Result<()> {
    match from.find(name)? {
        None => return Ok(()),
        Some(FileType::Directory) => {}
        Some(_) => return from.unlink(name),
    }
    if from.remove_folder(name).is_ok() {
        return Ok(());
    }
    // What its owner may not write cannot be moved elsewhere.
    from.own_folder(name)?;
    let now = wall_ms();
    for _ in 0..ASIDE_NAMES_MAX {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let gone = OsString::from(format!("{GONE}{now}-{}", NUMBER.fetch_add(1, Relaxed)));
        match from.rename(name, tmp, &gone) {
            Err(error) if is_taken(&error) => {}
            moved => return moved,
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, "every name for it is taken"))
}

/// Whether the name is in use: another gateway, or whoever restored a backup, may have taken it.
fn is_taken(error: &io::Error) -> bool {
    use ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory};
    matches!(error.kind(), AlreadyExists | DirectoryNotEmpty | NotADirectory)
}

/// Discards what an earlier life of the gateway left in the middle of being made. To be called before there is
/// anything new.
pub(super) fn discard_leftovers(tmp: &FolderHandle) -> io::Result<()> {
    let mut discarded = Ok(());
    for name in tmp.names()?.take(TMP_ENTRIES_MAX) {
        let name = name?;
        if !is_gone(&name) {
            discarded = discarded.and(discard(tmp, &name, tmp));
        }
    }
    discarded
}

fn is_gone(name: &OsStr) -> bool {
    name.as_bytes().starts_with(GONE.as_bytes())
}

/// Deletes what was discarded. An error is about something that is still there.
pub(super) fn clear(tmp: &FolderHandle) -> io::Result<()> {
    let mut steps = 0;
    let mut trouble = None;
    loop {
        let before = steps;
        for name in tmp.names()? {
            let name = name?;
            if is_gone(&name) {
                match empty(tmp, &name, &mut steps) {
                    Ok(()) => steps += 1,
                    Err(error) => trouble = Some(error),
                }
            }
            if steps >= TIDY_STEPS_MAX {
                return Ok(());
            }
        }
        // Every folder that was moved up has made a step; without one nothing more can be done.
        if steps == before {
            return trouble.map_or(Ok(()), Err);
        }
        trouble = None;
    }
}

/// Empties a folder and removes it. Adds what went to `steps`.
fn empty(tmp: &FolderHandle, name: &OsStr, steps: &mut u64) -> io::Result<()> {
    let folder = match tmp.own_folder(name) {
        Err(error) if error.kind() == ErrorKind::NotADirectory => return tmp.unlink(name),
        folder => folder?,
    };
    let mut trouble = None;
    for name in folder.names()? {
        let name = name?;
        // Most are files.
        match folder.unlink(&name).or_else(|_| discard(&folder, &name, tmp)) {
            Ok(()) => *steps += 1,
            Err(error) => trouble = Some(error),
        }
        if *steps >= TIDY_STEPS_MAX {
            break;
        }
    }
    tmp.remove_folder(name).map_err(|error| trouble.unwrap_or(error))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::{clear, discard, discard_leftovers};
    use crate::store::folder_handle::{FolderHandle, memory_folder};

    fn temp(name: &str) -> (std::path::PathBuf, FolderHandle) {
        let path = memory_folder().join(format!("clawdis-trash-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("theirs")).unwrap();
        fs::write(path.join("theirs/file"), "theirs").unwrap();
        let root = FolderHandle::open(&path).unwrap();
        (path, root)
    }

    #[test]
    fn a_tree_of_any_depth_goes_without_recursion() {
        let (path, root) = temp("deep");
        let (from, tmp) =
            (root.make_folder("from".as_ref()).unwrap(), root.make_folder("tmp".as_ref()).unwrap());
        let mut folder = from.make_folder("a".as_ref()).unwrap();
        for _ in 0..5_000 {
            folder.create_new("file".as_ref()).unwrap();
            folder = folder.make_folder("a".as_ref()).unwrap();
        }
        let work = move || {
            discard(&from, "a".as_ref(), &tmp).unwrap();
            assert_eq!((from.names().unwrap().count(), tmp.names().unwrap().count()), (0, 1));
            clear(&tmp).unwrap();
            assert_eq!(tmp.names().unwrap().count(), 0);
        };
        std::thread::Builder::new().stack_size(64 * 1024).spawn(work).unwrap().join().unwrap();
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn links_are_removed_as_links_and_nothing_else_is_touched() {
        let (path, root) = temp("links");
        let (from, tmp) =
            (root.make_folder("from".as_ref()).unwrap(), root.make_folder("tmp".as_ref()).unwrap());
        fs::create_dir(path.join("from/a")).unwrap();
        for name in ["from/a/folder", "from/link", "tmp/gone-0", "tmp/upload-1"] {
            symlink(path.join("theirs"), path.join(name)).unwrap();
        }
        fs::create_dir_all(path.join("tmp/old/older")).unwrap();
        fs::write(path.join("tmp/kept-by-nobody"), "").unwrap();
        discard_leftovers(&tmp).unwrap();
        for name in ["a", "link", "nothing"] {
            discard(&from, name.as_ref(), &tmp).unwrap();
        }
        clear(&tmp).unwrap();
        assert_eq!((from.names().unwrap().count(), tmp.names().unwrap().count()), (0, 0));
        assert_eq!(fs::read_to_string(path.join("theirs/file")).unwrap(), "theirs");
        fs::remove_dir_all(path).unwrap();
    }
}
