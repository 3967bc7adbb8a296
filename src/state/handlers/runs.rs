//! Takes a run from its ack to its last word: its end goes on record before anybody hears of it. What chats are owed is
//! settled in `replies`.
//!
//! # The queues of runs that wait for the agent
//!
//! Runs start first come, first served over all sessions, and one prompt at a time in each. What is asked while a
//! session's run is under way becomes one next prompt, of a lead and its coalesced runs: people type in bursts, and
//! five lines are not five runs. Which runs go into one prompt is decided in
//! [`model::runs`](crate::state::model::runs).
//!
//! Only what can start is handed to the agent, and it is durable that a message from a channel is tried before
//! its prompt is given away. So a message that the gateway does not live through is tried a few times, and
//! nothing that only waited behind it is counted with it. A message that was interrupted once is alone with the
//! agent the next time, in its prompt and beside it: the count is its own.

use std::time::Duration;

use serde_json::json;

use crate::agent::{AgentControl, RunSpec};
use crate::limits::{INBOX_RETRY_PAUSE, SUMMARY_BYTES_MAX, TOOL_BYTES_MAX};
use crate::metrics::METRICS;
use crate::protocol::call::{RunId, Thinking};
use crate::protocol::error::{ErrorCode, WireError};
use crate::protocol::event::AgentStream;
use crate::protocol::frame::{self, cut_encoded};
use crate::protocol::payload::{Message, Role, RunAck, RunResult, RunStatus};
use crate::state::journal::Then;
use crate::state::model::clients::Asker;
use crate::state::model::inbox::InboxId;
use crate::state::model::keys::{self, Outcome};
use crate::state::model::prompt::Prompt;
use crate::state::model::runs::{CANCELLED, Run, RunPhase};
use crate::state::model::sessions::MAIN;
use crate::state::{Effect, State};

impl State {
    /// A new run, as its session and the config have it; nobody waits for it yet.
    pub(crate) fn new_run(&self, session_key: &str, session_id: &str, person: &str) -> Run {
        Run {
            number: self.runs.made,
            session_key: session_key.to_owned(),
            session_id: session_id.to_owned(),
            person: person.to_owned(),
            thinking: self.thinking(session_key),
            timeout: Duration::from_secs(self.config.agent.timeout_seconds),
            ..Run::default()
        }
    }

    /// Level of thinking in a session where a request names none.
    pub(crate) fn thinking(&self, session_key: &str) -> Thinking {
        let chosen = self.sessions.get(session_key).and_then(|session| session.thinking);
        chosen.unwrap_or(self.config.agent.thinking)
    }

    /// Puts a new run on record, with what the turn has gathered for it. A prompt counts against today's budget.
    pub(crate) fn begin_run(&mut self, run_id: RunId, run: Run) {
        if run.directive.is_none() {
            self.today.count(&run.person, self.now.wall_ms);
            self.today.saw(&run.person, &run.session_key);
            self.put_today();
        }
        self.runs.by_id.insert(RunId::clone(&run_id), run);
        self.health.touch();
        self.commit(Then::BeginRun { run_id });
    }

    /// Handles the end of the commit of a new run: it is acknowledged and may start.
    pub(crate) fn run_stored(&mut self, run_id: &RunId, result: Result<(), String>) {
        if let Err(trouble) = result {
            return self.run_not_stored(run_id, &trouble);
        }
        let Some(run) = self.runs.by_id.get_mut(run_id) else { return };
        if run.phase != RunPhase::Storing {
            return;
        }
        let (cancelled, directive, has_place) = (run.cancelled, run.directive, run.has_place);
        let session_key = run.session_key.clone();
        run.phase = match directive {
            Some(_) => RunPhase::Saving,
            None if has_place => RunPhase::Counting,
            None => RunPhase::Held,
        };
        for waiter in run.waiters.clone() {
            self.answer(&waiter, &RunAck { run_id, status: "accepted" });
        }
        self.health.touch();
        match directive {
            _ if cancelled => self.end_run(run_id, RunStatus::Cancelled, CANCELLED, Some(Role::Note), &[]),
            Some(directive) => self.execute_directive(run_id, &session_key, directive),
            None if has_place => self.hand_over(run_id),
            None => {}
        }
    }

