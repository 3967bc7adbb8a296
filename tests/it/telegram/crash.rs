//! SIGKILL at random moments while people ask: each question is answered exactly once, or it is on
//! record that nobody knows.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::harness::gateway::Builder;
use crate::harness::random::Random;
use crate::harness::{Client, process};
use crate::telegram::botapi::{BotApi, Fault};
use crate::telegram::lab::{Lab, OWNER, without_agent};

/// Kills, unless `CLAWDIS_SOAK_KILLS` says otherwise.
const KILLS: u32 = 20;
/// Kills on one folder.
const KILLS_PER_FOLDER: u32 = 20;
const CHATS: i64 = 4;
const FIRST: i64 = 100;
/// A daemon lives so long, at most.
const LIFE_MS: u64 = 700;
/// What is said to whom was interrupted too often.
const GIVEN_UP: &str = "interrupted again and again";

/// A daemon whose agent notes every prompt and names the keys in its answer.
fn daemon(api: &BotApi) -> Builder {
    let setup = without_agent("chats-killed", api);
    let script = process::repository("tests/agents/counting.py");
    let people: Vec<String> = (FIRST..FIRST + CHATS).map(|id| id.to_string()).collect();
    let probe = setup.scratch().join("probe");
    setup
        .config(json!({
            "owner": {"telegram": OWNER.to_string()},
            "telegram": {"allowFrom": people},
            "agent": {"env": {"PROBE_DIR": probe}, "sandbox": "none", "dailyRuns": 100_000, "dailyRunsPerPerson": 100_000},
        }))
        .arg("--agent")
        .arg(&json!(["python3", script]).to_string())
}

#[test]
fn kills_at_random_moments_answer_each_question_once() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("CLAWDIS_SOAK_SEED").unwrap_or_else(|| {
        u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap_or(0)
    });
    let kills = number("CLAWDIS_SOAK_KILLS").map_or(KILLS, |kills| u32::try_from(kills).unwrap());
    println!("{kills} kills, CLAWDIS_SOAK_SEED={seed}");
    let mut random = Random(seed);
    let (mut done, mut unknown) = (0, 0);
    while done < kills {
        let here = KILLS_PER_FOLDER.min(kills - done);
        unknown += one_folder(here, &mut random, seed);
        done += here;
    }
    println!("{unknown} answers of unknown outcome over {kills} kills");
}

/// Some lives on one folder, each ended by a kill, and one that is left in peace. Returns how many
/// answers are reported as unknown.
fn one_folder(kills: u32, random: &mut Random, seed: u64) -> usize {
    let mut lab = Lab::over(BotApi::start(), daemon);
    let mut asked: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for _ in 0..kills {
        for _ in 0..2 + random.below(5) {
            let chat = FIRST + i64::try_from(random.below(CHATS.unsigned_abs())).unwrap();
            let questions = asked.entry(chat).or_default();
            let key = format!("c{chat}q{}", questions.len());
            lab.text(chat, chat, &format!("[[key {key}]] [[slow {}]]", random.below(80)));
            questions.push(key);
        }
        lab.api.with(|world| {
            world.heal();
            match random.below(6) {
                0 | 1 => world.fail("sendMessage", 1, Fault::ResetDone),
                2 => world.fail("getUpdates", 1, Fault::Hang),
                3 => world.fail("sendMessage", 1, Fault::Html(502)),
                4 => world.double_queue(),
                _ => {}
            }
        });
        // The one thing here that time decides: when the daemon dies.
        thread::sleep(Duration::from_millis(random.below(LIFE_MS)));
        lab.crash();
    }
    lab.api.with(crate::telegram::botapi::World::heal);
    settle(&lab, &asked, &format!("CLAWDIS_SOAK_SEED={seed}"))
}

/// What a chat's history says of answers that may not have arrived.
#[derive(Default)]
struct Reported {
    /// Keys of such answers.
    keys: BTreeSet<String>,
    /// Other messages of which nobody knows whether they arrived.
    others: usize,
}

/// Waits until every question has its answer or a report, and counts those of unknown outcome.
fn settle(lab: &Lab, asked: &BTreeMap<i64, Vec<String>>, what: &str) -> usize {
    let mut client = lab.gateway.client();
    lab.sync_with("[[key c0q0]]", "did c0q0");
    let mut open = Vec::new();
    let unknown = eventually_or(Duration::from_secs(60), || {
        open.clear();
        let mut unknown = 0;
        for (chat, keys) in asked {
            let reported = reported(&mut client, *chat);
            let texts = lab.api.with(|world| world.texts(*chat));
            let left = keys.iter().filter(|key| times(&texts, key) == 0 && !reported.keys.contains(*key));
            let left: Vec<&String> = left.collect();
            // Who is interrupted too often is told so, in a line that may itself be lost.
            let given_up = texts.iter().filter(|text| text.contains(GIVEN_UP)).count();
            if left.len() > given_up + reported.others {
                open.push(format!("chat {chat}: {left:?}, told {texts:#?}"));
            }
            unknown += reported.keys.len() + reported.others;
        }
        open.is_empty().then_some(unknown)
    });
    let unknown = unknown.unwrap_or_else(|| panic!("{what}: never answered: {open:#?}"));
    lab.api.with(|world| {
        for (chat, keys) in asked {
            let texts = world.texts(*chat);
            for key in keys {
                assert!(times(&texts, key) <= 1, "{what}: {key} was answered twice: {texts:#?}");
            }
            for text in &texts {
                let foreign = keys_in(text).into_iter().find(|key| !keys.contains(key));
                assert_eq!(foreign, None, "{what}: an answer in the wrong chat {chat}: {text:?}");
            }
        }
    });
    let questions: usize = asked.values().map(Vec::len).sum();
    assert!(unknown <= questions / 2, "{what}: {unknown} of {questions} answers are unknown");
    unknown
}

fn eventually_or<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        let found = look();
        if found.is_some() || Instant::now() > deadline {
            return found;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn reported(client: &mut Client, chat: i64) -> Reported {
    let params = json!({"sessionKey": format!("dm:telegram:{chat}"), "limit": 200});
    let page = client.ask("session-history", &params);
    let messages = page["messages"].as_array().unwrap();
    let mut reported = Reported::default();
    for note in messages.iter().filter(|entry| entry["role"] == "note") {
        if !note["text"].as_str().unwrap().contains("outcome unknown") {
            continue;
        }
        let same_run = |entry: &&Value| entry["role"] == "assistant" && entry["runId"] == note["runId"];
        let answers = messages.iter().filter(same_run).filter_map(|entry| entry["text"].as_str());
        let keys: Vec<String> = answers.flat_map(keys_in).collect();
        reported.others += usize::from(keys.is_empty());
        reported.keys.extend(keys);
    }
    reported
}

fn keys_in(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .filter(|word| word.starts_with('c') && word.contains('q') && word.len() >= 5)
        .map(str::to_owned)
        .collect()
}

fn times(texts: &[String], key: &str) -> usize {
    texts.iter().flat_map(|text| keys_in(text)).filter(|found| found == key).count()
}

#[test]
fn keys_are_found_in_answers() {
    assert_eq!(keys_in("did c100q0 and c101q12"), ["c100q0", "c101q12"]);
    assert!(keys_in("did quick checks").is_empty());
    assert_eq!(times(&["did c100q1".to_owned(), "c100q10 (c100q1)".to_owned()], "c100q1"), 2);
}
