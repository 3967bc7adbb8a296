//! Idempotency keys: what was asked with them, and what came of it. Pure.
//!
//! An unexpired key is never evicted: beyond the bounds new keys are refused.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::limits::{
    DIRECTIVE_KEYS_MAX, KEY_SHARES, KEY_TTL_MS, KEYS_BYTES_MAX, KEYS_MAX, SANE_CLOCK_MS, ms,
};
use crate::protocol::ConnId;
use crate::protocol::call::{Digest, RunId};
use crate::protocol::error::WireError;
use crate::protocol::payload::RunStatus;
use crate::state::model::slot::Slot;
use crate::state::model::write_buffer::WriteBuffer;

/// An idempotency key: what was asked with it, and how that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyRecord {
    /// Digest of the request's params, in hex.
    pub(crate) digest: String,
    pub(crate) run_id: RunId,
    pub(crate) session_key: String,
    /// Whether it is a directive's key, which takes no place of a run's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) directive: bool,
    /// The holder; unknown of keys of the gateway's last life.
    #[serde(skip)]
    pub(crate) holder: Holder,
    /// The end of the run or delivery; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<Outcome>,
}

/// Who asked with a key. One connection, one installation and one person may each hold a share of all keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Holder {
    pub(crate) conn: Option<ConnId>,
    /// The client's `instanceId`, or else its connection's id.
    pub(crate) instance: Option<String>,
    /// The key of the session, if it is somebody else's than the owner's: every client is the owner.
    pub(crate) person: Option<String>,
}

impl Holder {
    /// Whether both are the same connection, installation and person.
    fn is_one_with(&self, other: &Self) -> [bool; 3] {
        fn same<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> bool {
            one.is_some() && one == other
        }
        [
            same(self.conn.as_ref(), other.conn.as_ref()),
            same(self.instance.as_ref(), other.instance.as_ref()),
            same(self.person.as_ref(), other.person.as_ref()),
        ]
    }
}

/// How a run or delivery ended, as its key keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    /// Time of the end, by the wall clock.
    pub(crate) ended_ts: u64,
    /// `None`: the gateway stopped in the middle, nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<RunStatus>,
    pub(crate) summary: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) truncated: bool,
    /// Whether it failed because the request asks for what may not be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) invalid: bool,
}

/// What is to be done with a request that has a key.
#[derive(Debug, PartialEq)]
pub(crate) enum Lookup<'a> {
    /// Nobody has used the key: the request is acted on.
    New,
    /// The same request is under way: this one waits for its end.
    Joins(&'a RunId),
    /// The same request has ended: this one gets its outcome.
    Ended(&'a RunId, &'a Outcome),
    /// The key was used for another request.
    Conflict,
    /// There is no room for a new key until then.
    Full(Duration),
    /// Whoever asks holds as many keys as one may, until then.
    Share(Duration),
}

impl Lookup<'_> {
    /// The error for a request about which nothing can be done.
    pub(crate) fn refusal(&self) -> WireError {
        let wait_ms = |wait: &Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        match self {
            Lookup::Full(wait) => {
                WireError::rate_limited("too many idempotency keys are in use", wait_ms(wait))
            }
            Lookup::Share(wait) => WireError::rate_limited(
                "this client, or the person of this session, holds half of all idempotency keys; the rest is for others",
                wait_ms(wait),
            ),
            _ => WireError::conflict(
                "this idempotencyKey was used for another request; make a new key for a new request",
            ),
        }
    }
}

impl Outcome {
    /// What is kept of an outcome whose session was forgotten: that it ended, and how.
    pub(crate) fn forgotten(&self) -> Self {
        Self { summary: FORGOTTEN.to_owned(), ..self.clone() }
    }

    /// Whether what was said is gone with its session.
    pub(crate) fn is_forgotten(&self) -> bool {
        self.summary == FORGOTTEN
    }
}

