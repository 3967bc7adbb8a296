//! What the config says about the messaging channels: who owns them, who may write, and in which groups.
//!
//! Tokens, accounts and addresses of servers are none of state's business: the channels have those.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::file::Commands;
use crate::protocol::call::Channel;

/// What the config says about the channels.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChannelsConfig {
    pub by_channel: BTreeMap<Channel, ChannelConfig>,
    /// Folder for the files that people send, with one folder per session.
    pub media: PathBuf,
    /// Folders whose files `send` may send.
    pub media_folders: Vec<PathBuf>,
}

/// What the config says about one channel.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChannelConfig {
    /// Whether the channel is set up, switched on or off.
    pub configured: bool,
    /// The person whose direct chat shares session `main`.
    pub owner: Option<String>,
    /// People who may write besides the owner.
    pub allowed: Vec<String>,
    /// Groups that are let in, by id.
    pub groups: BTreeMap<String, GroupConfig>,
    /// Age beyond which a message is not answered.
    pub max_age: Duration,
}

/// What the config says about a group.
#[derive(Debug, Clone)]
pub(crate) struct GroupConfig {
    /// Whether only messages that are addressed to the gateway are answered.
    pub require_mention: bool,
    /// People who may ask there besides those who may write anyway; `*` is everybody.
    pub allowed: Vec<String>,
    /// Whose runs `/stop` ends there, and who may `/new` and `/think`.
    pub commands: Commands,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self { require_mention: true, allowed: Vec::new(), commands: Commands::default() }
    }
}
