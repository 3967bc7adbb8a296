//! Good and bad values for every inbound schema, and the words for the bad ones.

use serde_json::{Value, json};

use super::{SchemaError, check_config, check_hello, check_req};
use crate::limits::ERROR_TEXT_BYTES_MAX;
use crate::protocol::method::Method;

/// `value` with the member at a JSON pointer's path replaced, or added.
fn with(mut value: Value, path: &str, member: Value) -> Value {
    let (parent, name) = path.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap()[name] = member;
    value
}

fn without(mut value: Value, path: &str) -> Value {
    let (parent, name) = path.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
    value
}

fn text(chars: usize) -> Value {
    Value::from("ñ".repeat(chars))
}

#[track_caller]
fn assert_error(outcome: Result<(), SchemaError>, path: &str, expected: &str) {
    let error = outcome.expect_err("should be refused");
    assert_eq!((error.path.as_str(), error.expected.as_str()), (path, expected));
}

fn hello() -> Value {
    json!({
        "type": "hello", "minProtocol": 1, "maxProtocol": 1,
        "client": { "name": "test", "version": "1.0.0", "platform": "linux", "mode": "cli", "instanceId": "i" },
        "caps": ["event:agent"], "auth": { "token": "t" }, "locale": "en", "userAgent": "",
    })
}

#[test]
fn hello_good() {
    for good in [
        hello(),
        json!({"type": "hello", "minProtocol": 0, "maxProtocol": 9_007_199_254_740_991u64,
               "client": {"name": "n", "version": "v", "platform": "p", "mode": "m"}}),
        with(hello(), "/maxProtocol", json!(1.0)),
        with(hello(), "/new", json!(null)),
        with(hello(), "/client/new", json!([1])),
        with(hello(), "/auth", json!({})),
        with(hello(), "/auth/scheme", json!("x")),
        with(hello(), "/auth/token", text(1024)),
        with(hello(), "/caps", json!([])),
        with(hello(), "/caps", Value::from(vec![text(128); 64])),
        with(hello(), "/client/name", text(128)),
        with(hello(), "/client/instanceId", text(128)),
        with(hello(), "/userAgent", text(256)),
    ] {
        assert_eq!(check_hello(&good), Ok(()), "{good}");
    }
}

#[test]
fn hello_bad() {
    for (bad, path, expected) in [
        (json!([1]), "", "value is not of type \"object\""),
        (json!("hello"), "", "value is not of type \"object\""),
        (json!({}), "/type", "\"hello\" was expected"),
        (json!({"type": "req", "id": "1", "method": "health"}), "/type", "\"hello\" was expected"),
        (
            json!({"type": "hello", "minProtocol": 1, "maxProtocol": 1}),
            "/client",
            "required member is missing",
        ),
        (without(hello(), "/client/mode"), "/client/mode", "required member is missing"),
        (with(hello(), "/minProtocol", json!("1")), "/minProtocol", "value is not of type \"integer\""),
        (with(hello(), "/minProtocol", json!(1.5)), "/minProtocol", "value is not of type \"integer\""),
        (with(hello(), "/minProtocol", json!(-1)), "/minProtocol", "value is less than the minimum of 0"),
        (
            with(hello(), "/maxProtocol", json!(1e300)),
            "/maxProtocol",
            "value is greater than the maximum of 9007199254740991",
        ),
        (with(hello(), "/client", json!("cli")), "/client", "value is not of type \"object\""),
        (with(hello(), "/client/name", json!("")), "/client/name", "value is shorter than 1 character"),
        (
            with(hello(), "/client/version", text(129)),
            "/client/version",
            "value is longer than 128 characters",
        ),
        (
            with(hello(), "/client/instanceId", json!(null)),
            "/client/instanceId",
            "value is not of type \"string\"",
        ),
        (
            with(hello(), "/client/instanceId", text(129)),
            "/client/instanceId",
            "value is longer than 128 characters",
        ),
        (with(hello(), "/caps", json!(null)), "/caps", "value is not of type \"array\""),
        (with(hello(), "/caps", json!(["a", 1])), "/caps/1", "value is not of type \"string\""),
        (with(hello(), "/caps", Value::from(vec!["x"; 65])), "/caps", "value has more than 64 items"),
        (with(hello(), "/caps", json!([text(129)])), "/caps/0", "value is longer than 128 characters"),
        (with(hello(), "/auth", json!("secret")), "/auth", "value is not of type \"object\""),
        (with(hello(), "/auth/token", json!(null)), "/auth/token", "value is not of type \"string\""),
        (with(hello(), "/auth/token", text(1025)), "/auth/token", "value is longer than 1024 characters"),
        (with(hello(), "/locale", text(257)), "/locale", "value is longer than 256 characters"),
        (with(hello(), "/userAgent", text(257)), "/userAgent", "value is longer than 256 characters"),
    ] {
        assert_error(check_hello(&bad), path, expected);
    }
}

