//! A state folder that a real gateway left behind when it was killed in the middle of things, and
//! what is in it.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::gateway::Builder;
use crate::harness::{Gateway, PATIENCE, eventually, params_agent};
use crate::telegram::botapi::{BotApi, Fault, TOKEN};

pub(super) const OWNER: i64 = 7;
const FRIEND: i64 = 8;
const STRANGER: i64 = 66;
const CLUB: i64 = -500;

/// A file or folder, by its path below the state folder.
pub(super) struct Entry {
    pub(super) path: PathBuf,
    /// What is in it; `None` for a folder.
    pub(super) content: Option<Vec<u8>>,
}

/// How a daemon is started on a state folder of these.
pub(super) fn setup(api: &BotApi) -> Builder {
    Gateway::builder("fuzz-folder")
        .agent_echo()
        .env("TELEGRAM_BOT_TOKEN", TOKEN)
        .env("CLAWDIS_TELEGRAM_API_BASE", &api.base())
}

/// Lets a gateway do some of everything, kills it, and takes what is there.
pub(super) fn record(setup: Builder, api: &BotApi) -> Vec<Entry> {
    let folder = setup.state_dir();
    fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
    let config = json!({
        "owner": {"telegram": OWNER.to_string()},
        "telegram": {"allowFrom": [FRIEND.to_string()], "groups": {CLUB.to_string(): {"requireMention": false}}},
        "agent": {"maxProcesses": 2, "dailyRuns": 1_000, "sandbox": "none"},
        "heartbeat": {"everyMinutes": 30},
        "storage": {"maxMb": 64, "retentionDays": 90},
    });
    fs::write(folder.join("clawdis.json"), config.to_string()).unwrap();
    let mut gateway = setup.spawn();
    live(&gateway, api);
    gateway.sigkill();
    drop(gateway);
    api.with(|world| {
        world.heal();
        world.forget_queue();
    });
    leave_files_of_an_agent(&folder);
    let mut entries = Vec::new();
    collect(&folder, &folder, &mut entries);
    entries
}

fn live(gateway: &Gateway, api: &BotApi) {
    api.with(|world| [OWNER, FRIEND, STRANGER, CLUB].into_iter().for_each(|chat| world.open(chat)));
    let mut client = gateway.client();
    for session in ["main", "web:other", "dm:telegram:9"] {
        let mut params = params_agent("remember this", &format!("key-{session}"));
        params["sessionKey"] = json!(session);
        let run = client.run(&params);
        client.finish(&run);
    }
    client.ask("system-event", &json!({"text": "the lid was opened"}));
    client.ask("session-forget", &json!({"sessionKey": "web:other"}));
    api.with(|world| {
        world.text(STRANGER, STRANGER, "let me in");
        world.text(CLUB, FRIEND, "nobody in particular");
        world.text(OWNER, OWNER, "/think high");
        world.text(OWNER, OWNER, "what now?");
        let file = world.file("photos/a.png", b"\x89PNG\r\n\x1a\nnot much".to_vec());
        world.says(FRIEND, FRIEND, json!({"photo": [{"file_id": file, "width": 9, "height": 9}]}));
    });
    api.wait("the answers to two people", |world| {
        (world.texts(OWNER).len() > 1 && !world.texts(FRIEND).is_empty()).then_some(())
    });
    // What follows is still under way when it is killed.
    api.with(|world| world.fail("sendMessage", 100, Fault::RetryAfter(60)));
    client.send("send", &json!({"to": "telegram:8", "message": "later", "idempotencyKey": "letter"}));
    client.ask("set-paused", &json!({"paused": true}));
    api.with(|world| {
        world.text(OWNER, OWNER, "while paused");
        world.text(FRIEND, FRIEND, "me too");
    });
    eventually("the messages to be taken in", PATIENCE, || {
        client.drain();
        api.with(|world| world.unconfirmed().is_empty().then_some(()))
    });
}

/// What agents keep: conversations, a damaged one, files.
fn leave_files_of_an_agent(folder: &Path) {
    let header = json!({"type": "session", "version": 3, "id": "u", "cwd": "/"});
    let sessions: Vec<PathBuf> =
        fs::read_dir(folder.join("agent")).unwrap().map(|entry| entry.unwrap().path()).collect();
    for session in sessions {
        for name in ["a.jsonl", "b.jsonl.damaged-1"] {
            fs::write(session.join(name), format!("{header}\n{{\"type\":\"mess")).unwrap();
        }
        fs::create_dir_all(session.join("notes/deep")).unwrap();
        fs::write(session.join("notes/deep/x.txt"), "x").unwrap();
    }
    for name in ["media", "tmp", "whatsapp/login"] {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join(name)).unwrap();
    }
    fs::write(folder.join("whatsapp/login/creds.json"), "{}").unwrap();
    fs::write(folder.join("journal.damaged-1"), "once").unwrap();
}

fn collect(root: &Path, folder: &Path, entries: &mut Vec<Entry>) {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    // In the same order each time.
    paths.sort();
    for path in paths {
        let below = path.strip_prefix(root).unwrap().to_owned();
        if path.is_dir() {
            entries.push(Entry { path: below, content: None });
            collect(root, &path, entries);
        } else {
            let content = Some(fs::read(&path).unwrap());
            entries.push(Entry { path: below, content });
        }
    }
}

/// The lines of a file of records, without their checksums; `None` if it is no such file.
pub(super) fn records(content: &[u8]) -> Option<Vec<Value>> {
    let text = std::str::from_utf8(content).ok()?;
    text.lines().map(|line| serde_json::from_str(line.get(9..)?).ok()).collect()
}

/// A line for some JSON, or what is none, with the checksum that it should have.
pub(super) fn line(json: &str) -> String {
    let mut crc = flate2::Crc::new();
    crc.update(json.as_bytes());
    format!("{:08x} {json}\n", crc.sum())
}