    /// Takes a run back that could not be put on record. Nothing was promised and nothing done: its key is free
    /// again.
    fn run_not_stored(&mut self, run_id: &RunId, trouble: &str) {
        let Some(run) = self.runs.by_id.remove(run_id) else { return };
        for inbox_id in &run.inbox_ids {
            if self.inbox.waiting.contains_key(inbox_id) {
                // It is asked again after a while.
                self.inbox.unask(*inbox_id);
                self.inbox.hold_until = Some(self.now.mono + INBOX_RETRY_PAUSE);
            }
        }
        if let Some(key) = &run.key {
            self.keys.remove(key);
        }
        let error = WireError::unavailable(format!("the run could not be put on record: {trouble}"));
        for waiter in &run.waiters {
            self.refuse(waiter, &error);
        }
        self.health.touch();
    }

    /// Handles the agent's last word on a run, and ends the coalesced runs with it.
    pub(crate) fn run_ended(&mut self, run_id: &RunId, status: RunStatus, summary: &str) {
        let Some(run) = self.runs.by_id.get_mut(run_id) else { return };
        if run.phase == RunPhase::Saving {
            return;
        }
        // Whoever cancelled was told so; an answer that came at the same moment does not undo that.
        let cancelled = run.cancelled;
        let (status, summary) = if cancelled { (RunStatus::Cancelled, CANCELLED) } else { (status, summary) };
        let coalesced = std::mem::take(&mut run.coalesced);
        let was_given = run.phase != RunPhase::Counting;
        let role = self.role_of_answer(run_id, status, summary);
        // Only the run itself was cancelled: its coalesced runs are asked again, and answered then.
        let answered = if cancelled { &[] } else { coalesced.as_slice() };
        // First, because the answer goes on record with it: no coalesced run is told what a crash can lose.
        self.end_run(run_id, status, summary, role, answered);
        if cancelled {
            return self.runs.ask_again(&coalesced, was_given);
        }
        for coalesced_id in coalesced {
            if self.runs.by_id.get(&coalesced_id).is_some_and(|run| run.phase == RunPhase::Coalesced) {
                self.end_run(&coalesced_id, status, summary, None, &[]);
            }
        }
    }

    /// Ends a run: commits its end, which is told when it is durable. `role` is the one under which the summary
    /// stands in the session's history; `None` leaves it out. The chats of the runs `coalesced` get the answer,
    /// too.
    pub(crate) fn end_run(
        &mut self,
        run_id: &RunId,
        status: RunStatus,
        summary: &str,
        role: Option<Role>,
        coalesced: &[RunId],
    ) {
        let Some(run) = self.runs.by_id.get_mut(run_id) else { return };
        run.phase = RunPhase::Saving;
        self.health.touch();
        let kept = cut_encoded(summary, SUMMARY_BYTES_MAX);
        let truncated = kept.len() < summary.len();
        let outcome = Outcome {
            ended_ts: self.now.wall_ms,
            status: Some(status),
            summary: kept.to_owned(),
            truncated,
            ..Outcome::default()
        };
        let (key, session_key, session_id) =
            (run.key.clone(), run.session_key.clone(), run.session_id.clone());
        self.settle_replies(run_id, coalesced, &session_key, status, summary);
        if let Some(role) = role {
            let text = match status {
                RunStatus::Ok => summary.to_owned(),
                _ if kept == status.name() => kept.to_owned(),
                _ => format!("{}: {kept}", status.name()),
            };
            let message = Message {
                run_id: Some(run_id.to_string()),
                idempotency_key: key.as_deref().map(|key| keys::of_client(key).to_owned()),
                // The agent thread keeps a little more than that of a longer answer.
                truncated: summary.len() > SUMMARY_BYTES_MAX,
                ..Message::new(role, text, self.now.wall_ms)
            };
            self.sessions.append(&session_key, &session_id, message, &mut self.writes);
        }
        if let Some(key) = key {
            self.keys.put_outcome(&key, &outcome, &mut self.writes);
        }
        self.commit(Then::EndRun { run_id: RunId::clone(run_id), outcome });
    }

