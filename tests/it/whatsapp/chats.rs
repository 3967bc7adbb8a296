//! Text both ways: who is answered, where, and in which session.

use serde_json::{Value, json};

use crate::harness::{Client, PATIENCE, eventually, process};
use crate::whatsapp::lab::{FRIEND, Lab, OWNER, SELF, STRANGER, in_state, lid, pn};

/// Waits for a text in a session.
#[track_caller]
fn said_in(client: &mut Client, session: &str, text: &str) {
    eventually(&format!("{text:?} in the history of {session}"), PATIENCE, || {
        let page = client.ask("session-history", &json!({"sessionKey": session, "limit": 200}));
        let messages = page["messages"].as_array().unwrap().clone();
        let fits = |entry: &Value| entry["role"] == "user" && entry["text"].as_str().unwrap().contains(text);
        messages.iter().any(fits).then_some(())
    });
}

#[test]
fn people_are_known_by_number_and_answered_where_they_wrote() {
    let lab = Lab::start("people");
    let mut client = lab.gateway.client();
    let id = lab.says(json!({"from": FRIEND, "text": "[[say to the alias]]", "addressing": "lid"}));
    lab.mock.said(&lid(FRIEND), "to the alias");
    lab.mock.wait(&json!({"type": "receipt", "kind": "read", "ids": id}));
    lab.says(json!({"from": FRIEND, "text": "[[say to the number]]", "addressing": "pn"}));
    lab.mock.said(&pn(FRIEND), "to the number");
    for text in ["to the alias", "to the number"] {
        said_in(&mut client, &format!("dm:whatsapp:+{FRIEND}"), text);
    }
    lab.text(OWNER, "[[say to the owner]]");
    lab.mock.said(&lid(OWNER), "to the owner");
    said_in(&mut client, "main", "to the owner");
    let incoming = client.event("message", |event| event["payload"]["text"] == "[[say to the alias]]");
    assert!(
        incoming["payload"]["direction"] == "in" && incoming["payload"]["channel"] == "whatsapp",
        "{incoming}"
    );
    for status in ["queued", "sent", "delivered"] {
        client.event("message", |event| {
            event["payload"]["text"] == "to the alias" && event["payload"]["status"] == status
        });
    }
    let typing: Vec<Value> = lab.mock.events("chatstate");
    for state in ["composing", "paused"] {
        let shown = typing.iter().any(|event| event["state"] == state && event["to"] == lid(FRIEND).as_str());
        assert!(shown, "{FRIEND} saw no {state}: {typing:?}");
    }
}

#[test]
fn what_was_said_in_a_forgotten_session_is_in_no_file_nor_who_said_it() {
    let mut lab = Lab::start("forget");
    let mut client = lab.gateway.client();
    lab.says(json!({"from": FRIEND, "text": "[[say understood]] between you and me", "pushName": "Zebulon"}));
    lab.mock.said(&lid(FRIEND), "understood");
    let (of_friend, state_dir) = (format!("dm:whatsapp:+{FRIEND}"), lab.gateway.state_dir());
    said_in(&mut client, &of_friend, "between you and me");
    let send = json!({"to": format!("+{FRIEND}"), "message": "between us", "idempotencyKey": "k"});
    client.ask("send", &send);
    let grep = |words: &str, more: &[&str]| {
        let found = process::run("grep", &[&["-rl", words, state_dir.to_str().unwrap()], more].concat());
        String::from_utf8(found.stdout).unwrap()
    };
    // The keys of the encryption between the two phones are kept under the number: without them the next
    // message could not be read.
    let no_file_has = |words: &str, when: &str| {
        let login: &[&str] = if words == FRIEND { &["--exclude-dir=login"] } else { &[] };
        let what = format!("no file with `{words}` {when}");
        eventually(&what, PATIENCE, || grep(words, login).is_empty().then_some(()));
    };
    assert!(
        [FRIEND, "Zebulon", "between"].iter().all(|words| !grep(words, &["--exclude-dir=login"]).is_empty())
    );
    client.ask("session-forget", &json!({"sessionKey": of_friend}));
    drop(client);
    for when in ["at once", "after a crash"] {
        for words in [FRIEND, "Zebulon", "between"] {
            no_file_has(words, when);
        }
        lab.crash();
        in_state(&mut lab.gateway.client(), "ready");
    }
    // The login has stayed.
    lab.sync();
}

