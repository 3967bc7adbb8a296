//! Markdown, as models write it, into messages: plain text and its looks. Pure; knows nothing of
//! chats or the network.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::channels::delivery::{Entity, Part};
use crate::channels::text::entity_builder::Canvas;
use crate::channels::text::split::split;
use crate::channels::text::table::Table;

/// The messages that show `markdown`, in order: none if there is nothing to see.
///
/// Each has at most [`crate::limits::TELEGRAM_TEXT_UNITS_MAX`] UTF-16 units. Together they are the
/// rendered text but for the white space where it was cut.
pub(super) fn compose(markdown: &str) -> Vec<Part> {
    let (text, entities) = render(markdown);
    split(&text, &entities).into_iter().map(|(text, entities)| Part::Text { text, entities }).collect()
}

fn render(markdown: &str) -> (String, Vec<Entity>) {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut renderer = Renderer::default();
    for event in Parser::new_ext(markdown, options) {
        renderer.take(event);
    }
    let (text, entities) = renderer.canvas.finish();
    // What is nothing but markup (a lone rule of a table) is better seen raw than not at all.
    if text.trim().is_empty() { (markdown.trim().to_owned(), Vec::new()) } else { (text, entities) }
}

#[derive(Default)]
struct Renderer {
    canvas: Canvas,
    /// Number of the next item of each list that is open; `None` in a list with bullets.
    lists: Vec<Option<u64>>,
    /// The code block that is being read.
    code: Option<(String, Option<String>)>,
    table: Option<Table>,
}

impl Renderer {
    fn take(&mut self, event: Event<'_>) {
        if let Some(table) = &mut self.table {
            if !table.take(&event) {
                let text = self.table.take().map(Table::render).unwrap_or_default();
                self.canvas.block(&text, "pre", None);
                self.canvas.gap(2);
            }
            return;
        }
        if let (Some((code, _)), Event::Text(text)) = (&mut self.code, &event) {
            code.push_str(text);
            return;
        }
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            // A line of it, with its end.
            Event::Html(text) => {
                self.canvas.push(text.trim_end_matches(['\r', '\n']));
                self.canvas.gap(1);
            }
            Event::Text(text)
            | Event::InlineHtml(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text)
            | Event::FootnoteReference(text) => self.canvas.push(&text),
            Event::Code(text) => self.canvas.block(&text, "code", None),
            // Models end lines where they want them to end.
            Event::SoftBreak | Event::HardBreak => self.canvas.push("\n"),
            Event::Rule => {
                self.canvas.gap(2);
                self.canvas.push("———");
                self.canvas.gap(2);
            }
            Event::TaskListMarker(done) => self.canvas.mark(if done { "☑ " } else { "☐ " }),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.canvas.gap(2),
            Tag::Heading { .. } => {
                self.canvas.gap(2);
                self.canvas.open("bold", None);
            }
            Tag::BlockQuote(_) => {
                self.canvas.gap(2);
                self.canvas.open("blockquote", None);
            }
            Tag::CodeBlock(kind) => {
                self.canvas.gap(2);
                let language = match &kind {
                    CodeBlockKind::Fenced(info) => info.split([' ', ',', '{']).next().unwrap_or_default(),
                    CodeBlockKind::Indented => "",
                };
                self.code =
                    Some((String::new(), Some(language.to_owned()).filter(|language| !language.is_empty())));
            }
            Tag::List(first) => {
                self.canvas.gap(if self.lists.is_empty() { 2 } else { 1 });
                self.lists.push(first);
            }
            Tag::Item => {
                self.canvas.gap(1);
                let indent = "  ".repeat(self.lists.len().saturating_sub(1).min(INDENT_LEVELS_MAX));
                let marker = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{indent}{}. ", *number - 1)
                    }
                    _ => format!("{indent}• "),
                };
                self.canvas.mark(&marker);
            }
            Tag::Table(_) => {
                self.canvas.gap(2);
                self.table = Some(Table::default());
            }
            Tag::Emphasis => self.canvas.open("italic", None),
            Tag::Strong => self.canvas.open("bold", None),
            Tag::Strikethrough => self.canvas.open("strikethrough", None),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => self.canvas.open_link(&dest_url),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.canvas.gap(2),
            TagEnd::Heading(_) => {
                self.canvas.close("bold");
                self.canvas.gap(2);
            }
            TagEnd::BlockQuote(_) => {
                self.canvas.close("blockquote");
                self.canvas.gap(2);
            }
            TagEnd::CodeBlock => {
                if let Some((code, language)) = self.code.take() {
                    self.canvas.block(code.strip_suffix('\n').unwrap_or(&code), "pre", language);
                }
                self.canvas.gap(2);
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.canvas.gap(if self.lists.is_empty() { 2 } else { 1 });
            }
            TagEnd::Item => self.canvas.end_item(),
            TagEnd::Emphasis => self.canvas.close("italic"),
            TagEnd::Strong => self.canvas.close("bold"),
            TagEnd::Strikethrough => self.canvas.close("strikethrough"),
            TagEnd::Link | TagEnd::Image => self.canvas.close_link(),
            _ => {}
        }
    }
}

/// Deeper lists are shown at this depth: phones are narrow.
const INDENT_LEVELS_MAX: usize = 6;

#[cfg(test)]
mod tests;
