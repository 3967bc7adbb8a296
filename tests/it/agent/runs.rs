//! Runs of the agent, as clients see them.

use std::time::{Duration, Instant};

use clawdis_gateway::limits::{SUMMARY_BYTES_MAX, TOOL_BYTES_MAX};
use serde_json::{Value, json};

use crate::harness::client::text_of;
use crate::harness::{Gateway, PATIENCE, code_and_text, eventually, params_agent, process};

fn in_session(session: &str, message: &str) -> Value {
    json!({"message": message, "sessionKey": session, "idempotencyKey": format!("{session}: {message}")})
}

/// Numbers without gaps, one beginning, one end.
#[track_caller]
fn assert_whole(steps: &[Value]) {
    for (step, expected) in steps.iter().zip(1_u64..) {
        assert_eq!(step["seq"], expected, "{steps:#?}");
    }
    let phases: Vec<&str> = steps.iter().filter_map(|step| step["data"]["phase"].as_str()).collect();
    assert_eq!(phases.iter().filter(|phase| **phase == "started").count(), 1, "{phases:?}");
    assert_eq!(phases.iter().filter(|phase| **phase == "ended").count(), 1, "{phases:?}");
    assert_eq!(phases.last(), Some(&"ended"));
}

#[test]
fn the_demo_agent_streams_an_answer_and_shows_a_tool_call() {
    let gateway = Gateway::builder("echo").agent_echo().spawn();
    let mut client = gateway.client();
    let mut watcher = gateway.client_as("watcher");
    let run = client.run(&params_agent("Where is the blue bicycle?", "k"));
    let last = client.finish(&run);
    assert_eq!(last["ok"], true, "{last}");
    assert_eq!(last["payload"]["status"], "ok");
    let summary = last["payload"]["summary"].as_str().unwrap();
    assert!(summary.contains("Where is the blue bicycle?"), "{summary}");

    let steps = client.steps(&run.id);
    assert_whole(&steps);
    assert!(steps.iter().all(|step| step["sessionKey"] == "main"));
    assert!(steps.iter().filter(|step| step["stream"] == "assistant").count() > 1, "in pieces: {steps:#?}");
    assert!(text_of(&steps).contains("Where is the blue bicycle?"));
    let tool: Vec<&Value> =
        steps.iter().filter(|step| step["stream"] == "tool").map(|step| &step["data"]).collect();
    assert_eq!(tool.first().unwrap()["phase"], "start");
    assert_eq!(tool.last().unwrap()["phase"], "end");
    assert!(tool.iter().all(|step| step["toolCallId"] == tool[0]["toolCallId"]));
    let end = steps.last().unwrap();
    assert_eq!(end["data"]["status"], "ok");
    assert_eq!(watcher.steps(&run.id), steps, "everybody sees the same run");
}

#[test]
fn the_ack_comes_before_the_events_and_the_last_event_before_the_answer() {
    let gateway = Gateway::builder("order").agent_scripted().spawn();
    let mut client = gateway.client();
    let request = client.send("agent", &params_agent("[[flood 50 10]]", "k"));
    let mut order = Vec::new();
    while order.last() != Some(&"final") {
        let frame =
            client.wait_for("the next frame", |frame| frame["event"] == "agent" || frame["id"] == *request);
        order.push(match () {
            () if frame["payload"]["status"] == "accepted" => "ack",
            () if frame["type"] == "res" => "final",
            () if frame["payload"]["data"]["phase"] == "ended" => "ended",
            () => "step",
        });
    }
    assert_eq!(order.first(), Some(&"ack"), "{order:?}");
    assert_eq!(&order[order.len() - 2..], ["ended", "final"], "{order:?}");
    assert_eq!(order.iter().filter(|what| **what == "ack").count(), 1);
}

