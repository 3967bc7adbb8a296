//! Leads what the channels report to the handler that it concerns.

use crate::channels::ChannelEvent;
use crate::state::State;
use crate::state::model::asker::Asker;

impl State {
    pub(crate) fn channel_event(&mut self, event: ChannelEvent) {
        match event {
            ChannelEvent::Health { channel, mut health } => {
                let before = self.health.channels.remove(&channel);
                health.last_message_ts = before.and_then(|before| before.last_message_ts);
                self.health.channels.insert(channel, *health);
                self.health.touch();
            }
            ChannelEvent::Arrived(batch) => self.arrived(batch),
            ChannelEvent::Outcome { id, outcome } => self.attempt_over(id, outcome),
            ChannelEvent::Fetched { channel, key, index, result } => {
                self.fetched(channel, &key, index, result);
            }
            ChannelEvent::Receipt { message_id, status } => self.receipt(&message_id, status),
            ChannelEvent::Login { channel, step } => self.login_step(channel, step),
            ChannelEvent::LoggedOut { channel, result } => self.logged_out(channel, result),
            ChannelEvent::Switched => self.channel_commands -= 1,
            ChannelEvent::Probed { conn, id } => {
                self.channel_commands -= 1;
                let health = self.health_json();
                self.answer(&Asker { conn, id }, &health);
            }
        }
    }
}
