//! The demo agent, `builtin:echo`: speaks Pi's RPC lines over stdin and stdout without any model.
//!
//! It answers a prompt with what it was asked, in several pieces with a short pause before each,
//! after one call of a tool named `clock`. A prompt that holds `[[slow N]]` makes the pauses N
//! milliseconds long (a minute at most). It remembers nothing, ignores every flag, takes no other commands
//! than the gateway gives and says nothing that the gateway does not read.

use std::io::{self, BufRead as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clock::wall_ms;
use crate::threads;

/// First argument of the demo agent.
pub const DEMO_AGENT: &str = "demo-agent";

/// Pause between two pieces: long enough to be seen, short enough not to be waited for.
const PAUSE: Duration = Duration::from_millis(12);
/// Longest pause that a prompt can ask for.
const PAUSE_MAX_MS: u64 = 60_000;
/// About how many pieces an answer comes in.
const PIECES: usize = 8;

/// Answers commands until stdin ends or stdout is closed.
pub fn main() -> ExitCode {
    let (sender, commands) = mpsc::channel();
    let reader = threads::spawn_expendable("demo-in", move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.send(serde_json::from_str(&line).unwrap_or_default()).is_err() {
                return;
            }
        }
    });
    match reader.and_then(|_| Demo { commands, calls: 0 }.serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo agent: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Demo {
    commands: Receiver<Value>,
    calls: u64,
}

/// A command that interrupts an answer, or the end of all commands.
enum Interrupt {
    Abort(Value),
    Closed,
}

impl Demo {
    fn serve(mut self) -> io::Result<()> {
        while let Ok(command) = self.commands.recv() {
            match command["type"].as_str() {
                Some("prompt") if command["message"].is_string() => {
                    respond(&command, json!({ "success": true }))?;
                    self.prompt(command["message"].as_str().unwrap_or_default())?;
                }
                _ => answer(&command, false)?,
            }
        }
        Ok(())
    }

    /// Answers one prompt, as far as nothing interrupts it.
    fn prompt(&mut self, asked: &str) -> io::Result<()> {
        let pause = pause_of(asked);
        say(&json!({ "type": "agent_start" }))?;
        self.call_clock()?;
        let answer = format!("You said: {}", asked.trim());
        say(&json!({ "type": "message_start", "message": { "role": "assistant" } }))?;
        let mut written = 0;
        let mut interrupt = None;
        for piece in pieces(&answer) {
            interrupt = self.rest(pause)?;
            if interrupt.is_some() {
                break;
            }
            written += piece.len();
            update(&json!({ "type": "text_delta", "contentIndex": 0, "delta": piece }))?;
        }
        update(&json!({ "type": "text_end", "contentIndex": 0, "content": answer[..written] }))?;
        let stop = if interrupt.is_some() { "aborted" } else { "stop" };
        say(&json!({ "type": "message_end", "message": { "role": "assistant", "stopReason": stop } }))?;
        say(&json!({ "type": "agent_end" }))?;
        match interrupt {
            Some(Interrupt::Abort(command)) => respond(&command, json!({ "success": true })),
            Some(Interrupt::Closed) | None => Ok(()),
        }
    }

    /// Calls a tool, so that every client has a call to show.
    fn call_clock(&mut self) -> io::Result<()> {
        self.calls += 1;
        let id = format!("call_{}", self.calls);
        let args = json!({ "zone": "UTC" });
        say(&json!({ "type": "tool_execution_start", "toolCallId": id, "toolName": "clock", "args": args }))?;
        let text = format!("{} seconds since 1970", wall_ms() / 1_000);
        say(&json!({ "type": "tool_execution_end", "toolCallId": id, "toolName": "clock",
            "result": { "content": [{ "type": "text", "text": text }] }, "isError": false }))
    }

    /// Pauses, and answers commands meanwhile.
    fn rest(&mut self, pause: Duration) -> io::Result<Option<Interrupt>> {
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.commands.recv_timeout(left) {
                Ok(command) if command["type"] == "abort" => return Ok(Some(Interrupt::Abort(command))),
                Ok(command) => answer(&command, true)?,
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Ok(Some(Interrupt::Closed)),
            }
        }
    }
}

/// Answers a command that begins no answer.
fn answer(command: &Value, is_streaming: bool) -> io::Result<()> {
    let refused = |why: &str| json!({ "success": false, "error": why });
    let response = match command["type"].as_str() {
        Some("abort") => json!({ "success": true }),
        Some("get_state") => {
            json!({ "success": true, "data": { "isStreaming": is_streaming, "isCompacting": false } })
        }
        Some("prompt") if is_streaming => refused("the demo agent is busy"),
        Some("prompt") => refused("`message` must be a string"),
        Some(other) => refused(&format!("Unknown command: {other}")),
        None => refused("not a command"),
    };
    respond(command, response)
}

/// The pause that a prompt asks for by `[[slow N]]`, or the usual one.
fn pause_of(asked: &str) -> Duration {
    let slow = asked.split_once("[[slow ").and_then(|(_, rest)| rest.split_once("]]"));
    let ms: Option<u64> = slow.and_then(|(number, _)| number.trim().parse().ok());
    ms.map_or(PAUSE, |ms| Duration::from_millis(ms.min(PAUSE_MAX_MS)))
}

/// Cuts a text into pieces that end behind a space where there is one.
fn pieces(text: &str) -> Vec<&str> {
    let size = text.len().div_ceil(PIECES).max(4);
    let mut pieces = Vec::new();
    let mut start = 0;
    for (at, char) in text.char_indices() {
        let end = at + char.len_utf8();
        let long_enough = end - start >= size;
        if long_enough && (char == ' ' || end - start >= 2 * size) {
            pieces.push(&text[start..end]);
            start = end;
        }
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

/// Says an update of the message.
fn update(event: &Value) -> io::Result<()> {
    say(&json!({ "type": "message_update", "assistantMessageEvent": event }))
}

/// Says the response to a command, which has these members besides those that every response has.
fn respond(command: &Value, mut response: Value) -> io::Result<()> {
    response["type"] = "response".into();
    response["command"] = command["type"].as_str().unwrap_or("parse").into();
    if let Some(id) = command.get("id") {
        response["id"] = id.clone();
    }
    say(&response)
}

fn say(line: &Value) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_several_and_lose_nothing() {
        for text in ["You said: hi", "You said: añ🦀🦀🦀🦀🦀🦀🦀🦀🦀", &"word ".repeat(500), &"x".repeat(900)]
        {
            let pieces = pieces(text);
            assert_eq!(pieces.concat(), text);
            assert!((2..=2 * PIECES).contains(&pieces.len()), "{} pieces", pieces.len());
        }
    }

    #[test]
    fn a_prompt_can_ask_for_long_pauses() {
        assert_eq!(pause_of("hello"), PAUSE);
        assert_eq!(pause_of("a [[slow 250]] b"), Duration::from_millis(250));
        assert_eq!(pause_of("[[slow 99999999]]"), Duration::from_millis(PAUSE_MAX_MS));
        assert_eq!(pause_of("[[slow x]]"), PAUSE);
    }
}
