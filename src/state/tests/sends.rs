//! `send` and `deliver`: keys, answers, and what a stop leaves of them.

use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Harness, message, settings};
use crate::agent::RunStep;
use crate::channels::delivery::{AttemptOutcome, Part};
use crate::protocol::payload::RunStatus;

fn send(harness: &mut Harness, id: &str, params: &Value) {
    let mut params = params.clone();
    if params.get("message").is_none() {
        params["message"] = "hi".into();
    }
    params["idempotencyKey"] = "k".into();
    harness.bench.request(1, id, "send", params);
    harness.keep();
}

#[test]
fn a_message_is_sent_once_for_its_key() {
    let mut harness = Harness::new();
    send(&mut harness, "a", &json!({ "to": "telegram:5" }));
    send(&mut harness, "b", &json!({ "to": "telegram:5" }));
    assert!(harness.bench.answers().is_empty(), "nothing is known yet");
    let attempts = harness.attempts();
    assert_eq!(attempts.len(), 1);
    harness.sent(&attempts[0]);
    let answers = harness.bench.answers();
    assert_eq!(answers.len(), 2);
    for (_, answer) in &answers {
        let payload = &answer["payload"];
        assert_eq!(
            (&payload["channel"], &payload["messageId"], &payload["chatId"]),
            (&json!("telegram"), &json!("77"), &json!("5"))
        );
        assert!(payload["runId"].is_string());
    }
    send(&mut harness, "c", &json!({ "to": "telegram:5" }));
    assert_eq!(harness.bench.answer()["payload"]["messageId"], "77");
    send(&mut harness, "d", &json!({ "to": "telegram:5", "message": "other" }));
    assert_eq!(harness.bench.answer()["error"]["code"], "CONFLICT");
    assert!(harness.attempts().is_empty());
    // The namespaces of methods are apart.
    harness.bench.agent(1, "e", "k", "hello");
    harness.keep();
    assert_eq!(harness.bench.answer()["payload"]["status"], "accepted");
}

#[test]
fn a_send_goes_on_after_a_restart_unless_it_was_being_sent() {
    let mut harness = Harness::new();
    send(&mut harness, "a", &json!({ "to": "5" }));
    let attempt = harness.attempts().remove(0);
    let outcome = AttemptOutcome::NotSent { why: "no network".into(), retry_after: None };
    harness.outcome(&attempt, outcome);
    harness.restart();
    send(&mut harness, "b", &json!({ "to": "5" }));
    let attempt = harness.attempts().remove(0);
    harness.restart();
    harness.keep();
    assert!(harness.attempts().is_empty(), "{attempt:?} may have arrived");
    send(&mut harness, "c", &json!({ "to": "5" }));
    let error = harness.bench.answer()["error"].clone();
    assert_eq!((&error["code"], &error["details"]["outcome"]), (&json!("UNAVAILABLE"), &json!("unknown")));
}

#[test]
fn a_send_that_cannot_go_fails_after_a_while() {
    let mut harness = Harness::new();
    send(&mut harness, "a", &json!({ "to": "5" }));
    for _ in 0..20 {
        for attempt in harness.attempts() {
            let outcome = AttemptOutcome::NotSent { why: "no network".into(), retry_after: None };
            harness.outcome(&attempt, outcome);
        }
        harness.bench.pass(Duration::from_secs(30));
        harness.keep();
    }
    let answer = harness.bench.answers().pop().expect("an answer");
    assert_eq!(answer.1["error"]["message"], "not sent: no network");
}

#[test]
fn addresses_and_files_are_checked_before_anything_is_promised() {
    let mut config = settings();
    config.channels.media_folders = vec!["/pictures".into()];
    let mut harness = Harness::with(config);
    for (params, said) in [
        (json!({ "to": "bob" }), "cannot tell the channel"),
        (json!({ "to": "+15550001111" }), "whatsapp is not set up"),
        (json!({ "to": "5", "mediaUrl": "/etc/passwd" }), "mediaFolders"),
        (json!({ "to": "5", "mediaUrl": "/pictures/../etc/passwd" }), "mediaFolders"),
        (json!({ "to": "5", "mediaUrl": "pictures/a.png" }), "mediaFolders"),
    ] {
        send(&mut harness, "a", &params);
        let message = harness.bench.answer()["error"]["message"].to_string();
        assert!(message.contains(said), "{message}");
    }
    send(&mut harness, "b", &json!({ "to": "5", "mediaUrl": "/pictures/a.png", "message": "look" }));
    let attempt = harness.attempts().remove(0);
    let part = Part::Media { source: "/pictures/a.png".into(), caption: "look".into() };
    assert_eq!(attempt.part, part, "a refusal left the key free");
}

#[test]
fn deliver_goes_to_the_address_or_back_where_the_last_message_came_from() {
    let mut harness = Harness::new();
    let deliver = |to: Option<&str>, key: &str| {
        let mut params =
            json!({ "message": "m", "deliver": true, "sessionKey": "dm:telegram:2", "idempotencyKey": key });
        if let Some(to) = to {
            params["to"] = to.into();
        }
        params
    };
    harness.bench.request(1, "a", "agent", deliver(None, "1"));
    assert_eq!(harness.bench.answer()["error"]["code"], "INVALID_REQUEST");
    for (to, chat) in [(Some("telegram:8"), "8"), (None, "2")] {
        if to.is_none() {
            harness.say(message("1", "2", "2", "/status"));
            for attempt in harness.attempts() {
                harness.sent(&attempt);
            }
        }
        harness.bench.request(1, "b", "agent", deliver(to, chat));
        harness.keep();
        let run = harness.bench.started_runs().remove(0);
        harness.bench.step(&run.run_id, RunStep::Started);
        harness.bench.end(&run.run_id, RunStatus::Ok, "done");
        harness.keep();
        let attempt = harness.attempts().remove(0);
        assert_eq!(attempt.route.chat, chat);
        harness.sent(&attempt);
    }
}

#[test]
fn a_message_that_arrived_in_part_is_not_called_unsent() {
    let mut harness = Harness::new();
    send(&mut harness, "a", &json!({ "to": "5", "message": "word ".repeat(1_500) }));
    let first = harness.attempts().remove(0);
    harness.sent(&first);
    let second = harness.attempts().remove(0);
    harness.outcome(&second, AttemptOutcome::Refused { why: "blocked (403)".into() });
    let message = harness.bench.answer()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(message, "sent in part: 1 of 2 messages arrived, the rest did not: blocked (403)");
    let note = harness.said.last().unwrap();
    assert!(note.contains("1 of 2 messages arrived") && !note.contains("not sent on"), "{note}");
}
