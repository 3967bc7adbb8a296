//! Bounds of what ends child processes, also those that do not want to, and of the agent's sandbox.

use std::time::Duration;

/// Highest configurable number of agent processes.
pub const AGENT_PROCESSES_MAX: usize = 64;
/// How long a guard goes on ending what starts ever new processes. Where the gateway lives, it kills
/// the guard long before and goes on itself.
pub const GUARD_HUNT_TIME: Duration = Duration::from_secs(60);
/// How long what a dead guard left may take to end by itself.
pub const ORPHANS_GRACE: Duration = Duration::from_millis(100);
/// How long the gateway goes on ending what a dead guard left, before it looks at its signals again.
pub const ORPHANS_TIME_MAX: Duration = Duration::from_millis(500);
/// The same for what the gateway's last life left, and how long the guards of that life have before.
pub const LEFTOVERS_TIME_MAX: Duration = Duration::from_secs(10);
/// Looks in a row that find only dead orphans, each of whom may have left another one.
pub const ORPHANS_LOOKS: usize = 100;
/// Looks in a row that find nobody below a process before there is nobody: not every system tells at one
/// instant who is there.
pub const NOBODY_LOOKS: usize = 3;
/// Environment of a process in which a mark is looked for; one that is longer is not ours.
pub const CHILD_ENVIRONMENT_BYTES_MAX: u64 = 1024 * 1024;
/// What may wait for a child besides the first thing that it does not read: a prompt with its pictures may be
/// large, but what comes behind is small.
pub const CHILD_UNREAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Looks whether a control group is empty, one per `CHILD_POLL_INTERVAL`, before it is left.
pub const CGROUP_TRIES: usize = 10;
/// Between two looks at a child that should end by itself at once.
pub const ATTEMPT_POLL_INTERVAL: Duration = Duration::from_millis(1);
/// How long bubblewrap may take to show that it works; then no agent starts, and it is tried
/// again before the next agent starts.
pub const SANDBOX_TRIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long `hello-ok` waits for that at most, from the start on.
pub const SANDBOX_HELLO_WAIT: Duration = Duration::from_secs(2);
/// Unix sockets of other programs that are hidden one by one; further ones stay.
pub const SANDBOX_SOCKETS_MAX: usize = 1_000;
/// What is read of the system's list of Unix sockets.
pub const SANDBOX_SOCKET_LIST_BYTES_MAX: u64 = 1024 * 1024;
