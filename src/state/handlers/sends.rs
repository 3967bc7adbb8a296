//! `send`: puts a client's message to a chat into the outbox, without the agent, and tells the client what became
//! of it. What happens to it in between is up to `deliveries`.

use std::path::{Component, Path};

use serde_json::json;

use crate::channels::address;
use crate::channels::delivery::Part;
use crate::channels::message::Route;
use crate::limits::CAPTION_UNITS_MAX;
use crate::protocol::call::{Channel, Keyed, RunId, SendParams};
use crate::protocol::error::WireError;
use crate::protocol::payload::RunStatus;
use crate::state::State;
use crate::state::journal::Then;
use crate::state::model::clients::{Asker, join};
use crate::state::model::keys;
use crate::state::model::keys::{KeyRecord, Outcome};
use crate::state::model::outbox::Reply;
use crate::state::model::sessions::MAIN;
use crate::state::model::slot::DeliveryId;

impl State {
    pub(crate) fn send(&mut self, asker: &Asker, call: &Keyed<SendParams>) -> Result<(), WireError> {
        let Keyed { params, key, digest } = call;
        let key = keys::name("send", key);
        let known = self.keys.look_up(&key, digest, self.now.mono)?.cloned();
        if let Some(KeyRecord { run_id, outcome, .. }) = known {
            let Some(outcome) = outcome else {
                let Some(delivery) = self.outbox.with_key(&key) else {
                    return Err(WireError::internal("the message of this key is lost"));
                };
                return join(&mut delivery.waiters, asker, &self.clients, "message");
            };
            self.answer_send(asker, &run_id, &outcome);
            return Ok(());
        }
        let holders = self.key_holders(asker.conn, "");
        self.keys.require_room(&holders, self.now.mono)?;
        let reply = Reply { route: self.route_to(params.channel, &params.to)?, to: None };
        if self.stopping.is_some() {
            return Err(WireError::unavailable("the gateway is stopping"));
        }
        self.require_store()?;
        self.outbox_has_room()?;
        let parts = self.parts_of(reply.route.channel, params)?;
        let session_key = self.session_of(&reply);
        self.require_session_room(&session_key)?;
        let run_id = self.new_run_id();
        self.sessions.current(&session_key);
        let record = KeyRecord::new(digest, RunId::clone(&run_id), &session_key, holders);
        self.keys.begin(&key, record, self.now.mono, &mut self.writes);
        let id = self.post(&reply, &session_key, parts, Some(run_id.to_string()), Some(key));
        if let Some(delivery) = self.outbox.by_id.get_mut(&id) {
            delivery.waiters.push(asker.clone());
        }
        self.commit(Then::Send);
        Ok(())
    }

    /// Refuses one more message where too many wait to be sent.
    pub(crate) fn outbox_has_room(&self) -> Result<(), WireError> {
        if self.outbox.is_full() {
            return Err(WireError::rate_limited("too many messages wait to be sent; try again", 5_000));
        }
        Ok(())
    }

    /// The route of a message to `to`; an error if nothing can be sent there.
    pub(crate) fn route_to(&self, channel: Option<Channel>, to: &str) -> Result<Route, WireError> {
        let channel = channel.map_or_else(|| address::channel_of(to), Ok)?;
        self.channel_ready(channel)?;
        address::route(channel, to)
    }

    /// Key of the session in whose history a message to that chat stands.
    fn session_of(&self, reply: &Reply) -> String {
        let Route { channel, chat, .. } = &reply.route;
        let person = address::person_of(*channel, chat);
        if self.access.owner(*channel).is_some_and(|owner| owner == person) {
            return MAIN.to_owned();
        }
        let kind = if address::is_group(*channel, chat) { "group" } else { "dm" };
        format!("{kind}:{}:{person}", channel.name())
    }

