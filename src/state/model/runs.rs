//! Runs: prompts to the agent, and directives, from their ack to their last word. Pure.
//!
//! In each session one runs at a time, in the order in which they were asked for. Some of those behind it go into one
//! prompt with it: the first of them is the lead, whose end is the end of all; the others are coalesced runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::channels::message::Route;
use crate::limits::{ATTACHMENTS_MAX, MERGED_PROMPT_BYTES_MAX};
use crate::protocol::ConnId;
use crate::protocol::call::{RunId, Thinking};
use crate::state::model::clients::Asker;
use crate::state::model::directive::Directive;
use crate::state::model::inbox::InboxId;
use crate::state::model::outbox::Reply;
use crate::state::model::prompt::Prompt;
use crate::state::model::sessions::MAIN;

/// Summary of a run that was cancelled.
pub(crate) const CANCELLED: &str = "cancelled";

/// Tells the model of a message that it saw once, in a prompt that was cancelled.
const CUT_SHORT: &str = "This was being worked on, together with something else that was cancelled. Something may have been done already: look before you do it again.";

/// The runs that are not over.
#[derive(Default)]
pub(crate) struct Runs {
    pub(crate) by_id: BTreeMap<RunId, Run>,
    /// Number of ids that were given to runs.
    pub(crate) made: u64,
}

#[derive(Default)]
pub(crate) struct Run {
    /// Place in the order in which runs were asked for.
    pub(crate) number: u64,
    pub(crate) session_key: String,
    pub(crate) session_id: String,
    pub(crate) origin: Origin,
    /// The messages of the inbox that are answered with it.
    pub(crate) inbox_ids: Vec<InboxId>,
    /// Whether the gateway ended once while the agent was at one of its messages. Then nothing else is given to the
    /// agent beside it: if the gateway ends again, it is clear which message that counts for.
    pub(crate) was_interrupted: bool,
    /// The chat that the answer goes to besides the clients; fixed when the run is admitted.
    pub(crate) reply: Option<Reply>,
    /// Name of the idempotency key that it was asked for with.
    pub(crate) key: Option<String>,
    /// The person who asked: `owner`, or `CHANNEL:ID`; empty once they left the prompt to its coalesced runs.
    pub(crate) person: String,
    /// What the run is, where it is no prompt to the agent: the gateway carries that out itself.
    pub(crate) directive: Option<Directive>,
    /// The prompt, as long as it can be asked again.
    pub(crate) prompt: Prompt,
    /// Pictures that go with the prompt: MIME type and base64.
    pub(crate) images: Vec<(String, String)>,
    /// Pictures that were fetched and go with the prompt: MIME type and path.
    pub(crate) image_files: Vec<(String, PathBuf)>,
    pub(crate) thinking: Thinking,
    /// How long the run may take from its start.
    pub(crate) timeout: Duration,
    /// Position among the runs that wait, as clients were last told it; 0 before.
    pub(crate) position: usize,
    /// The client that started it: for that one no piece of the stream may be left out.
    pub(crate) owner: Option<ConnId>,
    /// Requests that are answered when it is accepted, and when it ends.
    pub(crate) waiters: Vec<Asker>,
    pub(crate) phase: RunPhase,
    /// Whether a place with the agent is kept for it while it is being put on record.
    pub(crate) has_place: bool,
    /// Runs whose messages share this one's prompt, and so its answer.
    pub(crate) coalesced: Vec<RunId>,
    /// Number of `agent` events sent so far.
    pub(crate) seq: u64,
    pub(crate) cancelled: bool,
    /// The chat that is shown that the gateway is typing.
    pub(crate) typing_in: Option<Route>,
}

/// The way on which a run was asked for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client's request, with an idempotency key.
    #[default]
    Client,
    /// Messages of the inbox.
    Channel,
    /// The gateway's own clock.
    Heartbeat,
}

/// How far a run is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum RunPhase {
    /// The run is being put on record; nobody has been told "accepted" yet.
    #[default]
    Storing,
    /// The run waits until its session and the agent are free.
    Held,
    /// It is being put on record that the prompt is given to the agent, which happens next.
    Counting,
    /// The run is part of another one's prompt, and is asked again if that one is cancelled.
    Coalesced,
    /// The agent has the prompt and has not started.
    Waiting,
    /// The agent is at it.
    Active,
    /// The run is over, or a directive that is over in this turn; its outcome is being put on record.
    Saving,
}

impl Runs {
    /// Sessions in which a directive is about to be carried out.
    pub(crate) fn sessions_with_directive(&self) -> BTreeSet<String> {
        let is_directive = |run: &&Run| run.directive.is_some() && run.phase == RunPhase::Storing;
        self.by_id.values().filter(is_directive).map(|run| run.session_key.clone()).collect()
    }

    /// Ids of the runs for which `wanted` holds.
    pub(crate) fn ids(&self, wanted: impl Fn(&Run) -> bool) -> Vec<RunId> {
        self.by_id.iter().filter(|(_, run)| wanted(run)).map(|(id, _)| RunId::clone(id)).collect()
    }

