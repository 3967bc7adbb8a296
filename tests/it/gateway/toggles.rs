//! The three toggles.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Gateway, params_agent, process};

#[test]
fn toggles_answer_the_new_state_and_survive_a_restart() {
    let gateway = Gateway::builder("toggles").agent_echo().spawn();
    let mut client = gateway.client();
    assert_eq!(client.ask("set-heartbeats", &json!({"enabled": true})), json!({"enabled": true}));
    for channel in ["telegram", "whatsapp"] {
        let off = json!({"channel": channel, "enabled": false});
        assert_eq!(client.ask("set-channel", &off), off, "also where it is not set up");
    }
    assert_eq!(client.ask("set-paused", &json!({"paused": true})), json!({"paused": true}));
    let expected =
        json!({"heartbeats": true, "paused": true, "channels": {"telegram": false, "whatsapp": false}});
    assert_eq!(client.ask("status", &json!({}))["toggles"], expected);

    let gateway = gateway.restart();
    let mut client = gateway.client();
    assert_eq!(client.ask("status", &json!({}))["toggles"], expected);
    assert_eq!(client.hello["snapshot"]["health"]["paused"], true);
    assert_eq!(client.hello["snapshot"]["health"]["channels"]["telegram"]["enabled"], false);
    let error = client.refused("agent", &params_agent("hi", "k"));
    assert_eq!(error["code"], "UNAVAILABLE", "{error}");
    assert!(error["message"].as_str().unwrap().contains("paused"), "{error}");
    client.ask("set-paused", &json!({"paused": false}));
    let run = client.run(&params_agent("hi", "k"));
    assert_eq!(client.finish(&run)["ok"], true);
}

#[test]
fn a_channel_that_is_not_set_up_is_not_switched_on() {
    let gateway = Gateway::builder("toggle-unset").spawn();
    let mut client = gateway.client();
    for (channel, remedy) in [("telegram", "telegram.botTokenFile"), ("whatsapp", "whatsapp.enabled")] {
        let error = client.refused("set-channel", &json!({"channel": channel, "enabled": true}));
        assert_eq!((&error["code"], &error["retryable"]), (&json!("UNAVAILABLE"), &json!(false)), "{error}");
        assert!(error["message"].as_str().unwrap().contains(remedy), "{error}");
    }
    let status = client.ask("status", &json!({}));
    assert_eq!(status["toggles"]["channels"], json!({}));
    assert_eq!(status["health"]["channels"]["telegram"]["enabled"], false);
}

#[test]
fn a_toggle_is_durable_before_it_is_answered() {
    let mut gateway = Gateway::builder("toggle-kill").spawn();
    let mut client = gateway.client();
    client.ask("set-paused", &json!({"paused": true}));
    gateway.sigkill();
    let gateway = gateway.setup().spawn();
    assert_eq!(gateway.client().ask("status", &json!({}))["toggles"]["paused"], true);
}

#[test]
fn toggling_twice_is_toggling_once() {
    let gateway = Gateway::builder("toggle-twice").spawn();
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.ask("set-paused", &json!({"paused": true})), json!({"paused": true}));
    }
    for _ in 0..3 {
        assert_eq!(client.ask("set-paused", &json!({"paused": false})), json!({"paused": false}));
    }
}

/// With an agent that listens neither to `abort` nor to SIGTERM.
#[test]
fn pausing_ends_what_runs_within_three_seconds_and_lets_nothing_start() {
    let gateway = Gateway::builder("pause").agent_scripted().spawn();
    let mut client = gateway.client();
    let mut watcher = gateway.client();
    let active = client.run(&params_agent("[[deaf]] [[hold a]]", "active"));
    client.step_says(&active.id, "holding a");
    let queued =
        client.run(&json!({"message": "[[say queued]]", "sessionKey": "other", "idempotencyKey": "queued"}));
    let started = Instant::now();
    watcher.ask("set-paused", &json!({"paused": true}));
    for run in [&active, &queued] {
        let last = client.finish(run);
        assert_eq!(last["payload"]["status"], "cancelled", "{last}");
        assert_eq!(last["error"]["code"], "CANCELLED", "{last}");
    }
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(gateway.prompts().len(), 1, "the queued run never began");
    let event = watcher.event("health", |event| event["payload"]["health"]["paused"] == true);
    assert!(event["stateVersion"]["health"].is_u64(), "{event}");
    let probe = format!("PROBE_DIR={}", gateway.probe().display());
    crate::harness::eventually("the agent's processes to be gone", Duration::from_secs(3), || {
        process::with_environment(&probe).is_empty().then_some(())
    });
    assert_eq!(client.refused("agent", &params_agent("x", "while"))["code"], "UNAVAILABLE");

    client.ask("set-paused", &json!({"paused": false}));
    let run = client.run(&params_agent("[[say again]]", "after"));
    assert_eq!(client.finish(&run)["payload"]["summary"], "again");
}
