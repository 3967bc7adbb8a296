//! Messages from people: who is let in, what becomes of them, and that a stop at any moment
//! answers each of them once.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{World, message, settings};
use crate::agent::RunStep;
use crate::channels::delivery::{AttemptOutcome, FetchedFile};
use crate::channels::message::{Arrival, Batch, Inbound, InboundMedia, MediaKind};
use crate::channels::{ChannelCommand, ChannelEvent};
use crate::protocol::call::Channel;
use crate::protocol::event::EventKind;
use crate::protocol::payload::RunStatus;
use crate::state::Event;
use crate::state::model::budget::Limits;
use crate::store::{StoreEvent, StoreOp};

#[test]
fn a_question_is_on_record_before_the_place_moves_and_answered_where_it_came_from() {
    let mut world = World::new();
    world.arrive(vec![message("1", "2", "2", "hello")]);
    assert!(world.taken().is_empty() && world.bench.started_runs().is_empty(), "nothing is durable yet");
    world.keep();
    assert_eq!(world.taken(), [Ok(())]);
    assert_eq!(world.disk["place/telegram/9"], "7");
    let run = world.run();
    assert_eq!((run.session_key.as_str(), run.prompt.as_str()), ("dm:telegram:2", "hello"));
    assert_eq!(world.typing(), [("2".to_owned(), true)]);
    world.answer(&run, "hi");
    assert_eq!(world.typing(), [("2".to_owned(), false)]);
    assert_eq!(world.letters(), [("2".to_owned(), "hi".to_owned())]);
    assert!(!world.disk.keys().any(|slot| slot.starts_with("outbox/")), "{:?}", world.disk);
    let shown: Vec<_> = world
        .bench
        .events()
        .into_iter()
        .filter(|(kind, ..)| *kind == EventKind::Message)
        .map(|(_, event, _)| (event["direction"].clone(), event["text"].clone(), event["status"].clone()))
        .collect();
    let out = |status: &str| (json!("out"), json!("hi"), json!(status));
    assert_eq!(shown, [(json!("in"), json!("hello"), json!(null)), out("queued"), out("sent")]);
    assert!(world.said.iter().any(|record| record.contains("\"channel\":\"telegram\"")), "{:?}", world.said);
}

#[test]
fn strangers_get_silence_and_are_listed() {
    let mut world = World::new();
    world.say(message("1", "3", "3", "let me in"));
    world.say(message("2", "3", "3", "please"));
    assert_eq!(world.taken(), [Ok(()), Ok(())]);
    assert!(world.bench.started_runs().is_empty() && world.letters().is_empty());
    assert_eq!(world.disk.len(), 2, "not worth a write: {:?}", world.disk);
    world.bench.request(1, "s", "status", json!({}));
    let refused = world.bench.answer()["payload"]["refused"].clone();
    assert_eq!((&refused[0]["id"], &refused[0]["count"]), (&json!("3"), &json!(2)));
    world.bench.request(1, "a", "channel-allow", json!({ "channel": "telegram", "id": "3" }));
    world.keep();
    assert_eq!(
        world.bench.answer()["payload"],
        json!({ "channel": "telegram", "id": "3", "allowed": true, "owner": false })
    );
    world.restart();
    world.say(message("3", "3", "3", "now?"));
    assert_eq!(world.run().session_key, "dm:telegram:3");
}

#[test]
fn a_group_that_is_let_in_is_allowed_until_it_is_shut_out() {
    let mut world = World::new();
    let mut ask = |params: Value| {
        world.bench.request(1, "a", "channel-allow", params);
        world.keep();
        world.bench.answer()["payload"].clone()
    };
    let group =
        |allowed: bool| json!({ "channel": "telegram", "id": "-100", "allowed": allowed, "owner": false });
    assert_eq!(ask(json!({ "channel": "telegram", "id": "-100" })), group(true));
    assert_eq!(ask(json!({ "channel": "telegram", "id": "-100", "remove": true })), group(false));
}

#[test]
fn what_is_handed_over_again_is_not_asked_again() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "hello"));
    world.say(message("1", "2", "2", "hello"));
    let run = world.run();
    world.answer(&run, "hi");
    world.letters();
    world.say(message("1", "2", "2", "hello"));
    assert_eq!(world.taken().len(), 3);
    world.restart();
    world.say(message("1", "2", "2", "hello"));
    assert!(world.bench.started_runs().is_empty() && world.letters().is_empty());
}

