//! The shape of the config file with its defaults. `schemas/config.schema.json` has the words and
//! the bounds; a test compares the two.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::secret::Secret;
use crate::limits::{
    AGENT_QUEUE_DEFAULT, CLIENTS_MAX_DEFAULT, PORT_DEFAULT, RETENTION_DAYS_DEFAULT, STORAGE_MB_DEFAULT,
    TICK_INTERVAL_MS_DEFAULT,
};
use crate::protocol::call::{Channel, Thinking};

/// The whole file. No `Debug` here and below: it holds tokens, and proxies with passwords.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    /// Where it listens and whom it lets in.
    pub(crate) gateway: Gateway,
    /// The person.
    pub(crate) owner: Owner,
    /// The program that answers.
    pub(crate) agent: Agent,
    /// A prompt from time to time.
    pub(crate) heartbeat: Heartbeat,
    /// A bot on Telegram.
    pub(crate) telegram: Telegram,
    /// An account on WhatsApp.
    pub(crate) whatsapp: Whatsapp,
    /// How much is kept.
    pub(crate) storage: Storage,
}

/// `gateway`
#[derive(Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Gateway {
    /// TCP port; 0 is any.
    pub(crate) port: u16,
    /// Addresses to listen on; none means loopback.
    pub(crate) bind: Vec<String>,
    /// What clients must say.
    pub(crate) token: Option<Secret>,
    /// Names in `Host` besides the loopback ones.
    pub(crate) allowed_hosts: Vec<String>,
    /// Origins besides the gateway's own.
    pub(crate) allowed_origins: Vec<String>,
    /// Hosts of this network that `mediaUrl` may reach.
    pub(crate) media_hosts: Vec<String>,
    /// Folders whose files `send` may take.
    pub(crate) media_folders: Vec<String>,
    /// Oldest client version served.
    pub(crate) min_client: String,
    /// Connections at a time.
    pub(crate) max_clients: usize,
    /// Between two ticks.
    pub(crate) tick_interval_ms: u64,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            port: PORT_DEFAULT,
            bind: vec!["127.0.0.1".to_owned()],
            token: None,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            media_hosts: Vec::new(),
            media_folders: Vec::new(),
            min_client: "0.0.0".to_owned(),
            max_clients: CLIENTS_MAX_DEFAULT,
            tick_interval_ms: TICK_INTERVAL_MS_DEFAULT,
        }
    }
}

/// `owner`
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Owner {
    /// User id.
    pub(crate) telegram: Option<String>,
    /// Phone number.
    pub(crate) whatsapp: Option<String>,
}

/// `agent.command`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Command {
    /// `pi` or `builtin:echo`.
    Name(String),
    /// Program and first arguments.
    Argv(Vec<String>),
}

/// `agent.sandbox`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sandbox {
    /// Bubblewrap where it is installed.
    #[default]
    Auto,
    /// Bubblewrap or nothing runs.
    Bwrap,
    /// None.
    None,
}

/// `agent`
#[derive(Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Agent {
    /// What to run.
    pub(crate) command: Option<Command>,
    /// Working directory; `~/clawdis` if absent, or the home with a state folder from before that.
    pub(crate) cwd: Option<String>,
    /// Environment that it gets.
    pub(crate) env: BTreeMap<String, String>,
    /// Names of our environment that it gets.
    pub(crate) pass_env: Vec<String>,
    /// `--model`
    pub(crate) model: Option<String>,
    /// Level where a request names none.
    pub(crate) thinking: Thinking,
    /// Limit on a run where a request names none.
    pub(crate) timeout_seconds: u64,
    /// Silence after which a run is given up.
    pub(crate) idle_timeout_seconds: u64,
    /// From the start of a process to its first answer.
    pub(crate) start_timeout_seconds: u64,
    /// How long a process without work is kept.
    pub(crate) warm_seconds: u64,
    /// Processes at a time.
    pub(crate) max_processes: usize,
    /// Accepted runs that may wait.
    pub(crate) queue: usize,
    /// Silence after which a session begins anew; 0 is never.
    pub(crate) idle_minutes: u64,
    /// What keeps it to what it was given.
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

impl Default for Agent {
    fn default() -> Self {
        Self {
            command: None,
            cwd: None,
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            model: None,
            thinking: Thinking::Off,
            timeout_seconds: 600,
            idle_timeout_seconds: 180,
            start_timeout_seconds: 30,
            warm_seconds: 300,
            max_processes: 1,
            queue: AGENT_QUEUE_DEFAULT,
            idle_minutes: 60,
            sandbox: Sandbox::Auto,
            writable: Vec::new(),
            hidden: HIDDEN_DEFAULT.map(str::to_owned).to_vec(),
            daily_runs: 500,
            daily_runs_per_person: 200,
        }
    }
}

