//! Who may talk to the gateway at all: `Host`, `Origin` and proxy headers, checked before any byte is
//! answered with more than a refusal.
//!
//! `Host` stops DNS rebinding: the names under which the gateway may be reached are loopback, what it was told to
//! bind, and what `gateway.allowedHosts` lists; any other was bent to lead here. `Origin` stops pages of other
//! sites, and a forwarding header means that "loopback" no longer means "this person". Nothing that a client says
//! about itself exempts it.

use std::net::IpAddr;

use crate::limits::{HOST_SHOWN_BYTES_MAX, HOSTS_SHOWN_MAX};
use crate::net::NetContext;
use crate::net::refusal::HttpRefusal;
use crate::net::request_head::RequestHead;
use crate::protocol::cut;
use crate::protocol::warning::{Warning, WarningCode};

/// Checks where a request comes from. `Err` is what to answer instead of serving it.
pub(super) fn check(head: &RequestHead, context: &NetContext) -> Result<(), HttpRefusal> {
    let Ok(Some(host)) = head.single("host") else {
        return Err(HttpRefusal::new(400, "send exactly one Host header"));
    };
    // The authority of a target in absolute form counts instead of `Host` (RFC 9112, 3.2.2), which
    // must be one of ours all the same.
    let authority = head.authority.as_deref().unwrap_or(host);
    if !context.hosts.allows(host) || !context.hosts.allows(authority) {
        return Err(HttpRefusal::new(
            403,
            "this Host is not served; connect to 127.0.0.1 or localhost, or list the name in gateway.allowedHosts",
        ));
    }
    let Ok(origin) = head.single("origin") else {
        return Err(HttpRefusal::new(400, "send at most one Origin header"));
    };
    if let Some(origin) = origin {
        if !is_origin_allowed(origin, authority, &context.settings.allowed_origins) {
            return Err(HttpRefusal::new(
                403,
                "this Origin may not connect; open the gateway's own page, or list the origin in gateway.allowedOrigins",
            ));
        }
    }
    if !context.token.is_required && head.headers.iter().any(|(name, _)| is_of_a_proxy(name)) {
        return Err(HttpRefusal::new(
            403,
            "this request came through a proxy; set a token (--token-file) before putting one in front",
        ));
    }
    Ok(())
}

/// Whether a header, its name in lower case, is one that only a proxy adds.
fn is_of_a_proxy(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "cdn-loop",
        "forwarded",
        "true-client-ip",
        "via",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-forwarded",
        "x-real-ip",
    ];
    // Families of one proxy or one provider each.
    const BEGINNINGS: [&str; 8] =
        ["cf-", "fastly-", "fly-", "tailscale-", "x-azure-", "x-envoy-", "x-forwarded-", "x-original-"];
    NAMES.contains(&name) || BEGINNINGS.iter().any(|begin| name.starts_with(begin))
}

/// Whether `origin` is the page that this server itself serves under `authority`, or is listed.
fn is_origin_allowed(origin: &str, authority: &str, allowed: &[String]) -> bool {
    let own = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))
        .is_some_and(|rest| rest.eq_ignore_ascii_case(authority));
    own || allowed.iter().any(|entry| entry.trim_end_matches('/').eq_ignore_ascii_case(origin))
}

/// Ports that a browser leaves out of `Host`.
const PORTS_LEFT_OUT: [u16; 2] = [80, 443];

/// The names that `Host` may have.
pub(super) struct Hosts {
    /// The entries of `gateway.allowedHosts`. One without a port stands for any.
    listed: Vec<(Host, Option<u16>)>,
    bound: Vec<IpAddr>,
}

/// An address in any spelling, or a name.
#[derive(PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    /// A name, in lower case.
    Name(String),
}

