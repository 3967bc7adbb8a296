//! Runs by example: what Pi's lines, in orders that were seen, mean to a client.

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::limits::ms;

/// A run that is fed lines, with what came of them.
struct Fed {
    run: PiRun,
    now: Instant,
    out: Vec<RunOutput>,
}

impl Fed {
    fn new() -> Self {
        let (run, line) = PiRun::new(1, "hello", &[]);
        assert_eq!(commands(&[RunOutput::Write(line)]), ["prompt p1"]);
        Self { run, now: Instant::now(), out: Vec::new() }
    }

    fn feed(&mut self, lines: impl IntoIterator<Item = PiLine>) -> &mut Self {
        for line in lines {
            self.run.handle(line, self.now, &mut self.out);
        }
        self
    }

    /// What came since the last call.
    fn take(&mut self) -> Vec<RunOutput> {
        std::mem::take(&mut self.out)
    }

    fn wait(&mut self, time: Duration) -> Vec<RunOutput> {
        self.now += time;
        self.run.tick(self.now, &mut self.out);
        self.take()
    }

    /// Answers the `get_state` that was asked last and takes what comes of it.
    fn answer_state(&mut self, is_busy: bool) -> Vec<RunOutput> {
        let asked = commands(&self.take())
            .into_iter()
            .rev()
            .find_map(|command| command.strip_prefix("get_state ").map(str::to_owned));
        let response = Response {
            id: Some(asked.expect("no `get_state`")),
            command: "get_state".into(),
            refusal: None,
            is_busy,
        };
        self.feed([PiLine::Response(response)]).take()
    }
}

/// `type id` of every command that was written.
fn commands(out: &[RunOutput]) -> Vec<String> {
    let written = out.iter().filter_map(|output| match output {
        RunOutput::Write(line) => Some(line),
        RunOutput::Step(_) | RunOutput::Finished(_) => None,
    });
    written
        .map(|line| serde_json::from_slice(line).unwrap())
        .map(|line: Value| format!("{} {}", line["type"].as_str().unwrap(), line["id"].as_str().unwrap()))
        .collect()
}

fn steps(out: &[RunOutput]) -> Vec<&RunStep> {
    out.iter()
        .filter_map(|output| if let RunOutput::Step(step) = output { Some(step) } else { None })
        .collect()
}

fn text(delta: &str) -> PiLine {
    PiLine::Text { block: 0, delta: delta.into() }
}

fn end(stop: StopReason, error: Option<&str>) -> PiLine {
    PiLine::MessageEnd { stop, error: error.map(str::to_owned) }
}

/// A whole message of the model.
fn message(said: &str) -> [PiLine; 3] {
    [PiLine::MessageStart, text(said), end(StopReason::Complete, None)]
}

fn finished(status: RunStatus, summary: &str, is_reusable: bool) -> RunOutput {
    RunOutput::Finished(RunOutcome { status, summary: summary.into(), is_reusable })
}

#[test]
fn it_is_over_when_the_state_says_so_after_the_end() {
    let mut fed = Fed::new();
    fed.feed([PiLine::AgentStart]).feed(message("hi")).feed([PiLine::AgentEnd]);
    assert!(!fed.out.iter().any(|output| matches!(output, RunOutput::Finished(_))));
    assert_eq!(fed.answer_state(false), [finished(RunStatus::Ok, "hi", true)]);
}

#[test]
fn the_summary_is_the_last_text_and_the_stream_reads_well() {
    let mut fed = Fed::new();
    fed.feed([PiLine::AgentStart]).feed(message("Let me look.")).feed(message("")).feed(message("Found it."));
    let is_shown: String = steps(&fed.out)
        .into_iter()
        .filter_map(|step| if let RunStep::Text(text) = step { Some(&**text) } else { None })
        .collect();
    assert_eq!(is_shown, "Let me look.\n\nFound it.");
    fed.feed([PiLine::AgentEnd]);
    assert_eq!(fed.answer_state(false), [finished(RunStatus::Ok, "Found it.", true)]);
}

#[test]
fn a_block_without_pieces_is_shown_from_its_end() {
    let mut fed = Fed::new();
    fed.feed([PiLine::AgentStart, PiLine::MessageStart, text("one ")]);
    fed.feed([
        PiLine::TextEnd { block: 0, content: "one ".into(), more: false },
        PiLine::TextEnd { block: 1, content: "two".into(), more: false },
    ]);
    fed.feed([end(StopReason::Complete, None), PiLine::AgentEnd]);
    assert_eq!(fed.answer_state(false), [finished(RunStatus::Ok, "one two", true)]);
}