    /// Tells everybody how a run ended. That is durable, or, with a broken disk, as good as it gets.
    pub(crate) fn run_end_stored(&mut self, run_id: &RunId, outcome: &Outcome) {
        if let Some(key) = self.runs.by_id.get(run_id).and_then(|run| run.key.as_ref()) {
            self.keys.end(key, outcome, self.now.mono, &mut self.writes);
            self.commit_any();
        }
        let status = outcome.status.unwrap_or(RunStatus::Error);
        let mut data = json!({ "phase": "ended", "status": status.name() });
        if status != RunStatus::Ok {
            data["reason"] = cut_encoded(&outcome.summary, TOOL_BYTES_MAX).into();
        }
        self.agent_step(run_id, AgentStream::Lifecycle, data);
        let Some(run) = self.runs.by_id.remove(run_id) else { return };
        match status {
            RunStatus::Ok => METRICS.runs_ok.up(),
            RunStatus::Error => METRICS.runs_error.up(),
            RunStatus::Timeout => METRICS.runs_timeout.up(),
            RunStatus::Cancelled => METRICS.runs_cancelled.up(),
        }
        for waiter in &run.waiters {
            self.answer_outcome(waiter, run_id, outcome);
        }
        self.health.touch();
    }

    /// Sends the final answer to an `agent` request: when its run ends, and whenever its key comes again.
    pub(crate) fn answer_outcome(&mut self, asker: &Asker, run_id: &RunId, outcome: &Outcome) {
        let text = outcome.summary.as_str();
        let Some(status) = outcome.status else {
            let details = json!({ "outcome": "unknown", "runId": &**run_id });
            let error = WireError::unavailable(text).not_retryable().with_details(details);
            return self.refuse(asker, &error);
        };
        let payload = RunResult { run_id, status, summary: text, truncated: outcome.truncated };
        let error = match status {
            RunStatus::Ok => return self.answer(asker, &payload),
            RunStatus::Error => WireError::unavailable(text),
            RunStatus::Timeout => WireError::new(ErrorCode::AgentTimeout, text),
            RunStatus::Cancelled => WireError::new(ErrorCode::Cancelled, text),
        };
        let frame = frame::res_error_with(&asker.id, Some(&payload), &error);
        self.send_frame(asker, frame);
    }

    /// Cancels a run wherever it is; where the agent has it, its end comes from there. `false` if it is over
    /// already, or cannot be cancelled.
    pub(crate) fn cancel(&mut self, run_id: &RunId) -> bool {
        let Some(run) = self.runs.by_id.get_mut(run_id) else { return false };
        if run.cancelled {
            return true;
        }
        match run.phase {
            RunPhase::Saving => return false,
            RunPhase::Storing | RunPhase::Counting => run.cancelled = true,
            RunPhase::Waiting | RunPhase::Active => {
                run.cancelled = true;
                self.effects.push(Effect::AgentControl(AgentControl::Cancel(RunId::clone(run_id))));
            }
            RunPhase::Held | RunPhase::Coalesced => {
                run.cancelled = true;
                self.end_run(run_id, RunStatus::Cancelled, CANCELLED, Some(Role::Note), &[]);
                self.end_deserted();
            }
        }
        true
    }

    /// Cancels the runs for which `wanted` holds; returns how many there were.
    pub(crate) fn cancel_all(&mut self, wanted: impl Fn(&Run) -> bool) -> usize {
        // A prompt whose own person left it ends with the last of its coalesced runs.
        let mut ids = self.runs.ids(|run| !run.cancelled && !run.person.is_empty() && wanted(run));
        // The leads come last: a coalesced run must not be asked again when the lead of its prompt ends.
        ids.sort_by_key(|run_id| {
            matches!(self.runs.by_id[run_id].phase, RunPhase::Counting | RunPhase::Waiting | RunPhase::Active)
        });
        ids.iter().filter(|run_id| self.cancel(run_id)).count()
    }

