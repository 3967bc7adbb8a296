//! One agent process: its child, the run inside it, and the clock over both.

use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use data_encoding::BASE64;

use crate::agent::pi_line::PiLine;
use crate::agent::pi_run::{PiRun, RunOutcome, RunOutput, one_sentence};
use crate::agent::{AgentConfig, AgentEvent, RunSpec, RunStep, sandbox};
use crate::child::guard::CANNOT_RUN;
use crate::child::{Child, Ending};
use crate::limits::{
    CHILD_ABORT_WAIT, CHILD_CLOSED_WAIT, CHILD_KILL_AFTER, CHILD_POLL_INTERVAL, CHILD_STOP_TIMEOUT,
    IMAGE_BYTES_MAX,
};
use crate::protocol::call::RunId;
use crate::protocol::payload::RunStatus;
use crate::store::media;

/// An event of a process for the agent thread.
pub(super) enum ProcessEvent {
    /// Something for state. The first answer of each process is `Trouble(None)`, whether or not there was any.
    Tell(AgentEvent),
    /// The process takes another run.
    Idle,
    /// The process takes no more runs and is being ended.
    Ending,
    /// The process does not exist any more.
    Gone,
}

/// A process from its start until it is reaped.
pub(super) struct Process {
    child: Child,
    /// How long it may be silent before its first line.
    start_timeout: Duration,
    /// How long it may be silent during a run.
    idle_timeout: Duration,
    /// When it must have written its first line; `None` once it has.
    start_deadline: Option<Instant>,
    run: Option<ActiveRun>,
    /// How many runs it was given.
    serial: u64,
    /// How far its end is. `Asked` means that `abort` was sent, or will be as soon as Pi can take it, which may
    /// be taken back; or, with `is_closed`, that it should end by itself.
    ending: Ending,
    /// Whether its stdout is closed.
    is_closed: bool,
    /// What follows for the agent thread, which takes it after each call.
    pub(super) events: Vec<ProcessEvent>,
}

struct ActiveRun {
    run_id: RunId,
    pi: PiRun,
    timeout: Duration,
    deadline: Instant,
    silent_since: Instant,
    /// How the run ends, whatever the agent says from now on.
    verdict: Option<(RunStatus, String)>,
}

impl Process {
    /// Takes over a child that was just started.
    pub(super) fn new(child: Child, config: &AgentConfig, now: Instant) -> Self {
        Self {
            child,
            start_timeout: config.start_timeout,
            idle_timeout: config.idle_timeout,
            start_deadline: Some(now + config.start_timeout),
            run: None,
            serial: 0,
            ending: Ending::No,
            is_closed: false,
            events: Vec::new(),
        }
    }

    /// Gives a run to the process, which has none.
    pub(super) fn start_run(&mut self, spec: RunSpec, now: Instant) {
        self.serial += 1;
        let mut images = spec.images;
        images.extend(spec.image_files.iter().filter_map(|(mime_type, path)| read_picture(mime_type, path)));
        let (pi, line) = PiRun::new(self.serial, &spec.prompt, &images);
        self.child.stdin.write(&line, now);
        self.tell(AgentEvent::Step { run_id: spec.run_id.clone(), step: RunStep::Started });
        self.run = Some(ActiveRun {
            run_id: spec.run_id,
            pi,
            timeout: spec.timeout,
            deadline: now + spec.timeout,
            silent_since: now,
            verdict: None,
        });
    }

    /// Handles one of its lines.
    pub(super) fn on_line(&mut self, line: PiLine, now: Instant) {
        if self.start_deadline.take().is_some() {
            self.tell(AgentEvent::Trouble(None));
        }
        let Some(run) = &mut self.run else { return };
        run.silent_since = now;
        let mut out = Vec::new();
        run.pi.handle(line, now, &mut out);
        self.execute(out, now);
        if self.child.stdin.is_overrun && self.ending == Ending::No {
            self.on_fault("the agent does not read what it is sent", now);
        }
    }

    /// Handles a breach of the protocol: the run ends now, the process soon.
    pub(super) fn on_fault(&mut self, fault: &str, now: Instant) {
        if self.run.is_none() {
            log::warn!("an idle agent process broke the protocol and is ended");
        }
        self.end_run(RunStatus::Error, one_sentence(fault));
        self.terminate(now);
    }

