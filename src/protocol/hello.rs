//! The handshake's frames.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// First frame of a client. Unknown members are ignored: new fields are additive.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// Lowest protocol version the client speaks.
    pub min_protocol: u64,
    /// Highest one.
    pub max_protocol: u64,
    /// Who it says it is. Nothing is granted on it.
    pub client: ClientInfo,
    /// Capabilities; `event:NAME` subscribes, unknown ones are ignored.
    #[serde(default)]
    pub caps: Vec<String>,
    /// Credentials.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// Shown in `status`, nothing more.
    #[serde(default)]
    pub locale: Option<String>,
    /// Shown in `status`, nothing more.
    #[serde(default)]
    pub user_agent: Option<String>,
}

/// Self-reported identity of a client.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientInfo {
    /// Program name.
    pub name: String,
    /// Program version; compared with `gateway.minClient` when it parses as semver.
    pub version: String,
    /// Operating system or browser.
    pub platform: String,
    /// `cli`, `webchat`, `app`, ...
    pub mode: String,
    /// Stable across reconnects of one installation; the connection's id stands in for it.
    #[serde(default)]
    pub instance_id: Option<String>,
}

/// `hello.auth`. Deliberately without `Debug`: the token must reach no log.
#[derive(Clone, Deserialize)]
pub struct Auth {
    /// The shared token.
    #[serde(default)]
    pub token: Option<String>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auth(..)")
    }
}

/// Answer to a good `hello`: the first frame that a client gets.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "hello-ok", rename_all = "camelCase")]
pub struct HelloOk<'a> {
    /// The version both will speak.
    pub protocol: u64,
    /// Who answers.
    pub server: ServerInfo<'a>,
    /// Exactly what this server answers and sends.
    pub features: Features<'a>,
    /// Enough to draw a status view.
    pub snapshot: Snapshot<'a>,
    /// The limits that matter to a client.
    pub policy: Policy,
}

/// `hello-ok.server`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerInfo<'a> {
    /// This server's version.
    pub version: &'a str,
    /// The commit it was built from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<&'a str>,
    /// Host name.
    pub host: &'a str,
    /// This connection, unique over restarts.
    pub conn_id: &'a str,
}

/// `hello-ok.features`.
#[derive(Debug, Serialize)]
pub struct Features<'a> {
    /// Method names.
    pub methods: Vec<&'a str>,
    /// Event names.
    pub events: Vec<&'a str>,
}

/// `hello-ok.snapshot`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot<'a> {
    /// Everybody who is listed: an array of [`PresenceEntry`](crate::protocol::payload::PresenceEntry).
    pub presence: &'a RawValue,
    /// The gateway's [`Health`](crate::protocol::payload::Health).
    pub health: &'a RawValue,
    /// What versions the two above have.
    pub state_version: StateVersion,
    /// Since the gateway started.
    pub uptime_ms: u64,
}

/// Versions of the two replicated pieces of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StateVersion {
    /// Counts changes of presence.
    pub presence: u64,
    /// Counts changes of health.
    pub health: u64,
}

/// `hello-ok.policy`.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Largest frame in either direction, in bytes.
    pub max_payload: usize,
    /// Backlog of a connection, in bytes.
    pub max_buffered_bytes: usize,
    /// Time between ticks.
    pub tick_interval_ms: u64,
}

/// Answer to a bad `hello`, before the close.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "hello-error", rename_all = "camelCase")]
pub struct HelloError<'a> {
    /// For a person.
    pub reason: &'a str,
    /// The version this server speaks.
    pub expected_protocol: u64,
    /// The oldest client version it serves.
    pub min_client: &'a str,
}
