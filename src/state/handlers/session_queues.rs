//! The queues of runs that wait for the agent: first come, first served over all sessions, and one prompt at a time
//! in each. What is asked while a session's run is under way becomes one next prompt, of a lead and its coalesced
//! runs: people type in bursts, and five lines are not five runs.
//!
//! Only what can start is handed to the agent, and it is durable that a message from a channel is tried before
//! its prompt is given away. So a message that the gateway does not live through is tried a few times, and
//! nothing that only waited behind it is counted with it. A message that was interrupted once is alone with the
//! agent the next time, in its prompt and beside it: the count is its own.
//!
//! Which runs go into one prompt is decided in [`model::runs`](crate::state::model::runs).

use serde_json::json;

use crate::agent::RunSpec;
use crate::limits::INBOX_RETRY_PAUSE;
use crate::protocol::call::RunId;
use crate::protocol::event::AgentStream;
use crate::protocol::payload::{Message, Role, RunStatus};
use crate::state::journal::Then;
use crate::state::model::inbox::InboxId;
use crate::state::model::prompt::Prompt;
use crate::state::model::runs::{Run, RunPhase};
use crate::state::model::sessions::MAIN;
use crate::state::{Effect, State};

impl State {
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
