//! Takes deliveries from the outbox to their channel, part by part: each is marked on record, tried, and its
//! outcome put on record.
//!
//! Knows no channel's protocol, and nothing of who waits for a delivery: `sends` tells them.

use crate::channels::ChannelCommand;
use crate::channels::delivery::{AttemptId, AttemptOutcome, Part};
use crate::clock::Now;
use crate::limits::{HISTORY_TEXT_BYTES_MAX, INBOX_RETRY_PAUSE};
use crate::metrics::METRICS;
use crate::net::outbound::{Loss, Outbound};
use crate::protocol::call::{Channel, RunId};
use crate::protocol::event::{Direction, EventKind, MessageEvent, MessageStatus};
use crate::protocol::frame::{EventBody, cut_encoded};
use crate::protocol::payload::{Message, Role};
use crate::state::journal::Then;
use crate::state::model::keys;
use crate::state::model::outbox::{Delivery, DeliveryPhase, Head, Reply};
use crate::state::model::slot::DeliveryId;
use crate::state::{Effect, State};

impl State {
    /// Puts Markdown for a chat into the outbox; it goes when the next commit is on record.
    pub(crate) fn post_text(
        &mut self,
        reply: &Reply,
        markdown: &str,
        session_key: &str,
        run_id: Option<&RunId>,
    ) {
        let parts = crate::channels::compose(reply.route.channel, markdown);
        self.post(reply, session_key, parts, run_id.map(ToString::to_string), None);
    }

    /// Puts a delivery into the outbox; it goes when the next commit is on record. `key` is the name of the
    /// idempotency key of a `send`.
    pub(crate) fn post(
        &mut self,
        reply: &Reply,
        session_key: &str,
        parts: Vec<Part>,
        run_id: Option<String>,
        key: Option<String>,
    ) -> DeliveryId {
        let seed = format!("{}-{}", self.config.boot_id, self.outbox.made);
        let head = Head { run_id, key, ..Head::new(reply, session_key, self.now.wall_ms, seed) };
        let open = self.is_open(reply.route.channel);
        self.outbox.add(head, parts, open, self.now.mono, &mut self.writes)
    }

    /// Whether a channel takes anything now.
    pub(crate) fn is_open(&self, channel: Channel) -> bool {
        let takes = |state: &str| matches!(state, "ready" | "syncing" | "conflict" | "webhook");
        let health = self.health.channels.get(&channel);
        self.stopping.is_none() && health.is_some_and(|health| health.enabled && takes(&health.state))
    }

    /// Handles the end of the commit with which these deliveries were made: they go, or were never there. Where it
    /// failed and holds all the same, `result` is `Ok`: an answer that a crash might repeat is better than none.
    pub(crate) fn deliveries_stored(&mut self, ids: &[DeliveryId], result: &Result<(), String>) {
        for id in ids {
            if let Err(trouble) = result {
                self.delivery_not_stored(*id, trouble);
                continue;
            }
            let Some(delivery) = self.outbox.by_id.get_mut(id) else { continue };
            delivery.phase = DeliveryPhase::Waiting;
            let is_marked = delivery.head.trying;
            self.show_delivery(*id, MessageStatus::Queued, None);
            if is_marked {
                self.deliver(*id);
            }
        }
    }

    fn deliver(&mut self, id: DeliveryId) {
        match self.outbox.attempt(id) {
            Some(attempt) => self.effects.push(Effect::Channel(ChannelCommand::Deliver(Box::new(attempt)))),
            None => self.end_delivery(id, MessageStatus::Failed, Some("its text is lost")),
        }
    }

    /// Marks the parts that may be tried now, and gives up the deliveries that have become too old.
    pub(crate) fn pump_outbox(&mut self) {
        if self.outbox.by_id.is_empty() || self.stopping.is_some() {
            return;
        }
        self.resume_deliveries();
        let now = self.now.mono;
        let is_too_old =
            |delivery: &Delivery| delivery.phase == DeliveryPhase::Waiting && delivery.give_up_at <= now;
        for id in self.outbox.ids(is_too_old) {
            if !self.store_has_room() {
                return;
            }
            let why = self.outbox.by_id.get(&id).and_then(|delivery| delivery.why.clone());
            let why = why.unwrap_or_else(|| "it could not be sent in time".to_owned());
            self.end_delivery(id, MessageStatus::Failed, Some(&why));
        }
        for id in self.outbox.due(now, |channel| self.is_open(channel)) {
            if !self.store_has_room() {
                return;
            }
            let Some(delivery) = self.outbox.by_id.get_mut(&id) else { continue };
            delivery.mark(&mut self.writes);
            self.commit(Then::Attempt { delivery: id });
        }
    }

