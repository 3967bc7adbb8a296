//! Asks the agent from time to time whether there is something to say, and keeps quiet if there is not.
//! When a heartbeat is due is known to [`model::heartbeats`](crate::state::model::heartbeats).

use crate::config::file::Heartbeat;
use crate::protocol::call::RunId;
use crate::protocol::payload::{Role, RunStatus};
use crate::state::State;
use crate::state::model::heartbeats::{NOTHING_TO_SAY, PERSON};
use crate::state::model::outbox::Reply;
use crate::state::model::prompt::Prompt;
use crate::state::model::runs::{Origin, Run};
use crate::state::model::sessions::MAIN;

impl State {
    /// The role under which the end of a run stands in the history; none where a heartbeat had nothing to say.
    pub(crate) fn role_of_answer(
        &mut self,
        run_id: &RunId,
        status: RunStatus,
        summary: &str,
    ) -> Option<Role> {
        let run = self.runs.by_id.get_mut(run_id)?;
        if run.origin == Origin::Heartbeat && status == RunStatus::Ok && summary.trim() == NOTHING_TO_SAY {
            run.reply = None;
            return None;
        }
        Some(if status == RunStatus::Ok { Role::Assistant } else { Role::Note })
    }

    /// The chat that the config wants a heartbeat's answer to be sent to.
    fn heartbeat_reply(&self) -> Option<Reply> {
        let Heartbeat { channel, to, .. } = &self.heartbeats.config;
        let to = to.as_deref().or_else(|| self.access.owner((*channel)?))?;
        let route = self
            .route_to(*channel, to)
            .inspect_err(|error| log::warn!("a heartbeat's answer cannot be delivered: {}", error.message))
            .ok()?;
        Some(Reply { route, to: None })
    }

    /// Begins a heartbeat's run, unless something speaks against it; the next heartbeat is due all the same.
    pub(crate) fn heartbeat(&mut self) {
        self.heartbeats.switch(true, self.now);
        let busy = !self.runs.by_id.is_empty() || self.stopping.is_some();
        let is_empty = self.sessions.get(MAIN).is_none_or(|session| session.messages == 0);
        if busy || is_empty || !self.store_has_room() {
            return;
        }
        if let Err(error) = self.agent_may_run(PERSON) {
            log::info!("no heartbeat: {}", error.message);
            return;
        }
        let run_id = self.new_run_id();
        let session_id = self.sessions.current(MAIN).id.clone();
        let run = Run {
            origin: Origin::Heartbeat,
            reply: self.heartbeat_reply(),
            prompt: Prompt::of_config(self.heartbeats.prompt()),
            has_place: self.has_place(MAIN, false),
            ..self.new_run(MAIN, &session_id, PERSON)
        };
        self.heartbeats.set_last(self.now.wall_ms, &mut self.writes);
        self.begin_run(run_id, run);
    }
}
