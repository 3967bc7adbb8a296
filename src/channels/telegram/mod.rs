//! Telegram, as the channels thread drives it: knows the health of the connection, switches its threads on
//! and off, and passes commands to them. Never blocks on the network; its threads do.
//!
//! `tg-poll` receives, `tg-send` sends texts, `tg-files` moves files. They live while the channel
//! is switched on. What they still say after that is heard by nobody, except for outcomes of attempts
//! and answers to fetches.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, never};
use serde_json::value::RawValue;

use crate::channels::ChannelEvent;
use crate::channels::delivery::{Attempt, AttemptId, AttemptOutcome, FetchedFile, Part, not_sent};
use crate::channels::health::Health;
use crate::channels::message::{Batch, Fetch, Route};
use crate::clock::wall_ms;
use crate::limits::{
    TELEGRAM_ALIVE_MS, TELEGRAM_COMMANDS_MAX, TELEGRAM_EVENTS_INBOX, TELEGRAM_POLL_INBOX,
    TELEGRAM_PROBE_TIMEOUT,
};
use crate::port::Port;
use crate::protocol::ConnId;
use crate::protocol::call::Channel;
use crate::threads;

mod api;
mod content;
mod error;
mod fetch;
mod file_loop;
mod mention;
mod poll_loop;
mod rate_limit;
mod send_loop;
mod send_message;
mod update;

pub(crate) use api::TelegramSetup;
use api::{Api, BotAccount};
use error::{ApiError, Refusal, Trouble};
use file_loop::{FileCommand, FileLoop};
use poll_loop::{Pauses, PollCommand, PollLoop};
use rate_limit::RateLimit;
use send_loop::{SendCommand, SendLoop, Typing};

/// Reads an answer of the Bot API with updates, and what they bring, for `tests/it/fuzz`: through a server it
/// would try a thousandth as many. The error says what is wrong with the answer.
pub fn read_updates(body: &[u8]) -> Result<(), String> {
    let bot = api::BotAccount { id: 1, username: "bot".to_owned(), can_read_all_group_messages: false };
    let updates = error::parse_answer::<Vec<Box<RawValue>>>(200, Some("7"), body, str::to_owned);
    for update in &updates.map_err(|error| error.to_string())? {
        update::parse(update, &bot, u64::MAX);
    }
    Ok(())
}

/// An event of one of Telegram's threads.
pub(super) struct TelegramEvent(EventKind);

enum EventKind {
    /// The token was accepted: it is this bot's.
    Identified(BotAccount),
    /// A poll was answered.
    Polled,
    /// A poll, or a send, found trouble.
    Trouble(ApiError),
    /// Another gateway on this host polls this bot: which, in words.
    PolledElsewhere(String),
    /// Why nobody can tell whether another gateway polls this bot, or that it is clear again.
    Disputed(Option<String>),
    /// A poll brought updates.
    Batch(Batch),
    /// Answers `SendCommand::Probe`: the bot's account, or what is wrong.
    Probed(Result<BotAccount, ApiError>),
}

/// Sends what one of Telegram's threads has to tell, each to where it belongs.
#[derive(Clone)]
struct Reporter {
    to_loop: Sender<TelegramEvent>,
    events: Port<ChannelEvent>,
}

impl Reporter {
    /// Tells the channels thread. Nobody is there any more when Telegram was switched off.
    fn send(&self, kind: EventKind) {
        let _ = self.to_loop.send(TelegramEvent(kind));
    }

    fn outcome(&self, id: AttemptId, outcome: AttemptOutcome) {
        let _ = self.events.send(ChannelEvent::Outcome { id, outcome });
    }

    fn fetched(&self, fetch: Fetch, result: Result<FetchedFile, String>) {
        let _ = self.events.send(ChannelEvent::fetched(fetch, result));
    }
}

/// Telegram, as the `channels` thread drives it.
pub(super) struct Telegram {
    setup: Option<Arc<TelegramSetup>>,
    cursors: BTreeMap<String, String>,
    events: Port<ChannelEvent>,
    health: Health,
    running: Option<Running>,
    /// The cursor of the batch that state has not acknowledged yet; all of Telegram's have one.
    offered: Option<(String, String)>,
    /// A batch that waits until state has acknowledged that one.
    next: Option<Batch>,
    probes: Vec<Probe>,
}

/// Telegram's threads, by the queues of their commands. They end when this is dropped.
struct Running {
    poll: Sender<PollCommand>,
    send: Sender<SendCommand>,
    files: Sender<FileCommand>,
    /// The other end of `files`, to take back what waits there.
    file_commands: Receiver<FileCommand>,
    events: Receiver<TelegramEvent>,
    /// Whether the batch that state has not acknowledged yet is from these threads.
    is_offering: bool,
    is_off: Arc<AtomicBool>,
    stop_polling: Box<dyn Fn() + Send>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.is_off.store(true, Relaxed);
        (self.stop_polling)();
    }
}

struct Probe {
    conn: ConnId,
    id: String,
    until: Instant,
}

