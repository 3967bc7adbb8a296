//! Agents that misbehave: one clear error on one run, and the next run works.

use std::time::{Duration, Instant};

use clawdis_gateway::agent::{AgentControl, AgentEvent, RunStep};
use clawdis_gateway::limits::SUMMARY_BYTES_MAX;
use clawdis_gateway::protocol::call::Thinking;
use clawdis_gateway::protocol::payload::RunStatus::{self, Cancelled, Error, Ok, Timeout};

use crate::runner::harness::{PATIENCE, Rig, acting, wait_until};

/// From the trouble to the end of the next run, the start of an interpreter included.
const NEXT_RUN: Duration = Duration::from_secs(4);

/// Runs the order, checks how it ends, and that the session takes the next message soon.
fn ends(rig: &mut Rig, order: &str, status: RunStatus, said: &str) {
    let finished = rig.ask(order);
    let started = Instant::now();
    assert_eq!(finished.status, status, "{order}: {finished:?}");
    assert!(finished.summary.contains(said), "{order}: {finished:?}");
    assert!(finished.summary.len() < 1_100, "{order}: {} bytes", finished.summary.len());
    assert_eq!(finished.count(|step| *step == RunStep::Started), 1, "{order}");
    let next = rig.ask("hello");
    assert_eq!((next.status, &*next.summary), (Ok, "1: hello"), "after {order}");
    assert!(started.elapsed() < NEXT_RUN, "after {order}: {:?}", started.elapsed());
}

#[test]
fn crashes_are_named_with_what_stderr_said() {
    let mut rig = acting(|_| {});
    ends(&mut rig, "[[exit]]", Error, "the agent ended unexpectedly (exit code 3): Error: cannot go on");
    ends(&mut rig, "[[crash]]", Error, "the agent ended unexpectedly (signal 11)");
    ends(&mut rig, "[[half]]", Error, "the agent's output ended in the middle of a line");
}

#[test]
fn what_is_not_the_protocol_is_named() {
    let mut rig = acting(|_| {});
    ends(&mut rig, "[[garbage]]", Error, "not its protocol: `Welcome to the agent!`");
    ends(&mut rig, "[[null]]", Error, "not its protocol: `null`");
    ends(&mut rig, "[[refuse]]", Error, "the agent refused the prompt: no model set");
}

#[test]
fn a_closed_stdout_is_noticed_although_the_agent_lives() {
    ends(&mut acting(|_| {}), "[[close]]", Error, "the agent closed its output");
}

#[test]
fn a_line_of_100_mb_and_a_line_without_end_are_given_up() {
    let mut rig = acting(|_| {});
    ends(&mut rig, "[[huge]]", Error, "a line of more than");
    ends(&mut rig, "[[flood]]", Error, "a line of more than");
}

#[test]
fn silence_ends_although_the_agent_ignores_everything() {
    let mut rig = acting(|config| config.idle_timeout = Duration::from_millis(1_500));
    let started = Instant::now();
    ends(&mut rig, "[[hang]]", Timeout, "the agent was silent for 1.5 s");
    assert!(started.elapsed() > Duration::from_millis(1_500));
}

#[test]
fn an_agent_that_never_answers_is_trouble_until_one_does() {
    let mut rig = acting(|config| {
        config.start_timeout = Duration::from_secs(5);
        config.env.insert("FAKE_START".into(), "mute".into());
    });
    let finished = rig.ask("hello");
    assert_eq!(finished.status, Error);
    assert!(finished.summary.contains("did not answer within 5 s of its start"), "{finished:?}");
    assert!(matches!(&rig.leftovers()[..], [AgentEvent::Trouble(Some(_))]));
    assert_eq!(rig.ask("hello").status, Ok);
    assert_eq!(rig.leftovers(), [AgentEvent::Trouble(None)]);
}

#[test]
fn an_agent_that_ends_at_once_is_trouble_with_its_reason() {
    let mut rig = acting(|config| {
        config.env.insert("FAKE_START".into(), "exit".into());
    });
    let finished = rig.ask("hello");
    assert_eq!(finished.status, Error);
    assert!(finished.summary.contains("exit code 3): Error: cannot go on"), "{finished:?}");
    assert!(matches!(&rig.leftovers()[..], [AgentEvent::Trouble(Some(_))]));
    assert_eq!(rig.ask("hello").status, Ok);
}

#[test]
fn an_answer_that_ended_stands_whatever_comes_then() {
    let mut rig = acting(|_| {});
    for order in ["[[no-state]]", "[[end-exit]]"] {
        ends(&mut rig, order, Ok, "whole answer");
    }
}

#[test]
fn a_full_stderr_blocks_nobody() {
    ends(&mut acting(|config| config.warm = Duration::ZERO), "[[complain]]", Ok, "complained");
}

#[test]
fn an_empty_answer_says_so() {
    ends(&mut acting(|config| config.warm = Duration::ZERO), "[[empty]]", Ok, "(the agent gave no answer)");
}

