//! What is known about the connection of a channel, as `health` shows it, and what state was told of it.

use crate::channels::ChannelEvent;
use crate::port::Port;
use crate::protocol::call::Channel;
use crate::protocol::payload::ChannelHealth;

/// The health of a channel.
pub(super) struct Health {
    channel: Channel,
    events: Port<ChannelEvent>,
    /// A sign of life is told if it is so many milliseconds younger than the one that state was told last.
    alive_ms: u64,
    /// All that is known. Its state is that of the connection, also while the channel is switched off.
    pub(super) known: ChannelHealth,
    /// The reason to be shown while the connection holds.
    pub(super) note: Option<String>,
    /// What state was told last.
    told: ChannelHealth,
}

impl Health {
    pub(super) fn new(channel: Channel, configured: bool, alive_ms: u64, events: Port<ChannelEvent>) -> Self {
        let known = ChannelHealth { configured, state: "off".to_owned(), ..ChannelHealth::default() };
        Self { channel, events, alive_ms, known, note: None, told: ChannelHealth::default() }
    }

    /// Sets the state of the connection, and the reason for it.
    pub(super) fn set(&mut self, state: &str, reason: Option<String>) {
        (self.known.state, self.known.reason) = (state.to_owned(), reason);
    }

    pub(super) fn is_linked(&self) -> bool {
        self.known.linked == Some(true)
    }

    /// Whether messages can be sent.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.known.state.as_str(), "ready" | "syncing")
    }

    /// What clients are shown.
    pub(super) fn shown(&self) -> ChannelHealth {
        let known = self.known.clone();
        let (state, reason) = match (known.configured, known.enabled) {
            (false, _) => ("off".to_owned(), None),
            (true, false) => {
                let switch_on = format!("switched off; `clawdis channel {} on`", self.channel.name());
                ("off".to_owned(), Some(switch_on))
            }
            (true, true) if self.is_connected() => (known.state, self.note.clone()),
            (true, true) => (known.state, known.reason),
        };
        ChannelHealth { state, reason, ..known }
    }

    /// Tells state the health, if there is news. Says whether anything but the last sign of life is new.
    pub(super) fn publish(&mut self) -> bool {
        let shown = self.shown();
        let timeless = ChannelHealth { last_frame_ts: self.told.last_frame_ts, ..shown.clone() };
        let is_new = timeless != self.told;
        let told_ts = self.told.last_frame_ts.unwrap_or(0);
        if is_new || shown.last_frame_ts.is_some_and(|last| last >= told_ts + self.alive_ms) {
            self.publish_again();
        }
        is_new
    }

    /// Tells state the health even if nothing has changed: somebody has asked.
    pub(super) fn publish_again(&mut self) {
        self.told = self.shown();
        let health = Box::new(self.told.clone());
        let _ = self.events.send(ChannelEvent::Health { channel: self.channel, health });
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::Health;
    use crate::channels::ChannelEvent;
    use crate::port::Port;
    use crate::protocol::call::Channel;

    #[test]
    fn state_is_told_what_is_new_and_now_and_then_that_the_channel_lives() {
        let (events, told) = unbounded();
        let mut health = Health::new(Channel::Whatsapp, true, 1_000, Port::new(events, |event| event));
        health.known.enabled = true;
        let news = || told.try_iter().count();
        assert!(health.publish() && news() == 1, "the first is news");
        assert!(!health.publish() && news() == 0);
        health.set("ready", None);
        health.known.last_frame_ts = Some(50_000);
        assert!(health.publish() && news() == 1);
        health.known.last_frame_ts = Some(50_999);
        assert!(!health.publish() && news() == 0, "only the time, and not by much");
        health.known.last_frame_ts = Some(51_000);
        assert!(!health.publish() && news() == 1, "it lives, which is no other state");
        health.publish_again();
        assert_eq!(news(), 1);
    }

    #[test]
    fn a_channel_that_is_off_is_shown_as_off_whatever_its_connection_does() {
        let events = Port::new(unbounded::<ChannelEvent>().0, |event| event);
        let mut health = Health::new(Channel::Telegram, true, 1_000, events);
        health.set("closed", Some("no network".to_owned()));
        let shown = health.shown();
        assert_eq!((shown.state.as_str(), shown.enabled), ("off", false));
        assert_eq!(shown.reason.as_deref(), Some("switched off; `clawdis channel telegram on`"));
        health.known.enabled = true;
        assert_eq!(health.shown().reason.as_deref(), Some("no network"));
        health.note = Some("another may poll".to_owned());
        assert_eq!(
            health.shown().reason.as_deref(),
            Some("no network"),
            "a note does not hide what is wrong"
        );
        health.set("ready", None);
        assert_eq!(health.shown().reason.as_deref(), Some("another may poll"));
        health.known.configured = false;
        assert_eq!((health.shown().state.as_str(), health.shown().reason), ("off", None));
    }
}
