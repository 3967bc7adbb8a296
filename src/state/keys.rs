//! Idempotency keys: what was asked with them, and what came of it. Pure.
//!
//! An unexpired key is never evicted: beyond the bounds new keys are refused.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::limits::{KEY_TTL_MS, KEYS_BYTES_MAX, KEYS_MAX, SANE_CLOCK_MS, ms};
use crate::protocol::call::{Digest, RunId};
use crate::protocol::error::WireError;
use crate::protocol::payload::RunStatus;
use crate::state::to_json;
use crate::store::StoreOp;

/// What a key has come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyRecord {
    /// Hex of the parameters' digest.
    pub(super) digest: String,
    pub(super) run_id: RunId,
    pub(super) session_key: String,
    /// Absent while the run is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<Outcome>,
}

/// How what was asked ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome {
    /// Wall clock of the end.
    pub(super) ended_ts: u64,
    /// `None`: the gateway stopped in the middle, nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<RunStatus>,
    pub(super) summary: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) truncated: bool,
    /// It failed because the request asks for what may not be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) invalid: bool,
}

/// What a request with a key is to be told.
#[derive(Debug, PartialEq)]
pub(super) enum Lookup<'a> {
    /// Nobody has used it: go ahead.
    New,
    /// The same request is under way.
    Joins(&'a RunId),
    /// The same request has ended.
    Ended(&'a RunId, &'a Outcome),
    /// Another request used it.
    Conflict,
    /// There is no room for a new key until then.
    Full(Duration),
}

impl Lookup<'_> {
    /// What to say where nothing can be done with the key.
    pub(super) fn refusal(&self) -> WireError {
        match self {
            Lookup::Full(free_in) => {
                let wait_ms = u64::try_from(free_in.as_millis()).unwrap_or(u64::MAX).max(1);
                WireError::rate_limited("too many idempotency keys are in use", wait_ms)
            }
            _ => WireError::conflict(
                "this idempotencyKey was used for another request; make a new key for a new request",
            ),
        }
    }
}

impl Outcome {
    /// What is kept of it where its session was forgotten: that it ended, and how.
    pub(super) fn forgotten(&self) -> Self {
        Self { summary: FORGOTTEN.to_owned(), ..self.clone() }
    }

    /// Whether what was said is gone.
    pub(super) fn is_forgotten(&self) -> bool {
        self.summary == FORGOTTEN
    }
}

#[derive(Default)]
pub(super) struct Keys {
    records: HashMap<String, KeyRecord>,
    /// Ended keys, in the order in which they expire.
    expiring: VecDeque<(Instant, String)>,
    outcome_bytes: usize,
    /// Expired, but still on disk. No longer than the keys of a few minutes.
    dropped: Vec<String>,
}

/// Stands for a summary whose session was forgotten.
const FORGOTTEN: &str = "(forgotten)";

/// Slots that keep keys.
pub(super) const SLOT_PREFIX: &str = "key/";

/// What a client's key is called here: each method has its own.
pub(super) fn name(method: &str, key: &str) -> String {
    format!("{method}/{key}")
}

/// The client's key in such a name.
pub(super) fn of_client(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, key)| key)
}

/// The slot that keeps a key.
fn slot(name: &str) -> String {
    format!("{SLOT_PREFIX}{name}")
}

/// What puts a key on record.
pub(super) fn put(name: &str, record: &KeyRecord) -> StoreOp {
    StoreOp::Put { slot: slot(name), value: to_json(record) }
}

