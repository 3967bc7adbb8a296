//! The same questions to our server and to gramlab: the answers have the same shape.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Gramlab, alone};
use crate::harness::Gateway;
use crate::telegram::botapi::{BotApi, TOKEN};

/// Status and body of one request, on a connection of its own.
fn ask(authority: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(authority).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
}

/// Names of all members, with those of objects inside and of the first element of lists.
fn shape(value: &Value, prefix: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = format!("{prefix}.{name}");
                into.insert(path.clone());
                shape(value, &path, into);
            }
        }
        Value::Array(items) => items.first().into_iter().for_each(|item| shape(item, prefix, into)),
        _ => {}
    }
}

fn shape_of(value: &Value) -> BTreeSet<String> {
    let mut shapes = BTreeSet::new();
    shape(value, "", &mut shapes);
    shapes
}

/// One of the two servers.
struct Server<'a> {
    authority: String,
    token: &'a str,
    user: i64,
}

impl Server<'_> {
    fn ask(&self, method: &str, params: &Value) -> (u16, Value) {
        ask(&self.authority, &format!("/bot{}/{method}", self.token), &params.to_string())
    }

    /// What both are asked, with the answers.
    fn interview(&self) -> Vec<(&'static str, (u16, Value))> {
        let poll = |timeout: u64, offset: i64| json!({"timeout": timeout, "offset": offset, "limit": 100, "allowed_updates": ["message"]});
        let mut answers = vec![
            ("getMe", self.ask("getMe", &json!({}))),
            ("a method in capitals", self.ask("GETME", &json!({}))),
            ("a waiting update", self.ask("getUpdates", &poll(1, 0))),
            ("the same again", self.ask("getUpdates", &poll(1, 0))),
        ];
        let update = answers[3].1.1["result"][0]["update_id"].as_i64().unwrap();
        let bold = json!([{"type": "bold", "offset": 0, "length": 2}]);
        let wrong = json!([{"type": "bold", "offset": 2, "length": 20}]);
        let send =
            |text: &str, entities: &Value| json!({"chat_id": self.user, "text": text, "entities": entities});
        answers.extend([
            ("confirmed", self.ask("getUpdates", &poll(1, update + 1))),
            ("a text", self.ask("sendMessage", &send("😀 hi", &bold))),
            ("an empty text", self.ask("sendMessage", &send("", &json!([])))),
            ("a long text", self.ask("sendMessage", &send(&"a".repeat(4097), &json!([])))),
            ("an entity beyond the end", self.ask("sendMessage", &send("hi", &wrong))),
            ("an unknown chat", self.ask("sendMessage", &json!({"chat_id": 999_999, "text": "hi"}))),
            ("an unknown method", self.ask("getMoney", &json!({}))),
            ("deleteWebhook", self.ask("deleteWebhook", &json!({}))),
            ("no JSON", ask(&self.authority, &format!("/bot{}/getMe", self.token), "{")),
            ("another token", ask(&self.authority, "/bot77:gramlab_x/getMe", "{}")),
        ]);
        let conflict = thread::scope(|scope| {
            let older = scope.spawn(|| self.ask("getUpdates", &poll(2, update + 1)));
            // Whichever comes second ends the other; the last one ends with its time.
            let second = scope.spawn(|| self.ask("getUpdates", &poll(2, update + 1)));
            let answers = [older.join().unwrap(), second.join().unwrap()];
            answers.into_iter().find(|(status, _)| *status != 200).expect("one of two pollers is in conflict")
        });
        answers.push(("two pollers", conflict));
        answers
    }
}

#[test]
fn our_server_answers_like_one_that_nobody_here_wrote() {
    alone("telegram::gramlab::alike::our_server_answers_like_one_that_nobody_here_wrote", || {
        let setup = Gateway::builder("gramlab-alike");
        let mut gramlab = Gramlab::start(&setup.scratch().join("world"));
        gramlab.say("private", "hello @gram_bot");
        let ours = BotApi::start();
        ours.with(|world| world.text(7, 7, "hello"));
        let theirs = Server {
            authority: gramlab.base().trim_start_matches("http://").to_owned(),
            token: gramlab.token(),
            user: gramlab.facts["user"].as_i64().unwrap(),
        };
        let own = Server { authority: format!("127.0.0.1:{}", ours.port()), token: TOKEN, user: 7 };
        for ((what, theirs), (_, own)) in theirs.interview().into_iter().zip(own.interview()) {
            assert_eq!(theirs.0, own.0, "{what}: {theirs:?} and {own:?}");
            let missing: Vec<_> = shape_of(&theirs.1).difference(&shape_of(&own.1)).cloned().collect();
            assert!(missing.is_empty(), "{what}: ours lacks {missing:?}: {theirs:?} and {own:?}");
            if what == "two pollers" || what == "another token" {
                assert_eq!(theirs.1, own.1, "{what}");
            }
        }
        ours.with(|world| world.violations.clear());
    });
}
