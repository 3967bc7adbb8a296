//! What the state thread and the channels thread are told, from the settings, and the warnings that follow from
//! these.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::channels::address::{is_group, person_id};
use crate::channels::web::download::MediaSources;
use crate::channels::web::media_hosts::MediaHosts;
use crate::channels::{ChannelsSetup, TelegramSetup, WhatsappSetup};
use crate::config::file::Group;
use crate::config::settings::Settings;
use crate::daemon::fatal::Fatal;
use crate::daemon::listeners::Listeners;
use crate::limits::{BACKLOG_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::net::origin_check::stray_entries;
use crate::net::token::short_token;
use crate::protocol::call::Channel;
use crate::protocol::hello::Policy;
use crate::protocol::payload::{Auth, Toggles};
use crate::protocol::warning::{Warning, WarningCode};
use crate::state::{ChannelConfig, ChannelsConfig, StateConfig};
use crate::store::Layout;

/// What the state thread is told: what clients are greeted with, and the bounds on runs and records.
pub(super) fn state(
    settings: &Settings,
    layout: &Layout,
    boot_id: String,
    listeners: &Listeners,
) -> StateConfig {
    StateConfig {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        ip: settings.binds.first().map_or_else(String::new, ToString::to_string),
        url: listeners.local_url.clone(),
        auth: if settings.config.gateway.token.is_some() { Auth::Token } else { Auth::None },
        warnings: warnings(settings).into_iter().chain(listeners.warning.clone()).collect(),
        boot_id,
        policy: Policy {
            max_payload: PAYLOAD_BYTES_MAX,
            max_buffered_bytes: BACKLOG_BYTES_MAX,
            tick_interval_ms: settings.config.gateway.tick_interval_ms,
        },
        agent_configured: settings.agent_command.is_some(),
        agent: settings.config.agent.clone(),
        expiry: Duration::from_secs(settings.config.storage.retention_days * 86_400),
        heartbeat: settings.config.heartbeat.clone(),
        channels: known_channels(settings, layout),
    }
}

/// The warnings that follow from the settings alone.
pub(super) fn warnings(settings: &Settings) -> Vec<Warning> {
    let gateway = &settings.config.gateway;
    let short_token = gateway.token.as_ref().and_then(short_token);
    let stray_entries = stray_entries(&gateway.allowed_hosts);
    [no_token(settings), short_token, stray_entries].into_iter().flatten().collect()
}

/// The warning that there is no token. A gateway that can do nothing may stand open.
fn no_token(settings: &Settings) -> Option<Warning> {
    let has_channels = settings.config.telegram.bot_token.is_some() || settings.config.whatsapp.enabled;
    if settings.config.gateway.token.is_some() || !(has_channels || settings.agent_command.is_some()) {
        return None;
    }
    let message = "no token is set: every program of every user of this machine, the agent's own included, \
        may command this gateway; put 32 random characters into a file (`openssl rand -hex 16`) and start \
        it with --token-file FILE";
    Some(Warning::new(WarningCode::NoToken, message))
}

/// What the state thread knows of the channels. An id that cannot be one is left out, with a word in the
/// log: nobody is let in by mistake.
pub(super) fn known_channels(settings: &Settings, layout: &Layout) -> ChannelsConfig {
    let (telegram, whatsapp) = (&settings.config.telegram, &settings.config.whatsapp);
    let owners = &settings.config.owner;
    let telegram = ChannelConfig {
        configured: telegram.bot_token.is_some(),
        owner: ids(Channel::Telegram, "owner", owners.telegram.as_slice()).pop(),
        allowed: ids(Channel::Telegram, "allowFrom", &telegram.allow_from),
        groups: groups(Channel::Telegram, &telegram.groups),
        max_age: max_age(telegram.max_age_minutes),
    };
    let whatsapp = ChannelConfig {
        configured: whatsapp.enabled,
        owner: ids(Channel::Whatsapp, "owner", owners.whatsapp.as_slice()).pop(),
        allowed: ids(Channel::Whatsapp, "allowFrom", &whatsapp.allow_from),
        groups: groups(Channel::Whatsapp, &whatsapp.groups),
        max_age: max_age(whatsapp.max_age_minutes),
    };
    let by_channel = BTreeMap::from([(Channel::Telegram, telegram), (Channel::Whatsapp, whatsapp)]);
    for folder in settings.config.gateway.media_folders.iter().filter(|name| !name.starts_with('/')) {
        log::warn!("gateway.mediaFolders: `{folder}` is left out: give an absolute path");
    }
    ChannelsConfig { by_channel, media: layout.media(), media_folders: media_folders(settings) }
}

/// How old a message may be. Of 0, as in `agent.idleMinutes`, nothing follows: else every message would be
/// too old.
fn max_age(minutes: u64) -> Duration {
    if minutes == 0 { Duration::MAX } else { Duration::from_secs(60 * minutes) }
}

fn media_folders(settings: &Settings) -> Vec<PathBuf> {
    let named = settings.config.gateway.media_folders.iter().map(PathBuf::from);
    named.filter(|folder| folder.is_absolute()).collect()
}

fn hosts(entries: &[String]) -> MediaHosts {
    let (hosts, wrong) = MediaHosts::new(entries);
    for entry in wrong {
        log::warn!("gateway.mediaHosts: `{entry}` is left out: give a host's name or address, or NAME:PORT");
    }
    hosts
}

/// The groups of a channel, with those who may ask there besides those who may anywhere.
fn groups(channel: Channel, configured: &BTreeMap<String, Group>) -> BTreeMap<String, Group> {
    let members = |allowed: &[String]| {
        let (everybody, people): (Vec<_>, Vec<_>) = allowed.iter().cloned().partition(|id| id == "*");
        everybody.into_iter().chain(ids(channel, "groups.allowFrom", &people)).collect()
    };
    let group = |group: &Group| Group { allow_from: members(&group.allow_from), ..group.clone() };
    configured.iter().map(|(id, configured)| (id.clone(), group(configured))).collect()
}

/// The ids of people, each once. A group is none: everybody in it would be let in, or be the owner.
fn ids(channel: Channel, key: &str, ids: &[String]) -> Vec<String> {
    let mut known = BTreeSet::new();
    for id in ids {
        let expected = match person_id(channel, id) {
            Ok(group) if is_group(channel, &group) => "a group is no person; it belongs into `groups`",
            Ok(person) => {
                known.insert(person);
                continue;
            }
            Err(expected) => expected,
        };
        log::warn!("{}.{key}: `{id}` is left out: {expected}", channel.name());
    }
    known.into_iter().collect()
}

/// What the channels thread starts with.
pub(super) fn channels(
    settings: &Settings,
    toggles: &Toggles,
    cursors: BTreeMap<String, String>,
    own_exe: PathBuf,
) -> Result<ChannelsSetup, Fatal> {
    let (telegram, whatsapp) = (&settings.config.telegram, &settings.config.whatsapp);
    let tmp = settings.state_dir.join("tmp");
    let sources = MediaSources {
        folders: media_folders(settings),
        state_dir: settings.state_dir.clone(),
        hosts: hosts(&settings.config.gateway.media_hosts),
    };
    let bot = TelegramSetup::new(telegram, tmp, sources.clone()).map_err(Fatal::config)?;
    let configured = [
        (Channel::Telegram, telegram.enabled.unwrap_or(bot.is_some())),
        (Channel::Whatsapp, whatsapp.enabled),
    ];
    let is_on = |(channel, on): &(Channel, bool)| *toggles.channels.get(channel).unwrap_or(on);
    let enabled = configured.into_iter().filter(is_on).map(|(channel, _)| channel).collect();
    let folder = settings.state_dir.join("whatsapp");
    let whatsapp = WhatsappSetup { own_exe, folder, config: whatsapp.clone(), sources };
    Ok(ChannelsSetup { telegram: bot, whatsapp, enabled, cursors })
}
