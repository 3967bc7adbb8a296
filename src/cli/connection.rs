//! One connection to the gateway: handshake, requests, and frames as they come.
//!
//! Knows the envelope of frames, not what is in their payloads, and never connects twice: whoever
//! owns a connection decides what to do when it is lost.

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tungstenite::client::client_with_config;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::Uri;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{ClientRequestBuilder, Error, Message, WebSocket};

use crate::cli::exit::{Answered, Failure};
use crate::cli::hello;
use crate::cli::interrupt::Interrupt;
use crate::cli::locate::Target;
use crate::cli::stream::TimedStream;
use crate::cli::terminal::line;
use crate::limits::{
    CLI_SILENCE_SLACK_MS, PAYLOAD_BYTES_MAX, READ_BUFFER_BYTES, TICK_INTERVAL_MS_DEFAULT, ms,
};

/// A connection past its handshake.
pub(crate) struct Connection {
    socket: WebSocket<TimedStream>,
    /// The gateway's `hello-ok`.
    hello: Value,
    requests: u64,
    silence_max: Duration,
    heard: Instant,
}

/// A frame from the gateway.
pub(crate) enum Frame {
    /// An answer.
    Response {
        /// Of the request.
        id: String,
        /// Its payload; `Null` if absent.
        payload: Value,
        /// Its error, if it is one.
        error: Option<Answered>,
    },
    /// An event, whole.
    Event(Value),
}

impl Connection {
    /// Connects and shakes hands.
    pub(crate) fn open(
        target: &Target,
        caps: &[&str],
        instance_id: &str,
        interrupt: &Interrupt,
        deadline: Instant,
    ) -> Result<Self, Failure> {
        let stream = dial(target, deadline)?;
        let local = |error: io::Error| {
            Failure::Unreachable(format!("the connection to {} broke: {error}", target.address))
        };
        let stream = TimedStream::new(stream, interrupt.clone(), deadline).map_err(local)?;
        let socket = upgrade(stream, target)?;
        let mut connection = Self {
            socket,
            hello: Value::Null,
            requests: 0,
            silence_max: ms(2 * TICK_INTERVAL_MS_DEFAULT + CLI_SILENCE_SLACK_MS),
            heard: Instant::now(),
        };
        connection.transmit(hello::hello(target, caps, instance_id).to_string())?;
        connection.hello = connection.greeting(target, deadline)?;
        let tick = connection.hello["policy"]["tickIntervalMs"].as_u64().unwrap_or(TICK_INTERVAL_MS_DEFAULT);
        connection.silence_max = ms(tick.saturating_mul(2).saturating_add(CLI_SILENCE_SLACK_MS));
        Ok(connection)
    }

    /// The gateway's `hello-ok`.
    pub(crate) fn hello(&self) -> &Value {
        &self.hello
    }

    /// Sends a request; the answer carries the id that is returned.
    pub(crate) fn send(
        &mut self,
        method: &str,
        params: &Value,
        deadline: Instant,
    ) -> Result<String, Failure> {
        self.requests += 1;
        let id = self.requests.to_string();
        self.socket.get_mut().set_deadline(deadline);
        self.transmit(encode(&Request { id: &id, method, params })?)?;
        Ok(id)
    }

    /// The next frame; `None` at `until` or when Ctrl-C was pressed. A connection that has been
    /// silent for longer than its ticks allow counts as lost.
    pub(crate) fn receive(&mut self, until: Instant) -> Result<Option<Frame>, Failure> {
        let silent = self.heard.checked_add(self.silence_max).unwrap_or(until);
        self.socket.get_mut().set_deadline(until.min(silent));
        let Some(frame) = self.read()? else {
            if Instant::now() >= silent && self.heard.elapsed() >= self.silence_max {
                return Err(Failure::Lost("the gateway went silent".to_owned()));
            }
            return Ok(None);
        };
        match frame["type"].as_str() {
            Some("res") => Ok(Some(response(frame))),
            // Frames of kinds that a newer gateway has added come out as events nobody knows.
            _ => Ok(Some(Frame::Event(frame))),
        }
    }

