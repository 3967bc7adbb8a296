//! The daemon's command line, taken apart: what is well-formed, not what it means together.
//!
//! No error repeats a value: it may be a token at the wrong place.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pico_args::Arguments;

pub use crate::config::help::HELP;
use crate::config::secret::Secret;
use crate::limits::{CLIENTS_MAX_MAX, ERROR_MEMBER_BYTES_MAX, TICK_INTERVAL_MS_MAX, TICK_INTERVAL_MS_MIN};
use crate::nearest::nearest;
use crate::protocol::cut;

/// What is wrong with the command line (exit 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsageError {
    /// No such flag; with the one that was probably meant.
    Unknown(String, Option<&'static str>),
    /// Given more than once.
    Twice(&'static str),
    /// The flag stands alone.
    NeedsValue(&'static str),
    /// The flag's value is not this.
    Expected(&'static str, &'static str),
    /// `--token` and `--token-file` together.
    TwoTokens,
    /// Something that is no flag.
    Argument,
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(flag, Some(nearest)) => {
                write!(f, "unknown flag `{flag}`; did you mean `{nearest}`?")
            }
            Self::Unknown(flag, None) => write!(f, "unknown flag `{flag}`; `--help` lists them"),
            Self::Twice(flag) => write!(f, "`{flag}` is given twice, or with a value that it does not take"),
            Self::NeedsValue(flag) => write!(f, "`{flag}` needs a value"),
            Self::Expected(flag, expected) => write!(f, "`{flag}` needs {expected}"),
            Self::TwoTokens => write!(f, "`--token` and `--token-file` exclude each other: give one of them"),
            Self::Argument => {
                write!(f, "only flags are expected (`--help` lists them), but there is another argument")
            }
        }
    }
}

impl std::error::Error for UsageError {}

/// The flags that have a value.
const WITH_VALUE: &[&str] = &[
    "--port",
    "--bind",
    "--token",
    "--token-file",
    "--config",
    "--state-dir",
    "--agent",
    "--tick-interval-ms",
    "--max-clients",
    "--log-format",
];

/// The others.
const ALONE: &[&str] = &["--check-config", "--verbose", "-v", "--help", "-h", "--version", "-V"];

/// Form of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object per line.
    Json,
}

