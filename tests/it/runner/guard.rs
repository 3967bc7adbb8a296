//! The guard leaves nothing behind, whoever dies first.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clawdis_gateway::protocol::payload::RunStatus;

use crate::runner::harness::{Folder, PATIENCE, acting, own_exe, test_file, wait_until};

/// Processes that noted their pid in `folder` and are still alive.
pub(super) fn survivors(folder: &Path) -> Vec<u32> {
    let noted = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    noted.filter_map(|name| name.to_str().unwrap().parse().ok()).filter(|pid| is_alive(*pid)).collect()
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// A stand-in for the gateway that starts `count` stubborn agents under guards and does nothing.
fn gateway_with_agents(count: usize, folder: &Path) -> Child {
    let script = format!(
        "for i in $(seq {count}); do {exe} guard $$ python3 {fake} stubborn {folder} & done; wait",
        exe = own_exe().display(),
        fake = test_file("agents/fake_pi.py"),
        folder = folder.display(),
    );
    #[expect(clippy::disallowed_methods, reason = "this one plays the gateway")]
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    command.spawn().unwrap()
}

fn noted(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[test]
fn ten_stubborn_agents_end_within_two_seconds_of_a_killed_gateway() {
    let folder = Folder::new();
    let pids = folder.path().join("pids");
    let mut gateway = gateway_with_agents(10, &pids);
    wait_until("30 processes", PATIENCE, || noted(&pids) == 30);
    assert_eq!(survivors(&pids).len(), 30);
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    wait_until("the end of all", Duration::from_secs(2), || survivors(&pids).is_empty());
}

#[test]
fn what_a_tool_left_behind_ends_with_its_agent() {
    let mut rig = acting(|config| config.warm = Duration::ZERO);
    let pids = rig.folder.path().join("pids");
    let finished = rig.ask(&format!("[[leave {}]]", pids.display()));
    assert_eq!((finished.status, &*finished.summary), (RunStatus::Ok, "left something"));
    wait_until("the end of all", Duration::from_secs(5), || noted(&pids) == 3 && survivors(&pids).is_empty());
}

#[test]
fn the_guard_exits_as_its_agent_did() {
    let me = std::process::id().to_string();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)] {
        #[expect(clippy::disallowed_methods, reason = "the guard is what is tested")]
        let mut command = Command::new(own_exe());
        let status = command.args(["guard", &me, "sh", "-c", script]).status().unwrap();
        assert_eq!(status.code(), Some(code), "{script}");
    }
}

#[test]
fn a_guard_whose_gateway_is_gone_already_starts_nothing() {
    let folder = Folder::new();
    let file = folder.path().join("started");
    #[expect(clippy::disallowed_methods, reason = "the guard is what is tested")]
    let mut command = Command::new(own_exe());
    // Process 1 is not its parent.
    let status = command.args(["guard", "1", "touch", file.to_str().unwrap()]).status().unwrap();
    assert!(!status.success() && !file.exists());
}
