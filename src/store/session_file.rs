//! The format of a session's file: a header line, then one record per line.
//!
//! A record is named by its logical offset, which stays the same when older records are removed
//! (`base` grows instead). What a record says is not known here.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use rustix::fs::SeekFrom;
use serde::{Deserialize, Serialize};

use crate::limits::{OFFSET_MAX, SESSION_HEADER_BYTES_MAX};
use crate::store::checked_line::{self, Lines};
use crate::store::disk::{self, Reading};

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
        let header: Option<Header> = line
            .strip_suffix(b"\n")
            .and_then(checked_line::read_line)
            .and_then(|json| serde_json::from_str(json).ok());
        let header = header.filter(|header| header.base <= OFFSET_MAX);
        let header =
            header.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "its beginning is damaged"))?;
        if header.v != VERSION {
            let text = format!("it has format {}, this version reads {VERSION}", header.v);
            return Err(io::Error::new(ErrorKind::Unsupported, text));
        }
        let len = file.metadata()?.len();
        Ok(Self { file, header, first: line.len() as u64, len })
    }

    /// Logical offset behind the last record.
    pub(super) fn end(&self) -> u64 {
        self.header.base + (self.len - self.first)
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
