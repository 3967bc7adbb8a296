//! `clawdis`, the command line tool: one WebSocket connection per call, blocking, no threads.
//!
//! Uses of the library only `limits` and small helpers; everything that arrives is read as plain
//! JSON, so that an older tool understands a newer gateway. Must not know of the daemon's threads,
//! files or configuration beyond where to find its address and token.

// Modules in the order in which they are best read.
mod address;
mod allow;
mod answer;
mod args;
mod call;
mod connection;
mod failure;
mod help;
mod interrupt;
mod linking;
mod locate;
mod login;
mod lookup;
mod message;
mod qr;
mod reconnect;
mod run;
mod show;
mod stream;
mod terminal;
mod verbs;
mod watch;

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::args::{Args, Request};
use crate::cli::connection::{Client, Connection, NO_EVENTS, check_size};
use crate::cli::failure::{Failure, Result};
use crate::cli::interrupt::Interrupt;
use crate::cli::terminal::{Output, print};
use crate::cli::verbs::Action;
use crate::limits::{CLI_TIMEOUT_MS, ms};

/// What a verb works with.
pub(crate) struct Context {
    args: Args,
    /// `--timeout`
    timeout: Option<Duration>,
    output: Output,
    interrupt: Interrupt,
}

impl Context {
    fn new(args: Args) -> Result<Self> {
        let timeout = args.seconds("--timeout")?;
        let output = Output::new(args.has("--json"));
        let interrupt = Interrupt::install()
            .map_err(|error| Failure::Failed(format!("cannot handle signals: {error}")))?;
        Ok(Self { args, timeout, output, interrupt })
    }

    /// By when one answer must be there.
    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout.unwrap_or(ms(CLI_TIMEOUT_MS))
    }

    /// Finds the gateway and shakes hands.
    fn connect(&self, client: &Client, deadline: Instant) -> Result<Connection> {
        Connection::open(&locate::target(&self.args)?, client, deadline)
    }

    /// One request, one answer, no events.
    fn ask(&self, method: &str, params: &Value) -> Result<Value> {
        check_size(method, params)?;
        let deadline = self.deadline();
        let mut connection = self.connect(&NO_EVENTS, deadline)?;
        let answer = connection.request(method, params, deadline);
        connection.close();
        answer
    }

    /// The payload as it is with `--json`, for people otherwise.
    fn show(&self, payload: &Value) -> Result<()> {
        if self.output.json {
            self.output.write_json(payload)
        } else {
            print(&show::payload(payload, &self.output))
        }
    }
}

/// Runs the tool on this process's arguments.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::OutputClosed) {
                Output::say(&failure.to_string());
            }
            ExitCode::from(failure.code())
        }
    }
}

fn run() -> Result<()> {
    let args = match args::parse(env::args_os().skip(1))? {
        Request::Help(verb) => return print(&help::help(verb)),
        Request::Version => return print(&help::version()),
        Request::Run(args) => args,
    };
    let context = Context::new(args)?;
    let params = context.args.params()?;
    match context.args.verb.action {
        Action::Ask(method) => context.show(&context.ask(method, &params)?),
        Action::Do(action) => action(&context, params),
    }
}
