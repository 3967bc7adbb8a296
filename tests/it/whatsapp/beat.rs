//! A sidecar that hangs. Named so that it begins first: nothing shortens the wait for its silence.

use clawdis_gateway::limits::{SIDECAR_BEAT_INTERVAL, SIDECAR_SILENCE_MAX};
use rustix::process::Signal;

use crate::harness::{eventually, process};
use crate::whatsapp::lab::{FRIEND, Lab, channel, in_state, lid};

#[test]
fn a_sidecar_that_hangs_is_ended_and_started_anew() {
    let lab = Lab::start("hang");
    let mut client = lab.gateway.client();
    let hung = lab.sidecar().unwrap();
    process::signal(hung, Signal::STOP);
    lab.text(FRIEND, "[[say after the hang]]");
    let within = SIDECAR_SILENCE_MAX + SIDECAR_BEAT_INTERVAL;
    let facts = eventually("the hang to be noticed", within, || {
        let facts = channel(&mut client);
        (facts["state"] == "closed").then_some(facts)
    });
    assert!(facts["reason"].as_str().unwrap().contains("silent"), "{facts}");
    in_state(&mut client, "ready");
    assert_ne!(lab.sidecar(), Some(hung));
    assert_eq!(lab.mock.answers(&lid(FRIEND), 1), ["after the hang"]);
}
