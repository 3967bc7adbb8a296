//! Clients' places, and who cannot take them: wrong tokens, silent peers, more clients than the
//! process may have descriptors for.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::http::{self, Answer};
use crate::harness::raw::{Raw, TEXT};
use crate::harness::{Client, Gateway, PATIENCE, eventually, hello, params_agent};

const TOKEN: &str = "correct-horse-battery-staple";

fn wrong_hello() -> Value {
    let mut hello = hello();
    hello["auth"] = json!({ "token": "a guess" });
    hello
}

/// The right token is let in each time, and soon.
#[track_caller]
fn lets_in_promptly(gateway: &Gateway, times: usize) {
    let mut slowest = Duration::ZERO;
    for _ in 0..times {
        let started = Instant::now();
        let mut client = gateway.client();
        client.ask("health", &json!({}));
        slowest = slowest.max(started.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "the right token waited {slowest:?}");
}

/// Ends a flood, also when an assertion fails in front of it.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn wrong_tokens_hold_no_clients_place() {
    let gateway = Gateway::builder("refused-places").token(TOKEN).arg("--max-clients").arg("64").spawn();
    let over = AtomicBool::new(false);
    let wrong = wrong_hello().to_string();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // They never hang up by themselves.
                let mut held: Vec<Raw> = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let mut socket = gateway.raw();
                    let head = socket.upgrade_head("");
                    socket.write(head.as_bytes());
                    if socket.read_head().starts_with("HTTP/1.1 101 ") {
                        socket.try_write(&crate::harness::raw::frame(0x81, wrong.as_bytes(), true));
                    }
                    held.push(socket);
                    if held.len() > 150 {
                        held.remove(0);
                    }
                }
            });
        }
        let _ends = Ends(&over);
        lets_in_promptly(&gateway, 1);
        let flooded = || {
            http::metric(gateway.addr, &authorized(&gateway), "clawdis_refused_total{reason=\"token\"}") > 200
        };
        eventually("the flood", PATIENCE, || flooded().then_some(()));
        lets_in_promptly(&gateway, 20);
    });
}

fn authorized(gateway: &Gateway) -> String {
    format!("Authorization: Bearer {}\r\n", gateway.token().unwrap())
}

#[test]
fn peers_that_say_nothing_hold_no_clients_place() {
    let gateway = Gateway::builder("silent-places").token(TOKEN).arg("--max-clients").arg("8").spawn();
    let _silent: Vec<Raw> = (0..40).map(|_| gateway.upgraded()).collect();
    lets_in_promptly(&gateway, 4);
    // Bad hellos are told so, and linger for a second.
    let _bad: Vec<Raw> = (0..40)
        .map(|_| {
            let mut socket = gateway.upgraded();
            socket.send(TEXT, b"{}");
            socket
        })
        .collect();
    lets_in_promptly(&gateway, 4);
}

#[test]
fn places_taken_meanwhile_are_told_in_the_handshake() {
    let gateway = Gateway::builder("late-places").arg("--max-clients").arg("2").spawn();
    let mut late: Vec<Raw> = (0..3).map(|_| gateway.upgraded()).collect();
    let _clients = [gateway.client(), gateway.client()];
    for socket in &mut late {
        socket.send(TEXT, gateway.hello().to_string().as_bytes());
        let error = socket.json("hello-error");
        assert!(error["reason"].as_str().unwrap().contains("--max-clients"), "{error}");
        socket.closed_with(1013);
    }
}

/// A gateway that may open 64 files, and clients until one is refused.
fn crowded(name: &str) -> (Gateway, Vec<Client>) {
    let gateway = Gateway::builder(name)
        .agent_echo()
        .arg("--tick-interval-ms")
        .arg("600000")
        .wrapper(["bash", "-c", "ulimit -n 64; exec \"$@\"", "bash"])
        .spawn();
    let mut clients = Vec::new();
    loop {
        let mut socket = gateway.raw();
        let head = socket.upgrade_head("");
        socket.write(head.as_bytes());
        let answer = socket.read_head();
        if !answer.starts_with("HTTP/1.1 101 ") {
            let answer = Answer::parse([answer.into_bytes(), socket.read_to_end()].concat());
            assert_eq!(answer.status, 503, "{answer:?}");
            break;
        }
        drop(socket);
        let mut client = gateway.client_as(&format!("crowd-{}", clients.len()));
        client.expects_holes();
        clients.push(client);
        assert!(clients.len() < 64, "more clients than descriptors");
    }
    assert!(clients.len() >= 8, "only {} clients", clients.len());
    (gateway, clients)
}

#[track_caller]
fn works(client: &mut Client, key: &str) {
    let run = client.run(&params_agent("are you there", key));
    let last = client.finish(&run);
    assert_eq!(last["payload"]["status"], "ok", "{last}");
    assert_eq!(client.ask("health", &json!({}))["storage"]["ok"], true);
}

#[test]
fn clients_leave_the_store_and_the_agent_their_descriptors() {
    let (gateway, mut clients) = crowded("descriptors");
    works(&mut clients[0], "first");
    // All of them read records at the same time.
    let asked: Vec<String> = clients
        .iter_mut()
        .map(|client| client.send("session-history", &json!({ "sessionKey": "main" })))
        .collect();
    for (client, id) in clients.iter_mut().zip(&asked) {
        let answer = client.answer(id);
        assert_eq!(answer["ok"], true, "{answer}");
    }
    // A supervisor can still look, and a place that is free again is taken.
    assert_eq!(http::request(gateway.addr, "GET", "/healthz", "").status, 200);
    clients.pop().unwrap().goodbye();
    eventually("a free place", PATIENCE, || Client::try_upgrade(gateway.addr).then_some(()));
    assert!(!gateway.output.out().contains("Too many open files"), "{}", gateway.output.out());
}

#[test]
fn peers_that_never_say_hello_leave_them_too() {
    let (gateway, mut clients) = crowded("descriptors-silent");
    let _silent: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(gateway.addr).unwrap()).collect();
    works(&mut clients[0], "silent");
    // They ask for a page each and never read it.
    let _greedy: Vec<Raw> = (0..80)
        .map(|_| {
            let mut socket = gateway.raw();
            socket.try_write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
            socket
        })
        .collect();
    works(&mut clients[1], "greedy");
    assert!(!gateway.output.out().contains("Too many open files"), "{}", gateway.output.out());
}
