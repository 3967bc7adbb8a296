//! One connection to the gateway: handshake, requests, and frames as they come.
//!
//! Knows the envelope of frames, not what is in their payloads, and never connects twice: whoever
//! owns a connection decides what to do when it is lost.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::client::client_with_config;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::Uri;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{ClientRequestBuilder, Error, Message, WebSocket};

use crate::cli::failure::{Failure, Result};
use crate::cli::locate::{Address, Target};
use crate::limits::{
    CLI_SILENCE_SLACK, PAYLOAD_BYTES_MAX, READ_BUFFER_BYTES, TICK_INTERVAL_MS_DEFAULT, TICK_INTERVAL_MS_MAX,
    ms,
};
use crate::protocol::{self, cut};

/// What this tool says about itself.
pub(crate) struct Client<'a> {
    /// Its capabilities, as `hello` names them.
    pub(crate) caps: &'a [&'a str],
    /// Its installation's id: connections with the same one share a presence entry.
    pub(crate) instance_id: &'a str,
}

/// The client of short calls. Its family of events does not exist, because with any `event:` entry the
/// gateway sends only those named; and it has one presence entry, or a script would fill the list.
pub(crate) const NO_EVENTS: Client<'static> = Client { caps: &["event:none"], instance_id: "clawdis-cli" };

/// A connection past its handshake.
pub(crate) struct Connection {
    socket: WebSocket<TimedStream>,
    /// The gateway's `hello-ok`; `Null` before it.
    pub(crate) hello: Value,
    requests: u64,
    silence_max: Duration,
    heard: Instant,
}

impl Connection {
    /// Connects to the gateway and shakes hands with it.
    pub(crate) fn open(target: &Target, client: &Client, deadline: Instant) -> Result<Self> {
        let stream = TimedStream { stream: dial(target, deadline)?, deadline };
        let mut connection = Self {
            socket: upgrade(stream, target)?,
            hello: Value::Null,
            requests: 0,
            silence_max: ms(TICK_INTERVAL_MS_MAX),
            heard: Instant::now(),
        };
        connection.transmit(&hello(target, client))?;
        let answer = connection.receive(deadline)?.ok_or_else(no_answer)?;
        check_hello(&answer, target)?;
        let tick = answer["policy"]["tickIntervalMs"].as_u64().unwrap_or(TICK_INTERVAL_MS_DEFAULT);
        connection.silence_max = ms(2 * tick.min(TICK_INTERVAL_MS_MAX)) + CLI_SILENCE_SLACK;
        connection.hello = answer;
        Ok(connection)
    }

    /// Sends a request; the answer carries the id that is returned.
    pub(crate) fn send(&mut self, method: &str, params: &Value, deadline: Instant) -> Result<String> {
        self.requests += 1;
        let id = self.requests.to_string();
        self.socket.get_mut().deadline = deadline;
        self.transmit(&request(&id, method, params))?;
        Ok(id)
    }

    /// The next frame; `None` at `until`. A connection that has been silent for longer than its ticks
    /// allow counts as lost.
    pub(crate) fn receive(&mut self, until: Instant) -> Result<Option<Value>> {
        let silent = self.heard + self.silence_max;
        self.socket.get_mut().deadline = until.min(silent);
        loop {
            let message = match self.socket.read() {
                Ok(message) => message,
                Err(error) if !would_block(&error) => return Err(lost(&error)),
                Err(_) if Instant::now() < silent => return Ok(None),
                Err(_) => return Err(Failure::Lost("the gateway went silent".to_owned())),
            };
            self.heard = Instant::now();
            match message {
                Message::Text(text) => {
                    let frame = serde_json::from_str(&text);
                    return frame.map(Some).map_err(|_| Failure::Lost("a frame is not JSON".to_owned()));
                }
                Message::Close(frame) => {
                    let (code, reason) =
                        frame.map_or((1_005, String::new()), |f| (f.code.into(), f.reason.to_string()));
                    let refused = self.hello.is_null() && matches!(code, 1_002 | 1_008);
                    let failure = if refused { Failure::Refused } else { Failure::Lost };
                    return Err(failure(format!("the gateway closed the connection: {reason} ({code})")));
                }
                _ => {}
            }
        }
    }

    /// Sends a request and waits for its answer; events in between are dropped.
    pub(crate) fn request(&mut self, method: &str, params: &Value, deadline: Instant) -> Result<Value> {
        let id = self.send(method, params, deadline)?;
        self.answer(&id, deadline)
    }

    /// Waits for an answer to the request `id`; events in between are dropped.
    pub(crate) fn answer(&mut self, id: &str, deadline: Instant) -> Result<Value> {
        loop {
            match self.receive(deadline)? {
                Some(frame) if frame["type"] == "res" && frame["id"] == id => return outcome(frame),
                None if Instant::now() >= deadline => return Err(no_answer()),
                _ => {}
            }
        }
    }

