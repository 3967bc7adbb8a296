//! Floods: whatever is sent, the gateway takes 64 MB at most, goes on serving others, and gives back
//! what it took. Where the tests may make a memory cgroup of that size the gateway lives in one.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clawdis_gateway::limits::{HELLO_BYTES_MAX, KEY_JOINERS_MAX, PAYLOAD_BYTES_MAX, SUMMARY_BYTES_MAX};
use rustix::net::{AddressFamily, SocketType, sockopt};
use serde_json::{Value, json};

use crate::harness::memory::{self, Cgroup, Meter};
use crate::harness::raw::{FIN, PING, Raw, TEXT, frame};
use crate::harness::{Builder, Gateway, eventually, http, params_agent};

const MB: u64 = 1024 * 1024;
/// What a small host has for us.
const BUDGET: u64 = 64 * MB;
/// What is left of a flood.
const AFTERWARDS: u64 = 8 * MB;
/// The others' threads are many and slow in a build for tests.
const PATIENT: Duration = Duration::from_secs(60);

/// Ends what goes on beside a flood, also when that fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A gateway that is flooded.
struct Flood {
    meter: Meter,
    gateway: Gateway,
    _group: Option<Cgroup>,
}

impl Flood {
    fn over(setup: Builder) -> Self {
        let group = Cgroup::of(BUDGET);
        let wrapper = group.as_ref().map(Cgroup::wrapper).unwrap_or_default();
        let wrapper = wrapper.iter().map(String::as_str);
        Self::unbounded(setup.wrapper(wrapper), group)
    }

    fn unbounded(setup: Builder, group: Option<Cgroup>) -> Self {
        let gateway = setup.arg("--tick-interval-ms").arg("600000").spawn();
        Self { meter: Meter::of(gateway.pid()), gateway, _group: group }
    }

    /// Floods the gateway while somebody else asks and is answered, and holds what it takes against
    /// the budget.
    #[track_caller]
    fn rages<T>(&mut self, flood: impl FnOnce(&Gateway) -> T) -> T {
        let over = AtomicBool::new(false);
        let mut other = self.gateway.client();
        other.expects_holes();
        let gateway = &self.gateway;
        let kept = thread::scope(|scope| {
            let served = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    other.ask("health", &json!({}));
                    other.drain();
                    thread::sleep(Duration::from_millis(5));
                }
            });
            let ends = SetOnDrop(&over);
            let kept = flood(gateway);
            drop(ends);
            served.join().expect("somebody else is served meanwhile");
            kept
        });
        assert!(self.gateway.is_running(), "it was killed");
        let peak = self.meter.peak();
        assert!(peak < BUDGET, "{} MB at its peak", peak / MB);
        kept
    }

    /// Everybody has gone.
    #[track_caller]
    fn subsides(&self) {
        let pid = self.gateway.pid();
        let started = Instant::now();
        while memory::own(pid) >= AFTERWARDS && started.elapsed() < PATIENT {
            thread::sleep(Duration::from_millis(20));
        }
        let left = memory::own(pid);
        assert!(
            left < AFTERWARDS,
            "{} KB are left, {} KB at its peak",
            left / 1024,
            self.meter.peak() / 1024
        );
    }
}

/// A socket whose kernel takes as little as it can.
fn lazy(addr: SocketAddr) -> Raw {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
    rustix::net::connect(&socket, &addr).unwrap();
    Raw::over(TcpStream::from(socket), addr)
}

/// The same past its handshake.
fn greeted(gateway: &Gateway) -> Raw {
    let mut socket = lazy(gateway.addr);
    socket.upgrade();
    socket.send(TEXT, gateway.hello().to_string().as_bytes());
    assert_eq!(socket.json("hello-ok")["type"], "hello-ok");
    socket
}

