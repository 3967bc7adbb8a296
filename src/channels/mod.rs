//! The messaging surfaces: what state asks of them and what it learns, the same for all.
//!
//! The channels thread tells the state thread the separate facts about each surface; state never
//! guesses them.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::channels::delivery::{Attempt, AttemptId, AttemptOutcome, FetchedFile, Part};
use crate::channels::message::{Batch, InboundMedia, Route};
use crate::net::ConnId;
use crate::protocol::call::Channel;
use crate::protocol::event::MessageStatus;
use crate::protocol::payload::ChannelHealth;
use crate::state::Event;
use crate::threads;

pub mod address;
pub mod delivery;
pub mod message;
pub mod telegram;
mod thread;

pub use telegram::TelegramSetup;

use telegram::Telegram;
use thread::Surfaces;

/// What a text becomes on a surface: one or more messages that it shows without cutting them.
pub fn compose(channel: Channel, markdown: &str) -> Vec<Part> {
    match channel {
        Channel::Telegram => telegram::format::compose(markdown),
        Channel::Whatsapp => vec![Part::Text { text: markdown.to_owned(), entities: Vec::new() }],
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
        /// Where to: made (0700) if it is not there.
        folder: PathBuf,
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
        health: ChannelHealth,
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

/// What one channel starts with.
#[derive(Debug, Clone, Copy)]
pub struct ChannelSetup {
    /// Which.
    pub channel: Channel,
    /// There are credentials, or the config switches it on.
    pub configured: bool,
    /// On, by the config or by the toggle that was kept.
    pub enabled: bool,
}

/// Starts the thread. `telegram` is there if Telegram is configured; `places` are the names and
/// values of [`Batch::place`] that were durable last.
pub fn spawn(
    setups: Vec<ChannelSetup>,
    telegram: Option<TelegramSetup>,
    places: BTreeMap<String, String>,
    commands: Receiver<ChannelCommand>,
    events: Sender<Event>,
) -> io::Result<JoinHandle<()>> {
    let (to_us, reports) = bounded(REPORTS);
    let telegram = Telegram::new(telegram, places, to_us, events.clone());
    threads::spawn_owner("channels", move || Surfaces::new(setups, telegram, events).run(&commands, &reports))
}

/// Reports of the surfaces' threads that wait; they wait when it is full.
const REPORTS: usize = 16;
