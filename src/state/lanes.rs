//! One prompt at a time per session, and bursts: what is asked while a session's run is under way
//! waits here and becomes one next prompt. People type in bursts; five lines are not five runs.

use serde_json::json;

use crate::agent::RunSpec;
use crate::channels::message::Route;
use crate::clock::utc;
use crate::limits::{ATTACHMENTS_MAX, MERGED_PROMPT_BYTES_MAX};
use crate::protocol::call::RunId;
use crate::protocol::event::AgentStream;
use crate::state::runs::{Phase, Run, Runs};
use crate::state::sessions::MAIN;
use crate::state::stored::Pending;
use crate::state::{Effect, Now, State};

impl Runs {
    /// Whether a prompt of that session is in the agent's hands.
    fn is_busy(&self, session_key: &str) -> bool {
        let busy = |run: &Run| matches!(run.phase, Phase::Waiting | Phase::Active);
        self.of_session(session_key).any(|(_, run)| busy(run))
    }

    /// What waits for that session, in the order in which it was asked.
    fn held(&self, session_key: &str) -> Vec<RunId> {
        let mut held: Vec<(u64, RunId)> = self
            .of_session(session_key)
            .filter(|(_, run)| matches!(run.phase, Phase::Held(_)))
            .map(|(run_id, run)| (run.number, RunId::clone(run_id)))
            .collect();
        held.sort_unstable();
        held.into_iter().map(|(_, run_id)| run_id).collect()
    }
}

impl State {
    /// A durable prompt: it goes to the agent, or waits until its session is free.
    pub(super) fn enqueue(&mut self, run_id: &RunId, spec: Box<RunSpec>, now: Now) {
        let session_key = spec.session_key.clone();
        let busy = self.runs.is_busy(&session_key);
        let position = self.runs.held(&session_key).len() + 1;
        if let Some(run) = self.runs.get_mut(run_id) {
            run.phase = Phase::Held(spec);
        }
        if busy {
            let data = json!({ "phase": "queued", "position": position });
            self.agent_step(run_id, AgentStream::Lifecycle, data, now);
        } else {
            self.release(&session_key, now);
        }
    }

    /// Sends what waits for a session as one prompt, if the session is free.
    pub(super) fn release(&mut self, session_key: &str, now: Now) {
        if self.runs.is_busy(session_key) || self.stopping.is_some() {
            return;
        }
        let mut parts: Vec<Part> = Vec::new();
        for run_id in self.runs.held(session_key) {
            let Some(run) = self.runs.get_mut(&run_id) else { continue };
            let Phase::Held(spec) = &run.phase else { continue };
            let shares =
                |first: &Part| fits(&parts, spec) && first.delivered_to.as_ref() == run.delivered_to();
            if !parts.first().is_none_or(shares) {
                break;
            }
            let Phase::Held(spec) = std::mem::replace(&mut run.phase, Phase::Waiting) else { continue };
            let delivered_to = run.delivered_to().cloned();
            parts.push(Part { run_id, from: run.from.clone(), asked_ts: run.asked_ts, delivered_to, spec });
        }
        if let Some(prompt) = self.merge(session_key, parts, now) {
            self.effects.push(Effect::Run(prompt));
            self.health.touch();
        }
    }

    /// Makes one prompt of several. The first is the one that the agent knows; the others ride.
    fn merge(&mut self, session_key: &str, parts: Vec<Part>, now: Now) -> Option<Box<RunSpec>> {
        if parts.is_empty() {
            // Notes wait for a prompt: the end of a run is none.
            return None;
        }
        let prompt = self.with_notes(session_key, &merged_prompt(&parts));
        let mut parts = parts.into_iter();
        let Part { run_id: lead, mut spec, .. } = parts.next()?;
        spec.prompt = prompt;
        let mut riders = Vec::new();
        for part in parts {
            spec.images.extend(part.spec.images.iter().cloned());
            spec.image_files.extend(part.spec.image_files.iter().cloned());
            spec.timeout = spec.timeout.max(part.spec.timeout);
            let data = json!({ "phase": "started", "mergedInto": &*lead });
            self.agent_step(&part.run_id, AgentStream::Lifecycle, data, now);
            if let Some(run) = self.runs.get_mut(&part.run_id) {
                run.phase = Phase::Riding(part.spec);
            }
            riders.push(part.run_id);
        }
        if let Some(run) = self.runs.get_mut(&lead) {
            run.riders = riders;
        }
        Some(spec)
    }

    /// The message, behind the notes that wait for the owner's next turn.
    fn with_notes(&mut self, session_key: &str, message: &str) -> String {
        let (notes, ops) = if session_key == MAIN { self.notes.take() } else { Default::default() };
        if notes.is_empty() {
            return message.to_owned();
        }
        self.store(ops, Pending::Nothing);
        let mut prompt = String::from("[Notes from the owner's devices since the last turn:\n");
        for note in notes {
            prompt.push_str("- ");
            prompt.push_str(&note);
            prompt.push('\n');
        }
        prompt.push_str("]\n\n");
        prompt.push_str(message);
        prompt
    }
}

/// A message that may share a prompt with others.
struct Part {
    run_id: RunId,
    from: String,
    asked_ts: u64,
    /// A client wants the answer sent there: nobody else's may go with it.
    delivered_to: Option<Route>,
    spec: Box<RunSpec>,
}

/// Whether one more message still makes a prompt of the same kind and a bearable size.
fn fits(parts: &[Part], spec: &RunSpec) -> bool {
    let count = |spec: &RunSpec| spec.images.len() + spec.image_files.len();
    let images: usize = parts.iter().map(|part| count(&part.spec)).sum();
    let bytes: usize = parts.iter().map(|part| part.spec.prompt.len()).sum();
    parts[0].spec.thinking == spec.thinking
        && parts[0].spec.session_id == spec.session_id
        && images + count(spec) <= ATTACHMENTS_MAX
        && bytes + spec.prompt.len() <= MERGED_PROMPT_BYTES_MAX
}

/// A lone message stays as it is; several are told apart by sender and time.
fn merged_prompt(parts: &[Part]) -> String {
    if let [part] = parts {
        return part.spec.prompt.clone();
    }
    let texts = parts.iter().map(|part| {
        let from = if part.from.is_empty() { "somebody" } else { &part.from };
        format!("[{from}, {}]\n{}", utc(part.asked_ts / 1_000), part.spec.prompt)
    });
    texts.collect::<Vec<_>>().join("\n\n")
}
