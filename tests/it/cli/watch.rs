//! `watch`: events, gaps, restarts.

use std::fs::File;

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::cli::gateway::{Gateway, Peer};
use crate::cli::process::Home;

fn watched(peer: &mut Peer) {
    let hello = peer.greet();
    assert_eq!(hello["caps"], json!([]));
    peer.event("tick", &json!({ "ts": 1 }));
    let entry = json!({ "host": "phone", "ip": "127.0.0.1", "mode": "app", "ts": 1, "instanceId": "p" });
    peer.event("presence", &json!({ "presence": [entry], "removed": ["old"] }));
    peer.agent(1, "assistant", &json!({ "delta": "Hel" }));
    peer.agent(2, "assistant", &json!({ "delta": "lo\u{1b}[2J" }));
    peer.agent(3, "lifecycle", &json!({ "phase": "ended", "status": "ok" }));
    peer.event("message", &json!({
        "channel": "telegram", "sessionKey": "main", "direction": "in", "from": "Ann", "text": "hi\nthere",
        "media": [
            { "kind": "image", "mimeType": "image/png", "name": "a.png", "bytes": 12_000 },
            { "kind": "audio", "mimeType": "audio/ogg", "bytes": 0 },
        ],
    }));
    peer.event(
        "message",
        &json!({
            "channel": "whatsapp", "sessionKey": "dm:whatsapp:+1555", "direction": "out", "to": "+1555",
            "text": "lo\u{1b}[2Jng", "status": "failed", "reason": "the number has no account",
        }),
    );
    peer.event("brand-new", &json!({ "x": 1 }));
}

#[test]
fn events_are_lines_and_a_gap_is_refreshed() {
    let home = Home::new("watch");
    let gateway = Gateway::once(|peer| {
        watched(peer);
        peer.skip(3);
        let agent = json!({ "state": "busy" });
        peer.event("health", &json!({ "health": { "ok": false, "agent": agent } }));
        let health = peer.request("health");
        let presence = peer.request("system-presence");
        peer.answer(&presence, &json!([{ "host": "after-the-gap" }]));
        peer.answer(&health, &json!({ "ok": true }));
        peer.gone();
    });
    let mut running = home.clawdis(["watch", "--url", &gateway.url]).start();
    running.line("connected    conn id c1, host testhost, version 9.9.9");
    running.line("presence     phone app - p");
    running.line("agent        main r1: Hello");
    running.line("main r1: lifecycle phase ended, status ok");
    running.line("message      telegram main from Ann: hi there [image a.png, 12 kB] [audio]");
    running.line(
        "message      whatsapp dm:whatsapp:+1555 to +1555: lo[2Jng (failed: the number has no account)",
    );
    running.line("brand-new    x 1");
    running.line("gap          missed 3");
    running.line("health       gateway not ok, agent busy");
    running.line("presence     after-the-gap");
    running.line("health       gateway ok");
    running.interrupt();
    let done = running.wait();
    assert_eq!(done.code, Some(130), "{done:#?}");
    gateway.finish();
}

#[test]
fn json_is_the_frames_themselves_and_remarks_of_ours() {
    let home = Home::new("watch-json");
    let gateway = Gateway::once(|peer| {
        watched(peer);
        peer.skip(1);
        peer.event("tick", &json!({ "ts": 2 }));
        let health = peer.request("health");
        let presence = peer.request("system-presence");
        peer.answer(&health, &json!({ "ok": true }));
        peer.answer(&presence, &json!([]));
        peer.gone();
    });
    let mut running = home.clawdis(["watch", "--json", "--url", &gateway.url]).start();
    let json = |line: String| serde_json::from_str::<Value>(&line).unwrap();
    assert_eq!(json(running.line("hello-ok"))["server"]["version"], "9.9.9");
    assert_eq!(json(running.line("tick"))["seq"], 1);
    assert_eq!(json(running.line("brand-new"))["payload"], json!({ "x": 1 }));
    assert_eq!(json(running.line("gap")), json!({ "type": "gap", "missed": 1 }));
    assert_eq!(json(running.line("refresh")), json!({ "type": "refresh", "health": { "ok": true } }));
    assert_eq!(json(running.line("refresh")), json!({ "type": "refresh", "presence": [] }));
    running.interrupt();
    running.wait();
}

#[test]
fn a_restart_is_announced_and_survived() {
    let home = Home::new("watch-restart");
    let gateway = Gateway::play(vec![
        Box::new(|peer| {
            peer.greet();
            peer.event("shutdown", &json!({ "reason": "SIGTERM", "restartExpectedMs": 1_000 }));
            peer.close(1012, "restarting");
        }),
        Box::new(|peer| {
            peer.greet();
            peer.gone();
        }),
    ]);
    let mut running = home.clawdis(["watch", "--url", &gateway.url]).start();
    running.line("connected");
    running.line("shutdown     reason SIGTERM, restart expected 1 s");
    running.line("disconnected reason the gateway stopped");
    running.line("connected");
    running.interrupt();
    assert_eq!(running.wait().code, Some(130));
}

#[test]
fn a_gateway_that_moves_to_another_port_is_found_again() {
    let home = Home::new("watch-moves");
    let first = Gateway::once(|peer| {
        peer.greet();
        peer.close(1001, "stopped");
    });
    let second = Gateway::once(|peer| {
        peer.greet();
        peer.gone();
    });
    let lock = |gateway: &Gateway| {
        let text = json!({ "pid": 1, "url": gateway.url }).to_string();
        home.write(".clawdis/gateway.lock", text)
    };
    let held = File::open(lock(&first)).unwrap();
    flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    let mut running = home.clawdis(["watch"]).start();
    running.line("connected");
    running.line("disconnected");
    lock(&second);
    running.line("connected");
    running.interrupt();
    assert_eq!(running.wait().code, Some(130));
    second.finish();
}
