//! Cuts a text with its entities into messages, at the best place near each limit.

use unicode_segmentation::UnicodeSegmentation as _;

use crate::channels::delivery::Entity;
use crate::limits::{TELEGRAM_ENTITIES_MAX, TELEGRAM_PARTS_MAX, TELEGRAM_TEXT_UNITS_MAX};

/// Shown where the rest is left out, after the last message that may be sent.
const CUT_MARK: &str = "\n[…]";

/// The pieces of `text` with the entities of each; `entities` are sorted by their offsets. No piece
/// is blank, and white space around a cut is left out (inside of code only at its line's end).
pub(super) fn split(text: &str, entities: &[Entity]) -> Vec<(String, Vec<Entity>)> {
    let mut parts = Vec::new();
    let mut rest = Remainder::new(text, entities);
    loop {
        rest.skip_blanks();
        if rest.text.is_empty() {
            return parts;
        }
        let last = parts.len() + 1 == TELEGRAM_PARTS_MAX;
        let units_max = TELEGRAM_TEXT_UNITS_MAX - if last { CUT_MARK.chars().count() } else { 0 };
        let (bytes, units) = rest.cut(units_max);
        let piece = rest.text[..bytes].trim_end();
        if !piece.is_empty() {
            parts.push((piece.to_owned(), rest.entities_within(utf16(piece))));
        }
        rest.advance(bytes, units);
        if last && !piece.is_empty() {
            if let (false, Some((text, _))) = (rest.text.trim().is_empty(), parts.last_mut()) {
                text.push_str(CUT_MARK);
            }
            return parts;
        }
    }
}

/// UTF-16 units of a text, as the Bot API counts.
pub(crate) fn utf16(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Cuts `text` to at most `units_max` UTF-16 units between two characters that a reader sees.
pub(crate) fn clip(text: &str, units_max: usize) -> &str {
    let mut units = 0;
    for (at, grapheme) in text.grapheme_indices(true) {
        units += utf16(grapheme);
        if units > units_max {
            return &text[..at];
        }
    }
    text
}

/// What is left to be cut.
struct Remainder<'a> {
    text: &'a str,
    /// UTF-16 units of the whole text before it.
    units: usize,
    /// Entities that begin here or later.
    coming: &'a [Entity],
    /// Entities that began before and last longer.
    open: Vec<&'a Entity>,
    /// First unit of each code block, and the one behind it.
    code: Vec<(usize, usize)>,
}

impl<'a> Remainder<'a> {
    fn new(text: &'a str, entities: &'a [Entity]) -> Self {
        let blocks = entities.iter().filter(|entity| entity.kind == "pre");
        let code = blocks.map(|entity| (entity.offset, entity.offset + entity.length)).collect();
        Self { text, units: 0, coming: entities, open: Vec::new(), code }
    }

    fn advance(&mut self, bytes: usize, units: usize) {
        self.text = &self.text[bytes..];
        self.units += units;
        let here = self.units;
        let begun = self.coming.partition_point(|entity| entity.offset < here);
        let (begun, coming) = self.coming.split_at(begun);
        self.open.extend(begun);
        self.open.retain(|entity| entity.offset + entity.length > here);
        self.coming = coming;
    }

    /// The entities of so many units from here.
    fn entities_within(&self, units: usize) -> Vec<Entity> {
        let (start, end) = (self.units, self.units + units);
        let coming = self.coming.iter().take_while(|entity| entity.offset < end);
        let overlapping = self.open.iter().copied().chain(coming);
        let clipped = overlapping.filter_map(|entity| {
            let from = entity.offset.max(start);
            let to = (entity.offset + entity.length).min(end);
            (from < to).then(|| Entity { offset: from - start, length: to - from, ..entity.clone() })
        });
        clipped.collect()
    }

    /// Whether the units on both sides of this place are code.
    fn in_code(&self, unit: usize) -> bool {
        let before = self.code.partition_point(|(start, _)| *start < unit);
        before > 0 && self.code[before - 1].1 > unit
    }

    /// Blanks before a message are not shown; in code they are indentation.
    fn skip_blanks(&mut self) {
        let text = self.text;
        for grapheme in text.graphemes(true) {
            let indents = self.in_code(self.units) && !grapheme.contains('\n');
            if indents || !is_blank(grapheme) {
                return;
            }
            self.advance(grapheme.len(), utf16(grapheme));
        }
    }

    /// Where the next message ends: bytes and UTF-16 units from here.
    fn cut(&self, units_max: usize) -> (usize, usize) {
        let limit = units_max.min(self.entity_limit());
        let mut cuts = LastCuts::default();
        let (mut bytes, mut units) = (0, 0);
        let mut line_ends = 0;
        let mut previous = "";
        for grapheme in self.text.graphemes(true) {
            let wide = utf16(grapheme);
            if units + wide > limit {
                return cuts.best(limit).unwrap_or_else(|| self.hard_cut(bytes, units, limit));
            }
            bytes += grapheme.len();
            units += wide;
            if is_blank(grapheme) {
                let line_end = grapheme.contains('\n');
                line_ends += usize::from(line_end);
                let code = line_ends > 0 && self.in_code(self.units + units);
                // Blanks behind a line's end are the next line's indentation in code.
                if line_end || !code {
                    cuts.add(CutKind::after(previous, line_ends, code), bytes, units);
                }
            } else {
                line_ends = 0;
                previous = grapheme;
            }
        }
        (bytes, units)
    }

    /// How many units from here have no more entities than one message can have.
    fn entity_limit(&self) -> usize {
        let first_too_many = self.coming.get(TELEGRAM_ENTITIES_MAX.saturating_sub(self.open.len()));
        first_too_many.map_or(usize::MAX, |entity| (entity.offset - self.units).max(1))
    }

    /// Cuts in the middle of a word; and where one character alone is too large, in the middle of that.
    fn hard_cut(&self, bytes: usize, units: usize, limit: usize) -> (usize, usize) {
        if bytes > 0 {
            return (bytes, units);
        }
        let (mut bytes, mut units) = (0, 0);
        for character in self.text.chars() {
            if units > 0 && units + character.len_utf16() > limit {
                break;
            }
            bytes += character.len_utf8();
            units += character.len_utf16();
        }
        (bytes, units)
    }
}

fn is_blank(grapheme: &str) -> bool {
    grapheme.chars().all(char::is_whitespace)
}

/// Kinds of places to cut at, best first.
#[derive(Clone, Copy)]
enum CutKind {
    Paragraph,
    Line,
    CodeLine,
    Sentence,
    Word,
}

impl CutKind {
    fn after(previous: &str, line_ends: usize, code: bool) -> Self {
        match line_ends {
            1.. if code => Self::CodeLine,
            2.. => Self::Paragraph,
            1 => Self::Line,
            _ if previous.ends_with(['.', '!', '?', '…', '。', '！', '？']) => Self::Sentence,
            _ => Self::Word,
        }
    }
}

/// The last cut of each kind that was seen: bytes and units.
#[derive(Default)]
struct LastCuts([Option<(usize, usize)>; 5]);

impl LastCuts {
    fn add(&mut self, place: CutKind, bytes: usize, units: usize) {
        self.0[place as usize] = Some((bytes, units));
    }

    /// The last cut of the best kind that lies in the second half; else the last of any kind.
    fn best(&self, limit: usize) -> Option<(usize, usize)> {
        let known = || self.0.iter().flatten().copied();
        known().find(|(_, units)| *units >= limit / 2).or_else(|| known().max())
    }
}

#[cfg(test)]
mod tests;
