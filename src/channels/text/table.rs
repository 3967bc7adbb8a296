//! Tables, which chats cannot show: columns of equal width in fixed-width text.

use pulldown_cmark::{Event, TagEnd};
use unicode_segmentation::UnicodeSegmentation as _;

/// A table that is being read, row by row.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    cells: Vec<String>,
    cell: String,
}

impl Table {
    /// Adds what belongs to the table; `false` when it is over.
    pub(super) fn add(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::End(TagEnd::Table) => return false,
            Event::End(TagEnd::TableCell) => self.cells.push(std::mem::take(&mut self.cell)),
            Event::End(TagEnd::TableHead | TagEnd::TableRow) => {
                let mut cells = std::mem::take(&mut self.cells);
                // A short row comes filled up to the length of the first one.
                let used = cells.iter().rposition(|cell| !cell.is_empty()).map_or(0, |last| last + 1);
                cells.truncate(used);
                cells.shrink_to_fit();
                self.rows.push(cells);
            }
            Event::Text(text) | Event::Code(text) | Event::InlineHtml(text) => self.cell.push_str(text),
            Event::SoftBreak | Event::HardBreak => self.cell.push(' '),
            _ => {}
        }
        true
    }

    pub(super) fn render(self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |cell: &String| cell.graphemes(true).count();
        let mut widths: Vec<usize> = (0..columns)
            .map(|column| self.rows.iter().filter_map(|row| row.get(column)).map(width).max().unwrap_or(0))
            // One very wide cell must not blow up all the others.
            .map(|width| width.min(COLUMN_WIDTH_MAX))
            .collect();
        // Blanks cost those who write them nothing.
        if widths.iter().map(|width| width + 3).sum::<usize>() * self.rows.len() > TABLE_PADDED_BYTES_MAX {
            widths.fill(0);
        }
        let mut lines = Vec::with_capacity(self.rows.len() + 1);
        for (index, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, wide)| format!("{cell}{}", " ".repeat(wide.saturating_sub(width(cell)))))
                .collect();
            lines.push(cells.join(" | ").trim_end().to_owned());
            if index == 0 {
                lines.push(widths.iter().map(|wide| "-".repeat(*wide)).collect::<Vec<_>>().join("-+-"));
            }
        }
        lines.join("\n")
    }
}

const COLUMN_WIDTH_MAX: usize = 60;
/// What a table may take with its columns aligned: more than anybody reads in a chat.
const TABLE_PADDED_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::Table;

    fn rendered(markdown: &str) -> String {
        let mut table = Table::default();
        for event in pulldown_cmark::Parser::new_ext(markdown, pulldown_cmark::Options::ENABLE_TABLES) {
            table.add(&event);
        }
        table.render()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        assert_eq!(rendered("|a|b|\n|-|-|\n|long|c|\n|d|\n"), "a    | b\n-----+--\nlong | c\nd");
    }

    #[test]
    fn a_table_of_much_nothing_stays_small() {
        let wide = "x".repeat(60);
        let head = |cell: &str| format!("|{}\n|{}\n", format!("{cell}|").repeat(900), "-|".repeat(900));
        for row in ["|a".to_owned(), format!("|{}a|", "|".repeat(899))] {
            let markdown = head(&wide) + &format!("{row}\n").repeat(250);
            let text = rendered(&markdown);
            assert!(text.len() < 4 * markdown.len(), "{} became {}", markdown.len(), text.len());
        }
    }
}
