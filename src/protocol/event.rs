//! Events: what the server pushes.

use serde::Serialize;
use serde_json::Value;

use crate::protocol::payload::{Health, PresenceEntry};

/// The families of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Keep-alive.
    Tick,
    /// Who came, changed or went.
    Presence,
    /// Something in health changed state.
    Health,
    /// A run's stream.
    Agent,
    /// The gateway is about to stop.
    Shutdown,
}

impl EventKind {
    /// All of them, in the order of `features.events`.
    pub const ALL: &'static [EventKind] =
        &[EventKind::Tick, EventKind::Presence, EventKind::Health, EventKind::Agent, EventKind::Shutdown];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::Tick => "tick",
            EventKind::Presence => "presence",
            EventKind::Health => "health",
            EventKind::Agent => "agent",
            EventKind::Shutdown => "shutdown",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The families that one client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscriptions(u8);

impl Subscriptions {
    /// From `hello.caps`: with at least one `event:NAME` only those (and always `tick` and
    /// `shutdown`), with none all. Unknown names count as an entry but add nothing.
    pub fn from_caps(caps: &[String]) -> Self {
        let mut wanted = caps.iter().filter_map(|cap| cap.strip_prefix("event:")).peekable();
        if wanted.peek().is_none() {
            return Self(u8::MAX);
        }
        let always = EventKind::Tick.bit() | EventKind::Shutdown.bit();
        Self(wanted.fold(always, |bits, name| {
            bits | EventKind::ALL.iter().find(|kind| kind.name() == name).map_or(0, |kind| kind.bit())
        }))
    }

    /// Whether that family is among them.
    pub const fn has(self, kind: EventKind) -> bool {
        self.0 & kind.bit() != 0
    }
}

/// `tick`
#[derive(Debug, Serialize)]
pub struct Tick {
    /// Now.
    pub ts: u64,
}

/// `shutdown`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shutdown<'a> {
    /// Why.
    pub reason: &'a str,
    /// When to expect the next one; absent if none is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_expected_ms: Option<u64>,
}

/// `presence`: deltas.
#[derive(Debug, Serialize)]
pub struct PresenceDelta<'a> {
    /// Changed or new.
    pub presence: Vec<&'a PresenceEntry>,
    /// Instance ids that are gone.
    pub removed: Vec<&'a str>,
}

/// `health`
#[derive(Debug, Serialize)]
pub struct HealthChanged<'a> {
    /// All of it.
    pub health: &'a Health,
}

/// `agent`: one step of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentStep<'a> {
    /// The run.
    pub run_id: &'a str,
    /// Its session.
    pub session_key: &'a str,
    /// From 1 per run, without gaps as produced.
    pub seq: u64,
    /// Which part of the run this is about.
    pub stream: AgentStream,
    /// When.
    pub ts: u64,
    /// By stream; see `schemas/event-agent.json`.
    pub data: Value,
}

/// The parts of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AgentStream {
    /// Queued, started, retrying, compacting, ended.
    Lifecycle,
    /// Pieces of the answer.
    Assistant,
    /// Pieces of the model's thinking.
    Thinking,
    /// Tool calls.
    Tool,
    /// What went wrong.
    Error,
}

#[cfg(test)]
mod tests {
    use super::{EventKind, Subscriptions};

    fn subscribed(caps: &[&str]) -> Vec<&'static str> {
        let caps: Vec<String> = caps.iter().map(|cap| (*cap).to_owned()).collect();
        let subscriptions = Subscriptions::from_caps(&caps);
        EventKind::ALL.iter().filter(|kind| subscriptions.has(**kind)).map(|kind| kind.name()).collect()
    }

    #[test]
    fn caps_choose_families() {
        assert_eq!(subscribed(&[]), ["tick", "presence", "health", "agent", "shutdown"]);
        assert_eq!(subscribed(&["streaming"]), ["tick", "presence", "health", "agent", "shutdown"]);
        assert_eq!(subscribed(&["event:agent"]), ["tick", "agent", "shutdown"]);
        assert_eq!(subscribed(&["event:nonsense"]), ["tick", "shutdown"]);
    }
}
