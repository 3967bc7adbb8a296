//! Runs of the agent: from the ack to the last word.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::agent::{AgentCommand, AgentControl, AgentEvent, RunSpec, RunStep};
use crate::limits::{DELTA_BYTES_MAX, SUMMARY_BYTES_MAX, TOOL_BYTES_MAX};
use crate::metrics::METRICS;
use crate::net::ConnId;
use crate::net::outbound::{Loss, Outbound};
use crate::protocol::call::RunId;
use crate::protocol::error::WireError;
use crate::protocol::event::{AgentStep, AgentStream, EventKind};
use crate::protocol::frame::{self, cut_encoded};
use crate::protocol::payload::{Message, Role, RunAck, RunResult, RunStatus};
use crate::state::keys::Outcome;
use crate::state::stored::Pending;
use crate::state::{Effect, Now, State, keys, to_json};
use crate::store::StoreOp;

/// The runs that are not over.
#[derive(Default)]
pub(super) struct Runs {
    by_id: BTreeMap<RunId, Run>,
    pub(super) made: u64,
}

pub(super) struct Run {
    pub(super) session_key: String,
    pub(super) session_id: String,
    /// The idempotency key it was asked with.
    pub(super) key: String,
    /// Who started it: pieces of the stream may not be left out for it.
    pub(super) owner: ConnId,
    /// Who is owed an answer, with the id to answer to.
    pub(super) waiters: Vec<(ConnId, String)>,
    pub(super) phase: Phase,
    /// Events so far.
    seq: u64,
    pub(super) cancelled: bool,
}

pub(super) enum Phase {
    /// Being made durable; nobody has been told "accepted" yet.
    Storing(Box<RunSpec>),
    /// In the agent's hands, not started.
    Waiting,
    /// Under way.
    Active,
    /// Over; the outcome is being made durable.
    Saving,
}

impl Run {
    pub(super) fn new(spec: Box<RunSpec>, key: String, owner: ConnId, id: String) -> Self {
        Self {
            session_key: spec.session_key.clone(),
            session_id: spec.session_id.clone(),
            key,
            owner,
            waiters: vec![(owner, id)],
            phase: Phase::Storing(spec),
            seq: 0,
            cancelled: false,
        }
    }
}

impl Runs {
    pub(super) fn insert(&mut self, run_id: RunId, run: Run) {
        self.by_id.insert(run_id, run);
    }

    pub(super) fn get_mut(&mut self, run_id: &RunId) -> Option<&mut Run> {
        self.by_id.get_mut(run_id)
    }

