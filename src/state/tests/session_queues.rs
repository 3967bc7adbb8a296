//! Bursts, directives, budget and heartbeats.

use std::time::Duration;

use serde_json::json;

use super::harness::{Harness, message, settings};
use super::{Bench, config};
use crate::agent::RunStep;
use crate::protocol::call::{RunId, Thinking};
use crate::protocol::event::EventKind;
use crate::protocol::payload::RunStatus;
use crate::store::{Recovered, StoreOp};

impl Bench {
    /// Starts a run and leaves it under way.
    fn busy(&mut self, key: &str) -> RunId {
        self.agent(1, key, key, "first");
        self.keep();
        self.answers();
        let run_id = RunId::clone(&self.started_runs()[0].run_id);
        self.step(&run_id, RunStep::Started);
        self.events();
        run_id
    }

    fn appended(&mut self) -> Vec<String> {
        let ops = self.take_store().into_iter().flat_map(|command| {
            let done =
                crate::store::StoreEvent::Done { ticket: command.ticket, result: Ok(()), back: Vec::new() };
            self.handle(crate::state::Event::Store(done));
            command.ops
        });
        let records = ops.filter_map(|op| match op {
            StoreOp::Append { record, .. } => Some(record),
            _ => None,
        });
        records.collect()
    }
}

fn bench() -> Bench {
    let mut bench = Bench::with(config(), Recovered::default());
    bench.connect(1);
    bench
}

#[test]
fn what_comes_in_while_a_run_is_active_becomes_one_next_prompt() {
    let mut bench = bench();
    let first = bench.busy("a");
    bench.agent(1, "b", "b", "second");
    bench.agent(1, "c", "c", "third");
    bench.keep();
    assert_eq!(bench.answers().len(), 2, "both are acknowledged");
    assert!(bench.started_runs().is_empty(), "they wait for the first");
    let positions: Vec<_> =
        bench.events().into_iter().map(|(_, event, _)| event["data"]["position"].clone()).collect();
    assert_eq!(positions, [json!(1), json!(2)]);
    bench.end(&first, RunStatus::Ok, "done");
    let runs = bench.started_runs();
    assert_eq!(runs.len(), 1, "five lines are not five paid runs");
    let (at_second, at_third) =
        (runs[0].prompt.find("second").unwrap(), runs[0].prompt.find("third").unwrap());
    assert!(at_second < at_third && runs[0].prompt.contains("[test (owner), 20"), "{}", runs[0].prompt);
    bench.keep();
    bench.answers();
    bench.end(&runs[0].run_id, RunStatus::Ok, "both");
    let spoken = bench.appended();
    assert_eq!(
        spoken.iter().filter(|record| record.contains("both")).count(),
        1,
        "answered once in the history"
    );
    let answers = bench.answers();
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|(_, answer)| answer["payload"]["summary"] == "both"));
}

#[test]
fn messages_of_another_level_or_conversation_wait_for_a_prompt_of_their_own() {
    let mut bench = bench();
    let first = bench.busy("a");
    bench.agent(1, "b", "b", "second");
    bench.request(1, "c", "agent", json!({ "message": "third", "thinking": "high", "idempotencyKey": "c" }));
    bench.keep();
    bench.end(&first, RunStatus::Ok, "done");
    let runs = bench.started_runs();
    assert_eq!((runs.len(), runs[0].prompt.as_str()), (1, "second"), "a lone message stays as it is");
    bench.end(&runs[0].run_id, RunStatus::Ok, "done");
    let runs = bench.started_runs();
    assert_eq!((runs[0].prompt.as_str(), runs[0].thinking), ("third", Thinking::High));
}

