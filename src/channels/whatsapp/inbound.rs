//! The sidecar's messages: what state takes of them, and their way there, one batch at a time, acknowledged in the
//! sidecar's journal when state has it on record. Pure, but for the memory that stops loops.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::channels::message::{Arrival, Batch, Inbound, Route, anonymous_key, too_large};
use crate::channels::whatsapp::wire::{Media, Message, OwnAccount};
use crate::limits::{QUOTE_BYTES_MAX, SELF_CHAT_PER_MINUTE, WHATSAPP_BATCH_MAX, ms};
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

/// Messages that state does not have on record yet, by their places in the sidecar's journal.
#[derive(Default)]
pub(super) struct Intake {
    /// Messages that were not offered yet, with their places.
    waiting: VecDeque<(u64, Arrival)>,
    /// The place of the last line that was seen, if it is not part of an offer.
    seen: Option<u64>,
    /// The batch that state was offered, and its last place.
    offered: Option<(Vec<Arrival>, u64)>,
    /// When to offer the same batch again.
    pub(super) again: Option<Instant>,
}

impl Intake {
    /// Adds the message at that place, or `None` for one that state does not take.
    pub(super) fn add(&mut self, seq: u64, arrival: Option<Arrival>) {
        self.waiting.extend(arrival.map(|arrival| (seq, arrival)));
        self.seen = Some(seq);
    }

    /// The batch to offer now, if there is one.
    pub(super) fn offer(&mut self, now: Instant) -> Option<Batch> {
        if let Some(again) = self.again {
            if again > now {
                return None;
            }
            self.again = None;
        } else {
            if self.offered.is_some() || self.waiting.is_empty() {
                return None;
            }
            let count = self.waiting.len().min(WHATSAPP_BATCH_MAX);
            let (seqs, arrivals): (Vec<u64>, Vec<Arrival>) = self.waiting.drain(..count).unzip();
            // What is behind the last one of all is seen with it.
            let place = if self.waiting.is_empty() { self.seen.take() } else { seqs.last().copied() };
            self.offered = Some((arrivals, place?));
        }
        let (arrivals, _) = self.offered.as_ref()?;
        Some(Batch { channel: Channel::Whatsapp, arrivals: arrivals.clone(), cursor: None })
    }

    /// The place to acknowledge where nothing waits for state.
    pub(super) fn nothing_to_offer(&mut self) -> Option<u64> {
        if self.offered.is_some() || !self.waiting.is_empty() {
            return None;
        }
        self.seen.take()
    }

    /// Handles state's answer to the offer. Returns the place to acknowledge to the sidecar.
    pub(super) fn acknowledge(&mut self, result: Result<(), Duration>, now: Instant) -> Option<u64> {
        match result {
            Ok(()) => self.offered.take().map(|(_, seq)| seq),
            Err(pause) => {
                self.again = self.offered.is_some().then(|| now + pause);
                None
            }
        }
    }

    /// Forgets what was not offered: the next sidecar shows it again.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting.clear();
        self.seen = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::{Value, json};

    use super::{Intake, MessageReader};
    use crate::channels::message::{Arrival, Inbound};
    use crate::channels::whatsapp::wire::OwnAccount;
    use crate::limits::{SELF_CHAT_PER_MINUTE, WHATSAPP_BATCH_MAX};

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

    fn arrival(key: &str) -> Arrival {
        Arrival::Garbled { key: key.into(), why: String::new(), raw: String::new() }
    }

    #[test]
    fn one_batch_at_a_time_and_the_place_follows_it() {
        let now = Instant::now();
        let mut intake = Intake::default();
        intake.add(1, None);
        assert!(intake.offer(now).is_none());
        assert_eq!(intake.nothing_to_offer(), Some(1));
        intake.add(2, Some(arrival("a")));
        assert_eq!(intake.offer(now).unwrap().arrivals.len(), 1);
        intake.add(3, Some(arrival("b")));
        intake.add(4, None);
        assert!(intake.offer(now).is_none() && intake.nothing_to_offer().is_none());
        let pause = Duration::from_secs(1);
        assert_eq!(intake.acknowledge(Err(pause), now), None);
        assert!(intake.offer(now).is_none());
        assert_eq!(intake.offer(now + pause).unwrap().arrivals, [arrival("a")]);
        assert_eq!(intake.acknowledge(Ok(()), now), Some(2));
        assert_eq!(intake.offer(now).unwrap().arrivals, [arrival("b")]);
        assert_eq!(intake.acknowledge(Ok(()), now), Some(4));
        assert_eq!(intake.nothing_to_offer(), None);
    }

    #[test]
    fn more_than_state_takes_at_once_goes_in_several_batches() {
        let now = Instant::now();
        let mut intake = Intake::default();
        for seq in 1..=250 {
            intake.add(seq, Some(arrival(&seq.to_string())));
        }
        intake.add(251, None);
        for (count, place) in [(WHATSAPP_BATCH_MAX, 100), (WHATSAPP_BATCH_MAX, 200), (50, 251)] {
            assert_eq!(intake.offer(now).unwrap().arrivals.len(), count);
            assert_eq!(intake.acknowledge(Ok(()), now), Some(place));
        }
        assert!(intake.offer(now).is_none());
    }
}
