//! What is told of the messaging channels, made from the types themselves and held against golden
//! frames: what stands in one must stay, what is new may be added.

use std::fs;

use clawdis_gateway::protocol::call::Channel;
use clawdis_gateway::protocol::event::{
    Direction, LoginProgress, MediaKind, MessageEvent, MessageMedia, MessageStatus,
};
use clawdis_gateway::protocol::payload::{Access, LinkPhase, LinkStatus, SendResult};
use serde::Serialize;
use serde_json::{Value, json};

use crate::harness::schemas::{assert_answer, assert_outbound};

/// Holds the payload against `tests/golden/channels/NAME.json`; that frame.
#[track_caller]
fn golden(name: &str, payload: &impl Serialize) -> Value {
    let path = format!("{}/tests/golden/channels/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let frame: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_outbound(&frame);
    assert_eq!(serde_json::to_value(payload).unwrap(), frame["payload"], "{name}");
    frame
}

fn message() -> MessageEvent<'static> {
    MessageEvent {
        id: "telegram:7/1001",
        ts: 1_767_225_600_000,
        channel: Channel::Telegram,
        session_key: "main",
        direction: Direction::In,
        from: None,
        to: None,
        text: "what is this?",
        truncated: false,
        media: Vec::new(),
        run_id: None,
        status: None,
        reason: None,
    }
}

#[test]
fn message_in() {
    let media = vec![MessageMedia {
        kind: MediaKind::Image,
        mime_type: "image/jpeg",
        name: Some("cat.jpg"),
        bytes: 48_213,
    }];
    golden("event-message-in", &MessageEvent { from: Some("Ann"), media, run_id: Some("r1"), ..message() });
}

#[test]
fn message_out() {
    golden(
        "event-message-out",
        &MessageEvent {
            id: "out:12",
            direction: Direction::Out,
            to: Some("123456789"),
            text: "a cat",
            truncated: true,
            run_id: Some("r1"),
            status: Some(MessageStatus::Failed),
            reason: Some("the chat is gone"),
            ..message()
        },
    );
}

#[test]
fn closed_lists_say_what_the_schema_says() {
    let schema = &crate::harness::schemas::read_all()["event-message.json"]["properties"];
    let directions = [Direction::In, Direction::Out];
    let statuses = [
        MessageStatus::Queued,
        MessageStatus::Sent,
        MessageStatus::Delivered,
        MessageStatus::Read,
        MessageStatus::Failed,
        MessageStatus::Unknown,
    ];
    let kinds = [MediaKind::Image, MediaKind::Audio, MediaKind::Video, MediaKind::Document];
    assert_eq!(json!(directions), schema["direction"]["enum"]);
    assert_eq!(json!(statuses), schema["status"]["enum"]);
    assert_eq!(json!(kinds), schema["media"]["items"]["properties"]["kind"]["enum"]);
}

#[test]
fn send_is_answered_by_where_it_went() {
    let telegram = SendResult {
        run_id: "r2",
        channel: Channel::Telegram,
        message_id: "42",
        to_jid: None,
        chat_id: Some("123456789"),
    };
    assert_answer("send", &golden("res-send-telegram", &telegram));
    let whatsapp = SendResult {
        run_id: "r3",
        channel: Channel::Whatsapp,
        message_id: "3EB0C431C26A1916E07A",
        to_jid: Some("15550001111@s.whatsapp.net"),
        chat_id: None,
    };
    assert_answer("send", &golden("res-send-whatsapp", &whatsapp));
}

#[test]
fn channel_allow_is_answered_by_what_holds_now() {
    let access =
        Access { channel: Channel::Telegram, id: "123456789", allowed: true, owner: true, note: None };
    assert_answer("channel-allow", &golden("res-channel-allow", &access));
    let note =
        Some("Nobody is the owner yet: `clawdis allow telegram 123456789 --owner` makes one.".to_owned());
    let noted = Access { owner: false, note, ..access };
    assert_answer("channel-allow", &golden("res-channel-allow-no-owner", &noted));
}

#[test]
fn a_login_tells_what_to_do() {
    let bare = LoginProgress {
        channel: Channel::Whatsapp,
        state: "linking",
        qr: None,
        code: None,
        ttl_ms: None,
        reason: None,
    };
    let installing =
        LoginProgress { state: "installing", reason: Some("adding 18 packages"), ..bare.clone() };
    golden("event-channel-installing", &installing);
    let qr = "2@Y2xhd2Rpcw==,bm9pc2U=,aWRlbnRpdHk=,YWR2";
    golden("event-channel-qr", &LoginProgress { qr: Some(qr), ttl_ms: Some(60_000), ..bare.clone() });
    golden("event-channel-code", &LoginProgress { code: Some("ABCD1234"), ttl_ms: Some(20_000), ..bare });
}

#[test]
fn logins_and_logouts_are_answered_twice() {
    let status = |phase| LinkStatus::new(Channel::Whatsapp, phase);
    let accepted = golden("res-channel-login-accepted", &status(LinkPhase::Accepted));
    let linked = LinkStatus { self_id: Some("+15550001111"), ..status(LinkPhase::Linked) };
    let linked = golden("res-channel-login-linked", &linked);
    let failed = LinkStatus { reason: Some("nobody scanned the code"), ..status(LinkPhase::Failed) };
    let failed = golden("res-channel-login-failed", &failed);
    for frame in [&accepted, &linked, &failed] {
        assert_answer("channel-login", frame);
    }
    let unlinked = golden("res-channel-logout-unlinked", &status(LinkPhase::Unlinked));
    assert_answer("channel-logout", &accepted);
    assert_answer("channel-logout", &unlinked);
}
