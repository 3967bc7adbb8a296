//! What goes first when the state folder holds more than it may.
//!
//! The copies of damaged files, the oldest first; then the oldest records of the session that was
//! used longest ago, and so on with the next one. The agent's own files count but are not touched:
//! however much they take, a part stays for the records.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::limits::{RECORDS_SHARE, STORAGE_SLACK_SHARE};
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
    for copy in oldest_first(copies)? {
        if excess == 0 {
            return Ok(());
        }
        excess = excess.saturating_sub(fs::metadata(&copy)?.len());
        disk::unlink(&copy)?;
        log::warn!("`{}` was removed: the state folder was full", copy.display());
    }
    let records = folder::used_bytes(&layout.sessions());
    excess = excess.min(records.saturating_sub(max_bytes / RECORDS_SHARE));
    let mut sessions = Vec::new();
    for entry in fs::read_dir(layout.sessions())? {
        sessions.push(entry?.path());
    }
    sessions.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    for path in oldest_first(sessions)? {
        if excess == 0 {
            break;
        }
        excess = excess.saturating_sub(drop_oldest(&path, excess)?);
    }
    Ok(())
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
