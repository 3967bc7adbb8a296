//! Warnings in `status`, one of each kind, and what a changed token does to who is there.

use serde_json::{Value, json};

use super::{Bench, config};
use crate::limits::WARNING_BYTES_MAX;
use crate::net::NetEvent;
use crate::net::outbound::Outbound;
use crate::protocol::ConnId;
use crate::protocol::payload::Auth;
use crate::protocol::warning::{Warning, WarningCode};
use crate::state::{Effect, Event};
use crate::store::Recovered;

fn status(bench: &mut Bench) -> Value {
    bench.request(1, "s", "status", json!({}));
    bench.answers().pop().expect("an answer to `status`").1["payload"].clone()
}

#[test]
fn warnings_come_and_go_one_of_each_kind() {
    let mut start = config();
    start.auth = Auth::None;
    start.warnings = vec![Warning::new(WarningCode::NoToken, "no token is set")];
    let mut bench = Bench::with(start, Recovered::default());
    bench.connect(1);
    let no_token = json!({ "code": "no-token", "message": "no token is set" });
    let seen = status(&mut bench);
    assert_eq!((&seen["auth"], &seen["warnings"]), (&json!("none"), &json!([no_token.clone()])));

    for message in ["gone", "empty\u{1b}[1m"] {
        bench.handle(Event::Net(NetEvent::Warning(WarningCode::TokenFile, Some(message.to_owned()))));
    }
    let token_file = json!({ "code": "token-file", "message": "empty[1m" });
    assert_eq!(status(&mut bench)["warnings"], json!([no_token.clone(), token_file]));

    bench.handle(Event::Net(NetEvent::Warning(WarningCode::TokenFile, None)));
    bench.handle(Event::Net(NetEvent::Warning(WarningCode::CwdHome, None)));
    assert_eq!(status(&mut bench)["warnings"], json!([no_token]));
}

#[test]
fn a_long_warning_is_cut() {
    let mut start = config();
    start.warnings = vec![Warning::new(WarningCode::HostsEntry, "\"".repeat(5_000))];
    let mut bench = Bench::with(start, Recovered::default());
    bench.connect(1);
    let seen = status(&mut bench);
    let message = seen["warnings"][0]["message"].as_str().unwrap();
    assert!(!message.is_empty() && message.len() <= WARNING_BYTES_MAX, "{}", message.len());
}

/// Connections that were told to go, with the reason.
fn closed(bench: &mut Bench) -> Vec<(ConnId, String)> {
    let effects = std::mem::take(&mut bench.effects);
    let closes = effects.into_iter().filter_map(|effect| match effect {
        Effect::Out(Outbound::Close { conn, close }) => {
            Some((conn, format!("{} {}", close.code, close.reason)))
        }
        _ => None,
    });
    closes.collect()
}

#[test]
fn what_an_old_token_opened_ends_in_whatever_order_it_is_told() {
    let mut bench = Bench::new();
    let ended = |conn: ConnId| (conn, "1008 token changed".to_owned());
    bench.connect_with(1, 0);
    bench.connect_with(2, 0);
    // The first with the new token overtakes the word of it, and one with the old comes behind both.
    bench.connect_with(3, 1);
    assert_eq!(closed(&mut bench), []);
    bench.handle(Event::Net(NetEvent::TokenChanged(1)));
    assert_eq!(closed(&mut bench), [ended(1), ended(2)]);
    bench.handle(Event::Net(NetEvent::Closed(1)));
    bench.handle(Event::Net(NetEvent::Closed(2)));
    bench.connect_with(4, 0);
    assert_eq!(closed(&mut bench), [ended(4)]);
    bench.handle(Event::Net(NetEvent::Closed(4)));
    // Two changes at once, told by two threads.
    bench.connect_with(5, 3);
    bench.handle(Event::Net(NetEvent::TokenChanged(3)));
    assert_eq!(closed(&mut bench), [ended(3)]);
    bench.handle(Event::Net(NetEvent::Closed(3)));
    bench.handle(Event::Net(NetEvent::TokenChanged(2)));
    assert_eq!(closed(&mut bench), []);
}
