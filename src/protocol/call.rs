//! What requests ask with: the parameters of each method, and the words that they share.
//!
//! Plain data. How it comes out of a request is for `parse`, which members it may have for the schemas.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

named! {
    /// A surface that the gateway owns.
    Channel {
        /// The Telegram Bot API.
        Telegram = "telegram",
        /// WhatsApp Web.
        Whatsapp = "whatsapp",
    }
}

named! {
    /// How much the model may think. Pi takes an unknown level for `off`, so it is checked here.
    #[derive(Default)]
    Thinking {
        /// Not at all.
        #[default]
        Off = "off",
        /// A little.
        Minimal = "minimal",
        /// Some.
        Low = "low",
        /// More.
        Medium = "medium",
        /// A lot.
        High = "high",
        /// As much as there is.
        Xhigh = "xhigh",
    }
}

/// Id of one run, unique over restarts. Cloning is a reference count.
pub type RunId = Arc<str>;

/// SHA-256 over the canonical parameters of a request, its key left out.
pub type Digest = [u8; 32];

/// Parameters of a method that acts once per idempotency key.
#[derive(Debug)]
pub struct Keyed<T> {
    /// The parameters, the key among them.
    pub params: T,
    /// Tells requests with the same parameters, which repeat each other, from those that only share a key.
    pub digest: Digest,
}

/// `status`, `system-presence`: methods without parameters.
#[derive(Debug, Deserialize)]
pub struct NoParams {}

/// `health`
#[derive(Debug, Default, Deserialize)]
pub struct HealthParams {
    /// Ask the channels now.
    #[serde(default)]
    pub probe: bool,
}

/// `system-event`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SystemEventParams {
    /// For the owner's next agent turn.
    pub text: String,
    /// Seconds since the person last touched the client's host.
    pub last_input_seconds: Option<u64>,
    /// New presence mode.
    pub mode: Option<String>,
    /// New presence tags.
    pub tags: Option<Vec<String>>,
    /// New presence reason.
    pub reason: Option<String>,
}

/// `send`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendParams {
    /// Address on the channel.
    pub to: String,
    /// Text.
    pub message: String,
    /// Guessed from `to` if absent. `provider` is folded into it before parsing.
    pub channel: Option<Channel>,
    /// A picture or file to go with it.
    pub media_url: Option<String>,
    /// Makes a retry safe.
    pub idempotency_key: String,
}

/// `agent`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentParams {
    /// The prompt.
    pub message: String,
    /// Where `deliver` sends the answer.
    pub to: Option<String>,
    /// `main` if absent.
    pub session_key: Option<String>,
    /// Must be the session's current id, if given.
    pub session_id: Option<String>,
    /// The configured level if absent.
    pub thinking: Option<Thinking>,
    /// Also send the answer to `to` on `channel`.
    #[serde(default)]
    pub deliver: bool,
    /// See `deliver`. `provider` is folded into it before parsing.
    pub channel: Option<Channel>,
    /// Seconds; the configured limit if absent.
    pub timeout: Option<u64>,
    /// Pictures.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// Makes a retry safe.
    pub idempotency_key: String,
}

/// A picture inside an `agent` call.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// `image/png`, ...
    pub mime_type: String,
    /// Base64.
    pub content: String,
}

/// `agent-cancel`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunParams {
    /// The run.
    pub run_id: RunId,
}

/// `session-reset`, `session-forget`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionParams {
    /// The session.
    pub session_key: String,
}

/// `sessions-list`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionsListParams {
    /// Sessions in a page.
    pub limit: Option<usize>,
    /// The `before` of the page above.
    pub before: Option<String>,
}

/// `session-history`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionHistoryParams {
    /// The session.
    pub session_key: String,
    /// Messages in a page.
    pub limit: Option<usize>,
    /// The `before` of the page above.
    pub before: Option<String>,
}

/// `set-heartbeats`
#[derive(Debug, Deserialize)]
pub struct EnabledParams {
    /// On or off.
    pub enabled: bool,
}

/// `set-channel`
#[derive(Debug, Deserialize)]
pub struct SetChannelParams {
    /// Which.
    pub channel: Channel,
    /// On or off.
    pub enabled: bool,
}

/// `set-paused`
#[derive(Debug, Deserialize)]
pub struct PausedParams {
    /// Paused or not.
    pub paused: bool,
}

/// `channel-allow`
#[derive(Debug, Deserialize)]
pub struct ChannelAllowParams {
    /// The surface.
    pub channel: Channel,
    /// A person or group on it, as typed; `channels::address::person_id` says what it means.
    pub id: String,
    /// This person is the owner there. Never together with `remove`.
    #[serde(default)]
    pub owner: bool,
    /// Take back what was allowed.
    #[serde(default)]
    pub remove: bool,
}

/// `channel-login`
#[derive(Debug, Deserialize)]
pub struct ChannelLoginParams {
    /// Which.
    pub channel: Channel,
    /// How.
    #[serde(default)]
    pub method: LoginKind,
    /// The number of the phone, as `+15550001111`. There exactly with [`LoginKind::Code`].
    pub phone: Option<String>,
}

/// How an account is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoginKind {
    /// The phone scans a QR code.
    #[default]
    Qr,
    /// A code is typed on the phone.
    Code,
}

/// `channel-logout`
#[derive(Debug, Deserialize)]
pub struct ChannelParams {
    /// Which.
    pub channel: Channel,
}