/// `heartbeat`
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Heartbeat {
    /// Between two; 0 is never.
    pub(crate) every_minutes: u64,
    /// What is asked.
    pub(crate) prompt: Option<String>,
    /// Where the answer goes.
    pub(crate) channel: Option<Channel>,
    /// To whom.
    pub(crate) to: Option<String>,
}

/// `telegram`
#[derive(Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Telegram {
    /// On or off; on with a token if absent.
    pub(crate) enabled: Option<bool>,
    /// The bot's token.
    pub(crate) bot_token: Option<Secret>,
    /// Or a file with it.
    pub(crate) bot_token_file: Option<String>,
    /// URL of the Bot API.
    pub(crate) api_base: String,
    /// Who may write.
    pub(crate) allow_from: Vec<String>,
    /// By chat id.
    pub(crate) groups: BTreeMap<String, TelegramGroup>,
    /// URL of a proxy.
    pub(crate) proxy: Option<String>,
    /// Remove a webhook that is in the way.
    pub(crate) delete_webhook: bool,
    /// Largest picture or file.
    pub(crate) media_max_mb: u64,
    /// Older messages are not answered.
    pub(crate) max_age_minutes: u64,
}

impl Default for Telegram {
    fn default() -> Self {
        Self {
            enabled: None,
            bot_token: None,
            bot_token_file: None,
            api_base: "https://api.telegram.org".to_owned(),
            allow_from: Vec::new(),
            groups: BTreeMap::new(),
            proxy: None,
            delete_webhook: false,
            media_max_mb: MEDIA_MB_DEFAULT,
            max_age_minutes: MAX_AGE_MINUTES_DEFAULT,
        }
    }
}

/// `groups.commands`: whose runs `/stop` ends in a group, and who may `/new` and `/think` there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Commands {
    /// Everybody stops what they asked themselves; the rest is the owner's.
    #[default]
    Asker,
    /// The owner's alone.
    Owner,
    /// Everybody's who may write there.
    All,
}

/// `telegram.groups`
#[derive(Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct TelegramGroup {
    /// Answer only when mentioned.
    pub(crate) require_mention: bool,
    /// Who may ask besides those who may anywhere; `*` is everybody.
    pub(crate) allow_from: Vec<String>,
    /// Whose runs lines for the gateway may touch.
    pub(crate) commands: Commands,
}

impl Default for TelegramGroup {
    fn default() -> Self {
        Self { require_mention: true, allow_from: Vec::new(), commands: Commands::default() }
    }
}

/// `whatsapp`
#[derive(Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Whatsapp {
    /// Set up or not; not if absent.
    pub(crate) enabled: Option<bool>,
    /// Who may write.
    pub(crate) allow_from: Vec<String>,
    /// By jid.
    pub(crate) groups: BTreeMap<String, WhatsappGroup>,
    /// Answer in the chat with oneself.
    pub(crate) self_chat: bool,
    /// Tell people that their messages were read.
    pub(crate) read_receipts: bool,
    /// URL of a proxy.
    pub(crate) proxy: Option<String>,
    /// Largest picture or file.
    pub(crate) media_max_mb: u64,
    /// Older messages are not answered.
    pub(crate) max_age_minutes: u64,
    /// The Node process.
    pub(crate) sidecar: Sidecar,
}

impl Default for Whatsapp {
    fn default() -> Self {
        Self {
            enabled: None,
            allow_from: Vec::new(),
            groups: BTreeMap::new(),
            self_chat: false,
            read_receipts: true,
            proxy: None,
            media_max_mb: MEDIA_MB_DEFAULT,
            max_age_minutes: MAX_AGE_MINUTES_DEFAULT,
            sidecar: Sidecar::default(),
        }
    }
}

/// `whatsapp.groups`
#[derive(Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WhatsappGroup {
    /// Answer only when mentioned.
    pub(crate) require_mention: bool,
    /// Whose runs lines for the gateway may touch.
    pub(crate) commands: Commands,
}

impl Default for WhatsappGroup {
    fn default() -> Self {
        Self { require_mention: true, commands: Commands::default() }
    }
}

/// `whatsapp.sidecar`
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Sidecar {
    /// Path of Node; the first one in `PATH` if absent.
    pub(crate) node: Option<String>,
    /// Arguments for Node.
    pub(crate) args: Vec<String>,
    /// Environment that it gets.
    pub(crate) env: BTreeMap<String, String>,
}

/// `storage`
#[derive(Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Storage {
    /// Days that records are kept.
    pub(crate) retention_days: u64,
    /// What the state folder may hold.
    pub(crate) max_mb: u64,
}

impl Default for Storage {
    fn default() -> Self {
        Self { retention_days: RETENTION_DAYS_DEFAULT, max_mb: STORAGE_MB_DEFAULT }
    }
}

/// Keys to other machines, and to what is signed and encrypted.
const HIDDEN_DEFAULT: [&str; 2] = ["~/.ssh", "~/.gnupg"];
const MEDIA_MB_DEFAULT: u64 = 20;
/// A day.
const MAX_AGE_MINUTES_DEFAULT: u64 = 1_440;