#[derive(Default)]
pub(crate) struct Keys {
    records: HashMap<String, KeyRecord>,
    /// Ended keys, in the order in which they expire.
    expiring: VecDeque<(Instant, String)>,
    /// Bytes of the keys, without those of directives, whose number is bounded by itself.
    outcome_bytes: usize,
    directives: usize,
    /// Keys that have expired and are still on disk: no more than come in a few minutes.
    dropped: Vec<String>,
}

/// Stands for a summary whose session was forgotten.
const FORGOTTEN: &str = "(forgotten)";

/// The name of a client's key: each method has its own keys.
pub(crate) fn name(method: &str, key: &str) -> String {
    format!("{method}/{key}")
}

/// The client's key in a name made by [`name`].
pub(crate) fn of_client(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, key)| key)
}

/// Puts a key on record.
pub(crate) fn put(name: &str, record: &KeyRecord, writes: &mut WriteBuffer) {
    writes.put(&Slot::Key(name.to_owned()), record);
}

impl KeyRecord {
    /// The record of a key whose run or delivery begins now.
    pub(crate) fn new(digest: &Digest, run_id: RunId, session_key: &str, holder: Holder) -> Self {
        Self {
            digest: HEXLOWER.encode(digest),
            run_id,
            session_key: session_key.to_owned(),
            directive: false,
            holder,
            outcome: None,
        }
    }
}

impl Keys {
    /// Takes over a key of the gateway's last life. One without an outcome, whose run or delivery does not go on,
    /// has an unknown outcome from now on: its record is returned, to be put on record so.
    pub(crate) fn recover(
        &mut self,
        key: &str,
        mut record: KeyRecord,
        goes_on: bool,
        now: Instant,
        wall_ms: u64,
    ) -> Option<KeyRecord> {
        if record.outcome.is_none() && goes_on {
            self.insert(key, record);
            return None;
        }
        let interrupted = record.outcome.is_none();
        if interrupted {
            let summary =
                "the gateway was stopped while this ran; whether it had effects is not known".to_owned();
            record.outcome =
                Some(Outcome { ended_ts: wall_ms, status: None, summary, truncated: false, invalid: false });
        }
        let ended_ts = record.outcome.as_ref().map_or(wall_ms, |outcome| outcome.ended_ts);
        let sane = wall_ms >= SANE_CLOCK_MS && ended_ts >= SANE_CLOCK_MS && ended_ts <= wall_ms;
        // With a clock that has not been set the whole lifetime counts from now.
        let left_ms = if sane { KEY_TTL_MS.saturating_sub(wall_ms - ended_ts) } else { KEY_TTL_MS };
        self.expiring.push_back((now + ms(left_ms), key.to_owned()));
        let stored = interrupted.then(|| record.clone());
        self.insert(key, record);
        stored
    }

    /// Puts the keys of the last life into the order in which they expire.
    pub(crate) fn recovered(&mut self) {
        self.expiring.make_contiguous().sort_by_key(|(at, _)| *at);
    }

