//! Child processes. Nothing else in the gateway starts one.
//!
//! Every child gets its own process group, an environment made from an allow-list, a reader
//! thread for stdout and one for stderr, and an end: a `Child` that is dropped alive is
//! stopped. Knows nothing of what its children say or are for.

pub(crate) mod cgroup;
pub(crate) mod family;
pub mod guard;
pub(crate) mod orphans;
mod pipes;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::child::pipes::{PatientStdin, StderrTail};
use crate::limits::{
    ATTEMPT_POLL_INTERVAL, CHILD_KILL_AFTER, CHILD_POLL_INTERVAL, CHILD_STDERR_LINE_BYTES_MAX,
};
use crate::threads;

/// A program to start. The environment is empty but for what the allow-list, `pass_env` and `env` put
/// into it.
pub(crate) struct ChildSpec<'a> {
    /// The program, looked up in `PATH` unless it has a slash.
    pub(crate) program: PathBuf,
    /// Arguments after the program's name.
    pub(crate) args: Vec<OsString>,
    /// The working folder that it starts in.
    pub(crate) cwd: &'a Path,
    /// Variables with their values; they win over ours of the same name.
    pub(crate) env: Vec<(String, String)>,
    /// Names of our own variables to hand over besides the standard ones.
    pub(crate) pass_env: &'a [String],
    /// Head of the reader threads' names, at most 11 bytes: `NAME-out`, `NAME-err`.
    pub(crate) name: &'static str,
}

/// A running child.
///
/// It must be started by a thread that lives as long as it should: Linux counts the end of that
/// thread as the end of the parent.
pub(crate) struct Child {
    inner: process::Child,
    /// Its stdin, which never blocks.
    pub(crate) stdin: PatientStdin,
    stderr: Arc<StderrTail>,
    exit: Option<ExitStatus>,
}

impl Child {
    /// Starts a child; `read_stdout` runs on a thread of its own until it returns.
    pub(crate) fn start(
        spec: &ChildSpec<'_>,
        read_stdout: impl FnOnce(ChildStdout) + Send + 'static,
    ) -> io::Result<Self> {
        let mut command = command(&spec.program);
        command.args(&spec.args).current_dir(spec.cwd).env_clear();
        command.envs(allowed_variables(std::env::vars_os(), spec.pass_env, &spec.env));
        command.envs(orphans::mark());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut inner = orphans::spawn(&mut command)?;
        let pipes = (inner.stdin.take(), inner.stdout.take(), inner.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("a child without pipes"));
        };
        let tail = Arc::new(StderrTail::default());
        // From here on an error drops `child`, which ends the process.
        let child = Self { inner, stdin: PatientStdin::new(stdin)?, stderr: Arc::clone(&tail), exit: None };
        threads::spawn_expendable(&format!("{}-out", spec.name), move || read_stdout(stdout))?;
        threads::spawn_expendable(&format!("{}-err", spec.name), move || pipes::read_stderr(stderr, &tail))?;
        Ok(child)
    }

    /// The last lines of the child's stderr, oldest first.
    pub(crate) fn stderr_lines(&self) -> Vec<String> {
        threads::lock(&self.stderr).iter().cloned().collect()
    }

    /// Whether the child's stderr is closed and read.
    pub(crate) fn has_said_all(&self) -> bool {
        // The thread that reads it holds the other reference.
        Arc::strong_count(&self.stderr) == 1
    }

    /// How the child ended, once it has.
    pub(crate) fn exit(&mut self) -> Option<ExitStatus> {
        if self.exit.is_none() {
            self.exit = orphans::reap(&mut self.inner).unwrap_or_else(|error| {
                log::error!("cannot ask for the end of process {}: {error}", self.inner.id());
                None
            });
        }
        self.exit
    }

    /// Sends SIGTERM. A guard that its agent has stopped goes on, and ends.
    pub(crate) fn terminate(&mut self) {
        self.signal(|pid| kill_process(pid, Signal::TERM).and_then(|()| kill_process(pid, Signal::CONT)));
    }

    /// Sends SIGKILL to the child's process group.
    pub(crate) fn kill(&mut self) {
        self.signal(|pid| kill_process_group(pid, Signal::KILL));
    }

    fn signal(&mut self, send: impl FnOnce(Pid) -> rustix::io::Result<()>) {
        // Not reaped yet, so the number is still its own.
        if self.exit().is_some() {
            return;
        }
        if let Err(error) = send(Pid::from_child(&self.inner)) {
            log::debug!("cannot signal process {}: {error}", self.inner.id());
        }
    }

    fn wait_for(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.exit().is_none() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(CHILD_POLL_INTERVAL);
        }
        true
    }
}

