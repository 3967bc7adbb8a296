//! The thread `tg-send`: sends texts one at a time, at the pace that Telegram allows, and shows
//! that somebody is typing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde_json::json;

use crate::channels::delivery::{Attempt, AttemptOutcome, Part, not_sent};
use crate::channels::message::Route;
use crate::channels::telegram::api::Api;
use crate::channels::telegram::error::{ApiError, Trouble};
use crate::channels::telegram::rate_limit::RateLimit;
use crate::channels::telegram::{EventKind, Reporter, send_message};
use crate::channels::web::client::Timeouts;
use crate::limits::{
    TELEGRAM_CHAT_INTERVAL, TELEGRAM_COMMANDS_MAX, TELEGRAM_PROBE_TIMEOUT, TELEGRAM_TYPING_ANSWER_TIMEOUT,
    TELEGRAM_TYPING_INTERVAL, TELEGRAM_TYPING_MAX, TELEGRAM_TYPING_TIME_MAX, TELEGRAM_WAIT_MAX,
};
use crate::threads::lock;

/// A command to the thread.
pub(super) enum SendCommand {
    Deliver(Box<Attempt>),
    Typing {
        route: Route,
        is_typing: bool,
    },
    /// Ask the server for the bot's account.
    Probe,
}

/// The thread, with all that it owns.
pub(super) struct SendLoop {
    pub(super) api: Api,
    pub(super) commands: Receiver<SendCommand>,
    pub(super) reporter: Reporter,
    /// Shared with `tg-files`: what that sends counts, too.
    pub(super) rate_limit: Arc<Mutex<RateLimit>>,
    /// Attempts that wait for their chat's turn, in the order in which they came.
    pub(super) queue: Vec<Attempt>,
    pub(super) typing: Typing,
}

impl SendLoop {
    /// Runs until nobody can send commands any more: Telegram was switched off, and what waits is not sent.
    pub(super) fn run(mut self) {
        loop {
            let sends = self.next_attempt(Instant::now()).map(|(at, _)| at);
            let command = match sends.into_iter().chain(self.typing.next_at()).min() {
                None => self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => self.commands.recv_deadline(at),
            };
            match command {
                Ok(command) => self.take(command),
                Err(RecvTimeoutError::Timeout) => self.send_next(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for attempt in self.queue {
            self.reporter.outcome(attempt.id, not_sent("telegram is switched off"));
        }
    }

    fn take(&mut self, command: SendCommand) {
        match command {
            SendCommand::Deliver(attempt) => self.admit(*attempt),
            SendCommand::Typing { route, is_typing } => self.typing.set(route, is_typing, Instant::now()),
            SendCommand::Probe => {
                let bot = self.api.call("getMe", &json!({}), Timeouts::each(TELEGRAM_PROBE_TIMEOUT));
                self.reporter.send(EventKind::Probed(bot));
            }
        }
    }

    fn admit(&mut self, attempt: Attempt) {
        let now = Instant::now();
        let wait = lock(&self.rate_limit).ready_at(&attempt.route.chat, now) - now;
        if wait > TELEGRAM_WAIT_MAX || self.queue.len() >= TELEGRAM_COMMANDS_MAX {
            let why = "Telegram takes no more messages there for a while".to_owned();
            let retry_after = Some(wait.max(TELEGRAM_CHAT_INTERVAL));
            self.reporter.outcome(attempt.id, AttemptOutcome::NotSent { why, retry_after });
        } else {
            self.queue.push(attempt);
        }
    }

    /// When the next attempt may be sent, and its place in the queue. Those for one chat keep their order.
    fn next_attempt(&self, now: Instant) -> Option<(Instant, usize)> {
        let rate_limit = lock(&self.rate_limit);
        let mut chats = HashSet::new();
        let firsts = self.queue.iter().enumerate().filter(|(_, attempt)| chats.insert(&attempt.route.chat));
        firsts.map(|(place, attempt)| (rate_limit.ready_at(&attempt.route.chat, now), place)).min()
    }

    /// Sends the next attempt if its time has come, and else shows that somebody is typing where that is due.
    fn send_next(&mut self) {
        let now = Instant::now();
        match self.next_attempt(now) {
            Some((at, place)) if at <= now => {
                let attempt = self.queue.remove(place);
                self.send(&attempt);
            }
            _ => {
                if let Some(route) = self.typing.next_due(now) {
                    self.send_typing(&route);
                }
            }
        }
    }

    fn send(&self, attempt: &Attempt) {
        lock(&self.rate_limit).spend(&attempt.route.chat, Instant::now());
        let result = match &attempt.part {
            Part::Text { text, entities } => send_message::send_text(&self.api, attempt, text, entities),
            Part::Media { .. } | Part::File { .. } => {
                Err(ApiError::Unreachable("a file is not sent by this thread".to_owned()))
            }
        };
        if let Some(error) = result.as_ref().err().filter(|error| Trouble::of(error) == Trouble::Unauthorized)
        {
            self.reporter.send(EventKind::Trouble(error.clone()));
        }
        let outcome = send_message::outcome(attempt, result);
        lock(&self.rate_limit).hold_if_asked(&attempt.route.chat, &outcome, Instant::now());
        self.reporter.outcome(attempt.id, outcome);
    }

    /// Nobody is told when this fails: a server without it (404) is not asked again and again.
    fn send_typing(&mut self, route: &Route) {
        let timeouts = Timeouts::each(TELEGRAM_TYPING_ANSWER_TIMEOUT);
        let mut action = json!({ "chat_id": route.chat, "action": "typing" });
        if let Some(topic) = send_message::topic(route) {
            action["message_thread_id"] = topic.into();
        }
        let result: Result<serde::de::IgnoredAny, _> = self.api.call("sendChatAction", &action, timeouts);
        if let Err(error) = result {
            log::debug!("telegram: cannot show that somebody is typing: {error}");
            self.typing.set(route.clone(), false, Instant::now());
        }
    }
}

/// Chats that are shown that somebody is typing.
#[derive(Default)]
pub(super) struct Typing(Vec<TypingIndicator>);

struct TypingIndicator {
    route: Route,
    next: Instant,
    until: Instant,
}

impl Typing {
    /// Notes that a chat is to be shown that somebody is typing, or no longer.
    fn set(&mut self, route: Route, is_typing: bool, now: Instant) {
        if !is_typing {
            self.0.retain(|indicator| indicator.route != route);
        } else if self.0.len() < TELEGRAM_TYPING_MAX
            && !self.0.iter().any(|indicator| indicator.route == route)
        {
            self.0.push(TypingIndicator { route, next: now, until: now + TELEGRAM_TYPING_TIME_MAX });
        }
    }

    fn next_at(&self) -> Option<Instant> {
        self.0.iter().map(|indicator| indicator.next).min()
    }

    /// Where to show it now. It is due there again after a while.
    fn next_due(&mut self, now: Instant) -> Option<Route> {
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