/// JSON of so many bytes that is nothing but tiny maps: in memory it would be a hundred times as large.
fn tiny_maps(head: &str, tail: &str, bytes: usize) -> Vec<u8> {
    let count = (bytes - head.len() - tail.len()) / 7;
    format!("{head}{}{tail}", vec![r#"{"":0}"#; count].join(",")).into_bytes()
}

/// Sends on a thread each, and waits for all.
fn send_at_once(sockets: &mut [Raw], bytes: &[u8], answers: usize) {
    thread::scope(|scope| {
        for socket in sockets {
            scope.spawn(move || {
                for _ in 0..answers.max(1) {
                    socket.try_write(bytes);
                    if answers > 0 {
                        socket.json("an answer");
                    }
                }
            });
        }
    });
}

#[test]
fn frames_of_tiny_maps_are_counted_and_not_built() {
    let mut flood = Flood::over(Gateway::builder("worst-maps").agent_echo());
    let sockets = flood.rages(|gateway| {
        let mut sockets: Vec<Raw> = (0..64).map(|_| gateway.greeted()).collect();
        for method in ["health", "agent"] {
            let head = format!(r#"{{"type":"req","id":"maps","method":"{method}","params":{{"x":["#);
            let maps = frame(FIN | TEXT, &tiny_maps(&head, "]}}", PAYLOAD_BYTES_MAX), true);
            send_at_once(&mut sockets, &maps, 2);
        }
        // As many as are allowed, where they have to be built.
        let head = r#"{"type":"req","id":"some","method":"agent","params":{"x":["#;
        let maps = frame(FIN | TEXT, &tiny_maps(head, "]}}", 7 * 6_600), true);
        send_at_once(&mut sockets, &maps, 4);
        let socket = &mut sockets[0];
        socket.send(TEXT, &tiny_maps(head, "]}}", PAYLOAD_BYTES_MAX));
        let answer = socket.json("the answer");
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("some"), &json!("INVALID_REQUEST")));
        assert!(answer["error"]["message"].as_str().unwrap().contains("20000"), "{answer}");
        sockets
    });
    drop(sockets);
    flood.subsides();
}

#[test]
fn strangers_hellos_are_counted_and_not_built() {
    let mut flood = Flood::over(Gateway::builder("worst-hellos").token("a-token-for-strangers"));
    flood.rages(|gateway| {
        let maps = tiny_maps(r#"{"type":"hello","x":["#, "]}", HELLO_BYTES_MAX);
        let maps = frame(FIN | TEXT, &maps, true);
        for _ in 0..2 {
            let mut sockets: Vec<Raw> = Vec::new();
            for _ in 0..250 {
                let mut socket = gateway.raw();
                let head = socket.upgrade_head("");
                socket.write(head.as_bytes());
                socket.try_write(&maps[..maps.len() - 1]);
                sockets.push(socket);
            }
            for socket in &mut sockets {
                socket.try_write(&maps[maps.len() - 1..]);
            }
            // Nobody could be in the way of the last one.
            let socket = sockets.last_mut().unwrap();
            assert!(socket.read_head().starts_with("HTTP/1.1 101 "));
            let error = socket.json("hello-error");
            assert!(error["reason"].as_str().unwrap().contains("200 JSON values"), "{error}");
            socket.closed_with(1008);
        }
    });
    flood.subsides();
}

/// A session whose history fills a page.
fn with_history(name: &str) -> Flood {
    let flood = Flood::over(Gateway::builder(name).agent_echo());
    let mut client = flood.gateway.client();
    for number in 0..12 {
        let last = client.outcome(&params_agent(&"h".repeat(25_000), &format!("history-{number}")));
        assert_eq!(last["ok"], true);
        client.drain();
    }
    flood
}

fn ask_for_pages(name: &str, clients: usize, pages: usize) {
    let mut flood = with_history(name);
    let request = json!({"type": "req", "id": "page", "method": "session-history",
        "params": {"sessionKey": "main", "limit": 200}});
    let requests = frame(FIN | TEXT, request.to_string().as_bytes(), true).repeat(pages);
    let sockets = flood.rages(|gateway| {
        let mut sockets: Vec<Raw> = (0..clients).map(|_| greeted(gateway)).collect();
        for socket in &mut sockets {
            socket.write(&requests);
        }
        // Somebody who reads gets a page all the same.
        let mut reader = gateway.client();
        let id = reader.send("session-history", &json!({"sessionKey": "main", "limit": 200}));
        let page = reader.wait_within("a page", PATIENT, |frame| frame["id"] == *id);
        assert!(page["payload"]["messages"].as_array().unwrap().len() > 5);
        sockets
    });
    drop(sockets);
    flood.subsides();
}

#[test]
fn a_hundred_clients_that_ask_for_pages_and_read_none() {
    ask_for_pages("worst-pages", 100, 4);
}

/// Each of them waits for its turn among all, and so does the one who reads.
#[test]
fn four_hundred_clients_that_ask_for_pages_and_read_none() {
    ask_for_pages("worst-pages-400", 400, 2);
}

#[test]
fn six_hundred_that_ask_for_the_web_page_and_do_not_read_it() {
    let mut flood = Flood::over(Gateway::builder("worst-http"));
    let sockets = flood.rages(|gateway| {
        (0..600)
            .map(|_| {
                let mut socket = lazy(gateway.addr);
                socket.write(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.addr).as_bytes());
                socket
            })
            .collect::<Vec<_>>()
    });
    drop(sockets);
    flood.subsides();
}

/// What is accepted of them is on disk before anybody hears of it, and a disk of memory would count.
#[test]
fn large_prompts_wait_for_each_other() {
    let mut flood =
        Flood::unbounded(Gateway::builder("worst-prompts").arg("--agent").arg(r#"["sleep","600"]"#), None);
    let sockets = flood.rages(|gateway| {
        let mut sockets: Vec<Raw> = (0..64).map(|_| gateway.greeted()).collect();
        thread::scope(|scope| {
            for (number, socket) in sockets.iter_mut().enumerate() {
                scope.spawn(move || {
                    for round in 0..2 {
                        let mut params = params_agent(
                            &"p".repeat(PAYLOAD_BYTES_MAX - 1_024),
                            &format!("{number} {round}"),
                        );
                        params["sessionKey"] = json!(format!("s{number}"));
                        let request = json!({"type": "req", "id": "p", "method": "agent", "params": params});
                        socket.send(TEXT, request.to_string().as_bytes());
                        socket.json("an ack or a refusal");
                    }
                });
            }
        });
        let mut client = gateway.client();
        client.expects_holes();
        for number in 0..64 {
            let mut params = params_agent("/stop", &format!("stop {number}"));
            params["sessionKey"] = json!(format!("s{number}"));
            assert_eq!(client.outcome(&params)["ok"], true, "also with a full queue");
            client.drain();
        }
        sockets
    });
    drop(sockets);
    flood.subsides();
}

/// A frame takes memory while it comes, and its buffer would be kept for the next one.
#[test]
fn frames_that_never_end_and_clients_that_sent_one_and_stay() {
    let mut flood = Flood::over(Gateway::builder("worst-buffers"));
    let text = format!(
        r#"{{"type":"req","id":"big","method":"health","padding":"{}"}}"#,
        "x".repeat(PAYLOAD_BYTES_MAX - 100)
    );
    let whole = frame(FIN | TEXT, text.as_bytes(), true);
    let sockets = flood.rages(|gateway| {
        let mut idle: Vec<Raw> = (0..150).map(|_| gateway.greeted()).collect();
        for socket in &mut idle {
            socket.write(&whole);
            assert_eq!(socket.json("the answer")["ok"], true);
        }
        let mut halves: Vec<Raw> = (0..150).map(|_| gateway.greeted()).collect();
        // In fragments too, which are put together behind the place where frames are.
        let (first, second) = text.as_bytes().split_at(PAYLOAD_BYTES_MAX / 2);
        let pieces = [frame(TEXT, first, true), frame(0, second, true)].concat();
        for (number, socket) in halves.iter_mut().enumerate() {
            let bytes = if number % 2 == 0 { &whole } else { &pieces };
            socket.stream().set_nonblocking(true).unwrap();
            // As much as the kernel takes.
            socket.try_write(&bytes[..PAYLOAD_BYTES_MAX - 200]);
            socket.stream().set_nonblocking(false).unwrap();
        }
        // One that is whole comes through all the same, in the place of one that is not.
        let socket = &mut idle[0];
        socket.stream().set_read_timeout(Some(PATIENT)).unwrap();
        socket.write(&whole);
        assert_eq!(socket.json("the answer")["ok"], true);
        (idle, halves)
    });
    drop(sockets);
    flood.subsides();
}

/// Long lists made by state, errors with long ids, pongs and the answer of a run that many wait for.
#[test]
fn answers_of_every_kind_that_nobody_reads() {
    let mut flood = Flood::over(Gateway::builder("worst-answers").agent_echo());
    let mut client = flood.gateway.client();
    client.expects_holes();
    for number in 0..1_000 {
        let mut params = params_agent("/think low", &format!("key {number}"));
        params["sessionKey"] = json!(format!("{number:0>200}"));
        assert_eq!(client.outcome(&params)["ok"], true);
        if number % 100 == 0 {
            client.drain();
        }
    }
    let request = |id: &str, method: &str, params: Value| {
        json!({"type": "req", "id": id, "method": method, "params": params}).to_string().into_bytes()
    };
    let long_id = "\u{1}".repeat(128);
    let requests = [
        request("list", "sessions-list", json!({})),
        request("status", "status", json!({})),
        request(&long_id, "no-such-method", json!({})),
        request(&long_id, "set-paused", json!({"x".repeat(1_000): 1})),
        request("presence", "system-presence", json!({})),
    ];
    let mut bytes: Vec<u8> = requests.iter().flat_map(|text| frame(FIN | TEXT, text, true)).collect();
    bytes.extend(frame(FIN | PING, b"", true).repeat(500));
    let sockets = flood.rages(|gateway| {
        let mut sockets: Vec<Raw> = (0..64).map(|_| greeted(gateway)).collect();
        let answer = params_agent(&"a".repeat(SUMMARY_BYTES_MAX), "one answer for all");
        for (number, socket) in sockets.iter_mut().enumerate() {
            if number < KEY_JOINERS_MAX {
                socket.send(TEXT, &request("run", "agent", answer.clone()));
            }
            for _ in 0..20 {
                socket.try_write(&bytes);
            }
        }
        sockets
    });
    drop(sockets);
    flood.subsides();
}

/// An agent that streams 32 MB, of which the one who asked gets every byte and the others what there is
/// room for. The agent's own memory is none of the gateway's.
#[test]
fn deltas_that_nobody_reads() {
    let (pieces, piece_bytes) = (8_000, 4_000);
    let mut flood = Flood::unbounded(Gateway::builder("worst-deltas").agent_scripted(), None);
    let sockets = flood.rages(|gateway| {
        let sockets: Vec<Raw> = (0..50).map(|_| greeted(gateway)).collect();
        let mut asker = gateway.greeted();
        let params = params_agent(&format!("[[flood {pieces} {piece_bytes}]]"), "deltas");
        let request = json!({"type": "req", "id": "run", "method": "agent", "params": params});
        asker.send(TEXT, request.to_string().as_bytes());
        let (mut came, mut answers) = (0, 0);
        // An ack and the end of the run. So much is not held against its schemas.
        while answers < 2 {
            let frame = asker.frame().expect("who reads is not closed");
            let frame: Value = serde_json::from_slice(&frame.payload).unwrap();
            answers += usize::from(frame["type"] == "res");
            came += frame["payload"]["data"]["delta"].as_str().map_or(0, str::len);
        }
        assert_eq!(came, pieces * piece_bytes, "who asked gets all of it");
        assert!(http::metric(gateway.addr, "", "clawdis_dropped_events_total") > 0, "the others do not");
        assert_eq!(http::metric(gateway.addr, "", "clawdis_slow_consumers_total"), 0);
        sockets
    });
    drop(sockets);
    flood.subsides();
}

/// Small frames lie about in memory, and take more there than on the wire.
#[test]
fn pongs_and_small_answers_that_nobody_reads() {
    let request = br#"{"type":"req","id":"1","method":"nope"}"#;
    for small in [frame(FIN | PING, &[b'p'; 125], true), frame(FIN | TEXT, request, true)] {
        let mut flood = Flood::over(Gateway::builder("worst-small"));
        let many = small.repeat(64 * 1024 / small.len());
        let sockets = flood.rages(|gateway| {
            let mut sockets: Vec<Raw> = (0..16).map(|_| greeted(gateway)).collect();
            thread::scope(|scope| {
                for socket in &mut sockets {
                    // More than may wait, or as much as it gets to send until it is ended.
                    scope.spawn(|| (0..200).all(|_| socket.try_write(&many)));
                }
            });
            eventually("all of them to be ended", PATIENT, || {
                (http::metric(gateway.addr, "", "clawdis_slow_consumers_total") == 16).then_some(())
            });
            sockets
        });
        drop(sockets);
        flood.subsides();
    }
}

/// Everybody who comes is sent the whole list, and everybody else what changed in it.
#[test]
fn clients_that_come_and_go_and_change_all_the_time() {
    let mut flood = Flood::over(Gateway::builder("worst-presence"));
    let sockets = flood.rages(|gateway| {
        let mut sockets: Vec<Raw> = (0..100)
            .map(|number| {
                let mut socket = lazy(gateway.addr);
                socket.upgrade();
                let mut hello = gateway.hello();
                hello["client"]["name"] = json!("\"".repeat(100));
                hello["client"]["instanceId"] = json!(format!("{number:\"<100}"));
                socket.send(TEXT, hello.to_string().as_bytes());
                socket
            })
            .collect();
        for round in 0..5 {
            let params =
                json!({"text": "x", "reason": "\"".repeat(100 + round), "tags": vec!["\"".repeat(60); 8]});
            let request = json!({"type": "req", "id": "e", "method": "system-event", "params": params});
            for socket in &mut sockets {
                socket.try_write(&frame(FIN | TEXT, request.to_string().as_bytes(), true));
            }
        }
        sockets
    });
    drop(sockets);
    eventually("all of them to be gone", PATIENT, || {
        (flood.gateway.client().ask("status", &json!({}))["clients"] == 1).then_some(())
    });
    flood.subsides();
}
