//! The log: lines on stdout, as text or JSON, that never hold up who writes them.
//!
//! - A pipe that nobody reads must not stop the gateway: a line is only written when it fits, and
//!   is counted otherwise.
//! - The same line again and again is counted, not repeated.
//! - Lines from one place in the code are counted beyond so many a minute: what strangers
//!   can bring about, each time with another number in it, must not fill a disk.
//! - A bot's token is taken out of a line, wherever it came from.
//! - Lines wait until [`Log::release`], because the first line on stdout says where we listen.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use log::{Level, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

use crate::clock::{utc, wall_ms};
use crate::limits::{
    LOG_KIND_LINES_MAX, LOG_KIND_WINDOW, LOG_LINE_BYTES_MAX, LOG_REPEAT_WINDOW, LOG_REPEATS_TRACKED,
};
use crate::metrics::METRICS;
use crate::protocol::cut;
use crate::text;

/// The form of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The logger of this process.
pub(crate) struct Log {
    filter: env_logger::Logger,
    state: Mutex<LogState>,
}

struct LogState {
    format: LogFormat,
    /// Lines that wait; `None` from [`Log::release`] on.
    held: Option<Vec<String>>,
    recent: VecDeque<Recent>,
    call_sites: CallSites,
}

/// A line that was written lately.
struct Recent {
    level: Level,
    message: String,
    since: Instant,
    repeats: u64,
}

/// A place in the code that says something: its file and line.
type CallSite = (&'static str, u32);

/// How many lines each place has written lately. There are as many places as there are calls in the code.
#[derive(Default)]
struct CallSites(BTreeMap<CallSite, SiteLines>);

/// The lines of one place within its window.
struct SiteLines {
    since: Instant,
    lines: u64,
    level: Level,
    /// The last line that was only counted.
    last: String,
}

impl CallSites {
    /// Whether one more line from this place may be written.
    fn allow(&mut self, site: CallSite, level: Level, message: &str, now: Instant) -> bool {
        let none = SiteLines { since: now, lines: 0, level, last: String::new() };
        let said = self.0.entry(site).or_insert(none);
        said.lines += 1;
        if said.lines <= LOG_KIND_LINES_MAX {
            return true;
        }
        message.clone_into(&mut said.last);
        false
    }

    /// What to say of the lines that windows which are over by now left out; of all of them if there is no `now`.
    fn settle(&mut self, now: Option<Instant>) -> Vec<(Level, String)> {
        let is_over =
            |said: &SiteLines| now.is_none_or(|now| now.duration_since(said.since) >= LOG_KIND_WINDOW);
        let mut left_out = Vec::new();
        self.0.retain(|_, said| {
            if !is_over(said) {
                return true;
            }
            if let more @ 1.. = said.lines.saturating_sub(LOG_KIND_LINES_MAX) {
                let message = format!("{more} more lines like this one within a minute: {}", said.last);
                left_out.push((said.level, message));
            }
            false
        });
        left_out
    }
}

static LOG: OnceLock<Log> = OnceLock::new();

/// What the targets of this crate's lines begin with.
const OWN_TARGETS: &str = "clawdis_gateway";

impl Log {
    /// Installs the logger. `RUST_LOG` decides what is logged; otherwise `info`, or `debug` if
    /// `verbose`. A second call changes nothing.
    pub(crate) fn install(format: LogFormat, verbose: bool) {
        let default = if verbose { "debug" } else { "info" };
        let filter =
            env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(default)).build();
        let level = filter.filter();
        let (held, recent, call_sites) = (Some(Vec::new()), VecDeque::new(), CallSites::default());
        let state = Mutex::new(LogState { format, held, recent, call_sites });
        let log = LOG.get_or_init(|| Log { filter, state });
        if log::set_logger(log).is_ok() {
            log::set_max_level(level);
        }
    }

    /// Writes `first` and everything that was held back, and from now on each line at once.
    pub(crate) fn release(first: &str) {
        // The one line that may wait for its reader: whoever starts us waits for it.
        let _ = writeln!(io::stdout(), "{first}").and_then(|()| io::stdout().flush());
        if let Some(log) = LOG.get() {
            let mut state = log.state.lock().unwrap_or_else(PoisonError::into_inner);
            for line in state.held.take().into_iter().flatten() {
                write_if_it_fits(&line);
            }
        }
    }
}

impl LogState {
    fn write(&mut self, level: Level, target: &str, message: &str) {
        let line = match self.format {
            LogFormat::Text => format!("{} {level:<5} {target}: {message}\n", utc(wall_ms() / 1_000)),
            LogFormat::Json => {
                let level = level.as_str().to_ascii_lowercase();
                json!({ "ts": wall_ms(), "level": level, "target": target, "message": message }).to_string()
                    + "\n"
            }
        };
        match &mut self.held {
            Some(held) => held.push(line),
            None => write_if_it_fits(&line),
        }
    }

    /// Writes how many lines were only counted.
    fn settle(&mut self, now: Option<Instant>) {
        for (level, message) in self.call_sites.settle(now) {
            self.write(level, "log", &message);
        }
    }

    /// Whether the line is a repetition that only counts.
    fn is_repetition(&mut self, level: Level, message: &str, now: Instant) -> bool {
        let known = self.recent.iter().position(|recent| recent.level == level && recent.message == message);
        let gone = match known {
            Some(at) if now.duration_since(self.recent[at].since) < LOG_REPEAT_WINDOW => {
                self.recent[at].repeats += 1;
                METRICS.log_dropped.up();
                return true;
            }
            Some(at) => self.recent.remove(at),
            None if self.recent.len() >= LOG_REPEATS_TRACKED => self.recent.pop_front(),
            None => None,
        };
        if let Some(gone) = gone {
            self.write_repeats(&gone);
        }
        self.recent.push_back(Recent { level, message: message.to_owned(), since: now, repeats: 0 });
        false
    }

