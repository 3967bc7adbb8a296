//! Keys from their first use to the end of their lifetime, and who may hold how many.

use std::time::{Duration, Instant};

use super::{Holder, KeyRecord, Keys, Lookup, Outcome};
use crate::limits::{
    DIRECTIVE_KEYS_MAX, KEY_TTL_MS, KEYS_BYTES_MAX, KEYS_MAX, SANE_CLOCK_MS, SUMMARY_BYTES_MAX,
};
use crate::protocol::ConnId;
use crate::protocol::payload::RunStatus;
use crate::state::model::write_buffer::WriteBuffer;

const A: [u8; 32] = [1; 32];
const B: [u8; 32] = [2; 32];

fn outcome(ended_ts: u64) -> Outcome {
    Outcome { ended_ts, status: Some(RunStatus::Ok), summary: "hi".into(), truncated: false, invalid: false }
}

fn holder(conn: ConnId, instance: &str) -> Holder {
    Holder { conn: Some(conn), instance: Some(instance.into()), person: None }
}

fn begin(keys: &mut Keys, key: &str, conn: ConnId, instance: &str) {
    let record = KeyRecord::new(&A, "r1".into(), "main", holder(conn, instance));
    keys.begin(key, record, &mut WriteBuffer::default());
}

fn look_up<'k>(keys: &'k Keys, key: &str, digest: &[u8; 32], now: Instant) -> Lookup<'k> {
    keys.look_up_or_begin(key, digest, &holder(9_999, "another"), now)
}

#[test]
fn a_key_joins_then_answers_then_expires() {
    let now = Instant::now();
    let mut keys = Keys::default();
    assert_eq!(look_up(&keys, "k", &A, now), Lookup::New);
    begin(&mut keys, "k", 1, "a");
    assert_eq!(look_up(&keys, "k", &A, now), Lookup::Joins(&"r1".into()));
    assert_eq!(look_up(&keys, "k", &B, now), Lookup::Conflict);
    keys.end("k", outcome(1), now);
    assert_eq!(look_up(&keys, "k", &A, now), Lookup::Ended(&"r1".into(), &outcome(1)));
    assert_eq!(look_up(&keys, "k", &B, now), Lookup::Conflict);
    let later = now + Duration::from_millis(KEY_TTL_MS);
    keys.drop_expired(now + Duration::from_millis(KEY_TTL_MS - 1));
    assert!(keys.dropped.is_empty());
    keys.drop_expired(later);
    assert_eq!(keys.dropped, ["k"]);
    assert_eq!(look_up(&keys, "k", &A, later), Lookup::New);
    assert_eq!(keys.outcome_bytes, 0);
}

#[test]
fn full_tables_refuse_new_keys_and_keep_old_ones() {
    let now = Instant::now();
    let mut keys = Keys::default();
    for n in 0..KEYS_MAX {
        begin(&mut keys, &n.to_string(), n as ConnId, &n.to_string());
    }
    keys.end("5", outcome(1), now);
    let soon = now + Duration::from_secs(1);
    assert_eq!(look_up(&keys, "new", &A, soon), Lookup::Full(Duration::from_millis(KEY_TTL_MS - 1000)));
    assert!(matches!(look_up(&keys, "5", &A, soon), Lookup::Ended(..)));
    keys.undo("6");
    assert_eq!(look_up(&keys, "new", &A, soon), Lookup::New);
}

