//! Lines of a WhatsApp sidecar that talks nonsense: events, messages of people and answers, mutated.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clawdis_gateway::channels;
use serde_json::{Value, json};

use crate::fuzz::campaign::Campaign;
use crate::fuzz::golden::WORDS;
use crate::fuzz::json;
use crate::fuzz::mutate::{Mutator, index, one_in, pick};
use crate::fuzz::relay::{Child, Relay};
use crate::fuzz::watch::{ROUND, Watch};
use crate::harness::random::Random;
use crate::harness::{Client, Gateway, PATIENCE, eventually};

/// Longest line here; the gateway takes one of a megabyte.
const LINE_BYTES_MAX: usize = 128 * 1024;
/// Lines of one sidecar.
const LINES_MAX: usize = 48;
/// Lines before it listens again.
const CHUNK: usize = 8;
/// Somebody who is let in and writes in the samples.
const ANN: &str = "+15550002222";
/// Somebody who is let in and writes only where all is well.
const BOB: &str = "+15550001111";
const TOKEN: &str = "a token of thirty-two characters";

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn message(from: &str, seq: u64, id: &str, more: Value) -> Value {
    let jid = format!("{}@s.whatsapp.net", from.trim_start_matches('+'));
    let mut message = json!({
        "ev": "msg", "seq": seq, "id": id, "chat": {"jid": jid, "pn": from, "group": false},
        "from": {"jid": jid, "pn": from, "name": "Somebody", "me": false},
        "ts": now_ms(), "offline": false, "kind": "text", "text": "hello",
    });
    message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    message
}

/// One line of each kind.
fn samples() -> Vec<Value> {
    let stranger = "+15550006666";
    let group = json!({"jid": "1203@g.us", "group": true, "subject": "Club"});
    let media =
        json!({"kind": "document", "mime": "image/png", "bytes": 70_000, "name": "a.png", "ref": "r"});
    let quote = json!({"id": "Q", "me": true, "from": {"jid": "5@lid"}, "kind": "text", "text": "what?"});
    let mut samples: Vec<Value> = ["unlinked", "linking", "connecting", "syncing", "ready"]
        .map(|state| json!({"ev": "state", "state": state, "me": {"pn": "+15550009999", "lid": "9@lid"}}))
        .to_vec();
    let closed = |code: u64, reason: &str, action: &str| json!({"ev": "state", "state": "closed", "code": code, "reason": reason, "action": action, "retryMs": 900});
    samples.extend([
        closed(503, "unavailable", "retry"),
        closed(401, "logged-out", "relink"),
        closed(440, "replaced", "stop"),
        json!({"ev": "qr", "data": "2@abc,def", "ttlMs": 20_000, "count": 1}),
        message(stranger, 1, "S1", json!({})),
        message(stranger, 2, "S2", json!({"chat": group, "mentionsMe": true, "text": "@9 so?", "quote": quote})),
        message(stranger, 3, "S3", json!({"kind": "document", "media": media, "text": null})),
        message(stranger, 4, "S4", json!({"kind": "location", "ephemeralSeconds": 60})),
        message(stranger, 5, "S5", json!({"kind": "reaction", "target": "S1", "text": "👍"})),
        message(stranger, 6, "S6", json!({"kind": "undecryptable"})),
        message(ANN, 7, "A1", json!({"text": "/stop"})),
        message(ANN, 8, "A2", json!({"kind": "image", "media": media})),
        json!({"ev": "out", "id": "A", "stage": "accepted"}),
        json!({"ev": "out", "id": "A", "stage": "failed", "code": 463}),
        json!({"ev": "out", "id": "A", "stage": "read"}),
        json!({"ev": "need-body", "id": "A"}),
        json!({"ev": "log", "level": "warn", "text": "something"}),
        json!({"ev": "fatal", "text": "the end"}),
        json!({"re": 1, "ok": true, "proto": 1, "linked": true, "me": {"pn": "+15550009999"}, "damaged": "x"}),
        json!({"re": 2, "ok": false, "code": "not-connected", "error": "not connected", "retry": true}),
        json!({"re": 3, "ok": true, "jid": "5@lid", "proto": "CgVoZWxsbw=="}),
        json!({"re": 4, "ok": true, "path": "/nowhere/a.png", "mime": "image/png", "rss": 90_000_000}),
        json!({"re": null, "ok": false, "code": "invalid", "error": "not JSON", "retry": false}),
        json!({"re": 5, "ok": true, "code": "ABCD1234", "ttlMs": 60_000}),
    ]);
    samples
}

struct Lines {
    values: Vec<Value>,
    bytes: Mutator,
}

impl Lines {
    fn new() -> Self {
        let values = samples();
        let texts = values.iter().map(|value| value.to_string().into_bytes()).collect();
        Self { values, bytes: Mutator::new(texts, WORDS, LINE_BYTES_MAX) }
    }

