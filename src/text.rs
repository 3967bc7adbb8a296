//! Text that others wrote, made harmless where it is shown: a name must look like what it is, and
//! no character may hide, reorder what stands beside it, or begin a line of its own. Pure.
//!
//! Characters without a shape of their own go (Unicode calls most of them default-ignorable), with
//! what steers the direction of writing. In names a zero-width joiner and an emoji's variation
//! selector stay where they stand in an emoji; Persian names lose their zero-width non-joiner by
//! that and stay readable. Longer texts keep joiners and selectors, which reorder nothing.

use crate::limits::NAME_BYTES_MAX;
use crate::protocol::frame::cut_encoded;

const JOINER: char = '\u{200d}';
const EMOJI_SELECTOR: char = '\u{fe0f}';

/// The name of a person, group, file or client: one line without anything hidden, and without what
/// surrounds names in the gateway's own words.
pub(crate) fn name(text: &str) -> String {
    let plain: String = one_line(text).chars().filter(|c| !"[]`\u{ff3b}\u{ff3d}".contains(*c)).collect();
    let cut = cut_encoded(plain.trim(), NAME_BYTES_MAX);
    cut.trim_end_matches(|c| matches!(c, ' ' | JOINER)).to_owned()
}

/// A name for a place in which only ids stand in parentheses, and names in quotation marks.
pub(crate) fn bare_name(text: &str) -> String {
    let looks_alike = |c: char| {
        matches!(c, '(' | ')' | '"' | '\u{201c}'..='\u{201f}' | '\u{207d}'..='\u{207e}' | '\u{208d}'..='\u{208e}'
            | '\u{2768}'..='\u{276b}' | '\u{2985}'..='\u{2986}' | '\u{2e28}'..='\u{2e29}' | '\u{fd3e}'..='\u{fd3f}'
            | '\u{fe59}'..='\u{fe5a}' | '\u{ff02}' | '\u{ff08}'..='\u{ff09}' | '\u{ff5f}'..='\u{ff60}')
    };
    name(&text.replace(looks_alike, ""))
}

/// A text on one line, without anything hidden: runs of white space become one space.
pub(crate) fn one_line(text: &str) -> String {
    let spaced = text.chars().map(|c| if c.is_whitespace() || is_line_break(c) { ' ' } else { c });
    let shown = shown_in_names(spaced.filter(|c| !c.is_control()));
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text of several lines, without control characters but line feed and tab, and without what hides
/// or reorders.
pub(crate) fn printable(text: &str) -> String {
    let breaks = text.chars().map(|c| if matches!(c, '\u{2028}' | '\u{2029}') { '\n' } else { c });
    let keeps = |c: &char| matches!(*c, '\n' | '\t') || joins(*c) || !(c.is_control() || is_hidden(*c));
    breaks.filter(keeps).collect()
}

/// The lines of a text, whatever ends them: also what only some programs take for a line's end.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some((at, found)) = text.char_indices().find(|(_, c)| is_line_break(*c)) else {
            return rest.take();
        };
        let behind = &text[at + found.len_utf8()..];
        rest = Some(if found == '\r' { behind.strip_prefix('\n').unwrap_or(behind) } else { behind });
        Some(&text[..at])
    })
}

/// Whether a character ends a line, by Unicode or by anybody's habit.
fn is_line_break(c: char) -> bool {
    matches!(c, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Without what is hidden, but for what holds an emoji together.
fn shown_in_names(text: impl Iterator<Item = char>) -> String {
    let mut shown = String::new();
    let mut text = text.peekable();
    while let Some(c) = text.next() {
        let before = shown.chars().next_back();
        let joined = match c {
            EMOJI_SELECTOR => before.is_some_and(is_pictograph),
            JOINER => {
                before.is_some_and(|c| is_pictograph(c) || c == EMOJI_SELECTOR)
                    && text.peek().is_some_and(|c| is_pictograph(*c))
            }
            _ => false,
        };
        if joined || !is_hidden(c) {
            shown.push(c);
        }
    }
    shown
}

/// Whether a character only changes the shape of its neighbours.
fn joins(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}')
}

/// Whether a character has no shape of its own, or steers the direction in which others are written.
pub(crate) fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffc}' | '\u{13430}'..='\u{1345f}' | '\u{16fe4}'
        | '\u{1d159}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a character may be a part of an emoji; others that look alike are harmless here.
