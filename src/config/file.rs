//! The shape of the config file. `schemas/config.schema.json` has the words, the bounds and the defaults, which
//! `load` puts in the place of what is not in the file.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::secret::Secret;
use crate::protocol::call::{Channel, Thinking};

/// The whole file. No `Debug` here and below: it holds tokens, and proxies with passwords.
#[derive(Clone, Deserialize)]
pub(crate) struct Config {
    /// Where the gateway listens and whom it lets in.
    pub(crate) gateway: Gateway,
    /// The person's own accounts.
    pub(crate) owner: Owner,
    /// The agent's program and the bounds on its runs.
    pub(crate) agent: Agent,
    /// What the agent is asked from time to time.
    pub(crate) heartbeat: Heartbeat,
    pub(crate) telegram: Telegram,
    pub(crate) whatsapp: Whatsapp,
    /// How much is kept, and for how long.
    pub(crate) storage: Storage,
}

/// The section `gateway`.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Gateway {
    /// TCP port; 0 is any.
    pub(crate) port: u16,
    /// Addresses to listen on; none means loopback.
    pub(crate) bind: Vec<String>,
    /// The token that clients must send.
    pub(crate) token: Option<Secret>,
    /// Names in `Host` besides the loopback ones.
    pub(crate) allowed_hosts: Vec<String>,
    /// Origins besides the gateway's own.
    pub(crate) allowed_origins: Vec<String>,
    /// Hosts of this network that `mediaUrl` may reach.
    pub(crate) media_hosts: Vec<String>,
    /// Folders whose files `send` may take.
    pub(crate) media_folders: Vec<String>,
    /// The oldest version of a client that is served.
    pub(crate) min_client: String,
    /// How many clients there may be at a time.
    pub(crate) max_clients: usize,
    /// Milliseconds between two keep-alive events.
    pub(crate) tick_interval_ms: u64,
}

/// The section `owner`.
#[derive(Clone, Deserialize)]
pub(crate) struct Owner {
    /// Their user id on Telegram.
    pub(crate) telegram: Option<String>,
    /// Their phone number on WhatsApp.
    pub(crate) whatsapp: Option<String>,
}

/// The key `agent.command`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Command {
    /// The name `pi` or `builtin:echo`.
    Name(String),
    /// A program and its first arguments.
    Argv(Vec<String>),
}

/// The key `agent.sandbox`: what keeps the agent to what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sandbox {
    /// Bubblewrap where it is installed.
    Auto,
    /// Bubblewrap, or no agent starts.
    Bwrap,
    /// No sandbox at all.
    None,
}

/// The section `agent`.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Agent {
    pub(crate) command: Option<Command>,
    /// Working directory; `~/clawdis` if absent, or the home with a state folder from before that.
    pub(crate) cwd: Option<String>,
    pub(crate) env: BTreeMap<String, String>,
    /// Variables of the gateway that it gets.
    pub(crate) pass_env: Vec<String>,
    /// Value of the agent's `--model`.
    pub(crate) model: Option<String>,
    /// Level of thinking where a request names none.
    pub(crate) thinking: Thinking,
    /// Limit on a run where a request names none.
    pub(crate) timeout_seconds: u64,
    /// Silence after which a run is given up.
    pub(crate) idle_timeout_seconds: u64,
    /// From the start of a process to its first answer.
    pub(crate) start_timeout_seconds: u64,
    /// How long a process without work is kept.
    pub(crate) warm_seconds: u64,
    /// How many agent processes there may be at a time.
    pub(crate) max_processes: usize,
    /// Accepted runs that may wait.
    pub(crate) queue: usize,
    /// Silence after which a session begins anew; 0 is never.
    pub(crate) idle_minutes: u64,
    pub(crate) sandbox: Sandbox,
    /// What it may write in the sandbox besides its own folders.
    pub(crate) writable: Vec<String>,
    /// What is not there in the sandbox.
    pub(crate) hidden: Vec<String>,
    /// Runs a day in all.
    pub(crate) daily_runs: u64,
    /// Runs a day for one person.
    pub(crate) daily_runs_per_person: u64,
}

/// The section `heartbeat`.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Heartbeat {
    /// Minutes between two heartbeats; 0 is never.
    pub(crate) every_minutes: u64,
    pub(crate) prompt: Option<String>,
    /// The channel on which the answer goes out.
    pub(crate) channel: Option<Channel>,
    /// Who gets the answer there.
    pub(crate) to: Option<String>,
}

/// The section `telegram`.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Telegram {
    /// Whether it is on; if absent it is with a token.
    pub(crate) enabled: Option<bool>,
    pub(crate) bot_token: Option<Secret>,
    /// A file with the bot's token.
    pub(crate) bot_token_file: Option<String>,
    /// URL of the Bot API.
    pub(crate) api_base: String,
    /// Who may write to the agent.
    pub(crate) allow_from: Vec<String>,
    /// Groups that are let in, by chat id.
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) proxy: Option<String>,
    /// Whether a webhook that is in the way is removed.
    pub(crate) delete_webhook: bool,
    /// Size of the largest picture or file.
    pub(crate) media_max_mb: u64,
    /// Age above which a message is not answered.
    pub(crate) max_age_minutes: u64,
}

/// `groups.commands`: whose runs `/stop` ends in a group, and who may `/new` and `/think` there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Commands {
    /// Everybody stops what they asked themselves; the rest is the owner's.
    Asker,
    /// All of it is the owner's alone.
    Owner,
    /// Everybody's who may write there.
    All,
}

/// One of `telegram.groups`, or of `whatsapp.groups`, which have no `allowFrom`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Group {
    /// Whether only what mentions the bot is answered.
    pub(crate) require_mention: bool,
    /// Who may ask besides those who may anywhere; `*` is everybody.
    #[serde(default)]
    pub(crate) allow_from: Vec<String>,
    /// Whose runs directives may touch.
    pub(crate) commands: Commands,
}

impl Default for Group {
    /// The rules of a group that a person let in, of which the config says nothing.
    fn default() -> Self {
        Self { require_mention: true, allow_from: Vec::new(), commands: Commands::Asker }
    }
}

/// The section `whatsapp`.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Whatsapp {
    /// Whether it is set up. It has no credentials to show: linking comes after switching on.
    #[serde(default)]
    pub(crate) enabled: bool,
    /// Who may write to the agent.
    pub(crate) allow_from: Vec<String>,
    /// Groups that are let in, by jid.
    pub(crate) groups: BTreeMap<String, Group>,
    /// Answer in the chat with oneself.
    pub(crate) self_chat: bool,
    /// Tell people that their messages were read.
    pub(crate) read_receipts: bool,
    pub(crate) proxy: Option<String>,
    /// Size of the largest picture or file.
    pub(crate) media_max_mb: u64,
    /// Age above which a message is not answered.
    pub(crate) max_age_minutes: u64,
    /// The Node.js process that speaks to WhatsApp.
    pub(crate) sidecar: Sidecar,
}

/// The section `whatsapp.sidecar`.
#[derive(Clone, Deserialize)]
pub(crate) struct Sidecar {
    /// Path of Node; the first one in `PATH` if absent.
    pub(crate) node: Option<String>,
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
}

/// The section `storage`.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Storage {
    /// Days after which a session that nobody used is forgotten.
    pub(crate) retention_days: u64,
    /// What the state folder may hold, in megabytes.
    pub(crate) max_mb: u64,
}
