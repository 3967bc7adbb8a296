//! The families of events, who gets them, and how they are counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::client::Received;
use crate::harness::raw::PING;
use crate::harness::{Client, Gateway, PATIENCE, eventually, params_agent};

#[test]
fn ticks_come_at_their_interval() {
    let gateway = Gateway::builder("ticks").arg("--tick-interval-ms").arg("300").spawn();
    let mut client = gateway.client();
    let first = client.event("tick", |_| true);
    let seen = Instant::now();
    for _ in 0..3 {
        let tick = client.event("tick", |_| true);
        assert!(tick["payload"]["ts"].as_u64() > first["payload"]["ts"].as_u64());
    }
    let apart = seen.elapsed() / 3;
    assert!((Duration::from_millis(200)..Duration::from_millis(600)).contains(&apart), "{apart:?}");
}

#[test]
fn every_connection_counts_its_own_events_from_one() {
    let gateway = Gateway::builder("seq").agent_echo().arg("--tick-interval-ms").arg("1000").spawn();
    let mut early = gateway.client();
    let run = early.run(&params_agent("first", "1"));
    early.finish(&run);
    let mut late = gateway.client();
    let run = early.run(&params_agent("second", "2"));
    late.step(&run.id, "its end", |step| step["data"]["phase"] == "ended");
    early.finish(&run);
    // `Client` fails on any hole; what is left to see is where each began.
    for client in [&mut early, &mut late] {
        let events: Vec<u64> = client.drain().iter().filter_map(|frame| frame["seq"].as_u64()).collect();
        assert!(events.is_empty() || events[0] >= 1);
        assert_eq!(client.holes(), 0);
    }
}

#[test]
fn caps_choose_the_families() {
    let gateway = Gateway::builder("caps").agent_echo().arg("--tick-interval-ms").arg("1000").spawn();
    let with = |caps: Value| {
        let mut hello = gateway.hello();
        hello["caps"] = caps;
        Client::connect(gateway.addr, &hello)
    };
    let mut clients = [
        (with(json!(["event:agent"])), vec!["agent", "shutdown", "tick"]),
        (with(json!(["event:presence", "event:health"])), vec!["health", "presence", "shutdown", "tick"]),
        (with(json!(["event:unheard-of"])), vec!["shutdown", "tick"]),
        (with(json!(["event:"])), vec!["shutdown", "tick"]),
        (with(json!(["streaming"])), vec!["agent", "health", "presence", "shutdown", "tick"]),
        (with(json!([])), vec!["agent", "health", "presence", "shutdown", "tick"]),
    ];
    let mut actor = gateway.client_as("actor");
    let run = actor.run(&params_agent("hello", "k"));
    actor.finish(&run);
    actor.ask("set-paused", &json!({"paused": true}));
    actor.event("health", |event| event["payload"]["health"]["paused"] == true);
    actor.event("tick", |_| true);
    gateway.sigterm();
    for (client, expected) in &mut clients {
        let mut seen = Vec::new();
        loop {
            match client.receive(Instant::now() + PATIENCE) {
                Received::Frame(frame) => {
                    seen.push(frame["event"].as_str().unwrap().to_owned());
                }
                Received::End(close) => break assert!(close.is_some()),
                Received::Silence => panic!("no end"),
            }
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen, *expected);
    }
}

#[test]
fn shutdown_is_announced_and_then_closed_with_1001_or_1012() {
    let mut gateway = Gateway::builder("shutdown").spawn();
    let mut client = gateway.client();
    gateway.sigterm();
    let event = client.event("shutdown", |_| true);
    assert!(!event["payload"]["reason"].as_str().unwrap().is_empty());
    let code = if event["payload"]["restartExpectedMs"].is_u64() { 1012 } else { 1001 };
    client.closed_with(code);
    assert_eq!(gateway.wait_exit(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn health_tells_changes_of_state_and_only_those() {
    let gateway = Gateway::builder("health-events").agent_echo().spawn();
    let mut client = gateway.client();
    let before = client.hello["snapshot"]["stateVersion"]["health"].as_u64().unwrap();
    client.ask("set-paused", &json!({"paused": true}));
    let event = client.event("health", |event| event["payload"]["health"]["paused"] == true);
    assert!(event["stateVersion"]["health"].as_u64().unwrap() > before, "{event}");
    client.drain();
    // The same again is no change.
    client.ask("set-paused", &json!({"paused": true}));
    client.ask("health", &json!({"probe": true}));
    let more: Vec<Value> = client.drain().into_iter().filter(|frame| frame["event"] == "health").collect();
    assert_eq!(more, Vec::<Value>::new());
}

/// A silent peer is pinged, and one that does not even answer that is dropped.
#[test]
fn a_silent_client_is_pinged_and_a_dead_one_dropped() {
    let gateway = Gateway::builder("pinged").arg("--tick-interval-ms").arg("250").spawn();
    let mut dead = gateway.greeted();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // This one is as silent, but its library answers pings while it reads.
        let quiet = scope.spawn(|| {
            let mut quiet = gateway.client();
            while !over.load(Ordering::Relaxed) {
                quiet.event("tick", |_| true);
            }
            eventually("the dead one to be forgotten", PATIENCE, || {
                (quiet.ask("status", &json!({}))["clients"] == 1).then_some(())
            });
        });
        let started = Instant::now();
        let ping = dead.control("a ping");
        assert_eq!(ping.first & 0xf, PING);
        // It never answers; whatever comes besides is read until the end.
        while dead.frame().is_some() {}
        assert!(started.elapsed() > Duration::from_millis(200), "{:?}", started.elapsed());
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        over.store(true, Ordering::Relaxed);
        quiet.join().unwrap();
    });
}
