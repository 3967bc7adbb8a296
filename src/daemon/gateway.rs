//! Puts the threads together, starts them in order and stops them in reverse.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use signal_hook::consts::{SIGCHLD, SIGINT};
use signal_hook::iterator::Signals;

use crate::child::orphans;
use crate::clock::{now, wall_ms};
use crate::config::settings::Settings;
use crate::daemon::fatal::Fatal;
use crate::daemon::listeners::Listeners;
use crate::daemon::{agent_setup, setup};
use crate::limits::{
    AGENT_CONTROL_INBOX, CHANNEL_INBOX, CHANNEL_RESERVE, SHUTDOWN_TIMEOUT, STATE_INBOX, STORE_INBOX,
    STORE_RESERVE,
};
use crate::metrics::METRICS;
use crate::net::acceptor::Acceptor;
use crate::net::{NetContext, outbound};
use crate::port::Port;
use crate::state::state_loop::Outputs;
use crate::state::{self, Event, State};
use crate::store::{self, Janitor, Layout, Store};
use crate::{agent, channels, names, threads};

/// The running threads, and what is needed to stop them.
pub(super) struct Gateway {
    context: Arc<NetContext>,
    acceptor: Acceptor,
    to_state: Sender<Event>,
    to_channels: Sender<Box<channels::ChannelCommand>>,
    state: JoinHandle<()>,
    /// The other threads; they end when whoever sends to them has ended.
    others: Vec<JoinHandle<()>>,
}

impl Gateway {
    /// Starts the threads, in the order in which they need each other.
    pub(super) fn start(
        settings: &Settings,
        layout: Layout,
        listeners: Listeners,
        descriptors: Option<u64>,
        own_exe: PathBuf,
    ) -> Result<Self, Fatal> {
        METRICS.started.set(wall_ms() / 1_000);
        let boot_id = names::random(6).map_err(Fatal::system("make random ids"))?;
        orphans::adopt(&boot_id, &settings.state_dir).map_err(Fatal::system("adopt orphans"))?;
        let janitor = Janitor::new(layout.clone(), settings.config.storage.max_mb * 1024 * 1024);
        let (store, recovered) = Store::open(janitor.clone()).map_err(Fatal::folder(&settings.state_dir))?;
        for problem in &recovered.problems {
            log::warn!("{problem}");
        }
        let cursors = state::cursors(&recovered);
        let (agent_config, warning) =
            agent_setup::setup(settings, &janitor, &own_exe, state::keeps_home(&recovered))?;
        let mut state_config = setup::state(settings, &layout, boot_id, &listeners);
        state_config.warnings.extend(warning);
        agent_setup::make_work_folder(&agent_config)?;
        let state = State::new(state_config, recovered, now());

        let thread = Fatal::system("start a thread");
        let (to_state, state_inbox) = bounded(STATE_INBOX);
        let (to_outbound, outbound_inbox) = outbound::queue();
        let (to_store, store_inbox) = bounded(STORE_INBOX + STORE_RESERVE + 4 * settings.config.agent.queue);
        let (to_agent, agent_inbox) =
            bounded(settings.config.agent.queue + settings.config.agent.max_processes);
        let (to_agent_control, agent_control_inbox) = bounded(AGENT_CONTROL_INBOX);
        let (to_channels, channel_inbox) = bounded(CHANNEL_INBOX + CHANNEL_RESERVE);
        let fanout_us = Arc::new(AtomicU64::new(0));
        let channels_setup = setup::channels(settings, state.toggles(), cursors, own_exe)?;
        let outputs = Outputs {
            outbound: to_outbound.clone(),
            store: to_store,
            agent: to_agent,
            agent_control: to_agent_control,
            channels: to_channels.clone(),
            fanout_us: Arc::clone(&fanout_us),
        };

        let (tried, agent_tried) = bounded(0);
        let context = NetContext::new(
            settings,
            descriptors,
            Port::new(to_state.clone(), Event::Net),
            to_outbound,
            layout,
            agent_tried,
        );
        let others = vec![
            outbound::spawn(outbound_inbox, Arc::clone(&fanout_us)).map_err(&thread)?,
            store::spawn(store, store_inbox, Port::new(to_state.clone(), Event::Store)).map_err(&thread)?,
            channels::spawn(channels_setup, channel_inbox, Port::new(to_state.clone(), Event::Channel))
                .map_err(&thread)?,
            agent::spawn(agent_config, agent_inbox, agent_control_inbox, to_state.clone(), tried)
                .map_err(&thread)?,
        ];
        let state = state::state_loop::spawn(state, state_inbox, outputs).map_err(&thread)?;
        let acceptor = Acceptor::start(listeners.sockets, Arc::clone(&context)).map_err(&thread)?;
        Ok(Self { context, acceptor, to_state, to_channels, state, others })
    }

    /// Waits for a signal, then stops. `false` if something had to be left behind.
    pub(super) fn serve(self, mut signals: Signals) -> bool {
        orphans::end_leftovers();
        let signal = await_stop(&mut signals);
        let deadline = Instant::now() + SHUTDOWN_TIMEOUT;
        let (reason, restart_expected_ms) = match signal {
            Some(SIGINT) => ("the gateway was interrupted", None),
            _ if is_supervised() => ("the gateway is restarting", Some(RESTART_EXPECTED_MS)),
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
fn is_supervised() -> bool {
    std::env::var_os("INVOCATION_ID").is_some()
        || std::env::var_os("XPC_SERVICE_NAME").is_some_and(|name| name != "0")
}

/// Waits for a thread. A second signal means "at once": what is durable is durable, and the guards end the
/// agents.
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
