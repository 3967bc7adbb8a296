//! Answers of a Bot API server that has gone mad, or of what stands between it and us.

use std::time::{Duration, Instant};

use clawdis_gateway::channels;
use serde_json::{Value, json};

use crate::fuzz::campaign::Campaign;
use crate::fuzz::golden::WORDS;
use crate::fuzz::json;
use crate::fuzz::mutate::{Mutator, index, one_in, pick};
use crate::fuzz::watch::{ROUND, Watch};
use crate::harness::random::Random;
use crate::harness::{Client, Gateway, PATIENCE, eventually};
use crate::telegram::botapi::{BotApi, Fault, TOKEN, now};

/// Longest answer here; the gateway takes far longer ones.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Answers to polls that one life of the channel gets.
const POLLS_MAX: usize = 6;
/// A gateway that asks for nothing for so long waits, as it does behind a failure.
const QUIET: Duration = Duration::from_millis(40);
/// Who writes only where all is well.
const OWNER: i64 = 770_077;
/// Who are let in and write in the samples, too.
const FRIENDS: [i64; 4] = [8, 9, 10, 11];
/// The numbers of honest updates are beyond all of the samples'.
const HONEST_UPDATES: i64 = 50_000_000;
const HEAD_WORDS: &[&str] =
    &["\r\n", "HTTP/1.1 ", "Content-Length: 7\r\n", "Transfer-Encoding: chunked\r\n", "Location: /\r\n"];

fn private(number: i64, from: i64, more: Value) -> Value {
    let mut message = json!({
        "message_id": number, "date": now(), "text": "hello",
        "chat": {"id": from, "type": "private", "first_name": "Ann"},
        "from": {"id": from, "is_bot": false, "first_name": "Ann", "last_name": "B", "username": "ann"},
    });
    message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"update_id": number, "message": message})
}

/// Updates of many kinds.
fn updates() -> Vec<Value> {
    let group = json!({"id": -500, "type": "supergroup", "title": "Club"});
    let mention =
        json!([{"type": "mention", "offset": 0, "length": 12}, {"type": "bold", "offset": 13, "length": 2}]);
    let reply =
        json!({"message_id": 4, "from": {"id": 4_242, "is_bot": true, "first_name": "C"}, "text": "so?"});
    let photo = json!([{"file_id": "s", "width": 90, "height": 90, "file_size": 1_000}]);
    let origin =
        json!({"type": "user", "date": 1, "sender_user": {"id": 1, "is_bot": false, "first_name": "Eve"}});
    let file = json!({"file_id": "d", "file_name": "../a.png", "mime_type": "image/png", "file_size": 5});
    vec![
        private(101, 66, json!({})),
        private(102, 66, json!({"photo": photo, "caption": "look", "media_group_id": "album", "text": null})),
        private(103, 66, json!({"document": file, "forward_origin": origin})),
        private(104, FRIENDS[0], json!({"text": "/think high"})),
        private(105, FRIENDS[1], json!({"text": "what **now**?"})),
        private(114, FRIENDS[2], json!({"voice": {"file_id": "v", "duration": 3}})),
        private(115, FRIENDS[3], json!({"photo": photo, "caption": "look"})),
        private(106, 67, json!({"chat": group, "text": "@clawdis_bot what now?", "entities": mention})),
        private(107, 67, json!({"chat": group, "reply_to_message": reply, "quote": {"text": "so"}})),
        private(108, 67, json!({"chat": group, "is_topic_message": true, "message_thread_id": 11})),
        private(109, 67, json!({"chat": group, "migrate_to_chat_id": -1_000_500})),
        private(
            110,
            66,
            json!({"location": {"latitude": 52.52, "longitude": -13.4}, "sticker": {"file_id": "x"}}),
        ),
        private(
            111,
            66,
            json!({"contact": {"phone_number": "+1555", "first_name": "Bob"}, "venue": {"title": "Bar"}}),
        ),
        json!({"update_id": 112, "edited_message": {"message_id": 1}}),
        json!({"update_id": 113, "my_chat_member": {}}),
    ]
}

