//! Group commit: many commands, one line of the journal, one sync; then the sessions' files.
//!
//! What the slots and records say is not known here, nor who waits for the commands.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use crate::limits::{JOURNAL_BYTES_MAX, OPS_BYTES_MAX, RECORD_BYTES_MAX, STORAGE_GROWTH_BYTES};
use crate::metrics::METRICS;
use crate::store::checked_line::{self, line_bytes};
use crate::store::journal::{Journal, JournalEntry};
use crate::store::layout::SESSIONS;
use crate::store::session_files::{SessionFiles, SessionWrite, UnappliedWrites};
use crate::store::{Janitor, Layout, StoreOp, disk, folder, quota};

/// What the gateway's last life left in its journal.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The slots, and the JSON in them.
    pub(crate) slots: BTreeMap<String, String>,
    /// Something in the journal was unreadable: what it said is not known.
    pub(crate) is_damaged: bool,
    /// Sentences for the log.
    pub(crate) problems: Vec<String>,
}

/// The length at which a journal is written anew, by the bytes that still stand in it. Each life of the gateway
/// reckons from those: one that reckoned from the length that the last life left would never get there.
fn compact_at(standing_bytes: u64) -> u64 {
    JOURNAL_BYTES_MAX.max(2 * standing_bytes)
}

/// The open journal and the files behind it.
pub struct Store {
    journal: Journal,
    sessions: SessionFiles,
    unapplied: UnappliedWrites,
    /// Sessions whose files were made anew from all that the journal has of them, while it is replayed.
    rebuilt: BTreeSet<String>,
    compact_at_bytes: u64,
    must_compact: bool,
    /// The janitor of the same folder.
    pub(super) janitor: Janitor,
    /// Used bytes above which the folder is counted and room is made. It rises where nothing more can be
    /// cleared.
    full_at_bytes: u64,
    /// Why a session's file lags behind the journal.
    apply_trouble: Option<io::Error>,
    /// Why the journal is longer than it should be.
    compact_trouble: Option<io::Error>,
}

/// What a group of commands writes.
#[derive(Default)]
struct Group {
    lines: Vec<String>,
    writes: UnappliedWrites,
    /// The journal is to be written anew behind this group.
    compacts: bool,
}

impl Store {
    /// Opens the folder's files and brings them to the state of the last promise made.
    pub fn open(janitor: Janitor) -> io::Result<(Self, Recovered)> {
        let layout = janitor.layout().clone();
        folder::prepare(&layout)?;
        let mut recovered = Recovered::default();
        let mut has_records = false;
        let mut has_forgotten = false;
        let slots = &mut recovered.slots;
        let path = layout.journal();
        let (journal, mut is_damaged) =
            Journal::open(path.clone(), &mut recovered.problems, |line| match line {
                JournalEntry::Put { slot, value } => drop(slots.insert(slot, value.get().to_owned())),
                JournalEntry::Del(slot) => drop(slots.remove(&slot)),
                JournalEntry::App { .. } => has_records = true,
                JournalEntry::Forget(_) => has_forgotten = true,
                JournalEntry::Journal(_) | JournalEntry::All(_) => {}
            })?;
        // Killed while it wrote a new journal.
        disk::clear(&path.with_extension("new"))?;
        let says_nothing = recovered.slots.is_empty() && !has_records && !has_forgotten;
        if says_nothing && !is_damaged && has_sessions(&layout)? {
            recovered.problems.push(LOST_JOURNAL.to_owned());
            is_damaged = true;
        }
        recovered.is_damaged = is_damaged;
        janitor.add(journal.good_bytes);
        let mut store = Self {
            // What the slots take in a journal that has nothing else, nearly.
            compact_at_bytes: compact_at(
                recovered.slots.iter().map(|(slot, value)| line_bytes(slot) + value.len() as u64).sum(),
            ),
            must_compact: is_damaged || has_forgotten,
            sessions: SessionFiles::new(layout),
            janitor,
            journal,
            unapplied: UnappliedWrites::default(),
            rebuilt: BTreeSet::new(),
            full_at_bytes: u64::MAX,
            apply_trouble: None,
            compact_trouble: None,
        };
        store.replay(&mut recovered.problems)?;
        // A damaged journal is rewritten with the first commit: that says what follows from it.
        store.catch_up(!is_damaged);
        Ok((store, recovered))
    }

    /// Brings the sessions' files to what the journal says, a part of it at a time: it may be long. What a
    /// file in trouble lacks stays in memory.
    fn replay(&mut self, problems: &mut Vec<String>) -> io::Result<()> {
        let mut known = BTreeSet::new();
        let mut next_part = Some(0);
        while let Some(start) = next_part {
            let end = self.journal.read_part(start, |entry| match entry {
                // A file that was made from all of the journal has this one, too.
                JournalEntry::App { key, .. } if self.rebuilt.contains(&key) => {}
                JournalEntry::App { key, offset, record } => {
                    let record = record.get().to_owned();
                    self.unapplied.push(key, SessionWrite::Append { offset, record });
                }
                JournalEntry::Forget(key) => {
                    self.rebuilt.remove(&key);
                    self.unapplied.push(key, SessionWrite::Forget);
                }
                _ => {}
            })?;
            next_part = (start < end && end < self.journal.good_bytes).then_some(end);
            self.mend(&mut known, problems);
            self.apply_trouble = self.apply().err();
        }
        Ok(())
    }

