//! Messages from people while the disk, the queue or the gateway's own end are in the way.

use std::time::Duration;

use serde_json::json;

use super::world::{World, message, settings};
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
    let mut world = World::new();
    world.say(message("1", "2", "2", "one"));
    let run = world.run();
    world.say(message("2", "2", "2", "two"));
    world.say(message("3", "2", "2", "three"));
    world.bench.handle(stop());
    // The agent may well have died of the same signal.
    world.bench.end(&run.run_id, RunStatus::Error, "killed");
    world.keep();
    assert!(world.attempts().is_empty());
    world.restart();
    let again = world.run();
    assert!(again.prompt.ends_with("one"), "{}", again.prompt);
    world.answer(&again, "first");
    let rest = world.run();
    assert!(rest.prompt.contains("two") && rest.prompt.contains("three"), "{}", rest.prompt);
}

#[test]
fn a_stop_leaves_the_rest_of_a_letter_to_the_next_life() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "hello"));
    let run = world.run();
    let words: Vec<String> = (0..2_000).map(|n| n.to_string()).collect();
    world.answer(&run, &words.join(" "));
    let first = world.attempts().remove(0);
    world.bench.handle(stop());
    assert!(!world.bench.state.is_done(), "a part is on its way");
    world.sent(&first);
    assert!(world.attempts().is_empty() && world.bench.state.is_done());
    world.restart();
    let second = world.attempts();
    assert_eq!(second.len(), 1);
    assert_ne!(second[0].part, first.part);
}

#[test]
fn a_run_that_cannot_be_put_on_record_says_nothing_until_it_can() {
    let mut world = World::new();
    let mut sticker = message("1", "2", "2", "look");
    sticker.left_out = Some("a sticker".into());
    world.say_until_taken(sticker);
    for _ in 0..3 {
        world.fail();
        assert!(world.attempts().is_empty() && world.bench.started_runs().is_empty());
        world.bench.pass(Duration::from_secs(1));
    }
    world.keep();
    world.run();
    assert_eq!(world.letters().len(), 1);
}

#[test]
fn an_end_that_could_not_be_written_is_written_later() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "hello"));
    let run = world.run();
    world.bench.end(&run.run_id, RunStatus::Ok, "hi");
    world.fail();
    let attempt = world.attempts().remove(0);
    world.sent(&attempt);
    assert!(world.disk["inbox/telegram/9/1"].starts_with("{\"d\""), "{:?}", world.disk);
    world.restart();
    assert!(world.bench.started_runs().is_empty() && world.attempts().is_empty());
}

#[test]
fn an_answer_for_somebody_else_shares_no_prompt() {
    let mut world = World::new();
    world.say(message("1", "1", "1", "first"));
    let first = world.run();
    world.say(message("2", "1", "1", "private"));
    let params =
        json!({ "message": "greet them", "deliver": true, "to": "telegram:-5", "idempotencyKey": "k" });
    world.bench.request(1, "a", "agent", params);
    world.keep();
    world.answer(&first, "one");
    let second = world.run();
    assert!(!second.prompt.contains("greet"), "{}", second.prompt);
    world.answer(&second, "secret");
    let third = world.run();
    world.answer(&third, "hello all");
    let letters = world.letters();
    assert!(letters.contains(&("-5".to_owned(), "hello all".to_owned())), "{letters:?}");
    assert!(!letters.contains(&("-5".to_owned(), "secret".to_owned())), "{letters:?}");
}

#[test]
fn stop_is_heard_past_a_full_queue() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "one"));
    let run = world.run();
    for n in 2..8 {
        world.say(message(&n.to_string(), "2", "2", "more"));
    }
    world.say(message("9", "2", "2", "/stop"));
    assert!(world.bench.cancels() > 0);
    world.bench.end(&run.run_id, RunStatus::Cancelled, "cancelled");
    world.keep();
    let letters = world.letters();
    assert!(letters.len() == 1 && letters[0].1.starts_with("Stopped"), "{letters:?}");
    assert!(world.bench.started_runs().is_empty(), "what waited is not asked either");
}

#[test]
fn whoever_is_removed_is_not_answered_any_more() {
    let mut world = World::new();
    world.bench.request(1, "a", "channel-allow", json!({ "channel": "telegram", "id": "3" }));
    world.say(message("1", "2", "2", "busy"));
    let run = world.run();
    for n in 2..6 {
        world.say(message(&n.to_string(), "3", "3", "me"));
    }
    let asked = world.bench.started_runs().len();
    world.bench.request(1, "b", "channel-allow", json!({ "channel": "telegram", "id": "3", "remove": true }));
    world.keep();
    world.answer(&run, "done");
    assert!(
        asked <= 1 && !world.disk.values().any(|value| value.contains("\"asked\":0")),
        "{:?}",
        world.disk
    );
}

#[test]
fn an_owner_that_goes_leaves_nobody_in_their_place() {
    let mut config = settings();
    if let Some(telegram) = config.surfaces.by_channel.get_mut(&Channel::Telegram) {
        (telegram.owner, telegram.allowed) = (None, Vec::new());
    }
    let mut world = World::with(config);
    let mut allow = |id: &str, member: &str, value: bool| {
        let mut params = json!({ "channel": "telegram", "id": id });
        params[member] = value.into();
        world.bench.request(1, "a", "channel-allow", params);
        world.keep();
        world.bench.answer()["payload"]["owner"].clone()
    };
    assert_eq!(allow("3", "owner", true), true);
    assert_eq!(allow("4", "owner", false), false);
    assert_eq!(allow("3", "owner", false), true, "said again, it still holds");
    assert_eq!(allow("3", "remove", true), false);
    assert_eq!(allow("4", "owner", false), false);
}

#[test]
fn a_server_that_moves_a_group_again_and_again_does_not_make_us_spin() {
    let mut world = World::new();
    world.say(message("1", "-5", "2", "hello"));
    let run = world.run();
    world.answer(&run, "hi");
    for n in 0..5_u64 {
        let attempt = world.attempts().remove(0);
        world.outcome(&attempt, AttemptOutcome::Moved { chat: format!("-{}", 100 + n) });
        assert!(world.attempts().is_empty(), "not at once");
        world.bench.pass(Duration::from_secs(60));
        world.keep();
    }
    // A move of a group that nobody let in leaves no trace.
    let slots = world.disk.len();
    let arrivals = vec![Arrival::Migrated { key: "9/8".into(), from: "-70".into(), to: "-71".into() }];
    let batch = Batch { channel: Channel::Telegram, arrivals, cursor: None };
    world.bench.handle(Event::Channel(ChannelEvent::Arrived(batch)));
    world.keep();
    assert_eq!(world.disk.len(), slots);
}