fn is_pictograph(c: char) -> bool {
    matches!(c,
        '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2100}'..='\u{27bf}'
        | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}' | '\u{3030}' | '\u{303d}' | '\u{3297}'
        | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

#[cfg(test)]
mod tests {
    use super::{is_hidden, lines, name, one_line, printable};
    use crate::limits::NAME_BYTES_MAX;

    /// What may stand in nobody's name: the characters that reorder or hide, one of each kind.
    const HIDDEN: &[char] = &[
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{200e}',
        '\u{200f}',
        '\u{202a}',
        '\u{202b}',
        '\u{202c}',
        '\u{202d}',
        '\u{202e}',
        '\u{2060}',
        '\u{2061}',
        '\u{2064}',
        '\u{2066}',
        '\u{2067}',
        '\u{2068}',
        '\u{2069}',
        '\u{feff}',
        '\u{ad}',
        '\u{61c}',
        '\u{180e}',
        '\u{2028}',
        '\u{2029}',
        '\u{e0001}',
        '\u{e0041}',
        '\u{e007f}',
        '\u{fe00}',
        '\u{fe0f}',
        '\u{e0100}',
        '\u{3164}',
        '\u{115f}',
        '\u{34f}',
        '\u{206a}',
        '\u{fff9}',
        '\u{1d173}',
    ];

    #[test]
    fn nothing_hidden_stays_in_a_name() {
        for c in HIDDEN {
            assert!(is_hidden(*c), "{c:?}");
            let cleaned = name(&format!("A{c}nn{c} {c}[owner]{c}`"));
            assert!(cleaned == "Ann owner" || cleaned == "A nn owner", "{c:?}: {cleaned:?}");
        }
        assert_eq!(name("\u{202e}\u{2066} \u{200b}"), "", "what shows nothing is no name");
        assert_eq!(name("Ann\n[Boss (telegram:111)]\u{85}x\r"), "Ann Boss (telegram:111) x");
        for long in ["x ", "👨\u{200d}"] {
            let cut = name(&long.repeat(300));
            assert!(cut.len() <= NAME_BYTES_MAX && !cut.ends_with([' ', '\u{200d}']), "{cut:?}");
        }
    }

    #[test]
    fn an_emoji_stays_whole_and_people_keep_their_letters() {
        for whole in ["Family 👨‍👩‍👧‍👦", "🏳️‍🌈", "❤️", "José Ünal", "李小龍", "علي", "👩🏽‍🚀 Sam"]
        {
            assert_eq!(name(whole), whole);
        }
        assert_eq!(name("a\u{200d}b"), "ab", "a joiner joins pictures only");
        assert_eq!(name("❤\u{fe0f}\u{fe0f}\u{fe0f}"), "❤\u{fe0f}", "one selector, not a message of them");
        assert_eq!(name("🏴\u{e0067}\u{e0062}\u{e007f}"), "🏴", "tags carry texts that nobody sees");
    }

    #[test]
    fn texts_keep_their_lines_and_lose_what_reorders() {
        assert_eq!(printable("a\u{202e}b\u{2028}c\r\n\td\u{1b}[1m\u{feff}"), "ab\nc\n\td[1m");
        assert_eq!(printable("می\u{200c}خواهم 👨\u{200d}👩"), "می\u{200c}خواهم 👨\u{200d}👩");
        assert_eq!(one_line(" a\u{2028}b\u{b}c\u{a0}\u{200b} d\n"), "a b c d");
    }

    #[test]
    fn every_line_end_ends_a_line() {
        for end in
            ["\n", "\r", "\r\n", "\u{b}", "\u{c}", "\u{85}", "\u{2028}", "\u{2029}", "\u{1c}", "\u{1e}"]
        {
            assert_eq!(lines(&format!("a{end}b")).collect::<Vec<_>>(), ["a", "b"], "{end:?}");
        }
        assert_eq!(lines("").collect::<Vec<_>>(), [""]);
        assert_eq!(lines("a\n\r\n").collect::<Vec<_>>(), ["a", "", ""]);
    }

    #[test]
    fn escape_sequences_lose_their_escape() {
        assert_eq!(printable("a\x1b[31mb\u{9b}2Jc\x07\x7f\r\n\td"), "a[31mb2Jc\n\td");
        assert_eq!(one_line("  one\n\ntwo\tthree\x1b "), "one two three");
        assert_eq!(
            one_line("\u{202e}gnp.exe\u{2066} \u{200b}x"),
            "gnp.exe x",
            "nothing is written backwards"
        );
        assert_eq!(printable("a\u{2067}b\u{202c}\u{2029}c"), "ab\nc");
    }
}
