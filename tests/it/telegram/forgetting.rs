//! A session that is forgotten leaves nothing that names its person, in any file.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Gateway, PATIENCE, eventually, params_agent};
use crate::telegram::lab::{Lab, OWNER, history, in_state};

/// Somebody whose id, name and words are like nothing else in the folder.
const PERSON: i64 = 730_418_265;
const NAME: &str = "Zebulon";
const WORDS: &str = "tangerine";

/// Files below a folder that hold one of these, or are named so.
fn traces(folder: &Path, needles: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let named = path.to_string_lossy().into_owned();
            // One that goes while it is looked at has gone.
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
            let name = entry.file_name().to_string_lossy().into_owned();
            found.extend(
                needles
                    .iter()
                    .filter(|needle| text.contains(**needle) || name.contains(**needle))
                    .map(|needle| format!("{needle} in {named}")),
            );
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            }
        }
    }
    found
}

fn session() -> String {
    format!("dm:telegram:{PERSON}")
}

/// Everything that can be known of a person: what they wrote and sent, what was written to them, a run that
/// a client asked for, and something that could not be understood.
fn meet(lab: &Lab) {
    let file = lab.api.with(|world| {
        world.names.insert(PERSON, NAME.to_owned());
        world.open(PERSON);
        world.file("documents/x.pdf", b"%PDF-1.4 tangerine".to_vec())
    });
    lab.text(PERSON, PERSON, "[[say heard]] tangerine");
    let document = json!({"file_id": file, "file_unique_id": file, "file_name": "tangerine.pdf",
        "mime_type": "application/pdf", "file_size": 18});
    lab.api.answers(PERSON, 1);
    lab.api
        .with(|world| world.says(PERSON, PERSON, json!({"document": document, "caption": "[[say got it]]"})));
    lab.api.answers(PERSON, 2);
    let garbled = json!({"message_id": "wrong", "from": {"id": PERSON, "first_name": NAME}, "text": WORDS});
    lab.api.with(|world| world.push("message", garbled));
    let mut client = lab.gateway.client();
    in_state(&mut client, "ready");
    client.ask("send", &to_person());
    assert_eq!(client.outcome(&in_session())["payload"]["status"], "ok");
    lab.api.confirmed();
    let said = history(&mut client, &session(), "what was sent", |message| message["role"] == "note");
    assert!(said.len() >= 6, "{said:?}");
}

fn to_person() -> Value {
    json!({"to": format!("telegram:{PERSON}"), "message": "a tangerine for you", "idempotencyKey": "sent"})
}

fn in_session() -> Value {
    let mut params = params_agent("[[say peeled]] the tangerine", "asked");
    params["sessionKey"] = json!(session());
    params
}

#[track_caller]
fn assert_forgotten(gateway: &Gateway, when: &str) {
    let id = PERSON.to_string();
    let needles = [id.as_str(), NAME, WORDS];
    // The last of it, that there is nothing more to do, is written behind the answer.
    let deadline = Instant::now() + PATIENCE / 2;
    for folder in [gateway.state_dir(), gateway.setup().scratch().join("home")] {
        let left = eventually(&format!("no trace {when}"), PATIENCE, || {
            let left = traces(&folder, &needles);
            (left.is_empty() || Instant::now() > deadline).then_some(left)
        });
        assert_eq!(left, Vec::<String>::new(), "{when}");
    }
}

#[test]
fn nothing_names_a_person_who_was_forgotten() {
    let mut lab = Lab::with("forgotten", |setup| {
        setup.config(json!({"telegram": {"allowFrom": [PERSON.to_string()]}}))
    });
    meet(&lab);
    let state = lab.gateway.state_dir();
    for needle in [PERSON.to_string().as_str(), NAME, WORDS] {
        assert!(!traces(&state, &[needle]).is_empty(), "without {needle} the test would prove nothing");
    }
    let mut client = lab.gateway.client();
    let runs = client.ask("status", &json!({}))["today"]["runs"].clone();
    client.ask("session-forget", &json!({"sessionKey": session()}));
    assert_forgotten(&lab.gateway, "after the answer");
    drop(client);
    lab.crash();
    assert_forgotten(&lab.gateway, "after a crash");
    let mut client = lab.gateway.client();
    in_state(&mut client, "ready");
    // What was asked with a key is not done again, and says nothing of what was said.
    let before = lab.prompts_with("[[");
    let (asked, sent) = (client.outcome(&in_session()), client.refused("send", &to_person()));
    for text in [asked.to_string(), sent.to_string()] {
        assert!(!text.contains("peeled") && !text.contains(&PERSON.to_string()), "{text}");
    }
    assert!(sent["message"].as_str().unwrap().contains("forgotten"), "{sent}");
    assert_eq!(lab.prompts_with("[["), before);
    // What was spent stays spent.
    let status = client.ask("status", &json!({}));
    assert_eq!(status["today"]["runs"], runs, "{status}");
    assert!(!status.to_string().contains(&PERSON.to_string()), "{status}");
    // The journal is written anew.
    client.ask("session-forget", &json!({"sessionKey": "another"}));
    assert_forgotten(&lab.gateway, "after a compaction");
    drop(client);
    lab.crash();
    assert_forgotten(&lab.gateway, "after another crash");
    lab.sync();
    assert_eq!(lab.api.with(|world| world.texts(PERSON).len()), 3, "heard, got it, a tangerine for you");
    // The person is let in as before.
    lab.text(PERSON, PERSON, "[[say hello again]]");
    lab.api.answers(PERSON, 4);
    assert!(lab.api.with(|world| !world.texts(OWNER).is_empty()));
}
