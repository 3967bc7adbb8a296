//! Which variables of our environment a child may see.

use std::ffi::OsString;

/// Variables that every child gets if we have them.
const STANDARD: [&str; 6] = ["PATH", "HOME", "LANG", "TERM", "TMPDIR", "TZ"];

/// The child's whole environment: the standard names, `PI_*` and `pass` from `ours`, then `extra`.
/// Our own secrets stay behind even if `pass` or `extra` names them.
pub(super) fn allowed(
    ours: impl Iterator<Item = (OsString, OsString)>,
    pass: &[String],
    extra: &[(String, String)],
) -> Vec<(OsString, OsString)> {
    let passed = ours.filter(|(name, _)| {
        name.to_str().is_some_and(|name| {
            !is_secret(name)
                && (STANDARD.contains(&name) || name.starts_with("PI_") || pass.iter().any(|it| it == name))
        })
    });
    let added = extra.iter().filter(|(name, _)| !is_secret(name));
    passed.chain(added.map(|(name, value)| (name.into(), value.into()))).collect()
}

/// Whether a variable is one of the gateway's own settings and tokens.
fn is_secret(name: &str) -> bool {
    name.starts_with("CLAWDIS_") || name == "TELEGRAM_BOT_TOKEN"
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn only_the_allowed_names_pass() {
        let ours = ["PATH", "HOME", "PI_CODING_AGENT_DIR", "AWS_SECRET", "OPENAI_API_KEY", "LD_PRELOAD"];
        let secret = ["CLAWDIS_GATEWAY_TOKEN", "TELEGRAM_BOT_TOKEN", "CLAWDIS_X"];
        let all = ours.iter().chain(&secret).map(|name| ((*name).into(), "v".into()));
        let pass = ["OPENAI_API_KEY", "CLAWDIS_X", "TELEGRAM_BOT_TOKEN", "ABSENT"].map(str::to_owned);
        let extra = [("PI_OFFLINE", "1"), ("CLAWDIS_Y", "1")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let names: Vec<_> =
            allowed(all, &pass, &extra).into_iter().map(|(name, _)| name.into_string().unwrap()).collect();
        assert_eq!(names, ["PATH", "HOME", "PI_CODING_AGENT_DIR", "OPENAI_API_KEY", "PI_OFFLINE"]);
    }
}
