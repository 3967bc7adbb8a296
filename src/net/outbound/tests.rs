//! The writer against real sockets, without its thread: each step is driven by hand.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use serde_json::{Value, json};
use tungstenite::protocol::Role;
use tungstenite::{Bytes, Message, WebSocket};

use super::{Loss, Outbound, Writer};
use crate::limits::BACKLOG_BYTES_MAX;
use crate::net::ConnShared;
use crate::protocol::ConnId;
use crate::protocol::event::{EventKind, Subscriptions};
use crate::protocol::frame::{Close, EventBody, text};

/// A connected pair: our end as `outbound` sees it, the peer's as a WebSocket client.
fn pair(conn: ConnId) -> (Arc<ConnShared>, WebSocket<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // Fixed sizes: the kernel grows its buffers otherwise, and "full" would be a moving target.
    sockopt::set_socket_recv_buffer_size(&peer, 64 * 1024).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let shared = ConnShared::new(conn, listener.accept().unwrap().0, &Arc::default());
    sockopt::set_socket_send_buffer_size(&shared.stream, 64 * 1024).unwrap();
    (shared, WebSocket::from_raw_socket(peer, Role::Client, None))
}

struct Bench {
    writer: Writer,
}

impl Bench {
    fn new() -> Self {
        Self { writer: Writer::default() }
    }

    fn join(&mut self, conn: ConnId, caps: &[&str]) -> WebSocket<TcpStream> {
        let (shared, peer) = pair(conn);
        let caps: Vec<String> = caps.iter().map(|cap| (*cap).to_owned()).collect();
        self.send(Outbound::Attach { shared });
        let hello_ok = text(&json!({"type": "hello-ok"}));
        self.send(Outbound::Join { conn, hello_ok, subscriptions: Subscriptions::from_caps(&caps) });
        peer
    }

    fn send(&mut self, message: Outbound) {
        self.writer.handle(message);
    }

    fn event(&mut self, kind: EventKind, payload: &Value, loss: Loss) {
        self.send(Outbound::Event { body: EventBody::new(kind, payload, None), loss });
    }

    /// Lets the peer read on a thread of its own while the writer goes on.
    fn turn_until<T: Send + 'static>(
        &mut self,
        awaited: &str,
        peer: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let reader = std::thread::Builder::new().spawn(peer).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !reader.is_finished() {
            assert!(Instant::now() < deadline, "gave up waiting until {awaited}");
            self.turn();
            std::thread::yield_now();
        }
        reader.join().unwrap()
    }

    fn turn(&mut self) {
        self.writer.flush_touched();
        self.writer.serve_slice();
        self.writer.flush_touched();
        self.writer.run_timers(Instant::now());
    }
}

