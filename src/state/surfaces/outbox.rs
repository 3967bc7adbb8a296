//! What is on its way to a surface: letters of one or more parts, one lane per chat. Pure.
//!
//! A part is marked on record before it is tried and after it arrived, so that a crash in between
//! shows as "unknown" and is never repeated blindly.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::channels::delivery::{Attempt, AttemptId, Part};
use crate::channels::message::Route;
use crate::hex::hex;
use crate::limits::{
    ATTEMPTS_IN_FLIGHT_MAX, RECEIPT_TEXT_BYTES_MAX, RECEIPTS_MAX, SEND_RETRY_MAX_MS, SEND_RETRY_MIN_MS, ms,
};
use crate::net::ConnId;
use crate::protocol::call::Channel;
use crate::protocol::frame::cut_encoded;
use crate::state::to_json;
use crate::store::StoreOp;

/// Slots of letters: `outbox/N` says how far it is, `outbox/N/parts` what it says.
pub(crate) const SLOT_PREFIX: &str = "outbox/";

pub(crate) type LetterId = u64;

/// How far a letter is, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    pub(crate) route: Route,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reply_to: Option<String>,
    /// Where it is on record.
    pub(crate) session_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) run_id: Option<String>,
    /// Name of the idempotency key of a `send`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    pub(crate) created_ts: u64,
    /// Parts that are over.
    pub(crate) done: usize,
    /// The next one is being tried.
    pub(crate) trying: bool,
    /// Id of the first part there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message_id: Option<String>,
    /// The chat's id, where the route has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) chat: Option<String>,
    /// Some part's fate is not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unknown: bool,
    /// Makes the ids that we choose for messages.
    pub(crate) seed: String,
}

/// Where a letter stands in this life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Being put on record; with `true` its first part is already marked.
    Storing(bool),
    /// Its next part may be tried.
    Waiting,
    /// The mark is being put on record.
    Marking,
    /// In the surface's hands.
    Trying(AttemptId),
    /// Over; that is being put on record.
    Ending,
}

#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) head: Head,
    pub(crate) parts: Vec<Part>,
    pub(crate) phase: Phase,
    /// Not tried before then.
    pub(crate) not_before: Option<Instant>,
    failures: u32,
    /// Who is owed an answer to `send`.
    pub(crate) waiters: Vec<(ConnId, String)>,
}

impl Letter {
    /// What it says, for people who watch.
    pub(crate) fn text(&self) -> String {
        let texts = self.parts.iter().map(|part| match part {
            Part::Text { text, .. } => text.as_str(),
            Part::Media { caption, .. } => caption.as_str(),
        });
        texts.collect::<Vec<_>>().join("\n")
    }

    /// When to try again after one more failure: later each time.
    pub(crate) fn back_off(&mut self, now: Instant) -> Instant {
        let pause_ms = (SEND_RETRY_MIN_MS << self.failures.min(16)).min(SEND_RETRY_MAX_MS);
        self.failures += 1;
        now + ms(pause_ms)
    }

    /// The attempt to make now.
    fn attempt(&self, id: AttemptId) -> Option<Attempt> {
        let part = self.parts.get(self.head.done)?.clone();
        let digest = Sha256::digest(format!("{}/{}", self.head.seed, self.head.done).as_bytes());
        Some(Attempt {
            id,
            route: self.head.route.clone(),
            reply_to: self.head.reply_to.clone().filter(|_| self.head.done == 0),
            // The shape of the ids that WhatsApp Web gives to its own messages.
            message_id: format!("3EB0{}", hex(&digest[..9]).to_ascii_uppercase()),
            part,
        })
    }
}

#[derive(Default)]
pub(crate) struct Outbox {
    letters: BTreeMap<LetterId, Letter>,
    /// By chat, in the order in which they are to arrive.
    lanes: HashMap<(Channel, String), VecDeque<LetterId>>,
    trying: HashMap<AttemptId, LetterId>,
    /// The last letters that are over, for receipts; their texts are cut.
    over: VecDeque<(LetterId, Letter)>,
    next_letter: LetterId,
    next_attempt: AttemptId,
}

impl Outbox {
    /// Takes over a slot of the last life. Heads come before their parts.
    pub(crate) fn recover(&mut self, name: &str, json: &str) -> Result<(), serde_json::Error> {
        let (number, is_parts) = match name.strip_suffix("/parts") {
            Some(number) => (number, true),
            None => (name, false),
        };
        let Ok(id) = number.parse::<LetterId>() else { return Ok(()) };
        if is_parts {
            if let Some(letter) = self.letters.get_mut(&id) {
                letter.parts = serde_json::from_str(json)?;
            }
            return Ok(());
        }
        let head: Head = serde_json::from_str(json)?;
        self.next_letter = self.next_letter.max(id + 1);
        self.insert(id, head, Vec::new(), Phase::Waiting);
        Ok(())
    }

