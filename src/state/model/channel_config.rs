//! The messaging channels as the core sees them: who may write, what came in and waits for its
//! answer, what goes out and whether it arrived.
//!
//! Knows no channel's protocol: [`crate::channels`] makes them equal.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::file::Commands;
use crate::protocol::call::Channel;

/// What the config says about the channels.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChannelsConfig {
    /// By channel.
    pub by_channel: BTreeMap<Channel, ChannelConfig>,
    /// Folder for what people send, with one folder per session.
    pub media: PathBuf,
    /// Folders whose files `send` may take.
    pub media_folders: Vec<PathBuf>,
}

/// What the config says about one channel.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChannelConfig {
    /// Whether it is set up, on or off.
    pub configured: bool,
    /// The person whose direct chat shares session `main`.
    pub owner: Option<String>,
    /// Who may write besides.
    pub allowed: Vec<String>,
    /// Chats of several people, by id.
    pub groups: BTreeMap<String, GroupConfig>,
    /// Older messages are not answered.
    pub max_age: Duration,
}

/// What the config says about a chat of several people.
#[derive(Debug, Clone)]
pub(crate) struct GroupConfig {
    /// Only what is addressed to us is answered.
    pub require_mention: bool,
    /// Who may ask there besides those who may write anyway; `*` is everybody.
    pub allowed: Vec<String>,
    /// Whose runs `/stop` ends there, and who may `/new` and `/think`.
    pub commands: Commands,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self { require_mention: true, allowed: Vec::new(), commands: Commands::default() }
    }
}
