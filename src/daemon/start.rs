//! From the command line to a running gateway, and from its end to an exit code.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use crate::config::environment::{self, Environment};
use crate::config::flags::{Flags, Parsed, without_token};
use crate::config::help::help;
use crate::config::settings::Settings;
use crate::daemon::fatal::Fatal;
use crate::logging::Log;
use crate::protocol::{SERVER_COMMIT, SERVER_VERSION};

/// What the daemon's binary does; `args` are those behind its name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // stderr may be closed: there is nobody to tell then.
            let _ = writeln!(std::io::stderr(), "clawdis-gateway: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn start(args: Vec<OsString>) -> Result<(), Fatal> {
    let flags = match Flags::parse(args.clone()).map_err(|error| Fatal::Config(error.to_string()))? {
        Parsed::Help => {
            print(&help());
            return Ok(());
        }
        Parsed::Version => {
            let commit = SERVER_COMMIT.map_or(String::new(), |commit| format!(" ({commit})"));
            print(&format!("clawdis-gateway {SERVER_VERSION}{commit}\n"));
            return Ok(());
        }
        Parsed::Run(flags) => *flags,
    };
    if let Some(token) = flags.token.as_ref().filter(|token| token.fault().is_none()) {
        let source = start_again(&args, Some(token.expose()));
        return Err(Fatal::System { what: "start again without the token in the process list", source });
    }
    if !flags.check_config && !is_tuned() {
        let error = start_again(&args, None);
        // Nothing breaks without it; a flood leaves more memory behind.
        let _ = writeln!(std::io::stderr(), "clawdis-gateway: cannot set the allocator up: {error}");
    }
    let check_config = flags.check_config;
    let config = |error: crate::config::error::SettingsError| Fatal::Config(error.to_string());
    let (settings, warnings) =
        Settings::read(flags, Environment::of_process().map_err(config)?).map_err(config)?;
    Log::install(settings.log_format, settings.verbosity > 0);
    if check_config { super::check(&settings, &warnings) } else { super::run(settings, &warnings) }
}

fn print(text: &str) {
    // A reader that has gone away has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// How glibc is to keep what was freed; it reads its environment before `main`, and there is no other
/// way to tell it without foreign code. Its own rule is to keep a lot for the next time, in up to eight
/// heaps a core and forty megabytes of stacks: what a flood of clients took would stay with us when they
/// are gone. Settings that somebody has chosen themselves are left alone.
const ALLOCATOR: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.malloc.arena_max=2:glibc.malloc.mmap_threshold=16384:glibc.malloc.trim_threshold=65536\
     :glibc.pthread.stack_cache_size=2097152",
);

/// Whether glibc has been told, and listened or not.
fn is_tuned() -> bool {
    !cfg!(target_env = "gnu")
        || std::env::var_os(ALLOCATOR.0).is_some()
        // The loader drops that variable of a program with privileges of its own.
        || std::env::var(environment::STARTED_AGAIN).is_ok_and(|pid| pid == std::process::id().to_string())
}

/// Replaces this process by itself: with the allocator's settings, and with a token in the environment
/// instead of the arguments, which every user of the machine can read. Returns only if it cannot.
#[expect(
    clippy::disallowed_methods,
    reason = "no child: the same program in the same process, with its own environment"
)]
fn start_again(args: &[OsString], token: Option<&str>) -> io::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut again = std::process::Command::new(program);
    // One that cannot be used stays where it is, and is refused by that name.
    again.args(if token.is_some() { without_token(args) } else { args.to_vec() });
    again.env(environment::STARTED_AGAIN, std::process::id().to_string());
    again.envs((!is_tuned()).then_some(ALLOCATOR));
    again.envs(token.map(|token| (environment::TOKEN, token)));
    again.exec()
}
