//! The command line as it was typed: common flags, the verb, and what belongs to the verb.
//!
//! Flags may stand before or after the verb and as `--flag value` or `--flag=value`; everything after
//! `--` is text. Knows what is well-formed, not what it means.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use pico_args::Arguments;

use crate::cli::exit::Failure;
use crate::cli::verb::{self, COMMON, Flag, Verb};
use crate::nearest::nearest;

/// What the command line asks for.
pub(crate) enum Request {
    /// `--help`, of one verb or of all.
    Help(Option<&'static Verb>),
    /// `--version`
    Version,
    /// A verb.
    Run {
        /// Which.
        verb: &'static Verb,
        /// Common flags.
        common: Common,
        /// The verb's own flags and texts.
        args: Args,
    },
}

/// Flags that every verb takes.
#[derive(Default)]
pub(crate) struct Common {
    /// `--url`
    pub(crate) url: Option<String>,
    /// `--token`
    pub(crate) token: Option<String>,
    /// `--token-file`
    pub(crate) token_file: Option<PathBuf>,
    /// `--state-dir`
    pub(crate) state_dir: Option<PathBuf>,
    /// `--config`
    pub(crate) config: Option<PathBuf>,
    /// `--timeout`
    pub(crate) timeout: Option<Duration>,
    /// `--json`
    pub(crate) json: bool,
}

/// What is left for a verb to take.
pub(crate) struct Args {
    verb: &'static Verb,
    flags: Arguments,
    literal: Vec<OsString>,
}

/// Takes the command line (without the program's name) apart.
pub(crate) fn parse(mut argv: Vec<OsString>) -> Result<Request, Failure> {
    let literal = match argv.iter().position(|arg| arg == "--") {
        Some(at) if verb_at(&argv[..at]).is_none_or(|verb| argv[verb] != "gateway") => {
            let literal = argv.split_off(at + 1);
            argv.pop();
            literal
        }
        _ => Vec::new(),
    };
    let Some(at) = verb_at(&argv) else {
        return without_verb(argv);
    };
    let name = argv
        .remove(at)
        .into_string()
        .map_err(|_| Failure::Usage("the verb is not valid UTF-8".to_owned()))?;
    if name == "help" {
        return help_on(argv.get(at)).map(Request::Help);
    }
    let verb = verb::find(&name).ok_or_else(|| unknown_verb(&name))?;
    // What follows `gateway` is the daemon's business.
    let literal = if verb.name == "gateway" { argv.split_off(at) } else { literal };
    let (common, mut flags) = common(argv)?;
    if flags.contains(["-h", "--help"]) {
        return Ok(Request::Help(Some(verb)));
    }
    Ok(Request::Run { verb, common, args: Args { verb, flags, literal } })
}

impl Args {
    /// How to type the verb, for error texts.
    pub(crate) fn usage(&self) -> &'static str {
        self.verb.usage
    }

    /// A flag without a value.
    pub(crate) fn flag(&mut self, name: &'static str) -> bool {
        self.flags.contains(name)
    }

    /// A flag's value.
    pub(crate) fn value<T: FromStr>(&mut self, name: &'static str) -> Result<Option<T>, Failure> {
        value(&mut self.flags, name)
    }

    /// Every value of a flag that may be repeated, as paths.
    pub(crate) fn paths(&mut self, name: &'static str) -> Result<Vec<PathBuf>, Failure> {
        self.flags.values_from_str(name).map_err(|_| needs_value(name))
    }

    /// What stood after `--`, or after the verb `gateway`, as it was typed.
    pub(crate) fn take_literal(&mut self) -> Vec<OsString> {
        std::mem::take(&mut self.literal)
    }

    /// What is no flag, in order. Call it last: a flag that nobody has taken is an error.
    pub(crate) fn texts(&mut self) -> Result<Vec<String>, Failure> {
        let mut texts = Vec::new();
        let flags = std::mem::replace(&mut self.flags, Arguments::from_vec(Vec::new()));
        for arg in flags.finish() {
            let arg = utf8(arg)?;
            if looks_like_flag(&arg) {
                return Err(unknown_flag(&arg, self.verb.flags, &format!("{} --help", self.verb.name)));
            }
            texts.push(arg);
        }
        for arg in self.take_literal() {
            texts.push(utf8(arg)?);
        }
        Ok(texts)
    }

    /// Exactly these texts, named for the error if there are more or fewer; the last
    /// `names.len() - required` may be missing.
    pub(crate) fn named(&mut self, names: &[&str], required: usize) -> Result<Vec<String>, Failure> {
        let verb = self.verb;
        let texts = self.texts()?;
        if texts.len() < required {
            let text = format!("`{}` needs {}; usage: clawdis {}", verb.name, names[texts.len()], verb.usage);
            return Err(Failure::Usage(text));
        }
        match texts.get(names.len()) {
            Some(extra) => {
                Err(Failure::Usage(format!("unexpected `{extra}`; usage: clawdis {}", verb.usage)))
            }
            None => Ok(texts),
        }
    }
}

