//! The channels: Telegram and WhatsApp. What comes in (`message`) and goes out (`delivery`) is the same for
//! both, and so is what state asks of them and learns: it never guesses anything about a channel. The thread
//! `channels` owns both, leads commands and events to the one that they are for, and never blocks on the network.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, bounded, never, select};

use crate::limits::SIDECAR_INBOX;
use crate::port::Port;
use crate::protocol::ConnId;
use crate::protocol::call::Channel;
use crate::protocol::event::MessageStatus;
use crate::protocol::payload::ChannelHealth;
use crate::store::media;
use crate::threads;

pub(crate) mod address;
pub(crate) mod delivery;
mod health;
mod lease;
pub(crate) mod message;
mod telegram;
mod text;
pub(crate) mod web;
mod whatsapp;

use delivery::{Attempt, AttemptId, AttemptOutcome, FetchedFile};
use message::{Batch, Fetch, Route};
use telegram::Telegram;
pub(crate) use telegram::TelegramSetup;
#[doc(hidden)]
pub use telegram::read_updates;
pub(crate) use text::compose;
pub(crate) use whatsapp::WhatsappSetup;
#[doc(hidden)]
pub use whatsapp::read_sidecar;
use whatsapp::{Whatsapp, WhatsappEvent};

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
    let (to_whatsapp, whatsapp_events) = bounded(SIDECAR_INBOX);
    let ChannelsSetup { telegram, whatsapp, enabled, cursors } = setup;
    threads::spawn_owner("channels", move || {
        let mut telegram = Telegram::new(telegram, cursors, events.clone());
        telegram.switch(enabled.contains(&Channel::Telegram));
        let mut whatsapp = Whatsapp::new(whatsapp, events.clone(), to_whatsapp);
        whatsapp.switch(enabled.contains(&Channel::Whatsapp), Instant::now());
        ChannelsLoop { telegram, whatsapp, events }.run(&commands, &whatsapp_events);
    })
}

/// The channels thread, with all that it owns.
struct ChannelsLoop {
    telegram: Telegram,
    whatsapp: Whatsapp,
    events: Port<ChannelEvent>,
}

impl ChannelsLoop {
    fn run(mut self, commands: &Receiver<Box<ChannelCommand>>, whatsapp_events: &Receiver<WhatsappEvent>) {
        loop {
            let now = Instant::now();
            self.telegram.advance(now);
            self.whatsapp.advance(now);
            let due = [self.telegram.deadline(), self.whatsapp.deadline()].into_iter().flatten().min();
            let alarm = due.map_or_else(never, at);
            select! {
                recv(commands) -> command => match command.map(|command| *command) {
                    Ok(ChannelCommand::Stop) | Err(_) => return self.whatsapp.stop(whatsapp_events),
                    Ok(command) => self.handle(command),
                },
                recv(self.telegram.events()) -> event => {
                    if let Ok(event) = event {
                        self.telegram.handle_event(event);
                    }
                }
                recv(whatsapp_events) -> event => {
                    if let Ok(event) = event {
                        self.whatsapp.handle_event(event, Instant::now());
                    }
                }
                recv(alarm) -> _ => {}
            }
        }
    }

    fn handle(&mut self, command: ChannelCommand) {
        let now = Instant::now();
        match command {
            ChannelCommand::SetEnabled { channel, enabled } => {
                match channel {
                    Channel::Telegram => self.telegram.switch(enabled),
                    Channel::Whatsapp => self.whatsapp.switch(enabled, now),
                }
                let _ = self.events.send(ChannelEvent::Switched);
            }
            ChannelCommand::Probe { conn, id } => {
                self.whatsapp.health.publish_again();
                self.telegram.probe(conn, id);
            }
            ChannelCommand::Deliver(attempt) => match attempt.route.channel {
                Channel::Telegram => self.telegram.deliver(attempt),
                Channel::Whatsapp => self.whatsapp.deliver(*attempt, now),
            },
            ChannelCommand::Fetch(fetch) => match fetch.channel {
                Channel::Telegram => self.telegram.fetch(fetch),
                Channel::Whatsapp => self.whatsapp.fetch(fetch, now),
            },
            ChannelCommand::Discard { path } => {
                if let Err(error) = media::remove(&path) {
                    log::warn!("a file that came too late cannot be removed: {error}");
                }
            }
            ChannelCommand::Acknowledge { channel, result } => match channel {
                Channel::Telegram => self.telegram.acknowledge(result),
                Channel::Whatsapp => self.whatsapp.acknowledge(result, now),
            },
            ChannelCommand::Typing { route, is_typing } => match route.channel {
                Channel::Telegram => self.telegram.typing(route, is_typing),
                Channel::Whatsapp => self.whatsapp.typing(route, is_typing, now),
            },
            // A bot of Telegram cannot say that it has read a message.
            ChannelCommand::MarkRead { route, message_id, from } if route.channel == Channel::Whatsapp => {
                self.whatsapp.mark_read(&route.chat, &message_id, &from, now);
            }
            ChannelCommand::Tidy => self.whatsapp.tidy(now),
            ChannelCommand::Login { channel: Channel::Whatsapp, phone } => self.whatsapp.log_in(phone, now),
            ChannelCommand::Logout { channel: Channel::Whatsapp } => self.whatsapp.log_out(now),
            ChannelCommand::GiveBack => {
                self.telegram.give_back();
                self.whatsapp.give_back();
            }
            // State refuses logins and logouts of Telegram, whose account is its token; the loop sees to a stop.
            ChannelCommand::Login { .. }
            | ChannelCommand::Logout { .. }
            | ChannelCommand::MarkRead { .. }
            | ChannelCommand::Stop => {}
        }
    }
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
    Login {
        channel: Channel,
        /// The phone on which a code is typed, as `+15550001111`; without one a phone scans a code.
        phone: Option<String>,
    },
    /// Unlink the account. Answered by `ChannelEvent::LoggedOut`.
    Logout { channel: Channel },
    /// The gateway is about to stop: attempts that have not begun are given back as not sent.
    GiveBack,
    /// End the channels thread.
    Stop,
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
