//! What goes first when the state folder holds more than it may.
//!
//! The copies of damaged files, the oldest first; then the pictures and files that people sent and
//! the agent's files of conversations that are over, the oldest first; then the oldest records of the
//! session that was used longest ago, and so on with the next one. The agent's files of conversations
//! that go on count but are not touched: however much they take, a part stays for the records.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::limits::{LEFTOVER_AGE_MS_MIN, RECORDS_SHARE, STORAGE_SLACK_SHARE, ms};
use crate::store::disk::{self, Reading};
use crate::store::session_file::{Header, Opened};
use crate::store::{Layout, folder};

/// Removes the oldest until the folder holds less than `max_bytes`, and a little more, so that this
/// is not to be done again at once. To be called when the sessions' files are durable.
pub(super) fn make_room(layout: &Layout, max_bytes: u64) -> io::Result<()> {
    let used = folder::used_bytes(layout.root());
    if used <= max_bytes {
        return Ok(());
    }
    let mut excess = used - (max_bytes - max_bytes / STORAGE_SLACK_SHARE);
    let mut copies = disk::copies_in(layout.root())?;
    copies.extend(disk::copies_in(&layout.sessions())?);
    for file in oldest_first(copies)?.into_iter().chain(oldest_first(leftovers(layout)?)?) {
        if excess == 0 {
            return Ok(());
        }
        excess = excess.saturating_sub(fs::metadata(&file)?.len());
        disk::unlink(&file)?;
        log::warn!("`{}` was removed: the state folder was full", file.display());
    }
    let records = folder::used_bytes(&layout.sessions());
    excess = excess.min(records.saturating_sub(max_bytes / RECORDS_SHARE));
    let mut sessions = files_in(&layout.sessions())?;
    sessions.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    for path in oldest_first(sessions)? {
        if excess == 0 {
            break;
        }
        excess = excess.saturating_sub(drop_oldest(&path, excess)?);
    }
    Ok(())
}

/// What lies in the sessions' folders and nobody works with any more.
fn leftovers(layout: &Layout) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in files_in(&layout.media())?.into_iter().filter(|path| path.is_dir()) {
        files.extend(files_in(&folder)?);
    }
    for folder in files_in(&layout.agent_sessions())?.into_iter().filter(|path| path.is_dir()) {
        let media = files_in(&folder.join("media"))?;
        let (conversations, others): (Vec<_>, Vec<_>) = files_in(&folder)?
            .into_iter()
            .filter(|path| path.is_file())
            .partition(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
        let mut conversations = oldest_first(conversations)?;
        // The newest one goes on.
        conversations.pop();
        files.extend(media.into_iter().chain(conversations).chain(others));
    }
    let now = SystemTime::now();
    let is_quiet = |path: &PathBuf| {
        let age = fs::metadata(path).and_then(|data| data.modified()).map(|then| now.duration_since(then));
        matches!(age, Ok(Ok(age)) if age >= ms(LEFTOVER_AGE_MS_MIN))
    };
    files.retain(is_quiet);
    Ok(files)
}

/// What lies in a folder; nothing if there is none.
fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| entry.map(|entry| entry.path())).collect(),
    }
}

fn oldest_first(paths: Vec<PathBuf>) -> io::Result<Vec<PathBuf>> {
    let mut dated: Vec<(SystemTime, PathBuf)> = Vec::new();
    for path in paths {
        dated.push((fs::metadata(&path)?.modified()?, path));
    }
    dated.sort();
    Ok(dated.into_iter().map(|(_, path)| path).collect())
}

/// Drops the oldest records of a session, so many bytes of them if there are. Returns the bytes that
/// are free now. A file that cannot be read is left alone.
fn drop_oldest(path: &Path, bytes: u64) -> io::Result<u64> {
    let opened = match Opened::read(path) {
        Ok(Some(opened)) => opened,
        Ok(None) => return Ok(0),
        Err(error) => {
            log::warn!("no records of `{}` could be dropped: {error}", path.display());
            return Ok(0);
        }
    };
    let target = (opened.first + bytes).min(opened.len);
    // The record that the last of these bytes is in goes as a whole.
    let mut rest_of_line = Vec::new();
    BufReader::new(Reading::from(&opened.file, target - 1)).read_until(b'\n', &mut rest_of_line)?;
    let cut = (target - 1 + rest_of_line.len() as u64).max(opened.first);
    if cut == opened.first {
        return Ok(0);
    }
    let header = Header::line(&opened.header.key, opened.logical(cut))?;
    let last_used = opened.file.metadata()?.modified()?;
    disk::replace(path, header.as_slice().chain(Reading::from(&opened.file, cut)))?;
    // It is as old as before: next time its turn comes first again.
    fs::File::open(path)?.set_modified(last_used)?;
    log::info!("old records of a session were dropped: the state folder was full");
    Ok(opened.len.saturating_sub(header.len() as u64 + opened.len - cut))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use crate::store::{Layout, Store, StoreOp, folder};

    fn lay(path: &Path, bytes: usize, hours: u32) {
        fs::write(path, "x".repeat(bytes)).unwrap();
        let then = SystemTime::now() - hours * Duration::from_secs(3_600);
        fs::File::open(path).unwrap().set_modified(then).unwrap();
    }

    #[test]
    fn what_nobody_works_with_goes_before_the_records_and_as_soon_as_the_folder_is_full() {
        let root = std::env::temp_dir().join(format!("clawdis-retention-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        folder::make_private(&root).unwrap();
        let layout = Layout::new(&root);
        let (session, media) = (layout.agent_sessions().join("s"), layout.media_of("s"));
        fs::create_dir_all(&session).unwrap();
        fs::create_dir_all(&media).unwrap();
        let [over, current] = ["over.jsonl", "current.jsonl"].map(|name| session.join(name));
        let [sent, fresh] = ["sent.png", "fresh.png"].map(|name| media.join(name));
        lay(&over, 20_000, 30);
        lay(&current, 20_000, 29);
        lay(&sent, 20_000, 28);
        lay(&fresh, 20_000, 0);
        let (mut store, _) = Store::open(layout, 100_000).unwrap();
        assert!(over.exists() && sent.exists());
        let record = format!("{{\"x\":\"{}\"}}", "-".repeat(30_000));
        let ops = [StoreOp::Append { session_key: "main".into(), record }];
        store.commit(&[&ops]).unwrap();
        assert!(!over.exists() && !sent.exists(), "nobody works with these any more");
        assert!(current.exists() && fresh.exists());
        assert!(store.used_bytes() < 90_000 && store.trouble().is_none(), "{}", store.used_bytes());
        let _ = fs::remove_dir_all(&root);
    }
}