impl Telegram {
    /// `cursors` are those of all bots that were ever polled.
    pub(super) fn new(
        setup: Option<TelegramSetup>,
        cursors: BTreeMap<String, String>,
        events: Port<ChannelEvent>,
    ) -> Self {
        let health = Health::new(Channel::Telegram, setup.is_some(), TELEGRAM_ALIVE_MS, events.clone());
        Self {
            setup: setup.map(Arc::new),
            cursors,
            events,
            health,
            running: None,
            offered: None,
            next: None,
            probes: Vec::new(),
        }
    }

    /// Switches Telegram on or off, and tells state.
    pub(super) fn switch(&mut self, enabled: bool) {
        self.health.known.enabled = enabled;
        if !enabled {
            self.give_back();
        } else if self.running.is_none() {
            self.health.set("connecting", None);
            self.start();
        }
        self.health.publish_again();
    }

    /// Ends the threads. Attempts that wait are given back as not sent.
    pub(super) fn give_back(&mut self) {
        self.next = None;
        let Some(running) = self.running.take() else { return };
        // Commands for `tg-files` would wait for minutes behind a file that is on its way.
        let waiting: Vec<FileCommand> = running.file_commands.try_iter().collect();
        drop(running);
        for command in waiting {
            match command {
                FileCommand::Deliver(attempt) => self.deliver(attempt),
                FileCommand::Fetch(fetch) => self.fetch(fetch),
            }
        }
    }

    fn start(&mut self) {
        let Some(setup) = self.setup.clone() else { return };
        if !setup.has_sound_token() {
            let description = "it has not the shape of a token".to_owned();
            let refusal = Refusal { code: 404, description, ..Refusal::default() };
            self.set_trouble(&ApiError::Refused(refusal));
            return self.log_health();
        }
        match self.spawn(&setup) {
            Ok(running) => self.running = Some(running),
            Err(error) => {
                self.set_trouble(&ApiError::Unreachable(format!("no thread can be started: {error}")));
                self.log_health();
            }
        }
    }

    fn spawn(&self, setup: &Arc<TelegramSetup>) -> io::Result<Running> {
        let (to_loop, events) = bounded(TELEGRAM_EVENTS_INBOX);
        let reporter = Reporter { to_loop, events: self.events.clone() };
        let is_off = Arc::new(AtomicBool::new(false));
        let api = || Api::new(Arc::clone(setup));
        let (poll, poll_commands) = bounded(TELEGRAM_POLL_INBOX);
        let (send, send_commands) = bounded(TELEGRAM_COMMANDS_MAX);
        let (files, file_commands) = bounded(TELEGRAM_COMMANDS_MAX);
        let poll_loop = PollLoop {
            api: api(),
            commands: poll_commands,
            reporter: reporter.clone(),
            cursors: self.cursors.clone(),
            pauses: Pauses::default(),
        };
        let stop_polling = Box::new(poll_loop.api.stopper());
        let rate_limit = Arc::new(Mutex::new(RateLimit::new()));
        let send_loop = SendLoop {
            api: api(),
            commands: send_commands,
            reporter: reporter.clone(),
            rate_limit: Arc::clone(&rate_limit),
            queue: Vec::new(),
            typing: Typing::default(),
        };
        let file_loop = FileLoop {
            api: api(),
            commands: file_commands.clone(),
            rate_limit,
            reporter,
            is_off: Arc::clone(&is_off),
        };
        // Not joined: a request in flight can take minutes. Each ends when nobody can send commands any more.
        threads::spawn_owner("tg-send", move || send_loop.run())?;
        threads::spawn_owner("tg-files", move || file_loop.run())?;
        threads::spawn_owner("tg-poll", move || poll_loop.run())?;
        Ok(Running { poll, send, files, file_commands, events, is_offering: false, is_off, stop_polling })
    }

    /// Handles state's answer to a batch: it is on record, or is to be offered again after the pause.
    pub(super) fn acknowledge(&mut self, result: Result<(), Duration>) {
        let Some((name, value)) = self.offered.take() else { return };
        if result.is_ok() {
            self.cursors.insert(name, value);
        }
        if let Some(running) = self.running.as_mut().filter(|running| running.is_offering) {
            running.is_offering = false;
            let _ = running.poll.try_send(PollCommand::Acknowledge(result));
        }
        if let Some(batch) = self.next.take() {
            self.offer(batch);
        }
    }

    fn offer(&mut self, batch: Batch) {
        self.offered.clone_from(&batch.cursor);
        if let Some(running) = &mut self.running {
            running.is_offering = true;
        }
        let _ = self.events.send(ChannelEvent::Arrived(batch));
    }

    /// Delivers a part. There is one outcome, now or later.
    pub(super) fn deliver(&self, attempt: Box<Attempt>) {
        let id = attempt.id;
        let accepted = self.running.as_ref().is_some_and(|running| match attempt.part {
            Part::Text { .. } => running.send.try_send(SendCommand::Deliver(attempt)).is_ok(),
            Part::Media { .. } | Part::File { .. } => {
                running.files.try_send(FileCommand::Deliver(attempt)).is_ok()
            }
        });
        if !accepted {
            let outcome = not_sent(self.reason_refused());
            let _ = self.events.send(ChannelEvent::Outcome { id, outcome });
        }
    }

