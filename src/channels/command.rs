//! What state asks of the channels.

use std::path::PathBuf;
use std::time::Duration;

use crate::channels::delivery::Attempt;
use crate::channels::message::{InboundMedia, Route};
use crate::protocol::ConnId;
use crate::protocol::call::Channel;

/// A command of state to the channels.
#[derive(Debug)]
pub(crate) enum ChannelCommand {
    /// Switch a channel on or off. Answered by `ChannelEvent::Switched`.
    SetEnabled { channel: Channel, enabled: bool },
    /// Look at every channel now, for this request. Answered by `ChannelEvent::Probed`.
    Probe { conn: ConnId, id: String },
    /// The batch that this channel handed over last is on record, or is to be offered again after the pause.
    Acknowledge { channel: Channel, result: Result<(), Duration> },
    /// Deliver one part. Answered by `ChannelEvent::Outcome`.
    Deliver(Box<Attempt>),
    /// Get the file with that index of the message with that key. Answered by `ChannelEvent::Fetched`.
    Fetch {
        key: String,
        index: usize,
        channel: Channel,
        media: InboundMedia,
        /// A folder of the gateway's own for what people send, made if it is not there.
        folder: PathBuf,
    },
    /// Remove a file that was fetched: nobody waits for it any more.
    Discard { path: PathBuf },
    /// Show in a chat that somebody is typing, or no longer.
    Typing { route: Route, is_typing: bool },
    /// A message is being answered: where the channel can show that it was read, its sender sees it.
    MarkRead { route: Route, message_id: String, from: String },
    /// Something was forgotten: what was taken in may not stay in a channel's own records.
    Tidy,
    /// Link an account. Answered by several `ChannelEvent::Login`.
    Login { channel: Channel, method: LoginMethod },
    /// Unlink the account. Answered by `ChannelEvent::LoggedOut`.
    Logout { channel: Channel },
    /// The gateway is about to stop: attempts that have not begun are given back as not sent.
    GiveBack,
    /// End the channels thread.
    Stop,
}

/// How an account is linked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LoginMethod {
    /// The phone scans a code.
    Qr,
    /// A code is typed on the phone, whose number is given as `+15550001111`.
    Code { phone: String },
}
