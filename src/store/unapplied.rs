//! What the journal has and the sessions' files still lack, per session and in order. Touches no file.

use std::collections::{BTreeMap, VecDeque};

use crate::limits::{UNAPPLIED_BYTES_MAX, UNAPPLIED_RECORDS_MAX};
use crate::store::checked_line;

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
        }
        records < share * UNAPPLIED_RECORDS_MAX && bytes < share * UNAPPLIED_BYTES_MAX
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
