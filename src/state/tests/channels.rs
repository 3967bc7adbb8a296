//! Messages from people: who is let in, what becomes of them, and that a stop at any moment
//! answers each of them once.

use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Harness, message, settings};
use crate::agent::RunStep;
use crate::channels::delivery::{AttemptOutcome, FetchedFile};
use crate::channels::message::{Arrival, Batch, Inbound, InboundMedia, MediaKind};
use crate::channels::{ChannelCommand, ChannelEvent};
use crate::protocol::call::Channel;
use crate::protocol::event::EventKind;
use crate::protocol::payload::RunStatus;
use crate::state::Event;
use crate::store::{StoreEvent, StoreOp};

#[test]
fn a_question_is_on_record_before_the_place_moves_and_answered_where_it_came_from() {
    let mut harness = Harness::new();
    harness.arrive(vec![message("1", "2", "2", "hello")]);
    assert!(
        harness.acknowledged().is_empty() && harness.bench.started_runs().is_empty(),
        "nothing is durable yet"
    );
    harness.keep();
    assert_eq!(harness.acknowledged(), [Ok(())]);
    assert_eq!(harness.disk["place/telegram/9"], "7");
    let run = harness.run();
    assert_eq!((run.session_key.as_str(), run.prompt.as_str()), ("dm:telegram:2", "hello"));
    assert_eq!(harness.typing(), [("2".to_owned(), true)]);
    harness.answer(&run, "hi");
    assert_eq!(harness.typing(), [("2".to_owned(), false)]);
    assert_eq!(harness.deliveries(), [("2".to_owned(), "hi".to_owned())]);
    assert!(!harness.disk.keys().any(|slot| slot.starts_with("outbox/")), "{:?}", harness.disk);
    let shown: Vec<_> = harness
        .bench
        .events()
        .into_iter()
        .filter(|(kind, ..)| *kind == EventKind::Message)
        .map(|(_, event, _)| (event["direction"].clone(), event["text"].clone(), event["status"].clone()))
        .collect();
    let out = |status: &str| (json!("out"), json!("hi"), json!(status));
    assert_eq!(shown, [(json!("in"), json!("hello"), json!(null)), out("queued"), out("sent")]);
    assert!(
        harness.said.iter().any(|record| record.contains("\"channel\":\"telegram\"")),
        "{:?}",
        harness.said
    );
}

#[test]
fn strangers_get_silence_and_are_listed() {
    let mut harness = Harness::new();
    harness.say(message("1", "3", "3", "let me in"));
    harness.say(message("2", "3", "3", "please"));
    assert_eq!(harness.acknowledged(), [Ok(()), Ok(())]);
    assert!(harness.bench.started_runs().is_empty() && harness.deliveries().is_empty());
    assert_eq!(harness.disk.len(), 2, "not worth a write: {:?}", harness.disk);
    harness.bench.request(1, "s", "status", json!({}));
    let refused = harness.bench.answer()["payload"]["refused"].clone();
    assert_eq!((&refused[0]["id"], &refused[0]["count"]), (&json!("3"), &json!(2)));
    harness.bench.request(1, "a", "channel-allow", json!({ "channel": "telegram", "id": "3" }));
    harness.keep();
    assert_eq!(
        harness.bench.answer()["payload"],
        json!({ "channel": "telegram", "id": "3", "allowed": true, "owner": false })
    );
    harness.restart();
    harness.say(message("3", "3", "3", "now?"));
    assert_eq!(harness.run().session_key, "dm:telegram:3");
}

#[test]
fn a_group_that_is_let_in_is_allowed_until_it_is_shut_out() {
    let mut harness = Harness::new();
    let mut ask = |params: Value| {
        harness.bench.request(1, "a", "channel-allow", params);
        harness.keep();
        harness.bench.answer()["payload"].clone()
    };
    let group =
        |allowed: bool| json!({ "channel": "telegram", "id": "-100", "allowed": allowed, "owner": false });
    assert_eq!(ask(json!({ "channel": "telegram", "id": "-100" })), group(true));
    assert_eq!(ask(json!({ "channel": "telegram", "id": "-100", "remove": true })), group(false));
}

#[test]
fn what_is_handed_over_again_is_not_asked_again() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "hello"));
    harness.say(message("1", "2", "2", "hello"));
    let run = harness.run();
    harness.answer(&run, "hi");
    harness.deliveries();
    harness.say(message("1", "2", "2", "hello"));
    assert_eq!(harness.acknowledged().len(), 3);
    harness.restart();
    harness.say(message("1", "2", "2", "hello"));
    assert!(harness.bench.started_runs().is_empty() && harness.deliveries().is_empty());
}

