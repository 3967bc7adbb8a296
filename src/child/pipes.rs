//! The pipes to and from a child.
//!
//! Its stdin never makes its writer wait: what the child has not read yet stays here, and a child that reads
//! none of it while more and more is written is given up. Of its stderr the last lines are kept, made fit
//! for an error text.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write as _};
use std::process::ChildStdin;
use std::sync::Mutex;
use std::time::Instant;

use rustix::io::ioctl_fionbio;

use crate::backoff::Backoff;
use crate::limits::{CHILD_STDERR_LINE_BYTES_MAX, CHILD_STDERR_LINES, CHILD_UNREAD_BYTES_MAX, WRITE_RETRY};
use crate::threads;

/// The write end of the pipe and what waits for room in it.
pub(crate) struct PatientStdin {
    // `None` once the child has closed its end; it is never closed from this side, because Pi
    // takes that for an order to drop everything.
    pipe: Option<ChildStdin>,
    pending: VecDeque<u8>,
    /// When to write again, and the pauses after that.
    retry: Option<(Instant, Backoff)>,
    /// Bytes that were written while others waited already.
    behind: usize,
    /// Whether the child has left so much unread that nothing more can be written.
    pub(crate) is_overrun: bool,
}

impl PatientStdin {
    /// Takes the pipe and makes this end of it non-blocking; the child's end has flags of its own.
    pub(super) fn new(pipe: ChildStdin) -> io::Result<Self> {
        ioctl_fionbio(&pipe, true)?;
        Ok(Self { pipe: Some(pipe), pending: VecDeque::new(), retry: None, behind: 0, is_overrun: false })
    }

    /// Writes what there is room for and keeps the rest.
    pub(crate) fn write(&mut self, bytes: &[u8], now: Instant) {
        if self.pipe.is_none() {
            return;
        }
        if self.retry.is_some() {
            self.behind += bytes.len();
            if self.behind > CHILD_UNREAD_BYTES_MAX {
                self.pipe = None;
                self.is_overrun = true;
                return self.drop_pending();
            }
        }
        self.pending.extend(bytes);
        if self.retry.is_none() {
            self.flush(now);
        }
    }

    /// When to call [`Self::flush`] again, if anything waits.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry.as_ref().map(|(at, _)| *at)
    }

    /// Writes what waits. A broken pipe is passed over: the child's end is noticed at its stdout.
    pub(crate) fn flush(&mut self, now: Instant) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut progress = false;
        while !self.pending.is_empty() {
            match pipe.write(self.pending.as_slices().0) {
                Ok(written) => {
                    self.pending.drain(..written);
                    progress = true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let before = self.retry.take().filter(|_| !progress);
                    let mut backoff = before.map_or(WRITE_RETRY, |(_, backoff)| backoff);
                    self.retry = Some((now + backoff.next_pause(), backoff));
                    return;
                }
                Err(_) => {
                    self.pipe = None;
                    break;
                }
            }
        }
        self.drop_pending();
    }

    fn drop_pending(&mut self) {
        self.pending = VecDeque::new();
        self.behind = 0;
        self.retry = None;
    }
}

/// The last lines of a child's stderr, oldest first.
pub(super) type StderrTail = Mutex<VecDeque<String>>;

fn keep(tail: &StderrTail, raw: &[u8]) {
    let line = plain(&String::from_utf8_lossy(raw));
    if line.is_empty() {
        return;
    }
    let mut lines = threads::lock(tail);
    if lines.len() == CHILD_STDERR_LINES {
        lines.pop_front();
    }
    lines.push_back(line);
}

/// Reads a child's stderr to its end, however much and whatever comes.
pub(super) fn read_stderr(stderr: impl Read, tail: &StderrTail) {
    let mut reader = BufReader::with_capacity(4 * 1024, stderr);
    let mut line = Vec::new();
    while let Ok(chunk) = reader.fill_buf() {
        if chunk.is_empty() {
            break;
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        let room = CHILD_STDERR_LINE_BYTES_MAX - line.len();
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            keep(tail, &line);
            line.clear();
        }
    }
    keep(tail, &line);
}

/// The text without escape sequences and control characters.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => match chars.next() {
                // CSI: parameters, then one final character.
                Some('[') => drop(chars.find(|char| ('@'..='~').contains(char))),
                // OSC: up to BEL, or up to the ESC of a string terminator, whose `\` follows.
                Some(']') => {
                    let end = chars.find(|char| matches!(char, '\u{7}' | '\u{1b}'));
                    end.filter(|end| *end == '\u{1b}').and_then(|_| chars.next());
                }
                _ => {}
            },
            '\t' => plain.push(' '),
            char if char.is_control() => {}
            char => plain.push(char),
        }
    }
    plain.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail_of(bytes: &[u8]) -> Vec<String> {
        let tail = StderrTail::default();
        read_stderr(bytes, &tail);
        tail.into_inner().unwrap().into()
    }

    #[test]
    fn colours_titles_and_control_characters_go() {
        assert_eq!(plain("\u{1b}[1;31mError:\u{1b}[0m no\tmodel\r"), "Error: no model");
        assert_eq!(plain("\u{1b}]0;title\u{7}a\u{1b}]8;;x\u{1b}\\b\u{1b}"), "ab");
    }

    #[test]
    fn the_last_lines_stay() {
        let many: Vec<_> = (0..100).map(|n| format!("line {n}\n\n")).collect();
        let lines = tail_of(many.concat().as_bytes());
        assert_eq!(lines.len(), CHILD_STDERR_LINES);
        assert_eq!(lines.last().unwrap(), "line 99");
        assert_eq!(tail_of(b"a\nno newline"), ["a", "no newline"]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let lines = tail_of(&vec![b'x'; 1 << 20]);
        assert_eq!(lines, ["x".repeat(CHILD_STDERR_LINE_BYTES_MAX)]);
    }
}
