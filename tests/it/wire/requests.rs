//! Every method, good and bad, and the shape of refusals.

use clawdis_gateway::limits::{ERROR_TEXT_BYTES_MAX, INVALID_FRAMES_MAX, JSON_VALUES_MAX};
use serde_json::{Value, json};

use crate::harness::{Gateway, code_and_text, params_agent, values};

#[test]
fn health_says_what_is_there() {
    let gateway = Gateway::builder("health").agent_echo().spawn();
    let mut client = gateway.client();
    for params in [json!({}), json!({"probe": true}), json!({"probe": false})] {
        let health = client.ask("health", &params);
        assert_eq!(health["ok"], true, "{health}");
        assert_eq!(health["paused"], false);
        assert_eq!(health["agent"]["configured"], true);
        assert_eq!(health["agent"]["active"], 0);
        assert_eq!(health["storage"]["ok"], true);
        for channel in ["telegram", "whatsapp"] {
            assert_eq!(health["channels"][channel]["configured"], false, "{health}");
        }
    }
    // Without params at all.
    client.send_json(&json!({"type": "req", "id": "bare", "method": "health"}));
    assert_eq!(client.answer("bare")["payload"]["ok"], true);
}

#[test]
fn status_says_everything_around_it() {
    let gateway = Gateway::builder("status").spawn();
    let mut client = gateway.client();
    let _other = gateway.client_as("other");
    let status = client.ask("status", &json!({}));
    assert_eq!(status["pid"], gateway.pid());
    assert_eq!(status["protocol"], 1);
    assert_eq!(status["clients"], 2);
    assert_eq!(status["version"], client.hello["server"]["version"]);
    assert_eq!(status["toggles"]["paused"], false);
    assert_eq!(status["sessions"], 0);
    assert_eq!(status["today"]["runs"], 0);
    assert_eq!(status["refused"], json!([]));
    let names: Vec<&str> =
        status["clientsList"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"it") && names.contains(&"other"), "{names:?}");
    assert!(status["clientsList"].to_string().contains(client.conn_id()));
}

#[test]
fn system_presence_is_a_bare_array() {
    let gateway = Gateway::builder("bare-array").spawn();
    let presence = gateway.client().ask("system-presence", &json!({}));
    assert!(presence.as_array().is_some_and(|entries| entries.len() == 2), "{presence}");
}

#[test]
fn without_an_agent_a_run_is_refused_saying_how_to_set_one() {
    let gateway = Gateway::builder("no-agent").spawn();
    let mut client = gateway.client();
    let error = client.refused("agent", &params_agent("hello", "k"));
    let (code, text) = code_and_text(&error);
    assert_eq!(code, "UNAVAILABLE");
    assert!(text.contains("--agent"), "{text}");
    assert_eq!(client.ask("health", &json!({}))["agent"]["state"], "unconfigured");
    // A refusal leaves the key free.
    let error = client.refused("agent", &params_agent("something else", "k"));
    assert_eq!(error["code"], "UNAVAILABLE");
}

#[test]
fn send_answers_fast_while_no_channel_is_set_up() {
    let gateway = Gateway::builder("send").spawn();
    let mut client = gateway.client();
    let mut to = |to: &str| client.refused("send", &json!({"to": to, "message": "x", "idempotencyKey": "k"}));
    for (address, channel) in [
        ("+15550001111", "whatsapp"),
        ("15550001111@s.whatsapp.net", "whatsapp"),
        ("120363000000000000@g.us", "whatsapp"),
        ("telegram:123", "telegram"),
        ("@somebody", "telegram"),
        ("123456789", "telegram"),
        ("-1001234567890", "telegram"),
    ] {
        let error = to(address);
        let (code, text) = code_and_text(&error);
        assert_eq!(code, "UNAVAILABLE", "{address}: {text}");
        assert!(text.to_ascii_lowercase().contains(channel), "{address}: {text}");
    }
    for address in ["somebody", "", "mail@example.org", "+", "telegram:", "+12 34x"] {
        let error = to(address);
        assert_eq!(error["code"], "INVALID_REQUEST", "{address}: {error}");
    }
    let named = json!({"to": "123", "message": "x", "channel": "whatsapp", "idempotencyKey": "k"});
    let error = client.refused("send", &named);
    assert_eq!(error["code"], "UNAVAILABLE");
    assert!(error["message"].as_str().unwrap().to_ascii_lowercase().contains("whatsapp"), "{error}");
}

