//! `system-event` notes that wait for the owner's next turn. Pure.

use std::collections::VecDeque;

use crate::limits::SYSTEM_NOTES_MAX;
use crate::state::to_json;
use crate::store::StoreOp;

/// Slots that keep them, one per note: adding one costs what it is long.
pub(crate) const SLOT_PREFIX: &str = "note/";

/// The notes, oldest first; beyond the bound the oldest goes.
#[derive(Default)]
pub(crate) struct Notes {
    waiting: VecDeque<(u64, String)>,
    next: u64,
}

impl Notes {
    /// A note of the gateway's last life. They come in the order of their slots' names.
    pub(crate) fn recover(&mut self, number: u64, text: String) {
        if number > u64::MAX / 2 {
            // None of ours: counting on from it would overflow.
            return;
        }
        self.waiting.push_back((number, text));
        self.next = self.next.max(number + 1);
    }

    /// Adds a note and says what to store.
    pub(crate) fn add(&mut self, text: String) -> Vec<StoreOp> {
        let mut ops = vec![StoreOp::Put { slot: slot(self.next), value: to_json(&text) }];
        self.waiting.push_back((self.next, text));
        self.next += 1;
        if self.waiting.len() > SYSTEM_NOTES_MAX {
            ops.extend(self.waiting.pop_front().map(|(number, _)| StoreOp::Delete { slot: slot(number) }));
        }
        ops
    }

    /// Takes all of them, with what to store.
    pub(crate) fn take(&mut self) -> (Vec<String>, Vec<StoreOp>) {
        let taken = std::mem::take(&mut self.waiting);
        let ops = taken.iter().map(|(number, _)| StoreOp::Delete { slot: slot(*number) }).collect();
        (taken.into_iter().map(|(_, text)| text).collect(), ops)
    }
}

/// Names sort as numbers do.
fn slot(number: u64) -> String {
    format!("{SLOT_PREFIX}{number:020}")
}

#[cfg(test)]
mod tests {
    use super::Notes;
    use crate::limits::SYSTEM_NOTES_MAX;

    #[test]
    fn the_oldest_note_goes_and_its_slot_with_it() {
        let mut notes = Notes::default();
        notes.recover(7, "old".into());
        for n in 1..SYSTEM_NOTES_MAX {
            assert_eq!(notes.add(n.to_string()).len(), 1);
        }
        assert_eq!(notes.add("new".into()).len(), 2);
        let (texts, ops) = notes.take();
        assert_eq!((texts.len(), ops.len()), (SYSTEM_NOTES_MAX, SYSTEM_NOTES_MAX));
        assert_eq!((texts[0].as_str(), texts.last().unwrap().as_str()), ("1", "new"));
        assert!(notes.take().0.is_empty());
    }
}
