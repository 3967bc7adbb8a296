//! Bounds of what ends child processes, also those that do not want to.

/// How long a guard goes on ending what starts ever new processes. Where the gateway lives, it kills
/// the guard long before and goes on itself.
pub const GUARD_HUNT_MS: u64 = 60_000;
/// The same for the gateway with what a dead guard left, before it looks at its signals again.
pub const ORPHANS_MS_MAX: u64 = 500;
/// The same for what the gateway's last life left.
pub const LEFTOVERS_MS_MAX: u64 = 10_000;
/// Environment of a process in which a mark is looked for; one that is longer is not ours.
pub const CHILD_ENVIRONMENT_BYTES_MAX: u64 = 1024 * 1024;
/// Looks whether a control group is empty, one per `CHILD_POLL_MS`, before it is left.
pub const CGROUP_TRIES: usize = 10;
