//! `agent`: streams, restarts, broken connections, Ctrl-C.

use std::sync::mpsc::channel;

use serde_json::{Value, json};

use crate::cli::gateway::{Gateway, Peer};
use crate::cli::process::{Home, PATIENCE};

fn accept(peer: &mut Peer) -> Value {
    peer.greet();
    let request = peer.request("agent");
    peer.answer(&request, &json!({ "runId": "r1", "status": "accepted" }));
    request
}

fn finish(peer: &mut Peer, request: &Value, summary: &str) {
    peer.answer(request, &json!({ "runId": "r1", "status": "ok", "summary": summary }));
    peer.gone();
}

/// A run that starts its answer over once, with events of others in between.
fn restless() -> Gateway {
    Gateway::once(|peer| {
        let request = accept(peer);
        peer.agent(1, "lifecycle", &json!({ "phase": "started" }));
        peer.agent(2, "assistant", &json!({ "delta": "wrong" }));
        peer.agent(3, "lifecycle", &json!({ "phase": "retrying", "reason": "529" }));
        peer.agent(4, "assistant", &json!({ "reset": true }));
        let other = json!({ "runId": "r2", "sessionKey": "x", "seq": 1, "stream": "assistant", "data": { "delta": "no" } });
        peer.event("agent", &other);
        peer.agent(5, "assistant", &json!({ "delta": "right " }));
        peer.agent(
            6,
            "tool",
            &json!({ "phase": "start", "toolCallId": "t", "name": "bash", "args": { "command": "ls" } }),
        );
        peer.agent(7, "assistant", &json!({ "delta": "\u{1b}[31manswer" }));
        finish(peer, &request, "right \u{1b}[31manswer");
    })
}

#[test]
fn a_pipe_gets_only_the_final_answer() {
    let home = Home::new("agent-pipe");
    let gateway = restless();
    let text = home.clawdis(["agent", "hello", "--url", &gateway.url]).run().ok();
    assert_eq!(text, "right \u{1b}[31manswer\n");
    gateway.finish();
}

#[test]
fn stream_writes_the_text_as_it_comes_and_marks_a_restart() {
    let home = Home::new("agent-stream");
    let gateway = restless();
    let done = home.clawdis(["agent", "--stream", "hello", "--url", &gateway.url]).run();
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "wrong\nright \u{1b}[31manswer\n"));
    assert_eq!(done.stderr, "clawdis: the answer starts over\n");
}

#[test]
fn json_prints_the_final_payload_and_with_stream_every_event() {
    let home = Home::new("agent-json");
    let gateway = restless();
    let lines = home.clawdis(["agent", "--json", "hello", "--url", &gateway.url]).run().json_lines();
    assert_eq!(lines, [json!({ "runId": "r1", "status": "ok", "summary": "right \u{1b}[31manswer" })]);
    let gateway = restless();
    let lines =
        home.clawdis(["agent", "--json", "--stream", "hello", "--url", &gateway.url]).run().json_lines();
    assert_eq!(lines.len(), 8);
    assert_eq!((&lines[0]["event"], &lines[7]["status"]), (&json!("agent"), &json!("ok")));
}

/// `script` gives the tool a terminal.
#[test]
fn a_terminal_gets_the_stream_without_foreign_escapes() {
    let home = Home::new("agent-terminal");
    let gateway = restless();
    let command = format!("{} agent hello --url {}", env!("CARGO_BIN_EXE_clawdis"), gateway.url);
    let args = ["-qec", &command, "/dev/null"];
    let script = std::path::Path::new("/usr/bin/script");
    let done = home.program(script, args).env("TERM", "xterm").run();
    let text = done.stdout.replace("\r\n", "\n");
    assert_eq!(done.code, Some(0), "{done:#?}");
    assert!(text.contains("wrong\n\x1b[2mphase retrying, reason 529\x1b[0m\n"), "{text:?}");
    assert!(
        text.contains("\x1b[33m--- the answer starts over ---\x1b[0m\nright \n\x1b[2m[bash] "),
        "{text:?}"
    );
    assert!(text.ends_with("[31manswer\n") && !text.contains("\x1b[31m"), "{text:?}");

    let gateway = restless();
    let command = format!("{} agent hello --url {}", env!("CARGO_BIN_EXE_clawdis"), gateway.url);
    let args = ["-qec", &command, "/dev/null"];
    let done = home.program(script, args).env("TERM", "xterm").env("NO_COLOR", "1").run();
    assert!(!done.stdout.contains('\x1b'), "{done:#?}");
}

#[test]
fn flags_become_parameters() {
    let home = Home::new("agent-flags");
    let (sender, seen) = channel();
    let gateway = Gateway::once(move |peer| {
        let hello = peer.greet();
        assert_eq!(hello["caps"], json!(["event:agent"]));
        assert_eq!(hello["client"]["instanceId"], "clawdis-agent");
        let request = peer.request("agent");
        sender.send(request["params"].clone()).unwrap();
        finish(peer, &request, "stored");
    });
    let args = [
        "agent",
        "--session",
        "s",
        "--session-id",
        "i",
        "--thinking",
        "high",
        "--run-timeout",
        "9",
        "--deliver",
        "--to",
        "t",
        "--channel",
        "whatsapp",
        "--key",
        "k",
        "--url",
        &gateway.url,
        "two",
        "words",
    ];
    // A stored answer comes without an ack and without events.
    assert_eq!(home.clawdis(args).run().ok(), "stored\n");
    assert_eq!(
        seen.recv().unwrap(),
        json!({
            "sessionKey": "s", "sessionId": "i", "thinking": "high", "timeout": 9, "deliver": true, "to": "t",
            "channel": "whatsapp", "idempotencyKey": "k", "message": "two words",
        })
    );
}

