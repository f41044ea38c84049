//! Chart of a trace: the sizes that the program requests.

use serde::Serialize;

use super::axis::Axis;
use super::contract::Caption;
use super::scale::Scale;
use crate::report::figures::{SizeBar, TraceShape};
use crate::report::palette::{Colour, LIVE};
use crate::units::{SMALL_SIZE_BYTES, byte_unit, bytes, count, percent};

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct TraceSizesChart {
    /// Its sentences.
    pub caption: Caption,
    /// The largest request of each class, in bytes; the classes are equally wide.
    pub up_to_bytes: Vec<u64>,
    /// Requests by class, in per cent of all.
    pub requests: SizePanel,
    /// Requested bytes by class.
    pub volume: SizePanel,
}

/// Bars by size class.
#[derive(Clone, Debug, Serialize)]
pub struct SizePanel {
    /// Upwards.
    pub axis: Axis,
    /// By class.
    pub values: Vec<f64>,
    /// The share (0 to 1) of the classes up to 512 bytes.
    pub small_share: f64,
    /// The colour of the bars.
    pub colour: Colour,
}

/// Describes the chart; `None` for a trace without requests.
pub fn describe(shape: &TraceShape) -> Option<TraceSizesChart> {
    let requests: u64 = shape.sizes.iter().map(|bar| bar.requests).sum();
    let total: u64 = shape.sizes.iter().map(|bar| bar.bytes).sum();
    if requests == 0 {
        return None;
    }
    let plotted = format!(
        "Requests of `{}` by size ({} malloc, calloc and realloc calls, {} in all).  16-byte \
         classes up to 512 bytes, then powers of two.",
        shape.name,
        count(requests),
        bytes(total as f64)
    );
    let unit = byte_unit(shape.sizes.iter().map(|bar| bar.bytes).max().unwrap_or(0) as f64);
    let share = |bar: &SizeBar| bar.requests as f64 / requests as f64 * 100.0;
    let shares: Vec<f64> = shape.sizes.iter().map(share).collect();
    let volumes: Vec<f64> = shape.sizes.iter().map(|bar| bar.bytes as f64).collect();
    Some(TraceSizesChart {
        caption: Caption {
            synthesised: shape.synthesised.clone(),
            ..Caption::new(verdict(shape, requests, total), plotted, &READING)
        },
        up_to_bytes: shape.sizes.iter().map(|bar| bar.up_to).collect(),
        requests: SizePanel {
            axis: size_axis("requests, %".to_owned(), ("%", 1.0), &shares),
            values: shares,
            small_share: small(shape, |bar| bar.requests) / requests.max(1) as f64,
            colour: LIVE.pale(0.25),
        },
        volume: SizePanel {
            axis: size_axis(
                format!("bytes requested, {}", unit.name),
                (unit.name, unit.bytes),
                &volumes,
            ),
            values: volumes,
            small_share: small(shape, |bar| bar.bytes) / total.max(1) as f64,
            colour: LIVE,
        },
    })
}

fn size_axis(label: String, (unit, unit_size): (&str, f64), values: &[f64]) -> Axis {
    let most = values.iter().map(|value| value / unit_size).fold(0.0, f64::max);
    let scale = Scale::Linear { from: 0.0, to: (most * 1.14).max(1e-9) };
    Axis { label, unit: unit.to_owned(), unit_size, scale }
}

/// The sum over the classes up to 512 bytes.
fn small(shape: &TraceShape, of: fn(&SizeBar) -> u64) -> f64 {
    shape.sizes.iter().filter(|bar| bar.up_to <= SMALL_SIZE_BYTES).map(of).sum::<u64>() as f64
}

const READING: [&str; 4] = [
    "Up: how often a size is requested.",
    "Down: how many bytes that is.",
    "A bar that is high above and low below is many small blocks, which cost an allocator time; the \
     other way round it is few large ones, which cost memory.",
    "A small-block allocator such as pymalloc serves what lies left of the line.",
];

fn verdict(shape: &TraceShape, requests: u64, total: u64) -> String {
    let often = small(shape, |bar| bar.requests) / requests as f64;
    let volume = 1.0 - small(shape, |bar| bar.bytes) / total.max(1) as f64;
    let mut title = format!("{} of the requests are for 512 bytes or less", percent(often));
    title += &if total == 0 {
        ".".to_owned()
    } else if volume >= 0.2 && often > 0.5 {
        format!(", but {} of the bytes are requested in larger ones.", percent(volume))
    } else {
        format!(", and larger ones request {} of the bytes.", percent(volume))
    };
    if let Some((at, bar)) = shape.sizes.iter().enumerate().max_by_key(|(_, bar)| bar.requests) {
        let from = if at == 0 { 0 } else { shape.sizes[at - 1].up_to + 1 };
        title += &format!(
            "  The commonest size is {from}–{} bytes: {} of the requests.",
            bar.up_to,
            percent(bar.requests as f64 / requests as f64)
        );
    }
    title
}
