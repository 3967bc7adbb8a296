//! How events are shown: a line each for people, the frame itself with `--json`.

use serde_json::{Value, json};

use crate::cli::exit::Failure;
use crate::cli::humanise::{clock, duration, now_ms};
use crate::cli::render::{self, list, string};
use crate::cli::terminal::{Output, Style, line, plain};

/// The view of a gateway.
pub(crate) struct WatchView<'a> {
    output: &'a Output,
    /// The run whose text is being written, without a line's end so far.
    open: Option<String>,
}

impl<'a> WatchView<'a> {
    /// Of a gateway not yet connected to.
    pub(crate) fn new(output: &'a Output) -> Self {
        Self { output, open: None }
    }

    /// After each handshake.
    pub(crate) fn connected(&mut self, hello: &Value) -> Result<(), Failure> {
        if self.output.json {
            return self.output.write_json_line(hello);
        }
        let server = &hello["server"];
        let here = list(&hello["snapshot"]["presence"]).len();
        let health = if hello["snapshot"]["health"]["ok"] == true { "healthy" } else { "not healthy" };
        let text = format!(
            "connected to clawdis-gateway {} on {}: {health}, {here} present",
            string(&server["version"]),
            string(&server["host"])
        );
        self.line("watch", Style::Green, &text)
    }

    /// The connection is gone; it is being tried again.
    pub(crate) fn disconnected(&mut self, why: &str) -> Result<(), Failure> {
        if self.output.json {
            self.output.write_json_line(&json!({ "type": "disconnected", "reason": why }))
        } else {
            self.line("watch", Style::Yellow, &format!("{why}; connecting again"))
        }
    }

    /// Events were missed.
    pub(crate) fn gap(&mut self, missed: u64) -> Result<(), Failure> {
        if self.output.json {
            self.output.write_json_line(&json!({ "type": "gap", "missed": missed }))
        } else {
            self.line(
                "watch",
                Style::Yellow,
                &format!("missed {missed} events; asking for health and presence anew"),
            )
        }
    }

    /// Health and presence after a gap.
    pub(crate) fn refreshed(&mut self, health: &Value, presence: &Value) -> Result<(), Failure> {
        if self.output.json {
            return self
                .output
                .write_json_line(&json!({ "type": "refresh", "health": health, "presence": presence }));
        }
        self.line("watch", Style::Green, "refreshed")?;
        self.output.write(&render::health(health, self.output))?;
        self.output.write(&render::presence(presence, self.output))
    }

    /// Any event.
    pub(crate) fn event(&mut self, frame: &Value) -> Result<(), Failure> {
        if self.output.json {
            return self.output.write_json_line(frame);
        }
        let payload = &frame["payload"];
        match frame["event"].as_str() {
            Some("presence") => self.presence(payload),
            Some("health") => self.health(&payload["health"]),
            Some("agent") => self.agent(payload),
            Some("message") => self.message(payload),
            Some("shutdown") => self.shutdown(payload),
            // A tick is a sign of life and nothing to tell.
            None | Some("tick") => Ok(()),
            Some(other) => self.line(other, Style::Dim, &payload.to_string()),
        }
    }

    fn presence(&mut self, payload: &Value) -> Result<(), Failure> {
        for entry in list(&payload["presence"]) {
            let verb = match entry["reason"].as_str() {
                Some("disconnect") => "left",
                Some("connect") | None => "is here",
                Some(other) => other,
            };
            let text = format!(
                "{} ({}, {}) {verb}  {}",
                string(&entry["host"]),
                string(&entry["mode"]),
                string(&entry["ip"]),
                string(&entry["instanceId"])
            );
            self.line("presence", Style::Dim, &text)?;
        }
        for id in list(&payload["removed"]) {
            self.line("presence", Style::Dim, &format!("{} is no longer listed", string(id)))?;
        }
        Ok(())
    }

    fn health(&mut self, health: &Value) -> Result<(), Failure> {
        let (text, style) = if health["ok"] == true { ("ok", Style::Green) } else { ("not ok", Style::Red) };
        self.line("health", style, &format!("{text}: {}", render::health_line(health)))
    }

    fn message(&mut self, payload: &Value) -> Result<(), Failure> {
        let (arrow, who) = if payload["direction"] == "in" { ("from", "from") } else { ("to", "to") };
        let media = list(&payload["media"]).iter().map(|media| format!(" [{}]", string(&media["kind"])));
        let text = format!(
            "{} {arrow} {} ({}): {}{}{}",
            string(&payload["channel"]),
            string(&payload[who]),
            string(&payload["sessionKey"]),
            string(&payload["text"]),
            media.collect::<String>(),
            payload["status"].as_str().map(|status| format!(" ({status})")).unwrap_or_default(),
        );
        self.line("message", Style::Bold, &text)
    }

    fn shutdown(&mut self, payload: &Value) -> Result<(), Failure> {
        let back = payload["restartExpectedMs"].as_u64().map_or_else(
            || "not expected back".to_owned(),
            |ms| format!("expected back in {}", duration(ms)),
        );
        self.line(
            "shutdown",
            Style::Yellow,
            &format!("the gateway stops: {}; {back}", string(&payload["reason"])),
        )
    }

    fn agent(&mut self, payload: &Value) -> Result<(), Failure> {
        let run = string(&payload["runId"]);
        let data = &payload["data"];
        let text = match (payload["stream"].as_str(), data["phase"].as_str()) {
            (Some("assistant"), _) if data["reset"] == true => "the answer starts over".to_owned(),
            (Some("assistant"), _) => return self.delta(run, payload, string(&data["delta"])),
            (Some("thinking"), _) | (Some("tool"), Some("update")) => return Ok(()),
            (Some("tool"), Some("start")) => format!("[{}] {}", string(&data["name"]), data["args"]),
            (Some("tool"), Some(_)) => {
                let outcome = if data["isError"] == true { "failed" } else { "done" };
                format!("[{}] {outcome}", string(&data["name"]))
            }
            (Some("lifecycle"), Some(phase)) => {
                let facts = ["status", "reason"].map(|name| string(&data[name]));
                format!("{phase} {}", facts.join(" "))
            }
            (Some("error"), _) => format!("error: {}", string(&data["message"])),
            (stream, _) => format!("{}: {data}", stream.unwrap_or("?")),
        };
        self.line("agent", Style::Dim, &format!("{} {}: {text}", string(&payload["sessionKey"]), run))
    }

    /// Text goes on where it stopped as long as nothing else comes in between.
    fn delta(&mut self, run: &str, payload: &Value, text: &str) -> Result<(), Failure> {
        if text.is_empty() {
            return Ok(());
        }
        if self.open.as_deref() != Some(run) {
            self.end_line()?;
            let head = format!("{} {}: ", line(string(&payload["sessionKey"])), line(run));
            self.output.write(&(self.prefix("agent", Style::Dim) + &head))?;
        }
        self.output.write(&plain(text))?;
        self.open = (!text.ends_with('\n')).then(|| run.to_owned());
        Ok(())
    }

    fn line(&mut self, what: &str, style: Style, text: &str) -> Result<(), Failure> {
        self.end_line()?;
        self.output.write(&format!("{}{}\n", self.prefix(&line(what), style), line(text)))
    }

    fn prefix(&self, what: &str, style: Style) -> String {
        let time = self.output.styled(Style::Dim, &clock(now_ms()));
        format!("{time} {} ", self.output.styled(style, &format!("{what:<8}")))
    }

    fn end_line(&mut self) -> Result<(), Failure> {
        if self.open.take().is_some() { self.output.write("\n") } else { Ok(()) }
    }
}
