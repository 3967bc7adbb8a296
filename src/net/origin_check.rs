//! Who may talk to the gateway at all: `Host`, `Origin` and proxy headers, checked before any byte is
//! answered with more than a refusal.
//!
//! `Host` stops DNS rebinding, `Origin` stops pages of other sites, and a forwarding header means
//! that "loopback" no longer means "this person". Nothing that a client says about itself exempts
//! it.

use crate::net::NetContext;
use crate::net::http::HttpRefusal;
use crate::net::request_head::RequestHead;

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

#[cfg(test)]
mod tests {
    use super::{is_of_a_proxy, is_origin_allowed};

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
}
