//! What an agent without a sandbox leaves behind ends with it, whoever of guard and gateway was killed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Signal, geteuid};
use serde_json::json;

use crate::harness::gateway::Builder;
use crate::harness::{Gateway, PATIENCE, eventually, params_agent, process};

/// Something that an agent left behind, alive as long as its file is locked.
pub(crate) struct Escaped(PathBuf);

impl Escaped {
    pub(crate) fn is_alive(&self) -> bool {
        flock(File::open(&self.0).unwrap(), FlockOperation::NonBlockingLockExclusive).is_err()
    }

    #[track_caller]
    pub(crate) fn ends(&self) {
        eventually("the end of what the agent left", PATIENCE, || (!self.is_alive()).then_some(()));
    }
}

fn setup(name: &str) -> Builder {
    Gateway::builder(name).agent_scripted()
}

/// A daemon to be, and whether it makes control groups for its agents.
struct Round {
    setup: Builder,
    has_groups: bool,
}

impl Round {
    /// Starts it and has its agent leave something behind.
    fn escape(self, kind: &str) -> (Gateway, Escaped) {
        let gateway = self.setup.spawn();
        let escaped = escape(&gateway, kind);
        let made = group(&gateway).is_some_and(|group| group.exists());
        assert_eq!(made, self.has_groups, "a control group was made");
        (gateway, escaped)
    }
}

/// Control groups, where the tests' user may make some, do all of the work; so everything is tried
/// without them as well, and by an ordinary user. At the same time: most of it is waiting.
fn in_each_round(name: &str, test: impl Fn(Round) + Sync) {
    let has_groups = delegated(std::process::id()).is_some();
    let mut rounds = vec![Round { setup: setup(name), has_groups }];
    if has_groups {
        let setup = without_groups(setup(&format!("{name}-no-groups")));
        rounds.push(Round { setup, has_groups: false });
    }
    let ordinary = setup(&format!("{name}-ordinary")).by_ordinary_user();
    if ordinary.is_by_ordinary_user() {
        rounds.push(Round { setup: ordinary, has_groups: false });
    }
    thread::scope(|scope| {
        for round in rounds {
            scope.spawn(|| test(round));
        }
    });
}

/// With nothing to be made where the control groups are.
fn without_groups(setup: Builder) -> Builder {
    if delegated(std::process::id()).is_none() {
        return setup;
    }
    let hide = format!("mount -t tmpfs -o ro none {} && exec \"$@\"", mount_point().unwrap());
    let flags = if geteuid().is_root() { "-m" } else { "-rm" };
    setup.wrapper(["unshare", flags, "sh", "-c", &hide, "sh"])
}

/// Has the agent leave something behind.
pub(crate) fn escape(gateway: &Gateway, kind: &str) -> Escaped {
    let file = gateway.probe().join(kind);
    // A copy: this repository may lie where a sandboxed agent, or an ordinary user, sees nothing.
    let script = gateway.probe().join("escape.py");
    fs::copy(process::repository("tests/agents/escape.py"), &script).unwrap();
    let order = format!("[[sh python3 {} {} {kind}]]", script.display(), file.display());
    let last = gateway.client().outcome(&params_agent(&order, kind));
    assert_eq!(last["payload"]["summary"], "exit 0", "{last}");
    let escaped = Escaped(file);
    assert!(escaped.is_alive());
    escaped
}

/// A field of what the system says about a process, counted from behind its name.
fn field(pid: u32, number: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(number)?.to_owned())
}

fn state(pid: u32) -> Option<String> {
    field(pid, 0)
}

fn parent(pid: u32) -> Option<u32> {
    field(pid, 1)?.parse().ok()
}

/// Processes whose parent is the gateway: guards, and whatever should not be there.
fn children(gateway: &Gateway) -> Vec<u32> {
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent(*pid) == Some(gateway.pid())).collect()
}

/// The guard, once nothing else is there: the sandbox's trial ends a moment before what it has started.
pub(crate) fn only_guard(gateway: &Gateway) -> u32 {
    eventually("only one guard below the gateway", PATIENCE, || match children(gateway)[..] {
        [guard] => Some(guard),
        _ => None,
    })
}

/// Stops a process, and waits until it is.
pub(crate) fn stop(pid: u32) {
    process::signal(pid, Signal::STOP);
    eventually("it to be stopped", PATIENCE, || (state(pid)? == "T").then_some(()));
}

#[test]
fn it_ends_although_its_guard_was_killed() {
    for kind in ["stay", "bare", "loop"] {
        in_each_round("left-guard", |round| ends_although_its_guard_was_killed(round, kind));
    }
}

fn ends_although_its_guard_was_killed(mut round: Round, kind: &str) {
    round.setup = round.setup.config(json!({ "agent": { "maxProcesses": 2 } }));
    let (gateway, escaped) = round.escape(kind);
    let guard = only_guard(&gateway);
    let other = |key: &str| {
        let mut params = params_agent("[[count]]", key);
        params["sessionKey"] = json!("other");
        gateway.client().outcome(&params)["payload"]["summary"].clone()
    };
    assert_eq!(other("before"), "count=1");
    process::signal(guard, Signal::KILL);
    escaped.ends();
    eventually("only the other guard below the gateway, and nobody dead", PATIENCE, || {
        (children(&gateway).len() == 1).then_some(())
    });
    assert_eq!(other("after"), "count=2", "the other session's process was not touched");
    let last = gateway.client().outcome(&params_agent("[[say still here]]", "next"));
    assert_eq!(last["payload"]["summary"], "still here");
}

