//! Many clients at once, and many one after the other.

use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use clawdis_gateway::limits::UNAUTHENTICATED_MAX;
use serde_json::json;

use crate::harness::http::{self, Answer};
use crate::harness::{Client, Gateway, PATIENCE, eventually, params_agent};

const PATIENT: Duration = Duration::from_secs(60);

#[track_caller]
fn wait_for_clients(client: &mut Client, count: usize) {
    eventually(&format!("{count} clients"), PATIENT, || {
        (client.ask("status", &json!({}))["clients"] == count).then_some(())
    });
}

#[test]
fn a_thousand_clients_are_served_and_leave_nothing_behind() {
    let gateway = Gateway::builder("thousand").agent_echo().arg("--tick-interval-ms").arg("600000").spawn();
    let mut first = gateway.client();
    first.expects_holes();
    let run = first.run(&params_agent("warm up", "warm"));
    first.finish(&run);
    let (descriptors, threads) = (gateway.fd_count(), gateway.threads());
    let mut crowd: Vec<Client> =
        (0..1_000).map(|number| gateway.client_as(&format!("crowd-{number}"))).collect();
    assert_eq!(first.ask("status", &json!({}))["clients"], 1_001);
    let asked: Vec<String> = crowd.iter_mut().map(|client| client.send("health", &json!({}))).collect();
    for (client, id) in crowd.iter_mut().zip(&asked) {
        client.expects_holes();
        assert_eq!(client.answer(id)["ok"], true);
    }
    // One run, seen by everybody.
    let run = first.run(&params_agent("hello everybody", "k"));
    for client in &mut crowd {
        client.step(&run.id, "its end", |step| step["data"]["phase"] == "ended");
    }
    first.finish(&run);
    for client in crowd {
        client.stream().shutdown(Shutdown::Both).unwrap();
    }
    wait_for_clients(&mut first, 1);
    eventually("the threads of the gone clients to end", PATIENT, || {
        (gateway.threads() == threads).then_some(())
    });
    eventually("their descriptors to be closed", PATIENT, || {
        (gateway.fd_count() == descriptors).then_some(())
    });
}

#[test]
fn two_thousand_connects_and_disconnects_leak_nothing() {
    let gateway = Gateway::builder("two-thousand").arg("--tick-interval-ms").arg("600000").spawn();
    let mut first = gateway.client();
    first.expects_holes();
    let mut round = |connects: usize| {
        thread::scope(|scope| {
            for worker in 0..4 {
                let gateway = &gateway;
                scope.spawn(move || {
                    for number in 0..connects / 4 {
                        // Every way of leaving.
                        match number % 4 {
                            0 => gateway.client_as(&format!("w{worker}")).goodbye(),
                            1 => drop(gateway.client()),
                            2 => drop(gateway.upgraded()),
                            _ => drop(TcpStream::connect(gateway.addr).unwrap()),
                        }
                    }
                });
            }
        });
        wait_for_clients(&mut first, 1);
    };
    round(200);
    let settled = |what: &str, count: &dyn Fn() -> usize, expected: usize| {
        eventually(what, PATIENT, || (count() <= expected).then_some(()));
    };
    settled("the first round's threads to end", &|| gateway.threads().len(), 8);
    let (descriptors, threads, memory) = (gateway.fd_count(), gateway.threads().len(), gateway.rss());
    round(2_000);
    settled("the threads of the gone clients to end", &|| gateway.threads().len(), threads);
    settled("their descriptors to be closed", &|| gateway.fd_count(), descriptors);
    // Two thousand times a kilobyte would already show.
    assert!(gateway.rss() < memory + 2 * 1024 * 1024, "{memory} to {} bytes", gateway.rss());
}

#[test]
fn silent_connections_do_not_keep_an_honest_client_out() {
    let gateway = Gateway::builder("half-open").spawn();
    let half_open: Vec<TcpStream> =
        (0..UNAUTHENTICATED_MAX + 44).map(|_| TcpStream::connect(gateway.addr).unwrap()).collect();
    let started = Instant::now();
    let mut client = gateway.client();
    client.ask("health", &json!({}));
    assert!(started.elapsed() < Duration::from_secs(3), "an honest client waited {:?}", started.elapsed());
    assert!(gateway.fd_count() < UNAUTHENTICATED_MAX + 60, "{}", gateway.fd_count());
    drop(half_open);
    eventually("the silent ones to be forgotten", PATIENCE, || (gateway.fd_count() < 40).then_some(()));
}

#[test]
fn beyond_max_clients_the_upgrade_is_answered_503() {
    let gateway = Gateway::builder("max-clients").arg("--max-clients").arg("3").spawn();
    let mut clients: Vec<Client> = (0..3).map(|_| gateway.client()).collect();
    let mut fourth = gateway.raw();
    let head = fourth.upgrade_head("");
    fourth.write(head.as_bytes());
    let answer = Answer::parse(fourth.read_to_end());
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    // A supervisor can still look.
    assert_eq!(http::request(gateway.addr, "GET", "/healthz", "").status, 200);
    clients.pop().unwrap().goodbye();
    let mut again = eventually("the free place", PATIENCE, || {
        let mut socket = gateway.raw();
        socket.write(head.as_bytes());
        socket.read_head().starts_with("HTTP/1.1 101").then_some(socket)
    });
    again.send(crate::harness::raw::TEXT, gateway.hello().to_string().as_bytes());
    assert_eq!(again.json("hello-ok")["type"], "hello-ok");
    clients[0].ask("health", &json!({}));
}

/// A thousand peers that connect at the same moment are all welcome: nothing is refused, nothing
/// is reset.
#[test]
fn a_burst_of_connects_is_taken_whole() {
    let gateway = Gateway::builder("connect-burst").arg("--tick-interval-ms").arg("600000").spawn();
    let sockets: Vec<TcpStream> = (0..800).map(|_| TcpStream::connect(gateway.addr).unwrap()).collect();
    let hello = gateway.hello().to_string();
    // All heads and hellos are written before any answer is read.
    let mut waiting: Vec<crate::harness::raw::Raw> = sockets
        .into_iter()
        .map(|stream| {
            let mut socket = crate::harness::raw::Raw::over(stream, gateway.addr);
            let mut bytes = socket.upgrade_head("").into_bytes();
            bytes.extend(crate::harness::raw::frame(0x81, hello.as_bytes(), true));
            // One that waited too long among the silent ones may have been refused already.
            socket.try_write(&bytes);
            socket
        })
        .collect();
    let mut welcome = 0;
    for socket in &mut waiting {
        let answer = socket.read_head();
        if answer.starts_with("HTTP/1.1 101 ") {
            let first = socket.json("hello-ok");
            if first["type"] == "hello-ok" {
                welcome += 1;
            } else {
                // Its place was taken between the two.
                assert_eq!(first["reason"], "too many connections are in their handshake; try again");
            }
        } else {
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        }
    }
    assert!(welcome >= 800 - UNAUTHENTICATED_MAX, "{welcome} of 800 were welcome");
    assert_eq!(gateway.client().ask("status", &json!({}))["clients"], welcome + 1);
}
