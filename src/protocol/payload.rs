//! Answers to requests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::call::{Channel, RunId};
use crate::protocol::warning::Warning;

/// One participant. `ts` is milliseconds since 1970 of its last change.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PresenceEntry {
    /// Host or program name.
    pub host: String,
    /// Address it connected from.
    pub ip: String,
    /// Its version.
    pub version: String,
    /// `gateway`, `cli`, `webchat`, ...
    pub mode: String,
    /// Seconds since the person last touched that host, at `ts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_input_seconds: Option<u64>,
    /// When this last changed.
    pub ts: u64,
    /// `connect`, `disconnect`, or what the client said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the client said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Stable across reconnects of one installation.
    pub instance_id: String,
}

/// `health`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    /// Nothing that is switched on is broken.
    pub ok: bool,
    /// When this was put together.
    pub ts: u64,
    /// By channel.
    pub channels: BTreeMap<Channel, ChannelHealth>,
    /// The runner.
    pub agent: AgentHealth,
    /// The state folder.
    pub storage: StorageHealth,
    /// Everything is paused.
    pub paused: bool,
}

/// Separate facts about one channel: none is derived from another.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelHealth {
    /// There are credentials or a section in the config.
    pub configured: bool,
    /// Not switched off, by the config or by `set-channel`.
    pub enabled: bool,
    /// One of those that `schemas/common.json` lists.
    pub state: String,
    /// Why, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// There is an account behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linked: Option<bool>,
    /// That account.
    #[serde(skip_serializing_if = "Option::is_none", rename = "self")]
    pub self_id: Option<String>,
    /// Last sign of life of the transport.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_frame_ts: Option<u64>,
    /// Last message in or out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message_ts: Option<u64>,
}

/// The agent runner.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentHealth {
    /// A command is set.
    pub configured: bool,
    /// `unconfigured`, `paused`, `idle`, `busy` or `failing`.
    pub state: String,
    /// Why, and what to do, when it is `failing` or `unconfigured`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Runs in progress.
    pub active: usize,
    /// Runs waiting.
    pub queued: usize,
    /// What keeps the agent out of the state folder: `bwrap` or `none`.
    pub sandbox: String,
    /// Why it is `none`, and what to do.
    #[serde(skip_serializing_if = "Option::is_none", rename = "sandboxReason")]
    pub sandbox_reason: Option<String>,
}

/// The state folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageHealth {
    /// The last write worked.
    pub ok: bool,
    /// Why not, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the state folder holds.
    pub used_bytes: u64,
    /// What its file system has left.
    pub free_bytes: u64,
}

/// `status`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status<'a> {
    /// This server's version.
    pub version: &'a str,
    /// The commit it was built from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<&'a str>,
    /// Protocol version.
    pub protocol: u64,
    /// Process id.
    pub pid: u32,
    /// Since the start.
    pub uptime_ms: u64,
    /// Host name.
    pub host: &'a str,
    /// Where it listens.
    pub url: &'a str,
    /// What clients must show.
    pub auth: Auth,
    /// What a person should mend.
    pub warnings: Vec<&'a Warning>,
    /// Connections past their handshake.
    pub clients: usize,
    /// As `health` answers.
    pub health: &'a Health,
    /// What is switched on.
    pub toggles: Toggles,
    /// Sessions on record.
    pub sessions: usize,
    /// Budget spent.
    pub today: Today<'a>,
    /// Heartbeats.
    pub heartbeat: HeartbeatStatus,
    /// Senders that are not allowed, newest first.
    pub refused: &'a [RefusedSender],
    /// Connections; cut (`truncated`) where a frame could not hold them.
    pub clients_list: Vec<&'a ClientEntry>,
    /// `clientsList` is not whole.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

named! {
    /// `status.auth`: what clients must show to be let in.
    Auth {
        /// The gateway's token.
        Token = "token",
        /// Nothing: whoever reaches the port is let in.
        None = "none",
    }
}

/// The three toggles. Kept across restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Toggles {
    /// Heartbeats are on.
    pub heartbeats: bool,
    /// Everything is paused.
    pub paused: bool,
    /// Channels that were switched explicitly.
    pub channels: BTreeMap<Channel, bool>,
}

/// `status.today`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Today<'a> {
    /// Runs started since midnight UTC.
    pub runs: u64,
    /// The same by person.
    pub runs_by_person: &'a BTreeMap<String, u64>,
}

/// `status.heartbeat`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatStatus {
    /// Between two.
    pub every_minutes: u64,
    /// The next one, if they are on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_ts: Option<u64>,
    /// The last one that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ts: Option<u64>,
}

