//! Finds the answer of a run whose key is too old to be sent again: in the session's history, which
//! carries run ids and keys.

use std::time::Instant;

use serde_json::{Value, json};

use crate::cli::agent::{Ended, Run};
use crate::cli::agent_view::AgentView;
use crate::cli::connection::{Connection, Frame};
use crate::cli::exit::Failure;
use crate::cli::render::{list, string};
use crate::limits::{CLI_HISTORY_POLL_MS, HISTORY_PAGE_MAX, ms};

/// Looks until the answer is there, for as long as the gateway is at work.
pub(crate) fn find(
    run: &mut Run,
    connection: &mut Connection,
    view: &mut AgentView,
) -> Result<Ended, Failure> {
    view.remark("looking into the history for the answer")?;
    loop {
        // In this order: an agent that was idle before the history was read has written all of it.
        let health = connection.request("health", &json!({}), run.answer_by())?;
        let params = json!({ "sessionKey": run.request.session, "limit": HISTORY_PAGE_MAX });
        let history = connection.request("session-history", &params, run.answer_by())?;
        let trace = trace(list(&history["messages"]), run.id.as_deref(), &run.request.key);
        if let Some(run_id) = trace.run_id {
            run.id = Some(run_id);
        }
        if let Some(text) = trace.answer {
            let payload = json!({ "runId": run.id, "status": "ok", "summary": text });
            return Ok(Ended { payload, error: None });
        }
        let agent = &health["agent"];
        if agent["active"].as_u64().unwrap_or(0) + agent["queued"].as_u64().unwrap_or(0) == 0 {
            let text = if trace.asked {
                "it began, but there is no answer on record"
            } else {
                "there is no trace of it"
            };
            return Err(Failure::Local(format!(
                "the run was interrupted ({text} in session {}); see `clawdis history {0}` before asking again",
                run.request.session
            )));
        }
        wait(run, connection, view)?;
    }
}

