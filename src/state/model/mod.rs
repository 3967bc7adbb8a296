//! What the state thread knows: plain data, and what may become of it.
//!
//! Nothing here names `State` or an effect, does IO or reads a clock: time comes in as an argument, and what is to be
//! put on record goes into a `WriteBuffer`. What a part keeps on record stands beside it, under the names of `slot`.

use std::time::Duration;

use crate::limits::{SANE_CLOCK_MS, ms};

pub(super) mod access;
pub(super) mod budget;
pub(super) mod clients;
pub(super) mod directive;
pub(super) mod forgetting;
pub(super) mod group_context;
pub(super) mod health;
pub(super) mod heartbeats;
pub(super) mod inbox;
pub(super) mod keys;
pub(super) mod outbox;
pub(super) mod presence;
pub(super) mod prompt;
pub(super) mod question;
pub(super) mod recovery_bounds;
pub(super) mod runs;
pub(super) mod sessions;
pub(super) mod slot;
pub(super) mod system_notes;
pub(super) mod write_buffer;

/// JSON text of one of our own types. Where one cannot be written that is a defect: better to start again from what
/// is on record than to put something else there.
pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("our own types become JSON")
}

/// JSON of one of our own types, to be put into frames as it is.
pub(super) fn to_raw_json(value: &impl serde::Serialize) -> Box<serde_json::value::RawValue> {
    serde_json::value::to_raw_value(value).expect("our own types become JSON")
}

/// Time since something happened at `ts`, by the wall clock. `None` where that clock was not set, then or now, or has
/// gone back: it tells nothing.
pub(super) fn age(ts: u64, now_ts: u64) -> Option<Duration> {
    now_ts.checked_sub(ts).filter(|_| ts >= SANE_CLOCK_MS).map(ms)
}
