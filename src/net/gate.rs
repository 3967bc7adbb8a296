//! Who may talk to us at all: `Host`, `Origin` and proxy headers, checked before any byte is
//! answered with more than a refusal.
//!
//! `Host` stops DNS rebinding, `Origin` stops pages of other sites, and a forwarding header means
//! that "loopback" no longer means "this person". Nothing that a client says about itself exempts
//! it.

use std::net::IpAddr;

use crate::net::NetContext;
use crate::net::head::Head;
use crate::net::http::Refusal;

/// `Err` is what to answer instead of serving the request.
pub(super) fn check(head: &Head, context: &NetContext) -> Result<(), Refusal> {
    let Ok(Some(host)) = head.single("host") else {
        return Err(Refusal::new(400, "send exactly one Host header"));
    };
    if !host_allowed(host, &context.settings.allowed_hosts) {
        return Err(Refusal::new(
            403,
            "this Host is not served; connect to 127.0.0.1 or localhost, or list the name in gateway.allowedHosts",
        ));
    }
    let Ok(origin) = head.single("origin") else {
        return Err(Refusal::new(400, "send at most one Origin header"));
    };
    if let Some(origin) = origin {
        if !origin_allowed(origin, host, &context.settings.allowed_origins) {
            return Err(Refusal::new(
                403,
                "this Origin may not connect; open the gateway's own page, or list the origin in gateway.allowedOrigins",
            ));
        }
    }
    if context.settings.token.is_none() && head.headers().any(|(name, _)| forwards(name)) {
        return Err(Refusal::new(
            403,
            "this request came through a proxy; set a token (--token-file) before putting one in front",
        ));
    }
    Ok(())
}

/// Headers that only a proxy adds. `name` is in lower case.
fn forwards(name: &str) -> bool {
    name == "forwarded"
        || name == "x-real-ip"
        || name.starts_with("x-forwarded-")
        || name.starts_with("tailscale-")
}

/// The host without its port, and without the brackets of an IPv6 address. `None` if it is no
/// host at all.
fn without_port(authority: &str) -> Option<&str> {
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']')?;
        return (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port)).then_some(host);
    }
    match authority.split_once(':') {
        None => Some(authority),
        Some((host, port)) => is_port(port).then_some(host),
    }
}

/// Whether `authority` names this machine's loopback, or is listed.
fn host_allowed(authority: &str, allowed: &[String]) -> bool {
    let Some(host) = without_port(authority) else { return false };
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        if address.is_loopback() {
            return true;
        }
    }
    allowed.iter().any(|entry| entry.eq_ignore_ascii_case(authority) || entry.eq_ignore_ascii_case(host))
}

/// Whether `origin` is the page that this server itself serves under `authority`, or is listed.
fn origin_allowed(origin: &str, authority: &str, allowed: &[String]) -> bool {
    let own = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))
        .is_some_and(|rest| rest.eq_ignore_ascii_case(authority));
    own || allowed.iter().any(|entry| entry.trim_end_matches('/').eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use super::{forwards, host_allowed, origin_allowed};

    #[test]
    fn only_loopback_and_listed_hosts() {
        let listed = ["pi.tail1234.ts.net".to_owned()];
        for host in [
            "127.0.0.1",
            "127.0.0.1:18789",
            "127.9.8.7:1",
            "localhost",
            "LOCALHOST:80",
            "[::1]:18789",
            "[::1]",
            "pi.tail1234.ts.net",
            "PI.tail1234.ts.net:443",
        ] {
            assert!(host_allowed(host, &listed), "{host}");
        }
        for host in [
            "",
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
        ] {
            assert!(!host_allowed(host, &listed), "{host}");
        }
    }

    #[test]
    fn only_the_own_and_listed_origins() {
        let listed = ["https://chat.example/".to_owned()];
        assert!(origin_allowed("http://127.0.0.1:18789", "127.0.0.1:18789", &listed));
        assert!(origin_allowed("https://chat.example", "127.0.0.1:18789", &listed));
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
            assert!(!origin_allowed(origin, "127.0.0.1:18789", &listed), "{origin}");
        }
    }

    #[test]
    fn proxies_are_noticed() {
        for name in ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-real-ip", "tailscale-user-login"]
        {
            assert!(forwards(name));
        }
        assert!(!forwards("x-requested-with") && !forwards("via-me"));
    }
}
