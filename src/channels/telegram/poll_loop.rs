//! The thread `tg-poll`: asks for updates and hands them over, one batch at a time. It goes on
//! only when a batch is durable, because asking for the next one makes Telegram forget it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::backoff::{Backoff, jitter};
use crate::channels::lease::{self, Claim, Lease};
use crate::channels::message::Batch;
use crate::channels::telegram::api::{Api, BotAccount};
use crate::channels::telegram::error::{ApiError, Trouble};
use crate::channels::telegram::{EventKind, Reporter, update};
use crate::channels::web::client::Timeouts;
use crate::limits::{
    LEASE_ENDING_WAIT, TELEGRAM_CONFLICT_RETRY, TELEGRAM_EMPTY_POLL_PAUSE, TELEGRAM_POLL_SECONDS,
    TELEGRAM_POLL_SLACK, TELEGRAM_POLL_UPDATES_MAX, TELEGRAM_RETRY, TELEGRAM_RETRY_PAUSE_MIN,
    TELEGRAM_UNAUTHORIZED_RETRY, WEB_ANSWER_TIMEOUT,
};
use crate::protocol::call::Channel;

/// A command to the thread.
pub(super) enum PollCommand {
    /// The batch is durable, or is to be offered again after the pause.
    Acknowledge(Result<(), Duration>),
    /// Do not wait any longer to try again.
    Wake,
}

/// The thread is to end: Telegram was switched off, or the gateway stops.
struct Stopped;

/// The thread, with all that it owns.
pub(super) struct PollLoop {
    pub(super) api: Api,
    pub(super) commands: Receiver<PollCommand>,
    pub(super) reporter: Reporter,
    /// Each bot's cursor, by the names of [`cursor_name`].
    pub(super) cursors: BTreeMap<String, String>,
    pub(super) pauses: Pauses,
}

/// Name of the cursor of a bot's updates: another token is another bot, whose updates have other numbers.
fn cursor_name(bot: i64) -> String {
    format!("telegram/{bot}")
}

impl PollLoop {
    /// Runs until nobody can send commands any more.
    pub(super) fn run(mut self) {
        let Ok(bot) = self.identify() else { return };
        let mut offset = self.cursors.get(&cursor_name(bot.id)).and_then(|cursor| cursor.parse().ok());
        // A bot is one of its server: others may have one of the same number.
        let account = format!("telegram {} {}", self.api.setup.server, bot.id);
        let mut lease = None;
        while self.hold_lease(&account, &mut lease).is_ok() && self.poll_once(&bot, &mut offset).is_ok() {}
    }

    /// Waits until no other gateway on this host polls this bot. Where nobody can tell, this one polls without a
    /// lease, and asks for it again before each poll.
    fn hold_lease(&mut self, account: &str, lease: &mut Option<Lease>) -> Result<(), Stopped> {
        if let Some(lease) = lease {
            lease.drain();
            return Ok(());
        }
        let mut has_waited = false;
        loop {
            match lease::claim(account) {
                Claim::Ours(ours) => {
                    *lease = Some(ours);
                    self.reporter.send(EventKind::Disputed(None));
                    break;
                }
                Claim::Disputed(why) => {
                    self.reporter.send(EventKind::Disputed(Some(why)));
                    break;
                }
                Claim::Ending => self.wait(LEASE_ENDING_WAIT)?,
                Claim::Taken(who) => {
                    self.reporter.send(EventKind::PolledElsewhere(who));
                    has_waited = true;
                    let pause = self.pauses.next(Trouble::Conflict);
                    self.wait(pause)?;
                }
            }
        }
        if has_waited {
            // Nobody else polls now: the next poll is to be answered at once.
            self.pauses = Pauses::default();
        }
        Ok(())
    }

    fn identify(&mut self) -> Result<BotAccount, Stopped> {
        loop {
            match self.api.call::<BotAccount>("getMe", &json!({}), Timeouts::REQUEST) {
                Ok(bot) => {
                    self.pauses = Pauses::default();
                    self.reporter.send(EventKind::Identified(bot.clone()));
                    return Ok(bot);
                }
                Err(error) => self.on_trouble(error)?,
            }
        }
    }

