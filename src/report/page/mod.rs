//! `index.html`: a page to explore the run with, without a network.
//!
//! The page is readable without its script: `answers.rs` has the sentences with which a trace opens,
//! `tables.rs` the tables, and `html.rs` puts them together with the pictures. `side_by_side.rs` is the
//! page of two sides. The script makes the curves and maps, and lets tables be sorted. `model/` has its
//! data, `assets/` the script itself, `script.rs` joins its files, and `document.rs` is the file around
//! all of it.
//!
//! Whatever comes from the record is escaped.

mod answers;
mod document;
mod drawn;
mod html;
mod markup;
mod model;
mod script;
mod side_by_side;
mod tables;

pub use drawn::DrawnPicture;
pub use html::html;
pub use side_by_side::sides_html;
