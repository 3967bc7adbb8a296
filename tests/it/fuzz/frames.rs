//! Frames of a client past its handshake: requests that are almost right, JSON that is none, and
//! WebSocket frames that lie.

use std::net::Shutdown;

use clawdis_gateway::limits::{CLOSE_REASON_BYTES_MAX, ERROR_TEXT_BYTES_MAX, PAYLOAD_BYTES_MAX};
use clawdis_gateway::net;
use serde_json::{Value, json};

use crate::fuzz::campaign::Campaign;
use crate::fuzz::golden::{self, WORDS};
use crate::fuzz::json;
use crate::fuzz::mutate::{Mutator, index, one_in, pick};
use crate::fuzz::watch::{ROUND, Watch};
use crate::harness::Gateway;
use crate::harness::random::Random;
use crate::harness::raw::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RESERVED, Raw, TEXT, frame};

/// Codes that end a connection because of what its client sent.
pub(crate) const CODES: &[u16] = &[1002, 1003, 1007, 1008, 1009];
const BATCH_MAX: usize = 24;
/// Rights are handed out only where there is one.
const TOKEN: &str = "a token of thirty-two characters";

/// Requests with mistakes.
struct Requests {
    values: Vec<Value>,
    params: Vec<Value>,
    bytes: Mutator,
}

impl Requests {
    fn new() -> Self {
        let values = golden::requests();
        let texts = values.iter().map(|value| value.to_string().into_bytes()).collect();
        let params = values.iter().map(|value| value["params"].clone()).collect();
        Self { values, params, bytes: Mutator::new(texts, WORDS, PAYLOAD_BYTES_MAX + 1_000) }
    }

    fn next(&self, random: &mut Random) -> Vec<u8> {
        let mut request = pick(random, &self.values).clone();
        match random.below(6) {
            0 | 1 => self.bytes.mutated(random),
            2 => json::mutated(request, &self.values, random).into_bytes(),
            // The envelope is all right.
            _ => {
                let params = json::changed(request["params"].take(), &self.params, random);
                request["params"] = params;
                json::text(&request).into_bytes()
            }
        }
    }

    /// One that does not end the connection, mostly.
    fn readable(&self, random: &mut Random) -> Vec<u8> {
        let mut request = self.next(random);
        for _ in 0..8 {
            if is_json(&request) {
                break;
            }
            request = self.next(random);
        }
        request
    }
}

#[test]
fn no_frame_harms_the_gateway_or_keeps_others_waiting() {
    let Some(mut campaign) = Campaign::start("frames") else { return };
    let requests = Requests::new();
    campaign.until(25);
    while let Some(mut random) = campaign.next() {
        let request = requests.next(&mut random);
        campaign.note(&request);
        let Ok(text) = std::str::from_utf8(&request) else { continue };
        if let Some(words) = net::objection(text) {
            assert!(!words.is_empty() && words.len() <= ERROR_TEXT_BYTES_MAX, "{words:?}");
        }
    }
    while !campaign.is_over() {
        let mut watch = Watch::over(Gateway::builder("fuzz-frames").token(TOKEN).agent_echo().spawn());
        campaign.not_beyond(ROUND);
        while let Some(mut random) = campaign.next() {
            let batch = Batch::new(&requests, &mut random);
            campaign.note(&batch.bytes);
            talk(&watch.gateway, &batch);
            if random.below(16) == 0 {
                watch.look();
            }
        }
        watch.end();
    }
}

/// Whether the gateway goes on behind it: JSON, and not too deep.
fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
        && !bytes.windows(65).any(|w| w.iter().all(|b| *b == b'['))
}

/// What one connection sends.
struct Batch {
    bytes: Vec<u8>,
    /// It holds what is no frame, so that nothing behind it need be understood.
    lies: bool,
    closes: bool,
}

impl Batch {
    fn new(requests: &Requests, random: &mut Random) -> Self {
        let mut batch = Self { bytes: Vec::new(), lies: false, closes: false };
        for _ in 0..index(random, BATCH_MAX) {
            let payload = requests.readable(random);
            match random.below(24) {
                0 | 1 => batch.fragments(&payload, random),
                2 => batch.control(random),
                3 if one_in(random, 4) => batch.bytes.extend(frame(FIN | BINARY, &payload, true)),
                4 if one_in(random, 3) => {
                    batch.lie(&payload, random);
                    break;
                }
                _ => batch.bytes.extend(frame(FIN | TEXT, &payload, true)),
            }
        }
        if !batch.lies && one_in(random, 4) {
            batch.bytes.extend(frame(FIN | TEXT, &requests.next(random), true));
        }
        batch
    }