impl Keys {
    /// Takes over a key of the gateway's last life. Returns the record if it had no outcome, unless
    /// what it stands for goes on: it is now on record as unknown and wants to be stored so.
    pub(super) fn recover(
        &mut self,
        key: &str,
        mut record: KeyRecord,
        goes_on: bool,
        now: Instant,
        wall_ms: u64,
    ) -> Option<KeyRecord> {
        if record.outcome.is_none() && goes_on {
            self.outcome_bytes += bytes(&record);
            self.records.insert(key.to_owned(), record);
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
        self.outcome_bytes += bytes(&record);
        self.expiring.push_back((now + ms(left_ms), key.to_owned()));
        let stored = interrupted.then(|| record.clone());
        self.records.insert(key.to_owned(), record);
        stored
    }

    /// Puts the keys of the last life into the order in which they expire.
    pub(super) fn recovered(&mut self) {
        self.expiring.make_contiguous().sort_by_key(|(at, _)| *at);
    }

    /// What to do with a request. Expired keys must have been dropped before.
    pub(super) fn look_up(&self, key: &str, digest: &Digest, now: Instant) -> Lookup<'_> {
        let Some(record) = self.records.get(key) else {
            if self.records.len() < KEYS_MAX && self.outcome_bytes < KEYS_BYTES_MAX {
                return Lookup::New;
            }
            let free_at = self.expiring.front().map(|(at, _)| at.saturating_duration_since(now));
            return Lookup::Full(free_at.unwrap_or(ms(KEY_TTL_MS)).max(ms(1)));
        };
        if record.digest != HEXLOWER.encode(digest) {
            return Lookup::Conflict;
        }
        match &record.outcome {
            None => Lookup::Joins(&record.run_id),
            Some(outcome) => Lookup::Ended(&record.run_id, outcome),
        }
    }

    /// A new key is acted on. Returns what to store: those that were dropped go with the same write.
    pub(super) fn begin(
        &mut self,
        key: &str,
        digest: &Digest,
        run_id: RunId,
        session_key: &str,
    ) -> Vec<StoreOp> {
        let record = KeyRecord {
            digest: HEXLOWER.encode(digest),
            run_id,
            session_key: session_key.to_owned(),
            outcome: None,
        };
        self.outcome_bytes += bytes(&record);
        let dropped = std::mem::take(&mut self.dropped);
        let mut ops: Vec<_> = dropped.iter().map(|key| StoreOp::Delete { slot: slot(key) }).collect();
        ops.push(put(key, &record));
        self.records.insert(key.to_owned(), record);
        ops
    }

    /// It never was: nothing had been done yet.
    pub(super) fn undo(&mut self, key: &str) {
        if let Some(record) = self.records.remove(key) {
            self.outcome_bytes -= bytes(&record);
        }
    }

    /// What makes this outcome durable.
    pub(super) fn ending(&self, key: &str, outcome: &Outcome) -> Option<StoreOp> {
        let record = self.records.get(key)?.clone();
        Some(put(key, &KeyRecord { outcome: Some(outcome.clone()), ..record }))
    }

    /// What came of it. Its lifetime counts from now.
    pub(super) fn end(&mut self, key: &str, outcome: Outcome, now: Instant) -> Option<KeyRecord> {
        let record = self.records.get_mut(key)?;
        self.outcome_bytes -= bytes(record);
        record.outcome = Some(outcome);
        self.outcome_bytes += bytes(record);
        self.expiring.push_back((now + ms(KEY_TTL_MS), key.to_owned()));
        Some(record.clone())
    }

    /// Drops the expired keys.
    pub(super) fn drop_expired(&mut self, now: Instant) {
        while self.expiring.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.expiring.pop_front() else { break };
            if let Some(record) = self.records.remove(&key) {
                self.outcome_bytes -= bytes(&record);
                self.dropped.push(key);
            }
        }
    }

    /// Takes what was said, and the session's name, out of the records of a session that is forgotten; the
    /// keys stay, so that a late retry does not run again. Returns what to store.
    pub(super) fn forget_session(&mut self, session_key: &str) -> Vec<StoreOp> {
        let mut changed = Vec::new();
        for (key, record) in self.records.iter_mut().filter(|(_, record)| record.session_key == session_key) {
            let before = bytes(record);
            record.session_key.clear();
            record.outcome = record.outcome.as_ref().map(Outcome::forgotten);
            self.outcome_bytes = self.outcome_bytes - before + bytes(record);
            changed.push(put(key, record));
        }
        changed
    }
}