/// Where the verb stands: the first word that is neither a flag nor the value of a common one.
fn verb_at(argv: &[OsString]) -> Option<usize> {
    let mut at = 0;
    while let Some(arg) = argv.get(at) {
        let arg = arg.to_string_lossy();
        if !arg.starts_with('-') {
            return Some(at);
        }
        at += if COMMON.iter().any(|flag| flag.name == arg && !flag.value.is_empty()) { 2 } else { 1 };
    }
    None
}

fn without_verb(argv: Vec<OsString>) -> Result<Request, Failure> {
    let empty = argv.is_empty();
    let (_, mut flags) = common(argv)?;
    if flags.contains(["-h", "--help"]) {
        return Ok(Request::Help(None));
    }
    if flags.contains(["-V", "--version"]) {
        return Ok(Request::Version);
    }
    if let Some(flag) = flags.finish().into_iter().next() {
        return Err(unknown_flag(&utf8(flag)?, &[], "--help"));
    }
    let what = if empty { "what shall it do" } else { "a verb is missing" };
    let verbs: Vec<&str> = verb::ALL.iter().map(|verb| verb.name).collect();
    Err(Failure::Usage(format!("{what}? one of: {}; `clawdis --help` explains them", verbs.join(", "))))
}

fn help_on(name: Option<&OsString>) -> Result<Option<&'static Verb>, Failure> {
    match name.map(|name| name.to_string_lossy()) {
        Some(name) if !name.starts_with('-') => {
            verb::find(&name).map(Some).ok_or_else(|| unknown_verb(&name))
        }
        _ => Ok(None),
    }
}

fn common(argv: Vec<OsString>) -> Result<(Common, Arguments), Failure> {
    let mut flags = Arguments::from_vec(argv);
    let seconds: Option<f64> = value(&mut flags, "--timeout")?;
    let common = Common {
        url: value(&mut flags, "--url")?,
        token: value(&mut flags, "--token")?,
        token_file: value(&mut flags, "--token-file")?,
        state_dir: value(&mut flags, "--state-dir")?,
        config: value(&mut flags, "--config")?,
        timeout: seconds.map(timeout).transpose()?,
        json: flags.contains("--json"),
    };
    Ok((common, flags))
}

fn timeout(seconds: f64) -> Result<Duration, Failure> {
    // A million seconds are eleven days; the upper bound keeps deadlines representable.
    Duration::try_from_secs_f64(seconds).ok().filter(|d| !d.is_zero() && d.as_secs() <= 1_000_000).ok_or_else(
        || Failure::Usage("`--timeout` takes seconds, more than 0 and at most 1000000".to_owned()),
    )
}

/// Never repeats the value in an error: it might be a token.
fn value<T: FromStr>(flags: &mut Arguments, name: &'static str) -> Result<Option<T>, Failure> {
    flags.opt_value_from_str::<_, String>(name).map_err(|_| needs_value(name))?.map_or(Ok(None), |text| {
        let wrong = || Failure::Usage(format!("the value of `{name}` is not of the right kind"));
        text.parse().map(Some).map_err(|_| wrong())
    })
}

fn needs_value(name: &str) -> Failure {
    Failure::Usage(format!("`{name}` needs a value"))
}

fn utf8(arg: OsString) -> Result<String, Failure> {
    arg.into_string().map_err(|_| Failure::Usage("an argument is not valid UTF-8".to_owned()))
}

/// `-` is stdin, `-5` a number, and words with blanks in between were quoted as a text.
fn looks_like_flag(arg: &str) -> bool {
    let body = arg.strip_prefix('-').unwrap_or_default();
    !body.is_empty() && !body.starts_with(|c: char| c.is_ascii_digit()) && !body.contains(char::is_whitespace)
}

fn unknown_verb(name: &str) -> Failure {
    let hint = nearest(name, verb::ALL.iter().map(|verb| verb.name))
        .map_or_else(|| "`clawdis --help` lists them".to_owned(), |near| format!("did you mean `{near}`?"));
    Failure::Usage(format!("unknown verb `{name}`; {hint}"))
}

fn unknown_flag(typed: &str, own: &'static [Flag], help: &str) -> Failure {
    // `--token-fil=SECRET`: only the name is repeated.
    let name = typed.split('=').next().unwrap_or_default();
    let mut known = own.iter().chain(COMMON).map(|flag| flag.name);
    if known.clone().any(|known| known == name) {
        return Failure::Usage(format!("`{name}` is given twice, or with a value that it does not take"));
    }
    let hint = nearest(name, known.by_ref())
        .map_or_else(|| format!("`clawdis {help}` lists them"), |near| format!("did you mean `{near}`?"));
    Failure::Usage(format!("unknown flag `{name}`; {hint} (text that looks like a flag goes after `--`)"))
}
