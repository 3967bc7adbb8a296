//! Takes in what a channel hands over: who may write is let in, what is let in goes on record, and then its
//! channel goes on. Messages are made whole here, with their files and the pieces of their album.
//!
//! At a start, and at the end of every turn, goes on with what waits in inbox and outbox. What is answered, and when,
//! is up to `asking`.

use crate::channels::ChannelCommand;
use crate::channels::delivery::FetchedFile;
use crate::channels::message::{Arrival, Batch, Fetch, Inbound};
use crate::limits::{
    ALBUM_QUIET_TIME, FETCH_TIME_MAX, FETCHES_IN_FLIGHT_MAX, INBOX_RETRY_PAUSE, MEDIA_MAX, MIME_BYTES_MAX,
};
use crate::metrics::METRICS;
use crate::protocol::call::Channel;
use crate::protocol::event::{Direction, EventKind, MessageEvent, MessageMedia};
use crate::protocol::frame::EventBody;
use crate::state::journal::Then;
use crate::state::model::access::Verdict;
use crate::state::model::age;
use crate::state::model::inbox::{Inbox, InboxId, album_of, describe};
use crate::state::model::slot::Slot;
use crate::state::{Effect, State};
use crate::store::file_name;
use crate::text;

impl State {
    /// Handles a batch that a channel hands over. The channel is told to go on when everything in it is durable.
    pub(crate) fn arrived(&mut self, batch: Batch) {
        let Batch { channel, arrivals, cursor } = batch;
        let full = self.inbox.is_full(arrivals.len()) || self.outbox.is_full() || !self.store_has_room();
        if full || self.stopping.is_some() {
            return self.acknowledge(channel, Err(INBOX_RETRY_PAUSE));
        }
        let arrivals = with_addressed_albums(arrivals, &self.inbox);
        let (mut keys, mut missed) = (Vec::new(), Vec::new());
        for arrival in arrivals {
            match arrival {
                Arrival::Message(message) => self.accept(*message, &mut keys, &mut missed),
                Arrival::Migrated { from, to, .. } => {
                    self.access.group_moved(channel, &from, &to, &mut self.writes);
                    self.outbox.reroute(channel, &from, &to, &mut self.writes);
                }
                Arrival::Garbled { key, why, raw } => {
                    log::warn!(
                        "something from {} was not understood and is set aside: {why}",
                        channel.name()
                    );
                    self.inbox.set_aside(channel, key, &why, &raw, &mut self.writes);
                }
            }
        }
        if !missed.is_empty() {
            self.report_missed(&missed);
        }
        if self.writes.is_empty() {
            // Nothing that anybody would miss: the cursor alone is not worth a write.
            return self.acknowledge(channel, Ok(()));
        }
        if let Some((name, value)) = cursor {
            self.writes.put_json(&Slot::Cursor(name), value);
        }
        self.commit(Then::Acknowledge { channel, keys });
    }

    /// Takes in a message if it may be answered, and adds its key to `keys`. One that is too old goes to `missed`.
    fn accept(&mut self, mut message: Inbound, keys: &mut Vec<String>, missed: &mut Vec<Inbound>) {
        if self.inbox.knows(message.route.channel, &message.key) {
            return;
        }
        clean(&mut message);
        let attribution = match self.access.verdict(&message) {
            Verdict::Allowed(attribution) => attribution,
            Verdict::GroupContext(attribution) => return self.group_context.add(attribution, &message),
            Verdict::Refused => return self.refuse_sender(&message),
            Verdict::Ignored => return,
        };
        METRICS.messages_in.up();
        keys.push(message.key.clone());
        if self.is_too_old(&message) {
            let key = message.key.clone();
            self.inbox.finish_at_once(message.route.channel, key, self.now.wall_ms, &mut self.writes);
            missed.push(message);
        } else {
            self.inbox.add(message, attribution, self.now.mono, &mut self.writes);
        }
    }

    /// Whether a message is too old to be answered, as far as the clock can tell.
    pub(crate) fn is_too_old(&self, message: &Inbound) -> bool {
        let Some(config) = self.config.channels.by_channel.get(&message.route.channel) else { return false };
        age(message.ts, self.now.wall_ms).is_some_and(|age| age > config.max_age)
    }

