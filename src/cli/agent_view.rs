//! How a run is shown: its text on stdout, everything else on stderr.
//!
//! Knows nothing of connections. On a terminal (or with `--stream`) the text appears as it comes; in a
//! pipe only the final answer is written, because what was written there cannot be taken back when
//! the agent starts its answer over.

use serde_json::Value;

use crate::cli::exit::Failure;
use crate::cli::render::string;
use crate::cli::terminal::{Output, Style, line};

/// What stdout gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The text as it comes.
    Live,
    /// The final text.
    Final,
    /// The final payload as JSON.
    Json,
    /// Every event as JSON, then the final payload.
    JsonLive,
}

/// The view of one run.
pub(crate) struct AgentView<'a> {
    output: &'a Output,
    mode: Mode,
    /// The number that the run's next event should have.
    seq_next: u64,
    /// Events are missing: what was shown is not the whole answer.
    holes: bool,
    /// Text of the answer has been written.
    begun: bool,
    /// Stdout is at the start of a line.
    at_line_start: bool,
}

impl<'a> AgentView<'a> {
    /// Of a run that has not begun.
    pub(crate) fn new(output: &'a Output, stream: bool) -> Self {
        let mode = match (output.json, stream || output.stdout_terminal) {
            (true, _) if stream => Mode::JsonLive,
            (true, _) => Mode::Json,
            (false, true) => Mode::Live,
            (false, false) => Mode::Final,
        };
        Self { output, mode, seq_next: 1, holes: false, begun: false, at_line_start: true }
    }

    /// An `agent` event of this run.
    pub(crate) fn event(&mut self, frame: &Value) -> Result<(), Failure> {
        let payload = &frame["payload"];
        if let Some(seq) = payload["seq"].as_u64() {
            if seq < self.seq_next {
                return Ok(());
            }
            self.holes |= seq > self.seq_next;
            self.seq_next = seq + 1;
        }
        if self.mode == Mode::JsonLive {
            return self.output.write_json_line(frame);
        }
        let data = &payload["data"];
        match payload["stream"].as_str() {
            Some("assistant") if data["reset"] == true => self.reset(),
            Some("assistant") => self.delta(string(&data["delta"])),
            Some("tool") => self.tool(data),
            Some("lifecycle") => self.lifecycle(data),
            Some("error") => self.remark(&format!("error: {}", string(&data["message"]))),
            _ => Ok(()),
        }
    }

    /// The run ended well.
    pub(crate) fn finish(mut self, payload: &Value) -> Result<(), Failure> {
        let summary = string(&payload["summary"]);
        match self.mode {
            Mode::Json | Mode::JsonLive => return self.output.write_json_line(payload),
            Mode::Final => self.text(summary)?,
            Mode::Live if !self.begun => self.text(summary)?,
            Mode::Live if self.holes => {
                self.marker("part of the answer was missed; this is all of it")?;
                self.text(summary)?;
            }
            Mode::Live => {}
        }
        self.end_line()?;
        if payload["truncated"] == true {
            self.remark("the answer was cut; `clawdis history` may have more of it")?;
        }
        Ok(())
    }

    /// The run ended otherwise; with `--json` its payload is printed all the same.
    pub(crate) fn fail(mut self, payload: &Value) -> Result<(), Failure> {
        match self.mode {
            Mode::Json | Mode::JsonLive if payload.is_object() => self.output.write_json_line(payload),
            _ => self.end_line(),
        }
    }

    /// A dim line on stderr, at the start of a line.
    pub(crate) fn remark(&mut self, text: &str) -> Result<(), Failure> {
        if self.output.stderr_terminal {
            self.end_line()?;
            self.output.remark(text);
        }
        Ok(())
    }

    fn delta(&mut self, text: &str) -> Result<(), Failure> {
        if self.mode == Mode::Live { self.text(text) } else { Ok(()) }
    }

    fn text(&mut self, text: &str) -> Result<(), Failure> {
        // Some models begin with an empty line.
        let text = if self.begun { text } else { text.trim_start_matches('\n') };
        if let Some(last) = text.chars().last() {
            self.begun = true;
            self.at_line_start = last == '\n';
            self.output.write_foreign(text)?;
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<(), Failure> {
        if self.mode == Mode::Live && self.begun {
            self.marker("the answer starts over")?;
        }
        self.begun = false;
        self.holes = false;
        Ok(())
    }

    /// A line between two texts: where the text is if that is a terminal, on stderr if not.
    fn marker(&mut self, text: &str) -> Result<(), Failure> {
        self.end_line()?;
        if self.output.stdout_terminal {
            self.output.write(&format!("{}\n", self.output.styled(Style::Yellow, &format!("--- {text} ---"))))
        } else {
            Output::say(text);
            Ok(())
        }
    }

    fn tool(&mut self, data: &Value) -> Result<(), Failure> {
        let name = string(&data["name"]);
        match data["phase"].as_str() {
            Some("start") => self.remark(&format!("[{name}] {}", excerpt(&data["args"]))),
            Some("end") if data["isError"] == true => {
                self.remark(&format!("[{name}] failed: {}", excerpt(&data["result"])))
            }
            _ => Ok(()),
        }
    }

    fn lifecycle(&mut self, data: &Value) -> Result<(), Failure> {
        let reason = data["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
        match data["phase"].as_str() {
            Some("queued") => {
                let position =
                    data["position"].as_u64().map(|at| format!(" at position {at}")).unwrap_or_default();
                self.remark(&format!("queued{position}"))
            }
            Some("retrying") => self.remark(&format!("trying again{reason}")),
            Some("compacting") => self.remark("making room in the conversation"),
            _ => Ok(()),
        }
    }

    /// Ends a line of text that was begun.
    pub(crate) fn end_line(&mut self) -> Result<(), Failure> {
        if !std::mem::replace(&mut self.at_line_start, true) {
            self.output.write("\n")?;
        }
        Ok(())
    }
}

/// The beginning of some JSON, on one line.
fn excerpt(value: &Value) -> String {
    const CHARS_MAX: usize = 160;
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => line(text),
        value => line(&value.to_string()),
    };
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
