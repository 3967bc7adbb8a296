//! Inbox and outbox as a whole: leads what the channels report to the handler that it concerns, and does their part
//! in a start and in the end of every turn.

use crate::channels::ChannelEvent;
use crate::channels::message::Inbound;
use crate::limits::INBOX_RETRY_PAUSE;
use crate::state::State;
use crate::state::model::clients::Asker;

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

    /// Goes on, at a start, with the messages in the inbox and the deliveries in the outbox.
    pub(crate) fn resume_channels(&mut self) {
        self.inbox.recovered();
        let old = self.inbox.ids(|entry| self.is_too_old(&entry.message));
        let missed = old.iter().filter_map(|inbox_id| self.inbox.waiting.get(inbox_id));
        let missed: Vec<Inbound> = missed.map(|entry| entry.message.clone()).collect();
        self.inbox.finish(&old, self.now.wall_ms, &mut self.writes);
        for inbox_id in self.inbox.ids(|_| true) {
            self.make_whole(inbox_id);
        }
        if !missed.is_empty() {
            self.report_missed(&missed);
        }
        self.commit_any();
        self.resume_deliveries();
    }

    /// Does, at the end of a turn, what can be done now for messages and deliveries that wait.
    pub(crate) fn settle_channels(&mut self) {
        self.channels_stale = false;
        // Also when the inbox is empty: a pause that is over would else be due for ever.
        self.inbox.stop_gathering(self.now.mono);
        if !self.inbox.waiting.is_empty() {
            self.fetch_media();
            self.ask_waiting();
            self.tell_who_waits();
        }
        self.pump_outbox();
        let notice = self.inbox.waiting.iter().filter(|(_, entry)| entry.stored && !entry.told);
        let notice = notice.map(|(_, entry)| entry.tell_at).min();
        let due = [self.inbox.next_due(), self.outbox.next_due(), notice].into_iter().flatten().min();
        // What the store has no room for goes on with its next answer; until then nothing is due.
        let earliest = if self.store_has_room() { self.now.mono } else { self.now.mono + INBOX_RETRY_PAUSE };
        self.channels_due = due.map(|due| due.max(earliest));
    }
}
