//! The outbox: deliveries of one or more parts that are on their way to a channel, in their order for each chat.
//! Pure.
//!
//! A part is marked on record before it is tried and after it arrived, so that a crash in between shows as "unknown"
//! and is never repeated blindly. What follows from the outcome of an attempt is decided in the handlers.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use data_encoding::HEXUPPER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::backoff::Backoff;
use crate::channels::address;
use crate::channels::delivery::{Attempt, AttemptId, Part};
use crate::channels::message::{Inbound, Route};
use crate::clock::Now;
use crate::limits::{
    ATTEMPTS_IN_FLIGHT_MAX, DELIVERY_AGE_MS_MAX, OFFSET_MAX, OUTBOX_BYTES_MAX, OUTBOX_MAX,
    RECEIPT_TEXT_BYTES_MAX, RECEIPTS_MAX, SEND_AGE_MS_MAX, SEND_RETRY, ms,
};
use crate::protocol::call::Channel;
use crate::protocol::event::MessageStatus;
use crate::protocol::frame::cut_encoded;
use crate::protocol::payload::{RunStatus, SendResult};
use crate::state::model::clients::Asker;
use crate::state::model::keys::Outcome;
use crate::state::model::slot::{DeliveryId, Slot};
use crate::state::model::write_buffer::WriteBuffer;
use crate::state::model::{age, to_json};

/// The chat that an answer or a message goes to; an answer's is fixed when the question is taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) route: Route,
    /// The message that is answered, where that has to be said: among several people.
    pub(crate) to: Option<String>,
}

impl Reply {
    pub(crate) fn to(message: &Inbound) -> Self {
        Self { route: message.route.clone(), to: message.is_group.then(|| message.message_id.clone()) }
    }
}

/// Where a delivery goes and how far it is, as it is on record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    pub(crate) route: Route,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reply_to: Option<String>,
    /// The session in whose history the delivery stands.
    pub(crate) session_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) run_id: Option<String>,
    /// Name of the idempotency key, where the delivery is a client's `send`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    pub(crate) created_ts: u64,
    /// Number of parts that are over.
    pub(crate) done: usize,
    /// Whether the next part is being tried.
    pub(crate) trying: bool,
    /// The channel's id of the first part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message_id: Option<String>,
    /// The chat's id, where the route has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) chat: Option<String>,
    /// Whether nobody knows of one of the parts that are over if it arrived.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unknown: bool,
    /// Whether the part that is tried may have arrived already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) may_have_left: bool,
    /// Seed of the ids that the gateway chooses for the parts' messages.
    pub(crate) seed: String,
}

impl Head {
    /// The head of a delivery of which nothing has been tried.
    pub(crate) fn new(reply: &Reply, session_key: &str, created_ts: u64, seed: String) -> Self {
        Self {
            route: reply.route.clone(),
            reply_to: reply.to.clone(),
            session_key: session_key.to_owned(),
            run_id: None,
            key: None,
            created_ts,
            done: 0,
            trying: false,
            message_id: None,
            chat: None,
            unknown: false,
            may_have_left: false,
            seed,
        }
    }
}

/// How far a delivery is in this life of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryPhase {
    /// The delivery, or the mark that its next part is being tried, is being put on record.
    Storing,
    /// The next part was being tried when the gateway last stopped, and nothing was done about that since.
    Interrupted,
    /// The next part may be tried.
    Waiting,
    /// The channel tries the next part.
    Trying(AttemptId),
    /// The delivery is over; that is being put on record.
    Ending,
}

/// A message to one chat, in parts that are tried one after the other.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) id: DeliveryId,
    pub(crate) head: Head,
    pub(crate) parts: Vec<Part>,
    pub(crate) phase: DeliveryPhase,
    /// Time before which the delivery is not tried, after a failure.
    pub(crate) not_before: Option<Instant>,
    /// Time from which the delivery is not tried any more.
    pub(crate) give_up_at: Instant,
    /// Whether the delivery's session was forgotten: it is not tried again, and nothing is noted of it.
    pub(crate) forgotten: bool,
    /// Whether the delivery asks for what may not be sent.
    pub(crate) invalid: bool,
    /// Whether the parts are on record, which are written once.
    pub(crate) recorded: bool,
    pub(crate) backoff: Backoff,
    /// Reason why the last attempt failed.
    pub(crate) why: Option<String>,
    /// The `send` requests that are answered when the delivery is over.
    pub(crate) waiters: Vec<Asker>,
    /// How a `send` ended, once that is being put on record.
    pub(crate) outcome: Option<Outcome>,
}

