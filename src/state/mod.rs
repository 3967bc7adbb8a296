//! The state thread: one owner of everything that clients, channels and runs share, and of every decision.
//!
//! # What it does
//!
//! [`State`] is the gateway's memory: who is connected, which sessions, runs and idempotency keys there are, what
//! came in on the channels and is not answered, what is on its way out. Each request of a client, each message of
//! a person and each step of the agent changes it, on this one thread: there is no lock, and no two decisions
//! are made at the same time.
//!
//! The core is pure. [`State::turn`] takes an [`Event`] and leaves [`Effect`]s; it does no IO, takes no lock,
//! reads no clock and never sleeps. The tests drive it with events and judge it by its effects, with a time
//! that they make up.
//!
//! - `model/` is what is known: plain data that names neither `State` nor an effect.
//! - `handlers/` is what an event does to it: one file per subject, each a part of `State`.
//! - `journal` sends a turn's writes to the store, and goes on when they are durable.
//! - `start` makes the state out of what the last life of the gateway left on disk.
//! - [`state_loop`] is the thread: it receives, has it handled, and carries out the effects.
//!
//! # A turn
//!
//! 1. The loop takes one event from the queue, or wakes up at [`State::next_deadline`], and calls [`State::turn`],
//!    which sets the time: a turn has only one.
//! 2. `handle` leads the event to its handler. That changes the model, which leaves its writes in the turn's
//!    `WriteBuffer`, and adds effects. What must not happen before a write is durable is named with the commit, as
//!    `journal::Then`. Then comes what is due at this time, such as a tick.
//! 3. `settle` does what any turn may have made due: a presence delta, runs that can start, messages that can be
//!    asked, deliveries that can be tried, a health event. At its end the write buffer is empty.
//! 4. The loop carries the effects out in the order in which they were made.
//! 5. Some turns later the store answers. `State::committed` does what was named: it acknowledges, starts, sends,
//!    or undoes what could not be put on record.
//!
//! So a promise takes two turns, and everything may have changed in between. Whoever goes on after a commit looks
//! up again what it is about, and finds nothing if that is gone.
//!
//! # What waits for what
//!
//! | queue | its sender | when it is full |
//! |---|---|---|
//! | connections, store, channels -> state | a [`Port`](crate::port::Port) | the sender waits: that is the back-pressure on sockets, disk and channels |
//! | agent -> state | `try_send` | the agent thread keeps the event and goes on: processes must be read and ended all the while |
//! | state -> outbound | state | state waits for room |
//! | state -> store, agent, channels | state, `try_send` | cannot be: state counts what is under way, and refuses the request or leaves the batch with its channel before |
//!
//! No circle of threads can wait for each other: state waits for `outbound` alone, and that waits for nobody (a
//! client that takes nothing has a backlog, and is dropped when that is full). The store and the channels may
//! wait for state, so state must never wait for them. Their bounds (`limits::queues`) are higher than what state
//! lets in; a full one is a defect, and the process ends, to be started again from its records, rather than go on
//! with something lost.
//!
//! # What is not good yet
//!
//! - Every handler can reach all of [`State`]. That each keeps to its subject is a habit, and no rule that the
//!   compiler knows.
//! - There is one queue without priorities: a cancel, or the end of the gateway, waits behind what came before.
//! - `settle` goes through the inbox, the runs and the outbox after every turn but a step's. At their bounds that
//!   is cheap; larger ones would need an index of what is due.
//! - Flags of a run, an inbox entry and a delivery allow combinations that mean nothing; only the handlers
//!   keep them apart.
//! - A write that nobody commits is found at the end of the turn (tests panic, the gateway logs it and writes
//!   it), and not by the compiler.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use tungstenite::Bytes;

use crate::agent::{AgentControl, AgentEvent, RunSpec};
use crate::channels::{ChannelCommand, ChannelEvent};
use crate::clock::Now;
use crate::config::file;
use crate::limits::{CHANNEL_INBOX, CHILD_STOP_TIMEOUT, ms};
use crate::metrics::METRICS;
use crate::net::NetEvent;
use crate::net::outbound::{Loss, Outbound};
use crate::protocol::error::WireError;
use crate::protocol::event::{EventKind, PresenceDelta, Shutdown, Tick};
use crate::protocol::frame::{self, Close, EventBody};
use crate::protocol::hello::{Policy, StateVersion};
use crate::protocol::payload::{Auth, Toggles};
use crate::protocol::warning::{Warning, WarningCode};
use crate::store::{StoreCommand, StoreEvent};

