//! Runs: prompts to the agent, and directives, from their ack to their last word. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::agent::RunSpec;
use crate::channels::message::Route;
use crate::protocol::ConnId;
use crate::protocol::call::RunId;
use crate::protocol::payload::{Role, RunStatus};
use crate::state::model::asker::Asker;
use crate::state::model::directive::Directive;
use crate::state::model::inbox::InboxId;
use crate::state::model::prompt::Prompt;
use crate::state::model::reply::{PendingReplies, Reply};

/// The runs that are not over.
#[derive(Default)]
pub(crate) struct Runs {
    by_id: BTreeMap<RunId, Run>,
    pub(crate) made: u64,
}

pub(crate) struct Run {
    /// Place in the order in which runs were asked for.
    pub(crate) number: u64,
    pub(crate) session_key: String,
    pub(crate) session_id: String,
    /// The way on which it was asked for.
    pub(crate) origin: Origin,
    /// The chat that the answer goes to besides the clients; fixed when the run is admitted.
    pub(crate) reply: Option<Reply>,
    /// Name of the idempotency key that it was asked for with.
    pub(crate) key: Option<String>,
    /// The person who asked: `owner`, or `CHANNEL:ID`; empty once they left the prompt to its coalesced runs.
    pub(crate) person: String,
    /// The prompt, as long as it can be asked again.
    pub(crate) prompt: Prompt,
    /// Position among the runs that wait, as clients were last told it; 0 before.
    pub(crate) position: usize,
    /// The client that started it: for that one no piece of the stream may be left out.
    pub(crate) owner: Option<ConnId>,
    /// Requests that are answered when it is accepted, and when it ends.
    pub(crate) waiters: Vec<Asker>,
    pub(crate) phase: RunPhase,
    /// Runs whose messages share this one's prompt, and so its answer.
    pub(crate) coalesced: Vec<RunId>,
    /// Number of `agent` events sent so far.
    pub(crate) seq: u64,
    pub(crate) cancelled: bool,
    /// Whether its session was forgotten: nothing of what was said may stay on record.
    pub(crate) forgotten: bool,
    /// Whether its chat is shown that somebody writes.
    pub(crate) shows_typing: bool,
}

/// The way on which a run was asked for.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A client's request, with an idempotency key.
    Client,
    /// Messages of the inbox, which are answered with it. `was_interrupted`: the gateway did not live through it
    /// once, so it is alone with the agent, and nothing else is counted for what it does.
    Channel { inbox_ids: Vec<InboxId>, was_interrupted: bool },
    /// The gateway's own clock.
    Heartbeat,
}

/// What a run is to do.
pub(crate) enum Work {
    /// A prompt for the agent. `has_place`: a place with the agent is kept for it meanwhile.
    Prompt { spec: Box<RunSpec>, prompt: Prompt, has_place: bool },
    /// A directive, which the gateway carries out itself.
    Directive(Directive),
}

/// How far a run is.
pub(crate) enum RunPhase {
    /// The run is being put on record; nobody has been told "accepted" yet.
    Storing(Work),
    /// The run waits until its session and the agent are free.
    Held(Box<RunSpec>),
    /// It is being put on record that the prompt is tried; then it goes to the agent.
    Counting(Box<RunSpec>),
    /// The run is part of another one's prompt; kept in case that one is cancelled.
    Coalesced(Box<RunSpec>),
    /// The agent has the prompt and has not started.
    Waiting,
    /// The agent is at it.
    Active,
    /// The directive is being carried out.
    Executing,
    /// The run is over; its outcome is being put on record.
    Saving,
}

/// How a run ended, and what goes on record with it.
pub(crate) struct Ended {
    pub(crate) status: RunStatus,
    pub(crate) summary: String,
    /// The role under which the summary stands in the session's history; `None` leaves it out.
    pub(crate) role: Option<Role>,
    /// Whether the run began a new conversation, in which the summary stands.
    pub(crate) anew: bool,
    /// What is owed to chats for the run.
    pub(crate) pending: PendingReplies,
}

impl Ended {
    pub(crate) fn new(status: RunStatus, summary: String, role: Option<Role>) -> Self {
        Self { status, summary, role, anew: false, pending: PendingReplies::default() }
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
            phase: RunPhase::Storing(work),
            coalesced: Vec::new(),
            seq: 0,
            cancelled: false,
            forgotten: false,
            shows_typing: false,
        }
    }

    /// The first message of the inbox that it answers; an id beyond all of them if it answers none.
    pub(crate) fn first_inbox_id(&self) -> InboxId {
        match &self.origin {
            Origin::Channel { inbox_ids, .. } => inbox_ids.iter().copied().min().unwrap_or(InboxId::MAX),
            Origin::Client | Origin::Heartbeat => InboxId::MAX,
        }
    }

    /// Whether the gateway did not live through its message once.
    pub(crate) fn was_interrupted(&self) -> bool {
        matches!(self.origin, Origin::Channel { was_interrupted: true, .. })
    }

    /// Whether it is accepted, or about to be, and not started.
    pub(crate) fn waits(&self) -> bool {
        matches!(
            self.phase,
            RunPhase::Storing(_) | RunPhase::Held(_) | RunPhase::Counting(_) | RunPhase::Waiting
        )
    }

    /// Whether it is a directive that is not carried out yet.
    fn is_directive(&self) -> bool {
        matches!(self.phase, RunPhase::Storing(Work::Directive(_)))
    }

    /// The chat to which a client has the answer delivered.
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

    /// The runs in one session.
    pub(crate) fn of_session(&self, session_key: &str) -> impl Iterator<Item = (&RunId, &Run)> {
        self.by_id.iter().filter(move |(_, run)| run.session_key == session_key)
    }

    /// Sessions in which a directive is about to be carried out.
    pub(crate) fn sessions_with_directive(&self) -> BTreeSet<String> {
        let directives = self.by_id.values().filter(|run| run.is_directive());
        directives.map(|run| run.session_key.clone()).collect()
    }

    /// Ids of the runs for which `wanted` holds.
    pub(crate) fn ids(&self, wanted: impl Fn(&Run) -> bool) -> Vec<RunId> {
        self.by_id.iter().filter(|(_, run)| wanted(run)).map(|(id, _)| RunId::clone(id)).collect()
    }

    /// Number of runs under way.
    pub(crate) fn active(&self) -> usize {
        self.by_id.values().filter(|run| matches!(run.phase, RunPhase::Active)).count()
    }

    /// Number of runs accepted, or about to be, that have not started.
    pub(crate) fn waiting(&self) -> usize {
        self.by_id.values().filter(|run| run.waits()).count()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RunId, &Run)> {
        self.by_id.iter()
    }
}

/// Summary of a run that was cancelled.
pub(crate) const CANCELLED: &str = "cancelled";
