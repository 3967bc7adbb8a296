//! One connection from its first byte to its last, over a pair of sockets: who is let in, what state hears of it,
//! and what the client is told.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::outbound::{self, Outbound};
use super::{ConnShared, NetContext, NetEvent, conn};
use crate::config::settings::Settings;
use crate::limits::{HANDSHAKE_TIMEOUT, INVALID_FRAMES_MAX};
use crate::port::Port;
use crate::protocol::event::Subscriptions;
use crate::protocol::frame;
use crate::protocol::method::Call;
use crate::store::Layout;
use crate::threads;

/// The sockets' side of a gateway, and what it tells state.
struct Bench {
    context: Arc<NetContext>,
    events: Receiver<NetEvent>,
}

impl Bench {
    fn new(gateway: Value) -> Self {
        let settings = Settings {
            config: json!({ "gateway": gateway }).into(),
            binds: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            token_file: None,
            state_dir: PathBuf::from("/nowhere"),
            secret_files: Vec::new(),
            agent_command: None,
            warnings: Vec::new(),
        };
        let (to_state, events) = bounded(64);
        let (to_outbound, inbox) = outbound::queue();
        outbound::spawn(inbox, Arc::default()).unwrap();
        let sandbox_known = bounded(0).1;
        let layout = Layout::new(&settings.state_dir);
        let state = Port::new(to_state, |event| event);
        Self { context: NetContext::new(&settings, None, state, to_outbound, layout, sandbox_known), events }
    }

    /// The peer's end of a connection that is served on a thread of its own.
    fn connect(&self) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (stream, address) = listener.accept().unwrap();
        let number = self.context.next_conn.fetch_add(1, Ordering::Relaxed);
        let shared = ConnShared::new(number, stream, &self.context.open_sockets);
        let slot = self.context.handshake_slots.take(&shared);
        let context = Arc::clone(&self.context);
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        threads::spawn_expendable("conn", move || conn::serve(address, &shared, deadline, &context, slot))
            .unwrap();
        peer
    }

    fn websocket(&self) -> WebSocket<TcpStream> {
        tungstenite::client("ws://127.0.0.1/", self.connect()).unwrap().0
    }

    fn event(&self) -> NetEvent {
        self.events.recv_timeout(Duration::from_secs(10)).expect("an event for state")
    }

    /// A client that was let in, as state does it, and the number of its connection.
    fn client(&self) -> (WebSocket<TcpStream>, u64) {
        let mut socket = self.websocket();
        send(&mut socket, &hello());
        let NetEvent::Opened(opened) = self.event() else { panic!("a client is opened first") };
        assert_eq!((opened.hello.client.name.as_str(), opened.token), ("test", 0));
        let (conn, subscriptions) = (opened.conn, Subscriptions::from_caps(&[]));
        let hello_ok = frame::text(&json!({"type": "hello-ok"}));
        self.context.outbound.send(Outbound::Join { conn, hello_ok, subscriptions });
        assert_eq!(read(&mut socket)["type"], "hello-ok");
        (socket, conn)
    }
}

fn hello() -> Value {
    json!({
        "type": "hello", "minProtocol": 1, "maxProtocol": 1, "auth": { "token": "secret" },
        "client": { "name": "test", "version": "1.0.0", "platform": "linux", "mode": "cli" }
    })
}

fn send(socket: &mut WebSocket<TcpStream>, frame: &Value) {
    socket.send(Message::text(frame.to_string())).unwrap();
}

fn read(socket: &mut WebSocket<TcpStream>) -> Value {
    serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap()
}

/// Code and reason of the close that is the next frame.
fn read_close(socket: &mut WebSocket<TcpStream>) -> (u16, String) {
    let Message::Close(Some(close)) = socket.read().unwrap() else { panic!("a close comes next") };
    (close.code.into(), close.reason.to_string())
}