/// Until the run's end is announced, or for a while.
fn wait(run: &mut Run, connection: &mut Connection, view: &mut AgentView) -> Result<(), Failure> {
    let until = Instant::now() + ms(CLI_HISTORY_POLL_MS);
    while Instant::now() < until {
        if let Some(Frame::Event(event)) = run.next(connection, run.deadline())? {
            if run.is_ours(&event) {
                view.event(&event)?;
                if event["payload"]["data"]["phase"] == "ended" {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// What a session's history says about a run.
#[derive(Debug, Default, PartialEq)]
struct Trace {
    /// The question is there.
    asked: bool,
    /// The run's id, if the history knows it.
    run_id: Option<String>,
    /// The final text.
    answer: Option<String>,
}

/// `messages` are newest first.
fn trace(messages: &[Value], run_id: Option<&str>, key: &str) -> Trace {
    let named = |message: &&Value| message["idempotencyKey"] == key;
    let run_id = run_id.map(str::to_owned).or_else(|| {
        messages.iter().filter(named).find_map(|message| message["runId"].as_str().map(str::to_owned))
    });
    let ours = |message: &&Value| {
        named(message) || (run_id.is_some() && message["runId"].as_str() == run_id.as_deref())
    };
    let of_role = |role: &str| messages.iter().filter(ours).find(|message| message["role"] == role);
    Trace {
        asked: of_role("user").is_some(),
        answer: of_role("assistant").map(|message| string(&message["text"]).to_owned()),
        run_id: run_id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::{Builder, JoinHandle};
    use std::time::{Duration, Instant};

    use serde_json::{Value, json};
    use tungstenite::Message;

    use super::{Ended, Trace, find, trace};
    use crate::cli::agent::Run;
    use crate::cli::agent_params::AgentRequest;
    use crate::cli::agent_view::AgentView;
    use crate::cli::args::{self, Request};
    use crate::cli::exit::Failure;
    use crate::cli::interrupt::Interrupt;
    use crate::cli::terminal::Output;
    use crate::cli::{Context, NO_EVENTS};

    fn history() -> Vec<Value> {
        vec![
            json!({ "role": "assistant", "text": "other", "runId": "r2" }),
            json!({ "role": "assistant", "text": "forty-two", "runId": "r1" }),
            json!({ "role": "assistant", "text": "let me see", "runId": "r1" }),
            json!({ "role": "user", "text": "what?", "runId": "r1", "idempotencyKey": "k1" }),
            json!({ "role": "user", "text": "and?", "runId": "r0", "idempotencyKey": "k0" }),
        ]
    }

    fn found(asked: bool, run_id: Option<&str>, answer: Option<&str>) -> Trace {
        Trace { asked, run_id: run_id.map(str::to_owned), answer: answer.map(str::to_owned) }
    }

    #[test]
    fn the_newest_answer_of_the_run_counts_by_id_or_by_key() {
        assert_eq!(trace(&history(), Some("r1"), "k1"), found(true, Some("r1"), Some("forty-two")));
        assert_eq!(trace(&history(), None, "k1"), found(true, Some("r1"), Some("forty-two")));
    }

    #[test]
    fn a_question_without_an_answer_and_no_trace_at_all_are_told_apart() {
        assert_eq!(trace(&history(), None, "k0"), found(true, Some("r0"), None));
        assert_eq!(trace(&history(), None, "k9"), found(false, None, None));
    }

    /// A gateway that sends these frames, each but an event after reading one; ids are filled in.
    fn play(frames: Vec<Value>) -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let serve = move || {
            let stream = listener.accept().unwrap().0;
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut socket = tungstenite::accept(stream).unwrap();
            for mut frame in frames {
                if frame["type"] != "event" {
                    let asked: Value =
                        serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
                    frame["id"] = asked["id"].clone();
                }
                socket.send(Message::text(frame.to_string())).unwrap();
            }
        };
        (url, Builder::new().spawn(serve).unwrap())
    }

    fn answer(payload: &Value) -> Value {
        json!({ "type": "res", "ok": true, "payload": payload })
    }

    fn found_after(mut frames: Vec<Value>) -> Result<Ended, Failure> {
        frames.insert(0, json!({ "type": "hello-ok", "protocol": 1 }));
        let (url, gateway) = play(frames);
        let argv = ["agent", "what?", "--key", "k1", "--url", &url].map(Into::into).to_vec();
        let Ok(Request::Run { common, args, .. }) = args::parse(argv) else {
            panic!("the arguments are good")
        };
        let mut context =
            Context { args, common, output: Output::piped(), interrupt: Interrupt::install().unwrap() };
        let request = AgentRequest::take(&mut context.args).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut connection = context.connect(&[NO_EVENTS], "test", deadline).unwrap();
        let mut run = Run::new(&context, request);
        let found = find(&mut run, &mut connection, &mut AgentView::new(&context.output, false));
        gateway.join().unwrap();
        found
    }

    #[test]
    fn a_run_at_work_is_waited_for() {
        let asked = json!({ "messages": history()[3..] });
        let ended = found_after(vec![
            answer(&json!({ "agent": { "active": 1, "queued": 0 } })),
            answer(&asked),
            json!({ "type": "event", "event": "agent", "seq": 1, "payload":
                { "runId": "r1", "seq": 9, "stream": "lifecycle", "data": { "phase": "ended" } } }),
            answer(&json!({ "agent": { "active": 0, "queued": 0 } })),
            answer(&json!({ "messages": history() })),
        ]);
        let payload = json!({ "runId": "r1", "status": "ok", "summary": "forty-two" });
        assert_eq!(ended.unwrap().payload, payload);
    }

    #[test]
    fn a_run_that_nobody_works_on_was_interrupted() {
        let idle = answer(&json!({ "agent": { "active": 0, "queued": 0 } }));
        let failure =
            found_after(vec![idle.clone(), answer(&json!({ "messages": history()[3..] }))]).err().unwrap();
        assert!(failure.code() == 1 && failure.to_string().contains("no answer on record"), "{failure}");
        let failure = found_after(vec![idle, answer(&json!({ "messages": [] }))]).err().unwrap();
        assert!(failure.to_string().contains("no trace"), "{failure}");
    }
}
