//! How the command line tool ends: one enum, one exit code each, one line on stderr.
//!
//! The codes are a contract with scripts. Texts that came over the network are made safe for a
//! terminal where they are printed, not here.

use std::fmt;
use std::io;

/// Why a verb did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line, the environment or the config is wrong (exit 2).
    Usage(String),
    /// The gateway answered with an error (exit 1).
    Answered(Answered),
    /// Something on this machine went wrong, such as a file that cannot be read (exit 1).
    Local(String),
    /// Nothing answers there (exit 3).
    Unreachable(String),
    /// A connection that worked broke; verbs that can do so connect again (exit 3).
    Lost(String),
    /// The gateway refused the connection: token, protocol or host (exit 4).
    Refused(String),
    /// No answer in time (exit 5).
    TimedOut(String),
    /// Ctrl-C (exit 130); with what the person should know, if anything.
    Interrupted(Option<String>),
    /// Whoever read our output has gone, which is their right (exit 0, silent).
    OutputClosed,
}

/// The `error` member of a response.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The protocol's error code.
    pub(crate) code: String,
    /// For a person.
    pub(crate) message: String,
    /// When to try again, where the gateway said so.
    pub(crate) retry_after_ms: Option<u64>,
    /// The same request may succeed later.
    pub(crate) retryable: bool,
}

impl Failure {
    /// The process's exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::OutputClosed => 0,
            Failure::Answered(_) | Failure::Local(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Unreachable(_) | Failure::Lost(_) => 3,
            Failure::Refused(_) => 4,
            Failure::TimedOut(_) => 5,
            Failure::Interrupted(_) => 130,
        }
    }

    /// Whether there is a line to print.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Failure::OutputClosed | Failure::Interrupted(None))
    }

    /// From writing to stdout.
    pub(crate) fn from_output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::OutputClosed
        } else {
            Failure::Local(format!("cannot write the output: {error}"))
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text)
            | Failure::Local(text)
            | Failure::Unreachable(text)
            | Failure::Lost(text)
            | Failure::Refused(text)
            | Failure::TimedOut(text)
            | Failure::Interrupted(Some(text)) => f.write_str(text),
            Failure::Answered(error) => error.fmt(f),
            Failure::Interrupted(None) => f.write_str("interrupted"),
            Failure::OutputClosed => f.write_str("the output was closed"),
        }
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)?;
        match self.retry_after_ms {
            Some(ms) => write!(f, "; try again in {} s", ms.div_ceil(1_000)),
            None if self.retryable => f.write_str("; trying again later may help"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Answered, Failure};

    #[test]
    fn an_answered_error_says_its_code_and_when_to_retry() {
        let error = |retry_after_ms, retryable| {
            let message = "the queue is full".to_owned();
            Failure::Answered(Answered {
                code: "RATE_LIMITED".to_owned(),
                message,
                retry_after_ms,
                retryable,
            })
            .to_string()
        };
        assert_eq!(error(Some(1_200), true), "the queue is full (RATE_LIMITED); try again in 2 s");
        assert_eq!(error(None, true), "the queue is full (RATE_LIMITED); trying again later may help");
        assert_eq!(error(None, false), "the queue is full (RATE_LIMITED)");
    }
}
