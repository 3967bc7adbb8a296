//! The outbox: deliveries of one or more parts that are on their way to a channel, one queue per chat. Pure.
//!
//! A part is marked on record before it is tried and after it arrived, so that a crash in between shows as "unknown"
//! and is never repeated blindly. What an outcome means for a delivery is decided in the handlers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use data_encoding::HEXUPPER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::backoff::Backoff;
use crate::channels::delivery::{Attempt, AttemptId, Part};
use crate::channels::message::Route;
use crate::clock::Now;
use crate::limits::{
    ATTEMPTS_IN_FLIGHT_MAX, DELIVERY_AGE_MS_MAX, OFFSET_MAX, OUTBOX_BYTES_MAX, OUTBOX_MAX,
    RECEIPT_TEXT_BYTES_MAX, RECEIPTS_MAX, SANE_CLOCK_MS, SEND_AGE_MS_MAX, SEND_RETRY, ms,
};
use crate::protocol::call::Channel;
use crate::protocol::frame::cut_encoded;
use crate::state::model::clients::Asker;
use crate::state::model::slot::{DeliveryId, Slot};
use crate::state::model::write_buffer::WriteBuffer;

/// Where a delivery goes and how far it is, as it is on record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    pub(crate) route: Route,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reply_to: Option<String>,
    /// Session in whose history it stands.
    pub(crate) session_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) run_id: Option<String>,
    /// Name of the idempotency key of a `send`.
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
    /// Whether it is not known of some part that is over if it arrived.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unknown: bool,
    /// Whether the part that is tried may have arrived already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) may_have_left: bool,
    /// Seed of the ids that the gateway chooses for the messages.
    pub(crate) seed: String,
}

/// Where a delivery stands in this life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryPhase {
    /// The delivery is being put on record; with `true` its first part is already marked.
    Storing(bool),
    /// The next part may be tried.
    Waiting,
    /// The mark of the next part is being put on record.
    Marking,
    /// The channel tries the next part.
    Trying(AttemptId),
    /// The delivery is over; that is being put on record.
    Ending,
}

#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) head: Head,
    pub(crate) parts: Vec<Part>,
    pub(crate) phase: DeliveryPhase,
    /// Time before which it is not tried.
    pub(crate) not_before: Option<Instant>,
    /// Time from which it is not tried any more.
    pub(crate) give_up_at: Instant,
    /// Whether its session was forgotten: it is not tried again, and nothing is noted of it.
    pub(crate) forgotten: bool,
    /// Whether it asks for what may not be sent.
    pub(crate) invalid: bool,
    /// Whether its parts are on record, which are written once.
    recorded: bool,
    backoff: Backoff,
    /// Reason why the last attempt failed.
    pub(crate) why: Option<String>,
    /// Requests `send` that are answered when it is over.
    pub(crate) waiters: Vec<Asker>,
}

impl Delivery {
    /// The text of all parts, for clients and receipts.
    pub(crate) fn text(&self) -> String {
        let texts = self.parts.iter().map(|part| match part {
            Part::Text { text, .. } | Part::File { text, .. } => text.as_str(),
            Part::Media { caption, .. } => caption.as_str(),
        });
        texts.collect::<Vec<_>>().join("\n")
    }

    /// The pause before the next attempt after one more failure: longer each time.
    pub(crate) fn back_off(&mut self) -> Duration {
        self.backoff.next_pause()
    }

    /// What it counts against `OUTBOX_BYTES_MAX`.
    fn bytes(&self) -> usize {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text { text, entities } => text.len() + 64 * entities.len(),
            Part::Media { source, caption } => source.len() + caption.len(),
            Part::File { name, text, caption } => name.len() + text.len() + caption.len(),
        });
        parts.map(|bytes| bytes + 64).sum()
    }

    fn is_busy(&self) -> bool {
        matches!(self.phase, DeliveryPhase::Marking | DeliveryPhase::Trying(_) | DeliveryPhase::Storing(true))
    }

    /// An attempt at the next part.
    fn attempt(&self, id: AttemptId) -> Option<Attempt> {
        let part = self.parts.get(self.head.done)?.clone();
        let digest = Sha256::digest(format!("{}/{}", self.head.seed, self.head.done).as_bytes());
        Some(Attempt {
            id,
            route: self.head.route.clone(),
            reply_to: self.head.reply_to.clone().filter(|_| self.head.done == 0),
            // The shape of the ids that WhatsApp Web gives to its own messages.
            message_id: format!("3EB0{}", HEXUPPER.encode(&digest[..9])),
            part,
        })
    }
}

