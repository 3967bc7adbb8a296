//! What a daemon takes in memory, and a group of processes that may take no more than so much.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, thread};

/// Memory of `pid` that is its own: nothing of a file could take its place. 0 when it is gone.
pub(crate) fn own(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap_or_default();
    line.split_whitespace().nth(1).map_or(0, |kilobytes| kilobytes.parse::<u64>().unwrap() * 1024)
}

/// Looks at a process all the time.
pub(crate) struct Meter {
    peak: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Meter {
    pub(crate) fn of(pid: u32) -> Self {
        let (peak, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let meter = Self { peak: Arc::clone(&peak), over: Arc::clone(&over) };
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                peak.fetch_max(own(pid), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(2));
            }
        });
        meter
    }

    /// The most that was seen.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// A memory cgroup below that of the tests. A process in it that takes more is killed.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// `None` where the tests may not make one.
    pub(crate) fn of(bytes_max: u64) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let ours = fs::read_to_string("/proc/self/cgroup").ok()?;
        let lines: Vec<Vec<&str>> = ours.lines().map(|line| line.splitn(3, ':').collect()).collect();
        // Version 1 has a tree for each controller, version 2 has one for all.
        let (tree, file) = [("memory", "memory.limit_in_bytes"), ("", "memory.max")].into_iter().find_map(
            |(controller, file)| {
                let line = lines.iter().find(|line| line[1] == controller)?;
                Some((format!("/sys/fs/cgroup/{controller}{}", line[2]), file))
            },
        )?;
        let name = format!("clawdis-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(tree).join(name);
        fs::create_dir(&path).ok()?;
        let group = Self(path);
        fs::write(group.0.join(file), bytes_max.to_string()).ok()?;
        Some(group)
    }

    /// A program that goes into it and then becomes the one that is named behind it.
    pub(crate) fn wrapper(&self) -> Vec<String> {
        let script = format!("echo $$ > '{}' && exec \"$@\"", self.0.join("cgroup.procs").display());
        ["sh", "-c", &script, "sh"].map(str::to_owned).into()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its last process may still be on its way out.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
