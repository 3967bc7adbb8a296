//! The sessions' own files, written without a sync of their own: the journal holds every record
//! until [`sync`](SessionFiles::sync) has been called. What a record says is not known here.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::store::session_file::{Header, OpenSessionFile};
use crate::store::{Layout, checked_line, disk, trash};

/// The files of all sessions, as the store writes them.
pub(super) struct SessionFiles {
    layout: Layout,
    /// Keys whose files have bytes, or names, that only the journal makes durable.
    pub(super) unsynced: BTreeSet<String>,
    /// Those among the unsynced keys whose sync failed: another one proves nothing before they are written again.
    doubtful: BTreeSet<String>,
    /// A file was removed, which only the journal makes durable.
    is_removal_unsynced: bool,
}

impl SessionFiles {
    pub(super) fn new(layout: Layout) -> Self {
        let (unsynced, doubtful) = (BTreeSet::new(), BTreeSet::new());
        Self { layout, unsynced, doubtful, is_removal_unsynced: false }
    }

    /// Logical offset of the next record of that session. `InvalidData` if its file is damaged.
    pub(super) fn end(&self, key: &str) -> io::Result<u64> {
        Ok(self.open(key)?.map_or(0, |opened| opened.end()))
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
        self.unsynced.insert(key.to_owned());
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
        self.doubtful.remove(key);
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
        let mut failed = None;
        let mut left = BTreeSet::new();
        for key in self.unsynced.clone() {
            if let Err(error) = self.sync_file(&key) {
                failed.get_or_insert(error);
                left.insert(key);
            }
        }
        disk::sync_folder(&self.layout.sessions())?;
        self.unsynced = left;
        self.is_removal_unsynced = false;
        Ok(failed)
    }

    fn sync_file(&mut self, key: &str) -> io::Result<()> {
        let path = self.layout.session(key);
        let file = match disk::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        if self.doubtful.contains(key) {
            drop(disk::replace(&path, file)?);
            self.doubtful.remove(key);
        } else if let Err(error) = disk::sync(&file) {
            self.doubtful.insert(key.to_owned());
            return Err(error);
        }
        Ok(())
    }
}
