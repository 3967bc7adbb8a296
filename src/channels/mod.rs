//! The messaging surfaces: what state asks of them and what it learns, the same for all.
//!
//! The channels thread tells the state thread the separate facts about each surface; state never
//! guesses them.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::channels::delivery::{Attempt, AttemptId, AttemptOutcome, FetchedFile, Part};
use crate::channels::message::{Batch, InboundMedia, Route};
use crate::limits::{SIDECAR_INBOX, TELEGRAM_REPORTS_INBOX};
use crate::net::ConnId;
use crate::protocol::call::Channel;
use crate::protocol::event::MessageStatus;
use crate::protocol::payload::ChannelHealth;
use crate::state::Event;
use crate::threads;

pub mod address;
pub mod delivery;
mod lease;
pub mod message;
pub mod telegram;
mod text;
mod thread;
pub mod web;
mod whatsapp;

pub use telegram::TelegramSetup;
pub use whatsapp::WhatsappConfig;

use telegram::Telegram;
use thread::Surfaces;
use whatsapp::Whatsapp;

/// Reads lines as those of a sidecar, for `tests/fuzz`: through processes it would try a thousandth as
/// many. The error says what ends the sidecar.
#[doc(hidden)]
pub fn read_sidecar(lines: &[u8]) -> Result<(), String> {
    whatsapp::read(lines)
}

/// What a text becomes on a surface: one or more messages that it shows without cutting them.
pub fn compose(channel: Channel, markdown: &str) -> Vec<Part> {
    match channel {
        Channel::Telegram => telegram::compose(markdown),
        Channel::Whatsapp => text::whatsapp_marks::compose(markdown),
    }
}

/// What state asks of the channels.
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
    Taken {
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
    /// Link an account. What comes of it is told in [`ChannelEvent::Login`].
    Login {
        /// Which.
        channel: Channel,
        /// How.
        method: LoginMethod,
    },
    /// Unlink the account. Answered by [`ChannelEvent::LoggedOut`].
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
    /// Something came in. The channel waits for [`ChannelCommand::Taken`] before it hands over more.
    Arrived(Batch),
    /// What became of a [`ChannelCommand::Deliver`]: one for each.
    Outcome {
        /// The attempt's.
        id: AttemptId,
        /// What.
        outcome: AttemptOutcome,
    },
    /// Answers [`ChannelCommand::Fetch`].
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
    /// How far a [`ChannelCommand::Login`] is. The last one is [`LoginStep::Over`].
    Login {
        /// Which.
        channel: Channel,
        /// How far.
        step: LoginStep,
    },
    /// Answers [`ChannelCommand::Logout`].
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

/// What the surfaces start with.
pub struct ChannelsSetup {
    /// There if Telegram is configured.
    pub telegram: Option<TelegramSetup>,
    /// WhatsApp, configured or not.
    pub whatsapp: WhatsappConfig,
    /// Channels that are on, by the config or by the toggles that were kept.
    pub enabled: Vec<Channel>,
    /// Names and values of [`Batch::place`] that were durable last.
    pub places: BTreeMap<String, String>,
}

/// Starts the thread.
pub fn spawn(
    setup: ChannelsSetup,
    commands: Receiver<Box<ChannelCommand>>,
    events: Sender<Event>,
) -> io::Result<JoinHandle<()>> {
    let (to_us, reports) = bounded(TELEGRAM_REPORTS_INBOX);
    let (to_whatsapp, news) = bounded(SIDECAR_INBOX);
    let ChannelsSetup { telegram, whatsapp, enabled, places } = setup;
    threads::spawn_owner("channels", move || {
        let mut telegram = Telegram::new(telegram, places, to_us, events.clone());
        telegram.switch(enabled.contains(&Channel::Telegram));
        let mut whatsapp = Whatsapp::new(whatsapp, events.clone(), to_whatsapp);
        whatsapp.switch(enabled.contains(&Channel::Whatsapp), Instant::now());
        Surfaces::new(telegram, whatsapp, events).run(&commands, &reports, &news);
    })
}

/// A share of a pause, so that not everybody comes back at once: up to a quarter.
fn jitter() -> f64 {
    let mut byte = [0];
    // Without randomness there is no jitter, which is no harm for one.
    let _ = getrandom::fill(&mut byte);
    f64::from(byte[0]) / 1_024.0
}
