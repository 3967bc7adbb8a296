//! The guard: a mode of the daemon's binary that stands between the gateway and one agent, or the sidecar.
//!
//! Agents run shells, shells leave things running, and some of those leave their process group or
//! ignore SIGTERM. The guard is the parent that orphans fall back to, so it can end every one of
//! them: when it is told to, when the agent ends, and when the gateway is gone by whatever means.
//! The agent inherits its pipes directly; not a byte passes through the guard.
//!
//! Two stages, because a process can only ask for its own death with its parent: `guard` starts
//! this binary once more as `guard-exec`, which makes its arrangements and becomes the agent.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::net::UnixStream;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use rustix::process::{Pid, Signal, WaitOptions, getpid, getppid, umask, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;

use crate::child::{self, cgroup, family};
use crate::limits::{CHILD_POLL_INTERVAL, CHILD_TERM_WAIT, GUARD_HUNT_TIME, GUARD_KILL_WAIT};

/// First argument of the guard.
pub const GUARD: &str = "guard";
/// First argument of the guard's second stage.
pub const GUARD_EXEC: &str = "guard-exec";

/// Exit code when the agent cannot be run, as of a shell.
pub(crate) const CANNOT_RUN: u8 = 126;
/// Under memory pressure the kernel takes the agent long before the gateway (the scale ends at
/// 1000). Its tools inherit it.
const OOM_SCORE_ADJ: &str = "800";

/// Arguments for this binary that put `command` under a guard whose parent is this process.
pub(crate) fn args(command: Vec<OsString>) -> Vec<OsString> {
    let mut args = vec![GUARD.into(), process::id().to_string().into()];
    args.extend(command);
    args
}

/// Runs the guard, with the arguments after its name: the parent's pid, then the agent's argv. Exits
/// with the agent's code, or 128 and its signal.
pub fn main(args: &[OsString]) -> ExitCode {
    match guard(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("guard: {error}");
            ExitCode::from(CANNOT_RUN)
        }
    }
}

/// Runs the guard's second stage, with the same arguments. Returns only if the agent cannot be run.
pub fn exec_main(args: &[OsString]) -> ExitCode {
    let Err(error) = exec(args);
    eprintln!("{error}");
    ExitCode::from(CANNOT_RUN)
}

fn guard(args: &[OsString]) -> io::Result<u8> {
    let (parent, command) = split(args)?;
    family::adopt_orphans()?;
    family::die_with_parent(Signal::TERM)?;
    let mut signals = Signals::new()?;
    if getppid() != Some(parent) {
        return Err(io::Error::other("the gateway is gone"));
    }
    cgroup::make(getpid());
    let mut stage: Vec<OsString> = vec![GUARD_EXEC.into(), process::id().to_string().into()];
    stage.extend_from_slice(command);
    let agent = child::start_inheriting(&std::env::current_exe()?, &stage)?;
    let mut code = None;
    // Whatever goes wrong from here on, nothing is left behind.
    let watched = watch(parent, agent, &mut code, &mut signals);
    end_all(agent, &mut code, &mut signals);
    watched?;
    Ok(code.unwrap_or(128 + 9))
}

/// Waits until the agent ends, the parent is gone or a signal says to stop.
fn watch(parent: Pid, agent: Pid, code: &mut Option<u8>, signals: &mut Signals) -> io::Result<()> {
    // The pipes are the agent's: an end that it closes must be closed.
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    loop {
        reap(agent, code);
        if code.is_some() || signals.stop.load(Ordering::Relaxed) || getppid() != Some(parent) {
            return Ok(());
        }
        signals.wait(family::PARENT_POLL)?;
    }
}

fn exec(args: &[OsString]) -> io::Result<std::convert::Infallible> {
    let (parent, command) = split(args)?;
    family::die_with_parent(Signal::KILL)?;
    if getppid() != Some(parent) {
        return Err(io::Error::other("the guard is gone"));
    }
    cgroup::enter(parent);
    // Not everywhere, and the agent runs without it.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ);
    // Its session files hold everything that was said.
    umask(Mode::RWXG | Mode::RWXO);
    let (program, rest) = command.split_first().ok_or_else(|| io::Error::other("no agent is given"))?;
    let error = child::become_program(program, rest);
    let hint = if error.kind() == ErrorKind::NotFound { "; install it or give its whole path" } else { "" };
    Err(io::Error::other(format!("cannot run `{}`: {error}{hint}", program.to_string_lossy())))
}

fn split(args: &[OsString]) -> io::Result<(Pid, &[OsString])> {
    let (parent, command) = args.split_first().ok_or_else(|| io::Error::other("no parent is given"))?;
    let parent = parent.to_str().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    Ok((parent.ok_or_else(|| io::Error::other("the parent is no process id"))?, command))
}

/// Ends whatever is left below this process: SIGTERM, a second, SIGKILL.
fn end_all(agent: Pid, code: &mut Option<u8>, signals: &mut Signals) {
    let kill_at = Instant::now() + CHILD_TERM_WAIT;
    let mut asked = Vec::new();
    while Instant::now() < kill_at {
        reap(agent, code);
        let children = family::children(agent);
        if children.is_empty() {
            break;
        }
        for pid in family::alive(&children) {
            if !asked.contains(&pid) {
                family::signal(pid, Signal::TERM);
                asked.push(pid);
            }
        }
        if signals.wait(Some(CHILD_POLL_INTERVAL)).is_err() {
            break;
        }
    }
    cgroup::kill(getpid());
    let left = || {
        reap(agent, code);
        family::children(agent)
    };
    family::end(left, GUARD_KILL_WAIT, GUARD_HUNT_TIME);
    cgroup::remove(getpid());
}

/// Reaps every dead child, orphans included, and keeps the agent's exit code.
fn reap(agent: Pid, code: &mut Option<u8>) {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == agent {
            let exited = status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal));
            *code = exited.and_then(|code| u8::try_from(code).ok()).or(*code);
        }
    }
}

/// Signals as bytes in a socket: waiting for them cannot miss one.
struct Signals {
    bytes: UnixStream,
    stop: Arc<AtomicBool>,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let (bytes, sender) = UnixStream::pair()?;
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            // The flag first: actions run in this order, and the byte wakes who reads the flag.
            flag::register(signal, Arc::clone(&stop))?;
            pipe::register(signal, sender.try_clone()?)?;
        }
        pipe::register(SIGCHLD, sender)?;
        Ok(Self { bytes, stop })
    }

    /// Waits for a signal, at most for that long.
    fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        const PASSING: [ErrorKind; 3] = [ErrorKind::Interrupted, ErrorKind::WouldBlock, ErrorKind::TimedOut];
        self.bytes.set_read_timeout(limit)?;
        match self.bytes.read(&mut [0; 64]) {
            Err(error) if !PASSING.contains(&error.kind()) => Err(error),
            _ => Ok(()),
        }
    }
}