#[test]
fn pieces_add_up_to_the_summary() {
    let gateway = Gateway::builder("pieces").agent_scripted().spawn();
    let mut client = gateway.client();
    let run = client
        .run(&params_agent("Please [[think Hmm.]] [[say Line one, \u{1f980} and \u{2028} that.]]", "k"));
    let last = client.finish(&run);
    assert_eq!(last["payload"]["summary"], "Line one, \u{1f980} and \u{2028} that.");
    let steps = client.steps(&run.id);
    assert_whole(&steps);
    assert_eq!(text_of(&steps), "Line one, \u{1f980} and \u{2028} that.");
    let thought: String = steps
        .iter()
        .filter(|step| step["stream"] == "thinking")
        .filter_map(|step| step["data"]["delta"].as_str())
        .collect();
    assert_eq!(thought, "Hmm.");
    assert!(last["payload"].get("truncated").is_none());
}

#[test]
fn what_is_long_is_cut_and_says_so() {
    let gateway = Gateway::builder("long").agent_scripted().spawn();
    let mut client = gateway.client();
    let pieces = 4 * SUMMARY_BYTES_MAX / 1000;
    let run = client.run(&params_agent(&format!("[[flood {pieces} 1000]] [[tool-bytes 100000]]"), "k"));
    let last = client.finish(&run);
    assert_eq!(last["payload"]["truncated"], true);
    let summary = last["payload"]["summary"].as_str().unwrap();
    assert!(summary.len() <= SUMMARY_BYTES_MAX && summary.len() > SUMMARY_BYTES_MAX / 2, "{}", summary.len());
    // Every frame was within the limit (the client looks), and the pieces are all there.
    let steps = client.steps(&run.id);
    assert_whole(&steps);
    assert_eq!(text_of(&steps).len(), pieces * 1000);
    let end = steps.iter().find(|step| step["stream"] == "tool" && step["data"]["phase"] == "end").unwrap();
    assert_eq!(end["data"]["truncated"], true);
    assert!(end["data"]["result"].as_str().unwrap().len() <= TOOL_BYTES_MAX);
}

#[test]
fn a_run_can_be_cancelled_active_or_queued() {
    let gateway = Gateway::builder("cancel").agent_scripted().spawn();
    let mut client = gateway.client();
    let mut other = gateway.client();
    let active = client.run(&params_agent("[[hold a]]", "active"));
    client.step_says(&active.id, "holding a");
    let queued = client.run(&params_agent("[[say never]]", "queued"));
    let position =
        client.step(&queued.id, "its place in the queue", |step| step["data"]["phase"] == "queued");
    assert_eq!(position["payload"]["data"]["position"], 1);
    // Anybody may.
    for run in [&queued, &active] {
        let started = Instant::now();
        let answer = other.ask("agent-cancel", &json!({"runId": run.id}));
        assert_eq!(answer, json!({"runId": run.id, "status": "cancelled"}));
        let last = client.finish(run);
        assert_eq!((&last["ok"], &last["payload"]["status"]), (&json!(false), &json!("cancelled")), "{last}");
        assert_eq!(last["error"]["code"], "CANCELLED");
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        let steps = client.steps(&run.id);
        assert_eq!(steps.last().unwrap()["data"]["status"], "cancelled");
        // It is over now.
        assert_eq!(other.refused("agent-cancel", &json!({"runId": run.id}))["code"], "INVALID_REQUEST");
    }
    assert_eq!(other.refused("agent-cancel", &json!({"runId": "no-such-run"}))["code"], "INVALID_REQUEST");
    let page = client.ask("session-history", &json!({"sessionKey": "main"}));
    let messages = page["messages"].as_array().unwrap().iter();
    let notes: Vec<&Value> =
        messages.filter(|message| message["role"] == "note").map(|message| &message["text"]).collect();
    assert_eq!(notes, ["cancelled", "cancelled"]);
    assert_eq!(gateway.prompts().len(), 1);
    assert_eq!(client.outcome(&params_agent("[[say next]]", "next"))["payload"]["summary"], "next");
}

