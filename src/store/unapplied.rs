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

/// The writes that are still to be done, within bounds.
#[derive(Default)]
pub(super) struct UnappliedWrites {
    by_key: BTreeMap<String, VecDeque<SessionWrite>>,
    records: usize,
    bytes: usize,
}

impl UnappliedWrites {
    /// Puts a write behind what that session's file lacks already.
    pub(super) fn push(&mut self, key: String, write: SessionWrite) {
        match &write {
            SessionWrite::Append { record, .. } => {
                self.records += 1;
                self.bytes += record.len();
            }
            // Nothing that the file lacked before matters any more.
            SessionWrite::Forget => self.drop_all(&key),
        }
        self.by_key.entry(key).or_default().push_back(write);
    }

    /// Drops what that session's file lacked.
    pub(super) fn drop_all(&mut self, key: &str) {
        while self.done(key).is_some() {}
    }

    /// The first thing that session's file lacks.
    pub(super) fn first(&self, key: &str) -> Option<&SessionWrite> {
        self.by_key.get(key)?.front()
    }

    /// Told that the first thing was written.
    pub(super) fn done(&mut self, key: &str) -> Option<SessionWrite> {
        let writes = self.by_key.get_mut(key)?;
        let write = writes.pop_front();
        if writes.is_empty() {
            self.by_key.remove(key);
        }
        if let Some(SessionWrite::Append { record, .. }) = &write {
            self.records -= 1;
            self.bytes -= record.len();
        }
        write
    }

    /// Logical offset behind the last record that session's file lacks. `None` if it lacks nothing.
    pub(super) fn end(&self, key: &str) -> Option<u64> {
        self.by_key.get(key)?.back().map(|write| match write {
            SessionWrite::Append { offset, record } => offset + checked_line::line_bytes(record),
            SessionWrite::Forget => 0,
        })
    }

    /// Whether that session may lack one more record. Those that lack nothing so far may for longer:
    /// one session in trouble is not to stop the others.
    pub(super) fn has_room(&self, key: &str) -> bool {
        let share = if self.by_key.contains_key(key) { 1 } else { 2 };
        self.records < share * UNAPPLIED_RECORDS_MAX && self.bytes < share * UNAPPLIED_BYTES_MAX
    }

    /// Sessions whose files lack something.
    pub(super) fn keys(&self) -> Vec<String> {
        self.by_key.keys().cloned().collect()
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
        assert_eq!((backlog.records, backlog.bytes, backlog.keys()), (0, 0, vec!["bad".to_owned()]));
    }
}
