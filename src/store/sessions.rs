//! The sessions' own files: one append-only file per session key.
//!
//! The first line is a header, every other one a record. A record is named by its logical offset,
//! which stays the same when older records are removed (`base` grows instead). Nothing here is
//! synced: the journal holds every record until [`sync`](SessionFiles::sync) has been called.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::store::{Layout, folder, record};

/// Format of session files.
const VERSION: u32 = 1;
/// Longest header line: a key of 256 characters, escaped, and a few numbers.
const HEADER_BYTES_MAX: u64 = 4096;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    v: u32,
    pub(super) key: String,
    /// Logical offset of the first record in this file.
    base: u64,
}

/// A session file's header and where its records lie.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) header: Header,
    /// Physical offset of the first record.
    pub(super) first: u64,
    /// Physical length.
    pub(super) len: u64,
}

impl Opened {
    /// Opens for reading. `None` if there is no such file.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => Self::parse(file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(file: File) -> io::Result<Self> {
        let mut line = Vec::new();
        BufReader::with_capacity(512, &file).take(HEADER_BYTES_MAX).read_until(b'\n', &mut line)?;
        let header: Option<Header> = line
            .strip_suffix(b"\n")
            .and_then(record::read_line)
            .and_then(|json| serde_json::from_str(json).ok())
            .filter(|header: &Header| header.v == VERSION);
        let header = header.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let len = file.metadata()?.len();
        Ok(Self { file, header, first: line.len() as u64, len })
    }

    /// Logical offset behind the last byte.
    pub(super) fn end(&self) -> u64 {
        self.header.base + (self.len - self.first)
    }

    pub(super) fn logical(&self, physical: u64) -> u64 {
        self.header.base + (physical - self.first)
    }

    pub(super) fn physical(&self, logical: u64) -> u64 {
        self.first + logical.saturating_sub(self.header.base)
    }
}

/// The writer's side.
pub(super) struct SessionFiles {
    layout: Layout,
    /// Keys whose files have bytes that only the journal makes durable.
    unsynced: BTreeSet<String>,
    /// A file was removed, which only the journal makes durable.
    removed: bool,
}

impl SessionFiles {
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout, unsynced: BTreeSet::new(), removed: false }
    }

    /// Logical offset of the next record of that session.
    pub(super) fn end(&self, key: &str) -> io::Result<u64> {
        Ok(Opened::read(&self.layout.session(key))?.map_or(0, |opened| opened.end()))
    }

    /// Writes a record at its logical offset; one that is there already is left alone.
    /// Returns the bytes written.
    pub(super) fn apply(&mut self, key: &str, offset: u64, json: &str) -> io::Result<u64> {
        // Also if it is there already: a gateway that was killed may have left it in memory only.
        self.unsynced.insert(key.to_owned());
        let path = self.layout.session(key);
        let mut bytes = Vec::with_capacity(json.len() + 16);
        let opened = Opened::read(&path)?;
        let exists = opened.is_some();
        let at = if let Some(opened) = opened {
            if opened.end() > offset {
                return Ok(0);
            }
            opened.physical(offset)
        } else {
            let header = Header { v: VERSION, key: key.to_owned(), base: offset };
            record::write_line(&mut bytes, &serde_json::to_string(&header)?);
            0
        };
        record::write_line(&mut bytes, json);
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(!exists).mode(0o600).open(&path)?;
        // Never beyond the end, even if bytes that should be there are not.
        let at = at.min(file.metadata()?.len());
        file.seek(SeekFrom::Start(at))?;
        let written = file.write_all(&bytes);
        if written.is_err() {
            // A half-written record would only be cut at the next start; cut it now.
            let _ = file.set_len(at);
        }
        written?;
        Ok(bytes.len() as u64)
    }

    /// Cuts a torn last line off, so that the journal can write it again.
    pub(super) fn mend_tail(&self, key: &str) -> io::Result<()> {
        let path = self.layout.session(key);
        let opened = match Opened::read(&path) {
            Ok(None) => return Ok(()),
            Ok(Some(opened)) => opened,
            // Its very first line is torn: everything in it is still in the journal.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return fs::remove_file(&path),
            Err(error) => return Err(error),
        };
        let mut good = opened.first;
        let mut reader = BufReader::new(&opened.file);
        reader.seek(SeekFrom::Start(good))?;
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.strip_suffix(b"\n").and_then(record::read_line).is_none() {
                break;
            }
            good += line.len() as u64;
        }
        if good < opened.len {
            OpenOptions::new().write(true).open(&path)?.set_len(good)?;
        }
        Ok(())
    }

    /// Removes everything of that session, the agent's files included: a process that still has
    /// them is about to be ended, and no run of the next conversation begins before this is done.
    pub(super) fn forget(&mut self, key: &str) -> io::Result<()> {
        self.unsynced.remove(key);
        // Also if there is none any more, for the same reason.
        self.removed = true;
        if let Err(error) = unless_missing(fs::remove_dir_all(self.layout.agent_session(key))) {
            // Such a process may just have written; the agent thread deletes once it is gone.
            log::warn!("the agent's files of a forgotten session are not gone yet: {error}");
        }
        unless_missing(fs::remove_file(self.layout.session(key)))
    }

    /// Makes everything durable without the journal's help.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced.is_empty() && !self.removed {
            return Ok(());
        }
        for key in &self.unsynced {
            match File::open(self.layout.session(key)) {
                Ok(file) => file.sync_all()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        folder::sync_folder(&self.layout.sessions())?;
        self.unsynced.clear();
        if self.removed {
            unless_missing(folder::sync_folder(&self.layout.agent_sessions()))?;
            self.removed = false;
        }
        Ok(())
    }
}

fn unless_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
