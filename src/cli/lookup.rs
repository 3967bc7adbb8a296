//! Finds the answer of a run whose key is too old to be sent again: in the session's history, which
//! carries run ids and keys.

use std::time::Instant;

use serde_json::{Value, json};

use crate::cli::connection::Connection;
use crate::cli::failure::{Failure, Result};
use crate::cli::run::Run;
use crate::limits::{CLI_HISTORY_POLL_MS, HISTORY_PAGE_MAX, ms};

/// Looks until the answer is there, for as long as the agent is at work; as a final frame.
pub(crate) fn look_up(run: &mut Run, connection: &mut Connection) -> Result<Value> {
    let session = run.params["sessionKey"].as_str().unwrap_or("main").to_owned();
    let page = json!({ "sessionKey": session, "limit": HISTORY_PAGE_MAX });
    loop {
        // In this order: an agent that was idle before the history was read has written all of it.
        let health = connection.request("health", &json!({}), run.answer_by())?;
        let history = connection.request("session-history", &page, run.answer_by())?;
        let messages = history["messages"].as_array().map_or(&[][..], Vec::as_slice);
        if let Some(text) = answer(messages, run.id.as_deref(), &run.params["idempotencyKey"]) {
            let payload = json!({ "runId": run.id, "status": "ok", "summary": text });
            return Ok(json!({ "ok": true, "payload": payload }));
        }
        if health["agent"]["active"] == 0 && health["agent"]["queued"] == 0 {
            return Err(Failure::Failed(format!(
                "the run was interrupted and has no answer; see `clawdis history {session}` before asking again"
            )));
        }
        let until = Instant::now() + ms(CLI_HISTORY_POLL_MS);
        while Instant::now() < until {
            if let Some(frame) = run.next(connection, run.deadline)? {
                run.show(&frame)?;
            }
        }
    }
}

/// The newest text of the run, which is known by its id or by its key. `messages` are newest first.
fn answer<'a>(messages: &'a [Value], run_id: Option<&str>, key: &Value) -> Option<&'a str> {
    let asked = messages.iter().find(|message| message["idempotencyKey"] == *key);
    let run_id = run_id.or_else(|| asked?["runId"].as_str())?;
    let said = messages.iter().find(|message| message["role"] == "assistant" && message["runId"] == run_id);
    said?["text"].as_str()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::{Builder, JoinHandle};
    use std::time::Duration;

    use serde_json::{Value, json};
    use tungstenite::Message;

    use super::{answer, look_up};
    use crate::cli::Context;
    use crate::cli::args::{self, Request};
    use crate::cli::connection::NO_EVENTS;
    use crate::cli::failure::Result;
    use crate::cli::run::Run;

    fn history() -> Vec<Value> {
        vec![
            json!({ "role": "assistant", "text": "other", "runId": "r2" }),
            json!({ "role": "assistant", "text": "forty-two", "runId": "r1" }),
            json!({ "role": "assistant", "text": "let me see", "runId": "r1" }),
            json!({ "role": "user", "text": "what?", "runId": "r1", "idempotencyKey": "k1" }),
            json!({ "role": "user", "text": "and?", "runId": "r0", "idempotencyKey": "k0" }),
        ]
    }

    #[test]
    fn the_newest_answer_of_the_run_counts_by_id_or_by_key() {
        assert_eq!(answer(&history(), Some("r1"), &json!("k1")), Some("forty-two"));
        assert_eq!(answer(&history(), None, &json!("k1")), Some("forty-two"));
        assert_eq!(answer(&history(), None, &json!("k0")), None);
        assert_eq!(answer(&history(), None, &json!("k9")), None);
    }

    /// A gateway that answers one frame after another with these payloads, the first being the hello.
    fn play(payloads: Vec<Value>) -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let serve = move || {
            let stream = listener.accept().unwrap().0;
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut socket = tungstenite::accept(stream).unwrap();
            socket.read().unwrap();
            socket.send(Message::text(json!({ "type": "hello-ok", "protocol": 1 }).to_string())).unwrap();
            for payload in payloads {
                let asked: Value = serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
                let answer = json!({ "type": "res", "id": asked["id"], "ok": true, "payload": payload });
                socket.send(Message::text(answer.to_string())).unwrap();
            }
        };
        (url, Builder::new().spawn(serve).unwrap())
    }

    fn found_after(payloads: Vec<Value>) -> Result<Value> {
        let (url, gateway) = play(payloads);
        let argv = ["agent", "what?", "--key", "k1", "--url", &url].map(Into::into);
        let Ok(Request::Run(args)) = args::parse(argv.into_iter()) else { panic!("the arguments are good") };
        let context = Context::new(args).unwrap();
        let mut connection = context.connect(&NO_EVENTS, context.deadline()).unwrap();
        let params = context.args.params().unwrap();
        let mut run = Run::new(&context, NO_EVENTS, params, Duration::from_secs(20)).unwrap();
        let found = look_up(&mut run, &mut connection);
        gateway.join().unwrap();
        found
    }

    #[test]
    fn a_run_at_work_is_waited_for() {
        let agent = |active: u64| json!({ "agent": { "active": active, "queued": 0 } });
        let unanswered = json!({ "messages": history()[3..] });
        let end = found_after(vec![agent(1), unanswered, agent(0), json!({ "messages": history() })]);
        assert_eq!(end.unwrap()["payload"]["summary"], "forty-two");
    }

    #[test]
    fn a_run_that_nobody_works_on_was_interrupted() {
        let idle = json!({ "agent": { "active": 0, "queued": 0 } });
        let failure = found_after(vec![idle, json!({ "messages": history()[3..] })]).unwrap_err();
        assert!(failure.code() == 1 && failure.to_string().contains("clawdis history main"), "{failure}");
    }
}
