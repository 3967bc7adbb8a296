//! Steps of a run, as `agent` events show them to clients. Pure.

use serde_json::{Value, json};

use crate::agent::RunStep;
use crate::limits::{DELTA_BYTES_MAX, TOOL_BYTES_MAX};
use crate::protocol::event::AgentStream;
use crate::protocol::frame::cut_encoded;

/// The stream and data of the `agent` event for a step.
pub(crate) fn to_event(step: RunStep) -> (AgentStream, Value) {
    match step {
        RunStep::Queued { position } => {
            (AgentStream::Lifecycle, json!({ "phase": "queued", "position": position }))
        }
        RunStep::Started => (AgentStream::Lifecycle, json!({ "phase": "started" })),
        RunStep::Retrying { reason } => {
            let reason = cut_encoded(&reason, TOOL_BYTES_MAX);
            (AgentStream::Lifecycle, json!({ "phase": "retrying", "reason": reason }))
        }
        RunStep::Compacting => (AgentStream::Lifecycle, json!({ "phase": "compacting" })),
        RunStep::Text(delta) => (AgentStream::Assistant, json!({ "delta": fit(&delta) })),
        RunStep::Reset => (AgentStream::Assistant, json!({ "reset": true })),
        RunStep::Thinking(delta) => (AgentStream::Thinking, json!({ "delta": fit(&delta) })),
        RunStep::Error(message) => {
            (AgentStream::Error, json!({ "message": cut_encoded(&message, TOOL_BYTES_MAX) }))
        }
        RunStep::ToolStart { call_id, name, args, truncated } => {
            let args = parse_or_text(args, truncated);
            (AgentStream::Tool, tool("start", &call_id, &name, "args", args, truncated, None))
        }
        RunStep::ToolUpdate { call_id, name, result, truncated } => {
            (AgentStream::Tool, tool("update", &call_id, &name, "result", result.into(), truncated, None))
        }
        RunStep::ToolEnd { call_id, name, result, truncated, is_error } => (
            AgentStream::Tool,
            tool("end", &call_id, &name, "result", result.into(), truncated, Some(is_error)),
        ),
    }
}

/// Pieces are at most `DELTA_BYTES_MAX` long: JSON may take six times that, which still fits a frame.
fn fit(delta: &str) -> &str {
    debug_assert!(delta.len() <= DELTA_BYTES_MAX, "the agent thread splits longer pieces");
    delta
}

/// The arguments of a tool: JSON, unless they were cut.
fn parse_or_text(args: String, truncated: bool) -> Value {
    if truncated {
        return Value::String(args);
    }
    serde_json::from_str(&args).unwrap_or(Value::String(args))
}

fn tool(
    phase: &str,
    call_id: &str,
    name: &str,
    content_name: &str,
    content: Value,
    truncated: bool,
    is_error: Option<bool>,
) -> Value {
    let mut data = json!({ "phase": phase, "toolCallId": call_id, "name": name });
    data[content_name] = content;
    if truncated {
        data["truncated"] = true.into();
    }
    if let Some(is_error) = is_error {
        data["isError"] = is_error.into();
    }
    data
}
