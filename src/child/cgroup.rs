//! A control group for each guard's agent, where the system lets us make one: the kernel ends
//! everybody in it at once, however fast they multiply.
//!
//! That is so where our own control group (version 2) was delegated to us, as in a user's service or
//! with `Delegate=yes`. Everywhere else all of this does nothing. It is a help and no wall: who has
//! our rights can leave the group.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{fs, io};

use rustix::process::Pid;

use crate::limits::{CGROUP_TRIES, CHILD_POLL_INTERVAL};

/// Name of a guard's control group, followed by the guard's process id.
const PREFIX: &str = "clawdis-guard-";

/// Makes the group of a guard. Nothing comes of it where that is not ours to do.
pub(crate) fn make(guard: Pid) {
    if let Some(folder) = folder(guard) {
        let _ = fs::create_dir(folder);
    }
}

/// Puts this process into the group of its guard, if there is one.
pub(crate) fn enter(guard: Pid) {
    if let Some(folder) = folder(guard).filter(|folder| folder.is_dir()) {
        let _ = fs::write(folder.join("cgroup.procs"), "0");
    }
}

/// Ends everybody in the group of a guard.
pub(crate) fn kill(guard: Pid) {
    if let Some(folder) = folder(guard) {
        let _ = kill_all(&folder);
    }
}

/// Removes the group of a guard, which should be empty.
pub(crate) fn remove(guard: Pid) {
    if let Some(folder) = folder(guard) {
        remove_folder(&folder);
    }
}

/// Ends everybody in the groups beside ours whose guard is gone, and removes the groups.
pub(crate) fn end_abandoned() {
    let Some(own) = own() else { return };
    for entry in fs::read_dir(own).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let guard = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if guard.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = kill_all(&entry.path());
            remove_folder(&entry.path());
        }
    }
}

fn folder(guard: Pid) -> Option<PathBuf> {
    Some(own()?.join(format!("{PREFIX}{}", guard.as_raw_nonzero())))
}

fn kill_all(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("cgroup.kill"), "1")
}

/// Removes a group. Who was killed is in it until it is gone, a moment later.
fn remove_folder(folder: &Path) {
    for _ in 0..CGROUP_TRIES {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(CHILD_POLL_INTERVAL);
            }
            _ => return,
        }
    }
}

/// The folder of the group that this process is in.
fn own() -> Option<&'static Path> {
    static OWN: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let group = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        find(&group, &mounts)
    };
    OWN.get_or_init(find).as_deref()
}

/// The folder of a group, from the process's list of groups and its list of mounts.
fn find(group: &str, mounts: &str) -> Option<PathBuf> {
    let group = group.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    // Outside of what is mounted here it begins with `/..`.
    let below = Path::new(group).strip_prefix(root).ok()?;
    (!below.starts_with("..")).then(|| Path::new(point).join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "28 24 0:25 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_own_group_is_found_below_its_mount() {
        let of = |group: &str, mounts: &str| find(group, mounts).map(|path| path.display().to_string());
        let user = "/user.slice/user-1000.slice/user@1000.service/app.slice/clawdis.service";
        assert_eq!(of(&format!("0::{user}\n"), MOUNTS), Some(format!("/sys/fs/cgroup{user}")));
        assert_eq!(of("4:memory:/x\n0::/\n", MOUNTS), Some("/sys/fs/cgroup/".into()));
        let part = MOUNTS.replace(" / ", " /docker/1 ");
        assert_eq!(of("0::/docker/1/a\n", &part), Some("/sys/fs/cgroup/a".into()));
    }

    #[test]
    fn no_group_is_taken_for_ours_that_is_not() {
        assert_eq!(find("0::/../x\n", MOUNTS), None);
        assert_eq!(find("4:memory:/x\n", MOUNTS), None);
        assert_eq!(find("0::/a\n", "28 24 0:25 / /x rw - tmpfs tmpfs rw\n"), None);
        assert_eq!(find("0::/a\n", &MOUNTS.replace(" / ", " /b ")), None);
    }
}
