//! WhatsApp, through a sidecar: a Node program that speaks WhatsApp Web and is driven over stdio.
//!
//! This module decides when the sidecar runs, turns its lines into health, messages and outcomes, and
//! survives its end. It runs on the `channels` thread and never waits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use serde_json::json;

use crate::channels::ChannelEvent;
use crate::channels::delivery::{Attempt, AttemptId, AttemptOutcome, Part};
use crate::channels::health::Health;
use crate::channels::lease::Lease;
use crate::channels::message::{Fetch, Route};
use crate::channels::web::download::MediaSources;
use crate::config::file;
use crate::limits::{
    CHILD_POLL_INTERVAL, CHILD_TERM_WAIT, WHATSAPP_ALIVE_MS, WHATSAPP_FETCH_TIMEOUT, WHATSAPP_TYPING_INTERVAL,
};
use crate::port::Port;
use crate::protocol::call::Channel;

mod files;
mod handlers;
mod inbound;
mod lifecycle;
mod locate;
mod login;
mod outgoing;
mod sidecar;
mod wire;

use inbound::{Intake, MessageReader};
use lifecycle::Lifecycle;
use login::Login;
use outgoing::Outgoing;
use sidecar::{Generation, Request, Sidecar};
use wire::{OwnAccount, SidecarLine};

/// What WhatsApp starts with.
#[derive(Clone)]
pub(crate) struct WhatsappSetup {
    /// The daemon's own binary: also the guard of the sidecar, and what the sidecar is looked for beside.
    pub(crate) own_exe: PathBuf,
    /// Folder (0700) of the login, of media on their way, and of a program that was made here.
    pub(crate) folder: PathBuf,
    /// The section `whatsapp` of the config.
    pub(crate) config: file::Whatsapp,
    /// Where files that are sent may come from.
    pub(crate) sources: MediaSources,
}

impl WhatsappSetup {
    /// Size of the largest picture or file, both ways.
    fn media_bytes_max(&self) -> u64 {
        self.config.media_max_mb.saturating_mul(1024 * 1024)
    }
}

/// Reads lines as those of a sidecar, and the messages in them, for `tests/it/fuzz`: through processes it would
/// try a thousandth as many. The error says what ends the sidecar.
pub fn read_sidecar(lines: &[u8]) -> Result<(), String> {
    let mut reader = MessageReader::new(true, u64::MAX);
    wire::read(lines, |line| {
        if let SidecarLine::Event(wire::SidecarEvent::Msg(msg)) = line {
            reader.read(*msg, &OwnAccount::default(), Instant::now());
        }
        true
    })
}

/// An event for WhatsApp, from the threads that it has started.
pub(in crate::channels) struct WhatsappEvent(EventKind);

enum EventKind {
    /// A line of the sidecar with that number.
    Line(Generation, Box<SidecarLine>),
    /// The sidecar closed its output; why, if that was no end in order.
    Closed(Generation, Option<String>),
    /// A line of the installer with that number.
    InstallerLine(Generation, String),
    /// The installer has ended.
    InstallerEnded(Generation),
    /// The file of an attempt was copied to where the sidecar may read it, and is its source now; or was not.
    Copied(Box<Attempt>, Result<(), AttemptOutcome>),
}

/// WhatsApp, as the `channels` thread drives it.
pub(super) struct Whatsapp {
    setup: WhatsappSetup,
    events: Port<ChannelEvent>,
    to_loop: Sender<WhatsappEvent>,
    pub(super) health: Health,
    sidecar: Option<Sidecar>,
    lifecycle: Lifecycle,
    /// Our own account, once the sidecar has said it.
    account: OwnAccount,
    /// The server that the sidecar connects to, once it has said it.
    host: Option<String>,
    /// The lease of our account on this host, and the name under which it is claimed.
    lease: Option<(String, Lease)>,
    reader: MessageReader,
    intake: Intake,
    outgoing: Outgoing,
    /// Orders that wait for a connection, each with the time until which it may.
    fetches: Vec<(Fetch, Instant)>,
    /// Chats that are shown that we are typing, and when to show it again.
    typing: BTreeMap<String, Instant>,
    login: Option<Login>,
    /// The account is to be unlinked as soon as the sidecar can.
    logout_wanted: bool,
    /// Sidecars that closed their output and are not gone yet.
    closing: Vec<Sidecar>,
}

