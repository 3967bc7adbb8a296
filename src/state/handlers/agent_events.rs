//! What the agent thread reports: steps of runs, their ends, and how the agent is.
//!
//! Here the steps become `agent` events for clients; the end of a run is handled in `runs`, the end of a session
//! in `forgetting`.

use serde_json::{Value, json};

use crate::agent::{AgentEvent, RunStep};
use crate::net::outbound::{Loss, Outbound};
use crate::protocol::call::RunId;
use crate::protocol::event::{AgentStep, AgentStream, EventKind};
use crate::protocol::frame::EventBody;
use crate::protocol::warning::{Warning, WarningCode};
use crate::state::model::runs::RunPhase;
use crate::state::model::steps;
use crate::state::{Effect, State};

impl State {
    pub(crate) fn agent_event(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Step { run_id, step } => self.run_step(&run_id, step),
            AgentEvent::Ended { run_id, status, summary } => self.run_ended(&run_id, status, summary),
            AgentEvent::Sandbox { kind, reason } => {
                match &reason {
                    Some(reason) => self.warn(Warning::new(WarningCode::NoSandbox, reason.clone())),
                    None => self.end_warning(WarningCode::NoSandbox),
                }
                self.health.set_sandbox(kind, reason);
            }
            AgentEvent::Trouble(trouble) => self.health.set_agent_trouble(trouble),
            AgentEvent::Forgotten { session_key, result } => self.agent_forgot(session_key, result),
        }
    }

    fn run_step(&mut self, run_id: &RunId, step: RunStep) {
        if step == RunStep::Started {
            if let Some(run) = self.runs.get_mut(run_id) {
                run.phase = RunPhase::Active;
                self.health.touch();
            }
            self.show_typing(run_id);
        }
        let (stream, data) = steps::to_event(step);
        self.agent_step(run_id, stream, data);
    }

    pub(crate) fn agent_step(&mut self, run_id: &RunId, stream: AgentStream, data: Value) {
        let no_clients = self.clients.is_empty();
        let Some(run) = self.runs.get_mut(run_id) else { return };
        run.seq += 1;
        if no_clients {
            return;
        }
        let loss = match stream {
            AgentStream::Assistant | AgentStream::Thinking => {
                run.owner.map_or(Loss::Anybody, Loss::AnybodyBut)
            }
            AgentStream::Lifecycle | AgentStream::Tool | AgentStream::Error => Loss::Nobody,
        };
        let step = AgentStep {
            run_id,
            session_key: &run.session_key,
            seq: run.seq,
            stream,
            ts: self.now.wall_ms,
            data,
        };
        let body = EventBody::new(EventKind::Agent, &step, None);
        self.effects.push(Effect::Out(Outbound::Event { body, loss }));
    }

    /// Shows clients the gateway's own answer to a run, as if it were the agent's.
    pub(crate) fn say(&mut self, run_id: &RunId, text: &str) {
        self.agent_step(run_id, AgentStream::Assistant, json!({ "delta": text }));
    }
}
