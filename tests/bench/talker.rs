//! An agent that answers every prompt with a fixed stream of pieces, over Pi's RPC mode: what the
//! gateway makes of them is what is measured. Runs as a process of its own (`bench talker`).

use std::io::{BufRead as _, Write as _};

use serde_json::{Value, json};

use crate::Outcome;

/// Pieces of one answer.
pub(crate) const PIECES: usize = 1_000;
/// Text of the n-th piece: all have the same length, as tokens roughly do.
pub(crate) fn piece(number: usize) -> String {
    format!(" piece {number:04}")
}

/// Serves stdin until it ends.
pub(crate) fn serve() -> Outcome<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let command = request["type"].as_str().unwrap_or_default();
        let mut response = json!({"type": "response", "command": command, "success": true});
        if let Some(id) = request.get("id") {
            response["id"] = id.clone();
        }
        if command == "get_state" {
            response["data"] = json!({
                "isStreaming": false, "isCompacting": false, "thinkingLevel": "off",
                "sessionId": "bench", "messageCount": 0, "pendingMessageCount": 0,
            });
        }
        writeln!(out, "{response}")?;
        if command == "prompt" {
            answer(&mut out)?;
        }
        out.flush()?;
    }
    Ok(())
}

fn answer(out: &mut impl std::io::Write) -> Outcome<()> {
    let message = |text: &str| json!({"role": "assistant", "content": [{"type": "text", "text": text}], "stopReason": "stop"});
    let mut say = |event: Value| writeln!(out, "{event}");
    say(json!({"type": "agent_start"}))?;
    say(json!({"type": "turn_start"}))?;
    say(json!({"type": "message_start", "message": message("")}))?;
    let mut whole = String::new();
    for number in 0..PIECES {
        let delta = piece(number);
        whole.push_str(&delta);
        let event = json!({"type": "text_delta", "contentIndex": 0, "delta": delta});
        say(json!({"type": "message_update", "assistantMessageEvent": event, "message": message("")}))?;
    }
    say(json!({"type": "message_end", "message": message(&whole)}))?;
    say(json!({"type": "turn_end", "message": message(&whole), "toolResults": []}))?;
    say(json!({"type": "agent_end", "messages": [message(&whole)]}))?;
    Ok(())
}