fn read_json(peer: &mut WebSocket<TcpStream>) -> Value {
    loop {
        if let Message::Text(text) = peer.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

fn read_close(peer: &mut WebSocket<TcpStream>) -> (u16, String) {
    loop {
        if let Message::Close(Some(frame)) = peer.read().unwrap() {
            return (frame.code.into(), frame.reason.to_string());
        }
    }
}

#[test]
fn hello_ok_comes_before_events_that_were_under_way() {
    let mut bench = Bench::new();
    let mut early = bench.join(1, &[]);
    bench.event(EventKind::Tick, &json!(1), Loss::Anybody);
    let mut late = bench.join(2, &[]);
    bench.event(EventKind::Tick, &json!(2), Loss::Anybody);
    bench.turn();
    bench.turn();
    assert_eq!(read_json(&mut early)["type"], "hello-ok");
    assert_eq!(read_json(&mut early), json!({"type": "event", "event": "tick", "seq": 1, "payload": 1}));
    assert_eq!(read_json(&mut early)["seq"], 2);
    assert_eq!(read_json(&mut late)["type"], "hello-ok");
    assert_eq!(read_json(&mut late), json!({"type": "event", "event": "tick", "seq": 1, "payload": 2}));
}

#[test]
fn an_event_for_one_is_numbered_among_its_own_and_kept_from_the_others() {
    let mut bench = Bench::new();
    let [mut one, mut other, mut deaf] =
        [(1, &[][..]), (2, &[]), (3, &["event:agent"])].map(|(conn, caps)| bench.join(conn, caps));
    let to = |conn| Outbound::EventTo { conn, body: EventBody::new(EventKind::Channel, &json!(conn), None) };
    bench.event(EventKind::Tick, &json!(0), Loss::Anybody);
    bench.send(to(1));
    // Whoever did not subscribe to the family, and whoever has gone.
    bench.send(to(3));
    bench.send(to(4));
    bench.event(EventKind::Tick, &json!(9), Loss::Anybody);
    bench.turn();
    bench.turn();
    for (peer, expected) in [
        (&mut one, vec![("tick", 1, 0), ("channel", 2, 1), ("tick", 3, 9)]),
        (&mut other, vec![("tick", 1, 0), ("tick", 2, 9)]),
        (&mut deaf, vec![("tick", 1, 0), ("tick", 2, 9)]),
    ] {
        assert_eq!(read_json(peer)["type"], "hello-ok");
        for (event, seq, payload) in expected {
            let frame = json!({"type": "event", "event": event, "seq": seq, "payload": payload});
            assert_eq!(read_json(peer), frame);
        }
    }
}

#[test]
fn a_single_frame_does_not_overtake_an_event_of_the_same_client() {
    let mut bench = Bench::new();
    let mut peers: Vec<_> = (1..=200).map(|conn| bench.join(conn, &[])).collect();
    bench.event(EventKind::Presence, &json!({}), Loss::Anybody);
    bench.send(Outbound::Frame { conn: 200, frame: text(&json!({"type": "res"})) });
    for _ in 0..5 {
        bench.turn();
    }
    for peer in &mut peers {
        assert_eq!(read_json(peer)["type"], "hello-ok");
        assert_eq!(read_json(peer)["seq"], 1);
    }
    assert_eq!(read_json(&mut peers[199])["type"], "res");
}

#[test]
fn events_nobody_subscribed_to_take_no_number() {
    let mut bench = Bench::new();
    let mut peer = bench.join(1, &["event:agent"]);
    bench.event(EventKind::Presence, &json!({}), Loss::Anybody);
    bench.event(EventKind::Agent, &json!({}), Loss::Nobody);
    bench.turn();
    bench.turn();
    assert_eq!(read_json(&mut peer)["type"], "hello-ok");
    let event = read_json(&mut peer);
    assert_eq!((event["event"].as_str(), event["seq"].as_u64()), (Some("agent"), Some(1)));
}

/// Fills the kernel's buffers and then the backlog with `text` until it is nearly full.
fn fill(bench: &mut Bench, conn: ConnId) {
    let frame = text(&"x".repeat(100_000));
    while bench.writer.clients[&conn].held_bytes + 2 * frame.len() < BACKLOG_BYTES_MAX {
        bench.send(Outbound::Frame { conn, frame: frame.clone() });
        bench.turn();
    }
}

#[test]
fn a_stalled_client_misses_droppable_events_and_sees_the_hole() {
    let mut bench = Bench::new();
    let mut stalled = bench.join(1, &[]);
    fill(&mut bench, 1);
    let large = json!("y".repeat(300_000));
    bench.event(EventKind::Presence, &large, Loss::Anybody);
    // There is room for what may not be dropped.
    bench.event(EventKind::Health, &json!(1), Loss::Nobody);
    bench.turn();
    bench.turn();
    let event = bench.turn_until("an event reaches the stalled client", move || {
        loop {
            let frame = read_json(&mut stalled);
            if frame["type"] == "event" {
                return frame;
            }
        }
    });
    assert_eq!((event["event"].as_str(), event["seq"].as_u64()), (Some("health"), Some(2)), "1 was dropped");
}

#[test]
fn a_stalled_client_is_closed_when_an_answer_does_not_fit() {
    let mut bench = Bench::new();
    let mut stalled = bench.join(1, &[]);
    fill(&mut bench, 1);
    bench.send(Outbound::Frame { conn: 1, frame: text(&"z".repeat(400_000)) });
    bench.turn();
    // The kernel holds whole frames and part of one; that one is finished, then comes the close.
    let (code, reason) =
        bench.turn_until("a close frame reaches the stalled client", move || read_close(&mut stalled));
    assert_eq!((code, &reason[..13]), (1008, "slow consumer"));
}

/// Sends numbered answers until so many bytes of them wait; returns how many there are. A few are events,
/// and a few as long as that.
fn fill_with_small_ones(bench: &mut Bench, conn: ConnId, bytes: usize, long: usize) -> usize {
    let mut count = 0;
    while bench.writer.clients[&conn].backlog_bytes < bytes {
        match count % 100 {
            50 => bench.event(EventKind::Tick, &json!(count), Loss::Nobody),
            51 => bench.send(Outbound::Frame { conn, frame: text(&json!([count, "x".repeat(long)])) }),
            _ => bench.send(Outbound::Frame { conn, frame: text(&json!([count])) }),
        }
        bench.turn();
        count += 1;
    }
    count
}

/// The number of an answer or event of [`fill_with_small_ones`].
fn number(frame: &Value) -> Option<u64> {
    frame[0].as_u64().or_else(|| frame["payload"].as_u64())
}

#[test]
fn small_frames_that_wait_take_little_more_than_their_length_and_come_in_order() {
    let mut bench = Bench::new();
    let mut stalled = bench.join(1, &[]);
    let count = fill_with_small_ones(&mut bench, 1, 1_000_000, 5_000);
    let client = &bench.writer.clients[&1];
    let (held, waiting) = (client.held_bytes, client.backlog_bytes);
    assert!(held < waiting + waiting / 4, "{held} bytes for {waiting}");
    bench.turn_until("all of them reach the client", move || {
        assert_eq!(read_json(&mut stalled)["type"], "hello-ok");
        for expected in 0..count {
            assert_eq!(number(&read_json(&mut stalled)), Some(expected as u64));
        }
    });
    bench.turn();
    assert_eq!((bench.writer.held_bytes, bench.writer.clients[&1].backlog_bytes), (0, 0));
}

#[test]
fn a_close_finishes_the_small_frame_under_way_and_leaves_out_those_behind_it() {
    for bytes in [500_000, 600_000] {
        let mut bench = Bench::new();
        let mut stalled = bench.join(1, &[]);
        let count = fill_with_small_ones(&mut bench, 1, bytes, 500) as u64;
        // It reads for a while and then no more, so what is under way is somewhere among many.
        assert_eq!(read_json(&mut stalled)["type"], "hello-ok");
        let read = 8_000;
        for expected in 0..read {
            assert_eq!(number(&read_json(&mut stalled)), Some(expected));
            bench.turn();
        }
        bench.send(Outbound::Close { conn: 1, close: Close::new(1001, "bye") });
        assert!(bench.writer.clients[&1].backlog_bytes < 600, "one frame and the close");
        assert_eq!(bench.writer.held_bytes, bench.writer.clients[&1].held_bytes);
        let came = bench.turn_until("the close reaches the client", move || {
            let mut came = read;
            loop {
                match stalled.read().unwrap() {
                    Message::Text(text) => {
                        let frame: Value = serde_json::from_str(&text).unwrap();
                        assert_eq!(number(&frame), Some(came));
                        came += 1;
                    }
                    Message::Close(close) => {
                        assert_eq!(u16::from(close.unwrap().code), 1001);
                        return came;
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
        assert!(came < count, "{came} of {count}: the client had not kept up");
    }
}

#[test]
fn nothing_follows_a_close_frame() {
    let mut bench = Bench::new();
    let mut peer = bench.join(1, &[]);
    bench.send(Outbound::Close { conn: 1, close: Close::new(1001, "bye") });
    bench.send(Outbound::Close { conn: 1, close: Close::new(1008, "again") });
    bench.send(Outbound::Frame { conn: 1, frame: text(&json!({})) });
    bench.event(EventKind::Tick, &json!(1), Loss::Anybody);
    bench.turn();
    bench.turn();
    assert_eq!(read_json(&mut peer)["type"], "hello-ok", "what the peer keeps up with still goes out");
    assert_eq!(read_close(&mut peer), (1001, "bye".to_owned()));
    let mut rest = Vec::new();
    peer.get_mut().read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"", "half-closed behind the close frame");
}

#[test]
fn goodbye_comes_after_the_last_event() {
    let mut bench = Bench::new();
    let mut peers: Vec<_> = (1..=150).map(|conn| bench.join(conn, &[])).collect();
    bench.turn();
    bench.event(EventKind::Shutdown, &json!({"reason": "test"}), Loss::Nobody);
    bench.send(Outbound::CloseAll { close: Close::new(1012, "restart") });
    bench.turn();
    for peer in &mut peers {
        assert_eq!(read_json(peer)["type"], "hello-ok");
        assert_eq!(read_json(peer)["event"], "shutdown");
        assert_eq!(read_close(peer).0, 1012);
    }
}

#[test]
fn silent_clients_are_pinged_then_dropped() {
    let mut bench = Bench::new();
    let mut peer = bench.join(1, &[]);
    bench.send(Outbound::Liveness);
    bench.turn();
    assert_eq!(read_json(&mut peer)["type"], "hello-ok");
    assert!(matches!(peer.read().unwrap(), Message::Ping(_)));
    bench.send(Outbound::Liveness);
    bench.turn();
    bench.send(Outbound::Liveness);
    bench.turn();
    assert_eq!(read_close(&mut peer).0, 1008);
}

#[test]
fn backlog_accounts_add_up_to_nothing_in_the_end() {
    let mut bench = Bench::new();
    let _stalled = bench.join(1, &[]);
    let _idle = bench.join(2, &[]);
    fill(&mut bench, 1);
    assert!(bench.writer.held_bytes > 1_000_000);
    bench.send(Outbound::Frame { conn: 2, frame: Bytes::from_static(b"") });
    bench.send(Outbound::Detach { conn: 1 });
    bench.send(Outbound::Detach { conn: 2 });
    assert_eq!(bench.writer.held_bytes, 0);
}