    /// Closes the connection; the gateway answers nothing that we would wait for.
    pub(crate) fn close(mut self) {
        self.socket.get_mut().deadline = Instant::now() + CLI_SILENCE_SLACK;
        // The work is done; a connection that breaks now was about to end anyway.
        let _ = self.socket.close(None);
    }

    fn transmit(&mut self, frame: &Value) -> Result<()> {
        self.socket
            .send(Message::text(frame.to_string()))
            .map_err(|error| if would_block(&error) { no_answer() } else { lost(&error) })
    }
}

fn hello(target: &Target, client: &Client) -> Value {
    let mut hello = json!({
        "type": "hello",
        "minProtocol": protocol::VERSION,
        "maxProtocol": protocol::VERSION,
        "client": {
            "name": "clawdis",
            "version": protocol::SERVER_VERSION,
            "platform": std::env::consts::OS,
            "mode": "cli",
            "instanceId": client.instance_id,
        },
        "caps": client.caps,
    });
    if let Some(token) = &target.token {
        hello["auth"] = json!({ "token": token.secret });
    }
    hello
}

/// Checks the first frame that came back.
fn check_hello(answer: &Value, target: &Target) -> Result<()> {
    let kind = answer["type"].as_str().unwrap_or_default();
    if !kind.starts_with("hello-") {
        return Err(no_gateway(target, "its first frame is no answer to a hello"));
    }
    let version = answer["protocol"].as_u64().or(answer["expectedProtocol"].as_u64()).unwrap_or_default();
    let reason = answer["reason"].as_str().unwrap_or("no reason given");
    let advice = match &target.token {
        _ if version != protocol::VERSION => {
            format!("it speaks protocol {version}: update the older of the two")
        }
        _ if kind == "hello-ok" => return Ok(()),
        _ if reason != "unauthorized" => format!("this is clawdis {}", protocol::SERVER_VERSION),
        Some(token) => format!("the token from {} is not the gateway's", token.source),
        // It may be about to write down where it listens.
        None if target.unheld_lock.is_some() => {
            return Err(Failure::Unreachable(format!(
                "what answers at {} wants a token{}; name both with --url and --token-file if you trust it",
                target.address,
                unheld_lock(target)
            )));
        }
        None => "it wants its token: --token-file FILE or CLAWDIS_GATEWAY_TOKEN".to_owned(),
    };
    Err(Failure::Refused(format!(
        "the gateway at {} refused the connection: {reason}; {advice}",
        target.address
    )))
}

fn dial(target: &Target, deadline: Instant) -> Result<TcpStream> {
    let Target { address, source, .. } = target;
    connect(address, deadline).map_err(|error| {
        let unheld_lock = unheld_lock(target);
        Failure::Unreachable(format!(
            "no gateway at {address} (from {source}): {error}{unheld_lock}; start it with `clawdis gateway`, or name another with --url"
        ))
    })
}

