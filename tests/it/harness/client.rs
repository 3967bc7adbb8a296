//! A client as the protocol wants it: it says hello, asks, and reads every frame that comes.
//!
//! Each frame from the server is held against the schemas, the frame limit and, for events, the
//! count of `seq`.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use clawdis_gateway::limits::PAYLOAD_BYTES_MAX;
use serde_json::{Value, json};
use tungstenite::{Error, Message, WebSocket};

use super::wait::PATIENCE;
use crate::harness::schemas;

/// A plain good hello.
pub(crate) fn hello() -> Value {
    json!({
        "type": "hello", "minProtocol": 1, "maxProtocol": 1,
        "client": {"name": "it", "version": "0.1.0", "platform": "linux", "mode": "test"},
    })
}

/// Params of `agent` with the required members.
pub(crate) fn params_agent(message: &str, key: &str) -> Value {
    json!({"message": message, "idempotencyKey": key})
}

/// What a read gave.
#[derive(Debug)]
pub(crate) enum Received {
    /// A text frame.
    Frame(Value),
    /// The end, with the code and reason of the server's close frame if it sent one.
    End(Option<(u16, String)>),
    /// Nothing in time.
    Silence,
}

/// One connection past its handshake.
pub(crate) struct Client {
    socket: WebSocket<TcpStream>,
    /// Its `hello-ok`.
    pub(crate) hello: Value,
    pending: VecDeque<Value>,
    next_id: u64,
    last_seq: u64,
    holes: u64,
    holes_expected: bool,
    close: Option<(u16, String)>,
    /// What ended the reading.
    error: Option<Error>,
}

/// A hello that was not accepted.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The `hello-error`, if one came.
    pub(crate) frame: Option<Value>,
    /// Code and reason of the close.
    pub(crate) close: Option<(u16, String)>,
}

/// A run of the agent, acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Id of the request, which its last answer carries too.
    pub(crate) request: String,
    /// Id of the run.
    pub(crate) id: String,
}

impl Client {
    /// Connects and expects to be welcome.
    #[track_caller]
    pub(crate) fn connect(addr: SocketAddr, hello: &Value) -> Self {
        Self::try_connect(addr, hello).unwrap_or_else(|refused| panic!("hello was refused: {refused:?}"))
    }

    /// Connects and says hello.
    #[track_caller]
    pub(crate) fn try_connect(addr: SocketAddr, hello: &Value) -> Result<Self, Refused> {
        let mut client = Self::upgrade(addr);
        client.send_json(hello);
        match client.receive(Instant::now() + PATIENCE) {
            Received::Frame(frame) if frame["type"] == "hello-ok" => {
                client.hello = frame;
                Ok(client)
            }
            Received::Frame(frame) => {
                let close = client.end("the close behind a hello-error");
                Err(Refused { frame: Some(frame), close })
            }
            Received::End(close) => Err(Refused { frame: None, close }),
            Received::Silence => panic!("waited {PATIENCE:?} in vain for an answer to hello"),
        }
    }

