//! More in the journal than this gateway ever puts there, as a restored one may have: no start is the last.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::Bench;
use super::world::{World, settings};
use crate::limits::{LETTER_AGE_MS_MAX, OUTBOX_MAX, SANE_CLOCK_MS, STORE_INBOX};
use crate::store::{Recovered, StoreEvent};

/// Commands that may be with the store: what is asked for with a look at its room, and what each of the
/// attempts under way may add without one.
const STORE_BOUND: usize = STORE_INBOX + 64;

pub(super) const DAY_MS: u64 = 86_400_000;

/// Messages on their way to as many chats, with these members besides.
fn letters(count: usize, members: &Value) -> BTreeMap<String, String> {
    let mut slots = BTreeMap::new();
    for number in 0..count {
        let mut head = json!({
            "route": { "channel": "telegram", "chat": number.to_string() }, "sessionKey": "main",
            "createdTs": SANE_CLOCK_MS + 1_000_000, "done": 0, "trying": false, "seed": "x",
        });
        head.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        slots.insert(format!("outbox/{number:020}"), head.to_string());
        let parts = json!([{ "t": { "text": "one" } }, { "t": { "text": "two" } }]);
        slots.insert(format!("outbox/{number:020}/parts"), parts.to_string());
    }
    slots
}

/// Lets the disk answer, one command at a time, until nothing waits for it; says how many waited at most.
fn most_at_once(bench: &mut Bench) -> usize {
    let (mut waiting, mut most) = (bench.take_store(), 0);
    while !waiting.is_empty() {
        most = most.max(waiting.len());
        let ticket = waiting.remove(0).ticket;
        bench.handle(crate::state::Event::Store(StoreEvent::Done {
            ticket,
            result: Ok(()),
            back: Vec::new(),
        }));
        waiting.extend(bench.take_store());
    }
    most
}

#[test]
fn any_number_of_messages_that_were_being_sent_or_are_too_old_is_ended_little_by_little() {
    let old = SANE_CLOCK_MS + 1_000_000 - 3 * DAY_MS;
    for members in
        [json!({ "trying": true }), json!({ "createdTs": old }), json!({ "trying": true, "done": 1 })]
    {
        let recovered = Recovered { slots: letters(3 * OUTBOX_MAX / 2, &members), ..Recovered::default() };
        let mut config = settings();
        config.surfaces.by_channel.clear();
        let mut bench = Bench::with_unkept(config, recovered);
        bench.connect(1);
        bench.pass(Duration::ZERO);
        let most = most_at_once(&mut bench);
        assert!(most <= STORE_BOUND, "{most} commands at once: {members}");
        assert!(bench.state.outbox.interrupted().is_empty(), "each is looked at: {members}");
    }
}

#[test]
fn what_was_being_sent_goes_on_with_its_next_part_only_as_the_surface_takes_it() {
    let mut world = World::on(settings(), letters(1_000, &json!({ "trying": true })));
    world.keep();
    let attempts = world.attempts();
    assert!(attempts.len() <= 16, "{} at once", attempts.len());
    assert!(attempts.iter().all(|attempt| format!("{:?}", attempt.part).contains("two")));
    let first = attempts[0].clone();
    world.sent(&first);
    assert_eq!(world.attempts().len(), 1, "the next one follows");
}

#[test]
fn messages_that_grow_too_old_together_are_ended_little_by_little() {
    let mut world = World::on(settings(), letters(OUTBOX_MAX, &json!({})));
    world.attempts();
    let life = Duration::from_millis(LETTER_AGE_MS_MAX);
    world.bench.pass(life);
    let most = most_at_once(&mut world.bench);
    assert!(most <= STORE_BOUND, "{most} commands at once");
}

#[test]
fn a_session_to_which_many_messages_wait_is_forgotten_in_a_few_commands() {
    let mut world = World::new();
    for number in 0..400 {
        let params = json!({ "to": "telegram:5", "message": "hi", "idempotencyKey": number.to_string() });
        world.bench.request(1, &number.to_string(), "send", params);
        world.keep();
    }
    world.bench.answers();
    world.bench.request(1, "forget", "session-forget", json!({ "sessionKey": "dm:telegram:5" }));
    let most = most_at_once(&mut world.bench);
    assert!(most <= 3, "{most} commands at once");
    assert!(world.bench.answers().len() >= 399, "whoever waits for one that had not begun is told");
}
