//! What state asks of the agent thread: runs, and controls of them.

use std::path::PathBuf;
use std::time::Duration;

use crate::protocol::call::{RunId, Thinking};

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
