//! What people are told without having asked: once, and not again.

use std::time::Duration;

use super::world::{World, message, settings};
use crate::channels::delivery::Part;
use crate::state::StateConfig;
use crate::state::model::budget::Limits;

#[test]
fn a_burst_that_waits_is_told_so_once() {
    let mut world = World::with(StateConfig { queue_max: 4, ..settings() });
    world.say(message("1", "1", "1", "first"));
    let first = world.run();
    for key in ["2", "3", "4"] {
        world.say(message(key, "2", "2", key));
        world.bench.pass(Duration::from_secs(2));
    }
    for _ in 0..5 {
        world.bench.pass(Duration::from_secs(5));
        world.keep();
    }
    let letters = world.letters();
    assert!(letters.len() == 1 && letters[0].1.contains("in line"), "{letters:?}");
    // Another wait is another line.
    world.answer(&first, "one");
    let second = world.run();
    world.answer(&second, "two");
    assert!(world.run().prompt.contains('4'), "the rest of the burst");
    world.letters();
    world.say(message("5", "2", "2", "later"));
    world.bench.pass(Duration::from_secs(5));
    world.keep();
    assert_eq!(world.letters().len(), 1);
}

#[test]
fn what_grew_too_old_is_told_in_its_writers_name_and_without_looks() {
    let mut world = World::new();
    let mut old = message("1", "2", "2", "**Update:** [log in](http://evil.example/x)");
    world.bench.pass(Duration::from_secs(2 * 3_600));
    old.name = Some("Boss (owner)".into());
    world.say(old);
    let attempts = world.attempts();
    let Part::Text { text, entities } = &attempts[0].part else { panic!("{attempts:?}") };
    assert!(
        text.contains("\n- Boss owner (telegram:2), 20") && text.contains(": **Update:** [log in]("),
        "{text}"
    );
    assert_eq!(entities.len(), 0, "{entities:?}");
}

#[test]
fn that_the_budget_is_used_up_is_not_told_again_after_a_restart() {
    let mut config = settings();
    config.budget = Limits { runs: 10, runs_per_person: 0 };
    let mut world = World::with(config);
    world.say(message("1", "2", "2", "a"));
    assert_eq!(world.letters().len(), 2, "one line and one notice");
    world.restart();
    world.keep();
    world.say(message("2", "2", "2", "b"));
    let letters = world.letters();
    assert!(letters.is_empty(), "{letters:?}");
}
