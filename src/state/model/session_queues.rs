//! Which run is next: one at a time in each session, in the order in which they were asked for; and which of those
//! behind it go into one prompt with it. Pure.
//!
//! In such a prompt the first run is the lead, whose end is the end of all; the others are coalesced runs.

use crate::limits::{ATTACHMENTS_MAX, MERGED_PROMPT_BYTES_MAX};
use crate::protocol::call::RunId;
use crate::state::model::inbox::InboxId;
use crate::state::model::prompt::Prompt;
use crate::state::model::runs::{Origin, Run, RunPhase, Runs};
use crate::state::model::sessions::MAIN;

impl Runs {
    /// The runs whose prompts the agent has, or will have next.
    fn with_agent(&self) -> impl Iterator<Item = &Run> {
        let is_there = |run: &&Run| match run.phase {
            RunPhase::Counting | RunPhase::Waiting | RunPhase::Active => true,
            RunPhase::Storing { has_place } => has_place,
            _ => false,
        };
        self.iter().map(|(_, run)| run).filter(is_there)
    }

    /// Whether the agent, which takes `places` prompts at a time, can take one more of that session.
    pub(crate) fn can_start(&self, session_key: &str, was_interrupted: bool, places: usize) -> bool {
        let mut taken = 0;
        let goes_beside = |run: &Run| {
            taken += 1;
            !was_interrupted && !run.was_interrupted() && run.session_key != session_key
        };
        self.with_agent().all(goes_beside) && taken < places
    }

    /// Number of runs for which `wanted` holds that are under way, or wait for the agent.
    pub(crate) fn places_taken(&self, wanted: impl Fn(&Run) -> bool) -> usize {
        let is_there = |run: &Run| run.waits() || run.phase == RunPhase::Active;
        self.iter().filter(|(_, run)| is_there(run) && wanted(run)).count()
    }

    /// The runs that wait, in the order in which they were asked for.
    pub(crate) fn held(&self) -> Vec<RunId> {
        let mut held: Vec<(u64, RunId)> = self
            .iter()
            .filter(|(_, run)| run.phase == RunPhase::Held)
            .map(|(run_id, run)| (run.number, RunId::clone(run_id)))
            .collect();
        held.sort_unstable();
        held.into_iter().map(|(_, run_id)| run_id).collect()
    }

    /// The waiting runs that go into one prompt with that lead, which waits, too.
    pub(crate) fn burst(&self, lead_id: &RunId, held: &[RunId]) -> Vec<RunId> {
        let mut parts = Parts::default();
        let Some(lead) = self.get(lead_id).filter(|lead| parts.take(lead)) else { return Vec::new() };
        let same_session = |run_id: &&RunId| {
            *run_id != lead_id && self.get(run_id).is_some_and(|run| run.session_key == lead.session_key)
        };
        let fits = |run_id: &&RunId| self.get(run_id).is_some_and(|run| parts.take(run));
        held.iter().filter(same_session).take_while(fits).cloned().collect()
    }

    /// Whether the agent has the lead's prompt, and it has a coalesced run for which `wanted` holds.
    pub(crate) fn has_coalesced(&self, lead: &Run, wanted: impl Fn(&Run) -> bool) -> bool {
        let mut coalesced = lead.coalesced.iter().filter_map(|run_id| self.get(run_id));
        lead.is_given() && coalesced.any(|run| run.phase == RunPhase::Coalesced && wanted(run))
    }

    /// Lets the coalesced runs of a prompt that was cancelled wait for another one. If `was_given`, the agent has
    /// seen their messages once.
    pub(crate) fn ask_again(&mut self, coalesced: &[RunId], was_given: bool) {
        for run_id in coalesced {
            let Some(run) = self.get_mut(run_id) else { continue };
            if run.phase == RunPhase::Coalesced {
                run.phase = RunPhase::Held;
            }
            if was_given && run.phase == RunPhase::Held {
                let mut prompt = Prompt::default();
                prompt.line(CUT_SHORT);
                prompt.append(std::mem::take(&mut run.prompt));
                run.prompt = prompt;
            }
        }
    }

    /// The messages of the inbox that these runs answer.
    pub(crate) fn inbox_ids<'a>(&self, runs: impl Iterator<Item = &'a RunId>) -> Vec<InboxId> {
        let inbox_ids = runs.filter_map(|run_id| match &self.get(run_id)?.origin {
            Origin::Channel { inbox_ids, .. } => Some(inbox_ids),
            Origin::Client | Origin::Heartbeat => None,
        });
        inbox_ids.flatten().copied().collect()
    }
}

impl Run {
    /// Whether the agent has its prompt, and goes on with it.
    pub(crate) fn is_given(&self) -> bool {
        matches!(self.phase, RunPhase::Waiting | RunPhase::Active) && !self.cancelled
    }

    /// Whether the same people may read the answers to both, which are of one session. In `main` all are the
    /// owner's; in another one a client's questions are the owner's, and the rest is somebody else's.
    fn is_answered_with(&self, other: &Self) -> bool {
        let is_from_channel = |run: &Self| matches!(run.origin, Origin::Channel { .. });
        let is_one_kind = self.session_key == MAIN || is_from_channel(self) == is_from_channel(other);
        is_one_kind && self.delivered_to() == other.delivered_to()
    }
}

/// Tells the model of a message that it saw once, in a prompt that was cancelled.
const CUT_SHORT: &str = "This was being worked on, together with something else that was cancelled. Something may have been done already: look before you do it again.";

/// The runs that share a prompt: they have to be of one kind, and to stay within the bounds together.
#[derive(Default)]
struct Parts<'a> {
    first: Option<&'a Run>,
    images: usize,
    bytes: usize,
}

impl<'a> Parts<'a> {
    /// Takes a waiting run in, if it may share the prompt of those before.
    fn take(&mut self, run: &'a Run) -> bool {
        if run.phase != RunPhase::Held {
            return false;
        }
        let images = self.images + run.images.len() + run.image_files.len();
        let bytes = self.bytes + run.prompt.bytes();
        if let Some(first) = self.first {
            let shares = !first.was_interrupted()
                && !run.was_interrupted()
                && first.is_answered_with(run)
                && first.thinking == run.thinking
                && first.session_id == run.session_id;
            if !shares || images > ATTACHMENTS_MAX || bytes > MERGED_PROMPT_BYTES_MAX {
                return false;
            }
        }
        self.first.get_or_insert(run);
        (self.images, self.bytes) = (images, bytes);
        true
    }
}
