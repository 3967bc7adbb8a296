//! Who may write to the agent: one list, made of the config and of what `channel-allow` added. Pure,
//! but for the request at its end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::channels::address;
use crate::channels::message::Inbound;
use crate::limits::{ALLOWED_MAX, REFUSED_MAX};
use crate::net::ConnId;
use crate::protocol::call::{Channel, ChannelAllowParams};
use crate::protocol::error::WireError;
use crate::protocol::payload::{Access as AccessAnswer, RefusedSender};
use crate::state::agent_requests::OWNER;
use crate::state::sessions::MAIN;
use crate::state::stored::Pending;
use crate::state::surfaces::{GroupConfig, SurfacesConfig, in_slot, slot};
use crate::state::{Now, State, to_json};
use crate::store::StoreOp;

/// Slots of people and groups that `channel-allow` let in.
pub(crate) const SLOT_PREFIX: &str = "allow/";
/// Slots of groups that got another id.
pub(crate) const MOVED_PREFIX: &str = "moved/";

/// Rest of the name of the slot that says that an owner was named.
const HAD_OWNER: &str = "had-owner";

/// What a message may do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is asked.
    Allowed(Place),
    /// Said in a group that is listened to, but not to us.
    Overheard(Place),
    /// From somebody who is not let in: silence, but the owner can see who it was.
    Refused,
    /// Nobody's business.
    Ignored,
}

/// Where a message belongs, and who is charged for its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) session_key: String,
    /// `owner`, or `CHANNEL:ID`.
    pub(crate) person: String,
}

impl Place {
    pub(crate) fn is_owner(&self) -> bool {
        self.person == OWNER
    }
}

/// What `channel-allow` gave somebody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    #[serde(default)]
    owner: bool,
}

#[derive(Default)]
pub(crate) struct Access {
    config: SurfacesConfig,
    granted: BTreeMap<(Channel, String), Grant>,
    /// An owner was named once: nobody becomes one by being left over.
    had_owner: bool,
    /// New ids of groups, with the ids that config and sessions know them by.
    moved: BTreeMap<(Channel, String), String>,
    /// Newest first.
    refused: Vec<RefusedSender>,
}

