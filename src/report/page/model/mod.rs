//! The data behind the page's script: one serialisable type, made of the figures of the run.
//!
//! `page_model.rs` has the whole page and its version, `trace_model.rs` one trace. The parts of a
//! trace are a file each: curves of the heap, service times, the heap map, and lines of the program.
//! Arrays are as short as a screen needs: differences instead of values, indices instead of names.

mod heap_curve;
mod heap_map_model;
mod latency_model;
mod line_model;
mod page_model;
mod site_table;
mod trace_model;

pub use page_model::{PageModel, model_without_traces, page_model};