mod handlers;
mod journal;
mod model;
mod start;
pub(crate) mod state_loop;

#[cfg(test)]
mod tests;

use journal::Journal;
use model::access::Access;
pub(crate) use model::access::{ChannelConfig, ChannelsConfig};
use model::clients::{Asker, Clients, Logins};
use model::forgetting::Forgetting;
use model::group_context::GroupContext;
use model::health::HealthBoard;
use model::inbox::Inbox;
use model::keys::Keys;
use model::outbox::Outbox;
use model::presence::Presence;
use model::runs::Runs;
use model::sessions::Sessions;
use model::system_notes::SystemNotes;
use model::write_buffer::WriteBuffer;
pub(crate) use start::{cursors, keeps_home};

/// Everything that can make the state thread do work, but for the time. Closed on purpose: to add a source, add
/// a variant, and the compiler lists what must handle it.
pub(crate) enum Event {
    /// A client came, asked or left, or the file of the token has changed.
    Net(NetEvent),
    /// The agent thread reports on a run, or on the agent.
    Agent(AgentEvent),
    /// The store has answered a commit, or measured the state folder.
    Store(StoreEvent),
    /// A channel hands over messages, or reports on itself, a delivery or a login.
    Channel(ChannelEvent),
    /// The gateway is to stop.
    Stop {
        /// Why it stops, as the clients are told.
        reason: String,
        /// How soon clients may expect the next gateway, if one is to come.
        restart_expected_ms: Option<u64>,
    },
}

/// The queue has room for `STATE_INBOX` events from the start, so what is large in them is boxed.
const _: () = assert!(size_of::<Event>() <= 112);

impl From<AgentEvent> for Event {
    fn from(event: AgentEvent) -> Self {
        Event::Agent(event)
    }
}

/// One thing that the state thread's loop is to carry out.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Has the outbound thread write to clients.
    Out(Outbound),
    /// Has the store write a commit.
    Store(StoreCommand),
    /// Gives a prompt to the agent.
    Run(Box<RunSpec>),
    /// Tells the agent what must get through also when it is busy.
    AgentControl(AgentControl),
    /// Tells the channels to send, fetch, switch or link something.
    Channel(ChannelCommand),
}

/// What the settings say to the state thread; it never changes.
#[derive(Clone)]
pub(crate) struct StateConfig {
    pub host: String,
    /// Address under which the gateway lists itself in presence.
    pub ip: String,
    /// Address at which clients on this machine connect.
    pub url: String,
    /// Whether clients must prove a token.
    pub auth: Auth,
    /// Warnings that hold from the start.
    pub warnings: Vec<Warning>,
    /// Random and new at every start: part of ids, so that none comes twice over restarts.
    pub boot_id: String,
    /// The limits that `hello-ok` tells clients.
    pub policy: Policy,
    /// Whether an agent is configured.
    pub agent_configured: bool,
    /// The section `agent` of the config: the bounds on runs, and what they are where a call names nothing.
    pub agent: file::Agent,
    /// Time after which a session that nobody used is forgotten.
    pub expiry: Duration,
    pub heartbeat: file::Heartbeat,
    pub channels: ChannelsConfig,
}

/// Everything that the gateway knows; changed by its handlers alone.
pub(crate) struct State {
    config: StateConfig,
    started: Instant,
    /// The one time of this turn.
    now: Now,
    clients: Clients,
    /// Number of the newest token that clients were let in with.
    token: u64,
    presence: Presence,
    health: HealthBoard,
    /// The warnings that `status` shows. A new one takes the place of the one before it of the same kind.
    warnings: BTreeMap<WarningCode, Warning>,
    toggles: Toggles,
    keys: Keys,
    runs: Runs,
    sessions: Sessions,
    system_notes: SystemNotes,
    access: Access,
    inbox: Inbox,
    outbox: Outbox,
    group_context: GroupContext,
    /// Something may have changed in this turn for what waits in inbox, session queues and outbox.
    channels_stale: bool,
    /// When something in inbox or outbox is due.
    channels_due: Option<Instant>,
    logins: Logins,
    today: model::budget::Today,
    heartbeats: model::heartbeats::Heartbeats,
    forgetting: Forgetting,
    /// When to look for sessions that expired.
    expiry_due: Instant,
    /// Both clocks when `expiry_due` was set.
    expiry_planned: Now,
    /// What this turn puts on record; empty at its end.
    writes: WriteBuffer,
    /// The commits that the store has not answered.
    journal: Journal,
    /// Commands that the channels have not answered; counted, so that their queue never fills.
    channel_commands: usize,
    next_tick: Option<Instant>,
    /// Time that the last event to everybody took, as `outbound` measured it; presence deltas keep their distance
    /// by it.
    fanout: Duration,
    stopping: Option<Stopping>,
    /// What follows from the turns since the loop last carried something out.
    effects: Vec<Effect>,
}

