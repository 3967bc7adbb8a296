//! `ws://` addresses: what is accepted, and why the rest is not.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use crate::cli::exit::Failure;

/// The gateway's port unless configured.
pub(crate) const PORT_DEFAULT: u16 = 18_789;

/// Where a gateway listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Name or IP address, without brackets.
    host: String,
    port: u16,
}

impl Address {
    /// On this machine.
    pub(crate) fn loopback(port: u16) -> Self {
        Self { host: Ipv4Addr::LOCALHOST.to_string(), port }
    }

    /// An address that a listener is bound to, as a client reaches it: one that means "every
    /// interface" becomes loopback. `None` if it is neither that nor loopback.
    pub(crate) fn of_listener(host: &str, port: u16) -> Option<Self> {
        let host = if host == "localhost" { "127.0.0.1" } else { host };
        let ip = match host.parse().ok()? {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        ip.is_loopback().then(|| Self { host: ip.to_string(), port })
    }

    /// Reads `ws://HOST[:PORT][/]`. The errors never repeat what was typed: it may hold a secret.
    pub(crate) fn parse(url: &str) -> Result<Self, Failure> {
        let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
        let Some((scheme, rest)) = url.split_once("://") else {
            return usage("the gateway's url must look like ws://127.0.0.1:18789");
        };
        if scheme.eq_ignore_ascii_case("wss") || scheme.eq_ignore_ascii_case("https") {
            return usage(
                "only ws:// is spoken here, without TLS; to reach another machine use an SSH tunnel: \
                 `ssh -N -L 18789:127.0.0.1:18789 USER@HOST`, then --url ws://127.0.0.1:18789",
            );
        }
        if !scheme.eq_ignore_ascii_case("ws") {
            return usage("the gateway's url must begin with ws://");
        }
        if rest.contains(['@', '?', '#']) {
            return usage(
                "the gateway's url takes no user, query or fragment; a token goes into --token-file",
            );
        }
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, port.strip_prefix(':').or(Some(""))),
            None => authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let Ok(port) = port.map_or(Ok(PORT_DEFAULT), str::parse) else {
            return usage("the port in the gateway's url is not a number from 1 to 65535");
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) || port == 0 {
            return usage("the gateway's url must look like ws://127.0.0.1:18789");
        }
        let host = if host.eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { host };
        Ok(Self { host: host.to_owned(), port })
    }

    /// Host, without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether it surely is this machine. A name is not: it may be resolved to anything.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }

    /// The socket addresses behind it.
    pub(crate) fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "ws://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "ws://{}:{}", self.host, self.port)
        }
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
        assert_eq!(shown("WS://[::1]:99/"), "ws://[::1]:99");
        assert_eq!(shown("ws://[::1]"), "ws://[::1]:18789");
        assert_eq!(shown("ws://pi.local:18789/any/path"), "ws://pi.local:18789");
    }

    #[test]
    fn bad_addresses_say_what_to_do_and_repeat_nothing() {
        let refused = [
            ("wss://host", "SSH tunnel"),
            ("https://host", "SSH tunnel"),
            ("ftp://secret", "begin with ws://"),
            ("127.0.0.1:18789", "look like"),
            ("ws://secret@host", "--token-file"),
            ("ws://host?token=secret", "--token-file"),
            ("ws://host:port", "port"),
            ("ws://[::1]99", "port"),
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
