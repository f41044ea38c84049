//! `index.html`: a page to explore the run with, without a network.
//!
//! The page is readable without its script: `answers.rs` has the sentences with which a trace opens,
//! `tables.rs` the tables, and `html.rs` puts them together with the pictures. The script makes the
//! curves and maps, and lets tables be sorted. `model/` has its data, `assets/` the script itself,
//! and `script.rs` puts both into the page.
//!
//! Whatever comes from the record is escaped.

mod answers;
mod drawn;
mod html;
mod markup;
mod model;
mod script;
mod tables;

pub use drawn::DrawnPicture;
pub use html::html;