    fn line(&self, random: &mut Random) -> Vec<u8> {
        let value = pick(random, &self.values).clone();
        let mut line = match random.below(24) {
            0 | 1 => self.bytes.mutated(random),
            2..=6 => value.to_string().into_bytes(),
            _ => json::mutated(value, &self.values, random).into_bytes(),
        };
        line.push(b'\n');
        line
    }

    /// One that does not end the sidecar, mostly.
    fn readable(&self, random: &mut Random) -> Vec<u8> {
        loop {
            let line = self.line(random);
            if channels::read_sidecar(&line).is_ok() || one_in(random, 100) {
                return line;
            }
        }
    }

    /// An answer with mistakes that leave it one.
    fn answer(&self, answer: Value, random: &mut Random) -> Value {
        loop {
            let changed = json::changed(answer.clone(), &self.values, random);
            if channels::read_sidecar((json::text(&changed) + "\n").as_bytes()).is_ok() {
                return changed;
            }
        }
    }
}

/// How many of the samples, at their end, are answers.
const ANSWERS: usize = 6;

/// What one sidecar is to do.
struct Part {
    hello: Value,
    /// Chunks of lines; between them it answers what it is asked.
    chunks: Vec<Vec<u8>>,
    /// Answers with mistakes, to whatever comes.
    answers: Vec<Value>,
    /// It does what it should until somebody is sent this text.
    honest: Option<String>,
}

impl Part {
    fn new(lines: &Lines, random: &mut Random) -> Self {
        let count = index(random, LINES_MAX);
        let all: Vec<Vec<u8>> = (0..count).map(|_| lines.readable(random)).collect();
        let hello = greeting(!one_in(random, 6));
        let hello = if one_in(random, 4) { lines.answer(hello, random) } else { hello };
        let answers = &lines.values[lines.values.len() - ANSWERS..];
        let answers = (0..8).map(|_| lines.answer(pick(random, answers).clone(), random)).collect();
        Self { hello, chunks: all.chunks(CHUNK).map(<[_]>::concat).collect(), answers, honest: None }
    }

    fn honest(text: &str) -> Self {
        let question = message(BOB, 1_000, &format!("B-{text}"), json!({"text": text}));
        let chunks = vec![format!("{question}\n").into_bytes()];
        Self { hello: greeting(true), chunks, answers: Vec::new(), honest: Some(text.to_owned()) }
    }

    /// All of it, for a failure.
    fn note(&self, campaign: &mut Campaign) {
        let answers = self.answers.iter().map(json::text).collect::<Vec<_>>().join("\n");
        campaign.note(
            [json::text(&self.hello).as_bytes(), b"\n", &self.chunks.concat(), answers.as_bytes()]
                .concat()
                .as_slice(),
        );
    }
}

fn greeting(linked: bool) -> Value {
    // An account of a server that no other test has: a host has one session of each.
    let host = format!("whatsapp-{}.invalid", std::process::id());
    let me = json!({"pn": "+15550009999", "lid": "9@lid"});
    json!({"re": 1, "ok": true, "proto": 1, "host": host, "linked": linked, "me": me})
}

/// The parts that wait for a sidecar to be started, and a word when one has played its own.
struct Stage {
    parts: Arc<Mutex<VecDeque<Part>>>,
    played: Receiver<()>,
    relay: Relay,
}

impl Stage {
    fn new() -> Self {
        let parts = Arc::new(Mutex::new(VecDeque::<Part>::new()));
        let (tell, played) = channel();
        let (waiting, tell) = (Arc::clone(&parts), Mutex::new(tell));
        let relay = Relay::start(move |child| {
            let part = waiting.lock().unwrap().pop_front();
            let tell = tell.lock().unwrap().clone();
            // One that is started with nothing to do ends at once.
            if let Some(part) = part {
                play(child, part, &tell);
            }
        });
        Self { parts, played, relay }
    }

    /// Has a sidecar play this part, waking the gateway until it starts one.
    fn play(&self, client: &mut Client, part: Part) {
        self.parts.lock().unwrap().push_back(part);
        eventually("a sidecar to play its part", PATIENCE, || {
            if !self.parts.lock().unwrap().is_empty() {
                client.ask("set-channel", &json!({"channel": "whatsapp", "enabled": true}));
            }
            self.played.recv_timeout(Duration::from_millis(50)).ok()
        });
    }
}