    /// Connects without a word.
    #[track_caller]
    pub(crate) fn upgrade(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("the daemon accepts");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) =
            tungstenite::client(format!("ws://{addr}/"), stream).expect("the upgrade is answered");
        Self {
            socket,
            hello: Value::Null,
            pending: VecDeque::new(),
            next_id: 1,
            last_seq: 0,
            holes: 0,
            holes_expected: false,
            close: None,
            error: None,
        }
    }

    /// Whether the upgrade is answered with 101.
    pub(crate) fn try_upgrade(addr: SocketAddr) -> bool {
        let stream = TcpStream::connect(addr).expect("the daemon accepts");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        tungstenite::client(format!("ws://{addr}/"), stream).is_ok()
    }

    /// This client reads too little: events may be left out for it.
    pub(crate) fn expects_holes(&mut self) {
        self.holes_expected = true;
    }

    /// How many events the server left out so far.
    pub(crate) fn holes(&self) -> u64 {
        self.holes
    }

    /// `hello-ok.server.connId`.
    pub(crate) fn conn_id(&self) -> &str {
        self.hello["server"]["connId"].as_str().unwrap()
    }

    /// The socket below, for tests that break it.
    pub(crate) fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    // ---- sending ------------------------------------------------------------------------------

    /// Sends any JSON as a frame.
    pub(crate) fn send_json(&mut self, value: &Value) {
        self.send_text(&value.to_string());
    }

    /// Sends any text as a frame.
    pub(crate) fn send_text(&mut self, text: &str) {
        self.send_message(Message::text(text));
    }

    /// Sends any message.
    pub(crate) fn send_message(&mut self, message: Message) {
        self.try_send(message).expect("the daemon takes what a client sends");
    }

    /// Sends any message to a daemon that may be gone.
    pub(crate) fn try_send(&mut self, message: Message) -> Result<(), Error> {
        self.socket.send(message)
    }

    /// Sends a request and returns its id without waiting for an answer.
    pub(crate) fn send(&mut self, method: &str, params: &Value) -> String {
        let id = format!("r{}", self.next_id);
        self.next_id += 1;
        self.send_json(&json!({"type": "req", "id": id, "method": method, "params": params}));
        id
    }

    /// Says goodbye and reads to the end.
    #[track_caller]
    pub(crate) fn goodbye(mut self) {
        self.socket.close(None).unwrap();
        self.end("the echo of our close");
    }

    // ---- receiving ----------------------------------------------------------------------------

    /// The next frame in the order of the wire, or what came instead.
    pub(crate) fn receive(&mut self, deadline: Instant) -> Received {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Received::Silence;
            }
            self.socket.get_ref().set_read_timeout(Some(left)).unwrap();
            match self.socket.read() {
                Ok(Message::Text(text)) => return Received::Frame(self.check(&text)),
                Ok(Message::Close(frame)) => {
                    self.close = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                }
                Ok(Message::Binary(_)) => panic!("a binary frame from the server"),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                Err(Error::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Received::Silence;
                }
                Err(error) => {
                    self.error = Some(error);
                    return Received::End(self.close.clone());
                }
            }
        }
    }

    fn check(&mut self, text: &str) -> Value {
        assert!(text.len() <= PAYLOAD_BYTES_MAX, "a frame of {} bytes from the server", text.len());
        let frame: Value = serde_json::from_str(text).expect("a frame from the server is JSON");
        schemas::assert_outbound(&frame);
        if frame["type"] == "event" {
            let seq = frame["seq"].as_u64().unwrap();
            assert!(seq > self.last_seq, "seq {seq} behind {}: {frame}", self.last_seq);
            self.holes += seq - self.last_seq - 1;
            assert!(self.holes == 0 || self.holes_expected, "a hole before {frame}");
            self.last_seq = seq;
        }
        frame
    }

    /// The first frame, read already or yet to come, for which `wanted` says yes. The others stay.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_within(what, PATIENCE, wanted)
    }

    /// The same with a deadline of the caller's.
    #[track_caller]
    pub(crate) fn wait_within(
        &mut self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        if let Some(at) = self.pending.iter().position(&wanted) {
            return self.pending.remove(at).unwrap();
        }
        let deadline = Instant::now() + within;
        loop {
            match self.receive(deadline) {
                Received::Frame(frame) if wanted(&frame) => return frame,
                Received::Frame(frame) => self.pending.push_back(frame),
                Received::End(close) => panic!("closed with {close:?} ({:?}) instead of {what}", self.error),
                Received::Silence => {
                    let last: Vec<String> =
                        self.pending.iter().rev().take(5).map(|frame| brief(&frame.to_string())).collect();
                    panic!("waited {within:?} in vain for {what}; the last frames were {last:#?}");
                }
            }
        }
    }

    /// Reads what came until now, in the order of the wire, and forgets it. A `health` request
    /// marks the end.
    #[track_caller]
    pub(crate) fn drain(&mut self) -> Vec<Value> {
        let mark = self.send("health", &json!({}));
        self.answer(&mark);
        self.pending.drain(..).collect()
    }

    /// The end of the connection; frames before it are kept aside.
    #[track_caller]
    pub(crate) fn end(&mut self, what: &str) -> Option<(u16, String)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.receive(deadline) {
                Received::Frame(frame) => self.pending.push_back(frame),
                Received::End(close) => return close,
                Received::Silence => panic!("waited {PATIENCE:?} in vain for {what}"),
            }
        }
    }

    /// The end, which must be a close with this code and a reason; returns the reason.
    #[track_caller]
    pub(crate) fn closed_with(&mut self, code: u16) -> String {
        let close = self.end(&format!("a close with {code}"));
        let (found, reason) = close.expect("an end with a close frame");
        assert_eq!(found, code, "close code; its reason was {reason:?}");
        assert!(!reason.is_empty(), "a close without a reason");
        reason
    }

    // ---- requests -----------------------------------------------------------------------------

    /// The answer to a request that was sent. For `agent` the first call gives the ack.
    #[track_caller]
    pub(crate) fn answer(&mut self, id: &str) -> Value {
        let what = format!("the answer to request {id}");
        self.wait_for(&what, |frame| frame["type"] == "res" && frame["id"] == *id)
    }

    /// Asks and returns the payload of a good answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, params: &Value) -> Value {
        let id = self.send(method, params);
        let mut answer = self.answer(&id);
        assert_eq!(answer["ok"], true, "{method} {params}: {answer}");
        answer["payload"].take()
    }

    /// Asks and returns the error of a bad answer.
    #[track_caller]
    pub(crate) fn refused(&mut self, method: &str, params: &Value) -> Value {
        let id = self.send(method, params);
        let mut answer = self.answer(&id);
        assert_eq!(answer["ok"], false, "{method} {}: {answer}", brief(&params.to_string()));
        let error = answer["error"].take();
        assert!(!error["message"].as_str().unwrap().is_empty(), "an error without a sentence");
        error
    }

    /// The first event of a family for which `wanted` says yes.
    #[track_caller]
    pub(crate) fn event(&mut self, family: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let what = format!("an event `{family}`");
        self.wait_for(&what, |frame| frame["type"] == "event" && frame["event"] == family && wanted(frame))
    }

    // ---- runs ---------------------------------------------------------------------------------

    /// Starts a run and waits for its ack.
    #[track_caller]
    pub(crate) fn run(&mut self, params: &Value) -> Run {
        let request = self.send("agent", params);
        let ack = self.answer(&request);
        assert_eq!(ack["ok"], true, "{ack}");
        assert_eq!(ack["payload"]["status"], "accepted", "{ack}");
        Run { request, id: ack["payload"]["runId"].as_str().unwrap().to_owned() }
    }

    /// The last answer to a run that this client started.
    #[track_caller]
    pub(crate) fn finish(&mut self, run: &Run) -> Value {
        let last = self.answer(&run.request);
        assert_eq!(last["payload"]["runId"], run.id, "{last}");
        last
    }

    /// Asks for a run and returns its last answer, whether or not an ack comes before it.
    #[track_caller]
    pub(crate) fn outcome(&mut self, params: &Value) -> Value {
        let request = self.send("agent", params);
        loop {
            let answer = self.answer(&request);
            if answer["payload"]["status"] != "accepted" {
                return answer;
            }
        }
    }

    /// The next step of a run for which `wanted` says yes.
    #[track_caller]
    pub(crate) fn step(&mut self, run: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_for(&format!("{what} of run {run}"), |frame| {
            frame["event"] == "agent" && frame["payload"]["runId"] == *run && wanted(&frame["payload"])
        })
    }

    /// A run's text holds `needle` by now.
    #[track_caller]
    pub(crate) fn step_says(&mut self, run: &str, needle: &str) -> Value {
        self.step(run, needle, |step| {
            step["data"]["delta"].as_str().is_some_and(|delta| delta.contains(needle))
        })
    }

    /// All steps of a run up to its end, in order.
    #[track_caller]
    pub(crate) fn steps(&mut self, run: &str) -> Vec<Value> {
        let mut steps = Vec::new();
        loop {
            let step = self.step(run, "the next step", |_| true)["payload"].take();
            let over = step["data"]["phase"] == "ended";
            steps.push(step);
            if over {
                return steps;
            }
        }
    }
}

/// What the pieces of the answer among `steps` add up to.
pub(crate) fn text_of(steps: &[Value]) -> String {
    let mut text = String::new();
    for step in steps.iter().filter(|step| step["stream"] == "assistant") {
        match step["data"]["delta"].as_str() {
            Some(delta) => text.push_str(delta),
            None => text.clear(),
        }
    }
    text
}

/// Enough of a long text to recognise it.
pub(crate) fn brief(text: &str) -> String {
    text.chars().take(300).collect()
}
