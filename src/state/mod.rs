//! The state thread: the one owner of everything that clients share.
//!
//! The core is pure. [`State::handle`] takes an event and the time and returns effects; it does no
//! IO, takes no lock and never sleeps. [`thread`] is the loop around it that carries them out.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::agent::{AgentControl, AgentEvent, RunSpec};
use crate::channels::{ChannelCommand, ChannelEvent};
use crate::clock::Now;
use crate::limits::{CHANNEL_INBOX, ms};
use crate::metrics::METRICS;
use crate::net::NetEvent;
use crate::net::outbound::{Loss, Outbound};
use crate::protocol::ConnId;
use crate::protocol::call::Thinking;
use crate::protocol::error::WireError;
use crate::protocol::event::{EventKind, PresenceDelta, Tick};
use crate::protocol::frame::{self, EventBody};
use crate::protocol::hello::{Policy, StateVersion};
use crate::protocol::payload::{Auth, Toggles};
use crate::protocol::warning::Warning;
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
pub(crate) use model::budget::Budget;
pub(crate) use model::channel_config::{ChannelConfig, ChannelsConfig, GroupConfig};
use model::clients::Clients;
use model::forgetting::Forgetting;
use model::group_context::GroupContext;
use model::health::HealthBoard;
pub(crate) use model::heartbeats::{HeartbeatConfig, PROMPT_DEFAULT};
use model::inbox::Inbox;
use model::keys::Keys;
use model::logins::Logins;
use model::outbox::Outbox;
use model::presence::Presence;
use model::runs::Runs;
use model::sessions::Sessions;
use model::system_notes::SystemNotes;
use model::warnings::Warnings;
use model::write_buffer::WriteBuffer;
pub(crate) use start::{cursors, keeps_home};

/// Everything that can make the state thread do work. Closed on purpose: to add a source, add a
/// variant, and the compiler lists what must handle it.
#[derive(Debug)]
pub(crate) enum Event {
    /// From the connections, and from the token's file.
    Net(NetEvent),
    /// From the agent thread.
    Agent(AgentEvent),
    /// From the store thread.
    Store(StoreEvent),
    /// From the channels thread.
    Channel(ChannelEvent),
    /// The gateway is to stop.
    Stop {
        /// For the clients.
        reason: String,
        /// When a next one is expected, if it is.
        restart_expected_ms: Option<u64>,
    },
}

/// Room for `STATE_INBOX` of them is held from the start, so that what is large is boxed.
const _: () = assert!(size_of::<Event>() <= 112);

impl From<AgentEvent> for Event {
    fn from(event: AgentEvent) -> Self {
        Event::Agent(event)
    }
}

/// What the state thread's loop is to carry out, in this order.
#[derive(Debug)]
pub(crate) enum Effect {
    /// To the outbound thread.
    Out(Outbound),
    /// To the store.
    Store(StoreCommand),
    /// To the agent: start it, or queue it behind its session's queue.
    Run(Box<RunSpec>),
    /// To the agent's slot for what must get through.
    AgentControl(AgentControl),
    /// To the channels.
    Channel(ChannelCommand),
}

/// What state needs to know; it never changes.
#[derive(Debug, Clone)]
pub(crate) struct StateConfig {
    /// Host name.
    pub host: String,
    /// Address that the gateway lists for itself.
    pub ip: String,
    /// Where clients connect.
    pub url: String,
    /// What they must show.
    pub auth: Auth,
    /// What was found at the start and a person should mend.
    pub warnings: Vec<Warning>,
    /// Random, new at every start; makes ids unique over restarts.
    pub boot_id: String,
    /// What `hello-ok` promises.
    pub policy: Policy,
    /// Whether an agent is configured.
    pub agent_configured: bool,
    /// Level where a call names none.
    pub thinking: Thinking,
    /// Limit on a run where a call names none.
    pub run_timeout: Duration,
    /// Silence after which a session begins a new conversation, if it ever does.
    pub idle: Option<Duration>,
    /// Runs at a time.
    pub processes_max: usize,
    /// Accepted runs that may wait besides.
    pub queue_max: usize,
    /// What a day allows.
    pub budget: model::budget::Budget,
    /// How long a session that is not used is kept.
    pub expiry: Duration,
    /// A prompt from time to time.
    pub heartbeat: model::heartbeats::HeartbeatConfig,
    /// The messaging channels.
    pub channels: ChannelsConfig,
}