    /// Handles the end of the commit that marks a part as being tried.
    pub(crate) fn mark_stored(&mut self, id: DeliveryId, result: Result<(), String>) {
        let Some(delivery) = self.outbox.by_id.get_mut(&id) else { return };
        if result.is_ok() {
            delivery.recorded = true;
            return self.deliver(id);
        }
        // The record may say all the same that the part is being tried, which errs on the safe side.
        delivery.hold(Some(self.now.mono + INBOX_RETRY_PAUSE));
    }

    /// Handles the outcome of an attempt.
    pub(crate) fn attempt_over(&mut self, attempt: AttemptId, outcome: AttemptOutcome) {
        let Some(delivery) = self.outbox.tried_by(attempt) else { return };
        let id = delivery.id;
        match outcome {
            AttemptOutcome::Sent { message_id, chat } => {
                let channel = delivery.head.route.channel;
                if delivery.head.message_id.is_none() {
                    delivery.head.message_id = Some(message_id);
                    delivery.head.chat = chat;
                }
                self.health.saw_message(channel, self.now.wall_ms);
                self.next_part(id);
            }
            AttemptOutcome::NotSent { why, retry_after } => self.part_not_sent(id, &why, retry_after),
            AttemptOutcome::Unsure { why } => {
                delivery.head.may_have_left = true;
                self.part_not_sent(id, &why, None);
            }
            AttemptOutcome::Refused { why } => self.end_delivery(id, MessageStatus::Failed, Some(&why)),
            AttemptOutcome::Invalid { why } => {
                delivery.invalid = true;
                self.end_delivery(id, MessageStatus::Failed, Some(&why));
            }
            AttemptOutcome::Moved { chat } => {
                let (channel, from) = (delivery.head.route.channel, delivery.head.route.chat.clone());
                // First, so that the reroute puts it on record as waiting.
                let again = self.now.mono + delivery.backoff.next_pause();
                delivery.hold(Some(again));
                self.access.group_moved(channel, &from, &chat, &mut self.writes);
                self.outbox.reroute(channel, &from, &chat, &mut self.writes);
                self.commit(Then::Nothing);
            }
            AttemptOutcome::Unknown { why } => self.part_unknown(id, &why),
        }
    }

    /// Handles the report that a message on a channel has reached its receiver, or was read.
    pub(crate) fn receipt(&mut self, message_id: &str, status: MessageStatus) {
        let Some(delivery) = self.outbox.sent(message_id) else { return };
        let body = to_event(delivery, status, None, self.now);
        self.show_message(body);
    }

    /// Goes on behind a part that is over, to the next one or to the delivery's end.
    fn next_part(&mut self, id: DeliveryId) {
        let Some(delivery) = self.outbox.by_id.get_mut(&id) else { return };
        delivery.head.done = delivery.head.done.saturating_add(1);
        delivery.head.may_have_left = false;
        if delivery.head.done < delivery.parts.len() {
            // A gateway that stops leaves the rest to its next life. One that has begun lets the rest wait until the
            // channel takes it.
            if self.stopping.is_some() || delivery.phase == DeliveryPhase::Interrupted {
                delivery.wait(None, &mut self.writes);
                return self.commit(Then::Nothing);
            }
            delivery.mark(&mut self.writes);
            return self.commit(Then::Attempt { delivery: id });
        }
        let (status, reason) = if delivery.head.unknown {
            (MessageStatus::Unknown, Some("a part of it may not have arrived"))
        } else {
            (MessageStatus::Sent, None)
        };
        self.end_delivery(id, status, reason);
    }

    fn part_not_sent(&mut self, id: DeliveryId, why: &str, after: Option<std::time::Duration>) {
        let Some(delivery) = self.outbox.by_id.get_mut(&id) else { return };
        if delivery.forgotten || delivery.give_up_at <= self.now.mono {
            return self.end_delivery(id, MessageStatus::Failed, Some(why));
        }
        delivery.why = Some(why.to_owned());
        let pause = after.unwrap_or_default().max(delivery.backoff.next_pause());
        delivery.wait(Some(self.now.mono + pause), &mut self.writes);
        self.commit(Then::Nothing);
    }

