//! Sessions: the list, the record, a new beginning, and forgetting.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clawdis_gateway::limits::PAYLOAD_BYTES_MAX;
use serde_json::{Value, json};

use crate::harness::{Client, Gateway, PATIENCE, eventually, params_agent};

fn say(client: &mut Client, session: &str, message: &str) -> Value {
    let params =
        json!({"message": message, "sessionKey": session, "idempotencyKey": format!("{session}/{message}")});
    let last = client.outcome(&params);
    assert_eq!(last["ok"], true, "{last}");
    last
}

fn history(client: &mut Client, session: &str, limit: u64) -> Vec<Value> {
    let mut messages = Vec::new();
    let mut params = json!({"sessionKey": session, "limit": limit});
    loop {
        let mut page = client.ask("session-history", &params);
        assert_eq!(page["sessionKey"], session);
        let found = page["messages"].as_array_mut().unwrap();
        assert!(found.len() as u64 <= limit);
        messages.append(found);
        match page["before"].as_str() {
            Some(before) => params["before"] = json!(before),
            None => return messages,
        }
    }
}

fn texts(messages: &[Value], role: &str) -> Vec<String> {
    let with_role = messages.iter().filter(|message| message["role"] == role);
    with_role.map(|message| message["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_record_says_who_said_what_in_which_run() {
    let gateway = Gateway::builder("record").agent_scripted().spawn();
    let mut client = gateway.client();
    let last = say(&mut client, "main", "[[say the answer]]");
    let messages = history(&mut client, "main", 50);
    let question = messages.iter().find(|message| message["role"] == "user").unwrap();
    let answer = messages.iter().find(|message| message["role"] == "assistant").unwrap();
    assert_eq!(question["text"], "[[say the answer]]");
    assert_eq!(question["idempotencyKey"], "main/[[say the answer]]");
    assert_eq!(answer["text"], "the answer");
    for message in [question, answer] {
        assert_eq!(message["runId"], last["payload"]["runId"], "{message}");
    }
    assert!(question["ts"].as_u64() <= answer["ts"].as_u64());
}

#[test]
fn pages_go_from_new_to_old_without_gap_or_repeat() {
    let gateway = Gateway::builder("pages").agent_scripted().spawn();
    let mut client = gateway.client();
    for number in 0..7 {
        say(&mut client, "main", &format!("[[say answer {number}]]"));
    }
    let whole = history(&mut client, "main", 200);
    let expected: Vec<String> = (0..7).rev().map(|number| format!("answer {number}")).collect();
    assert_eq!(texts(&whole, "assistant"), expected);
    for limit in [1, 2, 3, 5] {
        assert_eq!(history(&mut client, "main", limit), whole, "limit {limit}");
    }
    let ids: BTreeSet<String> = whole.iter().map(|message| message["id"].to_string()).collect();
    assert_eq!(ids.len(), whole.len());
    // What comes in between does not shift a page.
    let first = client.ask("session-history", &json!({"sessionKey": "main", "limit": 4}));
    say(&mut client, "main", "[[say later]]");
    let rest = client
        .ask("session-history", &json!({"sessionKey": "main", "limit": 200, "before": first["before"]}));
    assert_eq!(rest["messages"].as_array().unwrap(), &whole[4..]);
}

#[test]
fn an_unknown_session_has_an_empty_history_and_cannot_be_reset() {
    let gateway = Gateway::builder("unknown-session").agent_scripted().spawn();
    let mut client = gateway.client();
    let page = client.ask("session-history", &json!({"sessionKey": "nobody"}));
    assert_eq!(page["messages"], json!([]), "{page}");
    assert!(page.get("before").is_none());
    assert_eq!(client.refused("session-reset", &json!({"sessionKey": "nobody"}))["code"], "INVALID_REQUEST");
    // Nor was it made by asking.
    assert_eq!(client.ask("sessions-list", &json!({}))["sessions"], json!([]));
    // A name is no path.
    for key in ["../../etc/passwd", "a/b", "..", "\u{0}", "main\n", "%2e%2e"] {
        let page = client.ask("session-history", &json!({"sessionKey": key}));
        assert_eq!(page["messages"], json!([]), "{key:?}");
    }
    say(&mut client, "../escape/../../x", "[[say here]]");
    assert_eq!(texts(&history(&mut client, "../escape/../../x", 10), "assistant"), ["here"]);
    assert!(!gateway.setup().scratch().join("escape").exists());
}

/// Every file and folder below one.
fn paths(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    // What is being removed may be gone by now.
    for entry in fs::read_dir(folder).into_iter().flatten().map_while(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(paths(&entry.path()));
        }
        found.insert(entry.path());
    }
    found
}

/// Names that mean something to a file system, a terminal or a shell, and the longest that there may be.
fn strange_names() -> Vec<String> {
    let strange = [
        "\0",
        "a\0b",
        "\u{1b}[31mred",
        "\u{202e}txt.exe\u{202c}",
        "\u{2067}a\u{200f}",
        "main\n",
        "main ",
        ".",
        "..",
        "../escaped",
        "../../../escaped",
        "/tmp/escaped",
        "agent/../../escaped",
        "%2e%2e%2fescaped",
        "-rf",
        "*; $(touch escaped)",
    ];
    let longest =
        ["x", "\u{1d11e}", "\u{1}", "\"", "../"].map(|text| text.repeat(256).chars().take(256).collect());
    strange.map(str::to_owned).into_iter().chain(longest).collect()
}

/// Whether all that an agent is given of the state folder is one session's folder of its own, and what is
/// directly in it.
fn keeps_to_its_folder(argv: &str, state: &Path) -> bool {
    let argv: Vec<String> = serde_json::from_str(argv).unwrap();
    let files: Vec<&String> = argv.iter().filter(|arg| arg.contains(state.to_str().unwrap())).collect();
    let is_its = |file: &&String| {
        let below = Path::new(file).strip_prefix(state.join("agent")).ok().and_then(Path::to_str);
        below.is_some_and(|below| {
            let (folder, file) = below.split_once('/').unwrap_or((below, ""));
            is_digest(folder) && !file.contains(['/', '\0']) && file != ".."
        })
    };
    !files.is_empty() && files.iter().all(is_its)
}

#[test]
fn whatever_a_session_is_named_its_files_lie_in_folders_of_its_own() {
    let mut gateway = Gateway::builder("strange-names").agent_scripted().arg("-v").spawn();
    let (scratch, state) = (gateway.setup().scratch(), gateway.state_dir());
    let mut client = gateway.client();
    say(&mut client, "main", "[[say first]]");
    let before = paths(&scratch);
    let names = strange_names();
    for (number, name) in names.iter().enumerate() {
        let key = format!("strange {number}");
        let last = client.outcome(&json!({"message": "[[argv]]", "sessionKey": name, "idempotencyKey": key}));
        let argv = last["payload"]["summary"].as_str().unwrap_or_else(|| panic!("{name:?}: {last}"));
        assert!(keeps_to_its_folder(argv, &state), "{name:?}: {argv}");
        assert_eq!(texts(&history(&mut client, name, 10), "user"), ["[[argv]]"], "{name:?}");
    }
    let refused = client.refused("session-history", &json!({"sessionKey": "x".repeat(257)}));
    assert_eq!(refused["code"], "INVALID_REQUEST");

    // They are known by their names, also to the next life.
    drop(client);
    gateway.sigkill();
    let said = gateway.output.both();
    let gateway = gateway.setup().spawn();
    let mut client = gateway.client();
    let listed = client.ask("sessions-list", &json!({"limit": 200}));
    let listed: BTreeSet<&str> =
        listed["sessions"].as_array().unwrap().iter().map(|s| s["sessionKey"].as_str().unwrap()).collect();
    let made: BTreeSet<&str> = names.iter().map(String::as_str).chain(["main"]).collect();
    assert_eq!(listed, made);
    // What came with them is theirs, and nothing else.
    let is_theirs = |path: &Path| {
        let below: Vec<&str> =
            path.strip_prefix(&state).unwrap().iter().map(|p| p.to_str().unwrap()).collect();
        match below[..] {
            ["sessions", file] => file.strip_suffix(".log").is_some_and(is_digest),
            ["agent" | "media", folder] => is_digest(folder),
            _ => false,
        }
    };
    for path in paths(&scratch).difference(&before) {
        assert!(path.starts_with(&state) && is_theirs(path), "{}", path.display());
    }
    assert!(!Path::new("/tmp/escaped").exists() && !scratch.parent().unwrap().join("escaped").exists());
    for name in &names {
        assert_eq!(texts(&history(&mut client, name, 10), "user"), ["[[argv]]"], "{name:?}");
        assert_eq!(client.ask("session-forget", &json!({"sessionKey": name}))["sessionKey"], **name);
        assert_eq!(history(&mut client, name, 10), Vec::<Value>::new(), "{name:?}");
    }
    assert_eq!(client.ask("sessions-list", &json!({}))["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(texts(&history(&mut client, "main", 10), "assistant"), ["first"], "nobody else's");
    eventually("everything of theirs to be gone", PATIENCE, || {
        paths(&scratch).is_subset(&before).then_some(())
    });
    let log = said + &gateway.output.both();
    assert!(!log.contains(['\0', '\u{1b}', '\u{202e}', '\u{2067}']), "{log:?}");
}

/// Whether it is the name of a session's files.
fn is_digest(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[test]
fn a_cursor_that_was_never_given_out_is_refused() {
    let gateway = Gateway::builder("cursor").agent_scripted().spawn();
    let mut client = gateway.client();
    say(&mut client, "main", "[[say x]]");
    for before in ["nonsense", "999999999999999999999", "-1", "../main"] {
        let id = client.send("session-history", &json!({"sessionKey": "main", "before": before}));
        let answer = client.answer(&id);
        let harmless =
            answer["error"]["code"] == "INVALID_REQUEST" || answer["payload"]["messages"].is_array();
        assert!(harmless, "{before}: {answer}");
    }
}

#[test]
fn the_list_is_newest_first() {
    let gateway = Gateway::builder("list").agent_scripted().spawn();
    let mut client = gateway.client();
    for session in ["a", "b", "c", "a"] {
        let count = client.ask("sessions-list", &json!({}))["sessions"].as_array().unwrap().len();
        say(&mut client, session, &format!("[[say {count}]] {session}"));
    }
    let list = client.ask("sessions-list", &json!({}));
    let keys: Vec<&str> =
        list["sessions"].as_array().unwrap().iter().map(|s| s["sessionKey"].as_str().unwrap()).collect();
    assert_eq!(keys, ["a", "c", "b"]);
    let messages = list["sessions"][0]["messages"].as_u64().unwrap();
    assert_eq!(usize::try_from(messages).unwrap(), history(&mut client, "a", 200).len());
    let one = client.ask("sessions-list", &json!({"limit": 1}));
    assert_eq!(one["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(one["sessions"][0]["sessionKey"], "a");
    let rest = client.ask("sessions-list", &json!({"limit": 5, "before": one["before"]}));
    let keys: Vec<&Value> =
        rest["sessions"].as_array().unwrap().iter().map(|session| &session["sessionKey"]).collect();
    assert_eq!(keys, ["c", "b"]);
    assert!(rest.get("before").is_none(), "{rest}");
    assert_eq!(client.ask("status", &json!({}))["sessions"], 3);
}

#[test]
fn a_reset_begins_a_new_conversation() {
    let gateway = Gateway::builder("reset").agent_scripted().spawn();
    let mut client = gateway.client();
    say(&mut client, "main", "[[say before]]");
    let old = client.ask("sessions-list", &json!({}))["sessions"][0]["sessionId"].clone();
    let answer = client.ask("session-reset", &json!({"sessionKey": "main"}));
    assert_eq!(answer["sessionKey"], "main");
    assert_ne!(answer["sessionId"], old);
    say(&mut client, "main", "[[say after]] [[argv]]");
    let list = client.ask("sessions-list", &json!({}));
    assert_eq!(list["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(list["sessions"][0]["sessionId"], answer["sessionId"]);
}

#[test]
fn forgetting_leaves_no_trace_on_the_disk() {
    let gateway = Gateway::builder("forget").agent_scripted().spawn();
    let mut client = gateway.client();
    let secret =
        json!({"message": "[[say hunter2 it is]]", "sessionKey": "dm:telegram:42", "idempotencyKey": "k"});
    assert_eq!(client.outcome(&secret)["payload"]["summary"], "hunter2 it is");
    say(&mut client, "main", "[[say ok]] something else entirely");
    let holds = |needle: &str| {
        let found = std::process::Command::new("grep")
            .args(["-rlF", needle])
            .arg(gateway.state_dir())
            .output()
            .unwrap();
        String::from_utf8(found.stdout).unwrap()
    };
    assert_ne!(holds("hunter2"), "", "the test would prove nothing");
    let answer = client.ask("session-forget", &json!({"sessionKey": "dm:telegram:42"}));
    assert_eq!(answer["sessionKey"], "dm:telegram:42");
    assert_eq!(holds("hunter2"), "", "files that still hold what was to be forgotten");
    assert_eq!(history(&mut client, "dm:telegram:42", 50), Vec::<Value>::new());
    assert_eq!(texts(&history(&mut client, "main", 50), "assistant"), ["ok"]);
    let gateway = gateway.restart();
    let mut client = gateway.client();
    assert_eq!(history(&mut client, "dm:telegram:42", 50), Vec::<Value>::new());
    // The key is still taken, so that a retry does not act again, but its answer is forgotten too.
    let request = client.send("agent", &secret);
    let answer = client.answer(&request);
    assert!(!answer.to_string().contains("hunter2"), "{answer}");
    assert_eq!(gateway.prompts().len(), 2);
}

#[test]
fn a_running_session_can_be_reset_and_forgotten() {
    let gateway = Gateway::builder("reset-running").agent_scripted().spawn();
    let mut client = gateway.client();
    for (method, hold) in [("session-reset", "a"), ("session-forget", "b")] {
        let run = client.run(&params_agent(&format!("[[hold {hold}]] [[say late]]"), hold));
        client.step_says(&run.id, &format!("holding {hold}"));
        let request = client.send(method, &json!({"sessionKey": "main"}));
        // It may end the run or wait for it, but both get their answer.
        gateway.release(hold);
        client.finish(&run);
        client.answer(&request);
        client.drain();
    }
    client.outcome(&params_agent("[[say next]]", "next"));
    let list = client.ask("sessions-list", &json!({}));
    assert_eq!(list["sessions"].as_array().unwrap().len(), 1, "{list}");
}

#[test]
fn the_record_survives_restart_and_kill() {
    let gateway = Gateway::builder("record-restart").agent_scripted().spawn();
    let mut client = gateway.client();
    say(&mut client, "main", "[[say one]]");
    say(&mut client, "other", "[[say two]]");
    let list = client.ask("sessions-list", &json!({}));
    let before = history(&mut client, "main", 50);
    let mut gateway = gateway.restart();
    let mut client = gateway.client();
    assert_eq!(client.ask("sessions-list", &json!({})), list);
    assert_eq!(history(&mut client, "main", 50), before);
    say(&mut client, "main", "[[say three]]");
    gateway.sigkill();
    let gateway = gateway.setup().spawn();
    let mut client = gateway.client();
    assert_eq!(texts(&history(&mut client, "main", 50), "assistant"), ["three", "one"]);
    assert!(history(&mut client, "main", 50).ends_with(&before));
}

#[test]
fn a_page_ends_early_rather_than_be_too_large() {
    let gateway = Gateway::builder("large-pages").agent_scripted().spawn();
    let mut client = gateway.client();
    for number in 0..6 {
        let last = say(&mut client, "main", &format!("[[flood 200 1000]] {number}"));
        assert_eq!(last["payload"]["summary"].as_str().unwrap().len(), 200_000);
        client.drain();
    }
    let page = client.ask("session-history", &json!({"sessionKey": "main", "limit": 200}));
    assert!(page.to_string().len() < PAYLOAD_BYTES_MAX);
    assert!(page["before"].is_string(), "six answers do not fit one frame");
    assert_eq!(texts(&history(&mut client, "main", 200), "assistant").len(), 6);
    // Characters that JSON escapes to six bytes each.
    let nasty = format!("[[say ok]] {}", "\u{1}".repeat(80_000));
    let params = json!({"message": nasty, "sessionKey": "nasty", "idempotencyKey": "nasty"});
    assert_eq!(client.outcome(&params)["ok"], true);
    let messages = history(&mut client, "nasty", 200);
    let question = messages.iter().find(|message| message["role"] == "user").unwrap();
    assert!(question["text"] == nasty || question["truncated"] == true);
}
