//! Warnings in `status`: set at the start and while the gateway runs, one of each kind.

use serde_json::{Value, json};

use super::{Bench, config};
use crate::limits::WARNING_BYTES_MAX;
use crate::protocol::payload::Auth;
use crate::protocol::warning::{Warning, WarningCode};
use crate::state::Event;
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
        bench.handle(Event::Warning(Warning::new(WarningCode::TokenFile, message)));
    }
    let token_file = json!({ "code": "token-file", "message": "empty[1m" });
    assert_eq!(status(&mut bench)["warnings"], json!([no_token.clone(), token_file]));

    bench.handle(Event::WarningOver(WarningCode::TokenFile));
    bench.handle(Event::WarningOver(WarningCode::CwdHome));
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