    /// Goes on with the deliveries of which a part was being tried when the gateway last stopped, as far as the
    /// store has room.
    pub(crate) fn resume_deliveries(&mut self) {
        for id in self.outbox.ids(|delivery| delivery.phase == DeliveryPhase::Interrupted) {
            if !self.store_has_room() {
                return;
            }
            let Some(delivery) = self.outbox.by_id.get_mut(&id) else { continue };
            if delivery.head.route.channel == Channel::Whatsapp {
                // The part goes again under the same id, by which the receiver drops a second one.
                delivery.wait(None, &mut self.writes);
                self.commit(Then::Nothing);
            } else {
                self.part_unknown(id, "the gateway was stopped while it was being sent");
            }
        }
    }

    /// Reports a part of which nobody knows whether it arrived. It is not repeated; the parts behind it go.
    fn part_unknown(&mut self, id: DeliveryId, why: &str) {
        let Some(delivery) = self.outbox.by_id.get_mut(&id) else { return };
        delivery.head.unknown = true;
        log::warn!("whether a message arrived on {} is not known: {why}", delivery.head.route.channel.name());
        self.show_delivery(id, MessageStatus::Unknown, Some(why));
        self.next_part(id);
    }

    /// Ends a delivery, and commits what is to be known of it.
    fn end_delivery(&mut self, id: DeliveryId, status: MessageStatus, reason: Option<&str>) {
        self.put_end(id, status, reason);
        self.commit(Then::EndDeliveries(vec![id]));
    }

    /// Writes the end of a delivery, and the outcome that its key keeps, if it has a key.
    pub(crate) fn put_end(&mut self, id: DeliveryId, status: MessageStatus, reason: Option<&str>) {
        let Some(Delivery { head, .. }) = self.outbox.by_id.get(&id) else { return };
        let status = match status {
            MessageStatus::Failed if head.may_have_left || head.unknown => MessageStatus::Unknown,
            status => status,
        };
        self.show_delivery(id, status, reason);
        let Some(delivery) = self.outbox.end(id, &mut self.writes) else { return };
        let head = &delivery.head;
        let reason = reason.unwrap_or_default();
        let mut note = None;
        if status == MessageStatus::Sent {
            METRICS.messages_out.up();
            note = head.key.as_ref().map(|key| Message {
                channel: Some(head.route.channel),
                idempotency_key: Some(keys::of_client(key).to_owned()),
                ..Message::new(Role::Note, format!("sent to {}", head.route.chat), self.now.wall_ms)
            });
        } else if !delivery.forgotten {
            METRICS.messages_failed.up();
            let name = head.route.channel.name();
            let text = match status {
                MessageStatus::Failed => delivery.failure(&format!(" on {name}"), reason),
                _ => format!("outcome unknown: it may or may not have been sent on {name} ({reason})"),
            };
            log::warn!("an answer was {text}");
            note = Some(Message::new(Role::Note, text, self.now.wall_ms));
        }
        if let Some(note) = note.filter(|_| !delivery.forgotten) {
            let note = Message { run_id: head.run_id.clone(), ..note };
            self.sessions.append_to_current(&head.session_key, note, &mut self.writes);
        }
        if let Some(key) = &head.key {
            let outcome = delivery.ended(status, reason, self.now);
            self.keys.put_outcome(key, &outcome, &mut self.writes);
            delivery.outcome = Some(outcome);
        }
    }

    /// Tells all clients how far a delivery is.
    fn show_delivery(&mut self, id: DeliveryId, status: MessageStatus, reason: Option<&str>) {
        if self.clients.is_empty() {
            return;
        }
        let Some(delivery) = self.outbox.by_id.get(&id) else { return };
        let body = to_event(delivery, status, reason, self.now);
        self.show_message(body);
    }

    /// Sends a `message` event to all clients; it may not be left out for slow ones.
    pub(crate) fn show_message(&mut self, body: EventBody) {
        if !self.clients.is_empty() {
            self.effects.push(Effect::Out(Outbound::Event { body, loss: Loss::Nobody }));
        }
    }
}

fn to_event(delivery: &Delivery, status: MessageStatus, reason: Option<&str>, now: Now) -> EventBody {
    let head = &delivery.head;
    let text = delivery.text();
    let shown = cut_encoded(&text, HISTORY_TEXT_BYTES_MAX);
    let event = MessageEvent {
        id: &format!("out-{}", delivery.id),
        ts: now.wall_ms,
        channel: head.route.channel,
        session_key: &head.session_key,
        direction: Direction::Out,
        from: None,
        to: Some(&head.route.chat),
        text: shown,
        truncated: shown.len() < text.len(),
        media: Vec::new(),
        run_id: head.run_id.as_deref(),
        status: Some(status),
        reason,
    };
    EventBody::new(EventKind::Message, &event, None)
}
