//! What a client sees of recorded conversations with the real Pi.

use clawdis_gateway::agent::RunStep;
use clawdis_gateway::protocol::payload::RunStatus::{self, Error, Ok};

use super::harness::{Finished, Rig, test_file};

fn rig(trace: &str) -> Rig {
    let trace = test_file(&format!("fixtures/pi/{trace}.trace.jsonl"));
    Rig::new(&["python3", &test_file("agents/fake_pi.py"), "replay", &trace], |_| {})
}

fn runs(trace: &str, count: usize) -> Vec<Finished> {
    let mut rig = rig(trace);
    (0..count).map(|_| rig.ask("go on")).collect()
}

/// How each run of a recording ends: status and the beginning of the summary.
const ENDS: &[(&str, &[(RunStatus, &str)])] = &[
    ("rpc-basic", &[(Ok, "You said: hello"), (Ok, "users=1 first=second session")]),
    ("rpc-tools-parallel", &[(Ok, "Tool said: A | B")]),
    (
        "rpc-provider-errors",
        &[
            (Error, "400 bad request"),
            (Error, "401 invalid api key"),
            (Error, "403 forbidden"),
            (Error, "404 model not found"),
            (Error, "413 request too large"),
            (Ok, "word1 word2"),
            (Ok, "(the agent gave no answer)"),
            (Ok, "You said: fine again"),
        ],
    ),
    (
        "rpc-provider-retry",
        &[
            (Ok, "You said: recovers"),
            (Error, "529 Overloaded"),
            (Error, "500 internal server error"),
            (Error, "429 rate limited"),
            (Error, "terminated"),
        ],
    ),
    ("rpc-compaction-overflow", &[(Ok, "word1 word2"), (Error, "400 prompt is too long")]),
    ("rpc-abort-text", &[(Error, "the agent dropped the run"), (Ok, "users=2")]),
    ("rpc-abort-tool", &[(Error, "the agent dropped the run"), (Ok, "You said: next")]),
    ("session-8-resumed-after-kill", &[(Ok, "users=")]),
    ("v0.27.9-rpc-basic", &[(Ok, "You said: hello")]),
];

#[test]
fn every_run_ends_as_pi_ended_it() {
    for (trace, ends) in ENDS {
        let finished = runs(trace, ends.len());
        for (run, (status, summary)) in finished.iter().zip(*ends) {
            assert_eq!(run.status, *status, "{trace}: {run:?}");
            assert!(run.summary.starts_with(summary), "{trace}: {run:?}");
        }
    }
}

#[test]
fn tool_calls_are_told_in_order_with_their_results() {
    let finished = runs("rpc-tool", 2);
    assert_eq!(finished[0].shown(), "Let me run that.\n\nTool said: hi");
    assert_eq!(finished[0].summary, "Tool said: hi");
    let two: Vec<_> = finished[1]
        .steps
        .iter()
        .filter_map(|step| match step {
            RunStep::ToolEnd { call_id, result, is_error, .. } => Some((&**call_id, &**result, *is_error)),
            _ => None,
        })
        .collect();
    assert_eq!(
        two,
        [("call_mock_12_1", "two\n\n\nCommand exited with code 3", true), ("call_mock_12_0", "one\n", false)]
    );
}

#[test]
fn a_retry_shows_one_answer() {
    let finished = runs("rpc-provider-errors", 6).remove(5);
    assert_eq!(finished.count(|step| matches!(step, RunStep::Retrying { .. })), 1);
    assert_eq!(finished.count(|step| *step == RunStep::Reset), 1);
    assert_eq!(finished.shown(), finished.summary);
    assert_eq!(finished.summary.matches("word1 ").count(), 1, "{finished:?}");

    let given_up = runs("rpc-provider-retry", 2).remove(1);
    assert_eq!(given_up.count(|step| matches!(step, RunStep::Retrying { .. })), 3);
}

#[test]
fn a_run_lasts_until_its_compaction_is_over() {
    let finished = runs("rpc-compaction-threshold", 7);
    assert_eq!(finished[5].steps.last(), Some(&RunStep::Compacting));
    assert_eq!((finished[6].status, &*finished[6].summary), (Ok, "ok"));
}

#[test]
fn thinking_is_apart_from_the_answer() {
    let finished = runs("rpc-thinking-anthropic", 1).remove(0);
    let thought: String = finished
        .steps
        .iter()
        .filter_map(|step| match step {
            RunStep::Thinking(text) => Some(&**text),
            _ => None,
        })
        .collect();
    assert_eq!(thought, "I should greet the user politely.");
    assert_eq!(finished.shown(), "You said: think");
}

#[test]
fn text_arrives_whole_whatever_its_characters() {
    let finished = runs("rpc-unicode", 2);
    for part in ["👩\u{200d}👩\u{200d}👧\u{200d}👦", "שלום", "[\u{2028}][\u{2029}]", "\"\\\"", "🏁"]
    {
        assert!(finished[0].summary.contains(part), "{part}: {}", finished[0].summary);
    }
    assert!(finished.iter().all(|run| run.shown() == run.summary));
}
