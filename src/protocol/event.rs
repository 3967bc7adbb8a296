//! Events: what the server pushes.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::call::Channel;
use crate::protocol::payload::{Health, PresenceEntry};

named! {
    /// The families of events.
    EventKind {
        /// Keep-alive.
        Tick = "tick",
        /// Who came, changed or went.
        Presence = "presence",
        /// Something in health changed state.
        Health = "health",
        /// A run's stream.
        Agent = "agent",
        /// Something came in or went out on a surface.
        Message = "message",
        /// How far a login is; only for the connection that asked.
        Channel = "channel",
        /// The gateway is about to stop.
        Shutdown = "shutdown",
    }
}

impl EventKind {
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

/// `message`: one message on a surface. Of one that goes out there may be several, with the same
/// `id`, each with the status that it has by then.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageEvent<'a> {
    /// Unique over all surfaces and restarts.
    pub id: &'a str,
    /// When it came in, or got this status.
    pub ts: u64,
    /// The surface.
    pub channel: Channel,
    /// The session it belongs to.
    pub session_key: &'a str,
    /// Which way it went.
    pub direction: Direction,
    /// Who wrote it: a name, or the id on that surface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<&'a str>,
    /// Who gets it: an address on that surface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<&'a str>,
    /// Text or caption.
    pub text: &'a str,
    /// `text` was cut.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Pictures and files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<MessageMedia<'a>>,
    /// The run that it is an answer of, or the one that `send` answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<&'a str>,
    /// How far it has got, if it goes out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<MessageStatus>,
    /// Why it got no further, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
}

/// `channel`: how far a login is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoginProgress<'a> {
    /// The channel.
    pub channel: Channel,
    /// `installing` or `linking`.
    pub state: &'a str,
    /// What the QR code to scan now says; it replaces the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qr: Option<&'a str>,
    /// The code to type on the phone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    /// How long `qr` or `code` holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// What goes on, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
}

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From a person to us.
    In,
    /// From us.
    Out,
}

/// How far a message that goes out has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageStatus {
    /// On record here.
    Queued,
    /// The surface has it.
    Sent,
    /// It is on a device of the person.
    Delivered,
    /// The person has seen it.
    Read,
    /// Surely not sent, and it will not be.
    Failed,
    /// It may or may not have been sent; it is not sent again.
    Unknown,
}

/// A picture or file of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageMedia<'a> {
    /// Which kind.
    pub kind: MediaKind,
    /// As the surface says.
    pub mime_type: &'a str,
    /// Name of the file, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// As the surface says; 0 if it does not.
    pub bytes: u64,
}

/// Kinds of media. Stored with what came in, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    /// A picture.
    Image,
    /// A voice message or music.
    Audio,
    /// A film.
    Video,
    /// Any other file.
    Document,
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
        let all = ["tick", "presence", "health", "agent", "message", "channel", "shutdown"];
        assert_eq!(subscribed(&[]), all);
        assert_eq!(subscribed(&["streaming"]), all);
        assert_eq!(subscribed(&["event:agent"]), ["tick", "agent", "shutdown"]);
        assert_eq!(subscribed(&["event:message", "event:nonsense"]), ["tick", "message", "shutdown"]);
        assert_eq!(subscribed(&["event:nonsense"]), ["tick", "shutdown"]);
    }
}