    /// One request and its answer; events in between are dropped.
    pub(crate) fn request(
        &mut self,
        method: &str,
        params: &Value,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let asked = self.send(method, params, deadline)?;
        self.answer(&asked, deadline)
    }

    /// Waits for the answer to the request `asked`; events in between are dropped.
    pub(crate) fn answer(&mut self, asked: &str, deadline: Instant) -> Result<Value, Failure> {
        while Instant::now() < deadline {
            match self.receive(deadline)? {
                Some(Frame::Response { id, payload, error }) if id == asked => {
                    return error.map_or(Ok(payload), |error| Err(Failure::Answered(error)));
                }
                // The gateway could not tell which request it was, but there was only one.
                Some(Frame::Response { id, error: Some(error), .. }) if id == "invalid" => {
                    return Err(Failure::Answered(error));
                }
                _ => {}
            }
        }
        Err(no_answer())
    }

    /// Says goodbye; the gateway answers nothing that we would wait for.
    pub(crate) fn close(mut self) {
        self.socket.get_mut().set_deadline(Instant::now() + ms(CLI_SILENCE_SLACK_MS));
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        // The work is done; a connection that breaks now was about to end anyway.
        let _ = self.socket.close(Some(frame));
    }

    fn greeting(&mut self, target: &Target, deadline: Instant) -> Result<Value, Failure> {
        self.socket.get_mut().set_deadline(deadline);
        loop {
            return match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let answer = serde_json::from_str(&text)
                        .map_err(|_| hello::no_gateway(target, "its first frame is not JSON"))?;
                    hello::accept(&answer, target).map(|()| answer)
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => continue,
                Ok(Message::Close(frame)) => {
                    let (code, reason) =
                        frame.map_or((1_005, String::new()), |f| (f.code.into(), line(&f.reason)));
                    Err(hello::closed(code, &reason, target))
                }
                Ok(_) => Err(hello::no_gateway(target, "its first frame is binary")),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(no_answer()),
                Err(
                    Error::Io(_)
                    | Error::ConnectionClosed
                    | Error::AlreadyClosed
                    | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
                ) => Err(hello::closed(1_006, "", target)),
                Err(error) => Err(hello::no_gateway(target, &error.to_string())),
            };
        }
    }

    fn transmit(&mut self, frame: String) -> Result<(), Failure> {
        match self.socket.send(Message::text(frame)) {
            Ok(()) => Ok(()),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(no_answer()),
            Err(error) => Err(lost(&error)),
        }
    }

    /// One JSON value; `None` at the deadline or when interrupted.
    fn read(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            let message = match self.socket.read() {
                Ok(message) => message,
                Err(Error::Io(error)) if is_pause(&error) => return Ok(None),
                Err(error) => return Err(lost(&error)),
            };
            self.heard = Instant::now();
            match message {
                Message::Text(text) => {
                    let frame = serde_json::from_str(&text).map_err(|error| {
                        Failure::Lost(format!("the gateway sent a frame that is not JSON: {error}"))
                    })?;
                    return Ok(Some(frame));
                }
                Message::Close(frame) => {
                    let why = frame.map_or_else(
                        || "without a reason".to_owned(),
                        |f| {
                            format!(
                                "{} ({})",
                                if f.reason.is_empty() { "no reason" } else { &f.reason },
                                f.code
                            )
                        },
                    );
                    return Err(Failure::Lost(format!("the gateway closed the connection: {why}")));
                }
                Message::Binary(_) => {
                    return Err(Failure::Lost("the gateway sent a binary frame".to_owned()));
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

/// A request frame; borrows, because a message may fill a whole one.
#[derive(Serialize)]
#[serde(tag = "type", rename = "req")]
struct Request<'a> {
    id: &'a str,
    method: &'a str,
    params: &'a Value,
}

/// A value of ours as JSON.
fn encode(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::Local(format!("cannot encode a frame: {error}")))
}

/// Whether a request fits into a frame; asked before connecting, since it is the caller's mistake.
pub(crate) fn check_size(method: &str, params: &Value) -> Result<(), Failure> {
    // Ids are short: none has more digits than this one.
    let bytes = encode(&Request { id: "0000000000", method, params })?.len();
    if bytes <= PAYLOAD_BYTES_MAX {
        return Ok(());
    }
    let text = format!(
        "that is {bytes} bytes; the gateway takes {PAYLOAD_BYTES_MAX} (512 KiB) in all, images included: shorten it"
    );
    Err(Failure::Usage(text))
}

/// Nothing came in time.
pub(crate) fn no_answer() -> Failure {
    Failure::TimedOut(
        "the gateway did not answer in time; it may be busy: `--timeout SECONDS` waits longer".to_owned(),
    )
}

fn dial(target: &Target, deadline: Instant) -> Result<TcpStream, Failure> {
    let down = |why: &str| {
        let next = if target.address.is_loopback() {
            "start it with `clawdis gateway`, or name another with --url"
        } else {
            "is it running, and is the tunnel or network to it up?"
        };
        Failure::Unreachable(format!(
            "no gateway at {} (from {}): {why}; {next}",
            target.address, target.source
        ))
    };
    let addresses = target.address.resolve().map_err(|error| down(&error.to_string()))?;
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        let remaining = deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, remaining) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "connection refused".clone_into(&mut why);
            }
            Err(error) => why = error.to_string(),
        }
    }
    Err(down(&why))
}

