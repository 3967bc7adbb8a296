//! The daemon's binary; also the guard of its agents and the demo agent.

use std::ffi::OsString;
use std::process::ExitCode;

use clawdis_gateway::agent::demo;
use clawdis_gateway::child::guard;
use clawdis_gateway::daemon;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.first().and_then(|mode| mode.to_str()) {
        Some(guard::GUARD) => guard::main(&args[1..]),
        Some(guard::GUARD_EXEC) => guard::exec_main(&args[1..]),
        Some(demo::DEMO_AGENT) => demo::main(),
        _ => daemon::main(args),
    }
}
