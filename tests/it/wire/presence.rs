//! Who is here, told as changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Shutdown;
use std::time::Duration;

use clawdis_gateway::limits::PRESENCE_MAX;
use serde_json::{Value, json};

use crate::harness::{Client, Gateway, PATIENCE, eventually, params_agent};

fn listed(client: &mut Client) -> BTreeMap<String, Value> {
    let entries = client.ask("system-presence", &json!({}));
    let entries = entries.as_array().unwrap().iter();
    entries.map(|entry| (entry["instanceId"].as_str().unwrap().to_owned(), entry.clone())).collect()
}

/// The next `presence` event about this instance, and its entry.
#[track_caller]
fn change(client: &mut Client, instance: &str, reason: &str) -> (Value, Value) {
    let about = |event: &Value| {
        let mut entries = event["payload"]["presence"].as_array().unwrap().iter();
        entries.rfind(|entry| entry["instanceId"] == instance && entry["reason"] == reason).cloned()
    };
    let event = client.event("presence", |event| about(event).is_some());
    let entry = about(&event).unwrap();
    (event, entry)
}

#[test]
fn coming_and_going_is_told_to_the_others() {
    let gateway = Gateway::builder("come-and-go").spawn();
    let mut watcher = gateway.client();
    let version = watcher.hello["snapshot"]["stateVersion"]["presence"].as_u64().unwrap();
    let visitor = gateway.client_as("visitor");
    let (event, entry) = change(&mut watcher, "visitor", "connect");
    assert!(event["stateVersion"]["presence"].as_u64().unwrap() > version, "{event}");
    assert_eq!(event["payload"]["removed"], json!([]));
    assert_eq!(
        (&entry["host"], &entry["mode"], &entry["ip"]),
        (&json!("visitor"), &json!("test"), &json!("127.0.0.1"))
    );
    assert_eq!(entry["version"], "0.1.0");
    visitor.goodbye();
    let (_, gone) = change(&mut watcher, "visitor", "disconnect");
    assert!(gone["ts"].as_u64() >= entry["ts"].as_u64());
    // It stays listed, as one who left.
    let entries = listed(&mut watcher);
    assert_eq!(entries["visitor"]["reason"], "disconnect");
    assert_eq!(entries.len(), 3, "the gateway, the watcher and the visitor: {entries:?}");
}

#[test]
fn without_an_instance_id_the_connection_stands_in() {
    let gateway = Gateway::builder("no-instance").spawn();
    let mut client = gateway.client();
    let id = client.conn_id().to_owned();
    assert!(listed(&mut client).contains_key(&id));
}

#[test]
fn the_newest_connection_owns_its_instance() {
    let gateway = Gateway::builder("reconnect").spawn();
    let mut watcher = gateway.client();
    let old = gateway.client_as("phone");
    change(&mut watcher, "phone", "connect");
    let mut new = gateway.client_as("phone");
    change(&mut watcher, "phone", "connect");
    assert_eq!(watcher.ask("status", &json!({}))["clients"], 3);
    old.goodbye();
    eventually("the older connection's end", PATIENCE, || {
        (watcher.ask("status", &json!({}))["clients"] == 2).then_some(())
    });
    let entries = listed(&mut watcher);
    assert_eq!(entries["phone"]["reason"], "connect", "the older one's close changes nothing");
    assert_eq!(entries.len(), 3);
    new.ask("health", &json!({}));
    new.goodbye();
    change(&mut watcher, "phone", "disconnect");
}

#[test]
fn nobody_takes_the_gateways_own_place() {
    let gateway = Gateway::builder("own-place").spawn();
    let mut client = gateway.client();
    let own = |client: &mut Client| {
        let entries = listed(client).into_values();
        entries.filter(|entry| entry["mode"] == "gateway").collect::<Vec<Value>>()
    };
    let before = own(&mut client);
    assert_eq!(before.len(), 1);
    let instance = before[0]["instanceId"].as_str().unwrap().to_owned();
    let impostor = gateway.client_as(&instance);
    assert_eq!(listed(&mut client)[&instance]["version"], before[0]["version"]);
    impostor.goodbye();
    eventually("the impostor to be gone", PATIENCE, || {
        (client.ask("status", &json!({}))["clients"] == 1).then_some(())
    });
    assert_eq!(own(&mut client), before);
}

#[test]
fn a_system_event_refreshes_the_entry_and_reaches_the_next_turn() {
    let gateway = Gateway::builder("system-event").agent_scripted().spawn();
    let mut watcher = gateway.client();
    let mut client = gateway.client_as("mac");
    let note = json!({"text": "The kettle is boiling.", "lastInputSeconds": 7, "mode": "app",
        "tags": ["kitchen", "tea"], "reason": "kettle"});
    assert_eq!(client.ask("system-event", &note), json!({"ok": true}));
    let (_, entry) = change(&mut watcher, "mac", "kettle");
    assert_eq!(entry["lastInputSeconds"], 7);
    assert_eq!(entry["mode"], "app");
    assert_eq!(entry["tags"], json!(["kitchen", "tea"]));
    client.outcome(&params_agent("[[say one]]", "1"));
    client.outcome(&params_agent("[[say two]]", "2"));
    let prompts = gateway.prompts();
    assert!(prompts[0].contains("The kettle is boiling."), "{prompts:?}");
    assert!(!prompts[1].contains("The kettle is boiling."), "once is enough: {prompts:?}");
}

