//! Sessions that nobody uses go after a while, and only then.

use std::time::Duration;

use super::{Bench, config};
use crate::limits::{EXPIRY_INTERVAL, EXPIRY_STEADY_TIME, SANE_CLOCK_MS, ms};
use crate::protocol::payload::RunStatus;
use crate::store::{Recovered, StoreOp};

impl Bench {
    fn forgotten(&mut self) -> Vec<String> {
        let ops = self.take_store().into_iter().flat_map(|command| command.ops);
        let keys = ops.filter_map(|op| match op {
            StoreOp::Forget { session_key } => Some(session_key),
            _ => None,
        });
        keys.collect()
    }
}

fn session(updated_ts: u64) -> String {
    format!("{{\"id\":\"s\",\"n\":1,\"ts\":{updated_ts}}}")
}

#[test]
fn only_what_was_not_used_for_that_long_is_forgotten() {
    let kept = u64::try_from(config().expiry.as_millis()).unwrap();
    let now = SANE_CLOCK_MS + 1_000_000;
    let slots = [
        ("session/old", now - 900_000),
        ("session/new", now),
        ("session/of-a-clock-that-was-not-set", 1_000),
    ];
    let slots = slots.map(|(slot, ts)| (slot.to_owned(), session(ts))).into();
    let mut bench = Bench::recovered(Recovered { slots, ..Recovered::default() });
    bench.connect(1);
    assert!(bench.forgotten().is_empty());
    bench.pass(ms(kept - 100_000));
    assert_eq!(bench.forgotten(), ["old"]);
    bench.pass(EXPIRY_INTERVAL);
    assert_eq!(bench.forgotten(), ["new"]);
    bench.pass(ms(100 * kept));
    assert!(bench.forgotten().is_empty());
}

#[test]
fn a_session_that_is_used_stays() {
    let mut bench = Bench::new();
    bench.connect(1);
    for day in 0..3 {
        bench.agent(1, "a", &format!("k{day}"), "hello");
        bench.keep();
        let run_id = bench.started_runs()[0].run_id.clone();
        bench.end(&run_id, RunStatus::Ok, "hi");
        bench.keep();
        bench.pass(config().expiry.saturating_sub(Duration::from_secs(60)));
        assert!(bench.forgotten().is_empty(), "day {day}");
    }
}

#[test]
fn a_clock_that_leaps_ahead_forgets_nothing_before_it_was_steady() {
    let mut bench = Bench::new();
    let kept = u64::try_from(config().expiry.as_millis()).unwrap();
    bench.connect(1);
    bench.agent(1, "a", "k", "hello");
    bench.keep();
    let run_id = bench.started_runs()[0].run_id.clone();
    bench.end(&run_id, RunStatus::Ok, "hi");
    bench.keep();
    bench.pass(EXPIRY_INTERVAL);
    bench.now.wall_ms += 2 * kept;
    bench.pass(EXPIRY_INTERVAL);
    assert!(bench.forgotten().is_empty(), "it may be set right at any moment");
    bench.pass(EXPIRY_STEADY_TIME);
    assert_eq!(bench.forgotten(), ["main"]);
}

#[test]
fn a_start_forgets_nothing_before_the_clock_was_steady() {
    let slots = [("session/main".to_owned(), session(SANE_CLOCK_MS))].into();
    let mut bench = Bench::recovered(Recovered { slots, ..Recovered::default() });
    let kept = u64::try_from(config().expiry.as_millis()).unwrap();
    bench.now.wall_ms += 2 * kept;
    bench.connect(1);
    bench.pass(EXPIRY_STEADY_TIME);
    assert!(bench.forgotten().is_empty(), "it is ahead");
    bench.now.wall_ms -= 2 * kept;
    bench.pass(EXPIRY_STEADY_TIME);
    bench.pass(EXPIRY_INTERVAL);
    assert!(bench.forgotten().is_empty(), "and is set right");
}
