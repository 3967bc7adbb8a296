//! Keys: the same request twice acts once.

use clawdis_gateway::limits::{KEY_JOINERS_MAX, KEYS_MAX, SUMMARY_BYTES_MAX};
use serde_json::{Value, json};

use crate::harness::{Gateway, params_agent};

#[test]
fn a_second_caller_joins_a_run_in_flight() {
    let gateway = Gateway::builder("join").agent_scripted().spawn();
    let mut first = gateway.client();
    let mut second = gateway.client();
    let run = first.run(&params_agent("[[hold a]] [[say once]]", "k"));
    first.step_says(&run.id, "holding a");
    // The order of members does not matter.
    let joined = second.run(&json!({"idempotencyKey": "k", "message": "[[hold a]] [[say once]]"}));
    assert_eq!(joined.id, run.id);
    // The same connection may join itself.
    let twice = first.run(&params_agent("[[hold a]] [[say once]]", "k"));
    assert_eq!(twice.id, run.id);
    gateway.release("a");
    let answers = [first.finish(&run), first.finish(&twice), second.finish(&joined)];
    for answer in &answers {
        assert_eq!(answer["payload"], answers[0]["payload"]);
        assert_eq!(answer["ok"], true);
    }
    assert_eq!(gateway.prompts().len(), 1);
}

#[test]
fn an_ended_run_answers_from_its_record() {
    let gateway = Gateway::builder("stored").agent_scripted().spawn();
    let mut client = gateway.client();
    for (message, key) in [("[[say done]]", "good"), ("[[die 3]]", "bad")] {
        let last = client.outcome(&params_agent(message, key));
        let again = gateway.client().outcome(&params_agent(message, key));
        assert_eq!(again["payload"], last["payload"]);
        assert_eq!(again["ok"], last["ok"]);
        assert_eq!(again["error"]["code"], last["error"]["code"]);
    }
    assert_eq!(gateway.prompts().len(), 2);
}

#[test]
fn other_params_under_a_used_key_conflict() {
    let gateway = Gateway::builder("conflict").agent_scripted().spawn();
    let mut client = gateway.client();
    let run = client.run(&params_agent("[[hold a]]", "k"));
    for other in [
        params_agent("[[say other]]", "k"),
        json!({"message": "[[hold a]]", "sessionKey": "other", "idempotencyKey": "k"}),
        json!({"message": "[[hold a]]", "timeout": 5, "idempotencyKey": "k"}),
    ] {
        let error = client.refused("agent", &other);
        assert_eq!(error["code"], "CONFLICT", "{other}: {error}");
        assert_eq!(error["retryable"], false);
    }
    gateway.release("a");
    client.finish(&run);
    assert_eq!(client.refused("agent", &params_agent("[[say other]]", "k"))["code"], "CONFLICT");
    // Each method has a namespace of its own.
    let send = json!({"to": "+15550001111", "message": "x", "idempotencyKey": "k"});
    assert_eq!(client.refused("send", &send)["code"], "UNAVAILABLE");
}

#[test]
fn keys_survive_a_restart() {
    let gateway = Gateway::builder("keys-restart").agent_scripted().spawn();
    let params = params_agent("[[say kept]]", "k");
    let last = gateway.client().outcome(&params);
    let gateway = gateway.restart();
    let mut client = gateway.client();
    assert_eq!(client.outcome(&params)["payload"], last["payload"]);
    assert_eq!(client.refused("agent", &params_agent("[[say other]]", "k"))["code"], "CONFLICT");
    assert_eq!(gateway.prompts().len(), 1);
}

#[test]
fn a_key_acted_on_before_a_crash_is_not_acted_on_again() {
    let mut gateway = Gateway::builder("keys-crash").agent_scripted().spawn();
    let done = params_agent("[[say done]]", "done");
    let held = params_agent("[[hold a]]", "held");
    let queued = params_agent("[[say queued]]", "queued");
    let outcome: Value;
    {
        let mut client = gateway.client();
        outcome = client.outcome(&done);
        let run = client.run(&held);
        client.step_says(&run.id, "holding a");
        client.run(&queued);
        gateway.sigkill();
    }
    let gateway = gateway.setup().spawn();
    let mut client = gateway.client();
    assert_eq!(client.outcome(&done)["payload"], outcome["payload"], "stored");
    let error = client.refused("agent", &held);
    assert_eq!(error["code"], "UNAVAILABLE", "{error}");
    assert_eq!(error["details"]["outcome"], "unknown", "{error}");
    // What was accepted and had not begun is either run now or reported as uncertain; the key
    // never starts it a second time.
    let last = client.outcome(&queued);
    assert!(
        last["payload"]["summary"] == "queued" || last["error"]["details"]["outcome"] == "unknown",
        "{last}"
    );
    let count = |needle: &str| gateway.prompts().iter().filter(|prompt| prompt.contains(needle)).count();
    assert_eq!(count("[[say done]]"), 1);
    assert_eq!(count("[[hold a]]"), 1);
    assert!(count("[[say queued]]") <= 1);
    // Another key is another matter.
    assert_eq!(client.outcome(&params_agent("[[say new]]", "new"))["payload"]["summary"], "new");
}