#[test]
fn cancelling_one_message_of_a_prompt_leaves_the_others_asked() {
    let mut bench = bench();
    let first = bench.busy("a");
    bench.agent(1, "b", "b", "second");
    bench.agent(1, "c", "c", "third");
    bench.keep();
    bench.end(&first, RunStatus::Ok, "done");
    bench.keep();
    bench.answers();
    let lead = RunId::clone(&bench.started_runs()[0].run_id);
    bench.request(1, "x", "agent-cancel", json!({ "runId": &*lead }));
    assert_eq!(bench.cancels(), 1);
    bench.end(&lead, RunStatus::Cancelled, "cancelled");
    bench.keep();
    let answers = bench.answers();
    assert_eq!(answers.len(), 2, "the cancel and the cancelled run: {answers:?}");
    let runs = bench.started_runs();
    let prompt = &runs[0].prompt;
    assert!(
        prompt.contains("| third") && !prompt.contains("second"),
        "not the one that was cancelled: {prompt}"
    );
    assert!(prompt.contains("look before you do it again"), "the agent may have begun with it: {prompt}");
}

#[test]
fn a_waiting_message_can_be_cancelled_without_the_agent() {
    let mut bench = bench();
    let first = bench.busy("a");
    bench.agent(1, "b", "b", "second");
    bench.keep();
    bench.answers();
    bench.request(1, "x", "agent-cancel", json!({ "runId": "r-boot-2" }));
    assert_eq!(bench.cancels(), 0);
    bench.keep();
    let codes: Vec<_> =
        bench.answers().into_iter().map(|(_, answer)| answer["error"]["code"].clone()).collect();
    assert!(codes.contains(&json!("CANCELLED")));
    bench.end(&first, RunStatus::Ok, "done");
    assert!(bench.started_runs().is_empty());
}

#[test]
fn directives_are_answered_without_the_agent() {
    let mut bench = bench();
    let before = bench.state.sessions.current("main").id.clone();
    for (n, (text, expected)) in [
        ("/help", "/think"),
        ("/status", "The agent is idle"),
        ("/think high", "high"),
        ("/think", "say one of"),
    ]
    .iter()
    .enumerate()
    {
        bench.agent(1, "d", &n.to_string(), text);
        bench.keep();
        bench.keep();
        let answers = bench.answers();
        assert_eq!(answers.len(), 2, "{text}: ack and final");
        assert!(
            answers[1].1["payload"]["summary"].as_str().unwrap().contains(expected),
            "{text}: {answers:?}"
        );
    }
    assert!(bench.started_runs().is_empty());
    bench.agent(1, "a", "p", "hello");
    bench.keep();
    assert_eq!(bench.started_runs()[0].thinking, Thinking::High);
    bench.answers();
    bench.agent(1, "n", "n", "/new");
    bench.keep();
    assert_eq!(bench.cancels(), 1, "what ran in the old conversation ends");
    assert_ne!(bench.state.sessions.current("main").id, before);
    assert_eq!(bench.state.sessions.get("main").unwrap().thinking, None);
    bench.agent(1, "s", "s", "/skill:x");
    bench.keep();
}

#[test]
fn notes_that_come_during_a_run_wait_for_the_next_prompt() {
    let mut bench = bench();
    let first = bench.busy("a");
    bench.request(1, "n", "system-event", json!({ "text": "the doorbell rang" }));
    bench.keep();
    bench.end(&first, RunStatus::Ok, "done");
    bench.keep();
    bench.answers();
    bench.agent(1, "b", "b", "hello");
    bench.keep();
    assert!(bench.started_runs()[0].prompt.contains("the doorbell rang"), "the end of a run is no prompt");
}

#[test]
fn a_long_silence_begins_a_new_conversation_unless_the_old_one_is_named() {
    let mut bench = bench();
    let run = bench.busy("a");
    bench.end(&run, RunStatus::Ok, "hi");
    bench.keep();
    bench.answers();
    let old = bench.state.sessions.current("main").id.clone();
    bench.pass(Duration::from_secs(3_599));
    bench.agent(1, "b", "b", "still the same");
    bench.keep();
    let run = bench.started_runs().remove(0);
    assert_eq!(run.session_id, old);
    bench.end(&run.run_id, RunStatus::Ok, "yes");
    bench.keep();
    bench.answers();
    bench.pass(Duration::from_secs(3_600));
    let named = json!({ "message": "x", "sessionId": old, "idempotencyKey": "c" });
    bench.request(1, "c", "agent", named);
    bench.keep();
    let run = bench.started_runs().remove(0);
    assert_eq!(run.session_id, old);
    bench.end(&run.run_id, RunStatus::Ok, "yes");
    bench.keep();
    bench.answers();
    bench.pass(Duration::from_secs(3_600));
    bench.agent(1, "d", "d", "good morning");
    bench.keep();
    assert_ne!(bench.started_runs()[0].session_id, old);
}

