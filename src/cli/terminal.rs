//! What is written where: stdout for results, stderr for remarks, colours for people only.
//!
//! Knows nothing of payloads. Text from the network goes through [`plain`] or [`line()`] before it
//! reaches a terminal, so that nobody on the other side can send escape sequences to it.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

use crate::cli::exit::Failure;

/// Stdout and stderr of this process.
pub(crate) struct Output {
    /// Stdout is a terminal.
    pub(crate) stdout_terminal: bool,
    /// Stderr is a terminal.
    pub(crate) stderr_terminal: bool,
    /// `--json`
    pub(crate) json: bool,
    colours: Colours,
    stdout: io::Stdout,
}

impl Output {
    /// Looks at the process's own streams and environment.
    pub(crate) fn new(json: bool) -> Self {
        let unset = |name: &str| env::var_os(name).is_none_or(|value| value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            stdout_terminal: io::stdout().is_terminal(),
            stderr_terminal: io::stderr().is_terminal(),
            json,
            colours: if unset("NO_COLOR") && !dumb { Colours::OnTerminals } else { Colours::Never },
            stdout: io::stdout(),
        }
    }

    /// Neither stream a terminal.
    #[cfg(test)]
    pub(crate) fn piped() -> Self {
        Self {
            stdout_terminal: false,
            stderr_terminal: false,
            json: false,
            colours: Colours::Never,
            stdout: io::stdout(),
        }
    }

    /// Writes to stdout and flushes.
    pub(crate) fn write(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = self.stdout.lock();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::from_output(&error))
    }

    /// Text from the network to stdout: made safe if that is a terminal, exact if it is not.
    pub(crate) fn write_foreign(&self, text: &str) -> Result<(), Failure> {
        if self.stdout_terminal { self.write(&plain(text)) } else { self.write(text) }
    }

    /// A payload as JSON: indented on a terminal, one line otherwise.
    pub(crate) fn write_json(&self, value: &Value) -> Result<(), Failure> {
        let text = if self.stdout_terminal { format!("{value:#}") } else { value.to_string() };
        self.write_foreign(&(text + "\n"))
    }

    /// A JSON value as one line, whatever stdout is.
    pub(crate) fn write_json_line(&self, value: &Value) -> Result<(), Failure> {
        self.write_foreign(&(value.to_string() + "\n"))
    }

    /// A dim remark on stderr, for a person who watches; nothing when stderr is not a terminal.
    pub(crate) fn remark(&self, text: &str) {
        if self.stderr_terminal {
            let text = line(text);
            let text = if self.colours == Colours::OnTerminals {
                format!("\x1b[2m{text}\x1b[0m\n")
            } else {
                text + "\n"
            };
            // Nobody is left to tell when stderr does not work.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }

    /// One line on stderr that must be said in any case.
    pub(crate) fn say(text: &str) {
        let _ = io::stderr().write_all(format!("clawdis: {}\n", line(text)).as_bytes());
    }

    /// `text` in a style for stdout, which must be safe already.
    pub(crate) fn styled(&self, style: Style, text: &str) -> String {
        if self.colours == Colours::OnTerminals && self.stdout_terminal {
            format!("\x1b[{}m{text}\x1b[0m", style as u8)
        } else {
            text.to_owned()
        }
    }
}

/// Whether terminals get colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colours {
    /// `NO_COLOR` is set, or the terminal is dumb.
    Never,
    /// Where there is a terminal.
    OnTerminals,
}

/// The few styles we use; the number is the SGR parameter.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    /// Headings.
    Bold = 1,
    /// What matters less.
    Dim = 2,
    /// Broken.
    Red = 31,
    /// In order.
    Green = 32,
    /// Needs a look.
    Yellow = 33,
}

/// Without control characters (C0 but for line feed and tab, DEL, C1).
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control()).collect()
}

/// The same on one line: runs of white space become one space.
pub(crate) fn line(text: &str) -> String {
    let text = plain(text);
    let mut words = text.split_whitespace();
    let mut joined = words.next().unwrap_or_default().to_owned();
    for word in words {
        joined.push(' ');
        joined.push_str(word);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::{line, plain};

    #[test]
    fn escape_sequences_lose_their_escape() {
        assert_eq!(plain("a\x1b[31mb\u{9b}2Jc\x07\x7f\r\n\td"), "a[31mb2Jc\n\td");
        assert_eq!(line("  one\n\ntwo\tthree\x1b "), "one two three");
    }
}
