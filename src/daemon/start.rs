//! From the command line to a running gateway, and from its end to an exit code.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use crate::config::environment::{self, Environment};
use crate::config::flags::{Flags, HELP, Parsed, without_token};
use crate::config::settings::Settings;
use crate::error::Fatal;
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
            print(HELP);
            return Ok(());
        }
        Parsed::Version => {
            let commit = SERVER_COMMIT.map_or(String::new(), |commit| format!(" ({commit})"));
            print(&format!("clawdis-gateway {SERVER_VERSION}{commit}\n"));
            return Ok(());
        }
        Parsed::Run(flags) => *flags,
    };
    if let Some(token) = flags.token.as_ref().filter(|token| !token.is_empty()) {
        return Err(start_again_without(&args, token.expose()));
    }
    let check_config = flags.check_config;
    let config = |error: crate::config::settings::SettingsError| Fatal::Config(error.to_string());
    let (settings, warnings) =
        Settings::read(flags, Environment::of_process().map_err(config)?).map_err(config)?;
    Log::install(settings.log_format, settings.verbosity > 0);
    if check_config { super::check(&settings, &warnings) } else { super::run(settings, &warnings) }
}

fn print(text: &str) {
    // A reader that has gone away has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Replaces this process by itself with the token in the environment: every user of the machine
/// can read the arguments of a process, only this one its environment.
#[expect(
    clippy::disallowed_methods,
    reason = "no child: the same program in the same process, with its own environment"
)]
fn start_again_without(args: &[OsString], token: &str) -> Fatal {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(source) => return Fatal::System { what: "find the gateway's own program", source },
    };
    let source =
        std::process::Command::new(program).args(without_token(args)).env(environment::TOKEN, token).exec();
    Fatal::System { what: "start again without the token in the process list", source }
}
