//! A gateway with Telegram, the disk behind it and the people before it, for the tests of the core.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{Bench, config};
use crate::agent::{RunSpec, RunStep};
use crate::channels::delivery::{Attempt, AttemptOutcome, Part};
use crate::channels::message::{Arrival, Batch, Inbound, Route};
use crate::channels::{ChannelCommand, ChannelEvent};
use crate::config::file::{Commands, Group};
use crate::limits::SANE_CLOCK_MS;
use crate::protocol::call::Channel;
use crate::protocol::payload::{ChannelHealth, RunStatus};
use crate::state::model::access::ChannelConfig;
use crate::state::{Effect, Event, StateConfig};
use crate::store::{Recovered, StoreCommand, StoreEvent, StoreOp};

const TS: u64 = SANE_CLOCK_MS + 1_000_000;

/// A gateway with Telegram, its owner (1), a friend (2) and two groups, and the disk behind it.
pub(super) struct Harness {
    pub(super) bench: Bench,
    pub(super) disk: BTreeMap<String, String>,
    /// JSON of the history's records.
    pub(super) said: Vec<String>,
    config: StateConfig,
}

pub(super) fn settings() -> StateConfig {
    let mut config = config();
    config.agent.queue = 9;
    let group = |require_mention, allowed: &[&str]| Group {
        require_mention,
        allow_from: allowed.iter().map(|id| (*id).to_owned()).collect(),
        commands: Commands::Asker,
    };
    let telegram = ChannelConfig {
        configured: true,
        owner: Some("1".into()),
        allowed: vec!["2".into()],
        groups: BTreeMap::from([
            ("-5".to_owned(), group(true, &[])),
            ("-6".to_owned(), group(false, &["*"])),
        ]),
        max_age: Duration::from_secs(3_600),
    };
    config.channels.by_channel.insert(Channel::Telegram, telegram);
    config.channels.media = "/media".into();
    config
}

/// The same with so many places for runs that wait.
pub(super) fn with_queue(places: usize) -> StateConfig {
    let mut config = settings();
    config.agent.queue = places;
    config
}

impl Harness {
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    pub(super) fn with(config: StateConfig) -> Self {
        Self::on(config, BTreeMap::new())
    }

    /// On a folder that has these slots.
    pub(super) fn on(config: StateConfig, disk: BTreeMap<String, String>) -> Self {
        let recovered = Recovered { slots: disk.clone(), ..Recovered::default() };
        let bench = Bench::with_unkept(config.clone(), recovered);
        let mut harness = Self { bench, disk, said: Vec::new(), config };
        harness.switch_on();
        harness
    }

    fn switch_on(&mut self) {
        let health = ChannelHealth {
            configured: true,
            enabled: true,
            state: "ready".into(),
            linked: Some(true),
            ..ChannelHealth::default()
        };
        self.bench.connect(1);
        self.bench.handle(Event::Channel(ChannelEvent::Health {
            channel: Channel::Telegram,
            health: Box::new(health),
        }));
        self.keep();
        self.bench.events();
    }

    /// A kill and a new start: only what was on disk is left.
    pub(super) fn restart(&mut self) {
        let now = self.bench.now;
        let recovered = Recovered { slots: self.disk.clone(), ..Recovered::default() };
        let mut bench = Bench::with_unkept(self.config.clone(), recovered);
        bench.now.wall_ms = now.wall_ms;
        self.bench = bench;
        self.switch_on();
    }

    /// The same with another config.
    pub(super) fn restart_with(&mut self, change: impl FnOnce(&mut StateConfig)) {
        change(&mut self.config);
        self.restart();
    }

    /// A client asks, and is answered when that is durable.
    pub(super) fn ask(&mut self, method: &str, params: Value) -> Value {
        self.bench.answers();
        self.bench.request(1, "ask", method, params);
        self.keep();
        self.bench.answer()
    }

    /// In how many lives the message with that key was given to the agent, as the disk has it.
    pub(super) fn asked(&self, key: &str) -> u64 {
        let record: Value = serde_json::from_str(&self.disk[&format!("inbox/telegram/9/{key}")]).unwrap();
        record["w"]["asked"].as_u64().unwrap()
    }

    /// Writes what is for the store, until there is nothing more.
    pub(super) fn keep(&mut self) {
        loop {
            let commands = self.bench.take_store();
            if commands.is_empty() {
                return;
            }
            self.write(commands);
        }
    }

    pub(super) fn write(&mut self, commands: Vec<StoreCommand>) {
        for command in commands {
            for op in command.ops {
                match op {
                    StoreOp::Put { slot, value } => drop(self.disk.insert(slot, value)),
                    StoreOp::Delete { slot } => drop(self.disk.remove(&slot)),
                    StoreOp::Append { record, .. } => self.said.push(record),
                    StoreOp::Forget { .. } | StoreOp::Compact => {}
                }
            }
            let done = StoreEvent::Done { ticket: command.ticket, result: Ok(()), back: Vec::new() };
            self.bench.handle(Event::Store(done));
        }
    }

