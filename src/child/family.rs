//! Finds the processes below this one, as far as the system tells, and ends them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
pub(crate) use linux::*;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::*;
use rustix::process::{Pid, Signal};

use crate::limits::{CHILD_POLL_INTERVAL, NOBODY_LOOKS};

/// Ends the processes that `roots` names and whatever is below them. `roots` is asked again and
/// again, and reaps those of them that are dead.
///
/// All are stopped before any is killed: a process that is stopped starts no other, so there is an end to
/// it however fast they multiply. True once `roots` has named nobody several times in a row.
/// Gives up, with a last SIGKILL for everybody, after `limit` or when those that were killed take
/// longer than `patience` to be gone (a process may be in the kernel's hands) and nobody else comes.
pub(crate) fn end(mut roots: impl FnMut() -> Vec<Pid>, patience: Duration, limit: Duration) -> bool {
    let started = Instant::now();
    let mut killed: Option<Instant> = None;
    let mut stopped: HashSet<Pid> = HashSet::new();
    let mut empty_looks = 0;
    while empty_looks < NOBODY_LOOKS {
        // A process that forks and exits in a loop is another one before all of `/proc` has been looked at. Its
        // children fall to us, and asking for those is fast enough to meet one alive.
        while started.elapsed() < limit {
            let fresh: Vec<Pid> = roots().into_iter().filter(|pid| stopped.insert(*pid)).collect();
            if fresh.is_empty() {
                break;
            }
            signal_all(&fresh, Signal::STOP);
            killed = None;
        }
        let left = roots();
        if left.is_empty() {
            empty_looks += 1;
            continue;
        }
        empty_looks = 0;
        // If this is empty, the roots were gone before the slow look at `/proc` came to them. What they have
        // started meanwhile is among the next roots.
        let alive = alive(&left);
        // A number that was given to another process meanwhile counts as new again.
        stopped.retain(|pid| alive.contains(pid));
        let fresh: Vec<Pid> = alive.iter().copied().filter(|pid| stopped.insert(*pid)).collect();
        let over = started.elapsed() >= limit || killed.is_some_and(|since| since.elapsed() >= patience);
        if fresh.is_empty() || over {
            signal_all(&alive, Signal::KILL);
            if over {
                return false;
            }
            killed.get_or_insert_with(Instant::now);
            std::thread::sleep(CHILD_POLL_INTERVAL);
        } else {
            signal_all(&fresh, Signal::STOP);
            killed = None;
        }
    }
    true
}

fn signal_all(pids: &[Pid], sent: Signal) {
    for pid in pids {
        signal(*pid, sent);
    }
}

/// On Linux orphans fall back to whoever asked for them, and `/proc` has everybody's parent.
#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::time::Duration;
    use std::{fs, io};

    use rustix::process::{
        Pid, Signal, getpid, kill_process, set_child_subreaper, set_parent_process_death_signal,
    };

    /// The kernel reports the parent's death by a signal.
    pub(crate) const PARENT_POLL: Option<Duration> = None;

    /// Makes this process the parent of every orphan below it.
    pub(crate) fn adopt_orphans() -> io::Result<()> {
        Ok(set_child_subreaper(Some(getpid()))?)
    }

    /// Asks for a signal when the parent dies; nothing comes if it is dead already.
    pub(crate) fn die_with_parent(signal: Signal) -> io::Result<()> {
        Ok(set_parent_process_death_signal(Some(signal))?)
    }

    /// The children of this process's first thread, dead ones included: what that one started and
    /// every orphan. `_agent` counts only where the system has no such list.
    pub(crate) fn children(_agent: Pid) -> Vec<Pid> {
        let own = getpid().as_raw_nonzero().get();
        match fs::read_to_string(format!("/proc/self/task/{own}/children")) {
            Ok(text) => text
                .split_ascii_whitespace()
                .filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw))
                .collect(),
            // A kernel that was built without it.
            Err(_) => everybody().into_iter().filter(|it| it.parent == own).map(|it| it.pid).collect(),
        }
    }

    /// Those of `roots` and of the processes below them that are not dead. A root that nobody has reaped
    /// counts as well: one of its threads may be alive without the first.
    pub(crate) fn alive(roots: &[Pid]) -> Vec<Pid> {
        let mut alive = Vec::new();
        if roots.is_empty() {
            return alive;
        }
        let everybody = everybody();
        let mut children: BTreeMap<i32, Vec<&Known>> = BTreeMap::new();
        for known in &everybody {
            children.entry(known.parent).or_default().push(known);
        }
        let mut found: Vec<&Known> = everybody.iter().filter(|known| roots.contains(&known.pid)).collect();
        while let Some(known) = found.pop() {
            found.extend(children.remove(&known.pid.as_raw_nonzero().get()).unwrap_or_default());
            let counts = !known.dead || roots.contains(&known.pid);
            if counts && !alive.contains(&known.pid) {
                alive.push(known.pid);
            }
        }
        alive
    }

    /// Sends a signal; who is gone already needs none.
    pub(crate) fn signal(pid: Pid, signal: Signal) {
        let _ = kill_process(pid, signal);
    }

    /// Every process's number, from one look at `/proc`.
    pub(crate) fn pids() -> Vec<Pid> {
        let names = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.filter_map(|name| name.to_str()?.parse().ok().and_then(Pid::from_raw)).collect()
    }

    struct Known {
        pid: Pid,
        parent: i32,
        /// Whether it is dead and only waits to be reaped.
        dead: bool,
    }

    fn everybody() -> Vec<Known> {
        let known = |pid: Pid| {
            // It may have ended meanwhile.
            let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
            parse_stat(&stat).map(|(parent, dead)| Known { pid, parent, dead })
        };
        pids().into_iter().filter_map(known).collect()
    }

    /// Parent and whether it is dead. The name may hold anything, spaces and parentheses included, so
    /// the fields are counted from its end.
    fn parse_stat(stat: &str) -> Option<(i32, bool)> {
        let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
        let dead = matches!(fields.next()?, "Z" | "X");
        Some((fields.next()?.parse().ok()?, dead))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_name_full_of_parentheses_does_not_hide_the_parent() {
            assert_eq!(parse_stat("12 (a) S 1) Z 7 12 0"), Some((7, true)));
            assert_eq!(parse_stat("12 (sh) S 7 12 0"), Some((7, false)));
            assert_eq!(parse_stat("12 (sh"), None);
        }
    }
}