    /// Whether a prompt that is about to be put on record can go to the agent right after. Then it goes on record
    /// in the same commit that the prompt is tried.
    pub(crate) fn has_place(&self, session_key: &str, was_interrupted: bool) -> bool {
        let none_waits = !self.runs.by_id.values().any(|run| run.phase == RunPhase::Held);
        none_waits && self.runs.can_start(session_key, was_interrupted, self.config.agent.max_processes)
    }

    /// Starts the waiting runs that can start, at the end of a turn in which another may have ended.
    pub(crate) fn start_held_runs(&mut self) {
        let is_on_hold = self.inbox.hold_until.is_some_and(|until| until > self.now.mono);
        if self.stopping.is_some() || is_on_hold {
            return;
        }
        let held = self.runs.held();
        for run_id in &held {
            // It may have become part of the prompt of one before it.
            let Some(run) = self.runs.by_id.get(run_id).filter(|run| run.phase == RunPhase::Held) else {
                continue;
            };
            if self.runs.can_start(&run.session_key, run.was_interrupted, self.config.agent.max_processes) {
                self.start_held(run_id, &held);
            } else if run.was_interrupted && self.runs.can_start(&run.session_key, false, usize::MAX) {
                // Later runs wait, or one that has to be alone with the agent would never be.
                break;
            }
        }
        self.tell_positions(&held);
    }

    /// Starts a waiting run, the lead, with the runs that go into its prompt. If it is not on record that their
    /// messages are tried, that is committed first.
    fn start_held(&mut self, lead: &RunId, held: &[RunId]) {
        let coalesced = self.runs.burst(lead, held);
        let mut counted = Vec::new();
        for run_id in std::iter::once(lead).chain(&coalesced) {
            let Some(run) = self.runs.by_id.get_mut(run_id) else { continue };
            run.phase = if run_id == lead { RunPhase::Counting } else { RunPhase::Coalesced };
            let inbox_ids = run.inbox_ids.iter().copied();
            counted.extend(inbox_ids.filter(|inbox_id| self.inbox.count(*inbox_id, &mut self.writes)));
        }
        let Some(run) = self.runs.by_id.get_mut(lead) else { return };
        run.coalesced = coalesced;
        if counted.is_empty() {
            return self.hand_over(lead);
        }
        if run.was_interrupted {
            let session_key = run.session_key.clone();
            self.note_again(&session_key);
        }
        self.commit(Then::HandOver { run_id: RunId::clone(lead), inbox_ids: counted });
    }

    /// Notes in the history that something was interrupted and is asked again.
    pub(crate) fn note_again(&mut self, session_key: &str) {
        let text = "interrupted: the gateway was stopped while this ran; it is asked again".to_owned();
        let note = Message::new(Role::Note, text, self.now.wall_ms);
        self.sessions.append_to_current(session_key, note, &mut self.writes);
    }

    /// Handles the end of the commit that says that a run's prompt is tried.
    pub(crate) fn try_stored(&mut self, run_id: &RunId, inbox_ids: &[InboxId], result: Result<(), String>) {
        if result.is_err() {
            for inbox_id in inbox_ids {
                self.inbox.uncount(*inbox_id);
            }
            self.inbox.hold_until = Some(self.now.mono + INBOX_RETRY_PAUSE);
        }
        let Some(run) = self.runs.by_id.get_mut(run_id) else { return };
        if run.cancelled {
            return self.run_ended(run_id, RunStatus::Cancelled, "");
        }
        if result.is_ok() {
            return self.hand_over(run_id);
        }
        let coalesced = std::mem::take(&mut run.coalesced);
        if run.phase == RunPhase::Counting {
            run.phase = RunPhase::Held;
        }
        self.runs.ask_again(&coalesced, false);
    }

