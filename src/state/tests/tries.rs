//! How often a message is tried that the gateway does not live through: a few times, and nothing that
//! only waited, or shared its prompt, goes with it.

use std::time::Duration;

use serde_json::json;

use super::harness::{Harness, message, settings, with_queue};
use crate::agent::RunSpec;
use crate::limits::ASKED_MAX;
use crate::protocol::event::EventKind;
use crate::protocol::payload::RunStatus;
use crate::state::StateConfig;

const GIVEN_UP: &str = "I was interrupted again and again";

fn two_at_a_time() -> StateConfig {
    let mut config = settings();
    config.agent.max_processes = 2;
    config
}

/// Lives and dies until the poison was given to the agent for the last time.
fn die_of(harness: &mut Harness, poison: &str) {
    for _ in 1..ASKED_MAX {
        harness.restart();
        harness.keep();
        let run = harness.run();
        assert!(run.prompt.contains(poison) && run.prompt.contains("being worked on"), "{}", run.prompt);
    }
    harness.restart();
    harness.keep();
}

/// Everything that waits, one after the other.
fn answer_all(harness: &mut Harness) -> Vec<RunSpec> {
    let mut asked = Vec::new();
    loop {
        let mut runs = harness.bench.started_runs();
        assert!(runs.len() <= 1, "one at a time");
        let Some(run) = runs.pop() else { return asked };
        harness.answer(&run, &format!("answer {}", asked.len()));
        asked.push(run);
    }
}

#[test]
fn what_waits_behind_a_poisonous_message_is_answered() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "poison"));
    harness.run();
    harness.say(message("2", "1", "1", "please water the plants"));
    harness.say(message("3", "2", "2", "from the same person"));
    assert_eq!([harness.asked("1"), harness.asked("2"), harness.asked("3")], [1, 0, 0]);
    die_of(&mut harness, "poison");
    let given_up = harness.deliveries();
    assert!(
        given_up.len() == 1 && given_up[0].0 == "2" && given_up[0].1.starts_with(GIVEN_UP),
        "{given_up:?}"
    );
    let asked = answer_all(&mut harness);
    let prompts: Vec<&str> = asked.iter().map(|run| run.prompt.as_str()).collect();
    assert_eq!(prompts, ["please water the plants", "from the same person"], "as if nothing had been");
    let deliveries = harness.deliveries();
    assert_eq!(deliveries.len(), 2, "{deliveries:?}");
    let said = |text: &str| harness.said.iter().filter(|record| record.contains(text)).count();
    assert_eq!(
        (said("water the plants"), said("\"poison"), said("it is asked again")),
        (1, 1, 2),
        "{:?}",
        harness.said
    );
}

#[test]
fn what_shared_a_prompt_is_asked_alone_after_a_crash() {
    let mut harness = Harness::with(with_queue(9));
    harness.say(message("1", "2", "2", "first"));
    let first = harness.run();
    for (key, text) in [("2", "plants"), ("3", "poison"), ("4", "garden")] {
        harness.say(message(key, "2", "2", text));
    }
    harness.answer(&first, "one");
    harness.deliveries();
    let merged = harness.run();
    assert!(["plants", "poison", "garden"].iter().all(|text| merged.prompt.contains(text)));
    assert_eq!([harness.asked("2"), harness.asked("3"), harness.asked("4")], [1, 1, 1]);
    harness.restart();
    harness.keep();
    let plants = harness.run();
    assert!(plants.prompt.contains("plants") && !plants.prompt.contains("poison"), "{}", plants.prompt);
    assert_eq!([harness.asked("2"), harness.asked("3"), harness.asked("4")], [2, 1, 1]);
    harness.answer(&plants, "watered");
    assert!(harness.run().prompt.contains("| poison"));
    harness.restart();
    harness.keep();
    assert!(harness.run().prompt.contains("| poison"), "the third time");
    harness.restart();
    harness.keep();
    assert!(harness.deliveries().iter().any(|(_, text)| text.starts_with(GIVEN_UP)));
    let rest = answer_all(&mut harness);
    assert!(rest.len() == 1 && rest[0].prompt.contains("| garden"), "{rest:?}");
}

#[test]
fn what_ran_beside_a_poisonous_message_is_asked_alone() {
    let mut harness = Harness::with(two_at_a_time());
    harness.say(message("1", "2", "2", "poison"));
    harness.say(message("2", "1", "1", "plants"));
    assert_eq!(harness.bench.started_runs().len(), 2);
    assert_eq!([harness.asked("1"), harness.asked("2")], [1, 1]);
    for life in 2..=ASKED_MAX {
        harness.restart();
        harness.keep();
        // Also what comes new: it would be counted for the other's doing.
        harness.say(message(&format!("1{life}"), "-6", "4", "new"));
        assert!(harness.run().prompt.contains("| poison"), "alone with the agent");
        assert_eq!([harness.asked("1"), harness.asked("2")], [u64::from(life), 1]);
        assert_eq!(harness.asked(&format!("1{life}")), 0);
    }
    harness.restart();
    harness.keep();
    let plants = harness.run();
    assert!(plants.prompt.contains("| plants"), "{}", plants.prompt);
    harness.answer(&plants, "watered");
    assert!(harness.run().prompt.contains("| new"), "and the rest as ever");
}

