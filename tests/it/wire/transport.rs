//! Frames as such: what is refused with which code, and what must simply work.

use std::io::Write;
use std::net::Shutdown;

use clawdis_gateway::limits::{JSON_DEPTH_MAX, PAYLOAD_BYTES_MAX};
use serde_json::{Value, json};

use crate::harness::raw::{self, BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RESERVED, Raw, TEXT};
use crate::harness::{Gateway, PATIENCE, eventually, hello};

fn request(id: &str) -> Vec<u8> {
    json!({"type": "req", "id": id, "method": "health"}).to_string().into_bytes()
}

/// The connection is alive and in step.
#[track_caller]
fn answers(socket: &mut Raw) {
    socket.send(TEXT, &request("alive"));
    assert_eq!(socket.json("the answer to `alive`")["id"], "alive");
}

#[test]
fn binary_frames_close_with_1003() {
    let gateway = Gateway::builder("binary").spawn();
    let mut socket = gateway.greeted();
    socket.send(BINARY, &request("1"));
    socket.closed_with(1003);
    let mut socket = gateway.upgraded();
    socket.send(BINARY, hello().to_string().as_bytes());
    assert_eq!(socket.json("hello-error")["type"], "hello-error");
    socket.closed_with(1003);
}

#[test]
fn invalid_utf8_closes_with_1007() {
    let gateway = Gateway::builder("utf8").spawn();
    let bad: [&[u8]; 4] = [b"\xff\xfe", b"{\"a\":\"\xc3(\"}", b"\xed\xa0\x80", b"\xf0\x9f\x98"];
    for bytes in bad {
        let mut socket = gateway.greeted();
        socket.send(TEXT, bytes);
        socket.closed_with(1007);
    }
    let mut socket = gateway.upgraded();
    socket.send(TEXT, b"\xff");
    assert_eq!(socket.json("hello-error")["type"], "hello-error");
    socket.closed_with(1007);
}

#[test]
fn a_character_may_be_split_between_fragments() {
    let gateway = Gateway::builder("split-utf8").spawn();
    let mut socket = gateway.greeted();
    let text = json!({"type": "req", "id": "😀é", "method": "health"}).to_string().into_bytes();
    socket.write(&raw::frame(TEXT, &text[..1], true));
    for byte in &text[1..text.len() - 1] {
        socket.write(&raw::frame(CONTINUATION, &[*byte], true));
    }
    socket.write(&raw::frame(FIN | CONTINUATION, &text[text.len() - 1..], true));
    assert_eq!(socket.json("the answer")["id"], "😀é");
}

#[test]
fn the_largest_frame_is_taken_and_one_byte_more_is_not() {
    let gateway = Gateway::builder("largest").spawn();
    let mut socket = gateway.greeted();
    let mut text = json!({"type": "req", "id": "big", "method": "health", "padding": ""}).to_string();
    let padding = "x".repeat(PAYLOAD_BYTES_MAX - text.len());
    text = text.replace("\"padding\":\"\"", &format!("\"padding\":\"{padding}\""));
    assert_eq!(text.len(), PAYLOAD_BYTES_MAX);
    socket.send(TEXT, text.as_bytes());
    assert_eq!(socket.json("the answer")["ok"], true);
    // The same as fragments is as large.
    let (first, second) = text.as_bytes().split_at(PAYLOAD_BYTES_MAX / 2);
    socket.write(&raw::frame(TEXT, first, true));
    socket.write(&raw::frame(FIN | CONTINUATION, second, true));
    assert_eq!(socket.json("the answer")["ok"], true);

    // No JSON at all: the size is judged first.
    socket.try_write(&raw::frame(FIN | TEXT, &vec![b'x'; PAYLOAD_BYTES_MAX + 1], true));
    socket.closed_with(1009);
}

