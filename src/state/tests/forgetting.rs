//! Forgetting is over when the records and the agent's files are gone, and not before.

use serde_json::json;

use super::Bench;
use super::harness::{Harness, message, settings};
use crate::agent::{AgentControl, AgentEvent};
use crate::channels::ChannelEvent;
use crate::channels::delivery::AttemptOutcome;
use crate::channels::message::{Arrival, Batch};
use crate::limits::{FORGETS_LEFT_MAX, FORGETS_WAITING_MAX, FORGOTTEN_AT_ONCE_MAX, STORE_INBOX};
use crate::protocol::call::Channel;
use crate::protocol::payload::RunStatus;
use crate::state::{Effect, Event};
use crate::store::{Recovered, StoreEvent, StoreOp};

impl Bench {
    /// How many sessions' files the agent thread was asked to delete since the last call.
    fn deletions(&mut self) -> usize {
        let before = self.effects.len();
        self.effects.retain(|effect| {
            !matches!(effect, Effect::AgentControl(AgentControl::EndSession { delete: true, .. }))
        });
        before - self.effects.len()
    }

    fn forget(&mut self, id: &str) {
        self.request(1, id, "session-forget", json!({ "sessionKey": "main" }));
    }

    fn agent_forgot(&mut self, result: Result<(), String>) {
        self.handle(Event::Agent(AgentEvent::Forgotten { session_key: "main".into(), result }));
    }
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.connect(1);
    bench
}

const SLOT: &str = "forget/main";

#[test]
fn the_answer_waits_for_the_records_and_for_the_agents_files() {
    let mut bench = bench();
    bench.forget("a");
    let command = bench.take_store().remove(0);
    assert!(command.ops.contains(&StoreOp::Put { slot: SLOT.into(), value: "true".into() }));
    assert_eq!(bench.deletions(), 0, "nothing is deleted before it is on record that it has to be");
    bench.handle(Event::Store(StoreEvent::Done { ticket: command.ticket, result: Ok(()), back: Vec::new() }));
    assert_eq!((bench.deletions(), bench.answers().len()), (1, 0));
    bench.agent_forgot(Ok(()));
    assert_eq!(bench.answer()["ok"], true);
    let ops = bench.take_store().remove(0).ops;
    assert_eq!(ops, [StoreOp::Delete { slot: SLOT.into() }, StoreOp::Compact]);
}

#[test]
fn a_second_one_is_not_answered_by_the_first_ones_deletion() {
    let mut bench = bench();
    bench.forget("a");
    bench.keep();
    bench.forget("b");
    bench.keep();
    assert_eq!(bench.deletions(), 1);
    bench.agent_forgot(Ok(()));
    assert_eq!(bench.answer()["id"], "a");
    assert_eq!((bench.deletions(), bench.take_store().len()), (1, 0));
    bench.agent_forgot(Ok(()));
    assert_eq!(bench.answer()["id"], "b");
    assert_eq!(bench.take_store().len(), 1);
}

#[test]
fn failures_are_told_and_leave_what_is_to_be_done_on_record() {
    let mut bench = bench();
    bench.forget("a");
    let ticket = bench.take_store()[0].ticket;
    bench.handle(Event::Store(StoreEvent::Done { ticket, result: Err("full".into()), back: Vec::new() }));
    assert_eq!(bench.answer()["error"]["code"], "UNAVAILABLE");
    assert_eq!(bench.deletions(), 0);
    bench.forget("b");
    bench.keep();
    bench.agent_forgot(Err("no".into()));
    assert_eq!(bench.answer()["error"]["code"], "UNAVAILABLE");
    assert_eq!(bench.take_store(), [], "the slot stays");
}

#[test]
fn what_was_left_is_done_at_the_next_start() {
    let slots = [(SLOT.to_owned(), "true".to_owned())].into();
    let mut bench = Bench::recovered(Recovered { slots, ..Recovered::default() });
    assert_eq!(bench.deletions(), 1);
    bench.agent_forgot(Ok(()));
    assert_eq!(bench.take_store()[0].ops, [StoreOp::Delete { slot: SLOT.into() }, StoreOp::Compact]);
}

#[test]
fn what_was_left_in_large_numbers_is_done_little_by_little() {
    let slots = (0..1_000).map(|number| (format!("forget/{number:04}"), "true".to_owned())).collect();
    let mut bench = Bench::recovered(Recovered { slots, ..Recovered::default() });
    let mut asked = Vec::new();
    loop {
        let (deletions, others): (Vec<_>, Vec<_>) = bench.effects.drain(..).partition(|effect| {
            matches!(effect, Effect::AgentControl(AgentControl::EndSession { delete: true, .. }))
        });
        bench.effects = others;
        assert!(deletions.len() <= FORGOTTEN_AT_ONCE_MAX);
        let keys = deletions.into_iter().filter_map(|effect| match effect {
            Effect::AgentControl(AgentControl::EndSession { session_key, .. }) => Some(session_key),
            _ => None,
        });
        let keys: Vec<String> = keys.collect();
        if keys.is_empty() {
            break;
        }
        for session_key in keys {
            asked.push(session_key.clone());
            bench.handle(Event::Agent(AgentEvent::Forgotten { session_key, result: Ok(()) }));
        }
        bench.keep();
    }
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), 1_000);
}

