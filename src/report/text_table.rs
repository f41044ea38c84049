//! Tables that terminal and page share: cells of text, each with the exact value of the number with which
//! it begins.

use crate::units::{bytes, count};

/// What stands for a figure that is not known.
pub const UNKNOWN: &str = "–";

/// A cell of a table: its text, and the exact value of the number with which it begins. The page sorts by
/// the value and saves it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    text: String,
    value: Option<f64>,
}

impl Cell {
    /// A value and its text; a dash for what is not known.
    pub fn of(value: Option<f64>, text: impl Fn(f64) -> String) -> Cell {
        let value = value.filter(|value| value.is_finite());
        Cell { text: value.map_or(UNKNOWN.to_owned(), text), value }
    }

    /// A size in bytes.
    pub fn bytes(value: Option<f64>) -> Cell {
        Cell::of(value, bytes)
    }

    /// A count.
    pub fn count(number: u64) -> Cell {
        Cell::of(Some(number as f64), |_| count(number))
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The exact value of the number with which the text begins; `None` for a text without one.
    pub fn value(&self) -> Option<f64> {
        self.value
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, value: None }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        text.to_owned().into()
    }
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct TextTable {
    /// The names of the columns.
    pub header: Vec<String>,
    /// The rows: a cell for each column.
    pub rows: Vec<Vec<Cell>>,
}

impl TextTable {
    /// A table; `None` without rows.
    pub fn of<N: Into<String>>(
        header: impl IntoIterator<Item = N>,
        rows: Vec<Vec<Cell>>,
    ) -> Option<TextTable> {
        let header = header.into_iter().map(Into::into).collect();
        (!rows.is_empty()).then_some(TextTable { header, rows })
    }

    /// The texts of its cells.
    pub fn texts(&self) -> Vec<Vec<String>> {
        self.rows.iter().map(|row| texts(row)).collect()
    }
}

/// The texts of cells.
pub fn texts(cells: &[Cell]) -> Vec<String> {
    cells.iter().map(|cell| cell.text.clone()).collect()
}