/// Protocol-1 clients say `provider` where this one says `channel`.
#[test]
fn provider_is_an_alias_in_send_and_agent_and_nowhere_else() {
    let gateway = Gateway::builder("alias").agent_echo().spawn();
    let mut client = gateway.client();
    let error = client.refused(
        "send",
        &json!({"to": "123", "message": "x", "provider": "whatsapp", "idempotencyKey": "k"}),
    );
    assert_eq!(error["code"], "UNAVAILABLE");
    assert!(error["message"].as_str().unwrap().to_ascii_lowercase().contains("whatsapp"), "{error}");
    let error = client
        .refused("send", &json!({"to": "123", "message": "x", "provider": "fax", "idempotencyKey": "k"}));
    assert_eq!(error["code"], "INVALID_REQUEST");
    let run = client.run(&json!({"message": "hi", "provider": "telegram", "idempotencyKey": "p"}));
    assert_eq!(client.finish(&run)["ok"], true);
    // Folded before keys are compared: it is the same request.
    let again = client.outcome(&json!({"message": "hi", "channel": "telegram", "idempotencyKey": "p"}));
    assert_eq!(again["payload"]["runId"], run.id);
    let both = json!({"message": "hi", "channel": "telegram", "provider": "whatsapp", "idempotencyKey": "q"});
    assert_eq!(client.refused("agent", &both)["code"], "INVALID_REQUEST");
    let error = client.refused("set-channel", &json!({"provider": "telegram", "enabled": true}));
    assert_eq!(error["code"], "INVALID_REQUEST");
}

/// Requests for a run with something wrong in them, and the member that is.
fn bad_runs() -> Vec<(&'static str, Value, &'static str)> {
    let agent = |member: &str, value: Value| {
        let mut params = params_agent("hi", "k");
        params[member] = value;
        params
    };
    let image = json!({"type": "image", "mimeType": "image/png", "content": "aGk="});
    vec![
        ("agent", json!({"message": "x"}), "idempotencyKey"),
        ("agent", json!({"idempotencyKey": "k"}), "message"),
        ("agent", agent("thinking", json!("very")), "thinking"),
        ("agent", agent("thinking", json!(null)), "thinking"),
        ("agent", agent("timeout", json!(-5)), "timeout"),
        ("agent", agent("timeout", json!("5")), "timeout"),
        ("agent", agent("deliver", json!("yes")), "deliver"),
        ("agent", agent("sessionKey", json!("")), "sessionKey"),
        ("agent", agent("attachments", json!({})), "attachments"),
        ("agent", agent("attachments", json!([{"type": "video"}])), "attachments"),
        ("agent", agent("attachments", json!([image, image, image, image, image])), "attachments"),
    ]
}