impl Whatsapp {
    pub(super) fn new(
        setup: WhatsappSetup,
        events: Port<ChannelEvent>,
        to_loop: Sender<WhatsappEvent>,
    ) -> Self {
        let reader = MessageReader::new(setup.config.self_chat, setup.media_bytes_max());
        let configured = setup.config.enabled;
        let health = Health::new(Channel::Whatsapp, configured, WHATSAPP_ALIVE_MS, events.clone());
        if let Err(error) = sidecar::discard_leftovers(&setup.folder) {
            log::warn!("whatsapp: old files stay in `{}`: {error}", setup.folder.display());
        }
        Self {
            setup,
            events,
            to_loop,
            health,
            sidecar: None,
            lifecycle: Lifecycle::new(),
            account: OwnAccount::default(),
            host: None,
            lease: None,
            reader,
            intake: Intake::default(),
            outgoing: Outgoing::default(),
            fetches: Vec::new(),
            typing: BTreeMap::new(),
            login: None,
            logout_wanted: false,
            closing: Vec::new(),
        }
    }

    /// Handles an event of a thread of WhatsApp.
    pub(super) fn handle_event(&mut self, event: WhatsappEvent, now: Instant) {
        match event.0 {
            EventKind::Line(generation, line) if self.is_current(generation) => self.on_line(*line, now),
            EventKind::Closed(generation, fault) if self.is_current(generation) => {
                self.on_sidecar_closed(fault, now);
            }
            // The last words of a sidecar that was given up.
            EventKind::Line(..) | EventKind::Closed(..) => {}
            EventKind::InstallerLine(of, line) => self.on_installer_line(of, &line),
            EventKind::InstallerEnded(of) => self.on_installer_ended(of, now),
            EventKind::Copied(attempt, Ok(())) => self.outgoing.add(*attempt, now),
            EventKind::Copied(attempt, Err(outcome)) => self.send_outcomes([(attempt.id, outcome)]),
        }
    }

    fn is_current(&self, generation: Generation) -> bool {
        self.sidecar.as_ref().is_some_and(|sidecar| sidecar.generation == generation)
    }

    /// Whether the sidecar is to end: what it still says about a login is about one that is over.
    fn is_ending(&self) -> bool {
        self.sidecar.as_ref().is_some_and(Sidecar::is_ending)
    }

    /// Switches WhatsApp on or off. To switch it on once more tries again at once.
    pub(super) fn switch(&mut self, enabled: bool, now: Instant) {
        self.health.known.enabled = enabled;
        if !enabled {
            self.finish_login(Err("WhatsApp was switched off".to_owned()));
            self.stop_sidecar("off", None, now);
        } else if self.reach_sidecar(now) && self.health.is_linked() {
            self.request(Request::Other("connect"), json!({}), now);
        }
    }

    /// Delivers a message. Its file, if it has one, is copied first.
    pub(super) fn deliver(&mut self, attempt: Attempt, now: Instant) {
        match attempt.part {
            Part::Media { .. } => self.copy_file(attempt),
            Part::Text { .. } | Part::File { .. } => self.outgoing.add(attempt, now),
        }
    }

    /// Fetches a picture or file that somebody has sent.
    pub(super) fn fetch(&mut self, fetch: Fetch, now: Instant) {
        self.fetches.push((fetch, now + WHATSAPP_FETCH_TIMEOUT));
    }

    /// Shows in a chat that we are typing, or no longer.
    pub(super) fn typing(&mut self, route: Route, is_typing: bool, now: Instant) {
        if is_typing {
            self.typing.insert(route.chat, now);
        } else if self.typing.remove(&route.chat).is_some() && self.health.is_connected() {
            self.request(Request::Other("typing"), json!({ "to": route.chat, "state": "paused" }), now);
        }
    }

    /// Shows the sender of a message, if the config wants that, that it was read.
    pub(super) fn mark_read(&mut self, chat: &str, message_id: &str, from: &str, now: Instant) {
        if self.setup.config.read_receipts && self.health.is_connected() {
            let from = crate::channels::address::chat_of(Channel::Whatsapp, from);
            let keys = json!({ "keys": [{ "chat": chat, "id": message_id, "from": from }] });
            self.request(Request::Other("read"), keys, now);
        }
    }

    /// Has the sidecar take what it need not keep out of its journal; at its end it does that by itself.
    pub(super) fn tidy(&mut self, now: Instant) {
        if self.sidecar.as_ref().is_some_and(|sidecar| sidecar.is_greeted) {
            self.request(Request::Other("tidy"), json!({}), now);
        }
    }

    /// Handles state's answer to a batch: it is on record, or is to be offered again after the pause.
    pub(super) fn acknowledge(&mut self, result: Result<(), Duration>, now: Instant) {
        if let Some(seq) = self.intake.acknowledge(result, now) {
            self.request(Request::Other("ack"), json!({ "seq": seq }), now);
        }
    }