    /// Writes how often a line came again, if it did.
    fn write_repeats(&mut self, Recent { level, message, repeats, .. }: &Recent) {
        if *repeats > 0 {
            self.write(*level, "log", &format!("repeated {repeats} times: {message}"));
        }
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
        let message = shown(&record.args().to_string());
        let target = record.target().strip_prefix("clawdis_gateway::").unwrap_or(record.target());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        state.settle(Some(now));
        if state.is_repetition(record.level(), &message, now) {
            return;
        }
        let site = (record.file_static().unwrap_or_default(), record.line().unwrap_or_default());
        // Whoever asks for details gets them all.
        if record.level() <= Level::Info && !state.call_sites.allow(site, record.level(), &message, now) {
            METRICS.log_dropped.up();
            return;
        }
        state.write(record.level(), target, &message);
    }

    /// Says what was counted and not written; called at the end.
    fn flush(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for recent in std::mem::take(&mut state.recent) {
            state.write_repeats(&recent);
        }
        state.settle(None);
    }
}

/// What a line says, on one line, without secrets and without what would make a reader's terminal do
/// or hide anything: ids and errors of others are in it.
fn shown(message: &str) -> String {
    text::one_line(cut(&redact(message), LOG_LINE_BYTES_MAX))
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

/// What stands in a token's place.
const MARK: &str = "<redacted>";
/// Characters behind the colon of a token that stands alone; Telegram's have 35.
const BARE_SECRET_MIN: usize = 30;

/// `bot123:secret`, as in URLs, becomes `bot<redacted>`; and so does a token without `bot` before
/// it, if it is as long as tokens are. The colon may be encoded (`%3A`).
pub(crate) fn redact(text: &str) -> String {
    let mut clean = String::new();
    let mut copied = 0;
    let mut at = 0;
    let bytes = text.as_bytes();
    while at < bytes.len() {
        let begins = bytes[at].is_ascii_digit() && (at == 0 || !bytes[at - 1].is_ascii_digit());
        match begins.then(|| token_end(&bytes[at..], text[..at].ends_with("bot"))).flatten() {
            Some(length) => {
                clean.push_str(&text[copied..at]);
                clean.push_str(MARK);
                at += length;
                copied = at;
            }
            None => at += 1,
        }
    }
    clean + &text[copied..]
}

/// Length of the token that begins here, if one does.
fn token_end(bytes: &[u8], in_url: bool) -> Option<usize> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = &bytes[digits..];
    let colon = match rest {
        [b':', ..] => 1,
        [b'%', b'3', b'A' | b'a', ..] => 3,
        _ => return None,
    };
    let secret = rest[colon..].iter().take_while(|byte| is_secret(**byte)).count();
    (secret >= if in_url { 1 } else { BARE_SECRET_MIN }).then_some(digits + colon + secret)
}

fn is_secret(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use log::Level;

    use super::{CallSites, redact, shown};
    use crate::limits::{LOG_KIND_LINES_MAX, LOG_KIND_WINDOW};

    #[test]
    fn a_line_is_one_line_and_nothing_but_text() {
        assert_eq!(
            shown("from 5\u{1b}[2J\u{202e}@lid\nERROR\r\u{2028} forged"),
            "from 5[2J@lid ERROR forged"
        );
    }

    #[test]
    fn what_one_place_says_too_often_is_counted_and_other_places_are_heard() {
        let (mut call_sites, start) = (CallSites::default(), Instant::now());
        let mut said = |site: u32, number: u64, at: Instant| {
            call_sites.allow(("file.rs", site), Level::Info, &format!("conn {number}: connected"), at)
        };
        assert!((1..=LOG_KIND_LINES_MAX).all(|number| said(1, number, start)));
        assert!((0..500).all(|number| !said(1, 1_000 + number, start + Duration::from_secs(1))));
        assert!(said(2, 1, start));
        // Within the window nothing is summed up, at its end all of it, once.
        assert!(
            call_sites
                .settle(Some(start + LOG_KIND_WINDOW.saturating_sub(Duration::from_millis(1))))
                .is_empty()
        );
        let end = start + LOG_KIND_WINDOW;
        let left_out = call_sites.settle(Some(end));
        let [(_, summary)] = left_out.as_slice() else { panic!("{} summaries", left_out.len()) };
        assert!(summary.starts_with("500 more lines like"), "{}", summary);
        assert!(summary.ends_with("conn 1499: connected"), "{}", summary);
        assert!(call_sites.settle(None).is_empty());
        assert!(call_sites.allow(("file.rs", 1), Level::Info, "conn 9: connected", end));
    }

    #[test]
    fn tokens_go() {
        let token = "123456789:AAE-abcdefghijklmnopqrstuvwxyz_0123";
        for (text, clean) in [
            (format!("GET https://x/bot{token}/getMe failed"), "GET https://x/bot<redacted>/getMe failed"),
            (
                format!("/file/bot{token}/a.jpg and bot4:gramlab_x!"),
                "/file/bot<redacted>/a.jpg and bot<redacted>!",
            ),
            (format!("it is {token}, {token}"), "it is <redacted>, <redacted>"),
            (format!("bot{}", token.replace(':', "%3A")), "bot<redacted>"),
            ("é bot7:ü".to_owned(), "é bot7:ü"),
        ] {
            assert_eq!(redact(&text), clean);
        }
    }

    #[test]
    fn other_texts_stay() {
        for text in ["", "at 12:30:45Z", "127.0.0.1:8080", "robot 5: beep", "key dm:telegram:123456", "😀1:2"]
        {
            assert_eq!(redact(text), text);
        }
    }
}
