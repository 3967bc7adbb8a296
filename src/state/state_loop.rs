//! The loop around the pure core: it receives an event, has it handled, and carries out the effects.
//!
//! The only part of `state` that reads a clock, or touches a queue. It decides nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};

use crate::agent::{AgentControl, RunSpec};
use crate::channels::ChannelCommand;
use crate::clock::now;
use crate::limits::{AGENT_CONTROL_EXPENDABLE_MAX, CHANNEL_EXPENDABLE_MAX};
use crate::metrics::METRICS;
use crate::net::outbound::OutboundSender;
use crate::state::{Effect, Event, State};
use crate::store::StoreCommand;
use crate::threads;

/// A turn that takes longer than this is worth a line in the log.
const SLOW_TURN: Duration = Duration::from_millis(100);

/// The queues out of the state thread.
pub(crate) struct Outputs {
    /// Frames and events for clients. This one queue lies down the flow: state waits for room in it.
    pub outbound: OutboundSender,
    /// Commits. As in all queues below, state never waits here, or it and the store could wait for each other.
    /// The bound is above what state lets in: a full queue is a defect, and ends the process.
    pub store: Sender<StoreCommand>,
    /// Prompts for the agent.
    pub agent: Sender<Box<RunSpec>>,
    /// Orders that the agent must get also when it is busy: cancels, ends of sessions, the shutdown.
    pub agent_control: Sender<AgentControl>,
    /// Commands to the channels; boxed, because the queue has room for thousands from the start.
    pub channels: Sender<Box<ChannelCommand>>,
    /// Time that the last event to everybody took, as `outbound` measured it.
    pub fanout_us: Arc<AtomicU64>,
}

/// Starts the state thread. It ends after an [`Event::Stop`], when everything is told and on record.
pub(crate) fn spawn(state: State, inbox: Receiver<Event>, outputs: Outputs) -> io::Result<JoinHandle<()>> {
    threads::spawn_owner("state", move || run(state, &inbox, &outputs))
}

fn run(mut state: State, inbox: &Receiver<Event>, outputs: &Outputs) {
    outputs.execute(&mut state.effects);
    loop {
        let event = match state.next_deadline() {
            Some(at) => inbox.recv_deadline(at),
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        if matches!(event, Err(RecvTimeoutError::Disconnected)) {
            return;
        }
        let now = now();
        state.fanout = Duration::from_micros(outputs.fanout_us.load(Ordering::Relaxed));
        state.turn(event.ok(), now);
        measure(now.mono.elapsed());
        outputs.execute(&mut state.effects);
        if let Some(goodbye) = state.goodbye() {
            let _ = outputs.outbound.send(goodbye);
            return;
        }
    }
}

fn measure(turn: Duration) {
    let micros = u64::try_from(turn.as_micros()).unwrap_or(u64::MAX);
    if micros > METRICS.state_turn_us.get() {
        METRICS.state_turn_us.set(micros);
    }
    if turn > SLOW_TURN {
        log::warn!("a turn of the state thread took {} ms", turn.as_millis());
    }
}

impl Outputs {
    fn execute(&self, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                // Waits for room. Fails only when the process ends.
                Effect::Out(message) => _ = self.outbound.send(message),
                Effect::Store(command) => hand_over("store", &self.store, command),
                Effect::Run(spec) => hand_over("agent", &self.agent, spec),
                // Nobody misses this order where the agent thread is busy: the session's next run ends the process of
                // another conversation, too, and without one it ends when it has been warm for long enough.
                Effect::AgentControl(AgentControl::EndSession { delete: false, .. })
                    if self.agent_control.len() >= AGENT_CONTROL_EXPENDABLE_MAX => {}
                Effect::AgentControl(control) => hand_over("agent control", &self.agent_control, control),
                // Nobody misses these where the channels are busy; the next one, or the gateway's end, tidies too.
                Effect::Channel(
                    ChannelCommand::Typing { .. } | ChannelCommand::MarkRead { .. } | ChannelCommand::Tidy,
                ) if self.channels.len() >= CHANNEL_EXPENDABLE_MAX => {}
                Effect::Channel(command) => hand_over("channels", &self.channels, Box::new(command)),
            }
        }
    }
}

/// State counts what it lets in, so a full queue is a defect: better to start again from the
/// records than to go on with something lost. A closed one means that its thread has ended, and
/// with it soon the process.
fn hand_over<T>(name: &str, queue: &Sender<T>, message: T) {
    let full = matches!(queue.try_send(message), Err(TrySendError::Full(_)));
    assert!(!full, "the queue to `{name}` is full");
}

#[cfg(test)]
mod tests;
