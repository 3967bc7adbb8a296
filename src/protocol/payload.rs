//! What requests are answered with. Plain data: nothing here knows how it came about.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::call::{Channel, RunId};
use crate::protocol::warning::Warning;

/// Somebody who is listed as present: a client, or the gateway itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PresenceEntry {
    /// Name of the host or program.
    pub(crate) host: String,
    /// The address that the client connected from.
    pub(crate) ip: String,
    /// Version of the program.
    pub(crate) version: String,
    /// The kind of participant: `gateway`, `cli`, `webchat`, ...
    pub(crate) mode: String,
    /// Seconds since the person last touched that host, at `ts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_input_seconds: Option<u64>,
    /// When the entry last changed, in milliseconds since 1970.
    pub(crate) ts: u64,
    /// Why the entry changed: `connect`, `disconnect`, or what the client said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<Vec<String>>,
    /// Id of one installation, the same whenever it connects.
    pub(crate) instance_id: String,
}

/// Answer to `health`, and a part of other answers and events.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Health {
    /// Nothing that is switched on is broken.
    pub(crate) ok: bool,
    /// When the answer was put together.
    pub(crate) ts: u64,
    pub(crate) channels: BTreeMap<Channel, ChannelHealth>,
    pub(crate) agent: AgentHealth,
    pub(crate) storage: StorageHealth,
    /// The gateway asks and sends nothing for now.
    pub(crate) paused: bool,
}

/// Separate facts about one channel: none is derived from another.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChannelHealth {
    /// There are credentials or a section in the config.
    pub(crate) configured: bool,
    /// Not switched off, by the config or by `set-channel`.
    pub(crate) enabled: bool,
    /// One of the states that `schemas/common.json` lists.
    pub(crate) state: String,
    /// Why the channel is in that state, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// There is an account behind the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) linked: Option<bool>,
    /// The account behind the channel.
    #[serde(skip_serializing_if = "Option::is_none", rename = "self")]
    pub(crate) self_id: Option<String>,
    /// The last sign of life of the transport.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_frame_ts: Option<u64>,
    /// The last message in or out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_message_ts: Option<u64>,
}

/// The condition of what runs the agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct AgentHealth {
    /// There is a command to run.
    pub(crate) configured: bool,
    /// `unconfigured`, `paused`, `idle`, `busy` or `failing`.
    pub(crate) state: String,
    /// Why the agent is in that state, and what to do, when it is `failing` or `unconfigured`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Number of runs in progress.
    pub(crate) active: usize,
    /// Number of runs that wait.
    pub(crate) queued: usize,
    /// What keeps the agent out of the state folder: `bwrap` or `none`.
    pub(crate) sandbox: String,
    /// Why the sandbox is `none`, and what to do.
    #[serde(skip_serializing_if = "Option::is_none", rename = "sandboxReason")]
    pub(crate) sandbox_reason: Option<String>,
}

/// The condition of the state folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StorageHealth {
    /// The last write worked.
    pub(crate) ok: bool,
    /// Why the last write failed, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Bytes in the state folder.
    pub(crate) used_bytes: u64,
    /// Bytes left on the folder's file system.
    pub(crate) free_bytes: u64,
}

/// Answer to `status`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status<'a> {
    pub(crate) version: &'a str,
    /// The commit it was built from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commit: Option<&'a str>,
    pub(crate) protocol: u64,
    pub(crate) pid: u32,
    pub(crate) uptime_ms: u64,
    /// Name of the gateway's host.
    pub(crate) host: &'a str,
    /// Where the gateway listens.
    pub(crate) url: &'a str,
    pub(crate) auth: Auth,
    pub(crate) warnings: Vec<&'a Warning>,
    /// Number of connections past their handshake.
    pub(crate) clients: usize,
    pub(crate) health: &'a Health,
    pub(crate) toggles: Toggles,
    /// Number of sessions on record.
    pub(crate) sessions: usize,
    pub(crate) today: Today<'a>,
    pub(crate) heartbeat: HeartbeatStatus,
    /// Senders that are not allowed, newest first.
    pub(crate) refused: &'a [RefusedSender],
    /// The connections; cut (`truncated`) where a frame could not hold them.
    pub(crate) clients_list: Vec<&'a ClientEntry>,
    /// `clients_list` is not whole.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) truncated: bool,
}

named! {
    /// `status.auth`: what clients must show to be let in.
    Auth {
        /// Clients must show the gateway's token.
        Token = "token",
        /// Clients must show nothing: whoever reaches the port is let in.
        None = "none",
    }
}

/// What can be switched on and off. Kept across restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub(crate) struct Toggles {
    pub(crate) heartbeats: bool,
    pub(crate) paused: bool,
    /// The channels that were switched on or off explicitly.
    pub(crate) channels: BTreeMap<Channel, bool>,
}

/// `status.today`: what was spent of the day's budget.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Today<'a> {
    /// Runs started since midnight UTC.
    pub(crate) runs: u64,
    /// The runs since midnight UTC by person.
    pub(crate) runs_by_person: &'a BTreeMap<String, u64>,
}

