//! The journal: the one file whose sync makes things durable.
//!
//! Operations that belong together are one line, so that a torn write leaves all or none of them.
//! What a torn write or a power cut leaves behind the last good line is cut off at the next start.
//! Knows lines and bytes, and nothing of what the lines are about.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::limits::{JOURNAL_LINE_BYTES_MAX, JOURNAL_PART_BYTES};
use crate::store::checked_line::{self, Lines};
use crate::store::disk::{self, Reading};
use crate::store::journal_entry::{Line, VERSION};

/// The open journal.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Length up to the last line that was synced.
    good_bytes: u64,
    /// What a failed write left behind the good lines could not be cut off yet.
    has_torn_tail: bool,
    /// The file's own name may not survive a power cut, and then nothing in it.
    is_name_unsynced: bool,
    /// Bad lines before the last good one, of which a copy was kept.
    damaged_lines: u64,
}

/// What reading the journal came upon besides good lines.
#[derive(Default)]
struct Scan {
    /// Length up to the last good line.
    good_bytes: u64,
    /// Bad lines before that: damage, not a torn write.
    damaged_lines: u64,
    /// Bad lines behind it.
    tail_lines: u64,
    /// Behind the last line that was read.
    end: u64,
}

impl Journal {
    /// Opens the journal, or makes it, and hands every good line in it to `each`. What is left of a
    /// torn write is cut off, and all of the rest is durable then. Adds sentences to `problems`;
    /// whether there was damage, which is more than a torn write, comes with the journal.
    pub(super) fn open(
        path: PathBuf,
        problems: &mut Vec<String>,
        each: impl FnMut(Line<'_>),
    ) -> io::Result<(Self, bool)> {
        let mut file = disk::open(&path)?;
        let Scan { mut good_bytes, damaged_lines, tail_lines, .. } = scan(&file, 0, u64::MAX, each)?;
        let first = first_line()?;
        let torn_bytes = file.metadata()?.len().saturating_sub(good_bytes);
        // The first line was durable before there was a second, and each line before the next one:
        // a torn write is one bad line at the end. Where that would be too long a line, the rest of the
        // file was not even read; it is only in the copy.
        let has_no_beginning = good_bytes == 0 && torn_bytes > first.len() as u64;
        let is_endless = torn_bytes > JOURNAL_LINE_BYTES_MAX as u64;
        let is_damaged = damaged_lines > 0 || tail_lines > 1 || has_no_beginning || is_endless;
        if is_damaged {
            let copy = disk::keep_copy(&path)?;
            problems.push(format!(
                "the journal is damaged; a copy was kept as `{}` and everything readable was used",
                copy.display()
            ));
            // What is written from here on is not to be written into the copy.
            file = disk::replace(&path, Reading::from(&file, 0).take(good_bytes))?;
        } else if torn_bytes > 0 {
            if good_bytes > 0 {
                disk::cut(&file, good_bytes)?;
            } else {
                // Nothing in it is ours: it may be anybody's file that has got this name, too.
                file = disk::create(&path)?;
            }
        }
        if torn_bytes > 0 {
            let why =
                if is_damaged { "they cannot be read" } else { "the gateway was stopped while writing them" };
            problems.push(format!("the last {torn_bytes} bytes of the journal were cut off: {why}"));
        }
        if good_bytes == 0 {
            disk::write_at(&file, &first, 0)?;
            good_bytes = first.len() as u64;
        }
        // A gateway that was killed may have left the end of the journal, and even its name, in
        // memory only. Nothing of it may be told, and no promise follow it, before it is durable.
        disk::sync(&file)?;
        disk::sync_folder(folder_of(&path))?;
        let journal =
            Self { path, file, good_bytes, has_torn_tail: false, is_name_unsynced: false, damaged_lines };
        Ok((journal, is_damaged))
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.good_bytes
    }

    /// Makes a line durable, or leaves no trace of it.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.settle()?;
        let written = disk::write_at(&self.file, line, self.good_bytes);
        if let Err(error) = written.and_then(|()| disk::sync_data(&self.file)) {
            self.has_torn_tail = true;
            // If that fails, too, nothing more is written until it succeeds.
            let _ = self.settle();
            return Err(error);
        }
        self.good_bytes += line.len() as u64;
        Ok(())
    }