    /// Handles the end of its stdout.
    pub(super) fn on_closed(&mut self, now: Instant) {
        if !self.is_closed && !self.ending.is_forced() {
            self.is_closed = true;
            self.ending = Ending::Asked { until: now + CHILD_CLOSED_WAIT };
            self.events.push(ProcessEvent::Ending);
        }
    }

    /// Ends its run with that status: the agent is asked at first. A process without a run is ended itself.
    pub(super) fn stop(&mut self, status: RunStatus, why: String, now: Instant) {
        let Some(run) = &mut self.run else { return self.terminate(now) };
        if run.verdict.is_none() {
            run.verdict = Some((status, why));
        }
        if self.ending == Ending::No {
            self.ending = Ending::Asked { until: now + CHILD_ABORT_WAIT };
            let mut out = Vec::new();
            run.pi.abort(&mut out);
            self.execute(out, now);
        }
    }

    /// Ends the process, and the run that it may have.
    pub(super) fn terminate(&mut self, now: Instant) {
        if !self.ending.is_forced() {
            self.ending.terminate(&mut self.child, CHILD_KILL_AFTER, now);
            self.events.push(ProcessEvent::Ending);
        }
    }

    /// Whether the process has ever answered: until then its silence is a start that takes long.
    fn has_answered(&self) -> bool {
        self.start_deadline.is_none()
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let run = self.run.as_ref().filter(|_| self.ending == Ending::No);
        let silent = run.filter(|_| self.has_answered()).map(|run| run.silent_since + self.idle_timeout);
        let barrier = self.run.as_ref().and_then(|run| run.pi.deadline());
        let end = match self.ending {
            Ending::No => None,
            Ending::Asked { until } if !self.is_closed => Some(until),
            Ending::Asked { .. } | Ending::Term { .. } | Ending::Kill { .. } => {
                Some(now + CHILD_POLL_INTERVAL)
            }
        };
        let start = self.start_deadline.filter(|_| self.ending == Ending::No);
        let retry = self.child.stdin.retry_at();
        [run.map(|run| run.deadline), silent, barrier, end, start, retry].into_iter().flatten().min()
    }

