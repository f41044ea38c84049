//! Which line keeps most memory from being returned at the end. The run replays the change of that
//! line and the report names it, so both choose it here.

use std::collections::BTreeMap;

use super::tables::{Moment, OTHER_SITES, ReturnedUnit, UnitRetention};

/// A line that keeps less from being returned is not named, in bytes.
pub const RETURNABLE_LEAST_BYTES: u64 = 256 << 10;

/// What one line keeps from being returned at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct ReturnableLine<'a> {
    /// The line, see [`UnitRetention::site`].
    pub line: &'a str,
    /// By arenas, spans and the top of heaps together.
    pub bytes: u64,
    /// The units that it keeps.
    pub units: Vec<ReturnedUnit>,
}

/// What the lines of one backend on one trace retain by arenas, spans and the top of heaps at the end.
#[derive(Clone, Debug)]
pub struct RetentionAtEnd<'a>(Vec<&'a UnitRetention>);

impl<'a> RetentionAtEnd<'a> {
    /// By the rows of one backend on one trace; `None` where none is of the end: the backend then has
    /// no such units. Repetitions of a footprint pass agree, so the first stands for all.
    pub fn of(rows: impl IntoIterator<Item = &'a UnitRetention>) -> Option<RetentionAtEnd<'a>> {
        let mut rows: Vec<_> = rows.into_iter().filter(|row| row.moment == Moment::End).collect();
        let first = rows.iter().map(|row| row.repetition).min()?;
        rows.retain(|row| row.repetition == first);
        Some(RetentionAtEnd(rows))
    }

    /// The rows that are of a line.
    pub fn rows(&self) -> impl Iterator<Item = &'a UnitRetention> {
        let is_line = |row: &&UnitRetention| row.site != OTHER_SITES && !row.site.is_empty();
        self.0.iter().copied().filter(is_line)
    }

    /// What could be returned if the blocks of `line` were elsewhere, in bytes.
    pub fn returnable_bytes(&self, line: &str) -> u64 {
        self.rows().filter(|row| row.site == line).map(|row| row.returnable_bytes).sum()
    }

    /// What each line keeps from being returned, in bytes.
    pub fn by_line(&self) -> Vec<(&'a str, u64)> {
        let mut lines: BTreeMap<&str, u64> = BTreeMap::new();
        for row in self.rows().filter(|row| row.returnable_bytes > 0) {
            let sum = lines.entry(&row.site).or_default();
            *sum = sum.saturating_add(row.returnable_bytes);
        }
        lines.into_iter().collect()
    }

    /// The line that keeps most from being returned; `None` where no line has
    /// [`RETURNABLE_LEAST_BYTES`].
    pub fn most(&self) -> Option<ReturnableLine<'a>> {
        let mut lines: BTreeMap<&str, (u64, Vec<ReturnedUnit>)> = BTreeMap::new();
        for row in self.rows().filter(|row| row.returnable_bytes > 0) {
            let (sum, units) = lines.entry(&row.site).or_default();
            *sum = sum.saturating_add(row.returnable_bytes);
            units.push(row.unit);
        }
        // Of equal ones the first by name.
        let (line, (bytes, units)) = lines.into_iter().rev().max_by_key(|(_, (sum, _))| *sum)?;
        (bytes >= RETURNABLE_LEAST_BYTES).then_some(ReturnableLine { line, bytes, units })
    }
}
