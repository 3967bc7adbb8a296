//! One run inside one agent process, as a pure state machine over its lines, and the commands that it writes.
//!
//! It decides when a run is over. `agent_end` alone does not say so: a retry or a compaction may
//! follow. So each `agent_end` is answered with `get_state`, whose response comes after the
//! beginning of either, and the run is over when neither began and nothing is going on.
//!
//! Nothing else writes JSON for Pi. What a person wrote is only ever the text inside a string.

use std::time::Instant;

use serde_json::{Value, json};

use crate::agent::pi_line::{PiLine, Response, StopReason};
use crate::agent::{RunStep, ToolPhase};
use crate::limits::{AGENT_BARRIER_TIMEOUT, AGENT_REPLAY_BYTES_MAX, ERROR_TEXT_BYTES_MAX, SUMMARY_BYTES_MAX};
use crate::protocol::cut;
use crate::protocol::payload::RunStatus;

/// The summary of a run that ends well without a word.
const NO_ANSWER: &str = "(the agent gave no answer)";
/// Bytes that are kept of an answer: of one that is longer than a summary one character more than fits, so
/// that whoever cuts it sees that it was longer.
const ANSWER_BYTES_MAX: usize = SUMMARY_BYTES_MAX + 4;
/// What stands between the texts of two messages of one run.
const BETWEEN_MESSAGES: &str = "\n\n";

/// What follows for the process from a line, or from time.
#[derive(Debug, PartialEq)]
pub(super) enum RunOutput {
    /// A step to show to clients.
    Step(RunStep),
    /// A line to write to the process.
    Write(Vec<u8>),
    /// The end of the run; nothing follows it.
    Finished(RunOutcome),
}

/// How a run ended.
#[derive(Debug, PartialEq)]
pub(super) struct RunOutcome {
    pub(super) status: RunStatus,
    /// The answer, or what went wrong.
    pub(super) summary: String,
    /// Whether the process may serve another run.
    pub(super) is_reusable: bool,
}

/// One run from its prompt to its outcome.
pub(super) struct PiRun {
    prompt_id: String,
    phase: RunPhase,
    is_aborting: bool,
    /// Whether Pi has begun, and not ended, a pause before it asks the provider again or a compaction.
    is_interrupted: bool,
    /// Whether the next `agent_start` begins the failed answer again.
    repeats: bool,
    barrier: Option<Barrier>,
    /// How many `get_state` were sent.
    barriers: u64,
    answer: Answer,
    /// How the model's last message ended, and the error that it came with.
    last: Option<(StopReason, Option<String>)>,
    /// The provider's error when Pi stopped asking again.
    final_error: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum RunPhase {
    /// The prompt is on its way.
    Asked,
    /// The agent works: it is between `agent_start` and `agent_end`.
    Working,
    /// The agent has stopped working, for now or for good.
    Settling,
}

/// A `get_state` that was sent, and when to do something about it.
struct Barrier {
    id: String,
    due: Instant,
    is_busy: bool,
}

impl PiRun {
    /// A run and the line to write for it. `serial` tells it from earlier runs of the process.
    pub(super) fn new(serial: u64, prompt: &str, images: &[(String, String)]) -> (Self, Vec<u8>) {
        let prompt_id = format!("p{serial}");
        let line = prompt_command(&prompt_id, prompt, images);
        let run = Self {
            prompt_id,
            phase: RunPhase::Asked,
            is_aborting: false,
            is_interrupted: false,
            repeats: false,
            barrier: None,
            barriers: 0,
            answer: Answer::default(),
            last: None,
            final_error: None,
        };
        (run, line)
    }

