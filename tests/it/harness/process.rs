//! What the kernel says about a process, and signals to one that we started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;

use rustix::process::{Pid, Resource, Signal};

/// Names of the threads of `pid`, sorted.
pub(crate) fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut names: Vec<String> = tasks
        // A thread may end between the listing and the look at it.
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .collect();
    names.sort();
    names
}

/// Open descriptors of `pid`.
pub(crate) fn fd_count(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Resident memory of `pid` in bytes.
pub(crate) fn rss(pid: u32) -> u64 {
    memory(pid, "VmRSS:")
}

/// The most that it ever was.
pub(crate) fn peak(pid: u32) -> u64 {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Processes whose environment has this very entry, which is how a test finds the descendants of
/// its own daemon.
pub(crate) fn with_environment(entry: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|process| process.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|found| found == entry.as_bytes())
    })
    .collect()
}

/// Sends a signal to one process.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// The tests hold both ends of a thousand connections: take what the system allows.
pub(crate) fn raise_descriptor_limit() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut limit = rustix::process::getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        let _ = rustix::process::setrlimit(Resource::Nofile, limit);
    });
}

/// Runs a program to its end, with a failure that names it if it cannot be started.
pub(crate) fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap_or_else(|error| {
        panic!("`{program}` cannot be started ({error}); scripts/test installs what the tests need")
    })
}

/// Copies something that is to be run. Not in this process: a child that another test starts just then
/// would hold the file open for writing, and nobody can run it meanwhile.
pub(crate) fn copy_program(from: &Path, to: &Path) {
    let copied = run("cp", &["-p", from.to_str().unwrap(), to.to_str().unwrap()]);
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
}

/// The program that is tested: today's, or another one that is to be held to the same.
pub(crate) fn daemon() -> PathBuf {
    let other = std::env::var_os("CLAWDIS_TEST_DAEMON");
    other.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_clawdis-gateway")), PathBuf::from)
}

/// Nobody's account: it owns nothing on a system.
const ORDINARY: u32 = 65_534;

/// The beginning of a command line that is carried out as an ordinary user, by root.
pub(crate) fn ordinary_user() -> Vec<String> {
    let id = ORDINARY.to_string();
    ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"].map(str::to_owned).to_vec()
}

/// Gives a folder and everything in it, however deep that is, to the ordinary user.
pub(crate) fn give_away(path: &Path) {
    let owner = format!("{ORDINARY}:{ORDINARY}");
    let done = run("chown", &["-hR", &owner, path.to_str().unwrap()]);
    assert!(done.status.success(), "{done:?}");
}

/// A file of this repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The preloaded library of Debian's `faketime`, without its wrapper, which would be another
/// process in between.
pub(crate) fn faketime() -> String {
    let folders = fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok);
    let library =
        folders.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|path| path.exists());
    let library =
        library.expect("libfaketime is not installed; scripts/test does that (Debian: apt install faketime)");
    library.to_str().unwrap().to_owned()
}

/// `unshare` with the flags that this system lets us use for a mount of our own.
pub(crate) fn mount_namespace() -> Vec<String> {
    for flags in ["-m", "-rm"] {
        let mut tried = Command::new("unshare");
        let tried = tried.args([flags, "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/mnt"]).output();
        if tried.is_ok_and(|output| output.status.success()) {
            return vec!["unshare".to_owned(), flags.to_owned()];
        }
    }
    panic!("this test mounts a small file system and neither `unshare -m` nor `unshare -rm` may do that here")
}
