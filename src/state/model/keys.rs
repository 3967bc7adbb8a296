//! Idempotency keys: what was asked with them, and what came of it. Pure.
//!
//! An unexpired key is never evicted: beyond the bounds new keys are refused.

use std::collections::HashMap;
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
    /// When the key may be used for something else; `None` before the end of the run or delivery.
    #[serde(skip)]
    pub(crate) expires: Option<Instant>,
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

/// The keys by their names. One that has expired counts for nothing, and goes when the next one is begun.
#[derive(Default)]
pub(crate) struct Keys {
    records: HashMap<String, KeyRecord>,
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
            expires: None,
        }
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// Whether its session was forgotten.
    fn is_forgotten(&self) -> bool {
        self.session_key.is_empty()
    }

    fn set_outcome(&mut self, outcome: &Outcome) {
        self.outcome = Some(if self.is_forgotten() { outcome.forgotten() } else { outcome.clone() });
    }

    /// What the record counts against `KEYS_BYTES_MAX`.
    fn bytes(&self) -> usize {
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
        record.expires = record.outcome.as_ref().map(|outcome| {
            let age = age(outcome.ended_ts, now.wall_ms).unwrap_or_default();
            now.mono + ms(KEY_TTL_MS).saturating_sub(age)
        });
        let interrupted = is_interrupted.then(|| record.clone());
        self.records.insert(key.to_owned(), record);
        interrupted
    }

    /// What is known of a key, if it was used and has not expired; an error if that was for another request.
    pub(crate) fn look_up(
        &self,
        key: &str,
        digest: &Digest,
        now: Instant,
    ) -> Result<Option<&KeyRecord>, WireError> {
        let known = self.records.get(key).filter(|record| !record.is_expired(now));
        if known.is_some_and(|record| record.digest != HEXLOWER.encode(digest)) {
            return Err(WireError::conflict(
                "this idempotencyKey was used for another request; make a new key for a new request",
            ));
        }
        Ok(known)
    }

    /// Refuses a new key where there is no room, or where one of those who ask with it holds as many as one may.
    pub(crate) fn require_room(&self, holders: &[Holder], now: Instant) -> Result<(), WireError> {
        self.require_share(1, |_| true, "too many idempotency keys are in use", now)?;
        let why = "this client, or the person of this session, holds half of all idempotency keys; the rest is for others";
        for holder in holders {
            self.require_share(KEY_SHARES, |record| record.holders.contains(holder), why, now)?;
        }
        Ok(())
    }

    /// Refuses a new key, and says `why`, where those for which `is_theirs` holds take all of their share: one part
    /// in `shares` of the keys, and of the bytes. It may be asked for again when the first of them expires.
    fn require_share(
        &self,
        shares: usize,
        is_theirs: impl Fn(&KeyRecord) -> bool,
        why: &str,
        now: Instant,
    ) -> Result<(), WireError> {
        let (mut count, mut bytes, mut first) = (0, 0, now + ms(KEY_TTL_MS));
        let counts = |record: &&KeyRecord| !record.directive && !record.is_expired(now) && is_theirs(record);
        for record in self.records.values().filter(counts) {
            count += 1;
            bytes += record.bytes();
            first = record.expires.map_or(first, |at| first.min(at));
        }
        if count < KEYS_MAX / shares && bytes < KEYS_BYTES_MAX / shares {
            return Ok(());
        }
        let wait = first.saturating_duration_since(now).as_millis();
        Err(WireError::rate_limited(why, u64::try_from(wait).unwrap_or(u64::MAX).max(1)))
    }

    /// Puts a new key on record. The keys that have expired go with the same commit.
    pub(crate) fn begin(&mut self, key: &str, record: KeyRecord, now: Instant, writes: &mut WriteBuffer) {
        self.records.retain(|name, record| {
            let is_expired = record.is_expired(now);
            if is_expired {
                writes.delete(&Slot::Key(name.clone()));
            }
            !is_expired
        });
        // A directive is carried out also when no key is free, and no other one is forgotten for it.
        let directives = self.records.values().filter(|record| record.directive).count();
        if !record.directive || directives < DIRECTIVE_KEYS_MAX {
            put(key, &record, writes);
            self.records.insert(key.to_owned(), record);
        }
    }

    /// Frees a key that could not be put on record: nothing had been done yet.
    pub(crate) fn remove(&mut self, key: &str) {
        self.records.remove(key);
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
        record.set_outcome(outcome);
        record.expires = Some(now + ms(KEY_TTL_MS));
        if record.is_forgotten() {
            put(key, record, writes);
        }
    }

    /// Takes what was said, and the session's name, out of the records of a session that is forgotten; the
    /// keys stay, so that a late retry does not run again.
    pub(crate) fn forget_session(&mut self, session_key: &str, writes: &mut WriteBuffer) {
        for (key, record) in self.records.iter_mut().filter(|(_, record)| record.session_key == session_key) {
            record.session_key.clear();
            record.holders.retain(|holder| !matches!(holder, Holder::Person(_)));
            record.outcome = record.outcome.as_ref().map(Outcome::forgotten);
            put(key, record, writes);
        }
    }
}

#[cfg(test)]
mod tests;
