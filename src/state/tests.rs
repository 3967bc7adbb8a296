//! The pure core, driven by events and judged by its effects.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::agent::{AgentControl, AgentEvent, RunSpec, RunStep};
use crate::clock::Now;
use crate::config::file;
use crate::limits::{PAYLOAD_BYTES_MAX, SANE_CLOCK_MS, STORE_INBOX};
use crate::net::outbound::{Loss, Outbound};
use crate::net::{NetEvent, Opened};
use crate::protocol::ConnId;
use crate::protocol::event::EventKind;
use crate::protocol::hello::Policy;
use crate::protocol::method::{Method, Request};
use crate::protocol::parse::{parse_hello, parse_request};
use crate::protocol::payload::{Auth, RunStatus};
use crate::state::model::access::ChannelsConfig;
use crate::state::{Effect, Event, State, StateConfig};
use crate::store::{Recovered, StoreCommand, StoreEvent, StoreOp, Ticket};

mod channels;
mod crowded;
mod directives;
mod expiry;
mod forgetting;
mod groups;
mod harness;
mod logins;
mod notices;
mod owners;
mod sends;
mod session_queues;
mod shares;
mod tries;
mod trouble;
mod warnings;

struct Bench {
    state: State,
    now: Now,
    effects: Vec<Effect>,
}

fn config() -> StateConfig {
    StateConfig {
        host: "host".into(),
        ip: "127.0.0.1".into(),
        url: "ws://127.0.0.1:1".into(),
        auth: Auth::Token,
        warnings: Vec::new(),
        boot_id: "boot".into(),
        policy: Policy { max_payload: PAYLOAD_BYTES_MAX, max_buffered_bytes: 1, tick_interval_ms: 1_000 },
        agent_configured: true,
        agent: file::Agent {
            timeout_seconds: 60,
            max_processes: 1,
            queue: 2,
            daily_runs: 500,
            daily_runs_per_person: 200,
            ..file::Config::default().agent
        },
        expiry: Duration::from_secs(86_400),
        heartbeat: file::Heartbeat { prompt: Some("anything?".into()), ..file::Config::default().heartbeat },
        channels: ChannelsConfig::default(),
    }
}

impl Bench {
    fn new() -> Self {
        Self::recovered(Recovered::default())
    }

    fn recovered(recovered: Recovered) -> Self {
        Self::with(config(), recovered)
    }

    fn with(config: StateConfig, recovered: Recovered) -> Self {
        let mut bench = Self::with_unkept(config, recovered);
        bench.keep();
        bench
    }

    fn with_unkept(config: StateConfig, recovered: Recovered) -> Self {
        let now = Now { mono: Instant::now(), wall_ms: SANE_CLOCK_MS + 1_000_000 };
        let mut state = State::new(config, recovered, now);
        let effects = std::mem::take(&mut state.effects);
        Self { state, now, effects }
    }

    fn turn(&mut self, event: Option<Event>) {
        self.state.turn(event, self.now);
        self.effects.append(&mut self.state.effects);
    }

    fn handle(&mut self, event: Event) {
        self.turn(Some(event));
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall_ms += u64::try_from(time.as_millis()).unwrap();
        self.turn(None);
        let due = self.state.next_deadline();
        let spins = due.is_some_and(|due| due <= self.now.mono) && self.state.goodbye().is_none();
        assert!(!spins, "the thread would spin");
    }

    fn connect(&mut self, conn: ConnId) {
        self.connect_with(conn, 0);
    }

    /// The same with a token of that number.
    fn connect_with(&mut self, conn: ConnId, token: u64) {
        let hello = json!({
            "type": "hello", "minProtocol": 1, "maxProtocol": 1,
            "client": { "name": "test", "version": "1", "platform": "linux", "mode": "cli" }
        });
        let hello = parse_hello(hello).unwrap();
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let opened = Opened { conn, ip, hello, token };
        self.handle(Event::Net(NetEvent::Opened(Box::new(opened))));
    }