#[test]
fn it_ends_although_it_forks_and_exits_all_the_time() {
    type End = fn(&mut Gateway);
    let ends: [(&str, End); 5] = [
        ("left-loop-killed", |gateway| gateway.sigkill()),
        ("left-loop-stopped", |gateway| {
            gateway.sigterm();
            assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
        }),
        ("left-loop-guard-stopped", |gateway| {
            stop(only_guard(gateway));
            gateway.sigterm();
            assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
        }),
        ("left-loop-guard-killed", |gateway| {
            let guard = only_guard(gateway);
            // It hears of both at once, and stops.
            stop(gateway.pid());
            process::signal(guard, Signal::KILL);
            gateway.sigterm();
            process::signal(gateway.pid(), Signal::CONT);
            assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
        }),
        ("left-loop-agent", |gateway| {
            let last = gateway.client().outcome(&params_agent("[[die 3]]", "die"));
            assert_eq!(last["ok"], false);
        }),
    ];
    for (name, end) in ends {
        in_each_round(name, |round| {
            let (mut gateway, escaped) = round.escape("loop");
            end(&mut gateway);
            escaped.ends();
        });
    }
}

#[test]
fn it_ends_with_the_next_start_although_guard_and_gateway_were_killed() {
    let other = setup("left-both-other").spawn();
    other.client().outcome(&params_agent("hello", "1"));
    in_each_round("left-both", |round| {
        let (mut gateway, escaped) = round.escape("stay");
        let guard = only_guard(&gateway);
        // The gateway cannot do anything any more when the guard dies.
        process::signal(gateway.pid(), Signal::STOP);
        process::signal(guard, Signal::KILL);
        gateway.sigkill();
        let _next = gateway.setup().spawn();
        escaped.ends();
    });
    // It was told from what another gateway's agent has running.
    let last = other.client().outcome(&params_agent("[[count]]", "2"));
    assert_eq!(last["payload"]["summary"], "count=2");
}

#[test]
fn it_ends_with_the_next_start_although_its_guard_was_stopped() {
    for kind in ["stay", "loop"] {
        in_each_round("left-stopped", |round| {
            let (mut gateway, escaped) = round.escape(kind);
            let guard = only_guard(&gateway);
            stop(guard);
            gateway.sigkill();
            // The system lets it go on then, as it does with whoever is stopped and has lost the parent.
            stop(guard);
            assert!(escaped.is_alive());
            let _next = gateway.setup().spawn();
            escaped.ends();
            eventually("the guard's end", PATIENCE, || {
                state(guard).is_none_or(|state| state == "Z").then_some(())
            });
        });
    }
}

#[test]
fn what_was_there_before_the_gateway_is_left_alone() {
    for kind in ["stay", "loop"] {
        let setup = without_groups(setup("left-company"));
        let pid_file = setup.scratch().join("helper");
        let helper = format!("sleep 300 & echo $! > {}; exec \"$@\"", pid_file.display());
        let gateway = setup.wrapper(["sh", "-c", &helper, "sh"]).spawn();
        let helper: u32 = fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
        let escaped = escape(&gateway, kind);
        let guard = children(&gateway).into_iter().find(|pid| *pid != helper).unwrap();
        process::signal(guard, Signal::KILL);
        escaped.ends();
        assert_eq!(state(helper).unwrap(), "S");
        process::signal(helper, Signal::KILL);
    }
}

/// Where the cgroups (version 2) are.
fn mount_point() -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let point = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?;
    Some(point.to_owned())
}

/// The cgroup (version 2) that a process is in, where one can be made below it.
fn delegated(pid: u32) -> Option<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = Path::new(&mount_point()?).join(group);
    rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK).ok()?;
    Some(folder)
}

/// The cgroup of the only guard, made or not.
fn group(gateway: &Gateway) -> Option<PathBuf> {
    Some(delegated(gateway.pid())?.join(format!("clawdis-guard-{}", only_guard(gateway))))
}

#[test]
fn a_delegated_cgroup_is_used_and_not_left_behind() {
    let mut gateway = setup("left-cgroup").spawn();
    if delegated(gateway.pid()).is_none() {
        return;
    }
    let escaped = escape(&gateway, "loop");
    let group = group(&gateway).unwrap();
    assert!(!fs::read_to_string(group.join("cgroup.procs")).unwrap().is_empty());
    let guard = only_guard(&gateway);
    process::signal(gateway.pid(), Signal::STOP);
    process::signal(guard, Signal::KILL);
    gateway.sigkill();
    // Not only the next one may end it now: any gateway beside this one does.
    let _next = gateway.setup().config(json!({ "agent": { "warmSeconds": 1 } })).spawn();
    escaped.ends();
    eventually("the group's end", PATIENCE, || (!group.exists()).then_some(()));
}
