//! `ws://` addresses: what is accepted, and why the rest is not.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tungstenite::http::Uri;

use crate::cli::failure::{Failure, Result};
use crate::limits::PORT_DEFAULT;

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
