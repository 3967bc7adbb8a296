//! The way into `outbound`: bounded in messages, and in the bytes of those that are not small.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use tungstenite::Bytes;

use super::Outbound;
use crate::limits::{OUTBOUND_BYTES_MAX, OUTBOUND_INBOX, OUTBOUND_LARGE_BYTES};
use crate::net::permits::{Permit, Permits};
use crate::protocol::ConnId;

/// A message in the queue. Its permit is given back when `outbound` has taken the message in.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(super) message: Outbound,
    _permit: Option<Permit>,
}

/// The senders' end of the queue.
#[derive(Clone)]
pub(crate) struct OutboundSender {
    inbox: Sender<Queued>,
    large: Arc<Permits>,
}

/// Makes the queue. Sending waits for room, both in messages and in bytes: that is how state and the
/// connections are slowed down to what can be written. `outbound` sends to nobody and waits for no client, so
/// there always is room soon; if it ever waited for state, the two could stop each other for good.
pub(crate) fn queue() -> (OutboundSender, Receiver<Queued>) {
    let (inbox, receiver) = bounded(OUTBOUND_INBOX);
    (OutboundSender { inbox, large: Arc::new(Permits::new(OUTBOUND_BYTES_MAX)) }, receiver)
}

impl OutboundSender {
    /// Sends a message. `false`: `outbound` has ended.
    pub(crate) fn send(&self, message: Outbound) -> bool {
        let bytes = message.bytes();
        let permit = (bytes > OUTBOUND_LARGE_BYTES).then(|| self.large.take(bytes));
        self.inbox.send(Queued { message, _permit: permit }).is_ok()
    }

    /// Sends a page, whose maker holds a permit for it already. `turn` is given back when the kernel has
    /// taken all of the page, or nothing can reach the client any more.
    pub(in crate::net) fn send_page(&self, conn: ConnId, frame: Bytes, turn: Permit, made: Permit) -> bool {
        let message = Outbound::Page { conn, frame, turn };
        self.inbox.send(Queued { message, _permit: Some(made) }).is_ok()
    }
}