    fn request(&mut self, conn: ConnId, id: &str, method: &str, params: Value) {
        let request = parse_request(Method::from_name(method).unwrap(), Some(params)).unwrap();
        let Request::State(call) = request else { panic!("not for the state thread: {request:?}") };
        self.handle(Event::Net(NetEvent::Request { conn, id: id.into(), call, built: None }));
    }

    fn agent(&mut self, conn: ConnId, id: &str, key: &str, message: &str) {
        self.request(conn, id, "agent", json!({ "message": message, "idempotencyKey": key }));
    }

    /// Takes what is for the store and says that it is durable.
    fn keep(&mut self) {
        for command in self.take_store() {
            self.handle(Event::Store(StoreEvent::Done {
                ticket: command.ticket,
                result: Ok(()),
                back: Vec::new(),
            }));
        }
    }

    fn take_store(&mut self) -> Vec<StoreCommand> {
        let (store, rest) = std::mem::take(&mut self.effects)
            .into_iter()
            .partition(|effect| matches!(effect, Effect::Store(_)));
        self.effects = rest;
        let commands = store.into_iter().map(|effect: Effect| match effect {
            Effect::Store(command) => command,
            other => panic!("not for the store: {other:?}"),
        });
        commands.collect()
    }

    /// The answers since the last call, as JSON.
    fn answers(&mut self) -> Vec<(ConnId, Value)> {
        let mut answers = Vec::new();
        self.effects.retain(|effect| match effect {
            Effect::Out(Outbound::Frame { conn, frame }) => {
                let start = frame.iter().position(|byte| *byte == b'{').unwrap();
                answers.push((*conn, serde_json::from_slice(&frame[start..]).unwrap()));
                false
            }
            _ => true,
        });
        answers
    }

    fn answer(&mut self) -> Value {
        let mut answers = self.answers();
        assert_eq!(answers.len(), 1, "exactly one answer: {answers:?}");
        answers.remove(0).1
    }

    /// The events since the last call.
    fn events(&mut self) -> Vec<(EventKind, Value, Loss)> {
        let mut events = Vec::new();
        self.effects.retain(|effect| match effect {
            Effect::Out(Outbound::Event { body, loss }) => {
                let text = format!("{{\"seq\":0{}", std::str::from_utf8(&body.tail).unwrap());
                let event: Value = serde_json::from_str(&text).unwrap();
                events.push((body.kind, event["payload"].clone(), *loss));
                false
            }
            _ => true,
        });
        events
    }

    fn started_runs(&mut self) -> Vec<RunSpec> {
        let mut specs = Vec::new();
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Run(spec) => specs.push(*spec),
                other => self.effects.push(other),
            }
        }
        specs
    }

    fn step(&mut self, run_id: &str, step: RunStep) {
        self.handle(Event::Agent(AgentEvent::Step { run_id: run_id.into(), step }));
    }

    fn end(&mut self, run_id: &str, status: RunStatus, summary: &str) {
        let event = AgentEvent::Ended { run_id: run_id.into(), status, summary: summary.into() };
        self.handle(Event::Agent(event));
    }

    fn cancels(&self) -> usize {
        let cancel = |effect: &&Effect| matches!(effect, Effect::AgentControl(AgentControl::Cancel(_)));
        self.effects.iter().filter(cancel).count()
    }
}

#[test]
fn nothing_wakes_up_without_clients() {
    let mut bench = Bench::new();
    assert_eq!(bench.state.next_deadline(), None);
    bench.connect(1);
    assert!(bench.state.next_deadline().is_some());
    bench.handle(Event::Net(NetEvent::Closed(1)));
    assert_eq!(bench.state.next_deadline(), None);
}

