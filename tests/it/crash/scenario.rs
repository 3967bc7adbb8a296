//! A daemon's working day under the recorder: several lives on one folder, each ended by SIGKILL.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::crash::trace::{self, Call};
use crate::harness::client::Received;
use crate::harness::gateway::Builder;
use crate::harness::{Client, Gateway, PATIENCE, eventually, process};

/// A daemon with the agent that notes every prompt.
pub(crate) fn daemon(name: &str) -> Builder {
    let setup = Gateway::builder(name);
    let script = process::repository("tests/agents/counting.py");
    let probe = setup.scratch().join("probe");
    setup
        .config(json!({"agent": {
            "env": {"PROBE_DIR": probe}, "sandbox": "none", "maxProcesses": 3,
            "dailyRuns": 100_000, "dailyRunsPerPerson": 100_000,
        }}))
        .arg("--agent")
        .arg(&json!(["python3", script]).to_string())
}

/// What was recorded.
pub(crate) struct Recording {
    pub(crate) calls: Vec<Call>,
    /// The folder in which the state folder was made.
    pub(crate) base: PathBuf,
}

/// A driver of one daemon after another.
struct Day {
    setup: Builder,
    calls: Vec<Call>,
    lives: u32,
    requests: u32,
    keys: u32,
}

/// What became of a request.
enum Outcome {
    /// Its last answer.
    Told(Value),
    /// The daemon died first.
    Died,
}

/// Lives through everything that touches files, and records it.
pub(crate) fn record() -> Recording {
    let setup = daemon("recorded");
    let mut day = Day { setup, calls: Vec::new(), lives: 0, requests: 0, keys: 0 };
    let left = day.first_life();
    day.second_life(&left);
    let in_flight = day.life_until("fdatasync", 4);
    let told_late = day.next_life_tells(&in_flight, "fdatasync", 3);
    let told_too = day.next_life_tells(&told_late.1, "rename", 1);
    assert!(told_late.0 || told_too.0, "no life ended between an outcome's write and its sync");
    day.last_life(&told_too.1);
    Recording { calls: day.calls, base: day.setup.scratch() }
}

impl Day {
    /// Runs a daemon's life under the recorder; `body` gets the daemon and says what to remember.
    fn life<T>(
        &mut self,
        kill_at: Option<(&str, u32)>,
        body: impl FnOnce(&mut Self, &mut Gateway) -> T,
    ) -> T {
        self.lives += 1;
        let file = self.setup.scratch().join(format!("trace-{}", self.lives));
        let recorder = trace::recorder(&file, kill_at);
        let mut gateway = self.setup.clone().wrapper(recorder.iter().map(String::as_str)).spawn();
        let result = body(self, &mut gateway);
        gateway.sigkill();
        let own = format!("TEST_FOLDER={}", self.setup.scratch().display());
        eventually("the recorder's end", PATIENCE, || {
            process::with_environment(&own).is_empty().then_some(())
        });
        let text = fs::read_to_string(&file).unwrap();
        self.calls.extend(trace::parse(&text));
        result
    }

    fn request(&mut self, client: &mut Client, method: &str, params: &Value) -> String {
        self.requests += 1;
        // Unlike the ids that clients count, these differ between connections and lives.
        let id = format!("q{}", self.requests);
        client.send_json(&json!({"type": "req", "id": id, "method": method, "params": params}));
        id
    }

    fn ask(&mut self, client: &mut Client, method: &str, params: &Value) -> Value {
        let id = self.request(client, method, params);
        client.answer(&id)
    }

    /// Params of a run in that session, with a key that was never used.
    fn params(&mut self, session: &str, orders: &str) -> Value {
        self.keys += 1;
        let key = format!("k{}", self.keys);
        json!({"message": format!("[[key {key}]] {orders} in {session}"), "sessionKey": session, "idempotencyKey": key})
    }

