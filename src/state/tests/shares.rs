//! What nobody can use up alone: the agent's queue and the day's runs.

use serde_json::json;

use super::harness::{Harness, message, settings, with_queue};

const QUEUE: usize = 32;

fn harness() -> Harness {
    Harness::with(with_queue(QUEUE))
}

/// The owner asks on the command line; whether that is accepted.
fn owner_asks(harness: &mut Harness, key: &str) -> bool {
    let params = json!({ "message": format!("owner {key}"), "idempotencyKey": key });
    harness.bench.answers();
    harness.bench.request(1, key, "agent", params);
    harness.keep();
    let answer = harness.bench.answers().remove(0).1;
    assert!(answer["ok"] == true || answer["error"]["code"] == "RATE_LIMITED", "{answer}");
    answer["ok"] == true
}

#[test]
fn no_member_of_a_group_shuts_the_owner_out() {
    let mut harness = harness();
    harness.say(message("0", "-6", "666", "a long run"));
    let first = harness.run();
    for line in 1..=34 {
        harness.say(message(&line.to_string(), "-6", "666", &format!("line {line};")));
    }
    let waiting = harness.bench.state.runs.waiting();
    assert!(waiting <= QUEUE / 2, "{waiting} of {QUEUE} places are one member's");
    assert!(owner_asks(&mut harness, "a"));
    // Nothing is lost, nor out of its order.
    harness.answer(&first, "done");
    let mut said = String::new();
    while let Some(run) = harness.bench.started_runs().pop() {
        said.push_str(&run.prompt);
        harness.answer(&run, "done");
    }
    let at: Vec<_> = (1..=34).map(|line| said.find(&format!("line {line};")).expect(&said)).collect();
    assert!(at.is_sorted(), "{said}");
    assert!(harness.bench.state.inbox.waiting.is_empty());
}

#[test]
fn what_is_said_behind_somebody_who_has_to_wait_waits_too() {
    let mut config = with_queue(QUEUE);
    config.channels.by_channel.values_mut().for_each(|channel| channel.allowed.push("666".into()));
    let mut harness = Harness::with(config);
    for line in 0..=QUEUE / 2 {
        harness.say(message(&line.to_string(), "666", "666", "hello"));
    }
    let first = harness.run();
    harness.say(message("a", "-6", "666", "the question"));
    harness.say(message("b", "-6", "4", "the answer to it"));
    harness.answer(&first, "done");
    let mut said = String::new();
    while let Some(run) = harness.bench.started_runs().pop() {
        said.push_str(&run.prompt);
        harness.answer(&run, "done");
    }
    let [question, answer] = ["the question", "the answer"].map(|text| said.find(text).expect(&said));
    assert!(question < answer, "{said}");
}

#[test]
fn many_people_together_leave_a_place_to_the_owner() {
    for queue_max in [0, 1, 2, QUEUE] {
        let mut config = with_queue(queue_max);
        config.channels.by_channel.values_mut().for_each(|channel| {
            channel.allowed.extend((10..60).map(|id| id.to_string()));
        });
        let mut harness = Harness::with(config);
        for id in 10..60 {
            harness.say(message(&id.to_string(), &id.to_string(), &id.to_string(), "hello"));
        }
        let taken = harness.bench.state.runs.waiting() + harness.bench.state.runs.active();
        assert_eq!(taken, queue_max.max(1), "of {queue_max} places and the agent's");
        assert_eq!(owner_asks(&mut harness, "a"), queue_max > 0);
        assert!(!owner_asks(&mut harness, "b"), "the owner's part is bounded, too");
    }
}

#[test]
fn the_last_runs_of_the_day_are_the_owners() {
    let mut config = settings();
    (config.agent.daily_runs, config.agent.daily_runs_per_person) = (20, 8);
    let mut harness = Harness::with(config);
    for line in 0..24 {
        let id = (10 + line % 4).to_string();
        harness.say(message(&line.to_string(), "-6", &id, "hello"));
        for run in harness.bench.started_runs() {
            harness.answer(&run, "hi");
        }
    }
    assert_eq!(harness.bench.state.today.runs(), 18, "a tenth is kept");
    for (key, is_asked) in [("a", true), ("b", true), ("c", false)] {
        assert_eq!(owner_asks(&mut harness, key), is_asked, "{key}");
        for run in harness.bench.started_runs() {
            harness.answer(&run, "hi");
        }
    }
}