    /// Polls once, and hands over what that brings.
    fn poll_once(&mut self, bot: &BotAccount, offset: &mut Option<i64>) -> Result<(), Stopped> {
        let begin = Instant::now();
        let wait_seconds = self.pauses.poll_seconds();
        let updates = match self.get_updates(*offset, wait_seconds) {
            Ok(updates) => updates,
            Err(error) => return self.on_trouble(error),
        };
        let next = next_offset(&updates);
        if next.is_none() && !updates.is_empty() {
            return self.on_trouble(ApiError::Unexpected("its updates have no numbers".to_owned()));
        }
        self.pauses.reset();
        self.reporter.send(EventKind::Polled);
        // Not every server holds a poll open, or forgets what it is told to.
        let mut least = TELEGRAM_EMPTY_POLL_PAUSE;
        if let Some(next) = next {
            let bytes_max = self.api.setup.media_bytes_max;
            let arrivals =
                updates.iter().filter_map(|update| update::parse(update, bot, bytes_max)).collect();
            let cursor = Some((cursor_name(bot.id), next.to_string()));
            self.hand_over(&Batch { channel: Channel::Telegram, arrivals, cursor })?;
            if offset.replace(next) != Some(next) {
                return Ok(());
            }
        } else if wait_seconds == 0 {
            least = Duration::ZERO;
        }
        self.wait(least.saturating_sub(begin.elapsed()))
    }

    fn get_updates(&self, offset: Option<i64>, wait_seconds: u64) -> Result<Vec<Box<RawValue>>, ApiError> {
        let mut parameters = json!({
            "timeout": wait_seconds,
            "limit": TELEGRAM_POLL_UPDATES_MAX,
            // Without it Telegram keeps to what an earlier program asked for.
            "allowed_updates": ["message"],
        });
        if let Some(offset) = offset {
            parameters["offset"] = Value::from(offset);
        }
        let answer = Duration::from_secs(wait_seconds) + TELEGRAM_POLL_SLACK;
        let timeouts = Timeouts { answer, ..Timeouts::each(WEB_ANSWER_TIMEOUT) };
        self.api.call("getUpdates", &parameters, timeouts).map(first)
    }

    /// Offers the batch until it is durable.
    fn hand_over(&self, batch: &Batch) -> Result<(), Stopped> {
        loop {
            self.reporter.send(EventKind::Batch(batch.clone()));
            let pause = loop {
                match self.commands.recv() {
                    Ok(PollCommand::Acknowledge(Ok(()))) => return Ok(()),
                    Ok(PollCommand::Acknowledge(Err(pause))) => break pause,
                    Ok(PollCommand::Wake) => {}
                    Err(_) => return Err(Stopped),
                }
            };
            self.wait(pause)?;
        }
    }

    fn on_trouble(&mut self, error: ApiError) -> Result<(), Stopped> {
        let trouble = Trouble::of(&error);
        let asked = error.refusal().and_then(|refusal| refusal.retry_after);
        log::debug!("telegram: {error}");
        self.reporter.send(EventKind::Trouble(error));
        // A webhook that is back after it was deleted is somebody's who will set it again: haste wins nothing.
        let is_first = self.pauses.trouble() != Some(Trouble::Webhook);
        let pause = self.pauses.next(trouble);
        if trouble == Trouble::Webhook && self.api.setup.delete_webhook {
            let keep_updates = json!({ "drop_pending_updates": false });
            match self.api.call::<bool>("deleteWebhook", &keep_updates, Timeouts::REQUEST) {
                Ok(_) => {
                    log::info!("telegram: the webhook that was set for this bot is deleted, as configured");
                    return self.wait(if is_first { Duration::ZERO } else { pause });
                }
                Err(error) => log::warn!("telegram: cannot delete the webhook: {error}"),
            }
        }
        self.wait(asked.map_or(pause, |asked| asked.max(TELEGRAM_RETRY_PAUSE_MIN)))
    }

    /// Waits for that long, unless it is woken.
    fn wait(&self, pause: Duration) -> Result<(), Stopped> {
        let deadline = Instant::now() + pause;
        loop {
            match self.commands.recv_deadline(deadline) {
                Ok(PollCommand::Wake) | Err(RecvTimeoutError::Timeout) => return Ok(()),
                // The answer to a batch that was offered before.
                Ok(PollCommand::Acknowledge(_)) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Stopped),
            }
        }
    }
}

/// The first updates by their numbers, where a server sends more than it was asked for: a batch of more than
/// state takes at once would be offered again for ever. Updates without a number come last.
fn first(mut updates: Vec<Box<RawValue>>) -> Vec<Box<RawValue>> {
    updates.sort_by_cached_key(|update| update::update_id(update).unwrap_or(i64::MAX));
    updates.truncate(TELEGRAM_POLL_UPDATES_MAX);
    updates
}

/// One more than the highest number; also where that is lower than before, because after a quiet
/// week Telegram counts from another number.
fn next_offset(updates: &[Box<RawValue>]) -> Option<i64> {
    updates.iter().filter_map(|update| update::update_id(update)).max()?.checked_add(1)
}

