//! How often a message is tried that the gateway does not live through: a few times, and nothing that
//! only waited, or shared its prompt, goes with it.

use std::time::Duration;

use serde_json::json;

use super::world::{World, message, settings};
use crate::agent::RunSpec;
use crate::limits::ASKED_MAX;
use crate::protocol::event::EventKind;
use crate::protocol::payload::RunStatus;
use crate::state::StateConfig;

const GIVEN_UP: &str = "I was interrupted again and again";

fn two_at_a_time() -> StateConfig {
    StateConfig { processes_max: 2, ..settings() }
}

/// Lives and dies until the poison was given to the agent for the last time.
fn die_of(world: &mut World, poison: &str) {
    for _ in 1..ASKED_MAX {
        world.restart();
        world.keep();
        let run = world.run();
        assert!(run.prompt.contains(poison) && run.prompt.contains("being worked on"), "{}", run.prompt);
    }
    world.restart();
    world.keep();
}

/// Everything that waits, one after the other.
fn answer_all(world: &mut World) -> Vec<RunSpec> {
    let mut asked = Vec::new();
    loop {
        let mut runs = world.bench.started_runs();
        assert!(runs.len() <= 1, "one at a time");
        let Some(run) = runs.pop() else { return asked };
        world.answer(&run, &format!("answer {}", asked.len()));
        asked.push(run);
    }
}

#[test]
fn what_waits_behind_a_poisonous_message_is_answered() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "poison"));
    world.run();
    world.say(message("2", "1", "1", "please water the plants"));
    world.say(message("3", "2", "2", "from the same person"));
    assert_eq!([world.asked("1"), world.asked("2"), world.asked("3")], [1, 0, 0]);
    die_of(&mut world, "poison");
    let given_up = world.letters();
    assert!(
        given_up.len() == 1 && given_up[0].0 == "2" && given_up[0].1.starts_with(GIVEN_UP),
        "{given_up:?}"
    );
    let asked = answer_all(&mut world);
    let prompts: Vec<&str> = asked.iter().map(|run| run.prompt.as_str()).collect();
    assert_eq!(prompts, ["please water the plants", "from the same person"], "as if nothing had been");
    let letters = world.letters();
    assert_eq!(letters.len(), 2, "{letters:?}");
    let said = |text: &str| world.said.iter().filter(|record| record.contains(text)).count();
    assert_eq!(
        (said("water the plants"), said("\"poison"), said("it is asked again")),
        (1, 1, 2),
        "{:?}",
        world.said
    );
}

#[test]
fn what_shared_a_prompt_is_asked_alone_after_a_crash() {
    let mut world = World::with(StateConfig { queue_max: 9, ..settings() });
    world.say(message("1", "2", "2", "first"));
    let first = world.run();
    for (key, text) in [("2", "plants"), ("3", "poison"), ("4", "garden")] {
        world.say(message(key, "2", "2", text));
    }
    world.answer(&first, "one");
    world.letters();
    let merged = world.run();
    assert!(["plants", "poison", "garden"].iter().all(|text| merged.prompt.contains(text)));
    assert_eq!([world.asked("2"), world.asked("3"), world.asked("4")], [1, 1, 1]);
    world.restart();
    world.keep();
    let plants = world.run();
    assert!(plants.prompt.contains("plants") && !plants.prompt.contains("poison"), "{}", plants.prompt);
    assert_eq!([world.asked("2"), world.asked("3"), world.asked("4")], [2, 1, 1]);
    world.answer(&plants, "watered");
    assert!(world.run().prompt.contains("| poison"));
    world.restart();
    world.keep();
    assert!(world.run().prompt.contains("| poison"), "the third time");
    world.restart();
    world.keep();
    assert!(world.letters().iter().any(|(_, text)| text.starts_with(GIVEN_UP)));
    let rest = answer_all(&mut world);
    assert!(rest.len() == 1 && rest[0].prompt.contains("| garden"), "{rest:?}");
}

#[test]
fn what_ran_beside_a_poisonous_message_is_asked_alone() {
    let mut world = World::with(two_at_a_time());
    world.say(message("1", "2", "2", "poison"));
    world.say(message("2", "1", "1", "plants"));
    assert_eq!(world.bench.started_runs().len(), 2);
    assert_eq!([world.asked("1"), world.asked("2")], [1, 1]);
    for life in 2..=ASKED_MAX {
        world.restart();
        world.keep();
        // Also what comes new: it would be counted for the other's doing.
        world.say(message(&format!("1{life}"), "-6", "4", "new"));
        assert!(world.run().prompt.contains("| poison"), "alone with the agent");
        assert_eq!([world.asked("1"), world.asked("2")], [u64::from(life), 1]);
        assert_eq!(world.asked(&format!("1{life}")), 0);
    }
    world.restart();
    world.keep();
    let plants = world.run();
    assert!(plants.prompt.contains("| plants"), "{}", plants.prompt);
    world.answer(&plants, "watered");
    assert!(world.run().prompt.contains("| new"), "and the rest as ever");
}

