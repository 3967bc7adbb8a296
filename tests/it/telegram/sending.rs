//! `send`, answers that a client or a heartbeat wants delivered, and the budget.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::{fs, thread};

use serde_json::{Value, json};

use crate::harness::{Client, PATIENCE, eventually, params_agent, process};
use crate::telegram::botapi::{BotApi, Fault};
use crate::telegram::lab::{CLUB, FORUM, FRIEND, Lab, OWNER, in_state, setup};

fn params(to: &str, message: &str, key: &str) -> Value {
    json!({"to": to, "message": message, "idempotencyKey": key})
}

/// A client once the channel is there.
#[track_caller]
fn client(lab: &Lab) -> Client {
    let mut client = lab.gateway.client();
    in_state(&mut client, "ready");
    client
}

#[test]
fn send_says_where_it_went_and_sends_once_per_key() {
    let lab = Lab::start("send");
    let mut client = client(&lab);
    for (number, to) in [(1, format!("telegram:{FRIEND}")), (2, FRIEND.to_string())] {
        let params = params(&to, &format!("**hi** {number}"), &format!("k{number}"));
        let answer = client.ask("send", &params);
        let sent = lab.api.with(|world| world.sent_to(FRIEND).last().map(|sent| (*sent).clone())).unwrap();
        assert_eq!(sent.text, format!("hi {number}"));
        assert_eq!(answer["channel"], "telegram");
        assert_eq!(answer["messageId"], sent.message_id.to_string());
        assert_eq!(answer["chatId"], FRIEND.to_string());
        assert!(answer["runId"].as_str().is_some_and(|id| !id.is_empty()), "{answer}");
        assert_eq!(client.ask("send", &params), answer, "the same key gets the same answer");
        let mut other = params.clone();
        other["message"] = json!("something else");
        assert_eq!(client.refused("send", &other)["code"], "CONFLICT");
        assert_eq!(lab.api.with(|world| world.texts(FRIEND).len()), number);
    }
    lab.api.with(|world| {
        world.open(-777);
        world.chat(-777).username = Some("club".to_owned());
    });
    let answer = client.ask("send", &params("@club", "to a name", "k3"));
    assert_eq!(answer["chatId"], "-777", "{answer}");
    assert_eq!(lab.api.answers(-777, 1), ["to a name"]);
    let error = client.refused("send", &params("telegram:123456", "nobody", "k4"));
    assert!(error["message"].as_str().unwrap().contains("not found"), "{error}");
    let text = "x".repeat(9_000);
    client.ask("send", &params(&CLUB.to_string(), &text, "k5"));
    assert_eq!(lab.api.with(|world| world.texts(CLUB).concat()), text);
    let output = lab.cli(&["send", "--channel", "telegram", "--to", &OWNER.to_string(), "from the shell"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(lab.api.answers(OWNER, 1), ["from the shell"]);
}

#[test]
fn a_send_that_a_kill_interrupts_is_not_repeated() {
    for (name, fault, count) in [("send-hang", Fault::Hang, 0), ("send-done", Fault::ResetDone, 1)] {
        let mut lab = Lab::start(name);
        let mut before = client(&lab);
        let params = params(&FRIEND.to_string(), "once", "the key");
        lab.api.with(|world| world.fail("sendMessage", 1, fault));
        let id = before.send("send", &params);
        lab.api.wait("the request", |world| (!world.calls("sendMessage").is_empty()).then_some(()));
        if count == 1 {
            let answer = before.answer(&id);
            assert_eq!(answer["ok"], false, "{answer}");
            assert_eq!(answer["error"]["details"]["outcome"], "unknown", "{answer}");
        }
        lab.crash();
        let mut after = client(&lab);
        let error = after.refused("send", &params);
        assert_eq!(
            (&error["code"], &error["details"]["outcome"]),
            (&json!("UNAVAILABLE"), &json!("unknown")),
            "{error}"
        );
        lab.sync();
        assert_eq!(lab.api.with(|world| world.texts(FRIEND).len()), count);
    }
}

#[test]
fn a_finished_send_is_remembered_over_a_kill() {
    let mut lab = Lab::start("send-kept");
    let params = params(&FRIEND.to_string(), "once", "the key");
    let answer = client(&lab).ask("send", &params);
    lab.crash();
    assert_eq!(client(&lab).ask("send", &params), answer);
    assert_eq!(lab.api.answers(FRIEND, 1).len(), 1);
}

/// A web server that has one file; any other path is not found.
fn web(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let count = stream.read(&mut head).unwrap_or(0);
            let found = head[..count].starts_with(b"GET /picture.png ");
            let (status, body) =
                if found { ("200 OK", bytes.as_slice()) } else { ("404 Not Found", &b""[..]) };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: image/png\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), body].concat());
        }
    });
    base
}