#[test]
fn groups_need_a_mention_and_know_who_speaks() {
    let mut world = World::new();
    let mut aside = message("1", "-5", "2", "just talking");
    aside.addressed = false;
    world.say(aside);
    assert!(world.bench.started_runs().is_empty());
    world.say(message("2", "-5", "2", "what do you think?"));
    let run = world.run();
    assert_eq!(run.session_key, "group:telegram:-5");
    let lines: Vec<&str> = run.prompt.lines().skip(1).collect();
    let before = ["[Said in this group before, not to you:]", "[Name2 (telegram:2)]", "| just talking"];
    assert_eq!(lines[..3], before, "{}", run.prompt);
    assert!(lines[3].starts_with("[Name2 (telegram:2), 20"), "{}", run.prompt);
    assert_eq!(lines[4..], ["| what do you think?"]);
    world.answer(&run, "this");
    let attempt = world.attempts().remove(0);
    assert_eq!((attempt.route.chat.as_str(), attempt.reply_to.as_deref()), ("-5", Some("2")));
    // A stranger in a group that is listened to, and a group that is not.
    world.say(message("3", "-5", "4", "me too"));
    world.say(message("4", "-7", "2", "and here?"));
    assert!(world.bench.started_runs().is_empty());
    // Where everybody may speak, and need not say to whom.
    let mut open = message("5", "-6", "4", "anybody?");
    open.addressed = false;
    open.route.topic = Some("8".into());
    world.say(open);
    let run = world.run();
    assert_eq!(run.session_key, "group:telegram:-6:8");
}

#[test]
fn lines_typed_in_a_burst_get_one_answer() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "one"));
    let first = world.run();
    world.say(message("2", "2", "2", "two"));
    world.say(message("3", "2", "2", "three"));
    world.answer(&first, "first");
    let second = world.run();
    assert!(second.prompt.contains("two") && second.prompt.contains("three"), "{}", second.prompt);
    world.bench.end(&second.run_id, RunStatus::Ok, "both");
    let commands = world.bench.take_store();
    let done = |op: &&StoreOp| matches!(op, StoreOp::Put { slot, value } if slot.starts_with("inbox/") && value.starts_with("{\"d\""));
    let in_one = commands.iter().filter(|command| command.ops.iter().filter(done).count() == 2);
    assert_eq!(in_one.count(), 1, "both are answered in one write, or a crash would ask one again");
    for command in commands {
        let done = StoreEvent::Done { ticket: command.ticket, result: Ok(()), back: Vec::new() };
        world.bench.handle(Event::Store(done));
    }
    world.keep();
    let letters: Vec<String> = world.letters().into_iter().map(|(_, text)| text).collect();
    assert_eq!(letters, ["first", "both"]);
}

#[test]
fn a_stop_at_any_write_answers_once() {
    // Each restart is before one more write than the last.
    for writes in 0..8_usize {
        let mut world = World::new();
        world.arrive(vec![message("1", "2", "2", "hello")]);
        let mut delivered = 0;
        let mut left = writes;
        let mut restarted = false;
        for _ in 0..50 {
            if left == 0 && !restarted {
                restarted = true;
                let was_taken = world.disk.keys().any(|slot| slot.starts_with("inbox/"));
                world.restart();
                if !was_taken {
                    world.arrive(vec![message("1", "2", "2", "hello")]);
                }
            }
            for command in world.bench.take_store() {
                left = left.saturating_sub(1);
                world.write(vec![command]);
            }
            for run in world.bench.started_runs() {
                world.bench.step(&run.run_id, RunStep::Started);
                world.bench.end(&run.run_id, RunStatus::Ok, "hi");
            }
            for attempt in world.attempts() {
                delivered += 1;
                let outcome = AttemptOutcome::Sent { message_id: "1".into(), chat: None };
                world.bench.handle(Event::Channel(ChannelEvent::Outcome { id: attempt.id, outcome }));
            }
        }
        assert_eq!(delivered, 1, "stopped before write {writes}");
    }
}

#[test]
fn a_part_that_was_being_sent_is_reported_and_not_repeated() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "hello"));
    let run = world.run();
    world.answer(&run, "hi");
    assert_eq!(world.attempts().len(), 1);
    world.restart();
    world.keep();
    assert!(world.attempts().is_empty());
    assert!(world.said.last().unwrap().contains("outcome unknown"), "{:?}", world.said);
    assert!(!world.disk.keys().any(|slot| slot.starts_with("outbox/")));
}

