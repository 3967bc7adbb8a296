//! The channels thread: owns the messaging surfaces and is the only one that talks to them. It
//! never blocks on the network.

use crossbeam_channel::{Receiver, Sender, at, never, select};

use crate::channels::delivery::AttemptOutcome;
use crate::channels::telegram::{Report, Telegram};
use crate::channels::{ChannelCommand, ChannelEvent, ChannelSetup, LoginStep};
use crate::protocol::call::Channel;
use crate::protocol::payload::ChannelHealth;
use crate::state::Event;

pub(super) struct Surfaces {
    /// WhatsApp's, as far as this version knows it.
    whatsapp: Option<ChannelSetup>,
    telegram: Telegram,
    events: Sender<Event>,
}

impl Surfaces {
    pub(super) fn new(setups: Vec<ChannelSetup>, mut telegram: Telegram, events: Sender<Event>) -> Self {
        let of = |channel: Channel| setups.iter().find(|setup| setup.channel == channel).copied();
        telegram.switch(of(Channel::Telegram).is_some_and(|setup| setup.enabled));
        Self { whatsapp: of(Channel::Whatsapp), telegram, events }
    }

    pub(super) fn run(mut self, commands: &Receiver<ChannelCommand>, reports: &Receiver<Report>) {
        self.tell_whatsapp();
        loop {
            let alarm = self.telegram.deadline().map_or_else(never, at);
            select! {
                recv(commands) -> command => match command {
                    Ok(ChannelCommand::Stop) | Err(_) => return,
                    Ok(command) => self.obey(command),
                },
                recv(reports) -> report => {
                    if let Ok(report) = report {
                        self.telegram.hear(report);
                    }
                }
                recv(alarm) -> _ => self.telegram.tick(),
            }
        }
    }

    fn obey(&mut self, command: ChannelCommand) {
        match command {
            ChannelCommand::SetEnabled { channel, enabled } => {
                match channel {
                    Channel::Telegram => self.telegram.switch(enabled),
                    Channel::Whatsapp => {
                        self.whatsapp.iter_mut().for_each(|setup| setup.enabled = enabled);
                        self.tell_whatsapp();
                    }
                }
                self.tell(ChannelEvent::Switched);
            }
            ChannelCommand::Probe { conn, id } => {
                self.tell_whatsapp();
                self.telegram.probe(conn, id);
            }
            ChannelCommand::Deliver(attempt) => match attempt.route.channel {
                Channel::Telegram => self.telegram.deliver(attempt),
                Channel::Whatsapp => {
                    let outcome = AttemptOutcome::NotSent { why: not_connected(), retry_after: None };
                    self.tell(ChannelEvent::Outcome { id: attempt.id, outcome });
                }
            },
            ChannelCommand::Fetch { key, index, channel, media, folder } => match channel {
                Channel::Telegram => self.telegram.fetch(key, index, media, folder),
                Channel::Whatsapp => {
                    let result = Err(not_connected());
                    self.tell(ChannelEvent::Fetched { channel, key, index, result });
                }
            },
            ChannelCommand::Taken { channel: Channel::Telegram, result } => self.telegram.taken(result),
            ChannelCommand::Typing { route, on } if route.channel == Channel::Telegram => {
                self.telegram.typing(route, on);
            }
            ChannelCommand::Login { channel, .. } => {
                let why = format!("{} needs no login; the config says how to set it up", channel.name());
                self.tell(ChannelEvent::Login { channel, step: LoginStep::Over(Err(why)) });
            }
            ChannelCommand::Logout { channel } => {
                let result = Err(format!("{} has no login that could be ended", channel.name()));
                self.tell(ChannelEvent::LoggedOut { channel, result });
            }
            ChannelCommand::GiveBack => self.telegram.give_back(),
            ChannelCommand::Taken { .. }
            | ChannelCommand::Typing { .. }
            | ChannelCommand::Seen { .. }
            | ChannelCommand::Stop => {}
        }
    }

    fn tell_whatsapp(&self) {
        if let Some(setup) = self.whatsapp {
            let health = unavailable(setup);
            self.tell(ChannelEvent::Health { channel: setup.channel, health });
        }
    }

    fn tell(&self, event: ChannelEvent) {
        let _ = self.events.send(Event::Channel(event));
    }
}

fn not_connected() -> String {
    "whatsapp is not connected".to_owned()
}

/// The facts about a surface that this version cannot connect to yet.
fn unavailable(setup: ChannelSetup) -> ChannelHealth {
    let (state, reason) = match (setup.configured, setup.enabled) {
        (false, _) => ("off", None),
        (true, false) => {
            ("off", Some(format!("switched off; `clawdis channel {} on`", setup.channel.name())))
        }
        (true, true) => (
            "unavailable",
            Some(format!("this version of the gateway cannot connect to {} yet", setup.channel.name())),
        ),
    };
    ChannelHealth {
        configured: setup.configured,
        enabled: setup.enabled,
        state: state.to_owned(),
        reason,
        ..ChannelHealth::default()
    }
}
