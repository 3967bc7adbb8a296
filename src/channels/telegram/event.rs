//! What the threads of this surface tell: to the channels thread about the surface, to state about
//! what state asked for.

use crossbeam_channel::Sender;

use crate::channels::delivery::{AttemptId, AttemptOutcome, FetchedFile};
use crate::channels::event::ChannelEvent;
use crate::channels::message::Arrival;
use crate::channels::telegram::api::BotAccount;
use crate::channels::telegram::error::ApiError;
use crate::port::Port;
use crate::protocol::call::Channel;

/// One thing that a thread of this surface found out.
#[derive(Debug)]
pub(in crate::channels) struct TelegramEvent {
    /// Which time of being switched on it belongs to.
    pub(super) epoch: u64,
    /// What.
    pub(super) kind: EventKind,
}

/// The kinds of it.
#[derive(Debug)]
pub(super) enum EventKind {
    /// The bot's own account.
    Identified(BotAccount),
    /// A poll was answered.
    Polled,
    /// A poll, or a send, found trouble.
    Trouble(ApiError),
    /// Another gateway on this host polls: which, in words.
    PolledElsewhere(String),
    /// Why nobody can say whether one does, or that it is clear again.
    Disputed(Option<String>),
    /// What a poll brought.
    Batch {
        /// In order.
        arrivals: Vec<Arrival>,
        /// Name and value of the place behind it.
        cursor: Option<(String, String)>,
    },
    /// Somebody asked to look; the bot's account, or what is wrong.
    Probed(Result<BotAccount, ApiError>),
}

/// The way out of a thread of this surface.
#[derive(Clone)]
pub(super) struct Reporter {
    /// That of the thread.
    pub(super) epoch: u64,
    /// To the channels thread.
    pub(super) to_loop: Sender<TelegramEvent>,
    /// To state.
    pub(super) events: Port<ChannelEvent>,
}

impl Reporter {
    /// Nobody listens any more only when the gateway stops.
    pub(super) fn send(&self, kind: EventKind) {
        let _ = self.to_loop.send(TelegramEvent { epoch: self.epoch, kind });
    }

    pub(super) fn outcome(&self, id: AttemptId, outcome: AttemptOutcome) {
        let _ = self.events.send(ChannelEvent::Outcome { id, outcome });
    }

    pub(super) fn fetched(&self, key: String, index: usize, result: Result<FetchedFile, String>) {
        let channel = Channel::Telegram;
        let _ = self.events.send(ChannelEvent::Fetched { channel, key, index, result });
    }
}
