//! What state learns from the channels: the separate facts about each, which state never guesses.

use crate::channels::delivery::{AttemptId, AttemptOutcome, FetchedFile};
use crate::channels::message::Batch;
use crate::protocol::ConnId;
use crate::protocol::call::Channel;
use crate::protocol::event::MessageStatus;
use crate::protocol::payload::ChannelHealth;

/// What state learns from the channels.
#[derive(Debug)]
pub enum ChannelEvent {
    /// The facts about a channel have changed.
    Health {
        /// Which.
        channel: Channel,
        /// All of them.
        health: Box<ChannelHealth>,
    },
    /// Something came in. The channel waits for `ChannelCommand::Acknowledge` before it hands over more.
    Arrived(Batch),
    /// What became of a `ChannelCommand::Deliver`: one for each.
    Outcome {
        /// The attempt's.
        id: AttemptId,
        /// What.
        outcome: AttemptOutcome,
    },
    /// Answers `ChannelCommand::Fetch`.
    Fetched {
        /// The surface.
        channel: Channel,
        /// Key of the message.
        key: String,
        /// Which of its media.
        index: usize,
        /// The file, or a short reason for the person who sent it: `it is larger than 20 MB`.
        result: Result<FetchedFile, String>,
    },
    /// A message that was sent has got further.
    Receipt {
        /// Its id on the surface.
        message_id: String,
        /// How far.
        status: MessageStatus,
    },
    /// How far a `ChannelCommand::Login` is. The last one is [`LoginStep::Over`].
    Login {
        /// Which.
        channel: Channel,
        /// How far.
        step: LoginStep,
    },
    /// Answers `ChannelCommand::Logout`.
    LoggedOut {
        /// Which.
        channel: Channel,
        /// A sentence, if it failed.
        result: Result<(), String>,
    },
    /// A switch has been thrown.
    Switched,
    /// Every channel has been looked at for this request.
    Probed {
        /// Who asked.
        conn: ConnId,
        /// Its request.
        id: String,
    },
}

/// How far a login is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginStep {
    /// Something goes on.
    Progress {
        /// `installing` or `linking`.
        state: &'static str,
        /// In what way.
        reason: Option<String>,
    },
    /// The code to scan now; it replaces the one before.
    Qr {
        /// What the picture says.
        data: String,
        /// How long it holds.
        ttl_ms: u64,
    },
    /// The code to type.
    Code {
        /// Letters and digits.
        code: String,
        /// How long it holds.
        ttl_ms: u64,
    },
    /// The end of it: the account, or why there is none.
    Over(Result<Option<String>, String>),
}
