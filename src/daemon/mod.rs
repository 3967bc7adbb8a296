//! Puts the threads together, starts them in order and stops them in reverse.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use data_encoding::HEXLOWER;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::agent;
use crate::channels;
use crate::child::orphans;
use crate::clock::{now, utc, wall_ms};
use crate::config::settings::Settings;
use crate::daemon::fatal::Fatal;
use crate::limits::{
    AGENT_CONTROL_INBOX, BACKLOG_BYTES_MAX, CHANNEL_INBOX, CHANNEL_RESERVE, PAYLOAD_BYTES_MAX, SANE_CLOCK_MS,
    SHUTDOWN_TIMEOUT, STATE_INBOX, STORE_INBOX, STORE_RESERVE,
};
use crate::logging::Log;
use crate::metrics::METRICS;
use crate::net::acceptor::Acceptor;
use crate::net::shares::Shares;
use crate::net::{NetConfig, NetContext, outbound};
use crate::port::Port;
use crate::protocol::SERVER_VERSION;
use crate::protocol::hello::Policy;
use crate::protocol::payload::{Auth, Toggles};
use crate::protocol::warning::Warning;
use crate::state::budget::Limits;
use crate::state::heartbeats::{HeartbeatConfig, PROMPT_DEFAULT};
use crate::state::thread::Exits;
use crate::state::{self, Event, State, StateConfig, recovery};
use crate::store::folder::{FolderLock, LockError, make_private};
use crate::store::history::History;
use crate::store::{self, Layout, Store, Tidy};
use crate::threads;

mod agent_setup;
mod channels_setup;
mod fatal;
mod holder;
mod listeners;
mod start;
mod warnings;

use listeners::Listeners;
pub use start::main;

/// Serves until a signal comes. `warnings` are about the configuration.
fn run(settings: Settings, warnings: &[String]) -> Result<(), Fatal> {
    // Before any thread, so that none of them ever sees the signals' default action.
    let signals = Signals::new(signals_to_end_at().into_iter().chain([SIGCHLD]))
        .map_err(system("listen for signals"))?;
    let descriptors = raise_descriptor_limit();
    leave_no_core_dump();
    let own_exe = std::env::current_exe().map_err(system("find the gateway's own program"))?;
    let layout = Layout::new(&settings.state_dir);
    let lock = take_folder(&layout)?;
    let listeners = listeners::open(&settings.binds, settings.config.gateway.port)?;
    let url = listeners.url.clone();
    let folder_error = |source| Fatal::Folder { folder: settings.state_dir.clone(), source };
    let who = json!({ "pid": std::process::id(), "url": listeners.local_url });
    lock.announce(&who.to_string()).map_err(folder_error)?;
    let gateway = Gateway::start(&settings, layout, listeners, descriptors, own_exe)?;
    Log::release(&format!("listening on {url}"));
    report(&settings, warnings);
    let in_time = gateway.serve(signals);
    log::info!("stopped{}", if in_time { "" } else { ", but not everything ended in time" });
    log::logger().flush();
    Ok(())
}

/// Says what a start would say of the settings, and makes nothing.
fn check(settings: &Settings, warnings: &[String]) -> Result<(), Fatal> {
    let own_exe = std::env::current_exe().map_err(system("find the gateway's own program"))?;
    let layout = Layout::new(&settings.state_dir);
    let tidy = Tidy::new(layout.clone(), u64::MAX);
    let (_, warning) = agent_setup::setup(settings, &tidy, &own_exe, false)?;
    channels_setup::config(settings, &layout);
    channels_setup::setup(settings, &Toggles::default(), BTreeMap::new(), own_exe)?;
    let found: Vec<Warning> = warnings::found(settings).into_iter().chain(warning).collect();
    for warning in warnings.iter().chain(found.iter().map(|warning| &warning.message)) {
        log::warn!("{warning}");
    }
    Log::release("ok");
    Ok(())
}

fn system(what: &'static str) -> impl Fn(io::Error) -> Fatal {
    move |source| Fatal::System { what, source }
}

/// Many clients need many descriptors, and the soft limit is often 1,024. Returns how many there may be now
/// (`None`: any number).
fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where the system refuses, there are as many as before.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current
}

/// A terminal that goes away sends SIGHUP, unless whoever started us (`nohup`) had it ignored.
fn signals_to_end_at() -> Vec<i32> {
    const SIGHUP_BIT: u64 = 1 << (SIGHUP - 1);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let mut signals = vec![SIGTERM, SIGINT];
    if ignored & SIGHUP_BIT == 0 {
        signals.push(SIGHUP);
    }
    signals
}

/// Tokens and what people said are in memory, and whoever collects core dumps keeps them for long.
/// Only the soft limit: an agent's program may raise its own.
fn leave_no_core_dump() {
    let none = Rlimit { current: Some(0), maximum: getrlimit(Resource::Core).maximum };
    // Lowering it is always allowed.
    let _ = setrlimit(Resource::Core, none);
}