    /// Fetches a file. There is one answer, now or later.
    pub(super) fn fetch(&self, fetch: Fetch) {
        let accepted = self
            .running
            .as_ref()
            .is_some_and(|running| running.files.try_send(FileCommand::Fetch(fetch.clone())).is_ok());
        if !accepted {
            let _ = self.events.send(ChannelEvent::fetched(fetch, Err(self.reason_refused())));
        }
    }

    fn reason_refused(&self) -> String {
        match (&self.running, self.health.shown().reason) {
            (Some(_), _) => "too much is waiting to be sent".to_owned(),
            (None, Some(reason)) => format!("telegram is not connected: {reason}"),
            (None, None) => "telegram is not connected".to_owned(),
        }
    }

    /// Shows in a chat that we are typing, or no longer; nobody is told if that fails.
    pub(super) fn typing(&self, route: Route, is_typing: bool) {
        if let Some(running) = &self.running {
            let _ = running.send.try_send(SendCommand::Typing { route, is_typing });
        }
    }

    /// Looks at the server; answered by `ChannelEvent::Probed` when it has, or when it takes too long.
    pub(super) fn probe(&mut self, conn: ConnId, id: String) {
        let asked =
            self.running.as_ref().is_some_and(|running| running.send.try_send(SendCommand::Probe).is_ok());
        self.probes.push(Probe { conn, id, until: Instant::now() + TELEGRAM_PROBE_TIMEOUT });
        if !asked {
            self.answer_probes(|_| true);
        }
    }

    fn answer_probes(&mut self, is_due: impl Fn(&Probe) -> bool) {
        let probes = std::mem::take(&mut self.probes);
        let (due, waiting): (Vec<Probe>, Vec<Probe>) = probes.into_iter().partition(is_due);
        self.probes = waiting;
        if !due.is_empty() {
            self.health.publish_again();
        }
        for Probe { conn, id, .. } in due {
            let _ = self.events.send(ChannelEvent::Probed { conn, id });
        }
    }

    /// When [`Self::advance`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.probes.iter().map(|probe| probe.until).min()
    }

    /// Does what is due by now.
    pub(super) fn advance(&mut self, now: Instant) {
        self.answer_probes(|probe| probe.until <= now);
    }

    /// Where the threads' events come in, while there are threads.
    pub(super) fn events(&self) -> Receiver<TelegramEvent> {
        self.running.as_ref().map_or_else(never, |running| running.events.clone())
    }

    /// Handles an event of one of the threads.
    pub(super) fn handle_event(&mut self, event: TelegramEvent) {
        let is_probed = matches!(event.0, EventKind::Probed(_));
        match event.0 {
            EventKind::Identified(bot) => {
                let privacy = if bot.can_read_all_group_messages { "all" } else { "only its own" };
                log::info!("telegram: this is @{}; in groups it sees {privacy} messages", bot.username);
                self.set_bot(&bot);
            }
            EventKind::Polled => {
                self.health.set("ready", None);
                self.health.known.last_frame_ts = Some(wall_ms());
            }
            EventKind::Trouble(error) | EventKind::Probed(Err(error)) => self.set_trouble(&error),
            EventKind::PolledElsewhere(who) => {
                self.health.set(Trouble::Conflict.state(), Some(error::polled_elsewhere(&who)));
            }
            EventKind::Disputed(why) => self.health.note = why.as_deref().map(error::lease_dispute),
            EventKind::Batch(batch) => {
                // The answer to a batch of earlier threads may be on its way.
                if self.offered.is_some() { self.next = Some(batch) } else { self.offer(batch) }
            }
            EventKind::Probed(Ok(bot)) => {
                self.set_bot(&bot);
                if let (false, Some(running)) = (self.health.is_connected(), &self.running) {
                    // It works again: there is no need to wait for the next attempt.
                    let _ = running.poll.try_send(PollCommand::Wake);
                }
            }
        }
        if self.health.publish() {
            self.log_health();
        }
        if is_probed {
            self.answer_probes(|_| true);
        }
    }

    /// Notes that the server knows the token: it is this bot's.
    fn set_bot(&mut self, bot: &BotAccount) {
        self.health.known.linked = Some(true);
        self.health.known.self_id = Some(format!("@{}", bot.username));
    }

    fn set_trouble(&mut self, error: &ApiError) {
        let trouble = Trouble::of(error);
        if trouble == Trouble::Unauthorized {
            self.health.known.linked = Some(false);
        }
        self.health.set(trouble.state(), Some(trouble.reason(error)));
    }

    fn log_health(&self) {
        let shown = self.health.shown();
        match shown.reason {
            Some(reason) => log::warn!("telegram: {reason}"),
            None => log::info!("telegram: {}", shown.state),
        }
    }
}

#[cfg(test)]
mod tests;
