//! What a surface hands over: taken in when it is on record, then made whole.

use crate::channels::message::{Arrival, Batch, Inbound, InboundMedia};
use crate::channels::{ChannelCommand, delivery::FetchedFile};
use crate::limits::{ALBUM_QUIET_MS, INBOX_RETRY_MS, SANE_CLOCK_MS, ms};
use crate::protocol::call::Channel;
use crate::protocol::event::{Direction, MessageEvent, MessageMedia};
use crate::state::stored::Pending;
use crate::state::surfaces::access::{Place, Verdict};
use crate::state::surfaces::inbox::Number;
use crate::state::surfaces::outbox::LetterId;
use crate::state::{Effect, Now, State};
use crate::store::{StoreOp, file_name};

/// What a batch comes to.
#[derive(Debug, Default)]
pub(in crate::state) struct Taken {
    numbers: Vec<Number>,
    letters: Vec<LetterId>,
}

impl State {
    /// A surface hands over a batch. It is told to go on when everything in it is durable.
    pub(in crate::state) fn arrived(&mut self, batch: Batch, now: Now) {
        let Batch { channel, arrivals, place } = batch;
        if self.stopping.is_some() || !self.store_has_room() || self.inbox.is_full() {
            return self.taken(channel, Err(ms(INBOX_RETRY_MS)));
        }
        let mut ops = Vec::new();
        let mut taken = Taken::default();
        let mut missed = Vec::new();
        for arrival in arrivals {
            match arrival {
                Arrival::Message(message) => self.take_in(*message, &mut ops, &mut taken, &mut missed, now),
                Arrival::Migrated { from, to, .. } => {
                    ops.push(self.access.group_moved(channel, &from, &to));
                    ops.extend(self.outbox.reroute(channel, &from, &to));
                }
                Arrival::Garbled { key, why, raw } => {
                    log::warn!(
                        "something from {} was not understood and is set aside: {why}",
                        channel.name()
                    );
                    ops.extend(self.inbox.set_aside(channel, &key, &why, &raw));
                }
            }
        }
        if !missed.is_empty() {
            let (letter, more) = self.report_missed(&missed, now);
            taken.letters.extend(letter);
            ops.extend(more);
        }
        if ops.is_empty() {
            // Nothing that anybody would miss: the place alone is not worth a write.
            return self.taken(channel, Ok(()));
        }
        ops.extend(place.map(|(slot, value)| StoreOp::Put { slot, value }));
        self.store(ops, Pending::Arrived { channel, taken });
    }

    fn take_in(
        &mut self,
        message: Inbound,
        ops: &mut Vec<StoreOp>,
        taken: &mut Taken,
        missed: &mut Vec<(Inbound, Place)>,
        now: Now,
    ) {
        if self.inbox.knows(message.route.channel, &message.key) {
            return;
        }
        let place = match self.access.verdict(&message) {
            Verdict::Allowed(place) => place,
            Verdict::Overheard(place) => return self.overheard.add(&place.session_key, &message),
            Verdict::Refused => return self.refuse_sender(&message, now),
            Verdict::Ignored => return,
        };
        let is_old = self.is_too_old(&message, now);
        if is_old {
            missed.push((message.clone(), place.clone()));
        }
        let (number, op) = self.inbox.add(message, place, now.mono);
        if is_old {
            ops.extend(self.inbox.finish(number, now.wall_ms));
        } else {
            ops.push(op);
            taken.numbers.push(number);
        }
    }

    /// Only clocks that were set can tell.
    fn is_too_old(&self, message: &Inbound, now: Now) -> bool {
        let Some(config) = self.config.surfaces.by_channel.get(&message.route.channel) else { return false };
        let age = now.wall_ms.checked_sub(message.ts).map(ms);
        now.wall_ms >= SANE_CLOCK_MS
            && message.ts >= SANE_CLOCK_MS
            && age.is_some_and(|age| age > config.max_age)
    }

    /// A batch is on record, or could not be put there.
    pub(in crate::state) fn arrived_stored(
        &mut self,
        channel: Channel,
        taken: Taken,
        result: Result<(), String>,
        now: Now,
    ) {
        if result.is_err() {
            for number in taken.numbers {
                self.inbox.undo(number);
            }
            self.letters_stored(&taken.letters, false, now);
            return self.taken(channel, Err(ms(INBOX_RETRY_MS)));
        }
        self.taken(channel, Ok(()));
        for number in taken.numbers {
            if let Some(entry) = self.inbox.get_mut(number) {
                entry.stored = true;
            }
            self.show_inbound(number, now);
            self.make_whole(number, now);
        }
        self.letters_stored(&taken.letters, true, now);
    }

    fn taken(&mut self, channel: Channel, result: Result<(), std::time::Duration>) {
        self.effects.push(Effect::Channel(ChannelCommand::Taken { channel, result }));
    }

    /// Has a message's pictures and files fetched, and waits for the rest of its album.
    pub(in crate::state) fn make_whole(&mut self, number: Number, now: Now) {
        let Some(entry) = self.inbox.get_mut(number) else { return };
        entry.fetching = entry.message.media.len();
        let folder =
            self.config.surfaces.session_folders.join(file_name(&entry.place.session_key)).join("media");
        for (index, media) in entry.message.media.iter().enumerate() {
            let command = ChannelCommand::Fetch {
                key: entry.message.key.clone(),
                index,
                channel: entry.message.route.channel,
                media: media.clone(),
                folder: folder.clone(),
            };
            self.effects.push(Effect::Channel(command));
        }
        if entry.message.album.is_some() {
            for piece in self.inbox.pieces(number) {
                if let Some(entry) = self.inbox.get_mut(piece) {
                    entry.gather_until = Some(now.mono + ms(ALBUM_QUIET_MS));
                }
            }
        }
    }

    /// A picture or file was fetched, or could not be.
    pub(in crate::state) fn fetched(
        &mut self,
        channel: Channel,
        key: &str,
        index: usize,
        result: Result<FetchedFile, String>,
    ) {
        let Some(entry) = self.inbox.number_of(channel, key).and_then(|number| self.inbox.get_mut(number))
        else {
            return;
        };
        let Some(media) = entry.message.media.get(index) else { return };
        entry.fetching = entry.fetching.saturating_sub(1);
        let file = match result {
            Ok(file) => Ok((media.clone(), file)),
            Err(why) => Err(format!("{} ({why})", describe(media))),
        };
        entry.files.push(file);
    }

    /// Shows everybody what came in.
    fn show_inbound(&mut self, number: Number, now: Now) {
        let Some(entry) = self.inbox.get(number) else { return };
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
            session_key: &entry.place.session_key,
            direction: Direction::In,
            from: Some(message.name.as_deref().unwrap_or(&message.from)),
            to: None,
            text: &message.text,
            truncated: false,
            media: media.collect(),
            run_id: None,
            status: None,
            reason: None,
        };
        let body =
            crate::protocol::frame::EventBody::new(crate::protocol::event::EventKind::Message, &event, None);
        let channel = message.route.channel;
        self.show_message(body);
        self.health.saw_message(channel, now.wall_ms);
    }
}

/// A picture or file in a few words.
pub(super) fn describe(media: &InboundMedia) -> String {
    use crate::channels::message::MediaKind;
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
