//! `agent`: one run, followed to its end through broken connections and Ctrl-C.
//!
//! The same parameters with the same idempotency key join the same run, so coming back is safe; a key
//! that has become too old for that is never sent again: then the session's history tells
//! (`agent_history`).

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::cli::agent_params::AgentRequest;
use crate::cli::agent_view::AgentView;
use crate::cli::backoff::Backoff;
use crate::cli::call::PATIENCE_MS;
use crate::cli::connection::{Connection, Frame, no_answer};
use crate::cli::exit::Failure;
use crate::cli::{Context, agent_history};
use crate::limits::{CLI_CANCEL_MS, CLI_GIVE_UP_MS, CLI_KEY_RESEND_MS, CLI_SIGNAL_SLICE_MS, ms};

const CAPS: &[&str] = &["event:agent"];
/// Runs share one presence entry, apart from the one of short calls, which come and go meanwhile.
const INSTANCE_ID: &str = "clawdis-agent";

/// `agent`
pub(crate) fn run(mut context: Context) -> Result<(), Failure> {
    let request = AgentRequest::take(&mut context.args)?;
    let mut connection = context.connect(CAPS, INSTANCE_ID, Instant::now() + context.timeout())?;
    let mut run = Run::new(&context, request);
    let mut view = AgentView::new(&context.output, run.request.stream);
    context.interrupt.hold();
    let ended = loop {
        let attempt = if run.key_age.is_fresh() {
            run.ask_and_follow(&mut connection, &mut view)
        } else {
            agent_history::find(&mut run, &mut connection, &mut view)
        };
        match attempt {
            Err(Failure::Lost(why)) => {
                view.remark(&format!("{why}; connecting again"))?;
                // The gateway must not count us twice.
                drop(connection);
                connection = run.reconnect()?;
            }
            Ok(ended) => break ended,
            Err(failure) => {
                view.end_line()?;
                return Err(failure);
            }
        }
    };
    connection.close();
    match ended.error {
        None => view.finish(&ended.payload),
        Some(failure) => view.fail(&ended.payload).and(Err(failure)),
    }
}

/// A run of which no more will be heard.
pub(crate) struct Ended {
    /// The final payload; `Null` if there was none.
    pub(crate) payload: Value,
    /// Why it did not end well.
    pub(crate) error: Option<Failure>,
}

/// What is known of the run.
pub(crate) struct Run<'a> {
    context: &'a Context,
    /// What was asked.
    pub(crate) request: AgentRequest,
    key_age: KeyAge,
    /// Known once the gateway has accepted it.
    pub(crate) id: Option<String>,
    /// By when it must have ended.
    deadline: Instant,
    /// Since Ctrl-C: by when to leave, and whether the gateway has been told.
    leaving: Option<(Instant, bool)>,
}

impl<'a> Run<'a> {
    /// Not asked for yet.
    pub(crate) fn new(context: &'a Context, request: AgentRequest) -> Self {
        let deadline = Instant::now() + context.common.timeout.unwrap_or(ms(PATIENCE_MS));
        Self { context, request, key_age: KeyAge::new(), id: None, deadline, leaving: None }
    }

    /// Sends the request and follows the run on this connection.
    fn ask_and_follow(
        &mut self,
        connection: &mut Connection,
        view: &mut AgentView,
    ) -> Result<Ended, Failure> {
        let answer_by = self.answer_by();
        let asked = connection.send("agent", &self.request.params, answer_by)?;
        let mut accepted = false;
        loop {
            let by = if accepted { self.deadline } else { answer_by };
            match self.next(connection, by)? {
                Some(Frame::Response { id, payload, error: None })
                    if id == asked && payload["status"] == "accepted" =>
                {
                    accepted = true;
                    self.id = payload["runId"].as_str().map(str::to_owned);
                }
                Some(Frame::Response { id, payload, error }) if id == asked => {
                    if self.leaving.is_some() {
                        return Err(Failure::Interrupted(Some("the run was cancelled".to_owned())));
                    }
                    return Ok(Ended { payload, error: error.map(Failure::Answered) });
                }
                Some(Frame::Event(event)) if self.is_ours(&event) => view.event(&event)?,
                _ => {}
            }
        }
    }

