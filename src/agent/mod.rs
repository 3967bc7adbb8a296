//! The agent thread: owns the agent's processes and the queue of runs in front of them.
//!
//! Knows nothing of clients, connections or the protocol's frames. It takes [`RunSpec`]s and
//! [`AgentControl`]s, and tells the state thread what happens as [`AgentEvent`]s.

mod agent_loop;
pub mod demo;
mod pending_events;
mod pi_command;
mod pi_line;
mod pi_run;
mod pi_text;
mod picture;
mod process;
mod reader;
pub mod sandbox;
mod scheduler;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::protocol::call::{RunId, Thinking};
use crate::protocol::payload::RunStatus;
use crate::store::Janitor;
use crate::threads;

/// Starts the agent thread. It ends after [`AgentControl::Shutdown`], or when the sending side of
/// either queue is gone, within `CHILD_STOP_TIMEOUT` and a moment. It never waits for `events`: what
/// finds no room there waits in the thread, where text merges. `tried` is dropped once `events` has
/// been told what is around the agents.
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
    threads::spawn_owner("agent", move || agent_loop::Owner::new(config, runs, control, events).run(tried))
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
        if matches!(out.last(), Some(pi_run::Output::Finished(_))) {
            break;
        }
    }
    Ok(())
}

/// What the agent thread needs to know; made once from the config.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Head of the argv; `None` when no agent is configured. `builtin:echo` has become this
    /// binary's own path and its demo mode.
    pub command: Option<Vec<String>>,
    /// The daemon's own binary, which is also the guard between the gateway and each agent.
    pub own_exe: PathBuf,
    /// Working directory of the agent.
    pub cwd: PathBuf,
    /// Extra environment from the config.
    pub env: BTreeMap<String, String>,
    /// Names of our own environment that the agent may see besides the standard ones.
    pub pass_env: Vec<String>,
    /// `--model`, if configured.
    pub model: Option<String>,
    /// Knows where the agent's own session files lie, and deletes what is forgotten of them.
    pub janitor: Janitor,
    /// What the agent must not reach.
    pub sandbox: sandbox::SandboxConfig,
    /// Silence after which a run is given up.
    pub idle_timeout: Duration,
    /// From the start of a process to its first answer.
    pub start_timeout: Duration,
    /// How long a process without a run is kept.
    pub warm: Duration,
    /// Processes at a time.
    pub processes_max: usize,
}

/// One run, complete: the agent thread asks nobody for more.
#[derive(Debug)]
pub struct RunSpec {
    /// The run.
    pub run_id: RunId,
    /// One run at a time per key.
    pub session_key: String,
    /// The conversation; a new id means a new session file.
    pub session_id: String,
    /// The whole prompt, as the model gets it.
    pub prompt: String,
    /// Pictures: MIME type and base64.
    pub images: Vec<(String, String)>,
    /// Pictures among what people sent: MIME type and path. They are read when the run starts.
    pub image_files: Vec<(String, PathBuf)>,
    /// Level for this run.
    pub thinking: Thinking,
    /// Limit on the whole run, from its start (waiting in the queue does not count).
    pub timeout: Duration,
}

/// What must get through while the queue is full: a slot of its own.
#[derive(Debug)]
pub enum AgentControl {
    /// End this run, queued or active; its `Ended` says `cancelled`.
    Cancel(RunId),
    /// The conversation under this key is over: end its process once it has no run.
    /// With `delete`, take its files out of view then and say so.
    EndSession {
        /// The key.
        session_key: String,
        /// Remove the agent's files of it.
        delete: bool,
    },
    /// End everything (each run as `cancelled`), then end the thread.
    Shutdown,
}

/// What the state thread learns.
#[derive(Debug, PartialEq)]
pub enum AgentEvent {
    /// One step of a run, in order.
    Step {
        /// The run.
        run_id: RunId,
        /// What happened.
        step: RunStep,
    },
    /// The last word on a run: exactly one for every run that was taken.
    Ended {
        /// The run.
        run_id: RunId,
        /// How.
        status: RunStatus,
        /// The final text (`ok`), or one sentence on what went wrong. A text that was longer than
        /// `SUMMARY_BYTES_MAX` comes with at most one character more than that.
        summary: String,
    },
    /// What keeps the agent to what it was given: told at the start, and when that has changed.
    Sandbox {
        /// `bwrap` or `none`.
        kind: &'static str,
        /// Why it is `none`, and what to do.
        reason: Option<String>,
    },
    /// Answers [`AgentControl::EndSession`] with `delete`: the agent's files of that session, and those that
    /// people sent, are out of view for good, or why they are not. Several that waited together have one answer.
    Forgotten {
        /// The key.
        session_key: String,
        /// A sentence, if it failed.
        result: Result<(), String>,
    },
    /// Processes cannot be started (with a sentence), or can again.
    Trouble(Option<String>),
}

/// A step of a run, as a UI draws it.
#[derive(Debug, PartialEq)]
pub enum RunStep {
    /// Waits; `position` 1 is next.
    Queued {
        /// Place in the queue.
        position: usize,
    },
    /// The prompt was given to the agent.
    Started,
    /// The provider failed and will be asked again.
    Retrying {
        /// The provider's error.
        reason: String,
    },
    /// The conversation is being shortened.
    Compacting,
    /// More of the answer. Waiting ones merge: only their concatenation counts.
    Text(String),
    /// Drop what was shown of the answer so far: it comes again.
    Reset,
    /// More of the model's thinking. Merges like `Text`.
    Thinking(String),
    /// A tool call begins.
    ToolStart {
        /// Its id.
        call_id: String,
        /// The tool.
        name: String,
        /// JSON text, at most `TOOL_BYTES_MAX`.
        args: String,
        /// `args` was cut, so it is no JSON any more.
        truncated: bool,
    },
    /// Its output so far.
    ToolUpdate {
        /// Its id.
        call_id: String,
        /// The tool.
        name: String,
        /// Text, at most `TOOL_BYTES_MAX`.
        result: String,
        /// `result` was cut.
        truncated: bool,
    },
    /// It is over.
    ToolEnd {
        /// Its id.
        call_id: String,
        /// The tool.
        name: String,
        /// Text, at most `TOOL_BYTES_MAX`.
        result: String,
        /// `result` was cut.
        truncated: bool,
        /// It failed.
        is_error: bool,
    },
    /// Something went wrong that the person should see; the run may still end well.
    Error(String),
}
