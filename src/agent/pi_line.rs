//! One line of Pi's stdout, reduced to what a run needs.
//!
//! Each `message_update` repeats the whole message twice, so a long answer is hundreds of
//! megabytes of lines. Only the few members below are looked at; all others are skipped without
//! being built, and nothing of a line is kept but the bounded texts inside a [`PiLine`].

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use serde_json::value::RawValue;

use crate::limits::{ERROR_TEXT_BYTES_MAX, TOOL_BYTES_MAX};
use crate::protocol::cut;

/// What a line means to the run in progress. Events carry no id: a process has one run at a time.
#[derive(Debug, PartialEq)]
pub(super) enum PiLine {
    /// Answer to a command of ours.
    Response(Response),
    /// The agent works. Not always the beginning: retries start again with it.
    AgentStart,
    /// The agent stopped working. Not always the end.
    AgentEnd,
    /// A message of the model begins.
    MessageStart,
    /// More text of it; `block` tells its text blocks apart.
    Text {
        /// `contentIndex`
        block: u64,
        /// The piece.
        delta: String,
    },
    /// The whole text of a block, repeated at its end.
    TextEnd {
        /// `contentIndex`
        block: u64,
        /// All of it.
        content: String,
    },
    /// More of its thinking.
    Thinking(String),
    /// The message is complete.
    MessageEnd {
        /// Why it ended.
        stop: StopReason,
        /// What went wrong, with `Error` and `Aborted`.
        error: Option<String>,
    },
    /// A tool begins, goes on or ends.
    Tool(ToolLine),
    /// The provider failed; Pi asks again after a while.
    RetryStart(String),
    /// Pi stopped asking again, or need not any more.
    RetryEnd {
        /// The failed request succeeded.
        success: bool,
        /// The last error.
        error: Option<String>,
    },
    /// The history is being shortened.
    CompactionStart,
    /// It is shorter, or not.
    CompactionEnd {
        /// The failed request is made again.
        will_retry: bool,
    },
    /// An extension asks the person something and waits for the answer to this id.
    Question(String),
    /// Anything else: a sign of life.
    Other,
}

/// `type: response`
#[derive(Debug, PartialEq)]
pub(super) struct Response {
    /// The command's id; refused lines have none.
    pub(super) id: Option<String>,
    /// The command's name, `parse` for a line that was no command.
    pub(super) command: String,
    /// Why it was refused, if it was.
    pub(super) refusal: Option<String>,
    /// With `get_state`: something is still going on.
    pub(super) busy: bool,
}

/// Why a message of the model ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopReason {
    /// Complete, cut at the model's length limit, or for a tool.
    Complete,
    /// The provider failed.
    Error,
    /// Stopped by `abort`.
    Aborted,
}

/// `tool_execution_*`
#[derive(Debug, PartialEq)]
pub(super) struct ToolLine {
    /// `toolCallId`
    pub(super) call_id: String,
    /// `toolName`
    pub(super) name: String,
    /// Args of a start as JSON text, otherwise the output so far as text.
    pub(super) text: String,
    /// `text` was cut.
    pub(super) truncated: bool,
    /// Which of the three.
    pub(super) phase: ToolPhase,
}

/// Where a tool call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToolPhase {
    /// It begins.
    Start,
    /// It has output.
    Update,
    /// It is over.
    End {
        /// It failed.
        is_error: bool,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLine<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    // Members that lines of different types use differently are parsed only where they are read.
    id: Option<&'a RawValue>,
    command: Option<&'a RawValue>,
    success: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    message: Option<&'a RawValue>,
    assistant_message_event: Option<RawUpdate<'a>>,
    tool_call_id: Option<&'a RawValue>,
    tool_name: Option<&'a RawValue>,
    args: Option<&'a RawValue>,
    partial_result: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    is_error: Option<&'a RawValue>,
    error_message: Option<&'a RawValue>,
    final_error: Option<&'a RawValue>,
    will_retry: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawUpdate<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    content_index: u64,
    delta: Option<&'a RawValue>,
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMessage<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    stop_reason: Option<&'a RawValue>,
    error_message: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawState {
    is_streaming: bool,
    is_compacting: bool,
}

#[derive(Deserialize)]
struct RawResult<'a> {
    #[serde(borrow)]
    content: Vec<RawBlock<'a>>,
}

