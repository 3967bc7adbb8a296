//! What the channels thread sees of Telegram: no thread of it runs, and the test speaks for them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};

use super::{TOKEN, media_sources};
use crate::channels::ChannelEvent;
use crate::channels::delivery::{Attempt, AttemptOutcome, Part};
use crate::channels::message::{Batch, Fetch, InboundMedia, MediaKind, Route};
use crate::channels::telegram::api::BotAccount;
use crate::channels::telegram::error::{ApiError, Refusal};
use crate::channels::telegram::file_loop::FileCommand;
use crate::channels::telegram::poll_loop::PollCommand;
use crate::channels::telegram::send_loop::SendCommand;
use crate::channels::telegram::{EventKind, Running, Telegram, TelegramEvent, TelegramSetup};
use crate::config::file;
use crate::config::secret::Secret;
use crate::port::Port;
use crate::protocol::call::Channel;
use crate::protocol::payload::ChannelHealth;

struct Facade {
    telegram: Telegram,
    events: Receiver<ChannelEvent>,
    poll: Receiver<PollCommand>,
    send: Receiver<SendCommand>,
    files: Receiver<FileCommand>,
    to_loop: Sender<TelegramEvent>,
    is_off: Arc<AtomicBool>,
}

impl Facade {
    /// With `token`, and switched on; its threads are missing, unless the test puts them there.
    fn new(token: Option<&str>) -> Self {
        let config = file::Telegram { bot_token: token.map(Secret::new), ..file::Config::default().telegram };
        let setup = TelegramSetup::new(&config, std::env::temp_dir(), media_sources()).unwrap();
        let (to_state, events) = unbounded();
        let telegram = Telegram::new(setup, [].into(), Port::new(to_state, |event| event));
        let (poll, send, files) = (bounded(0).1, bounded(0).1, bounded(0).1);
        Self { telegram, events, poll, send, files, to_loop: bounded(0).0, is_off: Arc::default() }
    }

    /// As it is while its threads run.
    fn running() -> Self {
        let mut facade = Self::new(Some(TOKEN));
        facade.telegram.health.known.enabled = true;
        facade.start();
        facade
    }

    /// Puts threads in the place of those before, each with room for two commands.
    fn start(&mut self) {
        let ((poll, polled), (send, sent), (files, moved)) = (bounded(2), bounded(2), bounded(2));
        (self.poll, self.send, self.files, self.is_off) = (polled, sent, moved, Arc::default());
        let (to_loop, events) = unbounded();
        self.to_loop = to_loop;
        self.telegram.running = Some(Running {
            poll,
            send,
            files,
            file_commands: self.files.clone(),
            events,
            is_offering: false,
            is_off: Arc::clone(&self.is_off),
            stop_polling: Box::new(|| {}),
        });
    }

    fn tell(&mut self, kind: EventKind) {
        self.telegram.handle_event(TelegramEvent(kind));
    }

    fn shown(&self) -> ChannelHealth {
        self.telegram.health.shown()
    }

    /// What state was told but the health of the channel.
    fn told(&self) -> Vec<ChannelEvent> {
        self.events.try_iter().filter(|event| !matches!(event, ChannelEvent::Health { .. })).collect()
    }

    fn deliver(&self, id: u64, part: Part) {
        let route = Route { channel: Channel::Telegram, chat: "5".to_owned(), topic: None };
        let attempt = Attempt { id, route, reply_to: None, message_id: String::new(), part };
        self.telegram.deliver(Box::new(attempt));
    }
}

fn text() -> Part {
    Part::Text { text: "hi".to_owned(), entities: Vec::new() }
}

fn picture() -> Part {
    Part::Media { source: "/a.png".to_owned(), caption: String::new() }
}

fn fetch() -> Fetch {
    let media = InboundMedia::nameless(MediaKind::Image, "image/png", 1);
    Fetch { key: "42/1".to_owned(), index: 0, channel: Channel::Telegram, media, folder: "/m".into() }
}

fn batch(cursor: &str) -> Batch {
    let cursor = Some(("telegram/42".to_owned(), cursor.to_owned()));
    Batch { channel: Channel::Telegram, arrivals: Vec::new(), cursor }
}

fn bot() -> BotAccount {
    BotAccount { id: 42, username: "OurBot".to_owned(), can_read_all_group_messages: false }
}

