//! Finds the gateway and its token: flags, environment, lock file, config, in that order.
//!
//! Only flags and environment may name another machine, and a token that was found on this machine
//! goes to this machine only.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::address::{Address, PORT_DEFAULT};
use crate::cli::args::Common;
use crate::cli::exit::Failure;
use crate::cli::token::{Token, read_bounded, read_small};
use crate::limits::CONFIG_BYTES_MAX;

/// A gateway to connect to.
pub(crate) struct Target {
    /// Where.
    pub(crate) address: Address,
    /// What said so, for error texts.
    pub(crate) source: &'static str,
    /// What to show in `hello`.
    pub(crate) token: Option<Token>,
}

/// Looks at everything anew, so that a gateway that moved to another port is found again.
pub(crate) fn target(common: &Common) -> Result<Target, Failure> {
    let places = Places::new(common);
    let lock = places.lock_file();
    let (address, source) = match named_address(common)? {
        Some(named) => named,
        None => match lock.as_ref().and_then(Lock::address) {
            Some(address) => (address, "the lock file"),
            None => (places.configured_address()?, "the config"),
        },
    };
    let token = match named_token(common)? {
        Some(token) => Some(token),
        None if address.is_loopback() => places.found_token(lock.as_ref())?,
        None => None,
    };
    Ok(Target { address, source, token })
}

/// The state folder, unless there is no way to tell.
pub(crate) fn state_dir(common: &Common) -> Option<PathBuf> {
    let named = common.state_dir.clone().or_else(|| variable("CLAWDIS_STATE_DIR").map(PathBuf::from));
    named.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".clawdis")))
}

/// An environment variable; an empty one counts as unset.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn text_variable(name: &str) -> Result<Option<String>, Failure> {
    let text = |value: OsString| {
        value.into_string().map_err(|_| Failure::Usage(format!("{name} is not valid UTF-8")))
    };
    variable(name).map(text).transpose()
}

fn named_address(common: &Common) -> Result<Option<(Address, &'static str)>, Failure> {
    if let Some(url) = &common.url {
        return Ok(Some((Address::parse(url)?, "--url")));
    }
    let url = text_variable("CLAWDIS_GATEWAY_URL")?;
    url.map(|url| Ok((Address::parse(&url)?, "CLAWDIS_GATEWAY_URL"))).transpose()
}

fn named_token(common: &Common) -> Result<Option<Token>, Failure> {
    if let Some(token) = &common.token {
        let token = Token::new(token, "--token");
        return token.map(Some).ok_or_else(|| Failure::Usage("the value of `--token` is empty".to_owned()));
    }
    if let Some(path) = &common.token_file {
        return Token::from_file(path).map(Some);
    }
    let name = "CLAWDIS_GATEWAY_TOKEN";
    Ok(text_variable(name)?.and_then(|token| Token::new(&token, name)))
}

/// The files that a gateway on this machine leaves or reads.
struct Places {
    state_dir: Option<PathBuf>,
    config: Option<PathBuf>,
    /// The person named the config, so it must be there.
    config_named: bool,
}

/// What the gateway wrote into its lock file.
struct Lock(Value);

impl Lock {
    fn address(&self) -> Option<Address> {
        let address = Address::parse(self.0.get("url")?.as_str()?).ok()?;
        Address::of_listener(address.host(), address.port())
    }

    fn token_file(&self) -> Option<&Path> {
        self.0.get("tokenFile")?.as_str().map(Path::new)
    }
}

impl Places {
    fn new(common: &Common) -> Self {
        let state_dir = state_dir(common);
        let named = common.config.clone().or_else(|| variable("CLAWDIS_CONFIG").map(PathBuf::from));
        let config_named = named.is_some();
        let config = named.or_else(|| state_dir.as_deref().map(|dir| dir.join("clawdis.json")));
        Self { state_dir, config, config_named }
    }

    /// A lock file that is missing, half written or of another make says nothing.
    fn lock_file(&self) -> Option<Lock> {
        let text = read_small(&self.state_dir.as_deref()?.join("gateway.lock")).ok()?;
        serde_json::from_str(&text).ok().map(Lock)
    }

    /// The `gateway` section of the config; `Null` without a config.
    fn gateway_section(&self) -> Result<Value, Failure> {
        let Some(path) = &self.config else { return Ok(Value::Null) };
        let wrong = |what: &str| Failure::Usage(format!("cannot read the config {}: {what}", path.display()));
        match read_bounded(path, CONFIG_BYTES_MAX) {
            Ok(text) => {
                let mut config: Value =
                    serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
                Ok(config.get_mut("gateway").map_or(Value::Null, Value::take))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.config_named => Ok(Value::Null),
            Err(error) => Err(wrong(&error.to_string())),
        }
    }

    fn configured_address(&self) -> Result<Address, Failure> {
        let gateway = self.gateway_section()?;
        let port = gateway.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        let port = port.filter(|port| *port != 0).unwrap_or(PORT_DEFAULT);
        let bind: Vec<&str> = match gateway.get("bind") {
            Some(Value::Array(hosts)) => hosts.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if bind.is_empty() {
            return Ok(Address::loopback(port));
        }
        bind.iter().find_map(|host| Address::of_listener(host, port)).ok_or_else(|| {
            Failure::Usage(format!(
                "the config binds the gateway to {} only; name it: --url ws://{}:{port}",
                bind.join(", "),
                bind[0]
            ))
        })
    }

    fn found_token(&self, lock: Option<&Lock>) -> Result<Option<Token>, Failure> {
        if let Some(path) = lock.and_then(Lock::token_file) {
            if let Some(token) = Token::from_file_if_any(path)? {
                return Ok(Some(token));
            }
        }
        let configured = self.gateway_section()?;
        if let Some(token) = configured.get("token").and_then(Value::as_str) {
            return Ok(Token::new(token, "`gateway.token` in the config"));
        }
        match &self.state_dir {
            Some(dir) => Token::from_file_if_any(&dir.join("token")),
            None => Ok(None),
        }
    }
}