#[test]
fn a_prompt_is_given_away_when_its_count_is_durable() {
    let mut harness = Harness::new();
    // The agent is free: one write for everything, as for a message that waits for nobody.
    harness.say_until_taken(message("1", "2", "2", "first"));
    assert!(harness.bench.started_runs().is_empty());
    let commands = harness.bench.take_store();
    assert_eq!(commands.len(), 1);
    harness.write(commands);
    assert_eq!(harness.asked("1"), 1);
    let first = harness.run();
    // It waits: its turn is a write of its own, beside the end of the run before it.
    harness.say(message("2", "1", "1", "second"));
    assert_eq!(harness.asked("2"), 0);
    harness.bench.end(&first.run_id, RunStatus::Ok, "one");
    assert!(harness.bench.started_runs().is_empty(), "its count is not durable");
    let commands = harness.bench.take_store();
    assert_eq!(commands.len(), 2, "both in one turn, so in one sync");
    harness.write(commands);
    assert_eq!(harness.asked("2"), 1);
    harness.run();
}

#[test]
fn a_count_that_cannot_be_written_gives_no_prompt_away() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "first"));
    let first = harness.run();
    harness.say(message("2", "1", "1", "second"));
    harness.bench.end(&first.run_id, RunStatus::Ok, "one");
    for _ in 0..3 {
        harness.fail();
        assert!(harness.bench.started_runs().is_empty());
        assert!(harness.bench.take_store().is_empty(), "not again at once");
        harness.bench.pass(Duration::from_secs(1));
    }
    harness.keep();
    assert_eq!(harness.asked("2"), 1);
    assert_eq!(harness.run().prompt, "second");
}

#[test]
fn a_prompt_that_is_stopped_while_its_count_cannot_be_written_leaves_nothing_due() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "first"));
    let first = harness.run();
    harness.say(message("2", "1", "1", "second"));
    harness.bench.end(&first.run_id, RunStatus::Ok, "one");
    harness.fail();
    harness.bench.request(1, "c", "agent-cancel", json!({ "runId": "r-boot-2" }));
    harness.keep();
    // What is over may not be due for ever: the thread would spin.
    harness.bench.pass(Duration::from_secs(1));
    harness.keep();
    harness.bench.pass(Duration::from_secs(1));
    assert!(harness.bench.started_runs().is_empty());
}

#[test]
fn a_prompt_that_is_stopped_while_its_count_is_written_is_not_given_away() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "first"));
    let first = harness.run();
    harness.say(message("2", "2", "2", "second"));
    harness.say(message("3", "2", "2", "third"));
    harness.bench.end(&first.run_id, RunStatus::Ok, "one");
    let commands = harness.bench.take_store();
    harness.bench.answers();
    harness.bench.request(1, "c", "agent-cancel", json!({ "runId": "r-boot-2" }));
    assert_eq!(harness.bench.answer()["payload"]["status"], "cancelled");
    harness.write(commands);
    harness.keep();
    let third = harness.run();
    assert_eq!(third.prompt, "third", "who was not meant is asked");
    assert_eq!(harness.asked("3"), 1, "one life, one try");
}

#[test]
fn what_a_client_asks_is_reported_and_not_counted() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "first"));
    let first = harness.run();
    harness.bench.agent(1, "a", "k", "a client asks");
    harness.keep();
    harness.answer(&first, "one");
    assert_eq!(harness.run().prompt, "a client asks");
    harness.say(message("2", "2", "2", "second"));
    harness.restart();
    harness.keep();
    assert_eq!(harness.run().prompt, "second", "the client's is not repeated");
    assert!(harness.said.iter().any(|record| record.contains("it is not repeated")), "{:?}", harness.said);
}

#[test]
fn places_in_line_are_told_over_all_sessions() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "first"));
    let first = harness.run();
    harness.bench.events();
    harness.say(message("2", "1", "1", "second"));
    harness.say(message("3", "-6", "4", "third"));
    let positions = |harness: &mut Harness| -> Vec<(String, u64)> {
        let queued = harness
            .bench
            .events()
            .into_iter()
            .filter(|(kind, event, _)| *kind == EventKind::Agent && event["data"]["phase"] == "queued");
        queued
            .map(|(_, event, _)| {
                (
                    event["sessionKey"].as_str().unwrap().to_owned(),
                    event["data"]["position"].as_u64().unwrap(),
                )
            })
            .collect()
    };
    let group = "group:telegram:-6".to_owned();
    assert_eq!(positions(&mut harness), [("main".to_owned(), 1), (group.clone(), 2)]);
    harness.answer(&first, "one");
    assert_eq!(positions(&mut harness), [(group, 1)]);
}

#[test]
fn a_restored_record_may_count_as_it_likes() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "first"));
    harness.run();
    let slot = "inbox/telegram/9/1";
    for (count, number) in [(u64::from(u32::MAX), u64::MAX), (1, u64::MAX)] {
        let mut record: serde_json::Value = serde_json::from_str(&harness.disk[slot]).unwrap();
        record["w"]["asked"] = count.into();
        record["w"]["n"] = number.into();
        let mut disk = harness.disk.clone();
        disk.insert(slot.to_owned(), record.to_string());
        disk.insert(format!("note/{:020}", u64::MAX), "\"odd\"".to_owned());
        let mut restored = Harness::on(settings(), disk);
        restored.say(message("2", "1", "1", "later"));
        restored.bench.request(1, "n", "system-event", json!({ "text": "the doorbell rang" }));
        restored.keep();
        let asked = answer_all(&mut restored);
        assert!(asked.iter().any(|run| run.prompt.contains("later")), "{asked:?}");
    }
}

#[test]
fn a_record_of_an_older_version_is_not_said_twice() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "first"));
    harness.run();
    let slot = "inbox/telegram/9/1";
    let old = harness.disk[slot].replace(",\"said\":true", "");
    assert_ne!(old, harness.disk[slot]);
    harness.disk.insert(slot.to_owned(), old);
    harness.restart();
    harness.keep();
    harness.run();
    assert_eq!(
        harness.said.iter().filter(|record| record.contains("\"first")).count(),
        1,
        "{:?}",
        harness.said
    );
}
