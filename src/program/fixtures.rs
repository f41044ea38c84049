//! What the tests of compilation and of threads share: rows as a list, and numbers drawn at random.

use super::{Program, compile};
use crate::trace::{Columns, Header, Row, Sites, TraceError, TraceReader};

/// A reader of these rows, sound or not.
pub(crate) struct FixedRows(Vec<Row>, usize, Header, Sites);

impl FixedRows {
    /// With a column of types, or without.
    pub(crate) fn new(rows: &[Row], type_name: bool) -> FixedRows {
        let columns = Columns { domain: true, type_name, ..Columns::default() };
        let mut sites = Sites::default();
        for number in 1..=rows.iter().map(|row| row.type_id.0).max().unwrap_or(0) {
            sites.intern_type(&format!("type{number}"));
        }
        FixedRows(rows.to_vec(), 0, Header { columns, ..Header::default() }, sites)
    }

    /// The same rows on two threads, so that none is plain.
    pub(crate) fn none_plain(rows: &[Row]) -> FixedRows {
        let on_threads = |row: &Row| Row { thread: 1 + row.event as u32 % 2, ..*row };
        let mut fixed = FixedRows::new(rows, true);
        fixed.0 = rows.iter().map(on_threads).collect();
        fixed.2.columns.thread = true;
        fixed
    }

    /// With columns of threads and alignments.
    pub(crate) fn with_threads(rows: &[Row]) -> FixedRows {
        let columns = Columns { type_name: false, ..Columns::ALL };
        FixedRows(rows.to_vec(), 0, Header { columns, ..Header::default() }, Sites::default())
    }

    /// The program of these rows, with columns of threads and alignments.
    pub(crate) fn compiled(rows: &[Row]) -> Program {
        compile(&mut FixedRows::with_threads(rows)).unwrap()
    }
}

impl TraceReader for FixedRows {
    fn header(&self) -> &Header {
        &self.2
    }
    fn next_row(&mut self) -> Result<Option<Row>, TraceError> {
        self.1 += 1;
        Ok(self.0.get(self.1 - 1).copied())
    }
    fn sites(&self) -> &Sites {
        &self.3
    }
}

/// Knuth's generator.
pub(crate) struct Draw(pub u64);

impl Draw {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