impl Delivery {
    fn new(id: DeliveryId, head: Head, parts: Vec<Part>, phase: DeliveryPhase, give_up_at: Instant) -> Self {
        Self {
            id,
            head,
            parts,
            phase,
            not_before: None,
            give_up_at,
            forgotten: false,
            invalid: false,
            recorded: false,
            backoff: SEND_RETRY,
            why: None,
            waiters: Vec::new(),
            outcome: None,
        }
    }

    /// The text of all parts, for clients and receipts.
    pub(crate) fn text(&self) -> String {
        let texts = self.parts.iter().map(|part| match part {
            Part::Text { text, .. } | Part::File { text, .. } => text.as_str(),
            Part::Media { caption, .. } => caption.as_str(),
        });
        texts.collect::<Vec<_>>().join("\n")
    }

    /// Bytes that the delivery counts against `OUTBOX_BYTES_MAX`.
    fn bytes(&self) -> usize {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text { text, entities } => text.len() + 64 * entities.len(),
            Part::Media { source, caption } => source.len() + caption.len(),
            Part::File { name, text, caption } => name.len() + text.len() + caption.len(),
        });
        parts.map(|bytes| bytes + 64).sum()
    }

    /// The delivery's chat, in which one delivery at a time is tried.
    fn chat(&self) -> (Channel, &str) {
        (self.head.route.channel, &self.head.route.chat)
    }

    /// Whether the next part is with the channel, or will be when the mark of the part is on record.
    fn is_busy(&self) -> bool {
        self.head.trying && matches!(self.phase, DeliveryPhase::Storing | DeliveryPhase::Trying(_))
    }

    /// Whether the delivery is not to be tried yet, after a failure.
    fn is_held_back(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|at| at > now)
    }

    /// Puts the delivery on record: its head, and its parts if they are not there yet.
    fn put(&self, writes: &mut WriteBuffer) {
        writes.put(&Slot::Delivery(self.id), &self.head);
        if !self.recorded {
            writes.put(&Slot::DeliveryParts(self.id), &self.parts);
        }
    }

    /// Marks the next part as being tried, on record, too.
    pub(crate) fn mark(&mut self, writes: &mut WriteBuffer) {
        self.phase = DeliveryPhase::Storing;
        self.head.trying = true;
        self.not_before = None;
        self.put(writes);
    }

    /// Lets the delivery wait for its next attempt, and puts that on record.
    pub(crate) fn wait(&mut self, not_before: Option<Instant>, writes: &mut WriteBuffer) {
        self.hold(not_before);
        self.put(writes);
    }

    /// Lets the delivery wait for its next attempt, in memory only.
    pub(crate) fn hold(&mut self, not_before: Option<Instant>) {
        self.phase = DeliveryPhase::Waiting;
        self.head.trying = false;
        self.not_before = not_before;
    }

    /// How the delivery ended, as the key of its `send` keeps it.
    pub(crate) fn ended(&self, status: MessageStatus, reason: &str, now: Now) -> Outcome {
        let (status, summary) = match status {
            MessageStatus::Failed => (Some(RunStatus::Error), self.failure("", reason)),
            MessageStatus::Unknown => (None, format!("it may or may not have been sent: {reason}")),
            _ => (Some(RunStatus::Ok), self.sent_payload()),
        };
        Outcome { ended_ts: now.wall_ms, status, summary, truncated: false, invalid: self.invalid }
    }

    /// The text about a failure of the delivery. It says what arrived: who reads "not sent" sends all of it again.
    pub(crate) fn failure(&self, place: &str, reason: &str) -> String {
        let (done, parts) = (self.head.done, self.parts.len());
        if done == 0 {
            return format!("not sent{place}: {reason}");
        }
        format!("sent in part{place}: {done} of {parts} messages arrived, the rest did not: {reason}")
    }

    /// The payload of the answer to a `send` that arrived.
    fn sent_payload(&self) -> String {
        let Head { route, chat, run_id, message_id, .. } = &self.head;
        let chat = address::chat_of(route.channel, chat.as_deref().unwrap_or(&route.chat));
        let of = |wanted: Channel| (route.channel == wanted).then_some(chat.as_str());
        to_json(&SendResult {
            run_id: run_id.as_deref().unwrap_or_default(),
            channel: route.channel,
            message_id: message_id.as_deref().unwrap_or_default(),
            to_jid: of(Channel::Whatsapp),
            chat_id: of(Channel::Telegram),
        })
    }
}

