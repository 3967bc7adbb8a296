//! More in the journal than this gateway ever puts there, as a restored one may have: no start is the last.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::Bench;
use super::harness::{Harness, message, settings};
use crate::channels::message::{Arrival, Batch, Inbound, InboundMedia, MediaKind};
use crate::channels::{ChannelCommand, ChannelEvent};
use crate::limits::{
    DELIVERY_AGE_MS_MAX, FETCH_TIME_MAX, FETCHES_IN_FLIGHT_MAX, INBOX_MAX, MEDIA_MAX, OUTBOX_MAX,
    SANE_CLOCK_MS, STORE_INBOX,
};
use crate::protocol::call::Channel;
use crate::state::Event;
use crate::state::model::outbox::DeliveryPhase;
use crate::store::{Recovered, StoreEvent};

/// Commands that may be with the store: what is asked for with a look at its room, and what each of the
/// attempts under way may add without one.
const STORE_BOUND: usize = STORE_INBOX + 64;

const DAY_MS: u64 = 86_400_000;

/// Messages on their way to as many chats, with these members besides.
fn deliveries(count: usize, members: &Value) -> BTreeMap<String, String> {
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
        bench.handle(Event::Store(StoreEvent::Done { ticket, result: Ok(()), back: Vec::new() }));
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
        let recovered = Recovered { slots: deliveries(3 * OUTBOX_MAX / 2, &members), ..Recovered::default() };
        let mut config = settings();
        config.channels.by_channel.clear();
        let mut bench = Bench::with_unkept(config, recovered);
        bench.connect(1);
        bench.pass(Duration::ZERO);
        let most = most_at_once(&mut bench);
        assert!(most <= STORE_BOUND, "{most} commands at once: {members}");
        assert!(
            bench.state.outbox.ids(|delivery| delivery.phase == DeliveryPhase::Interrupted).is_empty(),
            "each is looked at: {members}"
        );
    }
}

#[test]
fn what_was_being_sent_goes_on_with_its_next_part_only_as_the_channel_takes_it() {
    let mut harness = Harness::on(settings(), deliveries(1_000, &json!({ "trying": true })));
    harness.keep();
    let attempts = harness.attempts();
    assert!(attempts.len() <= 16, "{} at once", attempts.len());
    assert!(attempts.iter().all(|attempt| format!("{:?}", attempt.part).contains("two")));
    let first = attempts[0].clone();
    harness.sent(&first);
    assert_eq!(harness.attempts().len(), 1, "the next one follows");
}

#[test]
fn messages_that_grow_too_old_together_are_ended_little_by_little() {
    let mut harness = Harness::on(settings(), deliveries(OUTBOX_MAX, &json!({})));
    harness.attempts();
    let life = Duration::from_millis(DELIVERY_AGE_MS_MAX);
    harness.bench.pass(life);
    let most = most_at_once(&mut harness.bench);
    assert!(most <= STORE_BOUND, "{most} commands at once");
}

#[test]
fn a_session_to_which_many_messages_wait_is_forgotten_in_a_few_commands() {
    let mut harness = Harness::new();
    for number in 0..400 {
        let params = json!({ "to": "telegram:5", "message": "hi", "idempotencyKey": number.to_string() });
        harness.bench.request(1, &number.to_string(), "send", params);
        harness.keep();
    }
    harness.bench.answers();
    harness.bench.request(1, "forget", "session-forget", json!({ "sessionKey": "dm:telegram:5" }));
    let most = most_at_once(&mut harness.bench);
    assert!(most <= 3, "{most} commands at once");
    assert!(harness.bench.answers().len() >= 399, "whoever waits for one that had not begun is told");
}

fn media(count: usize) -> Vec<InboundMedia> {
    let one = InboundMedia::nameless(MediaKind::Image, "image/png", 3);
    vec![one; count]
}

/// A message that waits for its answer, as the journal has it.
fn waiting(number: usize, message: Inbound) -> (String, String) {
    let record = json!({ "w": {
        "n": number, "m": message, "session": "dm:telegram:2", "person": "telegram:2", "asked": 0,
    } });
    (format!("inbox/telegram/{}", message.key), record.to_string())
}

fn fetches(harness: &mut Harness) -> Vec<(String, usize)> {
    harness.commands(|command| match command {
        ChannelCommand::Fetch(fetch) => Some((fetch.key.clone(), fetch.index)),
        _ => None,
    })
}

#[test]
fn pictures_are_fetched_a_few_at_a_time_and_the_time_of_the_others_has_not_begun() {
    let with = |key: usize| Inbound { media: media(3), ..message(&key.to_string(), "2", "2", "look") };
    let slots = (0..INBOX_MAX).map(|number| waiting(number, with(number))).collect();
    let mut harness = Harness::on(settings(), slots);
    let first = fetches(&mut harness);
    assert!(!first.is_empty() && first.len() <= FETCHES_IN_FLIGHT_MAX, "{} at once", first.len());
    let (key, index) = first[0].clone();
    let fetched = |key: &str, index| {
        let (channel, result) = (Channel::Telegram, Err("gone".into()));
        Event::Channel(ChannelEvent::Fetched { channel, key: key.into(), index, result })
    };
    for index in index..3 {
        harness.bench.handle(fetched(&key, index));
    }
    let next = fetches(&mut harness);
    assert_eq!(next.len(), 3, "one message is whole, so the next one has its turn");
    // Nothing more comes: each waits as long as the first one did, and not in vain.
    let mut seen = first.len() + next.len();
    for _ in 0..INBOX_MAX {
        harness.bench.pass(FETCH_TIME_MAX);
        seen += fetches(&mut harness).len();
    }
    assert_eq!(seen, 3 * INBOX_MAX, "each is fetched once");
}