#[test]
fn ticks_come_at_their_interval_and_once_after_a_long_sleep() {
    let mut bench = Bench::new();
    bench.connect(1);
    bench.events();
    bench.pass(Duration::from_millis(999));
    assert!(bench.events().is_empty());
    bench.pass(Duration::from_millis(1));
    let events = bench.events();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].0, events[0].2), (EventKind::Tick, Loss::Anybody));
    bench.pass(Duration::from_secs(3_600));
    assert_eq!(bench.events().len(), 1);
}

#[test]
fn an_ack_waits_for_the_disk_and_so_does_the_last_word() {
    let mut bench = Bench::new();
    bench.connect(1);
    bench.agent(1, "a", "k", "hello");
    assert!(bench.answers().is_empty() && bench.started_runs().is_empty(), "nothing before it is durable");
    bench.keep();
    let ack = bench.answer();
    assert_eq!(ack["payload"]["status"], "accepted");
    let runs = bench.started_runs();
    assert_eq!((runs.len(), runs[0].prompt.as_str()), (1, "hello"));
    let run_id = runs[0].run_id.to_string();
    bench.step(&run_id, RunStep::Started);
    bench.step(&run_id, RunStep::Text("hi".into()));
    bench.events();
    bench.end(&run_id, RunStatus::Ok, "hi");
    assert!(bench.answers().is_empty(), "the outcome is not durable yet");
    bench.keep();
    let last = bench.answer();
    assert_eq!(last["payload"], json!({ "runId": run_id, "status": "ok", "summary": "hi" }));
    let events = bench.events();
    let ended = events.iter().find(|(kind, ..)| *kind == EventKind::Agent).unwrap();
    assert_eq!(ended.1["data"], json!({ "phase": "ended", "status": "ok" }));
    assert_eq!(ended.1["seq"], 3);
}

#[test]
fn the_same_key_joins_and_then_gets_the_stored_answer() {
    let mut bench = Bench::new();
    bench.connect(1);
    bench.connect(2);
    bench.agent(1, "a", "k", "hello");
    bench.agent(2, "b", "k", "hello");
    assert!(bench.answers().is_empty());
    bench.keep();
    assert_eq!(bench.answers().len(), 2, "both are acknowledged");
    let runs = bench.started_runs();
    assert_eq!(runs.len(), 1);
    bench.agent(2, "c", "k", "hello");
    assert_eq!(bench.answer()["payload"]["status"], "accepted");
    bench.agent(2, "d", "k", "something else");
    assert_eq!(bench.answer()["error"]["code"], "CONFLICT");
    bench.end(&runs[0].run_id, RunStatus::Ok, "hi");
    bench.keep();
    assert_eq!(bench.answers().len(), 3);
    bench.agent(1, "e", "k", "hello");
    assert_eq!(bench.answer()["payload"]["summary"], "hi");
}

#[test]
fn a_failing_disk_refuses_and_leaves_the_key_free() {
    let mut bench = Bench::new();
    bench.connect(1);
    bench.agent(1, "a", "k", "hello");
    let commands = bench.take_store();
    let result = Err("the disk is full".to_owned());
    bench.handle(Event::Store(StoreEvent::Done { ticket: commands[0].ticket, result, back: Vec::new() }));
    assert_eq!(bench.answer()["error"]["code"], "UNAVAILABLE");
    bench.agent(1, "b", "k", "something else");
    bench.keep();
    assert_eq!(bench.answer()["payload"]["status"], "accepted");
}

#[test]
fn a_run_cancelled_before_it_is_durable_never_starts() {
    let mut bench = Bench::new();
    bench.connect(1);
    bench.agent(1, "a", "k", "hello");
    bench.request(1, "c", "agent-cancel", json!({ "runId": "r-boot-1" }));
    assert_eq!(bench.answer()["payload"]["status"], "cancelled");
    bench.keep();
    assert_eq!(bench.answer()["payload"]["status"], "accepted");
    assert!(bench.started_runs().is_empty());
    bench.keep();
    let last = bench.answer();
    assert_eq!((&last["ok"], &last["error"]["code"]), (&json!(false), &json!("CANCELLED")));
    bench.request(1, "d", "agent-cancel", json!({ "runId": "r-boot-1" }));
    assert_eq!(bench.answer()["error"]["code"], "INVALID_REQUEST");
}