#[derive(Deserialize)]
struct RawBlock<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    text: Option<&'a RawValue>,
}

/// Parses one line without its LF. The error is what a person may read about it.
pub(super) fn parse(line: &[u8]) -> Result<PiLine, String> {
    let raw: RawLine<'_> = serde_json::from_slice(line).map_err(|_| {
        let excerpt = String::from_utf8_lossy(&line[..line.len().min(80)]);
        let excerpt: String = excerpt.chars().filter(|char| !char.is_control()).collect();
        format!("the agent wrote a line that is not its protocol: `{excerpt}`")
    })?;
    Ok(match &*raw.kind {
        "message_update" => update(raw.assistant_message_event),
        "tool_execution_start" => tool(&raw, ToolPhase::Start, raw.args.map_or_else(String::new, json)),
        "tool_execution_update" => tool(&raw, ToolPhase::Update, result_text(raw.partial_result)),
        "tool_execution_end" => {
            tool(&raw, ToolPhase::End { is_error: flag(raw.is_error) }, result_text(raw.result))
        }
        "response" => PiLine::Response(response(&raw)),
        "agent_start" => PiLine::AgentStart,
        "agent_end" => PiLine::AgentEnd,
        "message_start" if is_assistant(raw.message) => PiLine::MessageStart,
        "message_end" => message_end(raw.message),
        "auto_retry_start" => PiLine::RetryStart(raw.error_message.and_then(text).unwrap_or_default()),
        "auto_retry_end" => {
            PiLine::RetryEnd { success: flag(raw.success), error: raw.final_error.and_then(text) }
        }
        "compaction_start" => PiLine::CompactionStart,
        "compaction_end" => PiLine::CompactionEnd { will_retry: flag(raw.will_retry) },
        "extension_ui_request" => question(&raw),
        _ => PiLine::Other,
    })
}

fn update(update: Option<RawUpdate<'_>>) -> PiLine {
    let Some(update) = update else { return PiLine::Other };
    let block = update.content_index;
    match &*update.kind {
        "text_delta" => PiLine::Text { block, delta: update.delta.and_then(text).unwrap_or_default() },
        "text_end" => PiLine::TextEnd { block, content: update.content.and_then(text).unwrap_or_default() },
        "thinking_delta" => PiLine::Thinking(update.delta.and_then(text).unwrap_or_default()),
        _ => PiLine::Other,
    }
}

/// A tool whose name is missing.
const UNNAMED: &str = "tool";

fn tool(raw: &RawLine<'_>, phase: ToolPhase, full: String) -> PiLine {
    let named = |raw: Option<&RawValue>| raw.and_then(short).filter(|name| !name.is_empty());
    // Without its id nobody can say which call goes on or ends.
    let Some(call_id) = named(raw.tool_call_id) else { return PiLine::Other };
    let (text, truncated) = bounded(full);
    PiLine::Tool(ToolLine {
        call_id,
        name: named(raw.tool_name).unwrap_or_else(|| UNNAMED.to_owned()),
        text,
        truncated,
        phase,
    })
}

fn response(raw: &RawLine<'_>) -> Response {
    let state: RawState = raw.data.and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
    let refusal = || raw.error.map_or_else(String::new, |error| text(error).unwrap_or_else(|| json(error)));
    Response {
        id: raw.id.and_then(short),
        command: raw.command.and_then(short).unwrap_or_default(),
        refusal: (!flag(raw.success)).then(refusal),
        busy: state.is_streaming || state.is_compacting,
    }
}

fn parse_message(message: Option<&RawValue>) -> Option<RawMessage<'_>> {
    serde_json::from_str(message?.get()).ok().filter(|message: &RawMessage<'_>| message.role == "assistant")
}

fn is_assistant(message: Option<&RawValue>) -> bool {
    parse_message(message).is_some()
}