#[test]
fn groups_need_a_mention_and_know_who_speaks() {
    let mut harness = Harness::new();
    let mut aside = message("1", "-5", "2", "just talking");
    aside.addressed = false;
    harness.say(aside);
    assert!(harness.bench.started_runs().is_empty());
    harness.say(message("2", "-5", "2", "what do you think?"));
    let run = harness.run();
    assert_eq!(run.session_key, "group:telegram:-5");
    let lines: Vec<&str> = run.prompt.lines().skip(1).collect();
    let before = ["[Said in this group before, not to you:]", "[Name2 (telegram:2)]", "| just talking"];
    assert_eq!(lines[..3], before, "{}", run.prompt);
    assert!(lines[3].starts_with("[Name2 (telegram:2), 20"), "{}", run.prompt);
    assert_eq!(lines[4..], ["| what do you think?"]);
    harness.answer(&run, "this");
    let attempt = harness.attempts().remove(0);
    assert_eq!((attempt.route.chat.as_str(), attempt.reply_to.as_deref()), ("-5", Some("2")));
    // A stranger in a group that is listened to, and a group that is not.
    harness.say(message("3", "-5", "4", "me too"));
    harness.say(message("4", "-7", "2", "and here?"));
    assert!(harness.bench.started_runs().is_empty());
    // Where everybody may speak, and need not say to whom.
    let mut open = message("5", "-6", "4", "anybody?");
    open.addressed = false;
    open.route.topic = Some("8".into());
    harness.say(open);
    let run = harness.run();
    assert_eq!(run.session_key, "group:telegram:-6:8");
}

#[test]
fn lines_typed_in_a_burst_get_one_answer() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "one"));
    let first = harness.run();
    harness.say(message("2", "2", "2", "two"));
    harness.say(message("3", "2", "2", "three"));
    harness.answer(&first, "first");
    let second = harness.run();
    assert!(second.prompt.contains("two") && second.prompt.contains("three"), "{}", second.prompt);
    harness.bench.end(&second.run_id, RunStatus::Ok, "both");
    let commands = harness.bench.take_store();
    let done = |op: &&StoreOp| matches!(op, StoreOp::Put { slot, value } if slot.starts_with("inbox/") && value.starts_with("{\"d\""));
    let in_one = commands.iter().filter(|command| command.ops.iter().filter(done).count() == 2);
    assert_eq!(in_one.count(), 1, "both are answered in one write, or a crash would ask one again");
    for command in commands {
        let done = StoreEvent::Done { ticket: command.ticket, result: Ok(()), back: Vec::new() };
        harness.bench.handle(Event::Store(done));
    }
    harness.keep();
    let deliveries: Vec<String> = harness.deliveries().into_iter().map(|(_, text)| text).collect();
    assert_eq!(deliveries, ["first", "both"]);
}

#[test]
fn a_stop_at_any_write_answers_once() {
    // Each restart is before one more write than the last.
    for writes in 0..8_usize {
        let mut harness = Harness::new();
        harness.arrive(vec![message("1", "2", "2", "hello")]);
        let mut delivered = 0;
        let mut left = writes;
        let mut restarted = false;
        for _ in 0..50 {
            if left == 0 && !restarted {
                restarted = true;
                let was_taken = harness.disk.keys().any(|slot| slot.starts_with("inbox/"));
                harness.restart();
                if !was_taken {
                    harness.arrive(vec![message("1", "2", "2", "hello")]);
                }
            }
            for command in harness.bench.take_store() {
                left = left.saturating_sub(1);
                harness.write(vec![command]);
            }
            for run in harness.bench.started_runs() {
                harness.bench.step(&run.run_id, RunStep::Started);
                harness.bench.end(&run.run_id, RunStatus::Ok, "hi");
            }
            for attempt in harness.attempts() {
                delivered += 1;
                let outcome = AttemptOutcome::Sent { message_id: "1".into(), chat: None };
                harness.bench.handle(Event::Channel(ChannelEvent::Outcome { id: attempt.id, outcome }));
            }
        }
        assert_eq!(delivered, 1, "stopped before write {writes}");
    }
}

#[test]
fn a_part_that_was_being_sent_is_reported_and_not_repeated() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "hello"));
    let run = harness.run();
    harness.answer(&run, "hi");
    assert_eq!(harness.attempts().len(), 1);
    harness.restart();
    harness.keep();
    assert!(harness.attempts().is_empty());
    assert!(harness.said.last().unwrap().contains("outcome unknown"), "{:?}", harness.said);
    assert!(!harness.disk.keys().any(|slot| slot.starts_with("outbox/")));
}