/// The state.
pub(crate) struct State {
    config: StateConfig,
    started: Instant,
    /// The time of this turn.
    now: Now,
    clients: Clients,
    /// Number of the newest token that clients were let in with.
    token: u64,
    presence: Presence,
    health: HealthBoard,
    /// What a person should mend.
    warnings: Warnings,
    toggles: Toggles,
    keys: Keys,
    runs: Runs,
    sessions: Sessions,
    /// `system-event` notes for the owner's next turn.
    system_notes: SystemNotes,
    /// Who may write on the channels.
    access: Access,
    /// What came in there and is not answered yet.
    inbox: Inbox,
    /// What is on its way there.
    outbox: Outbox,
    /// What was said in groups, to others.
    group_context: GroupContext,
    /// Something may have changed for them in this turn.
    channels_stale: bool,
    /// When there is something to do for them on time.
    channels_due: Option<Instant>,
    /// Accounts that are being linked and unlinked.
    logins: Logins,
    today: model::budget::Today,
    heartbeats: model::heartbeats::Heartbeats,
    forgetting: Forgetting,
    /// When to look for sessions that expired.
    expiry_due: Instant,
    /// Both clocks when that was decided.
    expiry_planned: Now,
    /// What this turn is to put on record.
    writes: WriteBuffer,
    /// What waits for the store.
    journal: Journal,
    /// Commands that the channels have not answered yet: their queue never fills.
    channel_commands: usize,
    next_tick: Option<Instant>,
    /// What the last fan-out took; presence deltas keep their distance.
    fanout: Duration,
    stopping: Option<model::stopping::Stopping>,
    effects: Vec<Effect>,
}

impl State {
    /// Begins a turn: all of it happens at this time.
    pub(crate) fn begin_turn(&mut self, now: Now) {
        self.now = now;
    }

    /// Handles one event and appends what follows from it to `effects`.
    pub(crate) fn handle(&mut self, event: Event, effects: &mut Vec<Effect>) {
        // Steps of runs are many, and change nothing there.
        self.channels_stale |= !matches!(event, Event::Agent(AgentEvent::Step { .. }));
        match event {
            Event::Net(event) => self.net_event(event),
            Event::Agent(event) => self.agent_event(event),
            Event::Store(StoreEvent::Done { ticket, result, back }) => self.committed(ticket, result, back),
            Event::Store(StoreEvent::Usage(usage)) => self.usage(usage),
            Event::Channel(event) => self.channel_event(event),
            Event::Stop { reason, restart_expected_ms } => self.stop(reason, restart_expected_ms),
        }
        self.settle();
        effects.append(&mut self.effects);
    }

    fn net_event(&mut self, event: NetEvent) {
        match event {
            NetEvent::Opened(opened) => self.opened(*opened),
            NetEvent::Request { conn, id, call, built } => {
                self.request(conn, id, call);
                drop(built);
            }
            NetEvent::Closed { conn } => self.closed(conn),
            NetEvent::Warning(warning) => self.warn(warning),
            NetEvent::WarningOver(code) => self.end_warning(code),
            NetEvent::TokenChanged { number } => self.token_changed(number),
        }
    }

    /// Does what is due at this time.
    pub(crate) fn on_time(&mut self, effects: &mut Vec<Effect>) {
        if self.next_tick.is_some_and(|at| at <= self.now.mono) {
            self.tick();
        }
        if self.presence.next_expiry().is_some_and(|at| at <= self.now.mono) {
            self.presence.expire(self.now.mono);
        }
        if self.heartbeats.next().is_some_and(|at| at <= self.now.mono) {
            self.heartbeat();
        }
        self.settle();
        effects.append(&mut self.effects);
    }

    /// When `on_time` has something to do. `None` without clients: then nothing needs to wake up.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if let Some(stopping) = &self.stopping {
            return Some(stopping.deadline);
        }
        let quiet = [self.heartbeats.next(), self.channels_due];
        if self.clients.is_empty() {
            return quiet.into_iter().flatten().min();
        }
        let delta = self.presence.delta_due(self.now.mono, self.fanout);
        let busy = [self.next_tick, delta, self.presence.next_expiry()];
        quiet.into_iter().chain(busy).flatten().min()
    }

    /// What the last fan-out took, as `outbound` measured it.
    pub(crate) fn set_fanout(&mut self, fanout: Duration) {
        self.fanout = fanout;
    }

    /// Sends what every turn may have left to be told.
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
        StateVersion { presence: self.presence.version(), health: self.health.version() }
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

    fn answer(&mut self, conn: ConnId, id: &str, payload: &impl Serialize) {
        self.effects.push(Effect::Out(Outbound::Frame { conn, frame: frame::res_ok(id, payload) }));
    }

    fn refuse(&mut self, conn: ConnId, id: &str, error: &WireError) {
        self.effects.push(Effect::Out(Outbound::Frame { conn, frame: frame::res_error(id, error) }));
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
