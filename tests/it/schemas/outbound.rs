//! The check that every other test puts its frames through must itself be able to fail.

#![allow(clippy::needless_pass_by_value, reason = "frames are put together from temporaries")]

use std::panic;

use serde_json::{Value, json};

use crate::harness::schemas::{assert_answer, assert_outbound};

fn health() -> Value {
    let channel = json!({"configured": false, "enabled": true, "state": "off"});
    json!({
        "ok": true, "ts": 1, "channels": {"telegram": channel, "whatsapp": channel},
        "agent": {"configured": true, "state": "idle", "active": 0, "queued": 0, "sandbox": "none"},
        "storage": {"ok": true, "usedBytes": 1, "freeBytes": 2}, "paused": false,
    })
}

fn presence() -> Value {
    json!({"host": "h", "ip": "127.0.0.1", "version": "1", "mode": "cli", "ts": 1, "instanceId": "i"})
}

fn answer(payload: Value) -> Value {
    json!({"type": "res", "id": "1", "ok": true, "payload": payload})
}

fn failure(code: &str) -> Value {
    json!({"type": "res", "id": "1", "ok": false, "error": {"code": code, "message": "m", "retryable": false}})
}

fn event(name: &str, payload: Value) -> Value {
    let mut frame = json!({"type": "event", "event": name, "payload": payload, "seq": 1});
    if matches!(name, "presence" | "health") {
        frame["stateVersion"] = json!({"presence": 1, "health": 1});
    }
    frame
}

fn step(stream: &str, data: Value) -> Value {
    event(
        "agent",
        json!({"runId": "r", "sessionKey": "main", "seq": 1, "stream": stream, "ts": 1, "data": data}),
    )
}

fn message() -> Value {
    json!({"id": "m", "ts": 1, "channel": "telegram", "sessionKey": "main", "direction": "in", "text": ""})
}

fn hello_ok() -> Value {
    json!({
        "type": "hello-ok", "protocol": 1, "server": {"version": "1", "host": "h", "connId": "c"},
        "features": {"methods": ["health"], "events": ["tick"]},
        "snapshot": {"presence": [presence()], "health": health(), "stateVersion": {"presence": 1, "health": 1}, "uptimeMs": 1},
        "policy": {"maxPayload": 1, "maxBufferedBytes": 1, "tickIntervalMs": 1},
    })
}

#[test]
fn good_frames() {
    for frame in [
        hello_ok(),
        json!({"type": "hello-error", "reason": "unauthorized", "expectedProtocol": 1, "minClient": "0.0.0"}),
        answer(health()),
        answer(json!([presence()])),
        failure("UNAVAILABLE"),
        event("tick", json!({"ts": 1})),
        event("presence", json!({"presence": [presence()], "removed": ["i"]})),
        event("health", json!({"health": health()})),
        event("shutdown", json!({"reason": "stop"})),
        event("message", message()),
        event("channel", json!({"channel": "whatsapp", "state": "installing", "reason": "18 packages"})),
        event("channel", json!({"channel": "whatsapp", "state": "linking", "qr": "2@a", "ttlMs": 20_000})),
        event("channel", json!({"channel": "whatsapp", "state": "linking", "code": "ABCD1234", "ttlMs": 1})),
        step("lifecycle", json!({"phase": "queued", "position": 1})),
        step("lifecycle", json!({"phase": "ended", "status": "ok"})),
        step("assistant", json!({"delta": "d"})),
        step("assistant", json!({"reset": true})),
        step("thinking", json!({"delta": "d"})),
        step("tool", json!({"phase": "start", "toolCallId": "t", "name": "bash", "args": {"a": 1}})),
        step(
            "tool",
            json!({"phase": "end", "toolCallId": "t", "name": "bash", "result": "r", "isError": false, "truncated": true}),
        ),
        step("error", json!({"message": "m"})),
    ] {
        assert_outbound(&frame);
    }
}

