//! Verbs that ask once: what they send and what they print.

use serde_json::{Value, json};

use crate::cli::gateway::Gateway;
use crate::cli::process::Home;

fn health() -> Value {
    json!({
        "ok": true, "ts": 1, "paused": false,
        "channels": { "telegram": { "configured": false, "enabled": true, "state": "off" } },
        "agent": { "configured": true, "state": "idle", "active": 0, "queued": 0, "sandbox": "bwrap" },
        "storage": { "ok": true, "usedBytes": 2_000, "freeBytes": 3_000_000_000_u64 },
    })
}

#[test]
fn health_is_a_table_or_the_payload() {
    let home = Home::new("health");
    let gateway = Gateway::answering("health", health());
    assert_eq!(
        home.clawdis(["health", "--url", &gateway.url]).run().ok(),
        "gateway   ok    paused no\n\
         agent     idle  active 0, configured yes, queued 0, sandbox bwrap\n\
         telegram  off   configured no, enabled yes\n\
         storage   ok    free 3000 MB, used 2000 B\n"
    );
    let gateway = Gateway::answering("health", health());
    let done = home.clawdis(["--json", "health", "--url", &gateway.url]).run();
    assert_eq!(done.json_lines(), [health()]);
}

#[test]
fn short_calls_subscribe_to_nothing_and_share_an_entry() {
    let home = Home::new("caps");
    let gateway = Gateway::once(|peer| {
        let hello = peer.greet();
        assert_eq!(hello["caps"], json!(["event:none"]));
        assert_eq!(hello["client"]["instanceId"], "clawdis-cli");
        assert_eq!(hello["client"]["mode"], "cli");
        let request = peer.request("health");
        assert_eq!(request["params"], json!({ "probe": true }));
        // Neither an event nor a foreign answer nor a ping is the answer.
        peer.event("tick", &json!({ "ts": 1 }));
        peer.write(&json!({ "type": "res", "id": "another", "ok": true, "payload": {} }));
        peer.ping();
        peer.answer(&request, &health());
        peer.gone();
    });
    home.clawdis(["health", "--probe", "--url", &gateway.url]).run().ok();
    gateway.finish();
}

#[test]
fn status_shows_what_surrounds_health() {
    let home = Home::new("status");
    let payload = json!({
        "version": "9.9.9", "protocol": 1, "pid": 42, "uptimeMs": 7_260_000, "host": "testhost", "clients": 1,
        "health": health(), "toggles": { "heartbeats": false, "paused": false, "channels": { "telegram": false } },
        "sessions": 3, "today": { "runs": 5, "runsByPerson": { "owner": 5 } },
        "refused": [{ "channel": "telegram", "id": "77", "count": 2, "lastTs": 1 }],
        "clientsList": [{ "connId": "c1", "name": "evil\u{1b}[2J", "version": "1", "platform": "linux", "mode": "cli", "sinceTs": 1 }],
    });
    let gateway = Gateway::answering("status", payload);
    let text = home.clawdis(["status", "--url", &gateway.url]).run().ok();
    for expected in [
        "host testhost, pid 42, protocol 1, sessions 3, uptime 2 h, version 9.9.9",
        "agent           idle  active 0",
        "runs 5",
        "owner 5",
        "heartbeats no, paused no",
        "telegram no",
        "refused\nCHANNEL   ID  COUNT  LAST   ",
        "  clawdis allow telegram 77\n",
        "evil[2J  cli   1        c1",
    ] {
        assert!(text.contains(expected), "no `{expected}` in\n{text}");
    }
    assert!(!text.contains('\x1b'));
}

#[test]
fn presence_is_a_table() {
    let home = Home::new("presence");
    let payload = json!([
        { "host": "testhost", "ip": "127.0.0.1", "version": "9", "mode": "gateway", "ts": 1, "instanceId": "gw" },
        { "host": "phone", "ip": "127.0.0.1", "version": "1", "mode": "app", "ts": 1, "reason": "disconnect", "instanceId": "p" },
    ]);
    let gateway = Gateway::answering("system-presence", payload);
    let text = home.clawdis(["presence", "--url", &gateway.url]).run().ok();
    let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["HOST", "MODE", "VERSION", "INSTANCE", "ID", "IP", "REASON", "SINCE"]);
    assert_eq!((words[1][0], words[1][1], words[2][5]), ("testhost", "gateway", "disconnect"));
}

