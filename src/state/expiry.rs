//! Sessions that nobody used for longer than records are kept are forgotten.

use std::time::Duration;

use crate::clock::Now;
use crate::limits::{
    EXPIRY_INTERVAL, EXPIRY_LEAP_MS, EXPIRY_PAUSE, EXPIRY_SESSIONS_MAX, EXPIRY_STEADY_TIME, SANE_CLOCK_MS,
};
use crate::state::State;
use crate::state::stored::Pending;

impl State {
    /// Looks for them from time to time, when there is something else to do anyway.
    pub(super) fn expire_sessions(&mut self, now: Now) {
        if now.mono < self.expiry_due || now.wall_ms < SANE_CLOCK_MS || self.stopping.is_some() {
            return;
        }
        if !self.is_clock_steady(now) {
            self.plan_expiry(EXPIRY_STEADY_TIME, now);
            return;
        }
        let kept_ms = u64::try_from(self.config.retention.as_millis()).unwrap_or(u64::MAX);
        let since = now.wall_ms.saturating_sub(kept_ms);
        let keys = self.sessions.unused_since(since, EXPIRY_SESSIONS_MAX);
        let is_all = keys.len() < EXPIRY_SESSIONS_MAX;
        self.plan_expiry(if is_all { EXPIRY_INTERVAL } else { EXPIRY_PAUSE }, now);
        for key in keys {
            if !self.store_has_room() || self.forgetting.is_full() {
                return;
            }
            log::info!("a session was not used for longer than records are kept: it is forgotten");
            let (_, ops) = self.forget_ops(&key, now);
            self.store(ops, Pending::Forget { session_key: key, asker: None });
        }
    }

    fn plan_expiry(&mut self, pause: Duration, now: Now) {
        self.expiry_due = now.mono + pause;
        self.expiry_planned = now;
    }

    /// Whether the wall clock has gone as evenly as the other one since the look was planned: what
    /// one that is wrong has forgotten does not come back when it is set right.
    fn is_clock_steady(&self, now: Now) -> bool {
        let since = now.mono.saturating_duration_since(self.expiry_planned.mono);
        let expected_ms =
            self.expiry_planned.wall_ms + u64::try_from(since.as_millis()).unwrap_or(u64::MAX / 2);
        now.wall_ms.abs_diff(expected_ms) < EXPIRY_LEAP_MS
    }
}
