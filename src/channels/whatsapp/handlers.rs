//! Handlers of the lines of the sidecar: of its answers to requests, and of its events.

use std::time::Instant;

use serde_json::{Value, json};

use crate::channels::delivery::{AttemptOutcome, refused};
use crate::channels::message::Arrival;
use crate::channels::web::sniff;
use crate::channels::whatsapp::outgoing::Body;
use crate::channels::whatsapp::sidecar::Request;
use crate::channels::whatsapp::wire::{
    ConnectionState, DeliveryStage, SidecarAnswer, SidecarEvent, SidecarLine,
};
use crate::channels::whatsapp::{Whatsapp, files};
use crate::channels::{ChannelEvent, LoginStep};
use crate::clock::wall_ms;
use crate::limits::SIDECAR_RSS_BYTES_MAX;
use crate::protocol::event::MessageStatus;

impl Whatsapp {
    pub(super) fn on_line(&mut self, line: SidecarLine, now: Instant) {
        if let Some(sidecar) = &mut self.sidecar {
            sidecar.last_line_at = now;
        }
        match line {
            SidecarLine::Answer(answer) => self.on_answer(answer, now),
            SidecarLine::Event(event) => self.on_event(event, now),
            SidecarLine::Unreadable { seq, raw } => {
                let why = "the sidecar's line cannot be read".to_owned();
                self.intake.add(seq, Some(Arrival::Garbled { key: format!("seq-{seq}"), why, raw }));
            }
        }
    }

    fn on_answer(&mut self, answer: SidecarAnswer, now: Instant) {
        let request = answer.re.and_then(|number| self.sidecar.as_mut()?.pending.remove(&number));
        let Some(request) = request else {
            return log::warn!("the WhatsApp sidecar did not understand a line: {}", answer.error);
        };
        if answer.ok { self.on_success(request, answer, now) } else { self.on_refusal(request, &answer, now) }
    }

    fn on_success(&mut self, request: Request, answer: SidecarAnswer, now: Instant) {
        match request {
            Request::Hello => self.on_hello(answer, now),
            Request::Link if answer.code.is_empty() || self.is_ending() => {}
            Request::Link => {
                let (code, ttl_ms) = (answer.code, answer.ttl_ms.unwrap_or(0));
                self.send_login_step(LoginStep::Code { code, ttl_ms });
            }
            Request::Logout => {
                self.finish_logout(Ok(()));
                self.stop_sidecar("unlinked", Some(LINK_HINT.to_owned()), now);
            }
            Request::Send { id } => {
                self.outgoing.handed_over(&id, now);
                if let Value::String(body) = answer.proto {
                    self.outgoing.keep_body(Body { id, to: answer.jid, proto: body });
                }
            }
            Request::Fetch(fetch) => {
                let path = answer.path.unwrap_or_default();
                let mime_type = answer.mime.as_deref().unwrap_or(sniff::UNKNOWN);
                let fetched = self.setup.folder.join("media");
                self.send(files::settle(fetch, &fetched, &path, mime_type));
            }
            Request::Beat if answer.rss.is_some_and(|rss| rss > SIDECAR_RSS_BYTES_MAX) => {
                log::warn!("the WhatsApp sidecar has grown beyond its bound: it is started anew");
                self.end_sidecar(now);
                self.lifecycle.start_now(now);
            }
            Request::Beat | Request::Other(_) => {}
        }
    }

    fn on_hello(&mut self, answer: SidecarAnswer, now: Instant) {
        if let Some(sidecar) = &mut self.sidecar {
            sidecar.is_greeted = true;
        }
        self.health.known.linked = Some(answer.linked);
        self.account = answer.me.unwrap_or_default();
        self.host = answer.host;
        if answer.linked && self.logout_wanted {
            self.request(Request::Logout, json!({}), now);
        } else if answer.linked {
            self.finish_login(Err(
                "this gateway is linked already: `clawdis logout whatsapp` first".to_owned()
            ));
            if self.holds_account(now) {
                self.request(Request::Other("connect"), json!({}), now);
            }
        } else if self.login.is_some() {
            self.link(now);
        } else {
            self.refuse_logout("no phone is linked");
            let reason = answer.damaged.map_or_else(
                || LINK_HINT.to_owned(),
                |aside| format!("its login was damaged and is kept in `{aside}`: {LINK_HINT}"),
            );
            self.stop_sidecar("unlinked", Some(reason), now);
        }
    }