/// How long to wait: for the next poll's answer, and after the next failure.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// The trouble that there is, and the pauses that follow it.
    failing: Option<(Trouble, Backoff)>,
    /// Whether the last poll was answered.
    polled: bool,
}

impl Pauses {
    /// Notes that a poll was answered.
    fn reset(&mut self) {
        *self = Self { failing: None, polled: true };
    }

    fn trouble(&self) -> Option<Trouble> {
        self.failing.as_ref().map(|(trouble, _)| *trouble)
    }

    /// How long the server may hold the next poll. Where polls have not been answered yet it is not
    /// to hold it, or it would take that long to know that they are; but each poll ends that of
    /// another program, so who is in conflict knows more only after a long one.
    fn poll_seconds(&self) -> u64 {
        if self.polled || self.trouble() == Some(Trouble::Conflict) { TELEGRAM_POLL_SECONDS } else { 0 }
    }

    /// The pause after a failure, with a quarter of jitter. It doubles while the trouble stays the same: many
    /// gateways lose the same network at the same time.
    fn next(&mut self, trouble: Trouble) -> Duration {
        self.polled = false;
        let known = self.failing.take().filter(|(of, _)| *of == trouble);
        let (_, backoff) = self.failing.insert(known.unwrap_or_else(|| (trouble, backoff_after(trouble))));
        backoff.next_pause().mul_f64(1.0 - jitter(0.25))
    }
}

fn backoff_after(trouble: Trouble) -> Backoff {
    match trouble {
        Trouble::Unauthorized => TELEGRAM_UNAUTHORIZED_RETRY,
        Trouble::Conflict | Trouble::Webhook => TELEGRAM_CONFLICT_RETRY,
        Trouble::Unreachable => TELEGRAM_RETRY,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::value::RawValue;

    use super::{Pauses, first, next_offset};
    use crate::channels::telegram::error::Trouble;
    use crate::limits::{TELEGRAM_POLL_SECONDS, TELEGRAM_POLL_UPDATES_MAX};

    #[test]
    fn the_place_is_behind_the_highest_number() {
        let updates = |numbers: &[&str]| -> Vec<Box<RawValue>> {
            numbers.iter().map(|json| RawValue::from_string((*json).to_owned()).unwrap()).collect()
        };
        assert_eq!(next_offset(&updates(&[r#"{"update_id":7}"#, r#"{"update_id":9}"#, "{}", "5"])), Some(10));
        assert_eq!(next_offset(&updates(&["{}", r#"{"update_id":"x"}"#])), None);
        assert_eq!(next_offset(&updates(&[r#"{"update_id":9223372036854775807}"#])), None);
    }

    #[test]
    fn of_more_updates_than_were_asked_for_the_first_are_taken_and_the_place_is_behind_them() {
        let raw = |json: String| RawValue::from_string(json).unwrap();
        let mut updates = vec![raw("{}".to_owned())];
        updates.extend((1..=300).rev().map(|number| raw(format!(r#"{{"update_id":{number}}}"#))));
        let taken = first(updates);
        assert_eq!(taken.len(), TELEGRAM_POLL_UPDATES_MAX);
        assert_eq!(taken[0].get(), r#"{"update_id":1}"#);
        assert_eq!(next_offset(&taken), Some(101));
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut pauses = Pauses::default();
        let mut times = |trouble| -> Vec<u128> {
            (0..8)
                .map(|_| pauses.next(trouble))
                .map(|pause: Duration| pause.as_millis().div_ceil(1_000))
                .collect()
        };
        let near = |times: Vec<u128>, expected: [u128; 8]| {
            for (time, expected) in times.into_iter().zip(expected) {
                assert!(time <= expected && time >= expected * 3 / 4, "{time} for {expected}");
            }
        };
        near(times(Trouble::Unreachable), [1, 2, 4, 8, 16, 32, 60, 60]);
        near(times(Trouble::Conflict), [5, 10, 20, 40, 60, 60, 60, 60]);
        near(times(Trouble::Unauthorized), [60, 120, 240, 480, 900, 900, 900, 900]);
    }

    #[test]
    fn the_first_poll_is_answered_at_once() {
        let mut pauses = Pauses::default();
        assert_eq!(pauses.poll_seconds(), 0);
        pauses.reset();
        assert_eq!(pauses.poll_seconds(), TELEGRAM_POLL_SECONDS);
        pauses.next(Trouble::Unreachable);
        assert_eq!(pauses.poll_seconds(), 0);
        pauses.next(Trouble::Conflict);
        assert_eq!(pauses.poll_seconds(), TELEGRAM_POLL_SECONDS);
    }
}
