//! What a client sees of recorded conversations with the real Pi, every one of them.
//!
//! All prompts of a recording are sent at once, also those that the recorded Pi lost because they
//! came too early: here none may get lost.

mod expected;
mod recording;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fs, thread};

use clawdis_gateway::agent::{AgentEvent, RunStep, ToolPhase, ToolStep};
use clawdis_gateway::protocol::payload::RunStatus;
use expected::{Cue, End, Run, TRACES, Trace};
use recording::{Recorded, ToolResult};
use serde_json::Value;

use crate::runner::harness::{Finished, PATIENCE, Rig, test_file, wait_until};

/// Replays under way at a time. Most of a replay is waiting.
const AT_ONCE: usize = 6;
/// In the log of every prompt.
const PROMPT: &str = r#""type": "prompt""#;
/// What runs that Pi does not end are given.
const IDLE_LIMIT: Duration = Duration::from_secs(2);

#[test]
fn every_recording_has_its_row() {
    let files = fs::read_dir(test_file("fixtures/pi")).unwrap().map(|entry| entry.unwrap().file_name());
    let files: Vec<_> = files.map(|name| name.into_string().unwrap()).collect();
    let traces: BTreeSet<_> = files.iter().filter_map(|name| name.strip_suffix(".trace.jsonl")).collect();
    assert_eq!(traces, TRACES.iter().map(|trace| trace.name).collect());
}

#[test]
fn every_recording_is_seen_as_it_was() {
    // Those that wait the longest first.
    let mut traces: Vec<_> = TRACES.iter().collect();
    traces.sort_by_key(|trace| Reverse(trace.processes));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failed = Vec::new();
        while let Some(&trace) = traces.get(next.fetch_add(1, Ordering::Relaxed)) {
            // In a thread of its own, whose name a failure is told with.
            let replay = thread::Builder::new().name(trace.name.into()).spawn(|| replay(trace)).unwrap();
            if replay.join().is_err() {
                failed.push(trace.name);
            }
        }
        failed
    };
    let failed: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "{failed:?}");
}

fn replay(trace: &Trace) {
    let mut recorded = recording::read(trace.name, |run| trace.runs[run].end != End::AnsweredAnew);
    while recorded.len() < trace.runs.len() {
        recorded.push(Recorded { prompt: format!("prompt {}", recorded.len()), ..Recorded::default() });
    }
    assert_eq!(recorded.len(), trace.runs.len(), "a prompt has no row");
    let file = test_file(&format!("fixtures/pi/{}.trace.jsonl", trace.name));
    let mut rig = Rig::new(&["python3", &test_file("agents/replay_pi.py"), &file], |config| {
        if trace.runs.iter().any(|run| run.end == End::Silent) {
            config.idle_timeout = IDLE_LIMIT;
        }
    });
    let seen = watch(&mut rig, trace, &recorded);
    for ((expected, recorded), seen) in trace.runs.iter().zip(&recorded).zip(&seen) {
        check_end(expected, recorded, seen);
        check_steps(expected, recorded, seen);
    }
    check_commands(&rig, trace, &recorded);
}

/// Sends every prompt, cancels as the rows say, and gives what came.
fn watch(rig: &mut Rig, trace: &Trace, recorded: &[Recorded]) -> Vec<Finished> {
    let send = |run: &Recorded| rig.send(&run.prompt, |spec| spec.images.clone_from(&run.images));
    let ids: Vec<_> = recorded.iter().map(send).collect();
    let mut steps: Vec<Vec<RunStep>> = ids.iter().map(|_| Vec::new()).collect();
    let mut ends: Vec<Vec<(RunStatus, String)>> = ids.iter().map(|_| Vec::new()).collect();
    let mut to_cancel: Vec<_> = trace.runs.iter().map(|run| run.end).collect();
    let index = |of| ids.iter().position(|id| *id == of).unwrap();
    while ends.iter().any(Vec::is_empty) {
        match rig.event("end of every run") {
            AgentEvent::Step { run_id, step } => {
                let run = index(run_id);
                steps[run].push(step);
                if matches!(to_cancel[run], End::Cancelled(cue) if is_met(cue, &steps[run])) {
                    to_cancel[run] = End::Answered;
                    // An agent that is still starting would be ended, not asked.
                    wait_until("prompt in the agent's log", PATIENCE, || {
                        log_of(rig).matches(PROMPT).count() > run
                    });
                    rig.cancel(&ids[run]);
                }
            }
            AgentEvent::Ended { run_id, status, summary } => ends[index(run_id)].push((status, summary)),
            AgentEvent::Forgotten { .. } | AgentEvent::Sandbox { .. } | AgentEvent::Trouble(_) => {}
        }
    }
    rig.shut_down();
    let late = rig.leftovers();
    let of_a_run = |event: &AgentEvent| matches!(event, AgentEvent::Step { .. } | AgentEvent::Ended { .. });
    assert!(!late.iter().any(of_a_run), "after the end of every run: {late:?}");
    let finished = steps.into_iter().zip(ends).map(|(steps, mut ends)| {
        assert_eq!(ends.len(), 1, "a run ended more than once: {ends:?}");
        let (status, summary) = ends.remove(0);
        Finished { steps, status, summary }
    });
    finished.collect()
}

/// What the agent noted of its commands.
fn log_of(rig: &Rig) -> String {
    fs::read_to_string(rig.folder.path().join("received.jsonl")).unwrap_or_default()
}

