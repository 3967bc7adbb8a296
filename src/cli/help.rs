//! `--help` and `--version`, made from the table of verbs.

use crate::cli::terminal::{Output, Style};
use crate::cli::verb::{self, COMMON, Flag, Verb};
use crate::protocol;

/// Columns of text; terminals narrower than this are rare.
const WIDTH: usize = 96;

/// The help on one verb, or on all.
pub(crate) fn help(verb: Option<&Verb>, output: &Output) -> String {
    verb.map_or_else(|| overview(output), |verb| of_verb(verb, output))
}

/// `clawdis 0.1.0 (commit)`
pub(crate) fn version() -> String {
    let commit = protocol::SERVER_COMMIT.map(|commit| format!(" ({commit})")).unwrap_or_default();
    format!("clawdis {}{commit}\n", protocol::SERVER_VERSION)
}

fn overview(output: &Output) -> String {
    let bold = |text| output.styled(Style::Bold, text);
    let mut text = format!("clawdis: talk to your gateway\n\n{}\n", bold("usage: clawdis [FLAGS] VERB ..."));
    let rows = verb::ALL.iter().map(|verb| (verb.usage_short(), verb.summary.to_owned()));
    push_section(&mut text, &bold("verbs"), rows);
    push_section(&mut text, &bold("flags, before or after the verb"), COMMON.iter().map(Flag::row));
    let codes = [
        ("0", "done"),
        ("1", "the gateway answered with an error"),
        ("2", "wrong usage"),
        ("3", "no gateway answers; it is never started by itself"),
        ("4", "the gateway refused: token, protocol or host"),
        ("5", "no answer in time"),
        ("130", "interrupted"),
    ];
    push_section(
        &mut text,
        &bold("exit codes"),
        codes.map(|(code, what)| (code.to_owned(), what.to_owned())),
    );
    text.push_str("\n`clawdis VERB --help` says more, with an example.\n");
    text
}

fn of_verb(verb: &Verb, output: &Output) -> String {
    let bold = |text: &str| output.styled(Style::Bold, text);
    let mut text =
        format!("{}\n\n{}\n", bold(&format!("usage: clawdis {}", verb.usage)), sentence(verb.summary));
    for paragraph in verb.about.lines() {
        text.push_str(&wrap(paragraph, 0));
        text.push('\n');
    }
    if !verb.flags.is_empty() {
        push_section(&mut text, &bold("flags"), verb.flags.iter().map(Flag::row));
    }
    push_section(&mut text, &bold("common flags"), COMMON.iter().map(Flag::row));
    text + &format!("\n{}\n  {}\n", bold("example"), verb.example)
}

impl Verb {
    /// The usage without flags, for the list.
    fn usage_short(&self) -> String {
        let words = self.usage.split(' ').take_while(|word| !word.starts_with("[-") && *word != "[FLAGS]");
        words.collect::<Vec<_>>().join(" ")
    }
}

impl Flag {
    fn row(&self) -> (String, String) {
        let name = if self.value.is_empty() {
            self.name.to_owned()
        } else {
            format!("{} {}", self.name, self.value)
        };
        (name, self.help.to_owned())
    }
}

fn push_section(text: &mut String, heading: &str, rows: impl IntoIterator<Item = (String, String)>) {
    let rows: Vec<_> = rows.into_iter().collect();
    let indent = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 4;
    text.push_str(&["\n", heading, "\n"].concat());
    for (name, what) in rows {
        let what = wrap(&what, indent);
        let row = format!("  {name:<width$}{what}\n", width = indent - 2);
        text.push_str(&row);
    }
}

/// Breaks at blanks; further lines are indented.
fn wrap(text: &str, indent: usize) -> String {
    let mut wrapped = String::new();
    let mut column = indent;
    for word in text.split_whitespace() {
        if column > indent && column + 1 + word.len() > WIDTH {
            wrapped.push('\n');
            wrapped.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if column > indent {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += word.len();
    }
    wrapped
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}
