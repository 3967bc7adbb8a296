//! Events: what the server sends without being asked. Plain data: nothing here knows how it came about.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::call::Channel;
use crate::protocol::payload::{Health, PresenceEntry};

named! {
    /// The families of events, by which clients subscribe.
    EventKind {
        /// A sign of life of the gateway.
        Tick = "tick",
        /// Somebody came, changed or went.
        Presence = "presence",
        /// Something in health changed state.
        Health = "health",
        /// A step of a run of the agent.
        Agent = "agent",
        /// A message came in or went out on a channel.
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

/// The families of events that one client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subscriptions(u8);

impl Subscriptions {
    /// The subscriptions in `hello.caps`: with at least one `event:NAME` only those (and always `tick` and
    /// `shutdown`), with none all. Unknown names count as an entry but add nothing.
    pub(crate) fn from_caps(caps: &[String]) -> Self {
        let mut wanted = caps.iter().filter_map(|cap| cap.strip_prefix("event:")).peekable();
        if wanted.peek().is_none() {
            return Self(u8::MAX);
        }
        let always = EventKind::Tick.bit() | EventKind::Shutdown.bit();
        Self(wanted.fold(always, |bits, name| bits | EventKind::from_name(name).map_or(0, EventKind::bit)))
    }

    /// Whether a family is among them.
    pub(crate) const fn has(self, kind: EventKind) -> bool {
        self.0 & kind.bit() != 0
    }
}

/// Payload of `tick`.
#[derive(Debug, Serialize)]
pub(crate) struct Tick {
    pub(crate) ts: u64,
}

/// Payload of `shutdown`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shutdown<'a> {
    pub(crate) reason: &'a str,
    /// When the next gateway is expected; absent if none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restart_expected_ms: Option<u64>,
}

/// Payload of `presence`: what has changed since the last one.
#[derive(Debug, Serialize)]
pub(crate) struct PresenceDelta<'a> {
    /// Entries that are new or have changed.
    pub(crate) presence: Vec<&'a PresenceEntry>,
    /// Instance ids that are gone.
    pub(crate) removed: Vec<&'a str>,
}

/// Payload of `health`: all of it, whatever has changed.
#[derive(Debug, Serialize)]
pub(crate) struct HealthChanged<'a> {
    pub(crate) health: &'a Health,
}

/// Payload of `agent`: one step of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentStep<'a> {
    pub(crate) run_id: &'a str,
    pub(crate) session_key: &'a str,
    /// Counts the steps of the run from 1, without gaps as they are made.
    pub(crate) seq: u64,
    /// Which part of the run this is about.
    pub(crate) stream: AgentStream,
    pub(crate) ts: u64,
    /// What the step is, by stream; see `schemas/event-agent.json`.
    pub(crate) data: Value,
}

/// The streams that the steps of a run make up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AgentStream {
    /// The run was queued, has started, retries, compacts or has ended.
    Lifecycle,
    /// Pieces of the answer.
    Assistant,
    /// Pieces of the model's thinking.
    Thinking,
    /// Calls of tools and their results.
    Tool,
    /// Something went wrong in the run.
    Error,
}

/// Payload of `message`: one message on a channel. Of one that goes out there may be several, with the same
/// `id`, each with the status that it has by then.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageEvent<'a> {
    /// Id of the message, unique over all channels and restarts.
    pub id: &'a str,
    /// When the message came in, or got this status.
    pub ts: u64,
    /// The channel that the message came or goes by.
    pub channel: Channel,
    /// The session that the message belongs to.
    pub session_key: &'a str,
    /// Whether the message came in or goes out.
    pub direction: Direction,
    /// Who wrote the message: a name, or the id on that channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<&'a str>,
    /// Who gets the message: an address on that channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<&'a str>,
    /// The message's text, or the caption of its media.
    pub text: &'a str,
    /// `text` was cut.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// The message's pictures and files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<MessageMedia<'a>>,
    /// The run that the message is an answer of, or the one that `send` answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<&'a str>,
    /// How far a message that goes out has got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<MessageStatus>,
    /// Why a message got no further, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
}

/// Payload of `channel`: how far a login is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoginProgress<'a> {
    /// The channel whose account is being linked.
    pub channel: Channel,
    /// What goes on: `installing` or `linking`.
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
    /// What goes on or went wrong, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
}

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From a person to the gateway.
    In,
    /// From the gateway to a person.
    Out,
}

/// How far a message that goes out has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageStatus {
    /// The gateway has it on record.
    Queued,
    /// The channel has taken it.
    Sent,
    /// It is on a device of the person who gets it.
    Delivered,
    /// The person who gets it has seen it.
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
    /// What the file is.
    pub kind: MediaKind,
    /// The file's type, as the channel says.
    pub mime_type: &'a str,
    /// The file's name, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// The file's length, as the channel says; 0 if it does not.
    pub bytes: u64,
}

/// Kinds of media. Stored with what came in, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    /// A picture in any format.
    Image,
    /// A voice message or music.
    Audio,
    /// A film, with or without sound.
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
