//! WhatsApp's servers with everybody who uses them: `tests/mock-whatsapp`, one process per test.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::http::Answer;
use crate::harness::raw::Raw;
use crate::harness::{PATIENCE, eventually, process};

/// The mock and its control port. Ends with the test.
pub(crate) struct Mock {
    child: Child,
    /// What it printed when it began to serve.
    info: Value,
    control: SocketAddr,
}

impl Mock {
    /// Starts it and waits until it serves.
    #[track_caller]
    pub(crate) fn start() -> Self {
        let script = process::repository("tests/mock-whatsapp/mock-whatsapp.mjs");
        let mut command = Command::new("node");
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("`node` cannot be started ({error}); scripts/test installs what the tests need")
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let info: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("the mock of WhatsApp did not start; scripts/test installs its packages")
        });
        let control = info["control"].as_str().unwrap().trim_start_matches("http://").trim_end_matches('/');
        Self { child, control: control.parse().unwrap(), info }
    }

    /// Environment that leads a sidecar here, with `trust-preload.mjs`.
    pub(crate) fn environment(&self) -> Value {
        json!({
            "MOCK_WA_ROOT": self.info["rootPublicKey"],
            "MOCK_WA_URL": self.info["url"],
            "MOCK_WA_MEDIA": self.info["mediaHost"],
            "NODE_EXTRA_CA_CERTS": self.info["ca"],
        })
    }

    /// Name and port of the server that sidecars connect to.
    pub(crate) fn host(&self) -> &str {
        self.info["url"].as_str().unwrap().split('/').nth(2).unwrap()
    }

    /// Does what `request` asks for; its README lists the operations.
    #[track_caller]
    pub(crate) fn op(&self, op: &str, mut request: Value) -> Value {
        request["op"] = json!(op);
        let body = request.to_string();
        let mut socket = Raw::connect(self.control);
        let head = format!("POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len());
        socket.write([head.as_bytes(), body.as_bytes()].concat().as_slice());
        let mut answer = Answer::parse(socket.read_to_end()).json();
        assert_eq!(answer["ok"], true, "the mock refuses {request}: {answer}");
        answer["result"].take()
    }

    /// Waits for an event, past ones included, with these members.
    #[track_caller]
    pub(crate) fn wait(&self, matching: &Value) -> Value {
        self.wait_since(0, matching)
    }

    /// The same behind the event number `since`.
    #[track_caller]
    pub(crate) fn wait_since(&self, since: u64, matching: &Value) -> Value {
        let timeout = PATIENCE.as_millis() - 1_000;
        self.op(
            "wait",
            json!({"match": matching, "since": since, "timeoutMs": u64::try_from(timeout).unwrap()}),
        )
    }

    /// Number of the last event.
    pub(crate) fn seq(&self) -> u64 {
        self.op("status", json!({}))["seq"].as_u64().unwrap()
    }

    /// Events of a type so far.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        self.op("events", json!({"type": kind})).as_array().unwrap().clone()
    }

    pub(crate) fn set(&self, knobs: &Value) {
        self.op("set", json!({ "knobs": knobs }));
    }

    /// What was sent to a jid, as people see it: each id once.
    pub(crate) fn received(&self, to: &str) -> Vec<Value> {
        let mut seen: Vec<Value> = Vec::new();
        for message in self.written(to) {
            if message["kind"].is_string() && !seen.iter().any(|other| other["id"] == message["id"]) {
                seen.push(message);
            }
        }
        seen
    }

    /// What was written to exactly that jid, repetitions included.
    pub(crate) fn written(&self, to: &str) -> Vec<Value> {
        let all = self.op("list-received", json!({ "to": to }));
        all.as_array().unwrap().iter().filter(|message| message["to"] == to).cloned().collect()
    }

    /// Texts that were sent to a jid.
    pub(crate) fn texts(&self, to: &str) -> Vec<String> {
        let texts =
            self.received(to).into_iter().filter_map(|message| message["text"].as_str().map(str::to_owned));
        texts.collect()
    }

    /// Waits until so many texts have been sent to a jid.
    #[track_caller]
    pub(crate) fn answers(&self, to: &str, count: usize) -> Vec<String> {
        let mut last = Vec::new();
        eventually(&format!("{count} messages to {to}"), PATIENCE, || {
            last = self.texts(to);
            (last.len() >= count).then(|| last.clone())
        })
    }

    /// Waits until exactly that text has been sent to a jid.
    #[track_caller]
    pub(crate) fn said(&self, to: &str, text: &str) {
        eventually(&format!("{text:?} to {to}"), PATIENCE, || {
            self.texts(to).iter().any(|said| said == text).then_some(())
        });
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        // It tidies up when its stdin ends.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
