//! What every verb works with: its arguments, the streams, Ctrl-C, and the way to the gateway.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::args::Args;
use crate::cli::connection::{Client, Connection, NO_EVENTS};
use crate::cli::failure::{Failure, Result};
use crate::cli::frame::check_size;
use crate::cli::interrupt::Interrupt;
use crate::cli::locate::{self, TargetFlags};
use crate::cli::show;
use crate::cli::terminal::{Output, print};
use crate::limits::CLI_TIMEOUT;

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
        Connection::open(&locate::target(&TargetFlags { url, token, token_file })?, client, deadline)
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