    /// Handles a line of the process.
    pub(super) fn handle(&mut self, line: PiLine, now: Instant, out: &mut Vec<RunOutput>) {
        match line {
            PiLine::Response(response) => self.response(response, now, out),
            PiLine::AgentStart => self.agent_start(out),
            PiLine::AgentEnd => {
                self.phase = RunPhase::Settling;
                self.ask_state(now, out);
            }
            PiLine::MessageStart => self.answer.begin(),
            PiLine::Text { block, delta } => self.answer.text(block, delta, out),
            PiLine::TextEnd { block, content, more } => self.answer.text_end(block, content, more, out),
            PiLine::Thinking(delta) if delta.is_empty() => {}
            PiLine::Thinking(delta) => out.push(RunOutput::Step(RunStep::Thinking(delta))),
            PiLine::MessageEnd { stop, error } => {
                if stop == StopReason::Complete {
                    self.answer.complete();
                }
                self.last = Some((stop, error));
            }
            PiLine::Tool(tool) if tool.phase == ToolPhase::Update && tool.text.is_empty() => {}
            PiLine::Tool(tool) => out.push(RunOutput::Step(RunStep::Tool(tool))),
            PiLine::RetryStart(reason) => {
                self.wait_for_more(out);
                self.is_interrupted = true;
                self.repeats = true;
                out.push(RunOutput::Step(RunStep::Retrying(one_sentence(&reason))));
            }
            PiLine::RetryEnd { success, error } => {
                self.is_interrupted = false;
                if !success {
                    self.repeats = false;
                    self.final_error = error;
                    self.settle(now, out);
                }
            }
            PiLine::CompactionStart => {
                self.wait_for_more(out);
                self.is_interrupted = true;
                out.push(RunOutput::Step(RunStep::Compacting));
            }
            PiLine::CompactionEnd { will_retry } => {
                self.is_interrupted = false;
                self.repeats |= will_retry;
                if !will_retry {
                    self.settle(now, out);
                }
            }
            // Declined: nobody is there who could be asked.
            PiLine::Question(id) => {
                let answer = json!({ "id": id, "type": "extension_ui_response", "cancelled": true });
                out.push(RunOutput::Write(command_line(&answer)));
            }
            PiLine::Other => {}
        }
    }

    /// Asks the agent to drop the run. An `abort` before `agent_start` would be taken and ignored,
    /// so it is sent again then.
    pub(super) fn abort(&mut self, out: &mut Vec<RunOutput>) {
        self.is_aborting = true;
        if self.phase != RunPhase::Asked {
            self.send_abort(out);
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.barrier.as_ref().map(|barrier| barrier.due)
    }

    /// Does what is due by now.
    pub(super) fn tick(&mut self, now: Instant, out: &mut Vec<RunOutput>) {
        let Some(barrier) = self.barrier.take_if(|barrier| barrier.due <= now) else { return };
        if barrier.is_busy {
            self.ask_state(now, out);
        } else {
            // Nothing began after `agent_end`, so the answer is whole, but a process that does
            // not answer is not asked again.
            out.push(RunOutput::Finished(self.outcome(false)));
        }
    }

    /// The outcome of a run whose process is gone: an answer that was complete stands; otherwise `None`.
    pub(super) fn into_outcome(mut self) -> Option<RunOutcome> {
        self.barrier.is_some().then(|| self.outcome(false))
    }

    fn response(&mut self, response: Response, now: Instant, out: &mut Vec<RunOutput>) {
        if let Some(barrier) = self.barrier.take_if(|barrier| response.id.as_ref() == Some(&barrier.id)) {
            if response.is_busy {
                // Either more lines follow soon, or it is asked again.
                let due = now + AGENT_BARRIER_TIMEOUT;
                self.barrier = Some(Barrier { due, is_busy: true, ..barrier });
            } else {
                out.push(RunOutput::Finished(self.outcome(true)));
            }
        } else if self.phase == RunPhase::Asked {
            let ours = response.id.as_ref() == Some(&self.prompt_id) || response.command == "parse";
            if let (true, Some(refusal)) = (ours, response.refusal) {
                let summary = one_sentence(&format!("the agent refused the prompt: {refusal}"));
                out.push(RunOutput::Finished(RunOutcome {
                    status: RunStatus::Error,
                    summary,
                    is_reusable: false,
                }));
            }
        }
    }

    fn agent_start(&mut self, out: &mut Vec<RunOutput>) {
        self.wait_for_more(out);
        self.phase = RunPhase::Working;
        self.is_interrupted = false;
        self.final_error = None;
        if std::mem::take(&mut self.repeats) {
            self.answer.repeat(out);
        }
    }

    /// Goes on, since something follows: the `get_state` under way says nothing about the end, and an `abort`
    /// that was sent may have come too early.
    fn wait_for_more(&mut self, out: &mut Vec<RunOutput>) {
        self.barrier = None;
        if self.is_aborting {
            self.send_abort(out);
        }
    }

    fn send_abort(&self, out: &mut Vec<RunOutput>) {
        let id = format!("{}-abort", self.prompt_id);
        // Without a run in progress it does nothing and still succeeds.
        out.push(RunOutput::Write(command_line(&json!({ "id": id, "type": "abort" }))));
    }

    fn settle(&mut self, now: Instant, out: &mut Vec<RunOutput>) {
        if self.phase == RunPhase::Settling && !self.is_interrupted {
            self.ask_state(now, out);
        }
    }

    fn ask_state(&mut self, now: Instant, out: &mut Vec<RunOutput>) {
        self.barriers += 1;
        let id = format!("{}-state{}", self.prompt_id, self.barriers);
        // The answer comes after everything that was written before it.
        out.push(RunOutput::Write(command_line(&json!({ "id": id, "type": "get_state" }))));
        self.barrier = Some(Barrier { id, due: now + AGENT_BARRIER_TIMEOUT, is_busy: false });
    }

    fn outcome(&mut self, is_reusable: bool) -> RunOutcome {
        let (status, summary) = match self.last.take() {
            Some((StopReason::Error, error)) => {
                let error = error.or(self.final_error.take()).filter(|error| !error.trim().is_empty());
                let error = error.unwrap_or_else(|| "the model's provider failed and gave no reason".into());
                (RunStatus::Error, one_sentence(&error))
            }
            Some((StopReason::Aborted, _)) => (RunStatus::Error, "the agent dropped the run".into()),
            Some((StopReason::Complete, _)) | None => (RunStatus::Ok, self.answer.take_summary()),
        };
        RunOutcome { status, summary, is_reusable }
    }
}

/// The text of a run, as shown and as it may have to be shown again.
#[derive(Debug, Default)]
struct Answer {
    /// Text of the message in progress.
    current: String,
    /// Block that the last piece of text belongs to.
    block: Option<u64>,
    /// While the end of a block comes in pieces: whether they count.
    end_counts: Option<bool>,
    /// Texts of complete messages, as shown.
    complete: String,
    /// Text of the last complete message that had any.
    last: String,
    /// Whether clients have been shown any of it.
    is_shown: bool,
}

impl Answer {
    fn begin(&mut self) {
        self.current.clear();
        self.block = None;
    }

