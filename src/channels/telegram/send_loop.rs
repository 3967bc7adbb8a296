//! The thread `tg-send`: sends texts one at a time, at the pace that Telegram allows, and shows
//! that somebody is typing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde_json::json;

use crate::channels::delivery::{Attempt, AttemptOutcome, Part, not_sent};
use crate::channels::message::Route;
use crate::channels::telegram::api::Api;
use crate::channels::telegram::error::{ApiError, Trouble};
use crate::channels::telegram::rate_limit::RateLimit;
use crate::channels::telegram::send_message;
use crate::channels::telegram::{EventKind, Reporter};
use crate::channels::web::client::Timeouts;
use crate::limits::{
    TELEGRAM_CHAT_INTERVAL, TELEGRAM_COMMANDS_MAX, TELEGRAM_PROBE_TIMEOUT, TELEGRAM_TYPING_ANSWER_TIMEOUT,
    TELEGRAM_TYPING_INTERVAL, TELEGRAM_TYPING_MAX, TELEGRAM_TYPING_TIME_MAX, TELEGRAM_WAIT_MAX,
};

/// A command to the thread.
pub(super) enum SendCommand {
    Deliver(Box<Attempt>),
    Typing {
        route: Route,
        is_typing: bool,
    },
    /// Ask the server for the bot's account.
    Probe,
    /// Look whether Telegram was switched off.
    WakeUp,
    /// `tg-files` has sent something to that chat.
    FileSent {
        chat: String,
        outcome: AttemptOutcome,
    },
}

/// The thread, with all that it owns.
pub(super) struct SendLoop {
    pub(super) api: Api,
    pub(super) commands: Receiver<SendCommand>,
    pub(super) reporter: Reporter,
    /// Telegram was switched off: what waits is not sent.
    pub(super) is_off: Arc<AtomicBool>,
    queue: VecDeque<Box<Attempt>>,
    rate_limit: RateLimit,
    typing: Typing,
}

impl SendLoop {
    pub(super) fn new(
        api: Api,
        commands: Receiver<SendCommand>,
        reporter: Reporter,
        is_off: Arc<AtomicBool>,
    ) -> Self {
        let (queue, rate_limit, typing) = (VecDeque::new(), RateLimit::new(), Typing::default());
        Self { api, commands, reporter, is_off, queue, rate_limit, typing }
    }

    /// Runs until nobody can send commands any more.
    pub(super) fn run(mut self) {
        loop {
            let command = match self.wake_at() {
                None => self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => self.commands.recv_deadline(at),
            };
            match command {
                Ok(command) => self.take(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.give_back(),
            }
            while let Ok(command) = self.commands.try_recv() {
                self.take(command);
            }
            if self.is_off.load(Relaxed) {
                self.give_back();
                continue;
            }
            let now = Instant::now();
            if let Some(attempt) = self.next_ready(now) {
                self.send(&attempt);
            } else if let Some(route) = self.typing.next_due(now) {
                self.send_typing(&route);
            }
        }
    }

    /// When there is something to do without a command.
    fn wake_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let sends = self.firsts().map(|(_, attempt)| self.rate_limit.ready_at(&attempt.route.chat, now));
        sends.chain(self.typing.next_at()).min()
    }

    fn take(&mut self, command: SendCommand) {
        match command {
            SendCommand::Deliver(attempt) => self.admit(attempt),
            SendCommand::Typing { route, is_typing } => self.typing.set(route, is_typing, Instant::now()),
            SendCommand::Probe => {
                let bot = self.api.call("getMe", &json!({}), Timeouts::each(TELEGRAM_PROBE_TIMEOUT));
                self.reporter.send(EventKind::Probed(bot));
            }
            SendCommand::WakeUp => {}
            SendCommand::FileSent { chat, outcome } => {
                self.rate_limit.spend(&chat, Instant::now());
                self.hold_if_asked(&chat, &outcome);
            }
        }
    }

    fn admit(&mut self, attempt: Box<Attempt>) {
        let now = Instant::now();
        let wait = self.rate_limit.ready_at(&attempt.route.chat, now) - now;
        if wait > TELEGRAM_WAIT_MAX || self.queue.len() >= TELEGRAM_COMMANDS_MAX {
            let why = "Telegram takes no more messages there for a while".to_owned();
            let retry_after = Some(wait.max(TELEGRAM_CHAT_INTERVAL));
            self.reporter.outcome(attempt.id, AttemptOutcome::NotSent { why, retry_after });
        } else {
            self.queue.push_back(attempt);
        }
    }

    /// The first attempt for each chat, with its place in the queue.
    fn firsts(&self) -> impl Iterator<Item = (usize, &Attempt)> {
        let earlier =
            |at: usize, chat: &str| self.queue.iter().take(at).any(|other| other.route.chat == chat);
        let all = self.queue.iter().enumerate().map(|(at, attempt)| (at, &**attempt));
        all.filter(move |(at, attempt)| !earlier(*at, &attempt.route.chat))
    }

    fn next_ready(&mut self, now: Instant) -> Option<Box<Attempt>> {
        let (at, _) =
            self.firsts().find(|(_, attempt)| self.rate_limit.ready_at(&attempt.route.chat, now) <= now)?;
        self.queue.remove(at)
    }

    fn send(&mut self, attempt: &Attempt) {
        self.rate_limit.spend(&attempt.route.chat, Instant::now());
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
        self.hold_if_asked(&attempt.route.chat, &outcome);
        self.reporter.outcome(attempt.id, outcome);
    }

    fn hold_if_asked(&mut self, chat: &str, outcome: &AttemptOutcome) {
        if let AttemptOutcome::NotSent { retry_after: Some(pause), .. } = outcome {
            self.rate_limit.hold(chat, *pause, Instant::now());
        }
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

    fn give_back(&mut self) {
        // This thread lives on until `tg-files` is done, and must not show that somebody is typing so long.
        self.typing = Typing::default();
        for attempt in self.queue.drain(..) {
            self.reporter.outcome(attempt.id, not_sent("telegram is switched off"));
        }
    }
}

/// Chats that are shown that somebody is typing.
#[derive(Default)]
struct Typing(Vec<TypingIndicator>);

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
