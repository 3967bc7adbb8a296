//! The quota of the state folder: what goes first when it holds more than it may.
//!
//! The copies of damaged files, the oldest first; then the pictures and files that people sent and
//! the agent's files of conversations that are over, the oldest first; then the oldest records of the
//! session that was used longest ago, and so on with the next one. The agent's files of conversations
//! that go on count but are not touched: however much they take, a part stays for the records. When to look
//! is for the janitor.

use std::io;
use std::io::Read as _;
use std::path::Path;

use crate::limits::{LEFTOVER_AGE_MS_MIN, QUOTA_BATCHES_MAX, RECORDS_SHARE};
use crate::store::checked_line::end_of_line;
use crate::store::disk::{self, Reading};
use crate::store::folder_handle::FolderHandle;
use crate::store::layout::{MEDIA, SESSIONS};
use crate::store::old_files::OldestFiles;
use crate::store::session_files::{Header, OpenSessionFile};
use crate::store::walk::{used_bytes, weight};
use crate::store::{Layout, agent_folder};

/// Removes what nobody works with any more, `excess` bytes of it if there are so many. Returns how many bytes
/// were freed.
pub(super) fn make_room(root: &FolderHandle, tmp: &FolderHandle, excess: u64) -> io::Result<u64> {
    let (mut freed, mut count) = (0, 0);
    for _ in 0..QUOTA_BATCHES_MAX {
        let mut found = OldestFiles::older_than(LEFTOVER_AGE_MS_MIN);
        found.add_copies_in(root, &[]);
        found.add_copies_in(&root.make_folder(SESSIONS.as_ref())?, &[SESSIONS.as_ref()]);
        let media = root.make_folder(MEDIA.as_ref())?;
        found.add_copies_in(&media, &[MEDIA.as_ref()]);
        for key in media.names()? {
            let key = key?;
            if let Ok(folder) = media.folder(&key) {
                found.add_files_in(&folder, &[MEDIA.as_ref(), &key], Some);
            }
        }
        agent_folder::find_leftovers(root, &mut found)?;
        let (is_cut, before) = (found.is_cut, count);
        for file in found.files.into_sorted_vec() {
            if freed >= excess {
                break;
            }
            match file.remove(root, tmp) {
                Ok(()) => {
                    freed += file.bytes;
                    count += 1;
                }
                Err(error) => log::warn!("an old file cannot be removed: {error}"),
            }
        }
        if freed >= excess || !is_cut || count == before {
            break;
        }
    }
    if count > 0 {
        log::warn!("{count} old files were removed: the state folder was full");
    }
    Ok(freed)
}

/// Drops the oldest records of sessions, `excess` bytes of them if there are so many, and leaves them their
/// part. Returns how many bytes were freed. To be called when the sessions' files are durable.
pub(super) fn drop_records(layout: &Layout, excess: u64, max_bytes: u64) -> io::Result<u64> {
    let sessions = layout.open()?.make_folder(SESSIONS.as_ref())?;
    let share = max_bytes / RECORDS_SHARE;
    let excess = excess.min(used_bytes(&sessions).saturating_sub(share));
    let mut oldest = OldestFiles::older_than(0);
    oldest.until_ms = i64::MAX;
    oldest.add_files_in(&sessions, &[], |file| file.has_ending(".log").then_some(file));
    let mut freed = 0;
    for file in oldest.files.into_sorted_vec() {
        if freed >= excess {
            break;
        }
        let name = file.path.iter().collect::<std::path::PathBuf>();
        freed += drop_oldest(&layout.sessions().join(name), excess - freed)?;
    }
    Ok(freed)
}

