//! Keys from their first use to the end of their lifetime, and who may hold how many.

use std::time::{Duration, Instant};

use super::{Holder, KeyRecord, Keys, Outcome};
use crate::clock::Now;
use crate::limits::{
    DIRECTIVE_KEYS_MAX, KEY_TTL_MS, KEYS_BYTES_MAX, KEYS_MAX, SANE_CLOCK_MS, SUMMARY_BYTES_MAX,
};
use crate::protocol::ConnId;
use crate::protocol::error::WireError;
use crate::protocol::payload::RunStatus;
use crate::state::model::write_buffer::WriteBuffer;

const A: [u8; 32] = [1; 32];
const B: [u8; 32] = [2; 32];

fn outcome(ended_ts: u64) -> Outcome {
    Outcome { ended_ts, status: Some(RunStatus::Ok), summary: "hi".into(), truncated: false, invalid: false }
}

fn holders(conn: ConnId, instance: &str, person: Option<&str>) -> Vec<Holder> {
    let mut holders = vec![Holder::Connection(conn), Holder::Installation(instance.into())];
    holders.extend(person.map(|person| Holder::Person(person.into())));
    holders
}

fn begin(keys: &mut Keys, key: &str, conn: ConnId, instance: &str, now: Instant) {
    let record = KeyRecord::new(&A, "r1".into(), "main", holders(conn, instance, None));
    keys.begin(key, record, now, &mut WriteBuffer::default());
}

fn end(keys: &mut Keys, key: &str, outcome: &Outcome, now: Instant) {
    let mut writes = WriteBuffer::default();
    keys.end(key, outcome, now, &mut writes);
    assert!(writes.is_empty(), "it is on record already");
}

/// Whether there is room for one more key of somebody else.
fn has_room(keys: &Keys, now: Instant) -> Result<(), WireError> {
    keys.require_room(&holders(9_999, "another", None), now)
}

#[test]
fn a_key_joins_then_answers_then_expires() {
    let now = Instant::now();
    let mut keys = Keys::default();
    assert_eq!(keys.look_up("k", &A, now), Ok(None));
    begin(&mut keys, "k", 1, "a", now);
    let outcome_of = |keys: &Keys| {
        let record = keys.look_up("k", &A, now).unwrap().unwrap();
        assert_eq!(&*record.run_id, "r1");
        record.outcome.clone()
    };
    assert_eq!(outcome_of(&keys), None);
    assert!(keys.look_up("k", &B, now).unwrap_err().message.contains("another request"));
    end(&mut keys, "k", &outcome(1), now);
    assert_eq!(outcome_of(&keys), Some(outcome(1)));
    assert!(keys.look_up("k", &B, now).is_err());
    let later = now + Duration::from_millis(KEY_TTL_MS);
    assert!(keys.look_up("k", &B, now + Duration::from_millis(KEY_TTL_MS - 1)).is_err());
    assert_eq!(keys.look_up("k", &A, later), Ok(None));
    assert_eq!(keys.look_up("k", &B, later), Ok(None));
    let mut writes = WriteBuffer::default();
    keys.begin("l", KeyRecord::new(&A, "r2".into(), "main", Vec::new()), later, &mut writes);
    assert_eq!((writes.ops.len(), keys.records.len()), (2, 1), "it goes with the next one");
}

#[test]
fn full_tables_refuse_new_keys_and_keep_old_ones() {
    let now = Instant::now();
    let mut keys = Keys::default();
    for n in 0..KEYS_MAX {
        begin(&mut keys, &n.to_string(), n as ConnId, &n.to_string(), now);
    }
    end(&mut keys, "5", &outcome(1), now);
    let soon = now + Duration::from_secs(1);
    let refusal = has_room(&keys, soon).unwrap_err();
    assert_eq!(refusal.message, "too many idempotency keys are in use");
    assert_eq!(refusal.retry_after_ms, Some(KEY_TTL_MS - 1_000));
    assert_eq!(keys.look_up("5", &A, soon).unwrap().unwrap().outcome, Some(outcome(1)));
    keys.remove("6");
    assert_eq!(has_room(&keys, soon), Ok(()));
}

