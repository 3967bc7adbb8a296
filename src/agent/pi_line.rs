//! Parses a line of Pi's stdout into what a run needs of it.
//!
//! Each `message_update` repeats the whole message twice, so a long answer is hundreds of
//! megabytes of lines. Only the few members below are looked at, where they stand in the line; all
//! others are skipped without being built, and nothing of a line is kept but the bounded texts inside
//! a [`PiLine`]. A text of the answer that is longer comes as several, so that a line of the largest
//! size never is in memory twice.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::agent::{ToolPhase, ToolStep};
use crate::limits::{
    AGENT_LINE_BUFFER_BYTES, AGENT_NAME_BYTES_MAX, DELTA_BYTES_MAX, ERROR_TEXT_BYTES_MAX, TOOL_BYTES_MAX,
};
use crate::protocol::cut;
use crate::protocol::scan::Shape;

/// A line, as the run in progress needs it. Events carry no id: a process has one run at a time.
#[derive(Debug, PartialEq)]
pub(super) enum PiLine {
    /// The answer to a command.
    Response(Response),
    /// The agent works. Not always the beginning: retries start again with it.
    AgentStart,
    /// The agent stopped working. Not always the end.
    AgentEnd,
    /// A message of the model begins.
    MessageStart,
    /// More text of the message.
    Text {
        /// Tells the message's blocks of text apart (`contentIndex`).
        block: u64,
        /// The text that was added.
        delta: String,
    },
    /// The whole text of a block, repeated at its end.
    TextEnd {
        /// Tells the message's blocks of text apart (`contentIndex`).
        block: u64,
        /// The text, or as much of it as fits a piece.
        content: String,
        /// Whether the next line is more of it.
        more: bool,
    },
    /// More of the model's thinking.
    Thinking(String),
    /// The message of the model is complete.
    MessageEnd {
        /// Why the message ended.
        stop: StopReason,
        /// What went wrong, with `Error` and `Aborted`.
        error: Option<String>,
    },
    /// A tool begins, goes on or ends (`tool_execution_*`).
    Tool(ToolStep),
    /// The provider failed; Pi asks again after a while.
    RetryStart(String),
    /// Pi stopped asking again, or need not any more.
    RetryEnd {
        /// Whether the failed request has succeeded.
        success: bool,
        /// The last error of the provider.
        error: Option<String>,
    },
    /// The history is being shortened.
    CompactionStart,
    /// The history is shorter now, or could not be shortened.
    CompactionEnd {
        /// Whether the failed request is made again.
        will_retry: bool,
    },
    /// An extension asks the person something and waits for the answer to this id.
    Question(String),
    /// Anything else: a sign of life.
    Other,
}

/// The answer to a command (`type: response`).
#[derive(Debug, PartialEq)]
pub(super) struct Response {
    /// The command's id; refused lines have none.
    pub(super) id: Option<String>,
    /// The command's name, `parse` for a line that was no command.
    pub(super) command: String,
    /// Why it was refused, if it was.
    pub(super) refusal: Option<String>,
    /// Whether something is still going on, with `get_state`.
    pub(super) is_busy: bool,
}

/// Why a message of the model ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopReason {
    /// It is complete, was cut at the model's length limit, or ends with a tool call.
    Complete,
    /// The provider failed.
    Error,
    /// It was stopped by `abort`.
    Aborted,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawLine<'a> {
    #[serde(borrow, rename = "type")]
    kind: &'a RawValue,
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
    kind: &'a RawValue,
    #[serde(default)]
    content_index: u64,
    delta: Option<&'a RawValue>,
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMessage<'a> {
    #[serde(borrow)]
    role: &'a RawValue,
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
struct RawResult {
    content: BlocksText,
}

#[derive(Deserialize)]
struct RawBlock<'a> {
    #[serde(borrow, rename = "type")]
    kind: &'a RawValue,
    text: Option<&'a RawValue>,
}

/// Parses one line without its LF and hands over what it means, until `handle` says `false`; that is
/// returned. The error is what a person may read about it.
pub(super) fn parse(line: &[u8], handle: &mut dyn FnMut(PiLine) -> bool) -> Result<bool, String> {
    let foreign = || {
        let excerpt = String::from_utf8_lossy(&line[..line.len().min(80)]);
        let excerpt: String = excerpt.chars().filter(|char| !char.is_control()).collect();
        format!("the agent wrote a line that is not its protocol: `{excerpt}`")
    };
    // Names are the one thing of which a copy is made, if they are written with escapes.
    if line.len() > AGENT_LINE_BUFFER_BYTES && Shape::of(line).name_bytes > AGENT_NAME_BYTES_MAX {
        return Err(foreign());
    }
    let raw: RawLine<'_> = serde_json::from_slice(line).map_err(|_| foreign())?;
    let kind = short(raw.kind).ok_or_else(foreign)?;
    Ok(match (kind.as_str(), &raw.assistant_message_event) {
        ("message_update", Some(event)) => update(event, handle),
        _ => handle(whole(&kind, &raw)),
    })
}

