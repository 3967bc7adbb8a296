//! What requests ask with: the parameters of the methods, but for those that require a single one, and the words
//! that they share.
//!
//! Plain data. How it comes out of a request is for `method`, which members it may have for the schemas.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

named! {
    /// A messaging channel.
    Channel {
        /// Telegram, by its Bot API.
        Telegram = "telegram",
        /// WhatsApp, as a linked device.
        Whatsapp = "whatsapp",
    }
}

named! {
    /// How much the model may think. Pi takes an unknown level for `off`, so it is checked here.
    #[derive(Default)]
    Thinking {
        /// No thinking at all.
        #[default]
        Off = "off",
        /// As little thinking as there is.
        Minimal = "minimal",
        /// A little thinking.
        Low = "low",
        /// A medium amount of thinking.
        Medium = "medium",
        /// A lot of thinking.
        High = "high",
        /// As much thinking as there is.
        Xhigh = "xhigh",
    }
}

/// Id of one run, unique over restarts. Cloning is a reference count.
pub type RunId = Arc<str>;

/// SHA-256 over the canonical parameters of a request, its key left out.
pub(crate) type Digest = [u8; 32];

/// Parameters of a method that acts once per idempotency key.
#[derive(Debug)]
pub(crate) struct Keyed<T> {
    /// The parameters but for the key.
    pub(crate) params: T,
    /// The idempotency key.
    pub(crate) key: String,
    /// Tells requests with the same parameters, which repeat each other, from those that only share a key.
    pub(crate) digest: Digest,
}

/// Parameters of methods that have none: `status`, `system-presence`.
#[derive(Debug, Deserialize)]
pub(crate) struct NoParams {}

/// Parameters of `health`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct HealthParams {
    /// The channels are asked now, instead of shown as they were last known to be.
    #[serde(default)]
    pub(crate) probe: bool,
}

/// Parameters of `system-event`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SystemEventParams {
    /// For the owner's next agent turn.
    pub(crate) text: String,
    /// Since the person last touched the client's host.
    pub(crate) last_input_seconds: Option<u64>,
    /// Replaces the mode in the caller's presence entry, as the members below do.
    pub(crate) mode: Option<String>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) reason: Option<String>,
}

/// Parameters of `send`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SendParams {
    /// Address on the channel.
    pub(crate) to: String,
    pub(crate) message: String,
    /// Guessed from `to` if absent. `provider` is folded into it before parsing.
    pub(crate) channel: Option<Channel>,
    /// Address of a picture or file to go with the message.
    pub(crate) media_url: Option<String>,
}

/// Parameters of `agent`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentParams {
    /// The text of the prompt.
    pub(crate) message: String,
    /// Where `deliver` sends the answer.
    pub(crate) to: Option<String>,
    /// `main` if absent.
    pub(crate) session_key: Option<String>,
    /// Must be the session's current id, if given.
    pub(crate) session_id: Option<String>,
    /// The configured level if absent.
    pub(crate) thinking: Option<Thinking>,
    /// The answer is sent to `to` on `channel`, too.
    #[serde(default)]
    pub(crate) deliver: bool,
    /// Where `to` is an address. `provider` is folded into it before parsing.
    pub(crate) channel: Option<Channel>,
    /// Seconds; the configured limit if absent.
    pub(crate) timeout: Option<u64>,
    /// Pictures for the model.
    #[serde(default)]
    pub(crate) attachments: Vec<Attachment>,
}

/// A picture inside an `agent` call.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attachment {
    pub(crate) mime_type: String,
    /// The picture in base64.
    pub(crate) content: String,
}

/// Parameters of `sessions-list`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionsListParams {
    /// Sessions in a page.
    pub(crate) limit: Option<usize>,
    /// The `before` of the page above.
    pub(crate) before: Option<String>,
}

/// Parameters of `session-history`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionHistoryParams {
    /// The session whose messages are asked for.
    pub session_key: String,
    /// Messages in a page.
    pub limit: Option<usize>,
    /// The `before` of the page above.
    pub before: Option<String>,
}

/// Parameters of `set-channel`.
#[derive(Debug, Deserialize)]
pub(crate) struct SetChannelParams {
    pub(crate) channel: Channel,
    pub(crate) enabled: bool,
}

/// Parameters of `channel-allow`.
#[derive(Debug, Deserialize)]
pub(crate) struct ChannelAllowParams {
    pub(crate) channel: Channel,
    /// A person or group on the channel, as typed; `channels::address::person_id` says what it means.
    pub(crate) id: String,
    /// This person is the owner there. Never together with `remove`.
    #[serde(default)]
    pub(crate) owner: bool,
    /// The person or group is shut out again.
    #[serde(default)]
    pub(crate) remove: bool,
}

/// Parameters of `channel-login`.
#[derive(Debug, Deserialize)]
pub(crate) struct ChannelLoginParams {
    pub(crate) channel: Channel,
    #[serde(default)]
    pub(crate) method: LoginKind,
    /// The number of the phone, as `+15550001111`. There exactly with [`LoginKind::Code`].
    pub(crate) phone: Option<String>,
}

/// How an account is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LoginKind {
    /// The phone scans a QR code.
    #[default]
    Qr,
    /// A code is typed on the phone.
    Code,
}