#[test]
fn no_line_of_the_sidecar_takes_more_than_the_sidecar() {
    let Some(mut campaign) = Campaign::start("sidecar_lines") else { return };
    let lines = Lines::new();
    campaign.until(25);
    while let Some(mut random) = campaign.next() {
        let line = lines.line(&mut random);
        campaign.note(&line);
        if let Err(why) = channels::read_sidecar(&line) {
            assert!(!why.is_empty() && why.len() < 1_024, "{why:?}");
        }
    }
    let stage = Stage::new();
    while !campaign.is_over() {
        let mut watch = Watch::over(daemon(&stage.relay));
        campaign.not_beyond(ROUND);
        let mut honest = 0;
        while let Some(mut random) = campaign.next() {
            let part = Part::new(&lines, &mut random);
            part.note(&mut campaign);
            storm(&stage, &mut watch, part, &mut random);
            if one_in(&mut random, 16) {
                honest += 1;
                recover(&stage, &mut watch, &format!("honest question {honest}"));
            }
        }
        recover(&stage, &mut watch, "the last question");
        watch.end();
    }
}

fn daemon(relay: &Relay) -> Gateway {
    let config = json!({
        "agent": {"dailyRuns": 1_000_000, "dailyRunsPerPerson": 1_000_000, "maxProcesses": 2},
        "whatsapp": {
            "enabled": true, "allowFrom": [ANN, BOB], "groups": {"1203@g.us": {}}, "readReceipts": true,
            "sidecar": {"node": Relay::program(), "env": relay.environment()},
        },
    });
    let setup = Gateway::builder("fuzz-sidecar").token(TOKEN).agent_echo().config(config);
    // It only has to be there: the relay does not read it.
    let program = setup.state_dir().join("whatsapp/program/dist");
    std::fs::create_dir_all(&program).unwrap();
    std::fs::write(program.join("sidecar.mjs"), "").unwrap();
    setup.spawn()
}

/// A sidecar plays its part, now and then while somebody wants to link a phone; that comes to an end.
fn storm(stage: &Stage, watch: &mut Watch, part: Part, random: &mut Random) {
    let login = one_in(random, 6).then(|| {
        let login = watch.honest.send("channel-login", &json!({"channel": "whatsapp"}));
        (watch.honest.answer(&login)["payload"]["status"] == "accepted").then_some(login)
    });
    stage.play(&mut watch.honest, part);
    if let Some(login) = login.flatten() {
        watch.honest.answer(&login);
    }
    watch.look();
}

/// A sidecar that does what it should is linked, and somebody who writes is answered.
fn recover(stage: &Stage, watch: &mut Watch, text: &str) {
    stage.play(&mut watch.honest, Part::honest(text));
    watch.look();
}

/// Plays one sidecar until its part is over.
fn play(mut child: Child, mut part: Part, tell: &Sender<()>) {
    let begin = Instant::now();
    let mut chunks = std::mem::take(&mut part.chunks).into_iter();
    let mut heard = 0;
    loop {
        // It listens for a moment; an honest one for as long as it takes.
        let patience = if part.honest.is_some() { Duration::from_secs(2) } else { Duration::from_millis(3) };
        let patience = if heard == 0 { PATIENCE } else { patience };
        if let Some(order) = child.hear(patience) {
            heard += 1;
            if !answer(&mut child, &part, &order, heard) {
                break;
            }
            let is_ready = order["op"] == "connect" || part.honest.is_none();
            if is_ready && !chunks.next().is_none_or(|chunk| child.say(&chunk)) {
                break;
            }
            if part.honest.as_ref().is_some_and(|text| is_sent(&order, text)) {
                break;
            }
        } else if part.honest.is_some() {
            // The end of another sidecar may still have to be waited for.
            if begin.elapsed() > PATIENCE {
                return;
            }
        } else if !chunks.next().is_some_and(|chunk| child.say(&chunk)) {
            break;
        }
    }
    let _ = tell.send(());
}

fn is_sent(order: &Value, text: &str) -> bool {
    order["op"] == "send" && order["text"].as_str().is_some_and(|said| said.contains(text))
}

/// Answers an order: rightly, or somehow.
fn answer(child: &mut Child, part: &Part, order: &Value, heard: usize) -> bool {
    let mut answer = match order["op"].as_str() {
        Some("hello") => part.hello.clone(),
        _ if part.answers.is_empty() || heard % 2 == 0 => json!({"ok": true}),
        _ => part.answers[heard % part.answers.len()].clone(),
    };
    if let Some(members) = answer.as_object_mut() {
        members.insert("re".to_owned(), order["n"].clone());
    }
    if !child.say((json::text(&answer) + "\n").as_bytes()) {
        return false;
    }
    match order["op"].as_str() {
        Some("connect") => ["connecting", "syncing", "ready"]
            .iter()
            .all(|state| child.line(&json!({"ev": "state", "state": state, "me": {"pn": "+15550009999"}}))),
        Some("send") => child.line(&json!({"ev": "out", "id": order["id"], "stage": "accepted"})),
        _ => true,
    }
}
