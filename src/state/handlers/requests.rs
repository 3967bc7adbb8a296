//! Leads each request of a client to the handler of its method, and answers the small ones here.
//!
//! Each ends in one answer, now or when something else has happened. `net` has checked its params by then.

use serde_json::json;

use crate::agent::AgentControl;
use crate::channels::ChannelCommand;
use crate::limits::{
    PAGE_BYTES_MAX, PRESENCE_REASON_BYTES_MAX, PRESENCE_TAG_BYTES_MAX, PRESENCE_TEXT_BYTES_MAX,
};
use crate::protocol::call::{Channel, HealthParams, SessionsListParams, SystemEventParams};
use crate::protocol::error::{ErrorCode, WireError};
use crate::protocol::method::Call;
use crate::protocol::payload::{Auth, ClientEntry, Status, Today};
use crate::protocol::{SERVER_COMMIT, SERVER_VERSION, VERSION, frame};
use crate::state::journal::Then;
use crate::state::model::clients::{Asker, clean};
use crate::state::model::to_json;
use crate::state::{Effect, State};

impl State {
    pub(crate) fn request(&mut self, asker: &Asker, call: Call) {
        let refused = match call {
            Call::Health(params) => self.health_request(asker, &params),
            Call::Status(_) => return self.status(asker),
            Call::SystemPresence(_) => {
                let frame = frame::res_ok(&asker.id, &self.presence.json());
                return self.send_frame(asker, frame);
            }
            Call::SystemEvent(params) => self.system_event(asker, *params),
            Call::Send(send) => self.send(asker, &send),
            Call::Agent(agent) => self.agent_request(asker, *agent),
            Call::AgentCancel(run_id) => self.agent_cancel(asker, &run_id),
            Call::SessionsList(params) => self.sessions_list(asker, &params),
            Call::SessionReset(session_key) => self.session_reset(asker, &session_key),
            Call::SessionForget(session_key) => self.session_forget(asker, &session_key),
            Call::SetHeartbeats(enabled) => self.set_heartbeats(asker, enabled),
            Call::SetChannel(params) => self.set_channel(asker, &params),
            Call::SetPaused(paused) => self.set_paused(asker, paused),
            Call::ChannelAllow(params) => self.channel_allow(asker, &params),
            Call::ChannelLogin(params) => self.channel_login(asker, params),
            Call::ChannelLogout(channel) => self.channel_logout(asker, channel),
        };
        if let Err(error) = refused {
            self.refuse(asker, &error);
        }
    }

    fn health_request(&mut self, asker: &Asker, params: &HealthParams) -> Result<(), WireError> {
        if params.probe {
            return self.ask_channels(ChannelCommand::Probe { conn: asker.conn, id: asker.id.clone() });
        }
        let health = self.health_json();
        self.answer(asker, &health);
        Ok(())
    }

    fn status(&mut self, asker: &Asker) {
        let mut bytes = 0;
        let fits = |client: &&ClientEntry| {
            bytes += to_json(client).len() + 1;
            bytes <= PAGE_BYTES_MAX
        };
        let clients_list: Vec<_> =
            self.clients.values().map(|client| &client.about).take_while(fits).collect();
        self.today.turn_over(self.now.wall_ms);
        let status = Status {
            version: SERVER_VERSION,
            commit: SERVER_COMMIT,
            protocol: VERSION,
            pid: std::process::id(),
            uptime_ms: self.uptime_ms(),
            host: &self.config.host,
            url: &self.config.url,
            auth: self.config.auth,
            warnings: self.warnings.values().collect(),
            clients: self.clients.len(),
            health: &self.health.snapshot(self.now.wall_ms, &self.toggles, &self.runs),
            toggles: self.toggles.clone(),
            sessions: self.sessions.len(),
            today: Today { runs: self.today.runs(), runs_by_person: &self.today.by_person },
            heartbeat: self.heartbeats.status(self.now),
            refused: &self.access.refused,
            truncated: clients_list.len() < self.clients.len(),
            clients_list,
        };
        let frame = frame::res_ok(&asker.id, &status);
        self.send_frame(asker, frame);
    }

