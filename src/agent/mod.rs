//! The agent: its processes, and the queue of runs in front of them, on a thread of their own.
//!
//! Knows nothing of clients, connections or the protocol's frames. It takes [`RunSpec`]s and
//! [`AgentControl`]s, and tells the state thread what happens as [`AgentEvent`]s. These go by a sender and not
//! by a `Port` as those of other threads do: a `Port` waits for room, and an agent must never wait for state.

mod agent_loop;
pub mod demo;
mod pending_events;
mod pi_line;
mod pi_run;
mod process;
mod reader;
pub(crate) mod sandbox;
mod scheduler;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::config::file::Sandbox as Wanted;
use crate::protocol::call::{RunId, Thinking};
use crate::protocol::payload::RunStatus;
use crate::store::Janitor;
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

/// How agents are started, and how long they may take.
pub struct AgentConfig {
    /// Head of the argv; `None` when no agent is configured. `builtin:echo` has become this
    /// binary's own path and its demo mode.
    pub command: Option<Vec<String>>,
    /// The daemon's own binary, which is also the guard between the gateway and each agent.
    pub own_exe: PathBuf,
    /// Working directory of the agent.
    pub cwd: PathBuf,
    /// Variables for the agent's environment, from the config.
    pub env: BTreeMap<String, String>,
    /// Names of our own environment that the agent may see besides the standard ones.
    pub pass_env: Vec<String>,
    /// The model that the agent is started with, if one is configured.
    pub model: Option<String>,
    /// Knows where the agent's own session files lie, and deletes what is forgotten of them.
    pub janitor: Janitor,
    /// Whether there is to be a sandbox around the agent (`agent.sandbox`).
    pub sandbox: Wanted,
    /// Files that are hidden in the sandbox wherever they lie: the config, and whatever holds a token.
    pub secret_files: Vec<PathBuf>,
    /// Paths that are hidden in the sandbox (`agent.hidden`).
    pub hidden: Vec<PathBuf>,
    /// Paths that may be written in the sandbox besides the working folder: the agent's own folders and
    /// `agent.writable`.
    pub writable: Vec<PathBuf>,
    /// Home folder of the person, if there is one.
    pub home: Option<PathBuf>,
    /// How long the agent may be silent during a run.
    pub idle_timeout: Duration,
    /// How long a process may take from its start to its first answer.
    pub start_timeout: Duration,
    /// How long a process without a run is kept.
    pub warm: Duration,
    /// How many processes there are at a time.
    pub processes_max: usize,
}

/// All of one run: the agent thread asks nobody for more.
#[derive(Debug)]
pub struct RunSpec {
    /// Id of the run.
    pub run_id: RunId,
    /// Key of its session, which has one run at a time.
    pub session_key: String,
    /// Id of the conversation; a new one means a new session file.
    pub session_id: String,
    /// The whole prompt, as the model gets it.
    pub prompt: String,
    /// Pictures: MIME type and base64.
    pub images: Vec<(String, String)>,
    /// Pictures among what people sent: MIME type and path. They are read when the run starts.
    pub image_files: Vec<(String, PathBuf)>,
    /// Thinking level for this run.
    pub thinking: Thinking,
    /// How long the run may take from its start; waiting in the queue does not count.
    pub timeout: Duration,
}

/// A control of the agent thread. It has a queue of its own and gets through while that of runs is full.
#[derive(Debug)]
pub enum AgentControl {
    /// End this run, queued or active; its `Ended` says `cancelled`.
    Cancel(RunId),
    /// The conversation under that key is over: end its process once it has no run.
    /// With `delete`, take its files out of view then and say so.
    EndSession {
        /// Key of the session.
        session_key: String,
        /// Whether the agent's files of it are removed.
        delete: bool,
    },
    /// End everything (each run as `cancelled`), then end the thread.
    Shutdown,
}

/// An event for the state thread.
#[derive(Debug, PartialEq)]
pub enum AgentEvent {
    /// One step of a run, in order.
    Step {
        /// Id of the run.
        run_id: RunId,
        /// The step itself.
        step: RunStep,
    },
    /// The last word on a run: exactly one for every run that was taken.
    Ended {
        /// Id of the run.
        run_id: RunId,
        /// How the run ended.
        status: RunStatus,
        /// The final text (`ok`), or one sentence on what went wrong. A text that was longer than
        /// `SUMMARY_BYTES_MAX` comes with at most one character more than that.
        summary: String,
    },
    /// The sandbox around the agents: told at the start, and when it has changed.
    Sandbox {
        /// Its name in `health`: `bwrap` or `none`.
        kind: &'static str,
        /// Why it is `none`, and what to do.
        reason: Option<String>,
    },
    /// Answers `AgentControl::EndSession` with `delete`: the agent's files of that session, and those that
    /// people sent, are out of view for good, or why they are not. Several that waited together have one
    /// answer.
    Forgotten {
        /// Key of the session.
        session_key: String,
        /// A sentence, if it failed.
        result: Result<(), String>,
    },
    /// Processes cannot be started (with a sentence), or can again.
    Trouble(Option<String>),
}

/// A step of a run, as clients show it.
#[derive(Debug, PartialEq)]
pub enum RunStep {
    /// The run waits at this place in the queue; 1 is next.
    Queued(usize),
    /// The prompt was given to the agent.
    Started,
    /// The provider failed, with this error, and will be asked again.
    Retrying(String),
    /// The conversation is being shortened.
    Compacting,
    /// More of the answer. Pieces that wait are merged: only their concatenation counts.
    Text(String),
    /// Drop what was shown of the answer so far: it comes again.
    Reset,
    /// More of the model's thinking. Merges like `Text`.
    Thinking(String),
    /// A call of a tool begins, has put something out, or is over.
    Tool(ToolStep),
    /// Something went wrong that the person should see; the run may still end well.
    Error(String),
}

/// A step in a call of a tool.
#[derive(Debug, PartialEq)]
pub struct ToolStep {
    /// Id of the call.
    pub call_id: String,
    /// Name of the tool.
    pub name: String,
    /// The arguments of a start as JSON text, otherwise the output so far as text; of at most `TOOL_BYTES_MAX`.
    pub text: String,
    /// Whether `text` was cut; arguments are no JSON any more then.
    pub truncated: bool,
    /// How far the call is.
    pub phase: ToolPhase,
}

/// How far a call of a tool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolPhase {
    /// The call begins.
    Start,
    /// The call has put something out.
    Update,
    /// The call is over.
    End {
        /// Whether the call failed.
        is_error: bool,
    },
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