/// The agent listens to nothing; its lane must be free all the same.
#[test]
fn a_run_past_its_time_is_ended() {
    let gateway = Gateway::builder("timeout").agent_scripted().spawn();
    let mut client = gateway.client();
    let started = Instant::now();
    let params = json!({"message": "[[deaf]] [[hold a]]", "timeout": 1, "idempotencyKey": "k"});
    let run = client.run(&params);
    let last = client.finish(&run);
    assert_eq!((&last["ok"], &last["payload"]["status"]), (&json!(false), &json!("timeout")), "{last}");
    assert_eq!(last["error"]["code"], "AGENT_TIMEOUT");
    let taken = started.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(6)).contains(&taken), "{taken:?}");
    assert_eq!(client.steps(&run.id).last().unwrap()["data"]["status"], "timeout");
    let next = client.outcome(&params_agent("[[say free]] [[count]]", "next"));
    assert_eq!(next["payload"]["summary"], "freecount=1", "a new process");
}

#[test]
fn sessions_run_side_by_side_and_each_one_in_order() {
    let gateway =
        Gateway::builder("lanes").agent_scripted().config(json!({"agent": {"maxProcesses": 2}})).spawn();
    let mut client = gateway.client();
    let one = client.run(&in_session("one", "[[hold one]]"));
    let two = client.run(&in_session("two", "[[hold two]]"));
    client.step_says(&one.id, "holding one");
    client.step_says(&two.id, "holding two");
    let second = client.run(&in_session("one", "[[say second]]"));
    let third = client.run(&in_session("one", "[[say third]]"));
    gateway.release("two");
    assert_eq!(client.finish(&two)["ok"], true);
    // Session `one` is held up; the two behind it have not begun, and will share a prompt.
    assert_eq!(gateway.prompts().len(), 2);
    gateway.release("one");
    for run in [&one, &second, &third] {
        assert_eq!(client.finish(run)["ok"], true);
    }
    // What waited in one session may have been given to the agent together, but in order.
    let order = gateway.prompts().join("\n");
    let at = |needle: &str| order.find(needle).unwrap();
    assert!(
        at("[[hold one]]") < at("[[say second]]") && at("[[say second]]") < at("[[say third]]"),
        "{order}"
    );
}

#[test]
fn one_process_at_a_time_serves_all_sessions_in_turn() {
    let gateway = Gateway::builder("one-process").agent_scripted().spawn();
    let mut client = gateway.client();
    let one = client.run(&in_session("one", "[[hold one]]"));
    client.step_says(&one.id, "holding one");
    let two = client.run(&in_session("two", "[[say two]]"));
    client.step(&two.id, "its place in the queue", |step| step["data"]["phase"] == "queued");
    let health = client.ask("health", &json!({}));
    assert_eq!((&health["agent"]["active"], &health["agent"]["queued"]), (&json!(1), &json!(1)), "{health}");
    assert_eq!(health["agent"]["state"], "busy");
    gateway.release("one");
    assert_eq!(client.finish(&one)["ok"], true);
    assert_eq!(client.finish(&two)["payload"]["summary"], "two");
    eventually("an idle agent", PATIENCE, || {
        (client.ask("health", &json!({}))["agent"]["state"] == "idle").then_some(())
    });
}

#[test]
fn the_queue_is_bounded() {
    let gateway = Gateway::builder("queue").agent_scripted().config(json!({"agent": {"queue": 2}})).spawn();
    let mut client = gateway.client();
    let active = client.run(&params_agent("[[hold a]]", "active"));
    client.step_says(&active.id, "holding a");
    let waiting = [1, 2].map(|n| client.run(&params_agent(&format!("[[say {n}]]"), &format!("w{n}"))));
    let error = client.refused("agent", &params_agent("[[say 3]]", "w3"));
    assert_eq!(error["code"], "RATE_LIMITED", "{error}");
    assert_eq!(error["retryable"], true);
    assert!(error["retryAfterMs"].as_u64().unwrap() > 0);
    gateway.release("a");
    for run in waiting.iter().chain([&active]) {
        assert_eq!(client.finish(run)["ok"], true);
    }
    // The refusal left its key free, even for something else.
    let again = client.outcome(&params_agent("[[say something else]]", "w3"));
    assert_eq!(again["payload"]["summary"], "something else");
}

