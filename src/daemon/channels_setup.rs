//! What the config says about the channels: for the state thread, in the forms that it compares, and for
//! the thread that talks to them.

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
use crate::protocol::call::Channel;
use crate::protocol::error::WireError;
use crate::protocol::payload::Toggles;
use crate::state::{ChannelConfig, ChannelsConfig};
use crate::store::Layout;

/// What the state thread knows of the channels. An id that cannot be one is left out, with a word in the
/// log: nobody is let in by mistake.
pub(super) fn for_state(settings: &Settings, layout: &Layout) -> ChannelsConfig {
    let (telegram, whatsapp) = (&settings.config.telegram, &settings.config.whatsapp);
    let owners = &settings.config.owner;
    let telegram = ChannelConfig {
        configured: telegram.bot_token.is_some(),
        owner: owner(Channel::Telegram, owners.telegram.as_deref()),
        allowed: ids(Channel::Telegram, "allowFrom", &telegram.allow_from),
        groups: groups(&telegram.groups, |members| group_members(Channel::Telegram, members)),
        max_age: max_age(telegram.max_age_minutes),
    };
    let whatsapp = ChannelConfig {
        configured: whatsapp.is_configured(),
        owner: owner(Channel::Whatsapp, owners.whatsapp.as_deref()),
        allowed: ids(Channel::Whatsapp, "allowFrom", &whatsapp.allow_from),
        groups: groups(&whatsapp.groups, |_| Vec::new()),
        max_age: max_age(whatsapp.max_age_minutes),
    };
    let by_channel = BTreeMap::from([(Channel::Telegram, telegram), (Channel::Whatsapp, whatsapp)]);
    ChannelsConfig {
        by_channel,
        media: layout.media(),
        media_folders: folders(&settings.config.gateway.media_folders),
    }
}

/// How old a message may be. Of 0, as in `agent.idleMinutes`, nothing follows: else every message would be
/// too old.
fn max_age(minutes: u64) -> Duration {
    if minutes == 0 { Duration::MAX } else { Duration::from_secs(60 * minutes) }
}

fn folders(names: &[String]) -> Vec<PathBuf> {
    let (good, bad): (Vec<PathBuf>, Vec<PathBuf>) =
        names.iter().map(PathBuf::from).partition(|folder| folder.is_absolute());
    for folder in bad {
        log::warn!("gateway.mediaFolders: `{}` is left out: give an absolute path", folder.display());
    }
    good
}

fn hosts(entries: &[String]) -> MediaHosts {
    let (hosts, wrong) = MediaHosts::new(entries);
    for entry in wrong {
        log::warn!("gateway.mediaHosts: `{entry}` is left out: give a host's name or address, or NAME:PORT");
    }
    hosts
}

fn owner(channel: Channel, id: Option<&str>) -> Option<String> {
    ids(channel, "owner", id.map(str::to_owned).as_slice()).pop()
}

/// The groups of a channel; `members` says whom the list of one lets in.
fn groups(
    groups: &BTreeMap<String, Group>,
    members: impl Fn(&[String]) -> Vec<String>,
) -> BTreeMap<String, Group> {
    let group = |group: &Group| Group { allow_from: members(&group.allow_from), ..group.clone() };
    groups.iter().map(|(id, configured)| (id.clone(), group(configured))).collect()
}

fn group_members(channel: Channel, allowed: &[String]) -> Vec<String> {
    let everybody = allowed.iter().filter(|id| *id == "*").cloned();
    let people: Vec<String> = allowed.iter().filter(|id| *id != "*").cloned().collect();
    everybody.chain(ids(channel, "groups.allowFrom", &people)).collect()
}

/// The ids of people, each once. A group is none: everybody in it would be let in, or be the owner.
fn ids(channel: Channel, key: &str, ids: &[String]) -> Vec<String> {
    let known = ids.iter().filter_map(|id| {
        let person = person_id(channel, id).and_then(|person| {
            if is_group(channel, &person) {
                return Err(WireError::invalid("a group is no person; it belongs into `groups`"));
            }
            Ok(person)
        });
        person
            .inspect_err(|error| {
                let expected = error.message.trim_start_matches("`/params/id`: ");
                log::warn!("{}.{key}: `{id}` is left out: {expected}", channel.name());
            })
            .ok()
    });
    known.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What the channels thread starts with.
pub(super) fn setup(
    settings: &Settings,
    toggles: &Toggles,
    cursors: BTreeMap<String, String>,
    own_exe: PathBuf,
) -> Result<ChannelsSetup, Fatal> {
    let (telegram, whatsapp) = (&settings.config.telegram, &settings.config.whatsapp);
    let tmp = settings.state_dir.join("tmp");
    let sources = MediaSources {
        folders: folders(&settings.config.gateway.media_folders),
        state_dir: settings.state_dir.clone(),
        hosts: hosts(&settings.config.gateway.media_hosts),
    };
    let bot = TelegramSetup::new(telegram, tmp, sources.clone()).map_err(Fatal::config)?;
    let is_on = |channel: Channel, config: Option<bool>, configured: bool| {
        toggles.channels.get(&channel).copied().or(config).unwrap_or(configured)
    };
    let on = [
        (Channel::Telegram, is_on(Channel::Telegram, telegram.enabled, bot.is_some())),
        (Channel::Whatsapp, is_on(Channel::Whatsapp, whatsapp.enabled, false)),
    ];
    let folder = settings.state_dir.join("whatsapp");
    let whatsapp = WhatsappSetup { own_exe, folder, config: whatsapp.clone(), sources };
    let enabled = on.into_iter().filter(|(_, on)| *on).map(|(channel, _)| channel).collect();
    Ok(ChannelsSetup { telegram: bot, whatsapp, enabled, cursors })
}