#[test]
fn what_was_surely_not_sent_goes_later_and_in_order() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "a"));
    let run = world.run();
    world.answer(&run, "one");
    let attempt = world.attempts().remove(0);
    let pause = Duration::from_secs(3);
    let outcome = AttemptOutcome::NotSent { why: "slow down".into(), retry_after: Some(pause) };
    world.outcome(&attempt, outcome);
    world.say(message("2", "2", "2", "b"));
    let run = world.run();
    world.answer(&run, "two");
    assert!(world.attempts().is_empty(), "the second waits for the first");
    assert!(world.bench.state.next_deadline().is_some());
    world.bench.pass(pause);
    world.keep();
    let letters: Vec<String> = world.letters().into_iter().map(|(_, text)| text).collect();
    assert_eq!(letters, ["one", "two"]);
}

#[test]
fn failures_are_seen_in_the_chat_without_their_cause() {
    let mut world = World::new();
    for (n, status, line) in
        [(1, RunStatus::Error, "Sorry, I could not"), (2, RunStatus::Timeout, "Sorry, that took too long")]
    {
        world.say(message(&n.to_string(), "2", "2", "hello"));
        let run = world.run();
        world.bench.end(&run.run_id, status, "exit code 7 in /root-secret");
        world.keep();
        let letters = world.letters();
        assert!(letters.len() == 1 && letters[0].1.starts_with(line), "{letters:?}");
        assert!(!letters[0].1.contains("secret"));
    }
}

#[test]
fn over_budget_there_is_one_line_and_one_notice() {
    let mut config = settings();
    config.budget = Limits { runs: 10, runs_per_person: 1 };
    let mut world = World::with(config);
    world.say(message("1", "2", "2", "a"));
    let run = world.run();
    world.answer(&run, "one");
    world.letters();
    world.say(message("2", "2", "2", "b"));
    world.say(message("3", "2", "2", "c"));
    let letters = world.letters();
    assert_eq!(letters.iter().map(|(chat, _)| chat.as_str()).collect::<Vec<_>>(), ["2", "1"], "{letters:?}");
    assert!(letters[1].1.contains("telegram:2"), "{letters:?}");
}

#[test]
fn old_messages_are_listed_to_the_owner() {
    let mut world = World::new();
    world.bench.now.wall_ms += 10_000_000;
    let mut old = message("1", "2", "2", "are you there?");
    old.ts = world.bench.now.wall_ms - 3_600_001;
    world.say(old.clone());
    assert!(world.bench.started_runs().is_empty());
    let letters = world.letters();
    assert!(
        letters.len() == 1 && letters[0].0 == "1" && letters[0].1.contains("are you there?"),
        "{letters:?}"
    );
    world.say(old);
    assert!(world.letters().is_empty(), "once");
}

#[test]
fn an_album_becomes_one_question_with_its_pictures() {
    let mut world = World::new();
    let piece = |key: &str, text: &str| Inbound {
        album: Some("al".into()),
        media: vec![InboundMedia {
            kind: MediaKind::Image,
            mime_type: "image/jpeg".into(),
            name: None,
            bytes: 5,
            handle: format!("f{key}"),
        }],
        ..message(key, "1", "1", text)
    };
    world.say(piece("1", "look"));
    world.say(piece("2", ""));
    let fetches = world.commands(|command| match command {
        ChannelCommand::Fetch { key, index, folder, .. } => Some((key.clone(), *index, folder.clone())),
        _ => None,
    });
    assert_eq!(fetches.len(), 2);
    let folder = std::path::Path::new("/media").join(crate::store::file_name("main"));
    assert!(fetches.iter().all(|fetch| fetch.2 == folder), "{fetches:?}");
    for (key, index, folder) in fetches {
        let file = FetchedFile { path: folder.join(&key), mime_type: "image/jpeg".into(), bytes: 5 };
        let result = if key == "9/1" { Ok(file) } else { Err("it is gone".to_owned()) };
        world.bench.handle(Event::Channel(ChannelEvent::Fetched {
            channel: Channel::Telegram,
            key,
            index,
            result,
        }));
    }
    assert!(world.bench.started_runs().is_empty(), "more may come");
    world.bench.pass(Duration::from_millis(1_001));
    world.keep();
    let run = world.run();
    assert_eq!((run.session_key.as_str(), run.image_files.len()), ("main", 1));
    let letters = world.letters();
    assert_eq!(letters, [("1".to_owned(), "I could not take the picture (it is gone).".to_owned())]);
}