fn is_met(cue: Cue, steps: &[RunStep]) -> bool {
    match cue {
        Cue::Start => steps.contains(&RunStep::Started),
        Cue::Text => steps.iter().any(|step| matches!(step, RunStep::Text(_))),
        Cue::Tool => {
            steps.iter().any(|step| matches!(step, RunStep::Tool(call) if call.phase == ToolPhase::Start))
        }
        Cue::Retries(count) => {
            steps.iter().filter(|step| matches!(step, RunStep::Retrying(_))).count() == count
        }
    }
}

fn check_end(expected: &Run, recorded: &Recorded, seen: &Finished) {
    let status = match expected.end {
        End::Answered | End::AnsweredAnew => RunStatus::Ok,
        End::Failed | End::Died | End::Refused => RunStatus::Error,
        End::Cancelled(_) => RunStatus::Cancelled,
        End::Silent => RunStatus::Timeout,
    };
    assert_eq!(seen.status, status, "{seen:?}");
    let (said, shown) = (&*seen.summary, seen.shown());
    match expected.end {
        End::Died | End::Refused => {
            let whose = if expected.end == End::Died { "the agent ended" } else { "the agent refused" };
            assert!(said.starts_with(whose) && said.contains(expected.says), "{seen:?}");
        }
        _ => assert!(said.starts_with(expected.says), "{seen:?}"),
    }
    match expected.end {
        End::Answered => assert_eq!(said, recorded.answer.as_deref().unwrap_or(expected.says)),
        End::AnsweredAnew => assert_eq!(said, format!("You said: {}", as_given(&recorded.prompt))),
        End::Failed => assert_eq!(Some(said), recorded.error.as_deref()),
        End::Died | End::Refused | End::Cancelled(_) | End::Silent => {}
    }
    match expected.end {
        End::AnsweredAnew => assert_eq!(shown, said),
        End::Cancelled(_) => assert!(recorded.shown.starts_with(&shown), "{shown} of {}", recorded.shown),
        _ => assert_eq!(shown, recorded.shown),
    }
}

fn check_steps(expected: &Run, recorded: &Recorded, seen: &Finished) {
    assert_eq!(seen.count(|step| *step == RunStep::Started), 1, "{seen:?}");
    assert_eq!(seen.count(|step| matches!(step, RunStep::Error(_))), 0, "{seen:?}");
    let retries = seen.count(|step| matches!(step, RunStep::Retrying(_)));
    let resets = seen.count(|step| *step == RunStep::Reset);
    let compactions = seen.count(|step| *step == RunStep::Compacting);
    let wanted = (expected.retries, expected.resets, expected.compactions);
    assert_eq!((retries, resets, compactions), wanted, "{seen:?}");

    let (mut thinking, mut tools, mut results) = (String::new(), Vec::new(), Vec::new());
    for step in &seen.steps {
        match step {
            RunStep::Thinking(text) => thinking += text,
            RunStep::Tool(ToolStep { call_id, name, text, phase, .. }) => match *phase {
                ToolPhase::Start => tools.push((call_id.clone(), name.clone())),
                ToolPhase::Update => {}
                ToolPhase::End { is_error } => results.push(ToolResult {
                    call_id: call_id.clone(),
                    name: name.clone(),
                    result: text.clone(),
                    is_error,
                }),
            },
            _ => {}
        }
    }
    assert_eq!(thinking, recorded.thinking);
    assert_eq!(tools, recorded.tools);
    let named = results.iter().map(|tool| format!("{}{}", tool.name, if tool.is_error { "!" } else { "" }));
    assert_eq!(named.collect::<Vec<_>>().join(" "), expected.tools);
    // A client that cancels a run is not told of what the abort does to its tools.
    let recorded = if matches!(expected.end, End::Cancelled(_)) { &[][..] } else { &recorded.results };
    assert_eq!(results, recorded);
}

/// Holds what the agent was told to the rules that the recordings taught: each prompt once, in
/// order, and only while nothing goes on; an abort never before the agent works.
fn check_commands(rig: &Rig, trace: &Trace, recorded: &[Recorded]) {
    let log = log_of(rig);
    let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut prompts = Vec::new();
    let mut declined = Vec::new();
    for entry in log.iter().filter(|entry| entry["doomed"].is_null()) {
        let (command, phase) = (&entry["command"], &entry["phase"]);
        match command["type"].as_str().unwrap() {
            "prompt" => {
                assert_eq!(phase, "idle", "{entry}");
                prompts.push(command["message"].as_str().unwrap().to_owned());
                assert_eq!(command["images"].as_array().map_or(0, Vec::len), images(recorded, &prompts));
            }
            "abort" => assert_ne!(phase, "asked", "{entry}"),
            "extension_ui_response" => {
                assert_eq!(command["cancelled"], true, "{entry}");
                declined.push(command["id"].as_str().unwrap().to_owned());
            }
            other => assert_eq!(other, "get_state"),
        }
    }
    // A process that dies before anything else was never seen to read its prompt.
    let unread = usize::from(log.iter().any(|entry| entry["doomed"] == true));
    let given: Vec<_> = recorded.iter().skip(unread).map(|run| as_given(&run.prompt)).collect();
    assert_eq!(prompts, given);
    assert_eq!(declined, recorded.iter().flat_map(|run| run.questions.clone()).collect::<Vec<_>>());
    let processes: BTreeSet<_> = log.iter().map(|entry| entry["pid"].as_u64().unwrap()).collect();
    assert_eq!(processes.len(), trace.processes);
}

/// How many pictures the last of these prompts had.
fn images(recorded: &[Recorded], prompts: &[String]) -> usize {
    recorded.get(prompts.len() - 1).map_or(0, |run| run.images.len())
}

/// Pi would take a leading slash for a command.
fn as_given(prompt: &str) -> String {
    if prompt.starts_with('/') { format!(" {prompt}") } else { prompt.to_owned() }
}
