//! System notes: what `system-event` leaves for the owner's next prompt. Pure.

use std::collections::VecDeque;

use crate::limits::SYSTEM_NOTES_MAX;
use crate::state::model::slot::Slot;
use crate::state::model::write_buffer::WriteBuffer;

/// The notes, oldest first; beyond the bound the oldest goes.
#[derive(Default)]
pub(crate) struct SystemNotes {
    waiting: VecDeque<(u64, String)>,
    next: u64,
}

impl SystemNotes {
    /// Takes over a note of the gateway's last life. They come in the order of their slots' names.
    pub(crate) fn recover(&mut self, number: u64, text: String) {
        if number > u64::MAX / 2 {
            // None of ours: counting on from it would overflow.
            return;
        }
        self.waiting.push_back((number, text));
        self.next = self.next.max(number + 1);
    }

    /// Adds a note.
    pub(crate) fn add(&mut self, text: String, writes: &mut WriteBuffer) {
        // Each has a slot of its own, so that adding one writes no other again.
        writes.put(&Slot::SystemNote(self.next), &text);
        self.waiting.push_back((self.next, text));
        self.next += 1;
        if self.waiting.len() > SYSTEM_NOTES_MAX {
            if let Some((number, _)) = self.waiting.pop_front() {
                writes.delete(&Slot::SystemNote(number));
            }
        }
    }

    /// Takes all notes, off the record, too.
    pub(crate) fn take(&mut self, writes: &mut WriteBuffer) -> Vec<String> {
        let taken = std::mem::take(&mut self.waiting);
        for (number, _) in &taken {
            writes.delete(&Slot::SystemNote(*number));
        }
        taken.into_iter().map(|(_, text)| text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::SystemNotes;
    use crate::limits::SYSTEM_NOTES_MAX;
    use crate::state::model::write_buffer::WriteBuffer;

    #[test]
    fn the_oldest_note_goes_and_its_slot_with_it() {
        let mut system_notes = SystemNotes::default();
        system_notes.recover(7, "old".into());
        let mut writes = WriteBuffer::default();
        for n in 1..SYSTEM_NOTES_MAX {
            system_notes.add(n.to_string(), &mut writes);
            assert_eq!(writes.ops.len(), n);
        }
        system_notes.add("new".into(), &mut writes);
        assert_eq!(writes.ops.len(), SYSTEM_NOTES_MAX + 1, "the new one, and the end of the oldest");
        let mut writes = WriteBuffer::default();
        let texts = system_notes.take(&mut writes);
        assert_eq!((texts.len(), writes.ops.len()), (SYSTEM_NOTES_MAX, SYSTEM_NOTES_MAX));
        assert_eq!((texts[0].as_str(), texts.last().unwrap().as_str()), ("1", "new"));
        assert!(system_notes.take(&mut writes).is_empty());
    }
}