#[test]
fn one_connection_installation_or_person_gets_half_of_the_keys() {
    let now = Instant::now();
    let holder = |conn, instance: &str, person: Option<&str>| Holder {
        conn: Some(conn),
        instance: Some(instance.into()),
        person: person.map(str::to_owned),
    };
    // What they have in common, and who else is refused for it.
    for (of, refused, welcome) in [
        (
            (|n| (7, n.to_string(), None)) as fn(usize) -> (ConnId, String, Option<&'static str>),
            holder(7, "x", None),
            holder(8, "x", None),
        ),
        (|n| (n as ConnId, "same".into(), None), holder(0, "same", None), holder(0, "other", Some("p"))),
        (
            |n| (n as ConnId, n.to_string(), Some("dm:x:1")),
            holder(0, "x", Some("dm:x:1")),
            holder(0, "x", None),
        ),
    ] {
        let mut keys = Keys::default();
        for n in 0..KEYS_MAX / 2 {
            let (conn, instance, person) = of(n + 1_000);
            let by = holder(conn, &instance, person);
            assert_eq!(keys.look_up_or_begin(&n.to_string(), &A, &by, now), Lookup::New, "{n}");
            keys.begin(
                &n.to_string(),
                KeyRecord::new(&A, "r".into(), "main", by),
                &mut WriteBuffer::default(),
            );
        }
        keys.end("3", outcome(1), now);
        let expected = Lookup::Share(Duration::from_millis(KEY_TTL_MS));
        assert_eq!(keys.look_up_or_begin("new", &A, &refused, now), expected);
        assert_eq!(keys.look_up_or_begin("new", &A, &welcome, now), Lookup::New);
        // Known keys are answered as ever.
        assert!(matches!(keys.look_up_or_begin("3", &A, &refused, now), Lookup::Ended(..)));
    }
    let mut keys = Keys::default();
    for n in 0..KEYS_BYTES_MAX / SUMMARY_BYTES_MAX / 2 {
        begin(&mut keys, &n.to_string(), 1, "a");
        keys.end(&n.to_string(), Outcome { summary: "x".repeat(SUMMARY_BYTES_MAX), ..outcome(1) }, now);
    }
    let share = keys.look_up_or_begin("new", &A, &holder(1, "a", None), now);
    assert!(matches!(share, Lookup::Share(_)), "bytes count too: {share:?}");
}

#[test]
fn directives_take_no_place_and_none_is_forgotten_for_another() {
    let now = Instant::now();
    let mut keys = Keys::default();
    for n in 0..KEYS_MAX {
        begin(&mut keys, &n.to_string(), n as ConnId, &n.to_string());
    }
    assert!(matches!(look_up(&keys, "new", &A, now), Lookup::Full(_)));
    let name = |n: usize| format!("/{n}");
    let execute_directive = |keys: &mut Keys, n: usize, at: Instant| {
        let record = KeyRecord::new(&A, "r".into(), "main", Holder::default());
        let mut writes = WriteBuffer::default();
        keys.begin(&name(n), KeyRecord { directive: true, ..record }, &mut writes);
        keys.end(&name(n), outcome(1), at);
        writes.len()
    };
    for n in 0..DIRECTIVE_KEYS_MAX + 10 {
        assert_eq!(execute_directive(&mut keys, n, now), usize::from(n < DIRECTIVE_KEYS_MAX), "{n}");
    }
    assert!(matches!(keys.look_up(&name(0), &A), Some(Lookup::Ended(..))));
    assert_eq!(keys.look_up(&name(0), &B), Some(Lookup::Conflict));
    assert_eq!(keys.look_up(&name(DIRECTIVE_KEYS_MAX), &A), None);
    let mut writes = WriteBuffer::default();
    keys.put_outcome(&name(DIRECTIVE_KEYS_MAX), &outcome(1), &mut writes);
    assert!(writes.is_empty());
    keys.undo(&name(DIRECTIVE_KEYS_MAX));
    // There is room again when their time is over.
    let later = now + Duration::from_millis(KEY_TTL_MS);
    keys.drop_expired(later);
    assert_eq!((keys.directives, keys.records.len()), (0, KEYS_MAX));
    assert_eq!(
        execute_directive(&mut keys, 3, later),
        DIRECTIVE_KEYS_MAX + 1,
        "the others go with the same write"
    );
    assert_eq!((keys.directives, keys.records.len()), (1, KEYS_MAX + 1));
}

#[test]
fn interrupted_keys_come_back_as_unknown_for_their_whole_lifetime() {
    let now = Instant::now();
    let mut first = Keys::default();
    begin(&mut first, "k", 1, "a");
    let record = first.records["k"].clone();
    let mut second = Keys::default();
    let stored = second.recover("k", record, false, now, SANE_CLOCK_MS).unwrap();
    assert_eq!(stored.outcome.unwrap().status, None);
    let Lookup::Ended(_, outcome) = look_up(&second, "k", &A, now) else { panic!("not ended") };
    assert_eq!(outcome.status, None);
    second.drop_expired(now + Duration::from_millis(KEY_TTL_MS));
    assert_eq!(second.dropped, ["k"]);
}

#[test]
fn lifetimes_go_on_across_a_restart_if_the_clock_is_sane() {
    let now = Instant::now();
    let ended = SANE_CLOCK_MS + 1_000;
    let mut old = Keys::default();
    begin(&mut old, "k", 1, "a");
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
