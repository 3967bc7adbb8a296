//! Idempotency keys: what was asked with them, and what came of it. Pure.
//!
//! An unexpired key is never evicted: beyond the bounds new keys are refused.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::clock::Now;
use crate::limits::{DIRECTIVE_KEYS_MAX, KEY_SHARES, KEY_TTL_MS, KEYS_BYTES_MAX, KEYS_MAX, ms};
use crate::protocol::ConnId;
use crate::protocol::call::{Digest, RunId};
use crate::protocol::error::WireError;
use crate::protocol::payload::RunStatus;
use crate::state::model::age;
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
    /// Whether it is a directive's key. Those have places of their own, and take none from runs and deliveries.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) directive: bool,
    /// Who asked with the key; nobody, where that was in the gateway's last life.
    #[serde(skip)]
    pub(crate) holders: Vec<Holder>,
    /// The end of the run or delivery; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<Outcome>,
}

/// Who holds a key. One connection, one installation and one person may each hold a share of all keys.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Holder {
    Connection(ConnId),
    /// The client's `instanceId`, or else its connection's id.
    Installation(String),
    /// The key of the session, where that is somebody else's than the owner's: every client is the owner.
    Person(String),
}

/// How a run or delivery ended, as its key keeps it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    /// Time of the end, by the wall clock.
    pub(crate) ended_ts: u64,
    /// `None` where the gateway stopped in the middle, so that nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<RunStatus>,
    pub(crate) summary: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) truncated: bool,
    /// Whether it failed because the request asks for what may not be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) invalid: bool,
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
    expiring: BTreeSet<(Instant, String)>,
    /// Sum of [`KeyRecord::bytes`].
    outcome_bytes: usize,
    directives: usize,
    /// Keys that have expired and are still on disk; the next key that is begun takes them along.
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

fn put(name: &str, record: &KeyRecord, writes: &mut WriteBuffer) {
    writes.put(&Slot::Key(name.to_owned()), record);
}

impl KeyRecord {
    /// The record of a key whose run or delivery begins now.
    pub(crate) fn new(digest: &Digest, run_id: RunId, session_key: &str, holders: Vec<Holder>) -> Self {
        Self {
            digest: HEXLOWER.encode(digest),
            run_id,
            session_key: session_key.to_owned(),
            directive: false,
            holders,
            outcome: None,
        }
    }

    /// Whether its session was forgotten.
    fn is_forgotten(&self) -> bool {
        self.session_key.is_empty()
    }

    fn set_outcome(&mut self, outcome: &Outcome) {
        self.outcome = Some(if self.is_forgotten() { outcome.forgotten() } else { outcome.clone() });
    }

    /// What the record counts against `KEYS_BYTES_MAX`; the keys of directives are bounded by their number.
    fn bytes(&self) -> usize {
        if self.directive {
            return 0;
        }
        self.session_key.len() + self.outcome.as_ref().map_or(0, |outcome| outcome.summary.len())
    }
}

impl Keys {
    /// Takes over a key of the gateway's last life. One without an outcome, whose run or delivery does not go on,
    /// has an unknown outcome from now on, also on record; then its record is returned.
    pub(crate) fn recover(
        &mut self,
        key: &str,
        mut record: KeyRecord,
        goes_on: bool,
        now: Now,
        writes: &mut WriteBuffer,
    ) -> Option<KeyRecord> {
        let is_interrupted = record.outcome.is_none() && !goes_on;
        if is_interrupted {
            let summary = "the gateway was stopped while this ran; whether it had effects is not known";
            record.outcome =
                Some(Outcome { ended_ts: now.wall_ms, summary: summary.to_owned(), ..Outcome::default() });
            put(key, &record, writes);
        }
        if let Some(Outcome { ended_ts, .. }) = record.outcome {
            let age = age(ended_ts, now.wall_ms).unwrap_or_default();
            self.expiring.insert((now.mono + ms(KEY_TTL_MS).saturating_sub(age), key.to_owned()));
        }
        let interrupted = is_interrupted.then(|| record.clone());
        self.insert(key, record);
        interrupted
    }

