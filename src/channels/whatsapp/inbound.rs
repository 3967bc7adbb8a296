//! The sidecar's messages as state takes them. Pure, but for the memory that stops loops.

use std::collections::VecDeque;
use std::time::Instant;

use crate::channels::message::{Arrival, Inbound, Route, anonymous_key, too_large};
use crate::channels::whatsapp::wire::{Media, Message, OwnAccount};
use crate::limits::{QUOTE_BYTES_MAX, SELF_CHAT_PER_MINUTE, ms};
use crate::protocol::call::Channel;
use crate::protocol::frame::cut_encoded;

/// Makes what state takes of the sidecar's messages.
pub(super) struct MessageReader {
    /// Whether notes to oneself are questions, too.
    pub(super) self_chat: bool,
    /// Size of the largest picture or file that is taken.
    pub(super) media_bytes_max: u64,
    /// When the last notes to oneself came: there is a bound, so that no agent answers itself for ever.
    own_notes: VecDeque<Instant>,
}

impl MessageReader {
    pub(super) fn new(self_chat: bool, media_bytes_max: u64) -> Self {
        Self { self_chat, media_bytes_max, own_notes: VecDeque::new() }
    }

    /// The message for state, if it is one that state takes.
    pub(super) fn read(&mut self, message: Message, me: &OwnAccount, now: Instant) -> Option<Arrival> {
        let is_self = message.from.me;
        if is_self && !(self.is_self_chat(&message, me) && self.may_speak_to_self(now)) {
            return None;
        }
        let left_out = match message.kind.as_str() {
            // Said about messages, not to us; an edited question is not asked again.
            "reaction" | "edit" | "revoke" => return None,
            "undecryptable" => Some("a message that could not be decrypted; please send it again".to_owned()),
            "sticker" => Some("a sticker".to_owned()),
            "other" => Some("a kind of message that I do not know".to_owned()),
            _ => message
                .media
                .as_ref()
                .filter(|media| media.bytes > self.media_bytes_max)
                .map(|media| too_large("a file", media.bytes, self.media_bytes_max)),
        };
        let unreadable = message.kind == "undecryptable";
        let text = text_without_mention(&message, me);
        let about = match message.kind.as_str() {
            "location" => Some("a place"),
            "contact" => Some("a contact"),
            "poll" => Some("a poll"),
            _ => None,
        };
        let about: Vec<&str> =
            about.into_iter().chain(message.forwarded.then_some("forwarded from somebody")).collect();
        let quoted = message.quote.as_ref().and_then(|quote| quote.text.as_deref());
        let addressed = !message.chat.group
            || message.mentions_me
            || message.quote.as_ref().is_some_and(|quote| quote.me);
        let media = message.media.filter(|_| left_out.is_none()).and_then(Media::into_inbound);
        // Only a known number is a person: a LID alone is nobody's phone number.
        let from = message.from.pn.or(message.from.lid).or(message.from.jid)?;
        // One that could not be read may still come in a form that can.
        let end = if unreadable { "/unreadable" } else { "" };
        Some(Arrival::Message(Box::new(Inbound {
            key: anonymous_key(&format!("{}/{}/{from}{end}", message.chat.jid, message.id)),
            route: Route { channel: Channel::Whatsapp, chat: message.chat.jid, topic: None },
            is_group: message.chat.group,
            is_self,
            from,
            name: message.from.name,
            message_id: message.id,
            ts: message.ts,
            text,
            about: (!about.is_empty()).then(|| about.join(", ")),
            addressed,
            quoted: quoted.map(|text| cut_encoded(text, QUOTE_BYTES_MAX).to_owned()),
            media: media.into_iter().collect(),
            album: None,
            left_out,
        })))
    }

    fn is_self_chat(&self, message: &Message, me: &OwnAccount) -> bool {
        let same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
        self.self_chat
            && !message.chat.group
            && (same(&message.chat.pn, &me.pn) || same(&message.chat.lid, &me.lid))
    }

    fn may_speak_to_self(&mut self, now: Instant) -> bool {
        let minute = ms(60_000);
        while self.own_notes.front().is_some_and(|then| now.duration_since(*then) > minute) {
            self.own_notes.pop_front();
        }
        if self.own_notes.len() >= SELF_CHAT_PER_MINUTE {
            log::warn!(
                "more than {SELF_CHAT_PER_MINUTE} notes to oneself in a minute: the rest is not answered"
            );
            return false;
        }
        self.own_notes.push_back(now);
        true
    }
}

