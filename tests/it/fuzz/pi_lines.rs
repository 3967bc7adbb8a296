//! Lines of an agent that has lost its mind: recorded conversations of Pi, mutated.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clawdis_gateway::agent;
use clawdis_gateway::limits::SUMMARY_BYTES_MAX;
use serde_json::{Value, json};

use crate::fuzz::campaign::Campaign;
use crate::fuzz::golden::WORDS;
use crate::fuzz::json;
use crate::fuzz::mutate::{Mutator, index, one_in, pick};
use crate::fuzz::relay::{Child, Relay};
use crate::fuzz::watch::Watch;
use crate::harness::client::{Run, text_of};
use crate::harness::random::Random;
use crate::harness::{Client, Gateway, params_agent, process};

/// Longest line here; the gateway takes far longer ones.
const LINE_BYTES_MAX: usize = 256 * 1024;
/// Lines of one run.
const LINES_MAX: usize = 60;
/// Runs at a time, each in a session of its own.
const RUNS: usize = 4;
/// Runs of one daemon: it keeps the key of each for minutes, and has room for so many.
const RUNS_OF_ONE_MAX: usize = 400;
/// An agent that is told nothing for so long ends.
const QUIET: Duration = Duration::from_millis(400);

/// Recorded conversations, with mistakes.
struct Conversations {
    recorded: Vec<Vec<String>>,
    values: Vec<Value>,
    bytes: Mutator,
}

impl Conversations {
    fn new() -> Self {
        let mut recorded = vec![refusals()];
        for entry in fs::read_dir(process::repository("tests/fixtures/pi")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "jsonl") {
                recorded.push(lines(&fs::read_to_string(path).unwrap()));
            }
        }
        recorded.retain(|lines| !lines.is_empty());
        // Directories list in any order, and the same seed is to mean the same lines.
        recorded.sort();
        let all = || recorded.iter().flatten();
        let values = all().map(|line| serde_json::from_str(line).unwrap()).collect();
        let bytes =
            Mutator::new(all().map(|line| line.clone().into_bytes()).collect(), WORDS, LINE_BYTES_MAX);
        Self { recorded, values, bytes }
    }

    /// A piece of one, with a few lines changed, missing, repeated or cut off.
    fn piece(&self, random: &mut Random) -> Vec<u8> {
        let lines = pick(random, &self.recorded);
        let from = index(random, lines.len());
        let rate = *pick(random, &[2, 4, 16, 64]);
        let mut piece = Vec::new();
        for line in lines[from..].iter().take(1 + index(random, LINES_MAX)) {
            let line = if one_in(random, rate) { self.line(line, random) } else { line.clone().into_bytes() };
            let times = if one_in(random, 24) { index(random, 4) } else { 1 };
            for _ in 0..times {
                piece.extend_from_slice(&line);
                piece.push(b'\n');
            }
        }
        if one_in(random, 24) {
            piece.truncate(index(random, piece.len()));
        }
        piece
    }

    /// The line, or another one, with mistakes. Few of them end the conversation at once.
    fn line(&self, line: &str, random: &mut Random) -> Vec<u8> {
        match random.below(8) {
            0 => self.bytes.mutate(line.as_bytes().to_vec(), random),
            1 => json::text(pick(random, &self.values)).into_bytes(),
            _ => {
                let value = serde_json::from_str(line).unwrap();
                json::mutated(value, &self.values, random).into_bytes()
            }
        }
    }
}

/// What was written in a trace.
fn lines(trace: &str) -> Vec<String> {
    let entries = trace.lines().map(|entry| serde_json::from_str::<Value>(entry).unwrap());
    let written = entries.filter(|entry| entry["d"] == "out");
    written
        .map(|entry| entry["s"].as_str().unwrap().to_owned())
        .filter(|line| line.starts_with('{'))
        .collect()
}

/// Answers to the gateway's own ids.
fn refusals() -> Vec<String> {
    let refused = |id: &str, command: &str| {
        json!({"id": id, "type": "response", "command": command, "success": false, "error": "busy"})
            .to_string()
    };
    ["p1", "p2", "p1-state1", "p1-abort"].map(|id| refused(id, "prompt")).to_vec()
}

/// What the agents are to say, by the number that a prompt names.
type Pieces = Arc<Mutex<HashMap<u64, Vec<u8>>>>;