/// The line of any kind that means one thing.
fn whole(kind: &str, raw: &RawLine<'_>) -> PiLine {
    match kind {
        "tool_execution_start" => tool(raw, ToolPhase::Start, raw.args.map_or_else(String::new, json)),
        "tool_execution_update" => tool(raw, ToolPhase::Update, result_text(raw.partial_result)),
        "tool_execution_end" => {
            tool(raw, ToolPhase::End { is_error: flag(raw.is_error) }, result_text(raw.result))
        }
        "response" => PiLine::Response(response(raw)),
        "agent_start" => PiLine::AgentStart,
        "agent_end" => PiLine::AgentEnd,
        "message_start" if parse_message(raw.message).is_some() => PiLine::MessageStart,
        "message_end" => message_end(raw.message),
        "auto_retry_start" => PiLine::RetryStart(raw.error_message.and_then(sentence).unwrap_or_default()),
        "auto_retry_end" => {
            PiLine::RetryEnd { success: flag(raw.success), error: raw.final_error.and_then(sentence) }
        }
        "compaction_start" => PiLine::CompactionStart,
        "compaction_end" => PiLine::CompactionEnd { will_retry: flag(raw.will_retry) },
        "extension_ui_request" => question(raw),
        _ => PiLine::Other,
    }
}

/// A piece of the answer, as several if it is long.
fn update(update: &RawUpdate<'_>, handle: &mut dyn FnMut(PiLine) -> bool) -> bool {
    let block = update.content_index;
    match short(update.kind).as_deref() {
        Some("text_delta") => pieces(update.delta).all(|(delta, _)| handle(PiLine::Text { block, delta })),
        Some("text_end") => {
            pieces(update.content).all(|(content, more)| handle(PiLine::TextEnd { block, content, more }))
        }
        Some("thinking_delta") => pieces(update.delta).all(|(delta, _)| handle(PiLine::Thinking(delta))),
        _ => handle(PiLine::Other),
    }
}

/// Name of a tool whose name is missing.
const UNNAMED: &str = "tool";

fn tool(raw: &RawLine<'_>, phase: ToolPhase, full: String) -> PiLine {
    let named = |raw: Option<&RawValue>| raw.and_then(short).filter(|name| !name.is_empty());
    // Without its id nobody can say which call goes on or ends.
    let Some(call_id) = named(raw.tool_call_id) else { return PiLine::Other };
    let (text, truncated) = bounded(full);
    PiLine::Tool(ToolStep {
        call_id,
        name: named(raw.tool_name).unwrap_or_else(|| UNNAMED.to_owned()),
        text,
        truncated,
        phase,
    })
}

fn response(raw: &RawLine<'_>) -> Response {
    let state: RawState = raw.data.and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
    let refusal =
        || raw.error.map_or_else(String::new, |error| sentence(error).unwrap_or_else(|| json(error)));
    Response {
        id: raw.id.and_then(short),
        command: raw.command.and_then(short).unwrap_or_default(),
        refusal: (!flag(raw.success)).then(refusal),
        is_busy: state.is_streaming || state.is_compacting,
    }
}

/// The message, if it is one of the model's.
fn parse_message(message: Option<&RawValue>) -> Option<RawMessage<'_>> {
    serde_json::from_str(message?.get())
        .ok()
        .filter(|message: &RawMessage<'_>| short(message.role).as_deref() == Some("assistant"))
}

fn message_end(message: Option<&RawValue>) -> PiLine {
    let Some(message) = parse_message(message) else { return PiLine::Other };
    let stop = match message.stop_reason.and_then(short).as_deref() {
        Some("error") => StopReason::Error,
        Some("aborted") => StopReason::Aborted,
        _ => StopReason::Complete,
    };
    PiLine::MessageEnd { stop, error: message.error_message.and_then(sentence) }
}

fn question(raw: &RawLine<'_>) -> PiLine {
    // The other methods only show something.
    match raw.method.and_then(short).as_deref() {
        Some("confirm" | "select" | "input" | "editor") => {
            raw.id.and_then(short).map_or(PiLine::Other, PiLine::Question)
        }
        _ => PiLine::Other,
    }
}

/// What a tool put out: its text blocks, or the JSON of a result of another shape. One character more
/// than is shown is kept of a longer one, so that whoever cuts it sees that.
fn result_text(result: Option<&RawValue>) -> String {
    let Some(result) = result else { return String::new() };
    match serde_json::from_str::<RawResult>(result.get()) {
        Ok(parsed) => parsed.content.0,
        Err(_) => json(result),
    }
}

