//! Differences with their sign, as the tables and sentences of `live` have them.

use crate::units;

/// `+1.2` or `−29`.
pub(super) fn signed(value: f64) -> String {
    let sign = if value < 0.0 { "−" } else { "+" };
    format!("{sign}{}", units::figure(value.abs()))
}

/// `+1.2 ms`.
pub(super) fn signed_time(ns: f64) -> String {
    let sign = if ns < 0.0 { "−" } else { "+" };
    format!("{sign}{}", units::nanoseconds(ns.abs()))
}
