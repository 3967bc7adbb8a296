//! What the sidecar says, and what follows from it.

use std::time::Instant;

use serde_json::{Value, json};

use crate::channels::delivery::AttemptOutcome;
use crate::channels::event::ChannelEvent;
use crate::channels::message::Arrival;
use crate::channels::whatsapp::outgoing::Body;
use crate::channels::whatsapp::sidecar::Asked;
use crate::channels::whatsapp::wire::{Answer, Brings, Connection, Event, Said, Stage};
use crate::channels::whatsapp::{Whatsapp, fetch};
use crate::clock::now as clocks;
use crate::limits::SIDECAR_RSS_BYTES_MAX;
use crate::protocol::event::MessageStatus;

impl Whatsapp {
    pub(super) fn said(&mut self, said: Said, now: Instant) {
        if let Some(process) = &mut self.process {
            process.is_alive(now);
        }
        match said {
            Said::Answer(answer) => self.answer(answer, now),
            Said::Event(event) => self.event(event, now),
            Said::Unreadable { seq, raw } => {
                let why = "the sidecar's line cannot be read".to_owned();
                self.intake.add(seq, Some(Arrival::Garbled { key: format!("seq-{seq}"), why, raw }));
            }
        }
    }

    fn answer(&mut self, answer: Answer, now: Instant) {
        let asked = answer.re.and_then(|number| self.process.as_mut()?.answered(number));
        let Some(asked) = asked else {
            return log::warn!("the WhatsApp sidecar did not understand a line: {}", answer.error);
        };
        if answer.ok { self.granted(asked, answer, now) } else { self.denied(asked, &answer, now) }
    }

    fn granted(&mut self, asked: Asked, answer: Answer, now: Instant) {
        let brings = answer.brings;
        match asked {
            Asked::Hello => self.greeted(brings, now),
            Asked::Link if answer.code.is_empty() || self.is_ending() => {}
            Asked::Link => self.login_code(answer.code, brings.ttl_ms.unwrap_or(0)),
            Asked::Logout => {
                self.logged_out(Ok(()));
                self.rest("unlinked", Some(LINK_HINT.to_owned()), now);
            }
            Asked::Send { id } => {
                self.outgoing.left(&id, now);
                if let Value::String(body) = brings.proto {
                    self.outgoing.keep_body(Body { id, to: brings.jid, proto: body });
                }
            }
            Asked::Fetch { key, index, folder } => {
                let path = brings.path.unwrap_or_default();
                let mime = brings.mime.unwrap_or_else(|| "application/octet-stream".to_owned());
                let fetched = self.config.folder.join("media");
                self.tell(fetch::settle(key, index, &fetched, &path, mime, &folder));
            }
            Asked::Beat if brings.rss.is_some_and(|rss| rss > SIDECAR_RSS_BYTES_MAX) => {
                log::warn!("the WhatsApp sidecar has grown beyond its bound: it is started anew");
                if let Some(process) = &mut self.process {
                    process.end(now);
                }
                self.life.wake(now);
            }
            Asked::Beat | Asked::Other(_) => {}
        }
    }

    fn greeted(&mut self, brings: Brings, now: Instant) {
        if let Some(process) = &mut self.process {
            process.greeted = true;
        }
        self.life.set_linked(brings.linked);
        self.me = brings.me.unwrap_or_default();
        self.host = brings.host;
        if brings.linked && self.logout_wanted {
            self.ask("logout", json!({}), Asked::Logout, now);
        } else if brings.linked {
            self.login_over(
                Err("this gateway is linked already: `clawdis logout whatsapp` first".to_owned()),
            );
            if self.holds_account(now) {
                self.ask("connect", json!({}), Asked::Other("connect"), now);
            }
        } else if self.login.is_some() {
            self.link(now);
        } else {
            self.logged_out_if_wanted(Err("no phone is linked"));
            let reason = brings.damaged.map_or_else(
                || LINK_HINT.to_owned(),
                |aside| format!("its login was damaged and is kept in `{aside}`: {LINK_HINT}"),
            );
            self.rest("unlinked", Some(reason), now);
        }
    }

    fn denied(&mut self, asked: Asked, answer: &Answer, now: Instant) {
        let why = answer.error.as_str();
        match asked {
            Asked::Hello => {
                let text = match answer.code.as_str() {
                    "protocol" => format!("its sidecar is of another version ({why}): install it again"),
                    _ => format!("its sidecar refuses to work: {why}"),
                };
                self.login_over(Err(text.clone()));
                self.logged_out_if_wanted(Err(&text));
                if answer.retry {
                    self.life.start_later(now);
                    self.life.set("closed", Some(text));
                    if let Some(process) = &mut self.process {
                        process.end(now);
                    }
                } else {
                    self.rest("closed", Some(text), now);
                }
            }
            Asked::Link if self.is_ending() => {}
            Asked::Link => {
                self.login_over(Err(why.to_owned()));
                self.rest("unlinked", Some(LINK_HINT.to_owned()), now);
            }
            Asked::Logout => self.logged_out(Err(why.to_owned())),
            Asked::Send { id } => {
                let put_off = answer.retry.then(|| self.outgoing.put_off(&id, why));
                if let Some((id, outcome)) = put_off.flatten() {
                    self.outcome(id, outcome);
                } else if let Some(attempt) = self.outgoing.over(&id) {
                    self.outcome(attempt.id, AttemptOutcome::Refused { why: why.to_owned() });
                }
            }
            Asked::Fetch { key, index, .. } => self.tell(fetch::failed(key, index, why)),
            // A growing process that cannot say how large it is, or a typing sign that came to nothing.
            Asked::Beat => {}
            Asked::Other(op) => log::debug!("the WhatsApp sidecar denied `{op}`: {why}"),
        }
    }

