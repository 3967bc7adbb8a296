//! Telegram with its threads against a server that says what it is told to.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use serde_json::{Value, json};

use super::TelegramSetup;
use crate::channels::delivery::{Attempt, AttemptOutcome, Part};
use crate::channels::message::{Arrival, Batch, Fetch, InboundMedia, MediaKind, Route};
use crate::channels::web::download::MediaSources;
use crate::channels::{self, ChannelCommand, ChannelEvent, ChannelsSetup, WhatsappSetup};
use crate::config::file;
use crate::config::secret::Secret;
use crate::port::Port;
use crate::protocol::call::Channel;

mod facade;

const TOKEN: &str = "42:SECRET-secret_secret-secret_secret12345";
const DEADLINE: Duration = Duration::from_secs(20);

fn media_sources() -> MediaSources {
    let folders = vec![std::env::temp_dir()];
    MediaSources { folders, state_dir: "/nowhere".into(), ..MediaSources::default() }
}

/// One call: method and parameters; the answer goes back as status and JSON.
struct Call {
    method: String,
    parameters: Value,
    answer: Sender<(u16, Value)>,
}

impl Call {
    fn ok(&self, result: Value) {
        self.answer.send((200, json!({ "ok": true, "result": result }))).unwrap();
    }

    fn refuse(&self, code: u16, more: Value) {
        let mut body = json!({ "ok": false, "error_code": code, "description": format!("no: bot{TOKEN}") });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.answer.send((code, body)).unwrap();
    }
}

fn server() -> (String, Receiver<Call>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/sub/", listener.local_addr().unwrap());
    let (calls, inbox) = unbounded();
    crate::threads::spawn_expendable("bot-api", move || {
        for stream in listener.incoming().flatten() {
            let calls = calls.clone();
            crate::threads::spawn_expendable(
                "bot-api-conn",
                move || while serve(&stream, &calls).is_some() {},
            )
            .unwrap();
        }
    })
    .unwrap();
    (base, inbox)
}

/// One request; `None` when the connection is over.
fn serve(mut stream: &TcpStream, calls: &Sender<Call>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let path = head.split(' ').nth(1)?;
    let method = path.strip_prefix(&format!("/sub/bot{}/", TOKEN.to_ascii_lowercase()))?.to_owned();
    let parameters = serde_json::from_slice(&body).unwrap_or_else(|_| json!({ "form": body.len() }));
    let (answer, answered) = bounded(1);
    calls.send(Call { method, parameters, answer }).ok()?;
    let (status, body) = answered.recv().ok()?;
    let body = body.to_string();
    write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len()).ok()
}

struct Rig {
    calls: Receiver<Call>,
    /// Calls that came while another method was awaited.
    kept: Vec<Call>,
    commands: Sender<Box<ChannelCommand>>,
    events: Receiver<ChannelEvent>,
    state: String,
}

impl Rig {
    fn start(cursor: Option<&str>) -> Self {
        let (base, calls) = server();
        let bot_token = Some(Secret::new(TOKEN));
        let config = file::Telegram {
            bot_token,
            api_base: base,
            delete_webhook: true,
            ..file::Config::default().telegram
        };
        let telegram = TelegramSetup::new(&config, std::env::temp_dir(), media_sources()).unwrap();
        let cursor = cursor.map(|cursor| ("telegram/42".to_owned(), cursor.to_owned()));
        let cursors: BTreeMap<String, String> = cursor.into_iter().collect();
        let (commands, inbox) = bounded(64);
        let (to_state, events) = bounded(64);
        let whatsapp = WhatsappSetup {
            own_exe: std::path::PathBuf::new(),
            folder: std::path::PathBuf::new(),
            config: file::Config::default().whatsapp,
            sources: MediaSources::default(),
        };
        let setup = ChannelsSetup { telegram, whatsapp, enabled: vec![Channel::Telegram], cursors };
        channels::spawn(setup, inbox, Port::new(to_state, |event| event)).unwrap();
        Self { calls, kept: Vec::new(), commands, events, state: String::new() }
    }

    fn call(&mut self, method: &str) -> Call {
        let wanted = method.to_ascii_lowercase();
        if let Some(at) = self.kept.iter().position(|call| call.method == wanted) {
            return self.kept.remove(at);
        }
        loop {
            let call = self.calls.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no `{method}` came"));
            if call.method == wanted {
                return call;
            }
            self.kept.push(call);
        }
    }

    fn greet(&mut self) {
        self.call("getMe").ok(json!({ "id": 42, "is_bot": true, "username": "OurBot" }));
    }

