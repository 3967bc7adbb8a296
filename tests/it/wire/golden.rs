//! Frames of every kind as they once were, and a conversation of an old client.
//!
//! A golden file holds what clients may rely on: what stands in it must stay, what is new may be
//! added. `CLAWDIS_GOLDEN=write` writes the files anew from what the daemon says today; a change
//! that takes something away is a breaking change of the protocol.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::harness::client::brief;
use crate::harness::{Client, Gateway, hello, params_agent, process};

/// Members whose values differ from run to run or from machine to machine.
const VOLATILE: [&str; 24] = [
    "ts",
    "updatedTs",
    "sinceTs",
    "lastTs",
    "uptimeMs",
    "pid",
    "connId",
    "runId",
    "instanceId",
    "sessionId",
    "host",
    "url",
    "version",
    "commit",
    "usedBytes",
    "freeBytes",
    "before",
    "toolCallId",
    "position",
    "seq",
    "restartExpectedMs",
    "id",
    "presence",
    "health",
];

/// Replaces what is volatile by its name, and sentences, which may be reworded, by that word.
fn normalise(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                if VOLATILE.contains(&name.as_str()) && (value.is_number() || value.is_string()) {
                    *value = if value.is_number() { json!(0) } else { json!(format!("<{name}>")) };
                }
                normalise(value);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(normalise),
        Value::String(text) if text.contains(' ') => *value = json!("<sentence>"),
        _ => {}
    }
}

/// Where `found` lacks something of `golden`, if anywhere.
fn missing(golden: &Value, found: &Value, place: &str) -> Option<String> {
    match (golden, found) {
        (Value::Object(golden), Value::Object(found)) => golden.iter().find_map(|(name, value)| {
            let place = format!("{place}/{name}");
            found.get(name).map_or(Some(place.clone()), |found| missing(value, found, &place))
        }),
        (Value::Array(golden), Value::Array(found)) if golden.iter().all(Value::is_string) => {
            let gone = golden.iter().find(|value| !found.contains(value));
            gone.map(|value| format!("{place}: {value}"))
        }
        (Value::Array(golden), Value::Array(found)) if golden.len() == found.len() => golden
            .iter()
            .zip(found)
            .enumerate()
            .find_map(|(at, (golden, found))| missing(golden, found, &format!("{place}/{at}"))),
        (golden, found) => (golden != found).then(|| format!("{place}: {golden} was {found}")),
    }
}