/// `status.heartbeat`: the agent's turns that nobody asks for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeartbeatStatus {
    /// Minutes between two heartbeats.
    pub(crate) every_minutes: u64,
    /// When the next heartbeat comes, if they are on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_ts: Option<u64>,
    /// When the agent was last asked for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_ts: Option<u64>,
}

/// `status.refused[]`: somebody who wrote and is not let in.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RefusedSender {
    pub(crate) channel: Channel,
    /// The sender's id on the channel.
    pub(crate) id: String,
    /// The sender's name, if the channel says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Number of messages.
    pub(crate) count: u64,
    /// When the last message came.
    pub(crate) last_ts: u64,
}

/// `status.clientsList[]`: what a client said about itself in `hello`, and its connection.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClientEntry {
    pub(crate) conn_id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// What the client runs on.
    pub(crate) platform: String,
    /// The kind of client.
    pub(crate) mode: String,
    /// The client's language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) locale: Option<String>,
    /// The client's browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_agent: Option<String>,
    /// When the client connected.
    pub(crate) since_ts: u64,
}

named! {
    /// How a run ended.
    RunStatus {
        /// The run ended with an answer.
        Ok = "ok",
        /// The run ended with an error.
        Error = "error",
        /// The run reached its time limit.
        Timeout = "timeout",
        /// The run was ended by `agent-cancel`, a pause or a shutdown.
        Cancelled = "cancelled",
    }
}

/// First answer to `agent`, when the run has been accepted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunAck<'a> {
    pub(crate) run_id: &'a RunId,
    /// Always `accepted`: clients tell the two answers apart by it.
    pub(crate) status: &'a str,
}

/// Last answer to `agent`, when the run has ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunResult<'a> {
    pub(crate) run_id: &'a str,
    pub(crate) status: RunStatus,
    /// The final text, or what went wrong.
    pub(crate) summary: &'a str,
    /// `summary` was cut.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) truncated: bool,
}

/// Answer to `send`: the channel has taken the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SendResult<'a> {
    /// Id of this sending, as a run has one.
    pub run_id: &'a str,
    /// The channel that has taken the message.
    pub channel: Channel,
    /// The message's id there; that of the first part where it was split.
    pub message_id: &'a str,
    /// On WhatsApp: the address that `to` stood for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_jid: Option<&'a str>,
    /// On Telegram: the chat that `to` stood for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_id: Option<&'a str>,
}

/// Answer to `channel-allow`: what holds for that person or group now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Access<'a> {
    /// The channel of that person or group.
    pub channel: Channel,
    /// The person's or group's id there, in the one form that is kept.
    pub id: &'a str,
    /// Whether they may talk to the agent.
    pub allowed: bool,
    /// Whether this is the owner on that channel.
    pub owner: bool,
    /// What whoever asked should know besides, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Answers to `channel-login` and `channel-logout`: the first says `accepted`, the last how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkStatus<'a> {
    /// The channel whose account it is about.
    pub channel: Channel,
    /// Which answer this is, or how the login or logout ended.
    pub status: LinkPhase,
    /// The account that is linked now, where the channel tells.
    #[serde(skip_serializing_if = "Option::is_none", rename = "self")]
    pub self_id: Option<&'a str>,
    /// Why no account is linked, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
}

/// How far a login or logout is, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkPhase {
    /// The login or logout has begun; a last answer follows.
    Accepted,
    /// The login worked.
    Linked,
    /// The login failed.
    Failed,
    /// The logout worked.
    Unlinked,
}

impl LinkStatus<'static> {
    /// A status with nothing else to say.
    pub const fn new(channel: Channel, status: LinkPhase) -> Self {
        Self { channel, status, self_id: None, reason: None }
    }
}

/// `sessions-list.sessions[]`: a session as it is listed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionEntry<'a> {
    pub(crate) session_key: &'a str,
    /// The conversation under that key now.
    pub(crate) session_id: &'a str,
    /// When the last message came or went.
    pub(crate) updated_ts: u64,
    /// Number of messages of that conversation.
    pub(crate) messages: u64,
    /// The channel of the last message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_channel: Option<Channel>,
}

/// Answer to `session-history`: a page of messages.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPage {
    /// The session that was asked for.
    pub session_key: String,
    /// The conversation; empty if the session is not known.
    pub session_id: String,
    /// The messages, newest first.
    pub messages: Vec<Message>,
    /// Where the next (older) page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// Who said a message on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A person wrote the message.
    User,
    /// The agent wrote the message.
    Assistant,
    /// A tool of the agent wrote the message.
    Tool,
    /// The gateway wrote the message.
    Note,
}

/// One message on record. `id` is not stored: it is the record's place in its file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The place of the record; also the cursor of a page that ends before it.
    #[serde(default)]
    pub id: String,
    /// When the message was written.
    pub ts: u64,
    /// Who wrote the message.
    pub role: Role,
    /// What the message says.
    pub text: String,
    /// The channel that the message came by, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// The person on that channel, or the client's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The run that the message belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The idempotency key that it was asked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// `text` was cut.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl Message {
    /// A message with nothing but who said what and when.
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