    /// Does what is due by now.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.child.stdin.retry_at().is_some_and(|at| at <= now) {
            self.child.stdin.flush(now);
        }
        if let Some(run) = &mut self.run {
            let mut out = Vec::new();
            run.pi.tick(now, &mut out);
            self.execute(out, now);
        }
        match self.ending {
            Ending::No => self.check_limits(now),
            Ending::Asked { until } if !self.is_closed => {
                if until <= now {
                    self.terminate(now);
                }
            }
            Ending::Asked { until } if until <= now && self.child.exit().is_none() => {
                self.end_run(RunStatus::Error, self.explain_end("the agent closed its output"));
                self.terminate(now);
            }
            Ending::Term { until } if until <= now && self.child.exit().is_none() => {
                let rest = CHILD_STOP_TIMEOUT.saturating_sub(CHILD_ABORT_WAIT + CHILD_KILL_AFTER);
                self.ending.escalate(&mut self.child, rest, now);
            }
            Ending::Asked { .. } | Ending::Term { .. } | Ending::Kill { .. } => {
                self.check_exit(now);
            }
        }
    }

    fn check_limits(&mut self, now: Instant) {
        if self.start_deadline.is_some_and(|at| at <= now) {
            let limit = self.start_timeout.as_secs_f64();
            let why = self.explain_end(&format!("the agent did not answer within {limit} s of its start"));
            self.tell(AgentEvent::Trouble(Some(why.clone())));
            self.end_run(RunStatus::Error, why);
            self.terminate(now);
            return;
        }
        let Some(run) = &self.run else { return };
        let why = if run.deadline <= now {
            format!("the run reached its limit of {} s", run.timeout.as_secs_f64())
        } else if self.has_answered() && run.silent_since + self.idle_timeout <= now {
            format!("the agent was silent for {} s", self.idle_timeout.as_secs_f64())
        } else {
            return;
        };
        self.stop(RunStatus::Timeout, why, now);
    }

    fn check_exit(&mut self, now: Instant) {
        let Some(exit) = self.child.exit() else {
            if matches!(self.ending, Ending::Kill { until } if until <= now) {
                log::error!("an agent process does not die; it is left behind");
                self.end_run(RunStatus::Error, "the agent does not end".into());
                self.events.push(ProcessEvent::Gone);
            }
            return;
        };
        // Its last words say why; they may be on their way.
        if self.is_closed
            && matches!(self.ending, Ending::Asked { until } if now < until)
            && !self.child.has_said_all()
        {
            return;
        }
        let why = self.explain_end(&describe_exit(exit));
        if self.start_deadline.take().is_some() && self.is_closed && !self.ending.is_forced() {
            self.tell(AgentEvent::Trouble(Some(why.clone())));
        }
        self.end_run(RunStatus::Error, why);
        self.events.push(ProcessEvent::Gone);
    }

    fn execute(&mut self, out: Vec<RunOutput>, now: Instant) {
        for output in out {
            match output {
                RunOutput::Step(step) => {
                    // A client has been, or is about to be, told how this run ends.
                    if let Some(run) = self.run.as_ref().filter(|run| run.verdict.is_none()) {
                        self.tell(AgentEvent::Step { run_id: run.run_id.clone(), step });
                    }
                }
                RunOutput::Write(line) => self.child.stdin.write(&line, now),
                RunOutput::Finished(outcome) => self.finish(outcome, now),
            }
        }
    }

    fn finish(&mut self, outcome: RunOutcome, now: Instant) {
        self.end_run(outcome.status, outcome.summary);
        if outcome.is_reusable && !self.is_closed && !self.ending.is_forced() {
            self.ending = Ending::No;
            self.events.push(ProcessEvent::Idle);
        } else {
            self.terminate(now);
        }
    }

    fn tell(&mut self, event: AgentEvent) {
        self.events.push(ProcessEvent::Tell(event));
    }

    /// Ends the run, if there is one, as was decided before or else with that status. An answer that the
    /// agent had completed stands.
    fn end_run(&mut self, status: RunStatus, why: String) {
        let Some(run) = self.run.take() else { return };
        let complete = run.pi.into_outcome().map(|outcome| (outcome.status, outcome.summary));
        let (status, summary) = run.verdict.or(complete).unwrap_or((status, why));
        self.tell(AgentEvent::Ended { run_id: run.run_id, status, summary });
    }

    /// What happened, with what the agent said about it on stderr.
    fn explain_end(&self, what: &str) -> String {
        let lines = self.child.stderr_lines();
        let in_the_way =
            lines.first().filter(|_| !self.has_answered()).and_then(|line| sandbox::explain(line));
        if let Some(why) = in_the_way {
            return one_sentence(&why);
        }
        let names_it =
            |line: &&String| line.to_ascii_lowercase().contains("error") && !line.starts_with("    ");
        // What stopped a start is said first, details follow; later the last words count.
        let unnamed = if self.has_answered() { lines.last() } else { lines.first() };
        match lines.iter().rev().find(names_it).or(unnamed) {
            Some(line) => one_sentence(&format!("{what}: {line}")),
            None => what.to_owned(),
        }
    }
}

/// The exit of a process in words. The guard reports a signal as shells do.
fn describe_exit(exit: ExitStatus) -> String {
    let how = match (exit.code(), exit.signal()) {
        (Some(code), _) if code == i32::from(CANNOT_RUN) => return "the agent cannot be started".into(),
        (Some(code @ 129..=192), _) => format!("signal {}", code - 128),
        (Some(code), _) => format!("exit code {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    };
    format!("the agent ended unexpectedly ({how})")
}

/// MIME type and base64 of a picture that somebody sent, for the model. One that is too large or cannot be read
/// is left out: the prompt names its file anyway.
fn read_picture(mime_type: &str, path: &Path) -> Option<(String, String)> {
    let read = || {
        let mut bytes = Vec::new();
        media::open(path)?.take(IMAGE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() as u64 <= IMAGE_BYTES_MAX => {
            Some((mime_type.to_owned(), BASE64.encode(&bytes)))
        }
        Ok(_) => None,
        Err(error) => {
            log::warn!("a picture cannot be read for the agent: {error}");
            None
        }
    }
}
