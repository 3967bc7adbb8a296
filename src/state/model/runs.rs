//! Runs of the agent: from the ack to the last word.

use std::collections::{BTreeMap, BTreeSet};

use crate::agent::RunSpec;
use crate::channels::message::Route;
use crate::protocol::ConnId;
use crate::protocol::call::RunId;
use crate::protocol::payload::{Role, RunStatus};
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
    /// Attribution among those that wait, as clients were last told it; 0 before.
    pub(crate) position: usize,
    /// Who started it: pieces of the stream may not be left out for it.
    pub(crate) owner: Option<ConnId>,
    /// Who is owed an answer, with the id to answer to.
    pub(crate) waiters: Vec<(ConnId, String)>,
    pub(crate) phase: RunPhase,
    /// Runs whose messages share this one's prompt, and so its answer.
    pub(crate) coalesced: Vec<RunId>,
    /// Events so far.
    pub(crate) seq: u64,
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
    /// Somebody on a channel: messages of the inbox that are answered with it. `was_interrupted`: the
    /// gateway did not live through it once, so it is alone with the agent, and nothing else is counted
    /// for what it does.
    Channel { inbox_ids: Vec<InboxId>, was_interrupted: bool },
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

pub(crate) enum RunPhase {
    /// Being made durable; nobody has been told "accepted" yet.
    Storing(Work),
    /// Waits until its session is free, and the agent.
    Held(Box<RunSpec>),
    /// That it is tried is being made durable; then it goes to the agent.
    Counting(Box<RunSpec>),
    /// Part of another run's prompt; kept in case that one is cancelled.
    Coalesced(Box<RunSpec>),
    /// In the agent's hands, not started.
    Waiting,
    /// Under way.
    Active,
    /// A directive, being carried out.
    Executing,
    /// Over; the outcome is being made durable.
    Saving,
}

/// How a run ended, and what goes on record with it.
pub(crate) struct Ended {
    pub(crate) status: RunStatus,
    pub(crate) summary: String,
    /// Who says the summary in the session's history; `None` leaves it out.
    pub(crate) role: Option<Role>,
    /// It began a new conversation, and is said there.
    pub(crate) anew: bool,
    /// What channels are owed for it.
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
}

impl Run {
    /// Of the messages of the inbox that it answers, the first; beyond all of them if it answers none.
    pub(crate) fn first_inbox_id(&self) -> InboxId {
        match &self.origin {
            Origin::Channel { inbox_ids, .. } => inbox_ids.iter().copied().min().unwrap_or(InboxId::MAX),
            Origin::Client | Origin::Heartbeat => InboxId::MAX,
        }
    }

    /// Whether the gateway did not live through it once.
    pub(crate) fn was_interrupted(&self) -> bool {
        matches!(self.origin, Origin::Channel { was_interrupted: true, .. })
    }

    /// Accepted, or about to be, and not started.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.phase, RunPhase::Storing(_) | RunPhase::Held(_) | RunPhase::Counting(_) | RunPhase::Waiting)
    }

    /// A directive that is not carried out yet.
    fn is_directive(&self) -> bool {
        matches!(self.phase, RunPhase::Storing(Work::Directive(_)))
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
    pub(crate) fn sessions_with_directive(&self) -> BTreeSet<String> {
        let directives = self.by_id.values().filter(|run| run.is_directive());
        directives.map(|run| run.session_key.clone()).collect()
    }

    /// Ids of the runs for which `wanted` holds.
    pub(crate) fn ids(&self, wanted: impl Fn(&Run) -> bool) -> Vec<RunId> {
        self.by_id.iter().filter(|(_, run)| wanted(run)).map(|(id, _)| RunId::clone(id)).collect()
    }

    /// Runs under way.
    pub(crate) fn active(&self) -> usize {
        self.by_id.values().filter(|run| matches!(run.phase, RunPhase::Active)).count()
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

/// Summary of a run that was cancelled.
pub(crate) const CANCELLED: &str = "cancelled";
