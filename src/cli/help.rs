//! `--help` and `--version`, made from the table of verbs.

use crate::arguments::Argument;
use crate::cli::verbs::{self, COMMON, Verb};
use crate::protocol;

const EXIT_CODES: &str = "
exit codes
  0    done
  1    the gateway answered with an error
  2    wrong usage
  3    no gateway answers; it is never started by itself
  4    the gateway refused: token, protocol or host
  5    no answer in time
  130  interrupted
";

/// The help on one verb, or on all.
pub(crate) fn help(verb: Option<&Verb>) -> String {
    let common = section("flags of all verbs", COMMON.iter().map(row));
    let Some(verb) = verb else {
        let verbs = section("verbs", verbs::ALL.iter().map(|verb| (usage(verb), verb.summary)));
        let usage = "usage: clawdis [FLAGS] VERB ...; `clawdis VERB --help` lists a verb's flags";
        return format!("{usage}\n{verbs}{common}{EXIT_CODES}");
    };
    let own = section("flags", verb.flags().map(row));
    format!("usage: clawdis {}\n\n{}\n{own}{common}", usage(verb), verb.summary)
}

/// The line of `--version`, as in `clawdis 0.1.0 (commit)`.
pub(crate) fn version() -> String {
    let commit = protocol::SERVER_COMMIT.map(|commit| format!(" ({commit})")).unwrap_or_default();
    format!("clawdis {}{commit}\n", protocol::SERVER_VERSION)
}

fn usage(verb: &Verb) -> String {
    let words = verb.words().map(|word| word.name).filter(|name| !name.is_empty());
    [verb.name].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

fn row(flag: &Argument) -> (String, &'static str) {
    (flag.with_value(), flag.help)
}

/// A heading and its rows; nothing where there is no row.
fn section(heading: &str, rows: impl Iterator<Item = (String, &'static str)>) -> String {
    let rows: Vec<String> = rows.map(|(name, what)| format!("  {name:<23} {what}\n")).collect();
    if rows.is_empty() { String::new() } else { format!("\n{heading}\n{}", rows.concat()) }
}
