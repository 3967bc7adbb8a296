//! The daemon's command line: its flags, read one by one, and its help. What they mean together is said in
//! `settings`.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::arguments::Kind::{self, Number, Switch, Text};
use crate::arguments::{Argument, FlagError, read_flag};
use crate::config::SettingsError;
use crate::config::secret::Secret;
use crate::limits::{CLIENTS_MAX_MAX, ERROR_MEMBER_BYTES_MAX, TICK_INTERVAL_MS_MAX, TICK_INTERVAL_MS_MIN};
use crate::logging::LogFormat;
use crate::nearest::nearest;
use crate::protocol::{cut, version_line};

impl From<FlagError> for SettingsError {
    fn from(error: FlagError) -> Self {
        match error {
            FlagError::Unknown(name) => {
                let flag = cut(&name, ERROR_MEMBER_BYTES_MAX);
                let hint = match nearest(&name, all().flat_map(Argument::names)) {
                    Some(nearest) => format!("did you mean `{nearest}`?"),
                    None => "`--help` lists them".to_owned(),
                };
                Self(format!("unknown flag `{flag}`; {hint}"))
            }
            FlagError::TakesNoValue(flag) => twice(flag),
            FlagError::NeedsValue(flag) => Self::wrong(flag, "a value"),
        }
    }
}

fn twice(flag: &str) -> SettingsError {
    SettingsError(format!("`{flag}` is given twice, or with a value that it does not take"))
}

/// The flags, in the sections of the help.
const SECTIONS: &[(&str, &[Argument])] = &[
    ("Where it listens", LISTENING),
    ("Who may connect", CONNECTING),
    ("What it runs and keeps", KEEPING),
    ("What it says", SAYING),
];

const fn flag(name: &'static str, kind: Kind, help: &'static str) -> Argument {
    Argument::flag(name, kind, help)
}

const LISTENING: &[Argument] = &[
    flag("--port", Number("N"), "TCP port, 0 for any free one      [CLAWDIS_GATEWAY_PORT, default 18789]"),
    flag(
        "--bind",
        Text("ADDR"),
        "IP address to listen on; may be given several times  [default 127.0.0.1]\n\
         One that is not a loopback address needs a token; loopback is\n\
         served beside it.",
    ),
    flag("--max-clients", Number("N"), "connections at a time                                [default 2048]"),
    flag(
        "--tick-interval-ms",
        Number("N"),
        "milliseconds between two keep-alive events           [default 30000]",
    ),
];
const CONNECTING: &[Argument] = &[
    flag(
        "--token-file",
        Text("FILE"),
        "a file that holds the token that clients must send; a new one that is\n\
         written there counts at once",
    ),
    flag(
        "--token",
        Text("TOKEN"),
        "the token itself                  [CLAWDIS_GATEWAY_TOKEN]\n\
         Prefer the file or the variable: a shell keeps what is typed.",
    ),
];
const KEEPING: &[Argument] = &[
    flag(
        "--agent",
        Text("SPEC"),
        "pi, builtin:echo (a small demo) or a JSON array: a program and its first\n\
         arguments                         [CLAWDIS_AGENT, default: no agent]",
    ),
    flag(
        "--state-dir",
        Text("DIR"),
        "where everything is kept          [CLAWDIS_STATE_DIR, default ~/.clawdis]",
    ),
    flag(
        "--config",
        Text("FILE"),
        "the configuration                 [CLAWDIS_CONFIG, default clawdis.json\n\
         in the state folder]",
    ),
];
const SAYING: &[Argument] = &[
    flag("--check-config", Switch, "say whether flags, environment and configuration are good, and end"),
    flag(
        "--log-format",
        Text("FORMAT"),
        "text or json                                         [default text]",
    ),
    flag("--verbose", Switch, "say more    [RUST_LOG chooses by module: clawdis_gateway::net=debug]")
        .with_short("-v"),
    flag("--help", Switch, "this text").with_short("-h"),
    flag("--version", Switch, "the version").with_short("-V"),
];
/// Flags that may be given more than once.
const REPEATABLE: [&str; 2] = ["--bind", "--verbose"];

/// The flags that were given. No `Debug`: there may be a token.
#[derive(Clone, Default)]
pub(crate) struct Flags {
    pub(crate) port: Option<u16>,
    /// The addresses of `--bind`, in order.
    pub(crate) bind: Vec<IpAddr>,
    pub(crate) token: Option<Secret>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) state_dir: Option<PathBuf>,
    /// The value of `--agent`, as typed.
    pub(crate) agent: Option<String>,
    pub(crate) tick_interval_ms: Option<u64>,
    pub(crate) max_clients: Option<usize>,
    pub(crate) log_format: LogFormat,
    pub(crate) verbose: bool,
    pub(crate) check_config: bool,
}

/// What the command line asks for.
pub(crate) enum Invocation {
    /// To serve, or to say whether the settings are good.
    Run(Box<Flags>),
    /// To print this text: the help or the version.
    Say(String),
}