    pub(super) fn arrive(&mut self, messages: Vec<Inbound>) {
        let arrivals = messages.into_iter().map(|message| Arrival::Message(Box::new(message))).collect();
        let cursor = Some(("telegram/9".to_owned(), "7".to_owned()));
        let batch = Batch { channel: Channel::Telegram, arrivals, cursor };
        self.bench.handle(Event::Channel(ChannelEvent::Arrived(batch)));
    }

    /// Somebody writes, and it is on record.
    pub(super) fn say(&mut self, message: Inbound) {
        self.arrive(vec![message]);
        self.keep();
    }

    /// Somebody writes; what follows from it is not on record yet.
    pub(super) fn say_until_taken(&mut self, message: Inbound) {
        self.arrive(vec![message]);
        let commands = self.bench.take_store();
        self.write(commands);
    }

    /// Nothing of what is for the store can be written.
    pub(super) fn fail(&mut self) {
        for command in self.bench.take_store() {
            let result = Err("the disk is full".to_owned());
            let done = StoreEvent::Done { ticket: command.ticket, result, back: command.ops };
            self.bench.handle(Event::Store(done));
        }
    }

    /// Commands to the channels for which `wanted` gives something.
    pub(super) fn commands<T>(&mut self, wanted: impl Fn(&ChannelCommand) -> Option<T>) -> Vec<T> {
        let mut found = Vec::new();
        self.bench.effects.retain(|effect| match effect {
            Effect::Channel(command) => match wanted(command) {
                Some(what) => {
                    found.push(what);
                    false
                }
                None => true,
            },
            _ => true,
        });
        found
    }

    pub(super) fn attempts(&mut self) -> Vec<Attempt> {
        self.commands(|command| match command {
            ChannelCommand::Deliver(attempt) => Some((**attempt).clone()),
            _ => None,
        })
    }

    pub(super) fn acknowledged(&mut self) -> Vec<Result<(), Duration>> {
        self.commands(|command| match command {
            ChannelCommand::Acknowledge { result, .. } => Some(*result),
            _ => None,
        })
    }

    pub(super) fn typing(&mut self) -> Vec<(String, bool)> {
        self.commands(|command| match command {
            ChannelCommand::Typing { route, is_typing } => Some((route.chat.clone(), *is_typing)),
            _ => None,
        })
    }

    pub(super) fn outcome(&mut self, attempt: &Attempt, outcome: AttemptOutcome) {
        self.bench.handle(Event::Channel(ChannelEvent::Outcome { id: attempt.id, outcome }));
        self.keep();
    }

    pub(super) fn sent(&mut self, attempt: &Attempt) {
        self.outcome(attempt, AttemptOutcome::Sent { message_id: "77".into(), chat: None });
    }

    /// The one run that was started.
    pub(super) fn run(&mut self) -> RunSpec {
        let mut runs = self.bench.started_runs();
        assert_eq!(runs.len(), 1, "exactly one run");
        let run = runs.remove(0);
        self.bench.step(&run.run_id, RunStep::Started);
        run
    }

    pub(super) fn answer(&mut self, run: &RunSpec, text: &str) {
        self.bench.end(&run.run_id, RunStatus::Ok, text);
        self.keep();
    }

    /// What was delivered since the last call, with its chat; all of it arrives.
    pub(super) fn deliveries(&mut self) -> Vec<(String, String)> {
        let mut deliveries = Vec::new();
        loop {
            let attempts = self.attempts();
            if attempts.is_empty() {
                return deliveries;
            }
            for attempt in attempts {
                deliveries.push((attempt.route.chat.clone(), text(&attempt.part)));
                self.sent(&attempt);
            }
        }
    }
}

fn text(part: &Part) -> String {
    match part {
        Part::Text { text, .. } | Part::File { text, .. } => text.clone(),
        Part::Media { source, caption } => format!("{source} {caption}"),
    }
}

pub(super) fn message(key: &str, chat: &str, from: &str, text: &str) -> Inbound {
    Inbound {
        key: format!("9/{key}"),
        route: Route { channel: Channel::Telegram, chat: chat.into(), topic: None },
        is_self: false,
        is_group: chat.starts_with('-'),
        from: from.into(),
        name: Some(format!("Name{from}")),
        message_id: key.into(),
        ts: TS,
        text: text.into(),
        about: None,
        addressed: true,
        quoted: None,
        media: Vec::new(),
        album: None,
        left_out: None,
    }
}
