//! Logins and logouts: what the one who asked is told, and that nobody else is.

use serde_json::{Value, json};

use super::harness::Harness;
use crate::channels::{ChannelCommand, ChannelEvent, LoginStep};
use crate::limits::CHANNEL_INBOX;
use crate::net::NetEvent;
use crate::net::outbound::Outbound;
use crate::protocol::ConnId;
use crate::protocol::call::Channel;
use crate::protocol::event::EventKind;
use crate::state::{Effect, Event};

fn login(harness: &mut Harness, conn: ConnId, id: &str) {
    harness.bench.request(conn, id, "channel-login", json!({ "channel": "whatsapp" }));
}

fn logout(harness: &mut Harness, conn: ConnId, id: &str) {
    harness.bench.request(conn, id, "channel-logout", json!({ "channel": "whatsapp" }));
}

fn step(harness: &mut Harness, step: LoginStep) {
    harness.bench.handle(Event::Channel(ChannelEvent::Login { channel: Channel::Whatsapp, step }));
}

fn logged_out(harness: &mut Harness, result: Result<(), String>) {
    harness.bench.handle(Event::Channel(ChannelEvent::LoggedOut { channel: Channel::Whatsapp, result }));
}

fn phones(harness: &mut Harness) -> Vec<(Channel, Option<String>)> {
    harness.commands(|command| match command {
        ChannelCommand::Login { channel, phone } => Some((*channel, phone.clone())),
        _ => None,
    })
}

/// Events for single connections since the last call.
fn told(harness: &mut Harness) -> Vec<(ConnId, Value)> {
    let mut told = Vec::new();
    harness.bench.effects.retain(|effect| match effect {
        Effect::Out(Outbound::EventTo { conn, body }) => {
            assert_eq!(body.kind, EventKind::Channel);
            let text = format!("{{\"seq\":0{}", std::str::from_utf8(&body.tail).unwrap());
            told.push((*conn, serde_json::from_str::<Value>(&text).unwrap()["payload"].take()));
            false
        }
        _ => true,
    });
    told
}

#[test]
fn whoever_asked_for_a_login_is_led_through_it() {
    let mut harness = Harness::new();
    harness.bench.connect(2);
    login(&mut harness, 2, "l");
    assert_eq!(phones(&mut harness), [(Channel::Whatsapp, None)]);
    let accepted = json!({ "type": "res", "id": "l", "ok": true, "payload": { "channel": "whatsapp", "status": "accepted" } });
    assert_eq!(harness.bench.answers(), [(2, accepted)]);
    harness.bench.events();
    step(&mut harness, LoginStep::Progress { state: "installing", reason: Some("18 packages".into()) });
    step(&mut harness, LoginStep::Progress { state: "linking", reason: None });
    step(&mut harness, LoginStep::Qr { data: "2@a".into(), ttl_ms: 60_000 });
    step(&mut harness, LoginStep::Code { code: "ABCD1234".into(), ttl_ms: 20_000 });
    let whatsapp = |state: &str| json!({ "channel": "whatsapp", "state": state });
    let (mut installing, linking) = (whatsapp("installing"), whatsapp("linking"));
    installing["reason"] = "18 packages".into();
    let (mut qr, mut code) = (linking.clone(), linking.clone());
    (qr["qr"], qr["ttlMs"]) = ("2@a".into(), 60_000.into());
    (code["code"], code["ttlMs"]) = ("ABCD1234".into(), 20_000.into());
    assert_eq!(told(&mut harness), [(2, installing), (2, linking), (2, qr), (2, code)]);
    assert!(harness.bench.events().is_empty(), "nobody else is told");
    assert!(harness.bench.answers().is_empty());
    step(&mut harness, LoginStep::Over(Ok(Some("+15550001111".into()))));
    let linked = json!({ "channel": "whatsapp", "status": "linked", "self": "+15550001111" });
    let answers = harness.bench.answers();
    assert_eq!(answers, [(2, json!({ "type": "res", "id": "l", "ok": true, "payload": linked }))]);
    // What comes after the end belongs to nobody.
    step(&mut harness, LoginStep::Qr { data: "2@b".into(), ttl_ms: 1 });
    step(&mut harness, LoginStep::Over(Ok(None)));
    assert!(told(&mut harness).is_empty() && harness.bench.answers().is_empty());
}

#[test]
fn a_login_by_code_says_for_which_phone_and_a_failed_one_why() {
    let mut harness = Harness::new();
    let params = json!({ "channel": "whatsapp", "method": "code", "phone": "+15550001111" });
    harness.bench.request(1, "l", "channel-login", params);
    let phone = "+15550001111".to_owned();
    assert_eq!(phones(&mut harness), [(Channel::Whatsapp, Some(phone))]);
    harness.bench.answer();
    step(&mut harness, LoginStep::Over(Err("nobody typed the code".into())));
    let end = harness.bench.answer();
    assert_eq!((&end["ok"], &end["error"]["code"]), (&json!(false), &json!("UNAVAILABLE")));
    assert_eq!(end["error"]["message"], "nobody typed the code");
    let failed = json!({ "channel": "whatsapp", "status": "failed", "reason": "nobody typed the code" });
    assert_eq!(end["payload"], failed);
}

