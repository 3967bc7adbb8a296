//! The journal: the one file whose sync makes things durable.
//!
//! Operations that belong together are one line, so that a torn write leaves all or none of them.
//! Slots are a small map, of which the journal keeps the history until it is compacted. What a torn
//! write or a power cut leaves behind the last good line is cut off at the next start.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::limits::JOURNAL_BYTES_MAX;
use crate::metrics::METRICS;
use crate::store::sessions::SessionFiles;
use crate::store::{Layout, StoreOp, folder, record};

/// Format of the journal.
const VERSION: u32 = 1;

/// A line of the journal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line<'a> {
    /// First line: the format.
    Journal(u32),
    Put {
        slot: String,
        #[serde(borrow)]
        value: &'a RawValue,
    },
    Del(String),
    App {
        key: String,
        offset: u64,
        #[serde(borrow)]
        record: &'a RawValue,
    },
    Forget(String),
    /// Several, in order.
    All(#[serde(borrow)] Vec<Line<'a>>),
}

/// What the last life left behind.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Slots and their JSON.
    pub slots: BTreeMap<String, String>,
    /// Something was unreadable in the middle of the journal: what it said is not known.
    pub damaged: bool,
    /// Sentences for the log.
    pub problems: Vec<String>,
}

/// A record with its session and its place there.
type AppendAt = (String, u64, String);

/// The open journal and the files behind it.
pub struct Store {
    layout: Layout,
    file: File,
    /// Length up to the last line that was synced.
    good_bytes: u64,
    compact_at_bytes: u64,
    sessions: SessionFiles,
    /// Records in the journal that could not be written to their session's file yet.
    unapplied: Vec<AppendAt>,
    must_compact: bool,
    used_bytes: u64,
}

impl Store {
    /// Opens the folder's files and brings them to the state of the last promise made.
    pub fn open(layout: Layout) -> io::Result<(Self, Recovered)> {
        folder::make_private(&layout.sessions())?;
        let mut sessions = SessionFiles::new(layout.clone());
        let mut recovered = Recovered::default();
        let path = layout.journal();
        let (good_bytes, forgot) = replay(&path, &mut sessions, &mut recovered)?;
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        let torn_bytes = file.metadata()?.len().saturating_sub(good_bytes);
        if torn_bytes > 0 {
            file.set_len(good_bytes)?;
            recovered.problems.push(format!(
                "the last {torn_bytes} bytes of the journal were cut off: the gateway was stopped while writing them"
            ));
        }
        if good_bytes == 0 {
            let mut first = Vec::new();
            record::write_line(&mut first, &serde_json::to_string(&Line::Journal(VERSION))?);
            file.write_all(&first)?;
        }
        // A gateway that was killed may have left the end of the journal, and even its name, in
        // memory only. Nothing of it may be told, and no promise follow it, before it is durable.
        file.sync_all()?;
        folder::sync_folder(layout.root())?;
        let good_bytes = file.metadata()?.len();
        let used_bytes = folder::used_bytes(layout.root());
        let mut store = Self {
            layout,
            file,
            good_bytes,
            compact_at_bytes: JOURNAL_BYTES_MAX.max(2 * good_bytes),
            sessions,
            unapplied: Vec::new(),
            must_compact: recovered.damaged || forgot,
            used_bytes,
        };
        if forgot {
            // Killed before it was rewritten, the journal still has what was said.
            store.compact_or_wait();
        }
        Ok((store, recovered))
    }

    /// Bytes in the state folder, as far as this thread writes there.
    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Makes the operations durable with one sync, or none of them.
    pub(super) fn commit(&mut self, ops: &[StoreOp]) -> io::Result<()> {
        let (bytes, appends) = self.encode(ops)?;
        if let Err(error) = self.file.write_all(&bytes).and_then(|()| self.file.sync_data()) {
            // Nothing of it was promised. If even cutting fails, the next commit's lines would
            // follow a torn one, which recovery can tell apart.
            let _ = self.file.set_len(self.good_bytes);
            return Err(error);
        }
        self.good_bytes += bytes.len() as u64;
        self.used_bytes += bytes.len() as u64;
        METRICS.commits.up();
        let mut forgotten = Ok(());
        for op in ops {
            if let StoreOp::Forget { session_key } = op {
                self.unapplied.retain(|(key, _, _)| key != session_key);
                forgotten = forgotten.and(self.sessions.forget(session_key));
                self.must_compact = true;
            }
        }
        // Only now: what follows a `Forget` in the same group is new.
        self.unapplied.extend(appends);
        // A failure here is not the caller's: the journal has it, and it is tried again.
        let _ = self.apply();
        if self.must_compact || self.good_bytes > self.compact_at_bytes {
            self.compact_or_wait();
        }
        forgotten
    }

