//! State folders that an older gateway left behind when it was killed, and what a newer one makes of them.
//!
//! `tests/golden/state-folder/` has three: of a gateway in the middle of everything, of one that was paused,
//! and of one that had opened a still older folder. Version 0.1.0 wrote them in November 2026; `record` has
//! what was done with it, and `answers.json` what that version itself made of them. They stay as they are:
//! whoever changes a format writes a further folder beside them, and the gateway goes on reading these.
//!
//! `CLAWDIS_TEST_DAEMON=PATH` holds another daemon to the same. `CLAWDIS_GOLDEN=record` makes the folders and
//! the answers anew, `CLAWDIS_GOLDEN=answers` the answers alone.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant, UNIX_EPOCH};
use std::{fs, thread};

use data_encoding::HEXLOWER;
use normal::Normal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::client::brief;
use crate::harness::{Client, Gateway, PATIENCE, params_agent, process};
use crate::telegram::botapi::{BotApi, Sent, TOKEN};
use crate::whatsapp::lab;

mod journal;
mod normal;
mod people;
mod record;

/// The newer gateway starts so long after the older one was killed.
const LATER_MS: u64 = 3_000;
/// How long nothing may change before its answers are written down.
const QUIET: Duration = Duration::from_secs(4);
/// Every kind of slot. A new kind is added here, and to a new folder; none is ever taken out.
const KINDS: [&str; 22] = [
    "allow/implied-owner",
    "allow/owners-by-name",
    "allow/telegram/",
    "allow/whatsapp/",
    "aside/telegram/",
    "forget/",
    "heartbeat",
    "inbox/telegram/ done",
    "inbox/telegram/ waiting",
    "inbox/whatsapp/ done",
    "inbox/whatsapp/ waiting",
    "key/agent/",
    "key/send/",
    "moved/telegram/",
    "note/",
    "outbox/N",
    "outbox/N/parts",
    "place/telegram/",
    "session/",
    "today",
    "toggles",
    "work-folder",
];

fn golden(name: &str) -> PathBuf {
    static RECORDED: Once = Once::new();
    let golden = process::repository("tests/golden/state-folder");
    if mode_is("record") {
        RECORDED.call_once(|| record::record(&golden));
    }
    golden.join(name)
}

fn mode_is(mode: &str) -> bool {
    std::env::var_os("CLAWDIS_GOLDEN").is_some_and(|found| found == mode)
}

fn is_writing() -> bool {
    mode_is("record") || mode_is("answers")
}

/// What a session's files are called.
fn file_name(session_key: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(session_key.as_bytes())[..20])
}

#[test]
fn the_older_folders_have_every_kind_of_slot() {
    let all = ["busy", "paused", "implied"].map(|name| journal::slots(&golden(name).join("folder")));
    let kinds: BTreeSet<String> =
        all.iter().flatten().map(|(slot, value)| journal::kind(slot, value)).collect();
    assert_eq!(kinds, KINDS.map(str::to_owned).into());
}

#[test]
fn a_newer_gateway_opens_an_older_folder() {
    let mut life = Life::begin("busy");
    let mut answers = json!({ "settled": life.settle() });
    answers["replays"] = life.replay(&[
        ("agent", "first-key", "main", "[[say I shall remember.]]"),
        ("agent", "first-key", "main", "Something else."),
        ("agent", "failed-key", "web:other", "[[die 3]]"),
        ("agent", "directive-key", "web:other", "/think low"),
        ("agent", "forgotten-key", "web:gone", "[[say A secret.]]"),
        ("agent", "running-key", "main", "[[hold main]]"),
        ("send", "sent-key", "telegram:8", "A word."),
        ("send", "refused-key", "telegram:999", "A word."),
        ("send", "trying-key", "telegram:-500", "Is it there?"),
        ("send", "name-key", "telegram:@news", "By name."),
        ("send", "waiting-key", "telegram:9", "Later."),
    ]);
    answers["afterwards"] = life.go_on();
    life.compare(answers);
}

#[test]
fn a_newer_gateway_keeps_the_owner_whom_an_older_one_implied() {
    let mut life = Life::begin("implied");
    let mut answers = json!({ "settled": life.settle() });
    life.api.with(|world| world.text(people::MEMBER, people::MEMBER, "[[say As before.]]"));
    answers["afterwards"] = life.settle_as("afterwards", Life::outside);
    life.compare(answers);
}

#[test]
fn a_newer_gateway_stays_paused_as_the_older_one_was() {
    let mut life = Life::begin("paused");
    let mut answers = json!({ "settled": life.settle() });
    answers["replays"] = life.replay(&[("agent", "first-key", "main", "[[say I shall remember.]]")]);
    life.compare(answers);
}

/// A newer gateway on a copy of an older folder, under the clock of that day.
struct Life {
    name: &'static str,
    gateway: Gateway,
    client: Client,
    api: BotApi,
    recorded: BTreeMap<String, Value>,
    normal: Normal,
    /// What a settled gateway is expected to say.
    golden: Value,
}