/// Answers to other things than polls, each with the method that it is for.
fn others() -> Vec<(&'static str, Value)> {
    let good = |result: Value| json!({"ok": true, "result": result});
    let sent =
        json!({"message_id": 9, "date": 1, "chat": {"id": FRIENDS[0], "type": "private"}, "text": "x"});
    vec![
        (
            "getMe",
            good(
                json!({"id": 4_242, "is_bot": true, "first_name": "C", "username": "clawdis_bot", "can_read_all_group_messages": true}),
            ),
        ),
        ("sendMessage", good(sent)),
        ("sendMessage", refusal(429, json!({"retry_after": 1}))),
        ("sendMessage", refusal(400, json!({"migrate_to_chat_id": -1_000_500}))),
        ("sendMessage", refusal(403, json!({}))),
        ("sendChatAction", good(json!(true))),
        ("getFile", good(json!({"file_id": "d", "file_size": 5, "file_path": "documents/file_1.png"}))),
        ("file", json!("what is in the file")),
    ]
}

fn refusal(code: u16, parameters: Value) -> Value {
    json!({"ok": false, "error_code": code, "description": "Bad Request: something", "parameters": parameters})
}

struct Answers {
    updates: Vec<Value>,
    others: Vec<(&'static str, Value)>,
    bytes: Mutator,
    heads: Mutator,
}

impl Answers {
    fn new() -> Self {
        let (updates, others) = (updates(), others());
        let all = json!({"ok": true, "result": updates}).to_string().into_bytes();
        let heads = [
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{\"ok\":1}\n",
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n{\"ok\":true}\r\n0\r\n\r\n",
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        ];
        let heads = heads.map(|head| head.as_bytes().to_vec()).to_vec();
        Self {
            updates,
            others,
            bytes: Mutator::new(vec![all], WORDS, ANSWER_BYTES_MAX),
            heads: Mutator::new(heads, HEAD_WORDS, 16 * 1024),
        }
    }

    /// The body of an answer to a poll.
    fn poll(&self, random: &mut Random) -> Vec<u8> {
        if one_in(random, 8) {
            return self.bytes.mutated(random);
        }
        let count = if one_in(random, 32) { 0 } else { 1 + index(random, 5) };
        let updates: Vec<Value> = (0..count)
            .map(|_| json::changed(pick(random, &self.updates).clone(), &self.updates, random))
            .collect();
        let answer = json!({"ok": true, "result": updates});
        let answer = if one_in(random, 8) { json::changed(answer, &self.updates, random) } else { answer };
        json::text(&answer).into_bytes()
    }

    /// One that is understood, mostly: behind any other the gateway waits.
    fn readable_poll(&self, random: &mut Random) -> Vec<u8> {
        loop {
            let body = self.poll(random);
            if channels::read_updates(&body).is_ok() || one_in(random, 50) {
                return body;
            }
        }
    }

    /// All of an answer, with its head.
    fn whole(&self, body: &[u8], random: &mut Random) -> Vec<u8> {
        if one_in(random, 48) {
            return self.heads.mutated(random);
        }
        let status = if one_in(random, 16) {
            *pick(random, &[204, 301, 400, 401, 404, 409, 429, 500, 999])
        } else {
            200
        };
        let retry = if one_in(random, 32) { "Retry-After: 1e9\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n{retry}\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }
}

#[test]
fn no_answer_of_a_bot_api_server_takes_more_than_the_channel() {
    let Some(mut campaign) = Campaign::start("bot_api") else { return };
    let answers = Answers::new();
    campaign.until(25);
    while let Some(mut random) = campaign.next() {
        let body = answers.poll(&mut random);
        campaign.note(&body);
        if let Err(why) = channels::read_updates(&body) {
            assert!(!why.is_empty(), "{}", String::from_utf8_lossy(&body));
        }
    }
    while !campaign.is_over() {
        let api = BotApi::start();
        let mut watch = Watch::over(daemon(&api));
        campaign.not_beyond(ROUND);
        while let Some(mut random) = campaign.next() {
            storm(&answers, &api, &mut watch, &mut campaign, &mut random);
            if one_in(&mut random, 16) {
                recover(&api, &mut watch);
            }
        }
        recover(&api, &mut watch);
        watch.end();
        // What people are said to have asked for is often against the rules.
        api.with(|world| world.violations.clear());
    }
}

fn daemon(api: &BotApi) -> Gateway {
    let config = json!({
        "agent": {"dailyRuns": 1_000_000, "dailyRunsPerPerson": 1_000_000, "maxProcesses": 2},
        "owner": {"telegram": OWNER.to_string()},
        "telegram": {"allowFrom": FRIENDS.map(|id| id.to_string()), "groups": {"-500": {}}, "deleteWebhook": true},
    });
    let setup = Gateway::builder("fuzz-bot").agent_echo().config(config);
    let gateway =
        setup.env("TELEGRAM_BOT_TOKEN", TOKEN).env("CLAWDIS_TELEGRAM_API_BASE", &api.base()).spawn();
    api.with(|world| {
        world.next_update = HONEST_UPDATES;
        [OWNER].into_iter().chain(FRIENDS).for_each(|chat| world.open(chat));
    });
    gateway
}

/// The channel begins anew and gets mad answers to all that it asks.
fn storm(answers: &Answers, api: &BotApi, watch: &mut Watch, campaign: &mut Campaign, random: &mut Random) {
    let mut faults = Vec::new();
    for _ in 0..=index(random, POLLS_MAX) {
        faults.push(("getUpdates", answers.readable_poll(random)));
    }
    for _ in 0..index(random, 4) {
        let (method, sample) = pick(random, &answers.others).clone();
        // Without a name nothing else is asked for.
        if method != "getMe" || one_in(random, 8) {
            faults.push((method, json::mutated(sample, &answers.updates, random).into_bytes()));
        }
    }
    let faults: Vec<(&str, Vec<u8>)> =
        faults.into_iter().map(|(method, body)| (method, answers.whole(&body, random))).collect();
    // What nobody has asked for yet waits on.
    api.with(|world| {
        world.forget_queue();
        world.requests.clear();
        world.sent.clear();
        for (method, bytes) in faults {
            campaign.note(&bytes);
            world.fail(method, 1, Fault::Bytes(bytes));
        }
    });
    begin_anew(&mut watch.honest);
    // Nobody waits for what becomes of it.
    let key = format!("letter {}", random.below(1 << 60));
    let to = format!("telegram:{}", pick(random, &FRIENDS));
    watch.honest.send("send", &json!({"to": to, "message": "a *letter*", "idempotencyKey": key}));
    let (mut seen, mut since) = (0, Instant::now());
    while since.elapsed() < QUIET {
        std::thread::sleep(Duration::from_millis(1));
        let (requests, is_over) =
            api.with(|world| (world.requests.len(), world.calls("getUpdates").len() > POLLS_MAX));
        if is_over {
            break;
        }
        if requests > seen {
            (seen, since) = (requests, Instant::now());
        }
    }
    watch.look();
}

fn begin_anew(client: &mut Client) {
    for enabled in [false, true] {
        client.ask("set-channel", &json!({"channel": "telegram", "enabled": enabled}));
    }
}

/// The server has come to its senses: the channel is ready, and somebody who writes is answered.
fn recover(api: &BotApi, watch: &mut Watch) {
    let text = api.with(|world| {
        world.heal();
        world.forget_queue();
        world.sent.clear();
        format!("question {}", world.next_update)
    });
    begin_anew(&mut watch.honest);
    api.with(|world| world.text(OWNER, OWNER, &text));
    api.wait("the answer to an honest question", |world| {
        world.texts(OWNER).iter().any(|said| said.contains(&text)).then_some(())
    });
    eventually("telegram to be ready", PATIENCE, || {
        let health = watch.honest.ask("health", &json!({}));
        (health["channels"]["telegram"]["state"] == "ready").then_some(())
    });
    watch.look();
}
