//! The toggles. They act at once and are kept across restarts.

use serde_json::{Value, json};

use crate::channels::ChannelCommand;
use crate::net::ConnId;
use crate::protocol::call::Channel;
use crate::protocol::error::WireError;
use crate::state::stored::Pending;
use crate::state::{Effect, State, to_json};
use crate::store::StoreOp;

/// Slot that keeps the toggles.
pub(super) const SLOT: &str = "toggles";

/// One switch and where to put it.
pub(super) enum Switch {
    Heartbeats(bool),
    Channel(Channel, bool),
    Paused(bool),
}

impl State {
    pub(super) fn switch(&mut self, conn: ConnId, id: &str, switch: Switch) -> Result<(), WireError> {
        self.require_store()?;
        let payload = self.flip(&switch);
        let op = StoreOp::Put { slot: SLOT.to_owned(), value: to_json(&self.toggles) };
        self.health.touch();
        self.store(vec![op], Pending::Switch { conn, id: id.to_owned(), payload });
        Ok(())
    }

    fn flip(&mut self, switch: &Switch) -> Value {
        match *switch {
            Switch::Heartbeats(enabled) => {
                self.toggles.heartbeats = enabled;
                json!({ "enabled": enabled })
            }
            Switch::Channel(channel, enabled) => {
                self.toggles.channels.insert(channel, enabled);
                self.effects.push(Effect::Channel(ChannelCommand::SetEnabled { channel, enabled }));
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