impl Life {
    #[track_caller]
    fn begin(name: &'static str) -> Self {
        let golden = golden(name);
        let read =
            |file: &str| serde_json::from_str(&fs::read_to_string(golden.join(file)).unwrap_or_default());
        let facts: Value = read("facts.json").unwrap();
        let started_ts = facts["killedTs"].as_u64().unwrap() + LATER_MS;
        let api = BotApi::start();
        people::prepare(&api);
        api.with(|world| {
            world.next_update = 80_000;
            // The pictures that messages name.
            for name in ["a", "b"] {
                world.file(&format!("photos/{name}.png"), b"\x89PNG\r\n\x1a\nthe same picture".to_vec());
            }
        });
        let now_ms = || u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        // Right after a recording.
        thread::sleep(Duration::from_millis(started_ts.saturating_sub(now_ms())));
        let ago_seconds = (now_ms() - started_ts) / 1_000;
        let setup = Gateway::builder(&format!("older-{name}"))
            .agent_scripted()
            .token("a-token-for-older-folders")
            .env("TELEGRAM_BOT_TOKEN", TOKEN)
            .env("CLAWDIS_TELEGRAM_API_BASE", &api.base())
            .env("LD_PRELOAD", &process::faketime())
            .env("FAKETIME", &format!("-{ago_seconds}s"))
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .config(people::config())
            .config(json!({"whatsapp": {"enabled": true, "sidecar": {"node": "/nowhere/node"}}}));
        let folder = setup.state_dir();
        record::copy(&golden.join("folder"), &folder, &|_| true);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let recorded = journal::slots(&folder);
        for name in ["main", "friend", "whatsapp", "stuck"] {
            fs::write(setup.scratch().join("probe").join(format!("release-{name}")), "").unwrap();
        }
        let gateway = setup.spawn();
        let mut client = gateway.client();
        client.expects_holes();
        let presence = client.ask("system-presence", &json!({}));
        let mut ids = presence.as_array().unwrap().iter().filter_map(|entry| entry["instanceId"].as_str());
        let normal = Normal {
            started_ts,
            started_at: facts["killedAt"].as_str().unwrap().to_owned(),
            boot_id: ids.find_map(|id| id.strip_prefix("gateway-")).unwrap().to_owned(),
            folder: gateway.setup().scratch().to_str().unwrap().to_owned(),
        };
        let golden = read("answers.json").unwrap_or_default();
        Self { name, gateway, client, api, recorded, normal, golden }
    }

    /// Everything that can be seen, once it is what is expected or nothing changes any more.
    fn settle(&mut self) -> Value {
        self.settle_as("settled", Self::observe)
    }