#[test]
fn req() {
    let good = json!({"type": "req", "id": "1", "method": "health", "params": {}});
    for good in [
        good.clone(),
        without(good.clone(), "/params"),
        with(good.clone(), "/id", text(128)),
        with(good.clone(), "/method", text(64)),
        with(good.clone(), "/new", json!(null)),
        with(good.clone(), "/params", json!({"any": {"thing": [null]}})),
    ] {
        assert_eq!(check_req(&good), Ok(()), "{good}");
    }
    for (bad, path, expected) in [
        (json!(null), "", "value is not of type \"object\""),
        (json!([]), "", "value is not of type \"object\""),
        (json!({"type": "event"}), "/type", "\"req\" was expected"),
        (with(good.clone(), "/type", json!("hello")), "/type", "\"req\" was expected"),
        (without(good.clone(), "/id"), "/id", "required member is missing"),
        (with(good.clone(), "/id", json!(1)), "/id", "value is not of type \"string\""),
        (with(good.clone(), "/id", json!("")), "/id", "value is shorter than 1 character"),
        (with(good.clone(), "/id", text(129)), "/id", "value is longer than 128 characters"),
        (without(good.clone(), "/method"), "/method", "required member is missing"),
        (with(good.clone(), "/method", json!(null)), "/method", "value is not of type \"string\""),
        (with(good.clone(), "/method", text(65)), "/method", "value is longer than 64 characters"),
        (with(good.clone(), "/params", json!(null)), "/params", "value is not of type \"object\""),
        (with(good.clone(), "/params", json!([])), "/params", "value is not of type \"object\""),
    ] {
        assert_error(check_req(&bad), path, expected);
    }
}

#[test]
fn params_good() {
    let key = || text(256);
    let attachment = json!({"type": "image", "mimeType": "image/png", "name": text(256), "content": "AAAA"});
    for (method, params) in [
        (Method::Health, json!({})),
        (Method::Health, json!({"probe": true, "new": null})),
        (Method::Status, json!({"new": 1})),
        (Method::SystemPresence, json!({"new": 1})),
        (Method::SystemEvent, json!({"text": text(4096)})),
        (
            Method::SystemEvent,
            json!({"text": "t", "lastInputSeconds": 0, "mode": text(64), "tags": vec![text(64); 8], "reason": text(256)}),
        ),
        (
            Method::Send,
            json!({"to": text(256), "message": "", "mediaUrl": text(4096), "idempotencyKey": key()}),
        ),
        (
            Method::Send,
            json!({"to": "t", "message": "m", "channel": "telegram", "provider": "telegram", "idempotencyKey": "k"}),
        ),
        (Method::Agent, json!({"message": "", "idempotencyKey": "k"})),
        (
            Method::Agent,
            json!({"message": "m", "to": text(256), "sessionKey": text(256), "sessionId": text(128), "thinking": "xhigh",
                   "deliver": true, "channel": "whatsapp", "provider": "whatsapp", "timeout": 86400,
                   "attachments": vec![attachment; 4], "idempotencyKey": key()}),
        ),
        (Method::AgentCancel, json!({"runId": text(128)})),
        (Method::SessionsList, json!({"limit": 200, "before": text(300), "new": 1})),
        (Method::SessionHistory, json!({"sessionKey": text(256), "limit": 1, "before": "x", "new": 1})),
        (Method::SessionReset, json!({"sessionKey": "main"})),
        (Method::SessionForget, json!({"sessionKey": "main"})),
        (Method::SetHeartbeats, json!({"enabled": false})),
        (Method::SetChannel, json!({"channel": "telegram", "enabled": true})),
        (Method::SetPaused, json!({"paused": true})),
        (Method::ChannelAllow, json!({"channel": "telegram", "id": text(64)})),
        (
            Method::ChannelAllow,
            json!({"channel": "whatsapp", "id": "+15550001111", "owner": false, "remove": true}),
        ),
        (Method::ChannelLogin, json!({"channel": "telegram"})),
        (Method::ChannelLogin, json!({"channel": "whatsapp", "method": "qr"})),
        (Method::ChannelLogin, json!({"channel": "whatsapp", "method": "code", "phone": text(32)})),
        (Method::ChannelLogout, json!({"channel": "whatsapp"})),
    ] {
        assert_eq!(method.check(&params), Ok(()), "{} {params}", method.name());
    }
}

