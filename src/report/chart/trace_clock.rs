//! The axis along a trace: bytes allocated so far, or calls.
//!
//! Memory is read best over the bytes allocated: busy parts of a program are wide. But a program that
//! frees most of its heap at its end allocates nothing meanwhile, so these frees would be one vertical
//! line at the right edge. Such a trace is drawn over its calls.

use serde::Serialize;

use super::axis::Axis;
use crate::report::figures::ProgramPhase;
use crate::units::byte_unit;

/// The last part of the allocation clock: what happens in it is a line of a pixel or two.
const HIDDEN_SHARE: f64 = 0.005;
/// Frees are hidden where the live bytes fall by this share of their peak in that part.
const FALL_SHARE: f64 = 0.25;

/// What the axis along a trace counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceClock {
    /// Bytes requested so far: the allocation clock.
    #[default]
    Bytes,
    /// Calls made so far.
    Calls,
}

impl TraceClock {
    /// Calls, where the allocation clock would hide the final frees. The points are bytes allocated
    /// so far and live bytes, in order.
    pub fn of(points: impl DoubleEndedIterator<Item = (u64, u64)> + Clone) -> TraceClock {
        let Some((end, left)) = points.clone().next_back() else { return TraceClock::Bytes };
        let peak = points.clone().map(|(_, live)| live).max().unwrap_or(0);
        let from = end as f64 * (1.0 - HIDDEN_SHARE);
        let most = points.rev().take_while(|(clock, _)| *clock as f64 >= from);
        let most = most.map(|(_, live)| live).max().unwrap_or(left);
        let fall = most.saturating_sub(left) as f64;
        if fall > FALL_SHARE * peak as f64 { TraceClock::Calls } else { TraceClock::Bytes }
    }

    /// The place of a mark.
    pub fn of_phase(self, phase: &ProgramPhase) -> f64 {
        match self {
            TraceClock::Bytes => phase.clock_bytes,
            TraceClock::Calls => phase.event,
        }
    }

    /// The axis from 0 to `end`, in bytes or calls.
    pub fn axis(self, end: f64) -> Axis {
        match self {
            TraceClock::Bytes => Axis::allocation_clock(byte_unit(end), end),
            TraceClock::Calls => Axis::calls("calls so far", end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frees_at_the_end_of_the_clock_are_drawn_over_calls() {
        let clock = |points: &[(u64, u64)]| TraceClock::of(points.iter().copied());
        assert_eq!(clock(&[]), TraceClock::Bytes);
        assert_eq!(clock(&[(500, 400), (1000, 900), (1001, 10)]), TraceClock::Calls);
        assert_eq!(clock(&[(500, 400), (1000, 900), (1000, 800)]), TraceClock::Bytes, "a ninth");
        assert_eq!(clock(&[(500, 900), (900, 10), (1000, 10)]), TraceClock::Bytes, "in time");
    }
}