/// Holds a frame against its golden file.
fn compare(name: &str, mut frame: Value, failures: &mut Vec<String>) {
    if let Some(Value::Array(warnings)) = frame.pointer_mut("/payload/warnings") {
        // The others are about this machine.
        warnings.retain(|warning| warning["code"] == "no-token");
    }
    normalise(&mut frame);
    let path = process::repository("tests/golden").join(format!("{name}.json"));
    if std::env::var_os("CLAWDIS_GOLDEN").is_some_and(|mode| mode == "write") {
        fs::write(&path, serde_json::to_string_pretty(&frame).unwrap() + "\n").unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_else(|_| panic!("no golden file {}", path.display()));
    let golden: Value = serde_json::from_str(&golden).unwrap();
    if let Some(place) = missing(&golden, &frame, name) {
        failures.push(format!("{place}\n  in {}", brief(&frame.to_string())));
    }
}

/// One `agent` event of every stream and phase.
fn one_of_each(steps: Vec<Value>, into: &mut BTreeMap<String, Value>) {
    for step in steps {
        let phase =
            step["payload"]["data"]["phase"].as_str().map_or(String::new(), |phase| format!("-{phase}"));
        let stream = step["payload"]["stream"].as_str().unwrap();
        into.entry(format!("event-agent-{stream}{phase}")).or_insert(step);
    }
}

fn collect(gateway: &Gateway) -> BTreeMap<String, Value> {
    let mut frames = BTreeMap::new();
    let mut client = gateway.client_as("golden");
    frames.insert("hello-ok".to_owned(), client.hello.clone());
    let mut old = hello();
    old["minProtocol"] = json!(9);
    old["maxProtocol"] = json!(9);
    let refused = Client::try_connect(gateway.addr, &old).err().unwrap();
    frames.insert("hello-error".to_owned(), refused.frame.unwrap());

    let mut run = |message: &str, key: &str, frames: &mut BTreeMap<String, Value>| {
        let request = client.send("agent", &params_agent(message, key));
        let ack = client.answer(&request);
        let id = ack["payload"]["runId"].as_str().unwrap().to_owned();
        frames.entry("res-agent-accepted".to_owned()).or_insert(ack);
        let last = client.answer(&request);
        let steps = client.drain().into_iter().filter(|frame| frame["payload"]["runId"] == id.as_str());
        one_of_each(steps.filter(|frame| frame["event"] == "agent").collect(), frames);
        last
    };
    let last = run("[[think Hm.]] [[tool]] [[say Yes.]]", "1", &mut frames);
    frames.insert("res-agent-ok".to_owned(), last);
    let last = run("[[die 3]]", "2", &mut frames);
    frames.insert("res-agent-error".to_owned(), last);

    for (name, method, params) in [
        ("health", "health", json!({})),
        ("status", "status", json!({})),
        ("system-presence", "system-presence", json!({})),
        ("system-event", "system-event", json!({"text": "x", "reason": "golden"})),
        ("sessions-list", "sessions-list", json!({})),
        ("session-history", "session-history", json!({"sessionKey": "main"})),
        ("set-heartbeats", "set-heartbeats", json!({"enabled": true})),
        ("set-channel", "set-channel", json!({"channel": "telegram", "enabled": false})),
        ("set-paused", "set-paused", json!({"paused": true})),
        ("send-unavailable", "send", json!({"to": "+15550001111", "message": "x", "idempotencyKey": "s"})),
        ("session-reset", "session-reset", json!({"sessionKey": "main"})),
        ("session-forget", "session-forget", json!({"sessionKey": "main"})),
        ("unknown-method", "no-such-method", json!({})),
        ("invalid-request", "set-paused", json!({"paused": 1})),
        ("conflict", "agent", params_agent("other", "1")),
    ] {
        let id = client.send(method, &params);
        frames.insert(format!("res-{name}"), client.answer(&id));
    }
    let paused = |event: &Value| event["payload"]["health"]["paused"] == true;
    frames.insert("event-health".to_owned(), client.event("health", paused));
    frames.insert("event-tick".to_owned(), client.event("tick", |_| true));
    let visitor = gateway.client_as("visitor");
    let about = |event: &Value| event["payload"]["presence"][0]["instanceId"] == "visitor";
    frames.insert("event-presence".to_owned(), client.event("presence", about));
    drop(visitor);
    gateway.sigterm();
    frames.insert("event-shutdown".to_owned(), client.event("shutdown", |_| true));
    frames
}

#[test]
fn every_kind_of_frame_still_has_what_it_had() {
    let gateway = Gateway::builder("golden").agent_scripted().arg("--tick-interval-ms").arg("700").spawn();
    let frames = collect(&gateway);
    let mut failures = Vec::new();
    let count = frames.len();
    for (name, frame) in frames {
        compare(&name, frame, &mut failures);
    }
    assert!(failures.is_empty(), "the protocol lost something:\n{}", failures.join("\n"));
    let files = fs::read_dir(process::repository("tests/golden")).unwrap();
    let files =
        files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|ext| ext == "json"));
    assert_eq!(files.count(), count, "a golden file whose frame was not seen");
}

/// Each line is `{"send": frame}` or `{"expect": members}`; a text `$name` in what is expected
/// takes the value it meets, and stands for it from then on.
#[test]
fn an_old_protocol_1_client_still_works() {
    let gateway = Gateway::builder("transcript").agent_echo().spawn();
    let mut client = Client::upgrade(gateway.addr);
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    let transcript = fs::read_to_string(process::repository("tests/golden/protocol-1-client.jsonl")).unwrap();
    for line in transcript.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if let Some(frame) = line.get("send") {
            let mut frame = frame.clone();
            fill(&mut frame, &known);
            client.send_json(&frame);
            continue;
        }
        let mut expected = line["expect"].clone();
        fill(&mut expected, &known);
        let frame =
            client.wait_for(&expected.to_string(), |frame| learn(&expected, frame, &mut BTreeMap::new()));
        assert!(learn(&expected, &frame, &mut known));
    }
}

/// Puts known values in the places of their names.
fn fill(value: &mut Value, known: &BTreeMap<String, Value>) {
    match value {
        Value::Object(members) => members.values_mut().for_each(|value| fill(value, known)),
        Value::Array(values) => values.iter_mut().for_each(|value| fill(value, known)),
        Value::String(text) => {
            if let Some(found) = known.get(text) {
                *value = found.clone();
            }
        }
        _ => {}
    }
}

/// Whether `found` has all of `expected`; names learn what they meet.
fn learn(expected: &Value, found: &Value, known: &mut BTreeMap<String, Value>) -> bool {
    match (expected, found) {
        (Value::String(name), found) if name.starts_with('$') => {
            known.insert(name.clone(), found.clone());
            !found.is_null()
        }
        (Value::Object(expected), Value::Object(found)) => expected
            .iter()
            .all(|(name, value)| found.get(name).is_some_and(|found| learn(value, found, known))),
        (expected, found) => expected == found,
    }
}
