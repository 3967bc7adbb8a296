//! A disk without room: what is said of it, what is served meanwhile, and that it is left behind.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::harness::{Builder, Gateway, PATIENCE, eventually, http, params_agent, process};

/// A gateway whose state folder is a file system of its own, made with these options; `before` is a
/// script that runs there before the gateway starts, which is its `"$@"`.
fn on_a_small_disk(setup: Builder, options: &str, before: &str) -> Builder {
    let state = setup.state_dir();
    fs::create_dir_all(&state).unwrap();
    let state = state.display();
    let script = format!(
        "mount -t tmpfs -o {options},mode=0700 tmpfs '{state}' && cd '{state}' && {before}; exec \"$@\""
    );
    let mut wrapper = process::mount_namespace();
    wrapper.extend(["sh", "-c", &script, "sh"].map(str::to_owned));
    setup.wrapper(wrapper.iter().map(String::as_str))
}

/// The daemon's view of its folder, which is another one than ours.
fn inside(gateway: &Gateway) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{}", gateway.pid(), gateway.state_dir().display()))
}

#[test]
fn a_full_disk_is_said_and_left_behind() {
    let setup = Gateway::builder("disk-full").agent_scripted();
    let gateway = on_a_small_disk(setup, "size=256k", "true").spawn();
    let mut client = gateway.client();
    client.outcome(&params_agent("[[say before]]", "before"));

    let filler = inside(&gateway).join("filler");
    let _ = fs::write(&filler, vec![0; 300 * 1024]);
    // The last block of a file has room for a few records more, so not the first one need fail.
    let mut number = 0;
    let error = eventually("a refusal", PATIENCE, || {
        number += 1;
        let id = client
            .send("agent", &params_agent(&format!("[[say full {number}!]]"), &format!("full-{number}")));
        let answer = client.answer(&id);
        (answer["ok"] == false && answer["payload"].is_null()).then_some(answer["error"].clone())
    });
    assert_eq!(error["code"], "UNAVAILABLE", "{error}");
    let text = error["message"].as_str().unwrap();
    assert!(text.contains("disk") || text.contains("space") || text.contains("state folder"), "{text}");
    let needle = format!("full {number}!");
    assert!(gateway.prompts().iter().all(|prompt| !prompt.contains(&needle)), "nothing was started on it");
    let health = eventually("health to say so", PATIENCE, || {
        let health = client.ask("health", &json!({}));
        (health["storage"]["ok"] == false).then_some(health)
    });
    assert_eq!(health["ok"], false);
    assert!(health["storage"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{health}");
    assert_eq!(http::request(gateway.addr, "GET", "/readyz", "").status, 503);

    fs::remove_file(&filler).unwrap();
    eventually("work to go on once there is space", PATIENCE, || {
        let last = client.outcome(&params_agent("[[say after]]", "after"));
        (last["ok"] == true).then_some(())
    });
    eventually("health to be good again", PATIENCE, || {
        (client.ask("health", &json!({}))["ok"] == true).then_some(())
    });
}

/// Uses up what a file system has left: its bytes, or its files but for so many.
const FILL_BYTES: &str = "head -c 1000000 /dev/zero > filler 2> /dev/null";

fn fill_files(left: usize) -> String {
    let take = "while : > filler-$n; do n=$((n+1)); done";
    let give = format!("for back in $(seq {left}); do rm filler-$((n-back)); done");
    // The one that could not be made would end the shell.
    format!("n=$(n=0; ({take}) 2> /dev/null; ls | grep -c filler-); {give}")
}

#[test]
fn a_fresh_folder_without_room_is_said_and_nothing_half_made_is_in_the_way_later() {
    let mut fillers = vec![("size=64k".to_owned(), FILL_BYTES.to_owned())];
    // At each of the files and folders that a start makes.
    fillers.extend((0..=4).map(|left| ("size=1m,nr_inodes=30".to_owned(), fill_files(left))));
    for (options, fill) in fillers {
        let setup = Gateway::builder("full-fresh").agent_echo();
        let state = setup.state_dir().display().to_string();
        let twice = format!("{fill}; \"$@\"; echo \"ended with $?.\" >&2; rm filler*");
        let gateway = on_a_small_disk(setup, &options, &twice).spawn();
        gateway.output.wait_for("ended with 1.", PATIENCE);
        let said = gateway.output.err();
        assert!(said.contains(&state) && said.contains("No space left on device"), "{fill}: {said}");
        assert!(!said.contains("panicked"), "{fill}: {said}");
        let mut client = gateway.client();
        assert_eq!(client.outcome(&params_agent("hello", "k"))["ok"], true, "{fill}");
        assert_eq!(client.ask("health", &json!({}))["ok"], true, "{fill}");
    }
}

#[test]
fn a_folder_without_room_at_the_start_is_served_as_far_as_that_goes() {
    let seed = Gateway::builder("full-seed").agent_scripted().spawn();
    let known = params_agent("[[say before]]", "before");
    let last = seed.client().outcome(&known);
    assert_eq!(last["ok"], true);
    let setup = seed.setup();
    let copy = format!("cp -a '{}'/. .", setup.scratch().join("seed").display());
    fs::rename(setup.state_dir(), setup.scratch().join("seed")).unwrap();
    drop(seed);
    for (options, fill, advice) in [
        ("size=256k", FILL_BYTES.to_owned(), "free some space"),
        ("size=1m,nr_inodes=30", fill_files(0), "no room for further files"),
    ] {
        let gateway = on_a_small_disk(setup.clone(), options, &format!("{copy}; {fill}")).spawn();
        let mut client = gateway.client();
        let page = client.ask("session-history", &json!({"sessionKey": "main"}));
        assert!(page.to_string().contains("before"), "{options}: {page}");
        assert_eq!(client.outcome(&known)["payload"], last["payload"], "{options}: what is on record holds");
        // The last block of a file has room for a few records more, so not the first one need fail.
        let mut answered = Vec::new();
        let error = eventually("a refusal", PATIENCE, || {
            let name = format!("full-{}", answered.len());
            let mut params = params_agent(&format!("[[say {name}!]]"), &name);
            params["sessionKey"] = json!(name);
            let answer = client.outcome(&params);
            let error = (answer["ok"] == false).then(|| answer["error"].clone());
            answered.push((params, answer));
            error
        });
        assert_eq!((&error["code"], &error["retryable"]), (&json!("UNAVAILABLE"), &json!(true)), "{error}");
        answered.pop();
        let reason = eventually("health to say so", PATIENCE, || {
            client.ask("health", &json!({}))["storage"]["reason"].as_str().map(str::to_owned)
        });
        assert!(reason.contains(advice), "{options}: {reason}");
        let inside = inside(&gateway);
        for entry in fs::read_dir(&inside).unwrap().map(Result::unwrap) {
            if entry.file_name().to_string_lossy().starts_with("filler") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        eventually("health to be good again", PATIENCE, || {
            (client.ask("health", &json!({}))["ok"] == true).then_some(())
        });
        assert_eq!(client.outcome(&params_agent("[[say after]]", "after"))["ok"], true, "{options}");
        // What was accepted while there was no room is on record, and each key has its outcome.
        for (params, answer) in answered {
            assert_eq!(client.outcome(&params)["payload"], answer["payload"], "{options}");
            let history = client.ask("session-history", &json!({"sessionKey": params["sessionKey"]}));
            assert!(
                history.to_string().contains(params["message"].as_str().unwrap()),
                "{options}: {history}"
            );
        }
    }
}