    fn insert(&mut self, id: LetterId, head: Head, parts: Vec<Part>, phase: Phase) {
        self.lanes.entry(lane(&head.route)).or_default().push_back(id);
        let letter = Letter { head, parts, phase, not_before: None, failures: 0, waiters: Vec::new() };
        self.letters.insert(id, letter);
    }

    /// Letters made so far, over restarts.
    pub(crate) fn made(&self) -> LetterId {
        self.next_letter
    }

    pub(crate) fn len(&self) -> usize {
        self.letters.len()
    }

    /// Takes a letter; its first part is marked at once if it can be tried as soon as it is on record.
    pub(crate) fn add(&mut self, mut head: Head, parts: Vec<Part>, open: bool) -> (LetterId, Vec<StoreOp>) {
        let id = self.next_letter;
        self.next_letter += 1;
        head.trying =
            open && !self.lanes.contains_key(&lane(&head.route)) && self.has_room(head.route.channel);
        let ops = vec![
            put_head(id, &head),
            StoreOp::Put { slot: format!("{}/parts", slot(id)), value: to_json(&parts) },
        ];
        let phase = Phase::Storing(head.trying);
        self.insert(id, head, parts, phase);
        (id, ops)
    }

    fn has_room(&self, channel: Channel) -> bool {
        let busy = |letter: &&Letter| {
            letter.head.route.channel == channel
                && matches!(letter.phase, Phase::Marking | Phase::Trying(_) | Phase::Storing(true))
        };
        self.letters.values().filter(busy).count() < ATTEMPTS_IN_FLIGHT_MAX
    }

    pub(crate) fn get(&self, id: LetterId) -> Option<&Letter> {
        self.letters.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: LetterId) -> Option<&mut Letter> {
        self.letters.get_mut(&id)
    }

    /// The letter of a `send`.
    pub(crate) fn with_key(&mut self, key: &str) -> Option<&mut Letter> {
        self.letters.values_mut().find(|letter| letter.head.key.as_deref() == Some(key))
    }

    /// Letters whose next part may be tried: the first of its lane, not held back, and no more at a
    /// time than a surface takes. `open` says whether a surface takes anything.
    pub(crate) fn due(&self, open: impl Fn(Channel) -> bool) -> Vec<LetterId> {
        let mut due = Vec::new();
        for channel in Channel::ALL {
            let busy = |letter: &&Letter| {
                letter.head.route.channel == channel
                    && matches!(letter.phase, Phase::Marking | Phase::Trying(_) | Phase::Storing(true))
            };
            let room = ATTEMPTS_IN_FLIGHT_MAX.saturating_sub(self.letters.values().filter(busy).count());
            if room == 0 || !open(channel) {
                continue;
            }
            let ready = |id: &LetterId, letter: &Letter| {
                letter.head.route.channel == channel
                    && letter.phase == Phase::Waiting
                    && letter.not_before.is_none()
                    && self.lanes.get(&lane(&letter.head.route)).and_then(VecDeque::front) == Some(id)
            };
            let ready = self.letters.iter().filter(|(id, letter)| ready(id, letter));
            due.extend(ready.map(|(id, _)| *id).take(room));
        }
        due
    }