#[test]
fn a_run_goes_on_when_its_client_vanishes() {
    let gateway = Gateway::builder("vanish").agent_scripted().spawn();
    let mut watcher = gateway.client();
    let mut client = gateway.client_as("gone");
    let run = client.run(&params_agent("[[hold a]] [[say done all the same]]", "k"));
    watcher.step_says(&run.id, "holding a");
    client.stream().shutdown(std::net::Shutdown::Both).unwrap();
    drop(client);
    watcher.event("presence", |event| event["payload"]["presence"].to_string().contains("disconnect"));
    gateway.release("a");
    let steps = watcher.steps(&run.id);
    assert_eq!(steps.last().unwrap()["data"]["status"], "ok");
    // Who comes back with the key gets the outcome.
    let last = watcher.outcome(&params_agent("[[hold a]] [[say done all the same]]", "k"));
    assert_eq!(last["payload"]["runId"], run.id);
    assert!(last["payload"]["summary"].as_str().unwrap().ends_with("done all the same"));
    assert_eq!(gateway.prompts().len(), 1);
}

#[test]
fn pictures_and_thinking_reach_the_agent() {
    let gateway = Gateway::builder("pictures").agent_scripted().spawn();
    let mut client = gateway.client();
    let picture =
        json!({"type": "image", "mimeType": "image/png", "name": "dot.png", "content": "iVBORw0KGgo="});
    let mut params = params_agent("[[images]] [[argv]]", "k");
    params["attachments"] = json!([picture, picture]);
    params["thinking"] = json!("high");
    let summary = client.outcome(&params)["payload"]["summary"].to_string();
    assert!(summary.contains("images=2"), "{summary}");
    assert!(summary.contains("--thinking") && summary.contains("high"), "{summary}");
    for flag in ["--mode", "rpc", "--session", "--no-extensions", "--no-skills", "--no-prompt-templates"] {
        assert!(summary.contains(flag), "{flag}: {summary}");
    }
    let mut params = params_agent("[[images]]", "bad");
    params["attachments"] = json!([{"type": "image", "mimeType": "image/png", "content": "not base64!"}]);
    assert_eq!(client.refused("agent", &params)["code"], "INVALID_REQUEST");
}

#[test]
fn delivering_nowhere_is_refused_before_any_ack() {
    let gateway = Gateway::builder("deliver").agent_scripted().spawn();
    let mut client = gateway.client();
    let mut params = params_agent("[[say x]]", "k");
    params["deliver"] = json!(true);
    let error = client.refused("agent", &params);
    assert_eq!(error["code"], "INVALID_REQUEST", "{error}");
    params["channel"] = json!("telegram");
    params["to"] = json!("123");
    let error = client.refused("agent", &params);
    assert_eq!(error["code"], "UNAVAILABLE", "{error}");
    assert_eq!(gateway.prompts(), Vec::<String>::new());
    assert_eq!(client.outcome(&params_agent("[[say free]]", "k"))["payload"]["summary"], "free");
}

#[test]
fn a_session_id_must_be_the_current_one() {
    let gateway = Gateway::builder("session-id").agent_scripted().spawn();
    let mut client = gateway.client();
    client.outcome(&params_agent("[[say x]]", "1"));
    let sessions = client.ask("sessions-list", &json!({}));
    let id = sessions["sessions"][0]["sessionId"].clone();
    let mut params = params_agent("[[say y]]", "2");
    params["sessionId"] = json!("of another conversation");
    assert_eq!(client.refused("agent", &params)["code"], "CONFLICT");
    params["sessionId"] = id.clone();
    assert_eq!(client.outcome(&params)["ok"], true);
    client.ask("session-reset", &json!({"sessionKey": "main"}));
    let mut params = params_agent("[[say z]]", "3");
    params["sessionId"] = id;
    assert_eq!(client.refused("agent", &params)["code"], "CONFLICT");
}

