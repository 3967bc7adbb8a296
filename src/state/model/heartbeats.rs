//! Heartbeats: from time to time the owner's session is asked a configured prompt.
//!
//! An answer of exactly `HEARTBEAT_OK` means that there is nothing to say and leaves no trace.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock::Now;
use crate::config::file::Heartbeat;
use crate::protocol::payload::HeartbeatStatus;
use crate::state::model::age;
use crate::state::model::slot::Slot;
use crate::state::model::write_buffer::WriteBuffer;

/// The answer that is kept from everybody.
pub(crate) const NOTHING_TO_SAY: &str = "HEARTBEAT_OK";

/// The person under whose name heartbeats count against the budget.
pub(crate) const PERSON: &str = "heartbeat";

/// Time between two heartbeats where they are switched on and the config names none.
pub(crate) const EVERY_DEFAULT: Duration = Duration::from_secs(30 * 60);

/// The prompt of a heartbeat where the config names none.
const PROMPT_DEFAULT: &str = "This is a regular check. Is there anything that you should tell the owner now? \
    If not, answer exactly HEARTBEAT_OK.";

pub(crate) struct Heartbeats {
    pub(crate) config: Heartbeat,
    /// When the next heartbeat is due, if they are switched on.
    pub(crate) next: Option<Instant>,
    last_ts: Option<u64>,
}

/// The time of the last heartbeat, as it is on record.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    last_ts: u64,
}

impl Heartbeats {
    pub(crate) fn new(config: Heartbeat) -> Self {
        Self { config, next: None, last_ts: None }
    }

    pub(crate) fn recover(&mut self, json: &str) {
        self.last_ts = serde_json::from_str::<Record>(json).ok().map(|record| record.last_ts);
    }

    fn every(&self) -> Duration {
        match self.config.every_minutes {
            0 => EVERY_DEFAULT,
            minutes => Duration::from_secs(60 * minutes),
        }
    }

    /// The prompt that is asked.
    pub(crate) fn prompt(&self) -> String {
        self.config.prompt.clone().unwrap_or_else(|| PROMPT_DEFAULT.to_owned())
    }

    /// Switches heartbeats on or off; the next one is due a whole interval from now.
    pub(crate) fn switch(&mut self, enabled: bool, now: Now) {
        self.next = enabled.then(|| now.mono + self.every());
    }

    /// Switches heartbeats on or off at a start: the time since the last one counts, if the clock can tell.
    pub(crate) fn resume(&mut self, enabled: bool, now: Now) {
        self.switch(enabled, now);
        let age = self.last_ts.and_then(|last_ts| age(last_ts, now.wall_ms));
        if let (Some(next), Some(age)) = (&mut self.next, age) {
            *next = next.checked_sub(age).map_or(now.mono, |next| next.max(now.mono));
        }
    }

    /// Puts on record that a heartbeat was begun now.
    pub(crate) fn set_last(&mut self, now_ts: u64, writes: &mut WriteBuffer) {
        self.last_ts = Some(now_ts);
        writes.put(&Slot::Heartbeat, &Record { last_ts: now_ts });
    }

    pub(crate) fn status(&self, now: Now) -> HeartbeatStatus {
        let until = self.next.map(|next| next.saturating_duration_since(now.mono).as_millis());
        HeartbeatStatus {
            every_minutes: self.every().as_secs() / 60,
            next_ts: until.map(|until| now.wall_ms + u64::try_from(until).unwrap_or(0)),
            last_ts: self.last_ts,
        }
    }
}