    /// Takes the runs for which `is_meant` holds out of prompts that the agent has and that ask for somebody else,
    /// too. Such a prompt goes on for the others: nobody can take back what was done for them. Returns how many
    /// runs that were, and how many messages go unanswered.
    pub(crate) fn leave_shared(&mut self, is_meant: impl Fn(&Run) -> bool) -> (usize, usize) {
        let is_for_others = |lead: &Run| self.runs.has_coalesced(lead, |coalesced| !is_meant(coalesced));
        let shared = self.runs.ids(|run| is_meant(run) && is_for_others(run));
        let mut unanswered = 0;
        for run_id in &shared {
            let Some(run) = self.runs.by_id.get_mut(run_id) else { continue };
            run.person.clear();
            let inbox_ids = std::mem::take(&mut run.inbox_ids);
            self.inbox.finish(&inbox_ids, self.now.wall_ms, &mut self.writes);
            unanswered += inbox_ids.len();
        }
        (shared.len(), unanswered)
    }

    /// Cancels the prompts that everybody has left who asked for them.
    pub(crate) fn end_deserted(&mut self) {
        let is_deserted =
            |run: &Run| run.person.is_empty() && run.is_given() && !self.runs.has_coalesced(run, |_| true);
        for run_id in &self.runs.ids(is_deserted) {
            self.cancel(run_id);
        }
    }

    /// Gives a prompt to the agent, which knows it as the lead's run; its coalesced runs share it.
    pub(crate) fn hand_over(&mut self, lead: &RunId) {
        let counting = self.runs.by_id.get_mut(lead).filter(|run| run.phase == RunPhase::Counting);
        let Some(run) = counting else { return };
        run.phase = RunPhase::Waiting;
        // The lead is not asked again in this life; its coalesced runs may be.
        let (own, coalesced) = (std::mem::take(&mut run.prompt), std::mem::take(&mut run.coalesced));
        let mut spec = Box::new(RunSpec {
            run_id: RunId::clone(lead),
            session_key: run.session_key.clone(),
            session_id: run.session_id.clone(),
            prompt: String::new(),
            images: std::mem::take(&mut run.images),
            image_files: std::mem::take(&mut run.image_files),
            thinking: run.thinking,
            timeout: run.timeout,
        });
        let mut prompt = self.take_system_notes(&spec.session_key);
        prompt.append(own);
        let mut merged = Vec::new();
        for coalesced_id in coalesced {
            let coalesced = self.runs.by_id.get(&coalesced_id).filter(|run| run.phase == RunPhase::Coalesced);
            let Some(run) = coalesced else { continue };
            prompt.append(run.prompt.clone());
            spec.images.extend(run.images.iter().cloned());
            spec.image_files.extend(run.image_files.iter().cloned());
            spec.timeout = spec.timeout.max(run.timeout);
            let data = json!({ "phase": "started", "mergedInto": &**lead });
            self.agent_step(&coalesced_id, AgentStream::Lifecycle, data);
            merged.push(coalesced_id);
        }
        if let Some(run) = self.runs.by_id.get_mut(lead) {
            run.coalesced = merged;
        }
        spec.prompt = prompt.written();
        self.effects.push(Effect::Run(spec));
        self.health.touch();
    }

    /// Takes the system notes, where the prompt is the owner's; they stand before everything else in it.
    fn take_system_notes(&mut self, session_key: &str) -> Prompt {
        let mut prompt = Prompt::default();
        let system_notes =
            if session_key == MAIN { self.system_notes.take(&mut self.writes) } else { Vec::new() };
        if system_notes.is_empty() {
            return prompt;
        }
        self.commit(Then::Nothing);
        prompt.line("Notes from the owner's devices since the last turn:");
        for note in system_notes {
            prompt.person(&note);
        }
        prompt.line("End of the notes.");
        prompt
    }

    /// Tells clients at which place their runs wait, where that has changed.
    fn tell_positions(&mut self, held: &[RunId]) {
        let mut position = 0;
        for run_id in held {
            let Some(run) = self.runs.by_id.get_mut(run_id) else { continue };
            if run.phase != RunPhase::Held {
                run.position = 0;
                continue;
            }
            position += 1;
            if run.position != position {
                run.position = position;
                let data = json!({ "phase": "queued", "position": position });
                self.agent_step(run_id, AgentStream::Lifecycle, data);
            }
        }
    }
}