impl Flags {
    /// Reads the command line, without the program's name.
    pub(crate) fn parse(args: Vec<OsString>) -> Result<Invocation, SettingsError> {
        let asks = |names: [&str; 2]| args.iter().any(|arg| names.iter().any(|name| arg == name));
        if asks(["-h", "--help"]) {
            return Ok(Invocation::Say(help()));
        }
        if asks(["-V", "--version"]) {
            return Ok(Invocation::Say(version_line("clawdis-gateway")));
        }
        let given = Given::read(args)?;
        let number = "a number from 100 to 86400000";
        let flags = Self {
            port: given.value("--port", PORT_NUMBER, |text| text.parse().ok())?,
            bind: given.values("--bind", ADDRESS, address)?,
            token: given.value("--token", "UTF-8 text", |text| Some(Secret::new(text)))?,
            token_file: given.path("--token-file")?,
            config: given.path("--config")?,
            state_dir: given.path("--state-dir")?,
            agent: given.value("--agent", "UTF-8 text", |text| Some(text.to_owned()))?,
            tick_interval_ms: given.value("--tick-interval-ms", number, |text| {
                text.parse().ok().filter(|ms| (TICK_INTERVAL_MS_MIN..=TICK_INTERVAL_MS_MAX).contains(ms))
            })?,
            max_clients: given.value("--max-clients", "a number from 1 to 65535", |text| {
                text.parse().ok().filter(|clients| (1..=CLIENTS_MAX_MAX).contains(clients))
            })?,
            log_format: given.value("--log-format", "`text` or `json`", log_format)?.unwrap_or_default(),
            verbose: given.of("--verbose").next().is_some(),
            check_config: given.of("--check-config").next().is_some(),
        };
        if flags.token.is_some() && flags.token_file.is_some() {
            let text = "`--token` and `--token-file` exclude each other: give one of them";
            return Err(SettingsError(text.to_owned()));
        }
        Ok(Invocation::Run(Box::new(flags)))
    }
}

/// The flags of a command line and their values, in order.
struct Given(Vec<(&'static str, OsString)>);

impl Given {
    fn read(args: Vec<OsString>) -> Result<Self, SettingsError> {
        let mut given: Vec<(&str, OsString)> = Vec::new();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            if arg == "-vv" {
                given.extend(["-v"; 2].map(|_| ("--verbose", OsString::new())));
                continue;
            }
            if !arg.as_bytes().starts_with(b"-") {
                let text = "only flags are expected (`--help` lists them), but there is another argument";
                return Err(SettingsError(text.to_owned()));
            }
            let (flag, value) = read_flag(&arg, all(), &mut args)?;
            if given.iter().any(|(name, _)| *name == flag.name) && !REPEATABLE.contains(&flag.name) {
                return Err(twice(flag.name));
            }
            given.push((flag.name, value));
        }
        Ok(Self(given))
    }

    /// The values that were given for a flag.
    fn of(&self, flag: &'static str) -> impl Iterator<Item = &OsStr> {
        self.0.iter().filter(move |(name, _)| *name == flag).map(|(_, value)| value.as_os_str())
    }

    fn values<T>(
        &self,
        flag: &'static str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, SettingsError> {
        let value = |text: &OsStr| text.to_str().and_then(&parse);
        self.of(flag).map(|text| value(text).ok_or(SettingsError::wrong(flag, expected))).collect()
    }

    fn value<T>(
        &self,
        flag: &'static str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, SettingsError> {
        Ok(self.values(flag, expected, parse)?.pop())
    }

    fn path(&self, flag: &'static str) -> Result<Option<PathBuf>, SettingsError> {
        match self.of(flag).next() {
            Some(path) if path.is_empty() => Err(SettingsError::wrong(flag, "a value")),
            path => Ok(path.map(PathBuf::from)),
        }
    }
}

fn all() -> impl Iterator<Item = &'static Argument> {
    SECTIONS.iter().flat_map(|(_, flags)| *flags)
}

/// The same command line without `--token` and its value: for the daemon to execute itself with,
/// once the token is in its environment, so that the process list does not show it.
pub(crate) fn without_token(args: &[OsString]) -> Vec<OsString> {
    let mut kept = Vec::with_capacity(args.len());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--token" {
            args.next();
        } else if !arg.as_encoded_bytes().starts_with(b"--token=") {
            kept.push(arg.clone());
        }
    }
    kept
}

/// What a port is, in words.
pub(super) const PORT_NUMBER: &str = "a number from 0 to 65535";

/// What [`address`] takes, in words.
pub(super) const ADDRESS: &str = "an IP address such as 127.0.0.1 or ::1, without a port";

/// An IP address. Names are not looked up: what they mean may change, and with it who may connect.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    if text.eq_ignore_ascii_case("localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok()
}

fn log_format(text: &str) -> Option<LogFormat> {
    match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

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

/// The text of `--help`: every flag, variable and exit code of the daemon.
fn help() -> String {
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

#[cfg(test)]
mod tests;