fn upgrade(stream: TimedStream, target: &Target) -> Result<WebSocket<TimedStream>, Failure> {
    let uri: Uri = format!("{}/", target.address)
        .parse()
        .map_err(|_| Failure::Usage("the gateway's url is not a valid host name".to_owned()))?;
    match client_with_config(ClientRequestBuilder::new(uri), stream, Some(socket_config())) {
        Ok((socket, _)) => Ok(socket),
        Err(HandshakeError::Interrupted(_)) => Err(no_answer()),
        Err(HandshakeError::Failure(Error::Http(response))) => {
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            Err(hello::http(response.status().as_u16(), &body, target))
        }
        Err(HandshakeError::Failure(Error::Io(error))) => {
            Err(Failure::Unreachable(format!("the connection to {} broke: {error}", target.address)))
        }
        Err(HandshakeError::Failure(Error::Protocol(ProtocolError::HandshakeIncomplete))) => {
            Err(hello::closed(1_006, "", target))
        }
        Err(HandshakeError::Failure(error)) => Err(hello::no_gateway(target, &error.to_string())),
    }
}

fn socket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * PAYLOAD_BYTES_MAX)
        .max_message_size(Some(PAYLOAD_BYTES_MAX))
        .max_frame_size(Some(PAYLOAD_BYTES_MAX))
}

fn response(mut frame: Value) -> Frame {
    let id = frame["id"].as_str().unwrap_or_default().to_owned();
    let failed = frame["ok"] != true;
    let error = failed.then(|| {
        let error = &frame["error"];
        let text = |name: &str, default: &str| error[name].as_str().unwrap_or(default).to_owned();
        Answered {
            code: text("code", "INTERNAL"),
            message: text("message", "the gateway gave no reason"),
            retry_after_ms: error["retryAfterMs"].as_u64(),
            retryable: error["retryable"] == true,
        }
    });
    Frame::Response { id, payload: frame["payload"].take(), error }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn lost(error: &Error) -> Failure {
    let why = match error {
        Error::ConnectionClosed | Error::AlreadyClosed => "it was closed".to_owned(),
        error => error.to_string(),
    };
    Failure::Lost(format!("the connection to the gateway broke: {why}"))
}
