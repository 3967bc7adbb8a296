//! What is written where: stdout for results, stderr for remarks, colours for people only.
//!
//! Knows nothing of payloads. Text from the network goes through [`printable`] or [`one_line`] before it
//! reaches a terminal, so that nobody on the other side can send escape sequences to it.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};

use rustix::termios::tcgetwinsize;
use serde_json::Value;

use crate::cli::failure::{Failure, Result};
use crate::text::{one_line, printable};

/// Stdout and stderr of this process.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "five facts that have nothing to do with each other")]
pub(crate) struct Output {
    pub(crate) stdout_terminal: bool,
    pub(crate) stderr_terminal: bool,
    /// Results are printed as JSON (`--json`).
    pub(crate) json: bool,
    /// Stdout is a terminal that understands escape sequences.
    pub(crate) escapes: bool,
    /// What is written to a terminal may have colours.
    colours: bool,
}

impl Output {
    /// Looks at the process's own streams and environment.
    pub(crate) fn new(json: bool) -> Self {
        let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let stdout_terminal = io::stdout().is_terminal();
        Self {
            stdout_terminal,
            stderr_terminal: io::stderr().is_terminal(),
            json,
            escapes: stdout_terminal && !dumb,
            colours: !no_colour && !dumb,
        }
    }

    /// Writes text from the network to stdout: made safe if that is a terminal, exact if it is not.
    pub(crate) fn write_foreign(&self, text: &str) -> Result<()> {
        if self.stdout_terminal { print(&printable(text)) } else { print(text) }
    }

    /// Writes JSON on one line of stdout.
    pub(crate) fn write_json(&self, value: &Value) -> Result<()> {
        self.write_foreign(&format!("{value}\n"))
    }

    /// Columns and rows of the terminal, if stdout is one.
    pub(crate) fn size(&self) -> Option<(usize, usize)> {
        let size = self.stdout_terminal.then(|| tcgetwinsize(io::stdout()).ok()).flatten()?;
        (size.ws_col > 0).then_some((size.ws_col.into(), size.ws_row.into()))
    }

    /// Writes a dim remark to stderr, for a person who watches; nothing when stderr is not a terminal.
    pub(crate) fn remark(&self, text: &str) {
        if self.stderr_terminal {
            // Nobody is left to tell when stderr does not work.
            let _ = writeln!(io::stderr(), "{}", self.coloured(Style::Dim, &one_line(text)));
        }
    }

    /// Writes a line to stderr that must be said in any case.
    pub(crate) fn say(text: &str) {
        let _ = writeln!(io::stderr(), "clawdis: {}", one_line(text));
    }

    /// `text`, which must be safe already, in a style for stdout.
    pub(crate) fn styled(&self, style: Style, text: &str) -> String {
        if self.stdout_terminal { self.coloured(style, text) } else { text.to_owned() }
    }

    fn coloured(&self, style: Style, text: &str) -> String {
        if self.colours { format!("\x1b[{}m{text}\x1b[0m", style as u8) } else { text.to_owned() }
    }
}

/// Styles of text; the number is the SGR parameter.
pub(crate) enum Style {
    Bold = 1,
    Dim = 2,
    Yellow = 33,
}

/// Writes text that is safe already to stdout, and flushes.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Failed(format!("cannot write the output: {error}")),
    })
}

/// Whether the locale's characters are UTF-8: the first of these variables that says something counts.
pub(crate) fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let mut said = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable);
    let locale = said.find(|value| !value.is_empty()).unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::is_utf8;

    #[test]
    fn the_first_variable_that_says_something_is_the_locale() {
        let locale = |set: &[(&str, &str)]| {
            is_utf8(|name| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned()))
        };
        assert!(locale(&[("LANG", "en_US.UTF-8")]) && locale(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]));
        assert!(!locale(&[]) && !locale(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]));
    }
}