/// Starts `program` with our own environment and pipes, in a process group of its own. Nobody
/// stops or reaps it for the caller: this is for the guard, which reaps everything itself.
pub(crate) fn start_inheriting(program: &Path, args: &[OsString]) -> io::Result<Pid> {
    let child = command(program).args(args).process_group(0).spawn()?;
    Ok(Pid::from_child(&child))
}

/// Becomes `program`, looked up in `PATH`. Returns only if that fails.
pub(crate) fn become_program(program: &OsString, args: &[OsString]) -> io::Error {
    command(program).args(args).exec()
}

/// Why a program did not end well.
pub(crate) enum AttemptError {
    /// The machine was too busy or too full for it, so nothing is known; how that showed.
    Busy(String),
    /// It failed: its own words, or what is known of its end.
    Failed(String),
}

/// Whether a program without input ends well within that time. It has no terminal.
pub(crate) fn attempt(program: &Path, args: &[OsString], patience: Duration) -> Result<(), AttemptError> {
    let mut command = command(program);
    command.args(args).env_clear().envs(allowed_variables(std::env::vars_os(), &[], &[]));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child =
        orphans::spawn(&mut command).map_err(|error| judge(format!("it cannot be run: {error}")))?;
    let deadline = Instant::now() + patience;
    let failure = loop {
        match orphans::reap(&mut child) {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) if status.signal().is_some() => {
                return Err(AttemptError::Busy(format!("it was ended ({status})")));
            }
            Ok(Some(status)) => break status.to_string(),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(ATTEMPT_POLL_INTERVAL),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                let _ = orphans::reap(&mut child);
                let waited = patience.as_secs_f64();
                return Err(AttemptError::Busy(format!("it did not end within {waited} s")));
            }
        }
    };
    Err(judge(last_words(child).unwrap_or(failure)))
}

/// Tells a failure that passes from one that stays, by libc's words for EAGAIN, ENOMEM and EMFILE.
fn judge(words: String) -> AttemptError {
    let passing = ["Resource temporarily unavailable", "Cannot allocate memory", "Too many open files"];
    let is_busy = passing.iter().any(|passing| words.contains(passing));
    if is_busy { AttemptError::Busy(words) } else { AttemptError::Failed(words) }
}

/// The beginning of what a child said that has ended, on one line.
fn last_words(mut child: process::Child) -> Option<String> {
    let stderr = child.stderr.take()?;
    // What it started may still hold the other end.
    ioctl_fionbio(&stderr, true).ok()?;
    let mut bytes = Vec::new();
    let _ = stderr.take(CHILD_STDERR_LINE_BYTES_MAX as u64).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> = text.lines().map(pipes::plain).filter(|line| !line.is_empty()).collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

fn command(program: impl AsRef<OsStr>) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the one place that the ban leaves")]
    Command::new(program)
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.exit().is_some() {
            return;
        }
        // Only on paths that are errors already: whoever owns a child stops it without waiting.
        self.terminate();
        if !self.wait_for(CHILD_KILL_AFTER) {
            self.kill();
            if !self.wait_for(CHILD_KILL_AFTER) {
                log::error!("process {} does not end", self.inner.id());
            }
        }
    }
}

/// Variables of ours that every child gets if we have them.
const STANDARD: [&str; 6] = ["PATH", "HOME", "LANG", "TERM", "TMPDIR", "TZ"];

/// The child's whole environment: the standard names, `PI_*` and `pass` from `ours`, then `extra`.
/// Our own secrets stay behind even if `pass` or `extra` names them.
fn allowed_variables(
    ours: impl Iterator<Item = (OsString, OsString)>,
    pass: &[String],
    extra: &[(String, String)],
) -> Vec<(OsString, OsString)> {
    let passed = ours.filter(|(name, _)| {
        name.to_str().is_some_and(|name| {
            !is_secret(name)
                && (STANDARD.contains(&name) || name.starts_with("PI_") || pass.iter().any(|it| it == name))
        })
    });
    let added = extra.iter().filter(|(name, _)| !is_secret(name));
    passed.chain(added.map(|(name, value)| (name.into(), value.into()))).collect()
}

/// Whether a variable is one of the gateway's own settings and tokens.
fn is_secret(name: &str) -> bool {
    name.starts_with("CLAWDIS_") || name == "TELEGRAM_BOT_TOKEN"
}

