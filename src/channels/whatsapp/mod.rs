//! WhatsApp, through a sidecar: a Node program that speaks WhatsApp Web and is driven over stdio.
//!
//! This module decides when the sidecar runs, turns what it says into facts, messages and outcomes,
//! and survives its end. It runs on the `channels` thread and never waits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use serde_json::json;

use crate::channels::command::LoginMethod;
use crate::channels::delivery::{Attempt, AttemptId, AttemptOutcome, Part};
use crate::channels::event::ChannelEvent;
use crate::channels::lease::Lease;
use crate::channels::message::{InboundMedia, Route};
use crate::channels::web::media_sources::MediaSources;
use crate::limits::{CHILD_POLL_INTERVAL, CHILD_TERM_WAIT, WHATSAPP_TYPING_INTERVAL};
use crate::port::Port;
use crate::protocol::call::Channel;

mod account;
mod fetch;
mod handlers;
mod inbound;
mod intake;
mod lifecycle;
mod locate;
mod login;
mod outgoing;
mod sidecar;
mod upload;
mod wire;

use fetch::Fetching;
use inbound::Reader;
use intake::Intake;
use lifecycle::Life;
use login::Login;
use outgoing::Outgoing;
use sidecar::{Asked, Generation, Process};
use wire::{Me, Said};

/// What WhatsApp needs to know; made once from the config.
#[derive(Debug, Clone, Default)]
pub struct WhatsappConfig {
    /// The config switches it on.
    pub configured: bool,
    /// The daemon's own binary: also the guard of the sidecar, and what the sidecar is looked for beside.
    pub own_exe: PathBuf,
    /// Folder (0700) of the login, of media on their way, and of a program that was made here.
    pub folder: PathBuf,
    /// Path of Node; the first in `PATH` if absent.
    pub node: Option<String>,
    /// More arguments for Node.
    pub args: Vec<String>,
    /// Environment of the sidecar.
    pub env: BTreeMap<String, String>,
    /// URL of a proxy.
    pub proxy: Option<String>,
    /// Largest picture or file, both ways.
    pub media_bytes_max: u64,
    /// Notes to oneself are questions too.
    pub self_chat: bool,
    /// Whose files may be sent.
    pub sources: MediaSources,
    /// People see that their messages were read.
    pub read_receipts: bool,
}

/// Reads lines, and takes the messages in them, for `tests/fuzz`.
pub(super) fn read(lines: &[u8]) -> Result<(), String> {
    let reader = std::cell::RefCell::new(Reader::new(true, u64::MAX));
    wire::read(lines, |said| {
        if let Said::Event(wire::Event::Msg(msg)) = said {
            reader.borrow_mut().take(*msg, &Me::default(), Instant::now());
        }
        true
    })
}

/// What other threads have for this module.
#[derive(Debug)]
pub(in crate::channels) struct News(Told);

#[derive(Debug)]
enum Told {
    /// A line of that sidecar.
    Said(Generation, Box<Said>),
    /// It closed its output, in order or not.
    Closed(Generation, Option<String>),
    /// A line of that installer.
    Installing(Generation, String),
    /// It has ended.
    Installed(Generation),
    /// What is to be sent was downloaded.
    Downloaded(Box<Attempt>, Result<PathBuf, AttemptOutcome>),
}

/// WhatsApp as the `channels` thread drives it.
pub(super) struct Whatsapp {
    config: WhatsappConfig,
    events: Port<ChannelEvent>,
    news: Sender<News>,
    enabled: bool,
    process: Option<Process>,
    life: Life,
    /// Our own account, once the sidecar has said it.
    me: Me,
    /// The server that the sidecar connects to, once it has said it.
    host: Option<String>,
    /// Our account, held against other gateways on this host: its name there.
    lease: Option<(String, Lease)>,
    /// Why nobody can say whether another gateway has it.
    disputed: Option<String>,
    reader: Reader,
    intake: Intake,
    outgoing: Outgoing,
    fetching: Fetching,
    /// Chats in which somebody sees us write, and when to say so again.
    typing: BTreeMap<String, Instant>,
    login: Option<Login>,
    /// The account is to be unlinked as soon as the sidecar can.
    logout_wanted: bool,
    /// Sidecars that closed their output and are not gone yet.
    dying: Vec<Process>,
}