    /// When [`Self::advance`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let connected = self.health.is_connected();
        let sidecar = self.sidecar.as_ref().map(Sidecar::deadline);
        let typing = self.typing.values().min().copied().filter(|_| connected);
        [
            sidecar,
            typing,
            self.lifecycle.start_at.filter(|_| self.sidecar.is_none()),
            self.login.as_ref().and_then(Login::deadline),
            self.closing.first().map(|_| Instant::now() + CHILD_POLL_INTERVAL),
            self.intake.again,
            self.outgoing.deadline(connected),
            self.fetches.iter().map(|(_, until)| *until).min(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due by now, and what any turn may have left to do.
    pub(super) fn advance(&mut self, now: Instant) {
        if let Some(Err(why)) = self.sidecar.as_mut().map(|sidecar| sidecar.advance(now)) {
            self.health.set("closed", Some(format!("the sidecar is ended: {why}")));
        }
        self.closing.retain_mut(|sidecar| !sidecar.is_gone(now));
        if let Some((_, lease)) = &self.lease {
            lease.drain();
        }
        if self.login.as_ref().and_then(Login::deadline).is_some_and(|at| at <= now) {
            self.finish_login(Err("installing the sidecar took too long".to_owned()));
        }
        if self.lifecycle.start_at.is_some_and(|at| at <= now) && self.sidecar.is_none() {
            self.start(now);
        }
        let connected = self.health.is_connected();
        let given_up = self.outgoing.expire(connected, now);
        self.send_outcomes(given_up);
        if connected {
            self.write_messages(now);
            self.show_typing(now);
        }
        for (fetch, until) in std::mem::take(&mut self.fetches) {
            if until <= now {
                self.send(files::failed(fetch, "WhatsApp is not connected"));
            } else if connected {
                let members = json!({ "ref": fetch.media.handle, "max": self.setup.media_bytes_max() });
                self.request(Request::Fetch(fetch), members, now);
            } else {
                self.fetches.push((fetch, until));
            }
        }
        if let Some(batch) = self.intake.offer(now) {
            self.send(ChannelEvent::Arrived(batch));
        }
        if let Some(seq) = self.intake.nothing_to_offer() {
            self.request(Request::Other("ack"), json!({ "seq": seq }), now);
        }
        self.release_account();
        self.health.known.self_id = self.account.pn.clone().filter(|_| self.health.is_linked());
        self.health.publish();
    }

    fn write_messages(&mut self, now: Instant) {
        while let Some(attempt) = self.outgoing.next(now) {
            let mut members = json!({ "id": attempt.message_id, "to": attempt.route.chat });
            match &attempt.part {
                // WhatsApp takes long texts as they are.
                Part::Text { text, .. } | Part::File { text, .. } => members["text"] = text.as_str().into(),
                Part::Media { source, caption } => {
                    members["media"] = files::media_members(Path::new(source), caption);
                }
            }
            self.request(Request::Send { id: attempt.message_id }, members, now);
        }
    }

    /// WhatsApp shows typing for some ten seconds only.
    fn show_typing(&mut self, now: Instant) {
        let due: Vec<String> =
            self.typing.iter().filter(|(_, at)| **at <= now).map(|(chat, _)| chat.clone()).collect();
        for chat in due {
            let members = json!({ "to": chat, "state": "composing" });
            self.request(Request::Other("typing"), members, now);
            self.typing.insert(chat, now + WHATSAPP_TYPING_INTERVAL);
        }
    }

    /// Gives messages that the server does not have back as not sent: the gateway is about to stop.
    pub(super) fn give_back(&mut self) {
        let outcomes = self.outgoing.give_back("the gateway is stopping");
        self.send_outcomes(outcomes);
    }

    /// Ends the sidecar in order, as far as it can be waited for.
    pub(super) fn stop(mut self, events: &Receiver<WhatsappEvent>) {
        let Some(sidecar) = &mut self.sidecar else { return };
        sidecar.end(Instant::now());
        let (generation, until) = (sidecar.generation, Instant::now() + CHILD_TERM_WAIT);
        while let Ok(event) = events.recv_deadline(until) {
            if matches!(event.0, EventKind::Closed(of, _) if of == generation) {
                return;
            }
        }
    }

    fn request(&mut self, request: Request, members: serde_json::Value, now: Instant) {
        if let Some(sidecar) = &mut self.sidecar {
            sidecar.request(request, members, now);
        }
    }

    /// Tells state the outcomes of attempts, and removes what was copied for them.
    fn send_outcomes(&self, outcomes: impl IntoIterator<Item = (AttemptId, AttemptOutcome)>) {
        for (id, outcome) in outcomes {
            files::remove_copy(&self.setup.folder, id);
            self.send(ChannelEvent::Outcome { id, outcome });
        }
    }

    fn send(&self, event: ChannelEvent) {
        let _ = self.events.send(event);
    }
}