const TEXT: &str = "value is not of type \"string\"";
const BOOL: &str = "value is not of type \"boolean\"";
const MISSING: &str = "required member is missing";
const UNKNOWN: &str = "unknown member";
const CHANNEL: &str = "value is none of [\"telegram\",\"whatsapp\"]";

#[track_caller]
fn assert_params_refused(cases: &[(Method, Value, &str, &str)]) {
    for (method, params, path, expected) in cases {
        assert_error(method.check(params), &format!("/params{path}"), expected);
    }
}

#[test]
fn system_event_bad() {
    let note = |member: &str, value: Value| with(json!({"text": "t"}), &format!("/{member}"), value);
    assert_params_refused(&[
        (Method::SystemEvent, json!({}), "/text", MISSING),
        (Method::SystemEvent, json!({"text": ""}), "/text", "value is shorter than 1 character"),
        (Method::SystemEvent, json!({"text": text(4097)}), "/text", "value is longer than 4096 characters"),
        (
            Method::SystemEvent,
            note("lastInputSeconds", json!(-1)),
            "/lastInputSeconds",
            "value is less than the minimum of 0",
        ),
        (Method::SystemEvent, note("mode", text(65)), "/mode", "value is longer than 64 characters"),
        (Method::SystemEvent, note("tags", json!("a")), "/tags", "value is not of type \"array\""),
        (
            Method::SystemEvent,
            note("tags", Value::from(vec!["x"; 9])),
            "/tags",
            "value has more than 8 items",
        ),
        (
            Method::SystemEvent,
            note("tags", json!(["a", text(65)])),
            "/tags/1",
            "value is longer than 64 characters",
        ),
        (Method::SystemEvent, note("reason", text(257)), "/reason", "value is longer than 256 characters"),
        (Method::SystemEvent, note("txet", json!(1)), "/txet", UNKNOWN),
        (Method::SystemEvent, note("provider", json!("telegram")), "/provider", UNKNOWN),
    ]);
}

#[test]
fn send_bad() {
    let send = |member: &str, value: Value| {
        with(json!({"to": "t", "message": "m", "idempotencyKey": "k"}), &format!("/{member}"), value)
    };
    assert_params_refused(&[
        (Method::Send, json!({"message": "m", "idempotencyKey": "k"}), "/to", MISSING),
        (Method::Send, json!({"to": "t", "message": "m"}), "/idempotencyKey", MISSING),
        (Method::Send, send("to", json!("")), "/to", "value is shorter than 1 character"),
        (Method::Send, send("to", text(257)), "/to", "value is longer than 256 characters"),
        (Method::Send, send("message", json!(5)), "/message", TEXT),
        (Method::Send, send("channel", json!("signal")), "/channel", CHANNEL),
        (Method::Send, send("channel", json!(null)), "/channel", CHANNEL),
        (Method::Send, send("provider", json!("last")), "/provider", CHANNEL),
        (Method::Send, send("mediaUrl", text(4097)), "/mediaUrl", "value is longer than 4096 characters"),
        (
            Method::Send,
            send("idempotencyKey", json!("")),
            "/idempotencyKey",
            "value is shorter than 1 character",
        ),
        (
            Method::Send,
            send("idempotencyKey", text(257)),
            "/idempotencyKey",
            "value is longer than 256 characters",
        ),
        (Method::Send, send("deliver", json!(true)), "/deliver", UNKNOWN),
    ]);
}

