//! The command line as it was typed: a verb, its flags and words, and the message, which may come from stdin.
//!
//! Flags stand anywhere, as `--flag value` or `--flag=value`; those of a verb after it. Everything
//! behind `--` is text.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _, Read as _};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::arguments::{Argument, FlagError, Invocation, Kind, read_flag};
use crate::cli::connection::too_large;
use crate::cli::failure::{Failure, Result};
use crate::cli::verbs::{self, COMMON, Verb};
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::nearest::nearest;
use crate::protocol::version_line;

/// A verb and what was typed for it.
pub(crate) struct Args {
    /// The verb's row of the table.
    pub(crate) verb: &'static Verb,
    pub(crate) flags: Vec<(&'static Argument, String)>,
    words: Vec<String>,
}

/// Reads the command line, without the program's name.
pub(crate) fn parse(mut argv: impl Iterator<Item = OsString>) -> Result<Invocation<Args>> {
    let mut verb: Option<&'static Verb> = None;
    let (mut flags, mut words) = (Vec::new(), Vec::new());
    let mut literal = false;
    while let Some(arg) = argv.next() {
        let arg = utf8(arg)?;
        let rest = verb.is_some_and(|verb| verb.arguments.iter().any(|argument| argument.kind == Kind::Rest));
        if rest {
            words.push(arg);
        } else if !literal && arg == "--" {
            literal = true;
        } else if !literal && looks_like_flag(&arg) {
            let (flag, value) = flag(&arg, verb, &mut argv)?;
            if flags.iter().any(|(given, _): &(&Argument, _)| given.name == flag.name) {
                return usage(format!("`{}` is given twice", flag.name));
            }
            flags.push((flag, value));
        } else if verb.is_some() {
            words.push(arg);
        } else if arg == "help" {
            flags.push(flag("--help", None, &mut argv)?);
        } else {
            verb = verbs::ALL.iter().find(|verb| verb.name == arg);
            if verb.is_none() {
                return Err(unknown("verb", &arg, verbs::ALL.iter().map(|verb| verb.name)));
            }
        }
    }
    let has = |name: &str| flags.iter().any(|(flag, _)| flag.name == name);
    match verb {
        verb if has("--help") => Ok(Invocation::Say(verbs::help(verb))),
        _ if has("--version") => Ok(Invocation::Say(version_line("clawdis"))),
        None => usage("a verb is missing; `clawdis --help` lists them"),
        Some(verb) => Ok(Invocation::Run(Args { verb, flags, words })),
    }
}

impl Args {
    /// The value that was typed for a flag.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|(flag, _)| flag.name == name).map(|(_, value)| value.as_str())
    }

    /// Whether a flag is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The value of a flag as a time span.
    pub(crate) fn seconds(&self, name: &str) -> Result<Option<Duration>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        // A million seconds are eleven days; the bound keeps deadlines representable.
        let seconds = value.parse().ok().filter(|seconds| (0.001..=1e6).contains(seconds));
        let wrong = || Failure::Usage(format!("`{name}` takes seconds, more than 0 and at most 1000000"));
        seconds.map(|seconds| Some(Duration::from_secs_f64(seconds))).ok_or_else(wrong)
    }

    /// Parameters for the verb's method: all that was typed for it.
    pub(crate) fn params(&self) -> Result<Value> {
        let mut params = Map::new();
        let mut words = &self.words[..];
        for argument in self.verb.words() {
            let value = match (argument.kind, words) {
                (Kind::Fixed(value), _) => json!(value),
                (Kind::Message | Kind::Rest, all) => {
                    words = &[];
                    if argument.kind == Kind::Rest { json!(all) } else { json!(message(all)?) }
                }
                (_, [word, rest @ ..]) => {
                    words = rest;
                    value(argument, word)?
                }
                (Kind::TextOr(default), []) => json!(default),
                (_, []) => return usage(format!("`{}` needs {}", self.verb.name, argument.name)),
            };
            params.insert(argument.member.to_owned(), value);
        }
        if let [extra, ..] = words {
            return usage(format!("unexpected `{extra}`; `clawdis {} --help` says more", self.verb.name));
        }
        for (flag, text) in self.flags.iter().filter(|(flag, _)| !flag.member.is_empty()) {
            params.insert(flag.member.to_owned(), value(flag, text)?);
        }
        Ok(Value::Object(params))
    }
}

