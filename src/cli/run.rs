//! `agent` and `send`: something that must happen once, followed to its end through broken
//! connections and Ctrl-C.
//!
//! The same parameters with the same idempotency key join what was begun, so coming back is safe. A
//! key that has become too old for that is never sent again: then the session's history tells
//! (`lookup`).

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::cli::Context;
use crate::cli::answer::Answer;
use crate::cli::connection::{Client, Connection, NO_EVENTS, check_size, no_answer, outcome};
use crate::cli::failure::{Failure, Result};
use crate::cli::lookup::look_up;
use crate::cli::message::random_key;
use crate::cli::reconnect::reconnect;
use crate::limits::{
    CLI_CANCEL_MS, CLI_FOREVER_MS, CLI_GIVE_UP_MS, CLI_KEY_RESEND_MS, CLI_SEND_TIMEOUT_MS,
    CLI_SIGNAL_SLICE_MS, ms,
};

/// Runs share one presence entry, apart from the one of short calls, which come and go meanwhile.
const AGENT: Client<'static> = Client { caps: &["event:agent"], instance_id: "clawdis-agent" };

/// `agent`
pub(crate) fn agent(context: &Context, params: Value) -> Result<()> {
    if params.get("deliver").is_none() && (params.get("to").is_some() || params.get("channel").is_some()) {
        let text = "`--to` and `--channel` say where `--deliver` sends the answer: add it";
        return Err(Failure::Usage(text.to_owned()));
    }
    let mut run = Run::new(context, AGENT, params, context.timeout.unwrap_or(ms(CLI_FOREVER_MS)))?;
    let end = run.follow_to_end()?;
    if run.leave_by.is_some() {
        return Err(Failure::Interrupted("the run was cancelled".to_owned()));
    }
    run.answer.finish(end)
}

/// `send`
pub(crate) fn send(context: &Context, params: Value) -> Result<()> {
    if params.get("to").is_none() {
        return Err(Failure::Usage("`--to` is missing: who shall get it?".to_owned()));
    }
    // A message leaves no trace in the history to look for, so it is given up when its key is old.
    let limit = context.timeout.unwrap_or(ms(CLI_SEND_TIMEOUT_MS)).min(ms(CLI_KEY_RESEND_MS));
    let end = Run::new(context, NO_EVENTS, params, limit)?.follow_to_end()?;
    context.show(&outcome(end)?)
}

/// What is known of the run.
pub(crate) struct Run<'a> {
    context: &'a Context,
    /// Also the name of the verb.
    method: &'static str,
    client: Client<'static>,
    /// The key included. Sent again unchanged after a broken connection.
    pub(crate) params: Value,
    since: Instant,
    since_wall: SystemTime,
    /// Known once the gateway has accepted it.
    pub(crate) id: Option<String>,
    /// By when it must have ended.
    pub(crate) deadline: Instant,
    /// Since Ctrl-C: by when to leave.
    leave_by: Option<Instant>,
    cancelled: bool,
    /// What has been shown of it.
    pub(crate) answer: Answer<'a>,
}

impl<'a> Run<'a> {
    /// Of what was typed; not asked for yet.
    pub(crate) fn new(
        context: &'a Context,
        client: Client<'static>,
        mut params: Value,
        limit: Duration,
    ) -> Result<Self> {
        let method = context.args.verb.name;
        if params.get("idempotencyKey").is_none() {
            params["idempotencyKey"] = json!(random_key()?);
        }
        check_size(method, &params)?;
        Ok(Self {
            context,
            method,
            client,
            params,
            since: Instant::now(),
            since_wall: SystemTime::now(),
            id: None,
            deadline: Instant::now() + limit,
            leave_by: None,
            cancelled: false,
            answer: Answer::new(&context.output, context.args.has("--stream")),
        })
    }

