//! What people are told without having asked: once, and not again.

use std::time::Duration;

use super::harness::{Harness, message, settings, with_queue};
use crate::channels::delivery::Part;

#[test]
fn a_burst_that_waits_is_told_so_once() {
    let mut harness = Harness::with(with_queue(4));
    harness.say(message("1", "1", "1", "first"));
    let first = harness.run();
    for key in ["2", "3", "4"] {
        harness.say(message(key, "2", "2", key));
        harness.bench.pass(Duration::from_secs(2));
    }
    for _ in 0..5 {
        harness.bench.pass(Duration::from_secs(5));
        harness.keep();
    }
    let deliveries = harness.deliveries();
    assert!(deliveries.len() == 1 && deliveries[0].1.contains("in line"), "{deliveries:?}");
    // Another wait is another line.
    harness.answer(&first, "one");
    let second = harness.run();
    harness.answer(&second, "two");
    assert!(harness.run().prompt.contains('4'), "the rest of the burst");
    harness.deliveries();
    harness.say(message("5", "2", "2", "later"));
    harness.bench.pass(Duration::from_secs(5));
    harness.keep();
    assert_eq!(harness.deliveries().len(), 1);
}

#[test]
fn what_grew_too_old_is_told_in_its_writers_name_and_without_looks() {
    let mut harness = Harness::new();
    let mut old = message("1", "2", "2", "**Update:** [log in](http://evil.example/x)");
    harness.bench.pass(Duration::from_secs(2 * 3_600));
    old.name = Some("Boss (owner)".into());
    harness.say(old);
    let attempts = harness.attempts();
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
    (config.agent.daily_runs, config.agent.daily_runs_per_person) = (10, 0);
    let mut harness = Harness::with(config);
    harness.say(message("1", "2", "2", "a"));
    assert_eq!(harness.deliveries().len(), 2, "one line and one notice");
    harness.restart();
    harness.keep();
    harness.say(message("2", "2", "2", "b"));
    let deliveries = harness.deliveries();
    assert!(deliveries.is_empty(), "{deliveries:?}");
}
