//! The first frame, and what the server says to it.

use std::time::{Duration, Instant};

use clawdis_gateway::limits::{BACKLOG_BYTES_MAX, HANDSHAKE_TIMEOUT, HELLO_VALUES_MAX, PAYLOAD_BYTES_MAX};
use serde_json::{Value, json};

use crate::harness::raw::{self, TEXT};
use crate::harness::{Client, Gateway, PATIENCE, eventually, hello, values};

/// Says `hello` and expects a `hello-error`; returns its reason and the close code.
#[track_caller]
fn refused(gateway: &Gateway, hello: &Value) -> (String, u16) {
    let Err(refused) = Client::try_connect(gateway.addr, hello) else { panic!("accepted: {hello}") };
    let frame = refused.frame.expect("a hello-error before the close");
    assert_eq!(frame["type"], "hello-error", "{frame}");
    assert_eq!(frame["expectedProtocol"], 1, "{frame}");
    assert!(frame["minClient"].is_string(), "{frame}");
    let (code, reason) = refused.close.expect("a close frame");
    assert!(!reason.is_empty());
    (frame["reason"].as_str().unwrap().to_owned(), code)
}

#[test]
fn hello_ok_says_what_a_client_needs() {
    let gateway = Gateway::builder("hello-ok").arg("--tick-interval-ms").arg("12345").spawn();
    let client = gateway.client();
    let ok = &client.hello;
    assert_eq!(ok["protocol"], 1);
    assert!(!ok["server"]["version"].as_str().unwrap().is_empty());
    assert!(!ok["server"]["host"].as_str().unwrap().is_empty());
    assert!(!client.conn_id().is_empty());
    assert_eq!(
        ok["policy"],
        json!({"maxPayload": PAYLOAD_BYTES_MAX, "maxBufferedBytes": BACKLOG_BYTES_MAX, "tickIntervalMs": 12345})
    );
    assert_eq!(
        ok["features"]["events"],
        json!(["tick", "presence", "health", "agent", "message", "channel", "shutdown"])
    );
    let presence = ok["snapshot"]["presence"].as_array().unwrap();
    assert_eq!(presence.iter().filter(|entry| entry["mode"] == "gateway").count(), 1, "{presence:?}");
    assert_eq!(ok["snapshot"]["health"]["agent"]["configured"], false);
    assert!(ok["snapshot"]["stateVersion"]["presence"].is_u64());
    assert!(ok["snapshot"]["stateVersion"]["health"].is_u64());
    assert!(ok["snapshot"]["uptimeMs"].is_u64());
}

#[test]
fn features_list_exactly_what_is_answered() {
    let gateway = Gateway::builder("features").spawn();
    let mut client = gateway.client();
    let listed: Vec<String> = serde_json::from_value(client.hello["features"]["methods"].clone()).unwrap();
    let known = [
        "health",
        "status",
        "system-presence",
        "system-event",
        "send",
        "agent",
        "agent-cancel",
        "sessions-list",
        "session-history",
        "session-reset",
        "session-forget",
        "set-heartbeats",
        "set-channel",
        "set-paused",
        "channel-allow",
        "channel-login",
        "channel-logout",
    ];
    assert_eq!(listed, known);
    for method in known {
        let id = client.send(method, &json!({}));
        assert_ne!(client.answer(&id)["error"]["code"], "UNKNOWN_METHOD", "{method}");
    }
    for method in ["Health", "health ", "hello", "shutdown", "__proto__"] {
        assert_eq!(client.refused(method, &json!({}))["code"], "UNKNOWN_METHOD", "{method}");
    }
}

#[test]
fn unknown_members_and_caps_are_ignored() {
    let gateway = Gateway::builder("additive").spawn();
    let mut hello = hello();
    hello["future"] = json!({"deep": [1, {"x": null}]});
    hello["client"]["deviceFamily"] = json!("toaster");
    hello["caps"] = json!(["streaming", "what-will-be", "event:agent", "event:nonsense"]);
    hello["locale"] = json!("l".repeat(256));
    hello["userAgent"] = json!("ü".repeat(256));
    hello["auth"] = json!({"token": "there is none", "password": "ignored"});
    let mut client = Client::connect(gateway.addr, &hello);
    let status = client.ask("status", &json!({}));
    let me = &status["clientsList"][0];
    assert_eq!(me["locale"], hello["locale"]);
    assert_eq!(me["userAgent"], hello["userAgent"]);
}