    fn text(&mut self, block: u64, delta: String, out: &mut Vec<RunOutput>) {
        self.block = Some(block);
        if delta.is_empty() {
            return;
        }
        if self.current.is_empty() && self.is_shown {
            out.push(RunOutput::Step(RunStep::Text(BETWEEN_MESSAGES.into())));
        }
        self.is_shown = true;
        let room = ANSWER_BYTES_MAX - self.current.len();
        self.current.push_str(cut(&delta, room));
        out.push(RunOutput::Step(RunStep::Text(delta)));
    }

    /// Handles the end of a block, which repeats its text. That counts only if it came in no pieces.
    fn text_end(&mut self, block: u64, content: String, more: bool, out: &mut Vec<RunOutput>) {
        let counts = self.end_counts.unwrap_or(self.block != Some(block));
        if counts {
            self.text(block, content, out);
        }
        self.end_counts = more.then_some(counts);
    }

    fn complete(&mut self) {
        let text = std::mem::take(&mut self.current);
        self.block = None;
        if text.is_empty() {
            return;
        }
        for part in [if self.complete.is_empty() { "" } else { BETWEEN_MESSAGES }, &text] {
            let room = AGENT_REPLAY_BYTES_MAX - self.complete.len();
            self.complete.push_str(cut(part, room));
        }
        if !text.trim().is_empty() {
            self.last = text;
        }
    }

    /// Has the message in progress shown anew: drops what was shown and shows the complete ones.
    fn repeat(&mut self, out: &mut Vec<RunOutput>) {
        self.begin();
        out.push(RunOutput::Step(RunStep::Reset));
        self.is_shown = !self.complete.is_empty();
        if self.is_shown {
            out.push(RunOutput::Step(RunStep::Text(self.complete.clone())));
        }
    }

    fn take_summary(&mut self) -> String {
        // A message that never ended is better than none.
        self.complete();
        let text = std::mem::take(&mut self.last);
        if text.is_empty() { NO_ANSWER.into() } else { text }
    }
}

/// One line of bounded length out of whatever an error says.
pub(super) fn one_sentence(text: &str) -> String {
    let words: Vec<&str> = cut(text, 2 * ERROR_TEXT_BYTES_MAX).split_whitespace().collect();
    cut(&words.join(" "), ERROR_TEXT_BYTES_MAX).to_owned()
}

/// Begins a run. Pi takes a text that begins with `/` for a command of its own, a skill or a template,
/// so such a text gets a space in front, which keeps it literal.
fn prompt_command(id: &str, message: &str, images: &[(String, String)]) -> Vec<u8> {
    let space = if message.starts_with('/') { " " } else { "" };
    let mut command = json!({ "id": id, "type": "prompt", "message": format!("{space}{message}") });
    if !images.is_empty() {
        let images = images
            .iter()
            .map(|(mime_type, data)| json!({ "type": "image", "mimeType": mime_type, "data": data }));
        command["images"] = Value::Array(images.collect());
    }
    command_line(&command)
}

fn command_line(command: &Value) -> Vec<u8> {
    let mut line = command.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;
