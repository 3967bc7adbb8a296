//! The handshake from the client's side, and what to do about each way in which it fails.

use serde_json::{Value, json};

use crate::cli::exit::Failure;
use crate::cli::locate::Target;
use crate::cli::terminal::line;
use crate::protocol;

/// The first frame.
pub(crate) fn hello(target: &Target, caps: &[&str], instance_id: &str) -> Value {
    let mut hello = json!({
        "type": "hello",
        "minProtocol": protocol::VERSION,
        "maxProtocol": protocol::VERSION,
        "client": {
            "name": "clawdis",
            "version": protocol::SERVER_VERSION,
            "platform": std::env::consts::OS,
            "mode": "cli",
            "instanceId": instance_id,
        },
        "caps": caps,
    });
    if let Some(token) = &target.token {
        hello["auth"] = json!({ "token": token.secret });
    }
    hello
}

/// Checks the first frame that came back.
pub(crate) fn accept(answer: &Value, target: &Target) -> Result<(), Failure> {
    match answer["type"].as_str() {
        Some("hello-ok") if answer["protocol"].as_u64() == Some(protocol::VERSION) => Ok(()),
        Some("hello-ok") => Err(Failure::Refused(format!(
            "{} chose protocol {}, but this tool speaks {}; update the older of the two",
            target.address,
            answer["protocol"],
            protocol::VERSION
        ))),
        Some("hello-error") => Err(refusal(answer, target)),
        _ => Err(no_gateway(target, "its first frame is no answer to a hello")),
    }
}

/// What answers there is something else.
pub(crate) fn no_gateway(target: &Target, why: &str) -> Failure {
    let Target { address, source, .. } = target;
    Failure::Refused(format!("what answers at {address} (from {source}) is not a clawdis gateway: {why}"))
}

/// A close before `hello-ok`.
pub(crate) fn closed(code: u16, reason: &str, target: &Target) -> Failure {
    match code {
        1_002 | 1_003 | 1_007 | 1_008 | 1_009 => refusal(&json!({ "reason": reason }), target),
        _ => Failure::Unreachable(format!(
            "the gateway at {} closed the connection: {} ({code}); try again in a moment",
            target.address,
            if reason.is_empty() { "no reason given" } else { reason }
        )),
    }
}

/// An HTTP answer instead of a WebSocket.
pub(crate) fn http(status: u16, body: &str, target: &Target) -> Failure {
    let body = line(protocol::cut(body, 300));
    match status {
        401 | 403 => Failure::Refused(format!(
            "the gateway at {} refused the connection ({status}): {}",
            target.address,
            if body.is_empty() {
                "it may not know the host name used; see `gateway.allowedHosts`"
            } else {
                &body
            }
        )),
        429 | 503 => Failure::Unreachable(format!(
            "the gateway at {} takes no more connections now ({status}): {body}; try again in a moment",
            target.address
        )),
        _ => no_gateway(target, &format!("it answers HTTP {status}")),
    }
}

fn refusal(answer: &Value, target: &Target) -> Failure {
    let reason = line(answer["reason"].as_str().unwrap_or("no reason given"));
    let advice = if reason.contains("unauthorized") {
        match &target.token {
            Some(token) => format!("the token from {} is not the gateway's", line(&token.source)),
            None => "it wants its token: --token-file FILE or CLAWDIS_GATEWAY_TOKEN".to_owned(),
        }
    } else if reason.contains("too old") {
        let wanted = answer["minClient"].as_str().unwrap_or("a newer version");
        format!("this is clawdis {}, it wants {}: update clawdis", protocol::SERVER_VERSION, line(wanted))
    } else if let Some(expected) =
        answer["expectedProtocol"].as_u64().filter(|version| *version != protocol::VERSION)
    {
        format!("it speaks protocol {expected}, this tool {}: update the older of the two", protocol::VERSION)
    } else {
        "see the gateway's log".to_owned()
    };
    Failure::Refused(format!("the gateway at {} refused the connection: {reason}; {advice}", target.address))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{accept, closed, hello, http};
    use crate::cli::address::Address;
    use crate::cli::locate::Target;
    use crate::cli::token::Token;

    fn target(token: Option<&str>) -> Target {
        let token = token.and_then(|secret| Token::new(secret, "/a/file"));
        Target { address: Address::loopback(1), source: "--url", token }
    }

    #[test]
    fn a_hello_carries_the_token_only_if_there_is_one() {
        let with = hello(&target(Some("secret")), &["event:none"], "me");
        assert_eq!(with["auth"]["token"], "secret");
        assert_eq!(with["client"]["instanceId"], "me");
        assert!(hello(&target(None), &[], "me").get("auth").is_none());
    }

    #[test]
    fn every_refusal_says_what_to_do_and_none_says_the_token() {
        let secret = target(Some("secret"));
        let error = |reason: &str| json!({ "type": "hello-error", "reason": reason, "expectedProtocol": 1, "minClient": "9.0.0" });
        let cases = [
            (accept(&error("unauthorized"), &secret).unwrap_err(), 4, "the token from /a/file"),
            (accept(&error("unauthorized"), &target(None)).unwrap_err(), 4, "--token-file"),
            (accept(&error("client too old"), &secret).unwrap_err(), 4, "wants 9.0.0"),
            (
                accept(&json!({ "type": "hello-error", "expectedProtocol": 2 }), &secret).unwrap_err(),
                4,
                "protocol 2",
            ),
            (
                accept(&json!({ "type": "hello-ok", "protocol": 2 }), &secret).unwrap_err(),
                4,
                "chose protocol 2",
            ),
            (accept(&json!([1]), &secret).unwrap_err(), 4, "not a clawdis gateway"),
            (closed(1_008, "unauthorized", &secret), 4, "the token from /a/file"),
            (closed(1_012, "", &secret), 3, "try again"),
            (http(403, "host \x1bnot allowed", &secret), 4, "host not allowed"),
            (http(503, "full", &secret), 3, "try again"),
            (http(404, "", &secret), 4, "HTTP 404"),
        ];
        for (failure, code, expected) in cases {
            let text = failure.to_string();
            assert!(failure.code() == code && text.contains(expected) && !text.contains("secret"), "{text}");
        }
    }
}
