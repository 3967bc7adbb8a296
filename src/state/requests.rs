//! One function per method. Each ends in an answer, now or when something else has happened.

use serde_json::json;

use crate::agent::{AgentControl, RunSpec};
use crate::channels::{ChannelCommand, address};
use crate::limits::{KEY_JOINERS_MAX, PAGE_BYTES_MAX, PROBES_MAX, SYSTEM_NOTES_MAX, ms};
use crate::net::ConnId;
use crate::protocol::call::{
    AgentParams, Call, Channel, Digest, HealthParams, RunId, SendParams, SessionsListParams,
    SystemEventParams,
};
use crate::protocol::error::{ErrorCode, WireError};
use crate::protocol::payload::{Message, Role, Status, Today};
use crate::protocol::{SERVER_COMMIT, SERVER_VERSION, VERSION};
use crate::state::clients::clean;
use crate::state::keys::{self, Lookup};
use crate::state::runs::{Phase, Run};
use crate::state::sessions::MAIN;
use crate::state::stored::Pending;
use crate::state::switches::Switch;
use crate::state::{Effect, Now, State, to_json};
use crate::store::StoreOp;

/// A run that can be made: everything that could be refused has been.
struct Admitted {
    session_key: String,
    session_id: String,
    run_id: RunId,
}

impl State {
    pub(super) fn request(&mut self, conn: ConnId, id: String, call: Call, now: Now) {
        let refused = match call {
            Call::Health(params) => return self.health_request(conn, id, &params, now),
            Call::Status => return self.status(conn, &id, now),
            Call::SystemPresence => {
                let frame = crate::protocol::frame::res_ok(&id, &self.presence.entries());
                return self.effects.push(Effect::Out(crate::net::outbound::Outbound::Frame { conn, frame }));
            }
            Call::SystemEvent(params) => return self.system_event(conn, &id, *params, now),
            // Served by the client's own thread, which alone reads the records.
            Call::SessionHistory(_) => Err(WireError::internal("session-history reached the wrong thread")),
            Call::Send(params, _) => self.send(&params),
            Call::Agent(params, digest) => self.agent(conn, &id, *params, &digest, now),
            Call::AgentCancel(params) => self.agent_cancel(conn, &id, &params.run_id),
            Call::SessionsList(params) => self.sessions_list(conn, &id, &params),
            Call::SessionReset(params) => self.session_reset(conn, &id, &params.session_key, now),
            Call::SessionForget(params) => self.session_forget(conn, &id, &params.session_key),
            Call::SetHeartbeats(params) => self.switch(conn, &id, Switch::Heartbeats(params.enabled)),
            Call::SetChannel(params) => {
                self.switch(conn, &id, Switch::Channel(params.channel, params.enabled))
            }
            Call::SetPaused(params) => self.switch(conn, &id, Switch::Paused(params.paused)),
        };
        if let Err(error) = refused {
            self.refuse(conn, &id, &error);
        }
    }

    fn health_request(&mut self, conn: ConnId, id: String, params: &HealthParams, now: Now) {
        if params.probe {
            if self.probes >= PROBES_MAX {
                return self.refuse(
                    conn,
                    &id,
                    &WireError::rate_limited("too many probes are under way", 1_000),
                );
            }
            self.probes += 1;
            return self.effects.push(Effect::Channel(ChannelCommand::Probe { conn, id }));
        }
        let health = self.health_json(now);
        self.answer(conn, &id, &health);
    }

