//! Finds the gateway and its token: flags, environment, lock file, config, in that order.
//!
//! Only flags and environment may name another machine, and a token that was found on this machine
//! goes to this machine only. Anybody may sit on the port of a gateway that has ended, so a token is shown to
//! the one that holds the lock file, or to an address that was named; the config names one, for the token
//! that stands beside it, until a gateway has left a lock file. The token stands in no output, not even in
//! errors. Blanks around it do not count, as in the gateway.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::{env, fmt};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde_json::Value;
use tungstenite::http::Uri;

use crate::cli::failure::{Failure, Result};
use crate::limits::{CONFIG_BYTES_MAX, LOCK_BYTES_MAX, PORT_DEFAULT, TOKEN_FILE_BYTES_MAX};
use crate::plain_file;

/// A gateway to connect to. Deliberately without `Debug`.
pub(crate) struct Target {
    pub(crate) address: Address,
    /// What named the address, for error texts.
    pub(crate) source: &'static str,
    /// The token to show in `hello`.
    pub(crate) token: Option<Token>,
    /// The lock file that no gateway holds, because of which a token that was found is not shown.
    pub(crate) unheld_lock: Option<PathBuf>,
}

/// A token and where it was found. Deliberately without `Debug`.
pub(crate) struct Token {
    pub(crate) secret: String,
    /// Where it was found, for error texts: `--token`, a file's path, ...
    pub(crate) source: String,
}

/// Finds the gateway by `--url`, `--token` and `--token-file`, as far as they were typed, and what else says
/// where it is. Looks at everything anew, so that a gateway that moved to another port is found again.
pub(crate) fn target(url: Option<&str>, token: Option<&str>, token_file: Option<&str>) -> Result<Target> {
    let lock = lock();
    let (address, source, is_named) = if let Some(url) = url {
        (Address::parse(url)?, "--url", true)
    } else if let Some(url) = variable("CLAWDIS_GATEWAY_URL") {
        (Address::parse(&url)?, "CLAWDIS_GATEWAY_URL", true)
    } else if let Lock::Held(address) = &lock {
        (address.clone(), "the lock file", false)
    } else {
        (configured_address()?, "the config", false)
    };
    // Where a gateway listened that has ended, anybody may listen now.
    let is_left = match lock {
        Lock::Left { port } => !is_named || port == Some(address.port),
        Lock::Held(_) | Lock::Absent => false,
    };
    let is_configured = matches!(lock, Lock::Absent) && !is_named;
    let own_file = state_file("token").filter(|path| path.exists());
    let token = match named_token(token, token_file)? {
        Some(token) => Some(token).filter(|_| is_named || !is_left),
        None if is_left || !address.is_loopback() => None,
        None => found_token(own_file.as_deref().filter(|_| !is_configured))?,
    };
    let is_withheld =
        token.is_none() && address.is_loopback() && (is_left || is_configured && own_file.is_some());
    let unheld_lock = state_file(LOCK).filter(|_| is_withheld);
    Ok(Target { address, source, token, unheld_lock })
}

/// An environment variable; an empty one counts as unset.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|text| !text.is_empty())
}

/// A file in the state folder; `None` if there is no way to tell where that is.
fn state_file(name: &str) -> Option<PathBuf> {
    let home = || variable("HOME").map(|home| Path::new(&home).join(".clawdis"));
    Some(variable("CLAWDIS_STATE_DIR").map(PathBuf::from).or_else(home)?.join(name))
}

const LOCK: &str = "gateway.lock";

/// What the state folder says about a gateway that serves it.
enum Lock {
    /// No gateway has ever served it.
    Absent,
    /// No gateway serves it now, or it has not said yet where it listens; with the port of the one before,
    /// if that can be read.
    Left { port: Option<u16> },
    /// A gateway serves it, and listens there.
    Held(Address),
}