fn take_folder(layout: &Layout) -> Result<FolderLock, Fatal> {
    let folder = || layout.root().to_owned();
    make_private(layout.root()).map_err(|source| Fatal::Folder { folder: folder(), source })?;
    FolderLock::take(&layout.lock()).map_err(|error| match error {
        LockError::Held(holder) => Fatal::Held { folder: folder(), holder: holder::describe(&holder) },
        LockError::Io(source) => Fatal::Folder { folder: folder(), source },
    })
}

/// What a person should know at the start.
fn report(settings: &Settings, warnings: &[String]) {
    log::info!(
        "clawdis-gateway {SERVER_VERSION}, pid {}, state in `{}`",
        std::process::id(),
        settings.state_dir.display()
    );
    for warning in warnings {
        log::warn!("{warning}");
    }
    if settings.agent_command.is_none() {
        log::info!("no agent is configured; start with --agent pi, or try --agent builtin:echo");
    }
    let wall_ms = wall_ms();
    if wall_ms < SANE_CLOCK_MS {
        let clock = utc(wall_ms / 1_000);
        log::warn!(
            "the clock says {clock}, which cannot be: set it (NTP does); until then ages of messages and keys count from now"
        );
    }
}

/// The running threads, and what is needed to stop them.
struct Gateway {
    context: Arc<NetContext>,
    acceptor: Acceptor,
    to_state: Sender<Event>,
    to_channels: Sender<Box<channels::ChannelCommand>>,
    state: JoinHandle<()>,
    /// They end when whoever sends to them has ended.
    others: Vec<JoinHandle<()>>,
}

impl Gateway {
    fn start(
        settings: &Settings,
        layout: Layout,
        listeners: Listeners,
        descriptors: Option<u64>,
        own_exe: PathBuf,
    ) -> Result<Self, Fatal> {
        METRICS.started.set(wall_ms() / 1_000);
        let folder_error = |source| Fatal::Folder { folder: settings.state_dir.clone(), source };
        let boot_id = boot_id().map_err(system("make random ids"))?;
        orphans::adopt(&boot_id, &settings.state_dir).map_err(system("adopt orphans"))?;
        let tidy = Tidy::new(layout.clone(), settings.config.storage.max_mb * 1024 * 1024);
        let (store, recovered) = Store::open(tidy.clone()).map_err(folder_error)?;
        for problem in &recovered.problems {
            log::warn!("{problem}");
        }
        let places = channels_setup::places(&recovered);
        let (agent_config, warning) =
            agent_setup::setup(settings, &tidy, &own_exe, recovery::keeps_home(&recovered))?;
        let mut state_config = state_config(settings, &layout, boot_id, &listeners);
        state_config.warnings.extend(warning);
        agent_setup::make_work_folder(&agent_config)?;
        let (state, first) = State::new(state_config, recovered, now());

        let thread = system("start a thread");
        let (to_state, state_inbox) = bounded(STATE_INBOX);
        let (to_outbound, outbound_inbox) = outbound::queue();
        let (to_store, store_inbox) = bounded(STORE_INBOX + STORE_RESERVE + 4 * settings.config.agent.queue);
        let (to_agent, agent_inbox) =
            bounded(settings.config.agent.queue + settings.config.agent.max_processes);
        let (to_agent_control, agent_control_inbox) = bounded(AGENT_CONTROL_INBOX);
        let (to_channels, channel_inbox) = bounded(CHANNEL_INBOX + CHANNEL_RESERVE);
        let fanout_us = Arc::new(AtomicU64::new(0));
        let surfaces = channels_setup::setup(settings, state.toggles(), places, own_exe)?;
        let exits = Exits {
            outbound: to_outbound.clone(),
            store: to_store,
            agent: to_agent,
            agent_control: to_agent_control,
            channels: to_channels.clone(),
            fanout_us: Arc::clone(&fanout_us),
        };

        let (tried, agent_tried) = bounded(0);
        let context = NetContext::new(
            net_config(settings, descriptors),
            Port::new(to_state.clone(), Event::Net),
            to_outbound,
            History::new(layout),
            agent_tried,
        );
        let others = vec![
            outbound::spawn(outbound_inbox, Arc::clone(&fanout_us)).map_err(&thread)?,
            store::spawn(store, store_inbox, Port::new(to_state.clone(), Event::Store)).map_err(&thread)?,
            channels::spawn(surfaces, channel_inbox, Port::new(to_state.clone(), Event::Channel))
                .map_err(&thread)?,
            agent::spawn(agent_config, agent_inbox, agent_control_inbox, to_state.clone(), tried)
                .map_err(&thread)?,
        ];
        let state = state::thread::spawn(state, first, state_inbox, exits).map_err(&thread)?;
        let acceptor = Acceptor::start(listeners.sockets, Arc::clone(&context)).map_err(&thread)?;
        Ok(Self { context, acceptor, to_state, to_channels, state, others })
    }