#[test]
fn agent_bad() {
    let agent = |member: &str, value: Value| {
        with(json!({"message": "m", "idempotencyKey": "k"}), &format!("/{member}"), value)
    };
    let picture = |member: &str, value: Value| {
        let picture = json!({"type": "image", "mimeType": "image/png", "content": "AAAA"});
        agent("attachments", json!([with(picture, &format!("/{member}"), value)]))
    };
    assert_params_refused(&[
        (Method::Agent, json!({"idempotencyKey": "k"}), "/message", MISSING),
        (Method::Agent, json!({"message": "m"}), "/idempotencyKey", MISSING),
        (Method::Agent, agent("to", json!(1)), "/to", TEXT),
        (Method::Agent, agent("sessionKey", json!(null)), "/sessionKey", TEXT),
        (Method::Agent, agent("sessionKey", text(257)), "/sessionKey", "value is longer than 256 characters"),
        (Method::Agent, agent("sessionId", text(129)), "/sessionId", "value is longer than 128 characters"),
        (
            Method::Agent,
            agent("thinking", json!("lots")),
            "/thinking",
            "value is none of [\"off\",\"minimal\",\"low\",\"medium\",\"high\",\"xhigh\"]",
        ),
        (Method::Agent, agent("deliver", json!("true")), "/deliver", BOOL),
        (Method::Agent, agent("timeout", json!(0)), "/timeout", "value is less than the minimum of 1"),
        (
            Method::Agent,
            agent("timeout", json!(86401)),
            "/timeout",
            "value is greater than the maximum of 86400",
        ),
        (Method::Agent, agent("timeout", json!(1.5)), "/timeout", "value is not of type \"integer\""),
        (Method::Agent, agent("timeout", json!("30")), "/timeout", "value is not of type \"integer\""),
        (
            Method::Agent,
            agent("attachments", json!(vec![json!({}); 5])),
            "/attachments",
            "value has more than 4 items",
        ),
        (Method::Agent, agent("attachments", json!([{}])), "/attachments/0/type", MISSING),
        (Method::Agent, picture("type", json!("file")), "/attachments/0/type", "\"image\" was expected"),
        (
            Method::Agent,
            picture("mimeType", json!("image/svg+xml")),
            "/attachments/0/mimeType",
            "value is none of [\"image/png\",\"image/jpeg\",\"image/gif\",\"image/webp\"]",
        ),
        (
            Method::Agent,
            picture("name", text(257)),
            "/attachments/0/name",
            "value is longer than 256 characters",
        ),
        (
            Method::Agent,
            picture("content", json!("")),
            "/attachments/0/content",
            "value is shorter than 4 characters",
        ),
        (Method::Agent, picture("url", json!("x")), "/attachments/0/url", UNKNOWN),
    ]);
}

#[test]
fn other_params_bad() {
    let history = |member: &str, value: Value| with(json!({"sessionKey": "s"}), &format!("/{member}"), value);
    assert_params_refused(&[
        (Method::Health, json!({"probe": null}), "/probe", BOOL),
        (Method::Health, json!({"probe": "yes"}), "/probe", BOOL),
        (Method::Status, json!([]), "", "value is not of type \"object\""),
        (Method::SystemPresence, json!(null), "", "value is not of type \"object\""),
        (Method::AgentCancel, json!({}), "/runId", MISSING),
        (Method::AgentCancel, json!({"runId": text(129)}), "/runId", "value is longer than 128 characters"),
        (Method::AgentCancel, json!({"runId": "r", "force": true}), "/force", UNKNOWN),
        (Method::SessionsList, json!({"limit": 0}), "/limit", "value is less than the minimum of 1"),
        (
            Method::SessionsList,
            json!({"before": text(301)}),
            "/before",
            "value is longer than 300 characters",
        ),
        (Method::SessionHistory, json!({}), "/sessionKey", MISSING),
        (
            Method::SessionHistory,
            history("limit", json!(201)),
            "/limit",
            "value is greater than the maximum of 200",
        ),
        (Method::SessionHistory, history("limit", json!(null)), "/limit", "value is not of type \"integer\""),
        (
            Method::SessionHistory,
            history("before", json!("")),
            "/before",
            "value is shorter than 1 character",
        ),
        (Method::SessionReset, json!({"sessionKey": ""}), "/sessionKey", "value is shorter than 1 character"),
        (Method::SessionReset, json!({"sessionKey": "s", "force": 1}), "/force", UNKNOWN),
        (Method::SessionForget, json!({}), "/sessionKey", MISSING),
        (Method::SessionForget, json!({"sessionKey": "s", "force": 1}), "/force", UNKNOWN),
        (Method::SetHeartbeats, json!({"enabled": 1}), "/enabled", BOOL),
        (Method::SetHeartbeats, json!({"enabled": true, "x": 1}), "/x", UNKNOWN),
        (Method::SetChannel, json!({"channel": "sms", "enabled": true}), "/channel", CHANNEL),
        (Method::SetChannel, json!({"channel": "telegram"}), "/enabled", MISSING),
        (
            Method::SetChannel,
            json!({"channel": "telegram", "enabled": true, "provider": "telegram"}),
            "/provider",
            UNKNOWN,
        ),
        (Method::SetPaused, json!({}), "/paused", MISSING),
        (Method::SetPaused, json!({"paused": true, "x": 1}), "/x", UNKNOWN),
    ]);
}