    /// Repairs what an earlier failure left: without that no further line would be safe.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        if self.is_name_unsynced {
            disk::sync_folder(folder_of(&self.path))?;
            self.is_name_unsynced = false;
        }
        if self.has_torn_tail {
            disk::cut(&self.file, self.good_bytes)?;
            disk::sync(&self.file)?;
            self.has_torn_tail = false;
        }
        Ok(())
    }

    /// Hands every line to `each`, through the handle that is written to: what has the name may be
    /// another file by now. Damage that was not there at the start is an error.
    pub(super) fn read(&self, each: impl FnMut(Line<'_>)) -> io::Result<()> {
        let found = scan(&self.file, 0, u64::MAX, each)?;
        if found.damaged_lines > self.damaged_lines || found.good_bytes < self.good_bytes {
            let text = "the journal cannot be read back: it is damaged on the disk";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(())
    }

    /// Hands the lines from a place on to `each` until that is a part of some size. Returns the place behind
    /// them, or `None` at the end. Damage is passed over: it was told of when the journal was opened.
    pub(super) fn read_part(&self, from: u64, each: impl FnMut(Line<'_>)) -> io::Result<Option<u64>> {
        let end = scan(&self.file, from, JOURNAL_PART_BYTES, each)?.end;
        Ok((from < end && end < self.good_bytes).then_some(end))
    }

    /// Puts other lines in the place of all of them. After an error either those or the old ones
    /// are there, and [`append`](Self::append) knows which.
    pub(super) fn replace(&mut self, lines: &[u8]) -> io::Result<()> {
        self.settle()?;
        let mut content = first_line()?;
        content.extend_from_slice(lines);
        let temporary = self.path.with_extension("new");
        let file = disk::create(&temporary)?;
        disk::write_at(&file, &content, 0)?;
        disk::sync(&file)?;
        disk::rename(&temporary, &self.path)?;
        // From here on the old file is nobody's, whatever comes.
        self.file = file;
        self.good_bytes = content.len() as u64;
        self.damaged_lines = 0;
        self.is_name_unsynced = true;
        self.settle()
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn first_line() -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    checked_line::write_line(&mut line, &serde_json::to_string(&Line::Journal(VERSION))?);
    Ok(line)
}

/// Calls `each` for every good line from a place on, or for each of those in it, until so many bytes were
/// read. Bad lines behind the last good one are torn writes; bad lines before it are damage.
fn scan(file: &File, from: u64, bytes_max: u64, mut each: impl FnMut(Line<'_>)) -> io::Result<Scan> {
    let mut lines = Lines::from(file, from);
    let mut scan = Scan { end: from, ..Scan::default() };
    while scan.end - from < bytes_max {
        let Some((at, json)) = lines.next()? else { break };
        scan.end = at;
        let parsed = json.and_then(|json| serde_json::from_str::<Line<'_>>(json).ok());
        let Some(parsed) = parsed.filter(Line::is_sane) else {
            scan.tail_lines += 1;
            continue;
        };
        if let Line::Journal(version) = parsed {
            if version != VERSION {
                let text = format!("the journal has format {version}, this version reads {VERSION}");
                return Err(io::Error::new(io::ErrorKind::Unsupported, text));
            }
        }
        match parsed {
            Line::All(lines) => lines.into_iter().for_each(&mut each),
            line => each(line),
        }
        scan.damaged_lines += std::mem::take(&mut scan.tail_lines);
        scan.good_bytes = at;
    }
    Ok(scan)
}
