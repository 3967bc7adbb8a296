//! The server of these tests, held against what is known of Telegram's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::telegram::botapi::{BotApi, Fault, TOKEN, World};

const ME: i64 = 7;
const JSON: &str = "application/json";

/// Sends a request on a connection of its own and reads to the end; `None` if the connection broke.
fn exchange(api: &BotApi, path: &str, content_type: &str, body: &[u8]) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", api.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?;
    let whole = body.len().to_string() == length;
    whole.then_some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Asks as our client does: JSON, with the right token.
fn ask(api: &BotApi, method: &str, params: &Value) -> (u16, Value) {
    let path = format!("/bot{TOKEN}/{method}");
    let (status, body) = exchange(api, &path, JSON, params.to_string().as_bytes()).unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

fn poll(api: &BotApi, offset: i64, timeout: u64) -> Vec<i64> {
    let params = json!({"offset": offset, "timeout": timeout, "allowed_updates": ["message"]});
    let (status, answer) = ask(api, "getUpdates", &params);
    assert_eq!(status, 200, "{answer}");
    let updates = answer["result"].as_array().unwrap();
    updates.iter().map(|update| update["update_id"].as_i64().unwrap()).collect()
}

/// Takes the violations, so that they do not fail the test at its end.
fn violations(api: &BotApi) -> Vec<String> {
    api.with(|world| std::mem::take(&mut world.violations))
}

#[test]
fn updates_come_again_until_an_offset_confirms_them() {
    let api = BotApi::start();
    let first = api.with(|world| world.next_update);
    api.with(|world| ["one", "two", "three"].map(|text| world.text(ME, ME, text)));
    let all = vec![first, first + 1, first + 2];
    assert_eq!(poll(&api, 0, 1), all);
    assert_eq!(poll(&api, first, 1), all);
    assert_eq!(poll(&api, first + 1, 1), all[1..]);
    assert_eq!(poll(&api, 0, 1), all[1..], "what is confirmed is forgotten");
    // An offset from a life before the ids began anew.
    assert_eq!(poll(&api, first + 1_000_000, 1), all[1..]);
    assert_eq!(poll(&api, -1, 1), all[2..]);
    assert_eq!(violations(&api).len(), 1, "a negative offset is a mistake of ours");
    api.with(|world| {
        world.double_queue();
        world.reverse_queue();
        world.push_raw(5, json!({"update_id": 5}));
    });
    assert_eq!(poll(&api, 0, 1), [first + 2, first + 2, 5]);
}

#[test]
fn a_poll_waits_for_its_time_or_a_message_and_gives_way_to_a_newer_one() {
    let api = BotApi::start();
    let started = Instant::now();
    assert!(poll(&api, 0, 1).is_empty());
    assert!(started.elapsed() >= Duration::from_secs(1));
    thread::scope(|scope| {
        let older = scope.spawn(|| ask(&api, "getUpdates", &json!({"timeout": 50, "allowed_updates": []})));
        api.wait("the older poll", |world| (world.calls("getUpdates").len() == 2).then_some(()));
        let newer = scope.spawn(|| poll(&api, 0, 50));
        let (status, answer) = older.join().unwrap();
        assert_eq!((status, &answer["error_code"]), (409, &json!(409)));
        assert!(answer["description"].as_str().unwrap().contains("terminated by other getUpdates request"));
        let started = Instant::now();
        api.with(|world| world.text(ME, ME, "wake up"));
        assert_eq!(newer.join().unwrap().len(), 1);
        assert!(started.elapsed() < Duration::from_secs(2));
    });
    api.with(|world| {
        world.long_poll = false;
        world.forget_queue();
    });
    let started = Instant::now();
    assert!(poll(&api, 0, 50).is_empty());
    assert!(started.elapsed() < Duration::from_secs(2));
    api.with(|world| world.webhook = "https://example.org/hook".to_owned());
    let (status, answer) = ask(&api, "getUpdates", &json!({"timeout": 1, "allowed_updates": []}));
    assert!(status == 409 && answer["description"].as_str().unwrap().contains("webhook is active"));
    assert_eq!(ask(&api, "deleteWebhook", &json!({})).1["result"], true);
    assert!(poll(&api, 0, 50).is_empty());
}

#[test]
fn what_is_sent_is_checked_as_telegram_checks_it() {
    let api = BotApi::start();
    let mine = api.with(|world| world.text(ME, ME, "hi"));
    api.with(|world| world.chat(8).blocked = true);
    api.with(|world| world.chat(-9).migrated_to = Some(-1009));
    let emoji = "🏳️‍🌈".repeat(683);
    let send = |params: Value| {
        let (status, answer) = ask(&api, "sendMessage", &params);
        assert_eq!(answer["ok"] == true, status == 200, "{answer}");
        (status, answer["description"].as_str().unwrap_or_default().to_owned(), answer)
    };
    let good = send(json!({
        "chat_id": ME, "text": "a 🏳️‍🌈!", "entities": [{"type": "bold", "offset": 2, "length": 6}],
        "reply_parameters": {"message_id": mine, "allow_sending_without_reply": true},
    }));
    assert_eq!(good.0, 200, "{good:?}");
    assert_eq!(good.2["result"]["chat"]["id"], ME);
    assert_eq!(good.2["result"]["message_id"], mine + 1);
    assert!(violations(&api).is_empty());
    let bold = |offset: usize, length: usize| json!([{"type": "bold", "offset": offset, "length": length}]);
    for (params, code, words) in [
        (json!({"chat_id": ME, "text": emoji}), 400, "message is too long"),
        (json!({"chat_id": ME, "text": " \n "}), 400, "message text is empty"),
        (json!({"chat_id": ME, "text": "abc", "entities": bold(2, 2)}), 400, "can't parse entities"),
        (json!({"chat_id": ME, "text": "😀a", "entities": bold(1, 1)}), 400, "can't parse entities"),
        (json!({"chat_id": ME, "text": "a", "message_thread_id": 3}), 400, "message thread not found"),
    ] {
        let (status, description, _) = send(params.clone());
        assert!(status == code && description.contains(words), "{params}: {status} {description}");
        assert_eq!(violations(&api).len(), 1, "{params}");
    }
    for (chat, code, words) in [
        (999, 400, "chat not found"),
        (8, 403, "bot was blocked by the user"),
        (-9, 400, "upgraded to a supergroup"),
    ] {
        let (status, description, answer) = send(json!({"chat_id": chat, "text": "a"}));
        assert!(status == code && description.contains(words), "{chat}: {status} {description}");
        assert_eq!(answer["parameters"]["migrate_to_chat_id"] == -1009, chat == -9);
    }
    send(json!({"chat_id": ME, "text": "a", "parse_mode": "HTML"}));
    assert_eq!(violations(&api), ["sendmessage has no parameter `parse_mode`"]);
    assert_eq!(api.with(|world| world.texts(ME)), ["a 🏳️‍🌈!", "a"]);
}

#[test]
fn tokens_methods_and_bodies_are_told_apart() {
    let api = BotApi::start();
    let status = |token: &str, method: &str, body: &str| {
        exchange(&api, &format!("/bot{token}/{method}"), JSON, body.as_bytes()).unwrap().0
    };
    assert_eq!(status(TOKEN, "getMe", ""), 200);
    assert_eq!(status(TOKEN, "GETME", "{}"), 200, "names of methods are in any case");
    assert_eq!(status("4242:Revoked", "getMe", ""), 401);
    assert_eq!(status("nonsense", "getMe", ""), 404);
    assert_eq!(status(TOKEN, "getMoney", ""), 404);
    assert_eq!(status(TOKEN, "getMe", "{"), 400);
    api.with(|world| world.open(ME));
    let form = "chat_id=7&text=a+b%21&link_preview_options=%7B%22is_disabled%22%3Atrue%7D";
    let path = format!("/bot{TOKEN}/sendMessage");
    assert_eq!(exchange(&api, &path, "application/x-www-form-urlencoded", form.as_bytes()).unwrap().0, 200);
    let multipart = b"--xx\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n7\r\n--xx\r\n\
        Content-Disposition: form-data; name=\"document\"; filename=\"a.bin\"\r\nContent-Type: x/y\r\n\r\n\
        \x00\r\n--x\xff\r\n--xx\r\nContent-Disposition: form-data; name=\"caption\"\r\n\r\n12\r\n--xx--\r\n";
    let path = format!("/sub/path/bot{TOKEN}/sendDocument");
    assert_eq!(exchange(&api, &path, "multipart/form-data; boundary=xx", multipart).unwrap().0, 200);
    let sent = api.with(|world| world.sent.clone());
    assert_eq!((sent[0].text.as_str(), sent[1].text.as_str()), ("a b!", "12"));
    let upload = sent[1].upload.as_ref().unwrap();
    assert_eq!((upload.name.as_str(), upload.mime_type.as_str()), ("a.bin", "x/y"));
    assert_eq!(upload.bytes, b"\x00\r\n--x\xff");
}

#[test]
fn files_are_named_and_given_away() {
    let api = BotApi::start();
    let id = api.with(|world| world.file("photos/file_1.jpg", b"bytes".to_vec()));
    let large = api.with(|world| world.file("large", vec![0; 20 * 1024 * 1024 + 1]));
    let (_, answer) = ask(&api, "getFile", &json!({ "file_id": id }));
    assert_eq!(answer["result"]["file_size"], 5);
    let path = format!("/file/bot{TOKEN}/{}", answer["result"]["file_path"].as_str().unwrap());
    assert_eq!(exchange(&api, &path, JSON, b"").unwrap(), (200, "bytes".to_owned()));
    for (id, words) in [(large.as_str(), "file is too big"), ("other", "invalid file_id")] {
        let (status, answer) = ask(&api, "getFile", &json!({ "file_id": id }));
        assert!(status == 400 && answer["description"].as_str().unwrap().contains(words), "{answer}");
    }
    let path = format!("/file/bot4242:wrong/{}", "photos/file_1.jpg");
    assert_eq!(exchange(&api, &path, JSON, b"").unwrap().0, 401);
}

#[test]
fn every_fault_does_what_its_name_says() {
    let mut api = BotApi::start();
    api.with(|world| world.open(ME));
    let path = format!("/bot{TOKEN}/sendMessage");
    let body = json!({"chat_id": ME, "text": "hello"}).to_string();
    let send = |api: &BotApi| exchange(api, &path, JSON, body.as_bytes());
    let with_fault = |api: &BotApi, fault: Fault| {
        api.with(|world| world.fail("sendmessage", 1, fault));
        send(api)
    };
    let count = |api: &BotApi| api.with(|world| world.texts(ME).len());
    for fault in [Fault::ResetUnread, Fault::ResetRead] {
        assert_eq!(with_fault(&api, fault), None);
        assert_eq!(count(&api), 0);
    }
    for (done, fault) in [Fault::ResetDone, Fault::HalfDone].into_iter().enumerate() {
        assert_eq!(with_fault(&api, fault), None);
        assert_eq!(count(&api), done + 1);
    }
    let (status, page) = with_fault(&api, Fault::Html(502)).unwrap();
    assert!(status == 502 && page.starts_with("<html>"), "{page}");
    assert_eq!(with_fault(&api, Fault::Body("{}".to_owned())), Some((200, "{}".to_owned())));
    assert_eq!(with_fault(&api, Fault::Huge(1 << 20)).unwrap().1.len(), (1 << 20) + 1);
    assert_eq!(with_fault(&api, Fault::Redirect("http://127.0.0.1:1/".to_owned())).unwrap().0, 302);
    assert_eq!(with_fault(&api, Fault::Error(403, "Forbidden: bot was kicked")).unwrap().0, 403);
    assert_eq!(with_fault(&api, Fault::Slow(Duration::from_micros(10))).unwrap().0, 200);
    let (status, text) = with_fault(&api, Fault::RetryAfter(600)).unwrap();
    assert!(status == 429 && text.contains(r#""parameters":{"retry_after":600}"#), "{text}");
    send(&api);
    assert_eq!(violations(&api).len(), 1, "who does not wait breaks a rule");
    // Faults of one chat leave the others alone.
    api.with(|world| {
        world.open(8);
        world.fail_in(8, "sendMessage", usize::MAX, Fault::Html(500));
    });
    assert_eq!(ask(&api, "getMe", &json!({})).0, 200);
    let other = json!({"chat_id": 8, "text": "hello"}).to_string();
    assert_eq!(exchange(&api, &path, JSON, other.as_bytes()).unwrap().0, 500);
    // One that hangs ends with the client's patience, or with the server.
    api.with(World::heal);
    api.with(|world| world.fail("getMe", 1, Fault::Hang));
    thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let port = api.port();
        scope.spawn(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(format!("GET /bot{TOKEN}/getMe HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            tell.send(answer).unwrap();
        });
        let hangs = |world: &World| world.calls("getMe").last().is_some_and(|last| last.fault.is_some());
        api.wait("the request that hangs", |world| hangs(world).then_some(()));
        assert!(told.try_recv().is_err());
        api.down();
        assert_eq!(told.recv().unwrap(), b"");
    });
    assert!(TcpStream::connect(("127.0.0.1", api.port())).is_err());
    api.up();
    assert_eq!(ask(&api, "getMe", &json!({})).0, 200);
    violations(&api);
}