/// What a record counts against `KEYS_BYTES_MAX`.
fn bytes(record: &KeyRecord) -> usize {
    record.session_key.len() + record.outcome.as_ref().map_or(0, |outcome| outcome.summary.len())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Keys, Lookup, Outcome};
    use crate::limits::{KEY_TTL_MS, KEYS_MAX, SANE_CLOCK_MS};
    use crate::protocol::payload::RunStatus;

    const A: [u8; 32] = [1; 32];
    const B: [u8; 32] = [2; 32];

    fn outcome(ended_ts: u64) -> Outcome {
        Outcome {
            ended_ts,
            status: Some(RunStatus::Ok),
            summary: "hi".into(),
            truncated: false,
            invalid: false,
        }
    }

    #[test]
    fn a_key_joins_then_answers_then_expires() {
        let now = Instant::now();
        let mut keys = Keys::default();
        assert_eq!(keys.look_up("k", &A, now), Lookup::New);
        keys.begin("k", &A, "r1".into(), "main");
        assert_eq!(keys.look_up("k", &A, now), Lookup::Joins(&"r1".into()));
        assert_eq!(keys.look_up("k", &B, now), Lookup::Conflict);
        keys.end("k", outcome(1), now);
        assert_eq!(keys.look_up("k", &A, now), Lookup::Ended(&"r1".into(), &outcome(1)));
        assert_eq!(keys.look_up("k", &B, now), Lookup::Conflict);
        let later = now + Duration::from_millis(KEY_TTL_MS);
        keys.drop_expired(now + Duration::from_millis(KEY_TTL_MS - 1));
        assert!(keys.dropped.is_empty());
        keys.drop_expired(later);
        assert_eq!(keys.dropped, ["k"]);
        assert_eq!(keys.look_up("k", &A, later), Lookup::New);
        assert_eq!(keys.outcome_bytes, 0);
    }

    #[test]
    fn full_tables_refuse_new_keys_and_keep_old_ones() {
        let now = Instant::now();
        let mut keys = Keys::default();
        for n in 0..KEYS_MAX {
            keys.begin(&n.to_string(), &A, "r".into(), "main");
        }
        keys.end("5", outcome(1), now);
        let soon = now + Duration::from_secs(1);
        assert_eq!(keys.look_up("new", &A, soon), Lookup::Full(Duration::from_millis(KEY_TTL_MS - 1000)));
        assert!(matches!(keys.look_up("5", &A, soon), Lookup::Ended(..)));
        keys.undo("6");
        assert_eq!(keys.look_up("new", &A, soon), Lookup::New);
    }

    #[test]
    fn interrupted_keys_come_back_as_unknown_for_their_whole_lifetime() {
        let now = Instant::now();
        let mut first = Keys::default();
        first.begin("k", &A, "r1".into(), "main");
        let record = first.records["k"].clone();
        let mut second = Keys::default();
        let stored = second.recover("k", record, false, now, SANE_CLOCK_MS).unwrap();
        assert_eq!(stored.outcome.unwrap().status, None);
        let Lookup::Ended(_, outcome) = second.look_up("k", &A, now) else { panic!("not ended") };
        assert_eq!(outcome.status, None);
        second.drop_expired(now + Duration::from_millis(KEY_TTL_MS));
        assert_eq!(second.dropped, ["k"]);
    }

    #[test]
    fn lifetimes_go_on_across_a_restart_if_the_clock_is_sane() {
        let now = Instant::now();
        let ended = SANE_CLOCK_MS + 1_000;
        let mut old = Keys::default();
        old.begin("k", &A, "r".into(), "main");
        let record = old.end("k", outcome(ended), now).unwrap();
        for (wall_ms, left_ms) in [
            (ended + 60_000, KEY_TTL_MS - 60_000),
            (5, KEY_TTL_MS),
            (ended - 10, KEY_TTL_MS),
            (ended + 9 * KEY_TTL_MS, 0),
        ] {
            let mut keys = Keys::default();
            assert_eq!(keys.recover("k", record.clone(), false, now, wall_ms), None);
            if left_ms > 0 {
                keys.drop_expired(now + Duration::from_millis(left_ms - 1));
                assert!(keys.dropped.is_empty());
            }
            keys.drop_expired(now + Duration::from_millis(left_ms));
            assert_eq!(keys.dropped, ["k"], "at {wall_ms}");
        }
    }
}