    /// When one that is held back may be tried.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let waiting = self.letters.values().filter(|letter| letter.phase == Phase::Waiting);
        waiting.filter_map(|letter| letter.not_before).min()
    }

    /// Ends every pause whose time has come.
    pub(crate) fn end_pauses(&mut self, now: Instant) {
        for letter in self.letters.values_mut() {
            letter.not_before = letter.not_before.filter(|at| *at > now);
        }
    }

    /// Marks the next part; returns what puts that on record.
    pub(crate) fn mark(&mut self, id: LetterId) -> Option<StoreOp> {
        let letter = self.letters.get_mut(&id)?;
        letter.phase = Phase::Marking;
        letter.head.trying = true;
        letter.not_before = None;
        Some(put_head(id, &letter.head))
    }

    /// The mark is on record: the attempt to make.
    pub(crate) fn attempt(&mut self, id: LetterId) -> Option<Attempt> {
        let letter = self.letters.get_mut(&id)?;
        self.next_attempt += 1;
        let attempt = letter.attempt(self.next_attempt)?;
        letter.phase = Phase::Trying(attempt.id);
        self.trying.insert(attempt.id, id);
        Some(attempt)
    }

    /// An attempt is over.
    pub(crate) fn tried(&mut self, attempt: AttemptId) -> Option<LetterId> {
        self.trying.remove(&attempt)
    }

    /// It waits for its next attempt; returns what puts that on record.
    pub(crate) fn wait(&mut self, id: LetterId, not_before: Option<Instant>) -> Option<StoreOp> {
        let letter = self.letters.get_mut(&id)?;
        letter.phase = Phase::Waiting;
        letter.head.trying = false;
        letter.not_before = not_before;
        Some(put_head(id, &letter.head))
    }

    /// It is over; returns what takes it off the record.
    pub(crate) fn end(&mut self, id: LetterId) -> Vec<StoreOp> {
        let Some(letter) = self.letters.get_mut(&id) else { return Vec::new() };
        letter.phase = Phase::Ending;
        vec![StoreOp::Delete { slot: slot(id) }, StoreOp::Delete { slot: format!("{}/parts", slot(id)) }]
    }

    /// Remembers a letter that arrived, for what is heard of it later.
    pub(crate) fn remember(&mut self, id: LetterId, mut letter: Letter) {
        let text = cut_encoded(&letter.text(), RECEIPT_TEXT_BYTES_MAX).to_owned();
        letter.parts = vec![Part::Text { text, entities: Vec::new() }];
        self.over.push_back((id, letter));
        if self.over.len() > RECEIPTS_MAX {
            self.over.pop_front();
        }
    }

    /// The letter that a message on a surface was the first part of.
    pub(crate) fn sent(&self, message_id: &str) -> Option<(LetterId, &Letter)> {
        let is = |letter: &Letter| letter.head.message_id.as_deref() == Some(message_id);
        let over = self.over.iter().find(|(_, letter)| is(letter)).map(|(id, letter)| (*id, letter));
        over.or_else(|| self.letters.iter().find(|(_, letter)| is(letter)).map(|(id, letter)| (*id, letter)))
    }

    /// Its end is on record: the next letter of its chat may go.
    pub(crate) fn remove(&mut self, id: LetterId) -> Option<Letter> {
        let letter = self.letters.remove(&id)?;
        let key = lane(&letter.head.route);
        if let Some(queue) = self.lanes.get_mut(&key) {
            queue.retain(|queued| *queued != id);
            if queue.is_empty() {
                self.lanes.remove(&key);
            }
        }
        Some(letter)
    }

    /// A chat has got another id: what is on its way there goes to the new one. Returns what puts
    /// that on record.
    pub(crate) fn reroute(&mut self, channel: Channel, from: &str, to: &str) -> Vec<StoreOp> {
        let Some(queue) = self.lanes.remove(&(channel, from.to_owned())) else { return Vec::new() };
        let mut ops = Vec::new();
        for id in &queue {
            if let Some(letter) = self.letters.get_mut(id) {
                to.clone_into(&mut letter.head.route.chat);
                ops.push(put_head(*id, &letter.head));
            }
        }
        self.lanes.entry((channel, to.to_owned())).or_default().extend(queue);
        ops
    }

    /// Letters that were being tried when the gateway last stopped.
    pub(crate) fn interrupted(&self) -> Vec<LetterId> {
        self.letters.iter().filter(|(_, letter)| letter.head.trying).map(|(id, _)| *id).collect()
    }

    /// Letters that are on record in a session and are not being tried.
    pub(crate) fn of_session(&self, session_key: &str) -> Vec<LetterId> {
        let of = |letter: &Letter| {
            letter.head.session_key == session_key
                && letter.head.key.is_none()
                && letter.phase == Phase::Waiting
        };
        self.letters.iter().filter(|(_, letter)| of(letter)).map(|(id, _)| *id).collect()
    }

    /// Names of the keys of messages that are on their way.
    pub(crate) fn keys(&self) -> impl Iterator<Item = String> {
        self.letters.values().filter_map(|letter| letter.head.key.clone())
    }
}

fn lane(route: &Route) -> (Channel, String) {
    (route.channel, route.chat.clone())
}

/// Names sort as numbers do, and a head before its parts.
fn slot(id: LetterId) -> String {
    format!("{SLOT_PREFIX}{id:020}")
}

pub(crate) fn put_head(id: LetterId, head: &Head) -> StoreOp {
    StoreOp::Put { slot: slot(id), value: to_json(head) }
}