    fn status(&mut self, conn: ConnId, id: &str, now: Now) {
        let mut clients_list = Vec::new();
        let mut bytes = 0;
        for client in self.clients.values() {
            let entry = client.entry();
            // Control characters have been removed, so escaping at most doubles a text.
            bytes += 160 + 2 * serde_json::to_string(&entry).map_or(0, |json| json.len()) / 2;
            if bytes > PAGE_BYTES_MAX / 2 {
                break;
            }
            clients_list.push(entry);
        }
        let status = Status {
            version: SERVER_VERSION,
            commit: SERVER_COMMIT,
            protocol: VERSION,
            pid: std::process::id(),
            uptime_ms: self.uptime_ms(now),
            host: &self.config.host,
            clients: self.clients.len(),
            health: &self.health.snapshot(now.wall_ms, &self.toggles, &self.runs),
            toggles: self.toggles.clone(),
            sessions: self.sessions.len(),
            today: Today { runs: self.runs_today.values().sum(), runs_by_person: &self.runs_today },
            refused: &[],
            truncated: clients_list.len() < self.clients.len(),
            clients_list,
        };
        let frame = crate::protocol::frame::res_ok(id, &status);
        self.effects.push(Effect::Out(crate::net::outbound::Outbound::Frame { conn, frame }));
    }

    fn system_event(&mut self, conn: ConnId, id: &str, params: SystemEventParams, now: Now) {
        let short = |text: String| clean(&text, 256);
        self.presence.update(conn, |entry| {
            entry.ts = now.wall_ms;
            entry.last_input_seconds = params.last_input_seconds.or(entry.last_input_seconds);
            if let Some(mode) = params.mode {
                entry.mode = clean(&mode, 64);
            }
            if let Some(tags) = params.tags {
                entry.tags = Some(tags.iter().map(|tag| clean(tag, 64)).collect());
            }
            if let Some(reason) = params.reason {
                entry.reason = Some(short(reason));
            }
        });
        if self.notes.len() >= SYSTEM_NOTES_MAX {
            self.notes.pop_front();
        }
        self.notes.push_back(params.text);
        self.answer(conn, id, &json!({ "ok": true }));
    }

    /// Refuses, as long as no channel can take it; nothing has happened then and the key is free.
    fn send(&mut self, params: &SendParams) -> Result<(), WireError> {
        let channel = match params.channel {
            Some(channel) => channel,
            None => address::channel_of(&params.to)?,
        };
        Err(self.channel_refusal(channel))
    }

    /// Why nothing can be sent on that channel.
    fn channel_refusal(&self, channel: Channel) -> WireError {
        let name = channel.name();
        let Some(health) = self.health.channel(channel).filter(|health| health.configured) else {
            return WireError::unavailable(format!("{name} is not set up; see `channels` in the README"))
                .not_retryable();
        };
        if !health.enabled {
            let hint = format!("{name} is switched off; `clawdis channel {name} on` switches it on");
            return WireError::unavailable(hint).not_retryable();
        }
        WireError::unavailable(health.reason.clone().unwrap_or_else(|| format!("{name} is not ready")))
    }

    fn agent(
        &mut self,
        conn: ConnId,
        id: &str,
        params: AgentParams,
        digest: &Digest,
        now: Now,
    ) -> Result<(), WireError> {
        let expired = self.keys.drop_expired(now.mono);
        let key = params.idempotency_key.clone();
        match self.keys.look_up(&key, digest, now.mono) {
            Lookup::New => {}
            Lookup::Joins(run_id) => {
                let run_id = RunId::clone(run_id);
                return self.join_run(conn, id, &run_id);
            }
            Lookup::Ended(run_id, outcome) => {
                let (run_id, outcome) = (RunId::clone(run_id), outcome.clone());
                self.answer_outcome(conn, id, &run_id, &outcome);
                return Ok(());
            }
            Lookup::Conflict => {
                return Err(WireError::conflict(
                    "this idempotencyKey was used for another request; make a new key for a new request",
                ));
            }
            Lookup::Full(free_in) => {
                let wait_ms = u64::try_from(free_in.as_millis()).unwrap_or(u64::MAX).max(1);
                return Err(WireError::rate_limited("too many idempotency keys are in use", wait_ms));
            }
        }
        let admitted = self.admit(&params)?;
        self.begin_run(conn, id, params, digest, admitted, expired, now);
        Ok(())
    }