impl Host {
    /// `None` if it is no host at all. `bracketed` is how an IPv6 address, and nothing else, stands in `Host`.
    fn parse(text: &str, bracketed: bool) -> Option<Self> {
        match text.parse::<IpAddr>() {
            Ok(address) if address.is_ipv6() == bracketed => return Some(Self::Address(address)),
            Ok(_) => return None,
            Err(_) if bracketed => return None,
            Err(_) => {}
        }
        let is_name = !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        is_name.then(|| Self::Name(text.to_ascii_lowercase()))
    }
}

/// Host and port of an authority: `NAME`, `NAME:PORT`, `[ADDRESS]:PORT` and so on.
fn split(authority: &str) -> Option<(Host, Option<u16>)> {
    let bracketed = authority.strip_prefix('[');
    let (host, rest) = match bracketed {
        Some(bracketed) => bracketed.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
        None if rest.is_empty() => None,
        _ => return None,
    };
    Some((Host::parse(host, bracketed.is_some())?, port))
}

/// Reads an entry of `gateway.allowedHosts`; an IPv6 address may stand there without brackets.
fn entry(text: &str) -> Option<(Host, Option<u16>)> {
    text.parse().map_or_else(|_| split(text), |address| Some((Host::Address(address), None)))
}

/// A warning of the entries of `gateway.allowedHosts` that name no host.
pub(crate) fn stray_entries(entries: &[String]) -> Option<Warning> {
    let stray: Vec<&String> = entries.iter().filter(|text| entry(text).is_none()).collect();
    let shown: Vec<String> = stray
        .iter()
        .take(HOSTS_SHOWN_MAX)
        .map(|text| format!("`{}`", cut(text, HOST_SHOWN_BYTES_MAX)))
        .collect();
    let rest = stray.len() - shown.len();
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    (!stray.is_empty()).then(|| {
        let message = format!(
            "gateway.allowedHosts: {}{more} can match nothing: an entry is NAME or NAME:PORT, such as \
             pi.example.net, without a scheme, a path or a wildcard",
            shown.join(", ")
        );
        Warning::new(WarningCode::HostsEntry, message)
    })
}

impl Hosts {
    /// The names that are listed, and the addresses that are bound. Entries that name no host match nothing.
    pub(super) fn new(entries: &[String], bound: Vec<IpAddr>) -> Self {
        Self { listed: entries.iter().filter_map(|text| entry(text)).collect(), bound }
    }