    /// The next event that is no health; that is noted.
    fn event(&mut self) -> ChannelEvent {
        loop {
            match self.events.recv_timeout(DEADLINE).expect("no event came") {
                ChannelEvent::Health { health, .. } => self.state = health.state,
                event => return event,
            }
        }
    }

    fn batch(&mut self) -> Batch {
        match self.event() {
            ChannelEvent::Arrived(batch) => batch,
            other => panic!("{other:?}"),
        }
    }

    fn outcome(&mut self) -> (u64, AttemptOutcome) {
        match self.event() {
            ChannelEvent::Outcome { id, outcome } => (id, outcome),
            other => panic!("{other:?}"),
        }
    }

    fn until_state(&mut self, wanted: &str) {
        while self.state != wanted {
            match self.events.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("never `{wanted}`")) {
                ChannelEvent::Health { health, .. } => {
                    let reason = health.reason.unwrap_or_default();
                    assert!(!reason.contains("SECRET"), "{reason}");
                    self.state = health.state;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn acknowledge(&self, result: Result<(), Duration>) {
        self.commands
            .send(Box::new(ChannelCommand::Acknowledge { channel: Channel::Telegram, result }))
            .unwrap();
    }

    fn deliver(&self, id: u64, chat: &str) {
        self.deliver_part(id, chat, Part::Text { text: "hi".to_owned(), entities: Vec::new() });
    }

    fn deliver_part(&self, id: u64, chat: &str, part: Part) {
        let route = Route { channel: Channel::Telegram, chat: chat.to_owned(), topic: Some("3".to_owned()) };
        let reply_to = Some("9".to_owned());
        let attempt = Attempt { id, route, reply_to, message_id: String::new(), part };
        self.commands.send(Box::new(ChannelCommand::Deliver(Box::new(attempt)))).unwrap();
    }

    fn switch(&mut self, enabled: bool) {
        self.commands
            .send(Box::new(ChannelCommand::SetEnabled { channel: Channel::Telegram, enabled }))
            .unwrap();
        assert!(matches!(self.event(), ChannelEvent::Switched));
    }
}

fn update(id: i64) -> Value {
    json!({ "update_id": id, "message": {
        "message_id": 1, "date": 1, "chat": { "id": 5, "type": "private" }, "from": { "id": 5, "is_bot": false, "first_name": "A" }, "text": "hi" } })
}

fn keys(batch: &Batch) -> Vec<&str> {
    fn key(arrival: &Arrival) -> &str {
        match arrival {
            Arrival::Message(message) => &message.key,
            Arrival::Migrated { key, .. } | Arrival::Garbled { key, .. } => key,
        }
    }
    batch.arrivals.iter().map(key).collect()
}

#[test]
fn the_place_moves_only_when_the_batch_is_durable() {
    let mut rig = Rig::start(Some("7"));
    rig.greet();
    let poll = rig.call("getUpdates");
    assert_eq!(poll.parameters["offset"], 7);
    assert_eq!(poll.parameters["allowed_updates"], json!(["message"]));
    poll.ok(json!([update(9), update(7), { "update_id": 8, "poll": {} }]));
    let cursor = Some(("telegram/42".to_owned(), "10".to_owned()));
    let batch = rig.batch();
    assert_eq!((keys(&batch), &batch.cursor), (vec!["42/7", "42/9"], &cursor));
    rig.acknowledge(Err(Duration::from_millis(10)));
    let again = rig.batch();
    assert_eq!((again.arrivals, again.cursor), (batch.arrivals, batch.cursor), "the same is offered again");
    rig.acknowledge(Ok(()));
    let poll = rig.call("getUpdates");
    assert_eq!(poll.parameters["offset"], 10);
    // After a quiet week Telegram counts from somewhere else.
    poll.ok(json!([update(3)]));
    assert_eq!(rig.batch().cursor.map(|(_, cursor)| cursor).as_deref(), Some("4"));
    rig.acknowledge(Ok(()));
    assert_eq!(rig.call("getUpdates").parameters["offset"], 4);
    assert_eq!(rig.state, "ready");
}

#[test]
fn without_a_place_no_offset_is_sent_and_an_empty_answer_is_no_hurry() {
    let mut rig = Rig::start(None);
    rig.greet();
    let poll = rig.call("getUpdates");
    assert_eq!((poll.parameters.get("offset"), &poll.parameters["timeout"]), (None, &json!(0)));
    poll.ok(json!([]));
    let poll = rig.call("getUpdates");
    assert_ne!(poll.parameters["timeout"], 0);
    let begin = std::time::Instant::now();
    poll.ok(json!([]));
    rig.call("getUpdates").ok(json!([]));
    assert!(begin.elapsed() > Duration::from_millis(900), "a busy loop");
}

#[test]
fn switched_off_means_nothing_more_comes() {
    let mut rig = Rig::start(None);
    rig.greet();
    let poll = rig.call("getUpdates");
    rig.switch(false);
    // Too late: the bytes go nowhere, and the place stays.
    let _ = poll.answer.send((200, json!({ "ok": true, "result": [update(1)] })));
    rig.deliver(1, "5");
    let (id, outcome) = rig.outcome();
    assert!(id == 1 && matches!(outcome, AttemptOutcome::NotSent { .. }), "{outcome:?}");
    rig.until_state("off");
    rig.switch(true);
    // What it was before it was switched off is over.
    rig.until_state("connecting");
    rig.greet();
    rig.call("getUpdates").ok(json!([update(1)]));
    assert_eq!(keys(&rig.batch()), ["42/1"]);
    // Off and on between a batch and its answer: the next one waits for that answer.
    rig.switch(false);
    rig.switch(true);
    rig.greet();
    let poll = rig.call("getUpdates");
    assert_eq!(poll.parameters.get("offset"), None);
    poll.ok(json!([update(1), update(2)]));
    rig.until_state("ready");
    rig.acknowledge(Ok(()));
    assert_eq!(keys(&rig.batch()), ["42/1", "42/2"]);
    rig.acknowledge(Ok(()));
    assert_eq!(rig.call("getUpdates").parameters["offset"], 3);
    rig.commands.send(Box::new(ChannelCommand::Stop)).unwrap();
}

#[test]
fn trouble_is_named_and_ends() {
    let mut rig = Rig::start(None);
    rig.call("getMe").refuse(401, json!({}));
    rig.until_state("unauthorized");
    rig.commands.send(Box::new(ChannelCommand::Probe { conn: 1, id: "p".to_owned() })).unwrap();
    rig.greet();
    assert!(matches!(rig.event(), ChannelEvent::Probed { .. }), "a probe is answered");
    // And it woke the poll, which would have waited a minute.
    rig.greet();
    rig.call("getUpdates").refuse(409, json!({ "description": "Conflict: webhook is active" }));
    rig.until_state("webhook");
    let deletion = rig.call("deleteWebhook");
    assert_eq!(deletion.parameters["drop_pending_updates"], false);
    deletion.ok(json!(true));
    rig.call("getUpdates").refuse(429, json!({ "parameters": { "retry_after": 0.01 } }));
    rig.until_state("unreachable");
    rig.call("getUpdates").ok(json!([]));
    rig.until_state("ready");
    rig.call("getUpdates").refuse(409, json!({}));
    rig.until_state("conflict");
}

#[test]
fn messages_go_out_and_every_attempt_has_one_outcome() {
    let mut rig = Rig::start(None);
    rig.greet();
    rig.deliver(1, "5");
    let call = rig.call("sendMessage");
    assert_eq!(call.parameters["chat_id"], 5);
    assert_eq!(call.parameters["message_thread_id"], 3);
    let reply = json!({ "message_id": 9, "allow_sending_without_reply": true });
    assert_eq!(call.parameters["reply_parameters"], reply);
    call.refuse(400, json!({}));
    let call = rig.call("sendMessage");
    let plain = json!({ "chat_id": 5, "text": "hi", "message_thread_id": 3 });
    assert_eq!(call.parameters, plain, "plain the second time, and in its topic");
    call.refuse(400, json!({}));
    let call = rig.call("sendMessage");
    assert_eq!(call.parameters, json!({ "chat_id": 5, "text": "hi" }), "bare the third time");
    call.ok(json!({ "message_id": 77 }));
    let sent = AttemptOutcome::Sent { message_id: "77".to_owned(), chat: None };
    assert_eq!(rig.outcome(), (1, sent));

    rig.deliver(2, "-6");
    rig.call("sendMessage").refuse(400, json!({ "parameters": { "migrate_to_chat_id": -1006 } }));
    assert_eq!(rig.outcome(), (2, AttemptOutcome::Moved { chat: "-1006".to_owned() }));

    rig.deliver(3, "6");
    drop(rig.call("sendMessage"));
    let (id, outcome) = rig.outcome();
    assert!(id == 3 && matches!(outcome, AttemptOutcome::Unknown { .. }), "{outcome:?}");

    rig.deliver(4, "7");
    let call = rig.call("sendMessage");
    let begin = std::time::Instant::now();
    call.refuse(429, json!({ "parameters": { "retry_after": 1 } }));
    let (id, outcome) = rig.outcome();
    let AttemptOutcome::NotSent { retry_after: Some(pause), why } = outcome else { panic!("{outcome:?}") };
    assert!(id == 4 && pause == Duration::from_secs(1) && !why.contains("SECRET"), "{why}");
    rig.deliver(5, "8");
    rig.call("sendMessage").refuse(403, json!({}));
    assert!(begin.elapsed() > pause, "all wait when the server asks for it");
    let (id, outcome) = rig.outcome();
    assert!(id == 5 && matches!(outcome, AttemptOutcome::Refused { .. }), "{outcome:?}");
}

#[test]
fn files_go_out_as_forms_and_typing_is_shown() {
    let mut rig = Rig::start(None);
    rig.greet();
    let route = Route { channel: Channel::Telegram, chat: "5".to_owned(), topic: None };
    rig.commands.send(Box::new(ChannelCommand::Typing { route: route.clone(), is_typing: true })).unwrap();
    let typing = rig.call("sendChatAction");
    assert_eq!(typing.parameters, json!({ "chat_id": "5", "action": "typing" }));
    typing.refuse(404, json!({}));

    let path = std::env::temp_dir().join(format!("clawdis-upload-{}.png", std::process::id()));
    std::fs::write(&path, b"\x89PNG\r\n\x1a\n and so on").unwrap();
    let send = |id: u64, source: &str| {
        let part = Part::Media { source: source.to_owned(), caption: "see".to_owned() };
        let attempt = Attempt { id, route: route.clone(), reply_to: None, message_id: String::new(), part };
        rig.commands.send(Box::new(ChannelCommand::Deliver(Box::new(attempt)))).unwrap();
    };
    send(1, path.to_str().unwrap());
    send(2, "/does/not/exist");
    let photo = rig.call("sendPhoto");
    assert!(photo.parameters["form"].as_u64().is_some_and(|bytes| bytes > 200), "{}", photo.parameters);
    photo.refuse(400, json!({}));
    rig.call("sendDocument").ok(json!({ "message_id": 1 }));
    let sent = AttemptOutcome::Sent { message_id: "1".to_owned(), chat: None };
    assert_eq!(rig.outcome(), (1, sent));
    let (id, outcome) = rig.outcome();
    assert!(id == 2 && matches!(outcome, AttemptOutcome::Invalid { .. }), "{outcome:?}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn urls_are_checked_at_the_start() {
    let wrong = |api_base: &str, proxy: Option<&str>| {
        let api_base = api_base.to_owned();
        let config =
            file::Telegram { api_base, proxy: proxy.map(str::to_owned), ..file::Config::default().telegram };
        TelegramSetup::new(&config, std::env::temp_dir(), MediaSources::default()).err()
    };
    for base in ["", "api.telegram.org", "ftp://x", "http://", "https://x/?a", "a b"] {
        assert!(wrong(base, None).is_some_and(|why| why.starts_with("telegram.apiBase")), "{base}");
    }
    for proxy in ["gopher://x", "http://", "socks5:// "] {
        assert!(
            wrong("https://x", Some(proxy)).is_some_and(|why| why.starts_with("telegram.proxy")),
            "{proxy}"
        );
    }
    for proxy in [None, Some("http://127.0.0.1:3128"), Some("https://u:p@host"), Some("socks5://h:1080")] {
        assert_eq!(wrong("http://127.0.0.1:8081/sub/", proxy), None);
    }
}

#[test]
fn switching_off_gives_back_what_waits_though_a_file_is_on_its_way() {
    let mut rig = Rig::start(None);
    rig.greet();
    rig.deliver(1, "7");
    rig.call("sendMessage").refuse(429, json!({ "parameters": { "retry_after": 50 } }));
    assert_eq!(rig.outcome().0, 1);
    rig.deliver(2, "7");
    let media = InboundMedia::nameless(MediaKind::Document, "text/plain", 5);
    let (channel, folder) = (Channel::Telegram, std::env::temp_dir());
    let fetch = Fetch { key: "42/1".to_owned(), index: 0, channel, media, folder };
    rig.commands.send(Box::new(ChannelCommand::Fetch(fetch))).unwrap();
    let hanging = rig.call("getFile");
    let source = "/nowhere".to_owned();
    rig.deliver_part(3, "8", Part::Media { source, caption: String::new() });
    let switch_off = ChannelCommand::SetEnabled { channel, enabled: false };
    rig.commands.send(Box::new(switch_off)).unwrap();
    let mut given_back = Vec::new();
    // The switch itself, and two attempts.
    for _ in 0..3 {
        match rig.event() {
            ChannelEvent::Outcome { id, outcome: AttemptOutcome::NotSent { .. } } => given_back.push(id),
            ChannelEvent::Switched => {}
            other => panic!("{other:?}"),
        }
    }
    given_back.sort_unstable();
    assert_eq!(given_back, [2, 3]);
    hanging.refuse(400, json!({}));
    assert!(matches!(rig.event(), ChannelEvent::Fetched { .. }));
}
