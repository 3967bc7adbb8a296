//! Parses an update of the Bot API into what state takes. Pure.
//!
//! Updates that nobody asked for (other kinds, channels, anonymous admins, bots) are passed over in silence;
//! one that cannot be read is kept for a person.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::channels::message::{Arrival, Inbound, Route};
use crate::channels::telegram::api::BotAccount;
use crate::channels::telegram::content::{self, Content};
use crate::channels::telegram::mention::{Addressing, address};
use crate::channels::text::split::clip;
use crate::limits::{GARBLED_BYTES_MAX, QUOTED_UNITS_MAX};
use crate::protocol::call::Channel;
use crate::protocol::cut;
use crate::{names, text};

/// The number of an update, if it has one.
pub(super) fn update_id(update: &RawValue) -> Option<i64> {
    #[derive(Deserialize)]
    struct Numbered {
        update_id: i64,
    }
    serde_json::from_str::<Numbered>(update.get()).ok().map(|update| update.update_id)
}

/// What state takes of an update; `None` if it is not for us.
pub(super) fn parse(update: &RawValue, bot: &BotAccount, media_bytes_max: u64) -> Option<Arrival> {
    let raw = update.get();
    match serde_json::from_str::<Update>(raw) {
        Ok(update) => {
            arrival(format!("{}/{}", bot.id, update.update_id), update.message?, bot, media_bytes_max)
        }
        // serde_json's errors name places and types, and now and then a value of the message.
        Err(error) => {
            let key = match update_id(update) {
                Some(id) => format!("{}/{id}", bot.id),
                None => format!("{}/without-id-{}", bot.id, names::digest(raw, 8)),
            };
            let (why, raw) = (error.to_string(), cut(raw, GARBLED_BYTES_MAX).to_owned());
            Some(Arrival::Garbled { key, why, raw })
        }
    }
}

fn arrival(key: String, message: Post, bot: &BotAccount, media_bytes_max: u64) -> Option<Arrival> {
    if let Some(to) = message.migrate_to_chat_id {
        return Some(Arrival::Migrated { key, from: message.chat.id.to_string(), to: to.to_string() });
    }
    let is_group = match message.chat.kind.as_str() {
        "private" => false,
        "group" | "supergroup" => true,
        _ => return None,
    };
    let from = message.from.as_ref().filter(|from| !from.is_bot && message.sender_chat.is_none())?;
    let Content { mut text, mut about, media, left_out } = content::extract(&message.body, media_bytes_max);
    let written = message.body.text.as_ref().or(message.body.caption.as_ref());
    let entities =
        if message.body.text.is_some() { &message.body.entities } else { &message.body.caption_entities };
    let mut addressed = !is_group;
    if let Some(written) = written {
        match address(written, entities, bot) {
            Addressing::OtherBot => return None,
            Addressing::ThisBot { text: stripped } => (addressed, text) = (true, stripped),
            Addressing::Nobody => {}
        }
    }
    addressed |= message.reply().is_some_and(|reply| reply.is_from(bot.id));
    if text.trim().is_empty() && media.is_empty() && left_out.is_none() && !(addressed && written.is_some()) {
        // A service message: somebody joined, a title changed, ...
        return None;
    }
    if let Some(origin) = &message.forward_origin {
        let forwarded = format!("forwarded from {}", origin.described());
        about = Some(about.map_or(forwarded.clone(), |about| format!("{about}, {forwarded}")));
    }
    let topic = message.message_thread_id.filter(|_| message.is_topic_message);
    Some(Arrival::Message(Box::new(Inbound {
        key,
        route: Route {
            channel: Channel::Telegram,
            chat: message.chat.id.to_string(),
            topic: topic.map(|topic| topic.to_string()),
        },
        is_self: false,
        is_group,
        from: from.id.to_string(),
        name: from.name(),
        message_id: message.id.to_string(),
        ts: message.date.saturating_mul(1_000),
        text,
        about,
        addressed,
        quoted: message.quoted(),
        media,
        album: message.media_group_id.clone(),
        left_out,
    })))
}

#[derive(Deserialize)]
struct Update {
    update_id: i64,
    message: Option<Post>,
}

#[derive(Deserialize)]
struct Post {
    #[serde(rename = "message_id")]
    id: i64,
    #[serde(default)]
    date: u64,
    chat: Chat,
    from: Option<User>,
    sender_chat: Option<Chat>,
    #[serde(default)]
    is_topic_message: bool,
    message_thread_id: Option<i64>,
    media_group_id: Option<String>,
    migrate_to_chat_id: Option<i64>,
    reply_to_message: Option<Box<Reply>>,
    quote: Option<Quote>,
    forward_origin: Option<Origin>,
    #[serde(flatten)]
    body: content::Body,
}

impl Post {
    /// In a topic, what answers nothing answers the message that opened the topic.
    fn reply(&self) -> Option<&Reply> {
        self.reply_to_message.as_deref().filter(|reply| {
            let opens_topic = self.is_topic_message && self.message_thread_id == Some(reply.message_id);
            reply.forum_topic_created.is_none() && !opens_topic
        })
    }

    fn quoted(&self) -> Option<String> {
        let reply = self.reply();
        let text = self.quote.as_ref().map(|quote| quote.text.as_str());
        let text =
            text.or_else(|| reply.and_then(|reply| reply.text.as_deref().or(reply.caption.as_deref())));
        let text = clip(text?.trim(), QUOTED_UNITS_MAX);
        (!text.is_empty()).then(|| text.to_owned())
    }
}

#[derive(Deserialize)]
struct Chat {
    id: i64,
    #[serde(default, rename = "type")]
    kind: String,
    title: Option<String>,
}

#[derive(Deserialize)]
struct User {
    id: i64,
    #[serde(default)]
    is_bot: bool,
    first_name: Option<String>,
    last_name: Option<String>,
    username: Option<String>,
}

impl User {
    fn name(&self) -> Option<String> {
        let parts = [&self.first_name, &self.last_name].into_iter().flatten();
        let full =
            parts.map(|part| part.trim()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        if full.is_empty() { self.username.clone() } else { Some(full) }
    }
}

#[derive(Deserialize)]
struct Reply {
    message_id: i64,
    from: Option<User>,
    text: Option<String>,
    caption: Option<String>,
    forum_topic_created: Option<serde::de::IgnoredAny>,
}

impl Reply {
    fn is_from(&self, id: i64) -> bool {
        self.from.as_ref().is_some_and(|from| from.id == id)
    }
}

#[derive(Deserialize)]
struct Quote {
    text: String,
}

#[derive(Deserialize)]
struct Origin {
    sender_user: Option<User>,
    sender_user_name: Option<String>,
    sender_chat: Option<Chat>,
    chat: Option<Chat>,
}

impl Origin {
    /// The origin of a forwarded message: a name that somebody chose, and Telegram's id of them if it is
    /// told.
    fn described(&self) -> String {
        let user = self.sender_user.as_ref().map(|user| (user.name(), user.id));
        let chat = self.sender_chat.as_ref().or(self.chat.as_ref()).map(|chat| (chat.title.clone(), chat.id));
        let (name, id) = match user.or(chat) {
            Some((name, id)) => (name, Some(id)),
            None => (self.sender_user_name.clone(), None),
        };
        let name = name.map(|name| text::bare_name(&name)).filter(|name| !name.is_empty());
        let name = name.map_or_else(|| "somebody".to_owned(), |name| format!("\"{name}\""));
        id.map_or_else(|| name.clone(), |id| format!("{name} (telegram:{id})"))
    }
}

#[cfg(test)]
mod tests;
