//! The findings as JSON, with the raw figures of every pair, the seed and the rule.

use serde::Serialize;

use super::finding::Finding;
use super::frame::Frame;

/// Version of the layout.
const FORMAT: u32 = 1;

/// One object: `format`, the [`Frame`], and `findings`, worst first.
pub fn json(frame: &Frame, findings: &[Finding]) -> String {
    #[derive(Serialize)]
    struct CheckFile<'a> {
        format: u32,
        #[serde(flatten)]
        frame: &'a Frame,
        findings: &'a [Finding],
    }
    // Numbers that JSON does not have become null, so this cannot fail.
    serde_json::to_string_pretty(&CheckFile { format: FORMAT, frame, findings }).unwrap_or_default()
        + "\n"
}
