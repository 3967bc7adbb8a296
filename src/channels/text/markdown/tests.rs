//! What Markdown becomes; and that no text, however odd, becomes an unsound message.

use std::time::{Duration, Instant};

use super::{compose, render};
use crate::channels::delivery::{Entity, Part};
use crate::channels::text::split::utf16;
use crate::limits::{TELEGRAM_ENTITIES_MAX, TELEGRAM_TEXT_UNITS_MAX};

/// The text, and each entity as `kind:what it covers`.
fn rendered(markdown: &str) -> (String, Vec<String>) {
    let (text, entities) = render(markdown);
    let units: Vec<u16> = text.encode_utf16().collect();
    let shown = entities.iter().map(|entity| {
        let covered = String::from_utf16(&units[entity.offset..entity.offset + entity.length]).unwrap();
        let extra = entity.url.clone().or(entity.language.clone()).map(|extra| format!("({extra})"));
        format!("{}{}:{covered}", entity.kind, extra.unwrap_or_default())
    });
    (text, shown.collect())
}

#[test]
fn blocks_and_entities() {
    let (text, entities) = rendered(
        "# Head *line*\nHello **big _and_ small** ~~gone~~\nnext\n\n- one\n- two\n  1. deep\n  2. er\n- [x] done\n\n> said\n> so\n\nend",
    );
    assert_eq!(
        text,
        "Head line\n\nHello big and small gone\nnext\n\n• one\n• two\n  1. deep\n  2. er\n• ☑ done\n\nsaid\nso\n\nend"
    );
    assert_eq!(
        entities,
        [
            "bold:Head line",
            "italic:line",
            "bold:big and small",
            "italic:and",
            "strikethrough:gone",
            "blockquote:said\nso"
        ]
    );
}

#[test]
fn code_stands_alone() {
    let (text, entities) = rendered("**a `b` c** and\n```rust,ignore\nlet x = \"**\";\n\n```\nafter");
    assert_eq!(text, "a b c and\n\nlet x = \"**\";\n\n\nafter");
    assert_eq!(entities, ["bold:a ", "code:b", "bold: c", "pre(rust):let x = \"**\";\n"]);
}

#[test]
fn links_tables_and_html() {
    let (text, entities) =
        rendered("[here](https://e.x/?a=1) [there](./b) ![](https://i.x/p.png) <b>x</b> &amp;");
    assert_eq!(text, "here there https://i.x/p.png <b>x</b> &");
    assert_eq!(
        entities,
        ["text_link(https://e.x/?a=1):here", "text_link(https://i.x/p.png):https://i.x/p.png"]
    );
    let (text, entities) = rendered("| a | long |\n|---|---|\n| 🇩🇪 | `x` |\n\nend");
    assert_eq!(text, "a | long\n--+-----\n🇩🇪 | x\n\nend");
    assert_eq!(entities.len(), 1);
    assert!(entities[0].starts_with("pre:a |"), "{entities:?}");
    assert_eq!(rendered("<div>\nraw\n</div>\n\nx").0, "<div>\nraw\n</div>\n\nx");
}

#[test]
fn offsets_count_utf16_units() {
    let (_, entities) = render("😀🇩🇪 **x**");
    assert_eq!((entities[0].offset, entities[0].length), (7, 1));
}

#[test]
fn nothing_to_see_is_no_message() {
    assert_eq!(compose(" \n\t "), []);
    let shown = compose("[x]: https://only.a/definition");
    assert_eq!(
        shown,
        [Part::Text { text: "[x]: https://only.a/definition".to_owned(), entities: Vec::new() }]
    );
}

#[test]
fn plain_text_stays_as_it_is() {
    for text in [
        "2 * 3 * 4 = 24",
        "snake_case_name and __init__.py",
        "line\nline",
        "a: b; #tag 50% <3 @x",
        "¯\\\\_(ツ)",
    ] {
        assert_eq!(render(text).0.replace("__", ""), text.replace("\\\\", "\\").replace("__", ""), "{text}");
    }
}

/// A small generator, so that failures can be repeated: xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

const PIECES: &str = "word |a|\n|\n\n|**|*|_|`|```|```rs\n|~~|> |- |1. |# |[x](https://y.z)|👩‍👩‍👧‍👦|🇩🇪🇫🇷|e\u{301}\u{302}|\
    👍🏽|❤️| |    |\t|\\|<b>|&amp;|Sentence. |\u{200d}|\r\n|日本語。|![|](";
const TABLE: &str = "| a | b |\n|---|---|\n| c | d |\n";

fn random_markdown(random: &mut Random) -> String {
    let pieces: Vec<&str> = PIECES.split('|').chain([TABLE]).collect();
    let mut markdown = String::new();
    for _ in 0..random.below(3_000) {
        let piece = pieces[random.below(pieces.len())];
        let often = if random.below(40) == 0 { 2_000 } else { 2 };
        for _ in 0..=random.below(often) {
            markdown.push_str(piece);
        }
    }
    markdown
}

#[test]
fn random_markdown_becomes_sound_messages() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for round in 0..60 {
        let markdown = random_markdown(&mut random);
        let (whole, _) = render(&markdown);
        let mut rest = whole.as_str();
        for part in compose(&markdown) {
            let Part::Text { text, entities } = part else { panic!("no media in markdown") };
            let units = utf16(&text);
            assert!((1..=TELEGRAM_TEXT_UNITS_MAX).contains(&units), "round {round}: {units} units");
            assert!(!text.trim().is_empty(), "round {round}");
            assert!(entities.len() <= TELEGRAM_ENTITIES_MAX, "round {round}");
            let sound = |entity: &Entity| entity.length > 0 && entity.offset + entity.length <= units;
            assert!(entities.iter().all(sound), "round {round}: {entities:?}");
            let (text, capped) =
                text.strip_suffix("\n[…]").map_or((text.as_str(), false), |text| (text, true));
            let at = rest.find(text).unwrap_or_else(|| panic!("round {round}: a part is not in the whole"));
            assert!(rest[..at].trim().is_empty(), "round {round}: lost {:?}", &rest[..at]);
            rest = if capped { "" } else { &rest[at + text.len()..] };
        }
        assert!(rest.trim().is_empty(), "round {round}: the end is lost");
    }
}

#[test]
fn large_and_nasty_answers_take_little_time() {
    let nasty = [
        "**bold** `code` [l](https://e.x) ".repeat(8_000),
        "> **a** `b`\n".repeat(20_000),
        "[".repeat(100_000),
        "*a **b ".repeat(30_000),
        ">".repeat(50_000),
        "e\u{301}".repeat(80_000),
        format!("a{}", "\u{301}".repeat(100_000)),
        "- ".repeat(100_000),
        "| a ".repeat(50_000),
    ];
    for markdown in nasty {
        let begin = Instant::now();
        let parts = compose(&markdown);
        // A debug build on a busy machine; a release build needs a few milliseconds.
        let head: String = markdown.chars().take(12).collect();
        assert!(begin.elapsed() < Duration::from_secs(5), "{head}: {:?}", begin.elapsed());
        assert!(!parts.is_empty(), "{head}");
    }
}