    /// Prepares the files of the sessions that are met for the first time.
    fn mend(&mut self, known: &mut BTreeSet<String>, problems: &mut Vec<String>) {
        for key in self.unapplied.keys() {
            let is_new = known.insert(key.clone());
            // A session that begins with being forgotten has nothing that could be torn.
            let Some(SessionWrite::Append { offset, .. }) = self.unapplied.first(&key).filter(|_| is_new)
            else {
                continue;
            };
            match self.sessions.mend(&key, *offset) {
                Ok(problem) => problems.extend(problem),
                Err(error) => problems.push(self.naming_file(&key, &error).to_string()),
            }
        }
    }

    /// Whether the folder has grown so that it should be counted.
    pub(super) fn is_full(&self) -> bool {
        self.janitor.used_bytes() > self.full_at_bytes
    }

    /// Told that the folder was counted. What is too much, and can only be taken from the records, goes.
    pub(super) fn on_counted(&mut self) {
        let excess = self.janitor.take_excess();
        if excess > 0 {
            self.compact_trouble = self.drop_records(excess).err();
        }
        let (used, max) = (self.janitor.used_bytes(), self.janitor.max_bytes());
        self.full_at_bytes = if used > max { used + STORAGE_GROWTH_BYTES } else { max };
    }

    fn drop_records(&mut self, excess: u64) -> io::Result<()> {
        self.compact()?;
        let dropped = quota::drop_records(self.janitor.layout(), excess, self.janitor.max_bytes())?;
        self.janitor.subtract(dropped);
        Ok(())
    }

    /// Why something that is durable is not where it belongs yet; it is tried again.
    pub(super) fn trouble(&self) -> Option<&io::Error> {
        self.apply_trouble.as_ref().or(self.compact_trouble.as_ref())
    }

    /// Makes the commands durable with one sync. After an `Err` none of them is; otherwise each has
    /// an answer of its own, for one that cannot be carried out fails alone.
    pub(super) fn commit(&mut self, commands: &[&[StoreOp]]) -> io::Result<Vec<io::Result<()>>> {
        let mut group = Group::default();
        let answers = commands.iter().map(|ops| self.add(ops, &mut group)).collect();
        if group.lines.is_empty() {
            return Ok(answers);
        }
        // One line, so that a torn write leaves all or nothing of it.
        let line = checked_line::line(&match group.lines.as_slice() {
            [line] => line.clone(),
            lines => format!("{{\"all\":[{}]}}", lines.join(",")),
        });
        self.journal.append(&line)?;
        self.janitor.add(line.len() as u64);
        METRICS.commits.up();
        self.unapplied.append(group.writes);
        self.must_compact |= group.compacts;
        self.catch_up(group.compacts || self.compact_trouble.is_none());
        Ok(answers)
    }

    /// Puts a command into the group, or nothing of it.
    fn add(&mut self, ops: &[StoreOp], group: &mut Group) -> io::Result<()> {
        let mut own = Group::default();
        let mut is_sane = true;
        for op in ops {
            let line = match op {
                StoreOp::Put { slot, value } => {
                    JournalEntry::Put { slot: slot.clone(), value: serde_json::from_str(value)? }
                }
                StoreOp::Delete { slot } => JournalEntry::Del(slot.clone()),
                StoreOp::Append { session_key: key, record } => {
                    let offset = match own.writes.end(key).or(group.writes.end(key)) {
                        Some(end) => end,
                        None => self.end(key).map_err(|error| self.naming_file(key, &error))?,
                    };
                    own.writes.push(key.clone(), SessionWrite::Append { offset, record: record.clone() });
                    JournalEntry::App { key: key.clone(), offset, record: serde_json::from_str(record)? }
                }
                StoreOp::Forget { session_key: key } => {
                    own.writes.push(key.clone(), SessionWrite::Forget);
                    own.compacts = true;
                    JournalEntry::Forget(key.clone())
                }
                StoreOp::Compact => {
                    own.compacts = true;
                    continue;
                }
            };
            is_sane &= line.is_sane();
            own.lines.push(line.to_json());
        }
        // Beyond these bounds it could not be read back.
        let is_long = |line: &String| line.len() > RECORD_BYTES_MAX;
        if !is_sane
            || own.lines.iter().any(is_long)
            || own.lines.iter().map(String::len).sum::<usize>() > OPS_BYTES_MAX
        {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is too much of it to be kept"));
        }
        group.lines.append(&mut own.lines);
        group.writes.append(own.writes);
        group.compacts |= own.compacts;
        Ok(())
    }

