//! The sessions' own files: a header line, then one record per line. A record is named by its logical offset,
//! which stays the same when older records are removed (the header's `base` grows instead).
//!
//! They are written without a sync of their own: the journal holds every record until
//! [`sync`](SessionFiles::sync) has been called. What it has and they lack waits in
//! [`UnappliedWrites`]. What a record says is not known here.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use rustix::fs::SeekFrom;
use serde::{Deserialize, Serialize};

use crate::limits::{OFFSET_MAX, SESSION_HEADER_BYTES_MAX, UNAPPLIED_BYTES_MAX, UNAPPLIED_RECORDS_MAX};
use crate::store::checked_line::{self, Lines};
use crate::store::disk::{self, Reading};
use crate::store::{Layout, trash};

/// Format of session files.
const VERSION: u32 = 1;

/// First line of a session's file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    v: u32,
    pub(super) key: String,
    /// Logical offset of the first record in this file.
    pub(super) base: u64,
}

impl Header {
    /// The header's line, for a file whose first record is the one at `base`.
    pub(super) fn line(key: &str, base: u64) -> Vec<u8> {
        let header = Self { v: VERSION, key: key.to_owned(), base };
        checked_line::line(
            &serde_json::to_string(&header).expect("a header becomes JSON, and memory takes it"),
        )
    }
}

/// An open session file: its header, and where its records lie.
pub(super) struct OpenSessionFile {
    pub(super) file: File,
    pub(super) header: Header,
    /// Physical offset of the first record.
    pub(super) first: u64,
    /// Physical length of the file.
    pub(super) len: u64,
}

impl OpenSessionFile {
    /// Opens a file for reading. `None` if there is no such file; `InvalidData` if its beginning cannot be
    /// read, `Unsupported` if another version wrote it.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        match disk::read(path) {
            Ok(file) => Self::parse(file).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(file: File) -> io::Result<Self> {
        let mut line = Vec::new();
        let beginning = Reading::from(&file, 0);
        BufReader::with_capacity(512, beginning)
            .take(SESSION_HEADER_BYTES_MAX as u64)
            .read_until(b'\n', &mut line)?;
        let header: Header = line
            .strip_suffix(b"\n")
            .and_then(checked_line::read_line)
            .and_then(|json| serde_json::from_str(json).ok())
            .filter(|header: &Header| header.base <= OFFSET_MAX)
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "its beginning is damaged"))?;
        if header.v != VERSION {
            let text = format!("it has format {}, this version reads {VERSION}", header.v);
            return Err(io::Error::new(ErrorKind::Unsupported, text));
        }
        let len = file.metadata()?.len();
        Ok(Self { file, header, first: line.len() as u64, len })
    }

    /// Logical offset of the record at a physical one.
    pub(super) fn logical(&self, physical: u64) -> u64 {
        self.header.base + (physical - self.first)
    }

    /// Physical offset of the record at a logical one; the first record's if that one is older than all in the
    /// file. A client may give any number for one.
    pub(super) fn physical(&self, logical: u64) -> u64 {
        self.first.saturating_add(logical.saturating_sub(self.header.base))
    }

    /// Physical offset of the first line from `start` on that is damaged, or behind the last one.
    pub(super) fn good_until(&self, start: u64) -> io::Result<u64> {
        let mut lines = Lines::from(&self.file, start);
        let mut good = start;
        while let Some((end, Some(_))) = lines.next()? {
            good = end;
        }
        Ok(good)
    }

    /// Physical offset of the first hole, or the length of the file: something that was never written. A
    /// power cut leaves holes, and whoever restores a backup.
    pub(super) fn first_hole(&self) -> u64 {
        rustix::fs::seek(&self.file, SeekFrom::Hole(self.first)).map_or(self.len, |hole| hole.min(self.len))
    }

    /// Whether exactly these bytes are at a physical offset.
    pub(super) fn has_at(&self, physical: u64, bytes: &[u8]) -> io::Result<bool> {
        let mut found = Vec::with_capacity(bytes.len());
        Reading::from(&self.file, physical).take(bytes.len() as u64).read_to_end(&mut found)?;
        Ok(found == bytes)
    }
}

/// The files of all sessions, as the store writes them.
pub(super) struct SessionFiles {
    layout: Layout,
    /// Keys whose files have bytes, or names, that only the journal makes durable, and whether a sync of them
    /// failed: another one proves nothing before they are written again.
    pub(super) unsynced: BTreeMap<String, bool>,
    /// A file was removed, which only the journal makes durable.
    is_removal_unsynced: bool,
}

