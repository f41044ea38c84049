//! A cell of a check: one trace, and the two sides that are compared on it.

use super::Loaded;
use super::pairs::Side;
use crate::results::CellLabel;

/// A cell of a check.
#[derive(Clone)]
pub struct CheckCell<'a> {
    /// The trace's name.
    pub trace: &'a str,
    /// The trace.
    pub loaded: &'a Loaded,
    /// Baseline and candidate.
    pub sides: [Side; 2],
    /// What the cell's backend is called in findings.
    pub name: String,
}

impl CheckCell<'_> {
    /// What the cell is called in findings.
    pub fn label(&self) -> CellLabel<'_> {
        CellLabel { trace: self.trace, backend: &self.name }
    }
}
