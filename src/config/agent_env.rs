//! Variables that an agent may not be given while a sandbox is around it.

use crate::config::SettingsError;
use crate::config::file::{Agent, Sandbox};

/// Variables that glibc ignores where a program has more rights than its caller (`ld.so(8)`), but for
/// `TMPDIR`: each loads code, opens files or changes how memory is handed out.
const OBEYED: [&str; 11] = [
    "GCONV_PATH",
    "GETCONF_DIR",
    "GLIBC_TUNABLES",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "LOCPATH",
    "NIS_PATH",
    "NLSPATH",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "TZDIR",
];
/// Families of such variables; `DYLD_` is what `LD_` is on a Mac.
const OBEYED_BEGINNINGS: [&str; 3] = ["DYLD_", "LD_", "MALLOC_"];

/// Refuses such variables. The guard and bubblewrap have the agent's environment, and stand outside of its
/// walls: a library that lies where the agent writes would be its way out.
pub(super) fn check(agent: &Agent) -> Result<(), SettingsError> {
    let given = agent.env.keys().map(|name| ("agent.env", name));
    let passed = agent.pass_env.iter().map(|name| ("agent.passEnv", name));
    match given.chain(passed).find(|(_, name)| is_obeyed(name)) {
        Some((key, name)) if agent.sandbox != Sandbox::None => Err(SettingsError(format!(
            "`{key}` names `{name}`, which programs outside of the agent's sandbox would obey too: \
                 set it in a script that is the agent's command"
        ))),
        _ => Ok(()),
    }
}

fn is_obeyed(name: &str) -> bool {
    // Of `NAME=VALUE` in `agent.passEnv` the name counts.
    let name = name.split('=').next().unwrap_or_default();
    OBEYED.contains(&name) || OBEYED_BEGINNINGS.iter().any(|begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::config::file::{Agent, Sandbox};

    #[test]
    fn what_would_be_obeyed_outside_of_the_sandbox_is_refused() {
        let obeyed = ["LD_PRELOAD", "LD_AUDIT", "GLIBC_TUNABLES", "LOCPATH", "LOCPATH=/x", "MALLOC_TRACE"];
        let harmless = ["OLD_PRELOAD", "LDFLAGS", "TMPDIR", "TZ", "LOCPATHS", "ld_preload", "PI_OFFLINE"];
        for (name, is_refused) in
            obeyed.map(|it| (it, true)).into_iter().chain(harmless.map(|it| (it, false)))
        {
            for sandbox in [Sandbox::Auto, Sandbox::Bwrap, Sandbox::None] {
                let mut given = Agent { sandbox, ..Agent::default() };
                given.env.insert(name.to_owned(), "x".to_owned());
                let passed = Agent { sandbox, pass_env: vec![name.to_owned()], ..Agent::default() };
                for (agent, key) in [(given, "`agent.env`"), (passed, "`agent.passEnv`")] {
                    let refused = check(&agent).err().map(|error| error.to_string());
                    let expected = is_refused && sandbox != Sandbox::None;
                    assert_eq!(refused.is_some(), expected, "{name} {sandbox:?}");
                    assert!(refused.is_none_or(|said| said.contains(key) && said.contains(name)), "{name}");
                }
            }
        }
    }
}
