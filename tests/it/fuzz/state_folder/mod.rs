//! State folders that are not as we left them. A gateway that is started on one serves, or says in a
//! sentence why not and ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clawdis_gateway::protocol::call::SessionHistoryParams;
use clawdis_gateway::store::history::page;
use clawdis_gateway::store::{Janitor, Layout, Store, folder};
use serde_json::{Value, json};

use crate::fuzz::campaign::Campaign;
use crate::fuzz::mutate::{index, one_in};
use crate::harness::Gateway;
use crate::harness::gateway::{Builder, Exit};
use crate::harness::random::Random;
use crate::harness::raw::{Raw, TEXT};
use crate::telegram::botapi::BotApi;

mod damage;
mod seed;

use damage::{Damage, clear};

/// What a gateway may allocate, stacks included; beyond it the kernel refuses and it would abort.
const DATA_KB_MAX: u64 = 100 * 1024;
/// How long a gateway that was told to end may take.
const END: Duration = Duration::from_secs(10);

#[test]
fn a_gateway_serves_on_any_folder_or_says_why_not() {
    let Some(mut campaign) = Campaign::start("state_folder") else { return };
    let api = BotApi::start();
    let setup = seed::setup(&api);
    let damage = Damage::new(seed::record(setup.clone(), &api));
    let parent = Place::new();
    let place = parent.folder();
    campaign.until(25);
    while let Some(mut random) = campaign.next() {
        let done = damage.lay(&place, &mut random);
        campaign.note(done.as_bytes());
        open(&place, &mut random);
        clear(&place);
    }
    campaign.until(100);
    let limit = format!("ulimit -d {DATA_KB_MAX}; exec \"$@\"");
    let setup = setup.in_state_dir(&place).wrapper(["sh", "-c", &limit, "sh"]);
    while let Some(mut random) = campaign.next() {
        let mut done = damage.lay(&place, &mut random);
        for _ in 0..index(&mut random, 4) {
            done += &damage.strike(&place, &mut random);
        }
        campaign.note(done.as_bytes());
        start(setup.clone(), &mut random);
        clear(&place);
        api.with(|world| {
            world.forget_queue();
            world.requests.clear();
            world.sent.clear();
            world.violations.clear();
        });
    }
}

/// The store alone: it opens, or says why not, and pages of what is there can be read.
fn open(place: &Path, random: &mut Random) {
    folder::make_private(place).unwrap();
    let layout = Layout::new(place);
    let opened = Store::open(Janitor::new(layout.clone(), 1 << random.below(40)));
    if let Err(error) = &opened {
        assert!(!error.to_string().is_empty());
    }
    let before = [None, Some(0), Some(100), Some(u64::MAX)][index(random, 4)].map(|at| at.to_string());
    let params = SessionHistoryParams { session_key: "main".to_owned(), limit: Some(3), before };
    let _ = page(&layout, &params);
}

fn start(setup: Builder, random: &mut Random) {
    match setup.try_spawn() {
        Err(exit) => check_exit(&exit),
        Ok(mut gateway) => {
            live(&gateway, random);
            gateway.sigterm();
            let status = gateway.wait_exit(END);
            let said = gateway.output.both();
            assert_eq!(status.code(), Some(0), "{said}");
            check_words(&said);
        }
    }
}

/// It gave up for a reason that a person can act on.
fn check_exit(exit: &Exit) {
    let said = &exit.text;
    assert!(matches!(exit.code, Some(1 | 2)), "it ended with {:?}:\n{said}", exit.code);
    let (_, errors) = said.split_once("--- stderr").unwrap();
    let sentence = errors.lines().find_map(|line| line.strip_prefix("clawdis-gateway: "));
    assert!(sentence.is_some_and(|sentence| sentence.len() > 10), "no sentence:\n{said}");
    check_words(said);
}

fn check_words(said: &str) {
    for word in ["panicked", "overflowed", "not everything ended in time"] {
        assert!(!said.contains(word), "{word}:\n{said}");
    }
}

/// Somebody looks at everything, and now and then has something done. What odd records become is not
/// held against the schemas: whoever wrote them has seen to their checksums.
fn live(gateway: &Gateway, random: &mut Random) {
    let mut client = gateway.upgraded();
    client.send(TEXT, gateway.hello().to_string().as_bytes());
    let hello = next(&mut client);
    if hello["type"] == "hello-error" {
        // The config has got a token, or a version that we do not have.
        return;
    }
    assert_eq!(hello["type"], "hello-ok", "{hello}");
    let sessions = ask(&mut client, "sessions-list", &json!({}));
    let sessions = sessions["payload"]["sessions"].as_array().cloned().unwrap_or_default();
    for session in sessions.iter().take(5) {
        ask(&mut client, "session-history", &json!({"sessionKey": session["sessionKey"], "limit": 5}));
    }
    ask(&mut client, "status", &json!({}));
    if one_in(random, 3) {
        ask(&mut client, "set-paused", &json!({"paused": false}));
        let params = json!({"message": "still there?", "sessionKey": "main", "idempotencyKey": "again"});
        let first = ask(&mut client, "agent", &params);
        if first["payload"]["status"] == "accepted" {
            answer(&mut client, "agent");
        }
    }
    if one_in(random, 3) {
        ask(&mut client, "session-forget", &json!({"sessionKey": "main"}));
    }
}

/// The first answer, good or bad.
fn ask(client: &mut Raw, method: &str, params: &Value) -> Value {
    let request = json!({"type": "req", "id": method, "method": method, "params": params});
    client.send(TEXT, request.to_string().as_bytes());
    answer(client, method)
}

fn answer(client: &mut Raw, id: &str) -> Value {
    loop {
        let frame = next(client);
        if frame["type"] == "res" && frame["id"] == id {
            return frame;
        }
    }
}

fn next(client: &mut Raw) -> Value {
    let frame = client.frame().expect("a frame and not the end");
    assert_eq!(frame.first & 0xf, TEXT, "no text frame: {frame:?}");
    serde_json::from_slice(&frame.payload).expect("a frame of ours is JSON")
}

/// Where the damaged folder lies: in memory, if there is such a place. Removed in the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = parent.join(format!("clawdis-fuzz-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn folder(&self) -> PathBuf {
        self.0.join("damaged")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        clear(&self.0);
    }
}
