//! The lines of a trace, each once: rows refer to a line by its number.

use std::collections::HashMap;

use crate::results::LineContents;

/// The number of a line, its live blocks, and their bytes.
pub type NumberedLine = (usize, u64, u64);

/// Numbers lines in the order in which they are first named.
#[derive(Debug, Default)]
pub struct SiteTable {
    numbers: HashMap<String, usize>,
    names: Vec<String>,
}

impl SiteTable {
    /// The number of a line.
    pub fn number(&mut self, site: &str) -> usize {
        if let Some(number) = self.numbers.get(site) {
            return *number;
        }
        self.numbers.insert(site.to_owned(), self.names.len());
        self.names.push(site.to_owned());
        self.names.len() - 1
    }

    /// The lines of a cell of a table by number.
    pub fn numbered(&mut self, cell: &str) -> Vec<NumberedLine> {
        let lines = LineContents::decode(cell).into_iter();
        lines.map(|line| (self.number(&line.0), line.1, line.2)).collect()
    }

    /// All lines, by number.
    pub fn into_names(self) -> Vec<String> {
        self.names
    }
}
