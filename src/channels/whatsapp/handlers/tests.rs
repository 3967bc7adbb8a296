//! What the sidecar's lines do, without a sidecar.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use serde_json::{Value, json};

use crate::channels::delivery::{Attempt, AttemptOutcome, Part};
use crate::channels::message::{Arrival, Fetch, InboundMedia, MediaKind, Route};
use crate::channels::web::download::MediaSources;
use crate::channels::whatsapp::login::Login;
use crate::channels::whatsapp::sidecar::Request;
use crate::channels::whatsapp::wire::{SidecarEvent, SidecarLine};
use crate::channels::whatsapp::{Whatsapp, WhatsappSetup};
use crate::channels::{ChannelEvent, LoginStep};
use crate::config::file;
use crate::port::Port;
use crate::protocol::call::Channel;
use crate::protocol::event::MessageStatus;

struct Bench {
    whatsapp: Whatsapp,
    events: Receiver<ChannelEvent>,
    now: Instant,
}

impl Bench {
    /// WhatsApp with a folder and a program that are nowhere, switched on.
    fn new() -> Self {
        let config = file::Whatsapp { enabled: true, ..file::Config::default().whatsapp };
        let (own_exe, folder) = ("/nowhere/clawdis-gateway".into(), "/nowhere/state/whatsapp".into());
        let setup = WhatsappSetup { own_exe, folder, config, sources: MediaSources::default() };
        let (to_state, events) = unbounded();
        let mut whatsapp = Whatsapp::new(setup, Port::new(to_state, |event| event), unbounded().0);
        whatsapp.health.known.enabled = true;
        Self { whatsapp, events, now: Instant::now() }
    }

    fn succeed(&mut self, request: Request, mut answer: Value) {
        (answer["re"], answer["ok"]) = (json!(1), json!(true));
        self.whatsapp.on_success(request, serde_json::from_value(answer).unwrap(), self.now);
    }

    fn refuse(&mut self, request: Request, mut answer: Value) {
        (answer["re"], answer["ok"]) = (json!(1), json!(false));
        self.whatsapp.on_refusal(request, &serde_json::from_value(answer).unwrap(), self.now);
    }

    fn say(&mut self, event: Value) {
        let event: SidecarEvent = serde_json::from_value(event).unwrap();
        self.whatsapp.on_line(SidecarLine::Event(event), self.now);
    }

    fn begin_login(&mut self) {
        self.whatsapp.login = Some(Login::new(None));
    }

    /// A message that the sidecar was asked to send.
    fn write(&mut self, id: u64) -> Request {
        let message_id = format!("M{id}");
        let route = Route { channel: Channel::Whatsapp, chat: "+1555".to_owned(), topic: None };
        let part = Part::Text { text: "hi".to_owned(), entities: Vec::new() };
        let attempt = Attempt { id, route, reply_to: None, message_id: message_id.clone(), part };
        self.now += Duration::from_secs(3_600);
        self.whatsapp.outgoing.add(attempt, self.now);
        assert_eq!(self.whatsapp.outgoing.next(self.now).unwrap().message_id, message_id);
        Request::Send { id: message_id }
    }

    fn told(&self) -> Vec<ChannelEvent> {
        self.events.try_iter().filter(|event| !matches!(event, ChannelEvent::Health { .. })).collect()
    }

    fn outcome(&self) -> AttemptOutcome {
        match self.told().pop() {
            Some(ChannelEvent::Outcome { outcome, .. }) => outcome,
            other => panic!("{other:?}"),
        }
    }

    fn login_end(&self) -> Result<Option<String>, String> {
        match self.told().pop() {
            Some(ChannelEvent::Login { step: LoginStep::Over(result), .. }) => result,
            other => panic!("{other:?}"),
        }
    }

    fn state(&self) -> (String, String) {
        let shown = self.whatsapp.health.shown();
        (shown.state, shown.reason.unwrap_or_default())
    }
}

