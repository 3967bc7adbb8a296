//! One agent process: its child, the run inside it, and the clock over both.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::agent::pi_line::PiLine;
use crate::agent::pi_run::{Outcome, Output, PiRun, one_sentence};
use crate::agent::picture;
use crate::agent::scheduler::ProcessId;
use crate::agent::{RunSpec, RunStep, sandbox};
use crate::child::Child;
use crate::child::ending::Ending;
use crate::child::guard::CANNOT_RUN;
use crate::limits::{
    CHILD_ABORT_WAIT, CHILD_CLOSED_WAIT, CHILD_KILL_AFTER, CHILD_POLL_INTERVAL, CHILD_STOP_TIMEOUT,
};
use crate::protocol::call::RunId;
use crate::protocol::payload::RunStatus;

/// What the agent thread has to know.
#[derive(Debug)]
pub(super) enum News {
    /// For the client.
    Step(RunId, RunStep),
    /// The last word on a run.
    Ended(RunId, RunStatus, String),
    /// It takes another run.
    Idle,
    /// It takes no more runs and is being ended.
    Ending,
    /// It does not exist any more.
    Gone,
    /// It answered for the first time.
    Alive,
    /// It never answered.
    Stillborn(String),
}

/// How long a process may be silent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Before its first line.
    pub(super) start: Duration,
    /// During a run.
    pub(super) idle: Duration,
}

/// A process from its start until it is reaped.
pub(super) struct Process {
    /// Its name in the scheduler.
    pub(super) id: ProcessId,
    child: Child,
    patience: Patience,
    start_deadline: Option<Instant>,
    run: Option<ActiveRun>,
    serial: u64,
    /// `Asked` once `abort` was sent, or will be as soon as Pi can take it; and once its stdout is closed,
    /// when it is about to end by itself, or not. Only the former can be taken back.
    ending: Ending,
    is_closed: bool,
}

struct ActiveRun {
    run_id: RunId,
    pi: PiRun,
    timeout: Duration,
    deadline: Instant,
    silent_since: Instant,
    /// How it ends, whatever the agent says from now on.
    verdict: Option<(RunStatus, String)>,
}

impl Process {
    /// Takes over a child that was just started.
    pub(super) fn new(id: ProcessId, child: Child, patience: Patience, now: Instant) -> Self {
        let start_deadline = Some(now + patience.start);
        let (ending, is_closed) = (Ending::No, false);
        Self { id, child, patience, start_deadline, run: None, serial: 0, ending, is_closed }
    }

    /// Gives it a run. It has none.
    pub(super) fn give(&mut self, spec: RunSpec, now: Instant, news: &mut Vec<News>) {
        self.serial += 1;
        let mut images = spec.images;
        images.extend(spec.image_files.iter().filter_map(|(mime_type, path)| picture::read(mime_type, path)));
        let (pi, line) = PiRun::new(self.serial, &spec.prompt, &images);
        self.child.stdin_mut().write(&line, now);
        news.push(News::Step(spec.run_id.clone(), RunStep::Started));
        self.run = Some(ActiveRun {
            run_id: spec.run_id,
            pi,
            timeout: spec.timeout,
            deadline: now + spec.timeout,
            silent_since: now,
            verdict: None,
        });
    }

    /// Takes one of its lines in.
    pub(super) fn line(&mut self, line: PiLine, now: Instant, news: &mut Vec<News>) {
        if self.start_deadline.take().is_some() {
            news.push(News::Alive);
        }
        let Some(run) = &mut self.run else { return };
        run.silent_since = now;
        let mut out = Vec::new();
        run.pi.handle(line, now, &mut out);
        self.carry_out(out, now, news);
        if self.child.stdin().is_overrun() && self.ending == Ending::No {
            self.fault("the agent does not read what it is sent", now, news);
        }
    }

    /// It broke the protocol: the run ends now, the process soon.
    pub(super) fn fault(&mut self, fault: &str, now: Instant, news: &mut Vec<News>) {
        if self.run.is_none() {
            log::warn!("an idle agent process broke the protocol and is ended");
        }
        self.end_run(RunStatus::Error, one_sentence(fault), news);
        self.terminate(now, news);
    }

    /// Its stdout is closed.
    pub(super) fn closed(&mut self, now: Instant, news: &mut Vec<News>) {
        if !self.is_closed && !self.ending.is_forced() {
            self.is_closed = true;
            self.ending = Ending::Asked { until: now + CHILD_CLOSED_WAIT };
            news.push(News::Ending);
        }
    }

    /// Ends its run like that: politely at first.
    pub(super) fn stop_run(&mut self, status: RunStatus, why: String, now: Instant, news: &mut Vec<News>) {
        let Some(run) = &mut self.run else { return };
        if run.verdict.is_none() {
            run.verdict = Some((status, why));
        }
        if self.ending == Ending::No {
            self.ending = Ending::Asked { until: now + CHILD_ABORT_WAIT };
            let mut out = Vec::new();
            run.pi.abort(&mut out);
            self.carry_out(out, now, news);
        }
    }

    /// Ends the process. A run that it may have ends with it.
    pub(super) fn terminate(&mut self, now: Instant, news: &mut Vec<News>) {
        if !self.ending.is_forced() {
            self.ending.terminate(&mut self.child, CHILD_KILL_AFTER, now);
            news.push(News::Ending);
        }
    }

    /// It has a run.
    pub(super) fn is_busy(&self) -> bool {
        self.run.is_some()
    }

    /// Until then its silence is a start that takes long.
    fn has_answered(&self) -> bool {
        self.start_deadline.is_none()
    }

