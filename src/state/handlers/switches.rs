//! `set-paused`, `set-heartbeats` and `set-channel`: throws a switch, which acts at once and is kept across
//! restarts.

use serde_json::{Value, json};

use crate::channels::ChannelCommand;
use crate::protocol::call::Channel;
use crate::protocol::error::WireError;
use crate::state::State;
use crate::state::journal::Then;
use crate::state::model::clients::Asker;
use crate::state::model::slot::Slot;
use crate::state::model::switch::Switch;

impl State {
    pub(crate) fn switch(&mut self, asker: &Asker, switch: Switch) -> Result<(), WireError> {
        self.require_store()?;
        if let Switch::Channel(channel, enabled) = switch {
            if enabled {
                self.require_set_up(channel)?;
            }
            self.ask_channels(ChannelCommand::SetEnabled { channel, enabled })?;
        }
        let payload = self.flip(&switch);
        self.put_toggles();
        self.commit(Then::Switched { asker: asker.clone(), payload });
        Ok(())
    }

    /// Refuses to switch on a channel that is not set up: saying that it is on would be a promise.
    fn require_set_up(&self, channel: Channel) -> Result<(), WireError> {
        if self.health.channel(channel).is_some_and(|health| health.configured) {
            return Ok(());
        }
        let what = match channel {
            Channel::Telegram => {
                "give it a bot's token (telegram.botTokenFile or telegram.botToken in the config, or TELEGRAM_BOT_TOKEN)"
            }
            Channel::Whatsapp => "set whatsapp.enabled to true in the config",
        };
        let name = channel.name();
        let hint = format!("{name} is not set up in this gateway: {what}, and restart the gateway");
        Err(WireError::unavailable(hint).not_retryable())
    }

    /// Puts the toggles on record.
    pub(crate) fn put_toggles(&mut self) {
        self.writes.put(&Slot::Toggles, &self.toggles);
    }

    /// Throws a switch, which acts at once; returns the payload of the answer.
    pub(crate) fn flip(&mut self, switch: &Switch) -> Value {
        self.health.touch();
        match *switch {
            Switch::Heartbeats(enabled) => {
                self.toggles.heartbeats = enabled;
                self.heartbeats.switch(enabled, self.now);
                json!({ "enabled": enabled })
            }
            Switch::Channel(channel, enabled) => {
                self.toggles.channels.insert(channel, enabled);
                json!({ "channel": channel, "enabled": enabled })
            }
            Switch::Paused(paused) => {
                self.toggles.paused = paused;
                if paused {
                    self.cancel_all(|_| true);
                }
                json!({ "paused": paused })
            }
        }
    }
}
