//! What a daemon prints, read on threads so that it never waits for a test.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The lines of one daemon so far. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Shared>);

#[derive(Default)]
struct Shared {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Default)]
struct Lines {
    out: Vec<String>,
    err: Vec<String>,
}

/// Which of the two pipes.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pipe {
    Out,
    Err,
}

impl Output {
    /// Reads `pipe` to its end on a thread of its own.
    pub(crate) fn drain(&self, which: Pipe, pipe: impl Read + Send + 'static) -> thread::JoinHandle<()> {
        let output = self.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
                output.push(which, String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
        })
    }

    /// Adds a line as if it had been read.
    pub(crate) fn push(&self, which: Pipe, line: String) {
        let mut lines = self.0.lines.lock().unwrap();
        if which == Pipe::Out {
            lines.out.push(line);
        } else {
            lines.err.push(line);
        }
        self.0.more.notify_all();
    }

    /// Waits for a line on either pipe that contains `needle`, and returns it.
    #[track_caller]
    pub(crate) fn wait_for(&self, needle: &str, within: Duration) -> String {
        let deadline = Instant::now() + within;
        let mut lines = self.0.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.out.iter().chain(&lines.err).find(|line| line.contains(needle)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Whoever drops the daemon after this prints the lines, and needs the lock for that.
                drop(lines);
                panic!("waited {within:?} in vain for a log line with {needle:?}");
            }
            lines = self.0.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Everything from standard output so far.
    pub(crate) fn out(&self) -> String {
        self.0.lines.lock().unwrap().out.join("\n")
    }

    /// Everything from standard error so far.
    pub(crate) fn err(&self) -> String {
        self.0.lines.lock().unwrap().err.join("\n")
    }

    /// Both, for a person who looks into a failure.
    pub(crate) fn both(&self) -> String {
        format!("--- stdout\n{}\n--- stderr\n{}\n---", self.out(), self.err())
    }
}
