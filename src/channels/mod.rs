//! The channels: Telegram and WhatsApp. What comes in (`message`) and goes out (`delivery`), what state
//! asks (`command`) and learns (`event`) is the same for both; this file only starts their thread.

use std::collections::BTreeMap;
use std::io;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded};

use crate::limits::{SIDECAR_INBOX, TELEGRAM_EVENTS_INBOX};
use crate::port::Port;
use crate::protocol::call::Channel;
use crate::threads;

pub(crate) mod address;
mod channels_loop;
mod command;
pub(crate) mod delivery;
mod event;
mod lease;
pub(crate) mod message;
mod telegram;
mod text;
pub(crate) mod web;
mod whatsapp;

pub(crate) use command::{ChannelCommand, LoginMethod};
pub(crate) use event::{ChannelEvent, LoginStep};
pub(crate) use telegram::TelegramSetup;
pub(crate) use text::compose;
pub(crate) use whatsapp::WhatsappConfig;

use channels_loop::ChannelsLoop;
use telegram::Telegram;
use whatsapp::Whatsapp;

/// Reads an answer of the Bot API with updates, and what they bring, for `tests/it/fuzz`: through a server it
/// would try a thousandth as many. The error says what is wrong with the answer.
#[doc(hidden)]
pub fn read_updates(answer: &[u8]) -> Result<(), String> {
    telegram::read_updates(answer)
}

/// Reads lines as those of a sidecar, for `tests/it/fuzz`: through processes it would try a thousandth as
/// many. The error says what ends the sidecar.
#[doc(hidden)]
pub fn read_sidecar(lines: &[u8]) -> Result<(), String> {
    whatsapp::read_lines(lines)
}

/// What the channels start with.
pub(crate) struct ChannelsSetup {
    /// Telegram, if it is configured.
    pub(crate) telegram: Option<TelegramSetup>,
    /// WhatsApp, configured or not.
    pub(crate) whatsapp: WhatsappConfig,
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
        ChannelsLoop::new(telegram, whatsapp, events).run(&commands, &telegram_events, &whatsapp_events);
    })
}
