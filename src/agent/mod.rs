//! The agent: its processes, and the queue of runs in front of them, on a thread of their own.
//!
//! Knows nothing of clients, connections or the protocol's frames. It takes [`RunSpec`]s and
//! [`AgentControl`]s, and tells the state thread what happens as [`AgentEvent`]s. These go by a sender and not
//! by a `Port` as those of other threads do: a `Port` waits for room, and an agent must never wait for state.

mod agent_loop;
pub mod demo;
mod interface;
mod pending_events;
mod pi_line;
mod pi_run;
mod process;
mod reader;
pub(crate) mod sandbox;
mod scheduler;

pub use interface::{AgentConfig, AgentControl, AgentEvent, RunSpec, RunStep, ToolPhase, ToolStep};

use std::convert::Infallible;
use std::io;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use crate::threads;

/// Starts the agent thread. It ends after [`AgentControl::Shutdown`], or when the sending side of
/// either queue is gone, within `CHILD_STOP_TIMEOUT` and a moment. It never waits for `events`: what
/// finds no room there waits in the thread, where text merges. `tried` is dropped once `events` has
/// been told which sandbox is around the agents.
pub fn spawn<T>(
    config: AgentConfig,
    runs: Receiver<Box<RunSpec>>,
    control: Receiver<AgentControl>,
    events: Sender<T>,
    tried: Sender<Infallible>,
) -> io::Result<JoinHandle<()>>
where
    T: From<AgentEvent> + Send + 'static,
{
    threads::spawn_owner("agent", move || {
        agent_loop::AgentLoop::new(config, runs, control, events).run(tried);
    })
}

/// Reads lines as those of one run, for `tests/it/fuzz`: through processes it would try a thousandth as
/// many. The error is what a person is told about a line.
#[doc(hidden)]
pub fn read_run(lines: &[u8]) -> Result<(), String> {
    let now = Instant::now();
    let (mut run, mut out) = (pi_run::PiRun::new(1, "", &[]).0, Vec::new());
    for line in lines.split(|byte| *byte == b'\n') {
        out.clear();
        pi_line::parse(line, &mut |line| {
            run.handle(line, now, &mut out);
            true
        })?;
        if matches!(out.last(), Some(pi_run::RunOutput::Finished(_))) {
            break;
        }
    }
    Ok(())
}