#[test]
fn a_prompt_is_given_away_when_its_count_is_durable() {
    let mut world = World::new();
    // The agent is free: one write for everything, as for a message that waits for nobody.
    world.say_until_taken(message("1", "2", "2", "first"));
    assert!(world.bench.started_runs().is_empty());
    let commands = world.bench.take_store();
    assert_eq!(commands.len(), 1);
    world.write(commands);
    assert_eq!(world.asked("1"), 1);
    let first = world.run();
    // It waits: its turn is a write of its own, beside the end of the run before it.
    world.say(message("2", "1", "1", "second"));
    assert_eq!(world.asked("2"), 0);
    world.bench.end(&first.run_id, RunStatus::Ok, "one");
    assert!(world.bench.started_runs().is_empty(), "its count is not durable");
    let commands = world.bench.take_store();
    assert_eq!(commands.len(), 2, "both in one turn, so in one sync");
    world.write(commands);
    assert_eq!(world.asked("2"), 1);
    world.run();
}

#[test]
fn a_count_that_cannot_be_written_gives_no_prompt_away() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "first"));
    let first = world.run();
    world.say(message("2", "1", "1", "second"));
    world.bench.end(&first.run_id, RunStatus::Ok, "one");
    for _ in 0..3 {
        world.fail();
        assert!(world.bench.started_runs().is_empty());
        assert!(world.bench.take_store().is_empty(), "not again at once");
        world.bench.pass(Duration::from_secs(1));
    }
    world.keep();
    assert_eq!(world.asked("2"), 1);
    assert_eq!(world.run().prompt, "second");
}

#[test]
fn a_prompt_that_is_stopped_while_its_count_cannot_be_written_leaves_nothing_due() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "first"));
    let first = world.run();
    world.say(message("2", "1", "1", "second"));
    world.bench.end(&first.run_id, RunStatus::Ok, "one");
    world.fail();
    world.bench.request(1, "c", "agent-cancel", json!({ "runId": "r-boot-2" }));
    world.keep();
    // What is over may not be due for ever: the thread would spin.
    world.bench.pass(Duration::from_secs(1));
    world.keep();
    world.bench.pass(Duration::from_secs(1));
    assert!(world.bench.started_runs().is_empty());
}

#[test]
fn a_prompt_that_is_stopped_while_its_count_is_written_is_not_given_away() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "first"));
    let first = world.run();
    world.say(message("2", "2", "2", "second"));
    world.say(message("3", "2", "2", "third"));
    world.bench.end(&first.run_id, RunStatus::Ok, "one");
    let commands = world.bench.take_store();
    world.bench.answers();
    world.bench.request(1, "c", "agent-cancel", json!({ "runId": "r-boot-2" }));
    assert_eq!(world.bench.answer()["payload"]["status"], "cancelled");
    world.write(commands);
    world.keep();
    let third = world.run();
    assert_eq!(third.prompt, "third", "who was not meant is asked");
    assert_eq!(world.asked("3"), 1, "one life, one try");
}

#[test]
fn what_a_client_asks_is_reported_and_not_counted() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "first"));
    let first = world.run();
    world.bench.agent(1, "a", "k", "a client asks");
    world.keep();
    world.answer(&first, "one");
    assert_eq!(world.run().prompt, "a client asks");
    world.say(message("2", "2", "2", "second"));
    world.restart();
    world.keep();
    assert_eq!(world.run().prompt, "second", "the client's is not repeated");
    assert!(world.said.iter().any(|record| record.contains("it is not repeated")), "{:?}", world.said);
}

#[test]
fn places_in_line_are_told_over_all_sessions() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "first"));
    let first = world.run();
    world.bench.events();
    world.say(message("2", "1", "1", "second"));
    world.say(message("3", "-6", "4", "third"));
    let positions = |world: &mut World| -> Vec<(String, u64)> {
        let queued = world
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
    assert_eq!(positions(&mut world), [("main".to_owned(), 1), (group.clone(), 2)]);
    world.answer(&first, "one");
    assert_eq!(positions(&mut world), [(group, 1)]);
}

#[test]
fn a_restored_record_may_count_as_it_likes() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "first"));
    world.run();
    let slot = "inbox/telegram/9/1";
    for (count, number) in [(u64::from(u32::MAX), u64::MAX), (1, u64::MAX)] {
        let mut record: serde_json::Value = serde_json::from_str(&world.disk[slot]).unwrap();
        record["w"]["asked"] = count.into();
        record["w"]["n"] = number.into();
        let mut disk = world.disk.clone();
        disk.insert(slot.to_owned(), record.to_string());
        disk.insert(format!("note/{:020}", u64::MAX), "\"odd\"".to_owned());
        let mut restored = World::on(settings(), disk);
        restored.say(message("2", "1", "1", "later"));
        restored.bench.request(1, "n", "system-event", json!({ "text": "the doorbell rang" }));
        restored.keep();
        let asked = answer_all(&mut restored);
        assert!(asked.iter().any(|run| run.prompt.contains("later")), "{asked:?}");
    }
}

#[test]
fn a_record_of_an_older_version_is_not_said_twice() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "first"));
    world.run();
    let slot = "inbox/telegram/9/1";
    let old = world.disk[slot].replace(",\"said\":true", "");
    assert_ne!(old, world.disk[slot]);
    world.disk.insert(slot.to_owned(), old);
    world.restart();
    world.keep();
    world.run();
    assert_eq!(world.said.iter().filter(|record| record.contains("\"first")).count(), 1, "{:?}", world.said);
}