fn not_sent(event: &ChannelEvent) -> &str {
    match event {
        ChannelEvent::Outcome { outcome: AttemptOutcome::NotSent { why, .. }, .. } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_done_is_answered_at_once_and_says_why() {
    let odd_token = "42:token with blanks";
    for (token, state, why) in [
        (None, "off", "telegram is not connected"),
        (Some(odd_token), "unauthorized", "telegram is not connected: Telegram does not know the bot token"),
    ] {
        let mut facade = Facade::new(token);
        facade.telegram.switch(true);
        assert_eq!(facade.shown().state, state);
        facade.deliver(1, text());
        facade.deliver(2, picture());
        facade.telegram.fetch(fetch());
        facade.telegram.probe(7, "p".to_owned());
        let told = facade.told();
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(not_sent(&told[0]).starts_with(why), "{told:?}");
        assert!(not_sent(&told[1]).starts_with(why), "{told:?}");
        assert!(
            matches!(&told[2], ChannelEvent::Fetched { index: 0, result: Err(reason), .. } if reason.starts_with(why))
        );
        assert!(matches!(&told[3], ChannelEvent::Probed { conn: 7, id } if id == "p"));
        assert!(!format!("{told:?}").contains("blanks"), "the token is shown to nobody");
    }
}

#[test]
fn texts_and_files_wait_apart_and_a_full_queue_is_an_answer() {
    let facade = Facade::running();
    for id in 1..=3 {
        facade.deliver(id, text());
    }
    facade.deliver(4, picture());
    facade.telegram.fetch(fetch());
    facade.telegram.fetch(fetch());
    assert_eq!((facade.send.len(), facade.files.len()), (2, 2));
    let told = facade.told();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(matches!(&told[0], ChannelEvent::Outcome { id: 3, .. }), "{told:?}");
    assert_eq!(not_sent(&told[0]), "too much is waiting to be sent");
    assert!(matches!(&told[1], ChannelEvent::Fetched { result: Err(_), .. }), "{told:?}");
}

#[test]
fn switching_off_answers_for_what_waits_and_ends_the_threads() {
    let mut facade = Facade::running();
    facade.deliver(1, picture());
    facade.telegram.fetch(fetch());
    facade.telegram.switch(false);
    assert!(facade.is_off.load(Relaxed));
    assert!(matches!(facade.send.try_recv(), Err(TryRecvError::Disconnected)), "`tg-send` ends");
    assert!(facade.poll.recv().is_err(), "nobody can send it commands any more");
    let told = facade.told();
    let why = "telegram is not connected: switched off; `clawdis channel telegram on`";
    assert_eq!(not_sent(&told[0]), why);
    assert!(matches!(&told[1], ChannelEvent::Fetched { result: Err(reason), .. } if reason == why));
    assert!(facade.to_loop.send(TelegramEvent(EventKind::Polled)).is_err(), "nobody hears its threads");
    assert!(facade.telegram.events().is_empty() && facade.shown().state == "off");
}

#[test]
fn one_batch_at_a_time_is_offered_also_to_a_state_that_still_has_an_earlier_one() {
    let mut facade = Facade::running();
    facade.tell(EventKind::Batch(batch("1")));
    // Off and on: the answer to the first batch is on its way.
    facade.start();
    facade.tell(EventKind::Batch(batch("2")));
    assert!(matches!(facade.told().as_slice(), [ChannelEvent::Arrived(_)]));
    facade.telegram.acknowledge(Ok(()));
    assert!(facade.poll.is_empty(), "that was not for the thread of now");
    let told = facade.told();
    assert!(
        matches!(told.as_slice(), [ChannelEvent::Arrived(Batch { cursor: Some((_, at)), .. })] if at == "2")
    );
    let pause = Duration::from_secs(1);
    facade.telegram.acknowledge(Err(pause));
    assert!(matches!(facade.poll.try_recv(), Ok(PollCommand::Acknowledge(Err(asked))) if asked == pause));
    assert_eq!(facade.telegram.cursors["telegram/42"], "1", "the second is not durable");
}

#[test]
fn health_follows_what_the_threads_say() {
    let mut facade = Facade::running();
    facade.tell(EventKind::Identified(bot()));
    facade.tell(EventKind::Polled);
    let shown = facade.shown();
    assert_eq!((shown.state.as_str(), shown.reason, shown.linked), ("ready", None, Some(true)));
    assert_eq!(shown.self_id.as_deref(), Some("@OurBot"));
    assert!(shown.last_frame_ts.is_some());

    let refusal = Refusal { code: 401, description: "Unauthorized".to_owned(), ..Refusal::default() };
    facade.tell(EventKind::Trouble(ApiError::Refused(refusal)));
    let shown = facade.shown();
    assert_eq!((shown.state.as_str(), shown.linked), ("unauthorized", Some(false)));
    assert!(shown.reason.is_some_and(|reason| reason.contains("@BotFather")));

    facade.tell(EventKind::PolledElsewhere("process 7".to_owned()));
    let shown = facade.shown();
    assert_eq!(shown.state, "conflict");
    assert!(shown.reason.is_some_and(|reason| reason.contains("process 7")));

    // A dispute stops nobody; it is said while all else is well.
    facade.tell(EventKind::Disputed(Some("process 8 of user id 9 holds it".to_owned())));
    assert!(facade.shown().reason.is_some_and(|reason| reason.contains("process 7")));
    facade.tell(EventKind::Polled);
    let shown = facade.shown();
    assert_eq!(shown.state, "ready");
    assert!(shown.reason.is_some_and(|reason| reason.contains("user id 9")));
    facade.tell(EventKind::Disputed(None));
    assert_eq!(facade.shown().reason, None);
}

#[test]
fn a_probe_has_one_answer_and_ends_a_wait_that_is_for_nothing() {
    let mut facade = Facade::running();
    facade.telegram.probe(1, "a".to_owned());
    facade.telegram.probe(1, "b".to_owned());
    assert!(facade.told().is_empty() && facade.telegram.deadline().is_some());
    facade.tell(EventKind::Trouble(ApiError::Unreachable("no network".to_owned())));
    facade.tell(EventKind::Probed(Ok(bot())));
    assert!(matches!(facade.poll.try_recv(), Ok(PollCommand::Wake)), "the server is there again");
    assert_eq!(facade.told().len(), 2, "whoever asked meanwhile has an answer, too");
    assert_eq!(facade.telegram.deadline(), None);

    // Nobody answers.
    assert_eq!(facade.send.try_iter().count(), 2);
    facade.telegram.probe(2, "c".to_owned());
    facade.telegram.advance(Instant::now());
    assert!(facade.told().is_empty(), "its time is not over");
    facade.telegram.probes[0].until = Instant::now();
    facade.telegram.advance(Instant::now());
    assert!(matches!(facade.told().as_slice(), [ChannelEvent::Probed { conn: 2, .. }]));
    facade.tell(EventKind::Probed(Err(ApiError::Lost("too late".to_owned()))));
    assert!(facade.told().is_empty());
    assert_eq!(facade.shown().state, "unreachable");
}