#[test]
fn bad_hellos_are_refused_with_their_reason() {
    let gateway = Gateway::builder("bad-hello").spawn();
    let change = |at: &str, value: Value| {
        let mut bad = hello();
        *bad.pointer_mut(at).unwrap() = value;
        bad
    };
    let with = |name: &str, value: Value| {
        let mut bad = hello();
        bad[name] = value;
        bad
    };
    let mut without_client = hello();
    without_client.as_object_mut().unwrap().remove("client");
    let mut without_mode = hello();
    without_mode["client"].as_object_mut().unwrap().remove("mode");
    let bad = [
        (json!({"type": "req", "id": "1", "method": "health"}), "hello"),
        (json!({"type": "hello"}), ""),
        (json!({}), "hello"),
        (json!([]), "hello"),
        (json!("hello"), "hello"),
        (json!(null), "hello"),
        (without_client, "client"),
        (without_mode, "mode"),
        (change("/minProtocol", json!("1")), "minProtocol"),
        (change("/minProtocol", json!(-1)), "minProtocol"),
        (change("/maxProtocol", json!(1.5)), "maxProtocol"),
        (change("/client/name", json!(7)), "name"),
        (with("caps", json!("event:agent")), "caps"),
        (with("caps", json!([1])), "caps"),
        (with("caps", json!(null)), "caps"),
        (with("locale", json!("x".repeat(257))), "locale"),
        (with("userAgent", json!("x".repeat(257))), "userAgent"),
        (with("auth", json!({"token": 5})), "token"),
        (change("/client", json!("cli")), "client"),
    ];
    for (hello, word) in bad {
        let (reason, code) = refused(&gateway, &hello);
        assert_eq!(code, 1008, "{hello}: {reason}");
        assert!(reason.contains(word), "{hello}: {reason:?} does not name {word}");
    }
}

#[test]
fn a_hello_has_at_most_200_json_values() {
    let gateway = Gateway::builder("hello-values").spawn();
    let of = |count: usize| {
        let mut hello = hello();
        let filler = count - values(&hello) - 1;
        hello["future"] = json!(vec![0; filler]);
        assert_eq!(values(&hello), count);
        hello
    };
    Client::connect(gateway.addr, &of(HELLO_VALUES_MAX)).goodbye();
    for count in [HELLO_VALUES_MAX + 1, 10 * HELLO_VALUES_MAX] {
        let (reason, code) = refused(&gateway, &of(count));
        assert_eq!(code, 1008, "{reason}");
        assert!(reason.contains("200 JSON values"), "{reason}");
    }
}

#[test]
fn a_first_frame_that_is_no_json_is_told_so() {
    let gateway = Gateway::builder("not-json").spawn();
    for text in ["", "hello", "{\"type\":\"hello\"", "GET / HTTP/1.1", "\u{0}"] {
        let mut socket = gateway.upgraded();
        socket.send(TEXT, text.as_bytes());
        assert_eq!(socket.json("hello-error")["type"], "hello-error", "{text:?}");
        socket.closed_with(1008);
    }
    // An array so deep that a recursive parser would overflow its stack.
    let mut socket = gateway.upgraded();
    socket.send(TEXT, "[".repeat(30_000).as_bytes());
    assert_eq!(socket.json("hello-error")["type"], "hello-error");
    socket.closed_with(1008);
    gateway.client().goodbye();
}

#[test]
fn versions_are_negotiated() {
    let gateway = Gateway::builder("versions").spawn();
    for (least, most) in [(1, 1), (0, 1), (1, 99), (0, 99)] {
        let mut hello = hello();
        hello["minProtocol"] = json!(least);
        hello["maxProtocol"] = json!(most);
        assert_eq!(Client::connect(gateway.addr, &hello).hello["protocol"], 1, "{least} to {most}");
    }
    for (least, most) in [(2, 2), (2, 99), (0, 0), (5, 1)] {
        let mut hello = hello();
        hello["minProtocol"] = json!(least);
        hello["maxProtocol"] = json!(most);
        let (reason, code) = refused(&gateway, &hello);
        assert_eq!(code, 1002, "{least} to {most}: {reason}");
        assert!(reason.contains("protocol"), "{reason}");
    }
}

#[test]
fn clients_older_than_the_configured_one_are_refused() {
    let gateway = Gateway::builder("min-client").config(json!({"gateway": {"minClient": "1.2.0"}})).spawn();
    for version in
        ["1.2.0", "1.2.1", "1.10.0", "2.0.0", "2.0.0-beta", "1.2.0+build", "dev", "7", "2025-12-09"]
    {
        let mut hello = hello();
        hello["client"]["version"] = json!(version);
        Client::connect(gateway.addr, &hello);
    }
    for version in ["1.1.9", "0.0.0", "1.2.0-beta", "1.2.0-rc.1+5"] {
        let mut hello = hello();
        hello["client"]["version"] = json!(version);
        assert_eq!(refused(&gateway, &hello), ("client too old".to_owned(), 1008), "{version}");
        let Err(refused) = Client::try_connect(gateway.addr, &hello) else { unreachable!() };
        assert_eq!(refused.frame.unwrap()["minClient"], "1.2.0");
    }
}

