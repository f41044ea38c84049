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
    /// The lines with most live bytes in it, as [`LineContents::encode`] has them. At most
    /// [`HeapRowContents::LINES_MAX`]; empty where the trace has no lines.
    pub lines: String,
}

/// The live blocks of one line, in a row of the heap map or in a whole sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineContents(
    /// `file:line`; empty for blocks without a site.
    pub String,
    /// Live blocks that begin there.
    pub u64,
    /// Requested bytes live there.
    pub u64,
);

impl HeapRowContents {
    /// Lines of a row, at most.
    pub const LINES_MAX: usize = 5;
}

impl LineContents {
    /// Lines as a cell of a table has them, in JSON: `[["file:line",blocks,bytes],…]`; empty for none.
    pub fn encode(lines: &[LineContents]) -> String {
        if lines.is_empty() {
            return String::new();
        }
        serde_json::to_string(lines).unwrap_or_default()
    }

    /// The lines of such a cell; none where they cannot be read.
    pub fn decode(cell: &str) -> Vec<LineContents> {
        serde_json::from_str(cell).unwrap_or_default()
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
        assert_eq!(LineContents::decode(&LineContents::encode(&lines)), lines);
        for unreadable in ["", "[[", "[[1,2,3]]"] {
            assert!(LineContents::decode(unreadable).is_empty());
        }
        assert_eq!(LineContents::encode(&[]), "");
    }
}
