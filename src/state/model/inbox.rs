//! The inbox: messages that were taken in and are not answered yet, and the keys of those that are, so that
//! nothing is answered twice. Pure.
//!
//! A message is put on record when it is taken in, when it gets a run, when its prompt is tried, and when it is done
//! with. Who is let in, and what is asked, is decided elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Instant;

use serde::de::Error as _;
use serde::{Deserialize, Serialize};

use crate::channels::delivery::FetchedFile;
use crate::channels::message::{Inbound, InboundMedia, MediaKind, Route, anonymous_key};
use crate::limits::{
    INBOX_ASIDE_MAX, INBOX_BYTES_MAX, INBOX_DONE_MAX, INBOX_MAX, MEDIA_MAX, QUEUE_NOTICE_AFTER,
};
use crate::protocol::call::{Channel, RunId};
use crate::state::model::access::Attribution;
use crate::state::model::slot::Slot;
use crate::state::model::write_buffer::WriteBuffer;

/// Number of a message, in the order in which they came in, over restarts.
pub(crate) type InboxId = u64;

/// A number from here on was not given by the gateway, which would overflow if it counted on from there.
const INBOX_ID_MAX: InboxId = InboxId::MAX / 2;

/// What is on record of a message.
#[derive(Debug, Serialize, Deserialize)]
enum Record {
    /// The message is to be answered.
    #[serde(rename = "w")]
    Waiting {
        n: InboxId,
        m: Box<Inbound>,
        session: String,
        person: String,
        asked: u32,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        said: bool,
    },
    /// The message was answered, or given up, at that time.
    #[serde(rename = "d")]
    Done(u64),
}

/// A message that is to be answered.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) message: Inbound,
    pub(crate) attribution: Attribution,
    /// In how many lives of the gateway before this one its prompt was given to the agent.
    pub(crate) asked: u32,
    /// Whether it was given to the agent in this life, too.
    counted: bool,
    /// Whether its session's history has it from an earlier life.
    pub(crate) said: bool,
    /// Whether the message is on record.
    pub(crate) stored: bool,
    /// Number of pictures and files still to be fetched.
    pub(crate) fetching: usize,
    /// Time at which the files still to be fetched are given up; `None` before the channel was asked for them.
    pub(crate) fetch_until: Option<Instant>,
    /// The files that were fetched, and what is said of those that could not be.
    pub(crate) files: Vec<Result<(InboundMedia, FetchedFile), String>>,
    /// Time until which more pieces of its album may come.
    pub(crate) gather_until: Option<Instant>,
    /// The run that answers it, once there is one.
    pub(crate) run: Option<RunId>,
    /// Time to look whether its person is to be told that it waits; `None` once they were.
    pub(crate) tell_at: Option<Instant>,
}

impl Entry {
    fn new(message: Inbound, attribution: Attribution, now: Instant) -> Self {
        Self {
            message,
            attribution,
            asked: 0,
            counted: false,
            said: false,
            stored: false,
            fetching: 0,
            fetch_until: None,
            files: Vec::new(),
            gather_until: None,
            run: None,
            tell_at: Some(now + QUEUE_NOTICE_AFTER),
        }
    }

    /// Whether no file and no piece of its album is still to come.
    pub(crate) fn is_whole(&self) -> bool {
        self.stored && self.fetching == 0 && self.gather_until.is_none()
    }

    /// Pictures that were fetched, for the model.
    pub(crate) fn image_files(&self) -> impl Iterator<Item = (String, PathBuf)> {
        let fetched = self.files.iter().filter_map(|file| file.as_ref().ok());
        let images = fetched.filter(|(_, file)| file.is_picture());
        images.map(|(_, file)| (file.mime_type.clone(), file.path.clone()))
    }
}

