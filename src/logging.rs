//! The log: lines on stdout, as text or JSON, that never hold up who writes them.
//!
//! - A pipe that nobody reads must not stop the gateway: a line is only written when it fits, and
//!   is counted otherwise.
//! - The same line again and again is counted, not repeated.
//! - A bot's token is taken out of a line, wherever it came from.
//! - Lines wait until [`Log::release`], because the first line on stdout says where we listen.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use log::{Level, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

use crate::clock::{utc, wall_ms};
use crate::config::flags::LogFormat;
use crate::limits::{LOG_LINE_BYTES_MAX, LOG_REPEAT_WINDOW_MS, LOG_REPEATS_TRACKED, ms};
use crate::metrics::METRICS;
use crate::protocol::cut;

pub(crate) mod redact;

use redact::redact;

/// The process's logger.
pub struct Log {
    filter: env_logger::Logger,
    format: LogFormat,
    state: Mutex<LogState>,
}

#[derive(Default)]
struct LogState {
    released: bool,
    held: Vec<String>,
    recent: VecDeque<Recent>,
}

/// A line that was written a moment ago.
struct Recent {
    line: (Level, String),
    since: Instant,
    repeats: u64,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// What the targets of this crate's lines begin with.
const OWN_TARGETS: &str = "clawdis_gateway";

impl Log {
    /// Installs the logger. `RUST_LOG` decides what is logged; otherwise `info`, or `debug` if
    /// `verbose`. A second call changes nothing.
    pub fn install(format: LogFormat, verbose: bool) {
        let default = if verbose { "debug" } else { "info" };
        let filter =
            env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(default)).build();
        let level = filter.filter();
        let log = LOG.get_or_init(|| Log { filter, format, state: Mutex::default() });
        if log::set_logger(log).is_ok() {
            log::set_max_level(level);
        }
    }

    /// Writes `first` and everything that was held back, and from now on each line at once.
    pub fn release(first: &str) {
        // The one line that may wait for its reader: whoever starts us waits for it.
        let _ = writeln!(io::stdout(), "{first}").and_then(|()| io::stdout().flush());
        if let Some(log) = LOG.get() {
            let mut state = log.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.released = true;
            for line in std::mem::take(&mut state.held) {
                write_if_it_fits(&line);
            }
        }
    }

    fn write(&self, state: &mut LogState, level: Level, target: &str, message: &str) {
        let line = match self.format {
            LogFormat::Text => format!("{} {level:<5} {target}: {message}\n", utc(wall_ms() / 1_000)),
            LogFormat::Json => {
                let level = level.as_str().to_ascii_lowercase();
                format!(
                    "{}\n",
                    json!({ "ts": wall_ms(), "level": level, "target": target, "message": message })
                )
            }
        };
        if state.released {
            write_if_it_fits(&line);
        } else {
            state.held.push(line);
        }
    }

    /// Whether the line is a repetition that only counts.
    fn repeats(&self, state: &mut LogState, record: &Record<'_>, message: &str) -> bool {
        let now = Instant::now();
        let known = state
            .recent
            .iter()
            .position(|recent| recent.line.0 == record.level() && recent.line.1 == message);
        let gone = match known {
            Some(at) if now.duration_since(state.recent[at].since) < ms(LOG_REPEAT_WINDOW_MS) => {
                state.recent[at].repeats += 1;
                METRICS.log_dropped.up();
                return true;
            }
            Some(at) => state.recent.remove(at),
            None if state.recent.len() >= LOG_REPEATS_TRACKED => state.recent.pop_front(),
            None => None,
        };
        if let Some(Recent { line: (level, line), repeats: repeats @ 1.., .. }) = gone {
            self.write(state, level, "log", &format!("repeated {repeats} times: {line}"));
        }
        state.recent.push_back(Recent { line: (record.level(), message.to_owned()), since: now, repeats: 0 });
        false
    }
}

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        // Ours only, whatever `RUST_LOG` says: tungstenite traces whole frames, tokens
        // included, and ureq the URLs that a bot's token is part of.
        if !record.target().starts_with(OWN_TARGETS) || !self.filter.matches(record) {
            return;
        }
        let text = record.args().to_string();
        let message = cut(&redact(&text), LOG_LINE_BYTES_MAX).replace(['\n', '\r'], " ");
        let target = record.target().strip_prefix("clawdis_gateway::").unwrap_or(record.target());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.repeats(&mut state, record, &message) {
            self.write(&mut state, record.level(), target, &message);
        }
    }

    /// Says what was counted and not written; called at the end.
    fn flush(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for recent in std::mem::take(&mut state.recent) {
            if recent.repeats > 0 {
                let text = format!("repeated {} times: {}", recent.repeats, recent.line.1);
                self.write(&mut state, recent.line.0, "log", &text);
            }
        }
    }
}

/// A writable pipe takes at least 4,096 bytes without blocking (pipe(7)), and lines are shorter.
fn write_if_it_fits(line: &str) {
    let stdout = io::stdout();
    let mut fds = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::OUT)];
    let ready = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0);
    let mut out = stdout.lock();
    if !ready || out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
        METRICS.log_dropped.up();
    }
}