/// The message's text without the mention of us, which the app writes as `@` and our number.
fn text_without_mention(message: &Message, me: &OwnAccount) -> String {
    let mut text = message.text.clone().unwrap_or_default();
    if message.mentions_me {
        let digits = |id: &Option<String>| {
            id.as_deref()
                .map(|id| id.trim_start_matches('+').split(['@', ':']).next().unwrap_or_default().to_owned())
        };
        for number in
            [digits(&me.pn), digits(&me.lid)].into_iter().flatten().filter(|number| !number.is_empty())
        {
            text = text.replace(&format!("@{number}"), "");
        }
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::{Value, json};

    use super::MessageReader;
    use crate::channels::message::{Arrival, Inbound};
    use crate::channels::whatsapp::wire::OwnAccount;
    use crate::limits::SELF_CHAT_PER_MINUTE;

    fn me() -> OwnAccount {
        OwnAccount { pn: Some("+1999".into()), lid: Some("77@lid".into()) }
    }

    fn base() -> Value {
        json!({
            "seq": 1, "id": "ABC", "chat": { "jid": "5@lid", "pn": "+1555", "lid": "5@lid", "group": false },
            "from": { "jid": "5@lid", "pn": "+1555", "lid": "5@lid", "name": "Ann", "me": false },
            "ts": 1_000, "kind": "text", "text": "hello"
        })
    }

    fn take(reader: &mut MessageReader, change: Value) -> Option<Inbound> {
        let mut message = base();
        for (name, value) in change.as_object().unwrap() {
            message[name] = value.clone();
        }
        match reader.read(serde_json::from_value(message).unwrap(), &me(), Instant::now())? {
            Arrival::Message(message) => Some(*message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_person_is_a_number_and_the_answer_goes_to_the_chat() {
        let mut reader = MessageReader::new(false, 100);
        let message = take(&mut reader, json!({})).unwrap();
        assert_eq!((message.from.as_str(), message.route.chat.as_str()), ("+1555", "5@lid"));
        assert!(message.addressed && !message.is_group);
        let unknown = json!({ "jid": "5@lid", "lid": "5@lid", "me": false });
        assert_eq!(take(&mut reader, json!({ "from": unknown })).unwrap().from, "5@lid");
    }

    #[test]
    fn groups_are_addressed_by_mention_or_quote() {
        let mut reader = MessageReader::new(false, 100);
        let group = json!({ "jid": "1@g.us", "group": true });
        assert!(!take(&mut reader, json!({ "chat": group })).unwrap().addressed);
        let mention =
            take(&mut reader, json!({ "chat": group, "mentionsMe": true, "text": "@77 what now?" })).unwrap();
        assert!(mention.addressed);
        assert_eq!(mention.text, "what now?");
        let quote =
            take(&mut reader, json!({ "chat": group, "quote": { "id": "x", "me": true, "text": "so" } }))
                .unwrap();
        assert!(quote.addressed && quote.quoted.as_deref() == Some("so"));
    }

    #[test]
    fn forwarded_words_are_not_the_sender_s() {
        let mut reader = MessageReader::new(false, 100);
        let forwarded = take(&mut reader, json!({ "forwarded": true, "text": "/pause" })).unwrap();
        assert_eq!(forwarded.about.as_deref(), Some("forwarded from somebody"));
        let poll = take(&mut reader, json!({ "forwarded": true, "kind": "poll" })).unwrap();
        assert_eq!(poll.about.as_deref(), Some("a poll, forwarded from somebody"));
    }

    #[test]
    fn own_messages_count_only_as_notes_to_oneself_and_not_without_end() {
        let own = json!({ "jid": "77@lid", "pn": "+1999", "lid": "77@lid", "me": true });
        let chat = json!({ "jid": "77@lid", "pn": "+1999", "lid": "77@lid", "group": false });
        let note = json!({ "from": own, "chat": chat });
        assert!(take(&mut MessageReader::new(false, 100), note.clone()).is_none());
        let mut reader = MessageReader::new(true, 100);
        assert!(take(&mut reader, json!({ "from": own })).is_none(), "to somebody else");
        for _ in 0..SELF_CHAT_PER_MINUTE {
            assert!(take(&mut reader, note.clone()).unwrap().is_self);
        }
        assert!(take(&mut reader, note).is_none());
        let later = Instant::now() + Duration::from_secs(61);
        assert!(reader.may_speak_to_self(later));
    }

    #[test]
    fn what_cannot_be_taken_is_said() {
        let mut reader = MessageReader::new(false, 2 * 1024 * 1024);
        let media = |bytes: u64| json!({ "kind": "image", "mime": "image/png", "bytes": bytes, "ref": "r" });
        let small = take(&mut reader, json!({ "kind": "image", "media": media(5) })).unwrap();
        assert_eq!((small.media.len(), small.left_out), (1, None));
        let large = take(&mut reader, json!({ "kind": "image", "media": media(3 * 1024 * 1024) })).unwrap();
        assert_eq!((large.media.len(), large.left_out.as_deref()), (0, Some("a file of 3 MB (2 at most)")));
        assert!(take(&mut reader, json!({ "kind": "reaction" })).is_none());
        assert!(take(&mut reader, json!({ "kind": "sticker" })).unwrap().left_out.is_some());
    }
}
