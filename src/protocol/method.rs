//! The methods: one table, from which everything that differs between them is written.
//!
//! A row adds a method to `hello-ok.features.methods`, compiles its schema in, and says what its parameters
//! become and which thread answers. Knows nothing of answers, and of requests only the parameters.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::call::{
    AgentParams, Channel, ChannelAllowParams, ChannelLoginParams, HealthParams, Keyed, NoParams, RunId,
    SendParams, SessionHistoryParams, SessionsListParams, SetChannelParams, SystemEventParams,
};
use crate::protocol::error::WireError;
use crate::protocol::parse::{agent, channel_allow, channel_login, only, plain, send};
use crate::protocol::schema::{SchemaError, check, validator};

/// Declares the methods. A row has the method's name on the wire; whether it `acts` or only `reads`, which
/// decides whether members that it does not know are refused; its schema, and the members that stand there;
/// and after the arrow who answers (`state`: the state thread; `connection`: the client's own thread), what
/// with, and the function that makes this of the parameters.
macro_rules! methods {
    ($(
        $(#[$doc:meta])*
        $method:ident = $name:literal, $effects:ident, $schema:literal, [$($member:literal),*]
            => $(state($call:ty) by $read:ident)? $(connection($own:ty) by $own_read:ident)?;
    )*) => {
        named! {
            /// Every method that this server answers, in the order of `features.methods`.
            Method { $($(#[$doc])* $method = $name,)* }
        }

        /// What the state thread is asked, with validated and parsed parameters.
        #[derive(Debug)]
        pub(crate) enum Call { $($($method($call),)?)* }

        /// A request with validated and parsed parameters, by the thread that answers it.
        #[derive(Debug)]
        pub(crate) enum Request {
            State(Call),
            // The client's own thread answers these.
            $($($method($own),)?)*
        }

        mod schemas {
            $(super::validator!($method $schema);)*
        }

        impl Method {
            /// Whether unknown members of `params` are refused (they might be a misspelt option)
            /// instead of ignored.
            pub const fn has_side_effects(self) -> bool {
                match self { $(Method::$method => methods!(@ $effects)),* }
            }

            /// The members that `params` may have.
            pub(super) const fn members(self) -> &'static [&'static str] {
                match self { $(Method::$method => &[$($member),*]),* }
            }

            /// Checks `params` by the method's schema; paths begin with `/params`.
            pub(super) fn check(self, params: &Value) -> Result<(), SchemaError> {
                match self {
                    $(Method::$method => {
                        check(params, "/params", schemas::$method::is_valid, schemas::$method::validate)
                    })*
                }
            }

            /// Makes a request of `params` that have passed the check.
            pub(super) fn read(self, params: Value) -> Result<Request, WireError> {
                Ok(match self {$(
                    $(Method::$method => Request::State(Call::$method($read($name, params)?)),)?
                    $(Method::$method => Request::$method($own_read($name, params)?),)?
                )*})
            }
        }
    };
    (@ reads) => { false };
    (@ acts) => { true };
}

methods! {
    /// Health of the channels, the agent and the storage.
    Health = "health", reads, "schemas/params-health.json", ["probe"] => state(HealthParams) by plain;
    /// Health, and everything around it that a person may want to see.
    Status = "status", reads, "schemas/params-status.json", [] => state(NoParams) by plain;
    /// The clients, and who else is on record as present.
    SystemPresence = "system-presence", reads, "schemas/params-system-presence.json", []
        => state(NoParams) by plain;
    /// A note about the caller's host, for the agent and for the caller's entry in presence.
    SystemEvent = "system-event", acts, "schemas/params-system-event.json",
        ["text", "lastInputSeconds", "mode", "tags", "reason"]
        => state(Box<SystemEventParams>) by plain;
    /// A message to a person or group on a channel.
    Send = "send", acts, "schemas/params-send.json",
        ["to", "message", "channel", "provider", "mediaUrl", "idempotencyKey"]
        => state(Box<Keyed<SendParams>>) by send;
    /// A run of the agent.
    Agent = "agent", acts, "schemas/params-agent.json",
        ["message", "to", "sessionKey", "sessionId", "thinking", "deliver", "channel", "provider", "timeout",
         "attachments", "idempotencyKey"]
        => state(Box<Keyed<AgentParams>>) by agent;
    /// The end of a run.
    AgentCancel = "agent-cancel", acts, "schemas/params-agent-cancel.json", ["runId"]
        => state(RunId) by only;
    /// The sessions, newest first.
    SessionsList = "sessions-list", reads, "schemas/params-sessions-list.json", ["limit", "before"]
        => state(SessionsListParams) by plain;
    /// The messages of a session, newest first. Never reaches the state thread, which reads no files.
    SessionHistory = "session-history", reads, "schemas/params-session-history.json",
        ["sessionKey", "limit", "before"]
        => connection(SessionHistoryParams) by plain;
    /// A new conversation under the same key.
    SessionReset = "session-reset", acts, "schemas/params-session-reset.json", ["sessionKey"]
        => state(String) by only;
    /// A new conversation under the same key, and every trace of the old one deleted.
    SessionForget = "session-forget", acts, "schemas/params-session-forget.json", ["sessionKey"]
        => state(String) by only;
    /// Heartbeats switched on or off.
    SetHeartbeats = "set-heartbeats", acts, "schemas/params-set-heartbeats.json", ["enabled"]
        => state(bool) by only;
    /// A channel switched on or off.
    SetChannel = "set-channel", acts, "schemas/params-set-channel.json", ["channel", "enabled"]
        => state(SetChannelParams) by plain;
    /// Everything paused or resumed.
    SetPaused = "set-paused", acts, "schemas/params-set-paused.json", ["paused"]
        => state(bool) by only;
    /// A person or group let in on a channel, or shut out again.
    ChannelAllow = "channel-allow", acts, "schemas/params-channel-allow.json",
        ["channel", "id", "owner", "remove"]
        => state(ChannelAllowParams) by channel_allow;
    /// An account linked to a channel.
    ChannelLogin = "channel-login", acts, "schemas/params-channel-login.json", ["channel", "method", "phone"]
        => state(ChannelLoginParams) by channel_login;
    /// A channel's account unlinked.
    ChannelLogout = "channel-logout", acts, "schemas/params-channel-logout.json", ["channel"]
        => state(Channel) by only;
}
