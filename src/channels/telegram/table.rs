//! Tables, which chats cannot show: columns of equal width in fixed-width text.

use pulldown_cmark::{Event, TagEnd};
use unicode_segmentation::UnicodeSegmentation as _;

#[derive(Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    cells: Vec<String>,
    cell: String,
}

impl Table {
    /// Takes what belongs to the table; `false` when it is over.
    pub(super) fn take(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::End(TagEnd::Table) => return false,
            Event::End(TagEnd::TableCell) => self.cells.push(std::mem::take(&mut self.cell)),
            Event::End(TagEnd::TableHead | TagEnd::TableRow) => {
                self.rows.push(std::mem::take(&mut self.cells));
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
        let widths: Vec<usize> = (0..columns)
            .map(|column| self.rows.iter().filter_map(|row| row.get(column)).map(width).max().unwrap_or(0))
            // One very wide cell must not blow up all the others.
            .map(|width| width.min(COLUMN_WIDTH_MAX))
            .collect();
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