/// Drops the oldest records of a session, `bytes` of them if there are so many. Returns how many were freed. A file
/// that cannot be read is left alone.
fn drop_oldest(path: &Path, bytes: u64) -> io::Result<u64> {
    let opened = match OpenSessionFile::read(path) {
        Ok(Some(opened)) => opened,
        Ok(None) => return Ok(0),
        Err(error) => {
            log::warn!("no records of `{}` could be dropped: {error}", path.display());
            return Ok(0);
        }
    };
    if opened.len <= opened.first {
        return Ok(0);
    }
    let target = opened.first.saturating_add(bytes).min(opened.len);
    // The record that the last of these bytes is in goes as a whole. All of them go where that does not end,
    // and from a file with holes: in a new one these would take room.
    let end = if opened.first_hole() < opened.len { None } else { end_of_line(&opened.file, target - 1)? };
    let cut = end.unwrap_or(opened.len);
    let header = Header::line(&opened.header.key, opened.logical(cut));
    let last_used = opened.file.metadata()?.modified()?;
    let file = disk::replace(path, header.as_slice().chain(Reading::from(&opened.file, cut)))?;
    // It is as old as before: next time its turn comes first again.
    file.set_modified(last_used)?;
    log::info!("old records of a session were dropped: the state folder was full");
    Ok(cut.saturating_sub(header.len() as u64).min(weight(&rustix::fs::fstat(&opened.file)?)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, SystemTime};

    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

    use crate::limits::QUOTA_BATCH;
    use crate::store::folder_handle::memory_folder;
    use crate::store::{Janitor, Layout, Store, StoreOp, folder};

    fn root(name: &str) -> Layout {
        let root = memory_folder().join(format!("clawdis-quota-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        folder::make_private(&root).unwrap();
        Layout::new(&root)
    }

    fn lay(path: &Path, bytes: usize, hours: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![b'x'; bytes]).unwrap();
        age(path, hours);
    }

    /// As if it had been changed so long ago: a file, a folder, or a link itself.
    fn age(path: &Path, hours: u32) {
        let then = SystemTime::now() - hours * Duration::from_secs(3_600);
        let seconds = then.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let then = Timespec { tv_sec: seconds.try_into().unwrap(), tv_nsec: 0 };
        let times = Timestamps { last_access: then, last_modification: then };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }

    #[test]
    fn what_nobody_works_with_goes_before_the_records_and_as_soon_as_the_folder_is_full() {
        let layout = root("order");
        let (session, media) = (layout.root().join("agent/s"), layout.media_of("s"));
        let [over, current] = ["over.jsonl", "current.jsonl"].map(|name| session.join(name));
        let [sent, fresh] = ["sent.png", "fresh.png"].map(|name| media.join(name));
        lay(&over, 100_000, 30);
        lay(&current, 100_000, 29);
        lay(&sent, 100_000, 28);
        lay(&fresh, 100_000, 0);
        let (mut store, _) = Store::open(Janitor::new(layout.clone(), 500_000)).unwrap();
        store.janitor.work();
        store.on_counted();
        assert!(over.exists() && sent.exists());
        let record = format!("{{\"x\":\"{}\"}}", "-".repeat(120_000));
        let ops = [StoreOp::Append { session_key: "main".into(), record }];
        assert!(!store.is_full());
        store.commit(&[&ops]).unwrap();
        assert!(store.is_full());
        store.janitor.work();
        store.on_counted();
        assert!(!over.exists() && !sent.exists(), "nobody works with these any more");
        assert!(current.exists() && fresh.exists());
        assert!(store.janitor.used_bytes() < 450_000 && store.trouble().is_none());
        assert!(layout.session("main").metadata().unwrap().len() > 120_000);
        let _ = fs::remove_dir_all(layout.root());
    }

    #[test]
    fn what_is_no_file_is_passed_over_and_what_is_behind_a_link_stays() {
        let layout = root("links");
        let theirs = layout.root().with_extension("theirs");
        let _ = fs::remove_dir_all(&theirs);
        lay(&theirs.join("creds.json"), 100_000, 30);
        for folder in ["agent/s", "agent/t"] {
            fs::create_dir_all(layout.root().join(folder)).unwrap();
        }
        fs::create_dir_all(layout.media()).unwrap();
        symlink(&theirs, layout.root().join("agent/s/media")).unwrap();
        symlink(theirs.join("creds.json"), layout.root().join("agent/t/a.jsonl")).unwrap();
        symlink(&theirs, layout.media_of("s")).unwrap();
        symlink(&theirs, layout.root().join("agent/theirs")).unwrap();
        symlink(&theirs, layout.root().join("journal.damaged-1")).unwrap();
        let aside = ["agent/t.damaged-1", "media/t.damaged-1"].map(|name| layout.root().join(name));
        for path in &aside {
            lay(path, 10, 0);
        }
        fs::create_dir_all(layout.root().join("agent/t/media/x")).unwrap();
        fs::create_dir_all(layout.media_of("t").join("x")).unwrap();
        fs::create_dir_all(layout.sessions().join("a.log.damaged-1/x")).unwrap();
        // Files with holes are no reason to remove anything of anybody's.
        fs::File::create(layout.root().join("agent/t/holes")).unwrap().set_len(1 << 40).unwrap();
        let old = layout.media_of("t").join("old.png");
        lay(&old, 300_000, 30);
        // Older than all that may go, so that they would go first.
        let passed_over = ["agent/s/media", "agent/t/a.jsonl", "agent/theirs", "agent/t/media/x"]
            .map(|name| layout.root().join(name))
            .into_iter()
            .chain([layout.media_of("s"), layout.media_of("t").join("x")]);
        let passed_over: Vec<PathBuf> = passed_over.collect();
        for path in &passed_over {
            age(path, 40);
        }
        let (mut store, _) = Store::open(Janitor::new(layout.clone(), 400_000)).unwrap();
        store.janitor.work();
        store.on_counted();
        assert!(old.exists() && store.janitor.used_bytes() < 400_000, "{}", store.janitor.used_bytes());
        assert!(aside.iter().all(|path| path.exists()));
        lay(&layout.root().join("agent/t/media/old"), 200_000, 29);
        store.janitor.work();
        store.on_counted();
        assert!(store.trouble().is_none());
        assert!(!aside.iter().any(|path| path.exists()));
        assert!(!old.exists() && !layout.sessions().join("a.log.damaged-1").exists());
        for path in &passed_over {
            assert!(path.symlink_metadata().is_ok(), "{} is no file that may go", path.display());
        }
        assert_eq!(theirs.join("creds.json").metadata().unwrap().len(), 100_000);
        let _ = (fs::remove_dir_all(layout.root()), fs::remove_dir_all(theirs));
    }

    #[test]
    fn many_small_files_are_held_in_memory_a_few_at_a_time() {
        let layout = root("many");
        for number in 0..2 * QUOTA_BATCH + 10 {
            lay(&layout.root().join(format!("agent/s/{number}")), 10, 2);
        }
        let (mut store, _) = Store::open(Janitor::new(layout.clone(), 1)).unwrap();
        store.janitor.work();
        store.on_counted();
        assert_eq!(fs::read_dir(layout.root().join("agent/s")).unwrap().count(), 0);
        let _ = fs::remove_dir_all(layout.root());
    }

    #[test]
    fn a_hole_among_records_is_not_filled_when_room_is_made() {
        let layout = root("hole");
        let (mut store, _) = Store::open(Janitor::new(layout.clone(), 20_000)).unwrap();
        let record = format!("{{\"x\":\"{}\"}}", "-".repeat(50_000));
        let append = |key: &str| StoreOp::Append { session_key: key.into(), record: record.clone() };
        store.commit(&[&[append("main")]]).unwrap();
        let log = layout.session("main");
        fs::File::options().write(true).open(&log).unwrap().set_len(1 << 40).unwrap();
        store.janitor.work();
        store.on_counted();
        assert!(store.trouble().is_none() && log.metadata().unwrap().len() < 1_000);
        store.commit(&[&[append("main")]]).unwrap();
        assert!(store.trouble().is_none() && fs::read_to_string(&log).unwrap().contains(&record));
        let _ = fs::remove_dir_all(layout.root());
    }
}
