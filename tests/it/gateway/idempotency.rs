//! Keys: the same request twice acts once.

use clawdis_gateway::limits::{
    KEY_JOINERS_MAX, KEY_SHARES, KEYS_BYTES_MAX, KEYS_MAX, SESSIONS_MAX, SUMMARY_BYTES_MAX,
};
use serde_json::{Value, json};

use crate::harness::{Client, Gateway, params_agent};

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

/// No run of these costs a budget.
fn many_runs(name: &str) -> Gateway {
    Gateway::builder(name)
        .agent_scripted()
        .config(json!({"agent": {"dailyRuns": 100_000, "dailyRunsPerPerson": 100_000}}))
        .spawn()
}

/// Uses up so many keys.
fn use_up(client: &mut Client, name: &str, count: usize) {
    for number in 0..count {
        let last = client.outcome(&params_agent("[[say x]]", &format!("{name}-{number}")));
        assert_eq!(last["ok"], true, "{name} {number}: {last}");
        client.drain();
    }
}

#[track_caller]
fn waits(client: &mut Client, params: &Value, word: &str) {
    let error = client.refused("agent", params);
    assert_eq!(error["code"], "RATE_LIMITED", "{error}");
    assert!(error["message"].as_str().unwrap().contains(word), "{error}");
    assert!(error["retryAfterMs"].as_u64().is_some_and(|wait| wait > 0 && wait <= 5 * 60_000), "{error}");
}

#[test]
fn one_client_gets_half_of_the_keys_and_the_thousand_and_first_key_waits() {
    let gateway = many_runs("keys-max");
    let mut greedy = gateway.client_as("greedy");
    use_up(&mut greedy, "greedy", KEYS_MAX / KEY_SHARES);
    waits(&mut greedy, &params_agent("[[say x]]", "one too many"), "half");
    // Another connection of the same installation is the same client.
    waits(&mut gateway.client_as("greedy"), &params_agent("[[say x]]", "one too many"), "half");
    let mut other = gateway.client_as("other");
    use_up(&mut other, "other", KEYS_MAX / KEY_SHARES);
    let mut third = gateway.client_as("third");
    waits(&mut third, &params_agent("[[say x]]", "one too many"), "in use");
    // The old ones still answer, and what the gateway itself is told is done.
    assert_eq!(third.outcome(&params_agent("[[say x]]", "greedy-0"))["ok"], true);
    let help = params_agent("/help", "help");
    for (client, params) in [(&mut third, params_agent("/stop", "stop")), (&mut greedy, help.clone())] {
        assert_eq!(client.outcome(&params)["payload"]["status"], "ok");
    }
    // Once.
    let again = third.outcome(&help);
    assert_eq!(
        again,
        json!({"type": "res", "id": again["id"], "ok": true, "payload": third.outcome(&help)["payload"]})
    );
    assert_eq!(third.refused("agent", &params_agent("/status", "help"))["code"], "CONFLICT");
}

/// A person is somebody whose session it is, whichever clients speak for them.
#[test]
fn one_person_gets_half_of_the_keys_through_however_many_clients() {
    let gateway = many_runs("keys-person");
    let theirs = |key: &str| {
        let mut params = params_agent("[[say x]]", key);
        params["sessionKey"] = json!("dm:telegram:7");
        params
    };
    for client in 0..5 {
        let mut client = gateway.client_as(&format!("bridge-{client}"));
        for number in 0..KEYS_MAX / KEY_SHARES / 5 {
            let name = client.conn_id().to_owned();
            assert_eq!(client.outcome(&theirs(&format!("{name}-{number}")))["ok"], true);
            client.drain();
        }
    }
    let mut client = gateway.client_as("bridge-6");
    waits(&mut client, &theirs("one too many"), "half");
    assert_eq!(client.outcome(&params_agent("[[say mine]]", "the owner's"))["ok"], true);
}

