//! `agent` and `send`: something that must happen once, followed to its end through broken
//! connections and Ctrl-C.
//!
//! The same parameters with the same idempotency key join what was begun, so coming back is safe. A
//! key that has become too old for that is never sent again: then the session's history tells.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::cli::answer::AnswerView;
use crate::cli::connection::{Client, Connection, NO_EVENTS, check_size, no_answer, outcome};
use crate::cli::context::{Context, random_key};
use crate::cli::failure::{Failure, Result};
use crate::limits::{
    CLI_CANCEL_WAIT, CLI_FOREVER, CLI_GIVE_UP_AFTER, CLI_HISTORY_POLL_INTERVAL, CLI_KEY_RESEND,
    CLI_SEND_TIMEOUT, CLI_SIGNAL_SLICE, HISTORY_PAGE_MAX,
};

/// Runs share one presence entry, apart from the one of short calls, which come and go meanwhile.
const AGENT: Client<'static> = Client { caps: &["event:agent"], instance_id: "clawdis-agent" };

/// The verb `agent`: asks the agent and shows its answer.
pub(crate) fn agent(context: &Context, params: Value) -> Result<()> {
    if params.get("deliver").is_none() && (params.get("to").is_some() || params.get("channel").is_some()) {
        let text = "`--to` and `--channel` say where `--deliver` sends the answer: add it";
        return Err(Failure::Usage(text.to_owned()));
    }
    let mut run = Run::new(context, AGENT, params, context.timeout.unwrap_or(CLI_FOREVER))?;
    let end = run.follow_to_end()?;
    if run.leave_by.is_some() {
        return Err(Failure::Interrupted("the run was cancelled".to_owned()));
    }
    run.answer.finish(end)
}

/// The verb `send`: sends a message and shows what became of it.
pub(crate) fn send(context: &Context, params: Value) -> Result<()> {
    if params.get("to").is_none() {
        return Err(Failure::Usage("`--to` is missing: who shall get it?".to_owned()));
    }
    // A message leaves no trace in the history to look for, so it is given up when its key is old.
    let limit = context.timeout.unwrap_or(CLI_SEND_TIMEOUT).min(CLI_KEY_RESEND);
    let end = Run::new(context, NO_EVENTS, params, limit)?.follow_to_end()?;
    context.show(&outcome(end)?)
}

/// Something that must happen once, and what is known of it.
struct Run<'a> {
    context: &'a Context,
    client: Client<'static>,
    /// The parameters with the key, sent again unchanged after a broken connection.
    params: Value,
    since: Instant,
    since_wall: SystemTime,
    /// The run's id, known once the gateway has accepted it.
    id: Option<String>,
    /// When it must have ended.
    deadline: Instant,
    /// When to leave, after Ctrl-C.
    leave_by: Option<Instant>,
    cancelled: bool,
    /// Its answer as it is shown.
    answer: AnswerView<'a>,
}

impl<'a> Run<'a> {
    /// Makes a run of what was typed, without asking for it yet.
    fn new(
        context: &'a Context,
        client: Client<'static>,
        mut params: Value,
        limit: Duration,
    ) -> Result<Self> {
        if params.get("idempotencyKey").is_none() {
            params["idempotencyKey"] = json!(random_key()?);
        }
        check_size(context.args.verb.name, &params)?;
        Ok(Self {
            context,
            client,
            params,
            since: Instant::now(),
            since_wall: SystemTime::now(),
            id: None,
            deadline: Instant::now() + limit,
            leave_by: None,
            cancelled: false,
            answer: AnswerView::new(&context.output, context.args.has("--stream")),
        })
    }

    /// Follows it to its final answer, a frame.
    fn follow_to_end(&mut self) -> Result<Value> {
        let mut connection = self.context.connect(&self.client, self.answer_by())?;
        self.context.interrupt.hold();
        loop {
            let attempt = if is_fresh(self.since, self.since_wall) {
                self.ask_and_follow(&mut connection)
            } else {
                self.look_up(&mut connection)
            };
            let Err(Failure::Lost(why)) = attempt else {
                connection.close();
                return attempt.map_err(|failure| self.advise(failure));
            };
            self.answer.remark(&format!("{why}; connecting again"))?;
            // The gateway must not count us twice.
            drop(connection);
            let give_up = self.deadline.min(Instant::now() + CLI_GIVE_UP_AFTER);
            connection = self
                .context
                .reconnect(&self.client, Duration::ZERO, give_up)
                .map_err(|failure| self.advise(failure))?;
        }
    }

    /// Sends the request and follows the run on this connection.
    fn ask_and_follow(&mut self, connection: &mut Connection) -> Result<Value> {
        let mut by = self.answer_by();
        // Both methods are called as their verbs.
        let asked = connection.send(self.context.args.verb.name, &self.params, by)?;
        loop {
            let Some(frame) = self.next(connection, by)? else { continue };
            if frame["type"] != "res" || frame["id"] != asked {
                self.show(&frame)?;
            } else if frame["payload"]["status"] == "accepted" {
                by = self.deadline;
                self.id = frame["payload"]["runId"].as_str().map(str::to_owned);
            } else {
                return Ok(frame);
            }
        }
    }

