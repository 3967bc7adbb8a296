//! Counts what lies below a folder, however deep that goes and whoever changes it meanwhile.
//!
//! One folder is open at a time. Of those above it only their identity is kept, and the place up to which
//! their names were read; the way back is `..`, which does not lead elsewhere unnoticed. Changes nothing.

use std::ffi::{OsStr, OsString};
use std::io;

use rustix::fs::{FileType, Stat};

use crate::limits::{DISK_BLOCK_BYTES, WALK_ENTRIES_MAX};
use crate::store::folder_handle::FolderHandle;

/// Bytes that everything below the folder takes. What cannot be read does not count.
pub(super) fn used_bytes(folder: &FolderHandle) -> u64 {
    let mut bytes = 0;
    if let Err(error) = walk(folder, &mut bytes) {
        // What was counted until then is the best that is known.
        log::warn!("not everything in the state folder could be counted: {error}");
    }
    bytes
}

fn walk(folder: &FolderHandle, bytes: &mut u64) -> io::Result<()> {
    // Which folders are above the one that is being read, and how far their names were read.
    let mut above: Vec<((u64, u64), u64)> = Vec::new();
    let mut here = folder.again()?;
    let mut place = 0;
    let mut entries = 0;
    loop {
        let next = next_folder(&here, &mut place, |about| {
            entries += 1;
            *bytes += weight(about);
        });
        if entries > WALK_ENTRIES_MAX {
            return Err(io::Error::other(format!("there are more than {WALK_ENTRIES_MAX} files in it")));
        }
        // One that cannot be read on is left.
        if let Ok(Some(name)) = next {
            if let Ok(below) = here.folder(&name) {
                above.push((id(&here.about()?), place));
                (here, place) = (below, 0);
            }
            continue;
        }
        let Some((last, last_place)) = above.pop() else { return Ok(()) };
        here = here.parent()?;
        if id(&here.about()?) != last {
            return Err(io::Error::other("a folder was moved away meanwhile"));
        }
        place = last_place;
    }
}

/// Goes on to the next folder in this one and returns its name; `place` is behind it then.
fn next_folder(
    here: &FolderHandle,
    place: &mut u64,
    mut each: impl FnMut(&Stat),
) -> io::Result<Option<OsString>> {
    let mut found = None;
    read_names(here, place, &mut |name| {
        // It may be gone again.
        let Ok(about) = here.look(name) else { return true };
        each(&about);
        let is_folder = FileType::from_raw_mode(about.st_mode) == FileType::Directory;
        found = is_folder.then(|| name.to_owned());
        !is_folder
    })?;
    Ok(found)
}

/// Hands the names from a place on to `each`, until that says `false`. A place holds for as long as the
/// folder is not changed.
#[cfg(target_os = "linux")]
fn read_names(here: &FolderHandle, place: &mut u64, each: &mut dyn FnMut(&OsStr) -> bool) -> io::Result<()> {
    use std::mem::MaybeUninit;
    use std::os::unix::ffi::OsStrExt as _;

    rustix::fs::seek(here.fd(), rustix::fs::SeekFrom::Start(*place))?;
    // Few names at a time: behind each folder the rest of them is read once more.
    let mut buffer = [MaybeUninit::uninit(); 2_048];
    let mut names = rustix::fs::RawDir::new(here.fd(), &mut buffer);
    while let Some(entry) = names.next() {
        let entry = entry?;
        *place = entry.next_entry_cookie();
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." && !each(OsStr::from_bytes(name)) {
            break;
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn read_names(here: &FolderHandle, place: &mut u64, each: &mut dyn FnMut(&OsStr) -> bool) -> io::Result<()> {
    for name in here.names()?.skip(usize::try_from(*place).unwrap_or(usize::MAX)) {
        *place += 1;
        if !each(&name?) {
            break;
        }
    }
    Ok(())
}

/// What tells a folder apart from all others.
fn id(about: &Stat) -> (u64, u64) {
    #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "only compared with one another")]
    (about.st_dev as u64, about.st_ino as u64)
}

/// Bytes that one name takes. A file with holes takes what is in it, and one with several names its share.
pub(super) fn weight(about: &Stat) -> u64 {
    let len = u64::try_from(about.st_size).unwrap_or_default();
    let on_disk = u64::try_from(about.st_blocks).unwrap_or_default().saturating_mul(DISK_BLOCK_BYTES);
    #[allow(clippy::unnecessary_cast, reason = "narrower on other systems")]
    let names = match FileType::from_raw_mode(about.st_mode) {
        FileType::Directory => 1,
        _ => (about.st_nlink as u64).max(1),
    };
    len.min(on_disk) / names
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::used_bytes;
    use crate::store::folder_handle::{FolderHandle, memory_folder};

    #[test]
    fn every_folder_of_a_deep_and_wide_tree_counts_once() {
        let path = memory_folder().join(format!("clawdis-walk-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        let root = FolderHandle::open(&path).unwrap();
        let empty = used_bytes(&root.make_folder("empty".as_ref()).unwrap());
        assert_eq!(empty, 0);
        let mut expected = used_bytes(&root);
        let mut folder = root.again().unwrap();
        for depth in 0..3_000 {
            for name in ["a", "z", "0"].map(|name| format!("{name}{depth}")) {
                let side = folder.make_folder(name.as_ref()).unwrap();
                expected += super::weight(&side.about().unwrap());
                if depth % 100 == 0 {
                    rustix::io::write(side.create_new("file".as_ref()).unwrap(), &[7; 100]).unwrap();
                    expected += 100;
                }
            }
            folder = folder.make_folder("m".as_ref()).unwrap();
            expected += super::weight(&folder.about().unwrap());
        }
        let work = move || assert_eq!(used_bytes(&root), expected);
        std::thread::Builder::new().stack_size(64 * 1024).spawn(work).unwrap().join().unwrap();
        // Not by recursion, which would take a larger stack than this one.
        let root = FolderHandle::open(&path).unwrap();
        let tmp = root.make_folder("tmp".as_ref()).unwrap();
        for name in root.names().unwrap().map(Result::unwrap).filter(|name| name != "tmp") {
            crate::store::trash::discard(&root, &name, &tmp).unwrap();
        }
        crate::store::trash::clear(&tmp).unwrap();
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_file_takes_what_is_in_it_and_one_with_two_names_takes_it_once() {
        let path = memory_folder().join(format!("clawdis-walk-holes-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        let root = FolderHandle::open(&path).unwrap();
        fs::File::create(path.join("holes")).unwrap().set_len(1 << 40).unwrap();
        assert!(used_bytes(&root) < 1 << 20);
        fs::write(path.join("one"), vec![7; 100_000]).unwrap();
        let once = used_bytes(&root);
        fs::hard_link(path.join("one"), path.join("two")).unwrap();
        assert!(used_bytes(&root) <= once && once > 90_000);
        std::os::unix::fs::symlink("/", path.join("link")).unwrap();
        assert!(used_bytes(&root) <= once + 10);
        fs::remove_dir_all(&path).unwrap();
    }
}