#[test]
fn media_come_from_the_web_or_an_allowed_folder() {
    let lab = Lab::with("media-url", |setup| {
        let folder = setup.scratch().join("shared");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("report.txt"), "the report").unwrap();
        fs::write(setup.scratch().join("secret.txt"), "the secret").unwrap();
        std::os::unix::fs::symlink("../secret.txt", folder.join("link.txt")).unwrap();
        setup.config(json!({"gateway": {"mediaFolders": [folder], "mediaHosts": ["127.0.0.1"]}}))
    });
    let mut client = client(&lab);
    let picture = [b"\x89PNG\r\n\x1a\n", b"picture".as_slice()].concat();
    let base = web(picture.clone());
    let folder = lab.gateway.setup().scratch().join("shared");
    let mut number = 0;
    let mut media = |url: &str| {
        number += 1;
        let mut params = params(&FRIEND.to_string(), "see this", &format!("m{number}"));
        params["mediaUrl"] = json!(url);
        params
    };
    let answer = client.ask("send", &media(&format!("{base}/picture.png")));
    assert!(answer["messageId"].is_string(), "{answer}");
    client.ask("send", &media(folder.join("report.txt").to_str().unwrap()));
    let sent = lab.api.with(|world| world.sent.clone());
    assert_eq!(sent[0].upload.as_ref().unwrap().bytes, picture);
    assert_eq!((sent[0].text.as_str(), sent[1].text.as_str()), ("see this", "see this"));
    let upload = sent[1].upload.as_ref().unwrap();
    assert_eq!((upload.name.as_str(), upload.bytes.as_slice()), ("report.txt", b"the report".as_slice()));
    assert_eq!(sent[1].method, "sendDocument");
    let outside = lab.gateway.setup().scratch().join("secret.txt");
    for url in [
        outside.to_str().unwrap().to_owned(),
        folder.join("../secret.txt").to_str().unwrap().to_owned(),
        folder.join("link.txt").to_str().unwrap().to_owned(),
        folder.join("missing").to_str().unwrap().to_owned(),
        format!("{base}/missing"),
        "ftp://example.org/x".to_owned(),
        "/etc/passwd".to_owned(),
    ] {
        let error = client.refused("send", &media(&url));
        assert!(!error["message"].as_str().unwrap().is_empty(), "{url}: {error}");
    }
    assert_eq!(lab.api.with(|world| world.sent.len()), 2);
}

#[test]
fn an_answer_is_delivered_where_it_was_asked_for() {
    let lab = Lab::start("deliver");
    let mut client = client(&lab);
    let mut nowhere = params_agent("[[say nowhere]]", "d0");
    nowhere["deliver"] = json!(true);
    assert_eq!(client.refused("agent", &nowhere)["code"], "INVALID_REQUEST");
    let mut named = params_agent("[[say to the friend]]", "d1");
    named["deliver"] = json!(true);
    named["to"] = json!(FRIEND.to_string());
    named["channel"] = json!("telegram");
    assert_eq!(client.outcome(&named)["payload"]["status"], "ok");
    assert_eq!(lab.api.answers(FRIEND, 1), ["to the friend"]);
    // Without an address: where the session was last spoken to.
    lab.sync();
    let mut last = params_agent("[[say to the owner]]", "d2");
    last["deliver"] = json!(true);
    assert_eq!(client.outcome(&last)["payload"]["status"], "ok");
    assert_eq!(lab.api.answers(OWNER, 2)[1], "to the owner");
    client.outcome(&params_agent("[[say to nobody]]", "d3"));
    lab.sync();
    assert!(!lab.api.with(|world| world.texts(OWNER).contains(&"to nobody".to_owned())));
}

