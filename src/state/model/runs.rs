//! Runs of the agent: from the ack to the last word.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::agent::{AgentControl, AgentEvent, RunSpec, RunStep};
use crate::channels::message::Route;
use crate::limits::{SUMMARY_BYTES_MAX, TOOL_BYTES_MAX};
use crate::metrics::METRICS;
use crate::net::outbound::{Loss, Outbound};
use crate::protocol::ConnId;
use crate::protocol::call::RunId;
use crate::protocol::error::WireError;
use crate::protocol::event::{AgentStep, AgentStream, EventKind};
use crate::protocol::frame::{self, cut_encoded};
use crate::protocol::payload::{Message, Role, RunAck, RunResult, RunStatus};
use crate::protocol::warning::{Warning, WarningCode};
use crate::state::handlers::directives::Directive;
use crate::state::handlers::replies::Owed;
use crate::state::handlers::replies::Reply;
use crate::state::journal::Pending;
use crate::state::model::inbox::Number;
use crate::state::model::keys;
use crate::state::model::keys::Outcome;
use crate::state::model::prompt::Prompt;
use crate::state::model::steps;
use crate::state::{Effect, State};
use crate::store::StoreOp;

/// The runs that are not over.
#[derive(Default)]
pub(crate) struct Runs {
    by_id: BTreeMap<RunId, Run>,
    pub(crate) made: u64,
}

pub(crate) struct Run {
    /// Order in which runs were asked for.
    pub(crate) number: u64,
    pub(crate) session_key: String,
    pub(crate) session_id: String,
    /// Who asked, in what way.
    pub(crate) origin: Origin,
    /// Where the answer goes besides the clients: fixed when the run is admitted.
    pub(crate) reply: Option<Reply>,
    /// Name of the idempotency key that it was asked with.
    pub(crate) key: Option<String>,
    /// Who asked: `owner`, or `CHANNEL:ID`; empty once they left the prompt to those who ride along.
    pub(crate) person: String,
    /// What is asked, as long as it can be asked again.
    pub(crate) prompt: Prompt,
    /// Place among those that wait, as clients were last told it; 0 before.
    pub(crate) position: usize,
    /// Who started it: pieces of the stream may not be left out for it.
    pub(crate) owner: Option<ConnId>,
    /// Who is owed an answer, with the id to answer to.
    pub(crate) waiters: Vec<(ConnId, String)>,
    pub(crate) phase: Phase,
    /// Runs whose messages share this one's prompt, and so its answer.
    pub(crate) riders: Vec<RunId>,
    /// Events so far.
    seq: u64,
    pub(crate) cancelled: bool,
    /// Its session was forgotten: nothing of what was said may stay on record.
    pub(crate) forgotten: bool,
    /// Somebody sees that it is being worked on.
    pub(crate) shows_typing: bool,
}

/// Who asked for a run.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A client, with a key.
    Client,
    /// Somebody on a surface: messages of the inbox that are answered with it. `was_interrupted`: the
    /// gateway did not live through it once, so it is alone with the agent, and nothing else is counted
    /// for what it does.
    Surface { numbers: Vec<Number>, was_interrupted: bool },
    /// The gateway itself.
    Heartbeat,
}

/// What a run is to do.
pub(crate) enum Work {
    /// Ask the agent this. `has_place`: a place with the agent is kept for it meanwhile.
    Prompt { spec: Box<RunSpec>, prompt: Prompt, has_place: bool },
    /// Do it ourselves.
    Directive(Directive),
}

pub(crate) enum Phase {
    /// Being made durable; nobody has been told "accepted" yet.
    Storing(Work),
    /// Waits until its session is free, and the agent.
    Held(Box<RunSpec>),
    /// That it is tried is being made durable; then it goes to the agent.
    Counting(Box<RunSpec>),
    /// Part of another run's prompt; kept in case that one is cancelled.
    Riding(Box<RunSpec>),
    /// In the agent's hands, not started.
    Waiting,
    /// Under way.
    Active,
    /// A directive, being carried out.
    Obeying,
    /// Over; the outcome is being made durable.
    Saving,
}

/// How a run ended, and what goes on record with it.
pub(crate) struct Ended {
    pub(crate) status: RunStatus,
    pub(crate) summary: String,
    /// Who says the summary in the session's history; `None` leaves it out.
    pub(crate) role: Option<Role>,
    /// What becomes durable together with the outcome.
    pub(crate) ops: Vec<StoreOp>,
    /// It began a new conversation, and is said there.
    pub(crate) anew: bool,
    /// What surfaces are owed for it.
    pub(crate) owed: Owed,
}

