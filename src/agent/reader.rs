//! Reads one agent process's stdout, line by line, on a thread of its own.
//!
//! It waits only for the agent thread, which never waits for anybody.

use std::io::{BufRead, BufReader, Read};

use crossbeam_channel::Sender;

use crate::agent::pi_line::{self, PiLine};
use crate::agent::scheduler::ProcessId;
use crate::limits::{AGENT_LINE_BUFFER_BYTES, AGENT_LINE_BYTES_MAX};

/// An event of a process's reader.
pub(super) enum ReaderEvent {
    /// The process wrote a line.
    Line(PiLine),
    /// The process broke the protocol, with a sentence on how.
    Fault(String),
    /// The process has closed its stdout.
    Closed,
}

/// Reads until the end or a fault, then says [`ReaderEvent::Closed`] however it ends.
pub(super) fn read(id: ProcessId, stdout: impl Read, to_loop: Sender<(ProcessId, ReaderEvent)>) {
    let closing = Closing { id, to_loop };
    if let Err(fault) = read_lines(stdout, AGENT_LINE_BYTES_MAX, |line| closing.say(ReaderEvent::Line(line)))
    {
        closing.say(ReaderEvent::Fault(fault));
    }
}

/// Hands what every line means to `handle`, until the end or until that says `false`. The error is a sentence about
/// something that is no line.
fn read_lines(
    stdout: impl Read,
    bytes_max: usize,
    mut handle: impl FnMut(PiLine) -> bool,
) -> Result<(), String> {
    let mut reader = BufReader::with_capacity(64 * 1024, stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        line.shrink_to(AGENT_LINE_BUFFER_BYTES);
        // LF only: other line separators occur inside of lines.
        let limit = bytes_max as u64 + 1;
        let read = reader.by_ref().take(limit).read_until(b'\n', &mut line);
        let read = read.map_err(|error| format!("cannot read what the agent writes: {error}"))?;
        if read == 0 {
            return Ok(());
        }
        let whole = line.last() == Some(&b'\n');
        if !whole && read > bytes_max {
            return Err(format!("the agent wrote a line of more than {bytes_max} bytes"));
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        match pi_line::parse(text, &mut handle) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(_) if !whole => return Err("the agent's output ended in the middle of a line".into()),
            Err(fault) => return Err(fault),
        }
    }
}

/// The way to the agent thread, which is told `Closed` at the end, even when the reader panics.
struct Closing {
    id: ProcessId,
    to_loop: Sender<(ProcessId, ReaderEvent)>,
}

impl Closing {
    fn say(&self, event: ReaderEvent) -> bool {
        self.to_loop.send((self.id, event)).is_ok()
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.say(ReaderEvent::Closed);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn lines_of(bytes: &[u8], bytes_max: usize) -> (Vec<PiLine>, Result<(), String>) {
        let lines = RefCell::new(Vec::new());
        let result = read_lines(bytes, bytes_max, |line| {
            lines.borrow_mut().push(line);
            true
        });
        (lines.into_inner(), result)
    }

    #[test]
    fn only_lf_ends_a_line_and_the_last_may_lack_it() {
        let bytes = "{\"type\":\"agent_start\",\"x\":\"\u{2028}\"}\r\n\n{\"type\":\"agent_end\"}".as_bytes();
        assert_eq!(lines_of(bytes, 1_000), (vec![PiLine::AgentStart, PiLine::AgentEnd], Ok(())));
    }

    #[test]
    fn faults_come_after_the_good_lines() {
        for (tail, word) in [("nonsense\n", "`nonsense`"), ("{\"type\":\"ag", "middle"), ("null\n", "`null`")]
        {
            let (lines, result) = lines_of(format!("{{\"type\":\"agent_start\"}}\n{tail}").as_bytes(), 1_000);
            assert_eq!(lines, [PiLine::AgentStart]);
            let fault = result.unwrap_err();
            assert!(fault.contains(word), "{fault}");
        }
    }

    #[test]
    fn a_line_without_end_is_given_up_at_the_bound() {
        let (lines, result) = lines_of(&[b'x'; 5_000], 1_000);
        assert!(lines.is_empty() && result.unwrap_err().contains("1000 bytes"));
    }

    #[test]
    fn closed_is_said_whatever_happens() {
        let (sender, receiver) = crossbeam_channel::bounded(4);
        read(7, &b"garbage"[..], sender);
        assert!(matches!(receiver.recv(), Ok((7, ReaderEvent::Fault(_)))));
        assert!(matches!(receiver.recv(), Ok((7, ReaderEvent::Closed))));
    }
}
