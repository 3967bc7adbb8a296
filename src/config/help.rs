//! The text of `--help`: every flag, variable and exit code of the daemon.

use crate::arguments::Argument;
use crate::config::flags::SECTIONS;

const USAGE: &str = "\
clawdis-gateway - one daemon that owns your messaging surfaces and runs your agent

Usage: clawdis-gateway [FLAGS]
";

const NOTES: &str = "
A flag counts more than its variable, a variable more than the configuration. Channels also read
TELEGRAM_BOT_TOKEN and CLAWDIS_TELEGRAM_API_BASE.

Exit codes
  0  stopped by SIGTERM, SIGINT or SIGHUP
  1  failed while running
  2  wrong usage or configuration: starting it again will not help
  3  another gateway holds the state folder or the port

Example: a gateway with the demo agent, then a question to it from another shell
  clawdis-gateway --agent builtin:echo
  clawdis agent \"hello\"
";

pub(crate) fn help() -> String {
    let sections = SECTIONS.iter().map(|(heading, flags)| {
        let rows: String = flags.iter().map(row).collect();
        format!("\n{heading}\n{rows}")
    });
    format!("{USAGE}{}{NOTES}", sections.collect::<String>())
}

fn row(flag: &Argument) -> String {
    let short = flag.short.map_or_else(String::new, |short| format!("{short}, "));
    // Texts of several lines go on below their beginning.
    let text = flag.help.replace('\n', &format!("\n{:24}", ""));
    format!("  {:<22}{text}\n", short + &flag.with_value())
}