/// Kills at many moments around the ack: what was acked is never lost from the record and never
/// runs twice.
#[test]
fn an_acked_run_is_on_record_whenever_the_power_goes() {
    let mut setup = Gateway::builder("keys-moments").agent_scripted();
    for round in 0..6 {
        let mut gateway = setup.clone().spawn();
        let mut client = gateway.client();
        let params = params_agent(&format!("[[say round {round}]]"), &format!("round-{round}"));
        if round % 2 == 0 {
            client.run(&params);
        } else {
            client.send("agent", &params);
        }
        gateway.sigkill();
        setup = gateway.setup();
        drop(gateway);
        let gateway = setup.clone().spawn();
        let mut client = gateway.client();
        let last = client.outcome(&params);
        if round % 2 == 0 {
            let known = last["ok"] == true || last["error"]["details"]["outcome"] == "unknown";
            assert!(known, "round {round}: {last}");
        }
        let runs =
            gateway.prompts().iter().filter(|prompt| prompt.contains(&format!("round {round}]"))).count();
        assert!(runs <= 1, "round {round} ran {runs} times");
    }
}

#[test]
fn the_thousand_and_first_key_waits() {
    let gateway = Gateway::builder("keys-max")
        .agent_scripted()
        .config(json!({"agent": {"dailyRuns": 100_000, "dailyRunsPerPerson": 100_000}}))
        .spawn();
    let mut client = gateway.client();
    for number in 0..KEYS_MAX {
        let params = params_agent("[[say x]]", &format!("key-{number}"));
        let last = client.outcome(&params);
        assert_eq!(last["ok"], true, "{number}: {last}");
        client.drain();
    }
    let error = client.refused("agent", &params_agent("[[say x]]", "one too many"));
    assert_eq!(error["code"], "RATE_LIMITED", "{error}");
    assert!(error["retryAfterMs"].as_u64().is_some_and(|wait| wait > 0 && wait <= 5 * 60_000), "{error}");
    // The old ones still answer.
    assert_eq!(client.outcome(&params_agent("[[say x]]", "key-0"))["ok"], true);
}

#[test]
fn callers_that_wait_for_one_key_are_bounded() {
    let gateway = Gateway::builder("joiners").agent_scripted().spawn();
    let mut client = gateway.client();
    let params = params_agent("[[hold a]] [[say done]]", "k");
    let mut waiting: Vec<String> = (0..KEY_JOINERS_MAX).map(|_| client.send("agent", &params)).collect();
    for id in &waiting {
        assert_eq!(client.answer(id)["payload"]["status"], "accepted");
    }
    let error = client.refused("agent", &params);
    assert_eq!(error["code"], "RATE_LIMITED", "{error}");
    gateway.release("a");
    for id in waiting.drain(..) {
        assert_eq!(client.answer(&id)["payload"]["status"], "ok");
    }
    assert_eq!(gateway.prompts().len(), 1);
}

/// The bound on stored answers counts bytes too.
#[test]
fn large_answers_use_up_the_keys_sooner() {
    let gateway = Gateway::builder("keys-bytes").agent_scripted().spawn();
    let mut client = gateway.client();
    let refused = (0..100).find(|number| {
        let pieces = SUMMARY_BYTES_MAX / 8_192;
        let id = client
            .send("agent", &params_agent(&format!("[[flood {pieces} 8192]]"), &format!("key-{number}")));
        let mut answer = client.answer(&id);
        if answer["payload"]["status"] == "accepted" {
            answer = client.answer(&id);
        }
        client.drain();
        answer["error"]["code"] == "RATE_LIMITED"
    });
    let number = refused.expect("16 MiB of answers is the most that is stored");
    assert!((50..70).contains(&number), "refused at {number}");
}
