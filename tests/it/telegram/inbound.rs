//! What comes in: nothing is lost, nothing is answered twice, nothing stops the rest.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{PATIENCE, eventually};
use crate::telegram::botapi::{BOT_NAME, Fault, now};
use crate::telegram::lab::{CLUB, FRIEND, Lab, OWNER, channel, history, mounted};

#[test]
fn what_was_confirmed_is_answered_after_a_crash() {
    let mut lab = Lab::start("confirmed");
    lab.owner("[[hold on]] [[say the answer]]");
    // Behind it in the same session, not yet with the agent.
    lab.owner("[[say the next]]");
    lab.api.confirmed();
    eventually("the agent to have the first", PATIENCE, || {
        (lab.prompts_with("the answer") == 1).then_some(())
    });
    lab.crash();
    lab.gateway.release("on");
    let texts = lab.api.wait("both answers", |world| {
        let text = world.texts(OWNER).join("\n");
        (text.contains("the answer") && text.contains("the next")).then_some(text)
    });
    lab.sync();
    assert_eq!(texts.matches("the answer").count(), 1, "{texts}");
    assert!(lab.prompts_with("the answer") <= 2, "an interrupted question is asked again once");
    assert_eq!(lab.prompts_with("the next"), 1);
}

#[test]
fn what_comes_again_after_a_crash_is_no_news() {
    let mut lab = Lab::start("again");
    lab.sync();
    lab.api.polled();
    // The poll that is under way brings it; the one that would confirm it hangs.
    lab.api.with(|world| {
        world.fail("getUpdates", 1, Fault::Hang);
        world.text(OWNER, OWNER, "[[say only once]]");
    });
    lab.api.answers(OWNER, 2);
    let update = lab.api.with(|world| world.waiting().remove(0));
    lab.crash();
    lab.api.confirmed();
    // A server that has forgotten how far we were.
    lab.api.with(|world| {
        world.next_update = update.0;
        world.push_raw(update.0, update.1);
    });
    let begin = Instant::now();
    let before = lab.api.with(|world| world.calls("getUpdates").len());
    lab.api.wait("some deliveries", |world| (world.calls("getUpdates").len() > before + 3).then_some(()));
    assert!(begin.elapsed() > Duration::from_secs(2), "polls that bring nothing new, without a pause");
    lab.api.with(|world| world.next_update += 1);
    lab.api.confirmed();
    lab.sync();
    assert_eq!(lab.prompts_with("only once"), 1);
    assert_eq!(lab.api.with(|world| world.texts(OWNER).len()), 3);
}

#[test]
fn doubles_and_disorder_are_sorted_out() {
    let lab = Lab::start("doubles");
    lab.api.with(|world| {
        for chat in [OWNER, FRIEND] {
            world.text(chat, chat, &format!("[[say for {chat}]]"));
        }
        world.double_queue();
        world.reverse_queue();
    });
    lab.api.confirmed();
    lab.api.answers(FRIEND, 1);
    lab.api.answers(OWNER, 1);
    // After a week of silence the ids begin anew, below those that were seen.
    lab.api.with(|world| world.next_update = 100);
    lab.owner("[[say a new count]]");
    let texts = lab.api.answers(OWNER, 2);
    assert_eq!(texts, ["for 7", "a new count"]);
    lab.api.confirmed();
    lab.sync();
    assert_eq!(lab.prompts_with("for 8") + lab.prompts_with("for 7") + lab.prompts_with("new count"), 3);
}

#[test]
fn what_cannot_be_understood_is_set_aside_and_passed() {
    let lab = Lab::start("garbled");
    lab.api.with(|world| {
        let odd = [
            json!({"message": {"message_id": "no number", "chat": 3}}),
            json!({"message": [1, 2]}),
            json!({"message": {"message_id": 5, "date": 5, "from": {"id": OWNER}, "text": "no chat"}}),
            json!({"something_of_the_year_2031": {"x": 1}}),
            json!({"channel_post": {"message_id": 1, "date": 1, "chat": {"id": -1, "type": "channel"}, "text": "x"}}),
            json!({"callback_query": {"id": "1", "from": {"id": OWNER}, "data": "x"}}),
            json!({"edited_message": {"message_id": 1}}),
            json!({}),
        ];
        for mut update in odd {
            let id = world.next_update;
            world.next_update += 1;
            update["update_id"] = json!(id);
            world.push_raw(id, update);
        }
    });
    lab.sync();
    lab.api.confirmed();
    assert_eq!(lab.gateway.prompts().len(), 1);
    let log = lab.gateway.output.both();
    assert!(log.contains("set aside") || log.contains("cannot be understood"), "nothing said of it:\n{log}");
    assert_eq!(channel(&mut lab.gateway.client())["state"], "ready");
}

