//! What state asks of the channels.

use std::path::PathBuf;
use std::time::Duration;

use crate::channels::delivery::Attempt;
use crate::channels::message::{InboundMedia, Route};
use crate::protocol::ConnId;
use crate::protocol::call::Channel;

/// One request of state to the channels.
#[derive(Debug)]
pub enum ChannelCommand {
    /// Switch a channel on or off.
    SetEnabled {
        /// Which.
        channel: Channel,
        /// On or off.
        enabled: bool,
    },
    /// Look at every channel now, for this request.
    Probe {
        /// Who asks.
        conn: ConnId,
        /// Its request.
        id: String,
    },
    /// The batch that this channel handed over last is durable, or is to be offered again after
    /// the pause.
    Acknowledge {
        /// Which.
        channel: Channel,
        /// Go on, or wait.
        result: Result<(), Duration>,
    },
    /// Deliver one part.
    Deliver(Box<Attempt>),
    /// Get a picture or file of a message into a folder.
    Fetch {
        /// Key of the message.
        key: String,
        /// Which of its media.
        index: usize,
        /// The channel that has it.
        channel: Channel,
        /// What it is.
        media: InboundMedia,
        /// Where to: a folder of the gateway's own for what people send, made if it is not there.
        folder: PathBuf,
    },
    /// Remove what was fetched: nobody waits for it any more.
    Drop {
        /// Where it lies.
        path: PathBuf,
    },
    /// Show that somebody is writing there, until it is taken back.
    Typing {
        /// Where.
        route: Route,
        /// Begin or end.
        on: bool,
    },
    /// A message is being answered: where the surface can say so, its sender sees that it was read.
    Seen {
        /// Its chat.
        route: Route,
        /// Its id there.
        message_id: String,
        /// Who wrote it.
        from: String,
    },
    /// Something was forgotten: what was taken in may not stay in a channel's own records.
    Tidy,
    /// Link an account. What comes of it is told in `ChannelEvent::Login`.
    Login {
        /// Which.
        channel: Channel,
        /// How.
        method: LoginMethod,
    },
    /// Unlink the account. Answered by `ChannelEvent::LoggedOut`.
    Logout {
        /// Which.
        channel: Channel,
    },
    /// The gateway is about to stop: attempts that have not begun are given back as not sent.
    GiveBack,
    /// End the thread.
    Stop,
}

/// How an account is linked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginMethod {
    /// The phone scans a code.
    Qr,
    /// A code is typed on the phone.
    Code {
        /// Its number, as `+15550001111`.
        phone: String,
    },
}