#[derive(Default)]
pub(crate) struct Inbox {
    pub(crate) waiting: BTreeMap<InboxId, Entry>,
    /// Messages that were answered or given up, oldest first, with the time of that.
    done: VecDeque<(u64, Channel, String)>,
    /// Keys of what came from a channel and was not understood, oldest first.
    pub(crate) aside: VecDeque<(Channel, String)>,
    next: InboxId,
    /// Time before which nothing is asked, because the last try could not be put on record.
    pub(crate) hold_until: Option<Instant>,
}

impl Inbox {
    /// Takes over a slot of the last life. One of a former version, whose name names a person, is renamed.
    pub(crate) fn recover(
        &mut self,
        channel: Channel,
        written: String,
        json: &str,
        now: Instant,
        writes: &mut WriteBuffer,
    ) -> Result<(), serde_json::Error> {
        // A former version wrote the addresses of people into the names of slots.
        let key = if written.contains('@') { anonymous_key(&written) } else { written.clone() };
        let is_renamed = key != written;
        if is_renamed {
            writes.delete(&Slot::Inbox(channel, written));
        }
        match serde_json::from_str(json)? {
            Record::Done(ts) => {
                if is_renamed {
                    writes.put_json(&Slot::Inbox(channel, key.clone()), json.to_owned());
                }
                self.done.push_back((ts, channel, key));
            }
            Record::Waiting { n: INBOX_ID_MAX.., .. } => {
                return Err(serde_json::Error::custom("its number is none of ours"));
            }
            Record::Waiting { n, m, session, person, asked, said } => {
                let mut entry = Entry::new(*m, Attribution { session_key: session, person }, now);
                (entry.asked, entry.said, entry.stored) = (asked, said || asked > 0, true);
                // By the slot's name, or the message's end would be put on record in another slot.
                entry.message.key.clone_from(&key);
                entry.message.route.channel = channel;
                entry.message.keep_media(MEDIA_MAX);
                self.next = self.next.max(n + 1);
                // Of two messages that share an id, one gets another.
                let is_taken = self.waiting.contains_key(&n);
                let inbox_id = if is_taken { self.new_id() } else { n };
                if is_renamed || is_taken {
                    put(inbox_id, &entry, writes);
                }
                self.waiting.insert(inbox_id, entry);
            }
        }
        Ok(())
    }

    /// Ends the recovery: puts the keys of messages that were answered in order.
    pub(crate) fn recovered(&mut self) {
        self.done.make_contiguous().sort_unstable_by_key(|(ts, _, _)| *ts);
    }

    /// Whether the channels have to wait before they hand over more.
    pub(crate) fn is_full(&self, more: usize) -> bool {
        self.waiting.len() + more > INBOX_MAX
            || self.waiting.values().map(|entry| weight(&entry.message)).sum::<usize>() >= INBOX_BYTES_MAX
    }

    /// Whether a message was taken in before.
    pub(crate) fn knows(&self, channel: Channel, key: &str) -> bool {
        self.id_of(channel, key).is_some()
            || self.done.iter().any(|(_, on, done)| *on == channel && done == key)
    }

    /// Takes a message in, and puts it on record.
    pub(crate) fn add(
        &mut self,
        message: Inbound,
        attribution: Attribution,
        now: Instant,
        writes: &mut WriteBuffer,
    ) {
        let inbox_id = self.new_id();
        let entry = Entry::new(message, attribution, now);
        put(inbox_id, &entry, writes);
        self.waiting.insert(inbox_id, entry);
    }

    fn new_id(&mut self) -> InboxId {
        self.next += 1;
        self.next - 1
    }

    /// Drops a message that could not be put on record; its channel will hand it over again.
    pub(crate) fn undo(&mut self, channel: Channel, key: &str) {
        match self.id_of(channel, key) {
            Some(inbox_id) => _ = self.waiting.remove(&inbox_id),
            None => self.done.retain(|(_, of, name)| *of != channel || name != key),
        }
    }