#[test]
fn lines_for_the_gateway_take_no_keys_and_begin_no_sessions() {
    let gateway = Gateway::builder("directives-flood").agent_scripted().spawn();
    let mut client = gateway.client();
    client.expects_holes();
    let lines = ["/help", "/status", "/stop", "/new", "/resume", "/think hard"];
    let ids: Vec<String> = (0..KEYS_MAX + 100)
        .map(|number| {
            let mut params = params_agent(lines[number % lines.len()], &format!("line-{number}"));
            params["sessionKey"] = json!(format!("fresh-{number}"));
            let id = client.send("agent", &params);
            // Fewer at a time than the store takes.
            if number % 50 == 49 {
                let mark = client.send("health", &json!({}));
                client.answer(&mark);
            }
            id
        })
        .collect();
    let mut first = None;
    for id in &ids {
        let ack = client.answer(id);
        assert_eq!(ack["payload"]["status"], "accepted", "{ack}");
        let mut last = client.answer(id);
        assert_eq!(last["payload"]["status"], "ok");
        first.get_or_insert(last["payload"].take());
    }
    // None of them made another be forgotten.
    let mut again = params_agent(lines[0], "line-0");
    again["sessionKey"] = json!("fresh-0");
    assert_eq!(client.outcome(&again)["payload"], first.unwrap());
    assert_eq!(client.ask("sessions-list", &json!({}))["sessions"], json!([]));
    let files = std::fs::read_dir(gateway.state_dir().join("sessions")).unwrap().count();
    assert_eq!(files, 0, "files of sessions");
    // The first real message begins one, with what it asks and what it is told.
    let mut params = params_agent("[[say hello]]", "real");
    params["sessionKey"] = json!("fresh-0");
    assert_eq!(client.outcome(&params)["payload"]["summary"], "hello");
    let page = client.ask("session-history", &json!({"sessionKey": "fresh-0"}));
    assert_eq!(page["messages"].as_array().unwrap().len(), 2, "{page}");
    // From then on such lines are said there.
    params["message"] = json!("/help");
    params["idempotencyKey"] = json!("help there");
    client.outcome(&params);
    let page = client.ask("session-history", &json!({"sessionKey": "fresh-0"}));
    assert_eq!(page["messages"].as_array().unwrap().len(), 4, "{page}");
}

/// A level that is chosen before the first message is kept for it, so it begins the session.
#[test]
fn beyond_their_bound_no_session_begins_and_none_is_lost() {
    let gateway = Gateway::builder("sessions-max").agent_scripted().spawn();
    let mut client = gateway.client();
    client.expects_holes();
    let in_session = |message: &str, number: usize| {
        let mut params = params_agent(message, &format!("{message} {number}"));
        params["sessionKey"] = json!(format!("s{number}"));
        params
    };
    for number in 0..SESSIONS_MAX {
        let last = client.outcome(&in_session("/think low", number));
        assert_eq!(last["ok"], true, "{number}: {last}");
        if number % 100 == 0 {
            client.drain();
        }
    }
    for message in ["[[say one too many]]", "/think low"] {
        let error = client.refused("agent", &in_session(message, SESSIONS_MAX));
        assert_eq!((&error["code"], &error["retryable"]), (&json!("UNAVAILABLE"), &json!(false)), "{error}");
        assert!(error["message"].as_str().unwrap().contains("forget"), "{error}");
    }
    for number in [0, SESSIONS_MAX - 1] {
        assert_eq!(client.outcome(&in_session("[[say here]]", number))["payload"]["summary"], "here");
    }
    assert_eq!(client.outcome(&params_agent("[[say main]]", "main"))["payload"]["summary"], "main");
    assert_eq!(client.ask("status", &json!({}))["sessions"], SESSIONS_MAX + 1);
    // Whoever makes room has it.
    client.ask("session-forget", &json!({"sessionKey": "s7"}));
    client.ask("session-forget", &json!({"sessionKey": "s8"}));
    assert_eq!(client.outcome(&in_session("[[say room]]", SESSIONS_MAX))["payload"]["summary"], "room");
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

/// The bound on stored answers counts bytes too, and so do the shares in it.
#[test]
fn large_answers_use_up_the_keys_sooner() {
    let gateway = Gateway::builder("keys-bytes").agent_scripted().spawn();
    let answers = KEYS_BYTES_MAX / SUMMARY_BYTES_MAX;
    for (name, expected) in [("one", answers / KEY_SHARES), ("other", answers / KEY_SHARES), ("third", 0)] {
        let mut client = gateway.client_as(name);
        let refused = (0..answers).find(|number| {
            let pieces = SUMMARY_BYTES_MAX / 8_192;
            let message = format!("[[flood {pieces} 8192]]");
            let last = client.outcome(&params_agent(&message, &format!("{name}-{number}")));
            client.drain();
            last["error"]["code"] == "RATE_LIMITED"
        });
        assert_eq!(refused, Some(expected), "{name}");
    }
}
