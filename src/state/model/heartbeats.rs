//! Heartbeats: from time to time the owner's session is asked a configured prompt.
//!
//! An answer of exactly `HEARTBEAT_OK` means that there is nothing to say and leaves no trace.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock::Now;
use crate::limits::{SANE_CLOCK_MS, ms};
use crate::protocol::call::Channel;
use crate::protocol::payload::HeartbeatStatus;

/// The answer that is swallowed.
pub(crate) const NOTHING_TO_SAY: &str = "HEARTBEAT_OK";

/// Who is charged for them.
pub(crate) const PERSON: &str = "heartbeat";

/// What the config says about heartbeats.
#[derive(Debug, Clone)]
pub(crate) struct HeartbeatConfig {
    /// Between two; `None` is never, unless they are switched on, then [`EVERY_DEFAULT`].
    pub every: Option<Duration>,
    /// What is asked.
    pub prompt: String,
    /// Where an answer goes besides the session's history; what `to` says if absent.
    pub channel: Option<Channel>,
    /// To whom; the owner if absent.
    pub to: Option<String>,
}

/// Between two where they are switched on and the config names no time.
pub(crate) const EVERY_DEFAULT: Duration = Duration::from_secs(30 * 60);

/// What is asked where the config names no prompt.
pub(crate) const PROMPT_DEFAULT: &str = "This is a regular check. Is there anything that you should tell the owner now? \
    If not, answer exactly HEARTBEAT_OK.";

pub(crate) struct Heartbeats {
    pub(crate) config: HeartbeatConfig,
    pub(crate) next: Option<Instant>,
    pub(crate) last_ts: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) last_ts: u64,
}

impl Heartbeats {
    pub(crate) fn new(config: HeartbeatConfig) -> Self {
        Self { config, next: None, last_ts: None }
    }

    pub(crate) fn recover(&mut self, json: &str) {
        self.last_ts = serde_json::from_str::<Record>(json).ok().map(|record| record.last_ts);
    }

    pub(crate) fn every(&self) -> Duration {
        self.config.every.unwrap_or(EVERY_DEFAULT)
    }

    pub(crate) fn switch(&mut self, enabled: bool, now: Now) {
        self.next = enabled.then(|| now.mono + self.every());
    }

    /// The same at a start: the time since the last one counts, if the clock can tell.
    pub(crate) fn resume(&mut self, enabled: bool, now: Now) {
        self.switch(enabled, now);
        let sane = |ts: &u64| *ts >= SANE_CLOCK_MS && *ts <= now.wall_ms;
        if let (Some(next), Some(last_ts)) = (&mut self.next, self.last_ts.filter(sane)) {
            *next = next.checked_sub(ms(now.wall_ms - last_ts)).map_or(now.mono, |next| next.max(now.mono));
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
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