#[test]
fn old_messages_are_listed_to_the_owner_and_not_answered() {
    let lab = Lab::start("old");
    lab.api.with(|world| {
        world.names.insert(FRIEND, "Fred".to_owned());
        let two_days_ago = now() - 2 * 86_400;
        world.says(FRIEND, FRIEND, json!({"text": "[[say stale]] dinner?", "date": two_days_ago}));
        world.says(OWNER, OWNER, json!({"text": "[[say stale too]] remind me", "date": two_days_ago}));
    });
    let notice = lab.api.wait("a notice to the owner", |world| {
        let text = world.texts(OWNER).join("\n");
        (text.contains("dinner?") || text.contains("Fred")).then_some(text)
    });
    assert!(!notice.contains("\nstale"), "{notice}");
    lab.sync();
    assert_eq!(lab.prompts_with("say stale"), 0, "old questions were asked");
    assert!(lab.api.with(|world| world.texts(FRIEND).is_empty()));
    history(&mut lab.gateway.client(), "main", "the old message", |entry| {
        let text = entry["text"].as_str().unwrap();
        entry["role"] == "note" && (text.contains("dinner?") || text.contains("Fred"))
    });
}

#[test]
fn edited_messages_are_not_answered_again() {
    let lab = Lab::start("edited");
    let id = lab.owner("[[say first]]");
    lab.api.answers(OWNER, 1);
    lab.api.with(|world| world.edits(OWNER, id, "[[say edited]]"));
    lab.sync();
    lab.api.confirmed();
    assert_eq!(lab.prompts_with("edited"), 0);
    assert_eq!(lab.api.with(|world| world.texts(OWNER).len()), 2);
}

#[test]
fn a_group_that_moves_keeps_its_place() {
    let lab = Lab::start("migration");
    lab.text(CLUB, FRIEND, &format!("@{BOT_NAME} [[hold move]] [[say old]]"));
    eventually("the agent to have it", PATIENCE, || (lab.prompts_with("say old") == 1).then_some(()));
    let new = -1_000_500;
    lab.api.with(|world| {
        world.says(CLUB, FRIEND, json!({"migrate_to_chat_id": new}));
        world.chat(new).kind = "supergroup";
        world.says(new, FRIEND, json!({"migrate_from_chat_id": CLUB}));
        world.chat(CLUB).migrated_to = Some(new);
    });
    lab.gateway.release("move");
    let texts = lab.api.answers(new, 1);
    assert!(texts[0].contains("old"), "{texts:?}");
    lab.text(new, FRIEND, &format!("@{BOT_NAME} [[say new]]"));
    assert_eq!(lab.api.answers(new, 2)[1], "new");
    let mut client = lab.gateway.client();
    let sessions = client.ask("sessions-list", &json!({"limit": 50}));
    let keys: Vec<_> =
        sessions["sessions"].as_array().unwrap().iter().map(|entry| &entry["sessionKey"]).collect();
    let groups = keys.iter().filter(|key| key.as_str().unwrap().starts_with("group:")).count();
    assert_eq!(groups, 1, "one conversation, not two: {keys:?}");
}

#[test]
fn with_a_full_disk_the_place_is_kept() {
    let lab = Lab::with("full", |setup| {
        let state = setup.state_dir();
        fs::create_dir_all(&state).unwrap();
        let script = format!("mount -t tmpfs -o size=512k,mode=0700 tmpfs {}", state.display());
        mounted(setup, &script)
    });
    let mut client = lab.gateway.client();
    lab.sync();
    let inside =
        PathBuf::from(format!("/proc/{}/root{}", lab.gateway.pid(), lab.gateway.state_dir().display()));
    let filler = inside.join("filler");
    let _ = fs::write(&filler, vec![0; 1024 * 1024]);
    // The last blocks of the files have room for a few more.
    let mut count = 0;
    eventually("a message that finds no room", PATIENCE, || {
        if lab.api.with(|world| world.unconfirmed().is_empty()) {
            lab.owner(&format!("[[say number {count}.]] {}", "x".repeat(3_000)));
            count += 1;
        }
        let health = client.ask("health", &json!({}));
        (health["storage"]["ok"] == false).then_some(())
    });
    lab.owner("[[say the last.]]");
    lab.api.with(|world| assert!(!world.unconfirmed().is_empty(), "confirmed and nowhere on record"));
    fs::remove_file(&filler).unwrap();
    lab.api
        .wait("the last answer", |world| world.texts(OWNER).join("\n").contains("the last.").then_some(()));
    lab.api.confirmed();
    for number in 0..count {
        assert_eq!(lab.prompts_with(&format!("say number {number}.")), 1);
    }
    assert_eq!(lab.prompts_with("the last."), 1);
}

#[test]
fn an_age_of_nothing_lets_every_message_in() {
    let lab = Lab::with("age-zero", |setup| setup.config(json!({"telegram": {"maxAgeMinutes": 0}})));
    lab.owner("[[say fresh]]");
    assert_eq!(lab.api.answers(OWNER, 1), ["fresh"]);
}
