//! Markdown, as models write it, into messages: plain text and entities. Pure; knows nothing of
//! chats or the network.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::channels::delivery::{Entity, Part};
use crate::channels::text::entity_builder::EntityBuilder;
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
        renderer.handle(event);
    }
    let (text, entities) = renderer.builder.finish();
    // What is nothing but markup (a lone rule of a table) is better seen raw than not at all.
    if text.trim().is_empty() { (markdown.trim().to_owned(), Vec::new()) } else { (text, entities) }
}

#[derive(Default)]
struct Renderer {
    builder: EntityBuilder,
    /// Number of the next item of each list that is open; `None` in a list with bullets.
    lists: Vec<Option<u64>>,
    /// Text and language of the code block that is being read.
    code: Option<(String, Option<String>)>,
    table: Option<Table>,
}

impl Renderer {
    fn handle(&mut self, event: Event<'_>) {
        if let Some(table) = &mut self.table {
            if !table.add(&event) {
                let text = self.table.take().map(Table::render).unwrap_or_default();
                self.builder.block(&text, "pre", None);
                self.builder.gap(2);
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
            // One line of a block of HTML, with its line end.
            Event::Html(text) => {
                self.builder.push(text.trim_end_matches(['\r', '\n']));
                self.builder.gap(1);
            }
            Event::Text(text)
            | Event::InlineHtml(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text)
            | Event::FootnoteReference(text) => self.builder.push(&text),
            Event::Code(text) => self.builder.block(&text, "code", None),
            // Models end lines where they want them to end.
            Event::SoftBreak | Event::HardBreak => self.builder.push("\n"),
            Event::Rule => {
                self.builder.gap(2);
                self.builder.push("———");
                self.builder.gap(2);
            }
            Event::TaskListMarker(done) => self.builder.mark(if done { "☑ " } else { "☐ " }),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::HtmlBlock => self.builder.gap(2),
            Tag::Heading { .. } => {
                self.builder.gap(2);
                self.builder.open("bold", None);
            }
            Tag::BlockQuote(_) => {
                self.builder.gap(2);
                self.builder.open("blockquote", None);
            }
            Tag::CodeBlock(kind) => {
                self.builder.gap(2);
                let language = match &kind {
                    CodeBlockKind::Fenced(info) => info.split([' ', ',', '{']).next().unwrap_or_default(),
                    CodeBlockKind::Indented => "",
                };
                self.code =
                    Some((String::new(), Some(language.to_owned()).filter(|language| !language.is_empty())));
            }
            Tag::List(first) => {
                self.builder.gap(if self.lists.is_empty() { 2 } else { 1 });
                self.lists.push(first);
            }
            Tag::Item => {
                self.builder.gap(1);
                let indent = "  ".repeat(self.lists.len().saturating_sub(1).min(INDENT_LEVELS_MAX));
                let marker = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{indent}{}. ", *number - 1)
                    }
                    _ => format!("{indent}• "),
                };
                self.builder.mark(&marker);
            }
            Tag::Table(_) => {
                self.builder.gap(2);
                self.table = Some(Table::default());
            }
            Tag::Emphasis => self.builder.open("italic", None),
            Tag::Strong => self.builder.open("bold", None),
            Tag::Strikethrough => self.builder.open("strikethrough", None),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => self.builder.open_link(&dest_url),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.builder.gap(2),
            TagEnd::Heading(_) => {
                self.builder.close("bold");
                self.builder.gap(2);
            }
            TagEnd::BlockQuote(_) => {
                self.builder.close("blockquote");
                self.builder.gap(2);
            }
            TagEnd::CodeBlock => {
                if let Some((code, language)) = self.code.take() {
                    self.builder.block(code.strip_suffix('\n').unwrap_or(&code), "pre", language);
                }
                self.builder.gap(2);
            }
            TagEnd::List(_) => {
                self.lists.pop();
                self.builder.gap(if self.lists.is_empty() { 2 } else { 1 });
            }
            TagEnd::Item => self.builder.end_item(),
            TagEnd::Emphasis => self.builder.close("italic"),
            TagEnd::Strong => self.builder.close("bold"),
            TagEnd::Strikethrough => self.builder.close("strikethrough"),
            TagEnd::Link | TagEnd::Image => self.builder.close("text_link"),
            _ => {}
        }
    }
}

/// Deeper lists are shown at this depth: phones are narrow.
const INDENT_LEVELS_MAX: usize = 6;

#[cfg(test)]
mod tests;
