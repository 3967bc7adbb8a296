//! Messages from people while the disk, the queue or the gateway's own end are in the way.

use std::time::Duration;

use serde_json::json;

use super::harness::{Harness, message, settings};
use crate::channels::ChannelEvent;
use crate::channels::delivery::AttemptOutcome;
use crate::channels::message::{Arrival, Batch};
use crate::protocol::call::Channel;
use crate::protocol::payload::RunStatus;
use crate::state::Event;

fn stop() -> Event {
    Event::Stop { reason: "bye".into(), restart_expected_ms: None }
}

#[test]
fn what_waits_behind_a_run_outlives_a_stop() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "one"));
    let run = harness.run();
    harness.say(message("2", "2", "2", "two"));
    harness.say(message("3", "2", "2", "three"));
    harness.bench.handle(stop());
    // The agent may well have died of the same signal.
    harness.bench.end(&run.run_id, RunStatus::Error, "killed");
    harness.keep();
    assert!(harness.attempts().is_empty());
    harness.restart();
    let again = harness.run();
    assert!(again.prompt.ends_with("one"), "{}", again.prompt);
    harness.answer(&again, "first");
    let rest = harness.run();
    assert!(rest.prompt.contains("two") && rest.prompt.contains("three"), "{}", rest.prompt);
}

#[test]
fn a_stop_leaves_the_rest_of_a_delivery_to_the_next_life() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "hello"));
    let run = harness.run();
    let words: Vec<String> = (0..2_000).map(|n| n.to_string()).collect();
    harness.answer(&run, &words.join(" "));
    let first = harness.attempts().remove(0);
    harness.bench.handle(stop());
    assert!(harness.bench.state.goodbye().is_none(), "a part is on its way");
    harness.sent(&first);
    assert!(harness.attempts().is_empty() && harness.bench.state.goodbye().is_some());
    harness.restart();
    let second = harness.attempts();
    assert_eq!(second.len(), 1);
    assert_ne!(second[0].part, first.part);
}

#[test]
fn a_run_that_cannot_be_put_on_record_says_nothing_until_it_can() {
    let mut harness = Harness::new();
    let mut sticker = message("1", "2", "2", "look");
    sticker.left_out = Some("a sticker".into());
    harness.say_until_taken(sticker);
    for _ in 0..3 {
        harness.fail();
        assert!(harness.attempts().is_empty() && harness.bench.started_runs().is_empty());
        harness.bench.pass(Duration::from_secs(1));
    }
    harness.keep();
    harness.run();
    assert_eq!(harness.deliveries().len(), 1);
}

#[test]
fn an_end_that_could_not_be_written_is_written_later() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "hello"));
    let run = harness.run();
    harness.bench.end(&run.run_id, RunStatus::Ok, "hi");
    harness.fail();
    let attempt = harness.attempts().remove(0);
    harness.sent(&attempt);
    assert!(harness.disk["inbox/telegram/9/1"].starts_with("{\"d\""), "{:?}", harness.disk);
    harness.restart();
    assert!(harness.bench.started_runs().is_empty() && harness.attempts().is_empty());
}

#[test]
fn an_answer_for_somebody_else_shares_no_prompt() {
    let mut harness = Harness::new();
    harness.say(message("1", "1", "1", "first"));
    let first = harness.run();
    harness.say(message("2", "1", "1", "private"));
    let params =
        json!({ "message": "greet them", "deliver": true, "to": "telegram:-5", "idempotencyKey": "k" });
    harness.bench.request(1, "a", "agent", params);
    harness.keep();
    harness.answer(&first, "one");
    let second = harness.run();
    assert!(!second.prompt.contains("greet"), "{}", second.prompt);
    harness.answer(&second, "secret");
    let third = harness.run();
    harness.answer(&third, "hello all");
    let deliveries = harness.deliveries();
    assert!(deliveries.contains(&("-5".to_owned(), "hello all".to_owned())), "{deliveries:?}");
    assert!(!deliveries.contains(&("-5".to_owned(), "secret".to_owned())), "{deliveries:?}");
}

#[test]
fn stop_is_heard_past_a_full_queue() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "one"));
    let run = harness.run();
    for n in 2..8 {
        harness.say(message(&n.to_string(), "2", "2", "more"));
    }
    harness.say(message("9", "2", "2", "/stop"));
    assert!(harness.bench.cancels() > 0);
    harness.bench.end(&run.run_id, RunStatus::Cancelled, "cancelled");
    harness.keep();
    let deliveries = harness.deliveries();
    assert!(deliveries.len() == 1 && deliveries[0].1.starts_with("Stopped"), "{deliveries:?}");
    assert!(harness.bench.started_runs().is_empty(), "what waited is not asked either");
}

#[test]
fn whoever_is_removed_is_not_answered_any_more() {
    let mut harness = Harness::new();
    harness.bench.request(1, "a", "channel-allow", json!({ "channel": "telegram", "id": "3" }));
    harness.say(message("1", "2", "2", "busy"));
    let run = harness.run();
    for n in 2..6 {
        harness.say(message(&n.to_string(), "3", "3", "me"));
    }
    let asked = harness.bench.started_runs().len();
    harness.bench.request(
        1,
        "b",
        "channel-allow",
        json!({ "channel": "telegram", "id": "3", "remove": true }),
    );
    harness.keep();
    harness.answer(&run, "done");
    assert!(
        asked <= 1 && !harness.disk.values().any(|value| value.contains("\"asked\":0")),
        "{:?}",
        harness.disk
    );
}

#[test]
fn an_owner_that_goes_leaves_nobody_in_their_place() {
    let mut config = settings();
    if let Some(telegram) = config.channels.by_channel.get_mut(&Channel::Telegram) {
        (telegram.owner, telegram.allowed) = (None, Vec::new());
    }
    let mut harness = Harness::with(config);
    let mut allow = |id: &str, member: &str, value: bool| {
        let mut params = json!({ "channel": "telegram", "id": id });
        params[member] = value.into();
        harness.bench.request(1, "a", "channel-allow", params);
        harness.keep();
        harness.bench.answer()["payload"]["owner"].clone()
    };
    assert_eq!(allow("3", "owner", true), true);
    assert_eq!(allow("4", "owner", false), false);
    assert_eq!(allow("3", "owner", false), true, "said again, it still holds");
    assert_eq!(allow("3", "remove", true), false);
    assert_eq!(allow("4", "owner", false), false);
}

#[test]
fn a_server_that_moves_a_group_again_and_again_does_not_make_us_spin() {
    let mut harness = Harness::new();
    harness.say(message("1", "-5", "2", "hello"));
    let run = harness.run();
    harness.answer(&run, "hi");
    for n in 0..5_u64 {
        let attempt = harness.attempts().remove(0);
        harness.outcome(&attempt, AttemptOutcome::Moved { chat: format!("-{}", 100 + n) });
        assert!(harness.attempts().is_empty(), "not at once");
        harness.bench.pass(Duration::from_secs(60));
        harness.keep();
    }
    // A move of a group that nobody let in leaves no trace.
    let slots = harness.disk.len();
    let arrivals = vec![Arrival::Migrated { key: "9/8".into(), from: "-70".into(), to: "-71".into() }];
    let batch = Batch { channel: Channel::Telegram, arrivals, cursor: None };
    harness.bench.handle(Event::Channel(ChannelEvent::Arrived(batch)));
    harness.keep();
    assert_eq!(harness.disk.len(), slots);
}
