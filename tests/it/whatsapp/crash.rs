//! Gateway or sidecar killed at random moments while people write: each question is answered exactly
//! once, or it is on record that nobody knows.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::random::Random;
use crate::harness::{Client, eventually, process};
use crate::whatsapp::lab::{Lab, in_state, lid};

/// Kills, unless `CLAWDIS_SOAK_KILLS` says otherwise.
const KILLS: u64 = 20;
/// People who write.
const PEOPLE: [&str; 3] = ["15551000001", "15551000002", "15551000003"];
/// So long after the last kill comes the next, at most: during a start as well as behind it.
const LIFE_MS: u64 = 1_500;
/// How long nothing may come at the end while answers are missing. Not a time for all of them: one
/// message a second goes to a chat, and many kills leave many to be sent.
const SETTLE: Duration = Duration::from_secs(60);
/// What is said to whom was interrupted too often.
const GIVEN_UP: &str = "interrupted again and again";

/// A daemon whose agent names the keys of a prompt in its answer.
fn start() -> Lab {
    let people: Vec<String> = PEOPLE.iter().map(|person| format!("+{person}")).collect();
    let script = process::repository("tests/agents/counting.py");
    let lab = Lab::over("wa-killed", |setup| {
        let probe = setup.scratch().join("probe");
        setup
            .config(json!({
                "whatsapp": {"allowFrom": people},
                "agent": {"env": {"PROBE_DIR": probe}, "sandbox": "none", "dailyRuns": 100_000, "dailyRunsPerPerson": 100_000},
            }))
            .arg("--agent")
            .arg(&json!(["python3", script]).to_string())
    });
    lab.link();
    lab
}

#[test]
fn kills_at_random_moments_answer_each_question_once() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("CLAWDIS_SOAK_SEED").unwrap_or_else(|| {
        u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap_or(0)
    });
    let kills = number("CLAWDIS_SOAK_KILLS").unwrap_or(KILLS);
    println!("{kills} kills, CLAWDIS_SOAK_SEED={seed}");
    let mut random = Random(seed);
    let mut lab = start();
    let mut asked: Vec<(usize, String)> = Vec::new();
    for _ in 0..kills {
        for _ in 0..=random.below(3) {
            let person = usize::try_from(random.below(3)).unwrap();
            let key = format!("c{person}q{}", asked.len());
            lab.text(PEOPLE[person], &format!("[[key {key}]] [[slow {}]]", random.below(80)));
            asked.push((person, key));
        }
        // The one thing here that time decides: when something dies.
        thread::sleep(Duration::from_millis(random.below(LIFE_MS)));
        if random.below(2) == 0 {
            lab.crash();
        } else if let Some(pid) = lab.sidecar() {
            process::signal(pid, Signal::KILL);
        }
    }
    in_state(&mut lab.gateway.client(), "ready");
    let unknown = settle(&lab, &asked, seed);
    println!("{unknown} of {} answers of unknown outcome over {kills} kills", asked.len());
}

/// Waits until each question has its answer or a report; returns how many have only a report.
fn settle(lab: &Lab, asked: &[(usize, String)], seed: u64) -> usize {
    let mut client = lab.gateway.client();
    let texts = |person: usize| lab.mock.texts(&lid(PEOPLE[person]));
    let mut progress = (0, Instant::now());
    let unknown = eventually(
        "an answer to each question",
        SETTLE * u32::try_from(asked.len()).unwrap(),
        || {
            let mut unknown = 0;
            let arrived = (0..PEOPLE.len()).map(|person| texts(person).len()).sum::<usize>();
            if arrived > progress.0 {
                progress = (arrived, Instant::now());
            }
            for (person, number) in PEOPLE.iter().enumerate() {
                let texts = texts(person);
                let answered: BTreeSet<String> = texts.iter().flat_map(|text| keys_in(text)).collect();
                let keys = asked.iter().filter(|(of, _)| *of == person).map(|(_, key)| key);
                let left: Vec<&String> = keys.filter(|key| !answered.contains(*key)).collect();
                if left.is_empty() {
                    continue;
                }
                let messages = history(&mut client, number);
                let reported = reported(&messages);
                // Who is interrupted too often is told so.
                let given_up = texts.iter().filter(|text| text.contains(GIVEN_UP)).count();
                let open: Vec<&String> =
                    left.iter().filter(|key| !reported.contains(**key)).copied().collect();
                if open.len() > given_up {
                    let said = |message: &&Value| {
                        open.iter().any(|key| keys_in(message["text"].as_str().unwrap()).contains(*key))
                    };
                    assert!(
                        progress.1.elapsed() < SETTLE,
                        "CLAWDIS_SOAK_SEED={seed}: {number} never got {open:?}, {given_up} times told why; on record: {:#?}",
                        messages.iter().filter(said).collect::<Vec<_>>(),
                    );
                    thread::sleep(Duration::from_millis(100));
                    return None;
                }
                unknown += left.len();
            }
            Some(unknown)
        },
    );
    for (person, key) in asked {
        let texts = texts(*person);
        let times = texts.iter().flat_map(|text| keys_in(text)).filter(|found| found == key).count();
        assert!(times <= 1, "CLAWDIS_SOAK_SEED={seed}: {key} was answered {times} times: {texts:#?}");
    }
    for person in 0..PEOPLE.len() {
        let foreign: Vec<String> = texts(person)
            .iter()
            .flat_map(|text| keys_in(text))
            .filter(|key| !key.starts_with(&format!("c{person}q")))
            .collect();
        assert!(foreign.is_empty(), "CLAWDIS_SOAK_SEED={seed}: answers in the wrong chat: {foreign:?}");
    }
    unknown
}

/// All that is on record with a person, page by page.
fn history(client: &mut Client, person: &str) -> Vec<Value> {
    let mut messages = Vec::new();
    let mut params = json!({"sessionKey": format!("dm:whatsapp:+{person}"), "limit": 200});
    loop {
        let mut page = client.ask("session-history", &params);
        messages.append(page["messages"].as_array_mut().unwrap());
        match page["before"].as_str() {
            Some(before) => params["before"] = json!(before),
            None => return messages,
        }
    }
}

/// Keys of answers of which the history says that nobody knows whether they arrived.
fn reported(messages: &[Value]) -> BTreeSet<String> {
    let says =
        |note: &&Value| note["role"] == "note" && note["text"].as_str().unwrap().contains("outcome unknown");
    let notes = messages.iter().filter(says);
    let answers = notes.flat_map(|note| {
        messages.iter().filter(|entry| entry["role"] == "assistant" && entry["runId"] == note["runId"])
    });
    answers.filter_map(|entry| entry["text"].as_str()).flat_map(keys_in).collect()
}

fn keys_in(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .filter(|word| word.starts_with('c') && word.contains('q') && word.len() >= 4)
        .map(str::to_owned)
        .collect()
}
