//! Answers on their way to a chat: whole, in order, once, or reported.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, PATIENCE, eventually};
use crate::telegram::botapi::{BOT_NAME, Fault, Sent, utf16};
use crate::telegram::lab::{CLUB, FORUM, FRIEND, Lab, OWNER, TOPICS, history};

/// What a reader sees of a Markdown text made here, and the text: about `units` UTF-16 units of
/// prose with looks, code and characters that are made of several.
fn sample(units: usize) -> (String, String) {
    let clusters = ["👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇨🇭", "é̂", "한국", "naïve"];
    let (mut seen, mut source) = (String::new(), String::new());
    let mut number = 0;
    while utf16(&seen) < units {
        let cluster = clusters[number % clusters.len()];
        if number % 12 == 7 {
            let line = format!("    let x{number} = \"{cluster}\"; // *{number}* _not_ `bold`\n");
            source.extend(["```rust\n", &line.repeat(30), "```\n\n"]);
            seen += &line.repeat(30);
        } else {
            let looks = [
                (format!("Word{number} "), ""),
                (format!("bold {cluster}"), "**"),
                (" and ".to_owned(), ""),
                ("leaning".to_owned(), "*"),
                (" with ".to_owned(), ""),
                (format!("code {cluster}"), "`"),
                (format!(" {cluster}{cluster} to the end.\n\n"), ""),
            ];
            for (text, mark) in looks {
                source.extend([mark, &text, mark]);
                seen += &text;
            }
        }
        number += 1;
    }
    (seen, source)
}