#[test]
fn too_large_closes_with_1009_however_it_is_cut() {
    let gateway = Gateway::builder("too-large").spawn();
    // Fragments that are too large together.
    let mut socket = gateway.greeted();
    socket.write(&raw::frame(TEXT, &vec![b' '; PAYLOAD_BYTES_MAX], true));
    socket.try_write(&raw::frame(FIN | CONTINUATION, b" ", true));
    socket.closed_with(1009);
    // A header that only announces it: refused at once, before any of it has come.
    for announced in [PAYLOAD_BYTES_MAX as u64 + 1, u64::from(u32::MAX) + 7, i64::MAX as u64] {
        let mut socket = gateway.greeted();
        let mut header = vec![FIN | TEXT, 0x80 | 0x7f];
        header.extend_from_slice(&announced.to_be_bytes());
        header.extend_from_slice(&[0; 4]);
        socket.write(&header);
        socket.closed_with(1009);
    }
    // Before the handshake too.
    let mut socket = gateway.upgraded();
    socket.try_write(&raw::frame(FIN | TEXT, &vec![b'x'; PAYLOAD_BYTES_MAX + 1], true));
    assert_eq!(socket.json("hello-error")["type"], "hello-error");
    socket.closed_with(1009);
}

#[test]
fn what_rfc_6455_forbids_closes_with_1002() {
    let gateway = Gateway::builder("forbidden-frames").spawn();
    let body = request("1");
    let mut bad: Vec<(&str, Vec<u8>)> = vec![
        ("unmasked", raw::frame(FIN | TEXT, &body, false)),
        ("continuation of nothing", raw::frame(FIN | CONTINUATION, &body, true)),
        ("fragmented ping", raw::frame(PING, b"x", true)),
        ("ping of 126 bytes", raw::frame(FIN | PING, &[b'x'; 126], true)),
        ("close with one byte", raw::frame(FIN | CLOSE, &[3], true)),
        ("reserved opcode 3", raw::frame(FIN | 3, &body, true)),
        ("reserved opcode 11", raw::frame(FIN | 0xb, b"", true)),
        (
            "text inside a message",
            [raw::frame(TEXT, b"{", true), raw::frame(FIN | TEXT, b"}", true)].concat(),
        ),
    ];
    for bit in RESERVED {
        bad.push(("reserved bit", raw::frame(FIN | bit | TEXT, &body, true)));
    }
    for (what, bytes) in bad {
        let mut socket = gateway.greeted();
        socket.write(&bytes);
        let reason = socket.closed_with(1002);
        assert!(reason.len() <= 123, "{what}: {reason}");
        let mut socket = gateway.upgraded();
        socket.write(&bytes);
        assert_eq!(socket.json(what)["type"], "hello-error", "{what}");
        socket.closed_with(1002);
    }
    gateway.client().goodbye();
}

#[test]
fn compression_is_declined() {
    let gateway = Gateway::builder("compression").spawn();
    let mut socket = gateway.raw();
    let head =
        socket.upgrade_head("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n");
    socket.write(head.as_bytes());
    let answer = socket.read_head();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("sec-websocket-extensions"), "{answer}");
    socket.send(TEXT, hello().to_string().as_bytes());
    assert_eq!(socket.json("hello-ok")["type"], "hello-ok");
    answers(&mut socket);
}

#[test]
fn control_frames_may_come_in_the_middle_of_a_message() {
    let gateway = Gateway::builder("interleaved").spawn();
    let mut socket = gateway.greeted();
    let body = request("whole");
    socket.write(&raw::frame(TEXT, &body[..5], true));
    socket.write(&raw::frame(FIN | PING, b"are you there", true));
    let pong = socket.control("a pong");
    assert_eq!((pong.first, pong.payload.as_slice()), (FIN | PONG, b"are you there".as_slice()));
    socket.write(&raw::frame(FIN | PONG, b"nobody asked", true));
    socket.write(&raw::frame(CONTINUATION, b"", true));
    socket.write(&raw::frame(FIN | CONTINUATION, &body[5..], true));
    assert_eq!(socket.json("the answer")["id"], "whole");
    // And before the hello.
    let mut socket = gateway.upgraded();
    socket.send(PING, b"early");
    assert_eq!(socket.control("a pong").payload, b"early");
    socket.send(TEXT, hello().to_string().as_bytes());
    assert_eq!(socket.json("hello-ok")["type"], "hello-ok");
}

