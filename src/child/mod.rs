//! Child processes. Nothing else in the gateway starts one.
//!
//! Every child gets its own process group, an environment made from an allow-list, a reader
//! thread for stdout and one for stderr, and an end: a `Child` that is dropped alive is
//! stopped. Knows nothing of what its children say or are for.

pub(crate) mod cgroup;
pub(crate) mod ending;
mod environment;
pub(crate) mod family;
pub mod guard;
pub(crate) mod orphans;
mod stderr;
mod stdin;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::child::stderr::StderrTail;
use crate::child::stdin::PatientStdin;
use crate::limits::{
    ATTEMPT_POLL_INTERVAL, CHILD_KILL_AFTER, CHILD_POLL_INTERVAL, CHILD_STDERR_LINE_BYTES_MAX,
};
use crate::threads;

/// A program to start. The environment is empty but for what the allow-list, `pass_env` and `env` put
/// into it.
#[derive(Debug)]
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
#[derive(Debug)]
pub(crate) struct Child {
    inner: process::Child,
    stdin: PatientStdin,
    stderr: Arc<Mutex<StderrTail>>,
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
        command.envs(environment::allowed(std::env::vars_os(), spec.pass_env, &spec.env));
        command.envs(orphans::mark());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut inner = orphans::spawn(&mut command)?;
        let pipes = (inner.stdin.take(), inner.stdout.take(), inner.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("a child without pipes"));
        };
        let tail = Arc::new(Mutex::new(StderrTail::default()));
        // From here on an error drops `child`, which ends the process.
        let child = Self { inner, stdin: PatientStdin::new(stdin)?, stderr: Arc::clone(&tail), exit: None };
        threads::spawn_expendable(&format!("{}-out", spec.name), move || read_stdout(stdout))?;
        threads::spawn_expendable(&format!("{}-err", spec.name), move || stderr::read(stderr, &tail))?;
        Ok(child)
    }

    /// The child's stdin, which never blocks.
    pub(crate) fn stdin(&self) -> &PatientStdin {
        &self.stdin
    }

    /// The child's stdin, to write to.
    pub(crate) fn stdin_mut(&mut self) -> &mut PatientStdin {
        &mut self.stdin
    }

    /// The last lines of the child's stderr, oldest first.
    pub(crate) fn stderr_lines(&self) -> Vec<String> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).lines()
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
        if let Some(Err(error)) = orphans::pid(&self.inner).map(send) {
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
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process id"))
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
    command.args(args).env_clear().envs(environment::allowed(std::env::vars_os(), &[], &[]));
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
    fcntl_setfl(&stderr, fcntl_getfl(&stderr).ok()? | OFlags::NONBLOCK).ok()?;
    let mut bytes = Vec::new();
    let _ = stderr.take(CHILD_STDERR_LINE_BYTES_MAX as u64).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> = text.lines().map(stderr::plain).filter(|line| !line.is_empty()).collect();
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