    fn parts_of(&self, channel: Channel, params: &SendParams) -> Result<Vec<Part>, WireError> {
        let mut parts = crate::channels::compose(channel, &params.message);
        let Some(url) = &params.media_url else {
            if parts.is_empty() {
                return Err(WireError::invalid("`/params/message`: there is nothing to read in it"));
            }
            return Ok(parts);
        };
        let source = if url.starts_with("http://") || url.starts_with("https://") {
            url.clone()
        } else {
            self.allowed_file(url)?
        };
        // A text of one piece goes below the picture, if it is short enough for that.
        let caption = match parts.as_mut_slice() {
            [Part::Text { text, .. }] if text.encode_utf16().count() <= CAPTION_UNITS_MAX => {
                let caption = std::mem::take(text);
                parts.clear();
                caption
            }
            _ => String::new(),
        };
        parts.insert(0, Part::Media { source, caption });
        Ok(parts)
    }

    /// The path of a file that may be sent: one in a folder that the config names. An error for any other.
    fn allowed_file(&self, url: &str) -> Result<String, WireError> {
        let path = url.strip_prefix("file://").unwrap_or(url);
        let file = Path::new(path);
        let is_plain = file.is_absolute() && !file.components().any(|part| part == Component::ParentDir);
        if is_plain && self.config.channels.media_folders.iter().any(|folder| file.starts_with(folder)) {
            return Ok(path.to_owned());
        }
        Err(WireError::invalid(
            "`/params/mediaUrl`: give an http or https URL, or the absolute path of a file in a folder that gateway.mediaFolders names",
        ))
    }

    /// Takes a delivery back that could not be put on record, as could nothing that it was made for. A `send` is
    /// refused then, and its key free again.
    pub(crate) fn delivery_not_stored(&mut self, id: DeliveryId, trouble: &str) {
        let Some(delivery) = self.outbox.by_id.remove(&id) else { return };
        if let Some(key) = &delivery.head.key {
            self.keys.remove(key);
        }
        let error = WireError::unavailable(format!("the message could not be put on record: {trouble}"));
        for waiter in &delivery.waiters {
            self.refuse(waiter, &error);
        }
    }

    /// Takes deliveries whose end is on record out of the outbox and tells whoever waits for them.
    pub(crate) fn deliveries_ended(&mut self, ids: &[DeliveryId]) {
        for id in ids {
            let Some(delivery) = self.outbox.by_id.remove(id) else { continue };
            if let (Some(key), Some(outcome)) = (&delivery.head.key, &delivery.outcome) {
                let run_id = RunId::from(delivery.head.run_id.clone().unwrap_or_default());
                self.keys.end(key, outcome, self.now.mono, &mut self.writes);
                for waiter in &delivery.waiters {
                    self.answer_send(waiter, &run_id, outcome);
                }
            }
            if delivery.head.message_id.is_some() && !delivery.forgotten {
                self.outbox.remember(delivery);
            }
        }
        self.commit_any();
    }

    /// Answers a `send` with how it ended, the first time and whenever the same key comes again.
    fn answer_send(&mut self, asker: &Asker, run_id: &RunId, outcome: &Outcome) {
        let error = match outcome.status {
            Some(RunStatus::Ok) if outcome.is_forgotten() => {
                WireError::unavailable("it was sent, and its session was forgotten since").not_retryable()
            }
            Some(RunStatus::Ok) => {
                let mut payload: serde_json::Value =
                    serde_json::from_str(&outcome.summary).unwrap_or_default();
                payload["runId"] = json!(&**run_id);
                return self.answer(asker, &payload);
            }
            None => WireError::unavailable(&outcome.summary)
                .not_retryable()
                .with_details(json!({ "outcome": "unknown", "runId": &**run_id })),
            Some(_) if outcome.invalid => {
                WireError::invalid(format!("`/params/mediaUrl`: {}", outcome.summary))
            }
            Some(_) => WireError::unavailable(&outcome.summary).not_retryable(),
        };
        self.refuse(asker, &error);
    }
}