    fn system_event(&mut self, asker: &Asker, params: SystemEventParams) -> Result<(), WireError> {
        self.require_store()?;
        self.presence.update(asker.conn, |entry| {
            entry.ts = self.now.wall_ms;
            entry.last_input_seconds = params.last_input_seconds.or(entry.last_input_seconds);
            if let Some(mode) = params.mode {
                entry.mode = clean(&mode, PRESENCE_TEXT_BYTES_MAX);
            }
            if let Some(tags) = params.tags {
                entry.tags = Some(tags.iter().map(|tag| clean(tag, PRESENCE_TAG_BYTES_MAX)).collect());
            }
            if let Some(reason) = params.reason {
                entry.reason = Some(clean(&reason, PRESENCE_REASON_BYTES_MAX));
            }
        });
        self.system_notes.add(params.text, &mut self.writes);
        let payload = json!({ "ok": true });
        self.commit(Then::Answer { asker: asker.clone(), payload, if_not: "" });
        Ok(())
    }

    /// Refuses what is to be sent on a channel that is not set up, switched off or without an account. One that is
    /// only away for a while takes it later.
    pub(crate) fn channel_ready(&self, channel: Channel) -> Result<(), WireError> {
        let name = channel.name();
        let Some(health) = self.health.channels.get(&channel).filter(|health| health.configured) else {
            let hint = format!("{name} is not set up in this gateway, so nothing can be sent there");
            return Err(WireError::unavailable(hint).not_retryable());
        };
        if !health.enabled {
            let hint = format!("{name} is switched off; `clawdis channel {name} on` switches it on");
            return Err(WireError::unavailable(hint).not_retryable());
        }
        if health.linked == Some(false) {
            let why = health.reason.clone().unwrap_or_else(|| format!("{name} has no account behind it"));
            return Err(WireError::new(ErrorCode::NotLinked, why));
        }
        Ok(())
    }

    fn sessions_list(&mut self, asker: &Asker, params: &SessionsListParams) -> Result<(), WireError> {
        let Some((sessions, before)) = self.sessions.page(params) else {
            return Err(WireError::invalid(
                "`/params/before`: that session is gone; start from the first page",
            ));
        };
        let mut payload = json!({ "sessions": sessions });
        if let Some(before) = before {
            payload["before"] = before.into();
        }
        self.answer(asker, &payload);
        Ok(())
    }

    fn session_reset(&mut self, asker: &Asker, key: &str) -> Result<(), WireError> {
        if !self.sessions.is_known(key) {
            return Err(WireError::invalid("`/params/sessionKey`: no such session; ask sessions-list"));
        }
        self.require_store()?;
        self.cancel_all(|run| run.session_key == key);
        let session_id = self.sessions.reset(key, self.now.wall_ms, &mut self.writes);
        self.end_session(key, false);
        let payload = json!({ "sessionKey": key, "sessionId": session_id });
        self.commit(Then::Answer { asker: asker.clone(), payload, if_not: "" });
        Ok(())
    }

    pub(crate) fn end_session(&mut self, key: &str, delete: bool) {
        let session_key = key.to_owned();
        self.effects.push(Effect::AgentControl(AgentControl::EndSession { session_key, delete }));
    }

    /// Refuses to hand out rights where no token protects the gateway: whoever reaches the port would give them to
    /// themselves, the sandboxed agent included.
    pub(crate) fn require_token(&self) -> Result<(), WireError> {
        match self.config.auth {
            Auth::Token => Ok(()),
            Auth::None => Err(WireError::unavailable(
                "rights are handed out only where a token protects the gateway, and this one has none: write one into \
                 a file (`openssl rand -hex 16`), start the gateway with --token-file FILE, and ask again",
            )
            .not_retryable()),
        }
    }

    pub(crate) fn require_store(&self) -> Result<(), WireError> {
        if self.store_has_room() {
            return Ok(());
        }
        Err(WireError::rate_limited("the disk cannot keep up; try again", 1_000))
    }
}
