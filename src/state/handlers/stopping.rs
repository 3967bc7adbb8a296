//! The gateway's orderly end: no new work, all clients told, runs ended and on record, then goodbye.

use std::time::Duration;

use crate::agent::AgentControl;
use crate::channels::ChannelCommand;
use crate::limits::CHILD_STOP_TIMEOUT;
use crate::net::outbound::{Loss, Outbound};
use crate::protocol::event::{EventKind, Shutdown};
use crate::protocol::frame::Close;
use crate::state::{Effect, State, Stopping};

/// Time that the last commits may take on top of `CHILD_STOP_TIMEOUT`.
const RECORD_TIMEOUT: Duration = Duration::from_millis(300);

impl State {
    pub(crate) fn stop(&mut self, reason: String, restart_expected_ms: Option<u64>) {
        if self.stopping.is_some() {
            return;
        }
        self.event(EventKind::Shutdown, &Shutdown { reason: &reason, restart_expected_ms }, Loss::Nobody);
        self.effects.push(Effect::AgentControl(AgentControl::Shutdown));
        self.effects.push(Effect::Channel(ChannelCommand::GiveBack));
        let deadline = self.now.mono + CHILD_STOP_TIMEOUT + RECORD_TIMEOUT;
        // 1012 is "service restart", 1001 "going away".
        let code = if restart_expected_ms.is_some() { 1012 } else { 1001 };
        // Before the runs are cancelled, so that their messages are not taken for answered.
        self.stopping = Some(Stopping { close: Close::new(code, reason), deadline });
        self.cancel_all(|_| true);
        self.health.touch();
    }

    /// The last message to every client, when the thread may end: everything is told and on record, or time is up.
    pub(crate) fn goodbye(&self) -> Option<Outbound> {
        let stopping = self.stopping.as_ref()?;
        let is_all_told = self.runs.is_empty() && self.journal.is_idle() && !self.outbox.is_trying();
        if !is_all_told && self.now.mono < stopping.deadline {
            return None;
        }
        Some(Outbound::CloseAll { close: stopping.close.clone() })
    }
}
