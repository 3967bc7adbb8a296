//! Linking a phone and unlinking it, and the states in between.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, eventually};
use crate::whatsapp::lab::{FRIEND, Lab, SELF, begin_login, channel, in_state, lid, shown, switch};

/// Params of `channel-login`.
fn whatsapp() -> Value {
    json!({"channel": "whatsapp"})
}

#[test]
fn a_phone_is_linked_by_qr_before_the_eyes_of_the_asker_only_and_unlinked() {
    let lab = Lab::unlinked("link-qr", |setup| setup);
    let (mut asker, mut other) = (lab.gateway.client(), lab.gateway.client());
    let facts = in_state(&mut other, "unlinked");
    assert!(facts["reason"].as_str().unwrap().contains("clawdis login whatsapp"), "{facts}");
    assert_eq!(facts["linked"], false, "{facts}");
    // It looked for a login and has nothing more to do.
    lab.no_sidecar();
    let login = begin_login(&mut asker, &whatsapp());
    let qr = shown(&mut asker, "qr");
    assert_eq!(channel(&mut other)["state"], "linking");
    assert_eq!(other.refused("channel-login", &whatsapp())["code"], "CONFLICT");
    lab.mock.set(&json!({"offlineEnd": false}));
    lab.mock.op("scan-qr", json!({ "qr": qr }));
    let end = asker.answer(&login);
    assert_eq!(end["payload"], json!({"channel": "whatsapp", "status": "linked", "self": SELF}));
    let facts = in_state(&mut other, "syncing");
    assert!(facts["linked"] == true && facts["self"] == SELF, "{facts}");
    // A message says as well that the connection works.
    let seen = other.drain();
    assert!(!seen.iter().any(|frame| frame["event"] == "channel"), "a code before other eyes: {seen:?}");
    let states: Vec<&Value> = states(&seen);
    for state in ["linking", "connecting", "syncing"] {
        assert!(states.iter().any(|seen| **seen == state), "no {state} among {states:?}");
    }
    assert!(lab.mock.wait(&json!({"type": "paired"}))["deviceSignatureOk"] == true);
    let again = begin_login(&mut other, &whatsapp());
    let end = other.answer(&again);
    assert!(end["payload"]["reason"].as_str().unwrap().contains("linked already"), "{end}");
    let log = lab.gateway.output.both();
    assert!(!log.contains(&qr), "the code is in the log");
}

/// States of the channel in `health` events.
fn states(frames: &[Value]) -> Vec<&Value> {
    let health = frames.iter().filter(|frame| frame["event"] == "health");
    health.map(|frame| &frame["payload"]["health"]["channels"]["whatsapp"]["state"]).collect()
}