#[test]
fn the_message_comes_from_a_pipe() {
    let home = Home::new("agent-stdin");
    for args in [vec!["agent"], vec!["agent", "-"]] {
        let (sender, seen) = channel();
        let gateway = Gateway::once(move |peer| {
            let request = accept(peer);
            sender.send(request["params"]["message"].clone()).unwrap();
            finish(peer, &request, "ok");
        });
        home.clawdis(args).env("CLAWDIS_GATEWAY_URL", &gateway.url).stdin("two\nlines\n").run().ok();
        assert_eq!(seen.recv().unwrap(), "two\nlines");
    }
}

#[test]
fn a_run_that_fails_ends_with_1() {
    let home = Home::new("agent-fails");
    let fail = |peer: &mut Peer| {
        let request = accept(peer);
        peer.agent(1, "assistant", &json!({ "delta": "half" }));
        peer.write(&json!({
            "type": "res", "id": request["id"], "ok": false,
            "payload": { "runId": "r1", "status": "timeout", "summary": "took too long" },
            "error": { "code": "AGENT_TIMEOUT", "message": "the run took longer than 1 s", "retryable": true },
        }));
        peer.gone();
    };
    let gateway = Gateway::once(fail);
    let done = home.clawdis(["agent", "hello", "--url", &gateway.url]).run();
    done.fails(1, &["longer than 1 s (AGENT_TIMEOUT)"]);
    assert_eq!(done.stdout, "");
    let gateway = Gateway::once(fail);
    let done = home.clawdis(["agent", "--json", "hello", "--url", &gateway.url]).run();
    done.fails(1, &["AGENT_TIMEOUT"]);
    assert_eq!(done.json_lines()[0]["status"], "timeout");
}

#[test]
fn a_broken_connection_is_rejoined_with_the_same_key() {
    let home = Home::new("agent-rejoin");
    let (sender, params) = channel();
    let second = sender.clone();
    let gateway = Gateway::play(vec![
        Box::new(move |peer| {
            let request = accept(peer);
            sender.send(request["params"].clone()).unwrap();
            peer.agent(1, "assistant", &json!({ "delta": "one " }));
        }),
        Box::new(move |peer| {
            let request = accept(peer);
            second.send(request["params"].clone()).unwrap();
            peer.agent(3, "assistant", &json!({ "delta": "three" }));
            finish(peer, &request, "one two three");
        }),
    ]);
    let done = home.clawdis(["agent", "--stream", "count", "--url", &gateway.url]).run();
    assert_eq!(done.code, Some(0), "{done:#?}");
    assert_eq!(done.stdout, "one three\none two three\n");
    assert!(done.stderr.contains("missed"), "{done:#?}");
    let (first, second): (Value, Value) = (params.recv().unwrap(), params.recv().unwrap());
    assert_eq!(first, second);
    gateway.finish();
}

#[test]
fn a_gateway_that_goes_silent_is_left_and_rejoined() {
    let home = Home::new("agent-silent");
    let gateway = Gateway::play(vec![
        Box::new(|peer| {
            peer.greet_ticking(10);
            let request = peer.request("agent");
            peer.answer(&request, &json!({ "runId": "r1", "status": "accepted" }));
            peer.gone();
        }),
        Box::new(|peer| {
            let request = accept(peer);
            finish(peer, &request, "back");
        }),
    ]);
    assert_eq!(home.clawdis(["agent", "hello", "--url", &gateway.url]).run().ok(), "back\n");
    gateway.finish();
}

#[test]
fn a_refusal_when_coming_back_is_final() {
    let home = Home::new("agent-refused");
    let gateway = Gateway::play(vec![
        Box::new(|peer| drop(accept(peer))),
        Box::new(|peer| {
            peer.read();
            peer.write(&json!({ "type": "hello-error", "reason": "unauthorized", "expectedProtocol": 1 }));
            peer.close(1008, "unauthorized");
        }),
    ]);
    home.clawdis(["agent", "hello", "--url", &gateway.url]).run().fails(4, &["unauthorized"]);
}

#[test]
fn a_timeout_leaves_the_run_going_and_says_how_to_come_back() {
    let home = Home::new("agent-timeout");
    let gateway = Gateway::once(|peer| {
        accept(peer);
        peer.gone();
    });
    let args = ["agent", "hello", "--key", "k1", "--timeout", "0.4", "--url", &gateway.url];
    home.clawdis(args).run().fails(5, &["clawdis cancel r1", "--key k1"]);
    let gateway = Gateway::once(|peer| {
        peer.greet();
        peer.gone();
    });
    home.clawdis(["agent", "hello", "--timeout", "0.4", "--url", &gateway.url])
        .run()
        .fails(5, &["--timeout"]);
}

#[test]
fn ctrl_c_cancels_the_run() {
    let home = Home::new("agent-ctrl-c");
    let (sender, accepted) = channel();
    let gateway = Gateway::once(move |peer| {
        let request = accept(peer);
        sender.send(()).unwrap();
        let cancel = peer.request("agent-cancel");
        assert_eq!(cancel["params"], json!({ "runId": "r1" }));
        peer.answer(&cancel, &json!({ "runId": "r1", "status": "cancelled" }));
        peer.write(&json!({
            "type": "res", "id": request["id"], "ok": false,
            "payload": { "runId": "r1", "status": "cancelled", "summary": "" },
            "error": { "code": "CANCELLED", "message": "cancelled", "retryable": false },
        }));
        peer.gone();
    });
    let running = home.clawdis(["agent", "hello", "--url", &gateway.url]).start();
    accepted.recv_timeout(PATIENCE).unwrap();
    running.interrupt();
    let done = running.wait();
    done.fails(130, &["the run was cancelled"]);
    gateway.finish();
}