    /// Id of the message with that key, if it waits.
    pub(crate) fn id_of(&self, channel: Channel, key: &str) -> Option<InboxId> {
        let has_key = |entry: &Entry| entry.message.route.channel == channel && entry.message.key == key;
        self.waiting.iter().find(|(_, entry)| has_key(entry)).map(|(inbox_id, _)| *inbox_id)
    }

    /// Ends those waits for pieces of albums whose time has come, and the pause after a failed try if it is over.
    pub(crate) fn stop_gathering(&mut self, now: Instant) {
        for entry in self.waiting.values_mut() {
            entry.gather_until = entry.gather_until.filter(|until| *until > now);
        }
        self.hold_until = self.hold_until.filter(|until| *until > now);
    }

    /// Ids of the messages for which `wanted` holds, in the order in which they came.
    pub(crate) fn ids(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<InboxId> {
        self.waiting.iter().filter(|(_, entry)| wanted(entry)).map(|(inbox_id, _)| *inbox_id).collect()
    }

    /// Whether a piece of that album waits.
    pub(crate) fn has_piece_of(&self, album: Album) -> bool {
        self.waiting.values().any(|entry| album_of(&entry.message) == Some(album))
    }

    /// Ids of all pieces of the album that this message belongs to; its own alone if to none.
    pub(crate) fn pieces(&self, inbox_id: InboxId) -> Vec<InboxId> {
        let Some(entry) = self.waiting.get(&inbox_id) else { return Vec::new() };
        let Some(album) = album_of(&entry.message) else { return vec![inbox_id] };
        self.ids(|other| other.run.is_none() && album_of(&other.message) == Some(album))
    }

    /// Gives a message its run, with which it goes on record in the history. `counts` where the prompt goes to the
    /// agent right after: then this is on record as a try, too.
    pub(crate) fn ask(&mut self, inbox_id: InboxId, run_id: &RunId, counts: bool, writes: &mut WriteBuffer) {
        let Some(entry) = self.waiting.get_mut(&inbox_id) else { return };
        entry.run = Some(RunId::clone(run_id));
        entry.counted |= counts;
        put(inbox_id, entry, writes);
    }

    /// Gives a message another attribution. If that is another session, nobody has read the message there.
    pub(crate) fn move_to(&mut self, inbox_id: InboxId, attribution: &Attribution) {
        if let Some(entry) = self.waiting.get_mut(&inbox_id) {
            entry.said &= entry.attribution.session_key == attribution.session_key;
            entry.attribution.clone_from(attribution);
        }
    }

    /// Takes a message's run away, which could not be put on record, or was cancelled so that the message is judged
    /// again.
    pub(crate) fn unask(&mut self, inbox_id: InboxId) {
        if let Some(entry) = self.waiting.get_mut(&inbox_id) {
            (entry.run, entry.counted) = (None, false);
        }
    }

    /// Puts on record that a message's prompt is given to the agent in this life. `false` if that is on record already.
    pub(crate) fn count(&mut self, inbox_id: InboxId, writes: &mut WriteBuffer) -> bool {
        let Some(entry) = self.waiting.get_mut(&inbox_id).filter(|entry| !entry.counted) else {
            return false;
        };
        entry.counted = true;
        put(inbox_id, entry, writes);
        true
    }

    /// Takes back what [`Self::count`] did: it could not be put on record, so the prompt was not given to the agent.
    pub(crate) fn uncount(&mut self, inbox_id: InboxId) {
        if let Some(entry) = self.waiting.get_mut(&inbox_id) {
            entry.counted = false;
        }
    }

    /// Takes out messages that are answered, or given up.
    pub(crate) fn finish(&mut self, inbox_ids: &[InboxId], now_ts: u64, writes: &mut WriteBuffer) {
        for inbox_id in inbox_ids {
            let Some(entry) = self.waiting.remove(inbox_id) else { continue };
            self.finish_at_once(entry.message.route.channel, entry.message.key, now_ts, writes);
        }
    }

    /// Keeps the key of a message that is answered, or was never taken in; beyond the bound the oldest key goes.
    pub(crate) fn finish_at_once(
        &mut self,
        channel: Channel,
        key: String,
        now_ts: u64,
        writes: &mut WriteBuffer,
    ) {
        writes.put(&Slot::Inbox(channel, key.clone()), &Record::Done(now_ts));
        self.done.push_back((now_ts, channel, key));
        if self.done.len() > INBOX_DONE_MAX {
            if let Some((_, channel, key)) = self.done.pop_front() {
                writes.delete(&Slot::Inbox(channel, key));
            }
        }
    }

    /// Sets aside what could not be understood; beyond the bound the oldest such thing goes.
    pub(crate) fn set_aside(
        &mut self,
        channel: Channel,
        key: String,
        why: &str,
        raw: &str,
        writes: &mut WriteBuffer,
    ) {
        let value = serde_json::json!({ "why": why, "raw": raw });
        writes.put(&Slot::Aside(channel, key.clone()), &value);
        self.aside.push_back((channel, key));
        if self.aside.len() > INBOX_ASIDE_MAX {
            if let Some((channel, key)) = self.aside.pop_front() {
                writes.delete(&Slot::Aside(channel, key));
            }
        }
    }

    /// Removes what could not be understood on a channel, because a session there is forgotten: nobody knows whose
    /// words are in it.
    pub(crate) fn forget_aside(&mut self, channel: Channel, writes: &mut WriteBuffer) {
        let (gone, kept): (VecDeque<_>, _) =
            std::mem::take(&mut self.aside).into_iter().partition(|(on, _)| *on == channel);
        self.aside = kept;
        for (channel, key) in gone {
            writes.delete(&Slot::Aside(channel, key));
        }
    }

    /// The time at which a wait for files, for pieces of an album, or of everything is over, or at which somebody is to
    /// be told that their message waits.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let due = |entry: &Entry| {
            let tell_at = entry.tell_at.filter(|_| entry.stored);
            [entry.gather_until, entry.fetch_until, tell_at].into_iter().flatten().min()
        };
        self.waiting.values().filter_map(due).chain(self.hold_until).min()
    }
}

