//! How the command line tool ends: one enum, one exit code each, one line on stderr.
//!
//! The codes are a contract with scripts. Texts that came over the network are made safe for a
//! terminal where they are printed, not here.

use std::fmt;

/// Why a verb did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The gateway answered with an error, or something on this machine went wrong (exit 1).
    Failed(String),
    /// The command line, the environment or the config is wrong (exit 2).
    Usage(String),
    /// Nothing answers there (exit 3).
    Unreachable(String),
    /// A connection that worked broke; verbs that can do so connect again (exit 3).
    Lost(String),
    /// The gateway refused the connection: token, protocol or host (exit 4).
    Refused(String),
    /// No answer in time (exit 5).
    TimedOut(String),
    /// Ctrl-C while a verb handled it (exit 130).
    Interrupted(String),
    /// Whoever read our output has gone, which is their right (exit 0, silent).
    OutputClosed,
}

/// What most functions of the tool return.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::OutputClosed => 0,
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Unreachable(_) | Failure::Lost(_) => 3,
            Failure::Refused(_) => 4,
            Failure::TimedOut(_) => 5,
            Failure::Interrupted(_) => 130,
        }
    }

    /// Adds how to go on, where nobody knows whether what was asked for happens.
    pub(crate) fn with_advice(mut self, advice: &str) -> Self {
        if let Failure::Unreachable(text)
        | Failure::Lost(text)
        | Failure::TimedOut(text)
        | Failure::Interrupted(text) = &mut self
        {
            text.push_str(advice);
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Failed(text)
            | Failure::Usage(text)
            | Failure::Unreachable(text)
            | Failure::Lost(text)
            | Failure::Refused(text)
            | Failure::TimedOut(text)
            | Failure::Interrupted(text) => f.write_str(text),
            Failure::OutputClosed => f.write_str("the output was closed"),
        }
    }
}
