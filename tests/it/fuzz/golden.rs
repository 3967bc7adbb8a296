//! What honest clients say: from the golden conversation, and a request of every method.

use std::fs;

use serde_json::{Value, json};

use crate::harness::process::repository;

/// What the old client of the golden conversation sends.
fn conversation() -> Vec<Value> {
    let text = fs::read_to_string(repository("tests/golden/protocol-1-client.jsonl")).unwrap();
    let steps = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    steps.filter_map(|mut step| step.get_mut("send").map(Value::take)).collect()
}

/// Hellos with every member that there is.
pub(crate) fn hellos() -> Vec<Value> {
    let mut hellos = conversation();
    hellos.retain(|frame| frame["type"] == "hello");
    hellos.push(json!({
        "type": "hello", "minProtocol": 1, "maxProtocol": 3, "locale": "en-GB", "userAgent": "fuzz",
        "client": {"name": "fuzz", "version": "0.1.0", "platform": "linux", "mode": "test", "instanceId": "fuzz"},
        "caps": ["event:agent", "event:presence", "something"], "auth": {"token": "correct horse battery"},
    }));
    hellos
}

/// Good requests: those of the conversation and one of each method.
pub(crate) fn requests() -> Vec<Value> {
    let mut requests = conversation();
    requests.retain(|frame| frame["type"] == "req");
    let picture =
        json!({"type": "image", "mimeType": "image/png", "name": "a.png", "content": "iVBORw0KGgo="});
    let of_methods = [
        ("health", json!({"probe": true})),
        ("status", json!({})),
        ("system-presence", json!({})),
        (
            "system-event",
            json!({"text": "lid opened", "lastInputSeconds": 3, "mode": "ui", "tags": ["a"], "reason": "x"}),
        ),
        (
            "send",
            json!({"to": "telegram:5", "message": "hi", "mediaUrl": "https://x/y.png", "idempotencyKey": "s"}),
        ),
        (
            "send",
            json!({"to": "+15550001111", "message": "hi", "channel": "whatsapp", "idempotencyKey": "w"}),
        ),
        (
            "agent",
            json!({"message": "hello", "sessionKey": "main", "thinking": "low", "timeout": 5, "idempotencyKey": "a"}),
        ),
        (
            "agent",
            json!({"message": "look", "to": "telegram:5", "deliver": true, "attachments": [picture], "idempotencyKey": "b"}),
        ),
        ("agent-cancel", json!({"runId": "run-1"})),
        ("sessions-list", json!({"limit": 5, "before": "9"})),
        ("session-history", json!({"sessionKey": "main", "limit": 5, "before": "100"})),
        ("session-reset", json!({"sessionKey": "main"})),
        ("session-forget", json!({"sessionKey": "other"})),
        ("set-heartbeats", json!({"enabled": true})),
        ("set-channel", json!({"channel": "telegram", "enabled": false})),
        ("set-paused", json!({"paused": false})),
        ("channel-allow", json!({"channel": "telegram", "id": "5", "owner": true})),
        ("channel-login", json!({"channel": "whatsapp", "method": "code", "phone": "+15550001111"})),
        ("channel-logout", json!({"channel": "whatsapp"})),
    ];
    for (number, (method, params)) in of_methods.into_iter().enumerate() {
        requests.push(json!({"type": "req", "id": format!("m{number}"), "method": method, "params": params}));
    }
    requests
}

/// Words that matter in frames.
pub(crate) const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "null",
    "true",
    "false",
    "\\ud800",
    "\\u0000",
    "{\"\":0}",
    "[[[[[[[[",
    "\"type\":\"req\"",
    "\"id\":",
    "\"params\":",
    "\"method\":\"agent\"",
    "\"idempotencyKey\":\"x\"",
];
