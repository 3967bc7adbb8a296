//! What an agent without a sandbox leaves behind ends with it, whoever of guard and gateway was killed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde_json::json;

use crate::harness::gateway::Builder;
use crate::harness::{Gateway, PATIENCE, eventually, params_agent, process};

/// Something that an agent left behind, alive as long as its file is locked.
struct Escaped(PathBuf);

impl Escaped {
    fn is_alive(&self) -> bool {
        flock(File::open(&self.0).unwrap(), FlockOperation::NonBlockingLockExclusive).is_err()
    }

    #[track_caller]
    fn ends(&self, within: Duration) {
        eventually("the end of what the agent left", within, || (!self.is_alive()).then_some(()));
    }
}

fn setup(name: &str) -> Builder {
    Gateway::builder(name).agent_scripted()
}

/// Has the agent leave something behind.
fn escape(gateway: &Gateway, kind: &str) -> Escaped {
    let file = gateway.probe().join(kind);
    let script = process::repository("tests/agents/escape.py");
    let order = format!("[[sh python3 {} {} {kind}]]", script.display(), file.display());
    let last = gateway.client().outcome(&params_agent(&order, kind));
    assert_eq!(last["payload"]["summary"], "exit 0", "{last}");
    let escaped = Escaped(file);
    assert!(escaped.is_alive());
    escaped
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Processes whose parent is the gateway: guards, and whatever should not be there.
fn children(gateway: &Gateway) -> Vec<u32> {
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent(*pid) == Some(gateway.pid())).collect()
}

fn only_guard(gateway: &Gateway) -> u32 {
    let children = children(gateway);
    assert_eq!(children.len(), 1, "{children:?}");
    children[0]
}

#[test]
fn it_ends_although_its_guard_was_killed() {
    for kind in ["stay", "bare", "loop"] {
        let gateway = setup("left-guard").config(json!({ "agent": { "maxProcesses": 2 } })).spawn();
        let escaped = escape(&gateway, kind);
        let guard = only_guard(&gateway);
        let other = |key: &str| {
            let mut params = params_agent("[[count]]", key);
            params["sessionKey"] = json!("other");
            gateway.client().outcome(&params)["payload"]["summary"].clone()
        };
        assert_eq!(other("before"), "count=1");
        process::signal(guard, Signal::KILL);
        escaped.ends(Duration::from_secs(5));
        eventually("only the other guard below the gateway, and nobody dead", PATIENCE, || {
            (children(&gateway).len() == 1).then_some(())
        });
        assert_eq!(other("after"), "count=2", "the other session's process was not touched");
        let last = gateway.client().outcome(&params_agent("[[say still here]]", "next"));
        assert_eq!(last["payload"]["summary"], "still here");
    }
}

#[test]
fn it_ends_although_it_forks_and_exits_all_the_time() {
    type End = fn(&mut Gateway);
    let ends: [(&str, End); 3] = [
        ("left-loop-killed", |gateway| gateway.sigkill()),
        ("left-loop-stopped", |gateway| {
            gateway.sigterm();
            assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
        }),
        ("left-loop-agent", |gateway| {
            let last = gateway.client().outcome(&params_agent("[[die 3]]", "die"));
            assert_eq!(last["ok"], false);
        }),
    ];
    for (name, end) in ends {
        let mut gateway = setup(name).spawn();
        let escaped = escape(&gateway, "loop");
        end(&mut gateway);
        escaped.ends(Duration::from_secs(10));
    }
}

#[test]
fn it_ends_with_the_next_start_although_guard_and_gateway_were_killed() {
    let other = setup("left-both-other").spawn();
    other.client().outcome(&params_agent("hello", "1"));
    let mut gateway = setup("left-both").spawn();
    let escaped = escape(&gateway, "stay");
    let guard = only_guard(&gateway);
    // The gateway cannot do anything any more when the guard dies.
    process::signal(gateway.pid(), Signal::STOP);
    process::signal(guard, Signal::KILL);
    gateway.sigkill();
    let _next = gateway.setup().spawn();
    escaped.ends(PATIENCE);
    // It was told from what another gateway's agent has running.
    let last = other.client().outcome(&params_agent("[[count]]", "2"));
    assert_eq!(last["payload"]["summary"], "count=2");
}

#[test]
fn what_was_there_before_the_gateway_is_left_alone() {
    let setup = setup("left-company");
    let pid_file = setup.scratch().join("helper");
    let helper = format!("sleep 300 & echo $! > {}; exec \"$@\"", pid_file.display());
    let gateway = setup.wrapper(["sh", "-c", &helper, "sh"]).spawn();
    let helper: u32 = fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    let escaped = escape(&gateway, "stay");
    let guard = children(&gateway).into_iter().find(|pid| *pid != helper).unwrap();
    process::signal(guard, Signal::KILL);
    escaped.ends(Duration::from_secs(5));
    let state = fs::read_to_string(format!("/proc/{helper}/stat")).unwrap();
    assert!(state.contains(" S "), "{state}");
    process::signal(helper, Signal::KILL);
}

/// The cgroup (version 2) that a process is in, where one can be made below it.
fn delegated(pid: u32) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let point = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?;
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = Path::new(point).join(group);
    rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK).ok()?;
    Some(folder)
}

#[test]
fn a_delegated_cgroup_is_used_and_not_left_behind() {
    let mut gateway = setup("left-cgroup").spawn();
    let Some(own) = delegated(gateway.pid()) else { return };
    let escaped = escape(&gateway, "loop");
    let group = own.join(format!("clawdis-guard-{}", only_guard(&gateway)));
    assert!(!fs::read_to_string(group.join("cgroup.procs")).unwrap().is_empty());
    let guard = only_guard(&gateway);
    process::signal(gateway.pid(), Signal::STOP);
    process::signal(guard, Signal::KILL);
    gateway.sigkill();
    assert!(group.exists() && escaped.is_alive());
    let _next = gateway.setup().config(json!({ "agent": { "warmSeconds": 1 } })).spawn();
    escaped.ends(PATIENCE);
    eventually("the group's end", PATIENCE, || (!group.exists()).then_some(()));
}