/// What is typed, the method and parameters that must be sent, the answer, and what must be shown.
type Case = (&'static [&'static str], &'static str, Value, Value, &'static str);

fn each(home: &Home, cases: impl IntoIterator<Item = Case>) {
    for (args, method, params, payload, expected) in cases {
        let gateway = Gateway::once(move |peer| {
            peer.greet();
            let request = peer.request(method);
            assert_eq!(request["params"], params);
            peer.answer(&request, &payload);
            peer.gone();
        });
        let text = home.clawdis(args).env("CLAWDIS_GATEWAY_URL", &gateway.url).run().ok();
        assert!(text.contains(expected), "{args:?}: {text}");
        gateway.finish();
    }
}

#[test]
fn toggles_and_runs_are_switched_by_their_methods() {
    let paused = |paused: bool| json!({ "paused": paused });
    let telegram_off = json!({ "channel": "telegram", "enabled": false });
    let (on, run) = (json!({ "enabled": true }), json!({ "runId": "r7" }));
    let cases: [Case; 5] = [
        (&["pause"], "set-paused", paused(true), paused(true), "paused yes"),
        (&["resume"], "set-paused", paused(false), paused(false), "paused no"),
        (&["heartbeats", "on"], "set-heartbeats", on.clone(), on, "enabled yes"),
        (
            &["channel", "telegram", "off"],
            "set-channel",
            telegram_off.clone(),
            telegram_off,
            "channel telegram, enabled no",
        ),
        (&["cancel", "r7"], "agent-cancel", run.clone(), run, "run id r7"),
    ];
    each(&Home::new("toggles"), cases);
}

#[test]
fn people_are_let_in_and_shut_out() {
    let access = |channel: &str, id: &str, allowed: bool, owner: bool| json!({ "channel": channel, "id": id, "allowed": allowed, "owner": owner });
    let owner = json!({ "channel": "telegram", "id": "7", "owner": true });
    let removed = json!({ "channel": "whatsapp", "id": "+15550001111", "remove": true });
    let group = json!({ "channel": "telegram", "id": "-100" });
    let cases: [Case; 3] = [
        (
            &["allow", "telegram", "7", "--owner"],
            "channel-allow",
            owner,
            access("telegram", "7", true, true),
            "allowed yes, channel telegram, id 7, owner yes",
        ),
        (
            &["allow", "--remove", "whatsapp", "+15550001111"],
            "channel-allow",
            removed,
            access("whatsapp", "+15550001111", false, false),
            "allowed no, channel whatsapp, id +15550001111, owner no",
        ),
        (
            &["allow", "telegram", "-100"],
            "channel-allow",
            group,
            access("telegram", "-100", true, false),
            "allowed yes",
        ),
    ];
    each(&Home::new("allow"), cases);
}

#[test]
fn sessions_are_listed_read_and_ended_by_their_methods() {
    let key = |key: &str| json!({ "sessionKey": key });
    let page = json!({ "sessionKey": "x", "limit": 1, "before": "b" });
    let said = json!({ "messages": [{ "role": "user", "text": "hi" }] });
    let cases: [Case; 6] = [
        (&["sessions"], "sessions-list", json!({}), json!({ "sessions": [key("s1")] }), "s1"),
        (&["sessions", "--limit=2"], "sessions-list", json!({ "limit": 2 }), json!({ "sessions": [] }), ""),
        (&["history", "x", "--limit", "1", "--before", "b"], "session-history", page, said, "user\n  hi\n"),
        (&["history"], "session-history", key("main"), json!({ "messages": [] }), ""),
        (&["reset"], "session-reset", key("main"), key("main"), "session key main"),
        (&["forget", "a"], "session-forget", key("a"), key("a"), "session key a"),
    ];
    each(&Home::new("sessions"), cases);
}

