//! The token stays where it belongs, whatever happens around it.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::harness::process;
use crate::telegram::botapi::{Fault, TOKEN};
use crate::telegram::lab::{FRIEND, Lab, OWNER, in_state};

/// The part behind the colon, which is the secret.
fn secret() -> &'static str {
    TOKEN.split_once(':').unwrap().1
}

fn files_with(folder: &Path, needle: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_with(&path, needle, found);
        } else if let Ok(bytes) = fs::read(&path) {
            if String::from_utf8_lossy(&bytes).contains(needle) {
                found.push(path.display().to_string());
            }
        }
    }
}

#[test]
fn the_token_is_nowhere() {
    let mut lab = Lab::with("canary", |setup| setup.env("RUST_LOG", "trace"));
    let mut client = lab.gateway.client();
    in_state(&mut client, "ready");
    // Everything that makes a client talk about its requests.
    let photo = lab.api.with(|world| world.file("photos/x.png", b"\x89PNG\r\n\x1a\n".to_vec()));
    let photo = json!([{"file_id": photo, "file_unique_id": "a", "width": 1, "height": 1, "file_size": 8}]);
    lab.api.with(|world| {
        world.fail("file", 1, Fault::Html(500));
        world.says(FRIEND, FRIEND, json!({"photo": photo, "caption": "[[say photo]]"}));
        world.fail("getUpdates", 1, Fault::Html(502));
        world.fail("getUpdates", 1, Fault::Body("garbage".to_owned()));
        world.fail("sendMessage", 1, Fault::Redirect(format!("http://127.0.0.1:1/bot{TOKEN}/sendMessage")));
        let echo = "Bad Request: no";
        world.fail("sendMessage", 1, Fault::Error(400, echo));
    });
    lab.owner("[[env]]");
    lab.text(FRIEND, FRIEND, "[[sh tr '\\0' '\\n' < /proc/$PPID/cmdline]]");
    lab.sync();
    for (key, fault) in [("a", Fault::ResetRead), ("b", Fault::Hang)] {
        lab.api.with(|world| world.fail("sendMessage", 1, fault));
        client.send("send", &json!({"to": FRIEND.to_string(), "message": "x", "idempotencyKey": key}));
    }
    lab.api.down();
    in_state(&mut client, "unreachable");
    lab.api.up();
    in_state(&mut client, "ready");
    lab.api.with(|world| world.fail("*", usize::MAX, Fault::Error(401, "Unauthorized")));
    lab.owner("[[say ends the poll under way]]");
    in_state(&mut client, "unauthorized");

    let frames: String = client.drain().iter().map(ToString::to_string).collect();
    assert!(!frames.contains(secret()), "in a frame");
    for method in ["status", "health", "sessions-list"] {
        assert!(!client.ask(method, &json!({})).to_string().contains(secret()), "in {method}");
    }
    let log = lab.gateway.output.both();
    assert!(log.contains(" DEBUG "), "RUST_LOG is not in force:\n{log}");
    assert!(!log.contains(secret()), "in the log");
    let agents = process::with_environment(&format!("PROBE_DIR={}", lab.gateway.probe().display()));
    assert!(!agents.is_empty(), "no agent is alive to be looked at");
    for pid in agents {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&environment).contains(secret()), "in the environment of a child");
    }
    let command = fs::read(format!("/proc/{}/cmdline", lab.gateway.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&command).contains(secret()), "in the process list");
    let mut found = Vec::new();
    files_with(&lab.gateway.state_dir(), secret(), &mut found);
    files_with(&lab.gateway.probe(), secret(), &mut found);
    assert!(found.is_empty(), "in {found:?}");
    let sent = lab.api.with(|world| format!("{:?}", world.sent));
    assert!(
        sent.contains("PATH") && !sent.contains(secret()),
        "in a chat, or no environment was shown: {sent}"
    );
    assert!(lab.api.with(|world| !world.texts(OWNER).is_empty()));
}