    fn compact_or_wait(&mut self) {
        if let Err(error) = self.compact() {
            log::warn!("the journal could not be compacted, it keeps growing until it can: {error}");
            self.compact_at_bytes = self.good_bytes + JOURNAL_BYTES_MAX;
        }
    }

    fn encode(&self, ops: &[StoreOp]) -> io::Result<(Vec<u8>, Vec<AppendAt>)> {
        let mut lines = Vec::with_capacity(ops.len());
        let mut appends: Vec<AppendAt> = Vec::new();
        let mut ends: HashMap<&str, u64> = HashMap::new();
        for (key, offset, record) in &self.unapplied {
            ends.insert(key, offset + line_bytes(record));
        }
        for op in ops {
            let json = match op {
                StoreOp::Put { slot, value } => serde_json::to_string(&Line::Put {
                    slot: slot.clone(),
                    value: serde_json::from_str(value)?,
                })?,
                StoreOp::Delete { slot } => serde_json::to_string(&Line::Del(slot.clone()))?,
                StoreOp::Append { session_key, record } => {
                    let offset = match ends.get(session_key.as_str()) {
                        Some(end) => *end,
                        None => self.sessions.end(session_key)?,
                    };
                    ends.insert(session_key, offset + line_bytes(record));
                    appends.push((session_key.clone(), offset, record.clone()));
                    let line =
                        Line::App { key: session_key.clone(), offset, record: serde_json::from_str(record)? };
                    serde_json::to_string(&line)?
                }
                StoreOp::Forget { session_key } => {
                    ends.insert(session_key, 0);
                    appends.retain(|(key, _, _)| key != session_key);
                    serde_json::to_string(&Line::Forget(session_key.clone()))?
                }
            };
            lines.push(json);
        }
        let mut bytes = Vec::new();
        match lines.as_slice() {
            [] => {}
            [line] => record::write_line(&mut bytes, line),
            lines => record::write_line(&mut bytes, &format!("{{\"all\":[{}]}}", lines.join(","))),
        }
        Ok((bytes, appends))
    }

    /// Writes what the sessions' files still lack.
    pub(super) fn apply(&mut self) -> io::Result<()> {
        while let Some((key, offset, record)) = self.unapplied.first() {
            self.used_bytes += self.sessions.apply(key, *offset, record)?;
            self.unapplied.remove(0);
        }
        Ok(())
    }

    /// Rewrites the journal with the slots that still stand.
    fn compact(&mut self) -> io::Result<()> {
        self.apply()?;
        self.sessions.sync()?;
        let path = self.layout.journal();
        let mut slots = BTreeMap::new();
        let mut problems = Recovered::default();
        read_lines(&path, &mut problems, |line| match line {
            Line::Put { slot, value } => {
                slots.insert(slot, value.get().to_owned());
            }
            Line::Del(slot) => {
                slots.remove(&slot);
            }
            Line::Journal(_) | Line::App { .. } | Line::Forget(_) | Line::All(_) => {}
        })?;
        let mut bytes = Vec::new();
        record::write_line(&mut bytes, &serde_json::to_string(&Line::Journal(VERSION))?);
        for (slot, value) in slots {
            let line = Line::Put { slot, value: serde_json::from_str(&value)? };
            record::write_line(&mut bytes, &serde_json::to_string(&line)?);
        }
        folder::replace(&path, &bytes)?;
        let mut file = OpenOptions::new().append(true).open(&path)?;
        file.seek(SeekFrom::End(0))?;
        self.file = file;
        self.good_bytes = bytes.len() as u64;
        self.compact_at_bytes = JOURNAL_BYTES_MAX.max(2 * self.good_bytes);
        self.must_compact = false;
        self.used_bytes = folder::used_bytes(self.layout.root());
        Ok(())
    }
}

/// What a record takes in its session's file: checksum, space and line feed around it.
fn line_bytes(record: &str) -> u64 {
    record.len() as u64 + 10
}