#[test]
fn a_client_is_let_in_asks_and_goes() {
    let bench = Bench::new(json!({"token": "secret"}));
    let (mut socket, number) = bench.client();
    send(&mut socket, &json!({"type": "req", "id": "1", "method": "status"}));
    match bench.event() {
        NetEvent::Request { conn, id, call: Call::Status(_), built: None } => {
            assert_eq!((conn, &*id), (number, "1"));
        }
        _ => panic!("another event than the request"),
    }
    // State neither hears of what it cannot answer, nor of pages.
    send(&mut socket, &json!({"type": "req", "id": "2", "method": "nonsense"}));
    let answer = read(&mut socket);
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("2"), &json!("UNKNOWN_METHOD")));
    let params = json!({"sessionKey": "main"});
    send(&mut socket, &json!({"type": "req", "id": "3", "method": "session-history", "params": params}));
    let answer = read(&mut socket);
    assert_eq!((&answer["id"], &answer["payload"]["messages"]), (&json!("3"), &json!([])));
    socket.close(None).unwrap();
    assert!(matches!(bench.event(), NetEvent::Closed(conn) if conn == number));
}

#[test]
fn a_connection_ends_with_what_no_client_sends() {
    let bench = Bench::new(json!({"token": "secret"}));
    let frames = [
        (Message::text("nonsense"), 1007, "the frame is not JSON"),
        (Message::text("[".repeat(100)), 1007, "the JSON nests deeper than 64 levels"),
        (Message::binary("{}"), 1003, "binary frames are not understood"),
    ];
    for (frame, code, reason) in frames {
        let (mut socket, number) = bench.client();
        socket.send(frame).unwrap();
        let close = read_close(&mut socket);
        assert!(close.0 == code && close.1.starts_with(reason), "{close:?}");
        assert!(matches!(bench.event(), NetEvent::Closed(conn) if conn == number));
    }
}

#[test]
fn invalid_frames_are_answered_until_there_are_too_many() {
    let bench = Bench::new(json!({"token": "secret"}));
    let (mut socket, _) = bench.client();
    for _ in 0..=INVALID_FRAMES_MAX {
        send(&mut socket, &json!({"type": "req"}));
    }
    for _ in 0..INVALID_FRAMES_MAX {
        assert_eq!(read(&mut socket)["error"]["code"], "INVALID_REQUEST");
    }
    assert_eq!(read_close(&mut socket).0, 1008);
    assert!(matches!(bench.event(), NetEvent::Closed(_)));
}

#[test]
fn who_is_not_let_in_is_told_why_and_state_hears_nothing() {
    let bench = Bench::new(json!({"token": "secret", "minClient": "0.9.0"}));
    let with = |path: &str, value: Value| {
        let mut hello = hello();
        *hello.pointer_mut(path).unwrap() = value;
        Message::text(hello.to_string())
    };
    let firsts = [
        (Message::text("nonsense"), 1008, "the first frame is not JSON; send a `hello` object first"),
        (Message::text("{}"), 1008, "the first frame must be `hello`"),
        (
            Message::text(r#"{"type":"hello"}"#),
            1008,
            "bad `hello`: `/minProtocol`: required member is missing",
        ),
        (Message::binary("{}"), 1003, "send `hello` as a text frame"),
        (with("/minProtocol", json!(2)), 1002, "no common protocol: this server speaks 1, the client 2 to 1"),
        (with("/client/version", json!("0.8.0")), 1008, "client too old"),
        (with("/auth/token", json!("guessed")), 1008, "unauthorized"),
    ];
    for (first, code, reason) in firsts {
        let mut socket = bench.websocket();
        socket.send(first).unwrap();
        let error = read(&mut socket);
        assert_eq!((&error["type"], &error["reason"]), (&json!("hello-error"), &json!(reason)));
        assert_eq!(read_close(&mut socket).0, code, "{reason}");
    }
    assert!(bench.events.is_empty());
}

#[test]
fn who_is_still_in_the_handshake_when_the_gateway_stops_is_told() {
    let bench = Bench::new(json!({}));
    let mut socket = bench.websocket();
    bench.context.stop();
    bench.context.end_handshakes();
    assert_eq!(read(&mut socket)["reason"], "the gateway is stopping");
    assert_eq!(read_close(&mut socket), (1001, "the gateway is stopping".to_owned()));
}

#[test]
fn what_asks_for_no_websocket_is_answered_over_http() {
    let bench = Bench::new(json!({}));
    for (request, status) in [
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "200"),
        ("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
        ("POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", "405"),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n", "400"),
        ("\u{1}\r\n\r\n", "400"),
    ] {
        let mut peer = bench.connect();
        peer.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
    }
    assert!(bench.events.is_empty());
}
