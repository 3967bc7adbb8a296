//! The methods: one table, from which everything that differs between them is written.
//!
//! A row adds a method to `hello-ok.features.methods`, compiles its schema in, and says what its parameters
//! become and which thread answers. The functions behind the table make what a method is asked with of parameters
//! that satisfy its schema; what a schema cannot say well (base64, members that exclude or need each other) is
//! checked there. Knows nothing of answers, and of requests only the parameters.

use std::io::{self, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::protocol::call::{
    AgentParams, Attachment, Channel, ChannelAllowParams, ChannelLoginParams, Digest, HealthParams, Keyed,
    LoginKind, NoParams, RunId, SendParams, SessionHistoryParams, SessionsListParams, SetChannelParams,
    SystemEventParams,
};
use crate::protocol::error::WireError;
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

/// For parameters of which the schema says everything. Fails only where type and schema contradict each other.
fn plain<T: DeserializeOwned>(method: &str, params: Value) -> Result<T, WireError> {
    serde_json::from_value(params).map_err(|_| {
        WireError::internal(format!("parameters that the schema of `{method}` allows could not be read"))
    })
}

/// For a method with one parameter, which its schema requires: what that is.
fn only<T: DeserializeOwned>(method: &str, mut params: Value) -> Result<T, WireError> {
    let member = params.as_object_mut().and_then(|members| members.values_mut().next());
    plain(method, member.map(Value::take).unwrap_or_default())
}

/// Parameters with their digest. It is made of them after `provider`, by which older clients say `channel`,
/// has been folded into that, and without the idempotency key.
fn keyed<T: DeserializeOwned>(method: &str, mut params: Value) -> Result<Box<Keyed<T>>, WireError> {
    let Some(members) = params.as_object_mut() else {
        return Err(WireError::invalid("`/params`: value is not of type \"object\""));
    };
    if let Some(provider) = members.remove("provider") {
        let channel = members.entry("channel").or_insert_with(|| provider.clone());
        if *channel != provider {
            return Err(WireError::invalid(
                "`/params/provider`: another value than that of `/params/channel`, which is the same option: give one of them",
            ));
        }
    }
    let key = plain(method, members.remove("idempotencyKey").unwrap_or_default())?;
    let digest = digest(&mut params);
    Ok(Box::new(Keyed { params: plain(method, params)?, key, digest }))
}

/// SHA-256 over `value` as JSON without blanks, members in the order of their names: two requests under one
/// idempotency key are the same if their parameters are the same JSON value, in whatever order its members
/// stand and however its numbers and strings were written.
fn digest(value: &mut Value) -> Digest {
    struct Sink(Sha256);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    // They are sorted, unless a crate in the tree has `serde_json` keep the order in which they stood.
    value.sort_all_objects();
    let mut sink = Sink(Sha256::new());
    // Neither hashing nor writing a `Value` can fail.
    let _ = serde_json::to_writer(&mut sink, value);
    sink.0.finalize().into()
}

/// For `send`, which needs something to send.
fn send(method: &str, params: Value) -> Result<Box<Keyed<SendParams>>, WireError> {
    let keyed: Box<Keyed<SendParams>> = keyed(method, params)?;
    if keyed.params.message.trim().is_empty() && keyed.params.media_url.is_none() {
        return Err(WireError::invalid(
            "`/params/message`: value is empty, which only a `mediaUrl` makes up for",
        ));
    }
    Ok(keyed)
}

/// For `agent`, which needs something to say, and attachments that are base64.
fn agent(method: &str, params: Value) -> Result<Box<Keyed<AgentParams>>, WireError> {
    let keyed: Box<Keyed<AgentParams>> = keyed(method, params)?;
    let AgentParams { message, attachments, .. } = &keyed.params;
    if message.trim().is_empty() && attachments.is_empty() {
        return Err(WireError::invalid(
            "`/params/message`: value is empty, which only `attachments` make up for",
        ));
    }
    let is_bad = |attachment: &Attachment| !is_base64(attachment.content.as_bytes());
    if let Some(i) = attachments.iter().position(is_bad) {
        return Err(WireError::invalid(format!(
            "`/params/attachments/{i}/content`: value is no base64 (RFC 4648, padded, in one line, without a `data:` prefix)"
        )));
    }
    Ok(keyed)
}

/// For `channel-allow`. Whoever is removed is no owner either, so the two contradict each other.
fn channel_allow(method: &str, params: Value) -> Result<ChannelAllowParams, WireError> {
    let params: ChannelAllowParams = plain(method, params)?;
    if params.owner && params.remove {
        return Err(WireError::invalid("`/params/owner`: cannot be true together with `remove`"));
    }
    Ok(params)
}

/// For `channel-login`. A number that would be ignored was meant for something, so it is no good with a QR code.
fn channel_login(method: &str, params: Value) -> Result<ChannelLoginParams, WireError> {
    let params: ChannelLoginParams = plain(method, params)?;
    let wrong = match (params.method, &params.phone) {
        (LoginKind::Code, None) => {
            "required member is missing: method `code` needs the phone's number, such as +15550001111"
        }
        (LoginKind::Qr, Some(_)) => "only method `code` takes a phone's number",
        (LoginKind::Code, Some(phone)) if !is_e164(phone) => {
            "value is no phone number: `+`, the country code and the number, digits only, such as +15550001111"
        }
        _ => return Ok(params),
    };
    Err(WireError::invalid(format!("`/params/phone`: {wrong}")))
}

/// E.164 allows 15 digits, no country code begins with 0, and no number is shorter than 7.
fn is_e164(phone: &str) -> bool {
    phone.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Alphabet, padding and length; what it decodes to is the agent's business.
fn is_base64(text: &[u8]) -> bool {
    let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let data = &text[..text.len() - padding];
    !data.is_empty()
        && text.len() % 4 == 0
        && data.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sha2::{Digest as _, Sha256};

    use super::{digest, is_base64};

    #[test]
    fn base64() {
        for good in ["AAAA", "AAA=", "AA==", "a+/9AAA="] {
            assert!(is_base64(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "A",
            "AAA",
            "====",
            "A===",
            "AA=A",
            "=AAA",
            "AA-_",
            "AAAA\nAAA",
            "AAAA AAA",
            "data:image/png;base64,AAAA",
            "AAAñ",
        ] {
            assert!(!is_base64(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn is_the_hash_of_sorted_json() {
        let expected: [u8; 32] = Sha256::digest(br#"{"a":[1,{"x":null,"y":true}],"b":"\"\n"}"#).into();
        let mut value: Value =
            serde_json::from_str("{ \"b\": \"\\u0022\\u000a\",\n\"a\": [1, {\"y\": true, \"x\": null}] }")
                .unwrap();
        assert_eq!(digest(&mut value), expected);
    }

    #[test]
    fn tells_values_apart() {
        let values = [
            json!({}),
            json!({"a": 1}),
            json!({"a": "1"}),
            json!({"a": [1]}),
            json!({"a": [1, 1]}),
            json!({"a": [11]}),
        ];
        for (i, a) in values.iter().enumerate() {
            for b in &values[i + 1..] {
                assert_ne!(digest(&mut a.clone()), digest(&mut b.clone()), "{a} {b}");
            }
        }
    }
}