#[test]
fn one_connection_installation_or_person_gets_half_of_the_keys() {
    let now = Instant::now();
    // What they have in common, and who else is refused for it.
    for (of, refused, welcome) in [
        (
            (|n| (7, n.to_string(), None)) as fn(usize) -> (ConnId, String, Option<&'static str>),
            holders(7, "x", None),
            holders(8, "x", None),
        ),
        (|n| (n as ConnId, "same".into(), None), holders(0, "same", None), holders(0, "other", Some("p"))),
        (
            |n| (n as ConnId, n.to_string(), Some("dm:x:1")),
            holders(0, "x", Some("dm:x:1")),
            holders(0, "x", None),
        ),
    ] {
        let mut keys = Keys::default();
        for n in 0..KEYS_MAX / 2 {
            let (conn, instance, person) = of(n + 1_000);
            let by = holders(conn, &instance, person);
            assert_eq!(keys.require_room(&by, now), Ok(()), "{n}");
            keys.begin(
                &n.to_string(),
                KeyRecord::new(&A, "r".into(), "main", by),
                now,
                &mut WriteBuffer::default(),
            );
        }
        end(&mut keys, "3", &outcome(1), now);
        let refusal = keys.require_room(&refused, now).unwrap_err();
        assert!(refusal.message.contains("holds half"), "{refusal:?}");
        assert_eq!(refusal.retry_after_ms, Some(KEY_TTL_MS));
        assert_eq!(keys.require_room(&welcome, now), Ok(()));
    }
    let mut keys = Keys::default();
    for n in 0..KEYS_BYTES_MAX / SUMMARY_BYTES_MAX / 2 {
        begin(&mut keys, &n.to_string(), 1, "a", now);
        let long = Outcome { summary: "x".repeat(SUMMARY_BYTES_MAX), ..outcome(1) };
        end(&mut keys, &n.to_string(), &long, now);
    }
    let refusal = keys.require_room(&holders(1, "a", None), now).unwrap_err();
    assert!(refusal.message.contains("holds half"), "bytes count too: {refusal:?}");
}

#[test]
fn directives_take_no_place_and_none_is_forgotten_for_another() {
    let now = Instant::now();
    let mut keys = Keys::default();
    for n in 0..KEYS_MAX {
        begin(&mut keys, &n.to_string(), n as ConnId, &n.to_string(), now);
    }
    assert!(has_room(&keys, now).is_err());
    let name = |n: usize| format!("/{n}");
    let execute_directive = |keys: &mut Keys, n: usize, at: Instant| {
        let record = KeyRecord::new(&A, "r".into(), "main", Vec::new());
        let mut writes = WriteBuffer::default();
        keys.begin(&name(n), KeyRecord { directive: true, ..record }, at, &mut writes);
        end(keys, &name(n), &outcome(1), at);
        writes.ops.len()
    };
    for n in 0..DIRECTIVE_KEYS_MAX + 10 {
        assert_eq!(execute_directive(&mut keys, n, now), usize::from(n < DIRECTIVE_KEYS_MAX), "{n}");
    }
    assert!(keys.look_up(&name(0), &A, now).unwrap().unwrap().outcome.is_some());
    assert!(keys.look_up(&name(0), &B, now).is_err());
    assert_eq!(keys.look_up(&name(DIRECTIVE_KEYS_MAX), &A, now), Ok(None));
    let mut writes = WriteBuffer::default();
    keys.put_outcome(&name(DIRECTIVE_KEYS_MAX), &outcome(1), &mut writes);
    assert!(writes.is_empty());
    keys.remove(&name(DIRECTIVE_KEYS_MAX));
    // There is room again when their time is over.
    let later = now + Duration::from_millis(KEY_TTL_MS);
    assert_eq!(
        execute_directive(&mut keys, 3, later),
        DIRECTIVE_KEYS_MAX + 1,
        "the others go with the same write"
    );
    assert_eq!(keys.records.len(), KEYS_MAX + 1);
}

#[test]
fn interrupted_keys_come_back_as_unknown_for_their_whole_lifetime() {
    let now = Instant::now();
    let mut first = Keys::default();
    begin(&mut first, "k", 1, "a", now);
    let record = first.records["k"].clone();
    let mut second = Keys::default();
    let mut writes = WriteBuffer::default();
    let clocks = Now { mono: now, wall_ms: SANE_CLOCK_MS };
    let interrupted = second.recover("k", record, false, clocks, &mut writes).unwrap();
    assert_eq!(interrupted.outcome.as_ref().unwrap().status, None);
    assert_eq!(writes.ops.len(), 1);
    assert_eq!(second.look_up("k", &A, now), Ok(Some(&interrupted)));
    assert_eq!(second.look_up("k", &A, now + Duration::from_millis(KEY_TTL_MS)), Ok(None));
}

#[test]
fn lifetimes_go_on_across_a_restart_if_the_clock_is_sane() {
    let now = Instant::now();
    let ended = SANE_CLOCK_MS + 1_000;
    let mut old = Keys::default();
    begin(&mut old, "k", 1, "a", now);
    end(&mut old, "k", &outcome(ended), now);
    let record = old.records["k"].clone();
    for (wall_ms, left_ms) in [
        (ended + 60_000, KEY_TTL_MS - 60_000),
        (5, KEY_TTL_MS),
        (ended - 10, KEY_TTL_MS),
        (ended + 9 * KEY_TTL_MS, 0),
    ] {
        let mut keys = Keys::default();
        let (clocks, mut writes) = (Now { mono: now, wall_ms }, WriteBuffer::default());
        assert_eq!(keys.recover("k", record.clone(), false, clocks, &mut writes), None);
        assert!(writes.is_empty());
        let over = now + Duration::from_millis(left_ms);
        if left_ms > 0 {
            assert!(keys.look_up("k", &A, now + Duration::from_millis(left_ms - 1)).unwrap().is_some());
        }
        assert_eq!(keys.look_up("k", &A, over), Ok(None), "at {wall_ms}");
    }
}

#[test]
fn what_a_key_kept_is_forgotten_with_its_session_also_where_the_key_has_expired() {
    let now = Instant::now();
    let mut keys = Keys::default();
    begin(&mut keys, "k", 1, "a", now);
    end(&mut keys, "k", &outcome(1), now);
    let later = now + Duration::from_millis(KEY_TTL_MS);
    assert_eq!(keys.look_up("k", &A, later), Ok(None));
    let mut writes = WriteBuffer::default();
    keys.forget_session("main", &mut writes);
    let on_record = format!("{:?}", writes.ops);
    assert!(on_record.contains("(forgotten)") && !on_record.contains("main"), "{on_record}");
}