#[test]
fn what_comes_and_goes_is_shown_to_all_clients() {
    let lab = Lab::start("news");
    let (mut one, mut two) = (client(&lab), client(&lab));
    lab.api.with(|world| {
        world.forum(FORUM, &[11]);
        world.text(FRIEND, FRIEND, "[[say pong]]")
    });
    for client in [&mut one, &mut two] {
        let came = client.event("message", |event| event["payload"]["direction"] == "in")["payload"].take();
        assert_eq!(came["sessionKey"], format!("dm:telegram:{FRIEND}"), "{came}");
        assert_eq!(came["text"], "[[say pong]]", "{came}");
        let went = client.event("message", |event| event["payload"]["status"] == "sent")["payload"].take();
        assert!(went["direction"] == "out" && went["text"] == "pong", "{went}");
        assert!(went["to"].as_str().unwrap().contains(&FRIEND.to_string()), "{went}");
        assert!(went["runId"].is_string(), "{went}");
    }
}

#[test]
fn a_heartbeat_that_has_something_to_say_is_delivered() {
    heartbeat_reaches_the_owner("heartbeat", &json!({"channel": "telegram"}));
    // As in `send`, an address can tell its channel.
    heartbeat_reaches_the_owner("heartbeat-to", &json!({"to": format!("telegram:{OWNER}")}));
}

fn heartbeat_reaches_the_owner(name: &str, whereto: &Value) {
    let lab = Lab::with(name, |setup| {
        setup
            .config(json!({"heartbeat": {"everyMinutes": 1, "prompt": "[[say water the plants]]"}}))
            .config(json!({"heartbeat": whereto}))
            .env("LD_PRELOAD", &process::faketime())
            .env("FAKETIME", "+0 x40")
    });
    // An empty conversation has no heartbeats.
    lab.sync();
    let mut client = lab.gateway.client();
    client.ask("set-heartbeats", &json!({"enabled": true}));
    eventually("the heartbeat's answer", PATIENCE, || {
        // The clock runs fast, but waits are as long as ever: a request makes it look at the clock.
        client.ask("health", &json!({}));
        lab.api.with(|world| world.texts(OWNER).contains(&"water the plants".to_owned()).then_some(()))
    });
}

#[test]
fn over_the_budget_one_line_is_said() {
    let lab = Lab::with("budget", |setup| setup.config(json!({"agent": {"dailyRunsPerPerson": 1}})));
    lab.text(FRIEND, FRIEND, "[[say the one]]");
    assert_eq!(lab.api.answers(FRIEND, 1), ["the one"]);
    for text in ["[[say too much]]", "[[say far too much]]"] {
        lab.text(FRIEND, FRIEND, text);
    }
    let line = lab.api.answers(FRIEND, 2).remove(1);
    assert!(!line.contains("too much") && line.lines().count() <= 2, "{line:?}");
    let notice = lab.api.answers(OWNER, 1).remove(0);
    assert!(notice.contains(&FRIEND.to_string()) || notice.contains("Person"), "{notice:?}");
    lab.api.confirmed();
    lab.text(CLUB, OWNER, "a group where nobody was addressed");
    lab.api.confirmed();
    let mut client = lab.gateway.client();
    eventually("the day's runs", PATIENCE, || {
        let status = client.ask("status", &json!({}));
        (status["today"]["runs"].as_u64() >= Some(1)).then_some(())
    });
    assert_eq!(lab.prompts_with("too much"), 0);
    lab.api.with(|world| {
        assert_eq!(world.texts(FRIEND).len(), 2, "one line and no more");
        assert_eq!(world.texts(OWNER).len(), 1, "one notice and no more");
    });
}

#[test]
fn a_send_while_the_server_is_away_goes_out_later() {
    let mut api = BotApi::start();
    api.with(|world| world.open(FRIEND));
    let gateway = setup("send-later", &api).spawn();
    let mut client = gateway.client();
    in_state(&mut client, "ready");
    api.down();
    let id = client.send("send", &params(&FRIEND.to_string(), "patience", "k"));
    in_state(&mut client, "unreachable");
    api.up();
    let answer = client.answer(&id);
    let texts = api.with(|world| world.texts(FRIEND));
    assert_eq!(answer["ok"] == true, texts == ["patience"], "{answer} {texts:?}");
    assert_eq!(answer["ok"], true, "nothing was sent, so it can be tried again: {answer}");
}