/// The flags that were given. No `Debug`: there may be a token.
#[derive(Clone, Default)]
pub struct Flags {
    /// `--port`
    pub port: Option<u16>,
    /// `--bind`, in order.
    pub bind: Vec<IpAddr>,
    /// `--token`
    pub token: Option<Secret>,
    /// `--token-file`
    pub token_file: Option<PathBuf>,
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--state-dir`
    pub state_dir: Option<PathBuf>,
    /// `--agent`, as typed.
    pub agent: Option<String>,
    /// `--tick-interval-ms`
    pub tick_interval_ms: Option<u64>,
    /// `--max-clients`
    pub max_clients: Option<usize>,
    /// `--log-format`
    pub log_format: LogFormat,
    /// How many `-v`.
    pub verbosity: u8,
    /// `--check-config`
    pub check_config: bool,
}

/// What the command line asks for.
pub enum Parsed {
    /// To serve, or to say whether that would go.
    Run(Box<Flags>),
    /// [`HELP`] on stdout.
    Help,
    /// The version on stdout.
    Version,
}

impl Flags {
    /// Takes the command line (without the program's name) apart.
    pub fn parse(args: Vec<OsString>) -> Result<Parsed, UsageError> {
        let mut args = Arguments::from_vec(split(args));
        if args.contains(["-h", "--help"]) {
            return Ok(Parsed::Help);
        }
        if args.contains(["-V", "--version"]) {
            return Ok(Parsed::Version);
        }
        let mut flags = Self {
            port: value(&mut args, "--port", "a number from 0 to 65535", |text| text.parse().ok())?,
            bind: Vec::new(),
            token: value(&mut args, "--token", "UTF-8 text", |text| Some(Secret::new(text)))?,
            token_file: path(&mut args, "--token-file")?,
            config: path(&mut args, "--config")?,
            state_dir: path(&mut args, "--state-dir")?,
            agent: value(&mut args, "--agent", "UTF-8 text", |text| Some(text.to_owned()))?,
            tick_interval_ms: value(
                &mut args,
                "--tick-interval-ms",
                "a number from 100 to 86400000",
                |text| {
                    text.parse().ok().filter(|ms| (TICK_INTERVAL_MS_MIN..=TICK_INTERVAL_MS_MAX).contains(ms))
                },
            )?,
            max_clients: value(&mut args, "--max-clients", "a number from 1 to 65535", |text| {
                text.parse().ok().filter(|clients| (1..=CLIENTS_MAX_MAX).contains(clients))
            })?,
            log_format: value(&mut args, "--log-format", "`text` or `json`", log_format)?.unwrap_or_default(),
            verbosity: verbosity(&mut args),
            check_config: args.contains("--check-config"),
        };
        while let Some(address) = value(&mut args, "--bind", ADDRESS, address)? {
            flags.bind.push(address);
        }
        if flags.token.is_some() && flags.token_file.is_some() {
            return Err(UsageError::TwoTokens);
        }
        match args.finish().first() {
            None => Ok(Parsed::Run(Box::new(flags))),
            Some(rest) => Err(leftover(rest)),
        }
    }
}

/// Makes two arguments of `--flag=value`. (`pico_args` can, but not for values that are no UTF-8.)
fn split(args: Vec<OsString>) -> Vec<OsString> {
    let mut parts = Vec::with_capacity(args.len());
    let mut is_value = false;
    for arg in args {
        let bytes = arg.as_bytes();
        let equals = bytes.iter().position(|byte| *byte == b'=').filter(|_| !is_value);
        let flag = equals.and_then(|at| WITH_VALUE.iter().find(|flag| flag.as_bytes() == &bytes[..at]));
        is_value = !is_value && WITH_VALUE.iter().any(|flag| *flag == arg);
        match (flag, equals) {
            (Some(flag), Some(at)) => {
                parts.push(OsString::from(flag));
                parts.push(OsStr::from_bytes(&bytes[at + 1..]).to_owned());
            }
            _ => parts.push(arg),
        }
    }
    parts
}

/// The same command line without `--token` and its value: for the daemon to execute itself with,
/// once the token is in its environment, so that the process list does not show it.
pub fn without_token(args: &[OsString]) -> Vec<OsString> {
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

/// What [`address`] takes.
pub(super) const ADDRESS: &str = "an IP address such as 127.0.0.1 or ::1, without a port";

/// Names are not looked up: what they mean may change, and with it who may connect.
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

fn verbosity(args: &mut Arguments) -> u8 {
    let mut verbosity: u8 = 0;
    while args.contains(["-v", "--verbose"]) {
        verbosity = verbosity.saturating_add(1);
    }
    while args.contains("-vv") {
        verbosity = verbosity.saturating_add(2);
    }
    verbosity
}

fn value<T>(
    args: &mut Arguments,
    flag: &'static str,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, UsageError> {
    let text = args.opt_value_from_os_str(flag, |text| Ok::<_, String>(text.to_owned()));
    let Some(text) = text.map_err(|_| UsageError::NeedsValue(flag))? else { return Ok(None) };
    let value = text.to_str().and_then(parse);
    value.map(Some).ok_or(UsageError::Expected(flag, expected))
}

fn path(args: &mut Arguments, flag: &'static str) -> Result<Option<PathBuf>, UsageError> {
    let path = |value: &OsStr| Ok::<_, String>(PathBuf::from(value));
    match args.opt_value_from_os_str(flag, path) {
        Ok(Some(path)) if path.as_os_str().is_empty() => Err(UsageError::NeedsValue(flag)),
        Ok(path) => Ok(path),
        Err(_) => Err(UsageError::NeedsValue(flag)),
    }
}

fn leftover(arg: &OsStr) -> UsageError {
    let text = arg.to_string_lossy();
    // `--tokn=SECRET`: only the name is repeated.
    let name = text.split('=').next().unwrap_or_default();
    if !name.starts_with('-') {
        return UsageError::Argument;
    }
    let mut known = WITH_VALUE.iter().chain(ALONE).copied();
    match known.clone().find(|known| *known == name) {
        Some(known) => UsageError::Twice(known),
        None => {
            UsageError::Unknown(cut(name, ERROR_MEMBER_BYTES_MAX).to_owned(), nearest(name, known.by_ref()))
        }
    }
}

#[cfg(test)]
mod tests;
