//! The axis of a chart: what it shows, in which unit, and over which range.

use serde::Serialize;

use super::scale::Scale;
use crate::units::ByteUnit;

/// An axis. Data of a chart are in base units (bytes, nanoseconds, calls, shares); the numbers on
/// the axis and its scale are in `unit`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Axis {
    /// What it shows, with its unit, as a reader sees it.
    pub label: String,
    /// The unit of its numbers.
    pub unit: String,
    /// Base units in one of `unit`.
    pub unit_size: f64,
    /// Its range, in `unit`.
    pub scale: Scale,
}

impl Axis {
    /// An axis in base units.
    pub fn plain(label: &str, unit: &str, scale: Scale) -> Axis {
        Axis { label: label.to_owned(), unit: unit.to_owned(), unit_size: 1.0, scale }
    }

    /// A linear axis from 0 to `most` bytes; `label` follows or precedes the name of the unit.
    pub fn bytes(label: String, unit: ByteUnit, most: f64) -> Axis {
        let scale = Scale::Linear { from: 0.0, to: most / unit.bytes };
        Axis { label, unit: unit.name.to_owned(), unit_size: unit.bytes, scale }
    }

    /// The allocation clock from 0 to `end` bytes.
    pub fn allocation_clock(unit: ByteUnit, end: f64) -> Axis {
        let label = format!("allocation clock, {} allocated so far", unit.name);
        Axis::bytes(label, unit, end)
    }

    /// Calls from 0 to `calls`. `label` says which; the unit of large numbers follows it.
    pub fn calls(label: &str, calls: f64) -> Axis {
        let calls = calls.max(1.0);
        let (divisor, unit) = match calls {
            calls if calls >= 2e9 => (1e9, ", billions"),
            calls if calls >= 2e6 => (1e6, ", millions"),
            calls if calls >= 2e4 => (1e3, ", thousands"),
            _ => (1.0, ""),
        };
        Axis {
            label: format!("{label}{unit}"),
            unit: "calls".to_owned(),
            unit_size: divisor,
            scale: Scale::Linear { from: 0.0, to: calls / divisor },
        }
    }

    /// Service times of calls.
    pub fn service_time(scale: Scale) -> Axis {
        Axis::plain("service time of a call, clock pair included", "ns", scale)
    }

    /// A value in the unit of the axis.
    pub fn in_unit(&self, value: f64) -> f64 {
        value / self.unit_size
    }

    /// The last value, in the unit of the axis.
    pub fn end(&self) -> f64 {
        self.scale.end()
    }
}
