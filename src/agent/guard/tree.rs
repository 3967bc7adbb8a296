//! The processes below the guard, as far as the system tells.

#[cfg(target_os = "linux")]
pub(super) use linux::*;
#[cfg(not(target_os = "linux"))]
pub(super) use other::*;

/// Linux: orphans fall back to the guard, and `/proc` has everybody's parent.
#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io;
    use std::time::Duration;

    use rustix::process::{
        Pid, Signal, getpid, kill_process, set_child_subreaper, set_parent_process_death_signal,
    };

    /// The kernel reports the parent's death by a signal.
    pub(in super::super) const PARENT_POLL: Option<Duration> = None;

    /// Makes this process the parent of every orphan below it.
    pub(in super::super) fn adopt_orphans() -> io::Result<()> {
        Ok(set_child_subreaper(Some(getpid()))?)
    }

    /// Asks for a signal when the parent dies; nothing comes if it is dead already.
    pub(in super::super) fn die_with_parent(signal: Signal) -> io::Result<()> {
        Ok(set_parent_process_death_signal(Some(signal))?)
    }

    /// Every process below this one that is not dead.
    pub(in super::super) fn alive(_agent: Pid) -> Vec<Pid> {
        let mut children: BTreeMap<i32, Vec<(i32, bool)>> = BTreeMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            // It may have ended meanwhile.
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            if let Some((parent, dead)) = parse_stat(&stat) {
                children.entry(parent).or_default().push((pid, dead));
            }
        }
        let mut alive = Vec::new();
        let mut parents = vec![getpid().as_raw_nonzero().get()];
        while let Some(parent) = parents.pop() {
            for (pid, dead) in children.remove(&parent).unwrap_or_default() {
                parents.push(pid);
                alive.extend(Pid::from_raw(pid).filter(|_| !dead));
            }
        }
        alive
    }

    /// Sends a signal; who is gone already needs none.
    pub(in super::super) fn signal(pid: Pid, signal: Signal) {
        let _ = kill_process(pid, signal);
    }

    /// Parent and whether it is only waiting to be reaped. The name may hold anything, spaces and
    /// parentheses included, so the fields are counted from its end.
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

/// Elsewhere: the agent's process group is all there is to go by.
#[cfg(not(target_os = "linux"))]
mod other {
    use std::io;
    use std::time::Duration;

    use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

    /// How often to look whether the parent is still there.
    pub(in super::super) const PARENT_POLL: Option<Duration> = Some(Duration::from_millis(250));

    /// There is no such thing here.
    pub(in super::super) fn adopt_orphans() -> io::Result<()> {
        Ok(())
    }

    /// Nor this: the guard looks instead.
    pub(in super::super) fn die_with_parent(_signal: Signal) -> io::Result<()> {
        Ok(())
    }

    /// The agent's group, if it has anybody in it.
    pub(in super::super) fn alive(agent: Pid) -> Vec<Pid> {
        test_kill_process_group(agent).map(|()| agent).into_iter().collect()
    }

    /// Sends a signal to the group.
    pub(in super::super) fn signal(agent: Pid, signal: Signal) {
        let _ = kill_process_group(agent, signal);
    }
}