/// How far the end of a child is that is ended by somebody who does not wait for it: asked, then SIGTERM, then
/// SIGKILL. Its owner calls [`Ending::escalate`] at the time of [`Ending::until`]; whether the child has ended is
/// [`Child::exit`]'s to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ending {
    /// The child is to live.
    #[default]
    No,
    /// It was asked to end, in a way that it understands, or is about to end by itself.
    Asked { until: Instant },
    /// SIGTERM was sent.
    Term { until: Instant },
    /// SIGKILL was sent, to its process group.
    Kill { until: Instant },
}

impl Ending {
    /// When the next step is due, if the child is to end at all.
    pub(crate) fn until(self) -> Option<Instant> {
        match self {
            Self::No => None,
            Self::Asked { until } | Self::Term { until } | Self::Kill { until } => Some(until),
        }
    }

    /// Whether a signal was sent. An end that was only asked for may be taken back.
    pub(crate) fn is_forced(self) -> bool {
        matches!(self, Self::Term { .. } | Self::Kill { .. })
    }

    /// Sends SIGTERM, unless a signal was sent before. The next step is due after `patience`.
    pub(crate) fn terminate(&mut self, child: &mut Child, patience: Duration, now: Instant) {
        if !self.is_forced() {
            child.terminate();
            *self = Self::Term { until: now + patience };
        }
    }

    /// Takes the next step: SIGTERM at first, SIGKILL from then on. The one after it is due after `patience`.
    pub(crate) fn escalate(&mut self, child: &mut Child, patience: Duration, now: Instant) {
        if self.is_forced() {
            child.kill();
            *self = Self::Kill { until: now + patience };
        } else {
            self.terminate(child, patience, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::{Child, ChildSpec, Ending, allowed_variables};

    #[test]
    fn only_the_allowed_names_pass() {
        let ours = ["PATH", "HOME", "PI_CODING_AGENT_DIR", "AWS_SECRET", "OPENAI_API_KEY", "LD_PRELOAD"];
        let secret = ["CLAWDIS_GATEWAY_TOKEN", "TELEGRAM_BOT_TOKEN", "CLAWDIS_X"];
        let all = ours.iter().chain(&secret).map(|name| ((*name).into(), "v".into()));
        let pass = ["OPENAI_API_KEY", "CLAWDIS_X", "TELEGRAM_BOT_TOKEN", "ABSENT"].map(str::to_owned);
        let extra = [("PI_OFFLINE", "1"), ("CLAWDIS_Y", "1")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let names: Vec<_> = allowed_variables(all, &pass, &extra)
            .into_iter()
            .map(|(name, _)| name.into_string().unwrap())
            .collect();
        assert_eq!(names, ["PATH", "HOME", "PI_CODING_AGENT_DIR", "OPENAI_API_KEY", "PI_OFFLINE"]);
    }

    const SOON: Duration = Duration::from_secs(20);

    /// A shell that does this, once it says that it has begun.
    fn shell(script: &str) -> Child {
        let script = format!("{script}; echo ready; while :; do sleep 0.1; done");
        let (ready, begun) = std::sync::mpsc::channel();
        let spec = ChildSpec {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            cwd: Path::new("/"),
            env: Vec::new(),
            pass_env: &[],
            name: "test",
        };
        let read = move |mut stdout| {
            let mut line = [0; 6];
            let _ = ready.send(std::io::Read::read_exact(&mut stdout, &mut line).is_ok());
            let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        };
        let child = Child::start(&spec, read).unwrap();
        assert!(begun.recv_timeout(SOON).unwrap());
        child
    }

    #[test]
    fn who_does_not_end_when_asked_gets_one_signal_after_the_other() {
        let patience = Duration::from_millis(300);
        for (script, signals) in [(":", 1), ("trap : TERM", 2)] {
            let (mut child, begin) = (shell(script), Instant::now());
            let mut ending = Ending::Asked { until: begin };
            let mut steps = 0;
            while child.exit().is_none() {
                let now = Instant::now();
                assert!(now < begin + SOON, "it does not end");
                if ending.until().is_some_and(|until| until <= now) {
                    ending.escalate(&mut child, patience, now);
                    steps += 1;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(ending.is_forced() && steps == signals, "{script}: {steps} signals");
        }
    }

    #[test]
    fn sigterm_is_sent_once() {
        let (mut child, now) = (shell("trap : TERM"), Instant::now());
        let mut ending = Ending::No;
        assert!(ending.until().is_none() && !ending.is_forced());
        ending.terminate(&mut child, Duration::from_secs(1), now);
        let first = ending;
        ending.terminate(&mut child, Duration::from_secs(2), now);
        assert_eq!((ending, ending.until()), (first, Some(now + Duration::from_secs(1))));
        child.kill();
    }
}
