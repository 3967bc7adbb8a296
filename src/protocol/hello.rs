//! The handshake's frames. Plain data: who is let in is decided elsewhere.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// First frame of a client. Unknown members are ignored: new fields are additive. Without `Debug`, because of its
/// token.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The lowest protocol version that the client speaks.
    pub(crate) min_protocol: u64,
    /// The highest protocol version that the client speaks.
    pub(crate) max_protocol: u64,
    /// Who the client says it is. Nothing is granted on it.
    pub(crate) client: ClientInfo,
    /// Capabilities; `event:NAME` subscribes, unknown ones are ignored.
    #[serde(default)]
    pub(crate) caps: Vec<String>,
    pub(crate) auth: Option<Auth>,
    /// Shown in `status`, nothing more.
    pub(crate) locale: Option<String>,
    /// Shown in `status`, nothing more.
    pub(crate) user_agent: Option<String>,
}

/// Self-reported identity of a client.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClientInfo {
    /// The program's name.
    pub(crate) name: String,
    /// The program's version; compared with `gateway.minClient` when it parses as semver.
    pub(crate) version: String,
    /// Operating system or browser.
    pub(crate) platform: String,
    /// The kind of client: `cli`, `webchat`, `app`, ...
    pub mode: String,
    /// Id of one installation, the same whenever it connects; the connection's id stands in for it.
    pub(crate) instance_id: Option<String>,
}

/// `hello.auth`. Deliberately without `Debug`: the token must reach no log.
#[derive(Clone, Deserialize)]
pub(crate) struct Auth {
    /// The gateway's token.
    pub(crate) token: Option<String>,
}

/// Answer to a good `hello`: the first frame that a client gets.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "hello-ok", rename_all = "camelCase")]
pub(crate) struct HelloOk<'a> {
    /// The version that both will speak.
    pub(crate) protocol: u64,
    pub(crate) server: ServerInfo<'a>,
    /// The methods that this server answers, and the events that it sends.
    pub(crate) features: Features<'a>,
    /// Enough to draw a status view.
    pub(crate) snapshot: Snapshot<'a>,
    /// The limits that matter to a client.
    pub(crate) policy: Policy,
}

/// `hello-ok.server`: who answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServerInfo<'a> {
    pub(crate) version: &'a str,
    /// The commit it was built from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commit: Option<&'a str>,
    /// Name of the gateway's host.
    pub(crate) host: &'a str,
    /// Id of this connection, unique over restarts.
    pub(crate) conn_id: &'a str,
}

/// `hello-ok.features`: the names of methods and events.
#[derive(Debug, Serialize)]
pub(crate) struct Features<'a> {
    pub(crate) methods: Vec<&'a str>,
    pub(crate) events: Vec<&'a str>,
}

/// `hello-ok.snapshot`: what events will change.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Snapshot<'a> {
    /// Everybody who is present: an array of [`PresenceEntry`](crate::protocol::payload::PresenceEntry).
    pub(crate) presence: &'a RawValue,
    /// The gateway's [`Health`](crate::protocol::payload::Health).
    pub(crate) health: &'a RawValue,
    /// The versions of presence and health.
    pub(crate) state_version: StateVersion,
    /// Time since the gateway started.
    pub(crate) uptime_ms: u64,
}

/// Versions of the two replicated pieces of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct StateVersion {
    /// Counts changes of presence.
    pub(crate) presence: u64,
    /// Counts changes of health.
    pub(crate) health: u64,
}

/// `hello-ok.policy`: the bounds on what a client may send and leave unread.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Policy {
    /// Largest frame in either direction, in bytes.
    pub(crate) max_payload: usize,
    /// Largest backlog of a connection, in bytes.
    pub(crate) max_buffered_bytes: usize,
    pub(crate) tick_interval_ms: u64,
}

/// Answer to a bad `hello`, before the close.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "hello-error", rename_all = "camelCase")]
pub(crate) struct HelloError<'a> {
    /// Why the client was refused, for a person.
    pub(crate) reason: &'a str,
    /// The version that this server speaks.
    pub(crate) expected_protocol: u64,
    /// The oldest version of a client that this server serves.
    pub(crate) min_client: &'a str,
}
