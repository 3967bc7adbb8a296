//! What state learns from the agent thread.

use crate::protocol::call::RunId;
use crate::protocol::payload::RunStatus;

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
    /// The run waits; `position` 1 is next.
    Queued {
        /// The run's place in the queue.
        position: usize,
    },
    /// The prompt was given to the agent.
    Started,
    /// The provider failed and will be asked again.
    Retrying {
        /// The error of the provider.
        reason: String,
    },
    /// The conversation is being shortened.
    Compacting,
    /// More of the answer. Pieces that wait are merged: only their concatenation counts.
    Text(String),
    /// Drop what was shown of the answer so far: it comes again.
    Reset,
    /// More of the model's thinking. Merges like `Text`.
    Thinking(String),
    /// A call of a tool begins.
    ToolStart {
        /// Id of the call.
        call_id: String,
        /// Name of the tool.
        name: String,
        /// The arguments as JSON text of at most `TOOL_BYTES_MAX`.
        args: String,
        /// Whether `args` was cut and is no JSON any more.
        truncated: bool,
    },
    /// A call of a tool has put something out.
    ToolUpdate {
        /// Id of the call.
        call_id: String,
        /// Name of the tool.
        name: String,
        /// Its output so far as text of at most `TOOL_BYTES_MAX`.
        result: String,
        /// Whether `result` was cut.
        truncated: bool,
    },
    /// A call of a tool is over.
    ToolEnd {
        /// Id of the call.
        call_id: String,
        /// Name of the tool.
        name: String,
        /// Its output so far as text of at most `TOOL_BYTES_MAX`.
        result: String,
        /// Whether `result` was cut.
        truncated: bool,
        /// Whether the call failed.
        is_error: bool,
    },
    /// Something went wrong that the person should see; the run may still end well.
    Error(String),
}