#[test]
fn pause_and_resume_work_as_directives_too() {
    let mut bench = bench();
    let first = bench.busy("a");
    bench.agent(1, "p", "p", "/pause");
    bench.keep();
    assert_eq!(bench.cancels(), 1);
    bench.end(&first, RunStatus::Cancelled, "cancelled");
    bench.keep();
    bench.answers();
    bench.agent(1, "b", "b", "hello");
    assert_eq!(bench.answer()["error"]["code"], "UNAVAILABLE");
    bench.agent(1, "r", "r", "/resume");
    bench.keep();
    bench.keep();
    bench.answers();
    bench.agent(1, "c", "c", "hello");
    bench.keep();
    assert_eq!(bench.started_runs().len(), 1);
}

#[test]
fn the_daily_budget_refuses_with_the_time_to_wait() {
    let mut tight = config();
    (tight.agent.daily_runs, tight.agent.daily_runs_per_person) = (1, 1);
    let mut bench = Bench::with(tight, Recovered::default());
    bench.connect(1);
    bench.busy("a");
    bench.agent(1, "b", "b", "more");
    let answer = bench.answer();
    assert_eq!(answer["error"]["code"], "RATE_LIMITED");
    assert!(answer["error"]["retryAfterMs"].as_u64().unwrap() > 1_000);
    bench.agent(1, "c", "c", "/status");
    bench.keep();
    bench.keep();
    assert_eq!(bench.answers().len(), 2, "directives cost nothing");
}

#[test]
fn who_wrote_is_answered_before_a_heartbeat_that_is_due_in_the_same_turn() {
    let mut with = settings();
    with.heartbeat.every_minutes = 10;
    let mut harness = Harness::with(with);
    harness.say(message("1", "1", "1", "first"));
    let run = harness.run();
    harness.answer(&run, "done");
    harness.deliveries();
    harness.arrive(vec![message("2", "1", "1", "and now?")]);
    let commands = harness.bench.take_store();
    harness.bench.now.mono += Duration::from_secs(1_200);
    harness.bench.now.wall_ms += 1_200_000;
    harness.write(commands);
    harness.keep();
    let run = harness.run();
    assert!(run.prompt.contains("and now?"), "{}", run.prompt);
}

#[test]
fn heartbeats_ask_when_nothing_else_runs_and_keep_quiet_when_all_is_well() {
    let mut with = config();
    with.heartbeat.every_minutes = 10;
    let mut bench = Bench::with(with, Recovered::default());
    assert!(bench.state.toggles().heartbeats);
    bench.pass(Duration::from_secs(600));
    assert!(bench.take_store().is_empty(), "never starts a session by itself");
    bench.connect(1);
    let run = bench.busy("a");
    bench.pass(Duration::from_secs(600));
    assert!(bench.take_store().is_empty(), "not while a run is active");
    bench.end(&run, RunStatus::Ok, "hi");
    bench.keep();
    bench.pass(Duration::from_secs(600));
    bench.keep();
    let asked = bench.started_runs();
    assert_eq!(asked[0].prompt, "anything?");
    bench.end(&asked[0].run_id, RunStatus::Ok, " HEARTBEAT_OK\n");
    assert!(bench.appended().is_empty(), "swallowed");
    bench.pass(Duration::from_secs(600));
    bench.keep();
    let asked = bench.started_runs();
    bench.end(&asked[0].run_id, RunStatus::Ok, "the basement is wet");
    assert_eq!(bench.appended().len(), 1);
    bench.answers();
    bench.request(1, "s", "status", json!({}));
    let status = bench.answer();
    assert_eq!(
        status["payload"]["today"],
        json!({ "runs": 3, "runsByPerson": { "heartbeat": 2, "owner": 1 } })
    );
    assert!(
        status["payload"]["heartbeat"]["nextTs"].as_u64() > status["payload"]["heartbeat"]["lastTs"].as_u64()
    );
    assert!(bench.events().iter().any(|(kind, ..)| *kind == EventKind::Agent));
}
