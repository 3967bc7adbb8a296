//! Access: who may write to the agent, by the config and by what `channel-allow` added. Pure.
//!
//! Tokens, accounts and addresses of servers are none of state's business: the channels have those.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::channels::address;
use crate::channels::message::Inbound;
use crate::config::file::{Commands, Group};
use crate::limits::{ALLOWED_MAX, REFUSED_MAX};
use crate::protocol::call::{Channel, ChannelAllowParams};
use crate::protocol::error::WireError;
use crate::protocol::payload::RefusedSender;
use crate::state::model::sessions::MAIN;
use crate::state::model::slot::Slot;
use crate::state::model::write_buffer::WriteBuffer;

/// The person who owns the gateway. Whoever speaks the protocol has the token, or is on this machine: the owner, too.
pub(crate) const OWNER: &str = "owner";

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
    pub groups: BTreeMap<String, Group>,
    /// Age beyond which a message is not answered.
    pub max_age: Duration,
}

/// What a message may do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The message is asked.
    Allowed(Attribution),
    /// The message was said in a group that is let in, but not to the gateway.
    GroupContext(Attribution),
    /// The sender is not let in: they get silence, and the owner can see who it was.
    Refused,
    /// The message is not addressed to the gateway, and its sender or group is not let in.
    Ignored,
}

/// The session that a message belongs to, and the person whose budget its run counts against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribution {
    pub(crate) session_key: String,
    /// `owner`, or `CHANNEL:ID`.
    pub(crate) person: String,
}

/// What `channel-allow` gave somebody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    #[serde(default)]
    owner: bool,
}

#[derive(Default)]
pub(crate) struct Access {
    config: ChannelsConfig,
    granted: BTreeMap<(Channel, String), Grant>,
    /// Whether the state folder is under the rule that only whom the config or `channel-allow` names is an owner.
    by_name: bool,
    /// Whether an owner was named, or may have been, when the only person who was let in was the owner without being
    /// named: the old rule.
    had_owner: bool,
    /// The owner by the old rule, for as long as nobody is named.
    pub(crate) implied: Option<(Channel, String)>,
    /// New ids of groups, with the ids that config and sessions know them by.
    moved: BTreeMap<(Channel, String), String>,
    /// Senders that were not let in, newest first.
    pub(crate) refused: Vec<RefusedSender>,
}

