//! The journal: the one file whose sync makes things durable.
//!
//! Operations that belong together are one line, so that a torn write leaves all or none of them.
//! What a torn write or a power cut leaves behind the last good line is cut off at the next start.
//! Knows what a line may say, and nothing of what the slots and records are about.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::limits::{JOURNAL_LINE_BYTES_MAX, JOURNAL_PART_BYTES, OFFSET_MAX, SESSION_KEY_CHARS_MAX};
use crate::store::checked_line::{self, Lines};
use crate::store::disk::{self, Reading};

/// Format of the journal.
const VERSION: u32 = 1;

/// What a line of the journal says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum JournalEntry<'a> {
    /// The first line: the format of the journal.
    Journal(u32),
    /// The value of a slot.
    Put {
        slot: String,
        #[serde(borrow)]
        value: &'a RawValue,
    },
    /// A slot and its value are gone.
    Del(String),
    /// A record of a session, at this place of its file.
    App {
        key: String,
        offset: u64,
        #[serde(borrow)]
        record: &'a RawValue,
    },
    /// A session is gone.
    Forget(String),
    /// Several entries, in order, that hold together or not at all.
    All(#[serde(borrow)] Vec<JournalEntry<'a>>),
}

impl JournalEntry<'_> {
    /// Whether its numbers are ones that can be reckoned with, and its keys fit into a session's file.
    pub(super) fn is_sane(&self) -> bool {
        let fits = |key: &str| key.chars().nth(SESSION_KEY_CHARS_MAX).is_none();
        match self {
            Self::App { key, offset, .. } => *offset <= OFFSET_MAX && fits(key),
            Self::Forget(key) => fits(key),
            Self::All(lines) => lines.iter().all(Self::is_sane),
            _ => true,
        }
    }

    /// The entry as it stands in a line.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an entry becomes JSON, and memory takes it")
    }
}

/// The open journal.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Length up to the last line that was synced.
    pub(super) good_bytes: u64,
    /// A failed write left something behind the good lines that could not be cut off yet.
    has_torn_tail: bool,
    /// The file's own name may not survive a power cut, and then nothing in it.
    is_name_unsynced: bool,
    /// Bad lines before the last good one, of which a copy was kept.
    damaged_lines: u64,
}

impl Journal {
    /// Opens the journal, or makes it, and hands every good line in it to `each`. What is left of a
    /// torn write is cut off, and all of the rest is durable then. Adds sentences to `problems`;
    /// whether there was damage, which is more than a torn write, comes with the journal.
    pub(super) fn open(
        path: PathBuf,
        problems: &mut Vec<String>,
        each: impl FnMut(JournalEntry<'_>),
    ) -> io::Result<(Self, bool)> {
        let mut file = disk::open(&path)?;
        let Found { mut good_bytes, damaged_lines, tail_lines, .. } = read_lines(&file, 0, u64::MAX, each)?;
        let first = first_line();
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
        disk::sync_name(&path)?;
        let journal =
            Self { path, file, good_bytes, has_torn_tail: false, is_name_unsynced: false, damaged_lines };
        Ok((journal, is_damaged))
    }

    /// Makes a line durable, or leaves no trace of it.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.repair()?;
        let written = disk::write_at(&self.file, line, self.good_bytes);
        if let Err(error) = written.and_then(|()| disk::sync_data(&self.file)) {
            self.has_torn_tail = true;
            // If that fails, too, nothing more is written until it succeeds.
            let _ = self.repair();
            return Err(error);
        }
        self.good_bytes += line.len() as u64;
        Ok(())
    }

    /// Repairs what an earlier failure left: without that no further line would be safe.
    pub(super) fn repair(&mut self) -> io::Result<()> {
        if self.is_name_unsynced {
            disk::sync_name(&self.path)?;
            self.is_name_unsynced = false;
        }
        if self.has_torn_tail {
            disk::cut(&self.file, self.good_bytes)?;
            disk::sync(&self.file)?;
            self.has_torn_tail = false;
        }
        Ok(())
    }

    /// Hands every good line to `each`, read through the file that is written to: what has the name may be another
    /// file by now. Damage that was not there at the start is an error, at the end of the lines.
    pub(super) fn read(&self, each: impl FnMut(JournalEntry<'_>)) -> io::Result<()> {
        let found = read_lines(&self.file, 0, u64::MAX, each)?;
        if found.good_bytes < self.good_bytes || found.damaged_lines > self.damaged_lines {
            let text = "the journal cannot be read back: it is damaged on the disk";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(())
    }

    /// The same for the lines from a place on that make up a part of some size. Returns the place behind them.
    /// Damage is passed over: it was told of when the journal was opened.
    pub(super) fn read_part(&self, start: u64, each: impl FnMut(JournalEntry<'_>)) -> io::Result<u64> {
        Ok(read_lines(&self.file, start, JOURNAL_PART_BYTES, each)?.end)
    }

    /// Replaces all lines by others. After an error either those or the old ones
    /// are there, and [`append`](Self::append) knows which.
    pub(super) fn replace(&mut self, lines: &[u8]) -> io::Result<()> {
        self.repair()?;
        let mut content = first_line();
        content.extend_from_slice(lines);
        // From here on the old file is nobody's, whatever comes.
        self.file = disk::replace_unsynced(&self.path, content.as_slice())?;
        self.good_bytes = content.len() as u64;
        self.damaged_lines = 0;
        self.is_name_unsynced = true;
        self.repair()
    }
}

fn first_line() -> Vec<u8> {
    checked_line::line(&JournalEntry::Journal(VERSION).to_json())
}

/// What was found where lines were read. Bad lines behind the last good one are a torn write; bad lines before it are
/// damage.
#[derive(Default)]
struct Found {
    /// The place behind the last line.
    end: u64,
    /// Length up to the last good line.
    good_bytes: u64,
    /// Bad lines before the last good one.
    damaged_lines: u64,
    /// Bad lines behind the last good one.
    tail_lines: u64,
}

/// Hands what the lines say to `each`, in order: from `start` on, at which one begins, until `bytes_max` bytes were
/// read. Bad lines say nothing.
fn read_lines(
    file: &File,
    start: u64,
    bytes_max: u64,
    mut each: impl FnMut(JournalEntry<'_>),
) -> io::Result<Found> {
    let mut lines = Lines::from(file, start);
    let mut found = Found { end: start, ..Found::default() };
    while found.end - start < bytes_max {
        let Some((end, json)) = lines.next()? else { break };
        found.end = end;
        let entry = json.and_then(|json| serde_json::from_str::<JournalEntry<'_>>(json).ok());
        let Some(entry) = entry.filter(JournalEntry::is_sane) else {
            found.tail_lines += 1;
            continue;
        };
        found.damaged_lines += std::mem::take(&mut found.tail_lines);
        found.good_bytes = end;
        match entry {
            JournalEntry::Journal(version) if version != VERSION => {
                let text = format!("the journal has format {version}, this version reads {VERSION}");
                return Err(io::Error::new(io::ErrorKind::Unsupported, text));
            }
            JournalEntry::All(entries) => entries.into_iter().for_each(&mut each),
            entry => each(entry),
        }
    }
    Ok(found)
}