fn without_space(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn looks(sent: &[Sent], kind: &str) -> usize {
    sent.iter().flat_map(|sent| &sent.entities).filter(|entity| entity["type"] == kind).count()
}

/// Waits for the news of a message that goes out.
#[track_caller]
fn goes_out(client: &mut Client, text: &str, status: &str) -> Value {
    client.event("message", |event| {
        let news = &event["payload"];
        news["direction"] == "out"
            && news["status"] == status
            && news["text"].as_str().unwrap().contains(text)
    })["payload"]
        .take()
}

#[test]
fn a_long_answer_comes_in_parts_that_join_to_it() {
    let lab = Lab::start("long");
    let (seen, source) = sample(10_000);
    lab.agent_file("answer", &source);
    lab.owner("[[file answer]]");
    let whole = without_space(&seen);
    let sent = lab.api.wait("the whole answer", |world| {
        let sent: Vec<Sent> = world.sent_to(OWNER).into_iter().cloned().collect();
        let text: String = sent.iter().map(|sent| without_space(&sent.text)).collect();
        (text.len() >= whole.len()).then_some(sent)
    });
    lab.sync();
    assert!((3..=6).contains(&sent.len()), "{} parts", sent.len());
    let joined: String = sent.iter().map(|sent| without_space(&sent.text)).collect();
    assert_eq!(joined, whole, "the parts do not join to the answer");
    for sent in &sent {
        assert!(utf16(&sent.text) <= 4_096);
        let first = sent.text.chars().next().unwrap();
        assert!(
            !"\u{200d}\u{fe0f}\u{302}\u{301}\u{1f3fd}".contains(first),
            "a character was cut: {:?}",
            sent.text
        );
    }
    assert!(looks(&sent, "bold") > 5 && looks(&sent, "italic") > 5 && looks(&sent, "code") > 5);
    let blocks: Vec<&Value> =
        sent.iter().flat_map(|sent| &sent.entities).filter(|entity| entity["type"] == "pre").collect();
    assert!(blocks.len() >= 2 && blocks.iter().all(|block| block["language"] == "rust"), "{blocks:?}");
    let mut client = lab.gateway.client();
    let answers = history(&mut client, "main", "the answer", |entry| entry["role"] == "assistant");
    assert!(answers.iter().any(|entry| entry["text"] == source.trim_end() || entry["text"] == source));
}

#[test]
fn a_very_long_answer_comes_as_a_file() {
    let lab = Lab::start("file");
    let (_, source) = sample(60_000);
    lab.agent_file("answer", &source);
    lab.owner("[[file answer]]");
    let document = lab.api.wait("a document", |world| {
        world.sent_to(OWNER).iter().find_map(|sent| Some((sent.method.clone(), sent.upload.clone()?)))
    });
    assert_eq!(document.0, "sendDocument");
    assert_eq!(String::from_utf8(document.1.bytes).unwrap().trim_end(), source.trim_end());
    lab.sync();
    let count = lab.api.with(|world| world.texts(OWNER).len());
    assert!(count <= 4, "{count} messages");
}

#[test]
fn looks_that_are_refused_are_left_out() {
    let lab = Lab::start("plain");
    lab.agent_file("answer", "some **bold** words");
    lab.api.with(|world| {
        world.fail("sendMessage", 1, Fault::Error(400, "Bad Request: can't parse entities: unsupported"));
        world.text(OWNER, OWNER, "[[file answer]]")
    });
    let texts = lab.api.answers(OWNER, 1);
    assert!(texts[0].contains("bold"), "{texts:?}");
    lab.sync();
    lab.api.with(|world| {
        let sent = world.sent_to(OWNER)[0];
        assert!(sent.entities.is_empty() && sent.reply_to.is_none(), "{sent:?}");
        assert_eq!(world.texts(OWNER).len(), 2);
    });
}

#[test]
fn a_topic_that_is_gone_and_a_question_that_is_deleted_cost_no_answer() {
    let lab = Lab::start("gone-topic");
    let text = format!("@{BOT_NAME} [[hold on]] [[say found]]");
    let more = json!({"text": text, "message_thread_id": TOPICS[0], "is_topic_message": true});
    let topical = lab.api.with(|world| world.says(FORUM, FRIEND, more));
    let asked = lab.text(CLUB, FRIEND, &format!("@{BOT_NAME} [[say a reply]]"));
    assert_eq!(lab.api.answers(CLUB, 1), ["a reply"]);
    assert_eq!(
        lab.api.with(|world| world.sent_to(CLUB)[0].reply_to),
        Some(asked),
        "in a group it is said to whom"
    );
    eventually("the agent to have it", PATIENCE, || (lab.prompts_with("say found") == 1).then_some(()));
    lab.api.with(|world| {
        world.chat(FORUM).topics.clear();
        world.delete(FORUM, topical);
    });
    lab.gateway.release("on");
    let texts = lab.api.answers(FORUM, 1);
    assert!(texts.len() == 1 && texts[0].contains("found"), "{texts:?}");
    lab.sync();
    // It was told so once: that is how it learns of it.
    lab.api.with(|world| assert_eq!(std::mem::take(&mut world.violations).len(), 1));
}

#[test]
fn an_answer_whose_looks_are_refused_stays_in_its_topic() {
    let lab = Lab::start("topic-looks");
    let refusal = Fault::Error(400, "Bad Request: can't parse entities");
    lab.api.with(|world| world.fail_in(FORUM, "sendMessage", 1, refusal));
    let text = format!("@{BOT_NAME} [[say **found**]]");
    let more = json!({"text": text, "message_thread_id": TOPICS[0], "is_topic_message": true});
    lab.api.with(|world| world.says(FORUM, FRIEND, more));
    assert_eq!(lab.api.answers(FORUM, 1), ["found"]);
    lab.api.with(|world| assert_eq!(world.sent_to(FORUM)[0].topic, Some(TOPICS[0])));
}

#[test]
fn a_limit_is_waited_for_and_nothing_lost_or_doubled() {
    let lab = Lab::start("limit");
    let (seen, source) = sample(9_000);
    lab.agent_file("answer", &source);
    lab.api.with(|world| world.fail_in(FRIEND, "sendMessage", 1, Fault::RetryAfter(2)));
    lab.text(FRIEND, FRIEND, "[[file answer]]");
    lab.api.wait("the refusal", |world| {
        world.requests.iter().any(|request| matches!(request.fault, Some(Fault::RetryAfter(_)))).then_some(())
    });
    lab.text(FRIEND, FRIEND, "[[say behind]]");
    lab.api.wait("the last", |world| world.texts(FRIEND).contains(&"behind".to_owned()).then_some(()));
    let mut texts = lab.api.with(|world| world.texts(FRIEND));
    assert_eq!(texts.pop().unwrap(), "behind");
    assert_eq!(without_space(&texts.concat()), without_space(&seen));
}

#[test]
fn a_server_in_trouble_is_tried_again() {
    let lab = Lab::start("retried");
    let mut client = lab.gateway.client();
    lab.api.with(|world| {
        world.fail("sendMessage", 1, Fault::Html(502));
        world.fail("sendMessage", 1, Fault::Error(500, "Internal Server Error"));
    });
    lab.owner("[[say in the end]]");
    assert_eq!(lab.api.answers(OWNER, 1), ["in the end"]);
    goes_out(&mut client, "in the end", "sent");
    lab.sync();
    assert_eq!(lab.api.with(|world| world.texts(OWNER).len()), 2);
}

#[test]
fn what_may_have_been_sent_is_reported_and_not_repeated() {
    for (name, fault, count) in [("done", Fault::ResetDone, 1), ("half", Fault::HalfDone, 1)] {
        let lab = Lab::start(name);
        let mut client = lab.gateway.client();
        lab.api.with(|world| {
            world.fail_in(FRIEND, "sendMessage", 1, fault);
            world.text(FRIEND, FRIEND, "[[say perhaps]]")
        });
        let news = goes_out(&mut client, "perhaps", "unknown");
        assert!(news["reason"].as_str().is_some_and(|reason| !reason.contains("Canary")), "{news}");
        lab.text(FRIEND, FRIEND, "[[say surely]]");
        lab.api.wait("the next", |world| world.texts(FRIEND).contains(&"surely".to_owned()).then_some(()));
        let texts = lab.api.with(|world| world.texts(FRIEND));
        assert_eq!(texts.iter().filter(|text| *text == "perhaps").count(), count, "{texts:?}");
        let session = format!("dm:telegram:{FRIEND}");
        history(&mut client, &session, "the unknown outcome", |entry| {
            entry["role"] == "note" && entry["text"].as_str().unwrap().contains("unknown")
                || entry["text"].as_str().unwrap().contains("may")
        });
    }
}

#[test]
fn who_blocked_the_bot_is_left_alone() {
    let lab = Lab::start("blocked");
    let mut client = lab.gateway.client();
    lab.text(FRIEND, FRIEND, "[[hold on]] [[say unheard]]");
    eventually("the agent to have it", PATIENCE, || (lab.prompts_with("unheard") == 1).then_some(()));
    lab.api.with(|world| world.chat(FRIEND).blocked = true);
    lab.gateway.release("on");
    let news = goes_out(&mut client, "unheard", "failed");
    assert!(news["reason"].is_string(), "{news}");
    lab.sync();
    let tries = lab.api.with(|world| {
        world.calls("sendMessage").iter().filter(|request| request.chat() == Some(FRIEND)).count()
    });
    assert_eq!(tries, 1);
}

#[test]
fn typing_is_shown_while_the_agent_works() {
    let lab = Lab::start("typing");
    lab.owner("[[hold on]] [[say done]]");
    let actions = |world: &crate::telegram::botapi::World, chat: i64| {
        world.calls("sendChatAction").iter().filter(|request| request.chat() == Some(chat)).count()
    };
    lab.api.wait_within("typing, and again before it fades", Duration::from_secs(15), |world| {
        (actions(world, OWNER) >= 2).then_some(())
    });
    let gap = lab.api.with(|world| {
        let calls = world.calls("sendChatAction");
        calls[1].at - calls[0].at
    });
    assert!(gap > Duration::from_secs(2) && gap < Duration::from_secs(6), "{gap:?} between two");
    lab.gateway.release("on");
    lab.api.answers(OWNER, 1);
    let before = lab.api.with(|world| actions(world, OWNER));
    // A server without it, and one that limits it, change nothing.
    lab.api.with(|world| {
        world.fail("sendChatAction", 1, Fault::Error(404, "Not Found"));
        world.fail("sendChatAction", 1, Fault::RetryAfter(3));
    });
    lab.text(FRIEND, FRIEND, "[[say fast]]");
    lab.text(CLUB, FRIEND, &format!("@{BOT_NAME} [[say fast too]]"));
    lab.api.answers(FRIEND, 1);
    lab.api.answers(CLUB, 1);
    assert!(lab.api.with(|world| actions(world, OWNER)) <= before + 1, "it types on after its answer");
}

#[test]
fn failures_are_seen_in_the_chat_as_one_short_line() {
    let lab = Lab::with("failures", |setup| {
        setup.config(json!({"agent": {"timeoutSeconds": 2, "maxProcesses": 2}}))
    });
    // One dies, one takes too long.
    for (chat, order) in [(FRIEND, "[[die 3]]"), (OWNER, "[[hold for-ever]]")] {
        lab.text(chat, chat, order);
        let texts = lab.api.answers(chat, 1);
        let line = &texts[0];
        assert!(utf16(line) <= 300 && line.lines().count() <= 2, "{line:?}");
        for internal in ["scripted", "python", "/tmp", "exit", "panicked", "stderr"] {
            assert!(!line.contains(internal), "{internal:?} in {line:?}");
        }
    }
    lab.text(FRIEND, FRIEND, "[[say alive]]");
    assert_eq!(lab.api.answers(FRIEND, 2)[1], "alive");
    lab.sync();
    assert_eq!(lab.api.with(|world| world.texts(OWNER).len()), 2);
}

#[test]
fn who_waits_in_a_queue_is_told() {
    let lab = Lab::with("queue", |setup| setup.config(json!({"agent": {"maxProcesses": 1}})));
    lab.owner("[[hold on]] [[say first]]");
    eventually("the agent to be busy", PATIENCE, || (lab.prompts_with("say first") == 1).then_some(()));
    lab.text(FRIEND, FRIEND, "[[say second]]");
    let line = lab.api.answers(FRIEND, 1).remove(0);
    assert!(line.lines().count() == 1 && utf16(&line) <= 200, "{line:?}");
    lab.gateway.release("on");
    assert_eq!(lab.api.answers(FRIEND, 2)[1], "second");
    assert!(lab.api.answers(OWNER, 1)[0].contains("first"));
}