#[test]
fn good_answers() {
    let session = json!({"sessionKey": "main", "sessionId": "s"});
    for (method, payload) in [
        ("health", health()),
        ("system-presence", json!([presence()])),
        ("system-event", json!({"ok": true})),
        ("send", json!({"runId": "r", "channel": "telegram", "messageId": "1", "chatId": "1"})),
        ("agent", json!({"runId": "r", "status": "accepted"})),
        ("agent", json!({"runId": "r", "status": "ok", "summary": ""})),
        ("agent-cancel", json!({"runId": "r", "status": "cancelled"})),
        (
            "sessions-list",
            json!({"sessions": [{"sessionKey": "main", "sessionId": "s", "updatedTs": 1, "messages": 0}]}),
        ),
        ("session-history", json!({"sessionKey": "main", "sessionId": "", "messages": []})),
        (
            "session-history",
            json!({"sessionKey": "main", "sessionId": "s", "before": "c",
                   "messages": [{"id": "1", "ts": 1, "role": "user", "text": "", "channel": "telegram", "truncated": true}]}),
        ),
        ("session-reset", session.clone()),
        ("session-forget", session),
        ("set-heartbeats", json!({"enabled": true})),
        ("set-channel", json!({"channel": "telegram", "enabled": true})),
        ("set-paused", json!({"paused": true})),
        ("channel-allow", json!({"channel": "telegram", "id": "7", "allowed": true, "owner": false})),
        ("channel-login", json!({"channel": "whatsapp", "status": "accepted"})),
        ("channel-login", json!({"channel": "whatsapp", "status": "linked", "self": "+15550001111"})),
        ("channel-logout", json!({"channel": "whatsapp", "status": "unlinked"})),
    ] {
        let frame = answer(payload);
        assert_outbound(&frame);
        assert_answer(method, &frame);
    }
    let mut failed = failure("AGENT_TIMEOUT");
    failed["payload"] = json!({"runId": "r", "status": "timeout", "summary": "s"});
    assert_outbound(&failed);
    assert_answer("agent", &failed);
    failed["payload"] = json!({"channel": "whatsapp", "status": "failed", "reason": "too late"});
    assert_outbound(&failed);
    assert_answer("channel-login", &failed);
}

/// `value` with one change: the member at the pointer is set, or taken away.
fn changed(mut value: Value, pointer: &str, member: Option<Value>) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match member {
        Some(member) => parent.insert(name.to_owned(), member),
        None => parent.remove(name),
    };
    value
}

#[test]
fn bad_frames() {
    let tick = || event("tick", json!({"ts": 1}));
    for frame in [
        json!([]),
        json!({"type": "req", "id": "1", "method": "health"}),
        changed(hello_ok(), "/snapshot/health", None),
        changed(hello_ok(), "/server/connid", Some(json!("c"))),
        changed(hello_ok(), "/snapshot/health/agent/state", Some(json!("asleep"))),
        changed(answer(health()), "/ok", Some(json!("true"))),
        changed(answer(health()), "/payload", None),
        changed(answer(health()), "/payload/usedBytes", Some(json!(1))),
        changed(answer(health()), "/payload/channels/telegram/lastFrameTS", Some(json!(1))),
        changed(failure("UNAVAILABLE"), "/error", None),
        changed(failure("UNAVAILABLE"), "/ok", Some(json!(true))),
        failure("NO_SUCH_CODE"),
        answer(json!({"some": "thing"})),
        changed(tick(), "/seq", Some(json!(0))),
        changed(tick(), "/seq", None),
        changed(tick(), "/payload/ts", Some(json!("1"))),
        event("tock", json!({"ts": 1})),
        changed(event("health", json!({"health": health()})), "/stateVersion", None),
        event("presence", json!({"presence": [presence()]})),
        event(
            "presence",
            json!({"presence": [changed(presence(), "/tags", Some(json!(null)))], "removed": []}),
        ),
        event("message", changed(message(), "/direction", Some(json!("sideways")))),
        event("message", changed(message(), "/status", Some(json!("lost")))),
        event("message", changed(message(), "/media", Some(json!([{"kind": "sticker"}])))),
        event("message", changed(message(), "/sessionKey", None)),
        event("channel", json!({"channel": "whatsapp"})),
        event("channel", json!({"channel": "whatsapp", "state": "linking", "status": "linked"})),
        step("lifecycle", json!({"phase": "accepted"})),
        step("assistant", json!({"delta": "d", "reset": true})),
        step("assistant", json!({})),
        step("thinking", json!({"text": "t"})),
        step("tool", json!({"phase": "start", "name": "bash"})),
        step("tools", json!({})),
    ] {
        let text = frame.to_string();
        assert!(panic::catch_unwind(|| assert_outbound(&frame)).is_err(), "passes: {text}");
    }
}

#[test]
fn bad_answers() {
    let mut contradiction = failure("CANCELLED");
    contradiction["payload"] = json!({"runId": "r", "status": "ok", "summary": "s"});
    let mut beside_error = failure("UNAVAILABLE");
    beside_error["payload"] = health();
    for (method, frame) in [
        ("health", answer(json!([presence()]))),
        ("set-paused", answer(json!({"enabled": true}))),
        ("channel-allow", answer(json!({"channel": "telegram", "id": "7", "allowed": true}))),
        ("channel-login", answer(json!({"channel": "whatsapp", "status": "failed"}))),
        ("channel-login", answer(json!({"channel": "whatsapp", "status": "unlinked"}))),
        ("channel-logout", answer(json!({"channel": "whatsapp", "status": "linked"}))),
        ("agent", answer(json!({"runId": "r", "status": "ok"}))),
        ("agent", contradiction),
        ("health", beside_error),
        ("no-such-method", answer(health())),
    ] {
        let text = frame.to_string();
        assert!(panic::catch_unwind(|| assert_answer(method, &frame)).is_err(), "passes as {method}: {text}");
    }
}