    /// What is to be done with a request, if its key is known. Expired keys must have been dropped before.
    pub(crate) fn look_up(&self, key: &str, digest: &Digest) -> Option<Lookup<'_>> {
        let record = self.records.get(key)?;
        if record.digest != HEXLOWER.encode(digest) {
            return Some(Lookup::Conflict);
        }
        Some(match &record.outcome {
            None => Lookup::Joins(&record.run_id),
            Some(outcome) => Lookup::Ended(&record.run_id, outcome),
        })
    }

    /// What is to be done with a request for a run or delivery: if its key is new, there must be room for it.
    pub(crate) fn look_up_or_begin(
        &self,
        key: &str,
        digest: &Digest,
        holder: &Holder,
        now: Instant,
    ) -> Lookup<'_> {
        if let Some(known) = self.look_up(key, digest) {
            return known;
        }
        let free_at = |held: &dyn Fn(&KeyRecord) -> bool| {
            let theirs = |key: &String| self.records.get(key).is_some_and(held);
            let first = self.expiring.iter().find(|(_, key)| theirs(key));
            first.map_or(ms(KEY_TTL_MS), |(at, _)| at.saturating_duration_since(now)).max(ms(1))
        };
        let counted = |record: &KeyRecord| !record.directive;
        if self.records.len() - self.directives >= KEYS_MAX || self.outcome_bytes >= KEYS_BYTES_MAX {
            return Lookup::Full(free_at(&counted));
        }
        let mut held = [(0, 0); 3];
        for record in self.records.values().filter(|record| counted(record)) {
            for (held, is_one) in held.iter_mut().zip(record.holder.is_one_with(holder)) {
                *held = (held.0 + usize::from(is_one), held.1 + usize::from(is_one) * bytes(record));
            }
        }
        let is_share =
            |held: &(usize, usize)| held.0 >= KEYS_MAX / KEY_SHARES || held.1 >= KEYS_BYTES_MAX / KEY_SHARES;
        match held.iter().position(is_share) {
            None => Lookup::New,
            Some(which) => {
                Lookup::Share(free_at(&|record| counted(record) && record.holder.is_one_with(holder)[which]))
            }
        }
    }

    /// Puts a new key on record. The keys that were dropped go with the same commit.
    pub(crate) fn begin(&mut self, key: &str, record: KeyRecord, writes: &mut WriteBuffer) {
        for dropped in std::mem::take(&mut self.dropped) {
            writes.delete(&Slot::Key(dropped));
        }
        // A directive is carried out also when no key is free, and no other one is forgotten for it.
        if !record.directive || self.directives < DIRECTIVE_KEYS_MAX {
            put(key, &record, writes);
            self.insert(key, record);
        }
    }

    /// Frees a key that could not be put on record: nothing had been done yet.
    pub(crate) fn undo(&mut self, key: &str) {
        self.remove(key);
    }

    fn insert(&mut self, key: &str, record: KeyRecord) {
        if record.directive {
            self.directives += 1;
        } else {
            self.outcome_bytes += bytes(&record);
        }
        self.records.insert(key.to_owned(), record);
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some(record) = self.records.remove(key) else { return false };
        if record.directive {
            self.directives -= 1;
        } else {
            self.outcome_bytes -= bytes(&record);
        }
        true
    }

    /// Puts a key's outcome on record; it counts once it is durable.
    pub(crate) fn put_outcome(&self, key: &str, outcome: &Outcome, writes: &mut WriteBuffer) {
        let Some(record) = self.records.get(key).cloned() else { return };
        put(key, &KeyRecord { outcome: Some(outcome.clone()), ..record }, writes);
    }

    /// Gives a key its outcome; its lifetime counts from now. Returns its record, if there is one.
    pub(crate) fn end(&mut self, key: &str, outcome: Outcome, now: Instant) -> Option<KeyRecord> {
        let record = self.records.get_mut(key)?;
        let before = bytes(record);
        record.outcome = Some(outcome);
        if !record.directive {
            self.outcome_bytes = self.outcome_bytes - before + bytes(record);
        }
        self.expiring.push_back((now + ms(KEY_TTL_MS), key.to_owned()));
        Some(record.clone())
    }

    /// Drops the expired keys.
    pub(crate) fn drop_expired(&mut self, now: Instant) {
        while self.expiring.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.expiring.pop_front() else { break };
            if self.remove(&key) {
                self.dropped.push(key);
            }
        }
    }

    /// Takes what was said, and the session's name, out of the records of a session that is forgotten; the
    /// keys stay, so that a late retry does not run again.
    pub(crate) fn forget_session(&mut self, session_key: &str, writes: &mut WriteBuffer) {
        for (key, record) in self.records.iter_mut().filter(|(_, record)| record.session_key == session_key) {
            let before = bytes(record);
            record.session_key.clear();
            record.holder.person = None;
            record.outcome = record.outcome.as_ref().map(Outcome::forgotten);
            if !record.directive {
                self.outcome_bytes = self.outcome_bytes - before + bytes(record);
            }
            put(key, record, writes);
        }
    }
}

/// What a record counts against `KEYS_BYTES_MAX`.
fn bytes(record: &KeyRecord) -> usize {
    record.session_key.len() + record.outcome.as_ref().map_or(0, |outcome| outcome.summary.len())
}

#[cfg(test)]
mod tests;