    /// Waits for a signal, then stops. `false` if something had to be left behind.
    fn serve(self, mut signals: Signals) -> bool {
        orphans::end_leftovers();
        let signal = await_stop(&mut signals);
        let deadline = Instant::now() + SHUTDOWN_TIMEOUT;
        let (reason, restart_expected_ms) = match signal {
            Some(SIGINT) => ("the gateway was interrupted", None),
            _ if supervised() => ("the gateway is restarting", Some(RESTART_EXPECTED_MS)),
            _ => ("the gateway is stopping", None),
        };
        log::info!("{reason}");
        self.context.stop();
        let mut in_time = self.acceptor.stop(deadline);
        self.context.end_handshakes();
        let stop = Event::Stop { reason: reason.to_owned(), restart_expected_ms };
        let _ = self.to_state.send(stop);
        drop(self.to_state);
        in_time &= join_unless_signalled(self.state, deadline, &mut signals);
        let _ = self.to_channels.try_send(Box::new(channels::ChannelCommand::Stop));
        // The last senders to `outbound` are the connections; it shuts their sockets.
        drop(self.context);
        for thread in self.others {
            in_time &= join_unless_signalled(thread, deadline, &mut signals);
        }
        // Who is left behind now is nobody's any more.
        while !orphans::end() && Instant::now() < deadline {}
        in_time
    }
}

/// Waits for a signal that stops the gateway, and ends what comes to it from guards that were killed.
fn await_stop(signals: &mut Signals) -> Option<i32> {
    signals.forever().find(|signal| {
        let is_child = *signal == SIGCHLD;
        if is_child {
            orphans::end();
        }
        !is_child
    })
}

/// What clients are told of a restart by a supervisor: systemd waits 100 ms, launchd up to 10 s.
const RESTART_EXPECTED_MS: u64 = 5_000;

/// Whether systemd or launchd will probably start the gateway again.
fn supervised() -> bool {
    std::env::var_os("INVOCATION_ID").is_some()
        || std::env::var_os("XPC_SERVICE_NAME").is_some_and(|name| name != "0")
}

/// A second signal means "at once": what is durable is durable, and the guards end the agents.
fn join_unless_signalled(thread: JoinHandle<()>, deadline: Instant, signals: &mut Signals) -> bool {
    while !thread.is_finished() && Instant::now() < deadline {
        if signals.pending().any(|signal| signal != SIGCHLD) {
            log::warn!("second signal: leaving at once");
            log::logger().flush();
            std::process::exit(0);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    threads::join_until(thread, deadline)
}

fn boot_id() -> io::Result<String> {
    let mut bytes = [0; 6];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(HEXLOWER.encode(&bytes))
}

fn state_config(settings: &Settings, layout: &Layout, boot_id: String, listeners: &Listeners) -> StateConfig {
    StateConfig {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        ip: settings.binds.first().map_or_else(String::new, ToString::to_string),
        url: listeners.local_url.clone(),
        auth: if settings.config.gateway.token.is_some() { Auth::Token } else { Auth::None },
        warnings: warnings::found(settings).into_iter().chain(listeners.warning.clone()).collect(),
        boot_id,
        policy: Policy {
            max_payload: PAYLOAD_BYTES_MAX,
            max_buffered_bytes: BACKLOG_BYTES_MAX,
            tick_interval_ms: settings.config.gateway.tick_interval_ms,
        },
        agent_configured: settings.agent_command.is_some(),
        thinking: settings.config.agent.thinking,
        run_timeout: Duration::from_secs(settings.config.agent.timeout_seconds),
        idle: minutes(settings.config.agent.idle_minutes),
        processes_max: settings.config.agent.max_processes,
        queue_max: settings.config.agent.queue,
        budget: Limits {
            runs: settings.config.agent.daily_runs,
            runs_per_person: settings.config.agent.daily_runs_per_person,
        },
        retention: Duration::from_secs(settings.config.storage.retention_days * 86_400),
        heartbeat: HeartbeatConfig {
            every: minutes(settings.config.heartbeat.every_minutes),
            prompt: settings.config.heartbeat.prompt.clone().unwrap_or_else(|| PROMPT_DEFAULT.to_owned()),
            channel: settings.config.heartbeat.channel,
            to: settings.config.heartbeat.to.clone(),
        },
        surfaces: channels_setup::config(settings, layout),
    }
}

fn net_config(settings: &Settings, descriptors: Option<u64>) -> NetConfig {
    let gateway = &settings.config.gateway;
    let shares = Shares::of(descriptors, gateway.max_clients, settings.config.agent.max_processes);
    if shares.clients < gateway.max_clients {
        log::warn!(
            "the limit on open files ({}) has room for {} clients at a time, not for {}; more are not accepted: raise \
             it (`ulimit -n`, LimitNOFILE= in a unit), or set --max-clients",
            descriptors.unwrap_or_default(),
            shares.clients,
            gateway.max_clients
        );
    }
    NetConfig {
        settings: gateway.clone(),
        bound: settings.binds.clone(),
        token_file: settings.token_file.clone(),
        shares,
    }
}

/// Minutes of the config, where 0 means never.
fn minutes(count: u64) -> Option<Duration> {
    (count > 0).then(|| Duration::from_secs(60 * count))
}