/// The deletions that the agent thread was asked for since the last call.
fn asked_for(bench: &mut Bench) -> Vec<String> {
    let effects = std::mem::take(&mut bench.effects);
    let (keys, rest): (Vec<_>, Vec<_>) = effects.into_iter().partition(|effect| {
        matches!(effect, Effect::AgentControl(AgentControl::EndSession { delete: true, .. }))
    });
    bench.effects = rest;
    let key = |effect| match effect {
        Effect::AgentControl(AgentControl::EndSession { session_key, .. }) => session_key,
        other => panic!("no deletion: {other:?}"),
    };
    keys.into_iter().map(key).collect()
}

#[test]
fn many_at_once_wait_for_their_turn_and_too_many_are_refused() {
    let mut bench = bench();
    for number in 0..5_000 {
        bench.request(
            1,
            &number.to_string(),
            "session-forget",
            json!({ "sessionKey": format!("k{number}") }),
        );
        if number % 128 == 0 {
            bench.keep();
        }
    }
    bench.keep();
    let refused = bench.answers();
    assert!(refused.iter().all(|(_, answer)| answer["error"]["code"] == "RATE_LIMITED"), "{refused:?}");
    let (mut deleted, mut answered) = (Vec::new(), refused.len());
    loop {
        let keys = asked_for(&mut bench);
        if keys.is_empty() {
            break;
        }
        assert!(keys.len() <= FORGOTTEN_AT_ONCE_MAX, "{} at once", keys.len());
        for session_key in keys {
            deleted.push(session_key.clone());
            bench.handle(Event::Agent(AgentEvent::Forgotten { session_key, result: Ok(()) }));
            bench.keep();
        }
        let answers = bench.answers();
        assert!(answers.iter().all(|(_, answer)| answer["ok"] == true), "{answers:?}");
        answered += answers.len();
    }
    assert_eq!(answered, 5_000, "each is answered");
    assert!(deleted.len() >= FORGETS_WAITING_MAX && deleted.len() == 5_000 - refused.len());
}

#[test]
fn many_who_wait_for_the_same_one_are_refused_too() {
    let mut bench = bench();
    for number in 0..5_000 {
        bench.forget(&number.to_string());
        bench.keep();
    }
    let refused = bench.answers().len();
    assert!(refused >= 5_000 - FORGETS_WAITING_MAX, "{} wait", 5_000 - refused);
}

#[test]
fn an_agent_thread_that_is_faster_than_the_disk_waits_for_it() {
    let slots = (0..3_000).map(|number| (format!("forget/{number:04}"), "true".to_owned())).collect();
    let mut bench = Bench::with_unkept(super::config(), Recovered { slots, ..Recovered::default() });
    for _ in 0..3_000 {
        for session_key in asked_for(&mut bench) {
            bench.handle(Event::Agent(AgentEvent::Forgotten { session_key, result: Ok(()) }));
        }
    }
    let waiting = bench.take_store().len();
    assert!(waiting <= STORE_INBOX + FORGOTTEN_AT_ONCE_MAX, "{waiting} commands wait for the disk");
}

#[test]
fn what_is_too_much_for_one_life_is_left_to_the_next() {
    let slots = (0..50_000).map(|number| (format!("forget/{number:05}"), "true".to_owned())).collect();
    let bench = Bench::recovered(Recovered { slots, ..Recovered::default() });
    let forgetting = &bench.state.forgetting;
    assert!(forgetting.left.len() + forgetting.under_way.len() <= FORGETS_LEFT_MAX);
}

const PERSON: &str = "730418265";

/// A gateway that PERSON may write to, within that many runs a day.
fn acquainted(runs_per_person: u64) -> Harness {
    let mut config = settings();
    config.agent.daily_runs_per_person = runs_per_person;
    config.channels.by_channel.get_mut(&Channel::Telegram).unwrap().allowed.push(PERSON.into());
    Harness::with(config)
}

fn traces(harness: &Harness) -> Vec<String> {
    let lines = harness.disk.iter().map(|(slot, value)| format!("{slot} {value}"));
    lines.filter(|line| [PERSON, "tangerine"].iter().any(|trace| line.contains(trace))).collect()
}

