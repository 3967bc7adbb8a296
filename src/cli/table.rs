//! Aligned columns for people.

use crate::cli::terminal::{Output, Style, line};

/// Characters of one cell; longer texts end in an ellipsis.
const CELL_CHARS_MAX: usize = 72;

/// Rows under a heading.
pub(crate) struct Table {
    heading: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

/// One cell, safe to print.
pub(crate) struct Cell {
    text: String,
    style: Option<Style>,
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        let mut text = line(text.as_ref());
        if let Some((end, _)) = text.char_indices().nth(CELL_CHARS_MAX) {
            text.truncate(end);
            text.push('…');
        }
        Self { text, style: None }
    }
}

impl Cell {
    /// The same in a style.
    pub(crate) fn styled(text: &str, style: Style) -> Self {
        Self { style: Some(style), ..Self::from(text) }
    }
}

impl Table {
    /// With these column names; none at all for a table without a heading.
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self { heading: heading.iter().map(|name| (*name).to_owned()).collect(), rows: Vec::new() }
    }

    /// One more row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether there are no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As lines of text; nothing without rows, and no column without content.
    pub(crate) fn render(&self, output: &Output) -> String {
        if self.is_empty() {
            return String::new();
        }
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let content = self
                .rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.text.chars().count())
                .max();
            match content.unwrap_or(0) {
                0 => 0,
                content => content.max(self.heading.get(column).map_or(0, |name| name.chars().count())),
            }
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        if !self.heading.is_empty() {
            let cells = self.heading.iter().map(|name| (name.as_str(), Some(Style::Bold)));
            push_row(&mut text, cells, &widths, output);
        }
        for row in &self.rows {
            push_row(&mut text, row.iter().map(|cell| (cell.text.as_str(), cell.style)), &widths, output);
        }
        text
    }
}

fn push_row<'a>(
    text: &mut String,
    cells: impl Iterator<Item = (&'a str, Option<Style>)>,
    widths: &[usize],
    output: &Output,
) {
    // Spaces are owed until the next cell with something in it: no line ends in blanks.
    let mut owed = 0;
    for ((cell, style), width) in cells.zip(widths).filter(|(_, width)| **width > 0) {
        if !cell.is_empty() {
            text.extend(std::iter::repeat_n(' ', owed));
            owed = 0;
            text.push_str(&style.map_or_else(|| cell.to_owned(), |style| output.styled(style, cell)));
        }
        owed += width - cell.chars().count() + 2;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::Table;
    use crate::cli::terminal::Output;

    #[test]
    fn columns_line_up_and_empty_ones_go() {
        let mut table = Table::new(&["NAME", "NOTHING", "STATE"]);
        table.row(["a".into(), "".into(), "ok".into()]);
        table.row(["längeres".into(), "".into(), "ab\ncd".into()]);
        table.row(["z".into()]);
        assert_eq!(table.render(&Output::piped()), "NAME      STATE\na         ok\nlängeres  ab cd\nz\n");
    }
}