/// What `text` means for a parameter.
fn value(argument: &Argument, text: &str) -> Result<Value> {
    match (argument.kind, text) {
        (Kind::Switch, _) | (Kind::OnOff, "on") => Ok(json!(true)),
        (Kind::OnOff, "off") => Ok(json!(false)),
        (Kind::OnOff, _) => usage("it is neither `on` nor `off`"),
        (Kind::Number(_), text) => match text.parse::<u64>() {
            Ok(number) => Ok(json!(number)),
            Err(_) => usage(format!("`{}` takes a whole number", argument.name)),
        },
        _ => Ok(json!(text)),
    }
}

/// The flag that `arg` is, and its value.
fn flag(
    arg: &str,
    verb: Option<&'static Verb>,
    following: &mut impl Iterator<Item = OsString>,
) -> Result<(&'static Argument, String)> {
    let table = verb.into_iter().flat_map(Verb::flags).chain(COMMON);
    match read_flag(OsStr::new(arg), table.clone(), following) {
        Ok((flag, value)) => Ok((flag, utf8(value)?)),
        Err(FlagError::Unknown(name)) => Err(unknown("flag", &name, table.map(|flag| flag.name))),
        Err(FlagError::TakesNoValue(name)) => usage(format!("`{name}` takes no value")),
        Err(FlagError::NeedsValue(name)) => usage(format!("`{name}` needs a value")),
    }
}

/// Whether an argument is meant as a flag: `-` is stdin, `-5` a number, and words with blanks in between
/// were quoted as a text.
fn looks_like_flag(arg: &str) -> bool {
    let body = arg.strip_prefix('-').unwrap_or_default();
    !body.is_empty() && !body.starts_with(|c: char| c.is_ascii_digit()) && !body.contains(char::is_whitespace)
}

fn unknown(what: &str, name: &str, known: impl Iterator<Item = &'static str>) -> Failure {
    let hint = nearest(name, known)
        .map_or_else(|| "`clawdis --help` lists them".to_owned(), |near| format!("did you mean `{near}`?"));
    Failure::Usage(format!("unknown {what} `{name}`; {hint}"))
}

fn utf8(arg: OsString) -> Result<String> {
    arg.into_string().map_err(|_| Failure::Usage("an argument is not valid UTF-8".to_owned()))
}

fn usage<T>(text: impl Into<String>) -> Result<T> {
    Err(Failure::Usage(text.into()))
}

/// The message made of `words`; with none, or a single `-`, what stdin holds.
pub(crate) fn message(words: &[String]) -> Result<String> {
    let text = match words {
        [] if io::stdin().is_terminal() => String::new(),
        [] => stdin()?,
        [word] if word == "-" => stdin()?,
        words => words.join(" "),
    };
    if text.trim().is_empty() {
        return Err(Failure::Usage("there is no message: give it as arguments or pipe it in".to_owned()));
    }
    Ok(text)
}

/// Reads stdin to its end, without the last line's end.
pub(crate) fn stdin() -> Result<String> {
    let mut bytes = Vec::new();
    let stdin = io::stdin().lock();
    stdin
        .take(PAYLOAD_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::Failed(format!("cannot read stdin: {error}")))?;
    if bytes.len() > PAYLOAD_BYTES_MAX {
        return Err(too_large());
    }
    let mut text =
        String::from_utf8(bytes).map_err(|_| Failure::Usage("stdin is not valid UTF-8 text".to_owned()))?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}