/// Time that the last commits may take on top of `CHILD_STOP_TIMEOUT`.
const RECORD_TIMEOUT: Duration = Duration::from_millis(300);

/// The gateway's own end, once it is under way.
struct Stopping {
    /// What the clients are told at the end.
    close: Close,
    /// Time to leave, also if a run has not reported its end.
    deadline: Instant,
}

impl State {
    /// Does one turn, all of it at that time: handles the event, if there is one, and what is due.
    fn turn(&mut self, event: Option<Event>, now: Now) {
        self.now = now;
        if let Some(event) = event {
            self.handle(event);
        }
        if self.stopping.is_none() {
            self.do_what_is_due();
        }
        self.settle();
        // Behind what waits in inbox and session queues: a person's message goes before a heartbeat.
        if self.stopping.is_none() && self.heartbeats.next.is_some_and(|at| at <= self.now.mono) {
            self.heartbeat();
            self.settle();
        }
    }

    fn handle(&mut self, event: Event) {
        // Steps of runs are many, and let nothing in inbox, queues or outbox go on.
        self.channels_stale |= !matches!(event, Event::Agent(AgentEvent::Step { .. }));
        match event {
            Event::Net(NetEvent::Opened(opened)) => self.opened(*opened),
            Event::Net(NetEvent::Request { conn, id, call, built }) => {
                self.request(&Asker { conn, id }, call);
                drop(built);
            }
            Event::Net(NetEvent::Closed(conn)) => self.closed(conn),
            Event::Net(NetEvent::Warning(code, Some(message))) => self.warn(Warning { code, message }),
            Event::Net(NetEvent::Warning(code, None)) => self.end_warning(code),
            Event::Net(NetEvent::TokenChanged(number)) => self.token_changed(number),
            Event::Agent(event) => self.agent_event(event),
            Event::Store(StoreEvent::Done { ticket, result, back }) => self.committed(ticket, result, back),
            Event::Store(StoreEvent::Usage(usage)) => self.usage(usage),
            Event::Channel(ChannelEvent::Health { channel, health }) => {
                self.health.set_channel(channel, *health);
            }
            Event::Channel(ChannelEvent::Arrived(batch)) => self.arrived(batch),
            Event::Channel(ChannelEvent::Outcome { id, outcome }) => self.attempt_over(id, outcome),
            Event::Channel(ChannelEvent::Fetched { channel, key, index, result }) => {
                self.fetched(channel, &key, index, result);
            }
            Event::Channel(ChannelEvent::Receipt { message_id, status }) => self.receipt(&message_id, status),
            Event::Channel(ChannelEvent::Login { channel, step }) => self.login_step(channel, step),
            Event::Channel(ChannelEvent::LoggedOut { channel, result }) => self.logged_out(channel, result),
            Event::Channel(ChannelEvent::Switched) => self.channel_commands -= 1,
            Event::Channel(ChannelEvent::Probed { conn, id }) => {
                self.channel_commands -= 1;
                let health = self.health_json();
                self.answer(&Asker { conn, id }, &health);
            }
            Event::Stop { reason, restart_expected_ms } => self.stop(reason, restart_expected_ms),
        }
    }

    fn do_what_is_due(&mut self) {
        if self.next_tick.is_some_and(|at| at <= self.now.mono) {
            self.tick();
        }
        self.presence.expire(self.now.mono);
    }

    /// When a turn without an event has something to do. `None` without clients: then nothing needs to wake up.
    fn next_deadline(&self) -> Option<Instant> {
        if let Some(stopping) = &self.stopping {
            return Some(stopping.deadline);
        }
        let quiet = [self.heartbeats.next, self.channels_due];
        if self.clients.is_empty() {
            return quiet.into_iter().flatten().min();
        }
        let delta = self.presence.delta_due(self.now.mono, self.fanout);
        let busy = [self.next_tick, delta, self.presence.next_expiry()];
        quiet.into_iter().chain(busy).flatten().min()
    }

