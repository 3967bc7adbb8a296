//! A gateway made of a script: a closure per test, called with each connection in turn.

use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::{Value, json};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

use crate::cli::process::PATIENCE;

/// What the gateway does with one connection.
pub(crate) type Script = Box<dyn FnOnce(&mut Peer) + Send>;

/// Where the script listens. The script's own panics are reported by `finish`.
pub(crate) struct Gateway {
    pub(crate) url: String,
    pub(crate) port: u16,
    done: Receiver<()>,
}

impl Gateway {
    /// Plays one script per expected connection.
    pub(crate) fn play(scripts: Vec<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, done) = channel();
        let serve = move || {
            for script in scripts {
                let (stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                script(&mut Peer { socket: tungstenite::accept(stream).unwrap(), seq: 0 });
            }
            sender.send(()).unwrap();
        };
        thread::Builder::new().name("gateway".to_owned()).spawn(serve).unwrap();
        Self { url: format!("ws://127.0.0.1:{port}"), port, done }
    }

    /// For a single connection.
    pub(crate) fn once(script: impl FnOnce(&mut Peer) + Send + 'static) -> Self {
        Self::play(vec![Box::new(script)])
    }

    /// Answers one request of any method with `payload`.
    pub(crate) fn answering(method: &'static str, payload: Value) -> Self {
        Self::once(move |peer| {
            peer.greet();
            let request = peer.request(method);
            peer.answer(&request, &payload);
            peer.gone();
        })
    }

    /// Raw TCP instead: the script gets the stream.
    pub(crate) fn raw(script: impl FnOnce(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, done) = channel();
        let serve = move || {
            script(listener.accept().unwrap().0);
            sender.send(()).unwrap();
        };
        thread::Builder::new().spawn(serve).unwrap();
        Self { url: format!("ws://127.0.0.1:{port}"), port, done }
    }

    /// Every script was played to its end.
    #[track_caller]
    pub(crate) fn finish(self) {
        self.done.recv_timeout(PATIENCE).expect("a script of the gateway failed or waits for something");
    }
}

/// One connection, from the gateway's side.
pub(crate) struct Peer {
    socket: WebSocket<TcpStream>,
    seq: u64,
}

impl Peer {
    /// The next frame.
    pub(crate) fn read(&mut self) -> Value {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("a {other:?} instead of a frame"),
            }
        }
    }

    pub(crate) fn write(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).unwrap();
    }

    /// Reads a hello and answers it; the hello is returned.
    pub(crate) fn greet(&mut self) -> Value {
        self.greet_ticking(30_000)
    }

    pub(crate) fn greet_ticking(&mut self, tick_interval_ms: u64) -> Value {
        let hello = self.read();
        assert_eq!(hello["type"], "hello");
        self.write(&json!({
            "type": "hello-ok",
            "protocol": 1,
            "server": { "version": "9.9.9", "host": "testhost", "connId": "c1" },
            "features": { "methods": [], "events": [] },
            "snapshot": {
                "presence": [],
                "health": { "ok": true },
                "stateVersion": { "presence": 1, "health": 1 },
                "uptimeMs": 1,
            },
            "policy": { "maxPayload": 524_288, "maxBufferedBytes": 1, "tickIntervalMs": tick_interval_ms },
        }));
        hello
    }

    /// The next request, which must be of that method.
    pub(crate) fn request(&mut self, method: &str) -> Value {
        let request = self.read();
        assert_eq!(request["method"], method, "{request}");
        request
    }

    pub(crate) fn answer(&mut self, request: &Value, payload: &Value) {
        self.write(&json!({ "type": "res", "id": request["id"], "ok": true, "payload": payload }));
    }

    pub(crate) fn refuse(&mut self, request: &Value, code: &str, message: &str) {
        let error = json!({ "code": code, "message": message, "retryable": false });
        self.write(&json!({ "type": "res", "id": request["id"], "ok": false, "error": error }));
    }

    /// An event with the next number.
    pub(crate) fn event(&mut self, name: &str, payload: &Value) {
        self.seq += 1;
        self.write(&json!({ "type": "event", "event": name, "payload": payload, "seq": self.seq }));
    }

    /// Events that this client does not get.
    pub(crate) fn skip(&mut self, events: u64) {
        self.seq += events;
    }

    /// A step of the run `r1`.
    pub(crate) fn agent(&mut self, seq: u64, stream: &str, data: &Value) {
        let payload = json!({ "runId": "r1", "sessionKey": "main", "seq": seq, "stream": stream, "ts": 1, "data": data });
        self.event("agent", &payload);
    }

    pub(crate) fn ping(&mut self) {
        self.socket.send(Message::Ping("are you there".into())).unwrap();
        match self.socket.read().unwrap() {
            Message::Pong(data) => assert_eq!(data, "are you there".as_bytes()),
            other => panic!("a {other:?} instead of a pong"),
        }
    }

    pub(crate) fn close(&mut self, code: u16, reason: &'static str) {
        self.socket.close(Some(CloseFrame { code: code.into(), reason: reason.into() })).unwrap();
        self.gone();
    }

    /// Waits until the client has gone.
    pub(crate) fn gone(&mut self) {
        self.rest();
    }

    /// The same; what it still said.
    pub(crate) fn rest(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.socket.read().ok()).collect()
    }
}
