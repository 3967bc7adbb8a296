//! Bounds on what a journal may bring into a start: how many slots of each kind, and of how many bytes. A restored
//! journal, or one that others wrote, may have any number of them, and each would be in memory for as long as the
//! gateway lives. Slots that are left out stay in the journal as they are, for the next start to look at. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::limits::{
    ALLOWED_MAX, DIRECTIVE_KEYS_MAX, FORGETS_LEFT_MAX, INBOX_ASIDE_MAX, INBOX_BYTES_MAX, INBOX_DONE_MAX,
    INBOX_MAX, KEYS_BYTES_MAX, KEYS_MAX, OUTBOX_BYTES_MAX, OUTBOX_MAX, RECORD_BYTES_MAX, SESSIONS_MAX,
    SESSIONS_RESERVE, SLOT_BYTES_MAX, SYSTEM_NOTES_MAX,
};
use crate::state::model::sessions::MAIN;
use crate::state::model::slot::prefix;

/// Slots of one kind.
struct Kind {
    /// The kind's name in the log.
    name: &'static str,
    prefix: &'static str,
    /// Beginning of the slots' values, where that tells them from another kind with the same prefix.
    value: &'static str,
    /// Slots that there can be while the gateway runs.
    count_max: usize,
    /// Bytes of one slot, with its name.
    bytes_max: usize,
    /// Bytes of all slots of the kind.
    all_bytes_max: usize,
    /// Rank of a slot by its name, without the prefix, and value: of too many, those with the highest rank stay.
    rank: fn(&str, &str) -> u64,
}

/// A kind with the bounds that most kinds have, of which it does not matter which slots stay.
const fn kind(name: &'static str, prefix: &'static str, count_max: usize) -> Kind {
    let (bytes_max, all_bytes_max) = (SLOT_BYTES_MAX, usize::MAX);
    Kind { name, prefix, value: "", count_max, bytes_max, all_bytes_max, rank: |_, _| 0 }
}

/// Bytes that JSON may take for one byte of a text.
const ESCAPED: usize = 6;

const KINDS: [Kind; 10] = [
    Kind {
        rank: |name, json| if name == MAIN { u64::MAX } else { number(json, "/ts").unwrap_or(0) },
        ..kind("sessions", prefix::SESSION, SESSIONS_MAX + SESSIONS_RESERVE + 1)
    },
    Kind {
        bytes_max: RECORD_BYTES_MAX,
        all_bytes_max: ESCAPED * KEYS_BYTES_MAX,
        // Those that have not ended stay first.
        rank: |_, json| {
            number(json, "/outcome/endedTs").unwrap_or(if json.contains("\"outcome\"") {
                0
            } else {
                u64::MAX
            })
        },
        // Those that expired are deleted with the next one that is begun.
        ..kind("idempotency keys", prefix::KEY, 2 * (KEYS_MAX + DIRECTIVE_KEYS_MAX))
    },
    Kind {
        rank: |name, json| u64::from(!name.contains('/') || json.contains("true")),
        // And three that say what is known of owners.
        ..kind("people and groups that were let in", prefix::ALLOW, ALLOWED_MAX + 3)
    },
    kind("groups that have moved", prefix::MOVED, 2 * ALLOWED_MAX),
    Kind {
        value: "{\"w\"",
        bytes_max: RECORD_BYTES_MAX,
        all_bytes_max: ESCAPED * INBOX_BYTES_MAX,
        rank: |_, json| u64::MAX - number(json, "/w/n").unwrap_or(0),
        ..kind("messages that wait for their answer", prefix::INBOX, INBOX_MAX)
    },
    Kind {
        value: "{\"d\"",
        rank: |_, json| number(json, "/d").unwrap_or(0),
        ..kind("names of messages that were answered", prefix::INBOX, INBOX_DONE_MAX)
    },
    Kind {
        bytes_max: 4 * SLOT_BYTES_MAX,
        ..kind("things from channels that were not understood", prefix::ASIDE, INBOX_ASIDE_MAX)
    },
    Kind {
        bytes_max: RECORD_BYTES_MAX,
        all_bytes_max: ESCAPED * OUTBOX_BYTES_MAX,
        // The newest: no new one may get the number, and so the slot, of one that was left out.
        rank: |name, _| name.split('/').next().and_then(|number| number.parse().ok()).unwrap_or(0),
        // Answers and notices go there also when it is full.
        ..kind("messages on their way to channels, and what they say", prefix::OUTBOX, 2 * 2 * OUTBOX_MAX)
    },
    Kind {
        bytes_max: RECORD_BYTES_MAX,
        all_bytes_max: INBOX_BYTES_MAX,
        rank: |name, _| name.parse().unwrap_or(0),
        ..kind("notes for the owner's next turn", prefix::SYSTEM_NOTE, SYSTEM_NOTES_MAX)
    },
    kind("sessions that are to be forgotten", prefix::FORGET, FORGETS_LEFT_MAX),
];

/// The number at a place of a slot's value, named by a JSON pointer, that tells the slot's age or order.
fn number(json: &str, place: &str) -> Option<u64> {
    serde_json::from_str::<Value>(json).ok()?.pointer(place)?.as_u64()
}

impl Kind {
    fn is(&self, name: &str, json: &str) -> bool {
        name.starts_with(self.prefix) && json.starts_with(self.value)
    }

    /// Takes out the slots of this kind that are too many or too large; returns how many those were.
    fn apply_bounds(&self, slots: &mut BTreeMap<String, String>) -> usize {
        let all = slots.iter().filter(|(name, json)| self.is(name, json));
        let sized = all.map(|(name, json)| (name, json, name.len() + json.len()));
        let mut fitting: Vec<_> = sized.filter(|(_, _, bytes)| *bytes <= self.bytes_max).collect();
        let bytes_in_all: usize = fitting.iter().map(|(_, _, bytes)| bytes).sum();
        // To rank a slot may mean to parse it: only where some of them have to go, and none that is too large.
        if fitting.len() > self.count_max || bytes_in_all > self.all_bytes_max {
            fitting.sort_by_cached_key(|(name, json, _)| {
                (Reverse((self.rank)(&name[self.prefix.len()..], json)), *name)
            });
        }
        let mut kept = BTreeSet::new();
        let mut left = self.all_bytes_max;
        for (name, _, bytes) in fitting.into_iter().take(self.count_max) {
            if bytes > left {
                break;
            }
            left -= bytes;
            kept.insert(name.clone());
        }
        let before = slots.len();
        slots.retain(|name, json| !self.is(name, json) || kept.contains(name));
        before - slots.len()
    }
}

/// Takes out the slots that are too many or too large, with a word in the log. Returns whether there were any.
pub(crate) fn apply_bounds(slots: &mut BTreeMap<String, String>) -> bool {
    let mut is_thinned = false;
    for kind in &KINDS {
        let count = kind.apply_bounds(slots);
        if count > 0 {
            is_thinned = true;
            log::error!(
                "{count} slots of the journal are too many or too large and are left out: {}; they stay in it for the \
                 next start",
                kind.name
            );
        }
    }
    is_thinned
}

#[cfg(test)]
mod tests;