#[test]
fn what_was_surely_not_sent_goes_later_and_in_order() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "a"));
    let run = harness.run();
    harness.answer(&run, "one");
    let attempt = harness.attempts().remove(0);
    let pause = Duration::from_secs(3);
    let outcome = AttemptOutcome::NotSent { why: "slow down".into(), retry_after: Some(pause) };
    harness.outcome(&attempt, outcome);
    harness.say(message("2", "2", "2", "b"));
    let run = harness.run();
    harness.answer(&run, "two");
    assert!(harness.attempts().is_empty(), "the second waits for the first");
    assert!(harness.bench.state.next_deadline().is_some());
    harness.bench.pass(pause);
    harness.keep();
    let deliveries: Vec<String> = harness.deliveries().into_iter().map(|(_, text)| text).collect();
    assert_eq!(deliveries, ["one", "two"]);
}

#[test]
fn failures_are_seen_in_the_chat_without_their_cause() {
    let mut harness = Harness::new();
    for (n, status, line) in
        [(1, RunStatus::Error, "Sorry, I could not"), (2, RunStatus::Timeout, "Sorry, that took too long")]
    {
        harness.say(message(&n.to_string(), "2", "2", "hello"));
        let run = harness.run();
        harness.bench.end(&run.run_id, status, "exit code 7 in /root-secret");
        harness.keep();
        let deliveries = harness.deliveries();
        assert!(deliveries.len() == 1 && deliveries[0].1.starts_with(line), "{deliveries:?}");
        assert!(!deliveries[0].1.contains("secret"));
    }
}

#[test]
fn over_budget_there_is_one_line_and_one_notice() {
    let mut config = settings();
    (config.agent.daily_runs, config.agent.daily_runs_per_person) = (10, 1);
    let mut harness = Harness::with(config);
    harness.say(message("1", "2", "2", "a"));
    let run = harness.run();
    harness.answer(&run, "one");
    harness.deliveries();
    harness.say(message("2", "2", "2", "b"));
    harness.say(message("3", "2", "2", "c"));
    let deliveries = harness.deliveries();
    assert_eq!(
        deliveries.iter().map(|(chat, _)| chat.as_str()).collect::<Vec<_>>(),
        ["2", "1"],
        "{deliveries:?}"
    );
    assert!(deliveries[1].1.contains("telegram:2"), "{deliveries:?}");
}

#[test]
fn old_messages_are_listed_to_the_owner() {
    let mut harness = Harness::new();
    harness.bench.now.wall_ms += 10_000_000;
    let mut old = message("1", "2", "2", "are you there?");
    old.ts = harness.bench.now.wall_ms - 3_600_001;
    harness.say(old.clone());
    assert!(harness.bench.started_runs().is_empty());
    let deliveries = harness.deliveries();
    assert!(
        deliveries.len() == 1 && deliveries[0].0 == "1" && deliveries[0].1.contains("are you there?"),
        "{deliveries:?}"
    );
    harness.say(old);
    assert!(harness.deliveries().is_empty(), "once");
}

#[test]
fn an_album_becomes_one_question_with_its_pictures() {
    let mut harness = Harness::new();
    let piece = |key: &str, text: &str| Inbound {
        album: Some("al".into()),
        media: vec![InboundMedia {
            handle: format!("f{key}"),
            ..InboundMedia::nameless(MediaKind::Image, "image/jpeg", 5)
        }],
        ..message(key, "1", "1", text)
    };
    harness.say(piece("1", "look"));
    harness.say(piece("2", ""));
    let fetches = harness.commands(|command| match command {
        ChannelCommand::Fetch(fetch) => Some((fetch.key.clone(), fetch.index, fetch.folder.clone())),
        _ => None,
    });
    assert_eq!(fetches.len(), 2);
    let folder = std::path::Path::new("/media").join(crate::store::file_name("main"));
    assert!(fetches.iter().all(|fetch| fetch.2 == folder), "{fetches:?}");
    for (key, index, folder) in fetches {
        let file = FetchedFile { path: folder.join(&key), mime_type: "image/jpeg".into(), bytes: 5 };
        let result = if key == "9/1" { Ok(file) } else { Err("it is gone".to_owned()) };
        harness.bench.handle(Event::Channel(ChannelEvent::Fetched {
            channel: Channel::Telegram,
            key,
            index,
            result,
        }));
    }
    assert!(harness.bench.started_runs().is_empty(), "more may come");
    harness.bench.pass(Duration::from_millis(1_001));
    harness.keep();
    let run = harness.run();
    assert_eq!((run.session_key.as_str(), run.image_files.len()), ("main", 1));
    let deliveries = harness.deliveries();
    assert_eq!(deliveries, [("1".to_owned(), "I could not take the picture (it is gone).".to_owned())]);
}

