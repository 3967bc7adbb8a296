//! Tells clients how the gateway is, when they ask and when it changes, and keeps the warnings of what a person
//! should mend. What is well is judged in [`model::health`](crate::state::model::health).

use serde_json::value::RawValue;

use crate::limits::WARNING_BYTES_MAX;
use crate::metrics::METRICS;
use crate::net::outbound::{Loss, Outbound};
use crate::protocol::event::{EventKind, HealthChanged};
use crate::protocol::frame::EventBody;
use crate::protocol::warning::{Warning, WarningCode};
use crate::state::model::clients::clean;
use crate::state::model::to_raw_json;
use crate::state::{Effect, State};

impl State {
    /// The payload of `health`, made once for all who ask in one millisecond.
    pub(crate) fn health_json(&mut self) -> Box<RawValue> {
        if let Some((_, json)) =
            self.health.encoded.as_ref().filter(|(wall_ms, _)| *wall_ms == self.now.wall_ms)
        {
            return json.clone();
        }
        let health = self.health.snapshot(self.now.wall_ms, &self.toggles, &self.runs);
        let json = to_raw_json(&health);
        self.health.encoded = Some((self.now.wall_ms, json.clone()));
        json
    }

    /// Sends a `health` event at the end of a turn in which something became well or unwell.
    pub(crate) fn settle_health(&mut self) {
        if !std::mem::take(&mut self.health.stale) {
            return;
        }
        let health = self.health.snapshot(self.now.wall_ms, &self.toggles, &self.runs);
        METRICS.ready.set(u64::from(health.ok && self.stopping.is_none()));
        if self.health.changed(&health) && !self.clients.is_empty() {
            let payload = HealthChanged { health: &health };
            let body = EventBody::new(EventKind::Health, &payload, Some(self.version()));
            self.effects.push(Effect::Out(Outbound::Event { body, loss: Loss::Nobody }));
        }
    }

    /// From now on `status` shows this warning. The log has it once for as long as it stays the same.
    pub(crate) fn warn(&mut self, warning: Warning) {
        let warning = Warning { message: clean(&warning.message, WARNING_BYTES_MAX), ..warning };
        if self.warnings.get(&warning.code) != Some(&warning) {
            log::warn!("{}", warning.message);
            self.warnings.insert(warning.code, warning);
        }
    }

    /// Ends a warning: what it was about has been mended.
    pub(crate) fn end_warning(&mut self, code: WarningCode) {
        if let Some(warning) = self.warnings.remove(&code) {
            log::info!("no longer so: {}", warning.message);
        }
    }
}