/// The deliveries that are not over, and the last ones that are.
#[derive(Default)]
pub(crate) struct Outbox {
    /// The deliveries in the order in which they were made, which is the one in which they are to arrive.
    pub(crate) by_id: BTreeMap<DeliveryId, Delivery>,
    /// The last deliveries that are over, for receipts; their texts are cut.
    over: VecDeque<Delivery>,
    /// Number of deliveries made so far, over restarts.
    pub(crate) made: DeliveryId,
    /// Number of attempts made so far.
    attempts: AttemptId,
}

impl Outbox {
    /// Takes over the head of a delivery of the last life. Heads come before their parts.
    pub(crate) fn recover(&mut self, id: DeliveryId, json: &str, now: Now) -> Result<(), serde_json::Error> {
        if id > OFFSET_MAX {
            return Ok(());
        }
        let mut head: Head = serde_json::from_str(json)?;
        head.may_have_left |= head.trying;
        self.made = self.made.max(id + 1);
        let age = age(head.created_ts, now.wall_ms).unwrap_or_default();
        let give_up_at = now.mono + lifetime(&head).saturating_sub(age);
        let phase = if head.trying { DeliveryPhase::Interrupted } else { DeliveryPhase::Waiting };
        let delivery = Delivery::new(id, head, Vec::new(), phase, give_up_at);
        self.by_id.insert(id, Delivery { recorded: true, ..delivery });
        Ok(())
    }

    /// Takes over the parts of a delivery of the last life, whose head is there.
    pub(crate) fn recover_parts(&mut self, id: DeliveryId, json: &str) -> Result<(), serde_json::Error> {
        if let Some(delivery) = self.by_id.get_mut(&id) {
            delivery.parts = serde_json::from_str(json)?;
        }
        Ok(())
    }

    /// Whether no more deliveries should be promised.
    pub(crate) fn is_full(&self) -> bool {
        self.by_id.len() >= OUTBOX_MAX
            || self.by_id.values().map(Delivery::bytes).sum::<usize>() >= OUTBOX_BYTES_MAX
    }

    /// Adds a delivery, which goes when the turn's writes are on record. Its first part is marked at once if it can
    /// be tried right then. `open` says whether the channel takes anything.
    pub(crate) fn add(
        &mut self,
        mut head: Head,
        parts: Vec<Part>,
        open: bool,
        now: Instant,
        writes: &mut WriteBuffer,
    ) -> DeliveryId {
        let id = self.made;
        self.made += 1;
        let give_up_at = now + lifetime(&head);
        head.trying = open && self.room(head.route.channel) > 0;
        let mut delivery = Delivery::new(id, head, parts, DeliveryPhase::Storing, give_up_at);
        delivery.head.trying &= !self.by_id.values().any(|other| other.chat() == delivery.chat());
        delivery.put(writes);
        writes.deliveries.push(id);
        self.by_id.insert(id, delivery);
        id
    }

    /// Number of attempts that a channel may still be given.
    fn room(&self, channel: Channel) -> usize {
        let busy = |delivery: &&Delivery| delivery.head.route.channel == channel && delivery.is_busy();
        ATTEMPTS_IN_FLIGHT_MAX.saturating_sub(self.by_id.values().filter(busy).count())
    }

    /// The delivery of the `send` whose idempotency key has that name.
    pub(crate) fn with_key(&mut self, key: &str) -> Option<&mut Delivery> {
        self.by_id.values_mut().find(|delivery| delivery.head.key.as_deref() == Some(key))
    }

    /// Deliveries whose next part may be tried: the first to each chat that is not held back, and no more at a time
    /// than a channel takes. `open` says whether a channel takes anything.
    pub(crate) fn due(&self, now: Instant, open: impl Fn(Channel) -> bool) -> Vec<DeliveryId> {
        let mut room = Channel::ALL.map(|channel| if open(channel) { self.room(channel) } else { 0 });
        // Chats with a delivery under way, and those whose first delivery was looked at.
        let busy = self.by_id.values().filter(|delivery| delivery.is_busy());
        let mut taken: HashSet<(Channel, &str)> = busy.map(Delivery::chat).collect();
        let mut due = Vec::new();
        for delivery in self.by_id.values() {
            let is_first = taken.insert(delivery.chat());
            let is_ready = delivery.phase == DeliveryPhase::Waiting && !delivery.is_held_back(now);
            let room = &mut room[delivery.head.route.channel as usize];
            if is_first && is_ready && *room > 0 {
                *room -= 1;
                due.push(delivery.id);
            }
        }
        due
    }

    /// Ids of the deliveries for which `wanted` holds, in the order in which they were made.
    pub(crate) fn ids(&self, wanted: impl Fn(&Delivery) -> bool) -> Vec<DeliveryId> {
        self.by_id.values().filter(|delivery| wanted(delivery)).map(|delivery| delivery.id).collect()
    }