    /// Sends a run and waits for its last answer.
    fn run(&mut self, client: &mut Client, params: &Value) -> Outcome {
        let id = self.request(client, "agent", params);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match client.receive(deadline) {
                Received::Frame(frame) if frame["id"] == *id && frame["payload"]["status"] != "accepted" => {
                    return Outcome::Told(frame);
                }
                Received::Frame(_) => {}
                Received::End(_) => return Outcome::Died,
                Received::Silence => panic!("waited {PATIENCE:?} in vain for the end of {params}"),
            }
        }
    }

    fn say(&mut self, client: &mut Client, session: &str) {
        let params = self.params(session, "hello");
        let Outcome::Told(frame) = self.run(client, &params) else { panic!("it died during {params}") };
        assert_eq!(frame["ok"], true, "{frame}");
    }

    /// Everything once; ends with a run under way, whose params are returned.
    fn first_life(&mut self) -> Value {
        self.life(None, |day, gateway| {
            let (mut one, mut two) = (gateway.client(), gateway.client());
            day.say(&mut one, "main");
            day.say(&mut two, "other");
            day.ask(&mut one, "set-heartbeats", &json!({"enabled": true}));
            // Two callers of one key.
            let shared = day.params("main", "[[slow 150]] shared");
            let first = day.request(&mut one, "agent", &shared);
            one.answer(&first);
            let second = day.request(&mut two, "agent", &shared);
            two.answer(&second);
            // A burst behind it.
            let burst: Vec<String> = (0..3)
                .map(|_| {
                    let params = day.params("main", "burst");
                    day.request(&mut one, "agent", &params)
                })
                .collect();
            one.answer(&first);
            two.answer(&second);
            for id in &burst {
                one.answer(id);
                one.answer(id);
            }
            day.ask(&mut one, "session-reset", &json!({"sessionKey": "main"}));
            day.say(&mut one, "main");
            day.say(&mut two, "secret");
            day.ask(&mut two, "session-forget", &json!({"sessionKey": "secret"}));
            day.say(&mut two, "secret");
            day.forget_and_go_on(&mut two);
            day.ask(&mut one, "set-paused", &json!({"paused": true}));
            day.ask(&mut one, "set-paused", &json!({"paused": false}));
            let left = day.params("other", "[[slow 5000]] interrupted");
            let id = day.request(&mut one, "agent", &left);
            one.answer(&id);
            eventually("the agent to have it", PATIENCE, || {
                gateway.prompts().iter().any(|prompt| prompt.contains("interrupted")).then_some(())
            });
            left
        })
    }

    /// Forgets a session and uses it again while the store is at work, so that both share a commit.
    fn forget_and_go_on(&mut self, client: &mut Client) {
        self.say(client, "busy");
        let mut ids = Vec::new();
        for _ in 0..3 {
            let forget = json!({"sessionKey": "busy"});
            ids.push(self.request(client, "set-heartbeats", &json!({"enabled": true})));
            ids.push(self.request(client, "session-forget", &forget));
            let params = self.params("busy", "again");
            ids.push(self.request(client, "agent", &params));
        }
        for id in &ids {
            client.answer(id);
        }
        let last = ids.last().unwrap();
        client.answer(last);
    }

    /// Begins with files that the first life left in memory only, and compacts with them.
    fn second_life(&mut self, left: &Value) {
        self.life(None, |day, gateway| {
            let mut client = gateway.client();
            let Outcome::Told(frame) = day.run(&mut client, left) else { panic!("it died") };
            assert_eq!(frame["error"]["details"]["outcome"], "unknown", "{frame}");
            day.ask(&mut client, "session-forget", &json!({"sessionKey": "secret"}));
            day.say(&mut client, "other");
        });
    }

    /// Runs one after the other until the daemon dies in that call; returns the last one's params.
    fn life_until(&mut self, call: &str, number: u32) -> Value {
        self.life(Some((call, number)), |day, gateway| {
            let mut client = gateway.client();
            day.until_it_dies(&mut client)
        })
    }

    fn until_it_dies(&mut self, client: &mut Client) -> Value {
        let deadline = Instant::now() + PATIENCE + Duration::from_secs(10);
        while Instant::now() < deadline {
            let params = self.params("main", "on the edge");
            if matches!(self.run(client, &params), Outcome::Died) {
                return params;
            }
        }
        panic!("it was to die and does not");
    }

    /// Whether the run that was under way has an outcome after all; then a life as above, which
    /// a forgotten session ends if it is to die while compacting.
    fn next_life_tells(&mut self, in_flight: &Value, call: &str, number: u32) -> (bool, Value) {
        self.life(Some((call, number)), |day, gateway| {
            let mut client = gateway.client();
            let told = match day.run(&mut client, in_flight) {
                Outcome::Told(frame) => frame["ok"] == true,
                Outcome::Died => panic!("it died before it answered"),
            };
            if call != "rename" {
                return (told, day.until_it_dies(&mut client));
            }
            day.say(&mut client, "busy");
            day.request(&mut client, "session-forget", &json!({"sessionKey": "busy"}));
            client.end("the daemon's death while it forgets");
            (told, in_flight.clone())
        })
    }

    fn last_life(&mut self, in_flight: &Value) {
        self.life(None, |day, gateway| {
            let mut client = gateway.client();
            let Outcome::Told(_) = day.run(&mut client, in_flight) else { panic!("it died") };
            day.say(&mut client, "main");
            day.ask(&mut client, "session-reset", &json!({"sessionKey": "other"}));
            day.say(&mut client, "new");
            day.ask(&mut client, "session-forget", &json!({"sessionKey": "secret"}));
            day.say(&mut client, "other");
        });
    }
}
