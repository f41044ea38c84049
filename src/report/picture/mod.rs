//! The renderer of PNG: draws the descriptions of [`crate::report::chart`] with plotters.
//!
//! `canvas.rs` is the canvas, `frame.rs` and `panel.rs` have what pictures share, each picture is a
//! file, and `draw.rs` is the list.

mod canvas;
mod check_effect;
mod draw;
mod end_labels;
mod footprint_overlay;
mod frame;
mod fullness;
mod heap_map;
mod latency_by_size;
mod latency_heat_map;
mod latency_histogram;
mod latency_percentiles;
mod page_fullness;
mod page_retention;
mod page_retention_at_marks;
mod panel;
mod phases;
mod placement;
mod scaling;
mod scorecard;
mod side_by_side;
mod size_numbers;
mod sizes_and_rounding;
mod threads;
mod throughput;
mod trace_arenas;
mod trace_lifetimes;
mod trace_live;
mod trace_sizes;
mod where_memory_went;

pub use canvas::{Canvas, HEIGHT, Label, WIDTH};
pub use draw::{Picture, draw};