#[test]
fn a_file_that_comes_when_its_session_was_forgotten_is_removed() {
    let mut harness = Harness::new();
    let media = InboundMedia::nameless(MediaKind::Document, "text/plain", 5);
    harness.say(Inbound { media: vec![media], ..message("1", "2", "2", "look") });
    harness.bench.request(1, "f", "session-forget", json!({ "sessionKey": "dm:telegram:2" }));
    harness.keep();
    let path = std::path::PathBuf::from("/media/x/0-file.txt");
    let file = FetchedFile { path: path.clone(), mime_type: "text/plain".into(), bytes: 5 };
    for result in [Err("it is gone".to_owned()), Ok(file)] {
        let (channel, key) = (Channel::Telegram, "9/1".to_owned());
        harness.bench.handle(Event::Channel(ChannelEvent::Fetched { channel, key, index: 0, result }));
    }
    let removed = harness.commands(|command| match command {
        ChannelCommand::Discard { path } => Some(path.clone()),
        _ => None,
    });
    assert_eq!(removed, [path]);
}

#[test]
fn a_stopping_gateway_leaves_questions_for_its_next_life() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "hello"));
    let run = harness.run();
    let stop = Event::Stop { reason: "bye".into(), restart_expected_ms: None };
    harness.bench.handle(stop);
    harness.bench.end(&run.run_id, RunStatus::Cancelled, "the gateway is stopping");
    harness.keep();
    assert!(harness.attempts().is_empty());
    harness.restart();
    harness.keep();
    let again = harness.run();
    assert!(
        again.prompt.ends_with("\n| hello") && again.prompt.contains("\n[This was being worked on"),
        "{}",
        again.prompt
    );
}

#[test]
fn only_the_owner_pauses_and_a_paused_gateway_says_so() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "/pause"));
    assert_eq!(harness.deliveries(), [("2".to_owned(), "Only the owner can do that.".to_owned())]);
    harness.say(message("2", "1", "1", "/pause"));
    assert!(harness.deliveries()[0].1.starts_with("Everything is paused"));
    harness.say(message("3", "2", "2", "hello?"));
    assert!(harness.deliveries()[0].1.starts_with("I am paused"));
    harness.say(message("4", "1", "1", "/resume"));
    harness.deliveries();
    harness.say(message("5", "2", "2", "hello?"));
    harness.run();
}

#[test]
fn who_waits_in_line_is_told_once() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "first"));
    let first = harness.run();
    harness.say(message("2", "1", "1", "second"));
    assert!(harness.bench.started_runs().is_empty(), "the agent has its hands full");
    harness.bench.pass(Duration::from_secs(5));
    harness.keep();
    let deliveries = harness.deliveries();
    assert!(
        deliveries.len() == 1 && deliveries[0].0 == "1" && deliveries[0].1.contains("in line"),
        "{deliveries:?}"
    );
    harness.bench.pass(Duration::from_secs(50));
    harness.keep();
    assert!(harness.deliveries().is_empty());
    harness.answer(&first, "one");
    assert_eq!(harness.deliveries().len(), 1);
}

#[test]
fn a_group_that_moved_keeps_its_session() {
    let mut harness = Harness::new();
    let batch = Batch {
        channel: Channel::Telegram,
        arrivals: vec![Arrival::Migrated { key: "9/1".into(), from: "-5".into(), to: "-1005".into() }],
        cursor: None,
    };
    harness.bench.handle(Event::Channel(ChannelEvent::Arrived(batch)));
    harness.keep();
    harness.restart();
    harness.say(message("2", "-1005", "2", "still here?"));
    let run = harness.run();
    assert_eq!(run.session_key, "group:telegram:-5");
    harness.answer(&run, "yes");
    let attempt = harness.attempts().remove(0);
    assert_eq!(attempt.route.chat, "-1005");
    harness.outcome(&attempt, AttemptOutcome::Moved { chat: "-1006".into() });
    harness.bench.pass(Duration::from_secs(1));
    harness.keep();
    assert_eq!(harness.deliveries(), [("-1006".to_owned(), "yes".to_owned())]);
}

#[test]
fn a_full_disk_keeps_the_place() {
    let mut harness = Harness::new();
    harness.arrive(vec![message("1", "2", "2", "hello")]);
    for command in harness.bench.take_store() {
        let result = Err("the disk is full".to_owned());
        harness.bench.handle(Event::Store(StoreEvent::Done {
            ticket: command.ticket,
            result,
            back: command.ops,
        }));
    }
    assert!(matches!(harness.acknowledged()[..], [Err(_)]));
    harness.say(message("1", "2", "2", "hello"));
    assert_eq!(harness.acknowledged(), [Ok(())]);
    harness.run();
}
