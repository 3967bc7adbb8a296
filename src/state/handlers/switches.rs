//! `set-paused`, `set-heartbeats` and `set-channel`: sets a toggle, which acts at once and is kept across restarts.

use serde_json::{Value, json};

use crate::channels::ChannelCommand;
use crate::protocol::call::{Channel, SetChannelParams};
use crate::protocol::error::WireError;
use crate::state::State;
use crate::state::journal::{SWITCHED_FOR_NOW, Then};
use crate::state::model::clients::Asker;
use crate::state::model::slot::Slot;

impl State {
    pub(crate) fn set_heartbeats(&mut self, asker: &Asker, enabled: bool) -> Result<(), WireError> {
        self.require_store()?;
        self.toggles.heartbeats = enabled;
        self.heartbeats.switch(enabled, self.now);
        self.put_toggles();
        self.switched(asker, json!({ "enabled": enabled }));
        Ok(())
    }

    pub(crate) fn set_channel(&mut self, asker: &Asker, params: &SetChannelParams) -> Result<(), WireError> {
        let SetChannelParams { channel, enabled } = *params;
        self.require_store()?;
        if enabled {
            self.require_set_up(channel)?;
        }
        self.ask_channels(ChannelCommand::SetEnabled { channel, enabled })?;
        self.toggles.channels.insert(channel, enabled);
        self.put_toggles();
        self.switched(asker, json!({ "channel": channel, "enabled": enabled }));
        Ok(())
    }

    pub(crate) fn set_paused(&mut self, asker: &Asker, paused: bool) -> Result<(), WireError> {
        self.require_store()?;
        self.pause(paused);
        self.switched(asker, json!({ "paused": paused }));
        Ok(())
    }

    /// Pauses the agent, which cancels all runs, or lets it run again.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.toggles.paused = paused;
        if paused {
            self.cancel_all(|_| true);
        }
        self.put_toggles();
    }

    /// Commits a switch, which acts already; the request gets its answer when that is durable.
    fn switched(&mut self, asker: &Asker, payload: Value) {
        self.commit(Then::Answer { asker: asker.clone(), payload, if_not: SWITCHED_FOR_NOW });
    }

    /// Refuses to switch on a channel that is not set up: saying that it is on would be a promise.
    fn require_set_up(&self, channel: Channel) -> Result<(), WireError> {
        if self.health.channels.get(&channel).is_some_and(|health| health.configured) {
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

    /// Puts the toggles on record; `health` shows them, too.
    pub(crate) fn put_toggles(&mut self) {
        self.health.touch();
        self.writes.put(&Slot::Toggles, &self.toggles);
    }
}