    /// The final answer, as a frame.
    fn follow_to_end(&mut self) -> Result<Value> {
        let mut connection = self.context.connect(&self.client, self.answer_by())?;
        self.context.interrupt.hold();
        loop {
            let attempt = if is_fresh(self.since, self.since_wall) {
                self.ask_and_follow(&mut connection)
            } else {
                look_up(self, &mut connection)
            };
            let Err(Failure::Lost(why)) = attempt else {
                connection.close();
                return attempt.map_err(|failure| self.advise(failure));
            };
            self.answer.remark(&format!("{why}; connecting again"))?;
            // The gateway must not count us twice.
            drop(connection);
            let give_up = self.deadline.min(Instant::now() + ms(CLI_GIVE_UP_MS));
            connection = reconnect(self.context, &self.client, Duration::ZERO, give_up)
                .map_err(|failure| self.advise(failure))?;
        }
    }

    /// Sends the request and follows the run on this connection.
    fn ask_and_follow(&mut self, connection: &mut Connection) -> Result<Value> {
        let mut by = self.answer_by();
        let asked = connection.send(self.method, &self.params, by)?;
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

    /// The next frame, if one comes within a moment; an error at `by`, and soon after Ctrl-C, which
    /// cancels the run first.
    pub(crate) fn next(&mut self, connection: &mut Connection, by: Instant) -> Result<Option<Value>> {
        let now = Instant::now();
        if self.context.interrupt.seen() {
            self.cancel(connection, now)?;
        } else if now >= by {
            return Err(no_answer());
        }
        connection.receive(now + ms(CLI_SIGNAL_SLICE_MS))
    }

    /// Shows the frame if it is an event of this run.
    pub(crate) fn show(&mut self, frame: &Value) -> Result<()> {
        let ours = self.id.is_some() && frame["payload"]["runId"].as_str() == self.id.as_deref();
        if ours && frame["event"] == "agent" { self.answer.event(frame) } else { Ok(()) }
    }

    /// By when a short question must be answered.
    pub(crate) fn answer_by(&self) -> Instant {
        self.deadline.min(self.context.deadline())
    }

    fn cancel(&mut self, connection: &mut Connection, now: Instant) -> Result<()> {
        let leave_by = *self.leave_by.get_or_insert(now + ms(CLI_CANCEL_MS));
        if now >= leave_by {
            return Err(Failure::Interrupted("interrupted".to_owned()));
        }
        if let (false, Some(run_id)) = (self.cancelled, &self.id) {
            connection.send("agent-cancel", &json!({ "runId": run_id }), leave_by)?;
            self.cancelled = true;
        }
        Ok(())
    }

    /// How to go on when nobody knows whether it happened.
    fn advise(&mut self, failure: Failure) -> Failure {
        let key = self.params["idempotencyKey"].as_str().unwrap_or_default();
        let mut advice = format!("; it may be done or go on: `--key {key}` within 4 minutes joins it");
        if let Some(run_id) = &self.id {
            advice = format!("{advice}, `clawdis cancel {run_id}` ends it");
        }
        // The failure that is under way says more than one of the output.
        let _ = self.answer.end_line();
        match failure {
            Failure::TimedOut(text) => Failure::TimedOut(text + &advice),
            Failure::Unreachable(text) => Failure::Unreachable(text + &advice),
            Failure::Lost(text) => Failure::Lost(text + &advice),
            Failure::Interrupted(text) => Failure::Interrupted(text + &advice),
            failure => failure,
        }
    }
}

/// Whether a key that was made then may be sent again. The monotonic clock stands still while a laptop
/// sleeps and the wall clock may be set: the larger age counts.
fn is_fresh(since: Instant, since_wall: SystemTime) -> bool {
    since.elapsed().max(since_wall.elapsed().unwrap_or_default()) < ms(CLI_KEY_RESEND_MS)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime};

    use super::is_fresh;

    #[test]
    fn a_key_goes_stale_by_either_clock() {
        let fresh = |running: u64, wall: u64| {
            let since = Instant::now().checked_sub(Duration::from_secs(running)).unwrap();
            is_fresh(since, SystemTime::now() - Duration::from_secs(wall))
        };
        assert!(fresh(0, 0) && fresh(200, 200));
        assert!(!fresh(240, 0) && !fresh(0, 240));
    }
}
