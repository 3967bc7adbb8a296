//! One connection, used by one thread that waits for each answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Outcome;
use crate::wire::{self, CLOSE, Inbox, PING, PONG, TEXT, UPGRADE};

/// Long enough for anything that works at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection past its handshake.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    inbox: Inbox,
    chunk: Box<[u8]>,
    /// The text of `hello-ok`.
    pub(crate) greeting: String,
}

impl Client {
    /// Connects and says hello. Without `caps` the client gets every event.
    pub(crate) fn connect(addr: SocketAddr, caps: &[&str]) -> Outcome<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let chunk = vec![0; 64 * 1024].into_boxed_slice();
        let mut client = Self { stream, inbox: Inbox::default(), chunk, greeting: String::new() };
        client.stream.write_all(UPGRADE)?;
        let head = loop {
            client.fill()?;
            if let Some(head) = client.inbox.take_head() {
                break head;
            }
        };
        if !head.starts_with("HTTP/1.1 101") {
            return Err(format!("no upgrade: {head}").into());
        }
        client.send(&wire::hello("bench", caps))?;
        client.greeting = client.next_text()?;
        if !client.greeting.contains("hello-ok") {
            return Err(format!("no hello-ok: {}", client.greeting).into());
        }
        Ok(client)
    }

    /// Sends bytes that are whole frames already.
    pub(crate) fn send(&mut self, frames: &[u8]) -> Outcome<()> {
        Ok(self.stream.write_all(frames)?)
    }

    /// Asks and returns the whole answer as text; events in between are thrown away.
    pub(crate) fn ask(&mut self, method: &str, params: &str) -> Outcome<String> {
        self.send(&wire::request("00", method, params))?;
        loop {
            let text = self.next_text()?;
            if text.starts_with(r#"{"type":"res""#) {
                if text.contains(r#""ok":false"#) {
                    return Err(format!("`{method}` was refused: {text}").into());
                }
                return Ok(text);
            }
        }
    }

    /// Runs the agent to its end and returns the last answer.
    pub(crate) fn run_agent(&mut self, message: &str, key: &str) -> Outcome<Value> {
        let params = serde_json::json!({"message": message, "idempotencyKey": key}).to_string();
        let mut answer: Value = serde_json::from_str(&self.ask("agent", &params)?)?;
        while answer["payload"]["status"] == "accepted" {
            let text = self.next_text()?;
            if text.starts_with(r#"{"type":"res""#) {
                answer = serde_json::from_str(&text)?;
            }
        }
        if answer["payload"]["status"] != "ok" {
            return Err(format!("the run failed: {answer}").into());
        }
        Ok(answer)
    }

    /// Sends one prepared request and waits for its answer; how long that took.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Outcome<Duration> {
        let start = Instant::now();
        self.send(request)?;
        self.await_answer()?;
        Ok(start.elapsed())
    }

    fn await_answer(&mut self) -> Outcome<()> {
        loop {
            while let Some(frame) = self.inbox.take_frame() {
                if frame.is_answer() {
                    return Ok(());
                }
            }
            self.fill()?;
        }
    }

    /// The next text frame; pings are answered on the way.
    pub(crate) fn next_text(&mut self) -> Outcome<String> {
        loop {
            while let Some(frame) = self.inbox.take_frame() {
                match frame.opcode {
                    TEXT => return Ok(String::from_utf8(frame.payload.to_vec())?),
                    PING => {
                        let pong = wire::masked(PONG, frame.payload);
                        self.stream.write_all(&pong)?;
                    }
                    CLOSE => {
                        let reason = frame.payload.get(2..).unwrap_or_default();
                        return Err(format!("closed: {}", String::from_utf8_lossy(reason)).into());
                    }
                    _ => {}
                }
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Outcome<()> {
        let count = self.stream.read(&mut self.chunk)?;
        if count == 0 {
            return Err("the server closed the connection".into());
        }
        self.inbox.push(&self.chunk[..count]);
        Ok(())
    }
}