/// The same for the other methods.
fn bad_params() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("health", json!({"probe": "yes"}), "probe"),
        ("health", json!({"probe": null}), "probe"),
        ("system-event", json!({}), "text"),
        ("system-event", json!({"text": 1}), "text"),
        ("system-event", json!({"text": "x", "lastInputSeconds": -1}), "lastInputSeconds"),
        ("system-event", json!({"text": "x", "tags": [1]}), "tags"),
        ("system-event", json!({"text": "x", "mode": null}), "mode"),
        ("send", json!({"to": "+1555", "message": "x"}), "idempotencyKey"),
        ("send", json!({"to": "+1555", "message": "x", "idempotencyKey": ""}), "idempotencyKey"),
        ("send", json!({"to": "+1555", "message": "x", "idempotencyKey": "k".repeat(257)}), "idempotencyKey"),
        ("send", json!({"message": "x", "idempotencyKey": "k"}), "to"),
        ("send", json!({"to": "+1555", "idempotencyKey": "k"}), "message"),
        ("send", json!({"to": "+1555", "message": "x", "channel": "fax", "idempotencyKey": "k"}), "channel"),
        ("agent-cancel", json!({}), "runId"),
        ("agent-cancel", json!({"runId": 5}), "runId"),
        ("sessions-list", json!({"limit": 0}), "limit"),
        ("sessions-list", json!({"limit": "all"}), "limit"),
        ("session-history", json!({}), "sessionKey"),
        ("session-history", json!({"sessionKey": "main", "limit": 201}), "limit"),
        ("session-history", json!({"sessionKey": "main", "before": 5}), "before"),
        ("session-reset", json!({}), "sessionKey"),
        ("session-forget", json!({"sessionKey": null}), "sessionKey"),
        ("set-heartbeats", json!({}), "enabled"),
        ("set-heartbeats", json!({"enabled": 1}), "enabled"),
        ("set-channel", json!({"channel": "telegram"}), "enabled"),
        ("set-channel", json!({"channel": "fax", "enabled": true}), "channel"),
        ("set-paused", json!({"paused": "true"}), "paused"),
        ("channel-allow", json!({"channel": "telegram"}), "id"),
        ("channel-allow", json!({"channel": "telegram", "id": "7", "owner": true, "remove": true}), "owner"),
        ("channel-login", json!({}), "channel"),
        ("channel-login", json!({"channel": "whatsapp", "method": "sms"}), "method"),
        ("channel-login", json!({"channel": "whatsapp", "method": "code"}), "phone"),
        ("channel-login", json!({"channel": "whatsapp", "method": "code", "phone": "0555"}), "phone"),
        ("channel-login", json!({"channel": "telegram"}), "telegram.botToken"),
        ("channel-logout", json!({}), "channel"),
        ("channel-logout", json!({"channel": "telegram"}), "telegram.botToken"),
    ]
}

#[test]
fn bad_params_are_refused_naming_the_member() {
    // With a token: what hands out rights looks at nothing without one.
    let gateway = Gateway::builder("bad-params").token("a-token-for-bad-params").agent_echo().spawn();
    let mut client = gateway.client();
    for (method, params, word) in bad_params().into_iter().chain(bad_runs()) {
        let error = client.refused(method, &params);
        let (code, text) = code_and_text(&error);
        assert_eq!(code, "INVALID_REQUEST", "{method} {params}: {error}");
        assert!(text.contains(word), "{method} {params}: {text:?} does not name `{word}`");
        assert_eq!(error["retryable"], false, "{error}");
    }
    for method in ["health", "status", "agent", "sessions-list"] {
        for params in [json!(null), json!([]), json!("x"), json!(1)] {
            let id = client.send(method, &params);
            let error = client.wait_for("a refusal", |frame| frame["type"] == "res");
            assert_eq!(error["error"]["code"], "INVALID_REQUEST", "{method} {params} ({id}): {error}");
        }
    }
}