#[test]
fn a_file_that_comes_when_its_session_was_forgotten_is_removed() {
    let mut world = World::new();
    let media = InboundMedia {
        kind: MediaKind::Document,
        mime_type: "text/plain".into(),
        name: None,
        bytes: 5,
        handle: "f".into(),
    };
    world.say(Inbound { media: vec![media], ..message("1", "2", "2", "look") });
    world.bench.request(1, "f", "session-forget", json!({ "sessionKey": "dm:telegram:2" }));
    world.keep();
    let path = std::path::PathBuf::from("/media/x/0-file.txt");
    let file = FetchedFile { path: path.clone(), mime_type: "text/plain".into(), bytes: 5 };
    for result in [Err("it is gone".to_owned()), Ok(file)] {
        let (channel, key) = (Channel::Telegram, "9/1".to_owned());
        world.bench.handle(Event::Channel(ChannelEvent::Fetched { channel, key, index: 0, result }));
    }
    let removed = world.commands(|command| match command {
        ChannelCommand::Drop { path } => Some(path.clone()),
        _ => None,
    });
    assert_eq!(removed, [path]);
}

#[test]
fn a_stopping_gateway_leaves_questions_for_its_next_life() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "hello"));
    let run = world.run();
    let stop = Event::Stop { reason: "bye".into(), restart_expected_ms: None };
    world.bench.handle(stop);
    world.bench.end(&run.run_id, RunStatus::Cancelled, "the gateway is stopping");
    world.keep();
    assert!(world.attempts().is_empty());
    world.restart();
    world.keep();
    let again = world.run();
    assert!(
        again.prompt.ends_with("\n| hello") && again.prompt.contains("\n[This was being worked on"),
        "{}",
        again.prompt
    );
}

#[test]
fn only_the_owner_pauses_and_a_paused_gateway_says_so() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "/pause"));
    assert_eq!(world.letters(), [("2".to_owned(), "Only the owner can do that.".to_owned())]);
    world.say(message("2", "1", "1", "/pause"));
    assert!(world.letters()[0].1.starts_with("Everything is paused"));
    world.say(message("3", "2", "2", "hello?"));
    assert!(world.letters()[0].1.starts_with("I am paused"));
    world.say(message("4", "1", "1", "/resume"));
    world.letters();
    world.say(message("5", "2", "2", "hello?"));
    world.run();
}

#[test]
fn who_waits_in_line_is_told_once() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "first"));
    let first = world.run();
    world.say(message("2", "1", "1", "second"));
    assert!(world.bench.started_runs().is_empty(), "the agent has its hands full");
    world.bench.pass(Duration::from_secs(5));
    world.keep();
    let letters = world.letters();
    assert!(letters.len() == 1 && letters[0].0 == "1" && letters[0].1.contains("in line"), "{letters:?}");
    world.bench.pass(Duration::from_secs(50));
    world.keep();
    assert!(world.letters().is_empty());
    world.answer(&first, "one");
    assert_eq!(world.letters().len(), 1);
}

#[test]
fn a_group_that_moved_keeps_its_session() {
    let mut world = World::new();
    let batch = Batch {
        channel: Channel::Telegram,
        arrivals: vec![Arrival::Migrated { key: "9/1".into(), from: "-5".into(), to: "-1005".into() }],
        cursor: None,
    };
    world.bench.handle(Event::Channel(ChannelEvent::Arrived(batch)));
    world.keep();
    world.restart();
    world.say(message("2", "-1005", "2", "still here?"));
    let run = world.run();
    assert_eq!(run.session_key, "group:telegram:-5");
    world.answer(&run, "yes");
    let attempt = world.attempts().remove(0);
    assert_eq!(attempt.route.chat, "-1005");
    world.outcome(&attempt, AttemptOutcome::Moved { chat: "-1006".into() });
    world.bench.pass(Duration::from_secs(1));
    world.keep();
    assert_eq!(world.letters(), [("-1006".to_owned(), "yes".to_owned())]);
}

#[test]
fn a_full_disk_keeps_the_place() {
    let mut world = World::new();
    world.arrive(vec![message("1", "2", "2", "hello")]);
    for command in world.bench.take_store() {
        let result = Err("the disk is full".to_owned());
        world.bench.handle(Event::Store(StoreEvent::Done {
            ticket: command.ticket,
            result,
            back: command.ops,
        }));
    }
    assert!(matches!(world.taken()[..], [Err(_)]));
    world.say(message("1", "2", "2", "hello"));
    assert_eq!(world.taken(), [Ok(())]);
    world.run();
}