#[derive(Default)]
pub(crate) struct Outbox {
    deliveries: BTreeMap<DeliveryId, Delivery>,
    /// Deliveries by chat, in the order in which they are to arrive.
    queues: HashMap<(Channel, String), VecDeque<DeliveryId>>,
    trying: HashMap<AttemptId, DeliveryId>,
    /// The last deliveries that are over, for receipts; their texts are cut.
    over: VecDeque<(DeliveryId, Delivery)>,
    /// Bytes of all parts.
    bytes: usize,
    next_delivery: DeliveryId,
    next_attempt: AttemptId,
}

impl Outbox {
    /// Takes over the head of a delivery of the last life. Heads come before their parts.
    pub(crate) fn recover(&mut self, id: DeliveryId, json: &str, now: Now) -> Result<(), serde_json::Error> {
        if id > OFFSET_MAX {
            return Ok(());
        }
        let mut head: Head = serde_json::from_str(json)?;
        head.may_have_left |= head.trying;
        self.next_delivery = self.next_delivery.max(id + 1);
        // A clock that was not set, then or now, cannot tell its age.
        let sane = head.created_ts >= SANE_CLOCK_MS && head.created_ts <= now.wall_ms;
        let age_ms = if sane { now.wall_ms - head.created_ts } else { 0 };
        let give_up_at = now.mono + ms(lifetime_ms(&head).saturating_sub(age_ms));
        self.insert(id, head, Vec::new(), DeliveryPhase::Waiting, give_up_at);
        if let Some(delivery) = self.deliveries.get_mut(&id) {
            delivery.recorded = true;
        }
        Ok(())
    }

    /// Takes over the parts of a delivery of the last life, whose head is there.
    pub(crate) fn recover_parts(&mut self, id: DeliveryId, json: &str) -> Result<(), serde_json::Error> {
        if let Some(delivery) = self.deliveries.get_mut(&id) {
            delivery.parts = serde_json::from_str(json)?;
            self.bytes += delivery.bytes();
        }
        Ok(())
    }

    fn insert(
        &mut self,
        id: DeliveryId,
        head: Head,
        parts: Vec<Part>,
        phase: DeliveryPhase,
        give_up_at: Instant,
    ) {
        self.queues.entry(queue_key(&head.route)).or_default().push_back(id);
        let delivery = Delivery {
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
        };
        self.bytes += delivery.bytes();
        self.deliveries.insert(id, delivery);
    }