fn forget(harness: &mut Harness) {
    forget_session(harness, &format!("dm:telegram:{PERSON}"));
}

fn forget_session(harness: &mut Harness, session_key: &str) {
    harness.bench.request(1, "forget", "session-forget", json!({ "sessionKey": session_key }));
    harness.keep();
    let session_key = session_key.to_owned();
    harness.bench.handle(Event::Agent(AgentEvent::Forgotten { session_key, result: Ok(()) }));
    harness.keep();
}

#[test]
fn what_was_spent_stays_spent_under_no_name() {
    let mut harness = acquainted(1);
    for key in ["1", "2"] {
        harness.say(message(key, PERSON, PERSON, "a tangerine"));
        if key == "1" {
            let run = harness.run();
            harness.answer(&run, "ok");
        }
        harness.deliveries();
    }
    let today = |harness: &Harness| harness.disk["today"].clone();
    assert_eq!(today(&harness).matches(PERSON).count(), 2, "counted and told: {}", today(&harness));
    forget(&mut harness);
    assert!(today(&harness).contains(r#""forgotten":1"#), "{}", today(&harness));
    assert_eq!(traces(&harness), Vec::<String>::new());
    harness.restart();
    harness.bench.request(1, "s", "status", json!({}));
    let answers = harness.bench.answers();
    let status = &answers.last().unwrap().1["payload"]["today"];
    assert_eq!((&status["runs"], &status["runsByPerson"]), (&json!(1), &json!({ "forgotten": 1 })));
}

#[test]
fn a_message_under_way_to_somebody_who_is_forgotten_leaves_nothing() {
    for arrives in [true, false] {
        let mut harness = acquainted(9);
        let send = |harness: &mut Harness, key: &str| {
            let params = json!({ "to": format!("telegram:{PERSON}"), "message": "a tangerine", "idempotencyKey": key });
            harness.bench.request(1, key, "send", params);
            harness.keep();
        };
        send(&mut harness, "first");
        send(&mut harness, "second");
        let attempt = harness.attempts().remove(0);
        forget(&mut harness);
        // What had not begun is not sent any more, and whoever waits for it is told.
        let answers = harness.bench.answers();
        let second = &answers.iter().find(|(_, answer)| answer["id"] == "second").expect("an answer").1;
        assert!(second["error"]["message"].to_string().contains("forgotten"), "{second}");
        let outcome = if arrives {
            AttemptOutcome::Sent { message_id: "77".into(), chat: None }
        } else {
            AttemptOutcome::NotSent { why: "no network".into(), retry_after: None }
        };
        harness.outcome(&attempt, outcome);
        // Its caller learns what became of it, and nobody else.
        let first = harness.bench.answer();
        assert_eq!((&first["id"], &first["ok"]), (&json!("first"), &json!(arrives)));
        assert!(!arrives || first["payload"]["chatId"] == PERSON);
        assert_eq!(traces(&harness), Vec::<String>::new());
        harness.restart();
        send(&mut harness, "first");
        let again = harness.bench.answer();
        assert!(harness.attempts().is_empty() && !again.to_string().contains(PERSON), "{again}");
        assert_eq!(traces(&harness), Vec::<String>::new());
    }
}

#[test]
fn a_run_of_a_session_that_is_forgotten_says_nothing_more() {
    for waits in [false, true] {
        let mut harness = acquainted(9);
        let busy = waits.then(|| {
            harness.say(message("1", "1", "1", "the owner asks"));
            harness.run()
        });
        harness.say(message("2", PERSON, PERSON, "a tangerine"));
        let run = busy.unwrap_or_else(|| harness.run());
        forget(&mut harness);
        harness.bench.end(&run.run_id, RunStatus::Cancelled, "");
        harness.keep();
        for attempt in harness.attempts() {
            assert_ne!(attempt.route.chat, PERSON, "waits: {waits}");
            harness.outcome(&attempt, AttemptOutcome::Refused { why: "blocked by the user".into() });
        }
        assert_eq!(traces(&harness), Vec::<String>::new(), "waits: {waits}");
        let sessions = harness.ask("sessions-list", json!({})).to_string();
        assert!(!sessions.contains(PERSON), "waits: {waits}: {sessions}");
    }
}

#[test]
fn what_could_not_be_understood_goes_with_a_session_of_its_channel() {
    let garbled = Arrival::Garbled { key: "9/7".into(), why: "?".into(), raw: format!("{PERSON} tangerine") };
    let arrivals = vec![garbled];
    for (session_key, goes) in [
        (format!("dm:telegram:{PERSON}"), true),
        ("group:telegram:-5".to_owned(), true),
        ("main".to_owned(), true),
        ("dm:whatsapp:+15550001111".to_owned(), false),
        ("web:1".to_owned(), false),
    ] {
        let mut harness = acquainted(9);
        let batch = Batch { channel: Channel::Telegram, arrivals: arrivals.clone(), cursor: None };
        harness.bench.handle(Event::Channel(ChannelEvent::Arrived(batch)));
        harness.keep();
        assert_eq!(traces(&harness).len(), 1);
        forget_session(&mut harness, &session_key);
        assert_eq!(traces(&harness).is_empty(), goes, "{session_key}");
    }
}

#[test]
fn a_refused_person_is_no_longer_listed_once_forgotten() {
    let mut harness = Harness::new();
    harness.say(message("1", PERSON, PERSON, "a tangerine"));
    let refused = |harness: &mut Harness| {
        harness.bench.request(1, "s", "status", json!({}));
        harness.bench.answers().pop().unwrap().1["payload"]["refused"].to_string()
    };
    assert!(refused(&mut harness).contains(PERSON));
    forget(&mut harness);
    assert!(!refused(&mut harness).contains(PERSON));
}

#[test]
fn a_group_that_is_forgotten_takes_those_along_who_have_nothing_else() {
    let mut harness = Harness::new();
    let ask = |harness: &mut Harness, key: &str, chat: &str, from: &str| {
        harness.say(message(key, chat, from, "a tangerine"));
        let run = harness.run();
        harness.answer(&run, "ok");
        harness.deliveries();
    };
    let today =
        |harness: &mut Harness| harness.ask("status", json!({}))["payload"]["today"]["runsByPerson"].clone();
    // PERSON asks there alone; 3 in another group, too, and 2 in a chat of their own.
    ask(&mut harness, "1", "-6", PERSON);
    ask(&mut harness, "2", "-6", "3");
    ask(&mut harness, "3", "-6", "2");
    ask(&mut harness, "4", "-6", "1");
    ask(&mut harness, "5", "2", "2");
    harness.ask("channel-allow", json!({ "channel": "telegram", "id": "3" }));
    ask(&mut harness, "6", "-5", "3");
    harness.restart();
    forget_session(&mut harness, "group:telegram:-6");
    assert_eq!(traces(&harness), Vec::<String>::new());
    let left = json!({ "forgotten": 1, "owner": 1, "telegram:2": 2, "telegram:3": 2 });
    assert_eq!(today(&mut harness), left);
    forget_session(&mut harness, "group:telegram:-5");
    forget_session(&mut harness, "dm:telegram:2");
    assert_eq!(today(&mut harness), json!({ "forgotten": 5, "owner": 1 }));
    assert!(!harness.disk["today"].contains("telegram"), "{}", harness.disk["today"]);
}

#[test]
fn a_group_member_who_was_told_that_the_day_is_used_up_is_forgotten_too() {
    let mut config = settings();
    config.agent.daily_runs_per_person = 0;
    let mut harness = Harness::with(config);
    harness.say(message("1", "-6", PERSON, "a tangerine"));
    harness.deliveries();
    assert!(harness.disk["today"].contains(PERSON));
    forget_session(&mut harness, "group:telegram:-6");
    // What the owner was told is on record in the owner's session.
    assert!(!harness.disk["today"].contains(PERSON), "{}", harness.disk["today"]);
}

#[test]
fn a_group_that_was_refused_is_no_longer_listed_once_forgotten() {
    let mut harness = Harness::new();
    let refused = |harness: &mut Harness| harness.ask("status", json!({}))["payload"]["refused"].to_string();
    for session in ["group:telegram:-77", "group:telegram:-77:9"] {
        harness.say(message(session, "-77", PERSON, "a tangerine"));
        assert!(refused(&mut harness).contains(PERSON));
        forget_session(&mut harness, session);
        assert_eq!(refused(&mut harness), "[]");
    }
}

#[test]
fn names_of_answered_messages_are_no_addresses() {
    // As a former version wrote them.
    let raw = "whatsapp/15550001111@s.whatsapp.net/3EB0/+15550001111";
    let slots = [(format!("inbox/{raw}"), r#"{"d":5}"#.to_owned())].into();
    let mut bench = Bench::with_unkept(super::config(), Recovered { slots, ..Recovered::default() });
    let ops = bench.take_store().remove(0).ops;
    assert!(ops.contains(&StoreOp::Delete { slot: format!("inbox/{raw}") }), "{ops:?}");
    let written = ops.iter().find_map(|op| match op {
        StoreOp::Put { slot, value } if slot.starts_with("inbox/whatsapp/") => Some((slot, value)),
        _ => None,
    });
    let is_anonymous = |(slot, value): (&String, &String)| !slot.contains("1555") && value == r#"{"d":5}"#;
    assert!(written.is_some_and(is_anonymous), "{ops:?}");
}