#[test]
fn notes_are_for_the_owners_session_only() {
    let gateway = Gateway::builder("owners-notes").agent_scripted().spawn();
    let mut client = gateway.client();
    client.ask("system-event", &json!({"text": "The kettle is boiling."}));
    client.outcome(&json!({"message": "[[say x]]", "sessionKey": "dm:telegram:5", "idempotencyKey": "1"}));
    client.outcome(&params_agent("[[say y]]", "2"));
    let prompts = gateway.prompts();
    assert!(!prompts[0].contains("kettle") && prompts[1].contains("kettle"), "{prompts:?}");
}

/// A snapshot plus the deltas is what a fresh snapshot says, also over a burst.
#[test]
fn a_burst_is_merged_and_nothing_is_lost() {
    let gateway = Gateway::builder("burst").spawn();
    let mut watcher = gateway.client_as("watcher");
    let mut known: BTreeMap<String, Value> = watcher.hello["snapshot"]["presence"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["instanceId"].as_str().unwrap().to_owned(), entry.clone()))
        .collect();
    let mut crowd: Vec<Client> =
        (0..120).map(|number| gateway.client_as(&format!("crowd-{number}"))).collect();
    for leaver in crowd.drain(..40) {
        leaver.stream().shutdown(Shutdown::Both).unwrap();
    }
    let mut events = 0;
    let mut last_version = 0;
    eventually("all the changes", PATIENCE, || {
        let event = watcher.event("presence", |_| true);
        events += 1;
        let version = event["stateVersion"]["presence"].as_u64().unwrap();
        assert!(version >= last_version, "{version} behind {last_version}");
        last_version = version;
        for entry in event["payload"]["presence"].as_array().unwrap() {
            known.insert(entry["instanceId"].as_str().unwrap().to_owned(), entry.clone());
        }
        for gone in event["payload"]["removed"].as_array().unwrap() {
            known.remove(gone.as_str().unwrap());
        }
        let left = known.values().filter(|entry| entry["reason"] == "disconnect").count();
        (known.len() == 122 && left == 40).then_some(())
    });
    assert!(events < 100, "160 changes came as {events} events");
    assert_eq!(listed(&mut watcher), known);
}

#[test]
fn two_hundred_are_listed_and_the_rest_counted() {
    let gateway = Gateway::builder("bound").spawn();
    let mut watcher = gateway.client_as("watcher");
    watcher.expects_holes();
    let mut gone: Vec<Client> = (0..10).map(|number| gateway.client_as(&format!("early-{number}"))).collect();
    for client in gone.drain(..) {
        client.goodbye();
    }
    eventually("ten to have left", PATIENCE, || {
        (watcher.ask("status", &json!({}))["clients"] == 1).then_some(())
    });
    let mut crowd: Vec<Client> =
        (0..PRESENCE_MAX + 5).map(|number| gateway.client_as(&format!("crowd-{number}"))).collect();
    assert_eq!(watcher.ask("status", &json!({}))["clients"], PRESENCE_MAX + 6);
    let entries = listed(&mut watcher);
    assert_eq!(entries.len(), PRESENCE_MAX);
    assert!(entries.keys().all(|instance| !instance.starts_with("early-")), "those who left go first");
    assert!(entries.values().any(|entry| entry["mode"] == "gateway"), "the gateway is always listed");
    assert!(entries.contains_key("watcher"));
    let unlisted: BTreeSet<String> = (0..PRESENCE_MAX + 5)
        .map(|number| format!("crowd-{number}"))
        .filter(|instance| !entries.contains_key(instance))
        .collect();
    assert_eq!(unlisted.len(), 7);
    // Places that come free are taken by those who are connected and were not listed.
    for client in crowd.drain(..20) {
        client.stream().shutdown(Shutdown::Both).unwrap();
    }
    eventually("the others to move up", PATIENCE, || {
        let entries = listed(&mut watcher);
        assert!(entries.len() <= PRESENCE_MAX);
        unlisted.iter().all(|instance| entries.contains_key(instance)).then_some(())
    });
}

#[test]
fn presence_after_a_restart_begins_anew() {
    let gateway = Gateway::builder("presence-restart").spawn();
    let _old = gateway.client_as("old");
    let gateway = gateway.restart();
    let mut client = gateway.client_as("new");
    let mut instances: Vec<String> = listed(&mut client).into_keys().collect();
    instances.retain(|instance| instance == "old" || instance == "new");
    assert_eq!(instances, ["new"]);
}

#[test]
fn a_lone_change_goes_out_at_once() {
    let gateway = Gateway::builder("lone-change").spawn();
    let mut watcher = gateway.client();
    watcher.drain();
    let started = std::time::Instant::now();
    let _visitor = gateway.client_as("visitor");
    change(&mut watcher, "visitor", "connect");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}
