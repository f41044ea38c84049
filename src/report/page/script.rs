//! What the page carries to be explored: its style, its script and its data, all within the page.
//!
//! The script is plain JavaScript without a library, in files of `assets/` that are joined here. A
//! policy in the page's head allows this script and no other, and no network.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::model::PageModel;

/// The style of the page.
pub const STYLE: &str = include_str!("assets/page.css");

/// What every page has: its data, its view, its controls and its tables. Later files use what earlier
/// ones define.
const SHARED: [&str; 4] = [
    include_str!("assets/data.js"),
    include_str!("assets/view.js"),
    include_str!("assets/controls.js"),
    include_str!("assets/tables.js"),
];

/// The plots of a run, and what puts its page together.
const RUN: [&str; 6] = [
    include_str!("assets/plot.js"),
    include_str!("assets/cell_map.js"),
    include_str!("assets/memory.js"),
    include_str!("assets/times.js"),
    include_str!("assets/heap_map.js"),
    include_str!("assets/main.js"),
];

/// The page of two sides.
const SIDES: [&str; 1] = [include_str!("assets/side_by_side.js")];

/// The script of the page of a run.
pub fn run_script() -> String {
    script(&RUN)
}

/// The script of the page of two sides.
pub fn sides_script() -> String {
    script(&SIDES)
}

/// A script: a function, so that none of its names is global.
fn script(own: &[&str]) -> String {
    let files: Vec<&str> = SHARED.iter().chain(own).copied().collect();
    format!("\"use strict\";\n(() => {{\n{}}})();\n", files.join("\n"))
}

/// The policy that allows only this script, and pictures beside the page.
pub fn content_policy(script: &str) -> String {
    let hash = STANDARD.encode(Sha256::digest(script.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{hash}'; style-src 'unsafe-inline'; \
         img-src 'self' file: data:; base-uri 'none'; form-action 'none'"
    )
}

/// The model as JSON that cannot end its element: it has no `<`.
pub fn data(model: &PageModel) -> String {
    let text = serde_json::to_string(model).unwrap_or_else(|_| "null".to_owned());
    text.replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_does_not_end_its_element() {
        for script in [run_script(), sides_script()] {
            let script = script.to_lowercase();
            assert!(!script.contains("</script") && !script.contains("<!--"));
        }
    }
}
