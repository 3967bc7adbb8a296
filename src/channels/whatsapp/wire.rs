//! The lines that the gateway and the sidecar exchange: one JSON object each.
//! The schemas in `schemas/sidecar/` are their reference.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::channels::message::InboundMedia;
use crate::limits::{GARBLED_BYTES_MAX, SIDECAR_DEPTH_MAX, SIDECAR_LINE_BYTES_MAX, SIDECAR_VALUES_MAX};
use crate::protocol::scan::Shape;

/// Version of the protocol; the sidecar refuses any other.
pub(super) const PROTOCOL: u64 = 1;

/// A line of the sidecar.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum SidecarLine {
    /// The answer to a request.
    Answer(SidecarAnswer),
    /// An event that nobody asked for.
    Event(SidecarEvent),
    /// A message that cannot be read, with its place in the sidecar's journal: it is passed over.
    #[serde(skip)]
    Unreadable { seq: u64, raw: String },
}

/// The answer to the request with the number `re`. Members of successful answers say of which requests.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SidecarAnswer {
    /// Number of the request; `None` for a line that was no request.
    pub(super) re: Option<u64>,
    pub(super) ok: bool,
    /// One word for programs, where the request failed. Where `link` succeeds, the code to type on the phone.
    #[serde(default)]
    pub(super) code: String,
    /// The reason for people, where the request failed.
    #[serde(default)]
    pub(super) error: String,
    /// Whether the same request may succeed later.
    #[serde(default)]
    pub(super) retry: bool,
    /// `hello`: whether a phone is linked.
    #[serde(default)]
    pub(super) linked: bool,
    /// `hello`: the account that is linked.
    pub(super) me: Option<OwnAccount>,
    /// `hello`: the server that the sidecar connects to.
    pub(super) host: Option<String>,
    /// `hello`: where the damaged login was put.
    pub(super) damaged: Option<String>,
    /// `link`: how long the code to type holds.
    pub(super) ttl_ms: Option<u64>,
    /// `send`: the address that it went to.
    #[serde(default)]
    pub(super) jid: String,
    /// `send`: the body, for a receiver who asks again. In answers to `hello` it is the protocol's version.
    #[serde(default)]
    pub(super) proto: Value,
    /// `fetch`: where the file was put.
    pub(super) path: Option<PathBuf>,
    /// `fetch`: its MIME type.
    pub(super) mime: Option<String>,
    /// `mem`: the memory that the sidecar takes.
    pub(super) rss: Option<u64>,
}

/// The account that a login belongs to.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct OwnAccount {
    pub(super) pn: Option<String>,
    pub(super) lid: Option<String>,
}

