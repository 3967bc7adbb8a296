//! From JSON to bytes on a socket: one ready WebSocket frame per message.
//!
//! Server frames are not masked and we speak no extension, so the bytes of a frame are the same
//! for every client. In an event only the number differs: its head is built per connection, its
//! body is shared. What is in a frame is not known here.

use std::io::Write as _;

use serde::Serialize;
use tungstenite::Bytes;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::limits::{CLOSE_REASON_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::protocol::cut;
use crate::protocol::error::WireError;
use crate::protocol::event::EventKind;
use crate::protocol::hello::StateVersion;

const TEXT: OpCode = OpCode::Data(Data::Text);
/// Longest header of an unmasked frame (RFC 6455, 5.2).
const HEADER_BYTES_MAX: usize = 10;

/// Writes the header of an unmasked, final frame in front of its payload, which begins behind `HEADER_BYTES_MAX`
/// spare bytes; so many bytes of it follow that are not in the buffer. Returns where the header begins.
fn put_header(buffer: &mut [u8], opcode: OpCode, bytes_behind: usize) -> usize {
    let payload_bytes = (buffer.len() - HEADER_BYTES_MAX + bytes_behind) as u64;
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    let start = HEADER_BYTES_MAX - header.len(payload_bytes);
    // Cannot fail: it is as long as it says.
    let _ = header.format(payload_bytes, &mut &mut buffer[start..HEADER_BYTES_MAX]);
    start
}

/// The frame whose payload was written behind `HEADER_BYTES_MAX` spare bytes.
fn finish(mut buffer: Vec<u8>, opcode: OpCode) -> Bytes {
    let start = put_header(&mut buffer, opcode, 0);
    shrink(&mut buffer);
    Bytes::from(buffer).slice(start..)
}

/// Frees what a buffer has grown too large by: it may wait in a backlog, which counts its bytes only.
fn shrink(buffer: &mut Vec<u8>) {
    if buffer.capacity() - buffer.len() > SPARE_BYTES {
        buffer.shrink_to_fit();
    }
}

/// Room that a buffer may have left: moving a small one costs more than it saves.
const SPARE_BYTES: usize = 1_024;

fn begin(capacity: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(HEADER_BYTES_MAX + capacity);
    buffer.resize(HEADER_BYTES_MAX, 0);
    buffer
}

fn append_json(buffer: &mut Vec<u8>, value: &impl Serialize) {
    // Anything put in its place would be taken for what the gateway means to say.
    serde_json::to_writer(buffer, value).expect("a type of the protocol becomes JSON, and memory takes it");
}

/// A text frame with `value` as its JSON.
pub(crate) fn text(value: &impl Serialize) -> Bytes {
    let mut buffer = begin(512);
    append_json(&mut buffer, value);
    finish(buffer, TEXT)
}

/// An answer to a request.
#[derive(Serialize)]
#[serde(tag = "type", rename = "res")]
struct Res<'a, P> {
    id: &'a str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a P>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a WireError>,
}

/// A good answer to the request `id`. One that would not fit a frame becomes an error.
pub(crate) fn res_ok(id: &str, payload: &impl Serialize) -> Bytes {
    let frame = text(&Res { id, ok: true, payload: Some(payload), error: None });
    // The header of a frame that long has its full length.
    if frame.len() > HEADER_BYTES_MAX + PAYLOAD_BYTES_MAX {
        return res_error(id, &WireError::internal("the answer is larger than a frame may be; ask for less"));
    }
    frame
}

/// An answer to the request `id` that refuses it.
pub(crate) fn res_error(id: &str, error: &WireError) -> Bytes {
    res_error_with(id, None::<&()>, error)
}

/// An answer that refuses a request and has a payload, too, as the end of a run does.
pub(crate) fn res_error_with(id: &str, payload: Option<&impl Serialize>, error: &WireError) -> Bytes {
    text(&Res { id, ok: false, payload, error: Some(error) })
}

/// A ping frame without content.
pub(crate) fn ping() -> Bytes {
    finish(begin(0), OpCode::Control(Control::Ping))
}

/// Why a connection is closed: a code of RFC 6455 and a sentence that a person can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Close {
    /// The close code, such as 1001.
    pub(crate) code: u16,
    /// Cut to `CLOSE_REASON_BYTES_MAX` when it is sent.
    pub(crate) reason: String,
}

impl Close {
    pub(crate) fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// The close frame.
    pub(crate) fn frame(&self) -> Bytes {
        let mut buffer = begin(2 + CLOSE_REASON_BYTES_MAX);
        buffer.extend_from_slice(&self.code.to_be_bytes());
        buffer.extend_from_slice(cut(&self.reason, CLOSE_REASON_BYTES_MAX).as_bytes());
        finish(buffer, OpCode::Control(Control::Close))
    }
}

/// An event but for its number: encoded once, shared by every client that gets it.
#[derive(Debug, Clone)]
pub(crate) struct EventBody {
    /// The event's family, which decides who gets it.
    pub(crate) kind: EventKind,
    /// The bytes that all clients share: `,"payload":...}`, everything behind the number.
    pub(crate) tail: Bytes,
}