#[test]
fn no_line_of_an_agent_takes_more_than_its_own_run() {
    let Some(mut campaign) = Campaign::start("pi_lines") else { return };
    let conversations = Conversations::new();
    campaign.until(25);
    while let Some(mut random) = campaign.next() {
        let piece = conversations.piece(&mut random);
        campaign.note(&piece);
        if let Err(why) = agent::read_run(&piece) {
            assert!(!why.is_empty() && why.len() < 1_024, "{why:?}");
        }
    }
    let pieces = Pieces::default();
    let relay = {
        let pieces = Arc::clone(&pieces);
        Relay::start(move |child| play(child, &pieces))
    };
    while !campaign.is_over() {
        let mut watch = Watch::over(daemon(&relay));
        campaign.until(100);
        let mut client = watch.gateway.client();
        let mut number = 0;
        while number < RUNS_OF_ONE_MAX {
            let Some(mut random) = campaign.next() else { break };
            let runs: Vec<Run> = (0..RUNS)
                .map(|lane| {
                    number += 1;
                    let piece = conversations.piece(&mut random);
                    campaign.note(&piece);
                    pieces.lock().unwrap().insert(number as u64, piece);
                    client.run(&params(number, lane))
                })
                .collect();
            for run in &runs {
                check(&mut client, run);
            }
            let left = client.drain();
            assert!(left.iter().all(|frame| frame["type"] != "res"), "a second last word: {left:?}");
            if one_in(&mut random, 4) {
                number += 3;
                honest(&mut client, number);
                watch.look();
            }
        }
        client.goodbye();
        watch.end();
    }
}

fn daemon(relay: &Relay) -> Gateway {
    let agent = json!({
        "command": [Relay::program()], "env": relay.environment(), "sandbox": "none", "maxProcesses": 2,
        "idleTimeoutSeconds": 5, "timeoutSeconds": 10, "startTimeoutSeconds": 10, "dailyRuns": 100_000, "dailyRunsPerPerson": 100_000,
    });
    Gateway::builder("fuzz-pi").config(json!({"agent": agent})).spawn()
}

fn params(number: usize, lane: usize) -> Value {
    let mut params = params_agent(&format!("piece {number}."), &format!("key-{number}"));
    params["sessionKey"] = json!(format!("lane-{lane}"));
    params
}

/// The run has one last word, and steps that are numbered without a gap.
fn check(client: &mut Client, run: &Run) {
    let last = client.finish(run);
    let status = last["payload"]["status"].as_str().unwrap();
    assert!(matches!(status, "ok" | "error" | "timeout"), "{last}");
    assert!(last["payload"]["summary"].as_str().unwrap().len() <= SUMMARY_BYTES_MAX);
    let steps = client.steps(&run.id);
    for (at, step) in steps.iter().enumerate() {
        assert_eq!(step["seq"], json!(at + 1), "{step}");
    }
    assert_eq!(steps.last().unwrap()["data"]["status"], status, "{steps:?}");
}

/// An agent that does what it should is understood: the first, or one of the next that get no
/// process that has just lost its mind.
fn honest(client: &mut Client, number: usize) {
    for attempt in 0..3 {
        let mut params = params_agent("be honest", &format!("key-{}", number - attempt));
        params["sessionKey"] = json!("honest");
        let run = client.run(&params);
        let last = client.finish(&run);
        let steps = client.steps(&run.id);
        if last["ok"] == true {
            assert_eq!(last["payload"]["summary"], "I am honest", "{last}");
            assert_eq!(text_of(&steps), "I am honest");
            return;
        }
        println!("an honest run failed: {}", last["payload"]["summary"]);
    }
    panic!("three honest runs failed");
}

/// Plays one agent process until nobody speaks to it any more.
fn play(mut child: Child, pieces: &Pieces) {
    while let Some(command) = child.hear(QUIET) {
        let goes_on = match command["type"].as_str() {
            Some("prompt") => {
                let message = command["message"].as_str().unwrap_or_default();
                let number =
                    message.rsplit_once("piece ").and_then(|(_, rest)| rest.split('.').next()?.parse().ok());
                match number.and_then(|number: u64| pieces.lock().unwrap().remove(&number)) {
                    Some(piece) => child.say(&piece) && child.line(&json!({"type": "agent_end"})),
                    None => answer(&mut child),
                }
            }
            Some("get_state") => {
                let idle = json!({"isStreaming": false, "isCompacting": false});
                respond(&mut child, &command, idle)
            }
            _ => respond(&mut child, &command, json!({})),
        };
        if !goes_on {
            return;
        }
    }
}

fn respond(child: &mut Child, command: &Value, data: Value) -> bool {
    child.line(&json!({
        "id": command["id"], "type": "response", "command": command["type"], "success": true, "data": data,
    }))
}

/// A good conversation of one message.
fn answer(child: &mut Child) -> bool {
    let message = json!({"role": "assistant", "content": [], "stopReason": "stop"});
    let delta = json!({"type": "text_delta", "contentIndex": 0, "delta": "I am honest"});
    [
        json!({"type": "agent_start"}),
        json!({"type": "message_start", "message": message}),
        json!({"type": "message_update", "assistantMessageEvent": delta, "message": message}),
        json!({"type": "message_end", "message": message}),
        json!({"type": "agent_end"}),
    ]
    .iter()
    .all(|line| child.line(line))
}