    /// One message in pieces, now and then with a ping in between.
    fn fragments(&mut self, payload: &[u8], random: &mut Random) {
        let pieces = payload.len() / (1 + index(random, 5)) + 1;
        let mut chunks = payload.chunks(pieces).peekable();
        let mut opcode = TEXT;
        while let Some(chunk) = chunks.next() {
            let fin = if chunks.peek().is_none() { FIN } else { 0 };
            self.bytes.extend(frame(fin | opcode, chunk, true));
            opcode = CONTINUATION;
            if one_in(random, 3) {
                self.bytes.extend(frame(FIN | PING, b"still there?", true));
            }
        }
        if opcode == TEXT {
            self.bytes.extend(frame(FIN | TEXT, b"", true));
        }
    }

    fn control(&mut self, random: &mut Random) {
        let payload = vec![b'x'; index(random, 126)];
        match random.below(3) {
            0 => self.bytes.extend(frame(FIN | PING, &payload, true)),
            1 => self.bytes.extend(frame(FIN | PONG, &payload, true)),
            _ => {
                let code =
                    *pick(random, &[0, 999, 1000, 1001, 1004, 1005, 1006, 1011, 3000, 4999, 5000, u16::MAX]);
                let close = [&code.to_be_bytes()[..], &payload[..payload.len().min(123)]].concat();
                self.bytes.extend(frame(FIN | CLOSE, &close[..close.len().min(index(random, 126))], true));
                self.closes = true;
            }
        }
    }

    /// Something that breaks a rule of RFC 6455, or means more than there is.
    fn lie(&mut self, payload: &[u8], random: &mut Random) {
        self.lies = true;
        let mut bytes = frame(FIN | TEXT, payload, !one_in(random, 8));
        match random.below(7) {
            0 => bytes[0] = u8::try_from(random.below(256)).unwrap(),
            1 => bytes[1] = u8::try_from(random.below(256)).unwrap(),
            2 => bytes[0] |= pick(random, &RESERVED),
            3 => bytes = frame(FIN | pick(random, &[PING, CLOSE]), &payload.repeat(3), true),
            4 => {
                let length = *pick(random, &[0, 1, 1 << 31, 1 << 62, u64::MAX, 524_288, 524_289]);
                bytes.splice(1..2, [&[0xff][..], &length.to_be_bytes()].concat());
            }
            5 => bytes = frame(FIN | CONTINUATION, payload, true),
            _ => bytes.truncate(index(random, bytes.len())),
        }
        self.bytes.extend(bytes);
    }
}

/// Sends a batch; behind frames that are some there is an answer to the last question, or a close
/// that says why not.
fn talk(gateway: &Gateway, batch: &Batch) {
    let mut socket = gateway.greeted();
    socket.try_write(&batch.bytes);
    if batch.lies || batch.closes {
        // What was begun will never be whole.
        let _ = socket.stream().shutdown(Shutdown::Write);
    } else {
        let mark = json!({"type": "req", "id": "the mark", "method": "health"});
        socket.try_write(&frame(FIN | TEXT, mark.to_string().as_bytes(), true));
    }
    read_on(&mut socket, batch);
}

fn read_on(socket: &mut Raw, batch: &Batch) {
    let mut checked = 0;
    while let Some(frame) = socket.frame() {
        match frame.first & 0xf {
            CLOSE => return check_close(&frame.payload, batch.closes),
            PING | PONG => {}
            TEXT => {
                assert!(frame.payload.len() <= PAYLOAD_BYTES_MAX, "{} bytes", frame.payload.len());
                let value: Value = serde_json::from_slice(&frame.payload).expect("a frame of ours is JSON");
                // Holding all of them against their schemas would be most of the work.
                if checked < 3 {
                    crate::harness::schemas::assert_outbound(&value);
                    checked += 1;
                }
                if value["id"] == "the mark" {
                    return;
                }
            }
            other => panic!("a frame with opcode {other}"),
        }
    }
    assert!(batch.lies || batch.closes, "the end without a close frame");
}

/// A close has a code of the list, and a reason.
pub(crate) fn check_close(payload: &[u8], is_echo: bool) {
    if is_echo {
        return;
    }
    assert!(payload.len() > 2 && payload.len() <= CLOSE_REASON_BYTES_MAX + 2, "{payload:?}");
    let code = u16::from_be_bytes([payload[0], payload[1]]);
    let reason = std::str::from_utf8(&payload[2..]).expect("a reason is text");
    assert!(CODES.contains(&code) && !reason.is_empty(), "{code} {reason:?}");
}
