//! Clients that do not read: bounded memory for them, no delay for the others.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, sockopt};
use serde_json::{Value, json};

use crate::harness::raw::{CLOSE, Raw, TEXT};
use crate::harness::{Client, Gateway, PATIENCE, eventually, http, params_agent};

/// A socket whose kernel takes as little as it can, past its handshake.
fn lazy(gateway: &Gateway) -> Raw {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
    let SocketAddr::V4(addr) = gateway.addr else { panic!("bound to IPv4") };
    rustix::net::connect(&socket, &addr).unwrap();
    let mut socket = Raw::over(TcpStream::from(socket), gateway.addr);
    socket.upgrade();
    socket.send(TEXT, gateway.hello().to_string().as_bytes());
    assert_eq!(socket.json("hello-ok")["type"], "hello-ok");
    socket
}

/// Reads everything up to the end; the texts, and the close.
fn read_all(socket: &mut Raw) -> (Vec<Value>, Option<(u16, String)>) {
    let (mut texts, mut close) = (Vec::new(), None);
    while let Some(frame) = socket.frame() {
        match frame.first & 0xf {
            TEXT => texts.push(serde_json::from_slice(&frame.payload).unwrap()),
            CLOSE => {
                let code = u16::from_be_bytes([frame.payload[0], frame.payload[1]]);
                close = Some((code, String::from_utf8(frame.payload[2..].to_vec()).unwrap()));
            }
            _ => {}
        }
    }
    (texts, close)
}

/// An answer must not take long while somebody else is stalled.
#[track_caller]
fn answers_at_once(client: &mut Client) {
    let started = Instant::now();
    client.ask("health", &json!({}));
    assert!(started.elapsed() < Duration::from_secs(1), "an answer took {:?}", started.elapsed());
}

#[test]
fn pieces_of_others_runs_are_dropped_and_leave_a_hole() {
    let gateway =
        Gateway::builder("slow-drop").agent_scripted().arg("--tick-interval-ms").arg("600000").spawn();
    let mut slow = lazy(&gateway);
    let mut actor = gateway.client();
    let before = gateway.rss();
    // 12 MB: far beyond what the kernel and our backlog take for one client.
    let run = actor.run(&params_agent("[[flood 3000 4000]]", "k"));
    let mut length = 0;
    loop {
        let step = actor.step(&run.id, "the next step", |_| true);
        length += step["payload"]["data"]["delta"].as_str().map_or(0, str::len);
        if step["payload"]["data"]["phase"] == "ended" {
            break;
        }
    }
    actor.finish(&run);
    assert_eq!(length, 12_000_000, "who reads gets every piece");
    assert!(http::metric(gateway.addr, "", "clawdis_dropped_events_total") > 0);
    answers_at_once(&mut actor);
    assert!(gateway.rss() < before + 48 * 1024 * 1024, "{} to {} bytes", before, gateway.rss());
    assert_eq!(actor.ask("status", &json!({}))["clients"], 2, "nobody was closed");

    // Now it reads: what is left is whole frames in order, with a hole that it can see.
    slow.send(TEXT, br#"{"type":"req","id":"back","method":"health"}"#);
    let mut seqs = Vec::new();
    let mut ended = false;
    let mut back = false;
    while !(back && ended) {
        let frame = slow.frame().expect("still connected");
        if frame.first & 0xf != TEXT {
            continue;
        }
        let frame: Value = serde_json::from_slice(&frame.payload).unwrap();
        back |= frame["id"] == "back";
        ended |= frame["payload"]["data"]["phase"] == "ended";
        seqs.extend(frame["seq"].as_u64());
    }
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]));
    let holes: u64 = seqs.windows(2).map(|pair| pair[1] - pair[0] - 1).sum();
    assert!(holes > 0, "something was dropped, so there is a hole");
}

#[test]
fn answers_that_nobody_reads_end_the_connection_with_1008() {
    let gateway =
        Gateway::builder("slow-answers").agent_scripted().arg("--tick-interval-ms").arg("600000").spawn();
    let mut client = gateway.client();
    let last = client.outcome(&params_agent("[[flood 240 1000]]", "k"));
    assert_eq!(last["ok"], true);
    let mut slow = lazy(&gateway);
    for number in 0..60 {
        let request = json!({"type": "req", "id": number.to_string(), "method": "session-history",
            "params": {"sessionKey": "main"}});
        slow.send(TEXT, request.to_string().as_bytes());
    }
    eventually("the slow client to be ended", PATIENCE, || {
        answers_at_once(&mut client);
        (http::metric(gateway.addr, "", "clawdis_slow_consumers_total") == 1).then_some(())
    });
    // It gets a moment to read what was under way.
    let (texts, close) = read_all(&mut slow);
    assert!(!texts.is_empty(), "the frames that were on their way are whole");
    let (code, reason) = close.expect("a close frame behind them");
    assert_eq!(code, 1008);
    assert!(reason.contains("slow consumer"), "{reason}");
}

#[test]
fn pieces_of_its_own_run_are_not_dropped_but_end_a_client_that_does_not_read() {
    let gateway =
        Gateway::builder("slow-own").agent_scripted().arg("--tick-interval-ms").arg("600000").spawn();
    let mut watcher = gateway.client();
    // What it watches is not its own run, so it may miss pieces of it while it checks others.
    watcher.expects_holes();
    let mut slow = lazy(&gateway);
    let request = json!({"type": "req", "id": "run", "method": "agent",
        "params": params_agent("[[flood 3000 4000]]", "own")});
    slow.send(TEXT, request.to_string().as_bytes());
    let started = watcher.event("agent", |event| event["payload"]["data"]["phase"] == "started");
    let run = started["payload"]["runId"].as_str().unwrap().to_owned();
    eventually("the slow client to be ended", PATIENCE, || {
        (http::metric(gateway.addr, "", "clawdis_slow_consumers_total") == 1).then_some(())
    });
    let (_, close) = read_all(&mut slow);
    assert_eq!(close.unwrap().0, 1008);
    let ended = watcher.step(&run, "its end", |step| step["data"]["phase"] == "ended");
    assert_eq!(ended["payload"]["data"]["status"], "ok", "the run goes on without its client");
}

/// Twenty that never read among those who do.
#[test]
fn many_stalled_clients_delay_nobody() {
    let gateway =
        Gateway::builder("slow-many").agent_scripted().arg("--tick-interval-ms").arg("600000").spawn();
    let _stalled: Vec<Raw> = (0..20).map(|_| lazy(&gateway)).collect();
    let mut client = gateway.client();
    let mut other = gateway.client();
    // It only asks and answers; the pieces of the run are for those who watch.
    other.expects_holes();
    thread::scope(|scope| {
        let reads = scope.spawn(move || {
            let run = client.run(&params_agent("[[flood 2000 4000]] [[hold a]]", "k"));
            assert_eq!(client.finish(&run)["ok"], true);
        });
        let mut times: Vec<Duration> = (0..200)
            .map(|_| {
                let started = Instant::now();
                other.ask("health", &json!({}));
                started.elapsed()
            })
            .collect();
        times.sort();
        // Waiting for one stalled peer would show in most of them; the machine itself may in a few.
        assert!(times[180] < Duration::from_millis(200), "nine of ten answers took up to {:?}", times[180]);
        gateway.release("a");
        reads.join().unwrap();
    });
}