#[test]
fn a_pause_ends_every_run_and_lets_none_start() {
    let mut bench = Bench::new();
    bench.connect(1);
    bench.agent(1, "a", "k", "hello");
    bench.keep();
    let run_id = bench.started_runs()[0].run_id.clone();
    bench.answers();
    bench.request(1, "p", "set-paused", json!({ "paused": true }));
    assert_eq!(bench.cancels(), 1, "at once, not when the switch is durable");
    bench.keep();
    assert_eq!(bench.answer()["payload"], json!({ "paused": true }));
    bench.agent(1, "b", "k2", "hello");
    assert_eq!(bench.answer()["error"]["code"], "UNAVAILABLE");
    bench.end(&run_id, RunStatus::Ok, "too late");
    bench.keep();
    assert_eq!(bench.answer()["error"]["code"], "CANCELLED", "whoever cancelled was told so");
}

#[test]
fn the_queue_has_a_bound_and_refusals_leave_no_trace() {
    let mut bench = Bench::new();
    bench.connect(1);
    bench.agent(1, "a", "1", "x");
    bench.agent(1, "b", "2", "x");
    bench.agent(1, "c", "3", "x");
    bench.agent(1, "d", "4", "x");
    assert_eq!(bench.answer()["error"]["code"], "RATE_LIMITED");
    assert_eq!(bench.take_store().len(), 3, "one may run and two may wait");
}

#[test]
fn notes_go_in_front_of_the_next_prompt_of_main_once() {
    let mut bench = Bench::new();
    bench.connect(1);
    bench.request(1, "n", "system-event", json!({ "text": "the laptop woke up", "mode": "app" }));
    assert!(bench.answers().is_empty(), "the note is not durable yet");
    bench.keep();
    assert_eq!(bench.answer()["payload"], json!({ "ok": true }));
    bench.request(1, "o", "agent", json!({ "message": "x", "sessionKey": "other", "idempotencyKey": "1" }));
    bench.agent(1, "a", "2", "hello");
    bench.keep();
    let other = bench.started_runs().remove(0);
    assert_eq!(other.prompt, "x");
    bench.end(&other.run_id, RunStatus::Ok, "hi");
    let prompt = bench.started_runs().remove(0).prompt;
    assert!(prompt.contains("\n| the laptop woke up\n") && prompt.ends_with("\n| hello"), "{prompt}");
    bench.keep();
    bench.answers();
    bench.agent(1, "b", "3", "again");
    bench.keep();
    assert!(bench.started_runs().is_empty(), "it waits for its turn, and the notes are gone");
}

#[test]
fn interrupted_runs_come_back_as_unknown_and_toggles_as_they_were() {
    let mut first = Bench::new();
    first.connect(1);
    first.request(1, "p", "set-heartbeats", json!({ "enabled": true }));
    first.agent(1, "a", "k", "hello");
    let mut recovered = Recovered::default();
    for command in first.take_store() {
        for op in command.ops {
            if let StoreOp::Put { slot, value } = op {
                recovered.slots.insert(slot, value);
            }
        }
    }
    let mut second = Bench::recovered(recovered);
    assert!(second.state.toggles().heartbeats);
    second.connect(1);
    second.agent(1, "a", "k", "hello");
    let answer = second.answer();
    assert_eq!(answer["error"]["code"], "UNAVAILABLE");
    assert_eq!(answer["error"]["details"]["outcome"], "unknown");
    assert!(second.started_runs().is_empty(), "nothing runs twice");
}