impl Whatsapp {
    pub(super) fn new(config: WhatsappConfig, events: Port<ChannelEvent>, news: Sender<News>) -> Self {
        let reader = Reader::new(config.self_chat, config.media_bytes_max);
        if let Err(error) = sidecar::discard_leftovers(&config.folder) {
            log::warn!("whatsapp: old files stay in `{}`: {error}", config.folder.display());
        }
        Self {
            config,
            events,
            news,
            enabled: false,
            process: None,
            life: Life::default(),
            me: Me::default(),
            host: None,
            lease: None,
            disputed: None,
            reader,
            intake: Intake::default(),
            outgoing: Outgoing::default(),
            fetching: Fetching::default(),
            typing: BTreeMap::new(),
            login: None,
            logout_wanted: false,
            dying: Vec::new(),
        }
    }

    /// A line, or an end.
    pub(super) fn news(&mut self, news: News, now: Instant) {
        match news.0 {
            Told::Said(generation, said) if self.is_current(generation) => self.said(*said, now),
            Told::Closed(generation, fault) if self.is_current(generation) => self.closed(fault, now),
            // Of one that was given up.
            Told::Said(..) | Told::Closed(..) => {}
            Told::Installing(of, line) => self.installing(of, line),
            Told::Installed(of) => self.installed(of, now),
            Told::Downloaded(attempt, result) => self.downloaded(*attempt, result, now),
        }
        self.work(now);
    }

    fn is_current(&self, generation: Generation) -> bool {
        self.process.as_ref().is_some_and(|process| process.generation == generation)
    }