fn message_end(message: Option<&RawValue>) -> PiLine {
    let Some(message) = parse_message(message) else { return PiLine::Other };
    let stop = match message.stop_reason.and_then(text).as_deref() {
        Some("error") => StopReason::Error,
        Some("aborted") => StopReason::Aborted,
        _ => StopReason::Complete,
    };
    PiLine::MessageEnd { stop, error: message.error_message.and_then(text) }
}

fn question(raw: &RawLine<'_>) -> PiLine {
    // The other methods only show something.
    match raw.method.and_then(text).as_deref() {
        Some("confirm" | "select" | "input" | "editor") => {
            raw.id.and_then(short).map_or(PiLine::Other, PiLine::Question)
        }
        _ => PiLine::Other,
    }
}

/// What a tool put out: its text blocks, or the JSON of a result of another shape.
fn result_text(result: Option<&RawValue>) -> String {
    let Some(result) = result else { return String::new() };
    let Ok(parsed) = serde_json::from_str::<RawResult<'_>>(result.get()) else { return json(result) };
    let mut all = String::new();
    for block in parsed.content {
        if !all.is_empty() {
            all.push('\n');
        }
        match block.text.and_then(text) {
            Some(text) => all.push_str(&text),
            None => all.extend(["[", &*block.kind, "]"]),
        }
    }
    all
}

fn bounded(mut full: String) -> (String, bool) {
    let kept = cut(&full, TOOL_BYTES_MAX).len();
    let truncated = kept < full.len();
    full.truncate(kept);
    full.shrink_to_fit();
    (full, truncated)
}

fn json(raw: &RawValue) -> String {
    raw.get().to_owned()
}

fn flag(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|raw| raw.get() == "true")
}

/// A name or id: nothing of ours is longer.
fn short(raw: &RawValue) -> Option<String> {
    text(raw).map(|text| cut(&text, ERROR_TEXT_BYTES_MAX).to_owned())
}

