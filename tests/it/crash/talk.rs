//! What clients asked and what they were told, read from the bytes that went over the sockets.
//!
//! Knows WebSocket's framing and the shape of requests and answers.

use std::collections::HashMap;

use serde_json::Value;

use crate::crash::trace::Call;

/// A text frame that means something.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    /// By a client.
    Asked { id: String, method: String, params: Value },
    /// By the daemon.
    Answered { id: String, frame: Value },
}

/// The streams that are open, by socket and direction.
#[derive(Default)]
pub(crate) struct Talk(HashMap<(String, bool), Stream>);

#[derive(Default)]
struct Stream {
    upgraded: bool,
    waiting: Vec<u8>,
}

impl Talk {
    /// What this call completes.
    pub(crate) fn hear(&mut self, call: &Call) -> Vec<Said> {
        let (socket, by_client, bytes) = match call {
            Call::Received { socket, bytes } => (socket, true, bytes),
            Call::Sent { socket, bytes } => (socket, false, bytes),
            _ => return Vec::new(),
        };
        let stream = self.0.entry((socket.clone(), by_client)).or_default();
        stream.waiting.extend_from_slice(bytes);
        let mut said = Vec::new();
        while let Some(text) = stream.next_text() {
            let Ok(frame) = serde_json::from_slice::<Value>(&text) else { continue };
            let Some(id) = frame["id"].as_str().map(str::to_owned) else { continue };
            if by_client {
                let method = frame["method"].as_str().unwrap_or_default().to_owned();
                said.push(Said::Asked { id, method, params: frame["params"].clone() });
            } else {
                said.push(Said::Answered { id, frame });
            }
        }
        said
    }
}

impl Stream {
    /// The next whole message's bytes; those that are no text come out empty.
    fn next_text(&mut self) -> Option<Vec<u8>> {
        if !self.upgraded {
            let end = self.waiting.windows(4).position(|window| window == b"\r\n\r\n")?;
            self.waiting.drain(..end + 4);
            self.upgraded = true;
        }
        let [first, second, rest @ ..] = self.waiting.as_slice() else { return None };
        let masked = second & 0x80 != 0;
        let (len, len_bytes) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), 2),
            127 => (usize::try_from(u64::from_be_bytes(rest.get(..8)?.try_into().ok()?)).ok()?, 8),
            short => (usize::from(short), 0),
        };
        let start = 2 + len_bytes + if masked { 4 } else { 0 };
        let mut payload = self.waiting.get(start..start + len)?.to_vec();
        if masked {
            let mask = &self.waiting[start - 4..start];
            payload.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= mask[at % 4]);
        }
        let is_text = first & 0x0f == 1;
        self.waiting.drain(..start + len);
        Some(if is_text { payload } else { Vec::new() })
    }
}

#[test]
fn frames_are_found_in_pieces_of_a_stream() {
    let mut talk = Talk::default();
    let text = br#"{"type":"req","id":"7","method":"health","params":{}}"#;
    let mask = [1, 2, 3, 4];
    let mut bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    bytes.extend([0x89, 0x80, 9, 9, 9, 9]);
    bytes.extend([0x81, 0x80 | u8::try_from(text.len()).unwrap()]);
    bytes.extend(mask);
    bytes.extend(text.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    let mut said = Vec::new();
    for byte in bytes {
        said.extend(talk.hear(&Call::Received { socket: "a".to_owned(), bytes: vec![byte] }));
    }
    assert!(matches!(&said[..], [Said::Asked { id, method, .. }] if id == "7" && method == "health"));
}