impl Ended {
    pub(crate) fn new(status: RunStatus, summary: String, role: Option<Role>) -> Self {
        Self { status, summary, role, ops: Vec::new(), anew: false, owed: Owed::default() }
    }
}

impl Run {
    pub(crate) fn new(work: Work, session_key: String, session_id: String, person: String) -> Self {
        Self {
            number: 0,
            session_key,
            session_id,
            origin: Origin::Client,
            reply: None,
            key: None,
            person,
            prompt: Prompt::default(),
            position: 0,
            owner: None,
            waiters: Vec::new(),
            phase: Phase::Storing(work),
            riders: Vec::new(),
            seq: 0,
            cancelled: false,
            forgotten: false,
            shows_typing: false,
        }
    }
}

impl Run {
    /// Of the messages of the inbox that it answers, the first; beyond all of them if it answers none.
    pub(crate) fn first_number(&self) -> Number {
        match &self.origin {
            Origin::Surface { numbers, .. } => numbers.iter().copied().min().unwrap_or(Number::MAX),
            Origin::Client | Origin::Heartbeat => Number::MAX,
        }
    }

    /// Whether the gateway did not live through it once.
    pub(crate) fn was_interrupted(&self) -> bool {
        matches!(self.origin, Origin::Surface { was_interrupted: true, .. })
    }

    /// Accepted, or about to be, and not started.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.phase, Phase::Storing(_) | Phase::Held(_) | Phase::Counting(_) | Phase::Waiting)
    }

    /// A directive that is not carried out yet.
    fn is_directive(&self) -> bool {
        matches!(self.phase, Phase::Storing(Work::Directive(_)))
    }

    /// Where a client wants the answer sent besides.
    pub(crate) fn delivered_to(&self) -> Option<&Route> {
        let by_client = matches!(self.origin, Origin::Client);
        self.reply.as_ref().filter(|_| by_client).map(|reply| &reply.route)
    }
}

impl Runs {
    pub(crate) fn insert(&mut self, run_id: RunId, mut run: Run) {
        run.number = self.made;
        self.by_id.insert(run_id, run);
    }

    pub(crate) fn get(&self, run_id: &RunId) -> Option<&Run> {
        self.by_id.get(run_id)
    }

    pub(crate) fn get_mut(&mut self, run_id: &RunId) -> Option<&mut Run> {
        self.by_id.get_mut(run_id)
    }