#[test]
fn an_agent_that_dies_says_why_and_the_next_run_has_a_new_one() {
    let gateway = Gateway::builder("dies").agent_scripted().spawn();
    let mut client = gateway.client();
    let last = client.outcome(&params_agent("[[die 7]]", "1"));
    assert_eq!((&last["ok"], &last["payload"]["status"]), (&json!(false), &json!("error")), "{last}");
    let (code, text) = code_and_text(&last["error"]);
    assert_eq!(code, "UNAVAILABLE");
    assert!(text.contains("told to die"), "{text}");
    assert_eq!(client.outcome(&params_agent("[[say alive]]", "2"))["payload"]["summary"], "alive");
    // One that loses its protocol is no agent any more; the line is shown.
    let last = client.outcome(&params_agent("[[garbage]] [[hold a]]", "3"));
    assert_eq!(last["error"]["code"], "UNAVAILABLE", "{last}");
    assert!(last["error"]["message"].as_str().unwrap().contains("this line is no JSON"), "{last}");
    assert_eq!(client.outcome(&params_agent("[[say alive]]", "4"))["payload"]["summary"], "alive");
}

#[test]
fn an_agent_that_cannot_be_started_is_reported() {
    let gateway =
        Gateway::builder("no-program").arg("--agent").arg(r#"["/nonexistent/agent","--flag"]"#).spawn();
    let mut client = gateway.client();
    let last = client.outcome(&params_agent("x", "k"));
    assert_eq!(last["error"]["code"], "UNAVAILABLE", "{last}");
    let text = last["error"]["message"].as_str().unwrap();
    assert!(text.contains("/nonexistent/agent"), "{text}");
    let health = eventually("health to say so", PATIENCE, || {
        let health = client.ask("health", &json!({}));
        (health["agent"]["state"] == "failing").then_some(health)
    });
    assert_eq!(health["ok"], false, "{health}");
    assert!(health["agent"]["reason"].as_str().unwrap().contains("/nonexistent/agent"), "{health}");
    assert_eq!(crate::harness::http::request(gateway.addr, "GET", "/readyz", "").status, 503);
}

#[test]
fn a_process_is_kept_warm_and_ended_when_nobody_needs_it() {
    let gateway =
        Gateway::builder("warm").agent_scripted().config(json!({"agent": {"warmSeconds": 1}})).spawn();
    let mut client = gateway.client();
    assert_eq!(client.outcome(&params_agent("[[count]]", "1"))["payload"]["summary"], "count=1");
    assert_eq!(client.outcome(&params_agent("[[count]]", "2"))["payload"]["summary"], "count=2");
    let probe = format!("PROBE_DIR={}", gateway.probe().display());
    eventually("the idle process to be gone", PATIENCE, || {
        process::with_environment(&probe).is_empty().then_some(())
    });
    assert_eq!(client.outcome(&params_agent("[[count]]", "3"))["payload"]["summary"], "count=1");
}

/// Text that would mean something on a command line or to a template engine is only text here.
#[test]
fn prompts_are_plain_text() {
    let gateway = Gateway::builder("plain-text").agent_scripted().spawn();
    let mut client = gateway.client();
    for (number, text) in
        ["null", "--help", "@/etc/passwd", "/skill:x", "!ls", "\"}\n{\"type\":\"abort\"}"].iter().enumerate()
    {
        let last = client.outcome(&params_agent(text, &number.to_string()));
        assert_eq!(last["ok"], true, "{text}: {last}");
        let prompt = &gateway.prompts()[number];
        assert!(prompt.contains(text), "{prompt}");
        assert!(!prompt.starts_with('/'), "{prompt}");
    }
}