#[test]
fn a_close_is_echoed_once() {
    let gateway = Gateway::builder("close-echo").spawn();
    let farewells: [&[u8]; 3] = [b"", b"\x03\xe8", b"\x03\xe8bye"];
    for payload in farewells {
        let mut socket = gateway.greeted();
        socket.send(CLOSE, payload);
        let mut closes = 0;
        while let Some(frame) = socket.frame() {
            closes += u8::from(frame.first == FIN | CLOSE);
        }
        assert_eq!(closes, 1, "{payload:?}");
    }
    let mut client = gateway.client();
    eventually("the closed clients to be gone", PATIENCE, || {
        (client.ask("status", &json!({}))["clients"] == 1).then_some(())
    });
}

#[test]
fn no_json_closes_with_1007() {
    let gateway = Gateway::builder("no-json").spawn();
    let deep = JSON_DEPTH_MAX + 1;
    let deep = format!(
        "{{\"type\":\"req\",\"id\":\"1\",\"method\":\"health\",\"x\":{}{}}}",
        "[".repeat(deep),
        "]".repeat(deep)
    );
    let bad = [
        "",
        "{",
        "health",
        "{\"type\":\"req\",}",
        "{'type':'req'}",
        "{\"type\":\"req\"} {\"type\":\"req\"}",
        "NaN",
        "\u{feff}{}",
        "{\"id\":\"\u{0}\"}",
        deep.as_str(),
        &"[".repeat(PAYLOAD_BYTES_MAX),
        &"{\"a\":".repeat(80_000),
    ];
    for text in bad {
        let mut socket = gateway.greeted();
        socket.send(TEXT, text.as_bytes());
        socket.closed_with(1007);
    }
}

#[test]
fn nesting_up_to_the_limit_is_fine() {
    let gateway = Gateway::builder("nesting").spawn();
    let mut client = gateway.client();
    // The envelope is one level.
    let levels = JSON_DEPTH_MAX - 1;
    client.send_text(&format!(
        "{{\"type\":\"req\",\"id\":\"deep\",\"method\":\"health\",\"x\":{}{}}}",
        "[".repeat(levels),
        "]".repeat(levels)
    ));
    assert_eq!(client.answer("deep")["ok"], true);
    // Brackets inside a string do not nest.
    client.send_text(&format!(
        "{{\"type\":\"req\",\"id\":\"text\",\"method\":\"health\",\"x\":\"{}\\\"{}\"}}",
        "[".repeat(500),
        "{".repeat(500)
    ));
    assert_eq!(client.answer("text")["ok"], true);
}

#[test]
fn huge_numbers_are_answered() {
    let gateway = Gateway::builder("numbers").spawn();
    let mut client = gateway.client();
    for number in
        ["1e308", "1e309", "-1e999999", "123456789012345678901234567890", "1e-999", &"9".repeat(400)]
    {
        client.send_text(&format!(
            "{{\"type\":\"req\",\"id\":\"n\",\"method\":\"session-history\",\"params\":{{\"sessionKey\":\"main\",\"limit\":{number}}}}}"
        ));
        let answer = client.wait_for(&format!("an answer to {number}"), |frame| frame["type"] == "res");
        assert_eq!(answer["error"]["code"], "INVALID_REQUEST", "{number}: {answer}");
        client.send_text(&format!("{{\"type\":\"req\",\"id\":{number},\"method\":\"health\"}}"));
        assert_eq!(client.answer("invalid")["error"]["code"], "INVALID_REQUEST", "{number}");
    }
    client.ask("health", &json!({}));
}

