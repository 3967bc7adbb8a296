//! A socket for clients that do not follow the rules: any byte in, every frame out.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde_json::Value;

use super::wait::PATIENCE;
use crate::harness::schemas;

/// Opcodes of RFC 6455, 5.2.
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;
/// The bit of a message's last frame, and the three reserved ones.
pub(crate) const FIN: u8 = 0x80;
pub(crate) const RESERVED: [u8; 3] = [0x40, 0x20, 0x10];

/// A frame as it came.
#[derive(Debug, PartialEq)]
pub(crate) struct Frame {
    /// Flags and opcode.
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Raw {
    stream: TcpStream,
    /// Read but not looked at yet.
    ahead: Vec<u8>,
    addr: SocketAddr,
}

impl Raw {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("the daemon accepts");
        Self::over(stream, addr)
    }

    pub(crate) fn over(stream: TcpStream, addr: SocketAddr) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, ahead: Vec::new(), addr }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Head of a good upgrade, with more header lines (each ended with CR LF).
    pub(crate) fn upgrade_head(&self, more: &str) -> String {
        format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n",
            self.addr
        )
    }

    /// Becomes a WebSocket; returns the answer's head.
    #[track_caller]
    pub(crate) fn upgrade(&mut self) -> String {
        let head = self.upgrade_head("");
        self.write(head.as_bytes());
        let answer = self.read_head();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        answer
    }

    /// Writes bytes as they are.
    #[track_caller]
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the daemon takes bytes");
    }

    /// Writes bytes to a peer that may have hung up already.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends one final, masked frame.
    #[track_caller]
    pub(crate) fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.write(&frame(FIN | opcode, payload, true));
    }

    fn fill(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(count) => {
                self.ahead.extend_from_slice(&chunk[..count]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => false,
            Err(error) => panic!("reading from the daemon: {error}"),
        }
    }

    /// The head of an HTTP answer, up to its blank line.
    #[track_caller]
    pub(crate) fn read_head(&mut self) -> String {
        loop {
            if let Some(at) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.ahead.split_off(at + 4);
                return String::from_utf8(std::mem::replace(&mut self.ahead, rest)).unwrap();
            }
            assert!(self.fill(), "the daemon hung up in the middle of a head: {:?}", self.ahead);
        }
    }

    /// Everything up to the end.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.ahead)
    }

    /// The next frame, or `None` at the end.
    #[track_caller]
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, bytes)) = parse(&self.ahead) {
                self.ahead.drain(..bytes);
                return Some(frame);
            }
            if !self.fill() {
                assert!(self.ahead.is_empty(), "the daemon hung up in the middle of a frame");
                return None;
            }
        }
    }

    /// The next text frame as JSON. Events are passed over unless it is one that is asked for.
    #[track_caller]
    pub(crate) fn json(&mut self, what: &str) -> Value {
        loop {
            let frame = self.frame().unwrap_or_else(|| panic!("the end instead of {what}"));
            if frame.first & 0xf == PING {
                continue;
            }
            assert_eq!(frame.first, FIN | TEXT, "{what}: {frame:?}");
            let value: Value = serde_json::from_slice(&frame.payload).unwrap();
            schemas::assert_outbound(&value);
            if value["type"] != "event" || what == "event" {
                return value;
            }
        }
    }

    /// The next frame that is neither an event nor an answer.
    #[track_caller]
    pub(crate) fn control(&mut self, what: &str) -> Frame {
        loop {
            let frame = self.frame().unwrap_or_else(|| panic!("the end instead of {what}"));
            if frame.first & 0xf != TEXT {
                return frame;
            }
        }
    }

    /// Reads to the end: exactly one close frame, with this code and a reason that is returned.
    #[track_caller]
    pub(crate) fn closed_with(&mut self, code: u16) -> String {
        let started = Instant::now();
        let mut closes = Vec::new();
        while let Some(frame) = self.frame() {
            if frame.first & 0xf == CLOSE {
                closes.push(frame.payload);
            } else {
                assert!(closes.is_empty(), "a frame behind the close: {frame:?}");
            }
        }
        assert_eq!(closes.len(), 1, "close frames within {:?}", started.elapsed());
        assert!(closes[0].len() > 2, "a close without a reason: {:?}", closes[0]);
        let found = u16::from_be_bytes([closes[0][0], closes[0][1]]);
        let reason = String::from_utf8(closes[0][2..].to_vec()).unwrap();
        assert_eq!(found, code, "close code; its reason was {reason:?}");
        reason
    }
}

/// A client's frame: `first` holds flags and opcode.
pub(crate) fn frame(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    let mask_bit = if masked { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..=125 => bytes.push(mask_bit | u8::try_from(short).unwrap()),
        medium @ 126..=0xffff => {
            bytes.push(mask_bit | 0x7e);
            bytes.extend_from_slice(&u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            bytes.push(mask_bit | 0x7f);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    if masked {
        bytes.extend_from_slice(&MASK);
        bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        bytes.extend_from_slice(payload);
    }
    bytes
}

/// A server's frame at the start of `bytes`, and how many of them it takes.
fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "a masked frame from the server");
    let (length, start) = match second {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())), 4),
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap());
            (usize::try_from(length).unwrap(), 10)
        }
        short => (usize::from(short), 2),
    };
    let payload = bytes.get(start..start + length)?.to_vec();
    Some((Frame { first, payload }, start + length))
}
