//! `clawdis`, the command line tool: one WebSocket connection per call, blocking, no threads.
//!
//! `args` reads the command line by the table in `verbs`; what the verb names is done with a
//! `Context`, which finds the gateway (`locate`) and connects (`connection`). What comes back is
//! shown by `show` or, while it comes, by `answer`, `linking` and `watch`.
//!
//! Everything that arrives is read as plain JSON, so that an older tool understands a newer gateway:
//! of the protocol only its version and bounds are known here. Must not know of the daemon's threads,
//! files or configuration beyond where to find its address and token.

mod answer;
mod args;
mod call;
mod connection;
mod context;
mod failure;
mod linking;
mod locate;
mod login;
mod qr;
mod run;
mod show;
mod terminal;
mod verbs;
mod watch;

use std::env;
use std::process::ExitCode;

use crate::arguments::Invocation;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::terminal::{Output, print};
use crate::cli::verbs::Action;

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
        Invocation::Say(text) => return print(&text),
        Invocation::Run(args) => args,
    };
    let context = Context::new(args)?;
    let params = context.args.params()?;
    match context.args.verb.action {
        Action::Ask(method) => context.show(&context.ask(method, &params)?),
        Action::Agent => run::agent(&context, params),
        Action::Send => run::send(&context, params),
        Action::Watch => watch::watch(&context),
        Action::Login => login::login(&context, params),
        Action::Logout => login::logout(&context, params),
        Action::Allow => call::allow(&context, params),
        Action::Call => call::call(&context, params),
        Action::Gateway => call::gateway(&context, params),
    }
}
