//! `clawdis gateway`: becomes the `clawdis-gateway` beside this program.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::cli::Context;
use crate::cli::exit::Failure;

/// Replaces this process; what stood before the verb is handed over, the token through the
/// environment so that no process list shows it.
#[expect(
    clippy::disallowed_methods,
    reason = "this process becomes the daemon, which scrubs its children itself"
)]
pub(crate) fn run(mut context: Context) -> Result<(), Failure> {
    let rest = context.args.take_literal();
    context.args.texts()?;
    let common = context.common;
    if common.url.is_some() || common.timeout.is_some() || common.json {
        let text = "`--url`, `--timeout` and `--json` mean nothing to `gateway`; its flags go after it: `clawdis gateway --help`";
        return Err(Failure::Usage(text.to_owned()));
    }
    let this = env::current_exe()
        .map_err(|error| Failure::Local(format!("cannot tell where this program is: {error}")))?;
    let daemon = this.with_file_name("clawdis-gateway");
    let mut command = Command::new(&daemon);
    let paths =
        [("--token-file", common.token_file), ("--state-dir", common.state_dir), ("--config", common.config)];
    for (flag, path) in paths {
        if let Some(path) = path {
            command.arg(flag).arg(path);
        }
    }
    if let Some(token) = common.token {
        command.env("CLAWDIS_GATEWAY_TOKEN", token);
    }
    let error = command.args(rest).exec();
    Err(Failure::Local(format!("cannot run {}: {error}; it belongs beside this program", daemon.display())))
}
