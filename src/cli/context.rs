//! What every verb works with: its arguments, the streams, Ctrl-C, and the way to the gateway, also back to
//! one that went away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use serde_json::Value;
use signal_hook::consts::SIGINT;
use signal_hook::flag;

use crate::backoff::jitter;
use crate::cli::args::Args;
use crate::cli::connection::{Client, Connection, NO_EVENTS, check_size};
use crate::cli::failure::{Failure, Result};
use crate::cli::terminal::{Output, print};
use crate::cli::{locate, show};
use crate::limits::{CLI_RECONNECT, CLI_RECONNECT_PAUSE_MAX, CLI_SIGNAL_SLICE, CLI_TIMEOUT};
use crate::names;

/// What a verb works with.
pub(crate) struct Context {
    /// The verb and what was typed for it.
    pub(crate) args: Args,
    /// What `--timeout` says.
    pub(crate) timeout: Option<Duration>,
    pub(crate) output: Output,
    pub(crate) interrupt: Interrupt,
}

impl Context {
    /// Prepares for the verb: reads the common flags and takes SIGINT over.
    pub(crate) fn new(args: Args) -> Result<Self> {
        let timeout = args.seconds("--timeout")?;
        let output = Output::new(args.has("--json"));
        let interrupt = Interrupt::install()
            .map_err(|error| Failure::Failed(format!("cannot handle signals: {error}")))?;
        Ok(Self { args, timeout, output, interrupt })
    }

    /// When one answer must be there.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout.unwrap_or(CLI_TIMEOUT)
    }

    /// Finds the gateway and shakes hands.
    pub(crate) fn connect(&self, client: &Client, deadline: Instant) -> Result<Connection> {
        let [url, token, token_file] = ["--url", "--token", "--token-file"].map(|flag| self.args.value(flag));
        Connection::open(&locate::target(url, token, token_file)?, client, deadline)
    }

    /// Connects again, first after `pause` at least (within bounds); until `give_up`, a refusal or Ctrl-C.
    /// Pauses double up to a bound, and are scattered so that many clients of one gateway do not come back
    /// at the same moment.
    pub(crate) fn reconnect(&self, client: &Client, pause: Duration, give_up: Instant) -> Result<Connection> {
        let mut backoff = CLI_RECONNECT;
        let mut next =
            Instant::now() + scattered(backoff.next_pause()).max(pause.min(CLI_RECONNECT_PAUSE_MAX));
        loop {
            self.interrupt.sleep_until(next.min(give_up))?;
            match self.connect(client, self.deadline()) {
                Err(Failure::Unreachable(_) | Failure::Lost(_) | Failure::TimedOut(_))
                    if Instant::now() < give_up => {}
                done => return done,
            }
            next = Instant::now() + scattered(backoff.next_pause());
        }
    }

    /// Makes a connection for one request and its answer, without events.
    pub(crate) fn ask(&self, method: &str, params: &Value) -> Result<Value> {
        check_size(method, params)?;
        let deadline = self.deadline();
        let mut connection = self.connect(&NO_EVENTS, deadline)?;
        let answer = connection.request(method, params, deadline);
        connection.close();
        answer
    }

    /// Prints a payload: as it is with `--json`, for people otherwise.
    pub(crate) fn show(&self, payload: &Value) -> Result<()> {
        if self.output.json {
            self.output.write_json(payload)
        } else {
            print(&show::payload(payload, &self.output))
        }
    }
}

/// The handler of SIGINT: Ctrl-C ends the process with 130 at once, or sets a flag while a verb holds it back
/// to tidy up.
pub(crate) struct Interrupt {
    ends_at_once: Arc<AtomicBool>,
    seen: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes SIGINT over; from now on it ends the process with 130.
    pub(crate) fn install() -> io::Result<Self> {
        let interrupt =
            Self { ends_at_once: Arc::new(AtomicBool::new(true)), seen: Arc::new(AtomicBool::new(false)) };
        // In this order: the first signal while held must only set the flags, the second end us.
        flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(&interrupt.ends_at_once))?;
        flag::register(SIGINT, Arc::clone(&interrupt.ends_at_once))?;
        flag::register(SIGINT, Arc::clone(&interrupt.seen))?;
        Ok(interrupt)
    }

    /// From now on the first Ctrl-C only makes [`Interrupt::is_pressed`] true; a second one ends the
    /// process.
    pub(crate) fn hold(&self) {
        self.ends_at_once.store(false, Ordering::SeqCst);
    }

    /// Whether Ctrl-C was pressed while held.
    pub(crate) fn is_pressed(&self) -> bool {
        self.seen.load(Ordering::SeqCst)
    }

    /// Sleeps until then, or until Ctrl-C.
    pub(crate) fn sleep_until(&self, until: Instant) -> Result<()> {
        while !self.is_pressed() {
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(());
            }
            thread::sleep(rest.min(CLI_SIGNAL_SLICE));
        }
        Err(Failure::Interrupted("interrupted while there was no connection".to_owned()))
    }
}

/// Between half and all of a pause.
fn scattered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - jitter(0.5))
}

/// An idempotency key, or a part of an id, that nobody else has: 32 hex digits.
pub(crate) fn random_key() -> Result<String> {
    names::random(16).map_err(|error| Failure::Failed(format!("no randomness for a key: {error}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::scattered;

    #[test]
    fn pauses_are_shortened_by_half_at_most() {
        for pause in [1, 2, 30].map(Duration::from_secs) {
            assert!((pause / 2..=pause).contains(&scattered(pause)));
        }
    }
}
