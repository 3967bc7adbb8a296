//! Sidecars that end or talk nonsense, and gateways that end without a word.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{eventually, process};
use crate::whatsapp::lab::{FRIEND, Lab, STRANGER, in_state, lid};

/// Makes the sidecar print what is no line of the protocol when it gets SIGUSR2.
const GARBAGE: &str = "data:text/javascript,import {writeSync} from 'node:fs'; \
    process.on('SIGUSR2', () => writeSync(1, 'Closing session: SessionEntry\\n'))";

#[test]
fn a_sidecar_that_dies_or_talks_nonsense_is_replaced() {
    let preload = process::repository("tests/mock-whatsapp/trust-preload.mjs");
    let args = json!(["--import", preload, "--import", GARBAGE]);
    let lab = Lab::with("dies", |setup| setup.config(json!({"whatsapp": {"sidecar": {"args": args}}})));
    let mut client = lab.gateway.client();
    let cases = [(Signal::KILL, "signal: 9"), (Signal::USR2, "no line of ours"), (Signal::KILL, "137")];
    for (number, (signal, words)) in cases.into_iter().enumerate() {
        let former = lab.sidecar().unwrap();
        process::signal(former, signal);
        let facts = in_state(&mut client, "closed");
        let reason = facts["reason"].as_str().unwrap();
        assert!(reason.contains("broke off") && reason.contains("next try in"), "{words}: {reason}");
        if signal == Signal::USR2 {
            assert!(reason.contains(words), "{reason}");
        }
        assert_eq!(facts["linked"], true, "{facts}");
        lab.text(FRIEND, &format!("[[say after {number}]]"));
        lab.mock.said(&lid(FRIEND), &format!("after {number}"));
        in_state(&mut client, "ready");
        assert_ne!(lab.sidecar(), Some(former));
    }
    assert_eq!(lab.mock.texts(&lid(FRIEND)).len(), 3);
}

#[test]
fn no_sidecar_outlives_a_gateway_that_was_killed() {
    let mut lab = Lab::start("outlives");
    for _ in 0..3 {
        assert!(!lab.processes().is_empty());
        lab.gateway.sigkill();
        eventually("the end of the killed gateway's sidecar", Duration::from_secs(2), || {
            lab.processes().is_empty().then_some(())
        });
        lab.gateway = lab.gateway.setup().spawn();
        in_state(&mut lab.gateway.client(), "ready");
    }
}

/// Every message comes to the gateway before it is known whether its sender is let in.
#[test]
fn what_a_stranger_makes_up_stops_nobody() {
    let lab = Lab::start("poison");
    let former = lab.sidecar();
    // Cut in the middle of a character, and longer than any file can be.
    let name = format!("{}😀", "a".repeat(127));
    lab.mock.op("send-text", json!({"from": STRANGER, "text": "hi", "pushName": name}));
    let picture = json!({"url": "https://mmg.whatsapp.net/x", "directPath": "/x", "mimetype": "image/png",
        "mediaKey": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "fileLength": "18446744073709551615"});
    lab.mock.op("send-raw", json!({"from": STRANGER, "message": {"imageMessage": picture}}));
    // Makes Baileys ask us for the message that it is about: none.
    for response in [json!({}), json!({"eventCreationMessageKey": {}})] {
        let message = json!({"encEventResponseMessage": response});
        lab.mock.op("send-raw", json!({"from": STRANGER, "message": message}));
    }
    lab.text(FRIEND, "[[say still here]]");
    lab.mock.said(&lid(FRIEND), "still here");
    assert_eq!(lab.sidecar(), former, "it went on");
}

#[test]
fn switching_on_what_is_on_changes_nothing() {
    let lab = Lab::start("twice");
    let mut client = lab.gateway.client();
    let former = lab.sidecar();
    for _ in 0..3 {
        client.ask("set-channel", &json!({"channel": "whatsapp", "enabled": true}));
    }
    lab.text(FRIEND, "[[say still here]]");
    lab.mock.said(&lid(FRIEND), "still here");
    assert_eq!(lab.sidecar(), former);
}