    /// Finds the answer of a run whose key is too old to be sent again: in the session's history, which
    /// carries run ids and keys. Looks for as long as the agent is at work; the answer as a final frame.
    fn look_up(&mut self, connection: &mut Connection) -> Result<Value> {
        let session = self.params["sessionKey"].as_str().unwrap_or("main").to_owned();
        let page = json!({ "sessionKey": session, "limit": HISTORY_PAGE_MAX });
        loop {
            // In this order: an agent that was idle before the history was read has written all of it.
            let health = connection.request("health", &json!({}), self.answer_by())?;
            let history = connection.request("session-history", &page, self.answer_by())?;
            let messages = history["messages"].as_array().map_or(&[][..], Vec::as_slice);
            if let Some(text) = answer_in(messages, self.id.as_deref(), &self.params["idempotencyKey"]) {
                let payload = json!({ "runId": self.id, "status": "ok", "summary": text });
                return Ok(json!({ "ok": true, "payload": payload }));
            }
            if health["agent"]["active"] == 0 && health["agent"]["queued"] == 0 {
                return Err(Failure::Failed(format!(
                    "the run was interrupted and has no answer; see `clawdis history {session}` before asking again"
                )));
            }
            let until = Instant::now() + CLI_HISTORY_POLL_INTERVAL;
            while Instant::now() < until {
                if let Some(frame) = self.next(connection, self.deadline)? {
                    self.show(&frame)?;
                }
            }
        }
    }

    /// Receives the next frame, if one comes within a moment; an error at `by`, and soon after Ctrl-C, which
    /// cancels the run first.
    fn next(&mut self, connection: &mut Connection, by: Instant) -> Result<Option<Value>> {
        let now = Instant::now();
        if self.context.interrupt.is_pressed() {
            self.cancel(connection, now)?;
        } else if now >= by {
            return Err(no_answer());
        }
        connection.receive(now + CLI_SIGNAL_SLICE)
    }

    /// Shows the frame if it is an event of this run.
    fn show(&mut self, frame: &Value) -> Result<()> {
        let ours = self.id.is_some() && frame["payload"]["runId"].as_str() == self.id.as_deref();
        if ours && frame["event"] == "agent" { self.answer.event(frame) } else { Ok(()) }
    }

    /// When a short question must be answered.
    fn answer_by(&self) -> Instant {
        self.deadline.min(self.context.deadline())
    }

    fn cancel(&mut self, connection: &mut Connection, now: Instant) -> Result<()> {
        let leave_by = *self.leave_by.get_or_insert(now + CLI_CANCEL_WAIT);
        if now >= leave_by {
            return Err(Failure::Interrupted("interrupted".to_owned()));
        }
        if let (false, Some(run_id)) = (self.cancelled, &self.id) {
            connection.send("agent-cancel", &json!({ "runId": run_id }), leave_by)?;
            self.cancelled = true;
        }
        Ok(())
    }

    /// Adds to a failure how to go on when nobody knows whether it happened.
    fn advise(&mut self, failure: Failure) -> Failure {
        let key = self.params["idempotencyKey"].as_str().unwrap_or_default();
        let mut advice = format!("; it may be done or go on: `--key {key}` within 4 minutes joins it");
        if let Some(run_id) = &self.id {
            advice = format!("{advice}, `clawdis cancel {run_id}` ends it");
        }
        // The failure that is under way says more than one of the output.
        let _ = self.answer.end_line();
        failure.with_advice(&advice)
    }
}

/// The newest text of the run, which is known by its id or by its key. `messages` are newest first.
fn answer_in<'a>(messages: &'a [Value], run_id: Option<&str>, key: &Value) -> Option<&'a str> {
    let asked = messages.iter().find(|message| message["idempotencyKey"] == *key);
    let run_id = run_id.or_else(|| asked?["runId"].as_str())?;
    let said = messages.iter().find(|message| message["role"] == "assistant" && message["runId"] == run_id);
    said?["text"].as_str()
}

/// Whether a key that was made then may be sent again. The monotonic clock stands still while a laptop
/// sleeps and the wall clock may be set: the larger age counts.
fn is_fresh(since: Instant, since_wall: SystemTime) -> bool {
    since.elapsed().max(since_wall.elapsed().unwrap_or_default()) < CLI_KEY_RESEND
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::{Builder, JoinHandle};
    use std::time::{Duration, Instant, SystemTime};

    use serde_json::{Value, json};
    use tungstenite::Message;

    use super::{Run, answer_in, is_fresh};
    use crate::arguments::Invocation;
    use crate::cli::args;
    use crate::cli::connection::NO_EVENTS;
    use crate::cli::context::Context;
    use crate::cli::failure::Result;

    #[test]
    fn a_key_goes_stale_by_either_clock() {
        let fresh = |running: u64, wall: u64| {
            let since = Instant::now().checked_sub(Duration::from_secs(running)).unwrap();
            is_fresh(since, SystemTime::now() - Duration::from_secs(wall))
        };
        assert!(fresh(0, 0) && fresh(200, 200));
        assert!(!fresh(240, 0) && !fresh(0, 240));
    }

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
        assert_eq!(answer_in(&history(), Some("r1"), &json!("k1")), Some("forty-two"));
        assert_eq!(answer_in(&history(), None, &json!("k1")), Some("forty-two"));
        assert_eq!(answer_in(&history(), None, &json!("k0")), None);
        assert_eq!(answer_in(&history(), None, &json!("k9")), None);
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
        let Ok(Invocation::Run(args)) = args::parse(argv.into_iter()) else {
            panic!("the arguments are good")
        };
        let context = Context::new(args).unwrap();
        let mut connection = context.connect(&NO_EVENTS, context.deadline()).unwrap();
        let params = context.args.params().unwrap();
        let mut run = Run::new(&context, NO_EVENTS, params, Duration::from_secs(20)).unwrap();
        let found = run.look_up(&mut connection);
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
