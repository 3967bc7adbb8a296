//! What state learns from the channels. State never guesses anything about a channel.

use crate::channels::delivery::{AttemptId, AttemptOutcome, FetchedFile};
use crate::channels::message::Batch;
use crate::protocol::ConnId;
use crate::protocol::call::Channel;
use crate::protocol::event::MessageStatus;
use crate::protocol::payload::ChannelHealth;

/// An event of the channels.
#[derive(Debug)]
pub(crate) enum ChannelEvent {
    /// All that is known about a channel; something of it has changed.
    Health { channel: Channel, health: Box<ChannelHealth> },
    /// Messages came in. The channel waits for `ChannelCommand::Acknowledge` before it hands over more.
    Arrived(Batch),
    /// What became of a `ChannelCommand::Deliver`: exactly one for each.
    Outcome { id: AttemptId, outcome: AttemptOutcome },
    /// Answers `ChannelCommand::Fetch`.
    Fetched {
        channel: Channel,
        key: String,
        index: usize,
        /// The file, or a short reason for the person who sent it: `it is larger than 20 MB`.
        result: Result<FetchedFile, String>,
    },
    /// A message that was sent, with the id that it has on its channel, has got further.
    Receipt { message_id: String, status: MessageStatus },
    /// A login has got further. The last step is [`LoginStep::Over`].
    Login { channel: Channel, step: LoginStep },
    /// Answers `ChannelCommand::Logout`; a sentence, if it failed.
    LoggedOut { channel: Channel, result: Result<(), String> },
    /// Answers `ChannelCommand::SetEnabled`.
    Switched,
    /// Answers `ChannelCommand::Probe`: every channel has been looked at.
    Probed { conn: ConnId, id: String },
}

/// How far a login is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LoginStep {
    /// Something goes on: `installing` or `linking`, with words about it.
    Progress { state: &'static str, reason: Option<String> },
    /// What the code to scan says. It replaces the one before and holds for that long.
    Qr { data: String, ttl_ms: u64 },
    /// The letters and digits to type on the phone, which hold for that long.
    Code { code: String, ttl_ms: u64 },
    /// The login has ended: with the account, or why there is none.
    Over(Result<Option<String>, String>),
}