    /// Handles the end of the commit of a batch: its messages are taken in, or were never there.
    pub(crate) fn batch_stored(&mut self, channel: Channel, keys: &[String], is_durable: bool) {
        if !is_durable {
            for key in keys {
                self.inbox.undo(channel, key);
            }
            return self.acknowledge(channel, Err(INBOX_RETRY_PAUSE));
        }
        self.acknowledge(channel, Ok(()));
        for key in keys {
            // A message that was too old does not wait.
            let Some(inbox_id) = self.inbox.id_of(channel, key) else { continue };
            if let Some(entry) = self.inbox.waiting.get_mut(&inbox_id) {
                entry.stored = true;
            }
            self.show_inbound(inbox_id);
            self.make_whole(inbox_id);
        }
    }

    fn acknowledge(&mut self, channel: Channel, result: Result<(), std::time::Duration>) {
        self.effects.push(Effect::Channel(ChannelCommand::Acknowledge { channel, result }));
    }

    /// Has a message wait for its pictures and files, and for the rest of its album.
    pub(crate) fn make_whole(&mut self, inbox_id: InboxId) {
        let Some(entry) = self.inbox.waiting.get_mut(&inbox_id) else { return };
        entry.fetching = entry.message.media.len();
        if entry.message.album.is_some() {
            for piece in self.inbox.pieces(inbox_id) {
                if let Some(entry) = self.inbox.waiting.get_mut(&piece) {
                    entry.gather_until = Some(self.now.mono + ALBUM_QUIET_TIME);
                }
            }
        }
    }

    /// Has pictures and files fetched where the channel can, as many at a time as it takes; what takes too
    /// long is left out.
    pub(crate) fn fetch_media(&mut self) {
        for entry in self.inbox.waiting.values_mut().filter(|entry| entry.fetching > 0) {
            if entry.fetch_until.is_some_and(|until| until <= self.now.mono) {
                entry.files.push(Err("a file (it took too long)".to_owned()));
                (entry.fetching, entry.fetch_until) = (0, None);
            }
        }
        let open = Channel::ALL.map(|channel| self.is_open(channel));
        let media_folder = &self.config.channels.media;
        let asked = self.inbox.waiting.values().filter(|entry| entry.fetch_until.is_some());
        let mut in_flight: usize = asked.map(|entry| entry.fetching).sum();
        for entry in self.inbox.waiting.values_mut() {
            let channel = entry.message.route.channel;
            let waits = entry.stored && entry.fetching > 0 && entry.fetch_until.is_none();
            // The time that a file may take begins when it is asked for.
            if !waits || !open[channel as usize] || in_flight + entry.fetching > FETCHES_IN_FLIGHT_MAX {
                continue;
            }
            in_flight += entry.fetching;
            entry.fetch_until = Some(self.now.mono + FETCH_TIME_MAX);
            let folder = media_folder.join(file_name(&entry.attribution.session_key));
            for (index, media) in entry.message.media.iter().enumerate() {
                let (key, media, folder) = (entry.message.key.clone(), media.clone(), folder.clone());
                let fetch = Fetch { key, index, channel, media, folder };
                self.effects.push(Effect::Channel(ChannelCommand::Fetch(fetch)));
            }
        }
    }

    /// Handles the channel's report that a picture or file was fetched, or why it was not.
    pub(crate) fn fetched(
        &mut self,
        channel: Channel,
        key: &str,
        index: usize,
        result: Result<FetchedFile, String>,
    ) {
        let inbox_id = self.inbox.id_of(channel, key);
        let entry = inbox_id.and_then(|inbox_id| self.inbox.waiting.get_mut(&inbox_id));
        let entry = entry.filter(|entry| entry.fetching > 0);
        let media = entry.as_ref().and_then(|entry| entry.message.media.get(index).cloned());
        let (Some(entry), Some(media)) = (entry, media) else {
            // The file came too late, or its session was forgotten meanwhile: nobody else would ever remove it.
            let path = result.map(|file| file.path);
            return self.effects.extend(path.map(|path| Effect::Channel(ChannelCommand::Discard { path })));
        };
        entry.fetching -= 1;
        if entry.fetching == 0 {
            entry.fetch_until = None;
        }
        let file = match result {
            Ok(file) => Ok((media, file)),
            Err(why) => Err(format!("{} ({why})", describe(&media))),
        };
        entry.files.push(file);
    }