#[test]
fn duplicate_members_never_do_two_things() {
    let gateway = Gateway::builder("duplicates").spawn();
    let mut client = gateway.client();
    client.send_text(r#"{"type":"req","id":"first","id":"last","method":"status","method":"health"}"#);
    let answer = client.wait_for("one answer", |frame| frame["type"] == "res");
    assert!(answer["id"] == "last" || answer["id"] == "invalid", "{answer}");
    client
        .send_text(r#"{"type":"req","id":"p","method":"set-paused","params":{"paused":"x","paused":false}}"#);
    let answer = client.answer("p");
    assert!(
        answer["payload"] == json!({"paused": false}) || answer["error"]["code"] == "INVALID_REQUEST",
        "{answer}"
    );
    let more: Vec<Value> = client.drain().into_iter().filter(|frame| frame["type"] == "res").collect();
    assert_eq!(more, Vec::<Value>::new(), "a second answer");
}

#[test]
fn a_peer_that_hangs_up_in_a_frame_costs_nothing() {
    let gateway = Gateway::builder("hang-up").spawn();
    for at in [0, 1, 2, 6, 20] {
        let mut socket = gateway.greeted();
        let bytes = raw::frame(FIN | TEXT, &request("never"), true);
        socket.write(&bytes[..at]);
        socket.stream().shutdown(Shutdown::Both).unwrap();
        let mut socket = gateway.upgraded();
        socket.write(&bytes[..at]);
        drop(socket);
    }
    let mut client = gateway.client();
    eventually("the gone clients to be forgotten", PATIENCE, || {
        (client.ask("status", &json!({}))["clients"] == 1).then_some(())
    });
}

/// Half-closing is a common way to say "I have asked everything".
#[test]
fn what_was_asked_before_a_half_close_is_answered_or_ended_at_once() {
    let gateway = Gateway::builder("half-close").spawn();
    let mut socket = gateway.greeted();
    socket.send(TEXT, &request("last words"));
    assert_eq!(socket.json("the answer")["id"], "last words");
    socket.stream().shutdown(Shutdown::Write).unwrap();
    while socket.frame().is_some() {}
}

#[test]
fn a_flood_of_pings_is_answered_in_order() {
    let gateway = Gateway::builder("pings").spawn();
    let mut socket = gateway.greeted();
    let mut burst = Vec::new();
    for number in 0..500_u16 {
        burst.extend(raw::frame(FIN | PING, &number.to_be_bytes(), true));
    }
    let mut writer = socket.stream().try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&burst).unwrap());
    for number in 0..500_u16 {
        assert_eq!(socket.control("a pong").payload, number.to_be_bytes());
    }
    writing.join().unwrap();
    answers(&mut socket);
}

#[test]
fn half_a_surrogate_pair_is_answered() {
    let gateway = Gateway::builder("surrogates").agent_echo().spawn();
    let mut client = gateway.client();
    for half in ["\\ud83d", "\\ud83d!", "\\ud83d\\n", "\\ud83d\\ud83d", "\\ud83d\\u0041", "\\udc00"] {
        client.send_text(&format!(
            "{{\"type\":\"req\",\"id\":\"half\",\"method\":\"agent\",\"params\":{{\"message\":\"cut {half}\",\"idempotencyKey\":\"k\"}}}}"
        ));
        let answer = client.wait_for(&format!("an answer to {half}"), |frame| frame["type"] == "res");
        assert_eq!(answer["error"]["code"], "INVALID_REQUEST", "{half}: {answer}");
        assert_eq!(answer["id"], "half", "{half}: {answer}");
        client.send_text(&format!("{{\"type\":\"req\",\"id\":\"{half}\",\"method\":\"health\"}}"));
        assert_eq!(client.answer("invalid")["error"]["code"], "INVALID_REQUEST", "{half}");
    }
    // What is no JSON behind it is still no JSON.
    for text in ["{\"id\":\"\\udc00\" x}", "{\"id\":\"\\ud83d\"", "{\"id\":1e999"] {
        let mut socket = gateway.greeted();
        socket.send(TEXT, text.as_bytes());
        socket.closed_with(1007);
    }
}