    pub(crate) fn remove(&mut self, run_id: &RunId) -> Option<Run> {
        self.by_id.remove(run_id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Marks the runs of a session that is forgotten.
    pub(crate) fn forget(&mut self, session_key: &str) {
        for run in self.by_id.values_mut().filter(|run| run.session_key == session_key) {
            run.forgotten = true;
        }
    }

    /// The runs of one session.
    pub(crate) fn of_session(&self, session_key: &str) -> impl Iterator<Item = (&RunId, &Run)> {
        self.by_id.iter().filter(move |(_, run)| run.session_key == session_key)
    }

    /// Sessions in which a directive is about to be carried out.
    pub(crate) fn about_to_obey(&self) -> BTreeSet<String> {
        let directives = self.by_id.values().filter(|run| run.is_directive());
        directives.map(|run| run.session_key.clone()).collect()
    }

    /// Ids of the runs for which `wanted` holds.
    fn ids(&self, wanted: impl Fn(&Run) -> bool) -> Vec<RunId> {
        self.by_id.iter().filter(|(_, run)| wanted(run)).map(|(id, _)| RunId::clone(id)).collect()
    }

    /// Runs under way.
    pub(crate) fn active(&self) -> usize {
        self.by_id.values().filter(|run| matches!(run.phase, Phase::Active)).count()
    }

    /// Runs accepted, or about to be, that have not started.
    pub(crate) fn waiting(&self) -> usize {
        self.by_id.values().filter(|run| run.waits()).count()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RunId, &Run)> {
        self.by_id.iter()
    }
}

impl State {
    /// The run is durable: say so, and let it start.
    pub(crate) fn run_stored(&mut self, run_id: &RunId, result: Result<(), String>) {
        if let Err(trouble) = result {
            return self.run_not_stored(run_id, &trouble);
        }
        let Some(run) = self.runs.get_mut(run_id) else { return };
        let Phase::Storing(work) = std::mem::replace(&mut run.phase, Phase::Obeying) else { return };
        let (cancelled, session_key) = (run.cancelled, run.session_key.clone());
        for (conn, id) in run.waiters.clone() {
            self.answer(conn, &id, &RunAck { run_id, status: "accepted" });
        }
        self.health.touch();
        match work {
            _ if cancelled => self.end_cancelled(run_id),
            Work::Prompt { spec, prompt, has_place } => self.enqueue(run_id, spec, prompt, has_place),
            Work::Directive(directive) => self.obey(run_id, &session_key, directive),
        }
    }

    /// Nothing was promised and nothing done: the key is free again.
    fn run_not_stored(&mut self, run_id: &RunId, trouble: &str) {
        let Some(run) = self.runs.remove(run_id) else { return };
        if let Origin::Surface { numbers, .. } = &run.origin {
            self.unask(numbers);
        }
        if let Some(key) = &run.key {
            self.keys.undo(key);
        }
        let error = WireError::unavailable(format!("the run could not be put on record: {trouble}"));
        for (conn, id) in &run.waiters {
            self.refuse(*conn, id, &error);
        }
        self.health.touch();
    }

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
                run.phase = Phase::Active;
                self.health.touch();
            }
            self.show_typing(run_id);
        }
        let (stream, data) = steps::draw(step);
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
        let body = frame::EventBody::new(EventKind::Agent, &step, None);
        self.effects.push(Effect::Out(Outbound::Event { body, loss }));
    }

    /// One piece of an answer that is not the agent's.
    pub(crate) fn say(&mut self, run_id: &RunId, text: &str) {
        self.agent_step(run_id, AgentStream::Assistant, json!({ "delta": text }));
    }

    /// The agent's last word on a run, and on those that shared its prompt.
    pub(crate) fn run_ended(&mut self, run_id: &RunId, status: RunStatus, summary: String) {
        let Some(run) = self.runs.get_mut(run_id) else { return };
        if matches!(run.phase, Phase::Saving) {
            return;
        }
        // Whoever cancelled was told so; an answer that came at the same moment does not undo it.
        let cancelled = run.cancelled;
        let (status, summary) =
            if cancelled { (RunStatus::Cancelled, CANCELLED.to_owned()) } else { (status, summary) };
        let riders = std::mem::take(&mut run.riders);
        let was_given = !matches!(run.phase, Phase::Counting(_));
        // First, because the answer goes on record with it: no rider is told what a crash can lose.
        let role = self.role_of_answer(run_id, status, &summary);
        // A message that was not the one that was cancelled is asked again, and answered then.
        let answered = if cancelled { &[] } else { riders.as_slice() };
        let owed = self.owed_by(run_id, answered);
        self.end_run(run_id, Ended { owed, ..Ended::new(status, summary.clone(), role) });
        if cancelled {
            return self.runs.ask_again(&riders, was_given);
        }
        for rider_id in riders {
            if self.runs.get(&rider_id).is_some_and(|rider| matches!(rider.phase, Phase::Riding(_))) {
                self.end_run(&rider_id, Ended::new(status, summary.clone(), None));
            }
        }
    }

    fn end_cancelled(&mut self, run_id: &RunId) {
        let owed = self.owed_by(run_id, &[]);
        let ended = Ended::new(RunStatus::Cancelled, CANCELLED.to_owned(), Some(Role::Note));
        self.end_run(run_id, Ended { owed, ..ended });
    }

    /// The end of a run becomes durable before anybody hears of it.
    pub(crate) fn end_run(&mut self, run_id: &RunId, ended: Ended) {
        let Ended { status, summary, role, mut ops, anew, owed } = ended;
        let Some(run) = self.runs.get_mut(run_id) else { return };
        run.phase = Phase::Saving;
        self.health.touch();
        let kept = cut_encoded(&summary, SUMMARY_BYTES_MAX);
        let truncated = kept.len() < summary.len();
        // The runner keeps a little more than that of a longer answer.
        let summary_bytes = summary.len();
        let outcome = Outcome {
            ended_ts: self.now.wall_ms,
            status: Some(status),
            summary: kept.to_owned(),
            truncated,
            invalid: false,
        };
        let recorded = if run.forgotten { outcome.forgotten() } else { outcome.clone() };
        let (key, session_key, asked_in) = (run.key.clone(), run.session_key.clone(), run.session_id.clone());
        let posted = self.settle_owed(owed, run_id, &session_key, status, &summary);
        if let Some(role) = role {
            let text = match status {
                RunStatus::Ok => summary,
                _ if kept == status.name() => kept.to_owned(),
                _ => format!("{}: {kept}", status.name()),
            };
            let message = Message {
                run_id: Some(run_id.to_string()),
                idempotency_key: key.as_deref().map(|key| keys::of_client(key).to_owned()),
                truncated: summary_bytes > SUMMARY_BYTES_MAX,
                ..Message::new(role, text, self.now.wall_ms)
            };
            let now_in = self.sessions.id(&session_key).filter(|_| anew).map(str::to_owned);
            let session_id = now_in.unwrap_or(asked_in);
            ops.extend(self.sessions.append(&session_key, &session_id, message));
        }
        ops.extend(posted.ops);
        ops.extend(key.and_then(|key| self.keys.ending(&key, &recorded)));
        self.store(ops, Pending::RunEnd { run_id: RunId::clone(run_id), outcome, letters: posted.letters });
    }

    /// The outcome is durable (or, with a broken disk, as good as it gets): tell everybody.
    pub(crate) fn run_end_stored(&mut self, run_id: &RunId, mut outcome: Outcome) {
        let forgotten = self.runs.get_mut(run_id).is_some_and(|run| run.forgotten);
        if let Some(key) = self.runs.get_mut(run_id).and_then(|run| run.key.clone()) {
            let kept = if forgotten { outcome.forgotten() } else { outcome.clone() };
            let record = self.keys.end(&key, kept, self.now.mono);
            if let Some(record) = record.filter(|_| forgotten) {
                self.store(vec![keys::put(&key, &record)], Pending::Nothing);
            }
        }
        let outcome = &mut outcome;
        let status = outcome.status.unwrap_or(RunStatus::Error);
        let mut data = json!({ "phase": "ended", "status": status.name() });
        if status != RunStatus::Ok {
            data["reason"] = cut_encoded(&outcome.summary, TOOL_BYTES_MAX).into();
        }
        self.agent_step(run_id, AgentStream::Lifecycle, data);
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
    pub(crate) fn answer_outcome(&mut self, conn: ConnId, id: &str, run_id: &RunId, outcome: &Outcome) {
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

    /// Ends a run wherever it is. What follows comes through the agent if it has it. `false` if it
    /// is over already, or cannot be cancelled.
    pub(crate) fn cancel(&mut self, run_id: &RunId) -> bool {
        let Some(run) = self.runs.get_mut(run_id) else { return false };
        if run.cancelled {
            return true;
        }
        match run.phase {
            Phase::Saving | Phase::Obeying => return false,
            Phase::Storing(_) | Phase::Counting(_) => run.cancelled = true,
            Phase::Waiting | Phase::Active => {
                run.cancelled = true;
                self.effects.push(Effect::AgentControl(AgentControl::Cancel(RunId::clone(run_id))));
            }
            Phase::Held(_) | Phase::Riding(_) => {
                run.cancelled = true;
                self.end_cancelled(run_id);
                self.end_deserted();
            }
        }
        true
    }

    /// Ends the runs for which `wanted` holds; returns how many there were.
    pub(crate) fn cancel_all(&mut self, wanted: impl Fn(&Run) -> bool) -> usize {
        // A prompt whose own person left it ends with the last of the others.
        let ids = self.runs.ids(|run| !run.cancelled && !run.person.is_empty() && wanted(run));
        // Those that wait first: what rides along must not be asked again when its lead ends.
        let (waiting, with_agent): (Vec<RunId>, Vec<RunId>) = ids.into_iter().partition(|run_id| {
            let is_lead =
                |run: &Run| matches!(run.phase, Phase::Counting(_) | Phase::Waiting | Phase::Active);
            self.runs.get(run_id).is_some_and(|run| !is_lead(run))
        });
        waiting.iter().chain(&with_agent).filter(|run_id| self.cancel(run_id)).count()
    }

    /// Ends the runs of one session.
    pub(crate) fn cancel_session(&mut self, session_key: &str) -> usize {
        self.cancel_all(|run| run.session_key == session_key)
    }
}

/// Summary of a run that was cancelled.
const CANCELLED: &str = "cancelled";
