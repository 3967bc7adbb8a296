//! Ends what an agent has left behind although its guard is dead.
//!
//! A guard ends everything below it, but nothing keeps an agent without a sandbox from killing its
//! guard first. The gateway is the next to whom orphans fall, so whoever becomes its child without
//! having been started by it is ended. If the gateway was killed as well, its next life finds them
//! by a mark in their environment.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use rustix::process::{Pid, Signal, WaitOptions, getpid, getuid, waitpid};

use crate::child::{cgroup, family};
use crate::limits::{
    CHILD_ENVIRONMENT_BYTES_MAX, CHILD_POLL_INTERVAL, GUARD_KILL_WAIT, LEFTOVERS_TIME_MAX, ORPHANS_GRACE,
    ORPHANS_LOOKS, ORPHANS_TIME_MAX,
};
use crate::threads;

/// Variable of every child, and of what it starts: the gateway's life, a space, its state folder.
const MARK: &str = "CLAWDIS_STARTED_BY";

/// Set once this process adopts orphans.
static ADOPTION: OnceLock<Adoption> = OnceLock::new();

struct Adoption {
    mark: String,
    /// Whether there are processes of others, which are not to be touched: the first process of a
    /// container gets everybody's orphans, and a script may have started something and become us.
    has_company: bool,
}

/// Children that were started here and are not reaped. Locked while one is being started, so that
/// it never passes for an orphan.
static STARTED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Has orphans come to this process from now on. `life` tells it from the earlier ones with the same
/// state folder.
pub(crate) fn adopt(life: &str, state_dir: &Path) -> io::Result<()> {
    let has_company = getpid() == Pid::INIT || !family::children(getpid()).is_empty();
    let _ = ADOPTION.set(Adoption { mark: format!("{life} {}", state_dir.display()), has_company });
    family::adopt_orphans()
}

/// The variable by which processes that a child leaves behind are known.
pub(super) fn mark() -> Option<(&'static str, &'static str)> {
    ADOPTION.get().map(|adoption| (MARK, adoption.mark.as_str()))
}

/// Starts a child that is no orphan until [`reap`] has seen its end.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut started = threads::lock(&STARTED);
    let child = command.spawn()?;
    started.insert(Pid::from_child(&child).as_raw_pid());
    Ok(child)
}

/// How a child ended, once it has.
pub(super) fn reap(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let exit = {
        let mut started = threads::lock(&STARTED);
        let exit = child.try_wait()?;
        if exit.is_some() {
            started.remove(&Pid::from_child(child).as_raw_pid());
        }
        exit
    };
    if exit.is_some() {
        // It may have been a guard that was killed before it could do this.
        cgroup::end_abandoned();
    }
    Ok(exit)
}

/// Ends every orphan that has come to this process, and reaps it. To be called whenever a child may
/// have ended, and again if this says `false`: not all of them have ended yet.
pub(crate) fn end() -> bool {
    let Some(adoption) = ADOPTION.get() else { return true };
    let orphans = || adopted(adoption);
    if orphans().is_empty() {
        return true;
    }
    // Bubblewrap ends a moment before what it has started, which is on its way out then.
    std::thread::sleep(ORPHANS_GRACE);
    if orphans().is_empty() {
        return true;
    }
    log::warn!("an agent left processes behind whose guard is gone; they are ended");
    let ended = family::end(orphans, GUARD_KILL_WAIT, ORPHANS_TIME_MAX);
    if !ended {
        log::warn!("not all of them have ended yet");
    }
    ended
}