#[test]
fn a_blocks_end_in_pieces_counts_as_a_whole_or_not_at_all() {
    let mut fed = Fed::new();
    let part = |block, content: &str, more| PiLine::TextEnd { block, content: content.into(), more };
    fed.feed([PiLine::AgentStart, PiLine::MessageStart, text("one ")]);
    fed.feed([part(0, "o", true), part(0, "n", true), part(0, "e ", false)]);
    fed.feed([part(1, "t", true), part(1, "w", true), part(1, "o", false), part(1, "again", false)]);
    fed.feed([end(StopReason::Complete, None), PiLine::AgentEnd]);
    assert_eq!(fed.answer_state(false), [finished(RunStatus::Ok, "one two", true)]);
}

#[test]
fn a_retry_drops_the_failed_text_and_keeps_what_was_complete() {
    let mut fed = Fed::new();
    fed.feed([PiLine::AgentStart]).feed(message("kept"));
    fed.feed([
        PiLine::MessageStart,
        text("lost"),
        end(StopReason::Error, Some("529 busy")),
        PiLine::AgentEnd,
    ]);
    fed.take();
    fed.feed([PiLine::RetryStart("529\nbusy".into())]);
    assert_eq!(steps(&fed.take()), [&RunStep::Retrying("529 busy".into())]);
    // The `get_state` that was under way answers now and means nothing.
    let stale =
        Response { id: Some("p1-state1".into()), command: "get_state".into(), refusal: None, is_busy: false };
    assert_eq!(fed.feed([PiLine::Response(stale)]).take(), []);
    assert_eq!(fed.wait(ms(60_000)), [], "a retry may take its time");

    fed.feed([PiLine::AgentStart]);
    assert_eq!(steps(&fed.take()), [&RunStep::Reset, &RunStep::Text("kept".into())]);
    fed.feed(message("again")).feed([PiLine::RetryEnd { success: true, error: None }, PiLine::AgentEnd]);
    assert_eq!(fed.answer_state(false), [finished(RunStatus::Ok, "again", true)]);
}

#[test]
fn a_retry_that_is_given_up_ends_the_run() {
    let mut fed = Fed::new();
    fed.feed([PiLine::AgentStart, PiLine::MessageStart, end(StopReason::Error, None), PiLine::AgentEnd]);
    fed.feed([PiLine::RetryStart("x".into())]).take();
    fed.feed([PiLine::RetryEnd { success: false, error: Some("529 still busy".into()) }]);
    assert_eq!(fed.answer_state(false), [finished(RunStatus::Error, "529 still busy", true)]);
}

#[test]
fn a_compaction_delays_the_end_or_repeats_the_answer() {
    let mut fed = Fed::new();
    fed.feed([PiLine::AgentStart]).feed(message("hi")).feed([PiLine::AgentEnd, PiLine::CompactionStart]);
    assert_eq!(steps(&fed.take()).last(), Some(&&RunStep::Compacting));
    assert_eq!(fed.wait(ms(60_000)), []);
    fed.feed([PiLine::CompactionEnd { will_retry: false }]);
    assert_eq!(fed.answer_state(false), [finished(RunStatus::Ok, "hi", true)]);

    let mut fed = Fed::new();
    fed.feed([
        PiLine::AgentStart,
        PiLine::MessageStart,
        end(StopReason::Error, Some("too long")),
        PiLine::AgentEnd,
    ]);
    fed.feed([PiLine::CompactionStart, PiLine::CompactionEnd { will_retry: true }]).take();
    assert_eq!(fed.wait(ms(60_000)), []);
    assert_eq!(steps(&fed.feed([PiLine::AgentStart]).take()), [&RunStep::Reset]);
}

#[test]
fn a_state_that_is_still_busy_is_asked_again() {
    let mut fed = Fed::new();
    fed.feed([PiLine::AgentStart]).feed(message("hi")).feed([PiLine::AgentEnd]);
    assert_eq!(fed.answer_state(true), []);
    let again = fed.wait(AGENT_BARRIER_TIMEOUT);
    assert_eq!(commands(&again), ["get_state p1-state2"]);
    fed.out = again;
    assert_eq!(fed.answer_state(false), [finished(RunStatus::Ok, "hi", true)]);
}

