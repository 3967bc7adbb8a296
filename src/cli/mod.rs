//! `clawdis`, the command line tool: one WebSocket connection per call, blocking, no threads.
//!
//! Uses of the library only `limits` and small helpers of `protocol`; everything that arrives is read
//! as plain JSON, so that an older tool understands a newer gateway. Must not know of the daemon's
//! threads, files or configuration beyond where to find its address and token.

// Modules in the order in which they are best read.
mod address;
mod agent;
mod agent_history;
mod agent_params;
mod agent_view;
mod args;
mod backoff;
mod call;
mod connection;
mod daemon;
mod exit;
mod hello;
mod help;
mod humanise;
mod image;
mod interrupt;
mod locate;
mod message;
mod render;
mod sessions;
mod state;
mod stream;
mod table;
mod terminal;
mod token;
mod verb;
mod watch;
mod watch_view;

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::args::{Args, Common, Request};
use crate::cli::connection::Connection;
use crate::cli::exit::Failure;
use crate::cli::interrupt::Interrupt;
use crate::cli::terminal::Output;
use crate::limits::{CLI_TIMEOUT_MS, ms};

/// What a verb works with.
pub(crate) struct Context {
    args: Args,
    common: Common,
    output: Output,
    interrupt: Interrupt,
}

impl Context {
    /// How long to wait for one answer.
    fn timeout(&self) -> Duration {
        self.common.timeout.unwrap_or(ms(CLI_TIMEOUT_MS))
    }

    /// Finds the gateway and shakes hands; `caps` as in `hello`.
    fn connect(&self, caps: &[&str], instance_id: &str, deadline: Instant) -> Result<Connection, Failure> {
        let target = locate::target(&self.common)?;
        Connection::open(&target, caps, instance_id, &self.interrupt, deadline)
    }

    /// One request, one answer, no events.
    fn ask(&self, method: &str, params: &Value) -> Result<Value, Failure> {
        let deadline = Instant::now() + self.timeout();
        let mut connection = self.connect(&[NO_EVENTS], ONE_SHOT_ID, deadline)?;
        let answer = connection.request(method, params, deadline);
        connection.close();
        answer
    }
}

/// Names a family that does not exist: with any `event:` entry the gateway sends only those named.
const NO_EVENTS: &str = "event:none";

/// All short calls share one presence entry, or a script would fill the list.
const ONE_SHOT_ID: &str = "clawdis-cli";

/// Runs the tool on this process's arguments.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_silent() {
                Output::say(&failure.to_string());
            }
            ExitCode::from(failure.code())
        }
    }
}

fn run() -> Result<(), Failure> {
    match args::parse(env::args_os().skip(1).collect())? {
        Request::Help(verb) => {
            let output = Output::new(false);
            output.write(&help::help(verb, &output))
        }
        Request::Version => Output::new(false).write(&help::version()),
        Request::Run { verb, common, args } => {
            let interrupt = Interrupt::install()
                .map_err(|error| Failure::Local(format!("cannot handle signals: {error}")))?;
            let output = Output::new(common.json);
            (verb.run)(Context { args, common, output, interrupt })
        }
    }
}