/// The text of a JSON string. JavaScript cuts astral characters in halves and escapes each half,
/// which no UTF-8 text can hold: such a half becomes a replacement character.
fn text(raw: &RawValue) -> Option<String> {
    struct Lossy(String);
    impl<'de> Deserialize<'de> for Lossy {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Bytes;
            impl Visitor<'_> for Bytes {
                type Value = Lossy;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a string")
                }
                fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Lossy, E> {
                    Ok(Lossy(String::from_utf8_lossy(bytes).into_owned()))
                }
            }
            from.deserialize_bytes(Bytes)
        }
    }
    // serde_json would also take an array of numbers for bytes.
    if !raw.get().starts_with('"') {
        return None;
    }
    serde_json::from_str::<Lossy>(raw.get()).ok().map(|lossy| lossy.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> PiLine {
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_delta_is_read_past_two_snapshots() {
        let update = r#"{"type":"message_update","assistantMessageEvent":{"type":"text_delta","contentIndex":2,
            "delta":"a\"\u2028b","partial":{"content":[{"type":"text","text":"x"}]}},"message":{"role":"assistant"}}"#;
        assert_eq!(line(update), PiLine::Text { block: 2, delta: "a\"\u{2028}b".into() });
    }

    #[test]
    fn half_a_surrogate_pair_does_not_fail_the_line() {
        let update = r#"{"type":"message_update","assistantMessageEvent":{"type":"text_delta","contentIndex":0,"delta":"a\ud83d"}}"#;
        let PiLine::Text { delta, .. } = line(update) else { panic!("no text") };
        assert!(delta.starts_with('a') && delta.contains('\u{fffd}'), "{delta}");
    }

    #[test]
    fn responses_keep_id_refusal_and_state() {
        let refused =
            line(r#"{"id":"p1","type":"response","command":"prompt","success":false,"error":"busy"}"#);
        let PiLine::Response(refused) = refused else { panic!("no response") };
        assert_eq!((refused.id.as_deref(), refused.refusal.as_deref()), (Some("p1"), Some("busy")));
        let state = line(
            r#"{"id":7,"type":"response","command":"get_state","success":true,"data":{"isStreaming":false,"isCompacting":true}}"#,
        );
        let PiLine::Response(state) = state else { panic!("no response") };
        assert_eq!((state.id, state.refusal, state.busy), (None, None, true));
    }

    #[test]
    fn tool_results_become_bounded_text() {
        let long = "y".repeat(TOOL_BYTES_MAX + 1);
        let end = line(&format!(
            r#"{{"type":"tool_execution_end","toolCallId":"c","toolName":"bash","isError":true,"result":
            {{"content":[{{"type":"text","text":"one"}},{{"type":"image","data":"AAAA"}},{{"type":"text","text":"{long}"}}]}}}}"#
        ));
        let PiLine::Tool(tool) = end else { panic!("no tool") };
        assert_eq!((tool.text.len(), tool.truncated), (TOOL_BYTES_MAX, true));
        assert!(tool.text.starts_with("one\n[image]\nyyy"));
        assert_eq!(tool.phase, ToolPhase::End { is_error: true });
    }

    #[test]
    fn a_tool_has_a_name_and_its_call_an_id_for_whoever_draws_it() {
        for name in [r#""toolName":"""#, r#""toolName":7"#, r#""x":1"#] {
            let PiLine::Tool(tool) =
                line(&format!(r#"{{"type":"tool_execution_start","toolCallId":"c",{name}}}"#))
            else {
                panic!("no tool")
            };
            assert_eq!((tool.call_id.as_str(), tool.name.as_str()), ("c", "tool"), "{name}");
        }
        for id in [r#""toolCallId":"""#, r#""toolCallId":null"#, r#""x":1"#] {
            let odd = format!(r#"{{"type":"tool_execution_end","toolName":"bash",{id}}}"#);
            assert_eq!(line(&odd), PiLine::Other, "{id}");
        }
    }

    #[test]
    fn what_is_no_object_with_a_type_is_an_error() {
        for bad in [
            "null",
            "",
            "[]",
            "{",
            "{}",
            "hello",
            r#"{"type":1}"#,
            r#"{"type":"agent_end""#,
            "{\"type\":\"\u{0}\"}",
        ] {
            let error = parse(bad.as_bytes()).unwrap_err();
            assert!(error.len() < 200 && !error.contains('\u{0}'), "{error}");
        }
        assert!(parse(b"{\"type\":\"x\",\"message\":\"\xff\"}").is_err());
    }

    #[test]
    fn unknown_types_and_odd_members_are_a_sign_of_life() {
        for odd in [
            r#"{"type":"brand_new","id":{},"message":[1]}"#,
            r#"{"type":"message_end","message":"text"}"#,
            r#"{"type":"message_start","message":{"role":"user"}}"#,
            r#"{"type":"extension_ui_request","id":"q","method":"notify","message":"hi"}"#,
        ] {
            assert_eq!(line(odd), PiLine::Other, "{odd}");
        }
    }

    /// Every line that Pi was recorded to write.
    fn recorded() -> Vec<String> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pi");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let traces = files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
        let texts: Vec<_> = traces.map(|path| std::fs::read_to_string(path).unwrap()).collect();
        let entries = texts.iter().flat_map(|text| text.lines());
        entries
            .map(|entry| serde_json::from_str::<serde_json::Value>(entry).unwrap())
            .filter(|entry| entry["d"] == "out")
            .map(|entry| entry["s"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn every_recorded_line_is_read_and_pieces_make_up_their_blocks() {
        let (mut lines, mut blocks, mut tools) = (0, 0, 0);
        let mut text = std::collections::BTreeMap::<u64, String>::new();
        for recorded in recorded() {
            lines += 1;
            match line(&recorded) {
                PiLine::MessageStart => text.clear(),
                PiLine::Text { block, delta } => text.entry(block).or_default().push_str(&delta),
                PiLine::TextEnd { block, content } => {
                    blocks += 1;
                    assert_eq!(text.remove(&block).unwrap_or_default(), content, "{recorded}");
                }
                PiLine::Tool(tool) => {
                    tools += 1;
                    assert!(!tool.call_id.is_empty() && !tool.name.is_empty(), "{recorded}");
                }
                _ => {}
            }
        }
        assert!(lines > 1_000 && blocks > 50 && tools > 50, "{lines} lines, {blocks} blocks, {tools} tools");
    }
}