#[test]
fn a_greeting_without_a_linked_phone_says_what_to_do() {
    let mut bench = Bench::new();
    bench.succeed(Request::Hello, json!({ "linked": false }));
    assert_eq!(bench.state(), ("unlinked".to_owned(), "`clawdis login whatsapp` links a phone".to_owned()));
    bench.succeed(Request::Hello, json!({ "linked": false, "damaged": "login.1" }));
    assert!(bench.state().1.starts_with("its login was damaged and is kept in `login.1`"));
    bench.whatsapp.logout_wanted = true;
    bench.succeed(Request::Hello, json!({ "linked": false }));
    assert!(matches!(
        bench.told().as_slice(),
        [ChannelEvent::LoggedOut { result: Err(why), .. }] if why == "no phone is linked"
    ));
    bench.begin_login();
    bench.succeed(Request::Hello, json!({ "linked": false }));
    assert_eq!(bench.state().0, "linking", "a login goes on");
}

#[test]
fn a_greeting_of_a_linked_phone_ends_a_login_and_names_the_account() {
    let mut bench = Bench::new();
    bench.begin_login();
    bench.succeed(Request::Hello, json!({ "linked": true, "me": { "pn": "+1555" } }));
    assert!(bench.login_end().unwrap_err().starts_with("this gateway is linked already"));
    bench.whatsapp.advance(bench.now);
    let shown = bench.whatsapp.health.shown();
    assert_eq!((shown.linked, shown.self_id.as_deref()), (Some(true), Some("+1555")));
    bench.whatsapp.logout_wanted = true;
    bench.succeed(Request::Logout, json!({}));
    assert!(matches!(bench.told().as_slice(), [ChannelEvent::LoggedOut { result: Ok(()), .. }]));
    bench.whatsapp.advance(bench.now);
    assert_eq!(bench.whatsapp.health.shown().self_id, None);
}

#[test]
fn a_refused_greeting_is_final_unless_the_sidecar_says_otherwise() {
    let mut bench = Bench::new();
    bench.refuse(Request::Hello, json!({ "code": "protocol", "error": "I speak 2" }));
    let expected = "its sidecar is of another version (I speak 2): install it again";
    assert_eq!(bench.state(), ("closed".to_owned(), expected.to_owned()));
    assert_eq!(bench.whatsapp.lifecycle.start_at, None);
    bench.begin_login();
    bench.refuse(Request::Hello, json!({ "code": "busy", "error": "a moment", "retry": true }));
    assert_eq!(bench.login_end(), Err("its sidecar refuses to work: a moment".to_owned()));
    assert!(bench.whatsapp.lifecycle.start_at.is_some(), "it is tried again");
}

#[test]
fn a_message_is_sent_when_the_server_says_so() {
    let mut bench = Bench::new();
    let written = bench.write(1);
    bench.succeed(written, json!({ "jid": "5@lid", "proto": "AAA=" }));
    assert!(bench.told().is_empty(), "the server has not confirmed it");
    assert_eq!(bench.whatsapp.outgoing.body("M1").unwrap().to, "5@lid");
    bench.say(json!({ "ev": "out", "id": "M1", "stage": "accepted" }));
    assert_eq!(bench.outcome(), AttemptOutcome::Sent { message_id: "M1".to_owned(), chat: None });
    bench.say(json!({ "ev": "out", "id": "M1", "stage": "accepted" }));
    assert!(bench.told().is_empty(), "one outcome");
    bench.say(json!({ "ev": "out", "id": "M1", "stage": "read" }));
    assert!(matches!(
        bench.told().as_slice(),
        [ChannelEvent::Receipt { message_id, status: MessageStatus::Read }] if message_id == "M1"
    ));
}

#[test]
fn a_message_that_is_refused_is_repeated_only_where_that_may_help() {
    let mut bench = Bench::new();
    let written = bench.write(1);
    bench.refuse(written, json!({ "error": "no such number" }));
    assert_eq!(bench.outcome(), AttemptOutcome::Refused { why: "no such number".to_owned() });
    let written = bench.write(2);
    bench.refuse(written, json!({ "error": "not connected", "retry": true }));
    assert_eq!(bench.outcome(), AttemptOutcome::Unsure { why: "not connected".to_owned() });
    for (code, why) in [
        (json!(463), "WhatsApp restricts messages to people who have not written first (463)"),
        (json!(500), "WhatsApp refused it (500)"),
        (Value::Null, "WhatsApp refused it"),
    ] {
        bench.write(3);
        bench.say(json!({ "ev": "out", "id": "M3", "stage": "failed", "code": code }));
        assert_eq!(bench.outcome(), AttemptOutcome::Refused { why: why.to_owned() });
    }
}

