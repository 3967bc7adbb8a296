//! The command line as it was typed: a verb, its flags and words.
//!
//! Flags stand anywhere, as `--flag value` or `--flag=value`; those of a verb after it. Everything
//! behind `--` is text. No error repeats a value: it might be a token at the wrong place.

use std::ffi::OsString;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cli::failure::{Failure, Result};
use crate::cli::message::message;
use crate::cli::verbs::{self, COMMON, Kind, Take, Verb};
use crate::nearest::nearest;

/// What the command line asks for.
pub(crate) enum Request {
    /// `--help`, of one verb or of all.
    Help(Option<&'static Verb>),
    /// `--version`
    Version,
    /// A verb.
    Run(Args),
}

/// A verb and what was typed for it.
pub(crate) struct Args {
    /// Which.
    pub(crate) verb: &'static Verb,
    /// Flags and their values.
    pub(crate) flags: Vec<(&'static Take, String)>,
    words: Vec<String>,
}

/// Takes the command line (without the program's name) apart.
pub(crate) fn parse(mut argv: impl Iterator<Item = OsString>) -> Result<Request> {
    let mut verb: Option<&'static Verb> = None;
    let (mut flags, mut words) = (Vec::new(), Vec::new());
    let mut literal = false;
    while let Some(arg) = argv.next() {
        let arg = utf8(arg)?;
        let rest = verb.is_some_and(|verb| verb.takes.iter().any(|take| take.kind == Kind::Rest));
        if rest {
            words.push(arg);
        } else if !literal && arg == "--" {
            literal = true;
        } else if !literal && looks_like_flag(&arg) {
            let flag = flag(&arg, verb, &mut argv)?;
            if flags.iter().any(|(take, _): &(&Take, String)| take.name == flag.0.name) {
                return usage(format!("`{}` is given twice", flag.0.name));
            }
            flags.push(flag);
        } else if verb.is_some() {
            words.push(arg);
        } else if arg == "help" {
            flags.push(flag("--help", None, &mut argv)?);
        } else {
            let mut names = verbs::ALL.iter().map(|verb| verb.name);
            verb = Some(verbs::find(&arg).ok_or_else(|| unknown("verb", &arg, names.by_ref()))?);
        }
    }
    let has = |name: &str| flags.iter().any(|(take, _)| take.name == name);
    match verb {
        verb if has("--help") => Ok(Request::Help(verb)),
        _ if has("--version") => Ok(Request::Version),
        None => usage("a verb is missing; `clawdis --help` lists them"),
        Some(verb) => Ok(Request::Run(Args { verb, flags, words })),
    }
}

impl Args {
    /// The value of a flag.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|(take, _)| take.name == name).map(|(_, value)| value.as_str())
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
        for take in self.verb.words() {
            let value = match (take.kind, words) {
                (Kind::Fixed(value), _) => json!(value),
                (Kind::Message | Kind::Rest, all) => {
                    words = &[];
                    if take.kind == Kind::Rest { json!(all) } else { json!(message(all)?) }
                }
                (_, [word, rest @ ..]) => {
                    words = rest;
                    value(take, word)?
                }
                (Kind::TextOr(default), []) => json!(default),
                (_, []) => return usage(format!("`{}` needs {}", self.verb.name, take.name)),
            };
            params.insert(take.member.to_owned(), value);
        }
        if let [extra, ..] = words {
            return usage(format!("unexpected `{extra}`; `clawdis {} --help` says more", self.verb.name));
        }
        for (take, text) in self.flags.iter().filter(|(take, _)| !take.member.is_empty()) {
            params.insert(take.member.to_owned(), value(take, text)?);
        }
        Ok(Value::Object(params))
    }
}

/// What `text` means for a parameter.
fn value(take: &Take, text: &str) -> Result<Value> {
    match (take.kind, text) {
        (Kind::Switch, _) | (Kind::OnOff, "on") => Ok(json!(true)),
        (Kind::OnOff, "off") => Ok(json!(false)),
        (Kind::OnOff, _) => usage("it is neither `on` nor `off`"),
        (Kind::Number(_), text) => match text.parse::<u64>() {
            Ok(number) => Ok(json!(number)),
            Err(_) => usage(format!("`{}` takes a whole number", take.name)),
        },
        _ => Ok(json!(text)),
    }
}

/// The flag that `arg` is, and its value.
fn flag(
    arg: &str,
    verb: Option<&'static Verb>,
    argv: &mut impl Iterator<Item = OsString>,
) -> Result<(&'static Take, String)> {
    let (name, attached) =
        arg.split_once('=').map_or((arg, None), |(name, value)| (name, Some(value.to_owned())));
    let name = match name {
        "-h" => "--help",
        "-V" => "--version",
        name => name,
    };
    let mut known = verb.into_iter().flat_map(Verb::flags).chain(COMMON);
    let Some(take) = known.clone().find(|take| take.name == name) else {
        return Err(unknown("flag", name, known.by_ref().map(|take| take.name)));
    };
    let value = match (take.kind, attached) {
        (Kind::Switch, None) => String::new(),
        (Kind::Switch, Some(_)) => return usage(format!("`{name}` takes no value")),
        (_, Some(value)) => value,
        (_, None) => match argv.next() {
            Some(value) => utf8(value)?,
            None => return usage(format!("`{name}` needs a value")),
        },
    };
    Ok((take, value))
}

/// `-` is stdin, `-5` a number, and words with blanks in between were quoted as a text.
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
