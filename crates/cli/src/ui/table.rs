//! Tables with a bold header and a rule below it.

use std::fmt;

use super::printable::{on_one_line, with_markers};

use comfy_table::{Attribute, Cell, CellAlignment, LineStyle, TableStyle, presets};

/// How a column's cells are aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// For text.
    Left,
    /// For numbers.
    Right,
}

const STYLE: TableStyle =
    presets::NOTHING.header_separator(LineStyle::none().fill('─').junction('─'));

/// A table. It always contains markers of styles, which the output stream removes if they are not
/// wanted.
#[derive(Debug)]
pub(crate) struct Table<const COLUMNS: usize> {
    columns: [Align; COLUMNS],
    inner: comfy_table::Table,
    totals: bool,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// Returns an empty table with these column headings.
    pub(crate) fn new(columns: [(&str, Align); COLUMNS]) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_style(STYLE)
            .enforce_styling()
            .set_header(columns.map(|(head, align)| cell(head, align, Some(Attribute::Bold))));
        // Only the text and not the padding is styled, so that trailing spaces can be removed.
        table.style_text_only();
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((u16::from(index > 0), 1));
        }
        Self { columns: columns.map(|(_, align)| align), inner: table, totals: false }
    }

    /// Returns the table with a space less between columns.
    pub(crate) fn narrow(mut self) -> Self {
        for column in self.inner.column_iter_mut() {
            column.set_padding((0, 1));
        }
        self
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: [String; COLUMNS]) {
        self.add(cells, None);
    }

    /// Adds the last row, with a rule above it.
    pub(crate) fn totals(&mut self, cells: [String; COLUMNS]) {
        self.totals = true;
        self.add(cells, Some(Attribute::Bold));
    }

    fn add(&mut self, cells: [String; COLUMNS], attribute: Option<Attribute>) {
        let cells = cells.into_iter().zip(self.columns);
        self.inner.add_row(cells.map(|(text, align)| cell(&text, align, attribute)));
    }
}

fn cell(text: &str, align: Align, attribute: Option<Attribute>) -> Cell {
    let cell = Cell::new_owned(on_one_line(text)).set_alignment(match align {
        Align::Left => CellAlignment::Left,
        Align::Right => CellAlignment::Right,
    });
    attribute.into_iter().fold(cell, Cell::add_attribute)
}

impl<const COLUMNS: usize> fmt::Display for Table<COLUMNS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.inner.lines().map(|line| with_markers(&line)).collect();
        let rule = lines.iter().find(|line| line.contains('─'));
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            if let (true, Some(rule)) = (self.totals && index + 1 == lines.len(), rule) {
                writeln!(f, "{rule}")?;
            }
            f.write_str(line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Align, Table};

    #[test]
    fn numbers_are_aligned_right_and_totals_are_below_a_rule() {
        let mut table = Table::new([("layer", Align::Left), ("parameters", Align::Right)]);
        table.row(["features.0".into(), "864".into()]);
        table.totals(["total".into(), "1,864".into()]);
        let text = anstream::adapter::strip_str(&super::super::printable(&table)).to_string();
        let expected = "layer        parameters\n\
            ────────────────────────\n\
            features.0          864\n\
            ────────────────────────\n\
            total             1,864";
        assert_eq!(text, expected);
    }
}
