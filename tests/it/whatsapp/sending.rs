//! `send`, and what becomes of what is sent.

use std::time::Duration;

use clawdis_gateway::limits::WHATSAPP_ACCEPT_TIMEOUT;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, eventually, process};
use crate::whatsapp::lab::{CLUB, FRIEND, Lab, OWNER, in_state, lid, pn};

fn params(to: &str, message: &str, key: &str) -> Value {
    json!({"channel": "whatsapp", "to": to, "message": message, "idempotencyKey": key})
}

#[test]
fn send_says_where_it_went_and_sends_once_per_key() {
    let lab = Lab::start("send");
    let mut client = lab.gateway.client();
    for (number, (to, jid)) in
        [(format!("+{FRIEND}"), pn(FRIEND)), (lid(OWNER), lid(OWNER)), (CLUB.to_owned(), CLUB.to_owned())]
            .into_iter()
            .enumerate()
    {
        let params = params(&to, &format!("**hi** {number}"), &format!("k{number}"));
        let answer = client.ask("send", &params);
        assert!(answer["runId"].as_str().is_some_and(|id| !id.is_empty()), "{answer}");
        assert!(answer["channel"] == "whatsapp" && answer["toJid"] == jid.as_str(), "{answer}");
        let id = answer["messageId"].as_str().unwrap();
        assert!(id.len() == 22 && id.starts_with("3EB0"), "{id}");
        // A number's chat may have another address there.
        let places = [jid.clone(), lid(FRIEND)];
        let got = eventually("the message", PATIENCE, || {
            places.iter().find_map(|place| lab.mock.written(place).pop())
        });
        assert!(got["id"] == id && got["text"] == format!("*hi* {number}"), "{got}");
        assert_eq!(client.ask("send", &params), answer, "the same key gets the same answer");
        let mut other = params.clone();
        other["message"] = json!("something else");
        assert_eq!(client.refused("send", &other)["code"], "CONFLICT");
        assert_eq!(places.iter().map(|place| lab.mock.written(place).len()).max(), Some(1));
        let of_it = |event: &Value, status: &str| {
            event["payload"]["runId"] == answer["runId"] && event["payload"]["status"] == status
        };
        client.event("message", |event| of_it(event, "sent"));
        client.event("message", |event| of_it(event, "delivered"));
        lab.mock.op("receipt", json!({"id": id, "to": jid, "type": "read"}));
        client.event("message", |event| of_it(event, "read"));
    }
    let long = "word ".repeat(2_000);
    client.ask("send", &params(&lid(FRIEND), &long, "long"));
    let texts = lab.mock.answers(&lid(FRIEND), 3)[1..].to_vec();
    assert_eq!(texts.join(" ").split_whitespace().count(), 2_000);
    let output = lab.cli(&["send", "--channel", "whatsapp", "--to", &format!("+{OWNER}"), "from the shell"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(lab.mock.answers(&lid(OWNER), 2)[1], "from the shell");
    assert_eq!(client.refused("send", &params("15550001111", "x", "bare"))["code"], "INVALID_REQUEST");
}

#[test]
fn what_whatsapp_refuses_is_said_and_not_repeated() {
    let lab = Lab::start("refused");
    let mut client = lab.gateway.client();
    lab.mock.set(&json!({"ack": "error:463"}));
    let error = client.refused("send", &params(&lid(FRIEND), "cold call", "cold"));
    assert!(error["message"].as_str().unwrap().contains("463"), "{error}");
    assert_eq!(error["retryable"], false, "{error}");
    let event = client.event("message", |event| event["payload"]["status"] == "failed")["payload"].take();
    assert!(event["text"] == "cold call" && event["reason"].as_str().unwrap().contains("463"), "{event}");
    lab.mock.set(&json!({"ack": "auto"}));
    lab.sync();
    assert_eq!(lab.mock.written(&lid(FRIEND)).len(), 1);
}

#[test]
fn what_is_not_confirmed_goes_again_under_its_id() {
    let lab = Lab::start("unconfirmed");
    let mut client = lab.gateway.client();
    lab.mock.set(&json!({"ack": "none"}));
    let times = |count: usize, within: Duration| {
        eventually(&format!("the message to be written {count} times"), within, || {
            (lab.mock.written(&lid(FRIEND)).len() == count).then_some(())
        });
    };
    let request = client.send("send", &params(&lid(FRIEND), "insist", "insist"));
    times(1, PATIENCE);
    // With the connection goes the hope for an answer.
    lab.mock.op("drop", json!({"mode": "tcp"}));
    times(2, PATIENCE);
    in_state(&mut client, "ready");
    times(3, WHATSAPP_ACCEPT_TIMEOUT + PATIENCE);
    assert_eq!(lab.mock.received(&lid(FRIEND)).len(), 1, "one id, however often it is written");
    lab.mock.set(&json!({"ack": "auto"}));
    lab.mock.op("drop", json!({"mode": "tcp"}));
    let answer = client.answer(&request);
    assert!(answer["ok"] == true || answer["error"]["details"]["outcome"] == "unknown", "{answer}");
}

#[test]
fn a_receiver_who_could_not_read_it_gets_it_again_and_nobody_else_does() {
    let lab = Lab::start("again");
    let mut client = lab.gateway.client();
    let former = lab.sidecar().unwrap();
    let answer = client.ask("send", &params(&format!("+{FRIEND}"), "for a friend", "again"));
    let id = answer["messageId"].as_str().unwrap();
    // A new sidecar knows nothing of it.
    process::signal(former, Signal::KILL);
    eventually("another sidecar", PATIENCE, || lab.sidecar().filter(|pid| *pid != former));
    in_state(&mut client, "ready");
    let since = lab.mock.seq();
    lab.mock.op("ask-retry", json!({"from": OWNER, "id": id}));
    lab.mock.op("ask-retry", json!({"from": FRIEND, "id": id}));
    let again = lab.mock.wait_since(since, &json!({"type": "message", "id": id}));
    assert_eq!((&again["text"], &again["to"]), (&json!("for a friend"), &json!(lid(FRIEND))), "{again}");
    let written = lab.mock.events("message").into_iter().filter(|event| event["id"] == id).count();
    assert_eq!(written, 2);
}