    /// Number of deliveries made so far, over restarts.
    pub(crate) fn made(&self) -> DeliveryId {
        self.next_delivery
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// Whether nothing more should be promised.
    pub(crate) fn is_full(&self) -> bool {
        self.deliveries.len() >= OUTBOX_MAX || self.bytes >= OUTBOX_BYTES_MAX
    }

    /// Adds a delivery. Its first part is marked at once if it can be tried as soon as it is on record.
    pub(crate) fn add(
        &mut self,
        mut head: Head,
        parts: Vec<Part>,
        open: bool,
        now: Instant,
        writes: &mut WriteBuffer,
    ) -> DeliveryId {
        let id = self.next_delivery;
        self.next_delivery += 1;
        head.trying =
            open && !self.queues.contains_key(&queue_key(&head.route)) && self.room(head.route.channel) > 0;
        let phase = DeliveryPhase::Storing(head.trying);
        let give_up_at = now + ms(lifetime_ms(&head));
        self.insert(id, head, parts, phase, give_up_at);
        self.put(id, writes);
        id
    }

    /// Puts a delivery on record: its head, and its parts if they are not there yet.
    fn put(&self, id: DeliveryId, writes: &mut WriteBuffer) {
        let Some(delivery) = self.deliveries.get(&id) else { return };
        writes.put(&Slot::Delivery(id), &delivery.head);
        if !delivery.recorded {
            writes.put(&Slot::DeliveryParts(id), &delivery.parts);
        }
    }

    /// Notes that a delivery is on record with its parts.
    pub(crate) fn set_recorded(&mut self, id: DeliveryId) {
        if let Some(delivery) = self.deliveries.get_mut(&id) {
            delivery.recorded = true;
        }
    }

    /// Number of attempts that a channel may still be given.
    fn room(&self, channel: Channel) -> usize {
        let busy = |delivery: &&Delivery| delivery.head.route.channel == channel && delivery.is_busy();
        ATTEMPTS_IN_FLIGHT_MAX.saturating_sub(self.deliveries.values().filter(busy).count())
    }

    pub(crate) fn get(&self, id: DeliveryId) -> Option<&Delivery> {
        self.deliveries.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: DeliveryId) -> Option<&mut Delivery> {
        self.deliveries.get_mut(&id)
    }

    /// The delivery of a `send`.
    pub(crate) fn with_key(&mut self, key: &str) -> Option<&mut Delivery> {
        self.deliveries.values_mut().find(|delivery| delivery.head.key.as_deref() == Some(key))
    }

    /// Deliveries whose next part may be tried: the first of each queue that is not held back, and no more at a time
    /// than a channel takes. `open` says whether a channel takes anything.
    pub(crate) fn due(&self, open: impl Fn(Channel) -> bool) -> Vec<DeliveryId> {
        let mut due = Vec::new();
        for channel in Channel::ALL.into_iter().filter(|channel| open(*channel)) {
            let fronts = self.queues.iter().filter(|((of, _), _)| *of == channel);
            let fronts = fronts.filter_map(|(_, queue)| queue.front());
            let ready = |id: &&DeliveryId| {
                let delivery = self.deliveries.get(id);
                delivery.is_some_and(|delivery| {
                    delivery.phase == DeliveryPhase::Waiting && delivery.not_before.is_none()
                }) && !self.is_interrupted(**id)
            };
            let mut ready: Vec<DeliveryId> = fronts.filter(ready).copied().collect();
            ready.sort_unstable();
            ready.truncate(self.room(channel));
            due.extend(ready);
        }
        due
    }

    /// Deliveries that have waited too long and are not tried any more.
    pub(crate) fn too_old(&self, now: Instant) -> Vec<DeliveryId> {
        let old =
            |delivery: &Delivery| delivery.phase == DeliveryPhase::Waiting && delivery.give_up_at <= now;
        self.deliveries.iter().filter(|(_, delivery)| old(delivery)).map(|(id, _)| *id).collect()
    }

    /// The time at which a delivery that is held back may be tried, or one is given up.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let waiting = self.deliveries.values().filter(|delivery| delivery.phase == DeliveryPhase::Waiting);
        waiting
            .map(|delivery| delivery.not_before.unwrap_or(delivery.give_up_at).min(delivery.give_up_at))
            .min()
    }

    /// Ends every pause whose time has come.
    pub(crate) fn end_pauses(&mut self, now: Instant) {
        for delivery in self.deliveries.values_mut() {
            delivery.not_before = delivery.not_before.filter(|at| *at > now);
        }
    }

    /// Marks the next part of a delivery as being tried, on record, too.
    pub(crate) fn mark(&mut self, id: DeliveryId, writes: &mut WriteBuffer) {
        let Some(delivery) = self.deliveries.get_mut(&id) else { return };
        delivery.phase = DeliveryPhase::Marking;
        delivery.head.trying = true;
        delivery.not_before = None;
        self.put(id, writes);
    }

    /// Makes an attempt at the next part, whose mark is on record.
    pub(crate) fn attempt(&mut self, id: DeliveryId) -> Option<Attempt> {
        let delivery = self.deliveries.get_mut(&id)?;
        self.next_attempt += 1;
        let attempt = delivery.attempt(self.next_attempt)?;
        delivery.phase = DeliveryPhase::Trying(attempt.id);
        self.trying.insert(attempt.id, id);
        Some(attempt)
    }

    /// Ends an attempt; returns the delivery that it was made for.
    pub(crate) fn tried(&mut self, attempt: AttemptId) -> Option<DeliveryId> {
        self.trying.remove(&attempt)
    }

    /// Lets a delivery wait for its next attempt, and puts that on record.
    pub(crate) fn wait(&mut self, id: DeliveryId, not_before: Option<Instant>, writes: &mut WriteBuffer) {
        self.hold(id, not_before);
        self.put(id, writes);
    }

    /// Lets a delivery wait for its next attempt, in memory only.
    pub(crate) fn hold(&mut self, id: DeliveryId, not_before: Option<Instant>) {
        if let Some(delivery) = self.deliveries.get_mut(&id) {
            delivery.phase = DeliveryPhase::Waiting;
            delivery.head.trying = false;
            delivery.not_before = not_before;
        }
    }

