//! `agent` and `agent-cancel`: which request of a client is refused, joins a run, or becomes one.
//!
//! Ends where the run is being put on record; `runs` goes on from there.

use std::time::Duration;

use serde_json::json;

use crate::channels::message::Route;
use crate::limits::{SESSIONS_MAX, ms};
use crate::protocol::ConnId;
use crate::protocol::call::{AgentParams, Keyed, RunId};
use crate::protocol::error::WireError;
use crate::protocol::payload::{Message, Role, RunAck};
use crate::state::State;
use crate::state::model::access::OWNER;
use crate::state::model::clients::{Asker, join};
use crate::state::model::directive::Directive;
use crate::state::model::keys::{Holder, KeyRecord};
use crate::state::model::outbox::Reply;
use crate::state::model::prompt::Prompt;
use crate::state::model::runs::{Run, RunPhase};
use crate::state::model::sessions::MAIN;
use crate::state::model::slot::Slot;
use crate::state::model::{directive, keys};
use crate::text;

/// Why `deliver` cannot be done.
const NO_ROUTE: &str =
    "`/params/to`: `deliver` needs `to`; nothing has come in on this session that could be answered";

impl State {
    pub(crate) fn agent_request(&mut self, asker: &Asker, call: Keyed<AgentParams>) -> Result<(), WireError> {
        let Keyed { params, key, digest } = call;
        let key = keys::name("agent", &key);
        let known = self.keys.look_up(&key, &digest, self.now.mono)?.cloned();
        if let Some(KeyRecord { run_id, outcome, .. }) = known {
            let Some(outcome) = outcome else { return self.join_run(asker, &run_id) };
            self.answer_outcome(asker, &run_id, &outcome);
            return Ok(());
        }
        let session_key = params.session_key.clone().unwrap_or_else(|| MAIN.to_owned());
        let directive = directive::parse(&params.message).filter(|_| params.attachments.is_empty());
        let holders = self.key_holders(asker.conn, &session_key);
        if directive.is_none() {
            // A directive is carried out also when no key is free: it may be there to stop what took them.
            self.keys.require_room(&holders, self.now.mono)?;
        }
        let reply = self.admit(&params, &session_key, directive)?;
        let record = KeyRecord::new(&digest, self.new_run_id(), &session_key, holders);
        let record = KeyRecord { directive: directive.is_some(), ..record };
        self.begin_request(asker, params, key, record, directive, reply);
        Ok(())
    }

    /// Who holds the key of a client's request.
    pub(crate) fn key_holders(&self, conn: ConnId, session_key: &str) -> Vec<Holder> {
        let instance = self.clients.get(&conn).map(|client| Holder::Installation(client.instance.clone()));
        let person = session_key.starts_with("dm:").then(|| Holder::Person(session_key.to_owned()));
        [Some(Holder::Connection(conn)), instance, person].into_iter().flatten().collect()
    }

    /// Whether a client may begin a session under that key, if there is none.
    pub(crate) fn require_session_room(&self, session_key: &str) -> Result<(), WireError> {
        if self.sessions.is_known(session_key) || self.sessions.len() < SESSIONS_MAX {
            return Ok(());
        }
        let hint = format!(
            "there are {SESSIONS_MAX} sessions, which is all that are kept: use one of them, or forget one (`clawdis forget KEY`)"
        );
        Err(WireError::unavailable(hint).not_retryable())
    }

    /// Refuses what cannot become a run, before anything is promised; returns where `deliver` sends the answer.
    fn admit(
        &mut self,
        params: &AgentParams,
        session_key: &str,
        directive: Option<Directive>,
    ) -> Result<Option<Reply>, WireError> {
        if self.stopping.is_some() {
            return Err(WireError::unavailable("the gateway is stopping"));
        }
        let reply = params.deliver.then(|| self.delivery_route(params, session_key)).transpose()?;
        let current = self.sessions.get(session_key).map(|session| &session.id);
        if params.session_id.is_some() && params.session_id.as_ref() != current {
            let hint =
                "sessionId is not this session's current conversation; leave it out or ask sessions-list";
            return Err(WireError::conflict(hint));
        }
        self.require_store()?;
        // `/think` is the one directive that chooses something which is kept with the session.
        if matches!(directive, None | Some(Directive::Think(Some(_)))) {
            self.require_session_room(session_key)?;
        }
        if directive.is_none() {
            if self.agent_is_full() {
                return Err(WireError::rate_limited(
                    "the agent's queue is full; wait for a run to end",
                    5_000,
                ));
            }
            self.agent_may_run(OWNER)?;
        }
        Ok(reply)
    }

    /// Whether the agent is there, not paused, and within this person's budget.
    pub(crate) fn agent_may_run(&mut self, person: &str) -> Result<(), WireError> {
        let health = self.health.snapshot(self.now.wall_ms, &self.toggles, &self.runs).agent;
        if !health.configured || self.toggles.paused {
            return Err(WireError::unavailable(health.reason.unwrap_or_default()));
        }
        if let Some(wait_ms) = self.today.wait_ms(person, &self.config.agent, self.now.wall_ms) {
            let hint = "today's runs are used up (agent.dailyRuns, agent.dailyRunsPerPerson); there are new ones at midnight UTC";
            return Err(WireError::rate_limited(hint, wait_ms));
        }
        Ok(())
    }