    /// Logical offset of a session's next record.
    fn end(&mut self, key: &str) -> io::Result<u64> {
        if !self.unapplied.has_room(key) {
            return Err(io::Error::other("too many records wait to be written"));
        }
        if let Some(end) = self.unapplied.end(key) {
            return Ok(end);
        }
        match self.sessions.end(key) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.rebuild(key)?;
                self.sessions.end(key)
            }
            end => end,
        }
    }

    /// Repairs what an earlier failure left, and does what that kept from being done.
    pub(super) fn try_again(&mut self) -> io::Result<()> {
        self.journal.repair()?;
        self.catch_up(true);
        Ok(())
    }

    /// Brings the files up to what the journal says, and the journal to its length. A failure is not told to
    /// those who wait for their commands: what the journal has is safe.
    fn catch_up(&mut self, may_compact: bool) {
        self.apply_trouble = self.apply().err();
        self.rebuilt.clear();
        if may_compact && (self.must_compact || self.journal.good_bytes > self.compact_at_bytes) {
            self.compact_trouble = self.compact().err();
        }
    }

    /// Writes what the sessions' files still lack. One that cannot be written does not stop the
    /// others.
    fn apply(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        for key in self.unapplied.keys() {
            if let Err(error) = self.apply_to(&key) {
                result = result.and(Err(self.naming_file(&key, &error)));
            }
        }
        result
    }

    fn apply_to(&mut self, key: &str) -> io::Result<()> {
        while let Some(write) = self.unapplied.first(key) {
            let written = match write {
                SessionWrite::Append { offset, record } => self.sessions.append(key, *offset, record),
                SessionWrite::Forget => self.sessions.forget(key).map(|()| 0),
            };
            match written {
                Ok(bytes) => self.janitor.add(bytes),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.rebuild(key)?;
                    self.rebuilt.insert(key.to_owned());
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            self.unapplied.done(key);
        }
        Ok(())
    }

    /// Sets a damaged file aside and begins a new one with what the journal still has.
    fn rebuild(&mut self, key: &str) -> io::Result<()> {
        let mut records = Vec::new();
        self.journal.read(|entry| match entry {
            JournalEntry::App { key: of, offset, record } if of == key => {
                records.push((offset, record.get().to_owned()));
            }
            JournalEntry::Forget(of) if of == key => records.clear(),
            _ => {}
        })?;
        let problem = self.sessions.rebuild(key, &records)?;
        log::error!("{problem}");
        self.unapplied.drop_all(key);
        Ok(())
    }

    /// Rewrites the journal with the slots that still stand, and with the records that it alone
    /// makes durable.
    fn compact(&mut self) -> io::Result<()> {
        let failed = self.sessions.sync()?;
        let mut needed: BTreeSet<String> = self.unapplied.keys().into_iter().collect();
        needed.extend(self.sessions.unsynced.keys().cloned());
        let mut slots = BTreeMap::new();
        let mut kept: BTreeMap<String, Vec<String>> = BTreeMap::new();
        self.journal.read(|entry| match &entry {
            JournalEntry::Put { slot, .. } => drop(slots.insert(slot.clone(), entry.to_json())),
            JournalEntry::Del(slot) => drop(slots.remove(slot)),
            JournalEntry::App { key, .. } if needed.contains(key) => {
                kept.entry(key.clone()).or_default().push(entry.to_json());
            }
            JournalEntry::Forget(key) if needed.contains(key) => {
                kept.insert(key.clone(), vec![entry.to_json()]);
            }
            _ => {}
        })?;
        let mut bytes = Vec::new();
        for json in slots.values().chain(kept.values().flatten()) {
            checked_line::write_line(&mut bytes, json);
        }
        let before = self.journal.good_bytes;
        self.journal.replace(&bytes)?;
        self.janitor.subtract(before.saturating_sub(self.journal.good_bytes));
        self.compact_at_bytes = compact_at(self.journal.good_bytes);
        self.must_compact = failed.is_some();
        failed.map_or(Ok(()), Err)
    }

    /// An error about one session's file, with the file's name.
    fn naming_file(&self, key: &str, error: &io::Error) -> io::Error {
        let path = self.janitor.layout().session(key);
        let text = format!("the file `{}` of a session cannot be used: {error}", path.display());
        io::Error::new(error.kind(), text)
    }
}

/// A session stands in the journal for as long as it has a file, so an empty journal has lost something.
const LOST_JOURNAL: &str = "the journal is empty although there are sessions: what else it said is lost";

fn has_sessions(layout: &Layout) -> io::Result<bool> {
    for name in layout.open()?.folder(SESSIONS.as_ref())?.names()? {
        if Path::new(&name?).extension().is_some_and(|extension| extension == "log") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
