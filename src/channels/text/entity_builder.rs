//! Builds the text of an answer and its entities: stretches of it, in UTF-16 units, that look different.
//!
//! Keeps what the Bot API demands of entities: none is empty, `pre` and `code` stand alone, no
//! kind stands within itself.

use crate::channels::delivery::Entity;

#[derive(Default)]
pub(super) struct EntityBuilder {
    text: String,
    units: usize,
    entities: Vec<Entity>,
    open: Vec<OpenEntity>,
    /// Line ends to be written before the next text.
    gap: usize,
    /// Nothing was written since a block's marker or mark-up began: no gap is due there.
    fresh: bool,
}

/// An entity whose end has not come. `depth` counts how often its kind was opened within itself.
struct OpenEntity {
    kind: &'static str,
    url: Option<String>,
    start: usize,
    depth: usize,
}

impl EntityBuilder {
    /// Has so many line ends written before the next text, unless there will be more.
    pub(super) fn gap(&mut self, lines: usize) {
        if !self.fresh {
            self.gap = self.gap.max(lines);
        }
    }

    pub(super) fn push(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.settle();
        self.fresh = false;
        self.append(text);
    }

    /// Writes the marker of a block: what follows stands on the same line.
    pub(super) fn mark(&mut self, marker: &str) {
        self.fresh = false;
        self.push(marker);
        self.fresh = true;
    }

    /// Ends an item of a list, which is a line even without text.
    pub(super) fn end_item(&mut self) {
        self.fresh = false;
        self.gap(1);
    }

    pub(super) fn open(&mut self, kind: &'static str, url: Option<String>) {
        if let Some(open) = self.open.iter_mut().find(|open| open.kind == kind) {
            open.depth += 1;
            return;
        }
        self.settle();
        self.fresh |= kind == "blockquote";
        self.open.push(OpenEntity { kind, url, start: self.units, depth: 0 });
    }

    pub(super) fn close(&mut self, kind: &'static str) {
        let Some(at) = self.open.iter().rposition(|open| open.kind == kind) else { return };
        if self.open[at].depth > 0 {
            self.open[at].depth -= 1;
            return;
        }
        if let Some(url) = self.open[at].url.clone().filter(|_| self.open[at].start == self.units) {
            // A picture without a description is shown by its URL.
            self.push(&url);
        }
        let open = self.open.remove(at);
        self.fresh &= kind != "blockquote";
        self.add(open.kind, open.start, open.url, None);
    }

    /// Begins a link. One that leads nowhere outside of the answer's source is only text.
    pub(super) fn open_link(&mut self, url: &str) {
        let known = ["http://", "https://", "tg://", "mailto:"].iter().any(|scheme| url.starts_with(scheme));
        self.open("text_link", known.then(|| url.to_owned()));
    }

    /// Writes `text` as an entity that shares no text with others: those around it are interrupted.
    pub(super) fn block(&mut self, text: &str, kind: &'static str, language: Option<String>) {
        if text.is_empty() {
            return;
        }
        self.settle();
        self.fresh = false;
        for at in 0..self.open.len() {
            if self.open[at].kind != "blockquote" {
                let (kind, start, url) = (self.open[at].kind, self.open[at].start, self.open[at].url.clone());
                self.add(kind, start, url, None);
            }
        }
        let start = self.units;
        self.append(text);
        self.add(kind, start, None, language);
        for open in self.open.iter_mut().filter(|open| open.kind != "blockquote") {
            open.start = self.units;
        }
    }

    pub(super) fn finish(mut self) -> (String, Vec<Entity>) {
        while let Some(open) = self.open.last() {
            let kind = open.kind;
            self.close(kind);
        }
        // The outer one first where two begin together.
        self.entities.sort_by_key(|entity| (entity.offset, usize::MAX - entity.length));
        (self.text, self.entities)
    }

    fn settle(&mut self) {
        let gap = std::mem::take(&mut self.gap);
        if !self.text.is_empty() {
            for _ in 0..gap {
                self.append("\n");
            }
        }
    }

    fn append(&mut self, text: &str) {
        self.units += text.encode_utf16().count();
        self.text.push_str(text);
    }

    fn add(&mut self, kind: &str, start: usize, url: Option<String>, language: Option<String>) {
        let linkless = kind == "text_link" && url.is_none();
        if start < self.units && !linkless {
            let length = self.units - start;
            self.entities.push(Entity { kind: kind.to_owned(), offset: start, length, url, language });
        }
    }
}
