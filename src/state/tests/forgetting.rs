//! Forgetting is over when the records and the agent's files are gone, and not before.

use serde_json::json;

use super::Bench;
use crate::agent::{AgentControl, AgentEvent};
use crate::state::{Effect, Event};
use crate::store::{Recovered, StoreEvent, StoreOp};

impl Bench {
    /// How many sessions' files the agent thread was asked to delete since the last call.
    fn deletions(&mut self) -> usize {
        let before = self.effects.len();
        self.effects.retain(|effect| {
            !matches!(effect, Effect::AgentControl(AgentControl::EndSession { delete: true, .. }))
        });
        before - self.effects.len()
    }

    fn forget(&mut self, id: &str) {
        self.request(1, id, "session-forget", json!({ "sessionKey": "main" }));
    }

    fn agent_forgot(&mut self, result: Result<(), String>) {
        self.handle(Event::Agent(AgentEvent::Forgotten { session_key: "main".into(), result }));
    }
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.connect(1);
    bench
}

const SLOT: &str = "forget/main";

#[test]
fn the_answer_waits_for_the_records_and_for_the_agents_files() {
    let mut bench = bench();
    bench.forget("a");
    let command = bench.take_store().remove(0);
    assert!(command.ops.contains(&StoreOp::Put { slot: SLOT.into(), value: "true".into() }));
    assert_eq!(bench.deletions(), 0, "nothing is deleted before it is on record that it has to be");
    bench.handle(Event::Store(StoreEvent::Done { ticket: command.ticket, result: Ok(()), back: Vec::new() }));
    assert_eq!((bench.deletions(), bench.answers().len()), (1, 0));
    bench.agent_forgot(Ok(()));
    assert_eq!(bench.answer()["ok"], true);
    let ops = bench.take_store().remove(0).ops;
    assert_eq!(ops, [StoreOp::Delete { slot: SLOT.into() }]);
}

#[test]
fn a_second_one_is_not_answered_by_the_first_ones_deletion() {
    let mut bench = bench();
    bench.forget("a");
    bench.keep();
    bench.forget("b");
    bench.keep();
    assert_eq!(bench.deletions(), 1);
    bench.agent_forgot(Ok(()));
    assert_eq!(bench.answer()["id"], "a");
    assert_eq!((bench.deletions(), bench.take_store().len()), (1, 0));
    bench.agent_forgot(Ok(()));
    assert_eq!(bench.answer()["id"], "b");
    assert_eq!(bench.take_store().len(), 1);
}

#[test]
fn failures_are_told_and_leave_what_is_to_be_done_on_record() {
    let mut bench = bench();
    bench.forget("a");
    let ticket = bench.take_store()[0].ticket;
    bench.handle(Event::Store(StoreEvent::Done { ticket, result: Err("full".into()), back: Vec::new() }));
    assert_eq!(bench.answer()["error"]["code"], "UNAVAILABLE");
    assert_eq!(bench.deletions(), 0);
    bench.forget("b");
    bench.keep();
    bench.agent_forgot(Err("no".into()));
    assert_eq!(bench.answer()["error"]["code"], "UNAVAILABLE");
    assert_eq!(bench.take_store(), [], "the slot stays");
}

#[test]
fn what_was_left_is_done_at_the_next_start() {
    let slots = [(SLOT.to_owned(), "true".to_owned())].into();
    let mut bench = Bench::recovered(Recovered { slots, ..Recovered::default() });
    assert_eq!(bench.deletions(), 1);
    bench.agent_forgot(Ok(()));
    assert_eq!(bench.take_store()[0].ops, [StoreOp::Delete { slot: SLOT.into() }]);
}