impl Access {
    pub(crate) fn new(config: ChannelsConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// Takes over a slot of the last life, if it is one about access.
    pub(crate) fn recover(&mut self, slot: Slot, json: &str) -> Result<(), serde_json::Error> {
        match slot {
            Slot::Allow(channel, id) => {
                // A grant that cannot be read may have made an owner.
                let grant = serde_json::from_str(json).inspect_err(|_| self.had_owner = true)?;
                self.granted.insert((channel, id), grant);
            }
            Slot::Moved(channel, id) => {
                self.moved.insert((channel, id), serde_json::from_str(json)?);
            }
            Slot::OwnersByName => self.by_name = true,
            Slot::HadOwner => self.had_owner = true,
            Slot::ImpliedOwner => self.implied = Some(serde_json::from_str(json)?),
            _ => {}
        }
        Ok(())
    }

    /// Ends the recovery: a state folder that was under the old rule keeps its owner, if `is_whole` says that no slot of
    /// the journal is lost.
    pub(crate) fn settle_owner(&mut self, is_whole: bool, writes: &mut WriteBuffer) {
        if !self.by_name {
            self.by_name = true;
            writes.put(&Slot::OwnersByName, &true);
            self.implied = self.owner_by_old_rule().filter(|_| is_whole);
            if let Some(implied) = &self.implied {
                writes.put(&Slot::ImpliedOwner, implied);
            }
        }
        // The config has named somebody since, or lets that person in no more.
        let stands = |(channel, id): &(Channel, String)| {
            !self.is_owner_named() && self.people(*channel).contains(id.as_str())
        };
        if self.implied.as_ref().is_some_and(|implied| !stands(implied)) {
            self.drop_implied(writes);
        }
    }

    /// The owner by the old rule: the only person who is let in.
    fn owner_by_old_rule(&self) -> Option<(Channel, String)> {
        if self.had_owner || self.is_owner_named() {
            return None;
        }
        let on = |channel| self.people(channel).into_iter().map(move |id| (channel, id.to_owned()));
        let mut people = Channel::ALL.into_iter().flat_map(on);
        people.next().filter(|_| people.next().is_none())
    }

    fn drop_implied(&mut self, writes: &mut WriteBuffer) {
        if self.implied.take().is_some() {
            writes.delete(&Slot::ImpliedOwner);
        }
    }

    /// Whether somebody was named as the owner, by the config or with `channel-allow`.
    fn is_owner_named(&self) -> bool {
        self.config.by_channel.values().any(|config| config.owner.is_some())
            || self.granted.values().any(|grant| grant.owner)
    }

    /// Keeps the new id that a group has got, if the group is let in, in place of those that it had before: there are
    /// no more ids than groups.
    pub(crate) fn group_moved(&mut self, channel: Channel, from: &str, to: &str, writes: &mut WriteBuffer) {
        let known = self.known_as(channel, from).to_owned();
        if self.group(channel, &known).is_none() {
            return;
        }
        self.drop_moves(channel, &known, Some(to), writes);
        writes.put(&Slot::Moved(channel, to.to_owned()), &known);
        self.moved.insert((channel, to.to_owned()), known);
    }

    /// The rules of a group, if it is let in, by the id that it has or by the one that it is known by.
    pub(crate) fn group(&self, channel: Channel, chat: &str) -> Option<Group> {
        [self.known_as(channel, chat), chat].into_iter().find_map(|id| {
            let configured = self.config.by_channel.get(&channel).and_then(|config| config.groups.get(id));
            let is_granted = self.granted.contains_key(&(channel, id.to_owned()));
            configured.cloned().or_else(|| is_granted.then(Group::default))
        })
    }

    /// The id by which config and sessions know a chat.
    pub(crate) fn known_as<'a>(&'a self, channel: Channel, chat: &'a str) -> &'a str {
        self.moved.get(&(channel, chat.to_owned())).map_or(chat, String::as_str)
    }

    /// The owner's id on a channel.
    pub(crate) fn owner(&self, channel: Channel) -> Option<&str> {
        let configured = self.config.by_channel.get(&channel).and_then(|config| config.owner.as_deref());
        let granted = self.granted.iter().find(|((on, _), grant)| *on == channel && grant.owner);
        let granted = granted.map(|((_, id), _)| id.as_str());
        let implied = self.implied.as_ref().filter(|(on, _)| *on == channel).map(|(_, id)| id.as_str());
        configured.or(granted).or(implied)
    }

    /// People who may write, but for the configured owner.
    fn people(&self, channel: Channel) -> BTreeSet<&str> {
        let allowed = self.config.by_channel.get(&channel).into_iter().flat_map(|config| &config.allowed);
        let granted =
            self.granted.keys().filter(|(on, id)| *on == channel && !address::is_group(channel, id));
        allowed.chain(granted.map(|(_, id)| id)).map(String::as_str).collect()
    }

    pub(crate) fn may_write(&self, channel: Channel, id: &str) -> bool {
        self.owner(channel) == Some(id) || self.people(channel).contains(id)
    }

    /// What a message may do.
    pub(crate) fn verdict(&self, message: &Inbound) -> Verdict {
        let channel = message.route.channel;
        let person = if message.is_self || self.owner(channel) == Some(&message.from) {
            OWNER.to_owned()
        } else {
            format!("{}:{}", channel.name(), message.from)
        };
        if message.is_group {
            return self.verdict_in_group(message, person);
        }
        if !message.is_self && !self.may_write(channel, &message.from) {
            return Verdict::Refused;
        }
        let session_key = if person == OWNER { MAIN.to_owned() } else { format!("dm:{person}") };
        Verdict::Allowed(Attribution { session_key, person })
    }

    /// How much directives of others than the owner may touch in the chat of that message. In a person's own chat
    /// there is nobody else.
    pub(crate) fn commands(&self, message: &Inbound) -> Commands {
        if !message.is_group {
            return Commands::All;
        }
        self.group(message.route.channel, &message.route.chat).map_or(Commands::Owner, |group| group.commands)
    }

    fn verdict_in_group(&self, message: &Inbound, person: String) -> Verdict {
        let channel = message.route.channel;
        let chat = self.known_as(channel, &message.route.chat);
        let unwelcome = if message.addressed { Verdict::Refused } else { Verdict::Ignored };
        let Some(group) = self.group(channel, &message.route.chat) else { return unwelcome };
        let welcome = |allowed: &String| allowed == "*" || *allowed == message.from;
        if !group.allow_from.iter().any(welcome) && !self.may_write(channel, &message.from) {
            return unwelcome;
        }
        let mut session_key = format!("group:{}:{chat}", channel.name());
        if let Some(topic) = &message.route.topic {
            session_key.push(':');
            session_key.push_str(topic);
        }
        let attribution = Attribution { session_key, person };
        if group.require_mention && !message.addressed {
            return Verdict::GroupContext(attribution);
        }
        Verdict::Allowed(attribution)
    }

    /// Remembers who was refused, for the owner to see. In a group that nobody allowed it is the
    /// group that would have to be let in.
    pub(crate) fn note_refused(&mut self, message: &Inbound, now_ts: u64) {
        let channel = message.route.channel;
        let chat = &message.route.chat;
        let by_group = message.is_group && self.group(channel, chat).is_none();
        let id = if by_group { chat.clone() } else { message.from.clone() };
        let at = self.refused.iter().position(|refused| refused.channel == channel && refused.id == id);
        let count = at.map_or(0, |at| self.refused.remove(at).count) + 1;
        let name = message.name.clone();
        self.refused.insert(0, RefusedSender { channel, id, name, count, last_ts: now_ts });
        self.refused.truncate(REFUSED_MAX);
    }

    /// Takes a person or group off the list of those who were refused; a group whatever its id is now.
    pub(crate) fn forget_refused(&mut self, channel: Channel, known: &str) {
        let Self { refused, moved, .. } = self;
        let is_known_as = |id: &str| moved.get(&(channel, id.to_owned())).map_or(id, String::as_str) == known;
        refused.retain(|refused| {
            refused.channel != channel || (refused.id != known && !is_known_as(&refused.id))
        });
    }

    /// Carries out `channel-allow`: lets somebody in, or takes that back.
    pub(crate) fn change(
        &mut self,
        params: &ChannelAllowParams,
        id: &str,
        writes: &mut WriteBuffer,
    ) -> Result<(), WireError> {
        let channel = params.channel;
        let called = id;
        let known = self.known_as(channel, id).to_owned();
        // A group that got a new id was let in by the old one.
        let id = if self.granted.contains_key(&(channel, id.to_owned())) { id } else { known.as_str() };
        let key = (channel, id.to_owned());
        if params.remove {
            if self.granted.remove(&key).is_none() {
                return Err(WireError::invalid(format!(
                    "`/params/id`: {called} was not let in by channel-allow; whom the config names, only the config can take out"
                )));
            }
            writes.delete(&Slot::Allow(channel, id.to_owned()));
            if self.implied.as_ref() == Some(&key) {
                self.drop_implied(writes);
            }
            if self.group(channel, id).is_none() {
                self.drop_moves(channel, id, None, writes);
            }
            return Ok(());
        }
        if params.owner && address::is_group(channel, id) {
            return Err(WireError::invalid("`/params/owner`: a group cannot be the owner"));
        }
        if self.granted.len() >= ALLOWED_MAX && !self.granted.contains_key(&key) {
            return Err(WireError::invalid(format!(
                "{ALLOWED_MAX} people and groups are let in already; remove one, or name them in the config"
            )));
        }
        if params.owner {
            // One owner on each channel.
            for ((on, former), grant) in &mut self.granted {
                if *on == channel && grant.owner {
                    grant.owner = false;
                    writes.put(&Slot::Allow(channel, former.clone()), grant);
                }
            }
            self.drop_implied(writes);
        }
        let was_owner = self.granted.get(&key).is_some_and(|grant| grant.owner);
        let grant = Grant { owner: params.owner || was_owner };
        writes.put(&Slot::Allow(channel, id.to_owned()), &grant);
        self.granted.insert(key, grant);
        self.forget_refused(channel, called);
        Ok(())
    }

    /// Drops the other ids of a group, but for `kept`.
    fn drop_moves(&mut self, channel: Channel, known: &str, kept: Option<&str>, writes: &mut WriteBuffer) {
        self.moved.retain(|(on, id), of| {
            let is_over = *on == channel && of == known && Some(id.as_str()) != kept;
            if is_over {
                writes.delete(&Slot::Moved(channel, id.clone()));
            }
            !is_over
        });
    }

    /// A hint for whoever calls `channel-allow`: that nobody is the owner, or somebody else than they named.
    pub(crate) fn note(&self, params: &ChannelAllowParams, id: &str) -> Option<String> {
        let channel = params.channel;
        let name = channel.name();
        let configured = self.config.by_channel.get(&channel).and_then(|config| config.owner.as_deref());
        if let Some(owner) = configured.filter(|owner| params.owner && *owner != id) {
            return Some(format!("The config names {owner} as the owner (`owner.{name}`), and that counts."));
        }
        if Channel::ALL.iter().any(|channel| self.owner(*channel).is_some()) {
            return None;
        }
        let id = if address::is_group(channel, id) || params.remove { "YOUR-ID" } else { id };
        Some(format!(
            "Nobody is the owner yet: `clawdis allow {name} {id} --owner`, or `owner.{name}` in the config, makes one."
        ))
    }
}
