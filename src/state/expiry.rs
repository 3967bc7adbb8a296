//! Sessions that nobody used for longer than records are kept are forgotten.

use crate::limits::{EXPIRY_INTERVAL_MS, EXPIRY_PAUSE_MS, EXPIRY_SESSIONS_MAX, SANE_CLOCK_MS, ms};
use crate::state::stored::Pending;
use crate::state::{Now, State};

impl State {
    /// Looks for them from time to time, when there is something else to do anyway.
    pub(super) fn expire_sessions(&mut self, now: Now) {
        if now.mono < self.expiry_due || now.wall_ms < SANE_CLOCK_MS || self.stopping.is_some() {
            return;
        }
        let kept_ms = u64::try_from(self.config.retention.as_millis()).unwrap_or(u64::MAX);
        let since = now.wall_ms.saturating_sub(kept_ms);
        let keys = self.sessions.unused_since(since, EXPIRY_SESSIONS_MAX);
        let is_all = keys.len() < EXPIRY_SESSIONS_MAX;
        self.expiry_due = now.mono + ms(if is_all { EXPIRY_INTERVAL_MS } else { EXPIRY_PAUSE_MS });
        for key in keys {
            if !self.store_has_room() {
                return;
            }
            log::info!("a session was not used for longer than records are kept: it is forgotten");
            let (_, ops) = self.forget_ops(&key, now);
            self.store(ops, Pending::Forget { session_key: key, asker: None });
        }
    }
}
