//! The part of the config that the agent thread needs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::file::Sandbox as Wanted;
use crate::store::Janitor;

/// How agents are started, and how long they may take.
#[derive(Debug, Clone)]
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
    /// The sandbox around the agent.
    pub sandbox: SandboxConfig,
    /// How long the agent may be silent during a run.
    pub idle_timeout: Duration,
    /// How long a process may take from its start to its first answer.
    pub start_timeout: Duration,
    /// How long a process without a run is kept.
    pub warm: Duration,
    /// How many processes there are at a time.
    pub processes_max: usize,
}

/// The sandbox that the config asks for.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Whether there is to be a sandbox (`agent.sandbox`).
    pub wanted: Wanted,
    /// Files that are hidden wherever they lie: the config, and whatever holds a token.
    pub files: Vec<PathBuf>,
    /// Paths that are hidden (`agent.hidden`).
    pub hidden: Vec<PathBuf>,
    /// Paths that may be written besides the working folder: the agent's own folders and `agent.writable`.
    pub writable: Vec<PathBuf>,
    /// Home folder of the person, if there is one.
    pub home: Option<PathBuf>,
}