/// Reads the lock file. The kernel knows whether somebody holds the lock; what stands in the file may be of a
/// life before.
fn lock() -> Lock {
    let Some(path) = state_file(LOCK).filter(|path| path.symlink_metadata().is_ok()) else {
        return Lock::Absent;
    };
    let Ok(file) = plain_file::open(&path) else {
        return Lock::Left { port: None };
    };
    let is_held = matches!(flock(&file, FlockOperation::NonBlockingLockShared), Err(Errno::AGAIN));
    match address_in(file) {
        Some(address) if is_held => Lock::Held(address),
        left => Lock::Left { port: left.filter(|_| !is_held).map(|address| address.port) },
    }
}

/// Where the gateway that wrote the lock file listens, or did.
fn address_in(file: File) -> Option<Address> {
    let mut text = String::new();
    file.take(LOCK_BYTES_MAX).read_to_string(&mut text).ok()?;
    let lock: Value = serde_json::from_str(&text).ok()?;
    let address = Address::parse(lock["url"].as_str()?).ok()?;
    Address::of_listener(&address.host, address.port)
}

/// The `gateway` section of the config; `Null` without one. A config that is named must be there.
fn gateway_section() -> Result<Value> {
    let named = variable("CLAWDIS_CONFIG").map(PathBuf::from);
    let found = || state_file("clawdis.json").filter(|path| path.exists());
    let Some(path) = named.or_else(found) else { return Ok(Value::Null) };
    let wrong = |what: String| Failure::Usage(format!("cannot read the config {}: {what}", path.display()));
    let text = plain_file::read_named(&path, CONFIG_BYTES_MAX).map_err(|error| wrong(error.to_string()))?;
    let mut config: Value = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    Ok(config.get_mut("gateway").map_or(Value::Null, Value::take))
}

fn configured_address() -> Result<Address> {
    let gateway = gateway_section()?;
    let port = gateway["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let port = port.filter(|port| *port != 0).unwrap_or(PORT_DEFAULT);
    let hosts = gateway["bind"].as_array().map_or(&[][..], Vec::as_slice);
    let hosts: Vec<&str> = hosts.iter().filter_map(Value::as_str).collect();
    let hosts = if hosts.is_empty() { vec!["127.0.0.1"] } else { hosts };
    hosts.iter().find_map(|host| Address::of_listener(host, port)).ok_or_else(|| {
        let host = hosts[0];
        Failure::Usage(format!("the config binds the gateway to {host}; name it: --url ws://{host}:{port}"))
    })
}

fn named_token(token: Option<&str>, token_file: Option<&str>) -> Result<Option<Token>> {
    if let Some(secret) = token {
        return Ok(Some(Token { secret: secret.trim().to_owned(), source: "--token".to_owned() }));
    }
    if let Some(path) = token_file {
        // It may be the output of a program, which a shell hands over as a pipe.
        return read_token(Path::new(path), File::open).map(Some);
    }
    let name = "CLAWDIS_GATEWAY_TOKEN";
    Ok(variable(name).map(|secret| Token { secret: secret.trim().to_owned(), source: name.to_owned() }))
}

/// The token in the config, or else in the state folder's own file, if that counts.
fn found_token(own_file: Option<&Path>) -> Result<Option<Token>> {
    if let Some(secret) = gateway_section()?["token"].as_str() {
        let source = "`gateway.token` in the config".to_owned();
        return Ok(Some(Token { secret: secret.trim().to_owned(), source }));
    }
    own_file.map(|path| read_token(path, plain_file::open_named)).transpose()
}

fn read_token<'a>(path: &'a Path, open: impl FnOnce(&'a Path) -> io::Result<File>) -> Result<Token> {
    let wrong =
        |what: String| Failure::Usage(format!("cannot use the token file {}: {what}", path.display()));
    let mut text = String::new();
    open(path)
        .and_then(|file| file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| wrong(error.to_string()))?;
    if text.trim().is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    Ok(Token { secret: text.trim().to_owned(), source: path.display().to_string() })
}

const WRONG: &str = "the gateway's url must look like ws://127.0.0.1:18789; a token goes into --token-file";
const NO_TLS: &str = "only ws:// is spoken here, without TLS; to reach another machine use an SSH tunnel: \
    `ssh -N -L 18789:127.0.0.1:18789 USER@HOST`, then --url ws://127.0.0.1:18789";

/// Where a gateway listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Name or IP address, without brackets.
    pub(crate) host: String,
    /// The port, which is never 0.
    pub(crate) port: u16,
}