    /// Where `deliver` sends the answer; an error, before any ack, if nothing can be sent there.
    fn delivery_route(&self, params: &AgentParams, session_key: &str) -> Result<Reply, WireError> {
        self.outbox_has_room()?;
        let route = if let Some(to) = &params.to {
            self.route_to(params.channel, to)?
        } else {
            let last = self.sessions.get(session_key).and_then(|session| session.route.as_ref());
            let fits = |route: &&Route| params.channel.is_none_or(|channel| route.channel == channel);
            let route = last.filter(fits).cloned().ok_or_else(|| WireError::invalid(NO_ROUTE))?;
            self.channel_ready(route.channel)?;
            route
        };
        Ok(Reply { route, to: None })
    }

    /// Makes a run of a request against which nothing speaks any more.
    fn begin_request(
        &mut self,
        asker: &Asker,
        params: AgentParams,
        key: String,
        record: KeyRecord,
        directive: Option<Directive>,
        reply: Option<Reply>,
    ) {
        let (run_id, session_key) = (RunId::clone(&record.run_id), record.session_key.clone());
        if params.session_id.is_none() {
            self.begin_anew_if_idle(&session_key);
        }
        let session_id = self.conversation_for(&session_key, directive);
        let name = self.clients.get(&asker.conn).map(|client| text::name(&client.about.name));
        let message = Message {
            from: name.filter(|name| !name.is_empty()),
            run_id: Some(run_id.to_string()),
            idempotency_key: Some(keys::of_client(&key).to_owned()),
            ..Message::new(Role::User, params.message.clone(), self.now.wall_ms)
        };
        let mut prompt = Prompt::default();
        prompt.speaker(message.from.as_deref(), OWNER, self.now.wall_ms);
        prompt.client(&params.message);
        self.sessions.append(&session_key, &session_id, message, &mut self.writes);
        self.keys.begin(&key, record, self.now.mono, &mut self.writes);
        let usual = self.new_run(&session_key, &session_id, OWNER);
        let run = Run {
            reply,
            key: Some(key),
            directive,
            prompt,
            images: params.attachments.into_iter().map(|image| (image.mime_type, image.content)).collect(),
            thinking: params.thinking.unwrap_or(usual.thinking),
            timeout: params.timeout.map_or(usual.timeout, |seconds| ms(seconds * 1_000)),
            owner: Some(asker.conn),
            waiters: vec![asker.clone()],
            has_place: directive.is_none() && self.has_place(&session_key, false),
            ..usual
        };
        self.begin_run(run_id, run);
    }

    /// The conversation that a message belongs to. A line for the gateway itself begins none: what is said
    /// with it where there is no session stays off the record.
    pub(crate) fn conversation_for(&mut self, session_key: &str, directive: Option<Directive>) -> String {
        if directive.is_some() && !self.sessions.is_known(session_key) {
            return String::new();
        }
        self.sessions.current(session_key).id.clone()
    }

    /// After a long silence the next message begins a new conversation.
    pub(crate) fn begin_anew_if_idle(&mut self, session_key: &str) {
        let idle = Duration::from_secs(60 * self.config.agent.idle_minutes);
        let busy = self.runs.by_id.values().any(|run| run.session_key == session_key);
        if idle.is_zero() || busy || !self.sessions.is_idle(session_key, idle, self.now.wall_ms) {
            return;
        }
        self.end_session(session_key, false);
        self.sessions.reset(session_key, self.now.wall_ms, &mut self.writes);
    }

    pub(crate) fn new_run_id(&mut self) -> RunId {
        self.runs.made += 1;
        RunId::from(format!("r-{}-{}", self.config.boot_id, self.runs.made))
    }

    /// Puts today's count, and who was told that it is used up, on record.
    pub(crate) fn put_today(&mut self) {
        self.writes.put(&Slot::Today, &self.today);
    }

    fn join_run(&mut self, asker: &Asker, run_id: &RunId) -> Result<(), WireError> {
        let Some(run) = self.runs.by_id.get_mut(run_id) else {
            return Err(WireError::internal("the run of this key is lost; look into session-history"));
        };
        join(&mut run.waiters, asker, &self.clients, "run")?;
        if run.phase != RunPhase::Storing {
            self.answer(asker, &RunAck { run_id, status: "accepted" });
        }
        Ok(())
    }

    pub(crate) fn agent_cancel(&mut self, asker: &Asker, run_id: &RunId) -> Result<(), WireError> {
        if !self.cancel(run_id) {
            return Err(WireError::invalid("`/params/runId`: no such run is under way; it may have ended"));
        }
        self.answer(asker, &json!({ "runId": &**run_id, "status": "cancelled" }));
        Ok(())
    }
}