#[test]
fn an_unanswered_state_ends_the_run_but_not_happily_for_the_process() {
    let mut fed = Fed::new();
    fed.feed([PiLine::AgentStart]).feed(message("hi")).feed([PiLine::AgentEnd]).take();
    assert_eq!(fed.wait(AGENT_BARRIER_TIMEOUT.saturating_sub(ms(1))), []);
    assert_eq!(fed.wait(ms(1)), [finished(RunStatus::Ok, "hi", false)]);
}

#[test]
fn an_abort_waits_for_the_beginning_and_is_repeated_at_each() {
    let mut fed = Fed::new();
    fed.run.abort(&mut fed.out);
    assert_eq!(fed.take(), [], "Pi would take it and ignore it");
    assert_eq!(commands(&fed.feed([PiLine::AgentStart]).take()), ["abort p1-abort"]);
    fed.feed([end(StopReason::Error, Some("529")), PiLine::AgentEnd]).take();
    assert_eq!(commands(&fed.feed([PiLine::RetryStart("529".into())]).take()), ["abort p1-abort"]);
    assert_eq!(commands(&fed.feed([PiLine::AgentStart]).take()), ["abort p1-abort"]);
}

#[test]
fn only_the_refusal_of_its_own_prompt_ends_a_run() {
    let refused = |id: &str, command: &str| {
        let (id, command) = (Some(id.to_owned()), command.to_owned());
        PiLine::Response(Response { id, command, refusal: Some("no key".into()), is_busy: false })
    };
    let mut fed = Fed::new();
    assert_eq!(fed.feed([refused("p0", "prompt"), refused("p0-abort", "abort")]).take(), []);
    let said = "the agent refused the prompt: no key";
    assert_eq!(fed.feed([refused("p1", "prompt")]).take(), [finished(RunStatus::Error, said, false)]);
}

#[test]
fn a_process_that_is_gone_leaves_only_answers_that_had_ended() {
    let mut fed = Fed::new();
    fed.feed([PiLine::AgentStart]).feed(message("hi"));
    assert_eq!(fed.run.into_outcome(), None);
    let mut fed = Fed::new();
    fed.feed([PiLine::AgentStart]).feed(message("hi")).feed([PiLine::AgentEnd]);
    assert_eq!(fed.run.into_outcome().unwrap().summary, "hi");
}

#[test]
fn texts_are_bounded() {
    let mut fed = Fed::new();
    fed.feed([PiLine::AgentStart, PiLine::MessageStart]);
    for _ in 0..10 {
        fed.feed([text(&"ñ".repeat(SUMMARY_BYTES_MAX / 4))]);
    }
    fed.feed([end(StopReason::Complete, None), PiLine::AgentEnd]);
    let Some(RunOutput::Finished(outcome)) = fed.answer_state(false).pop() else { panic!("not finished") };
    let kept = outcome.summary.len();
    assert!(kept > SUMMARY_BYTES_MAX && kept <= ANSWER_BYTES_MAX, "{kept} bytes");

    let long = "why not? ".repeat(1_000);
    let mut fed = Fed::new();
    fed.feed([PiLine::AgentStart, end(StopReason::Error, Some(&long)), PiLine::AgentEnd]);
    let Some(RunOutput::Finished(outcome)) = fed.answer_state(false).pop() else { panic!("not finished") };
    assert!(outcome.summary.len() <= ERROR_TEXT_BYTES_MAX);
}

fn message_of(text: &str) -> String {
    let line = prompt_command("p1", text, &[]);
    assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1), "one line");
    let parsed: Value = serde_json::from_slice(&line).unwrap();
    parsed["message"].as_str().unwrap().to_owned()
}

#[test]
fn text_stays_text() {
    for text in ["plain", "null", "@/etc/passwd", "--help", "two\nlines", "\"},{\"type\":\"bash\"", "!ls", ""]
    {
        assert_eq!(message_of(text), text);
    }
}

#[test]
fn a_slash_never_comes_first() {
    for text in ["/new", "/skill:x", "/"] {
        assert_eq!(message_of(text), format!(" {text}"));
    }
}

#[test]
fn images_have_pi_s_shape() {
    let line = prompt_command("p", "", &[("image/png".into(), "AAAA".into())]);
    let parsed: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(parsed["images"], json!([{ "type": "image", "mimeType": "image/png", "data": "AAAA" }]));
}
