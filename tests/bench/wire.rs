//! WebSocket frames as a client sees them: just enough to load a server without being its
//! bottleneck. Knows nothing of sockets.

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

/// The request that turns a connection into a WebSocket. Key and version are those of RFC 6455's
/// example: nobody here checks the answer's digest.
pub(crate) const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A client's frame. The mask is zero, which costs the server as much as any other.
pub(crate) fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    const MASKED: u8 = 0x80;
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => frame.push(MASKED | u8::try_from(short).unwrap_or_default()),
        medium @ 126..0x1_0000 => {
            frame.push(MASKED + 126);
            frame.extend_from_slice(&u16::try_from(medium).unwrap_or_default().to_be_bytes());
        }
        long => {
            frame.push(MASKED + 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// A request frame.
pub(crate) fn request(id: &str, method: &str, params: &str) -> Vec<u8> {
    let json = format!(r#"{{"type":"req","id":"{id}","method":"{method}","params":{params}}}"#);
    masked(TEXT, json.as_bytes())
}

/// A `hello` frame. Without `caps` the client gets every event.
pub(crate) fn hello(name: &str, caps: &[&str]) -> Vec<u8> {
    let client = format!(r#"{{"name":"{name}","version":"1.0.0","platform":"linux","mode":"bench"}}"#);
    // `{:?}` of a list of plain words is JSON.
    let json =
        format!(r#"{{"type":"hello","minProtocol":1,"maxProtocol":1,"client":{client},"caps":{caps:?}}}"#);
    masked(TEXT, json.as_bytes())
}

/// What a server's frame holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    /// One of the opcodes above.
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
}

impl Frame<'_> {
    /// Whether this is the answer to a request.
    pub(crate) fn is_answer(&self) -> bool {
        self.payload.starts_with(br#"{"type":"res""#)
    }

    /// What stands between `before` and the next quote.
    pub(crate) fn text_after(&self, before: &str) -> Option<&str> {
        let text = std::str::from_utf8(self.payload).ok()?;
        text[text.find(before)? + before.len()..].split('"').next()
    }

    /// Whether this frame's text contains `needle`.
    pub(crate) fn contains(&self, needle: &str) -> bool {
        contains(self.payload, needle.as_bytes())
    }
}

/// Whether `needle` is somewhere in `hay`.
pub(crate) fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

/// Bytes from a server, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    taken: usize,
}

impl Inbox {
    /// Adds what was read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the HTTP head that comes before the frames, if it is whole.
    pub(crate) fn take_head(&mut self) -> Option<String> {
        let rest = &self.bytes[self.taken..];
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.taken += end;
        Some(head)
    }

    /// Takes the next frame, if it is whole.
    pub(crate) fn take_frame(&mut self) -> Option<Frame<'_>> {
        let rest = &self.bytes[self.taken..];
        let (opcode, length) = (*rest.first()? & 0xf, rest.get(1)?);
        let (header, length) = match length & 0x7f {
            126 => (4, usize::from(u16::from_be_bytes(rest.get(2..4)?.try_into().ok()?))),
            127 => (10, usize::try_from(u64::from_be_bytes(rest.get(2..10)?.try_into().ok()?)).ok()?),
            short => (2, usize::from(short)),
        };
        if rest.len() < header + length {
            return None;
        }
        let start = self.taken + header;
        self.taken = start + length;
        Some(Frame { opcode, payload: &self.bytes[start..start + length] })
    }
}