#[test]
fn a_phone_is_linked_by_code_and_logged_out() {
    let lab = Lab::unlinked("link-code", |setup| setup);
    let mut client = lab.gateway.client();
    let login = begin_login(&mut client, &json!({"channel": "whatsapp", "method": "code", "phone": SELF}));
    let code = shown(&mut client, "code");
    lab.mock.op("enter-code", json!({"account": SELF, "code": code}));
    let end = client.answer(&login);
    assert_eq!((&end["ok"], &end["payload"]["self"]), (&json!(true), &json!(SELF)), "{end}");
    in_state(&mut client, "ready");
    lab.text(FRIEND, "[[say linked]]");
    lab.mock.said(&lid(FRIEND), "linked");
    let saved = || {
        let files = fs::read_dir(lab.gateway.state_dir().join("whatsapp/login")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>()
    };
    let linked_bytes = saved();

    let logout = client.send("channel-logout", &whatsapp());
    assert_eq!(client.answer(&logout)["payload"]["status"], "accepted");
    let end = client.answer(&logout);
    assert_eq!(end["payload"], json!({"channel": "whatsapp", "status": "unlinked"}), "{end}");
    lab.mock.wait(&json!({"type": "client-logout"}));
    assert_eq!(in_state(&mut client, "unlinked")["linked"], false);
    lab.no_sidecar();
    assert!(saved() < linked_bytes / 10, "{} bytes of login are left of {linked_bytes}", saved());
    let logout = client.send("channel-logout", &whatsapp());
    client.answer(&logout);
    assert_eq!(client.answer(&logout)["error"]["code"], "UNAVAILABLE");
    lab.link();
}

#[test]
fn the_command_links_and_the_login_outlives_restarts_and_switches() {
    let mut lab = Lab::unlinked("link-cli", |setup| setup);
    let mut command = lab.command(&["login", "whatsapp", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let qr = lines.find_map(|line| {
        let frame: Value = serde_json::from_str(&line.unwrap()).unwrap();
        frame["payload"]["qr"].as_str().map(str::to_owned)
    });
    lab.mock.op("scan-qr", json!({"qr": qr.expect("a code before the end")}));
    let last: Value = serde_json::from_str(&lines.map_while(Result::ok).last().unwrap()).unwrap();
    assert_eq!((&last["status"], &last["self"]), (&json!("linked"), &json!(SELF)), "{last}");
    assert!(child.wait().unwrap().success());
    lab.gateway = lab.gateway.restart();
    let mut client = lab.gateway.client();
    in_state(&mut client, "ready");

    switch(&mut client, false);
    in_state(&mut client, "off");
    lab.no_sidecar();
    lab.text(FRIEND, "[[say while off]]");
    switch(&mut client, true);
    in_state(&mut client, "ready");
    lab.mock.said(&lid(FRIEND), "while off");
    let output = lab.cli(&["logout", "whatsapp"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(in_state(&mut client, "unlinked")["linked"], false);
}

#[test]
fn a_code_that_nobody_scans_is_replaced_and_then_given_up() {
    let hurry = json!({"whatsapp": {"sidecar": {"env": {"MOCK_WA_FAST": "40"}}}});
    let lab = Lab::unlinked("link-expired", |setup| setup.config(hurry));
    lab.mock.set(&json!({"qrRefs": 2}));
    let mut client = lab.gateway.client();
    let login = begin_login(&mut client, &whatsapp());
    let (first, second) = (shown(&mut client, "qr"), shown(&mut client, "qr"));
    assert_ne!(first, second);
    let end = client.answer(&login);
    assert_eq!((&end["ok"], &end["payload"]["status"]), (&json!(false), &json!("failed")), "{end}");
    in_state(&mut client, "unlinked");
    lab.no_sidecar();
    // Giving up did no harm.
    begin_login(&mut client, &whatsapp());
    let third = shown(&mut client, "qr");
    assert!(third != first && third != second);
}

#[test]
fn a_login_that_its_asker_has_left_makes_way_for_the_next() {
    let lab = Lab::unlinked("link-left", |setup| setup);
    let mut command = lab.command(&["login", "whatsapp", "--json"]);
    let mut tool = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tool.stdout.take().unwrap()).lines();
    let first = lines.find_map(|line| {
        let frame: Value = serde_json::from_str(&line.unwrap()).unwrap();
        frame["payload"]["qr"].as_str().map(str::to_owned)
    });
    let mut next = lab.gateway.client();
    assert_eq!(next.refused("channel-login", &whatsapp())["code"], "CONFLICT", "its asker still looks at it");
    tool.kill().unwrap();
    tool.wait().unwrap();
    let left = eventually("the next login to begin", PATIENCE, || {
        let login = next.send("channel-login", &whatsapp());
        (next.answer(&login)["payload"]["status"] == "accepted").then_some(login)
    });
    assert_ne!(Some(shown(&mut next, "qr")), first);
    // Somebody who asks once more, and otherwise, is done with what they asked for before.
    let by_code = json!({"channel": "whatsapp", "method": "code", "phone": SELF});
    let login = begin_login(&mut next, &by_code);
    let end = next.answer(&left);
    assert_eq!((&end["ok"], &end["payload"]["status"]), (&json!(false), &json!("failed")), "{end}");
    let code = shown(&mut next, "code");
    lab.mock.op("enter-code", json!({"account": SELF, "code": code}));
    assert_eq!(next.answer(&login)["payload"]["self"], SELF);
    in_state(&mut next, "ready");
}

#[test]
fn while_whatsapp_is_not_set_up_nothing_of_it_runs() {
    let lab = Lab::unlinked("link-off", |setup| setup.config(json!({"whatsapp": {"enabled": false}})));
    let mut client = lab.gateway.client();
    let facts = channel(&mut client);
    assert!(facts["state"] == "off" && facts["configured"] == false, "{facts}");
    let login = begin_login(&mut client, &whatsapp());
    let end = client.answer(&login);
    assert!(end["error"]["message"].as_str().unwrap().contains("whatsapp.enabled"), "{end}");
    assert!(lab.processes().is_empty());
    let threads = lab.gateway.threads();
    assert!(!threads.iter().any(|name| name.contains("whatsapp")), "{threads:?}");
    eventually("the answer to a question meanwhile", PATIENCE, || {
        (client.ask("health", &json!({}))["storage"]["ok"] == true).then_some(())
    });
}
