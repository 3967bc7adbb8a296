//! The journal's table of contents: every kind of slot, and the name under which it is on record.
//!
//! A name is a promise to the state folders that are there: it never changes, and a kind that is no longer
//! written is still read.

use std::fmt;

use crate::protocol::call::Channel;

/// Beginnings of the names of slots of which there are many.
pub(crate) mod prefix {
    pub(crate) const SYSTEM_NOTE: &str = "note/";
    pub(crate) const KEY: &str = "key/";
    pub(crate) const SESSION: &str = "session/";
    pub(crate) const FORGET: &str = "forget/";
    pub(crate) const ALLOW: &str = "allow/";
    pub(crate) const MOVED: &str = "moved/";
    pub(crate) const INBOX: &str = "inbox/";
    pub(crate) const ASIDE: &str = "aside/";
    pub(crate) const OUTBOX: &str = "outbox/";
    pub(crate) const CURSOR: &str = "place/";
}

/// Number of a delivery, over restarts; its slots are named by it.
pub(crate) type DeliveryId = u64;

/// A slot of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The toggles, as they were last switched.
    Toggles,
    /// The runs of today, against the budget.
    Today,
    /// The time of the last heartbeat.
    Heartbeat,
    /// Says that agents of this folder have a working folder of their own.
    WorkFolder,
    /// A system note, for the owner's next prompt.
    SystemNote(u64),
    /// An idempotency key, by its name: `METHOD/KEY`.
    Key(String),
    /// A session, by its key.
    Session(String),
    /// A session that is forgotten, but for the agent's files.
    Forget(String),
    /// Says that owners are only made by name in this folder.
    OwnersByName,
    /// The owner whom the rule before that took for one, though nobody had named them.
    ImpliedOwner,
    /// Says that an owner had been named under the rule before that. Read, and never written any more.
    HadOwner,
    /// A person or group that `channel-allow` let in.
    Allow(Channel, String),
    /// The id by which a group is known that has got another one.
    Moved(Channel, String),
    /// A message that came in, answered or not.
    Inbox(Channel, String),
    /// Something that came in and could not be understood.
    Aside(Channel, String),
    /// A delivery: where it goes, and how far it is.
    Delivery(DeliveryId),
    /// What a delivery says.
    DeliveryParts(DeliveryId),
    /// Where a channel goes on in what it is handed.
    Cursor(String),
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Toggles => f.write_str("toggles"),
            Self::Today => f.write_str("today"),
            Self::Heartbeat => f.write_str("heartbeat"),
            Self::WorkFolder => f.write_str("work-folder"),
            // These sort as their numbers do, and a delivery before its parts.
            Self::SystemNote(number) => write!(f, "{}{number:020}", prefix::SYSTEM_NOTE),
            Self::Delivery(number) => write!(f, "{}{number:020}", prefix::OUTBOX),
            Self::DeliveryParts(number) => write!(f, "{}{number:020}/parts", prefix::OUTBOX),
            Self::Key(name) => write!(f, "{}{name}", prefix::KEY),
            Self::Session(key) => write!(f, "{}{key}", prefix::SESSION),
            Self::Forget(key) => write!(f, "{}{key}", prefix::FORGET),
            Self::OwnersByName => f.write_str("allow/owners-by-name"),
            Self::ImpliedOwner => f.write_str("allow/implied-owner"),
            Self::HadOwner => f.write_str("allow/had-owner"),
            Self::Allow(channel, id) => write!(f, "{}{}/{id}", prefix::ALLOW, channel.name()),
            Self::Moved(channel, id) => write!(f, "{}{}/{id}", prefix::MOVED, channel.name()),
            Self::Inbox(channel, key) => write!(f, "{}{}/{key}", prefix::INBOX, channel.name()),
            Self::Aside(channel, key) => write!(f, "{}{}/{key}", prefix::ASIDE, channel.name()),
            Self::Cursor(name) => write!(f, "{}{name}", prefix::CURSOR),
        }
    }
}