#[test]
fn channel_allow_bad() {
    let allow = |member: &str, value: Value| {
        with(json!({"channel": "telegram", "id": "7"}), &format!("/{member}"), value)
    };
    assert_params_refused(&[
        (Method::ChannelAllow, json!({"id": "7"}), "/channel", MISSING),
        (Method::ChannelAllow, json!({"channel": "telegram"}), "/id", MISSING),
        (Method::ChannelAllow, allow("channel", json!("sms")), "/channel", CHANNEL),
        (Method::ChannelAllow, allow("id", json!(7)), "/id", TEXT),
        (Method::ChannelAllow, allow("id", json!("")), "/id", "value is shorter than 1 character"),
        (Method::ChannelAllow, allow("id", text(65)), "/id", "value is longer than 64 characters"),
        (Method::ChannelAllow, allow("owner", json!(null)), "/owner", BOOL),
        (Method::ChannelAllow, allow("remove", json!("yes")), "/remove", BOOL),
        (Method::ChannelAllow, allow("provider", json!("telegram")), "/provider", UNKNOWN),
    ]);
}

#[test]
fn channel_login_and_logout_bad() {
    let login =
        |member: &str, value: Value| with(json!({"channel": "whatsapp"}), &format!("/{member}"), value);
    assert_params_refused(&[
        (Method::ChannelLogin, json!({}), "/channel", MISSING),
        (Method::ChannelLogin, login("channel", json!("sms")), "/channel", CHANNEL),
        (
            Method::ChannelLogin,
            login("method", json!("sms")),
            "/method",
            "value is none of [\"qr\",\"code\"]",
        ),
        (Method::ChannelLogin, login("phone", json!(15_550_001_111_u64)), "/phone", TEXT),
        (Method::ChannelLogin, login("phone", text(33)), "/phone", "value is longer than 32 characters"),
        (Method::ChannelLogin, login("force", json!(true)), "/force", UNKNOWN),
        (Method::ChannelLogout, json!({}), "/channel", MISSING),
        (Method::ChannelLogout, login("forget", json!(true)), "/forget", UNKNOWN),
    ]);
}

#[test]
fn config() {
    for good in [
        json!({}),
        json!({"unknown": {"a": null}, "gateway": {"port": 0, "unknown": 1}}),
        json!({"agent": {"command": "pi", "env": {"A": "b"}}}),
        json!({"agent": {"command": ["pi", "--x"], "thinking": "high"}}),
        json!({"telegram": {"groups": {"-100": {"requireMention": false, "allowFrom": ["1"]}}}}),
    ] {
        assert_eq!(check_config(&good), Ok(()), "{good}");
    }
    for (bad, path, expected) in [
        (json!([]), "", "value is not of type \"object\""),
        (json!({"gateway": {"port": "18789"}}), "/gateway/port", "value is not of type \"integer\""),
        (json!({"gateway": {"port": 65536}}), "/gateway/port", "value is greater than the maximum of 65535"),
        (json!({"gateway": {"token": 7}}), "/gateway/token", "value is not of type \"string\""),
        (json!({"owner": {"telegram": 123_456}}), "/owner/telegram", "value is not of type \"string\""),
        (json!({"agent": {"command": []}}), "/agent/command", "value has less than 1 item"),
        (json!({"agent": {"command": 1}}), "/agent/command", "value is not of types \"string\", \"array\""),
        (json!({"agent": {"env": {"A": 1}}}), "/agent/env/A", "value is not of type \"string\""),
        (
            json!({"telegram": {"groups": {"-1": {"requireMention": 1}}}}),
            "/telegram/groups/-1/requireMention",
            "value is not of type \"boolean\"",
        ),
        (json!({"storage": {"maxMb": 1}}), "/storage/maxMb", "value is less than the minimum of 16"),
    ] {
        assert_error(check_config(&bad), path, expected);
    }
}

#[test]
fn errors_are_bounded_and_show_no_values() {
    let name = "n".repeat(100_000);
    let error = Method::SetPaused.check(&json!({"paused": true, name: "secret"})).unwrap_err();
    assert_eq!(error.path, format!("/params/{}", "n".repeat(64)));
    for error in [
        check_hello(&json!({"type": "hello", "auth": {"token": ["secret"]}, "client": "secret"}))
            .unwrap_err(),
        check_req(&json!({"type": "req", "id": {"secret": 1}, "method": "secret"})).unwrap_err(),
        check_config(&json!({"telegram": {"groups": {"s".repeat(100_000): "secret"}}})).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.len() <= ERROR_TEXT_BYTES_MAX && !text.contains("secret"), "{text}");
    }
}

#[test]
fn error_as_text() {
    let error = Method::Health.check(&json!({"probe": 1})).unwrap_err();
    assert_eq!(error.to_string(), "`/params/probe`: value is not of type \"boolean\"");
    assert_eq!(check_req(&json!([])).unwrap_err().to_string(), "`/`: value is not of type \"object\"");
}