impl SessionFiles {
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout, unsynced: BTreeMap::new(), is_removal_unsynced: false }
    }

    /// Logical offset of the next record of that session. `InvalidData` if its file is damaged.
    pub(super) fn end(&self, key: &str) -> io::Result<u64> {
        Ok(self.open(key)?.map_or(0, |opened| opened.logical(opened.len)))
    }

    /// Opens a session's file. `None` also for one that does not go beyond its beginning: it was being made
    /// when the gateway, or the disk, stopped.
    fn open(&self, key: &str) -> io::Result<Option<OpenSessionFile>> {
        let path = self.layout.session(key);
        match OpenSessionFile::read(&path) {
            Ok(Some(opened)) if opened.header.key != key => {
                Err(io::Error::new(ErrorKind::InvalidData, "it is another session's"))
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                let is_torn = fs::symlink_metadata(&path)?.len() < Header::line(key, 0).len() as u64;
                if is_torn { Ok(None) } else { Err(error) }
            }
            other => other,
        }
    }

    /// Writes a record at its logical offset; what else is there and behind it was never finished.
    /// Returns the bytes written: none if exactly this record is there already. `InvalidData` if the
    /// file is damaged.
    pub(super) fn append(&mut self, key: &str, offset: u64, json: &str) -> io::Result<u64> {
        // Also if it is there already: a gateway that was killed may have left it in memory only.
        self.unsynced.entry(key.to_owned()).or_default();
        let path = self.layout.session(key);
        let mut line = checked_line::line(json);
        let Some(opened) = self.open(key)? else {
            let mut bytes = Header::line(key, offset);
            bytes.append(&mut line);
            disk::write_at(&disk::create(&path)?, &bytes, 0)?;
            return Ok(bytes.len() as u64);
        };
        if offset < opened.header.base {
            return Ok(0);
        }
        let at = opened.physical(offset);
        if at > opened.len {
            return Err(io::Error::new(ErrorKind::InvalidData, "records in it are missing"));
        }
        let file = disk::open(&path)?;
        if at < opened.len {
            if opened.has_at(at, &line)? {
                return Ok(0);
            }
            disk::cut(&file, at)?;
        }
        disk::write_at(&file, &line, at)?;
        Ok(line.len() as u64)
    }

    /// Makes a session's file ready for the records that the journal holds, the first of which is at `from`.
    /// What is torn behind that is cut off; a file that is damaged before it is set aside, and a new
    /// one begins at `from`. Returns a sentence if something is lost from the history.
    pub(super) fn mend(&mut self, key: &str, from: u64) -> io::Result<Option<String>> {
        match self.open(key) {
            Ok(None) if from == 0 => return Ok(None),
            Ok(None) => {
                let path = self.layout.session(key);
                let lost = "is gone; its history begins anew";
                return Ok(Some(format!("the file `{}` of a session {lost}", path.display())));
            }
            Ok(Some(opened)) => {
                let good = opened.good_until(opened.first)?;
                if good >= opened.physical(from) {
                    if good < opened.len {
                        disk::cut(&disk::open(&self.layout.session(key))?, good)?;
                    }
                    return Ok(None);
                }
            }
            // All of the file is in the journal: it is as new as this, and was never synced.
            Err(error) if error.kind() == ErrorKind::InvalidData && from == 0 => {
                return disk::unlink(&self.layout.session(key)).map(|()| None);
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => {}
            Err(error) => return Err(error),
        }
        self.begin_anew(key, from, &[]).map(Some)
    }

    /// Sets a damaged file aside and puts one with these records, as the journal still has them, in
    /// its place. Returns the sentence about it.
    pub(super) fn rebuild(&mut self, key: &str, records: &[(u64, String)]) -> io::Result<String> {
        let base = match records.first() {
            Some((offset, _)) => *offset,
            // No offset of the old file is beyond that, if it never lost its oldest records.
            None => fs::symlink_metadata(self.layout.session(key))?.len(),
        };
        self.begin_anew(key, base, records)
    }

    fn begin_anew(&mut self, key: &str, base: u64, records: &[(u64, String)]) -> io::Result<String> {
        let path = self.layout.session(key);
        let copy = disk::keep_copy(&path)?;
        let mut content = Header::line(key, base);
        for (_, json) in records {
            checked_line::write_line(&mut content, json);
        }
        drop(disk::replace(&path, content.as_slice())?);
        Ok(format!(
            "the file of a session was damaged; a copy was kept as `{}`, and its history begins anew",
            copy.display()
        ))
    }

    /// Removes everything of a session.
    pub(super) fn forget(&mut self, key: &str) -> io::Result<()> {
        // Also if there is nothing any more, for the reason given above.
        self.is_removal_unsynced = true;
        let path = self.layout.session(key);
        // No copy of the journal can be freed from what one session said.
        let of_journal = disk::copies_of(&self.layout.journal())?;
        let copies = disk::copies_of(&path)?;
        for name in copies.iter().chain(&of_journal).chain([&path.with_extension("new"), &path]) {
            self.remove(name)?;
        }
        self.unsynced.remove(key);
        Ok(())
    }

    /// Removes a file, or whatever else lies in its place.
    fn remove(&self, path: &Path) -> io::Result<()> {
        match disk::unlink(path) {
            Err(error) if error.kind() == ErrorKind::IsADirectory => trash::discard(
                &disk::folder_of(path)?,
                path.file_name().unwrap_or_default(),
                &self.layout.open_tmp()?,
            ),
            removed => removed,
        }
    }

    /// Makes everything durable without the journal's help. Returns the first error about a single
    /// session, which stays among the `unsynced` ones; an `Err` is about all.
    pub(super) fn sync(&mut self) -> io::Result<Option<io::Error>> {
        if self.unsynced.is_empty() && !self.is_removal_unsynced {
            return Ok(None);
        }
        let mut failed = BTreeMap::new();
        for (key, is_doubtful) in &mut self.unsynced {
            if let Err(error) = sync_file(&self.layout.session(key), is_doubtful) {
                failed.insert(key.clone(), error);
            }
        }
        disk::sync_folder(&self.layout.sessions())?;
        self.unsynced.retain(|key, _| failed.contains_key(key));
        self.is_removal_unsynced = false;
        Ok(failed.into_values().next())
    }
}