impl EventBody {
    /// Encodes `payload` as an event of that family.
    pub(crate) fn new(kind: EventKind, payload: &impl Serialize, version: Option<StateVersion>) -> Self {
        let mut tail = Vec::with_capacity(256);
        tail.extend_from_slice(b",\"payload\":");
        append_json(&mut tail, payload);
        if let Some(version) = version {
            tail.extend_from_slice(b",\"stateVersion\":");
            append_json(&mut tail, &version);
        }
        tail.push(b'}');
        shrink(&mut tail);
        Self { kind, tail: tail.into() }
    }

    /// The bytes before the tail in the frame with one connection's `seq`: all that differs between connections.
    pub(crate) fn head(&self, seq: u64) -> Vec<u8> {
        let mut head = begin(64);
        // A `Vec` takes whatever is written.
        let _ = write!(head, "{{\"type\":\"event\",\"event\":\"{}\",\"seq\":{seq}", self.kind.name());
        let start = put_header(&mut head, TEXT, self.tail.len());
        head.drain(..start);
        head
    }
}

/// Cuts `text` so that its JSON string (without quotes) has at most `bytes_max` bytes: a control
/// character takes six there.
pub(crate) fn cut_encoded(text: &str, bytes_max: usize) -> &str {
    let mut encoded = 0;
    for (at, character) in text.char_indices() {
        encoded += match character {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..='\u{1f}' => 6,
            other => other.len_utf8(),
        };
        if encoded > bytes_max {
            return &text[..at];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use serde_json::{Value, json};
    use tungstenite::protocol::frame::Frame;
    use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

    use super::{Close, EventBody, cut_encoded, ping, res_error, res_ok, text};
    use crate::limits::PAYLOAD_BYTES_MAX;
    use crate::protocol::error::WireError;
    use crate::protocol::event::EventKind;

    fn parse(wire: &[u8]) -> (OpCode, Vec<u8>) {
        let mut cursor = Cursor::new(wire);
        let (header, bytes) = tungstenite::protocol::frame::FrameHeader::parse(&mut cursor).unwrap().unwrap();
        assert!(header.is_final && header.mask.is_none());
        let start = usize::try_from(cursor.position()).unwrap();
        assert_eq!(wire.len() - start, usize::try_from(bytes).unwrap());
        (header.opcode, wire[start..].to_vec())
    }

    fn parse_json(wire: &[u8]) -> Value {
        let (opcode, payload) = parse(wire);
        assert_eq!(opcode, OpCode::Data(Data::Text));
        serde_json::from_slice(&payload).unwrap()
    }

    #[test]
    fn frames_of_every_length_parse() {
        for length in [0, 1, 100, 124, 125, 126, 127, 200, 65_000, 65_533, 65_534, 65_535, 65_536, 400_000] {
            let value = "x".repeat(length);
            assert_eq!(parse_json(&text(&value)), json!(value));
            let frame = Frame::message(serde_json::to_vec(&value).unwrap(), OpCode::Data(Data::Text), true);
            let mut expected = Vec::new();
            frame.format(&mut expected).unwrap();
            assert_eq!(&text(&value)[..], &expected[..]);
        }
    }

    #[test]
    fn answers_have_the_protocols_shape() {
        assert_eq!(
            parse_json(&res_ok("a\"b", &json!({"x": 1}))),
            json!({"type": "res", "id": "a\"b", "ok": true, "payload": {"x": 1}})
        );
        let answer = parse_json(&res_error("1", &WireError::rate_limited("slow down", 700)));
        assert_eq!(
            answer["error"],
            json!({"code": "RATE_LIMITED", "message": "slow down", "retryable": true, "retryAfterMs": 700})
        );
    }

    #[test]
    fn an_answer_never_exceeds_a_frame() {
        let answer = parse_json(&res_ok("1", &"x".repeat(PAYLOAD_BYTES_MAX)));
        assert_eq!(answer["error"]["code"], "INTERNAL");
    }

    #[test]
    fn event_heads_carry_the_number_and_the_right_length() {
        for (kind, seq) in EventKind::ALL.iter().flat_map(|kind| [1, 9, 10, u64::MAX].map(|seq| (*kind, seq)))
        {
            for length in [0, 50, 70, 80, 70_000] {
                let body = EventBody::new(kind, &"y".repeat(length), None);
                let mut wire = body.head(seq);
                wire.extend_from_slice(&body.tail);
                let event = parse_json(&wire);
                assert_eq!(event["event"], kind.name());
                assert_eq!(event["seq"], json!(seq));
            }
        }
    }

    #[test]
    fn control_frames_are_valid() {
        assert_eq!(parse(&ping()), (OpCode::Control(Control::Ping), vec![]));
        let (opcode, payload) = parse(&Close::new(1008, "é".repeat(100)).frame());
        assert_eq!(opcode, OpCode::Control(Control::Close));
        assert_eq!(&payload[..2], 1008_u16.to_be_bytes());
        assert!(payload.len() <= 125 && std::str::from_utf8(&payload[2..]).is_ok());
    }

    #[test]
    fn cut_encoded_counts_escapes() {
        assert_eq!(cut_encoded("a\u{1}b", 7), "a\u{1}");
        assert_eq!(cut_encoded("a\u{1}b", 6), "a");
        assert_eq!(cut_encoded("\n\n\n", 5), "\n\n");
        assert_eq!(cut_encoded("é", 1), "");
        let encoded = serde_json::to_string(cut_encoded(&"\"\u{2}x".repeat(1000), 500)).unwrap();
        assert!(encoded.len() <= 502);
    }
}
