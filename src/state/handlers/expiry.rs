//! Forgets the sessions that nobody has used for as long as the config says (`storage.retentionDays`).

use std::time::Duration;

use crate::limits::{
    EXPIRY_INTERVAL, EXPIRY_LEAP_MS, EXPIRY_PAUSE, EXPIRY_SESSIONS_MAX, EXPIRY_STEADY_TIME, SANE_CLOCK_MS,
};
use crate::state::State;
use crate::state::journal::Then;

impl State {
    /// Looks for such sessions from time to time, in a turn that there is anyway.
    pub(crate) fn expire_sessions(&mut self) {
        if self.now.mono < self.expiry_due || self.now.wall_ms < SANE_CLOCK_MS || self.stopping.is_some() {
            return;
        }
        if !self.is_clock_steady() {
            self.plan_expiry(EXPIRY_STEADY_TIME);
            return;
        }
        let kept_ms = u64::try_from(self.config.expiry.as_millis()).unwrap_or(u64::MAX);
        let since = self.now.wall_ms.saturating_sub(kept_ms);
        let keys = self.sessions.unused_since(since, EXPIRY_SESSIONS_MAX);
        let is_all = keys.len() < EXPIRY_SESSIONS_MAX;
        self.plan_expiry(if is_all { EXPIRY_INTERVAL } else { EXPIRY_PAUSE });
        for key in keys {
            if !self.store_has_room() || self.forgetting.is_full() {
                return;
            }
            log::info!("a session was not used for longer than records are kept: it is forgotten");
            self.forget_session(&key);
            self.commit(Then::Forget { session_key: key, pending: None });
        }
    }

    fn plan_expiry(&mut self, pause: Duration) {
        self.expiry_due = self.now.mono + pause;
        self.expiry_planned = self.now;
    }

    /// Whether the wall clock has gone as evenly as the monotonic one since the look was planned. By a wrong clock
    /// all sessions may seem old, and what was forgotten does not come back when it is set right.
    fn is_clock_steady(&self) -> bool {
        let since = self.now.mono.saturating_duration_since(self.expiry_planned.mono);
        let expected_ms =
            self.expiry_planned.wall_ms + u64::try_from(since.as_millis()).unwrap_or(u64::MAX / 2);
        self.now.wall_ms.abs_diff(expected_ms) < EXPIRY_LEAP_MS
    }
}
