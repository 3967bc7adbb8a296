//! The messaging surfaces: what state asks of them and what it learns, the same for all.
//!
//! The channels thread tells the state thread the separate facts about each surface; state never
//! guesses them.

use std::collections::BTreeMap;
use std::io;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded};

use crate::limits::{SIDECAR_INBOX, TELEGRAM_REPORTS_INBOX};
use crate::port::Port;
use crate::protocol::call::Channel;
use crate::threads;

pub mod address;
mod channels_loop;
mod command;
pub mod delivery;
mod event;
mod lease;
pub mod message;
pub mod telegram;
mod text;
pub mod web;
mod whatsapp;

pub use command::{ChannelCommand, LoginMethod};
pub use event::{ChannelEvent, LoginStep};
pub use telegram::TelegramSetup;
pub(crate) use text::compose;
pub use whatsapp::WhatsappConfig;

use channels_loop::ChannelsLoop;
use telegram::Telegram;
use whatsapp::Whatsapp;

/// Reads lines as those of a sidecar, for `tests/fuzz`: through processes it would try a thousandth as
/// many. The error says what ends the sidecar.
#[doc(hidden)]
pub fn read_sidecar(lines: &[u8]) -> Result<(), String> {
    whatsapp::read_lines(lines)
}

/// What the surfaces start with.
pub struct ChannelsSetup {
    /// There if Telegram is configured.
    pub telegram: Option<TelegramSetup>,
    /// WhatsApp, configured or not.
    pub whatsapp: WhatsappConfig,
    /// Channels that are on, by the config or by the toggles that were kept.
    pub enabled: Vec<Channel>,
    /// Names and values of [`message::Batch::cursor`] that were durable last.
    pub cursors: BTreeMap<String, String>,
}

/// Starts the thread.
pub fn spawn(
    setup: ChannelsSetup,
    commands: Receiver<Box<ChannelCommand>>,
    events: Port<ChannelEvent>,
) -> io::Result<JoinHandle<()>> {
    let (to_telegram, telegram_events) = bounded(TELEGRAM_REPORTS_INBOX);
    let (to_whatsapp, whatsapp_events) = bounded(SIDECAR_INBOX);
    let ChannelsSetup { telegram, whatsapp, enabled, cursors } = setup;
    threads::spawn_owner("channels", move || {
        let mut telegram = Telegram::new(telegram, cursors, to_telegram, events.clone());
        telegram.switch(enabled.contains(&Channel::Telegram));
        let mut whatsapp = Whatsapp::new(whatsapp, events.clone(), to_whatsapp);
        whatsapp.switch(enabled.contains(&Channel::Whatsapp), Instant::now());
        ChannelsLoop::new(telegram, whatsapp, events).run(&commands, &telegram_events, &whatsapp_events);
    })
}
