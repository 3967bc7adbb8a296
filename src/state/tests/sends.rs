//! `send` and `deliver`: keys, answers, and what a stop leaves of them.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{World, message, settings};
use crate::agent::RunStep;
use crate::channels::delivery::{AttemptOutcome, Part};
use crate::protocol::payload::RunStatus;

fn send(world: &mut World, id: &str, params: &Value) {
    let mut params = params.clone();
    if params.get("message").is_none() {
        params["message"] = "hi".into();
    }
    params["idempotencyKey"] = "k".into();
    world.bench.request(1, id, "send", params);
    world.keep();
}

#[test]
fn a_message_is_sent_once_for_its_key() {
    let mut world = World::new();
    send(&mut world, "a", &json!({ "to": "telegram:5" }));
    send(&mut world, "b", &json!({ "to": "telegram:5" }));
    assert!(world.bench.answers().is_empty(), "nothing is known yet");
    let attempts = world.attempts();
    assert_eq!(attempts.len(), 1);
    world.sent(&attempts[0]);
    let answers = world.bench.answers();
    assert_eq!(answers.len(), 2);
    for (_, answer) in &answers {
        let payload = &answer["payload"];
        assert_eq!(
            (&payload["channel"], &payload["messageId"], &payload["chatId"]),
            (&json!("telegram"), &json!("77"), &json!("5"))
        );
        assert!(payload["runId"].is_string());
    }
    send(&mut world, "c", &json!({ "to": "telegram:5" }));
    assert_eq!(world.bench.answer()["payload"]["messageId"], "77");
    send(&mut world, "d", &json!({ "to": "telegram:5", "message": "other" }));
    assert_eq!(world.bench.answer()["error"]["code"], "CONFLICT");
    assert!(world.attempts().is_empty());
    // The namespaces of methods are apart.
    world.bench.agent(1, "e", "k", "hello");
    world.keep();
    assert_eq!(world.bench.answer()["payload"]["status"], "accepted");
}

#[test]
fn a_send_goes_on_after_a_restart_unless_it_was_being_sent() {
    let mut world = World::new();
    send(&mut world, "a", &json!({ "to": "5" }));
    let attempt = world.attempts().remove(0);
    let outcome = AttemptOutcome::NotSent { why: "no network".into(), retry_after: None };
    world.outcome(&attempt, outcome);
    world.restart();
    send(&mut world, "b", &json!({ "to": "5" }));
    let attempt = world.attempts().remove(0);
    world.restart();
    world.keep();
    assert!(world.attempts().is_empty(), "{attempt:?} may have arrived");
    send(&mut world, "c", &json!({ "to": "5" }));
    let error = world.bench.answer()["error"].clone();
    assert_eq!((&error["code"], &error["details"]["outcome"]), (&json!("UNAVAILABLE"), &json!("unknown")));
}

#[test]
fn a_send_that_cannot_go_fails_after_a_while() {
    let mut world = World::new();
    send(&mut world, "a", &json!({ "to": "5" }));
    for _ in 0..20 {
        for attempt in world.attempts() {
            let outcome = AttemptOutcome::NotSent { why: "no network".into(), retry_after: None };
            world.outcome(&attempt, outcome);
        }
        world.bench.pass(Duration::from_secs(30));
        world.keep();
    }
    let answer = world.bench.answers().pop().expect("an answer");
    assert_eq!(answer.1["error"]["message"], "not sent: no network");
}

#[test]
fn addresses_and_files_are_checked_before_anything_is_promised() {
    let mut config = settings();
    config.surfaces.media_folders = vec!["/pictures".into()];
    let mut world = World::with(config);
    for (params, said) in [
        (json!({ "to": "bob" }), "cannot tell the channel"),
        (json!({ "to": "+15550001111" }), "whatsapp is not set up"),
        (json!({ "to": "5", "mediaUrl": "/etc/passwd" }), "mediaFolders"),
        (json!({ "to": "5", "mediaUrl": "/pictures/../etc/passwd" }), "mediaFolders"),
        (json!({ "to": "5", "mediaUrl": "pictures/a.png" }), "mediaFolders"),
    ] {
        send(&mut world, "a", &params);
        let message = world.bench.answer()["error"]["message"].to_string();
        assert!(message.contains(said), "{message}");
    }
    send(&mut world, "b", &json!({ "to": "5", "mediaUrl": "/pictures/a.png", "message": "look" }));
    let attempt = world.attempts().remove(0);
    let part = Part::Media { source: "/pictures/a.png".into(), caption: "look".into() };
    assert_eq!(attempt.part, part, "a refusal left the key free");
}

#[test]
fn deliver_goes_to_the_address_or_back_where_the_last_message_came_from() {
    let mut world = World::new();
    let deliver = |to: Option<&str>, key: &str| {
        let mut params =
            json!({ "message": "m", "deliver": true, "sessionKey": "dm:telegram:2", "idempotencyKey": key });
        if let Some(to) = to {
            params["to"] = to.into();
        }
        params
    };
    world.bench.request(1, "a", "agent", deliver(None, "1"));
    assert_eq!(world.bench.answer()["error"]["code"], "INVALID_REQUEST");
    for (to, chat) in [(Some("telegram:8"), "8"), (None, "2")] {
        if to.is_none() {
            world.say(message("1", "2", "2", "/status"));
            for attempt in world.attempts() {
                world.sent(&attempt);
            }
        }
        world.bench.request(1, "b", "agent", deliver(to, chat));
        world.keep();
        let run = world.bench.started_runs().remove(0);
        world.bench.step(&run.run_id, RunStep::Started);
        world.bench.end(&run.run_id, RunStatus::Ok, "done");
        world.keep();
        let attempt = world.attempts().remove(0);
        assert_eq!(attempt.route.chat, chat);
        world.sent(&attempt);
    }
}

#[test]
fn a_message_that_arrived_in_part_is_not_called_unsent() {
    let mut world = World::new();
    send(&mut world, "a", &json!({ "to": "5", "message": "word ".repeat(1_500) }));
    let first = world.attempts().remove(0);
    world.sent(&first);
    let second = world.attempts().remove(0);
    world.outcome(&second, AttemptOutcome::Refused { why: "blocked (403)".into() });
    let message = world.bench.answer()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(message, "sent in part: 1 of 2 messages arrived, the rest did not: blocked (403)");
    let note = world.said.last().unwrap();
    assert!(note.contains("1 of 2 messages arrived") && !note.contains("not sent on"), "{note}");
}