#[test]
fn misspelt_options_are_refused_only_where_they_could_do_harm() {
    let gateway = Gateway::builder("unknown-members").agent_echo().spawn();
    let mut client = gateway.client();
    let version = client.hello["server"]["version"].as_str().unwrap().to_owned();
    for (method, params) in [
        ("agent", json!({"message": "x", "idempotencyKey": "k", "sesionKey": "typo"})),
        ("send", json!({"to": "+1555", "message": "x", "idempotencyKey": "k", "sesionKey": "typo"})),
        ("system-event", json!({"text": "x", "sesionKey": "typo"})),
        ("agent-cancel", json!({"runId": "x", "sesionKey": "typo"})),
        ("session-reset", json!({"sessionKey": "main", "sesionKey": "typo"})),
        ("session-forget", json!({"sessionKey": "main", "sesionKey": "typo"})),
        ("set-heartbeats", json!({"enabled": true, "sesionKey": "typo"})),
        ("set-channel", json!({"channel": "telegram", "enabled": true, "sesionKey": "typo"})),
        ("set-paused", json!({"paused": true, "sesionKey": "typo"})),
        ("channel-allow", json!({"channel": "telegram", "id": "7", "sesionKey": "typo"})),
        ("channel-login", json!({"channel": "whatsapp", "sesionKey": "typo"})),
        ("channel-logout", json!({"channel": "whatsapp", "sesionKey": "typo"})),
    ] {
        let error = client.refused(method, &params);
        let (code, text) = code_and_text(&error);
        assert_eq!(code, "INVALID_REQUEST", "{method}: {text}");
        assert!(text.contains("sesionKey") && text.contains(&version), "{method}: {text}");
    }
    assert_eq!(client.ask("status", &json!({}))["toggles"]["paused"], false);
    for (method, params) in [
        ("health", json!({"future": 1})),
        ("status", json!({"future": 1})),
        ("system-presence", json!({"future": 1})),
        ("sessions-list", json!({"future": {"x": []}})),
        ("session-history", json!({"sessionKey": "main", "future": 1})),
    ] {
        client.ask(method, &params);
    }
    // The envelope takes new members too.
    client.send_json(&json!({"type": "req", "id": "extra", "method": "health", "traceparent": "00-1"}));
    assert_eq!(client.answer("extra")["ok"], true);
}

#[test]
fn frames_that_are_no_requests_are_answered() {
    let gateway = Gateway::builder("no-requests").spawn();
    let rows = [
        (json!({}), "invalid"),
        (json!([1, 2]), "invalid"),
        (json!("health"), "invalid"),
        (json!(null), "invalid"),
        (json!(7), "invalid"),
        (json!({"type": "req", "id": "a", "method": 5}), "a"),
        (json!({"type": "req", "id": "b"}), "b"),
        (json!({"type": "req", "id": "", "method": "health"}), "invalid"),
        (json!({"type": "req", "id": 1, "method": "health"}), "invalid"),
        (json!({"type": "req", "id": null, "method": "health"}), "invalid"),
        (json!({"type": "req", "method": "health"}), "invalid"),
        (json!({"type": "req", "id": "x".repeat(129), "method": "health"}), "invalid"),
        (json!({"type": "request", "id": "c", "method": "health"}), "c"),
        (json!({"id": "d", "method": "health"}), "d"),
        (json!({"type": "event", "id": "e"}), "e"),
    ];
    assert!(rows.len() < INVALID_FRAMES_MAX);
    let mut client = gateway.client();
    for (frame, id) in rows {
        client.send_json(&frame);
        let answer = client.wait_for("an answer", |frame| frame["type"] == "res");
        assert_eq!(answer["id"], id, "{frame}: {answer}");
        assert_eq!(answer["error"]["code"], "INVALID_REQUEST", "{frame}: {answer}");
    }
    let longest = "ü".repeat(128);
    client.send_json(&json!({"type": "req", "id": longest, "method": "health"}));
    assert_eq!(client.answer(&longest)["ok"], true);
}