    /// Everything that can be refused is, before anything is promised.
    fn admit(&mut self, params: &AgentParams) -> Result<Admitted, WireError> {
        if self.stopping.is_some() {
            return Err(WireError::unavailable("the gateway is stopping"));
        }
        if params.deliver {
            self.delivery_route(params)?;
        }
        let session_key = params.session_key.clone().unwrap_or_else(|| MAIN.to_owned());
        if let Some(wanted) = &params.session_id {
            if self.sessions.id(&session_key) != Some(wanted) {
                let hint =
                    "sessionId is not this session's current conversation; leave it out or ask sessions-list";
                return Err(WireError::conflict(hint));
            }
        }
        let health = self.health.snapshot(0, &self.toggles, &self.runs).agent;
        if !health.configured || self.toggles.paused {
            return Err(WireError::unavailable(health.reason.unwrap_or_default()));
        }
        if self.runs.waiting() >= self.config.queue_max {
            return Err(WireError::rate_limited("the agent's queue is full; wait for a run to end", 5_000));
        }
        if !self.store_has_room() {
            return Err(WireError::rate_limited("the disk cannot keep up; try again", 1_000));
        }
        self.runs.made += 1;
        let run_id = RunId::from(format!("r-{}-{}", self.config.boot_id, self.runs.made));
        let session_id = self.sessions.current(&session_key).id.clone();
        Ok(Admitted { session_key, session_id, run_id })
    }