/// Makes a file durable; one of which a sync has failed is doubtful, and written anew.
fn sync_file(path: &Path, is_doubtful: &mut bool) -> io::Result<()> {
    let file = match disk::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let synced = if *is_doubtful { disk::replace(path, file).map(drop) } else { disk::sync(&file) };
    *is_doubtful = synced.is_err();
    synced
}

/// Something that is still to be written to a session's file.
#[derive(Debug, PartialEq)]
pub(super) enum SessionWrite {
    /// The record at this logical offset.
    Append { offset: u64, record: String },
    /// The file is to be removed.
    Forget,
}

/// The writes that are still to be done.
#[derive(Default)]
pub(super) struct UnappliedWrites(BTreeMap<String, VecDeque<SessionWrite>>);

impl UnappliedWrites {
    /// Puts a write behind what that session's file lacks already.
    pub(super) fn push(&mut self, key: String, write: SessionWrite) {
        let writes = self.0.entry(key).or_default();
        if write == SessionWrite::Forget {
            // Nothing that the file lacked before matters any more.
            writes.clear();
        }
        writes.push_back(write);
    }

    /// Puts the others behind what their sessions' files lack already.
    pub(super) fn append(&mut self, others: Self) {
        for (key, writes) in others.0 {
            for write in writes {
                self.push(key.clone(), write);
            }
        }
    }

    /// Drops what that session's file lacked.
    pub(super) fn drop_all(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// The first thing that session's file lacks.
    pub(super) fn first(&self, key: &str) -> Option<&SessionWrite> {
        self.0.get(key)?.front()
    }

    /// Told that the first thing was written.
    pub(super) fn done(&mut self, key: &str) {
        if let Some(writes) = self.0.get_mut(key) {
            writes.pop_front();
            if writes.is_empty() {
                self.0.remove(key);
            }
        }
    }

    /// Logical offset behind the last record that session's file lacks. `None` if it lacks nothing.
    pub(super) fn end(&self, key: &str) -> Option<u64> {
        self.0.get(key)?.back().map(|write| match write {
            SessionWrite::Append { offset, record } => offset + checked_line::line_bytes(record),
            SessionWrite::Forget => 0,
        })
    }

    /// Whether that session may lack one more record. Those that lack nothing so far may for longer:
    /// one session in trouble is not to stop the others.
    pub(super) fn has_room(&self, key: &str) -> bool {
        let share = if self.0.contains_key(key) { 1 } else { 2 };
        let (mut records, mut bytes) = (0, 0);
        for write in self.0.values().flatten() {
            if let SessionWrite::Append { record, .. } = write {
                records += 1;
                bytes += record.len();
            }
            // A start may find many more than there may be.
            if records >= share * UNAPPLIED_RECORDS_MAX || bytes >= share * UNAPPLIED_BYTES_MAX {
                return false;
            }
        }
        true
    }

    /// Sessions whose files lack something.
    pub(super) fn keys(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{SessionWrite, UnappliedWrites};
    use crate::limits::UNAPPLIED_RECORDS_MAX;

    #[test]
    fn one_session_in_trouble_leaves_room_for_the_others() {
        let append = |offset| SessionWrite::Append { offset, record: "1".to_owned() };
        let mut backlog = UnappliedWrites::default();
        for at in 0..UNAPPLIED_RECORDS_MAX as u64 {
            assert!(backlog.has_room("bad"));
            backlog.push("bad".to_owned(), append(at));
        }
        assert!(!backlog.has_room("bad") && backlog.has_room("good"));
        for at in 0..UNAPPLIED_RECORDS_MAX as u64 {
            backlog.push("worse".to_owned(), append(at));
        }
        assert!(!backlog.has_room("good"));
        backlog.push("bad".to_owned(), SessionWrite::Forget);
        assert_eq!(backlog.first("bad"), Some(&SessionWrite::Forget));
        assert!(!backlog.has_room("bad") && backlog.has_room("good"));
        backlog.drop_all("worse");
        assert!(backlog.has_room("bad"));
        assert_eq!(backlog.keys(), ["bad"]);
    }
}