    /// Whether a client may have come by this authority.
    pub(super) fn allows(&self, authority: &str) -> bool {
        let Some((host, port)) = split(authority) else { return false };
        let is_own = match &host {
            Host::Name(name) => name == "localhost",
            Host::Address(address) => {
                address.is_loopback()
                    || self.bound.iter().any(|bound| bound.is_unspecified() || bound == address)
            }
        };
        is_own
            || self.listed.iter().any(|(listed, listed_port)| {
                let is_port =
                    |listed: u16| port.map_or(PORTS_LEFT_OUT.contains(&listed), |port| port == listed);
                *listed == host && listed_port.is_none_or(is_port)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::{Hosts, is_of_a_proxy, is_origin_allowed, stray_entries};

    #[test]
    fn only_the_own_and_listed_origins() {
        let listed = ["https://chat.example/".to_owned()];
        assert!(is_origin_allowed("http://127.0.0.1:18789", "127.0.0.1:18789", &listed));
        assert!(is_origin_allowed("https://chat.example", "127.0.0.1:18789", &listed));
        for origin in [
            "null",
            "",
            "http://127.0.0.1",
            "http://127.0.0.1:1",
            "http://localhost:18789",
            "file://",
            "http://127.0.0.1:18789.evil.example",
            "chrome-extension://abc",
        ] {
            assert!(!is_origin_allowed(origin, "127.0.0.1:18789", &listed), "{origin}");
        }
    }

    #[test]
    fn proxies_are_noticed() {
        for name in [
            "forwarded",
            "via",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-real-ip",
            "x-client-ip",
            "true-client-ip",
            "cf-connecting-ip",
            "cdn-loop",
            "tailscale-user-login",
            "x-original-forwarded-for",
            "x-cluster-client-ip",
            "fastly-client-ip",
            "fly-client-ip",
            "x-envoy-external-address",
            "x-azure-clientip",
            "cf-ray",
            "x-forwarded",
        ] {
            assert!(is_of_a_proxy(name), "{name}");
        }
        for name in ["x-requested-with", "via-me", "x-forwardedness", "cfr", "origin"] {
            assert!(!is_of_a_proxy(name), "{name}");
        }
    }

    fn hosts(entries: &[&str], bound: &[&str]) -> Hosts {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        Hosts::new(&entries, bound.iter().map(|address| address.parse().unwrap()).collect())
    }

    #[test]
    fn only_loopback_and_listed_hosts() {
        let hosts =
            hosts(&["pi.tail1234.ts.net", "chat.example:8443", "fd00::7", "[fd00::8]:9"], &["127.0.0.1"]);
        for host in [
            "127.0.0.1",
            "127.0.0.1:18789",
            "127.9.8.7:1",
            "localhost",
            "LOCALHOST:80",
            "[::1]:18789",
            "[::1]",
            "[0:0::1]",
            "pi.tail1234.ts.net",
            "PI.tail1234.ts.net:443",
            "chat.example:8443",
            "[fd00:0::7]:5",
            "[fd00::8]:9",
        ] {
            assert!(hosts.allows(host), "{host}");
        }
        for host in [
            "",
            ":80",
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "[fe80::1]:80",
            "2130706433",
            "0x7f.1",
            "localhost@evil.example",
            "::1:18789x",
            "::1",
            "[127.0.0.1]",
            "[localhost]",
            "[::ffff:127.0.0.1]",
            "[::1%1]",
            "[::1",
            "[::1]x",
            "localhost:80:80",
            "localhost:99999",
            "localhost:+80",
            "chat.example",
            "chat.example:8444",
            "[fd00::8]",
            "127.0.0.1 ",
            "127.0.0.1:",
        ] {
            assert!(!hosts.allows(host), "{host}");
        }
    }

    #[test]
    fn bound_addresses_are_hosts_and_a_wildcard_is_any_address() {
        let bound = hosts(&[], &["192.0.2.7", "fd00::7"]);
        for host in ["192.0.2.7", "192.0.2.7:9", "[fd00::7]", "[FD00::7]:1", "127.0.0.1"] {
            assert!(bound.allows(host), "{host}");
        }
        for host in ["192.0.2.8", "[fd00::8]", "[::ffff:192.0.2.7]", "evil.example"] {
            assert!(!bound.allows(host), "{host}");
        }
        for wildcard in ["0.0.0.0", "::"] {
            let wild = hosts(&[], &[wildcard]);
            assert!(wild.allows("192.0.2.8") && wild.allows("[fd00::8]:1"));
            assert!(!wild.allows("evil.example") && !wild.allows("192.0.2.8.evil.example"));
        }
    }

    #[test]
    fn entries_that_name_no_host_are_shown_a_few_at_a_time() {
        let good = ["pi.local", "pi.local:80", "192.0.2.7", "fd00::1", "[fd00::1]:5", "under_score"];
        assert_eq!(stray_entries(&good.map(str::to_owned)), None);
        let bad = ["", "https://a", "*.b", "c/", "d e", "f:0x1", "g:99999", "\u{fc}.h", "[i]"];
        for text in bad {
            let message = stray_entries(&[text.to_owned(), "pi.local".to_owned()]).expect(text).message;
            assert!(message.contains(&format!("`{text}`")) && !message.contains("pi.local"), "{message}");
        }
        let many = vec!["*".repeat(10_000); 9];
        let message = stray_entries(&many).unwrap().message;
        assert!(message.contains("and 4 more") && message.len() < 1_000, "{message}");
    }
}