    /// A request that died with its sidecar. Messages are still in our hands and go again.
    pub(super) fn unanswered(&mut self, asked: Asked) {
        match asked {
            Asked::Fetch { key, index, .. } => self.tell(fetch::failed(key, index, "it was interrupted")),
            Asked::Logout => self.logged_out(Err("the sidecar ended before it was done".to_owned())),
            Asked::Hello | Asked::Link | Asked::Send { .. } | Asked::Beat | Asked::Other(_) => {}
        }
    }

    fn event(&mut self, event: Event, now: Instant) {
        match event {
            Event::State(state) => self.connection(state, now),
            Event::Qr { .. } if self.is_ending() => {}
            Event::Qr { data, ttl_ms } => self.login_qr(data, ttl_ms),
            Event::Msg(msg) => {
                self.life.frame(clocks().wall_ms);
                let seq = msg.seq;
                let arrival = self.reader.take(*msg, &self.me, now);
                self.intake.add(seq, arrival);
            }
            Event::Out { id, stage, code } => self.out(&id, stage, code),
            Event::NeedBody { id } => {
                // It goes only to the chat that it went to; the sidecar knows a person's two addresses.
                let members = match self.outgoing.body(&id) {
                    Some(Body { to, proto, .. }) => json!({ "id": id, "to": to, "proto": proto }),
                    None => json!({ "id": id, "proto": null }),
                };
                self.ask("sent-body", members, Asked::Other("sent-body"), now);
            }
            Event::Log { level, text } if level == "error" => log::error!("whatsapp: {text}"),
            Event::Log { level, text } if level == "warn" => log::warn!("whatsapp: {text}"),
            Event::Log { text, .. } => log::info!("whatsapp: {text}"),
            Event::Fatal { text } => log::error!("the WhatsApp sidecar ends: {text}"),
            Event::Other => {}
        }
    }

    fn out(&mut self, id: &str, stage: Stage, code: Option<u64>) {
        self.life.frame(clocks().wall_ms);
        let status = match stage {
            Stage::Accepted | Stage::Failed => {
                let Some(attempt) = self.outgoing.over(id) else { return };
                let outcome = if stage == Stage::Accepted {
                    AttemptOutcome::Sent { message_id: id.to_owned(), chat: None }
                } else {
                    AttemptOutcome::Refused { why: refusal(code) }
                };
                return self.outcome(attempt.id, outcome);
            }
            Stage::Delivered => MessageStatus::Delivered,
            Stage::Read => MessageStatus::Read,
        };
        self.tell(ChannelEvent::Receipt { message_id: id.to_owned(), status });
    }

    fn connection(&mut self, state: Connection, now: Instant) {
        self.life.frame(clocks().wall_ms);
        if let Some(me) = &state.me {
            self.me = me.clone();
            self.life.set_linked(true);
        }
        let has_session = matches!(state.state.as_str(), "connecting" | "syncing" | "ready");
        if has_session && (self.is_ending() || !self.holds_account(now)) {
            return;
        }
        match state.state.as_str() {
            "linking" => self.life.set("linking", None),
            "connecting" => self.life.set("connecting", None),
            "syncing" | "ready" => {
                let ready = state.state == "ready";
                self.life.set(if ready { "ready" } else { "syncing" }, None);
                self.life.set_ready(ready, now);
                self.login_over(Ok(self.me.pn.clone()));
            }
            "unlinked" => self.life.set_linked(false),
            // Ended by us, it has nothing to say about what comes next.
            "closed" if self.is_ending() => {}
            "closed" => self.connection_closed(state, now),
            _ => {}
        }
    }

    fn connection_closed(&mut self, state: Connection, now: Instant) {
        self.life.set_ready(false, now);
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
                self.life.set_linked(false);
                self.login_over(Err(format!("nothing came of it: {cause}")));
                self.rest("unlinked", Some(format!("WhatsApp ended the link: {cause}; {LINK_HINT}")), now);
            }
            Some("stop") => {
                let text = format!(
                    "WhatsApp stopped it: {}; `clawdis channel whatsapp on` tries again",
                    explain(code, &cause)
                );
                self.login_over(Err(text.clone()));
                self.rest("closed", Some(text), now);
            }
            _ => {
                let seconds = state.retry_ms.unwrap_or(0).div_ceil(1_000);
                let text =
                    format!("the connection is gone: {}; next try in {seconds} s", explain(code, &cause));
                self.life.set("closed", Some(text));
            }
        }
    }
}

/// What to do where there is no account.
pub(super) const LINK_HINT: &str = "`clawdis login whatsapp` links a phone";

/// What a code means for a person.
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

/// Why the server does not take a message.
fn refusal(code: Option<u64>) -> String {
    match code {
        Some(463) => "WhatsApp restricts messages to people who have not written first (463)".to_owned(),
        Some(code) => format!("WhatsApp refused it ({code})"),
        None => "WhatsApp refused it".to_owned(),
    }
}
