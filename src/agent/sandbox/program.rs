//! Finds bubblewrap, only where the system's own programs are.
//!
//! `PATH` may begin with folders that the agent can write (`~/.local/bin`), and what is found here
//! runs outside of the sandbox.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const NAME: &str = "bwrap";
/// Where programs of the system are: Debian and its kin, NixOS (the wrappers come first there), Guix.
const FOLDERS: [&str; 6] = [
    "/usr/bin",
    "/bin",
    "/usr/local/bin",
    "/run/wrappers/bin",
    "/run/current-system/sw/bin",
    "/run/current-system/profile/bin",
];

/// The first bubblewrap that only root can change, or a sentence.
pub(super) fn find() -> Result<PathBuf, String> {
    let found = FOLDERS.iter().filter_map(|folder| Path::new(folder).join(NAME).canonicalize().ok());
    let mut found = found.peekable();
    let first = found.peek().cloned();
    match (found.find(|program| is_roots(program)), first) {
        (Some(program), _) => Ok(program),
        (None, Some(program)) => {
            Err(format!("bubblewrap is not used because others than root can change `{}`", program.display()))
        }
        (None, None) => Err(
            "bubblewrap is not installed in a folder of the system; install it (apt-get install bubblewrap)"
                .to_owned(),
        ),
    }
}

/// Whether the file and each folder above it is root's alone to change. In a sticky folder nobody
/// else can replace what is root's.
fn is_roots(program: &Path) -> bool {
    const OTHERS_WRITE: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    program.ancestors().all(|path| {
        fs::metadata(path).is_ok_and(|metadata| {
            let mode = metadata.mode();
            metadata.uid() == 0 && (mode & OTHERS_WRITE == 0 || metadata.is_dir() && mode & STICKY != 0)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_program_that_others_can_change_is_not_taken() {
        assert!(is_roots(&Path::new("/bin/sh").canonicalize().unwrap()));
        let folder = std::env::temp_dir().join(format!("clawdis-program-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join(NAME);
        for (file, around) in [(0o775, 0o755), (0o757, 0o755), (0o755, 0o777), (0o755, 0o775)] {
            fs::write(&program, "").unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(file)).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(around)).unwrap();
            assert!(!is_roots(&program), "{file:o} in {around:o}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
