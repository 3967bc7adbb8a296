//! Makes the folders: a gateway between people on Telegram and WhatsApp that is killed twice, once when it
//! is paused and once in the middle of everything.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use super::journal;
use super::people::{MEMBER, config, prepare};
use crate::harness::{Client, Gateway, PATIENCE, eventually, params_agent, process};
use crate::telegram::botapi::{BotApi, Fault, TOKEN};
use crate::whatsapp::lab::Lab;

mod busy;
mod quiet;

/// Where it lives meanwhile: its history names files in there.
const PLACE: &str = "/tmp/clawdis-recorded";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot much of a picture";

/// A gateway between two messengers, and somebody at its own page.
struct Scene {
    client: Client,
    lab: Lab,
    api: BotApi,
}

/// Makes the folders below `golden`. Takes two minutes: the heartbeat is the slowest.
pub(super) fn record(golden: &Path) {
    let _ = fs::remove_dir_all(PLACE);
    let api = BotApi::start();
    prepare(&api);
    let lab = Lab::over("recorded", |setup| {
        setup
            .in_state_dir(Path::new(PLACE))
            .agent_scripted()
            .env("TELEGRAM_BOT_TOKEN", TOKEN)
            .env("CLAWDIS_TELEGRAM_API_BASE", &api.base())
            .config(config())
            .config(json!({"heartbeat": {"everyMinutes": 1, "channel": "telegram"}}))
    });
    lab.link();
    let mut scene = Scene { client: lab.gateway.client(), lab, api };
    scene.quiet_day();
    scene.lab.gateway.sigkill();
    keep(golden, "paused");
    scene.api.with(crate::telegram::botapi::World::heal);
    scene.lab.gateway = scene.lab.gateway.setup().spawn();
    scene.client = scene.lab.gateway.client();
    scene.client.expects_holes();
    scene.busy_day();
    scene.lab.gateway.sigkill();
    keep(golden, "busy");
    fs::remove_dir_all(PLACE).unwrap();
    open_older_one(golden);
    fs::remove_dir_all(PLACE).unwrap();
}

impl Scene {
    /// Somebody writes on Telegram.
    fn says(&self, chat: i64, from: i64, more: Value) {
        self.api.with(|world| world.says(chat, from, more));
    }

    fn text(&self, chat: i64, from: i64, text: &str) {
        self.says(chat, from, json!({ "text": text }));
    }

    /// Waits until a chat on Telegram has got words.
    fn said(&self, chat: i64, text: &str) {
        self.api.wait_within(text, 5 * PATIENCE, |world| {
            world.texts(chat).iter().any(|said| said.contains(text)).then_some(())
        });
    }

    /// Somebody writes, and is answered.
    fn talk(&self, chat: i64, from: i64, text: &str, answer: &str) {
        self.text(chat, from, text);
        self.said(chat, answer);
    }

    /// A picture on the server, as a message has it.
    fn photo(&self, name: &str) -> Value {
        let file = self.api.with(|world| world.file(&format!("photos/{name}.png"), PNG.to_vec()));
        json!([{"file_id": file, "file_unique_id": name, "width": 9, "height": 9, "file_size": PNG.len()}])
    }

    /// Nothing reaches a chat any more.
    fn breaks(&self, chat: i64) {
        let fault = Fault::Error(500, "Internal Server Error");
        self.api.with(|world| world.fail_in(chat, "sendMessage", 1_000, fault));
    }

    /// Asks the agent and waits for the end.
    fn asks(&mut self, session: &str, message: &str, key: &str) {
        let mut params = params_agent(message, key);
        params["sessionKey"] = json!(session);
        self.client.outcome(&params);
    }

    /// Asks the agent and does not wait.
    fn begins(&mut self, session: &str, message: &str, key: &str) {
        let mut params = params_agent(message, key);
        params["sessionKey"] = json!(session);
        self.client.run(&params);
    }

    /// Sends and does not wait; returns the request's id.
    fn sends(&mut self, to: &str, message: &str, key: &str) -> String {
        self.client.send("send", &json!({"to": to, "message": message, "idempotencyKey": key}))
    }

    /// The same with a picture.
    fn sends_file(&mut self, to: &str, url: &str, key: &str) -> String {
        let params = json!({"to": to, "message": "A word.", "idempotencyKey": key, "mediaUrl": url});
        self.client.send("send", &params)
    }
}

/// Waits for a slot for which `wanted` says yes.
fn slot(what: &str, wanted: impl Fn(&str, &Value) -> bool) {
    eventually(what, PATIENCE, || {
        journal::slots(Path::new(PLACE)).iter().any(|(name, value)| wanted(name, value)).then_some(())
    });
}

/// A folder from before owners were only made by name, once it has been opened: whoever was alone is the owner.
fn open_older_one(golden: &Path) {
    fs::DirBuilder::new().mode(0o700).create(PLACE).unwrap();
    let put = |slot: &str, value: Value| json!({"put": {"slot": slot, "value": value}});
    let lines = [
        json!({"journal": 1}),
        put("work-folder", json!(true)),
        put(&format!("allow/telegram/{MEMBER}"), json!({"owner": false})),
    ];
    let lines: String = lines.iter().map(journal::line).collect();
    fs::write(Path::new(PLACE).join("journal"), lines).unwrap();
    let mut gateway = Gateway::builder("recorded").in_state_dir(Path::new(PLACE)).spawn();
    eventually("the owner's slot", PATIENCE, || {
        journal::slots(Path::new(PLACE)).contains_key("allow/implied-owner").then_some(())
    });
    gateway.sigkill();
    keep(golden, "implied");
}

/// Keeps a copy of what lies there.
fn keep(golden: &Path, name: &str) {
    let kept = golden.join(name);
    let _ = fs::remove_dir_all(&kept);
    copy(Path::new(PLACE), &kept.join("folder"), &|below| {
        ["journal", "sessions", "media", "agent"].iter().any(|kept| below.starts_with(kept))
    });
    leave_a_conversation(&kept.join("folder"));
    let ts = u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let at = process::run("date", &["-u", "+%FT%TZ"]).stdout;
    let facts = json!({"killedTs": ts, "killedAt": String::from_utf8(at).unwrap().trim_end()});
    fs::write(kept.join("facts.json"), facts.to_string() + "\n").unwrap();
}

/// What Pi would have left of the owner's conversation.
fn leave_a_conversation(folder: &Path) {
    let header = json!({"type": "session", "version": 3, "id": "u", "cwd": "/"});
    let key: PathBuf = folder.join("agent").join(super::file_name("main"));
    let slots = journal::slots(folder);
    let Some(session) = slots.get("session/main").and_then(|session| session["id"].as_str()) else { return };
    fs::create_dir_all(&key).unwrap();
    fs::write(key.join(format!("{session}.jsonl")), format!("{header}\n")).unwrap();
}

/// Copies files, and no folder without any.
pub(super) fn copy(from: &Path, to: &Path, wanted: &dyn Fn(&Path) -> bool) {
    let mut left = vec![PathBuf::new()];
    while let Some(below) = left.pop() {
        for entry in fs::read_dir(from.join(&below)).unwrap() {
            let entry = entry.unwrap();
            let below = below.join(entry.file_name());
            if !wanted(&below) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                left.push(below);
            } else {
                fs::create_dir_all(to.join(&below).parent().unwrap()).unwrap();
                fs::write(to.join(&below), fs::read(entry.path()).unwrap()).unwrap();
            }
        }
    }
}