/// Elsewhere the agent's process group is all there is to go by.
#[cfg(not(target_os = "linux"))]
mod other {
    use std::io;
    use std::time::Duration;

    use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

    /// How often to look whether the parent is still there.
    pub(crate) const PARENT_POLL: Option<Duration> = Some(Duration::from_millis(250));

    /// Does nothing: orphans cannot be adopted here.
    pub(crate) fn adopt_orphans() -> io::Result<()> {
        Ok(())
    }

    /// Does nothing: the guard looks whether its parent is there instead.
    pub(crate) fn die_with_parent(_signal: Signal) -> io::Result<()> {
        Ok(())
    }

    /// The agent, as long as anybody is in its process group.
    pub(crate) fn children(agent: Pid) -> Vec<Pid> {
        alive(&[agent])
    }

    /// Those of `roots` in whose process groups anybody is.
    pub(crate) fn alive(roots: &[Pid]) -> Vec<Pid> {
        roots.iter().copied().filter(|agent| test_kill_process_group(*agent).is_ok()).collect()
    }

    /// Nobody: there is no such list.
    pub(crate) fn pids() -> Vec<Pid> {
        Vec::new()
    }

    /// Sends a signal to the agent's process group.
    pub(crate) fn signal(agent: Pid, signal: Signal) {
        let _ = kill_process_group(agent, signal);
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, waitid, waitpid};

    use super::{alive, end};
    use crate::child;

    const LIMIT: Duration = Duration::from_secs(20);

    fn start(program: &str, arg: &str) -> Pid {
        child::start_inheriting(Path::new(program), &[arg.into()]).unwrap()
    }

    fn is_left(pid: Pid) -> bool {
        matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None))
    }

    #[test]
    fn who_comes_after_a_look_that_met_nobody_alive_does_not_survive() {
        // Larger than any number that the system gives.
        let gone = Pid::from_raw(i32::MAX).unwrap();
        for before in [vec![], vec![gone]] {
            // One look stops whoever is there and the next one decides: each meets a generation that is
            // gone before the other.
            for looks in 1..=2 * before.len() + 2 {
                let survivor = start("sleep", "10");
                let mut asked = 0;
                let roots = || {
                    asked += 1;
                    if asked > looks {
                        return Vec::from_iter(Some(survivor).filter(|pid| is_left(*pid)));
                    }
                    before.clone()
                };
                let has_ended = end(roots, LIMIT, LIMIT);
                assert!(has_ended && !is_left(survivor), "{looks} looks at {before:?}");
            }
        }
    }

    #[test]
    fn the_hunt_ends_at_its_limit_although_nobody_is_ever_met_alive() {
        let gone = Pid::from_raw(i32::MAX).unwrap();
        assert!(!end(|| vec![gone], LIMIT, Duration::from_millis(50)));
    }

    #[test]
    fn a_root_that_nobody_has_reaped_is_not_overlooked() {
        let dead = start("true", "");
        waitid(WaitId::Pid(dead), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        assert_eq!(alive(&[dead]), [dead]);
        assert!(!is_left(dead));
    }
}