#[test]
fn call_sends_any_method_and_prints_its_payload() {
    let cases: [Case; 2] = [
        (&["call", "whatever"], "whatever", json!({}), json!([1]), "[1]\n"),
        (&["call", "x", "--params", r#"{"a":1}"#], "x", json!({ "a": 1 }), json!(null), "null\n"),
    ];
    each(&Home::new("call"), cases);
}

#[test]
fn an_answered_error_ends_with_1() {
    let home = Home::new("answered");
    let gateway = Gateway::once(|peer| {
        peer.greet();
        let request = peer.request("agent-cancel");
        peer.refuse(&request, "INVALID_REQUEST", "no such \u{1b}[31mrun\nat all");
        peer.gone();
    });
    let done = home.clawdis(["cancel", "r9", "--url", &gateway.url]).run();
    done.fails(1, &["no such [31mrun at all (INVALID_REQUEST)"]);
}

#[test]
fn call_waits_for_the_second_answer() {
    let home = Home::new("call-agent");
    let gateway = Gateway::once(|peer| {
        peer.greet();
        let request = peer.request("agent");
        peer.answer(&request, &json!({ "runId": "r1", "status": "accepted" }));
        peer.answer(&request, &json!({ "runId": "r1", "status": "ok", "summary": "done" }));
        peer.gone();
    });
    let args = ["call", "agent", "--params", "-", "--url", &gateway.url];
    let done = home.clawdis(args).stdin(r#"{"message":"x","idempotencyKey":"k"}"#).run();
    assert_eq!(
        done.json_lines().iter().map(|line| line["status"].clone()).collect::<Vec<_>>(),
        ["accepted", "ok"]
    );
}

#[test]
fn send_tries_again_with_the_same_key() {
    let home = Home::new("send");
    let (sender, keys) = std::sync::mpsc::channel();
    let second = sender.clone();
    let gateway = Gateway::play(vec![
        Box::new(move |peer| {
            peer.greet();
            sender.send(peer.request("send")["params"].clone()).unwrap();
        }),
        Box::new(move |peer| {
            peer.greet();
            let request = peer.request("send");
            second.send(request["params"].clone()).unwrap();
            peer.answer(
                &request,
                &json!({ "runId": "r", "channel": "telegram", "messageId": "5", "chatId": "77" }),
            );
            peer.gone();
        }),
    ]);
    let args = [
        "send",
        "--to",
        "telegram:77",
        "--channel",
        "telegram",
        "--url",
        &gateway.url,
        "--",
        "--hello",
        "you",
    ];
    assert_eq!(home.clawdis(args).run().ok(), "channel telegram, chat id 77, message id 5, run id r\n");
    let (first, second): (Value, Value) = (keys.recv().unwrap(), keys.recv().unwrap());
    assert_eq!(first, second);
    assert_eq!(first["message"], "--hello you");
    assert_eq!(first["idempotencyKey"].as_str().unwrap().len(), 32);
}

#[test]
fn send_without_an_answer_tells_how_to_repeat_it_safely() {
    let home = Home::new("send-silence");
    let gateway = Gateway::once(|peer| {
        peer.greet();
        peer.request("send");
        peer.gone();
    });
    let args = ["send", "--to", "x", "hello", "--key", "k1", "--timeout", "0.3", "--url", &gateway.url];
    home.clawdis(args).run().fails(5, &["--key k1"]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a reader that leaves is what this is about")]
fn a_reader_that_leaves_is_no_error() {
    let home = Home::new("broken-pipe");
    let messages: Vec<Value> =
        (0..150).map(|_| json!({ "role": "user", "text": "x".repeat(2_000) })).collect();
    let gateway = Gateway::answering("session-history", json!({ "messages": messages }));
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_clawdis"))
        .args(["history", "--url", &gateway.url])
        .env_clear()
        .env("HOME", &home.0)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), String::from_utf8_lossy(&done.stderr).as_ref()), (Some(0), ""));
}