/// An event of the sidecar.
#[derive(Debug, Deserialize)]
#[serde(tag = "ev", rename_all = "kebab-case")]
pub(super) enum SidecarEvent {
    /// The state of the connection.
    State(ConnectionState),
    /// A code for the phone to scan.
    #[serde(rename_all = "camelCase")]
    Qr { data: String, ttl_ms: u64 },
    /// A message that came in.
    Msg(Box<Message>),
    /// A message of ours has got further.
    Out { id: String, stage: DeliveryStage, code: Option<u64> },
    /// A receiver asks again for a message of ours.
    NeedBody { id: String },
    /// A line for the log.
    Log { level: String, text: String },
    /// Why the sidecar is about to end.
    Fatal { text: String },
    /// An event of a newer sidecar.
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConnectionState {
    pub(super) state: String,
    pub(super) me: Option<OwnAccount>,
    pub(super) code: Option<u64>,
    pub(super) reason: Option<String>,
    pub(super) action: Option<String>,
    pub(super) retry_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DeliveryStage {
    /// The server has the message.
    Accepted,
    Delivered,
    Read,
    Failed,
}

/// A message as it came in.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message {
    /// Place in the sidecar's journal, acknowledged when state has the message on record.
    pub(super) seq: u64,
    pub(super) id: String,
    pub(super) chat: Chat,
    pub(super) from: From,
    pub(super) ts: u64,
    pub(super) kind: String,
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) mentions_me: bool,
    pub(super) quote: Option<Quote>,
    /// Somebody else's words; WhatsApp does not say whose.
    #[serde(default)]
    pub(super) forwarded: bool,
    pub(super) media: Option<Media>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Chat {
    pub(super) jid: String,
    pub(super) pn: Option<String>,
    pub(super) lid: Option<String>,
    pub(super) group: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct From {
    pub(super) jid: Option<String>,
    pub(super) pn: Option<String>,
    pub(super) lid: Option<String>,
    pub(super) name: Option<String>,
    pub(super) me: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Quote {
    #[serde(default)]
    pub(super) me: bool,
    pub(super) text: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Media {
    pub(super) kind: String,
    pub(super) mime: String,
    pub(super) bytes: u64,
    pub(super) name: Option<String>,
    #[serde(rename = "ref")]
    pub(super) handle: String,
}

impl Media {
    /// The file as state takes it; a sticker is none.
    pub(super) fn into_inbound(self) -> Option<InboundMedia> {
        Some(InboundMedia {
            kind: serde_json::from_value(Value::String(self.kind)).ok()?,
            mime_type: self.mime,
            name: self.name,
            bytes: self.bytes,
            handle: self.handle,
        })
    }
}

/// One request as a line.
pub(super) fn request(number: u64, op: &str, members: Value) -> Vec<u8> {
    let mut request = json!({ "n": number, "op": op });
    if let (Value::Object(request), Value::Object(members)) = (&mut request, members) {
        request.extend(members);
    }
    let mut line = request.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Hands every line to `handle` until the end, a fault, or until that says `false`.
pub(super) fn read(stdout: impl Read, mut handle: impl FnMut(SidecarLine) -> bool) -> Result<(), String> {
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        line.shrink_to(LINE_BUFFER_BYTES);
        let read = reader.by_ref().take(SIDECAR_LINE_BYTES_MAX + 1).read_until(b'\n', &mut line);
        match read {
            Ok(0) => return Ok(()),
            Ok(bytes) if bytes as u64 > SIDECAR_LINE_BYTES_MAX => {
                return Err(format!("it wrote a line of more than {SIDECAR_LINE_BYTES_MAX} bytes"));
            }
            Ok(_) => {}
            Err(error) => return Err(format!("it cannot be read: {error}")),
        }
        let shape = Shape::of(&line);
        let is_ours = shape.depth <= SIDECAR_DEPTH_MAX && shape.values <= SIDECAR_VALUES_MAX;
        let read = is_ours.then(|| serde_json::from_slice(&line).ok()).flatten();
        let read = read.or_else(|| unreadable(&line)).ok_or("it wrote something that is no line of ours")?;
        if !handle(read) {
            return Ok(());
        }
    }
}

/// Reads no more than the place of a message that was made to be unreadable: it must not hold up the others.
fn unreadable(line: &[u8]) -> Option<SidecarLine> {
    let rest = line.strip_prefix(br#"{"ev":"msg","seq":"#)?;
    let digits: String =
        rest.iter().take_while(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect();
    let raw = String::from_utf8_lossy(&line[..line.len().min(GARBLED_BYTES_MAX)]).into_owned();
    Some(SidecarLine::Unreadable { seq: digits.parse().ok()?, raw })
}

/// Room that is kept between lines; messages are shorter.
const LINE_BUFFER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use serde_json::json;

    use super::{DeliveryStage, SidecarEvent, SidecarLine, read, request};

    #[test]
    fn lines_are_told_apart() {
        let lines = r#"{"re":1,"ok":true,"proto":1,"linked":true,"me":{"pn":"+1","lid":"9@lid"}}
{"re":null,"ok":false,"code":"invalid","error":"not JSON","retry":false}
{"ev":"out","id":"A","stage":"failed","code":463}
{"ev":"state","state":"closed","code":503,"reason":"unavailable","action":"retry","retryMs":900}
{"ev":"something-new","x":1}
{"re":2,"ok":true,"code":"ABCD1234","ttlMs":5}
{"ev":"msg","seq":7,"id":"x","text":"\ud83d"}
"#;
        let said = RefCell::new(Vec::new());
        read(lines.as_bytes(), |line| {
            said.borrow_mut().push(line);
            true
        })
        .unwrap();
        let said = said.into_inner();
        assert!(matches!(&said[0], SidecarLine::Answer(answer) if answer.re == Some(1) && answer.linked));
        assert!(
            matches!(&said[1], SidecarLine::Answer(answer) if answer.re.is_none() && !answer.ok && answer.code == "invalid")
        );
        assert!(matches!(
            &said[2],
            SidecarLine::Event(SidecarEvent::Out { stage: DeliveryStage::Failed, code: Some(463), .. })
        ));
        assert!(
            matches!(&said[3], SidecarLine::Event(SidecarEvent::State(state)) if state.retry_ms == Some(900))
        );
        assert!(matches!(&said[4], SidecarLine::Event(SidecarEvent::Other)));
        assert!(
            matches!(&said[5], SidecarLine::Answer(answer) if answer.code == "ABCD1234" && answer.ttl_ms == Some(5))
        );
        assert!(matches!(&said[6], SidecarLine::Unreadable { seq: 7, .. }));
    }

    #[test]
    fn garbage_is_a_fault() {
        for bytes in ["nonsense\n", "{\"x\":1}\n", "\n"] {
            assert!(read(bytes.as_bytes(), |_| true).is_err(), "{bytes:?}");
        }
    }

    /// The stack of the thread that reads is small, and what is nested is built on it.
    #[test]
    fn what_nests_or_grows_beyond_a_line_of_ours_is_never_built() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let many = |values: usize| format!("[{}0]", "0,".repeat(values));
        let fits = |odd: &str, begin: &str| {
            let line = format!("{begin},\"x\":{odd}}}\n");
            let reading = std::thread::Builder::new().stack_size(crate::limits::CONN_STACK_BYTES);
            reading.spawn(move || read(line.as_bytes(), |_| true).is_ok()).unwrap().join().unwrap()
        };
        for begin in [r#"{"re":1,"ok":true"#, r#"{"ev":"qr","data":"x","ttlMs":1"#] {
            assert!(fits(&nested(8), begin) && fits(&many(500), begin), "{begin}");
            for odd in [nested(100), nested(100_000), many(10_000)] {
                assert!(!fits(&odd, begin), "{begin} {}", &odd[..20]);
            }
        }
        // One of these is passed, like any other message that cannot be read.
        assert!(fits(&nested(100), r#"{"ev":"msg","seq":7"#));
    }

    #[test]
    fn requests_are_lines() {
        let line = request(7, "ack", json!({ "seq": 3 }));
        let parsed: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(parsed, json!({ "n": 7, "op": "ack", "seq": 3 }));
        assert_eq!(line.last(), Some(&b'\n'));
    }
}
