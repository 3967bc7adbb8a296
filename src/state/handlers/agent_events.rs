//! What the agent thread reports: steps of runs, their ends, and how the agent is.
//!
//! Here the steps become `agent` events for clients; the end of a run is handled in `runs`, the end of a session
//! in `forgetting`.

use serde_json::{Value, json};

use crate::agent::{AgentEvent, RunStep, ToolPhase, ToolStep};
use crate::limits::{DELTA_BYTES_MAX, TOOL_BYTES_MAX};
use crate::net::outbound::{Loss, Outbound};
use crate::protocol::call::RunId;
use crate::protocol::event::{AgentStep, AgentStream, EventKind};
use crate::protocol::frame::{EventBody, cut_encoded};
use crate::protocol::warning::{Warning, WarningCode};
use crate::state::model::runs::RunPhase;
use crate::state::{Effect, State};

impl State {
    pub(crate) fn agent_event(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Step { run_id, step } => self.run_step(&run_id, step),
            AgentEvent::Ended { run_id, status, summary } => self.run_ended(&run_id, status, &summary),
            AgentEvent::Sandbox { kind, reason } => {
                match &reason {
                    Some(reason) => self.warn(Warning::new(WarningCode::NoSandbox, reason.clone())),
                    None => self.end_warning(WarningCode::NoSandbox),
                }
                self.health.sandbox = (kind, reason);
                self.health.touch();
            }
            AgentEvent::Trouble(trouble) => {
                self.health.agent_trouble = trouble;
                self.health.touch();
            }
            AgentEvent::Forgotten { session_key, result } => self.agent_forgot(session_key, result),
        }
    }

    fn run_step(&mut self, run_id: &RunId, step: RunStep) {
        if step == RunStep::Started {
            if let Some(run) = self.runs.by_id.get_mut(run_id) {
                run.phase = RunPhase::Active;
                self.health.touch();
            }
            self.show_typing(run_id);
        }
        let (stream, data) = to_event(step);
        self.agent_step(run_id, stream, data);
    }

    pub(crate) fn agent_step(&mut self, run_id: &RunId, stream: AgentStream, data: Value) {
        let no_clients = self.clients.is_empty();
        let Some(run) = self.runs.by_id.get_mut(run_id) else { return };
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
}

/// The stream and data of the `agent` event for a step.
fn to_event(step: RunStep) -> (AgentStream, Value) {
    match step {
        RunStep::Queued(position) => {
            (AgentStream::Lifecycle, json!({ "phase": "queued", "position": position }))
        }
        RunStep::Started => (AgentStream::Lifecycle, json!({ "phase": "started" })),
        RunStep::Retrying(reason) => {
            let reason = cut_encoded(&reason, TOOL_BYTES_MAX);
            (AgentStream::Lifecycle, json!({ "phase": "retrying", "reason": reason }))
        }
        RunStep::Compacting => (AgentStream::Lifecycle, json!({ "phase": "compacting" })),
        RunStep::Text(delta) => (AgentStream::Assistant, json!({ "delta": fit(&delta) })),
        RunStep::Reset => (AgentStream::Assistant, json!({ "reset": true })),
        RunStep::Thinking(delta) => (AgentStream::Thinking, json!({ "delta": fit(&delta) })),
        RunStep::Error(message) => {
            (AgentStream::Error, json!({ "message": cut_encoded(&message, TOOL_BYTES_MAX) }))
        }
        RunStep::Tool(step) => (AgentStream::Tool, tool(step)),
    }
}

/// A piece of text, which is at most `DELTA_BYTES_MAX` long: JSON may take six times that, which still fits a frame.
fn fit(delta: &str) -> &str {
    debug_assert!(delta.len() <= DELTA_BYTES_MAX, "the agent thread splits longer pieces");
    delta
}

/// The arguments of a tool: JSON, unless they were cut.
fn parse_or_text(args: String, truncated: bool) -> Value {
    if truncated {
        return Value::String(args);
    }
    serde_json::from_str(&args).unwrap_or(Value::String(args))
}

fn tool(ToolStep { call_id, name, text, truncated, phase }: ToolStep) -> Value {
    let mut data = match phase {
        ToolPhase::Start => json!({ "phase": "start", "args": parse_or_text(text, truncated) }),
        ToolPhase::Update => json!({ "phase": "update", "result": text }),
        ToolPhase::End { is_error } => json!({ "phase": "end", "result": text, "isError": is_error }),
    };
    data["toolCallId"] = call_id.into();
    data["name"] = name.into();
    if truncated {
        data["truncated"] = true.into();
    }
    data
}
