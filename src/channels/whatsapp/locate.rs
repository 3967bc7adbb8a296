//! Finds the sidecar's program, or what makes it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Where the built program lies in its folder.
const BUNDLE: &str = "dist/sidecar.mjs";

/// The sidecar's program on this machine.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SidecarProgram {
    /// The program is there.
    Ready(PathBuf),
    /// It can be made, by the script and in the folder.
    Installer { script: PathBuf, folder: PathBuf },
    /// There is neither a program nor a script.
    Missing,
}

/// Looks beside the gateway's own program (a checkout, a release, a package), then in the folder where
/// [`SidecarProgram::Installer`] puts it.
pub(super) fn find(own_exe: &Path, folder: &Path) -> SidecarProgram {
    let sources = sources(own_exe);
    let made = folder.join("program");
    for home in sources.iter().chain([&made]) {
        let program = home.join(BUNDLE);
        if is_ours(&program) {
            return SidecarProgram::Ready(program);
        }
    }
    let scripts = sources.iter().map(|home| home.join("install"));
    match scripts.into_iter().find(|script| is_ours(script)) {
        Some(script) => SidecarProgram::Installer { script, folder: made },
        None => SidecarProgram::Missing,
    }
}

/// What is run here must belong to us or to the system: anybody may write into `/tmp/scripts`.
fn is_ours(path: &Path) -> bool {
    let owner = path.metadata().ok().filter(Metadata::is_file).map(|about| about.uid());
    owner.is_some_and(|owner| owner == 0 || owner == rustix::process::geteuid().as_raw())
}

fn sources(own_exe: &Path) -> Vec<PathBuf> {
    let mut homes = Vec::new();
    let above = own_exe.ancestors().skip(1).take(4);
    for folder in above {
        homes.push(folder.join("scripts/whatsapp-sidecar"));
        homes.push(folder.join("share/clawdis-gateway/whatsapp-sidecar"));
    }
    homes
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{SidecarProgram, find};

    #[test]
    fn the_program_is_preferred_to_what_makes_it() {
        let root = std::env::temp_dir().join(format!("clawdis-locate-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let home = root.join("scripts/whatsapp-sidecar");
        let own_exe = root.join("target/release/clawdis-gateway");
        let state = root.join("state");
        fs::create_dir_all(&home).unwrap();
        assert_eq!(find(&own_exe, &state), SidecarProgram::Missing);
        fs::write(home.join("install"), "").unwrap();
        let installer =
            SidecarProgram::Installer { script: home.join("install"), folder: state.join("program") };
        assert_eq!(find(&own_exe, &state), installer);
        for folder in [state.join("program/dist"), home.join("dist")] {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("sidecar.mjs"), "").unwrap();
            assert_eq!(find(&own_exe, &state), SidecarProgram::Ready(folder.join("sidecar.mjs")));
        }
        let _ = fs::remove_dir_all(&root);
    }
}
