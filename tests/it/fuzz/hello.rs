//! First frames: what a stranger says before anybody has asked who it is.

use std::net::Shutdown;

use clawdis_gateway::limits::{CLOSE_REASON_BYTES_MAX, HELLO_BYTES_MAX};
use clawdis_gateway::protocol::parse::parse_hello;
use serde_json::Value;

use crate::fuzz::campaign::Campaign;
use crate::fuzz::frames::check_close;
use crate::fuzz::golden::{self, WORDS};
use crate::fuzz::json;
use crate::fuzz::mutate::{Mutator, one_in, pick};
use crate::fuzz::watch::{ROUND, Watch};
use crate::harness::Gateway;
use crate::harness::random::Random;
use crate::harness::raw::{BINARY, CLOSE, FIN, PING, TEXT, frame};

struct Hellos {
    values: Vec<Value>,
    bytes: Mutator,
}

impl Hellos {
    fn new() -> Self {
        let values = golden::hellos();
        let mut texts: Vec<Vec<u8>> = values.iter().map(|value| value.to_string().into_bytes()).collect();
        texts.push(golden::requests()[0].to_string().into_bytes());
        Self { values, bytes: Mutator::new(texts, WORDS, 2 * HELLO_BYTES_MAX) }
    }

    fn next(&self, random: &mut Random) -> Vec<u8> {
        if one_in(random, 3) {
            return self.bytes.mutated(random);
        }
        let hello = pick(random, &self.values).clone();
        json::mutated(hello, &self.values, random).into_bytes()
    }
}

#[test]
fn no_first_frame_harms_the_gateway_or_keeps_others_waiting() {
    let Some(mut campaign) = Campaign::start("hello") else { return };
    let hellos = Hellos::new();
    campaign.until(25);
    while let Some(mut random) = campaign.next() {
        let hello = hellos.next(&mut random);
        campaign.note(&hello);
        let Ok(value) = serde_json::from_slice::<Value>(&hello) else { continue };
        if let Err(error) = parse_hello(value) {
            assert!(!error.to_string().is_empty());
        }
    }
    while !campaign.is_over() {
        let mut watch = Watch::over(Gateway::builder("fuzz-hello").spawn());
        campaign.not_beyond(ROUND);
        while let Some(mut random) = campaign.next() {
            let hello = hellos.next(&mut random);
            campaign.note(&hello);
            greet(&watch.gateway, &hello, &mut random);
            if random.below(64) == 0 {
                watch.look();
            }
        }
        watch.end();
    }
}

/// Says it, and reads what is said to it: welcome, or why not and a close.
fn greet(gateway: &Gateway, hello: &[u8], random: &mut Random) {
    let mut socket = gateway.upgraded();
    if one_in(random, 8) {
        socket.try_write(&frame(FIN | PING, b"first of all", true));
    }
    let first = if one_in(random, 32) { FIN | BINARY } else { FIN | TEXT };
    socket.try_write(&frame(first, hello, true));
    let mut welcome = false;
    while let Some(frame) = socket.frame() {
        match frame.first & 0xf {
            TEXT => {
                let value: Value = serde_json::from_slice(&frame.payload).expect("a frame of ours is JSON");
                crate::harness::schemas::assert_outbound(&value);
                if value["type"] == "hello-ok" {
                    welcome = true;
                    // A goodbye without a word.
                    let _ = socket.stream().shutdown(Shutdown::Write);
                } else if value["type"] == "hello-error" {
                    let reason = value["reason"].as_str().unwrap_or_default();
                    assert!(!reason.is_empty() && reason.len() <= 1_024, "{value}");
                }
            }
            CLOSE => {
                assert!(frame.payload.len() <= CLOSE_REASON_BYTES_MAX + 2);
                return check_close(&frame.payload, false);
            }
            _ => {}
        }
    }
    assert!(welcome, "the end without a word");
}