/// Connects to the first of the name's addresses that answers.
fn connect(Address { host, port }: &Address, deadline: Instant) -> io::Result<TcpStream> {
    let mut failed = io::Error::other("the name has no address");
    for address in (host.as_str(), *port).to_socket_addrs()? {
        // Zero is refused as a time span, and means that the time is up anyway.
        let remaining = deadline.saturating_duration_since(Instant::now()).max(ms(1));
        match TcpStream::connect_timeout(&address, remaining) {
            // Requests are small and somebody waits for each.
            Ok(stream) => return stream.set_nodelay(true).map(|()| stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Why a token that was found here is not shown.
fn unheld_lock(target: &Target) -> String {
    let path = target.unheld_lock.as_ref();
    path.map_or_else(String::new, |path| format!(", and no running gateway holds {}", path.display()))
}

fn upgrade(stream: TimedStream, target: &Target) -> Result<WebSocket<TimedStream>> {
    let address = &target.address;
    let uri: Uri = format!("{address}/")
        .parse()
        .map_err(|_| Failure::Usage("the url has no valid host name".to_owned()))?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(PAYLOAD_BYTES_MAX))
        .max_frame_size(Some(PAYLOAD_BYTES_MAX));
    let error = match client_with_config(ClientRequestBuilder::new(uri), stream, Some(config)) {
        Ok((socket, _)) => return Ok(socket),
        Err(HandshakeError::Interrupted(_)) => return Err(no_answer()),
        Err(HandshakeError::Failure(error)) => error,
    };
    Err(match error {
        Error::Http(response) => {
            let status = response.status().as_u16();
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let text = format!("the gateway at {address} answers {status}: {}", cut(&body, 300));
            match status {
                401 | 403 => Failure::Refused(text),
                429 | 503 => Failure::Unreachable(text),
                _ => no_gateway(target, &format!("it answers HTTP {status}")),
            }
        }
        error @ (Error::Io(_) | Error::Protocol(ProtocolError::HandshakeIncomplete)) => {
            Failure::Unreachable(format!("the connection to {address} broke: {error}"))
        }
        error => no_gateway(target, &error.to_string()),
    })
}

/// The failure where what answers is something else.
fn no_gateway(target: &Target, why: &str) -> Failure {
    let Target { address, source, .. } = target;
    Failure::Refused(format!("what answers at {address} (from {source}) is not a clawdis gateway: {why}"))
}

fn would_block(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

fn lost(error: &Error) -> Failure {
    Failure::Lost(format!("the connection to the gateway broke: {error}"))
}

/// The payload of an answer, or its error.
pub(crate) fn outcome(mut answer: Value) -> Result<Value> {
    if answer["ok"] == true {
        return Ok(answer["payload"].take());
    }
    let error = &answer["error"];
    let text = |name: &str| error[name].as_str().unwrap_or("?");
    let when = error["retryAfterMs"].as_u64().map(|ms| format!("; try again in {} s", ms.div_ceil(1_000)));
    Err(Failure::Failed(format!("{} ({}){}", text("message"), text("code"), when.unwrap_or_default())))
}

/// Whether a request fits into a frame; asked before connecting, since it is the caller's mistake.
pub(crate) fn check_size(method: &str, params: &Value) -> Result<()> {
    // Ids are short: none has more digits than this one.
    let bytes = request("0000000000", method, params).to_string().len();
    if bytes <= PAYLOAD_BYTES_MAX { Ok(()) } else { Err(too_large()) }
}

/// The failure of a message that fits into no frame.
pub(crate) fn too_large() -> Failure {
    Failure::Usage(format!("the message is too long: at most {} KiB fit", PAYLOAD_BYTES_MAX / 1_024))
}

/// The failure of a gateway that does not answer in time.
pub(crate) fn no_answer() -> Failure {
    Failure::TimedOut("the gateway did not answer in time; `--timeout SECONDS` waits longer".to_owned())
}

fn request(id: &str, method: &str, params: &Value) -> Value {
    json!({ "type": "req", "id": id, "method": method, "params": params })
}

/// A stream whose reads and writes fail with `WouldBlock` at its deadline: a peer that sends one byte now and then
/// gets no more time than one that sends nothing.
struct TimedStream {
    stream: TcpStream,
    /// The deadline of every read and write from now on.
    deadline: Instant,
}

impl TimedStream {
    fn remaining(&self) -> io::Result<Option<Duration>> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(Some(remaining)) }
    }
}

/// Repeats a step that a signal interrupted, which did not end the process.
fn uninterrupted(mut step: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match step() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl Read for TimedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| {
            self.stream.set_read_timeout(self.remaining()?)?;
            self.stream.read(buffer)
        })
    }
}

impl Write for TimedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        uninterrupted(|| {
            self.stream.set_write_timeout(self.remaining()?)?;
            self.stream.write(bytes)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{check_hello, outcome};
    use crate::cli::locate::{Address, Target, Token};

    fn target(secret: Option<&str>) -> Target {
        let token = secret.map(|secret| Token { secret: secret.to_owned(), source: "/a/file".to_owned() });
        let address = Address { host: "127.0.0.1".to_owned(), port: 1 };
        Target { address, source: "--url", token, unheld_lock: None }
    }

    #[test]
    fn every_refusal_says_what_to_do_and_none_says_the_token() {
        let error = |reason: &str| json!({ "type": "hello-error", "reason": reason, "expectedProtocol": 1 });
        let newer = |kind: &str, member: &str| json!({ "type": kind, member: 2 });
        let cases: [(Value, Option<&str>, &str); 6] = [
            (error("unauthorized"), Some("secret"), "the token from /a/file"),
            (error("unauthorized"), None, "--token-file"),
            (error("client too old: 9.0.0 is the oldest served"), Some("secret"), "this is clawdis"),
            (newer("hello-error", "expectedProtocol"), Some("secret"), "protocol 2"),
            (newer("hello-ok", "protocol"), Some("secret"), "protocol 2"),
            (json!([1]), Some("secret"), "not a clawdis gateway"),
        ];
        for (answer, secret, expected) in cases {
            let failure = check_hello(&answer, &target(secret)).unwrap_err();
            let text = failure.to_string();
            assert!(failure.code() == 4 && text.contains(expected) && !text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn an_error_says_its_code_and_when_to_retry() {
        let error = json!({ "code": "RATE_LIMITED", "message": "the queue is full", "retryAfterMs": 1_200 });
        let text = outcome(json!({ "ok": false, "error": error })).unwrap_err().to_string();
        assert_eq!(text, "the queue is full (RATE_LIMITED); try again in 2 s");
    }
}