/// Reads the journal into slots and session files; returns the length of its good part, and whether
/// it told to forget a session.
fn replay(path: &Path, sessions: &mut SessionFiles, recovered: &mut Recovered) -> io::Result<(u64, bool)> {
    let mut forgot = false;
    let mut slots = BTreeMap::new();
    let mut mended: BTreeSet<String> = BTreeSet::new();
    let mut failed: io::Result<()> = Ok(());
    let good_bytes = read_lines(path, recovered, |line| {
        let done = match line {
            Line::Journal(_) | Line::All(_) => Ok(()),
            Line::Put { slot, value } => {
                slots.insert(slot, value.get().to_owned());
                Ok(())
            }
            Line::Del(slot) => {
                slots.remove(&slot);
                Ok(())
            }
            Line::App { key, offset, record } => {
                let mend = if mended.insert(key.clone()) { sessions.mend_tail(&key) } else { Ok(()) };
                mend.and_then(|()| sessions.apply(&key, offset, record.get()).map(drop))
            }
            Line::Forget(key) => {
                forgot = true;
                sessions.forget(&key)
            }
        };
        if failed.is_ok() {
            failed = done;
        }
    })?;
    failed?;
    recovered.slots = slots;
    Ok((good_bytes, forgot))
}

/// Calls `each` for every good line, or for each of those in it. Bad lines behind the last good one are torn writes and not
/// counted; bad lines before it are damage, kept aside and reported.
fn read_lines(path: &Path, recovered: &mut Recovered, mut each: impl FnMut(Line<'_>)) -> io::Result<u64> {
    let mut reader = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let (mut at, mut good_bytes, mut bad_lines) = (0, 0, 0_u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = reader.read_until(b'\n', &mut line)?;
        if count == 0 {
            break;
        }
        at += count as u64;
        let json = line.strip_suffix(b"\n").and_then(record::read_line);
        let Some(parsed) = json.and_then(|json| serde_json::from_str::<Line<'_>>(json).ok()) else {
            bad_lines += 1;
            continue;
        };
        if let Line::Journal(version) = parsed {
            if version != VERSION {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("the journal has format {version}, this version reads {VERSION}"),
                ));
            }
        }
        if bad_lines > 0 && !recovered.damaged {
            recovered.damaged = true;
            let copy = folder::set_aside(path)?;
            recovered.problems.push(format!(
                "the journal is damaged in the middle; a copy was kept as `{}` and everything readable was used",
                copy.display()
            ));
        }
        match parsed {
            Line::All(lines) => lines.into_iter().for_each(&mut each),
            line => each(line),
        }
        good_bytes = at;
    }
    Ok(good_bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::{Recovered, Store};
    use crate::store::{Layout, StoreOp, folder};

    struct Temp(PathBuf);

    impl Temp {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("clawdis-journal-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            folder::make_private(&path).unwrap();
            Self(path)
        }

        fn open(&self) -> (Store, Recovered) {
            Store::open(Layout::new(&self.0)).unwrap()
        }

        fn session(&self, key: &str) -> String {
            fs::read_to_string(Layout::new(&self.0).session(key)).unwrap()
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn put(slot: &str, value: &str) -> StoreOp {
        StoreOp::Put { slot: slot.to_owned(), value: value.to_owned() }
    }

    fn append(key: &str, record: &str) -> StoreOp {
        StoreOp::Append { session_key: key.to_owned(), record: record.to_owned() }
    }

    #[test]
    fn slots_and_records_come_back() {
        let temp = Temp::new("back");
        let (mut store, recovered) = temp.open();
        assert!(recovered.slots.is_empty() && !recovered.damaged);
        store.commit(&[put("a", "1"), put("b", "2"), append("main", r#"{"x":1}"#)]).unwrap();
        store.commit(&[put("a", "3"), StoreOp::Delete { slot: "b".into() }]).unwrap();
        drop(store);
        let (_, recovered) = temp.open();
        assert_eq!(recovered.slots.into_iter().collect::<Vec<_>>(), [("a".to_owned(), "3".to_owned())]);
        assert_eq!(temp.session("main").lines().count(), 2);
    }

    #[test]
    fn a_torn_tail_is_cut_and_a_lost_session_file_is_written_again() {
        let temp = Temp::new("torn");
        let (mut store, _) = temp.open();
        store.commit(&[append("main", r#"{"x":1}"#), append("main", r#"{"x":2}"#)]).unwrap();
        let whole = temp.session("main");
        drop(store);
        let layout = Layout::new(&temp.0);
        let mut journal = fs::read(layout.journal()).unwrap();
        journal.extend_from_slice(b"00000000 {\"put\"");
        fs::write(layout.journal(), &journal).unwrap();
        for cut in 0..whole.len() {
            fs::write(layout.session("main"), &whole[..cut]).unwrap();
            let (_, recovered) = temp.open();
            assert!(!recovered.damaged);
            assert_eq!(temp.session("main"), whole, "the session file was cut at {cut}");
        }
    }

    #[test]
    fn damage_in_the_middle_is_reported_and_the_rest_used() {
        let temp = Temp::new("damage");
        let (mut store, _) = temp.open();
        store.commit(&[put("a", "1")]).unwrap();
        store.commit(&[put("b", "2")]).unwrap();
        drop(store);
        let path = Layout::new(&temp.0).journal();
        let text = fs::read_to_string(&path).unwrap().replace("\"a\"", "\"z\"");
        fs::write(&path, text).unwrap();
        let (_, recovered) = temp.open();
        assert!(recovered.damaged && recovered.problems.len() == 1);
        assert_eq!(recovered.slots.keys().collect::<Vec<_>>(), ["b"]);
        let copies = fs::read_dir(&temp.0).unwrap().filter_map(Result::ok);
        assert!(copies.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().contains("damaged")));
    }

    #[test]
    fn a_group_is_there_or_not_however_it_was_torn() {
        let temp = Temp::new("group");
        let (mut store, _) = temp.open();
        store.commit(&[put("a", "1")]).unwrap();
        let path = Layout::new(&temp.0).journal();
        let before = fs::read(&path).unwrap();
        store.commit(&[append("main", r#"{"x":1}"#), put("a", "2"), put("b", "2")]).unwrap();
        drop(store);
        let after = fs::read(&path).unwrap();
        let of = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let _ = fs::remove_file(Layout::new(&temp.0).session("main"));
            let (_, recovered) = temp.open();
            assert!(!recovered.damaged);
            let there = Layout::new(&temp.0).session("main").exists();
            (recovered.slots.into_values().collect::<Vec<_>>(), there)
        };
        for cut in before.len()..after.len() {
            assert_eq!(of(&after[..cut]), (vec!["1".to_owned()], false), "cut at {cut}");
            // The file's size may reach the disk before what is in it.
            let mut zeroed = after.clone();
            zeroed[before.len()..=cut].fill(0);
            assert_eq!(of(&zeroed), (vec!["1".to_owned()], false), "zeros up to {cut}");
        }
        assert_eq!(of(&after), (vec!["2".to_owned(), "2".to_owned()], true));
    }

    #[test]
    fn what_follows_a_forget_in_its_group_is_kept() {
        let temp = Temp::new("forget-append");
        let (mut store, _) = temp.open();
        store.commit(&[append("main", r#"{"x":"old"}"#)]).unwrap();
        let forget = || StoreOp::Forget { session_key: "main".into() };
        store
            .commit(&[append("main", r#"{"x":"older"}"#), forget(), append("main", r#"{"x":"new"}"#)])
            .unwrap();
        let text = temp.session("main");
        assert!(text.contains("new") && !text.contains("old"), "{text}");
    }

    #[test]
    fn a_forget_that_was_interrupted_is_finished_at_the_next_start() {
        let temp = Temp::new("forget-interrupted");
        let (mut store, _) = temp.open();
        store.commit(&[append("secret", r#"{"text":"swordfish"}"#), put("keep", "7")]).unwrap();
        let path = Layout::new(&temp.0).journal();
        let said = fs::read(&path).unwrap();
        drop(store);
        let mut journal = said;
        crate::store::record::write_line(&mut journal, r#"{"forget":"secret"}"#);
        fs::write(&path, &journal).unwrap();
        let (_, recovered) = temp.open();
        assert_eq!(recovered.slots["keep"], "7");
        assert!(!fs::read_to_string(&path).unwrap().contains("swordfish"));
        assert!(!Layout::new(&temp.0).session("secret").exists());
    }

    #[test]
    fn compaction_keeps_slots_and_forgets_what_was_said() {
        let temp = Temp::new("compact");
        let (mut store, _) = temp.open();
        store.commit(&[append("secret", r#"{"text":"swordfish"}"#), put("keep", "7")]).unwrap();
        store.commit(&[StoreOp::Forget { session_key: "secret".into() }]).unwrap();
        assert!(!fs::read_to_string(Layout::new(&temp.0).journal()).unwrap().contains("swordfish"));
        store.commit(&[append("secret", r#"{"text":"new"}"#)]).unwrap();
        drop(store);
        let (_, recovered) = temp.open();
        assert_eq!(recovered.slots["keep"], "7");
        assert_eq!(temp.session("secret").lines().count(), 2, "a header and the new record");
    }
}