    /// Where `deliver` would send to. Refused before any ack if there is no such place.
    fn delivery_route(&self, params: &AgentParams) -> Result<(), WireError> {
        let channel = match (params.channel, &params.to) {
            (Some(channel), Some(_)) => channel,
            (None, Some(to)) => address::channel_of(to)?,
            (_, None) => {
                return Err(WireError::invalid(
                    "`/params/to`: `deliver` needs `to` and `channel`; nothing has come in on this session yet that could be answered",
                ));
            }
        };
        Err(self.channel_refusal(channel))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one request, used once")]
    fn begin_run(
        &mut self,
        conn: ConnId,
        id: &str,
        params: AgentParams,
        digest: &Digest,
        admitted: Admitted,
        expired: Vec<String>,
        now: Now,
    ) {
        let Admitted { session_key, session_id, run_id } = admitted;
        let message = Message {
            id: String::new(),
            ts: now.wall_ms,
            role: Role::User,
            text: params.message.clone(),
            channel: None,
            from: self.clients.get(&conn).map(|client| client.name.clone()),
            run_id: Some(run_id.to_string()),
            idempotency_key: Some(params.idempotency_key.clone()),
            truncated: false,
        };
        let mut ops: Vec<StoreOp> =
            expired.iter().map(|key| StoreOp::Delete { slot: keys::slot(key) }).collect();
        ops.extend(self.sessions.append(&session_key, &session_id, message));
        let record = self.keys.begin(&params.idempotency_key, digest, RunId::clone(&run_id), &session_key);
        ops.push(StoreOp::Put { slot: keys::slot(&params.idempotency_key), value: to_json(&record) });
        let spec = Box::new(RunSpec {
            run_id: RunId::clone(&run_id),
            prompt: self.prompt(&session_key, &params.message),
            images: params.attachments.into_iter().map(|image| (image.mime_type, image.content)).collect(),
            thinking: params.thinking.unwrap_or(self.config.thinking),
            timeout: params.timeout.map_or(self.config.run_timeout, |seconds| ms(seconds * 1_000)),
            session_key,
            session_id,
        });
        let run = Run::new(spec, params.idempotency_key, conn, id.to_owned());
        self.runs.insert(RunId::clone(&run_id), run);
        *self.runs_today.entry("main".to_owned()).or_default() += 1;
        self.health.touch();
        self.store(ops, Pending::RunBegin { run_id });
    }

    /// The message, behind the notes that wait for the owner's next turn.
    fn prompt(&mut self, session_key: &str, message: &str) -> String {
        if session_key != MAIN || self.notes.is_empty() {
            return message.to_owned();
        }
        let mut prompt = String::from("[Notes from the owner's devices since the last turn:\n");
        for note in self.notes.drain(..) {
            prompt.push_str("- ");
            prompt.push_str(&note);
            prompt.push('\n');
        }
        prompt.push_str("]\n\n");
        prompt.push_str(message);
        prompt
    }

    fn join_run(&mut self, conn: ConnId, id: &str, run_id: &RunId) -> Result<(), WireError> {
        let Some(run) = self.runs.get_mut(run_id) else {
            return Err(WireError::internal("the run of this key is lost; look into session-history"));
        };
        if run.waiters.len() >= KEY_JOINERS_MAX {
            return Err(WireError::rate_limited("too many callers wait for this run", 5_000));
        }
        run.waiters.push((conn, id.to_owned()));
        if !matches!(run.phase, Phase::Storing(_)) {
            let ack = crate::protocol::payload::RunAck { run_id, status: "accepted" };
            self.answer(conn, id, &ack);
        }
        Ok(())
    }

    fn agent_cancel(&mut self, conn: ConnId, id: &str, run_id: &RunId) -> Result<(), WireError> {
        if !self.cancel(run_id) {
            return Err(WireError::invalid("`/params/runId`: no such run is under way; it may have ended"));
        }
        self.answer(conn, id, &json!({ "runId": &**run_id, "status": "cancelled" }));
        Ok(())
    }

    fn sessions_list(
        &mut self,
        conn: ConnId,
        id: &str,
        params: &SessionsListParams,
    ) -> Result<(), WireError> {
        let Some((sessions, before)) = self.sessions.page(params) else {
            return Err(WireError::invalid(
                "`/params/before`: that session is gone; start from the first page",
            ));
        };
        let mut payload = json!({ "sessions": sessions });
        if let Some(before) = before {
            payload["before"] = before.into();
        }
        self.answer(conn, id, &payload);
        Ok(())
    }

    fn session_reset(&mut self, conn: ConnId, id: &str, key: &str, now: Now) -> Result<(), WireError> {
        if !self.sessions.is_known(key) {
            return Err(WireError::invalid("`/params/sessionKey`: no such session; ask sessions-list"));
        }
        self.require_store()?;
        self.cancel_all(|run| run.session_key == key);
        let (session_id, ops) = self.sessions.reset(key, now.wall_ms);
        self.end_session(key, false);
        let payload = json!({ "sessionKey": key, "sessionId": session_id });
        self.store(ops, Pending::Answer { conn, id: id.to_owned(), payload });
        Ok(())
    }

    fn session_forget(&mut self, conn: ConnId, id: &str, key: &str) -> Result<(), WireError> {
        self.require_store()?;
        self.cancel_all(|run| run.session_key == key);
        let (session_id, mut ops) = self.sessions.forget(key);
        for (key, record) in self.keys.forget_session(key) {
            ops.push(StoreOp::Put { slot: keys::slot(&key), value: to_json(&record) });
        }
        if key == MAIN {
            self.notes.clear();
        }
        self.end_session(key, true);
        let payload = json!({ "sessionKey": key, "sessionId": session_id });
        self.store(ops, Pending::Answer { conn, id: id.to_owned(), payload });
        Ok(())
    }

    fn end_session(&mut self, key: &str, delete: bool) {
        let session_key = key.to_owned();
        self.effects.push(Effect::AgentControl(AgentControl::EndSession { session_key, delete }));
    }

    pub(super) fn require_store(&self) -> Result<(), WireError> {
        if self.store_has_room() {
            return Ok(());
        }
        let error = WireError::rate_limited("the disk cannot keep up; try again", 1_000);
        debug_assert_eq!(error.code, ErrorCode::RateLimited);
        Err(error)
    }
}