    /// Number of runs under way.
    pub(crate) fn active(&self) -> usize {
        self.by_id.values().filter(|run| run.phase == RunPhase::Active).count()
    }

    /// Number of runs accepted, or about to be, that have not started.
    pub(crate) fn waiting(&self) -> usize {
        self.by_id.values().filter(|run| run.waits()).count()
    }

    /// Whether the agent, which takes `places` prompts at a time, can take one more of that session.
    pub(crate) fn can_start(&self, session_key: &str, was_interrupted: bool, places: usize) -> bool {
        let is_with_agent = |run: &&Run| match run.phase {
            RunPhase::Counting | RunPhase::Waiting | RunPhase::Active => true,
            RunPhase::Storing => run.has_place,
            _ => false,
        };
        let mut taken = 0;
        let goes_beside = |run: &Run| {
            taken += 1;
            !was_interrupted && !run.was_interrupted && run.session_key != session_key
        };
        self.by_id.values().filter(is_with_agent).all(goes_beside) && taken < places
    }

    /// Number of runs for which `wanted` holds that are under way, or wait for the agent.
    pub(crate) fn places_taken(&self, wanted: impl Fn(&Run) -> bool) -> usize {
        let is_there = |run: &Run| run.waits() || run.phase == RunPhase::Active;
        self.by_id.values().filter(|run| is_there(run) && wanted(run)).count()
    }

    /// The runs that wait, in the order in which they were asked for.
    pub(crate) fn held(&self) -> Vec<RunId> {
        let mut held = self.ids(|run| run.phase == RunPhase::Held);
        held.sort_by_key(|run_id| self.by_id[run_id].number);
        held
    }

    /// The waiting runs that go into one prompt with that lead, which waits, too.
    pub(crate) fn burst(&self, lead_id: &RunId, held: &[RunId]) -> Vec<RunId> {
        let mut burst = Vec::new();
        let Some(lead) = self.by_id.get(lead_id) else { return burst };
        let (mut images, mut bytes) = (lead.images(), lead.prompt.bytes());
        for run_id in held.iter().filter(|run_id| *run_id != lead_id) {
            let Some(run) = self.by_id.get(run_id) else { continue };
            if run.session_key != lead.session_key {
                continue;
            }
            (images, bytes) = (images + run.images(), bytes + run.prompt.bytes());
            let fits = images <= ATTACHMENTS_MAX && bytes <= MERGED_PROMPT_BYTES_MAX;
            if run.phase != RunPhase::Held || !fits || !lead.may_share_prompt(run) {
                break;
            }
            burst.push(RunId::clone(run_id));
        }
        burst
    }

    /// Whether the agent has the lead's prompt, and it has a coalesced run for which `wanted` holds.
    pub(crate) fn has_coalesced(&self, lead: &Run, wanted: impl Fn(&Run) -> bool) -> bool {
        let mut coalesced = lead.coalesced.iter().filter_map(|run_id| self.by_id.get(run_id));
        lead.is_given() && coalesced.any(|run| run.phase == RunPhase::Coalesced && wanted(run))
    }

    /// Lets the coalesced runs of a prompt that was cancelled wait for another one. If `was_given`, the agent has
    /// seen their messages once.
    pub(crate) fn ask_again(&mut self, coalesced: &[RunId], was_given: bool) {
        for run_id in coalesced {
            let Some(run) = self.by_id.get_mut(run_id) else { continue };
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
}

impl Run {
    /// Whether the run is accepted, or about to be, and not started.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.phase, RunPhase::Storing | RunPhase::Held | RunPhase::Counting | RunPhase::Waiting)
    }

    /// Whether the agent has the run's prompt, and goes on with it.
    pub(crate) fn is_given(&self) -> bool {
        matches!(self.phase, RunPhase::Waiting | RunPhase::Active) && !self.cancelled
    }

    /// Whether this lead and another run of its session may be asked in one prompt. The same people must be meant to
    /// read the answer: in `main` all are the owner's; in another session a client's questions are the owner's, and
    /// the rest is somebody else's.
    fn may_share_prompt(&self, other: &Self) -> bool {
        let is_from_channel = |run: &Self| run.origin == Origin::Channel;
        (self.session_key == MAIN || is_from_channel(self) == is_from_channel(other))
            && self.delivered_to() == other.delivered_to()
            && !self.was_interrupted
            && !other.was_interrupted
            && self.thinking == other.thinking
            && self.session_id == other.session_id
    }

    /// Number of pictures in its prompt.
    fn images(&self) -> usize {
        self.images.len() + self.image_files.len()
    }

    /// The chat to which a client has the answer delivered.
    fn delivered_to(&self) -> Option<&Route> {
        self.reply.as_ref().filter(|_| self.origin == Origin::Client).map(|reply| &reply.route)
    }
}
