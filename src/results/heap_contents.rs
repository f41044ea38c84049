//! The rows of `heap_contents.csv`: what lies in each row of a heap map at two moments.

use serde::{Deserialize, Serialize};

use super::tables::Moment;

/// A row of `heap_contents.csv`: what lies in a row of the heap map at a moment. A row of the map
/// without a resident page then has none here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeapRowContents {
    /// See [`super::CellKey::trace`].
    pub trace: String,
    /// See [`super::CellKey::backend`].
    pub backend: String,
    /// See [`super::CellKey::repetition`].
    pub repetition: u32,
    /// When: the live peak or the end.
    pub moment: Moment,
    /// See [`super::HeapRow::row`].
    pub row: u32,
    /// Bytes of its resident pages.
    pub resident_bytes: u64,
    /// Bytes of its 4 KiB pages that hold a byte of a live block.
    pub pages_in_use_bytes: u64,
    /// Live blocks that begin in it.
    pub live_blocks: u64,
    /// Requested bytes live in it.
    pub live_bytes: u64,
    /// The lines with most live bytes in it, as JSON: `[["file:line",blocks,bytes],…]`. At most
    /// [`HeapRowContents::LINES_MAX`]; empty where the trace has no lines.
    pub lines: String,
}

/// The blocks of one line in a row of the heap map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineContents(
    /// `file:line`; empty for blocks without a site.
    pub String,
    /// Live blocks that begin in the row.
    pub u64,
    /// Requested bytes live in the row.
    pub u64,
);

impl HeapRowContents {
    /// Lines of a row, at most.
    pub const LINES_MAX: usize = 5;

    /// Writes lines as [`HeapRowContents::lines`].
    pub fn encode(lines: &[LineContents]) -> String {
        if lines.is_empty() {
            return String::new();
        }
        serde_json::to_string(lines).unwrap_or_default()
    }

    /// The lines; none where they cannot be read.
    pub fn decoded_lines(&self) -> Vec<LineContents> {
        serde_json::from_str(&self.lines).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back() {
        let lines = [
            LineContents("a \"quoted\", name.py:1".into(), 3, 400),
            LineContents(String::new(), 1, 16),
        ];
        let mut row = HeapRowContents {
            trace: String::new(),
            backend: String::new(),
            repetition: 0,
            moment: Moment::End,
            row: 0,
            resident_bytes: 0,
            pages_in_use_bytes: 0,
            live_blocks: 0,
            live_bytes: 0,
            lines: HeapRowContents::encode(&lines),
        };
        assert_eq!(row.decoded_lines(), lines);
        for unreadable in ["", "[[", "[[1,2,3]]"] {
            row.lines = unreadable.into();
            assert!(row.decoded_lines().is_empty());
        }
        assert_eq!(HeapRowContents::encode(&[]), "");
    }
}