/// Somebody who wrote and is not allowed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedSender {
    /// Where.
    pub channel: Channel,
    /// Id on that channel.
    pub id: String,
    /// Name, if the channel says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How often.
    pub count: u64,
    /// Last time.
    pub last_ts: u64,
}

/// `status.clientsList[]`: what a client said about itself in `hello`, and its connection.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientEntry {
    /// Connection.
    pub conn_id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it runs on.
    pub platform: String,
    /// What kind of client it is.
    pub mode: String,
    /// Its language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Its browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// When it connected.
    pub since_ts: u64,
}

named! {
    /// How a run ended.
    RunStatus {
        /// With an answer.
        Ok = "ok",
        /// With an error.
        Error = "error",
        /// At its time limit.
        Timeout = "timeout",
        /// By `agent-cancel`, a pause or a shutdown.
        Cancelled = "cancelled",
    }
}

/// First answer to `agent`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunAck<'a> {
    /// The run.
    pub run_id: &'a RunId,
    /// Always `accepted`: clients tell the two answers apart by it.
    pub status: &'a str,
}

/// Last answer to `agent`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunResult<'a> {
    /// The run.
    pub run_id: &'a str,
    /// How it ended.
    pub status: RunStatus,
    /// The final text, or what went wrong.
    pub summary: &'a str,
    /// `summary` was cut.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// Answer to `send`: the surface has taken the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SendResult<'a> {
    /// Names this sending, as a run's does.
    pub run_id: &'a str,
    /// Where it went.
    pub channel: Channel,
    /// Its id there; of the first message where it was split.
    pub message_id: &'a str,
    /// On WhatsApp: what `to` stood for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_jid: Option<&'a str>,
    /// On Telegram: what `to` stood for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_id: Option<&'a str>,
}

/// Answer to `channel-allow`: what holds for that person or group now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Access<'a> {
    /// The surface.
    pub channel: Channel,
    /// The id there, in the one form that is kept.
    pub id: &'a str,
    /// May talk to the agent.
    pub allowed: bool,
    /// Is the owner on this surface.
    pub owner: bool,
    /// What whoever asked should know besides, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Answers to `channel-login` and `channel-logout`: the first says `accepted`, the last how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkStatus<'a> {
    /// The channel.
    pub channel: Channel,
    /// Which answer, or how it ended.
    pub status: LinkPhase,
    /// The account that is linked now, where the channel tells.
    #[serde(skip_serializing_if = "Option::is_none", rename = "self")]
    pub self_id: Option<&'a str>,
    /// Why there is none, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
}

/// See [`LinkStatus`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkPhase {
    /// It has begun; a last answer follows.
    Accepted,
    /// The login worked.
    Linked,
    /// The login did not.
    Failed,
    /// The logout worked.
    Unlinked,
}

impl LinkStatus<'static> {
    /// Nothing but that.
    pub const fn new(channel: Channel, status: LinkPhase) -> Self {
        Self { channel, status, self_id: None, reason: None }
    }
}

/// `sessions-list.sessions[]`
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionEntry<'a> {
    /// The key.
    pub session_key: &'a str,
    /// The conversation under it now.
    pub session_id: &'a str,
    /// Last message.
    pub updated_ts: u64,
    /// Messages of that conversation.
    pub messages: u64,
    /// Where the last one came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_channel: Option<Channel>,
}

/// `session-history`
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPage {
    /// As asked.
    pub session_key: String,
    /// Empty if the session is not known.
    pub session_id: String,
    /// Newest first.
    pub messages: Vec<Message>,
    /// Where the next (older) page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// Who said a message on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A person.
    User,
    /// The agent.
    Assistant,
    /// A tool of the agent.
    Tool,
    /// The gateway.
    Note,
}

/// One message on record. `id` is not stored: it is the record's place in its file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The record's place; also the cursor of a page that ends before it.
    #[serde(default)]
    pub id: String,
    /// When.
    pub ts: u64,
    /// Who.
    pub role: Role,
    /// What.
    pub text: String,
    /// The surface, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// The person on that surface, or the client's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The run it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The key it was asked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// `text` was cut.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl Message {
    /// With nothing but who said what and when.
    pub fn new(role: Role, text: String, ts: u64) -> Self {
        Self {
            id: String::new(),
            ts,
            role,
            text,
            channel: None,
            from: None,
            run_id: None,
            idempotency_key: None,
            truncated: false,
        }
    }
}
