//! What this process is to the system: its allocator, its limits and the signals that end it.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::config::flags::without_token;
use crate::config::settings::{STARTED_AGAIN, TOKEN};

/// Raises the limit on open files: many clients need many, and the soft limit is often 1,024. Returns how
/// many there may be now (`None`: any number).
pub(super) fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where the system refuses, there are as many as before.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current
}

/// The signals that end the gateway. A terminal that goes away sends SIGHUP, which does not count where
/// whoever started us (`nohup`) had it ignored.
pub(super) fn stop_signals() -> Vec<i32> {
    const SIGHUP_BIT: u64 = 1 << (SIGHUP - 1);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let mut signals = vec![SIGTERM, SIGINT];
    if ignored & SIGHUP_BIT == 0 {
        signals.push(SIGHUP);
    }
    signals
}

/// Forbids core dumps: tokens and what people said are in memory, and whoever collects core dumps keeps
/// them for long. Only the soft limit: an agent's program may raise its own.
pub(super) fn forbid_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: getrlimit(Resource::Core).maximum };
    // Lowering it is always allowed.
    let _ = setrlimit(Resource::Core, none);
}

/// How glibc is to keep what was freed; it reads its environment before `main`, and there is no other
/// way to tell it without foreign code. Its own rule is to keep a lot for the next time, in up to eight
/// heaps a core and forty megabytes of stacks: what a flood of clients took would stay with us when they
/// are gone. Settings that somebody has chosen themselves are left alone.
const ALLOCATOR: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.malloc.arena_max=2:glibc.malloc.mmap_threshold=16384:glibc.malloc.trim_threshold=65536\
     :glibc.pthread.stack_cache_size=2097152",
);

/// Whether glibc has been told of [`ALLOCATOR`], whether it listened or not.
pub(super) fn is_allocator_set() -> bool {
    !cfg!(target_env = "gnu")
        || std::env::var_os(ALLOCATOR.0).is_some()
        // The loader drops that variable of a program with privileges of its own.
        || std::env::var(STARTED_AGAIN).is_ok_and(|pid| pid == std::process::id().to_string())
}

/// Replaces this process by itself: with the allocator's settings, and with a token in the environment
/// instead of the arguments, which every user of the machine can read. Returns only if it cannot.
#[expect(
    clippy::disallowed_methods,
    reason = "no child: the same program in the same process, with its own environment"
)]
pub(super) fn start_again(args: &[OsString], token: Option<&str>) -> io::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut again = std::process::Command::new(program);
    // One that cannot be used stays where it is, and is refused by that name.
    again.args(if token.is_some() { without_token(args) } else { args.to_vec() });
    again.env(STARTED_AGAIN, std::process::id().to_string());
    again.envs((!is_allocator_set()).then_some(ALLOCATOR));
    again.envs(token.map(|token| (TOKEN, token)));
    again.exec()
}