/// The texts of a tool's blocks, built no further than they are shown.
struct BlocksText(String);

impl<'de> Deserialize<'de> for BlocksText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Blocks;
        impl<'de> Visitor<'de> for Blocks {
            type Value = BlocksText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of blocks")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut blocks: A) -> Result<BlocksText, A::Error> {
                let mut all = String::new();
                while let Some(block) = blocks.next_element::<RawBlock<'de>>()? {
                    // A block that is not of this shape makes the whole result one that is not.
                    let kind = short(block.kind).ok_or_else(|| serde::de::Error::custom("no type"))?;
                    if all.len() > TOOL_BYTES_MAX {
                        continue;
                    }
                    if !all.is_empty() {
                        all.push('\n');
                    }
                    match block.text.and_then(|text| excerpt(text, TOOL_TEXT_BYTES)) {
                        Some(text) => all.push_str(&text),
                        None => all.extend(["[", &kind, "]"]),
                    }
                }
                Ok(BlocksText(all))
            }
        }
        from.deserialize_seq(Blocks)
    }
}

/// Bytes that are kept of a tool's text before it is cut: whoever cuts it sees that it was longer.
const TOOL_TEXT_BYTES: usize = TOOL_BYTES_MAX + 4;

fn bounded(mut full: String) -> (String, bool) {
    let kept = cut(&full, TOOL_BYTES_MAX).len();
    let truncated = kept < full.len();
    full.truncate(kept);
    full.shrink_to_fit();
    (full, truncated)
}

fn json(raw: &RawValue) -> String {
    cut(raw.get(), TOOL_TEXT_BYTES).to_owned()
}

fn flag(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|raw| raw.get() == "true")
}

/// A name or id, cut: nothing of ours is longer.
fn short(raw: &RawValue) -> Option<String> {
    excerpt(raw, ERROR_TEXT_BYTES_MAX)
}

/// The text of an error, before blanks are taken out of it.
fn sentence(raw: &RawValue) -> Option<String> {
    excerpt(raw, 2 * ERROR_TEXT_BYTES_MAX)
}

/// The text of a JSON string, cut to so many bytes; `None` if it is no string.
fn excerpt(raw: &RawValue, bytes_max: usize) -> Option<String> {
    let written = inner(raw)?;
    // An escape is at most six times as long as what it means.
    let mut text = text(&written[..end_of_piece(written, 6 * bytes_max)])?;
    text.truncate(cut(&text, bytes_max).len());
    Some(text)
}

/// The text of a JSON string in pieces, at least one; with each, whether there are more. What is no
/// string has one empty piece.
fn pieces(raw: Option<&RawValue>) -> impl Iterator<Item = (String, bool)> {
    let mut rest = Some(raw.and_then(inner).unwrap_or_default());
    std::iter::from_fn(move || {
        let written = rest?;
        let (piece, more) = written.split_at(end_of_piece(written, DELTA_BYTES_MAX));
        rest = (!more.is_empty()).then_some(more);
        Some((text(piece).unwrap_or_default(), !more.is_empty()))
    })
}

/// What stands between the quotes of a JSON string.
fn inner(raw: &RawValue) -> Option<&str> {
    raw.get().strip_prefix('"')?.strip_suffix('"')
}

/// Where a piece of at most so many bytes ends, without cutting through a character or an escape.
/// Only a single character or escape may be longer than that.
fn end_of_piece(written: &str, bytes_max: usize) -> usize {
    if written.len() <= bytes_max {
        return written.len();
    }
    let bytes = written.as_bytes();
    let mut end = 0;
    loop {
        let next = end + one(&bytes[end..]);
        if next > bytes_max && end > 0 {
            return end;
        }
        end = next;
    }
}

/// Bytes of the first character as it is written; two escapes may be the halves of one.
fn one(written: &[u8]) -> usize {
    match written {
        [b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', _, _, b'\\', b'u', ..] => 12,
        [b'\\', b'u', ..] => 6,
        [b'\\' | 0x80..=0xdf, ..] => 2,
        [0..=0x7f, ..] => 1,
        [0xe0..=0xef, ..] => 3,
        _ => 4,
    }
}

/// The text that is written like that between quotes. JavaScript cuts astral characters in halves and escapes
/// each half, which no UTF-8 text can hold: such a half becomes a replacement character.
fn text(written: &str) -> Option<String> {
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
    serde_json::from_str::<Lossy>(&format!("\"{written}\"")).ok().map(|lossy| lossy.0)
}

#[cfg(test)]
mod tests;
