//! `watch`: events as they happen, through restarts of the gateway, until Ctrl-C.
//!
//! Events are not repeated by the gateway. Numbers that skip mean that some were missed; then health
//! and presence are asked for anew.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cli::connection::{Client, Connection};
use crate::cli::context::{Context, random_key};
use crate::cli::failure::{Failure, Result};
use crate::cli::show::{bytes, facts, states};
use crate::cli::terminal::{Output, Style, print};
use crate::clock::{utc, wall_ms};
use crate::limits::{CLI_FOREVER, ms};
use crate::text::{one_line, printable};

/// Methods that are called after events were missed, and the name under which their answer is shown.
const REFRESH: [(&str, &str); 2] = [("health", "health"), ("system-presence", "presence")];

/// The verb `watch`: shows events until Ctrl-C.
pub(crate) fn watch(context: &Context) -> Result<()> {
    // Without any `event:` entry all families come, those of newer gateways included.
    let client = Client { caps: &[], instance_id: &format!("clawdis-watch-{}", random_key()?) };
    let forever = Instant::now() + CLI_FOREVER;
    let mut view = EventView { output: &context.output, open: None };
    let mut connection = context.connect(&client, context.deadline())?;
    loop {
        let (why, pause) = match follow(&mut connection, &mut view, forever) {
            Ok(pause) => ("the gateway stopped".to_owned(), pause),
            Err(Failure::Lost(why)) => (why, Duration::ZERO),
            Err(failure) => return Err(failure),
        };
        view.note("disconnected", &json!({ "reason": why }))?;
        // The gateway must not count us twice.
        drop(connection);
        connection = context.reconnect(&client, pause, forever)?;
    }
}

/// Shows events until the connection is lost, or the gateway says that it stops: then how long it
/// will be away.
fn follow(connection: &mut Connection, view: &mut EventView, until: Instant) -> Result<Duration> {
    view.frame(&connection.hello)?;
    let mut seq_next = 1;
    let mut asked: Vec<(String, &str)> = Vec::new();
    loop {
        let Some(mut frame) = connection.receive(until)? else { continue };
        if let Some((_, what)) = asked.iter().find(|(id, _)| frame["id"] == *id) {
            view.refreshed(what, &json!({ *what: frame["payload"].take() }))?;
            continue;
        }
        let seq = frame["seq"].as_u64().unwrap_or(seq_next);
        if seq > seq_next {
            view.note("gap", &json!({ "missed": seq - seq_next }))?;
            for (method, what) in REFRESH {
                asked.push((connection.send(method, &json!({}), until)?, what));
            }
        }
        seq_next = seq + 1;
        view.frame(&frame)?;
        if frame["event"] == "shutdown" {
            return Ok(ms(frame["payload"]["restartExpectedMs"].as_u64().unwrap_or(0)));
        }
    }
}

/// Events as lines for people, or the frames themselves with `--json`.
struct EventView<'a> {
    output: &'a Output,
    /// The run whose text is being written, if its line has no end yet.
    open: Option<String>,
}

impl EventView<'_> {
    /// Writes a line that no frame of the gateway stands behind.
    fn note(&mut self, kind: &str, what: &Value) -> Result<()> {
        if !self.output.json {
            return self.line(kind, &facts(what));
        }
        let mut note = what.clone();
        note["type"] = json!(kind);
        self.output.write_json(&note)
    }

    /// Shows what was asked for after a gap, in the shape of an event.
    fn refreshed(&mut self, event: &str, payload: &Value) -> Result<()> {
        if self.output.json { self.note("refresh", payload) } else { self.event(event, payload) }
    }

    fn frame(&mut self, frame: &Value) -> Result<()> {
        if self.output.json {
            return self.output.write_json(frame);
        }
        match frame["event"].as_str() {
            None if frame["type"] == "hello-ok" => self.line("connected", &facts(&frame["server"])),
            None => Ok(()),
            Some(event) => self.event(event, &frame["payload"]),
        }
    }

    fn event(&mut self, event: &str, payload: &Value) -> Result<()> {
        match event {
            // A sign of life and nothing to tell.
            "tick" => Ok(()),
            "agent" => self.agent(payload),
            "health" => self.line(event, &states(&payload["health"])),
            "presence" => self.presence(payload),
            "message" => self.line(event, &message(payload)),
            event => self.line(event, &facts(payload)),
        }
    }

    fn presence(&mut self, payload: &Value) -> Result<()> {
        for entry in payload["presence"].as_array().into_iter().flatten() {
            let words =
                ["host", "mode", "reason", "instanceId"].map(|name| entry[name].as_str().unwrap_or("-"));
            self.line("presence", &words.join(" "))?;
        }
        Ok(())
    }

    /// Shows an event of a run. Its text goes on where it stopped as long as nothing else comes in between.
    fn agent(&mut self, payload: &Value) -> Result<()> {
        let text = |name: &str| one_line(payload[name].as_str().unwrap_or_default());
        let (run, data) = (text("runId"), &payload["data"]);
        let head = format!("{} {run}", text("sessionKey"));
        let Some(delta) = data["delta"].as_str() else {
            return match data["phase"].as_str() {
                Some("update") => Ok(()),
                _ => self.line("agent", &format!("{head}: {} {}", text("stream"), facts(data))),
            };
        };
        if payload["stream"] != "assistant" {
            return Ok(());
        }
        if self.open.as_deref() != Some(&run) {
            self.end_line()?;
            print(&format!("{} {head}: ", self.prefix("agent")))?;
        }
        print(&printable(delta))?;
        self.open = (!delta.ends_with('\n')).then_some(run);
        Ok(())
    }

    fn line(&mut self, what: &str, text: &str) -> Result<()> {
        self.end_line()?;
        print(&format!("{} {}\n", self.prefix(&one_line(what)), one_line(text)))
    }

    /// The beginning of a line: the time of day, in UTC because std knows no local time, and the kind of event.
    fn prefix(&self, what: &str) -> String {
        let now = utc(wall_ms() / 1_000);
        let time = now.split('T').next_back().unwrap_or_default();
        self.output.styled(Style::Dim, &format!("{time} {what:<12}"))
    }

    fn end_line(&mut self) -> Result<()> {
        if self.open.take().is_some() { print("\n") } else { Ok(()) }
    }
}

/// A message in one line: where it is, who wrote it or gets it, what it says, and what became of it.
fn message(payload: &Value) -> String {
    let text = |name: &str| payload[name].as_str().unwrap_or("-");
    let peer = if payload["direction"] == "out" { ["to", text("to")] } else { ["from", text("from")] };
    let mut said = format!("{} {} {}: {}", text("channel"), text("sessionKey"), peer.join(" "), text("text"));
    for media in payload["media"].as_array().into_iter().flatten() {
        let name = media["name"].as_str().map_or_else(String::new, |name| format!(" {name}"));
        let size = media["bytes"].as_u64().filter(|size| *size > 0).map(bytes);
        let size = size.map_or_else(String::new, |size| format!(", {size}"));
        said = format!("{said} [{}{name}{size}]", media["kind"].as_str().unwrap_or("file"));
    }
    match (payload["status"].as_str(), payload["reason"].as_str()) {
        (Some(status), Some(reason)) => format!("{said} ({status}: {reason})"),
        (Some(status), None) => format!("{said} ({status})"),
        (None, _) => said,
    }
}
