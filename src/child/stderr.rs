//! The last lines that a child wrote to stderr, made fit for an error text.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Mutex, PoisonError};

use crate::limits::{CHILD_STDERR_LINE_BYTES_MAX, CHILD_STDERR_LINES};

/// The last lines of a child's stderr.
#[derive(Debug, Default)]
pub(super) struct StderrTail(VecDeque<String>);

impl StderrTail {
    fn push(&mut self, raw: &[u8]) {
        let line = plain(&String::from_utf8_lossy(raw));
        if line.is_empty() {
            return;
        }
        if self.0.len() == CHILD_STDERR_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    /// The lines, oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }
}

/// Reads a child's stderr to its end, however much and whatever comes.
pub(super) fn read(stderr: impl Read, tail: &Mutex<StderrTail>) {
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
            tail.lock().unwrap_or_else(PoisonError::into_inner).push(&line);
            line.clear();
        }
    }
    tail.lock().unwrap_or_else(PoisonError::into_inner).push(&line);
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
        let tail = Mutex::new(StderrTail::default());
        read(bytes, &tail);
        tail.into_inner().unwrap().lines()
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