    /// Whether its sidecar is to end: what that still says about a login is about one that is over.
    fn is_ending(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_ending)
    }

    /// Switches it on or off. Switching it on once more tries again at once.
    pub(super) fn switch(&mut self, enabled: bool, now: Instant) {
        self.enabled = enabled;
        if !enabled {
            self.login_over(Err("WhatsApp was switched off".to_owned()));
            self.rest("off", None, now);
        } else if self.process.as_ref().is_some_and(|process| !process.is_ending()) {
            if self.life.is_linked() {
                self.ask("connect", json!({}), Asked::Other("connect"), now);
            }
        } else {
            self.life.wake(now);
        }
        self.work(now);
    }

    /// Takes a message to deliver. A file is brought here first.
    pub(super) fn deliver(&mut self, attempt: Attempt, now: Instant) {
        let source = match &attempt.part {
            Part::Media { source, .. } => Some(source.clone()),
            Part::Text { .. } | Part::File { .. } => None,
        };
        match source {
            Some(source) => self.download(attempt, source),
            None => self.outgoing.add(attempt, now),
        }
        self.work(now);
    }

    /// Fetches a picture or file.
    pub(super) fn fetch(
        &mut self,
        key: String,
        index: usize,
        media: InboundMedia,
        folder: PathBuf,
        now: Instant,
    ) {
        self.fetching.add(key, index, media, folder, now);
        self.work(now);
    }

    /// Shows that somebody is writing, or no longer.
    pub(super) fn typing(&mut self, route: Route, on: bool, now: Instant) {
        if on {
            self.typing.insert(route.chat, now);
        } else if self.typing.remove(&route.chat).is_some() && self.life.is_connected() {
            self.ask("typing", json!({ "to": route.chat, "state": "paused" }), Asked::Other("typing"), now);
        }
        self.work(now);
    }

    /// A message is being answered: its sender may see that it was read.
    pub(super) fn seen(&mut self, chat: &str, message_id: &str, from: &str, now: Instant) {
        if self.config.read_receipts && self.life.is_connected() {
            let from = crate::channels::address::chat_of(Channel::Whatsapp, from);
            let keys = json!({ "keys": [{ "chat": chat, "id": message_id, "from": from }] });
            self.ask("read", keys, Asked::Other("read"), now);
        }
    }

    /// Takes what is safe with us out of the sidecar's journal; at its end it does that by itself.
    pub(super) fn tidy(&mut self, now: Instant) {
        if self.process.as_ref().is_some_and(|process| process.greeted) {
            self.ask("tidy", json!({}), Asked::Other("tidy"), now);
        }
    }

    /// The batch that was handed over is safe, or is to be offered again.
    pub(super) fn acknowledge(&mut self, result: Result<(), Duration>, now: Instant) {
        if let Some(seq) = self.intake.acknowledge(result, now) {
            self.ask("ack", json!({ "seq": seq }), Asked::Other("ack"), now);
        }
        self.work(now);
    }

    /// When [`Self::on_time`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let connected = self.life.is_connected();
        let process = self.process.as_ref().map(Process::deadline);
        let typing = self.typing.values().min().copied().filter(|_| connected);
        [
            process,
            typing,
            self.life.start_at().filter(|_| self.process.is_none()),
            self.login.as_ref().and_then(Login::deadline),
            self.dying.first().map(|_| Instant::now() + CHILD_POLL_INTERVAL),
            self.intake.offer_at(),
            self.outgoing.deadline(connected),
            self.fetching.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due.
    pub(super) fn on_time(&mut self, now: Instant) {
        if let Some(Err(why)) = self.process.as_mut().map(|process| process.on_time(now)) {
            self.life.set("closed", Some(format!("the sidecar is ended: {why}")));
        }
        self.dying.retain_mut(|process| !process.is_gone(now));
        if let Some((_, lease)) = &self.lease {
            lease.drain();
        }
        if self.login.as_ref().and_then(Login::deadline).is_some_and(|at| at <= now) {
            self.login_over(Err("installing the sidecar took too long".to_owned()));
        }
        self.work(now);
    }

    /// What any turn may have left to do.
    fn work(&mut self, now: Instant) {
        if self.life.start_at().is_some_and(|at| at <= now) && self.process.is_none() {
            self.start(now);
        }
        let connected = self.life.is_connected();
        for (id, outcome) in self.outgoing.expire(connected, now) {
            self.outcome(id, outcome);
        }
        for event in self.fetching.expire(now) {
            self.tell(event);
        }
        if connected {
            self.write_messages(now);
            self.show_typing(now);
            for (handle, asked) in self.fetching.start() {
                let members = json!({ "ref": handle, "max": self.config.media_bytes_max });
                self.ask("fetch", members, asked, now);
            }
        }
        if let Some(batch) = self.intake.offer(now) {
            self.tell(ChannelEvent::Arrived(batch));
        }
        if let Some(seq) = self.intake.nothing_to_offer() {
            self.ask("ack", json!({ "seq": seq }), Asked::Other("ack"), now);
        }
        self.release_account();
        self.publish();
    }

    fn write_messages(&mut self, now: Instant) {
        while let Some(attempt) = self.outgoing.next(now) {
            let mut members = json!({ "id": attempt.message_id, "to": attempt.route.chat });
            match &attempt.part {
                // It takes long texts as they are.
                Part::Text { text, .. } | Part::File { text, .. } => members["text"] = text.as_str().into(),
                Part::Media { source, caption } => {
                    members["media"] = upload::media(Path::new(source), caption);
                }
            }
            self.ask("send", members, Asked::Send { id: attempt.message_id }, now);
        }
    }

    /// WhatsApp forgets it after some ten seconds.
    fn show_typing(&mut self, now: Instant) {
        let due: Vec<String> =
            self.typing.iter().filter(|(_, at)| **at <= now).map(|(chat, _)| chat.clone()).collect();
        for chat in due {
            let members = json!({ "to": chat, "state": "composing" });
            self.ask("typing", members, Asked::Other("typing"), now);
            self.typing.insert(chat, now + WHATSAPP_TYPING_INTERVAL);
        }
    }

    /// Nothing more is begun: what the server has not been given comes back.
    pub(super) fn give_back(&mut self) {
        for (id, outcome) in self.outgoing.give_back("the gateway is stopping") {
            self.outcome(id, outcome);
        }
    }

    /// Ends the sidecar in order, as far as it can be waited for.
    pub(super) fn stop(mut self, news: &Receiver<News>) {
        let Some(process) = &mut self.process else { return };
        process.end(Instant::now());
        let (generation, until) = (process.generation, Instant::now() + CHILD_TERM_WAIT);
        while let Ok(said) = news.recv_deadline(until) {
            if matches!(said.0, Told::Closed(of, _) if of == generation) {
                return;
            }
        }
    }

    fn ask(&mut self, op: &str, members: serde_json::Value, asked: Asked, now: Instant) {
        if let Some(process) = &mut self.process {
            process.ask(op, members, asked, now);
        }
    }

    /// The one outcome of an attempt. What was downloaded for it goes.
    fn outcome(&self, id: AttemptId, outcome: AttemptOutcome) {
        upload::remove(&self.config.folder, id);
        self.tell(ChannelEvent::Outcome { id, outcome });
    }

    fn tell(&self, event: ChannelEvent) {
        let _ = self.events.send(event);
    }

    /// Starts a login: a code to scan, or one to type.
    pub(super) fn log_in(&mut self, method: LoginMethod, now: Instant) {
        self.begin_login(method, now);
        self.work(now);
    }
}