    fn settle_as(&mut self, stage: &str, look: fn(&mut Self) -> Value) -> Value {
        let began = Instant::now();
        let (mut last, mut since) = (look(self), Instant::now());
        loop {
            let is_over = if is_writing() { since.elapsed() > QUIET } else { self.is_expected(stage, &last) };
            if is_over || began.elapsed() > PATIENCE {
                return last;
            }
            thread::sleep(Duration::from_millis(50));
            let now = look(self);
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
    }

    fn is_expected(&self, stage: &str, seen: &Value) -> bool {
        self.golden[stage] == *seen || self.golden["afterwards"][stage] == *seen
    }

    fn observe(&mut self) -> Value {
        let journal = self.changes();
        let client = &mut self.client;
        let sessions = client.ask("sessions-list", &json!({}));
        let keys = sessions["sessions"].as_array().unwrap().iter();
        let keys: Vec<String> =
            keys.map(|session| session["sessionKey"].as_str().unwrap().to_owned()).collect();
        let histories: BTreeMap<String, Value> = keys
            .into_iter()
            .map(|key| {
                let page = client.ask("session-history", &json!({"sessionKey": key, "limit": 200}));
                (key, page)
            })
            .collect();
        let mut status = client.ask("status", &json!({}));
        // Whether there is a sidecar depends on where the daemon's program lies.
        status["health"]["channels"]["whatsapp"].take();
        let mut seen = json!({
            "journal": journal,
            "sessions": sessions,
            "histories": histories,
            "status": status,
            "presence": client.ask("system-presence", &json!({})),
            "outside": self.outside(),
        });
        self.normal.form(&mut seen);
        seen
    }

    /// What agents and people have got.
    fn outside(&mut self) -> Value {
        let mut prompts = self.gateway.prompts();
        prompts.sort();
        let folders = folders(&self.gateway.state_dir().join("agent"));
        let mut seen = json!({"prompts": prompts, "sent": self.sent(), "agentFolders": folders});
        self.normal.form(&mut seen);
        seen
    }

    /// What the journal says otherwise than the older one.
    fn changes(&self) -> Value {
        let now = journal::slots(&self.gateway.state_dir());
        let gone: Vec<&String> = self.recorded.keys().filter(|slot| !now.contains_key(*slot)).collect();
        let changed = now.iter().filter(|(slot, value)| self.recorded.get(*slot) != Some(value));
        let changed: BTreeMap<String, &Value> =
            changed.map(|(slot, value)| (self.name_of(slot, &now), value)).collect();
        json!({"gone": gone, "changed": changed})
    }

    /// A message that is new has its number by chance: it is called by its chat.
    fn name_of(&self, slot: &str, now: &BTreeMap<String, Value>) -> String {
        let head = slot.trim_end_matches("/parts");
        if !slot.starts_with("outbox/") || self.recorded.contains_key(head) {
            return slot.to_owned();
        }
        format!("outbox/new to {}{}", now[head]["route"]["chat"].as_str().unwrap(), &slot[head.len()..])
    }

    /// What people on Telegram got, by chat.
    fn sent(&self) -> Value {
        let shown = |sent: &Sent| {
            json!({
                "method": sent.method, "text": sent.text, "topic": sent.topic, "replyTo": sent.reply_to,
                "entities": sent.entities, "upload": sent.upload.as_ref().map(|upload| (&upload.name, upload.bytes.len())),
            })
        };
        self.api.with(|world| {
            let mut by_chat: BTreeMap<String, Vec<Value>> = BTreeMap::new();
            for sent in &world.sent {
                by_chat.entry(sent.chat.to_string()).or_default().push(shown(sent));
            }
            let offset =
                world.calls("getUpdates").first().and_then(|poll| poll.params.get("offset").cloned());
            json!({"offset": offset, "byChat": by_chat})
        })
    }

    /// Asks with keys of the older gateway.
    fn replay(&mut self, asked: &[(&str, &str, &str, &str)]) -> Value {
        let mut answers = Vec::new();
        for (method, key, whom, message) in asked {
            let mut params = params_agent(message, key);
            params[if *method == "agent" { "sessionKey" } else { "to" }] = json!(whom);
            let id = self.client.send(method, &params);
            let mut answer = self.client.answer(&id);
            answer.as_object_mut().unwrap().remove("id");
            answers.push(json!({"key": key, "answer": answer}));
        }
        let mut answers = json!(answers);
        self.normal.form(&mut answers);
        answers
    }

    /// The owner asks something, and people who were let in write.
    fn go_on(&mut self) -> Value {
        let mut argv = self.client.outcome(&params_agent("[[argv]]", "new-key"))["payload"]["summary"].take();
        self.normal.form(&mut argv);
        self.api.with(|world| {
            world.text(people::OWNER, people::OWNER, "[[say To the owner.]]");
            world.text(people::FRIEND, people::FRIEND, "[[say To a friend.]]");
            world.text(people::PARTY_NOW, people::MEMBER, "@clawdis_bot [[say To the party.]]");
            world.text(people::CHATTY, people::CHATTY, "[[say Never.]]");
        });
        let outside = self.settle_as("outside", Self::outside);
        // Only who was let in can be taken out, and what a person left behind goes with their session.
        let stranger = format!("+{}", lab::STRANGER);
        let taken_out = json!({"channel": "whatsapp", "id": stranger, "remove": true});
        let taken_out = self.client.ask("channel-allow", &taken_out);
        let asides = || {
            journal::slots(&self.gateway.state_dir()).into_keys().filter(|slot| slot.starts_with("aside/"))
        };
        let before: Vec<String> = asides().collect();
        self.client.ask("session-forget", &json!({"sessionKey": format!("dm:telegram:{}", people::FRIEND)}));
        let after: Vec<String> = asides().collect();
        json!({"argv": argv, "outside": outside, "takenOut": taken_out, "asides": [before, after]})
    }

    fn compare(self, answers: Value) {
        let said = self.gateway.output.both();
        assert!(!said.contains("not understood"), "{said}");
        let path = golden(self.name).join("answers.json");
        if is_writing() {
            fs::write(&path, serde_json::to_string_pretty(&answers).unwrap() + "\n").unwrap();
        }
        let golden: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let mut differences = Vec::new();
        differ(&golden, &answers, "", &mut differences);
        assert!(differences.is_empty(), "{}\n{said}", differences.join("\n"));
    }
}

/// Names of folders in a folder, with those of the files in them.
fn folders(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let inside = fs::read_dir(&path).unwrap().map(|file| file.unwrap().file_name());
        let mut inside: Vec<String> = inside.map(|name| name.to_str().unwrap().to_owned()).collect();
        inside.sort();
        found.push(format!("{}: {}", path.file_name().unwrap().to_str().unwrap(), inside.join(" ")));
    }
    found.sort();
    found
}

/// Where two values are not the same.
fn differ(golden: &Value, found: &Value, place: &str, differences: &mut Vec<String>) {
    match (golden, found) {
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                differ(&golden[name], &found[name], &format!("{place}/{name}"), differences);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (at, (one, other)) in one.iter().zip(other).enumerate() {
                differ(one, other, &format!("{place}/{at}"), differences);
            }
        }
        _ if golden == found => {}
        _ => differences.push(format!(
            "{place}\n  was {}\n  is  {}",
            brief(&golden.to_string()),
            brief(&found.to_string())
        )),
    }
}