#[test]
fn questions_of_extensions_are_declined() {
    let finished = acting(|_| {}).ask("[[ask]]");
    assert_eq!(finished.summary, r#"{"cancelled": true, "id": "q1", "type": "extension_ui_response"}"#);
}

#[test]
fn an_agent_that_asks_and_reads_no_answer_is_ended() {
    ends(&mut acting(|_| {}), "[[nag]]", Error, "the agent does not read what it is sent");
}

#[test]
fn a_cancel_before_the_agent_has_begun_is_not_lost() {
    let mut rig = acting(|_| {});
    assert_eq!(rig.ask("warm up").status, Ok);
    let run = rig.send("[[late]]", |_| {});
    rig.until(&run, "start", |step| *step == RunStep::Started);
    rig.cancel(&run);
    let started = Instant::now();
    assert_eq!(rig.finish(&run).status, Cancelled);
    assert!(started.elapsed() < Duration::from_millis(900), "it took SIGTERM: {:?}", started.elapsed());
    assert_eq!(rig.ask("same process").summary, "3: same process");
}

#[test]
fn a_cancel_of_an_agent_that_ignores_it_takes_no_longer_than_promised() {
    let mut rig = acting(|_| {});
    let pids = rig.folder.path().join("pids");
    let run = rig.send(&format!("[[stubborn {}]]", pids.display()), |_| {});
    rig.until(&run, "text", |step| matches!(step, RunStep::Text(_)));
    let started = Instant::now();
    rig.cancel(&run);
    assert_eq!(rig.finish(&run).status, Cancelled);
    assert!(started.elapsed() < Duration::from_millis(2_900), "{:?}", started.elapsed());
    assert_eq!(crate::runner::guard::survivors(&pids), [0; 0]);
    assert_eq!(rig.ask("hello").summary, "1: hello");
}

#[test]
fn shutting_down_ends_all_agents_in_parallel() {
    let mut rig = acting(|config| config.processes_max = 5);
    let pids = rig.folder.path().join("pids");
    let order = format!("[[stubborn {}]]", pids.display());
    let runs: Vec<_> =
        (0..5).map(|n| rig.send(&order, |spec| spec.session_key = format!("session {n}"))).collect();
    for run in &runs {
        rig.until(run, "text", |step| matches!(step, RunStep::Text(_)));
    }
    let took = rig.shut_down();
    assert!(took < Duration::from_millis(2_700), "{took:?}");
    for run in &runs {
        assert_eq!(rig.finish(run).status, Cancelled);
    }
    assert_eq!(crate::runner::guard::survivors(&pids), [0; 0]);
}

#[test]
fn a_large_prompt_reaches_an_agent_that_is_slow_to_read() {
    let mut rig = acting(|_| {});
    let images = vec![("image/png".to_owned(), "A".repeat(2_000_000))];
    let run = rig.send("look", |spec| spec.images.clone_from(&images));
    let finished = rig.finish(&run);
    // All of it came back, and what is longer than a summary was cut.
    assert_eq!(finished.shown().len(), "1: look image/png ".len() + 2_000_000);
    assert!(finished.summary.len() <= SUMMARY_BYTES_MAX + 4, "{} bytes", finished.summary.len());
    // The first interpreter takes its time to start, and meanwhile the thread serves others.
    let slow = rig.send(&"x".repeat(400_000), |spec| spec.session_key = "other".into());
    let quick = rig.send("quick", |_| {});
    assert_eq!(rig.finish(&quick).summary, "2: quick");
    assert_eq!(rig.finish(&slow).summary, "1: 400000 characters");
}

#[test]
fn another_thinking_level_is_another_process() {
    let mut rig = acting(|_| {});
    assert_eq!(rig.ask("one").summary, "1: one");
    let run = rig.send("two", |spec| spec.thinking = Thinking::High);
    assert_eq!(rig.finish(&run).summary, "1: two");
    let run = rig.send("three", |spec| spec.thinking = Thinking::High);
    assert_eq!(rig.finish(&run).summary, "2: three");
}

#[test]
fn messages_of_one_run_are_told_apart() {
    let finished = acting(|_| {}).ask("[[two]]");
    assert_eq!((finished.shown().as_str(), &*finished.summary), ("first\n\nsecond", "second"));
}

#[test]
fn long_pieces_are_split() {
    let finished = acting(|_| {}).ask("[[big-delta]]");
    let longest =
        finished.steps.iter().map(|step| if let RunStep::Text(text) = step { text.len() } else { 0 });
    assert_eq!(longest.max(), Some(64 * 1024));
    assert_eq!(finished.shown(), "ab".repeat(100_000));
}

#[test]
fn an_ended_session_forgets_and_its_next_run_starts_anew() {
    let mut rig = acting(|_| {});
    assert_eq!(rig.ask("one").summary, "1: one");
    let sessions = rig.folder.path().join("agent");
    assert_eq!(std::fs::read_dir(&sessions).unwrap().count(), 1);
    rig.control.send(AgentControl::EndSession { session_key: "main".into(), delete: true }).unwrap();
    let event = rig.event("word that the files are gone");
    let AgentEvent::Forgotten { session_key, result: Result::Ok(()) } = event else { panic!("{event:?}") };
    assert_eq!((session_key.as_str(), std::fs::read_dir(&sessions).unwrap().count()), ("main", 0));
    let run = rig.send("two", |spec| spec.session_key = "other".into());
    rig.finish(&run);
    assert_eq!(rig.ask("three").summary, "1: three");
    rig.control.send(AgentControl::EndSession { session_key: "main".into(), delete: true }).unwrap();
    rig.control.send(AgentControl::EndSession { session_key: "other".into(), delete: true }).unwrap();
    rig.shut_down();
}

#[test]
fn a_damaged_session_file_is_reported_and_kept() {
    let mut rig = acting(|config| config.warm = Duration::ZERO);
    assert_eq!(rig.ask("one").status, Ok);
    let folder = std::fs::read_dir(rig.folder.path().join("agent")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(folder.join("s1.jsonl"), "garbage").unwrap();
    let finished = rig.ask("two");
    assert_eq!(finished.status, Ok);
    assert_eq!(finished.count(|step| matches!(step, RunStep::Error(said) if said.contains("damaged"))), 1);
    let aside = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    assert!(aside.to_str().unwrap().contains("s1.jsonl.damaged-"), "{aside:?}");
    assert_eq!(std::fs::read_to_string(aside).unwrap(), "garbage");
}

#[test]
fn the_agent_gets_exactly_its_flags_and_its_environment() {
    let mut rig = acting(|config| {
        config.model = Some("mock/mock-1".into());
        config.env.insert("EXTRA".into(), "yes".into());
        config.env.insert("CLAWDIS_TOKEN".into(), "secret".into());
    });
    let run = rig.send("[[about]]", |spec| spec.thinking = Thinking::Low);
    let about: serde_json::Value = serde_json::from_str(&rig.finish(&run).summary).unwrap();
    let argv: Vec<_> = about["argv"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    assert_eq!(argv[..4], ["act", "--mode", "rpc", "--session"]);
    assert!(argv[4].ends_with("/s1.jsonl"), "{argv:?}");
    let flags = ["--thinking", "low", "--no-extensions", "--no-skills", "--no-prompt-templates"];
    assert_eq!(argv[5..10], flags);
    assert_eq!(argv[10..], ["--model", "mock/mock-1"]);
    assert_eq!((about["umask"].as_i64(), about["oom"].as_i64()), (Some(0o077), Some(800)));
    assert_eq!(about["cwd"], rig.folder.path().to_str().unwrap());
    let env = about["env"].as_object().unwrap();
    for (name, value) in [("PI_OFFLINE", "1"), ("PI_TELEMETRY", "0"), ("NO_COLOR", "1"), ("EXTRA", "yes")] {
        assert_eq!(env[name], value);
    }
    // The test runner's own environment is full of these.
    let strangers: Vec<_> =
        env.keys().filter(|name| name.starts_with("CARGO") || name.starts_with("CLAWDIS")).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
}

#[test]
fn an_agent_is_not_held_up_by_who_does_not_listen() {
    let mut rig = acting(|_| {});
    let run = rig.send("[[long 16000]]", |_| {});
    // Far more lines than fit into all the queues together.
    let all_said = rig.folder.path().join("all-said");
    wait_until("the end of what the agent writes", PATIENCE, || all_said.exists());
    let waiting = rig.events.len();
    let finished = rig.finish(&run);
    assert_eq!(finished.status, Ok);
    assert_eq!(finished.shown(), "word wo ".repeat(2_000));
    assert_eq!(finished.shown(), finished.summary);
    assert!(finished.steps.len() < waiting + 64 + 8, "{} steps after {waiting}", finished.steps.len());
}

#[test]
fn cancels_at_any_moment_end_each_run_once_and_cost_no_other_run() {
    let mut rig = Rig::demo();
    for round in 0..40_u64 {
        let cancelled = rig.send(&format!("round {round}"), |_| {});
        let kept = rig.send("kept", |_| {});
        // From before its process has read it until after its end, about 120 ms later.
        let moment = Instant::now() + Duration::from_millis(round * 4);
        while Instant::now() < moment {
            std::thread::yield_now();
        }
        rig.cancel(&cancelled);
        let ended = rig.finish(&cancelled);
        match ended.status {
            Cancelled => assert_eq!(ended.summary, "the run was cancelled"),
            _ => assert_eq!((ended.status, ended.summary), (Ok, format!("You said: round {round}"))),
        }
        let kept = rig.finish(&kept);
        assert_eq!((kept.status, &*kept.summary), (Ok, "You said: kept"));
        assert_eq!(rig.leftovers(), [], "round {round}");
    }
}
