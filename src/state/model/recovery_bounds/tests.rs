//! A journal with more than there can be, and one with exactly that.

use std::collections::BTreeMap;

use super::{KINDS, apply_bounds};
use crate::limits::{
    ALLOWED_MAX, INBOX_DONE_MAX, INBOX_MAX, KEYS_MAX, OUTBOX_MAX, SESSIONS_MAX, SLOT_BYTES_MAX,
};

/// So many slots, whose names and values are made of their numbers.
fn slots(count: usize, slot: impl Fn(usize) -> (String, String)) -> BTreeMap<String, String> {
    (0..count).map(slot).collect()
}

fn session(number: usize) -> (String, String) {
    (format!("session/{number}"), format!(r#"{{"id":"s","n":1,"ts":{number}}}"#))
}

fn waiting(number: usize) -> (String, String) {
    // The oldest has the last name.
    (format!("inbox/telegram/{}", 900_000 - number), format!(r#"{{"w":{{"n":{number},"m":{{}}}}}}"#))
}

fn done(number: usize) -> (String, String) {
    (format!("inbox/telegram/d{number}"), format!(r#"{{"d":{number}}}"#))
}

fn left(mut slots: BTreeMap<String, String>) -> BTreeMap<String, String> {
    assert!(apply_bounds(&mut slots));
    slots
}

#[test]
fn the_newest_sessions_and_the_owners_stay() {
    let mut slots = slots(20_000, session);
    slots.insert("session/main".into(), r#"{"id":"s","n":1,"ts":0}"#.into());
    slots.insert("toggles".into(), "{}".into());
    let left = left(slots);
    assert!(left.contains_key("session/19999") && !left.contains_key("session/0"));
    assert!(left.contains_key("session/main") && left.contains_key("toggles"));
    assert!(left.len() <= KINDS[0].count_max + 1);
}

#[test]
fn the_oldest_messages_that_wait_and_the_newest_answered_ones_stay() {
    let mut both = slots(20_000, waiting);
    both.extend(slots(20_000, done));
    let left = left(both);
    assert_eq!(left.len(), INBOX_MAX + INBOX_DONE_MAX);
    let has = |(name, _): (String, String)| left.contains_key(&name);
    assert!(has(waiting(0)) && has(waiting(INBOX_MAX - 1)) && !has(waiting(INBOX_MAX)));
    assert!(has(done(19_999)) && !has(done(0)));
}

#[test]
fn a_key_without_an_end_stays_before_those_that_ended_long_ago() {
    let ended = |number| (format!("key/agent/a{number}"), format!(r#"{{"outcome":{{"endedTs":{number}}}}}"#));
    let mut keys = slots(20_000, ended);
    keys.insert("key/agent/z".into(), "{}".into());
    let left = left(keys);
    assert!(left.len() < 5_000 && left.contains_key("key/agent/z") && left.contains_key("key/agent/a19999"));
}

#[test]
fn the_owner_stays_among_any_number_of_people() {
    let mut people =
        slots(20_000, |number| (format!("allow/telegram/{number}"), r#"{"owner":false}"#.into()));
    people.insert("allow/telegram/9999999".into(), r#"{"owner":true}"#.into());
    people.insert("allow/owners-by-name".into(), "true".into());
    let left = left(people);
    assert!(left.len() <= ALLOWED_MAX + 3);
    assert!(left.contains_key("allow/telegram/9999999") && left.contains_key("allow/owners-by-name"));
}

#[test]
fn what_is_larger_than_it_can_be_is_left_out_and_so_is_what_is_too_much_together() {
    let mut slots = slots(10, session);
    slots.insert(format!("session/{}", "k".repeat(SLOT_BYTES_MAX)), "{}".into());
    assert_eq!(left(slots).len(), 10);
    let large = (0..100).map(|number| {
        (
            format!("inbox/telegram/{number}"),
            format!(r#"{{"w":{{"n":{number},"x":"{}"}}}}"#, "x".repeat(2 << 20)),
        )
    });
    let left = left(large.collect());
    assert!((40..50).contains(&left.len()) && left.contains_key("inbox/telegram/0"), "{}", left.len());
}

#[test]
fn no_new_message_gets_the_number_of_one_that_was_left_out() {
    let deliveries = slots(20_000, |number| (format!("outbox/{number:020}"), "{}".into()));
    let left = left(deliveries);
    assert!(left.len() <= 4 * OUTBOX_MAX && left.contains_key(&format!("outbox/{:020}", 19_999)));
}

#[test]
fn as_much_as_there_can_be_is_all_there() {
    let mut all = slots(SESSIONS_MAX, session);
    all.extend(slots(INBOX_MAX, waiting));
    all.extend(slots(INBOX_DONE_MAX, done));
    all.extend(slots(KEYS_MAX, |number| (format!("key/send/{number}"), "{}".into())));
    all.extend(slots(ALLOWED_MAX, |number| (format!("allow/telegram/{number}"), "{}".into())));
    all.extend(slots(OUTBOX_MAX, |number| (format!("outbox/{number:020}"), "x".repeat(6_000))));
    all.extend(slots(OUTBOX_MAX, |number| (format!("outbox/{number:020}/parts"), "[]".into())));
    let before = all.clone();
    assert!(!apply_bounds(&mut all) && all == before);
}
