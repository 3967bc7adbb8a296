//! The chats that are shown that somebody is typing, and when to show it again. Pure.

use std::time::Instant;

use crate::channels::message::Route;
use crate::limits::{TELEGRAM_TYPING_INTERVAL, TELEGRAM_TYPING_MAX, TELEGRAM_TYPING_TIME_MAX};

/// Chats that are shown that somebody is typing.
#[derive(Default)]
pub(super) struct Typing(Vec<TypingIndicator>);

struct TypingIndicator {
    route: Route,
    next: Instant,
    until: Instant,
}

impl Typing {
    pub(super) fn set(&mut self, route: Route, is_typing: bool, now: Instant) {
        if !is_typing {
            self.0.retain(|indicator| indicator.route != route);
        } else if self.0.len() < TELEGRAM_TYPING_MAX
            && !self.0.iter().any(|indicator| indicator.route == route)
        {
            self.0.push(TypingIndicator { route, next: now, until: now + TELEGRAM_TYPING_TIME_MAX });
        }
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.0.iter().map(|indicator| indicator.next).min()
    }

    /// Where to show it now. It is due there again after a while.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<Route> {
        self.0.retain(|indicator| indicator.until > now);
        let indicator = self
            .0
            .iter_mut()
            .filter(|indicator| indicator.next <= now)
            .min_by_key(|indicator| indicator.next)?;
        indicator.next = now + TELEGRAM_TYPING_INTERVAL;
        Some(indicator.route.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Typing;
    use crate::channels::message::Route;
    use crate::limits::TELEGRAM_TYPING_MAX;
    use crate::protocol::call::Channel;

    #[test]
    fn shown_every_four_seconds_until_taken_back() {
        let route = |chat: usize| Route { channel: Channel::Telegram, chat: chat.to_string(), topic: None };
        let (mut typing, now) = (Typing::default(), Instant::now());
        let at = |seconds: u64| now + Duration::from_secs(seconds);
        assert_eq!(typing.next_at(), None);
        typing.set(route(1), true, now);
        typing.set(route(1), true, now);
        assert_eq!(typing.next_due(now), Some(route(1)));
        assert_eq!((typing.next_due(at(3)), typing.next_at()), (None, Some(at(4))));
        assert_eq!(typing.next_due(at(4)), Some(route(1)));
        typing.set(route(1), false, at(5));
        assert_eq!((typing.next_due(at(9)), typing.next_at()), (None, None));

        (0..200).for_each(|chat| typing.set(route(chat), true, now));
        assert_eq!((0..200).filter_map(|_| typing.next_due(now)).count(), TELEGRAM_TYPING_MAX);
        assert_eq!(typing.next_due(at(24 * 3_600)), None, "nobody types for a day");
    }
}
