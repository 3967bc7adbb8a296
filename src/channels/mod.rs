//! The channels: Telegram and WhatsApp. What comes in (`message`) and goes out (`delivery`) is the same for
//! both, and so is what state asks of them and learns: it never guesses anything about a channel.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use crate::limits::{SIDECAR_INBOX, TELEGRAM_EVENTS_INBOX};
use crate::port::Port;
use crate::protocol::ConnId;
use crate::protocol::call::Channel;
use crate::protocol::event::MessageStatus;
use crate::protocol::payload::ChannelHealth;
use crate::threads;

pub(crate) mod address;
mod channels_loop;
pub(crate) mod delivery;
mod health;
mod lease;
pub(crate) mod message;
mod telegram;
mod text;
pub(crate) mod web;
mod whatsapp;

pub(crate) use telegram::TelegramSetup;
#[doc(hidden)]
pub use telegram::read_updates;
pub(crate) use text::compose;
pub(crate) use whatsapp::WhatsappSetup;
#[doc(hidden)]
pub use whatsapp::read_sidecar;

use channels_loop::ChannelsLoop;
use delivery::{Attempt, AttemptId, AttemptOutcome, FetchedFile};
use message::{Batch, Fetch, Route};
use telegram::Telegram;
use whatsapp::Whatsapp;

/// What the channels start with.
pub(crate) struct ChannelsSetup {
    /// Telegram, if it is configured.
    pub(crate) telegram: Option<TelegramSetup>,
    /// WhatsApp, configured or not.
    pub(crate) whatsapp: WhatsappSetup,
    /// Channels that are on, by the config or by the toggles that were kept.
    pub(crate) enabled: Vec<Channel>,
    /// Names and values of [`message::Batch::cursor`] that were durable last.
    pub(crate) cursors: BTreeMap<String, String>,
}

/// Starts the channels thread.
pub(crate) fn spawn(
    setup: ChannelsSetup,
    commands: Receiver<Box<ChannelCommand>>,
    events: Port<ChannelEvent>,
) -> io::Result<JoinHandle<()>> {
    let (to_telegram, telegram_events) = bounded(TELEGRAM_EVENTS_INBOX);
    let (to_whatsapp, whatsapp_events) = bounded(SIDECAR_INBOX);
    let ChannelsSetup { telegram, whatsapp, enabled, cursors } = setup;
    threads::spawn_owner("channels", move || {
        let mut telegram = Telegram::new(telegram, cursors, to_telegram, events.clone());
        telegram.switch(enabled.contains(&Channel::Telegram));
        let mut whatsapp = Whatsapp::new(whatsapp, events.clone(), to_whatsapp);
        whatsapp.switch(enabled.contains(&Channel::Whatsapp), Instant::now());
        ChannelsLoop { telegram, whatsapp, events }.run(&commands, &telegram_events, &whatsapp_events);
    })
}

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
    /// Fetch a file. Answered by `ChannelEvent::Fetched`.
    Fetch(Fetch),
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

impl ChannelEvent {
    /// The answer to an order to fetch a file.
    fn fetched(fetch: Fetch, result: Result<FetchedFile, String>) -> Self {
        let Fetch { channel, key, index, .. } = fetch;
        Self::Fetched { channel, key, index, result }
    }
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
