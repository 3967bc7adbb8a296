//! The demo agent through the whole agent side.

use std::time::{Duration, Instant};

use clawdis_gateway::agent::{AgentEvent, RunStep, ToolPhase};
use clawdis_gateway::protocol::payload::RunStatus;

use super::harness::Rig;

#[test]
fn it_streams_what_it_was_asked_and_shows_a_tool() {
    let mut rig = Rig::demo();
    let first = rig.ask("hello there, how are you today?");
    assert_eq!(first.status, RunStatus::Ok);
    assert_eq!(first.summary, "You said: hello there, how are you today?");
    assert_eq!(first.shown(), first.summary);
    assert_eq!(first.steps[0], RunStep::Started);
    assert!(first.count(|step| matches!(step, RunStep::Text(_))) > 2, "{:?}", first.steps);
    assert_eq!(first.count(|step| matches!(step, RunStep::Tool(call) if call.phase == ToolPhase::Start && call.name == "clock")), 1);
    assert_eq!(
        first.count(
            |step| matches!(step, RunStep::Tool(call) if call.phase == (ToolPhase::End { is_error: false }))
        ),
        1
    );
    // The same process serves the next one.
    assert_eq!(rig.ask("/new").summary, "You said: /new");
    assert_eq!(rig.leftovers(), []);
}

#[test]
fn a_cancelled_run_ends_soon_and_the_next_one_runs() {
    let mut rig = Rig::demo();
    let run = rig.send("never mind [[slow 20000]]", |_| {});
    rig.until(
        &run,
        "tool call",
        |step| matches!(step, RunStep::Tool(call) if matches!(call.phase, ToolPhase::End { .. })),
    );
    let started = Instant::now();
    rig.cancel(&run);
    assert_eq!(rig.finish(&run).status, RunStatus::Cancelled);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(rig.ask("next").status, RunStatus::Ok);
}

#[test]
fn a_run_over_its_limit_times_out() {
    let mut rig = Rig::demo();
    let run = rig.send("too long [[slow 20000]]", |spec| spec.timeout = Duration::from_millis(300));
    let finished = rig.finish(&run);
    assert_eq!(finished.status, RunStatus::Timeout);
    assert_eq!(finished.summary, "the run reached its limit of 0.3 s");
    assert_eq!(rig.ask("next").status, RunStatus::Ok);
}

#[test]
fn silence_times_out() {
    let exe = super::harness::own_exe();
    let mut rig = Rig::new(&[exe.to_str().unwrap(), "demo-agent"], |config| {
        config.idle_timeout = Duration::from_millis(400);
    });
    let finished = rig.ask("zzz [[slow 20000]]");
    assert_eq!((finished.status, &*finished.summary), (RunStatus::Timeout, "the agent was silent for 0.4 s"));
    assert_eq!(rig.ask("next").status, RunStatus::Ok);
}

#[test]
fn runs_of_one_session_wait_for_each_other_and_queued_ones_can_be_cancelled() {
    let mut rig = Rig::demo();
    let first = rig.send("one [[slow 100]]", |_| {});
    let second = rig.send("two", |_| {});
    let third = rig.send("three", |_| {});
    rig.until(&third, "place in the queue", |step| *step == RunStep::Queued(2));
    rig.cancel(&second);
    let cancelled = rig.finish(&second);
    assert_eq!(cancelled.status, RunStatus::Cancelled);
    assert_eq!(cancelled.steps, [RunStep::Queued(1)]);
    assert_eq!(rig.finish(&first).status, RunStatus::Ok);
    let last = rig.finish(&third);
    assert_eq!((last.status, &*last.summary), (RunStatus::Ok, "You said: three"));
    assert_eq!(last.steps[..2], [RunStep::Queued(2), RunStep::Queued(1)]);
}

#[test]
fn sessions_run_side_by_side() {
    let mut rig = Rig::demo();
    let slow = rig.send("slow [[slow 20000]]", |_| {});
    let other = rig.send("quick", |spec| spec.session_key = "other".into());
    assert_eq!(rig.finish(&other).summary, "You said: quick");
    rig.cancel(&slow);
    assert_eq!(rig.finish(&slow).status, RunStatus::Cancelled);
}

#[test]
fn a_slow_listener_gets_merged_text_and_stalls_nobody() {
    let mut rig = Rig::demo();
    let run = rig.send(&"long ".repeat(40_000), |_| {});
    // Nobody listens until the run must be over; what waits then is little.
    let deadline = Instant::now() + Duration::from_secs(3);
    while rig.events.len() < 4 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    let finished = rig.finish(&run);
    assert_eq!(finished.status, RunStatus::Ok);
    assert_eq!(finished.shown(), finished.summary);
    assert_eq!(finished.summary.len(), "You said: ".len() + 200_000 - 1);
}

#[test]
fn shutting_down_cancels_everything_in_time() {
    let mut rig = Rig::demo();
    let active = rig.send("one [[slow 20000]]", |_| {});
    let queued = rig.send("two", |_| {});
    rig.until(
        &active,
        "tool call",
        |step| matches!(step, RunStep::Tool(call) if matches!(call.phase, ToolPhase::End { .. })),
    );
    let took = rig.shut_down();
    assert!(took < Duration::from_millis(2_500), "{took:?}");
    for run in [active, queued] {
        assert_eq!(rig.finish(&run).status, RunStatus::Cancelled);
    }
    assert_eq!(rig.leftovers(), []);
}

#[test]
fn without_a_command_a_run_is_an_error() {
    let mut rig = Rig::new(&[], |config| config.command = None);
    let finished = rig.ask("hello");
    assert_eq!((finished.status, &*finished.summary), (RunStatus::Error, "no agent is configured"));
}

#[test]
fn a_command_that_does_not_exist_is_an_error_and_trouble() {
    let mut rig = Rig::new(&["/nowhere/agent"], |_| {});
    let finished = rig.ask("hello");
    assert_eq!(finished.status, RunStatus::Error);
    let said = "the agent cannot be started: cannot run `/nowhere/agent`: ";
    assert!(finished.summary.starts_with(said), "{}", finished.summary);
    assert!(finished.summary.ends_with("; install it or give its whole path"), "{}", finished.summary);
    assert!(matches!(&rig.leftovers()[..], [AgentEvent::Trouble(Some(_))]));
}