    pub(super) fn remove(&mut self, run_id: &RunId) -> Option<Run> {
        self.by_id.remove(run_id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Ids of the runs for which `wanted` holds.
    pub(super) fn ids(&self, wanted: impl Fn(&Run) -> bool) -> Vec<RunId> {
        self.by_id.iter().filter(|(_, run)| wanted(run)).map(|(id, _)| RunId::clone(id)).collect()
    }

    /// Runs under way.
    pub(super) fn active(&self) -> usize {
        self.by_id.values().filter(|run| matches!(run.phase, Phase::Active)).count()
    }

    /// Runs accepted, or about to be, that have not started.
    pub(super) fn waiting(&self) -> usize {
        self.by_id.values().filter(|run| matches!(run.phase, Phase::Storing(_) | Phase::Waiting)).count()
    }
}

impl State {
    /// The run is durable: say so, and let it start.
    pub(super) fn run_stored(&mut self, run_id: &RunId, result: Result<(), String>, now: Now) {
        if let Err(trouble) = result {
            return self.run_not_stored(run_id, &trouble);
        }
        let stopping = self.stopping.is_some();
        let Some(run) = self.runs.get_mut(run_id) else { return };
        let Phase::Storing(spec) = std::mem::replace(&mut run.phase, Phase::Waiting) else { return };
        let cancelled = run.cancelled || stopping;
        let acks: Vec<_> = run.waiters.clone();
        for (conn, id) in &acks {
            self.answer(*conn, id, &RunAck { run_id, status: "accepted" });
        }
        if cancelled {
            self.run_ended(run_id, RunStatus::Cancelled, "cancelled before it started".to_owned(), now);
        } else {
            self.effects.push(Effect::Agent(AgentCommand::Run(spec)));
        }
        self.health.touch();
    }

    /// Nothing was promised and nothing done: the key is free again.
    fn run_not_stored(&mut self, run_id: &RunId, trouble: &str) {
        let Some(run) = self.runs.remove(run_id) else { return };
        self.keys.undo(&run.key);
        let error = WireError::unavailable(format!("the run could not be put on record: {trouble}"));
        for (conn, id) in &run.waiters {
            self.refuse(*conn, id, &error);
        }
        self.health.touch();
    }

    pub(super) fn agent_event(&mut self, event: AgentEvent, now: Now) {
        match event {
            AgentEvent::Step { run_id, step } => self.run_step(&run_id, step, now),
            AgentEvent::Ended { run_id, status, summary } => self.run_ended(&run_id, status, summary, now),
            AgentEvent::Trouble(trouble) => self.health.set_agent_trouble(trouble),
        }
    }

    fn run_step(&mut self, run_id: &RunId, step: RunStep, now: Now) {
        if step == RunStep::Started {
            if let Some(run) = self.runs.get_mut(run_id) {
                run.phase = Phase::Active;
                self.health.touch();
            }
        }
        let (stream, data) = draw(step);
        self.agent_step(run_id, stream, data, now);
    }

    fn agent_step(&mut self, run_id: &RunId, stream: AgentStream, data: Value, now: Now) {
        let no_clients = self.clients.is_empty();
        let Some(run) = self.runs.get_mut(run_id) else { return };
        run.seq += 1;
        if no_clients {
            return;
        }
        let loss = match stream {
            AgentStream::Assistant | AgentStream::Thinking => Loss::AnybodyBut(run.owner),
            AgentStream::Lifecycle | AgentStream::Tool | AgentStream::Error => Loss::Nobody,
        };
        let step =
            AgentStep { run_id, session_key: &run.session_key, seq: run.seq, stream, ts: now.wall_ms, data };
        let body = frame::EventBody::new(EventKind::Agent, &step, None);
        self.effects.push(Effect::Out(Outbound::Event { body, loss }));
    }

    /// The last word on a run: it becomes durable before anybody hears it.
    pub(super) fn run_ended(&mut self, run_id: &RunId, status: RunStatus, summary: String, now: Now) {
        let Some(run) = self.runs.get_mut(run_id) else { return };
        if matches!(run.phase, Phase::Saving) {
            return;
        }
        run.phase = Phase::Saving;
        self.health.touch();
        // Whoever cancelled was told so; an answer that came at the same moment does not undo it.
        let (status, summary) = match status {
            RunStatus::Ok if run.cancelled => (RunStatus::Cancelled, "cancelled".to_owned()),
            status => (status, summary),
        };
        let kept = cut_encoded(&summary, SUMMARY_BYTES_MAX);
        let truncated = kept.len() < summary.len();
        // The runner keeps a little more than that of a longer answer.
        let summary_bytes = summary.len();
        let outcome =
            Outcome { ended_ts: now.wall_ms, status: Some(status), summary: kept.to_owned(), truncated };
        let message = Message {
            id: String::new(),
            ts: now.wall_ms,
            role: if status == RunStatus::Ok { Role::Assistant } else { Role::Note },
            text: if status == RunStatus::Ok { summary } else { format!("{}: {kept}", status.name()) },
            channel: None,
            from: None,
            run_id: Some(run_id.to_string()),
            idempotency_key: Some(run.key.clone()),
            truncated: summary_bytes > SUMMARY_BYTES_MAX,
        };
        let (key, session_key, session_id) =
            (run.key.clone(), run.session_key.clone(), run.session_id.clone());
        let mut ops = self.sessions.append(&session_key, &session_id, message);
        if let Some(record) = self.keys.end(&key, outcome.clone(), now.mono) {
            ops.push(StoreOp::Put { slot: keys::slot(&key), value: to_json(&record) });
        }
        self.store(ops, Pending::RunEnd { run_id: RunId::clone(run_id), outcome });
    }

    /// The outcome is durable (or, with a broken disk, as good as it gets): tell everybody.
    pub(super) fn run_end_stored(&mut self, run_id: &RunId, outcome: &Outcome, now: Now) {
        let status = outcome.status.unwrap_or(RunStatus::Error);
        let mut data = json!({ "phase": "ended", "status": status.name() });
        if status != RunStatus::Ok {
            data["reason"] = cut_encoded(&outcome.summary, TOOL_BYTES_MAX).into();
        }
        self.agent_step(run_id, AgentStream::Lifecycle, data, now);
        let Some(run) = self.runs.remove(run_id) else { return };
        match status {
            RunStatus::Ok => METRICS.runs_ok.up(),
            RunStatus::Error => METRICS.runs_error.up(),
            RunStatus::Timeout => METRICS.runs_timeout.up(),
            RunStatus::Cancelled => METRICS.runs_cancelled.up(),
        }
        for (conn, id) in &run.waiters {
            self.answer_outcome(*conn, id, run_id, outcome);
        }
        self.health.touch();
    }

    /// The final answer, the first time and whenever the same key comes again.
    pub(super) fn answer_outcome(&mut self, conn: ConnId, id: &str, run_id: &RunId, outcome: &Outcome) {
        let text = outcome.summary.as_str();
        let Some(status) = outcome.status else {
            let details = json!({ "outcome": "unknown", "runId": &**run_id });
            let error = WireError::unavailable(text).not_retryable().with_details(details);
            return self.refuse(conn, id, &error);
        };
        let payload = RunResult { run_id, status, summary: text, truncated: outcome.truncated };
        let error = match status {
            RunStatus::Ok => return self.answer(conn, id, &payload),
            RunStatus::Error => WireError::unavailable(text),
            RunStatus::Timeout => WireError::agent_timeout(text),
            RunStatus::Cancelled => WireError::cancelled(text),
        };
        let frame = frame::res_error_with(id, Some(&payload), &error);
        self.effects.push(Effect::Out(Outbound::Frame { conn, frame }));
    }

    /// Ends a run wherever it is. What follows comes through the agent.
    pub(super) fn cancel(&mut self, run_id: &RunId) -> bool {
        let Some(run) = self.runs.get_mut(run_id) else { return false };
        if matches!(run.phase, Phase::Saving) && !run.cancelled {
            return false;
        }
        let in_the_agents_hands = matches!(run.phase, Phase::Waiting | Phase::Active);
        if !run.cancelled && in_the_agents_hands {
            self.effects.push(Effect::AgentControl(AgentControl::Cancel(RunId::clone(run_id))));
        }
        run.cancelled = true;
        true
    }

    /// Ends every run for which `wanted` holds.
    pub(super) fn cancel_all(&mut self, wanted: impl Fn(&Run) -> bool) {
        for run_id in self.runs.ids(wanted) {
            self.cancel(&run_id);
        }
    }
}

/// A step as the event's stream and data.
fn draw(step: RunStep) -> (AgentStream, Value) {
    match step {
        RunStep::Queued { position } => {
            (AgentStream::Lifecycle, json!({ "phase": "queued", "position": position }))
        }
        RunStep::Started => (AgentStream::Lifecycle, json!({ "phase": "started" })),
        RunStep::Retrying { reason } => {
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
        RunStep::ToolStart { call_id, name, args, truncated } => {
            let args = parse_or_text(args, truncated);
            (AgentStream::Tool, tool("start", &call_id, &name, "args", args, truncated, None))
        }
        RunStep::ToolUpdate { call_id, name, result, truncated } => {
            (AgentStream::Tool, tool("update", &call_id, &name, "result", result.into(), truncated, None))
        }
        RunStep::ToolEnd { call_id, name, result, truncated, is_error } => (
            AgentStream::Tool,
            tool("end", &call_id, &name, "result", result.into(), truncated, Some(is_error)),
        ),
    }
}

/// Pieces are at most `DELTA_BYTES_MAX` long, and six times that still fits a frame.
fn fit(delta: &str) -> &str {
    debug_assert!(delta.len() <= DELTA_BYTES_MAX, "the agent thread splits longer pieces");
    delta
}

/// Arguments are JSON unless they were cut.
fn parse_or_text(args: String, truncated: bool) -> Value {
    if truncated {
        return Value::String(args);
    }
    serde_json::from_str(&args).unwrap_or(Value::String(args))
}

fn tool(
    phase: &str,
    call_id: &str,
    name: &str,
    content_name: &str,
    content: Value,
    truncated: bool,
    is_error: Option<bool>,
) -> Value {
    let mut data = json!({ "phase": phase, "toolCallId": call_id, "name": name });
    data[content_name] = content;
    if truncated {
        data["truncated"] = true.into();
    }
    if let Some(is_error) = is_error {
        data["isError"] = is_error.into();
    }
    data
}