#[test]
fn a_message_with_more_pictures_than_are_taken_says_so() {
    let crowded = || Inbound { media: media(5_000), ..message("1", "2", "2", "look") };
    let mut recovered = Harness::on(settings(), [waiting(1, crowded())].into());
    let mut arrived = Harness::new();
    arrived.say(crowded());
    for harness in [&mut recovered, &mut arrived] {
        let fetched = fetches(harness);
        assert_eq!(fetched.len(), MEDIA_MAX);
        for (key, index) in fetched {
            let (channel, result) = (Channel::Telegram, Err("gone".into()));
            harness.bench.handle(Event::Channel(ChannelEvent::Fetched { channel, key, index, result }));
        }
        harness.keep();
        let (_, told) = harness.deliveries().remove(0);
        assert!(told.contains("4996 more pictures or files"), "{told}");
    }
}

#[test]
fn a_message_that_names_another_channel_than_its_slot_is_answered_in_one_life_only() {
    let mut elsewhere = message("1", "2", "2", "hello");
    elsewhere.route.channel = Channel::Whatsapp;
    let mut harness = Harness::on(settings(), [waiting(5, elsewhere)].into());
    let run = harness.run();
    harness.answer(&run, "hi");
    assert_eq!(harness.deliveries(), [("2".to_owned(), "hi".to_owned())]);
    assert!(harness.disk["inbox/telegram/9/1"].starts_with("{\"d\""), "{:?}", harness.disk);
    harness.restart();
    assert!(harness.bench.started_runs().is_empty() && harness.deliveries().is_empty());
}

#[test]
fn two_messages_with_one_number_are_both_answered() {
    let slots = ["1", "2", "3"].map(|key| waiting(5, message(key, "2", "2", &format!("text {key}"))));
    let mut harness = Harness::on(settings(), slots.into());
    let mut prompts = String::new();
    for run in std::iter::from_fn(|| harness.bench.started_runs().pop()).collect::<Vec<_>>() {
        prompts.push_str(&run.prompt);
        harness.answer(&run, "hi");
    }
    for run in harness.bench.started_runs() {
        prompts.push_str(&run.prompt);
        harness.answer(&run, "hi");
    }
    for key in ["1", "2", "3"] {
        assert!(prompts.contains(&format!("text {key}")), "{prompts}");
        assert!(harness.disk[&format!("inbox/telegram/9/{key}")].starts_with("{\"d\""), "{:?}", harness.disk);
    }
    assert!(harness.bench.state.inbox.waiting.is_empty());
}

#[test]
fn what_is_left_out_stays_in_the_journal_and_comes_with_the_next_start() {
    let slots: BTreeMap<String, String> = (0..2 * INBOX_MAX)
        .map(|number| waiting(number, message(&number.to_string(), "2", "2", "hello")))
        .collect();
    let mut config = settings();
    (config.agent.daily_runs, config.agent.daily_runs_per_person) = (9_999, 9_999);
    let mut harness = Harness::on(config, slots);
    assert_eq!(harness.bench.state.inbox.waiting.len(), INBOX_MAX);
    let waits = |harness: &Harness| harness.disk.values().filter(|value| value.starts_with("{\"w\"")).count();
    while !harness.bench.state.inbox.waiting.is_empty() {
        let runs = harness.bench.started_runs();
        assert!(!runs.is_empty(), "{} wait and none is asked", harness.bench.state.inbox.waiting.len());
        for run in runs {
            harness.answer(&run, "hi");
        }
        harness.deliveries();
    }
    assert_eq!(waits(&harness), INBOX_MAX, "nothing of them was touched");
    harness.restart();
    assert_eq!(harness.bench.state.inbox.waiting.len(), INBOX_MAX);
}

#[test]
fn a_group_has_one_id_beside_its_own_however_often_it_moves() {
    let mut harness = Harness::new();
    for number in 0..50 {
        let from = if number == 0 { "-5".to_owned() } else { format!("-10{}", number - 1) };
        let moved = Arrival::Migrated { key: format!("9/{number}"), from, to: format!("-10{number}") };
        let batch = Batch { channel: Channel::Telegram, arrivals: vec![moved], cursor: None };
        harness.bench.handle(Event::Channel(ChannelEvent::Arrived(batch)));
        harness.keep();
    }
    let moved: Vec<&String> = harness.disk.keys().filter(|slot| slot.starts_with("moved/")).collect();
    assert_eq!(moved, ["moved/telegram/-1049"]);
    harness.say(message("60", "-1049", "2", "hello"));
    assert_eq!(harness.run().session_key, "group:telegram:-5");
}
