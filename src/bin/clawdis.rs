//! The command line tool; everything is in `clawdis_gateway::cli`.

fn main() -> std::process::ExitCode {
    clawdis_gateway::cli::main()
}
