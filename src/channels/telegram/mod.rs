//! Telegram, as the channels thread drives it: knows the health of the connection, switches its threads on
//! and off, and passes commands to them. Never blocks on the network; its threads do.
//!
//! `tg-poll` receives, `tg-send` sends texts, `tg-files` moves files. They live while the channel
//! is switched on. Events of threads of an earlier time (epoch) do not count, except
//! for outcomes of attempts.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::value::RawValue;

use crate::channels::ChannelEvent;
use crate::channels::delivery::{Attempt, Part, not_sent};
use crate::channels::message::{Batch, Fetch, Route};
use crate::channels::web::client::ProxyRoute;
use crate::channels::web::download::{Downloader, MediaSources};
use crate::clock::wall_ms;
use crate::config::file;
use crate::config::secret::Secret;
use crate::limits::{TELEGRAM_ALIVE_MS, TELEGRAM_COMMANDS_MAX, TELEGRAM_POLL_INBOX, TELEGRAM_PROBE_TIMEOUT};
use crate::port::Port;
use crate::protocol::ConnId;
use crate::protocol::call::Channel;
use crate::threads;

mod api;
mod content;
mod error;
mod event;
mod fetch;
mod file_loop;
mod health;
mod mention;
mod poll_loop;
mod rate_limit;
mod send_loop;
mod send_message;
mod typing;
mod update;

use api::{Access, Api};
use error::{ApiError, Refusal};
pub(super) use event::TelegramEvent;
use event::{EventKind, Reporter};
use file_loop::{FileCommand, FileLoop};
use health::TelegramHealth;
use poll_loop::{PollCommand, PollLoop};
use send_loop::{SendCommand, SendLoop};

/// The part of the config that Telegram needs. No `Debug`: it holds the token.
pub(crate) struct TelegramSetup {
    access: Access,
    /// Whether a webhook that is set for the bot is removed.
    delete_webhook: bool,
    /// Size of the largest picture or file that is fetched.
    media_bytes_max: u64,
    /// Folder for files on their way to the server.
    tmp: PathBuf,
    downloader: Downloader,
}

impl TelegramSetup {
    /// From the settings; `None` without a token. `tmp` is a folder of ours, made when needed, and
    /// `sources` says what may be sent. Fails with a sentence about a URL that is none.
    pub(crate) fn new(
        config: &file::Telegram,
        tmp: PathBuf,
        sources: MediaSources,
    ) -> Result<Option<Self>, String> {
        // Checked without a token, too: what is wrong should not wait for one.
        let token = config.bot_token.clone().unwrap_or_else(|| Secret::new(""));
        let access = Access::new(token, &config.api_base, config.proxy.as_deref())?;
        // Downloads go by the proxy of the Bot API, unless its server is this machine.
        let proxy_route = match &access.proxy_route {
            ProxyRoute::Direct => ProxyRoute::Environment,
            proxy_route => proxy_route.clone(),
        };
        Ok(config.bot_token.is_some().then_some(Self {
            access,
            delete_webhook: config.delete_webhook,
            media_bytes_max: config.media_max_mb.saturating_mul(1024 * 1024),
            tmp,
            downloader: Downloader { proxy_route, sources },
        }))
    }
}

/// Reads an answer with updates, and what they bring, for `tests/it/fuzz`.
pub(super) fn read_updates(body: &[u8]) -> Result<(), String> {
    let bot = api::BotAccount { id: 1, username: "bot".to_owned(), can_read_all_group_messages: false };
    let updates = error::parse_answer::<Vec<Box<RawValue>>>(200, Some("7"), body, str::to_owned);
    for update in &updates.map_err(|error| error.to_string())? {
        update::parse(update, &bot, u64::MAX);
    }
    Ok(())
}

