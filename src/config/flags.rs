//! The daemon's command line: its flags, read one by one, and its help. What they mean together is said in
//! `settings`.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::arguments::Kind::{self, Number, Switch, Text};
use crate::arguments::{Argument, FlagError, Invocation, read_flag};
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
                let hint = match nearest(&name, FLAGS.iter().flat_map(Argument::names)) {
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

const fn flag(name: &'static str, kind: Kind) -> Argument {
    Argument::flag(name, kind, "")
}

/// Every flag; what they mean stands in [`HELP`].
const FLAGS: &[Argument] = &[
    flag("--port", Number("N")),
    flag("--bind", Text("ADDR")),
    flag("--max-clients", Number("N")),
    flag("--tick-interval-ms", Number("N")),
    flag("--token-file", Text("FILE")),
    flag("--token", Text("TOKEN")),
    flag("--agent", Text("SPEC")),
    flag("--state-dir", Text("DIR")),
    flag("--config", Text("FILE")),
    flag("--check-config", Switch),
    flag("--log-format", Text("FORMAT")),
    flag("--verbose", Switch).with_short("-v"),
    flag("--help", Switch).with_short("-h"),
    flag("--version", Switch).with_short("-V"),
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

impl Flags {
    /// Reads the command line, without the program's name.
    pub(crate) fn parse(args: Vec<OsString>) -> Result<Invocation<Self>, SettingsError> {
        let asks = |names: [&str; 2]| args.iter().any(|arg| names.iter().any(|name| arg == name));
        if asks(["-h", "--help"]) {
            return Ok(Invocation::Say(HELP.to_owned()));
        }
        if asks(["-V", "--version"]) {
            return Ok(Invocation::Say(version_line("clawdis-gateway")));
        }
        let mut flags = Self::default();
        let mut given = Vec::new();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            if arg == "-vv" {
                flags.verbose = true;
                continue;
            }
            if !arg.as_bytes().starts_with(b"-") {
                let text = "only flags are expected (`--help` lists them), but there is another argument";
                return Err(SettingsError(text.to_owned()));
            }
            let (Argument { name, .. }, value) = read_flag(&arg, FLAGS.iter(), &mut args)?;
            if given.contains(name) && !REPEATABLE.contains(name) {
                return Err(twice(name));
            }
            given.push(*name);
            flags.set(name, value).map_err(|expected| SettingsError::wrong(name, expected))?;
        }
        if flags.token.is_some() && flags.token_file.is_some() {
            let text = "`--token` and `--token-file` exclude each other: give one of them";
            return Err(SettingsError(text.to_owned()));
        }
        Ok(Invocation::Run(flags))
    }

    /// Takes over what was typed for one flag. The error says what the flag needs instead.
    fn set(&mut self, flag: &str, value: OsString) -> Result<(), &'static str> {
        let text = value.to_str();
        let utf8 = text.ok_or("UTF-8 text");
        let path = || if value.is_empty() { Err("a value") } else { Ok(PathBuf::from(&value)) };
        match flag {
            "--port" => self.port = Some(number(text, 0..=u16::MAX).ok_or(PORT_NUMBER)?),
            "--bind" => self.bind.push(text.and_then(address).ok_or(ADDRESS)?),
            "--max-clients" => {
                let clients = number(text, 1..=CLIENTS_MAX_MAX);
                self.max_clients = Some(clients.ok_or("a number from 1 to 65535")?);
            }
            "--tick-interval-ms" => {
                let interval = number(text, TICK_INTERVAL_MS_MIN..=TICK_INTERVAL_MS_MAX);
                self.tick_interval_ms = Some(interval.ok_or("a number from 100 to 86400000")?);
            }
            "--token-file" => self.token_file = Some(path()?),
            "--token" => self.token = Some(Secret::new(utf8?)),
            "--agent" => self.agent = Some(utf8?.to_owned()),
            "--state-dir" => self.state_dir = Some(path()?),
            "--config" => self.config = Some(path()?),
            "--check-config" => self.check_config = true,
            "--log-format" => {
                self.log_format = match text {
                    Some("text") => LogFormat::Text,
                    Some("json") => LogFormat::Json,
                    _ => return Err("`text` or `json`"),
                }
            }
            "--verbose" => self.verbose = true,
            // `--help` and `--version` were answered before.
            _ => {}
        }
        Ok(())
    }
}

fn number<T: FromStr + PartialOrd>(text: Option<&str>, range: RangeInclusive<T>) -> Option<T> {
    text?.parse().ok().filter(|number| range.contains(number))
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

/// The text of `--help`: every flag, variable and exit code of the daemon.
const HELP: &str = "\
clawdis-gateway - one daemon that owns your messaging channels and runs your agent

Usage: clawdis-gateway [FLAGS]

Where it listens
  --port N              TCP port, 0 for any free one      [CLAWDIS_GATEWAY_PORT, default 18789]
  --bind ADDR           IP address to listen on; may be given several times  [default 127.0.0.1]
                        One that is not a loopback address needs a token; loopback is
                        served beside it.
  --max-clients N       connections at a time                                [default 2048]
  --tick-interval-ms N  milliseconds between two keep-alive events           [default 30000]

Who may connect
  --token-file FILE     a file that holds the token that clients must send; a new one that is
                        written there counts at once
  --token TOKEN         the token itself                  [CLAWDIS_GATEWAY_TOKEN]
                        Prefer the file or the variable: a shell keeps what is typed.

What it runs and keeps
  --agent SPEC          pi, builtin:echo (a small demo) or a JSON array: a program and its first
                        arguments                         [CLAWDIS_AGENT, default: no agent]
  --state-dir DIR       where everything is kept          [CLAWDIS_STATE_DIR, default ~/.clawdis]
  --config FILE         the configuration                 [CLAWDIS_CONFIG, default clawdis.json
                        in the state folder]

What it says
  --check-config        say whether flags, environment and configuration are good, and end
  --log-format FORMAT   text or json                                         [default text]
  -v, --verbose         say more    [RUST_LOG chooses by module: clawdis_gateway::net=debug]
  -h, --help            this text
  -V, --version         the version

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

#[cfg(test)]
mod tests;