impl Slot {
    /// The slot of that name; `None` for a name that is none of our slots'.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "toggles" => return Some(Self::Toggles),
            "today" => return Some(Self::Today),
            "heartbeat" => return Some(Self::Heartbeat),
            "work-folder" => return Some(Self::WorkFolder),
            "allow/owners-by-name" => return Some(Self::OwnersByName),
            "allow/implied-owner" => return Some(Self::ImpliedOwner),
            "allow/had-owner" => return Some(Self::HadOwner),
            _ => {}
        }
        let (kind, rest) = name.split_at(name.find('/')? + 1);
        let number = |text: &str| text.parse().ok();
        Some(match kind {
            prefix::SYSTEM_NOTE => Self::SystemNote(number(rest)?),
            prefix::KEY => Self::Key(rest.to_owned()),
            prefix::SESSION => Self::Session(rest.to_owned()),
            prefix::FORGET => Self::Forget(rest.to_owned()),
            prefix::CURSOR => Self::Cursor(rest.to_owned()),
            prefix::OUTBOX => match rest.strip_suffix("/parts") {
                Some(delivery) => Self::DeliveryParts(number(delivery)?),
                None => Self::Delivery(number(rest)?),
            },
            prefix::ALLOW => of_channel(rest, Self::Allow)?,
            prefix::MOVED => of_channel(rest, Self::Moved)?,
            prefix::INBOX => of_channel(rest, Self::Inbox)?,
            prefix::ASIDE => of_channel(rest, Self::Aside)?,
            _ => return None,
        })
    }
}

fn of_channel(rest: &str, slot: fn(Channel, String) -> Slot) -> Option<Slot> {
    let (channel, key) = rest.split_once('/')?;
    Some(slot(Channel::from_name(channel)?, key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::Slot;
    use crate::protocol::call::Channel;

    #[test]
    fn the_names_on_record_are_the_ones_that_folders_have() {
        let text = |text: &str| text.to_owned();
        let names = [
            (Slot::Toggles, "toggles"),
            (Slot::Today, "today"),
            (Slot::Heartbeat, "heartbeat"),
            (Slot::WorkFolder, "work-folder"),
            (Slot::SystemNote(7), "note/00000000000000000007"),
            (Slot::Key(text("agent/a/b")), "key/agent/a/b"),
            (Slot::Session(text("dm:telegram:1")), "session/dm:telegram:1"),
            (Slot::Forget(text("main")), "forget/main"),
            (Slot::OwnersByName, "allow/owners-by-name"),
            (Slot::ImpliedOwner, "allow/implied-owner"),
            (Slot::HadOwner, "allow/had-owner"),
            (Slot::Allow(Channel::Telegram, text("-100")), "allow/telegram/-100"),
            (Slot::Moved(Channel::Whatsapp, text("1@g.us")), "moved/whatsapp/1@g.us"),
            (Slot::Inbox(Channel::Telegram, text("5/6")), "inbox/telegram/5/6"),
            (Slot::Aside(Channel::Whatsapp, text("")), "aside/whatsapp/"),
            (Slot::Delivery(u64::MAX), "outbox/18446744073709551615"),
            (Slot::DeliveryParts(3), "outbox/00000000000000000003/parts"),
            (Slot::Cursor(text("telegram/1")), "place/telegram/1"),
        ];
        for (slot, name) in names {
            assert_eq!(slot.to_string(), name);
            assert_eq!(Slot::from_name(name), Some(slot));
        }
    }

    #[test]
    fn other_names_are_none_of_ours() {
        for name in [
            "",
            "/",
            "toggles/",
            "note/x",
            "note/",
            "outbox/1/2",
            "outbox//parts",
            "inbox/matrix/1",
            "inbox/1",
            "allow/",
        ] {
            assert_eq!(Slot::from_name(name), None, "{name}");
        }
    }
}