fn put(inbox_id: InboxId, entry: &Entry, writes: &mut WriteBuffer) {
    let record = Record::Waiting {
        n: inbox_id,
        m: Box::new(entry.message.clone()),
        session: entry.attribution.session_key.clone(),
        person: entry.attribution.person.clone(),
        asked: entry.asked.saturating_add(u32::from(entry.counted)),
        // With its run, a message goes on record in its session's history.
        said: entry.said || entry.run.is_some(),
    };
    writes.put(&Slot::Inbox(entry.message.route.channel, entry.message.key.clone()), &record);
}

/// An album: the chat that it is in, who sends it, and its id.
type Album<'a> = (&'a Route, &'a str, &'a str);

/// The album of which a message is a piece, if it is one.
pub(crate) fn album_of(message: &Inbound) -> Option<Album<'_>> {
    Some((&message.route, &message.from, message.album.as_deref()?))
}

/// What a message counts against `INBOX_BYTES_MAX`.
fn weight(message: &Inbound) -> usize {
    let media = message.media.iter().map(|media| media.handle.len() + media.mime_type.len() + 64);
    message.text.len() + message.quoted.as_ref().map_or(0, String::len) + media.sum::<usize>() + 256
}

/// A picture or file in a few words.
pub(crate) fn describe(media: &InboundMedia) -> String {
    let kind = match media.kind {
        MediaKind::Image => "picture",
        MediaKind::Audio => "recording",
        MediaKind::Video => "video",
        MediaKind::Document => "file",
    };
    match &media.name {
        Some(name) => format!("the {kind} `{name}`"),
        None => format!("the {kind}"),
    }
}
