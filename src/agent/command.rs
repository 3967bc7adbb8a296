//! The agent SPEC of `--agent` and the config.

use std::fmt;
use std::path::Path;

/// Why a SPEC is no command.
#[derive(Debug, PartialEq, Eq)]
pub enum CommandError {
    /// Neither a known name nor a JSON array.
    Unknown(String),
    /// An array, but not of strings with at least a program.
    NotAnArgv,
    /// The daemon's own path is no UTF-8 text, so that it cannot stand in an argv.
    OwnPath,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(spec) => write!(
                f,
                "unknown agent `{spec}`: use `pi`, `builtin:echo` or a JSON array such as `[\"/opt/pi/bin/pi\"]`"
            ),
            Self::NotAnArgv => {
                f.write_str("the agent's JSON array must hold strings only, the first one being a program")
            }
            Self::OwnPath => f.write_str("`builtin:echo` needs a gateway whose path is valid UTF-8"),
        }
    }
}

impl std::error::Error for CommandError {}

/// The head of the agent's argv from its SPEC. `own_exe` is this daemon's binary.
pub fn resolve_command(spec: &str, own_exe: &Path) -> Result<Vec<String>, CommandError> {
    match spec {
        "pi" => Ok(vec!["pi".into()]),
        "builtin:echo" => {
            let own = own_exe.to_str().ok_or(CommandError::OwnPath)?;
            Ok(vec![own.into(), "demo-agent".into()])
        }
        _ if spec.trim_start().starts_with('[') => {
            let argv: Vec<String> = serde_json::from_str(spec).map_err(|_| CommandError::NotAnArgv)?;
            let sound = argv.first().is_some_and(|program| !program.is_empty())
                && argv.iter().all(|arg| !arg.contains('\0'));
            if sound { Ok(argv) } else { Err(CommandError::NotAnArgv) }
        }
        _ => Err(CommandError::Unknown(crate::protocol::cut(spec, 80).to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(spec: &str) -> Result<Vec<String>, CommandError> {
        resolve_command(spec, Path::new("/usr/bin/clawdis-gateway"))
    }

    #[test]
    fn the_three_forms() {
        assert_eq!(resolve("pi").unwrap(), ["pi"]);
        assert_eq!(resolve("builtin:echo").unwrap(), ["/usr/bin/clawdis-gateway", "demo-agent"]);
        assert_eq!(resolve(r#" ["node", "my agent.js"]"#).unwrap(), ["node", "my agent.js"]);
    }

    #[test]
    fn anything_else_says_what_to_write() {
        for spec in ["", "PI", "pi --model x", "builtin:other", "/usr/bin/pi"] {
            let error = resolve(spec).unwrap_err();
            assert_eq!(error, CommandError::Unknown(spec.into()));
            assert!(error.to_string().contains("builtin:echo"));
        }
        for spec in ["[]", "[\"\"]", "[1]", "[\"a\"", "[\"a\", null]", "[\"a\\u0000b\"]"] {
            assert_eq!(resolve(spec), Err(CommandError::NotAnArgv), "{spec}");
        }
    }
}