    /// When [`Self::tick`] has something to do.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let run = self.run.as_ref().filter(|_| self.ending == Ending::No);
        let silent = run.filter(|_| self.has_answered()).map(|run| run.silent_since + self.patience.idle);
        let barrier = self.run.as_ref().and_then(|run| run.pi.deadline());
        let end = match self.ending {
            Ending::No => None,
            Ending::Asked { until } if !self.is_closed => Some(until),
            Ending::Asked { .. } | Ending::Term { .. } | Ending::Kill { .. } => {
                Some(now + CHILD_POLL_INTERVAL)
            }
        };
        let start = self.start_deadline.filter(|_| self.ending == Ending::No);
        let retry = self.child.stdin().retry_at();
        [run.map(|run| run.deadline), silent, barrier, end, start, retry].into_iter().flatten().min()
    }

    /// Lets time pass.
    pub(super) fn tick(&mut self, now: Instant, news: &mut Vec<News>) {
        if self.child.stdin().retry_at().is_some_and(|at| at <= now) {
            self.child.stdin_mut().flush(now);
        }
        if let Some(run) = &mut self.run {
            let mut out = Vec::new();
            run.pi.tick(now, &mut out);
            self.carry_out(out, now, news);
        }
        match self.ending {
            Ending::No => self.check_limits(now, news),
            Ending::Asked { until } if !self.is_closed => {
                if until <= now {
                    self.terminate(now, news);
                }
            }
            Ending::Asked { until } if until <= now && self.child.exit().is_none() => {
                self.end_run(RunStatus::Error, self.obituary("the agent closed its output"), news);
                self.terminate(now, news);
            }
            Ending::Term { until } if until <= now && self.child.exit().is_none() => {
                let rest = CHILD_STOP_TIMEOUT.saturating_sub(CHILD_ABORT_WAIT + CHILD_KILL_AFTER);
                self.ending.escalate(&mut self.child, rest, now);
            }
            Ending::Asked { .. } | Ending::Term { .. } | Ending::Kill { .. } => {
                self.check_exit(now, news);
            }
        }
    }

    fn check_limits(&mut self, now: Instant, news: &mut Vec<News>) {
        if self.start_deadline.is_some_and(|at| at <= now) {
            let limit = self.patience.start.as_secs_f64();
            let why = self.obituary(&format!("the agent did not answer within {limit} s of its start"));
            news.push(News::Stillborn(why.clone()));
            self.end_run(RunStatus::Error, why, news);
            self.terminate(now, news);
            return;
        }
        let Some(run) = &self.run else { return };
        let why = if run.deadline <= now {
            format!("the run reached its limit of {} s", run.timeout.as_secs_f64())
        } else if self.has_answered() && run.silent_since + self.patience.idle <= now {
            format!("the agent was silent for {} s", self.patience.idle.as_secs_f64())
        } else {
            return;
        };
        self.stop_run(RunStatus::Timeout, why, now, news);
    }

    fn check_exit(&mut self, now: Instant, news: &mut Vec<News>) {
        let Some(exit) = self.child.exit() else {
            if matches!(self.ending, Ending::Kill { until } if until <= now) {
                log::error!("an agent process does not die; it is left behind");
                self.end_run(RunStatus::Error, "the agent does not end".into(), news);
                news.push(News::Gone);
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
        let why = self.obituary(&describe(exit));
        if self.start_deadline.take().is_some() && self.is_closed && !self.ending.is_forced() {
            news.push(News::Stillborn(why.clone()));
        }
        self.end_run(RunStatus::Error, why, news);
        news.push(News::Gone);
    }

    fn carry_out(&mut self, out: Vec<Output>, now: Instant, news: &mut Vec<News>) {
        for output in out {
            match output {
                Output::Step(step) => {
                    // A client has been, or is about to be, told how this run ends.
                    let shown = self.run.as_ref().filter(|run| run.verdict.is_none());
                    news.extend(shown.map(|run| News::Step(run.run_id.clone(), step)));
                }
                Output::Write(line) => self.child.stdin_mut().write(&line, now),
                Output::Finished(outcome) => self.finish(outcome, now, news),
            }
        }
    }

    fn finish(&mut self, outcome: Outcome, now: Instant, news: &mut Vec<News>) {
        let Some(run) = self.run.take() else { return };
        let (status, summary) = run.verdict.unwrap_or((outcome.status, outcome.summary));
        news.push(News::Ended(run.run_id, status, summary));
        if outcome.reusable && !self.is_closed && !self.ending.is_forced() {
            self.ending = Ending::No;
            news.push(News::Idle);
        } else {
            self.terminate(now, news);
        }
    }

    /// Ends the run, if there is one, as was decided before or else like that. An answer that the
    /// agent had completed stands.
    fn end_run(&mut self, status: RunStatus, why: String, news: &mut Vec<News>) {
        let Some(run) = self.run.take() else { return };
        let complete = run.pi.into_outcome().map(|outcome| (outcome.status, outcome.summary));
        let (status, summary) = run.verdict.or(complete).unwrap_or((status, why));
        news.push(News::Ended(run.run_id, status, summary));
    }

    /// `what`, with what the agent said about it on stderr.
    fn obituary(&self, what: &str) -> String {
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

/// What an exit means. The guard reports a signal as shells do.
fn describe(exit: ExitStatus) -> String {
    let how = match (exit.code(), exit.signal()) {
        (Some(code), _) if code == i32::from(CANNOT_RUN) => return "the agent cannot be started".into(),
        (Some(code @ 129..=192), _) => format!("signal {}", code - 128),
        (Some(code), _) => format!("exit code {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    };
    format!("the agent ended unexpectedly ({how})")
}
