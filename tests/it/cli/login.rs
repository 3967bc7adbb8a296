//! `login` and `logout`: what a person is shown and what a script is told.

use serde_json::{Value, json};

use crate::cli::gateway::{Gateway, Peer};
use crate::cli::process::Home;

fn progress(more: &Value) -> Value {
    let mut payload = json!({ "channel": "whatsapp", "state": "linking" });
    payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    payload
}

fn status(status: &str) -> Value {
    json!({ "channel": "whatsapp", "status": status })
}

/// A login that got as far as its ack; its request.
fn begun(peer: &mut Peer, params: &Value) -> Value {
    let hello = peer.greet();
    assert_eq!(hello["caps"], json!(["event:channel"]));
    let request = peer.request("channel-login");
    assert_eq!(request["params"], *params);
    peer.answer(&request, &status("accepted"));
    request
}

fn whatsapp() -> Value {
    json!({ "channel": "whatsapp" })
}

/// The last answer of a login that did not work.
fn fail(peer: &mut Peer, request: &Value, why: &str) {
    let error = json!({ "code": "UNAVAILABLE", "message": why, "retryable": true });
    let mut payload = status("failed");
    payload["reason"] = why.into();
    peer.write(
        &json!({ "type": "res", "id": request["id"], "ok": false, "payload": payload, "error": error }),
    );
}

#[test]
fn codes_are_drawn_as_they_rotate_until_the_phone_is_linked() {
    let home = Home::new("login");
    for (locale, ink) in [("C.UTF-8", '\u{2588}'), ("C", '#')] {
        let gateway = Gateway::once(|peer| {
            let request = begun(peer, &whatsapp());
            let installing = json!({ "state": "installing", "reason": "adding\u{1b}[2J 18 packages" });
            peer.event("channel", &progress(&installing));
            for qr in ["2@first", "2@second"] {
                peer.event("channel", &progress(&json!({ "qr": qr, "ttlMs": 20_000 })));
            }
            let mut linked = status("linked");
            linked["self"] = "+15550001111".into();
            peer.answer(&request, &linked);
            peer.gone();
        });
        let args = ["login", "whatsapp", "--url", &gateway.url];
        let text = home.clawdis(args).env("LC_ALL", locale).run().ok();
        assert!(
            text.starts_with("installing: adding") && text.ends_with("linked as +15550001111\n"),
            "{text}"
        );
        assert_eq!(text.matches("It holds for 20 s").count(), 2, "{text}");
        assert!(text.contains(ink) && text.is_ascii() == ink.is_ascii(), "{text}");
        assert!(text.contains("Linked devices") && !text.contains('\x1b'), "{text}");
        gateway.finish();
    }
}

/// `script` gives the tool a terminal.
#[test]
fn on_a_terminal_a_code_takes_the_place_of_the_one_before_in_fixed_colours() {
    let home = Home::new("login-terminal");
    let gateway = Gateway::once(|peer| {
        let request = begun(peer, &whatsapp());
        for qr in ["2@first", "2@second"] {
            peer.event("channel", &progress(&json!({ "qr": qr, "ttlMs": 20_000 })));
        }
        peer.answer(&request, &status("linked"));
        peer.gone();
    });
    let clawdis = env!("CARGO_BIN_EXE_clawdis");
    let command = format!("stty cols 100 rows 40; exec {clawdis} login whatsapp --url {}", gateway.url);
    let args = ["-qec", &command, "/dev/null"];
    let done = home
        .program(std::path::Path::new("/usr/bin/script"), args)
        .env("TERM", "xterm")
        .env("LC_ALL", "C.UTF-8")
        .env("NO_COLOR", "1")
        .run();
    // A code of version 1 with its quiet zone is 29 modules high.
    let lines = 15 + 2;
    let text = &done.stdout;
    assert!(text.contains(&format!("\x1b[{lines}A\r\x1b[J\x1b[38;5;16;48;5;231m")), "{text:?}");
    assert!(text.ends_with("linked\r\n") && !text.contains("taller"), "{text:?}");
    gateway.finish();
}

#[test]
fn a_phone_number_gets_a_code_to_type() {
    let home = Home::new("login-phone");
    let gateway = Gateway::once(|peer| {
        let params = json!({ "channel": "whatsapp", "method": "code", "phone": "+15550001111" });
        let request = begun(peer, &params);
        peer.event("channel", &progress(&json!({ "code": "ABCD1234", "ttlMs": 60_000 })));
        peer.answer(&request, &status("linked"));
        peer.gone();
    });
    let args = ["login", "whatsapp", "--phone", "+15550001111", "--url", &gateway.url];
    let text = home.clawdis(args).run().ok();
    assert!(text.contains("ABCD-1234\nIt holds for 60 s") && text.ends_with("linked\n"), "{text}");
    gateway.finish();
}