#[test]
fn an_order_to_fetch_is_answered_whatever_becomes_of_it() {
    let mut bench = Bench::new();
    let order = || {
        let media = InboundMedia::nameless(MediaKind::Image, "image/png", 1);
        Request::Fetch(Fetch {
            key: "k".to_owned(),
            index: 2,
            channel: Channel::Whatsapp,
            media,
            folder: "/nowhere".into(),
        })
    };
    bench.refuse(order(), json!({ "error": "it is gone" }));
    bench.succeed(order(), json!({ "path": "/nowhere/state/whatsapp/media/a", "mime": "image/png" }));
    bench.whatsapp.on_unanswered(order());
    let reasons = bench.told().into_iter().map(|event| match event {
        ChannelEvent::Fetched { index: 2, result: Err(why), .. } => why,
        other => panic!("{other:?}"),
    });
    assert_eq!(reasons.collect::<Vec<_>>(), ["it is gone", "it cannot be kept here", "it was interrupted"]);
}

#[test]
fn a_login_shows_its_codes_and_ends_with_the_connection() {
    let mut bench = Bench::new();
    bench.begin_login();
    bench.say(json!({ "ev": "qr", "data": "2@a", "ttlMs": 60_000 }));
    bench.succeed(Request::Link, json!({ "code": "ABCD1234", "ttlMs": 5 }));
    let told = bench.told();
    assert!(matches!(&told[0], ChannelEvent::Login { step: LoginStep::Qr { ttl_ms: 60_000, .. }, .. }));
    assert!(
        matches!(&told[1], ChannelEvent::Login { step: LoginStep::Code { code, ttl_ms: 5 }, .. } if code == "ABCD1234")
    );
    bench.say(json!({ "ev": "state", "state": "ready", "me": { "pn": "+1555" } }));
    assert_eq!(bench.login_end(), Ok(Some("+1555".to_owned())));
    assert!(bench.whatsapp.health.is_connected());
    bench.begin_login();
    bench.refuse(Request::Link, json!({ "error": "nobody scanned it" }));
    assert_eq!(bench.login_end(), Err("nobody scanned it".to_owned()));
    assert_eq!(bench.state().0, "unlinked");
}

#[test]
fn a_lost_connection_says_what_a_person_can_do() {
    for (more, state, reason) in [
        (json!({ "retryMs": 900 }), "closed", "the connection is gone: gone (0); next try in 1 s"),
        (
            json!({ "code": 440, "action": "stop" }),
            "closed",
            "WhatsApp stopped it: another program uses this login: gone (440)",
        ),
        (json!({ "code": 401, "action": "relink" }), "unlinked", "WhatsApp ended the link: gone (401)"),
        // What a proxy answers says nothing about the account.
        (
            json!({ "code": 403, "reason": "http-refused" }),
            "closed",
            "the connection is gone: http-refused (403)",
        ),
    ] {
        let mut bench = Bench::new();
        bench.say(json!({ "ev": "state", "state": "ready", "me": { "pn": "+1555" } }));
        bench.write(1);
        let mut closed = json!({ "ev": "state", "state": "closed", "reason": "gone" });
        closed.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        bench.say(closed);
        let shown = bench.state();
        assert_eq!(shown.0, state, "{more}");
        assert!(shown.1.starts_with(reason), "{shown:?}");
        let is_given_back = matches!(
            bench.told().as_slice(),
            [ChannelEvent::Outcome { outcome: AttemptOutcome::Unsure { .. }, .. }]
        );
        assert_eq!(
            is_given_back,
            more.get("action").is_some(),
            "what only a person can mend is not waited for: {more}"
        );
    }
}

#[test]
fn a_message_that_cannot_be_read_is_passed_with_its_place() {
    let mut bench = Bench::new();
    bench.whatsapp.on_line(SidecarLine::Unreadable { seq: 7, raw: "{".to_owned() }, bench.now);
    bench.whatsapp.advance(bench.now);
    let told = bench.told();
    let [ChannelEvent::Arrived(batch)] = told.as_slice() else { panic!("{told:?}") };
    assert!(matches!(batch.arrivals.as_slice(), [Arrival::Garbled { key, .. }] if key == "seq-7"));
}
