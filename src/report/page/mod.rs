//! `index.html`: the pictures and the tables in one page that needs no network.
//!
//! Whatever comes from the record is escaped.

mod html;
mod markup;
mod tables;

pub use html::{DrawnPicture, html};