impl Access {
    pub(crate) fn new(config: SurfacesConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// Takes over what `channel-allow` said in the last life.
    pub(crate) fn recover(&mut self, name: &str, json: &str) -> Result<(), serde_json::Error> {
        if name == HAD_OWNER {
            self.had_owner = true;
        } else if let Some((channel, id)) = in_slot(name) {
            // What cannot be read may have been an owner.
            let grant = serde_json::from_str(json).inspect_err(|_| self.had_owner = true)?;
            self.granted.insert((channel, id), grant);
        }
        Ok(())
    }

    /// Takes over that a group has moved.
    pub(crate) fn recover_move(&mut self, name: &str, json: &str) -> Result<(), serde_json::Error> {
        if let Some((channel, id)) = in_slot(name) {
            self.moved.insert((channel, id), serde_json::from_str(json)?);
        }
        Ok(())
    }

    /// A group has got another id; returns what to store, if anybody knows that group.
    pub(crate) fn group_moved(&mut self, channel: Channel, from: &str, to: &str) -> Option<StoreOp> {
        let known = self.known_as(channel, from).to_owned();
        self.group(channel, &known)?;
        let op = StoreOp::Put { slot: slot(MOVED_PREFIX, channel, to), value: to_json(&known) };
        self.moved.insert((channel, to.to_owned()), known);
        Some(op)
    }

    /// What holds in a group, if it is let in.
    fn group(&self, channel: Channel, chat: &str) -> Option<GroupConfig> {
        let configured = self.config.by_channel.get(&channel).and_then(|config| config.groups.get(chat));
        let granted = || {
            let granted = self.granted.contains_key(&(channel, chat.to_owned()));
            granted.then(|| GroupConfig { require_mention: true, allowed: Vec::new() })
        };
        configured.cloned().or_else(granted)
    }

    /// The id by which config and sessions know a chat.
    fn known_as<'a>(&'a self, channel: Channel, chat: &'a str) -> &'a str {
        self.moved.get(&(channel, chat.to_owned())).map_or(chat, String::as_str)
    }

    /// The owner's id on a surface.
    pub(crate) fn owner(&self, channel: Channel) -> Option<&str> {
        let configured = |channel: &Channel| self.config.by_channel.get(channel)?.owner.as_deref();
        if Channel::ALL.iter().any(|channel| configured(channel).is_some()) {
            return configured(&channel).or_else(|| self.granted_owner(channel));
        }
        if self.had_owner || self.granted.values().any(|grant| grant.owner) {
            return self.granted_owner(channel);
        }
        // Nobody was named, and only one person can be meant.
        let mut people = Channel::ALL.iter().flat_map(|channel| self.people(*channel));
        let only = people.next().filter(|_| people.next().is_none())?;
        (only.0 == channel).then_some(only.1)
    }

    fn granted_owner(&self, channel: Channel) -> Option<&str> {
        let mut owners = self.granted.iter().filter(|(_, grant)| grant.owner);
        owners.find(|((on, _), _)| *on == channel).map(|((_, id), _)| id.as_str())
    }

    /// People who may write, but for the configured owner.
    fn people(&self, channel: Channel) -> impl Iterator<Item = (Channel, &str)> {
        let config = self.config.by_channel.get(&channel);
        let configured = config.into_iter().flat_map(|config| config.allowed.iter().map(String::as_str));
        let granted =
            self.granted.keys().filter(move |(on, id)| *on == channel && !address::is_group(channel, id));
        let granted = granted.map(|(_, id)| id.as_str());
        let listed = granted.filter(move |id| {
            config.is_none_or(|config| !config.allowed.iter().any(|allowed| allowed == id))
        });
        configured.chain(listed).map(move |id| (channel, id))
    }

    fn may_write(&self, channel: Channel, id: &str) -> bool {
        self.owner(channel) == Some(id) || self.people(channel).any(|(_, allowed)| allowed == id)
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
        Verdict::Allowed(Place { session_key, person })
    }

    fn verdict_in_group(&self, message: &Inbound, person: String) -> Verdict {
        let channel = message.route.channel;
        let chat = self.known_as(channel, &message.route.chat);
        let unwelcome = if message.addressed { Verdict::Refused } else { Verdict::Ignored };
        let group = self.group(channel, chat).or_else(|| self.group(channel, &message.route.chat));
        let Some(group) = group else { return unwelcome };
        let welcome = |allowed: &String| allowed == "*" || *allowed == message.from;
        if !group.allowed.iter().any(welcome) && !self.may_write(channel, &message.from) {
            return unwelcome;
        }
        let mut session_key = format!("group:{}:{chat}", channel.name());
        if let Some(topic) = &message.route.topic {
            session_key.push(':');
            session_key.push_str(topic);
        }
        let place = Place { session_key, person };
        if group.require_mention && !message.addressed {
            return Verdict::Overheard(place);
        }
        Verdict::Allowed(place)
    }

    /// Remembers who was refused, for the owner to see. In a group that nobody allowed it is the
    /// group that would have to be let in.
    pub(crate) fn note_refused(&mut self, message: &Inbound, now_ts: u64) {
        let channel = message.route.channel;
        let chat = &message.route.chat;
        let known = self.group(channel, self.known_as(channel, chat)).or_else(|| self.group(channel, chat));
        let by_group = message.is_group && known.is_none();
        let id = if by_group { chat.clone() } else { message.from.clone() };
        let at = self.refused.iter().position(|refused| refused.channel == channel && refused.id == id);
        let count = at.map_or(0, |at| self.refused.remove(at).count) + 1;
        let name = message.name.clone();
        self.refused.insert(0, RefusedSender { channel, id, name, count, last_ts: now_ts });
        self.refused.truncate(REFUSED_MAX);
    }

    /// Who was refused lately, newest first.
    pub(crate) fn refused(&self) -> &[RefusedSender] {
        &self.refused
    }

    /// Lets somebody in, or takes that back; returns what to store.
    fn change(&mut self, params: &ChannelAllowParams, id: &str) -> Result<Vec<StoreOp>, WireError> {
        let channel = params.channel;
        let key = (channel, id.to_owned());
        if params.remove {
            if self.granted.remove(&key).is_none() {
                return Err(WireError::invalid(format!(
                    "`/params/id`: {id} was not let in by channel-allow; whom the config names, only the config can take out"
                )));
            }
            return Ok(vec![StoreOp::Delete { slot: slot(SLOT_PREFIX, channel, id) }]);
        }
        if params.owner && address::is_group(channel, id) {
            return Err(WireError::invalid("`/params/owner`: a group cannot be the owner"));
        }
        if self.granted.len() >= ALLOWED_MAX && !self.granted.contains_key(&key) {
            return Err(WireError::invalid(format!(
                "{ALLOWED_MAX} people and groups are let in already; remove one, or name them in the config"
            )));
        }
        let mut ops = Vec::new();
        if params.owner {
            // One owner on each surface.
            for ((on, former), grant) in &mut self.granted {
                if *on == channel && grant.owner {
                    grant.owner = false;
                    ops.push(put(channel, former, *grant));
                }
            }
        }
        let was_owner = self.granted.get(&key).is_some_and(|grant| grant.owner);
        let grant = Grant { owner: params.owner || was_owner };
        if grant.owner && !self.had_owner {
            self.had_owner = true;
            let slot = format!("{SLOT_PREFIX}{HAD_OWNER}");
            ops.push(StoreOp::Put { slot, value: "true".to_owned() });
        }
        ops.push(put(channel, id, grant));
        self.granted.insert(key, grant);
        self.refused.retain(|refused| refused.channel != channel || refused.id != id);
        Ok(ops)
    }
}

fn put(channel: Channel, id: &str, grant: Grant) -> StoreOp {
    StoreOp::Put { slot: slot(SLOT_PREFIX, channel, id), value: to_json(&grant) }
}

impl State {
    /// `channel-allow`
    pub(in crate::state) fn channel_allow(
        &mut self,
        conn: ConnId,
        id: &str,
        params: &ChannelAllowParams,
    ) -> Result<(), WireError> {
        self.require_store()?;
        let person = address::person_id(params.channel, &params.id)?;
        self.require_token()?;
        let ops = self.access.change(params, &person)?;
        let owner = self.access.owner(params.channel) == Some(&person);
        let allowed = if address::is_group(params.channel, &person) {
            self.access.group(params.channel, &person).is_some()
        } else {
            self.access.may_write(params.channel, &person)
        };
        let payload = AccessAnswer { channel: params.channel, id: &person, allowed, owner };
        let payload = json!(payload);
        self.store(ops, Pending::Switch { conn, id: id.to_owned(), payload });
        Ok(())
    }

    /// Writes down that somebody who is not let in tried.
    pub(super) fn refuse_sender(&mut self, message: &Inbound, now: Now) {
        self.access.note_refused(message, now.wall_ms);
        log::info!(
            "a message of {} on {} was not let in; `clawdis status` lists such senders",
            message.from,
            message.route.channel.name()
        );
    }
}
