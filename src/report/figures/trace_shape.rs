//! The figures of a trace by itself, for the charts without backends. This module does not know how
//! traces are read: the caller fills these in.

use serde::Serialize;

use super::trace_threads::TraceThreads;
use crate::results::EndPoint;

/// A class of request sizes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SizeBar {
    /// The largest size in it, in bytes.
    pub up_to: u64,
    /// Requests.
    pub requests: u64,
    /// Bytes requested.
    pub bytes: u64,
}

/// Blocks whose age lies in one bin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AgeBar {
    /// Smallest age in it, in bytes of the allocation clock.
    pub from: u64,
    /// Blocks that ended at that age.
    pub ended: u64,
    /// Blocks that had reached that age when the trace ended.
    pub survived: u64,
}

/// The ages of the blocks of some sizes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgeCurve {
    /// Which sizes, as a short text.
    pub label: String,
    /// By age, rising.
    pub bars: Vec<AgeBar>,
}

/// A segment of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LiveSegment {
    /// Calls up to its end.
    pub event: u64,
    /// Allocation clock at its end, in bytes.
    pub clock: u64,
    /// Fewest and most live bytes in it.
    pub bytes: (u64, u64),
    /// Fewest and most live blocks in it.
    pub blocks: (u64, u64),
}

/// The figures of a trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceShape {
    /// The trace's name.
    pub name: String,
    /// A note about a trace that was not recorded: [`crate::report::synthesised`].
    pub synthesised: Option<String>,
    /// Marks of the program: the allocation clock in bytes, and the name.
    pub marks: Vec<(u64, String)>,
    /// Calls, frees included.
    pub calls: u64,
    /// Bytes requested in all.
    pub requested: u64,
    /// Most live bytes.
    pub live_peak: u64,
    /// Live bytes at the end.
    pub live_end: u64,
    /// The moment that counts as the end; `None` for the last call.
    pub end: Option<EndPoint>,
    /// By class, rising; the classes are drawn equally wide.
    pub sizes: Vec<SizeBar>,
    /// All blocks first, then by size.
    pub ages: Vec<AgeCurve>,
    /// Bytes × bytes of age by octave of size (rows) and of age (columns).
    pub weights: Vec<Vec<f64>>,
    /// Over the trace, in order.
    pub live: Vec<LiveSegment>,
    /// The threads; `None` for a trace of one.
    pub threads: Option<TraceThreads>,
}

/// A curve as steps: (age in bytes, share of blocks still live), and the ages at which blocks leave
/// the count unended.
pub type Survival = (Vec<(f64, f64)>, Vec<f64>);

/// The share of blocks that outlive an age.
///
/// Blocks still live at the end of the trace are censored: they count up to the age that they
/// reached. This is the life-table estimate of Cutler and Ederer, "Maximum utilization of the life
/// table method", Journal of Chronic Diseases 8 (1958). In the bin in which it leaves, a censored
/// block is half at risk.
pub fn survival(bars: &[AgeBar]) -> Survival {
    let mut at_risk = bars.iter().map(|bar| (bar.ended + bar.survived) as f64).sum::<f64>();
    let mut share = 1.0;
    let mut steps = vec![];
    let mut censored = vec![];
    for bar in bars.iter().filter(|bar| bar.ended + bar.survived > 0) {
        steps.push((bar.from as f64, share));
        let risk = at_risk - bar.survived as f64 / 2.0;
        if risk > 0.0 {
            share *= (1.0 - bar.ended as f64 / risk).max(0.0);
        }
        at_risk -= (bar.ended + bar.survived) as f64;
        if bar.survived > 0 {
            censored.push(bar.from as f64);
        }
        steps.push((bar.from as f64, share));
    }
    (steps, censored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survivors_are_censored_not_dead() {
        let bar = |from, ended, survived| AgeBar { from, ended, survived };
        let (steps, censored) =
            survival(&[bar(0, 5, 0), bar(10, 0, 0), bar(20, 2, 2), bar(40, 1, 0)]);
        let shares: Vec<f64> = steps.iter().map(|step| step.1).collect();
        // By hand: 5 of 10 end; then 2 of (5 - 2/2); then 1 of 1.
        assert_eq!(shares, [1.0, 0.5, 0.5, 0.25, 0.25, 0.0]);
        assert_eq!(censored, [20.0]);
        assert!(survival(&[]).0.is_empty());
    }
}