#[test]
fn strangers_get_silence_until_they_are_let_in() {
    let lab = Lab::start("strangers");
    let mut client = lab.gateway.client();
    let id = lab.says(json!({"from": STRANGER, "text": "[[say too early]]", "pushName": "Eve"}));
    lab.sync();
    let refused = client.ask("status", &json!({}))["refused"].take();
    assert_eq!((&refused[0]["id"], &refused[0]["name"]), (&json!(format!("+{STRANGER}")), &json!("Eve")));
    assert_eq!(refused[0]["channel"], "whatsapp", "{refused}");
    // Not even that somebody is there.
    for event in lab.mock.events("receipt").iter().filter(|event| event["kind"] == "read") {
        assert!(!event["ids"].as_array().unwrap().contains(&json!(id)), "{event}");
    }
    let to_stranger =
        |event: &&Value| [lid(STRANGER), pn(STRANGER)].iter().any(|jid| event["to"] == jid.as_str());
    assert_eq!(lab.mock.events("chatstate").iter().find(to_stranger), None);
    assert_eq!(lab.prompts_with("too early"), 0);
    let output = lab.cli(&["allow", "whatsapp", &format!("+{STRANGER}")]);
    assert!(output.status.success(), "{output:?}");
    lab.text(STRANGER, "[[say welcome]]");
    assert_eq!(lab.mock.answers(&lid(STRANGER), 1), ["welcome"]);
    said_in(&mut client, &format!("dm:whatsapp:+{STRANGER}"), "welcome");
}

#[test]
fn wrapped_and_quoted_text_is_read_and_our_own_is_not() {
    let lab = Lab::start("wrapped");
    lab.says(json!({"from": FRIEND, "text": "[[say it fades]]", "ephemeral": 86_400}));
    lab.mock.said(&lid(FRIEND), "it fades");
    let once =
        json!({"viewOnceMessageV2": {"message": {"extendedTextMessage": {"text": "[[say only once]]"}}}});
    lab.mock.op("send-raw", json!({"from": FRIEND, "message": once}));
    lab.mock.said(&lid(FRIEND), "only once");
    let quoted = json!({"id": "3EB0QUOTED", "participant": lid(OWNER), "text": "what he had said"});
    lab.says(json!({"from": FRIEND, "text": "[[say about that]]", "quoted": quoted}));
    lab.mock.said(&lid(FRIEND), "about that");
    let both = "[in answer to:]\n| what he had said\n[and says:]\n| [[say about that]]";
    assert_eq!(lab.prompts_with(both), 1);
    lab.mock.op("phone-sends", json!({"to": FRIEND, "text": "[[say an echo]]"}));
    lab.mock.op("phone-sends", json!({"to": SELF, "text": "[[say a note]]"}));
    lab.mock.op("react", json!({"from": FRIEND, "target": "3EB0QUOTED", "text": "👍"}));
    lab.sync();
    assert_eq!(lab.prompts_with("an echo") + lab.prompts_with("a note"), 0);
    assert_eq!(lab.gateway.prompts().len(), 4);
}

#[test]
fn notes_to_oneself_are_answered_and_not_without_end() {
    let lab = Lab::with("self", |setup| setup.config(json!({"whatsapp": {"selfChat": true}})));
    let own = SELF.trim_start_matches('+');
    lab.mock.op("phone-sends", json!({"to": own, "text": "[[say to myself]]"}));
    eventually("the answer to oneself", PATIENCE, || {
        let texts = [lab.mock.texts(&lid(own)), lab.mock.texts(&pn(own))].concat();
        texts.contains(&"to myself".to_owned()).then_some(())
    });
    said_in(&mut lab.gateway.client(), "main", "to myself");
    for number in 0..20 {
        lab.mock.op("phone-sends", json!({"to": own, "text": format!("[[say note]] number {number}.")}));
    }
    lab.gateway.output.wait_for("notes to oneself in a minute", PATIENCE);
    lab.text(FRIEND, "[[say the others are heard]]");
    lab.mock.said(&lid(FRIEND), "the others are heard");
    // The last of the notes that were taken may still be on its way to the agent.
    eventually("the ninth note", PATIENCE, || (lab.prompts_with("number 8.") == 1).then_some(()));
    let count: usize = (0..20).map(|number| lab.prompts_with(&format!("number {number}."))).sum();
    assert_eq!(count, 9, "ten a minute with the first");
}