#[test]
fn one_login_at_a_time() {
    let mut harness = Harness::new();
    harness.bench.connect(2);
    login(&mut harness, 1, "a");
    login(&mut harness, 2, "b");
    login(&mut harness, 1, "c");
    assert_eq!(phones(&mut harness).len(), 1);
    let codes: Vec<Value> =
        harness.bench.answers().into_iter().map(|(_, answer)| answer["error"]["code"].clone()).collect();
    assert_eq!(codes, [json!(null), json!("CONFLICT"), json!("CONFLICT")]);
    step(&mut harness, LoginStep::Over(Ok(None)));
    assert_eq!(harness.bench.answer()["payload"], json!({ "channel": "whatsapp", "status": "linked" }));
    login(&mut harness, 2, "d");
    assert_eq!(harness.bench.answer()["payload"]["status"], "accepted");
}

#[test]
fn a_login_outlives_whoever_asked_for_it_until_somebody_asks_for_the_next() {
    let mut harness = Harness::new();
    harness.bench.connect(2);
    harness.bench.connect(3);
    login(&mut harness, 2, "a");
    harness.bench.handle(Event::Net(NetEvent::Closed(2)));
    harness.bench.answers();
    step(&mut harness, LoginStep::Qr { data: "2@a".into(), ttl_ms: 1 });
    assert_eq!(phones(&mut harness).len(), 1, "it still goes on");
    login(&mut harness, 1, "b");
    assert_eq!(harness.bench.answer()["payload"]["status"], "accepted");
    assert_eq!(phones(&mut harness).len(), 1);
    // The channel has not heard of it yet: its steps are those of the first one.
    step(&mut harness, LoginStep::Qr { data: "2@b".into(), ttl_ms: 1 });
    assert!(told(&mut harness).iter().all(|(conn, _)| *conn == 2), "nobody else gets the code");
    login(&mut harness, 3, "c");
    assert_eq!(harness.bench.answer()["error"]["code"], "CONFLICT", "the one who asked now is here");
    step(&mut harness, LoginStep::Over(Err("another one began".into())));
    harness.bench.answers();
    step(&mut harness, LoginStep::Qr { data: "2@c".into(), ttl_ms: 1 });
    assert_eq!(told(&mut harness)[0].0, 1);
    step(&mut harness, LoginStep::Over(Ok(None)));
    assert_eq!(harness.bench.answer()["id"], "b");
    login(&mut harness, 3, "d");
    assert_eq!(harness.bench.answer()["payload"]["status"], "accepted");
}

#[test]
fn whoever_asks_for_another_kind_gets_that_and_the_end_of_the_first() {
    let mut harness = Harness::new();
    login(&mut harness, 1, "a");
    let by_code = json!({ "channel": "whatsapp", "method": "code", "phone": "+15550001111" });
    harness.bench.request(1, "b", "channel-login", by_code);
    assert_eq!(phones(&mut harness).len(), 2);
    assert!(harness.bench.answers().iter().all(|(_, answer)| answer["payload"]["status"] == "accepted"));
    step(&mut harness, LoginStep::Over(Err("another one began".into())));
    step(&mut harness, LoginStep::Over(Ok(None)));
    let ends: Vec<(Value, Value)> =
        harness.bench.answers().into_iter().map(|(_, end)| (end["id"].clone(), end["ok"].clone())).collect();
    assert_eq!(ends, [(json!("a"), json!(false)), (json!("b"), json!(true))]);
}

#[test]
fn a_logout_ends_with_unlinked_or_a_reason() {
    let mut harness = Harness::new();
    harness.bench.connect(2);
    logout(&mut harness, 1, "a");
    assert_eq!(harness.bench.answer()["payload"], json!({ "channel": "whatsapp", "status": "accepted" }));
    logout(&mut harness, 2, "b");
    assert_eq!(harness.bench.answer()["error"]["code"], "CONFLICT");
    let asked = harness.commands(|command| matches!(command, ChannelCommand::Logout { .. }).then_some(()));
    assert_eq!(asked.len(), 1);
    logged_out(&mut harness, Ok(()));
    assert_eq!(harness.bench.answer()["payload"], json!({ "channel": "whatsapp", "status": "unlinked" }));
    logout(&mut harness, 2, "c");
    harness.bench.answer();
    logged_out(&mut harness, Err("no phone is linked".into()));
    let end = harness.bench.answer();
    assert_eq!(
        (&end["error"]["code"], &end["error"]["message"]),
        (&json!("UNAVAILABLE"), &json!("no phone is linked"))
    );
    logged_out(&mut harness, Ok(()));
    assert!(harness.bench.answers().is_empty(), "nobody waits");
}

#[test]
fn commands_to_the_channels_are_given_back() {
    let mut harness = Harness::new();
    for _ in 0..2 * CHANNEL_INBOX {
        login(&mut harness, 1, "in");
        logout(&mut harness, 1, "out");
        assert!(harness.bench.answers().iter().all(|(_, answer)| answer["ok"] == true));
        step(&mut harness, LoginStep::Over(Err("too late".into())));
        logged_out(&mut harness, Ok(()));
        harness.bench.answers();
    }
}

#[test]
fn telegram_has_no_logins_and_says_how_it_is_set_up() {
    let mut harness = Harness::new();
    for method in ["channel-login", "channel-logout"] {
        harness.bench.request(1, "t", method, json!({ "channel": "telegram" }));
        let error = harness.bench.answer()["error"].take();
        assert_eq!(error["code"], "INVALID_REQUEST");
        assert!(error["message"].as_str().unwrap().contains("telegram.botToken"), "{error}");
    }
}

#[test]
fn a_gateway_that_stops_begins_no_login() {
    let mut harness = Harness::new();
    harness.bench.handle(Event::Stop { reason: "stop".into(), restart_expected_ms: None });
    harness.bench.answers();
    login(&mut harness, 1, "l");
    assert_eq!(harness.bench.answer()["error"]["code"], "UNAVAILABLE");
    assert!(phones(&mut harness).is_empty());
}