impl Address {
    /// Reads an address, `ws://HOST[:PORT][/]`. The errors never repeat what was typed: it may hold a secret.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let wrong = || Failure::Usage(WRONG.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        match uri.scheme_str() {
            Some("ws") => {}
            Some("wss" | "https") => return Err(Failure::Usage(NO_TLS.to_owned())),
            _ => return Err(wrong()),
        }
        let (host, authority) = (uri.host().unwrap_or_default(), uri.authority().ok_or_else(wrong)?);
        let port = if authority == host { Some(PORT_DEFAULT) } else { uri.port_u16() };
        let port = port.filter(|port| *port != 0).ok_or_else(wrong)?;
        if host.is_empty() || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(wrong());
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = if host.eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { host };
        Ok(Self { host: host.to_owned(), port })
    }

    /// How a client on this machine reaches a listener there: one on every interface over loopback.
    /// `None` if it is neither that nor loopback.
    pub(crate) fn of_listener(host: &str, port: u16) -> Option<Self> {
        let host = if host == "localhost" { "127.0.0.1" } else { host };
        let ip = match host.parse().ok()? {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        ip.is_loopback().then(|| Self { host: ip.to_string(), port })
    }

    /// Whether it surely is this machine. A name is not: it may be resolved to anything.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "ws://[{host}]:{port}") } else { write!(f, "ws://{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    fn shown(url: &str) -> String {
        Address::parse(url).unwrap().to_string()
    }

    #[test]
    fn good_addresses_are_completed() {
        assert_eq!(shown("ws://127.0.0.1:1234"), "ws://127.0.0.1:1234");
        assert_eq!(shown("ws://localhost"), "ws://127.0.0.1:18789");
        assert_eq!(shown("ws://[::1]:99/"), "ws://[::1]:99");
        assert_eq!(shown("ws://[::1]"), "ws://[::1]:18789");
        assert_eq!(shown("ws://pi.local:18789/any/path"), "ws://pi.local:18789");
    }

    #[test]
    fn bad_addresses_say_what_to_do_and_repeat_nothing() {
        let refused = [
            ("wss://host", "SSH tunnel"),
            ("https://host", "SSH tunnel"),
            ("ftp://secret", "look like"),
            ("127.0.0.1:18789", "look like"),
            ("ws://secret@host", "--token-file"),
            ("ws://secret@host:1", "--token-file"),
            ("ws://host?token=secret", "--token-file"),
            ("ws://host:port", "look like"),
            ("ws://host:", "look like"),
            ("ws://host:65536", "look like"),
            ("ws://[::1]99", "look like"),
            ("ws://:1", "look like"),
            ("ws://host:0", "look like"),
        ];
        for (url, expected) in refused {
            let text = Address::parse(url).unwrap_err().to_string();
            assert!(text.contains(expected) && !text.contains("secret"), "{url}: {text}");
        }
    }

    #[test]
    fn a_listener_is_reached_over_loopback_or_not_at_all() {
        let reached = |host| Address::of_listener(host, 5).map(|address| address.to_string());
        assert_eq!(reached("0.0.0.0").unwrap(), "ws://127.0.0.1:5");
        assert_eq!(reached("::").unwrap(), "ws://[::1]:5");
        assert_eq!(reached("127.0.0.2").unwrap(), "ws://127.0.0.2:5");
        assert_eq!(reached("192.0.2.7"), None);
    }
}