    /// Shows all clients a message that came in.
    fn show_inbound(&mut self, inbox_id: InboxId) {
        let Some(entry) = self.inbox.waiting.get(&inbox_id) else { return };
        let message = &entry.message;
        let media = message.media.iter().map(|media| MessageMedia {
            kind: media.kind,
            mime_type: &media.mime_type,
            name: media.name.as_deref(),
            bytes: media.bytes,
        });
        let event = MessageEvent {
            id: &message.key,
            ts: message.ts,
            channel: message.route.channel,
            session_key: &entry.attribution.session_key,
            direction: Direction::In,
            from: Some(message.name.as_deref().unwrap_or(&message.from)),
            to: None,
            text: &message.shown_text(),
            truncated: false,
            media: media.collect(),
            run_id: None,
            status: None,
            reason: None,
        };
        let body = EventBody::new(EventKind::Message, &event, None);
        let channel = message.route.channel;
        self.show_message(body);
        self.health.saw_message(channel, self.now.wall_ms);
    }

    /// Goes on, at a start, with the messages in the inbox and the deliveries in the outbox.
    pub(crate) fn resume_channels(&mut self) {
        self.inbox.recovered();
        let old = self.inbox.ids(|entry| self.is_too_old(&entry.message));
        let missed = old.iter().filter_map(|inbox_id| self.inbox.waiting.get(inbox_id));
        let missed: Vec<Inbound> = missed.map(|entry| entry.message.clone()).collect();
        self.inbox.finish(&old, self.now.wall_ms, &mut self.writes);
        for inbox_id in self.inbox.ids(|_| true) {
            self.make_whole(inbox_id);
        }
        if !missed.is_empty() {
            self.report_missed(&missed);
        }
        self.commit_any();
        self.resume_deliveries();
    }

    /// Does, at the end of a turn, what can be done now for messages and deliveries that wait.
    pub(crate) fn settle_channels(&mut self) {
        self.channels_stale = false;
        // Also when the inbox is empty: a pause that is over would else be due for ever.
        self.inbox.stop_gathering(self.now.mono);
        if !self.inbox.waiting.is_empty() {
            self.fetch_media();
            self.ask_waiting();
            self.tell_who_waits();
        }
        self.pump_outbox();
        let due = [self.inbox.next_due(), self.outbox.next_due(self.now.mono)].into_iter().flatten().min();
        // What the store has no room for goes on with its next answer; until then nothing is due.
        let earliest = if self.store_has_room() { self.now.mono } else { self.now.mono + INBOX_RETRY_PAUSE };
        self.channels_due = due.map(|due| due.max(earliest));
    }
}

/// Marks all pieces of an album as addressed to the gateway where one is: in a group the caption, and so the
/// mention, is on one piece only.
fn with_addressed_albums(mut arrivals: Vec<Arrival>, inbox: &Inbox) -> Vec<Arrival> {
    let album = |arrival: &Arrival| match arrival {
        Arrival::Message(message) if message.addressed => {
            album_of(message).map(|(route, from, id)| (route.clone(), from.to_owned(), id.to_owned()))
        }
        _ => None,
    };
    let addressed: Vec<_> = arrivals.iter().filter_map(album).collect();
    for arrival in &mut arrivals {
        let Arrival::Message(message) = arrival else { continue };
        let Some(album) = album_of(message) else { continue };
        let in_batch = addressed.iter().any(|(route, from, id)| (route, &**from, &**id) == album);
        let is_addressed = in_batch || inbox.has_piece_of(album);
        message.addressed |= is_addressed;
    }
    arrivals
}

/// Cleans a message of what could pass for the gateway's words: names are what people say they are.
fn clean(message: &mut Inbound) {
    let clean = |name: &mut Option<String>| {
        *name = name.as_deref().map(text::name).filter(|name| !name.is_empty());
    };
    clean(&mut message.name);
    message.keep_media(MEDIA_MAX);
    for media in &mut message.media {
        clean(&mut media.name);
        let kind = media.mime_type.as_str();
        if kind.len() > MIME_BYTES_MAX || !kind.bytes().all(|byte| byte.is_ascii_graphic()) {
            "application/octet-stream".clone_into(&mut media.mime_type);
        }
    }
}
