//! Heartbeats: from time to time the owner's session is asked a configured prompt.
//!
//! An answer of exactly `HEARTBEAT_OK` means that there is nothing to say and leaves no trace.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock::Now;
use crate::limits::{SANE_CLOCK_MS, ms};
use crate::protocol::call::{Channel, RunId};
use crate::protocol::payload::{HeartbeatStatus, Role, RunStatus};
use crate::state::handlers::replies::Reply;
use crate::state::journal::Pending;
use crate::state::model::prompt::Prompt;
use crate::state::model::runs::Origin;
use crate::state::model::runs::Run;
use crate::state::model::runs::Work;
use crate::state::model::sessions::MAIN;
use crate::state::{State, to_json};
use crate::store::StoreOp;

/// Slot that keeps the time of the last one across restarts.
pub(crate) const SLOT: &str = "heartbeat";
/// The answer that is swallowed.
const NOTHING_TO_SAY: &str = "HEARTBEAT_OK";
/// Who is charged for them.
const PERSON: &str = "heartbeat";

/// What the config says about heartbeats.
#[derive(Debug, Clone)]
pub(crate) struct HeartbeatConfig {
    /// Between two; `None` is never, unless they are switched on, then [`EVERY_DEFAULT`].
    pub every: Option<Duration>,
    /// What is asked.
    pub prompt: String,
    /// Where an answer goes besides the session's history; what `to` says if absent.
    pub channel: Option<Channel>,
    /// To whom; the owner if absent.
    pub to: Option<String>,
}

/// Between two where they are switched on and the config names no time.
pub(crate) const EVERY_DEFAULT: Duration = Duration::from_secs(30 * 60);

/// What is asked where the config names no prompt.
pub(crate) const PROMPT_DEFAULT: &str = "This is a regular check. Is there anything that you should tell the owner now? \
    If not, answer exactly HEARTBEAT_OK.";

pub(crate) struct Heartbeats {
    config: HeartbeatConfig,
    next: Option<Instant>,
    last_ts: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    last_ts: u64,
}

impl Heartbeats {
    pub(crate) fn new(config: HeartbeatConfig) -> Self {
        Self { config, next: None, last_ts: None }
    }

    pub(crate) fn recover(&mut self, json: &str) {
        self.last_ts = serde_json::from_str::<Record>(json).ok().map(|record| record.last_ts);
    }

    fn every(&self) -> Duration {
        self.config.every.unwrap_or(EVERY_DEFAULT)
    }

    pub(crate) fn switch(&mut self, enabled: bool, now: Now) {
        self.next = enabled.then(|| now.mono + self.every());
    }

    /// The same at a start: the time since the last one counts, if the clock can tell.
    pub(crate) fn resume(&mut self, enabled: bool, now: Now) {
        self.switch(enabled, now);
        let sane = |ts: &u64| *ts >= SANE_CLOCK_MS && *ts <= now.wall_ms;
        if let (Some(next), Some(last_ts)) = (&mut self.next, self.last_ts.filter(sane)) {
            *next = next.checked_sub(ms(now.wall_ms - last_ts)).map_or(now.mono, |next| next.max(now.mono));
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    pub(crate) fn status(&self, now: Now) -> HeartbeatStatus {
        let until = self.next.map(|next| next.saturating_duration_since(now.mono).as_millis());
        HeartbeatStatus {
            every_minutes: self.every().as_secs() / 60,
            next_ts: until.map(|until| now.wall_ms + u64::try_from(until).unwrap_or(0)),
            last_ts: self.last_ts,
        }
    }
}

impl State {
    /// Who says the end of a run in the history; nobody where a heartbeat had nothing to say.
    pub(crate) fn role_of_answer(
        &mut self,
        run_id: &RunId,
        status: RunStatus,
        summary: &str,
    ) -> Option<Role> {
        let run = self.runs.get_mut(run_id)?;
        if matches!(run.origin, Origin::Heartbeat)
            && status == RunStatus::Ok
            && summary.trim() == NOTHING_TO_SAY
        {
            run.reply = None;
            return None;
        }
        Some(if status == RunStatus::Ok { Role::Assistant } else { Role::Note })
    }

    /// Where the config wants an answer besides the history.
    fn heartbeat_reply(&self) -> Option<Reply> {
        let HeartbeatConfig { channel, to, .. } = &self.heartbeats.config;
        let to = to.as_deref().or_else(|| self.access.owner((*channel)?))?;
        let route = self
            .route_to(*channel, to)
            .inspect_err(|error| log::warn!("a heartbeat's answer cannot be delivered: {}", error.message))
            .ok()?;
        Some(Reply { route, to: None })
    }

    /// Asks, unless something speaks against it; the next one is due all the same.
    pub(crate) fn heartbeat(&mut self) {
        self.heartbeats.next = Some(self.now.mono + self.heartbeats.every());
        let busy = !self.runs.is_empty() || self.stopping.is_some();
        if busy || !self.sessions.has_messages(MAIN) || !self.store_has_room() {
            return;
        }
        if let Err(error) = self.agent_may_run(PERSON) {
            log::info!("no heartbeat: {}", error.message);
            return;
        }
        let run_id = self.new_run_id();
        let session_id = self.sessions.current(MAIN).id.clone();
        let prompt = Prompt::of_config(self.heartbeats.config.prompt.clone());
        let spec = self.usual_run(&run_id, MAIN, &session_id);
        let work = Work::Prompt { spec, prompt, has_place: self.has_place(MAIN, false) };
        let mut run = Run::new(work, MAIN.to_owned(), session_id, PERSON.to_owned());
        run.origin = Origin::Heartbeat;
        run.reply = self.heartbeat_reply();
        self.runs.insert(RunId::clone(&run_id), run);
        self.heartbeats.last_ts = Some(self.now.wall_ms);
        let record =
            StoreOp::Put { slot: SLOT.to_owned(), value: to_json(&Record { last_ts: self.now.wall_ms }) };
        let ops = vec![record, self.count_run(PERSON)];
        self.store(ops, Pending::RunBegin { run_id, letters: Vec::new() });
    }
}