    /// What is known of a key, if it was used; an error if that was for another request. Expired keys must have been
    /// dropped before.
    pub(crate) fn look_up(&self, key: &str, digest: &Digest) -> Result<Option<&KeyRecord>, WireError> {
        let known = self.records.get(key);
        if known.is_some_and(|record| record.digest != HEXLOWER.encode(digest)) {
            return Err(WireError::conflict(
                "this idempotencyKey was used for another request; make a new key for a new request",
            ));
        }
        Ok(known)
    }

    /// Refuses a new key where there is no room, or where one of those who ask with it holds as many as one may.
    pub(crate) fn require_room(&self, holders: &[Holder], now: Instant) -> Result<(), WireError> {
        if self.records.len() - self.directives >= KEYS_MAX || self.outcome_bytes >= KEYS_BYTES_MAX {
            let wait_ms = self.wait_ms(now, |record| !record.directive);
            return Err(WireError::rate_limited("too many idempotency keys are in use", wait_ms));
        }
        for holder in holders {
            let is_theirs = |record: &KeyRecord| !record.directive && record.holders.contains(holder);
            let (mut count, mut bytes) = (0, 0);
            for record in self.records.values().filter(|record| is_theirs(record)) {
                count += 1;
                bytes += record.bytes();
            }
            if count >= KEYS_MAX / KEY_SHARES || bytes >= KEYS_BYTES_MAX / KEY_SHARES {
                return Err(WireError::rate_limited(
                    "this client, or the person of this session, holds half of all idempotency keys; the rest is for others",
                    self.wait_ms(now, is_theirs),
                ));
            }
        }
        Ok(())
    }

    /// Time until the first of the keys expires for which `wanted` holds.
    fn wait_ms(&self, now: Instant, wanted: impl Fn(&KeyRecord) -> bool) -> u64 {
        let is_wanted = |key: &String| self.records.get(key).is_some_and(&wanted);
        let first = self.expiring.iter().find(|(_, key)| is_wanted(key));
        let wait = first.map_or(ms(KEY_TTL_MS), |(at, _)| at.saturating_duration_since(now));
        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)
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

    fn insert(&mut self, key: &str, record: KeyRecord) {
        self.directives += usize::from(record.directive);
        self.outcome_bytes += record.bytes();
        self.records.insert(key.to_owned(), record);
    }

    /// Frees a key, such as one that could not be put on record: nothing had been done yet. `false` if there is none.
    pub(crate) fn remove(&mut self, key: &str) -> bool {
        let Some(record) = self.records.remove(key) else { return false };
        self.directives -= usize::from(record.directive);
        self.outcome_bytes -= record.bytes();
        true
    }

    /// Puts a key's outcome on record; it counts once it is durable.
    pub(crate) fn put_outcome(&self, key: &str, outcome: &Outcome, writes: &mut WriteBuffer) {
        let Some(mut record) = self.records.get(key).cloned() else { return };
        record.set_outcome(outcome);
        put(key, &record, writes);
    }

    /// Gives a key its outcome; its lifetime counts from now. It is on record already, but for the key of a session
    /// that was forgotten since: there the record still has what was said.
    pub(crate) fn end(&mut self, key: &str, outcome: &Outcome, now: Instant, writes: &mut WriteBuffer) {
        let Some(record) = self.records.get_mut(key) else { return };
        self.outcome_bytes -= record.bytes();
        record.set_outcome(outcome);
        self.outcome_bytes += record.bytes();
        self.expiring.insert((now + ms(KEY_TTL_MS), key.to_owned()));
        if record.is_forgotten() {
            put(key, record, writes);
        }
    }

    /// Drops the expired keys.
    pub(crate) fn drop_expired(&mut self, now: Instant) {
        while self.expiring.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.expiring.pop_first() else { break };
            if self.remove(&key) {
                self.dropped.push(key);
            }
        }
    }

    /// Takes what was said, and the session's name, out of the records of a session that is forgotten; the
    /// keys stay, so that a late retry does not run again.
    pub(crate) fn forget_session(&mut self, session_key: &str, writes: &mut WriteBuffer) {
        for (key, record) in self.records.iter_mut().filter(|(_, record)| record.session_key == session_key) {
            self.outcome_bytes -= record.bytes();
            record.session_key.clear();
            record.holders.retain(|holder| !matches!(holder, Holder::Person(_)));
            record.outcome = record.outcome.as_ref().map(Outcome::forgotten);
            self.outcome_bytes += record.bytes();
            put(key, record, writes);
        }
    }
}

#[cfg(test)]
mod tests;