    fn on_refusal(&mut self, request: Request, answer: &SidecarAnswer, now: Instant) {
        let why = answer.error.as_str();
        match request {
            Request::Hello => {
                let text = match answer.code.as_str() {
                    "protocol" => format!("its sidecar is of another version ({why}): install it again"),
                    _ => format!("its sidecar refuses to work: {why}"),
                };
                self.refuse_login_and_logout(&text);
                if answer.retry {
                    self.lifecycle.start_later(now);
                    self.health.set("closed", Some(text));
                    self.end_sidecar(now);
                } else {
                    self.stop_sidecar("closed", Some(text), now);
                }
            }
            Request::Link if self.is_ending() => {}
            Request::Link => {
                self.finish_login(Err(why.to_owned()));
                self.stop_sidecar("unlinked", Some(LINK_HINT.to_owned()), now);
            }
            Request::Logout => self.finish_logout(Err(why.to_owned())),
            Request::Send { id } => {
                let outcome = self.outgoing.refuse(&id, why, answer.retry);
                self.send_outcomes(outcome);
            }
            Request::Fetch(fetch) => self.send(files::failed(fetch, why)),
            // It has shown that it lives, and may tell its size the next time.
            Request::Beat => {}
            Request::Other(op) => log::debug!("the WhatsApp sidecar denied `{op}`: {why}"),
        }
    }

    /// Handles a request whose sidecar has ended. Messages are still in our hands and go again.
    pub(super) fn on_unanswered(&mut self, request: Request) {
        match request {
            Request::Fetch(fetch) => self.send(files::failed(fetch, "it was interrupted")),
            Request::Logout => self.finish_logout(Err("the sidecar ended before it was done".to_owned())),
            Request::Hello | Request::Link | Request::Send { .. } | Request::Beat | Request::Other(_) => {}
        }
    }

    fn on_event(&mut self, event: SidecarEvent, now: Instant) {
        match event {
            SidecarEvent::State(state) => self.on_connection(state, now),
            SidecarEvent::Qr { .. } if self.is_ending() => {}
            SidecarEvent::Qr { data, ttl_ms } => self.send_login_step(LoginStep::Qr { data, ttl_ms }),
            SidecarEvent::Msg(msg) => {
                self.health.known.last_frame_ts = Some(wall_ms());
                let seq = msg.seq;
                let arrival = self.reader.read(*msg, &self.account, now);
                self.intake.add(seq, arrival);
            }
            SidecarEvent::Out { id, stage, code } => self.on_delivery_stage(&id, stage, code),
            SidecarEvent::NeedBody { id } => {
                // It goes only to the chat that it went to; the sidecar knows a person's two addresses.
                let members = match self.outgoing.body(&id) {
                    Some(Body { to, proto, .. }) => json!({ "id": id, "to": to, "proto": proto }),
                    None => json!({ "id": id, "proto": null }),
                };
                self.request(Request::Other("sent-body"), members, now);
            }
            SidecarEvent::Log { level, text } if level == "error" => log::error!("whatsapp: {text}"),
            SidecarEvent::Log { level, text } if level == "warn" => log::warn!("whatsapp: {text}"),
            SidecarEvent::Log { text, .. } => log::info!("whatsapp: {text}"),
            SidecarEvent::Fatal { text } => log::error!("the WhatsApp sidecar ends: {text}"),
            SidecarEvent::Other => {}
        }
    }