    /// Begins the gateway's orderly end: no new work, all clients told, runs ended and on record, then
    /// [`Self::goodbye`].
    fn stop(&mut self, reason: String, restart_expected_ms: Option<u64>) {
        if self.stopping.is_some() {
            return;
        }
        self.event(EventKind::Shutdown, &Shutdown { reason: &reason, restart_expected_ms }, Loss::Nobody);
        self.effects.push(Effect::AgentControl(AgentControl::Shutdown));
        self.effects.push(Effect::Channel(ChannelCommand::GiveBack));
        let deadline = self.now.mono + CHILD_STOP_TIMEOUT + RECORD_TIMEOUT;
        // 1012 is "service restart", 1001 "going away".
        let code = if restart_expected_ms.is_some() { 1012 } else { 1001 };
        // Before the runs are cancelled, so that their messages are not taken for answered.
        self.stopping = Some(Stopping { close: Close::new(code, reason), deadline });
        self.cancel_all(|_| true);
        self.health.touch();
    }

    /// The last message to every client, when the thread may end: everything is told and on record, or time is up.
    pub(crate) fn goodbye(&self) -> Option<Outbound> {
        let stopping = self.stopping.as_ref()?;
        let is_all_told = self.runs.by_id.is_empty() && self.journal.is_idle() && !self.outbox.is_trying();
        if !is_all_told && self.now.mono < stopping.deadline {
            return None;
        }
        Some(Outbound::CloseAll { close: stopping.close.clone() })
    }

    /// Does, at the end of every turn, what the turn may have made due.
    fn settle(&mut self) {
        if self.clients.is_empty() {
            self.presence.skip_delta();
        } else if self.presence.delta_due(self.now.mono, self.fanout).is_some_and(|at| at <= self.now.mono) {
            self.send_presence();
        }
        self.expire_sessions();
        self.forget_more();
        if self.channels_stale || self.channels_due.is_some_and(|due| due <= self.now.mono) {
            self.start_held_runs();
            self.settle_channels();
        }
        self.settle_health();
        METRICS.runs_active.set(self.runs.active() as u64);
        METRICS.runs_queued.set(self.runs.waiting() as u64);
        self.flush_writes();
    }

    fn tick(&mut self) {
        let interval = ms(self.config.policy.tick_interval_ms);
        self.event(EventKind::Tick, &Tick { ts: self.now.wall_ms }, Loss::Anybody);
        self.effects.push(Effect::Out(Outbound::Liveness));
        // After a long sleep of the host one tick is enough.
        self.next_tick = Some(self.now.mono + interval);
    }

    fn send_presence(&mut self) {
        let version = self.version();
        let (presence, removed) = self.presence.take_delta(self.now.mono);
        let delta = PresenceDelta { presence, removed: removed.iter().map(String::as_str).collect() };
        let body = EventBody::new(EventKind::Presence, &delta, Some(version));
        self.effects.push(Effect::Out(Outbound::Event { body, loss: Loss::Anybody }));
    }

    fn version(&self) -> StateVersion {
        StateVersion { presence: self.presence.version(), health: self.health.version }
    }

    fn uptime_ms(&self) -> u64 {
        u64::try_from(self.now.mono.duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    fn event(&mut self, kind: EventKind, payload: &impl Serialize, loss: Loss) {
        if self.clients.is_empty() {
            return;
        }
        self.effects.push(Effect::Out(Outbound::Event { body: EventBody::new(kind, payload, None), loss }));
    }

    fn answer(&mut self, asker: &Asker, payload: &impl Serialize) {
        self.send_frame(asker, frame::res_ok(&asker.id, payload));
    }

    fn refuse(&mut self, asker: &Asker, error: &WireError) {
        self.send_frame(asker, frame::res_error(&asker.id, error));
    }

    fn send_frame(&mut self, asker: &Asker, frame: Bytes) {
        self.effects.push(Effect::Out(Outbound::Frame { conn: asker.conn, frame }));
    }

    /// Hands a command to the channels, if there is room.
    fn ask_channels(&mut self, command: ChannelCommand) -> Result<(), WireError> {
        if self.channel_commands >= CHANNEL_INBOX {
            return Err(WireError::rate_limited("the channels are busy; try again", 1_000));
        }
        self.channel_commands += 1;
        self.effects.push(Effect::Channel(command));
        Ok(())
    }
}