#[test]
fn damaged_records_start_paused() {
    let now = Now { mono: Instant::now(), wall_ms: SANE_CLOCK_MS };
    let recovered = Recovered { is_damaged: true, ..Recovered::default() };
    let state = State::new(config(), recovered, now);
    assert!(state.toggles().paused);
    let first = &state.effects;
    let [Effect::Store(command)] = first.as_slice() else { panic!("not one command: {first:?}") };
    let slots = command.ops.iter().filter_map(|op| match op {
        StoreOp::Put { slot, value } => Some((slot.clone(), value.clone())),
        _ => None,
    });
    // The damage is gone with what was stored first; the pause is not.
    let recovered = Recovered { slots: slots.collect(), ..Recovered::default() };
    assert!(State::new(config(), recovered, now).toggles().paused);
}

#[test]
fn toggles_that_are_not_understood_start_paused_and_stay_so() {
    let now = Now { mono: Instant::now(), wall_ms: SANE_CLOCK_MS };
    for toggles in [r#"{"paused":5}"#, "[]", "7"] {
        let slots = [("toggles".to_owned(), toggles.to_owned())].into();
        let state = State::new(config(), Recovered { slots, ..Recovered::default() }, now);
        assert!(state.toggles().paused, "{toggles}");
    }
    let slots =
        [("toggles".to_owned(), r#"{"heartbeats":true,"paused":false,"channels":{}}"#.to_owned())].into();
    let state = State::new(config(), Recovered { slots, ..Recovered::default() }, now);
    assert!(state.toggles().heartbeats && !state.toggles().paused);
}

#[test]
fn stopping_waits_for_runs_and_then_says_goodbye() {
    let mut bench = Bench::new();
    bench.connect(1);
    bench.agent(1, "a", "k", "hello");
    bench.keep();
    let run_id = bench.started_runs()[0].run_id.clone();
    bench.handle(Event::Stop { reason: "test".into(), restart_expected_ms: Some(7) });
    assert!(bench.state.goodbye().is_none());
    let events = bench.events();
    assert!(events.iter().any(|(kind, payload, _)| *kind == EventKind::Shutdown
        && *payload == json!({ "reason": "test", "restartExpectedMs": 7 })));
    bench.end(&run_id, RunStatus::Cancelled, "cancelled");
    assert!(bench.state.goodbye().is_none(), "its outcome is not on record yet");
    bench.keep();
    assert!(bench.state.goodbye().is_some());
    assert!(matches!(bench.state.goodbye(), Some(Outbound::CloseAll { close }) if close.code == 1012));
}

#[test]
fn stopping_does_not_wait_for_ever() {
    let mut bench = Bench::new();
    bench.connect(1);
    bench.agent(1, "a", "k", "hello");
    bench.handle(Event::Stop { reason: "test".into(), restart_expected_ms: None });
    bench.pass(Duration::from_secs(3));
    assert!(bench.state.goodbye().is_some());
}

#[test]
fn a_store_that_does_not_answer_is_not_flooded() {
    let mut bench = Bench::new();
    bench.connect(1);
    for n in 0..=STORE_INBOX {
        bench.request(1, &n.to_string(), "set-heartbeats", json!({ "enabled": n % 2 == 0 }));
    }
    assert_eq!(bench.answer()["error"]["code"], "RATE_LIMITED");
    let tickets: Vec<Ticket> = bench.take_store().iter().map(|command| command.ticket).collect();
    assert_eq!(tickets.len(), STORE_INBOX);
}

#[test]
fn pieces_of_the_answer_may_be_lost_for_watchers_only() {
    let mut bench = Bench::new();
    bench.connect(1);
    bench.connect(2);
    bench.agent(2, "a", "k", "hello");
    bench.keep();
    let run_id = bench.started_runs()[0].run_id.to_string();
    bench.events();
    bench.step(&run_id, RunStep::Text("hi".into()));
    bench.step(&run_id, RunStep::Error("oops".into()));
    let losses: Vec<Loss> = bench.events().into_iter().map(|(_, _, loss)| loss).collect();
    assert_eq!(losses, [Loss::AnybodyBut(2), Loss::Nobody]);
}