#[test]
fn error_texts_are_bounded_and_repeat_no_values() {
    let gateway = Gateway::builder("error-bounds").agent_echo().spawn();
    let mut client = gateway.client();
    let long = "L".repeat(100_000);
    let mut members = serde_json::Map::new();
    for number in 0..5_000 {
        members.insert(format!("member-{number}"), json!(1));
    }
    for (method, params) in [
        (long.as_str(), json!({})),
        ("agent", json!({"message": 5, "idempotencyKey": long})),
        ("agent", json!({"message": "x", "idempotencyKey": "k", "thinking": long})),
        ("agent", json!({"message": "x", "idempotencyKey": "k", long.as_str(): 1})),
        ("set-paused", Value::Object(members)),
        ("send", json!({"to": long, "message": "x", "idempotencyKey": "k"})),
        ("agent-cancel", json!({"runId": long})),
    ] {
        let id = client.send(method, &params);
        let answer = client.wait_for("a refusal", |frame| frame["type"] == "res");
        assert_eq!(answer["ok"], false, "{id}");
        let text = answer["error"]["message"].as_str().unwrap();
        assert!(text.len() <= ERROR_TEXT_BYTES_MAX, "{} bytes: {text}", text.len());
        assert!(answer.to_string().len() < 4 * ERROR_TEXT_BYTES_MAX);
    }
    let error = client.refused("agent", &json!({"message": {"password": "hunter2"}, "idempotencyKey": "k"}));
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn the_twenty_first_invalid_frame_in_ten_seconds_closes_with_1008() {
    let gateway = Gateway::builder("budget").spawn();
    let mut client = gateway.client();
    let mut other = gateway.client();
    for _ in 0..INVALID_FRAMES_MAX {
        client.send_json(&json!({"nonsense": true}));
        client.answer("invalid");
    }
    client.send_json(&json!({"nonsense": true}));
    client.closed_with(1008);
    other.ask("health", &json!({}));
    // Refused requests are none of those.
    for _ in 0..3 * INVALID_FRAMES_MAX {
        other.refused("no-such-method", &json!({}));
        other.refused("set-paused", &json!({}));
    }
}

/// A request of so many JSON values, for all that is in `params`.
fn with_values(count: usize, method: &str, params: &Value) -> Value {
    let mut frame = json!({"type": "req", "id": format!("{count}"), "method": method, "params": params});
    let filler = count - values(&frame) - 1;
    frame["params"]["x"] = json!(vec![0; filler]);
    assert_eq!(values(&frame), count);
    frame
}

#[test]
fn a_frame_of_more_values_than_there_may_be_is_answered_and_counts_as_invalid() {
    let gateway = Gateway::builder("values").agent_echo().spawn();
    let mut client = gateway.client();
    client.send_json(&with_values(JSON_VALUES_MAX, "health", &json!({})));
    assert_eq!(client.answer(&JSON_VALUES_MAX.to_string())["ok"], true);
    // Names of members are no values, however many there are.
    let maps = json!({"maps": vec![json!({"": 0}); JSON_VALUES_MAX / 2 - 10]});
    client.send_json(&with_values(JSON_VALUES_MAX, "sessions-list", &maps));
    assert_eq!(client.answer(&JSON_VALUES_MAX.to_string())["ok"], true);
    // Where the members matter it is another one that is named.
    client.send_json(&with_values(JSON_VALUES_MAX, "set-paused", &json!({"paused": true})));
    let error = client.answer(&JSON_VALUES_MAX.to_string())["error"].take();
    assert!(error["message"].as_str().unwrap().contains("`/params/x`"), "{error}");
    let too_many = JSON_VALUES_MAX + 1;
    for number in 0..INVALID_FRAMES_MAX {
        let method = ["health", "agent", "no-such-method"][number % 3];
        client.send_json(&with_values(too_many, method, &json!({})));
        let error = client.answer(&too_many.to_string())["error"].take();
        assert_eq!((&error["code"], &error["retryable"]), (&json!("INVALID_REQUEST"), &json!(false)));
        assert!(error["message"].as_str().unwrap().contains("20000 JSON values"), "{error}");
    }
    client.send_json(&with_values(too_many, "health", &json!({})));
    client.closed_with(1008);
}

#[test]
fn requests_may_be_pipelined() {
    let gateway = Gateway::builder("pipeline").spawn();
    let mut client = gateway.client();
    let methods = ["health", "status", "system-presence", "sessions-list", "no-such"];
    let ids: Vec<String> = (0..500).map(|number| client.send(methods[number % 5], &json!({}))).collect();
    for id in ids.iter().rev() {
        client.answer(id);
    }
    assert!(client.drain().iter().all(|frame| frame["type"] != "res"), "an answer too many");
}

#[test]
fn two_requests_with_one_id_are_both_answered() {
    let gateway = Gateway::builder("same-id").spawn();
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send_json(&json!({"type": "req", "id": "same", "method": "health"}));
    }
    client.answer("same");
    client.answer("same");
}
