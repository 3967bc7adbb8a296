//! Where texts are cut.

use unicode_segmentation::UnicodeSegmentation as _;

use super::{clip, split, utf16};
use crate::channels::delivery::Entity;
use crate::limits::{TELEGRAM_PARTS_MAX, TELEGRAM_TEXT_UNITS_MAX};

const MAX: usize = TELEGRAM_TEXT_UNITS_MAX;

fn texts(text: &str) -> Vec<String> {
    split(text, &[]).into_iter().map(|(text, _)| text).collect()
}

fn entity(kind: &str, offset: usize, length: usize) -> Entity {
    Entity { kind: kind.to_owned(), offset, length, url: None, language: Some("rust".to_owned()) }
}

#[test]
fn the_best_place_is_taken() {
    let fill = |units: usize| "x".repeat(units);
    // (text, length of the first part)
    let cases = [
        (format!("{}\n\n{} b. c\nd {}", fill(2_500), fill(700), fill(2_000)), 2_500),
        (format!("{}\n{} b. c d {}", fill(2_500), fill(700), fill(2_000)), 2_500),
        (format!("{}. {} {}", fill(2_500), fill(700), fill(2_000)), 2_501),
        (format!("{} {} {}", fill(2_500), fill(700), fill(2_000)), 3_201),
        // A paragraph so early is no good place; the sentence is.
        (format!("{}\n\n{}. {}", fill(10), fill(2_500), fill(3_000)), 2_513),
        (format!("{} {}", fill(10), fill(5_000)), 10),
        (fill(5_000), MAX),
        (fill(MAX), MAX),
    ];
    for (text, first) in cases {
        let parts = texts(&text);
        assert_eq!(utf16(&parts[0]), first);
        let without_blanks = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(without_blanks(&parts.concat()), without_blanks(&text));
    }
}

#[test]
fn letters_stay_whole() {
    for letter in ["👩‍👩‍👧‍👦", "🇩🇪", "e\u{301}\u{327}", "👍🏽", "❤️", "각"] {
        // One unit of shift after the other, so that every cut would be tried.
        for shift in 0..5 {
            let text = format!("{}{}", "x".repeat(shift), letter.repeat(1_500));
            let parts = texts(&text);
            assert_eq!(parts.concat(), text, "{letter} {shift}");
            let letters: usize = parts.iter().map(|part| part.graphemes(true).count()).sum();
            assert_eq!(letters, text.graphemes(true).count(), "{letter} {shift}");
            assert!(parts.iter().all(|part| utf16(part) <= MAX), "{letter} {shift}");
        }
    }
    let monster = format!("a{}", "\u{301}".repeat(10_000));
    let parts = texts(&monster);
    assert_eq!(parts.concat(), monster);
    assert!(parts.iter().all(|part| utf16(part) <= MAX));
}

#[test]
fn code_is_closed_and_opened_again() {
    let code = "    indented line\n".repeat(300);
    let text = format!("Look:\n\n{code}");
    let parts = split(&text, &[entity("pre", 7, utf16(&code))]);
    assert!(parts.len() > 1);
    for (index, (text, entities)) in parts.iter().enumerate() {
        let [entity] = entities.as_slice() else { panic!("{entities:?}") };
        assert_eq!((entity.kind.as_str(), entity.language.as_deref()), ("pre", Some("rust")));
        assert_eq!(entity.offset + entity.length, utf16(text));
        assert_eq!(entity.offset, if index == 0 { 7 } else { 0 });
        assert!(text.ends_with("line"), "cut at a line's end");
        assert!(index == 0 || text.starts_with("    indented"), "the indentation stays");
    }
}

#[test]
fn a_message_has_no_more_entities_than_it_may() {
    let text = "b ".repeat(350);
    let entities: Vec<Entity> = (0..350).map(|index| entity("bold", 2 * index, 1)).collect();
    let parts = split(&text, &entities);
    assert_eq!(parts.iter().map(|(_, entities)| entities.len()).collect::<Vec<_>>(), [100, 100, 100, 50]);
    for (text, entities) in parts {
        let units: Vec<u16> = text.encode_utf16().collect();
        assert!(entities.iter().all(|bold| units[bold.offset] == u16::from(b'b') && bold.length == 1));
    }
}

#[test]
fn blanks_make_no_message_and_too_much_is_cut() {
    assert!(texts(&"\n \t".repeat(5_000)).is_empty());
    let blank_code = "\n".repeat(9_000);
    assert!(split(&blank_code, &[entity("pre", 0, 9_000)]).is_empty());
    let parts = texts(&"word ".repeat(100_000));
    assert_eq!(parts.len(), TELEGRAM_PARTS_MAX);
    assert!(parts.last().unwrap().ends_with("word\n[…]"));
    assert!(parts.iter().all(|part| utf16(part) <= MAX));
}

#[test]
fn clipping_counts_units() {
    assert_eq!(clip("ab🇩🇪", 5), "ab");
    assert_eq!(clip("ab🇩🇪", 6), "ab🇩🇪");
}