    /// Ends a delivery: it goes off the record. `false` if there is none.
    pub(crate) fn end(&mut self, id: DeliveryId, writes: &mut WriteBuffer) -> bool {
        let Some(delivery) = self.deliveries.get_mut(&id) else { return false };
        delivery.phase = DeliveryPhase::Ending;
        writes.delete(&Slot::Delivery(id));
        writes.delete(&Slot::DeliveryParts(id));
        true
    }

    /// Remembers a delivery that arrived, for the receipts that may come.
    pub(crate) fn remember(&mut self, id: DeliveryId, mut delivery: Delivery) {
        let text = cut_encoded(&delivery.text(), RECEIPT_TEXT_BYTES_MAX).to_owned();
        delivery.parts = vec![Part::Text { text, entities: Vec::new() }];
        self.over.push_back((id, delivery));
        if self.over.len() > RECEIPTS_MAX {
            self.over.pop_front();
        }
    }

    /// The delivery whose first part is the message with that id on its channel.
    pub(crate) fn sent(&self, message_id: &str) -> Option<(DeliveryId, &Delivery)> {
        let is = |delivery: &Delivery| delivery.head.message_id.as_deref() == Some(message_id);
        let over = self.over.iter().find(|(_, delivery)| is(delivery)).map(|(id, delivery)| (*id, delivery));
        over.or_else(|| {
            self.deliveries.iter().find(|(_, delivery)| is(delivery)).map(|(id, delivery)| (*id, delivery))
        })
    }

    /// Removes a delivery whose end is on record: the next one to its chat may go.
    pub(crate) fn remove(&mut self, id: DeliveryId) -> Option<Delivery> {
        let delivery = self.deliveries.remove(&id)?;
        self.bytes -= delivery.bytes();
        let key = queue_key(&delivery.head.route);
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.retain(|queued| *queued != id);
            if queue.is_empty() {
                self.queues.remove(&key);
            }
        }
        Some(delivery)
    }

    /// Sends the deliveries of a chat that has got another id to that one.
    pub(crate) fn reroute(&mut self, channel: Channel, from: &str, to: &str, writes: &mut WriteBuffer) {
        let Some(queue) = self.queues.remove(&(channel, from.to_owned())) else { return };
        for id in &queue {
            if let Some(delivery) = self.deliveries.get_mut(id) {
                to.clone_into(&mut delivery.head.route.chat);
                if delivery.phase != DeliveryPhase::Ending {
                    writes.put(&Slot::Delivery(*id), &delivery.head);
                }
            }
        }
        self.queues.entry((channel, to.to_owned())).or_default().extend(queue);
    }

    /// Deliveries that were being tried when the gateway last stopped, and about which nothing was done since.
    pub(crate) fn interrupted(&self) -> Vec<DeliveryId> {
        self.deliveries.keys().copied().filter(|id| self.is_interrupted(*id)).collect()
    }

    fn is_interrupted(&self, id: DeliveryId) -> bool {
        self.deliveries
            .get(&id)
            .is_some_and(|delivery| delivery.phase == DeliveryPhase::Waiting && delivery.head.trying)
    }

    /// Marks the deliveries of a session that is forgotten: those under way are not tried again. Returns those that
    /// wait, which are to be removed.
    pub(crate) fn forget(&mut self, session_key: &str) -> Vec<DeliveryId> {
        let mut waiting = Vec::new();
        self.over.retain(|(_, delivery)| delivery.head.session_key != session_key);
        for (id, delivery) in &mut self.deliveries {
            if delivery.head.session_key == session_key {
                delivery.forgotten = true;
                if delivery.phase == DeliveryPhase::Waiting {
                    waiting.push(*id);
                }
            }
        }
        waiting
    }

    /// Whether a channel is trying some part.
    pub(crate) fn is_trying(&self) -> bool {
        !self.trying.is_empty()
    }

    /// Names of the idempotency keys of the deliveries.
    pub(crate) fn keys(&self) -> impl Iterator<Item = String> {
        self.deliveries.values().filter_map(|delivery| delivery.head.key.clone())
    }
}

/// The time for which a delivery is tried.
const fn lifetime_ms(head: &Head) -> u64 {
    if head.key.is_some() { SEND_AGE_MS_MAX } else { DELIVERY_AGE_MS_MAX }
}

fn queue_key(route: &Route) -> (Channel, String) {
    (route.channel, route.chat.clone())
}
