//! Why connections end, and what happens next.

use serde_json::json;

use crate::harness::{Client, PATIENCE, eventually};
use crate::whatsapp::lab::{FRIEND, Lab, channel, in_state, lid, switch};

/// What follows a close.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    /// It comes back by itself, after a pause that `health` tells.
    Retries,
    /// Only a person can help; the login is kept.
    Stops,
    /// The login is gone.
    Relinks,
}

/// Code, words of `reason`, what follows. Where it stops it is switched on again, which makes the pauses
/// short again too.
const CLOSES: [(u16, &str, Next); 9] = [
    (503, "unavailable", Next::Retries),
    (440, "another program uses this login", Next::Stops),
    (428, "connection-closed", Next::Retries),
    (403, "banned", Next::Stops),
    (500, "server-error", Next::Retries),
    (411, "multi-device", Next::Stops),
    (408, "timed-out", Next::Retries),
    (405, "update the gateway", Next::Retries),
    (401, "ended the link", Next::Relinks),
];

#[test]
fn every_way_to_be_closed_is_shown_and_acted_on() {
    let lab = Lab::start("codes");
    let mut client = lab.gateway.client();
    let seq = lab.mock.seq();
    lab.mock.op("drop", json!({"code": 515}));
    lab.mock.wait_since(seq, &json!({"type": "active"}));
    in_state(&mut client, "ready");
    let events = client.drain();
    let facts = events.iter().map(|event| &event["payload"]["health"]["channels"]["whatsapp"]);
    let reasons: Vec<&str> = facts
        .filter(|facts| facts["state"] == "closed")
        .filter_map(|facts| facts["reason"].as_str())
        .collect();
    assert!(reasons.iter().all(|reason| reason.contains("next try in 0 s")), "{reasons:?}");
    for (code, words, next) in CLOSES {
        close(&lab, &mut client, code, words, next);
    }
    lab.link();
    lab.text(FRIEND, "[[say all is well]]");
    assert_eq!(lab.mock.answers(&lid(FRIEND), 1), ["all is well"]);
}

#[track_caller]
fn close(lab: &Lab, client: &mut Client, code: u16, words: &str, next: Next) {
    println!("closed with {code}");
    let before = lab.mock.seq();
    lab.mock.op("drop", json!({ "code": code }));
    let facts = in_state(client, if next == Next::Relinks { "unlinked" } else { "closed" });
    let reason = facts["reason"].as_str().unwrap();
    assert!(reason.contains(words) && reason.contains(&code.to_string()), "{code}: {reason}");
    assert_eq!(facts["linked"], next != Next::Relinks, "{code}: {facts}");
    let advice = match next {
        Next::Retries => "next try in ",
        Next::Stops => "`clawdis channel whatsapp on`",
        Next::Relinks => "`clawdis login whatsapp`",
    };
    assert!(reason.contains(advice), "{code}: {reason}");
    match next {
        Next::Retries if code == 405 => {
            assert!(lab.sidecar().is_some());
            // It waits for minutes; a person who has updated it does not.
            switch(client, false);
            in_state(client, "off");
        }
        Next::Retries => {
            lab.mock.wait_since(before, &json!({"type": "active"}));
            in_state(client, "ready");
            return;
        }
        Next::Stops => lab.no_sidecar(),
        Next::Relinks => return lab.no_sidecar(),
    }
    switch(client, true);
    in_state(client, "ready");
}

#[test]
fn what_came_while_it_was_away_is_answered_once() {
    let mut lab = Lab::start("backlog");
    let mut client = lab.gateway.client();
    lab.text(FRIEND, "[[say warm]]");
    lab.mock.said(&lid(FRIEND), "warm");
    lab.mock.op("listen", json!({"on": false}));
    eventually("the loss to be noticed", PATIENCE, || {
        (channel(&mut client)["state"] != "ready").then_some(())
    });
    lab.text(FRIEND, "[[say missed one]]");
    lab.mock.op("listen", json!({"on": true}));
    lab.mock.said(&lid(FRIEND), "missed one");
    // A portal or proxy that answers in the server's place says nothing about the login.
    lab.mock.set(&json!({"refuse": 1, "refuseStatus": 403}));
    lab.mock.op("drop", json!({"mode": "tcp"}));
    lab.mock.wait(&json!({"type": "refused"}));
    lab.text(FRIEND, "[[say missed two]]");
    lab.mock.said(&lid(FRIEND), "missed two");
    lab.gateway.sigterm();
    lab.gateway.wait_exit(PATIENCE);
    assert!(lab.processes().is_empty(), "the sidecar outlived the gateway's orderly end");
    lab.text(FRIEND, "[[say missed three]]");
    lab.gateway = lab.gateway.setup().spawn();
    lab.mock.said(&lid(FRIEND), "missed three");
    lab.sync();
    for text in ["warm", "missed one", "missed two", "missed three"] {
        assert_eq!(lab.prompts_with(text), 1, "{text}");
        assert_eq!(lab.mock.texts(&lid(FRIEND)).iter().filter(|said| *said == text).count(), 1);
    }
}
