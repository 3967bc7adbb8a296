//! SIGKILL at random moments under load: nothing runs twice, nothing accepted is lost, and no
//! process outlives its daemon for long.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tungstenite::Message;

use crate::crash::facts::{key_of, keys_in};
use crate::crash::scenario;
use crate::harness::client::Received;
use crate::harness::gateway::Builder;
use crate::harness::random::Random;
use crate::harness::{Client, Gateway, PATIENCE, eventually, process};

/// Kills, unless `CLAWDIS_SOAK_KILLS` says otherwise.
const KILLS: u32 = 20;
/// Kills on one folder: keys live for minutes and there may be a thousand of them.
const KILLS_PER_FOLDER: u32 = 20;
const CLIENTS: u32 = 4;
const RUNS_PER_CLIENT: usize = 10;
const SESSIONS: u64 = 3;
/// A daemon lives so long under load, at most.
const LIFE_MS: u64 = 400;
/// Every process of a daemon is gone so soon after it.
const DESCENDANTS: Duration = Duration::from_secs(2);

/// What a client knows of a run.
#[derive(Debug, Clone, Default)]
struct Known {
    params: Value,
    acked: Option<String>,
    last: Option<Value>,
}

#[test]
fn kills_at_random_moments_lose_and_repeat_nothing() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("CLAWDIS_SOAK_SEED").unwrap_or_else(|| {
        u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap_or(0)
    });
    let kills = number("CLAWDIS_SOAK_KILLS").map_or(KILLS, |kills| u32::try_from(kills).unwrap());
    println!("{kills} kills, CLAWDIS_SOAK_SEED={seed}");
    let mut random = Random(seed);
    let (mut done, mut runs) = (0, 0);
    while done < kills {
        let kills_here = KILLS_PER_FOLDER.min(kills - done);
        runs += one_folder(kills_here, &mut random, seed);
        done += kills_here;
    }
    println!("{runs} runs over {kills} kills");
}

/// Some lives on one folder, each ended by a kill, and one that looks back. Returns the runs made.
fn one_folder(kills: u32, random: &mut Random, seed: u64) -> usize {
    let setup = scenario::daemon("killed");
    let mut all: BTreeMap<String, Known> = BTreeMap::new();
    let mut before: Vec<Known> = Vec::new();
    for life in 0..=kills {
        let mut gateway = setup.clone().spawn();
        let what = format!("CLAWDIS_SOAK_SEED={seed}, life {life}");
        for known in before.drain(..) {
            let known = look_back(&mut gateway.client(), known, &what);
            all.insert(key_of(&known.params), known);
        }
        if life < kills {
            before = load_and_kill(&mut gateway, life, random);
            no_descendants(&setup, &what);
        }
    }
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for key in
        crate::harness::gateway::prompts(&setup.scratch().join("probe")).iter().flat_map(|p| keys_in(p))
    {
        *counts.entry(key).or_default() += 1;
    }
    for (key, count) in &counts {
        assert_eq!(*count, 1, "CLAWDIS_SOAK_SEED={seed}: {key} was given to the agent {count} times");
    }
    all.len()
}

/// Asks with the same key again: what was accepted has its outcome, or nobody knows it.
fn look_back(client: &mut Client, mut known: Known, what: &str) -> Known {
    let answer = client.outcome(&known.params);
    let unknown = answer["error"]["details"]["outcome"] == "unknown";
    let ended = answer["payload"]["runId"].is_string();
    assert!(ended || unknown, "{what}: {known:?} and now {answer}");
    if let Some(last) = &known.last {
        assert_eq!(answer["payload"], last["payload"], "{what}: {known:?}");
    }
    if let (Some(acked), Some(run_id)) = (&known.acked, answer["payload"]["runId"].as_str()) {
        assert_eq!(acked, run_id, "{what}: it ran as another run");
    }
    known.last = Some(answer);
    known
}

/// Several clients ask without a pause until the daemon is killed.
fn load_and_kill(gateway: &mut Gateway, life: u32, random: &mut Random) -> Vec<Known> {
    let until = Duration::from_millis(1 + random.below(LIFE_MS));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (name, seed) = (format!("{life}-{client}"), random.below(u64::MAX));
            let client = gateway.client();
            thread::spawn(move || ask_until_it_dies(client, &name, Random(seed)))
        })
        .collect();
    // The one thing here that time decides: when the daemon dies.
    thread::sleep(until);
    gateway.sigkill();
    clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
}

fn ask_until_it_dies(mut client: Client, name: &str, mut random: Random) -> Vec<Known> {
    let mut runs: Vec<Known> = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let number = runs.len();
        let key = format!("{name}-{number}");
        let session = format!("s{}", random.below(SESSIONS));
        let message = format!("[[key {key}]] [[slow {}]]", random.below(60));
        let params = json!({"message": message, "sessionKey": session, "idempotencyKey": key});
        let request = json!({"type": "req", "id": format!("q{number}"), "method": "agent", "params": params});
        runs.push(Known { params, ..Known::default() });
        if client.try_send(Message::text(request.to_string())).is_err() {
            return runs;
        }
        // Some are waited for, some not; behind the last one comes only the end.
        let waits_for = match random.below(3) {
            _ if runs.len() == RUNS_PER_CLIENT => "the end",
            0 => "accepted",
            1 => "ok",
            _ => "",
        };
        let mut seen = waits_for.is_empty();
        while !seen {
            match client.receive(deadline) {
                Received::Frame(frame) => {
                    let mine = frame["id"] == *format!("q{number}");
                    seen = note(&mut runs, &frame) && mine && frame["payload"]["status"] == waits_for;
                }
                Received::End(_) => return runs,
                Received::Silence => panic!("waited {PATIENCE:?} in vain for an answer or the end"),
            }
        }
    }
}

/// Takes an answer in; `false` if it is something else.
fn note(runs: &mut [Known], frame: &Value) -> bool {
    let number = frame["id"].as_str().and_then(|id| id.strip_prefix('q')?.parse::<usize>().ok());
    let Some(known) = number.and_then(|number| runs.get_mut(number)) else { return false };
    if frame["payload"]["status"] == "accepted" {
        known.acked = frame["payload"]["runId"].as_str().map(str::to_owned);
    } else if frame["payload"]["runId"].is_string() {
        known.last = Some(frame.clone());
    }
    true
}

fn no_descendants(setup: &Builder, what: &str) {
    let probe = format!("PROBE_DIR={}", setup.scratch().join("probe").display());
    eventually(&format!("{what}: the agents' end"), DESCENDANTS, || {
        process::with_environment(&probe).is_empty().then_some(())
    });
}