#[test]
fn the_first_frame_is_hello_ok_whatever_is_broadcast() {
    let gateway = Gateway::builder("first-frame").agent_scripted().spawn();
    let mut busy = gateway.client();
    let run = busy.run(&json!({"message": "[[hold a]] [[flood 3000 200]]", "idempotencyKey": "k"}));
    busy.step_says(&run.id, "holding a");
    gateway.release("a");
    for _ in 0..40 {
        // `greeted` asserts it; the requests behind a hello are answered behind the hello-ok.
        let mut socket = gateway.upgraded();
        let mut burst = raw::frame(raw::FIN | TEXT, hello().to_string().as_bytes(), true);
        for id in ["a", "b"] {
            let request = json!({"type": "req", "id": id, "method": "health"}).to_string();
            burst.extend(raw::frame(raw::FIN | TEXT, request.as_bytes(), true));
        }
        socket.write(&burst);
        let first = socket.frame().unwrap();
        let first: Value = serde_json::from_slice(&first.payload).unwrap();
        assert_eq!(first["type"], "hello-ok");
        let mut answered = [socket.json("an answer")["id"].clone(), socket.json("an answer")["id"].clone()];
        answered.sort_by_key(ToString::to_string);
        assert_eq!(answered, [json!("a"), json!("b")]);
    }
    busy.finish(&run);
}

#[test]
fn hello_in_the_same_packet_as_the_upgrade() {
    let gateway = Gateway::builder("one-packet").spawn();
    let mut socket = gateway.raw();
    let mut bytes = socket.upgrade_head("").into_bytes();
    bytes.extend(raw::frame(raw::FIN | TEXT, hello().to_string().as_bytes(), true));
    socket.write(&bytes);
    assert!(socket.read_head().starts_with("HTTP/1.1 101 "));
    assert_eq!(socket.json("hello-ok")["type"], "hello-ok");
}

#[test]
fn a_second_hello_is_an_invalid_request() {
    let gateway = Gateway::builder("second-hello").spawn();
    let mut client = gateway.client();
    client.send_json(&hello());
    let answer = client.answer("invalid");
    assert_eq!(answer["error"]["code"], "INVALID_REQUEST", "{answer}");
    client.ask("health", &json!({}));
}

/// Four ways to waste the time of the handshake, side by side because each takes three seconds:
/// none may last longer, and an honest client does not notice them.
#[test]
fn three_seconds_for_head_and_hello_together() {
    let gateway = Gateway::builder("deadline").spawn();
    let started = Instant::now();
    let allowed = HANDSHAKE_TIMEOUT..HANDSHAKE_TIMEOUT + Duration::from_secs(2);
    let silent = gateway.raw();
    let mut half_head = gateway.raw();
    half_head.write(b"GET / HTTP/1.1\r\nHost: 127");
    let mut no_hello = gateway.upgraded();
    let dripped = gateway.raw();
    let mut half_frame = gateway.upgraded();
    let frame = raw::frame(raw::FIN | TEXT, hello().to_string().as_bytes(), true);

    let drip = std::thread::spawn(move || {
        let mut socket = dripped;
        let head = socket.upgrade_head("X-Padding: 0123456789\r\n").into_bytes();
        let mut sent = 0;
        // One byte every 50 ms: the deadline is absolute, so this must not extend it. The pauses
        // are the behaviour under test, not synchronisation.
        eventually("the end of a dripping client", PATIENCE, || {
            std::thread::sleep(Duration::from_millis(45));
            sent += 1;
            (!socket.try_write(&head[sent % head.len()..=sent % head.len()])).then_some(())
        });
        started.elapsed()
    });
    half_frame.write(&frame[..frame.len() / 2]);

    let error = no_hello.json("hello-error");
    assert_eq!(error["type"], "hello-error");
    assert!(error["reason"].as_str().unwrap().contains("hello"), "{error}");
    no_hello.closed_with(1008);
    assert!(allowed.contains(&started.elapsed()), "no hello: {:?}", started.elapsed());
    assert_eq!(half_frame.json("hello-error")["type"], "hello-error");
    half_frame.closed_with(1008);
    let answer = String::from_utf8(half_head.read_to_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let mut silent = silent;
    silent.read_to_end();
    assert!(started.elapsed() < allowed.end, "{:?}", started.elapsed());
    let dripped = drip.join().unwrap();
    assert!(dripped > HANDSHAKE_TIMEOUT && dripped < HANDSHAKE_TIMEOUT + PATIENCE / 4, "{dripped:?}");
    gateway.client().goodbye();
}

#[test]
fn a_client_past_its_handshake_may_be_silent_for_longer() {
    let gateway = Gateway::builder("silence").arg("--tick-interval-ms").arg("60000").spawn();
    let mut client = gateway.client();
    // Another connection that runs into its deadline proves that this much time has passed.
    let mut witness = gateway.upgraded();
    witness.json("hello-error");
    client.ask("health", &json!({}));
}