    /// The next frame, if one comes within a moment; an error at `by`, and soon after Ctrl-C, which
    /// cancels the run first.
    pub(crate) fn next(
        &mut self,
        connection: &mut Connection,
        by: Instant,
    ) -> Result<Option<Frame>, Failure> {
        let now = Instant::now();
        if self.context.interrupt.seen() {
            self.leave(connection, now)?;
        } else if now >= by {
            return Err(self.timed_out());
        }
        connection.receive(by.min(now + ms(CLI_SIGNAL_SLICE_MS)).max(now + Duration::from_millis(1)))
    }

    /// Whether the frame is an event of this run.
    pub(crate) fn is_ours(&self, frame: &Value) -> bool {
        let run_id = frame["payload"]["runId"].as_str();
        frame["event"] == "agent" && run_id.is_some() && run_id == self.id.as_deref()
    }

    /// By when a short question must be answered.
    pub(crate) fn answer_by(&self) -> Instant {
        self.deadline.min(Instant::now() + self.context.timeout())
    }

    /// By when the run must have ended.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    fn leave(&mut self, connection: &mut Connection, now: Instant) -> Result<(), Failure> {
        let (leave_by, told) = *self.leaving.get_or_insert((now + ms(CLI_CANCEL_MS), false));
        if now >= leave_by {
            return Err(Failure::Interrupted(Some(
                "no word from the gateway about the cancelled run".to_owned(),
            )));
        }
        if let (false, Some(run_id)) = (told, &self.id) {
            connection.send("agent-cancel", &json!({ "runId": run_id }), leave_by)?;
            self.leaving = Some((leave_by, true));
        }
        Ok(())
    }

    fn timed_out(&self) -> Failure {
        match &self.id {
            Some(run_id) => Failure::TimedOut(format!(
                "the run has not ended in time and goes on: `clawdis cancel {run_id}` ends it, the same command with \
                 `--key {}` within 4 minutes joins it again",
                self.request.key
            )),
            None => no_answer(),
        }
    }

    /// Tries until the gateway is back, for as long as `CLI_GIVE_UP_MS`.
    fn reconnect(&self) -> Result<Connection, Failure> {
        let give_up = self.deadline.min(Instant::now() + ms(CLI_GIVE_UP_MS));
        let mut backoff = Backoff::new();
        loop {
            self.pause(backoff.pause().min(give_up.saturating_duration_since(Instant::now())))?;
            match self.context.connect(CAPS, INSTANCE_ID, self.answer_by()) {
                Err(Failure::Unreachable(_) | Failure::Lost(_) | Failure::TimedOut(_))
                    if Instant::now() < give_up => {}
                Err(Failure::Unreachable(_) | Failure::Lost(_) | Failure::TimedOut(_))
                    if give_up == self.deadline =>
                {
                    return Err(self.timed_out());
                }
                done => return done,
            }
        }
    }

    fn pause(&self, pause: Duration) -> Result<(), Failure> {
        let until = Instant::now() + pause;
        while !self.context.interrupt.seen() {
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(());
            }
            std::thread::sleep(rest.min(ms(CLI_SIGNAL_SLICE_MS)));
        }
        let text = match &self.id {
            Some(run_id) => {
                format!("the run may go on; when the gateway is back, `clawdis cancel {run_id}` ends it")
            }
            None => "the gateway may have begun the run; `clawdis history` shows it".to_owned(),
        };
        Err(Failure::Interrupted(Some(text)))
    }
}

/// How long ago the key was first sent.
struct KeyAge {
    since: Instant,
    since_wall: SystemTime,
}

impl KeyAge {
    fn new() -> Self {
        Self { since: Instant::now(), since_wall: SystemTime::now() }
    }

    /// Whether it may be sent again. The monotonic clock stands still while a laptop sleeps and the
    /// wall clock may be set: the larger age counts.
    fn is_fresh(&self) -> bool {
        let age = self.since.elapsed().max(self.since_wall.elapsed().unwrap_or_default());
        age < ms(CLI_KEY_RESEND_MS)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime};

    use super::KeyAge;

    #[test]
    fn a_key_goes_stale_by_either_clock() {
        let key = |running: u64, wall: u64| KeyAge {
            since: Instant::now().checked_sub(Duration::from_secs(running)).unwrap(),
            since_wall: SystemTime::now() - Duration::from_secs(wall),
        };
        assert!(KeyAge::new().is_fresh());
        assert!(key(200, 200).is_fresh());
        assert!(!key(240, 0).is_fresh());
        assert!(!key(0, 240).is_fresh());
    }
}