    /// The time at which a delivery that is held back may be tried, or one is given up.
    pub(crate) fn next_due(&self, now: Instant) -> Option<Instant> {
        let waiting = self.by_id.values().filter(|delivery| delivery.phase == DeliveryPhase::Waiting);
        let end_of_pause = |delivery: &Delivery| delivery.not_before.filter(|_| delivery.is_held_back(now));
        waiting.flat_map(|delivery| [Some(delivery.give_up_at), end_of_pause(delivery)]).flatten().min()
    }

    /// Makes an attempt at the next part, whose mark is on record. `None` if there is no such part.
    pub(crate) fn attempt(&mut self, id: DeliveryId) -> Option<Attempt> {
        let delivery = self.by_id.get_mut(&id)?;
        let Head { route, reply_to, done, seed, .. } = &delivery.head;
        let part = delivery.parts.get(*done)?.clone();
        let digest = Sha256::digest(format!("{seed}/{done}").as_bytes());
        self.attempts += 1;
        delivery.phase = DeliveryPhase::Trying(self.attempts);
        Some(Attempt {
            id: self.attempts,
            route: route.clone(),
            reply_to: reply_to.clone().filter(|_| *done == 0),
            // The shape of the ids that WhatsApp Web gives to its own messages.
            message_id: format!("3EB0{}", HEXUPPER.encode(&digest[..9])),
            part,
        })
    }

    /// The delivery that an attempt is made for, as long as its outcome is not known.
    pub(crate) fn tried_by(&mut self, attempt: AttemptId) -> Option<&mut Delivery> {
        self.by_id.values_mut().find(|delivery| delivery.phase == DeliveryPhase::Trying(attempt))
    }

    /// Ends a delivery: it goes off the record.
    pub(crate) fn end(&mut self, id: DeliveryId, writes: &mut WriteBuffer) -> Option<&mut Delivery> {
        let delivery = self.by_id.get_mut(&id)?;
        delivery.phase = DeliveryPhase::Ending;
        writes.delete(&Slot::Delivery(id));
        writes.delete(&Slot::DeliveryParts(id));
        Some(delivery)
    }

    /// Remembers a delivery that arrived, for the receipts that may come.
    pub(crate) fn remember(&mut self, mut delivery: Delivery) {
        let text = cut_encoded(&delivery.text(), RECEIPT_TEXT_BYTES_MAX).to_owned();
        delivery.parts = vec![Part::Text { text, entities: Vec::new() }];
        (delivery.waiters, delivery.outcome) = (Vec::new(), None);
        self.over.push_back(delivery);
        if self.over.len() > RECEIPTS_MAX {
            self.over.pop_front();
        }
    }

    /// The delivery whose first part is the message with that id on its channel.
    pub(crate) fn sent(&self, message_id: &str) -> Option<&Delivery> {
        let mut all = self.over.iter().chain(self.by_id.values());
        all.find(|delivery| delivery.head.message_id.as_deref() == Some(message_id))
    }

    /// Sends the deliveries of a chat that has got another id to that one.
    pub(crate) fn reroute(&mut self, channel: Channel, from: &str, to: &str, writes: &mut WriteBuffer) {
        for delivery in self.by_id.values_mut().filter(|delivery| delivery.chat() == (channel, from)) {
            to.clone_into(&mut delivery.head.route.chat);
            if delivery.phase != DeliveryPhase::Ending {
                writes.put(&Slot::Delivery(delivery.id), &delivery.head);
            }
        }
    }

    /// Marks the deliveries of a session that is forgotten: those under way are not tried again. Returns those that
    /// wait, which are to be removed.
    pub(crate) fn forget(&mut self, session_key: &str) -> Vec<DeliveryId> {
        let is_meant = |delivery: &Delivery| delivery.head.session_key == session_key;
        self.over.retain(|delivery| !is_meant(delivery));
        for delivery in self.by_id.values_mut().filter(|delivery| is_meant(delivery)) {
            delivery.forgotten = true;
        }
        self.ids(|delivery| {
            is_meant(delivery)
                && matches!(delivery.phase, DeliveryPhase::Waiting | DeliveryPhase::Interrupted)
        })
    }

    /// Whether a channel is trying some part.
    pub(crate) fn is_trying(&self) -> bool {
        self.by_id.values().any(|delivery| matches!(delivery.phase, DeliveryPhase::Trying(_)))
    }
}

/// The time for which a delivery is tried.
const fn lifetime(head: &Head) -> Duration {
    ms(if head.key.is_some() { SEND_AGE_MS_MAX } else { DELIVERY_AGE_MS_MAX })
}

#[cfg(test)]
mod tests;
