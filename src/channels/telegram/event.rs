//! Events of Telegram's threads, for the channels thread; what state asked for goes to state directly.

use crossbeam_channel::Sender;

use crate::channels::ChannelEvent;
use crate::channels::delivery::{AttemptId, AttemptOutcome, FetchedFile};
use crate::channels::message::{Arrival, Fetch};
use crate::channels::telegram::api::BotAccount;
use crate::channels::telegram::error::ApiError;
use crate::port::Port;

/// An event of one of Telegram's threads.
#[derive(Debug)]
pub(in crate::channels) struct TelegramEvent {
    /// Counts how often Telegram was switched on or off before its thread was started.
    pub(super) epoch: u64,
    pub(super) kind: EventKind,
}

#[derive(Debug)]
pub(super) enum EventKind {
    /// The token was accepted: it is this bot's.
    Identified(BotAccount),
    /// A poll was answered.
    Polled,
    /// A poll, or a send, found trouble.
    Trouble(ApiError),
    /// Another gateway on this host polls this bot: which, in words.
    PolledElsewhere(String),
    /// Why nobody can tell whether another gateway polls this bot, or that it is clear again.
    Disputed(Option<String>),
    /// A poll brought updates.
    Batch { arrivals: Vec<Arrival>, cursor: Option<(String, String)> },
    /// Answers `SendCommand::Probe`: the bot's account, or what is wrong.
    Probed(Result<BotAccount, ApiError>),
}

/// Sends what one of Telegram's threads has to tell, each to where it belongs.
#[derive(Clone)]
pub(super) struct Reporter {
    pub(super) epoch: u64,
    pub(super) to_loop: Sender<TelegramEvent>,
    pub(super) events: Port<ChannelEvent>,
}

impl Reporter {
    /// Tells the channels thread. Nobody is there any more only when the gateway stops.
    pub(super) fn send(&self, kind: EventKind) {
        let _ = self.to_loop.send(TelegramEvent { epoch: self.epoch, kind });
    }

    pub(super) fn outcome(&self, id: AttemptId, outcome: AttemptOutcome) {
        let _ = self.events.send(ChannelEvent::Outcome { id, outcome });
    }

    pub(super) fn fetched(&self, fetch: Fetch, result: Result<FetchedFile, String>) {
        let _ = self.events.send(ChannelEvent::fetched(fetch, result));
    }
}