#[test]
fn json_is_every_event_and_the_last_answer() {
    let home = Home::new("login-json");
    let gateway = Gateway::once(|peer| {
        let request = begun(peer, &whatsapp());
        peer.event("channel", &progress(&json!({})));
        peer.event("channel", &progress(&json!({ "qr": "2@a", "ttlMs": 1 })));
        fail(peer, &request, "nobody scanned the code");
        peer.gone();
    });
    let done = home.clawdis(["login", "whatsapp", "--json", "--url", &gateway.url]).run();
    done.fails(1, &["nobody scanned the code (UNAVAILABLE)"]);
    let lines = done.json_lines();
    assert_eq!((lines.len(), &lines[0]["event"], &lines[0]["seq"]), (3, &json!("channel"), &json!(1)));
    assert_eq!(lines[1]["payload"], progress(&json!({ "qr": "2@a", "ttlMs": 1 })));
    assert_eq!(
        (&lines[2]["status"], &lines[2]["reason"]),
        (&json!("failed"), &json!("nobody scanned the code"))
    );
    gateway.finish();
}

#[test]
fn refusals_and_failures_end_with_1() {
    let home = Home::new("login-refused");
    let gateway = Gateway::once(|peer| {
        peer.greet();
        let request = peer.request("channel-login");
        peer.refuse(&request, "CONFLICT", "another login of whatsapp is under way");
        peer.gone();
    });
    let done = home.clawdis(["login", "whatsapp", "--url", &gateway.url]).run();
    done.fails(1, &["another login of whatsapp is under way (CONFLICT)"]);
    assert_eq!(done.stdout, "");
    let gateway = Gateway::once(|peer| {
        let request = begun(peer, &whatsapp());
        fail(peer, &request, "this gateway is linked already");
        peer.gone();
    });
    let done = home.clawdis(["login", "whatsapp", "--url", &gateway.url]).run();
    done.fails(1, &["this gateway is linked already (UNAVAILABLE)"]);
}

#[test]
fn a_connection_that_dies_is_noticed_while_nobody_scans() {
    let home = Home::new("login-dead");
    let gateway = Gateway::once(|peer| {
        peer.greet_ticking(10);
        let request = peer.request("channel-login");
        peer.answer(&request, &status("accepted"));
        peer.gone();
    });
    let done = home.clawdis(["login", "whatsapp", "--url", &gateway.url]).run();
    done.fails(3, &["went silent", "clawdis health"]);
}

#[test]
fn somebody_who_needs_longer_than_an_answer_may_take_is_waited_for_unless_told_otherwise() {
    let home = Home::new("login-patience");
    let gateway = Gateway::once(|peer| {
        begun(peer, &whatsapp());
        peer.gone();
    });
    let done = home.clawdis(["login", "whatsapp", "--timeout", "0.3", "--url", &gateway.url]).run();
    done.fails(5, &["goes on until its code runs out"]);
}

#[test]
fn ctrl_c_ends_the_tool_and_not_the_login() {
    let home = Home::new("login-ctrl-c");
    let gateway = Gateway::once(|peer| {
        begun(peer, &whatsapp());
        peer.event("channel", &progress(&json!({ "qr": "2@a", "ttlMs": 20_000 })));
        let said = peer.rest();
        assert!(said.iter().all(|message| !message.is_text()), "{said:?}");
    });
    let mut running = home.clawdis(["login", "whatsapp", "--url", &gateway.url]).start();
    running.line("It holds for");
    running.interrupt();
    assert_eq!(running.wait().code, Some(130));
    gateway.finish();
}

#[test]
fn a_logout_waits_for_its_end() {
    let home = Home::new("logout");
    let play = |end: fn(&mut Peer, &Value)| {
        Gateway::once(move |peer| {
            peer.greet();
            let request = peer.request("channel-logout");
            assert_eq!(request["params"], whatsapp());
            peer.answer(&request, &status("accepted"));
            end(peer, &request);
            peer.gone();
        })
    };
    let gateway = play(|peer, request| peer.answer(request, &status("unlinked")));
    let text = home.clawdis(["logout", "whatsapp", "--url", &gateway.url]).run().ok();
    assert_eq!(text, "channel whatsapp, status unlinked\n");
    gateway.finish();
    let gateway = play(|peer, request| peer.refuse(request, "UNAVAILABLE", "no phone is linked"));
    let done = home.clawdis(["logout", "whatsapp", "--url", &gateway.url]).run();
    done.fails(1, &["no phone is linked (UNAVAILABLE)"]);
    gateway.finish();
}
