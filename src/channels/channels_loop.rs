//! The channels thread: owns the channels, and leads commands and events to the one that they are for. It
//! never blocks on the network.

use std::time::Instant;

use crossbeam_channel::{Receiver, at, never, select};

use crate::channels::telegram::{Telegram, TelegramEvent};
use crate::channels::whatsapp::{Whatsapp, WhatsappEvent};
use crate::channels::{ChannelCommand, ChannelEvent, LoginStep};
use crate::port::Port;
use crate::protocol::call::Channel;
use crate::store::media;

/// The channels thread, with all that it owns.
pub(super) struct ChannelsLoop {
    pub(super) telegram: Telegram,
    pub(super) whatsapp: Whatsapp,
    pub(super) events: Port<ChannelEvent>,
}

impl ChannelsLoop {
    pub(super) fn run(
        mut self,
        commands: &Receiver<Box<ChannelCommand>>,
        telegram_events: &Receiver<TelegramEvent>,
        whatsapp_events: &Receiver<WhatsappEvent>,
    ) {
        loop {
            self.whatsapp.advance(Instant::now());
            let due = [self.telegram.deadline(), self.whatsapp.deadline()].into_iter().flatten().min();
            let alarm = due.map_or_else(never, at);
            select! {
                recv(commands) -> command => match command.map(|command| *command) {
                    Ok(ChannelCommand::Stop) | Err(_) => return self.whatsapp.stop(whatsapp_events),
                    Ok(command) => self.handle(command),
                },
                recv(telegram_events) -> event => {
                    if let Ok(event) = event {
                        self.telegram.handle_event(event);
                    }
                }
                recv(whatsapp_events) -> event => {
                    if let Ok(event) = event {
                        self.whatsapp.handle_event(event, Instant::now());
                    }
                }
                recv(alarm) -> _ => {
                    self.telegram.tick();
                    self.whatsapp.tick(Instant::now());
                }
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
                self.send(ChannelEvent::Switched);
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
            // A bot has no way to say so.
            ChannelCommand::MarkRead { route, message_id, from } if route.channel == Channel::Whatsapp => {
                self.whatsapp.mark_read(&route.chat, &message_id, &from, now);
            }
            ChannelCommand::Tidy => self.whatsapp.tidy(now),
            ChannelCommand::Login { channel: Channel::Whatsapp, method } => self.whatsapp.log_in(method, now),
            ChannelCommand::Login { channel: Channel::Telegram, .. } => {
                let why = "telegram needs no login: the config or TELEGRAM_BOT_TOKEN has the bot's token";
                let step = LoginStep::Over(Err(why.to_owned()));
                self.send(ChannelEvent::Login { channel: Channel::Telegram, step });
            }
            ChannelCommand::Logout { channel: Channel::Whatsapp } => self.whatsapp.log_out(now),
            ChannelCommand::Logout { channel: Channel::Telegram } => {
                let result = Err("telegram has no login: take its token out of the config".to_owned());
                self.send(ChannelEvent::LoggedOut { channel: Channel::Telegram, result });
            }
            ChannelCommand::GiveBack => {
                self.telegram.give_back();
                self.whatsapp.give_back();
            }
            ChannelCommand::MarkRead { .. } | ChannelCommand::Stop => {}
        }
    }

    fn send(&self, event: ChannelEvent) {
        let _ = self.events.send(event);
    }
}
