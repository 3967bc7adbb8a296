//! The rate limit of messages: when the next one may go to a chat. Pure: time comes from outside.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::channels::delivery::AttemptOutcome;
use crate::limits::{
    TELEGRAM_CHAT_BURST, TELEGRAM_CHAT_INTERVAL, TELEGRAM_CHATS_MAX, TELEGRAM_GROUP_PER_MINUTE,
    TELEGRAM_HOLD_ALL_MAX, TELEGRAM_PER_SECOND,
};

const MINUTE: Duration = Duration::from_secs(60);

/// What was sent lately, and which pauses the server asked for.
pub(super) struct RateLimit {
    all: Bucket,
    held: Option<Instant>,
    chats: HashMap<String, ChatLimit>,
}

struct ChatLimit {
    bucket: Bucket,
    /// When messages went to a group within the last minute; none are noted for other chats.
    minute: VecDeque<Instant>,
    held: Option<Instant>,
}

impl RateLimit {
    pub(super) fn new() -> Self {
        let interval = Duration::from_secs(1) / TELEGRAM_PER_SECOND;
        Self { all: Bucket::new(interval, TELEGRAM_PER_SECOND), held: None, chats: HashMap::new() }
    }

    /// The earliest time for a message to `chat`; `now` at least.
    pub(super) fn ready_at(&self, chat: &str, now: Instant) -> Instant {
        let chat = self.chats.get(chat);
        let chat_times = chat.into_iter().flat_map(|chat| {
            let minute = chat.minute.front().filter(|_| chat.minute.len() >= PER_MINUTE);
            [chat.bucket.ready_at(), chat.held, minute.map(|first| *first + MINUTE)]
        });
        let all = [Some(now), self.all.ready_at(), self.held];
        chat_times.chain(all).flatten().max().unwrap_or(now)
    }

    /// Notes that a message goes to `chat`.
    pub(super) fn spend(&mut self, chat: &str, now: Instant) {
        if self.chats.len() >= TELEGRAM_CHATS_MAX {
            self.chats.retain(|_, chat| !chat.rests(now));
        }
        self.all.spend(now);
        let rate_limit = self.chat(chat);
        rate_limit.bucket.spend(now);
        // Groups and channels have negative ids, or a public name.
        if chat.starts_with(['-', '@']) {
            rate_limit.minute.push_back(now);
            if rate_limit.minute.len() > PER_MINUTE {
                rate_limit.minute.pop_front();
            }
        }
    }

    /// Notes that the server wants no messages to `chat` for that long. It may mean all chats.
    fn hold(&mut self, chat: &str, pause: Duration, now: Instant) {
        let rate_limit = self.chat(chat);
        rate_limit.held = rate_limit.held.max(Some(now + pause));
        self.held = self.held.max(Some(now + pause.min(TELEGRAM_HOLD_ALL_MAX)));
    }

    /// Notes the pause that the server asked for with the outcome of an attempt, if it did.
    pub(super) fn hold_if_asked(&mut self, chat: &str, outcome: &AttemptOutcome, now: Instant) {
        if let AttemptOutcome::NotSent { retry_after: Some(pause), .. } = outcome {
            self.hold(chat, *pause, now);
        }
    }

    fn chat(&mut self, chat: &str) -> &mut ChatLimit {
        self.chats.entry(chat.to_owned()).or_insert_with(|| ChatLimit {
            bucket: Bucket::new(TELEGRAM_CHAT_INTERVAL, TELEGRAM_CHAT_BURST),
            minute: VecDeque::new(),
            held: None,
        })
    }
}

const PER_MINUTE: usize = TELEGRAM_GROUP_PER_MINUTE as usize;

impl ChatLimit {
    fn rests(&self, now: Instant) -> bool {
        self.bucket.full_at.is_none_or(|full_at| full_at <= now)
            && self.held.is_none_or(|held| held <= now)
            && self.minute.back().is_none_or(|last| *last + MINUTE <= now)
    }
}

/// A token bucket, kept as the time at which it is full again.
struct Bucket {
    interval: Duration,
    slack: Duration,
    full_at: Option<Instant>,
}

impl Bucket {
    /// A bucket for one message each `interval`, and `burst` at once.
    fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, slack: interval * (burst - 1), full_at: None }
    }

    /// When the next message may go; `None` is at once.
    fn ready_at(&self) -> Option<Instant> {
        self.full_at.and_then(|full_at| full_at.checked_sub(self.slack))
    }

    fn spend(&mut self, now: Instant) {
        self.full_at = Some(self.full_at.unwrap_or(now).max(now) + self.interval);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::RateLimit;
    use crate::limits::TELEGRAM_CHATS_MAX;

    /// Seconds from the beginning at which each of `count` messages goes to `chat`.
    fn times(rate_limit: &mut RateLimit, chat: &str, count: usize, begin: Instant) -> Vec<u64> {
        let mut now = begin;
        let mut times = Vec::new();
        for _ in 0..count {
            now = rate_limit.ready_at(chat, now);
            rate_limit.spend(chat, now);
            times.push(now.duration_since(begin).as_secs());
        }
        times
    }

    #[test]
    fn a_chat_takes_three_and_then_one_a_second() {
        let begin = Instant::now() + Duration::from_secs(100);
        assert_eq!(times(&mut RateLimit::new(), "1", 6, begin), [0, 0, 0, 1, 2, 3]);
    }

    #[test]
    fn a_group_takes_twenty_a_minute() {
        let begin = Instant::now() + Duration::from_secs(100);
        let times = times(&mut RateLimit::new(), "-1", 41, begin);
        assert_eq!((times[19], times[20], times[40]), (17, 60, 120));
    }

    #[test]
    fn all_chats_together_take_25_a_second() {
        let (mut rate_limit, begin) = (RateLimit::new(), Instant::now() + Duration::from_secs(100));
        let mut now = begin;
        for chat in 0..75 {
            now = rate_limit.ready_at(&chat.to_string(), now);
            rate_limit.spend(&chat.to_string(), now);
        }
        let took = now.duration_since(begin);
        assert!(took > Duration::from_millis(1_900) && took < Duration::from_millis(2_100), "{took:?}");
    }

    #[test]
    fn the_servers_wish_counts() {
        let (mut rate_limit, now) = (RateLimit::new(), Instant::now());
        let second = Duration::from_secs(1);
        rate_limit.hold("1", 300 * second, now);
        assert_eq!(rate_limit.ready_at("1", now), now + 300 * second);
        assert_eq!(rate_limit.ready_at("2", now), now + 30 * second);
        rate_limit.hold("1", second, now);
        assert_eq!(rate_limit.ready_at("1", now), now + 300 * second);
    }

    #[test]
    fn chats_that_rest_are_forgotten() {
        let (mut rate_limit, begin) = (RateLimit::new(), Instant::now());
        for chat in 0..3 * TELEGRAM_CHATS_MAX {
            rate_limit.spend(&chat.to_string(), begin + Duration::from_secs(chat as u64));
        }
        assert!(rate_limit.chats.len() <= TELEGRAM_CHATS_MAX);
    }
}