/// Telegram, as the `channels` thread drives it.
pub(super) struct Telegram {
    setup: Option<Arc<TelegramSetup>>,
    cursors: BTreeMap<String, String>,
    events: Port<ChannelEvent>,
    to_loop: Sender<TelegramEvent>,
    health: TelegramHealth,
    /// When state was told the health last.
    published_ms: u64,
    epoch: u64,
    running: Option<Running>,
    /// Epoch and cursor of the batch that state has not acknowledged yet.
    offered: Option<(u64, Option<(String, String)>)>,
    /// A batch that waits for that.
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
    is_off: Arc<AtomicBool>,
    stop_polling: Option<Box<dyn FnOnce() + Send>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.is_off.store(true, Relaxed);
        // It may be waiting for a chat's turn. With a full queue it is awake.
        let _ = self.send.try_send(SendCommand::WakeUp);
        if let Some(stop) = self.stop_polling.take() {
            stop();
        }
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
        to_loop: Sender<TelegramEvent>,
        events: Port<ChannelEvent>,
    ) -> Self {
        let (health, setup) = (TelegramHealth::new(setup.is_some()), setup.map(Arc::new));
        let (offered, next, running) = (None, None, None);
        let (published_ms, epoch, probes) = (0, 0, Vec::new());
        Self { setup, cursors, events, to_loop, health, published_ms, epoch, running, offered, next, probes }
    }

    /// Switches Telegram on or off, and tells state.
    pub(super) fn switch(&mut self, enabled: bool) {
        let before = self.health.clone();
        self.health.set_enabled(enabled);
        if enabled && self.running.is_none() {
            self.epoch += 1;
            self.start();
        } else if !enabled {
            self.give_back();
        } else {
            self.health = before;
        }
        self.publish_health();
    }

    /// Ends the threads. Attempts that wait are given back as not sent.
    pub(super) fn give_back(&mut self) {
        // What the poll in flight brings belongs to an epoch that is over.
        self.epoch += 1;
        self.next = None;
        let Some(running) = self.running.take() else { return };
        // Behind a file that is on its way they would wait for minutes.
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
        let Some(setup) = &self.setup else { return };
        if !setup.access.has_sound_token() {
            let description = "it has not the shape of a token".to_owned();
            let refusal = Refusal { code: 404, description, retry_after: None, migrate_to: None };
            self.health.set_trouble(&ApiError::Refused(refusal));
            self.log_health();
            return;
        }
        match self.spawn(setup) {
            Ok(running) => self.running = Some(running),
            Err(error) => {
                self.health.set_trouble(&ApiError::Unreachable(format!("no thread can be started: {error}")));
                self.log_health();
            }
        }
    }

    fn spawn(&self, setup: &Arc<TelegramSetup>) -> io::Result<Running> {
        let reporter =
            Reporter { epoch: self.epoch, to_loop: self.to_loop.clone(), events: self.events.clone() };
        let is_off = Arc::new(AtomicBool::new(false));
        let api = || Api::new(setup.access.clone());
        let (poll, poll_commands) = bounded(TELEGRAM_POLL_INBOX);
        let (send, send_commands) = bounded(TELEGRAM_COMMANDS_MAX);
        let (files, file_commands) = bounded(TELEGRAM_COMMANDS_MAX);
        let poll_loop = PollLoop {
            api: api(),
            commands: poll_commands,
            reporter: reporter.clone(),
            cursors: self.cursors.clone(),
            setup: Arc::clone(setup),
        };
        let stop_polling: Box<dyn FnOnce() + Send> = Box::new(poll_loop.api.stopper());
        let send_loop = SendLoop::new(api(), send_commands, reporter.clone(), Arc::clone(&is_off));
        let file_loop = FileLoop {
            api: api(),
            commands: file_commands.clone(),
            to_send_loop: send.clone(),
            reporter,
            is_off: Arc::clone(&is_off),
            setup: Arc::clone(setup),
        };
        // Not joined: a request in flight can take minutes. Each ends when nobody can send commands any more.
        threads::spawn_owner("tg-send", move || send_loop.run())?;
        threads::spawn_owner("tg-files", move || file_loop.run())?;
        threads::spawn_owner("tg-poll", move || poll_loop.run())?;
        Ok(Running { poll, send, files, file_commands, is_off, stop_polling: Some(stop_polling) })
    }

    /// Handles state's answer to a batch: it is on record, or is to be offered again after the pause.
    pub(super) fn acknowledge(&mut self, result: Result<(), Duration>) {
        let Some((epoch, cursor)) = self.offered.take() else { return };
        if let (Ok(()), Some((name, value))) = (&result, cursor) {
            self.cursors.insert(name, value);
        }
        if let (true, Some(running)) = (epoch == self.epoch, &self.running) {
            let _ = running.poll.try_send(PollCommand::Acknowledge(result));
        }
        if let Some(batch) = self.next.take() {
            self.offer(batch);
        }
    }

    fn offer(&mut self, batch: Batch) {
        self.offered = Some((self.epoch, batch.cursor.clone()));
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
        match (&self.running, self.health.summary()) {
            (Some(_), _) => "too much is waiting to be sent".to_owned(),
            (None, (_, Some(reason))) => format!("telegram is not connected: {reason}"),
            (None, (_, None)) => "telegram is not connected".to_owned(),
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

    fn answer_probes(&mut self, which: impl Fn(&Probe) -> bool) {
        if self.probes.iter().any(&which) {
            self.publish_health();
        }
        let (due, waiting) = std::mem::take(&mut self.probes).into_iter().partition(which);
        self.probes = waiting;
        let due: Vec<Probe> = due;
        for Probe { conn, id, .. } in due {
            let _ = self.events.send(ChannelEvent::Probed { conn, id });
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.probes.iter().map(|probe| probe.until).min()
    }

    /// Does what is due by now.
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        self.answer_probes(|probe| probe.until <= now);
    }

    /// Handles an event of one of the threads.
    pub(super) fn handle_event(&mut self, event: TelegramEvent) {
        if event.epoch != self.epoch || self.running.is_none() {
            return;
        }
        let before = self.health.clone();
        let wall_ms = wall_ms();
        match event.kind {
            EventKind::Identified(bot) => {
                let privacy = if bot.can_read_all_group_messages { "all" } else { "only its own" };
                log::info!("telegram: this is @{}; in groups it sees {privacy} messages", bot.username);
                self.health.set_bot(&bot);
            }
            EventKind::Polled => self.health.set_polled(wall_ms),
            EventKind::Trouble(error) => self.health.set_trouble(&error),
            EventKind::PolledElsewhere(who) => self.health.set_polled_elsewhere(&who),
            EventKind::Disputed(why) => self.health.set_lease_dispute(why.as_deref()),
            EventKind::Batch { arrivals, cursor } => {
                let batch = Batch { channel: Channel::Telegram, arrivals, cursor };
                // The answer to a batch of an earlier epoch may be on its way.
                if self.offered.is_some() { self.next = Some(batch) } else { self.offer(batch) }
            }
            EventKind::Probed(probed) => {
                match probed {
                    Ok(bot) => {
                        self.health.set_bot(&bot);
                        if self.health.summary().0 != "ready" {
                            // It works again: there is no need to wait for the next attempt.
                            let poll = self.running.as_ref().map(|running| &running.poll);
                            let _ = poll.map(|poll| poll.try_send(PollCommand::Wake));
                        }
                    }
                    Err(error) => self.health.set_trouble(&error),
                }
                self.answer_probes(|_| true);
            }
        }
        let alive = self
            .health
            .shown
            .last_frame_ts
            .is_some_and(|polled| polled >= self.published_ms + TELEGRAM_ALIVE_MS);
        if self.health.differs(&before) {
            self.log_health();
            self.publish_health();
        } else if alive {
            self.publish_health();
        }
    }

    fn log_health(&self) {
        match self.health.summary() {
            (_, Some(reason)) => log::warn!("telegram: {reason}"),
            (state, None) => log::info!("telegram: {state}"),
        }
    }

    fn publish_health(&mut self) {
        self.published_ms = wall_ms();
        let health = Box::new(self.health.shown.clone());
        let _ = self.events.send(ChannelEvent::Health { channel: Channel::Telegram, health });
    }
}

#[cfg(test)]
mod tests;