/// Children that nobody here has started, without those that are dead: these are reaped. Who forks and
/// exits in a loop may be dead before it was looked at, but has left another one then.
fn adopted(adoption: &Adoption) -> Vec<Pid> {
    let started = threads::lock(&STARTED);
    let mut orphans = Vec::new();
    for _ in 0..ORPHANS_LOOKS {
        let mut has_dead = false;
        orphans = family::children(getpid());
        orphans.retain(|pid| !started.contains(&pid.as_raw_pid()));
        orphans.retain(|pid| {
            let is_ours = !adoption.has_company || mark_of(*pid).is_some();
            // The dead have no mark any more, so this is asked last.
            let is_alive = matches!(waitpid(Some(*pid), WaitOptions::NOHANG), Ok(None));
            has_dead |= !is_alive;
            is_ours && is_alive
        });
        if !orphans.is_empty() || !has_dead {
            break;
        }
    }
    orphans
}

/// Looks for what agents of an earlier life with this state folder have left behind, and ends it once
/// the guards of that life have had their time.
pub(crate) fn end_leftovers() {
    cgroup::end_abandoned();
    let left = leftovers();
    if left.is_empty() {
        return;
    }
    let guards: Vec<Pid> = left.into_iter().filter(|pid| is_guard(*pid)).collect();
    let started = threads::spawn_expendable("leftovers", move || {
        wait_for(&guards);
        cgroup::end_abandoned();
        if leftovers().is_empty() {
            return;
        }
        log::warn!("agents of the gateway's last life left processes behind; they are ended");
        if !family::end(leftovers, GUARD_KILL_WAIT, LEFTOVERS_TIME_MAX) {
            log::error!("not all of them end; look for `{MARK}` in /proc/*/environ");
        }
        cgroup::end_abandoned();
    });
    if let Err(error) = started {
        log::error!("what agents of the last life left behind is not ended: {error}");
    }
}

/// Has the guards of an earlier life go on, should anybody have stopped them, and waits for their end.
/// They know that their gateway is gone, and they are the ones to whom orphans fall: where they are
/// killed instead, who forks and exits in a loop gets away.
fn wait_for(guards: &[Pid]) {
    let deadline = Instant::now() + LEFTOVERS_TIME_MAX;
    loop {
        let left: Vec<Pid> = guards.iter().copied().filter(|pid| is_guard(*pid)).collect();
        if left.is_empty() || Instant::now() >= deadline {
            return;
        }
        for guard in left {
            family::signal(guard, Signal::CONT);
        }
        std::thread::sleep(CHILD_POLL_INTERVAL);
    }
}

/// Whether a process runs this very program. What an agent starts does not, or ends soon.
fn is_guard(pid: Pid) -> bool {
    let own = program("self");
    own.is_some() && program(&pid.as_raw_nonzero().to_string()) == own
}

/// The path of a process's program, which may have been replaced since it was started.
fn program(pid: &str) -> Option<Vec<u8>> {
    const REPLACED: &[u8] = b" (deleted)";
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?.into_os_string().into_vec();
    Some(path.strip_suffix(REPLACED).unwrap_or(&path).to_vec())
}

/// Processes with the mark of an earlier life. (One that forks and exits in a loop is gone before
/// everybody has been looked at. Only a control group or a sandbox holds that.)
fn leftovers() -> Vec<Pid> {
    let own = ADOPTION.get().map(|adoption| adoption.mark.as_str()).unwrap_or_default();
    let Some((_, state_dir)) = own.split_once(' ') else { return Vec::new() };
    let is_left = |mark: String| mark != own && mark.split_once(' ').is_some_and(|(_, of)| of == state_dir);
    family::pids().into_iter().filter(|pid| mark_of(*pid).is_some_and(is_left)).collect()
}

/// What the environment that a process was started with says about its origin.
fn mark_of(pid: Pid) -> Option<String> {
    let folder = format!("/proc/{}", pid.as_raw_nonzero());
    if std::fs::metadata(&folder).ok()?.uid() != getuid().as_raw() {
        return None;
    }
    let mut environment = Vec::new();
    let file = File::open(format!("{folder}/environ")).ok()?;
    file.take(CHILD_ENVIRONMENT_BYTES_MAX).read_to_end(&mut environment).ok()?;
    environment.split(|byte| *byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(MARK.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}