    fn on_delivery_stage(&mut self, id: &str, stage: DeliveryStage, code: Option<u64>) {
        self.health.known.last_frame_ts = Some(wall_ms());
        let receipt = |status| ChannelEvent::Receipt { message_id: id.to_owned(), status };
        let outcome = match stage {
            DeliveryStage::Accepted => AttemptOutcome::Sent { message_id: id.to_owned(), chat: None },
            DeliveryStage::Failed => refused(refusal(code)),
            DeliveryStage::Delivered => return self.send(receipt(MessageStatus::Delivered)),
            DeliveryStage::Read => return self.send(receipt(MessageStatus::Read)),
        };
        if let Some(delivery) = self.outgoing.finish(id) {
            self.send_outcomes([(delivery.attempt.id, outcome)]);
        }
    }

    fn on_connection(&mut self, state: ConnectionState, now: Instant) {
        self.health.known.last_frame_ts = Some(wall_ms());
        if let Some(me) = &state.me {
            self.account = me.clone();
            self.health.known.linked = Some(true);
        }
        let has_session = matches!(state.state.as_str(), "connecting" | "syncing" | "ready");
        if has_session && (self.is_ending() || !self.holds_account(now)) {
            return;
        }
        match state.state.as_str() {
            "linking" => self.health.set("linking", None),
            "connecting" => self.health.set("connecting", None),
            "syncing" | "ready" => {
                let ready = state.state == "ready";
                self.health.set(if ready { "ready" } else { "syncing" }, None);
                self.lifecycle.set_ready(ready, now);
                self.finish_login(Ok(self.account.pn.clone()));
            }
            "unlinked" => self.health.known.linked = Some(false),
            // Ended by us, it has nothing to say about what comes next.
            "closed" if self.is_ending() => {}
            "closed" => self.on_disconnected(state, now),
            _ => {}
        }
    }

    fn on_disconnected(&mut self, state: ConnectionState, now: Instant) {
        self.lifecycle.set_ready(false, now);
        self.outgoing.connection_lost(now);
        // The answer of a proxy or portal says nothing about the account.
        let code = state.code.filter(|_| state.reason.as_deref() != Some("http-refused"));
        let cause = format!(
            "{} ({})",
            state.reason.as_deref().unwrap_or("the connection ended"),
            state.code.unwrap_or_default()
        );
        match state.action.as_deref() {
            Some("relink") => {
                self.health.known.linked = Some(false);
                self.finish_login(Err(format!("nothing came of it: {cause}")));
                self.stop_sidecar(
                    "unlinked",
                    Some(format!("WhatsApp ended the link: {cause}; {LINK_HINT}")),
                    now,
                );
            }
            Some("stop") => {
                let text = format!(
                    "WhatsApp stopped it: {}; `clawdis channel whatsapp on` tries again",
                    explain(code, &cause)
                );
                self.finish_login(Err(text.clone()));
                self.stop_sidecar("closed", Some(text), now);
            }
            _ => {
                let seconds = state.retry_ms.unwrap_or(0).div_ceil(1_000);
                let text =
                    format!("the connection is gone: {}; next try in {seconds} s", explain(code, &cause));
                self.health.set("closed", Some(text));
            }
        }
    }
}

/// What a person can do where no account is linked.
pub(super) const LINK_HINT: &str = "`clawdis login whatsapp` links a phone";

/// The reason for a closed connection, with what its code means for a person.
fn explain(code: Option<u64>, cause: &str) -> String {
    let meaning = match code {
        Some(440) => "another program uses this login",
        Some(403) => "the account is banned or barred",
        Some(405) => "the sidecar is too old for WhatsApp: update the gateway",
        Some(411) => "the phone must have multi-device turned on",
        _ => return cause.to_owned(),
    };
    format!("{meaning}: {cause}")
}

/// Why the server does not take a message, for a person.
fn refusal(code: Option<u64>) -> String {
    match code {
        Some(463) => "WhatsApp restricts messages to people who have not written first (463)".to_owned(),
        Some(code) => format!("WhatsApp refused it ({code})"),
        None => "WhatsApp refused it".to_owned(),
    }
}

#[cfg(test)]
mod tests;
