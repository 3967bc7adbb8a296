//! How a run is shown: its text on stdout, everything else on stderr.
//!
//! Knows nothing of connections. On a terminal (or with `--stream`) the text appears as it comes; in a
//! pipe only the final answer is written, because what was written there cannot be taken back when
//! the agent starts its answer over.

use serde_json::Value;

use crate::cli::connection::outcome;
use crate::cli::failure::Result;
use crate::cli::show::facts;
use crate::cli::terminal::{Output, Style, print};
use crate::protocol::cut;

/// How much of a tool's arguments or result is shown.
const EXCERPT_BYTES_MAX: usize = 160;

/// Shows one run, and knows what it has shown of it.
pub(crate) struct AnswerView<'a> {
    output: &'a Output,
    /// Whether the answer is shown as it comes: with `--json` every event, otherwise the text.
    live: bool,
    /// The number that the run's next event should have.
    seq_next: u64,
    /// How many events did not come: what was shown is not the whole answer then.
    missed: u64,
    /// Whether text of the answer has been written.
    begun: bool,
    /// Whether stdout is in the middle of a line.
    in_line: bool,
}

impl<'a> AnswerView<'a> {
    /// A view of a run that has not begun.
    pub(crate) fn new(output: &'a Output, stream: bool) -> Self {
        let live = stream || (output.stdout_terminal && !output.json);
        Self { output, live, seq_next: 1, missed: 0, begun: false, in_line: false }
    }

    /// Shows an `agent` event of this run.
    pub(crate) fn event(&mut self, frame: &Value) -> Result<()> {
        let payload = &frame["payload"];
        let seq = payload["seq"].as_u64().unwrap_or(self.seq_next);
        if seq < self.seq_next {
            return Ok(());
        }
        self.missed += seq - self.seq_next;
        self.seq_next = seq + 1;
        if self.output.json {
            return if self.live { self.output.write_json(frame) } else { Ok(()) };
        }
        let data = &payload["data"];
        match (payload["stream"].as_str(), data["phase"].as_str()) {
            (Some("assistant"), _) if data["reset"] == true => self.reset(),
            (Some("assistant"), _) if self.live => self.text(&data["delta"]),
            (Some("tool"), Some("start")) => self.tool(data, &data["args"]),
            (Some("tool"), Some("end")) if data["isError"] == true => self.tool(data, &data["result"]),
            (Some("lifecycle"), Some("started" | "ended")) => Ok(()),
            (Some("lifecycle" | "error"), _) => self.remark(&facts(data)),
            _ => Ok(()),
        }
    }

    /// Shows the run's final answer, a frame.
    pub(crate) fn finish(&mut self, end: Value) -> Result<()> {
        let payload = &end["payload"];
        if self.output.json {
            if payload.is_object() {
                self.output.write_json(payload)?;
            }
        } else if end["ok"] == true && (!self.begun || self.missed > 0) {
            if self.begun {
                self.marker("part of the answer was missed; this is all of it")?;
            }
            self.begun = false;
            self.text(&payload["summary"])?;
        }
        self.end_line()?;
        if payload["truncated"] == true {
            self.remark("the answer was cut; `clawdis history` may have more of it")?;
        }
        outcome(end).map(drop)
    }

    /// Writes a dim line to stderr, at the start of a line.
    pub(crate) fn remark(&mut self, text: &str) -> Result<()> {
        if self.output.stderr_terminal {
            self.end_line()?;
            self.output.remark(text);
        }
        Ok(())
    }

    /// Ends a line of text that was begun.
    pub(crate) fn end_line(&mut self) -> Result<()> {
        if std::mem::take(&mut self.in_line) { print("\n") } else { Ok(()) }
    }

    fn text(&mut self, text: &Value) -> Result<()> {
        let text = text.as_str().unwrap_or_default();
        // Models like to begin with empty lines.
        let text = if self.begun { text } else { text.trim_start_matches('\n') };
        if !text.is_empty() {
            self.begun = true;
            self.in_line = !text.ends_with('\n');
            self.output.write_foreign(text)?;
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<()> {
        if self.begun {
            self.marker("the answer starts over")?;
        }
        self.begun = false;
        self.missed = 0;
        Ok(())
    }

    /// Writes a line between two texts: where the text is if that is a terminal, to stderr if not.
    fn marker(&mut self, text: &str) -> Result<()> {
        self.end_line()?;
        if self.output.stdout_terminal {
            print(&format!("{}\n", self.output.styled(Style::Yellow, &format!("--- {text} ---"))))
        } else {
            Output::say(text);
            Ok(())
        }
    }

    fn tool(&mut self, data: &Value, detail: &Value) -> Result<()> {
        let name = data["name"].as_str().unwrap_or_default();
        let failed = if data["isError"] == true { "failed: " } else { "" };
        self.remark(&format!("[{name}] {failed}{}", cut(&detail.to_string(), EXCERPT_BYTES_MAX)))
    }
}
