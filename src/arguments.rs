//! The command lines of both programs: a table of what may stand on one, and how a flag is read.
//!
//! Parsing and the nearest right name go by a program's table of [`Argument`]s, and so does the tool's help;
//! the daemon's is a text. No error repeats a value: it may be a token at the wrong place.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

/// What a command line asks for.
pub(crate) enum Invocation<T> {
    /// To print this text: the help or the version.
    Say(String),
    /// To do what was typed.
    Run(T),
}

/// A flag, or a word behind a verb: one row of a program's table.
#[derive(Clone, Copy)]
pub(crate) struct Argument {
    /// A flag with its dashes; a word's name for the help.
    pub(crate) name: &'static str,
    pub(crate) short: Option<&'static str>,
    pub(crate) kind: Kind,
    /// The member of the method's parameters that it sets; empty if it is for the program itself.
    pub(crate) member: &'static str,
    /// Its text in the tool's help.
    pub(crate) help: &'static str,
}

/// What is typed for an [`Argument`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: the flag is there or not.
    Switch,
    /// Nothing, not even a name: the member always has this value.
    Fixed(bool),
    /// Text, which the help calls so.
    Text(&'static str),
    /// A word that may be missing, and is this one then.
    TextOr(&'static str),
    /// A whole number, which the help calls so.
    Number(&'static str),
    /// The word `on` or `off`.
    OnOff,
    /// A message: all the words, or stdin.
    Message,
    /// Everything that follows, flags too.
    Rest,
}

/// Why an argument is no flag with its value.
pub(crate) enum FlagError {
    /// The table has no flag of this name.
    Unknown(String),
    /// This flag stands alone, and a value was attached to it.
    TakesNoValue(&'static str),
    /// This flag stands at the end, without its value.
    NeedsValue(&'static str),
}

impl Argument {
    /// A flag for the program itself.
    pub(crate) const fn flag(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, short: None, kind, member: "", help }
    }

    /// The same flag with a one-letter form.
    pub(crate) const fn with_short(self, short: &'static str) -> Self {
        Self { short: Some(short), ..self }
    }

    /// Its long and its short form.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        [self.name].into_iter().chain(self.short)
    }

    /// A flag as the help writes it: with what its value is called.
    pub(crate) fn with_value(&self) -> String {
        match self.kind {
            Kind::Text(value) | Kind::Number(value) => format!("{} {value}", self.name),
            _ => self.name.to_owned(),
        }
    }
}

/// The flag of the table that `typed` is, and its value: what stands behind `=`, or else the argument
/// that follows.
pub(crate) fn read_flag(
    typed: &OsStr,
    mut table: impl Iterator<Item = &'static Argument>,
    following: &mut impl Iterator<Item = OsString>,
) -> Result<(&'static Argument, OsString), FlagError> {
    let typed = typed.as_bytes();
    // Values need not be UTF-8: they may be paths.
    let (name, attached) = match typed.iter().position(|byte| *byte == b'=') {
        Some(equals) => (&typed[..equals], Some(OsStr::from_bytes(&typed[equals + 1..]).to_owned())),
        None => (typed, None),
    };
    let is_named = |flag: &&Argument| flag.names().any(|known| known.as_bytes() == name);
    let Some(flag) = table.find(is_named) else {
        return Err(FlagError::Unknown(String::from_utf8_lossy(name).into_owned()));
    };
    match (flag.kind, attached) {
        (Kind::Switch, None) => Ok((flag, OsString::new())),
        (Kind::Switch, Some(_)) => Err(FlagError::TakesNoValue(flag.name)),
        (_, Some(value)) => Ok((flag, value)),
        (_, None) => match following.next() {
            Some(value) => Ok((flag, value)),
            None => Err(FlagError::NeedsValue(flag.name)),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt as _;

    use super::{Argument, FlagError, Kind, read_flag};

    const TABLE: &[Argument] = &[
        Argument::flag("--file", Kind::Text("FILE"), "").with_short("-f"),
        Argument::flag("--loud", Kind::Switch, ""),
    ];

    fn read(typed: &[u8], following: &str) -> Result<(&'static str, OsString), FlagError> {
        let mut following = [OsString::from(following)].into_iter().filter(|text| !text.is_empty());
        let (flag, value) = read_flag(OsStr::from_bytes(typed), TABLE.iter(), &mut following)?;
        Ok((flag.name, value))
    }

    #[test]
    fn a_value_is_attached_or_follows_and_need_not_be_utf8() {
        for (typed, following, value) in [
            (&b"--file=a=b"[..], "c", &b"a=b"[..]),
            (b"--file", "--loud", b"--loud"),
            (b"-f", "-", b"-"),
            (b"--file=\xff", "", b"\xff"),
            (b"--file=", "c", b""),
        ] {
            let read = read(typed, following).ok().unwrap();
            assert_eq!(read, ("--file", OsStr::from_bytes(value).to_owned()));
        }
        assert!(matches!(read(b"--file", ""), Err(FlagError::NeedsValue("--file"))));
        assert!(matches!(read(b"--loud=1", ""), Err(FlagError::TakesNoValue("--loud"))));
        assert!(matches!(read(b"--fiel=s3cret", ""), Err(FlagError::Unknown(name)) if name == "--fiel"));
    }
}
