//! Which of the measured allocators a program should have, in a sentence.
//!
//! A choice is as fast as the fastest and holds about as little as the smallest. Where no allocator is
//! both, the sentence names the two sides of the trade.

use crate::report::figures::{BackendFigures, CallCost, ResidentFigure, TraceReport};
use crate::report::text::some;
use crate::spec::BackendSpec;
use crate::units::figure;

/// Memory within this factor of the smallest counts as equal.
const EQUAL_MEMORY: f64 = 1.1;
/// So do figures that are so many bytes apart.
const EQUAL_BYTES: f64 = 262_144.0;

/// An allocator that a program could have.
#[derive(Clone, Debug)]
struct Candidate {
    name: String,
    /// Time a call as in the tables, with its unit.
    time: String,
    time_ns: f64,
    /// Whether no candidate is faster by more than chance.
    is_fast: bool,
    /// Resident memory at the peak and at the end, bytes.
    memory_bytes: [f64; 2],
    /// The same as in the tables.
    memory: [String; 2],
}

/// The allocator to choose for the program of a trace, in a sentence or two; `None` where fewer than two
/// could be chosen, or time or memory was not measured. `end` names the moment of the end: `at the end`.
pub fn choice(trace_report: &TraceReport) -> Option<String> {
    let all = candidates(trace_report)?;
    let sentence = sentence(&all, &trace_report.end_name())?;
    let bounds: Vec<String> =
        trace_report.allocators().filter(|backend| is_bound(backend)).map(name_of).collect();
    Some(match bounds.as_slice() {
        [] => sentence,
        [bound] => format!("{sentence} {bound} reuses no memory: it is a bound, and no choice."),
        bounds => format!("{sentence} {} reuse no memory: they are bounds.", some(bounds)),
    })
}

fn name_of(backend: &BackendFigures) -> String {
    backend.name().to_owned()
}

/// Whether the backend takes nothing back, so that no program could have it for long.
fn is_bound(backend: &BackendFigures) -> bool {
    backend.spec.parse::<BackendSpec>().is_ok_and(|spec| spec.is_bound())
}

/// Those that could be chosen; `None` where one lacks a figure. Their time is that of the calls, as in the
/// table of comparisons. Where the program's first writes clearly change who leads, it is the time with
/// those: a program makes them.
fn candidates(trace_report: &TraceReport) -> Option<Vec<Candidate>> {
    let backends: Vec<&BackendFigures> =
        trace_report.allocators().filter(|backend| !is_bound(backend)).collect();
    let fastest = |cost: fn(&BackendFigures) -> Option<CallCost>| {
        let known = backends.iter().filter_map(|backend| Some((*backend, cost(backend)?)));
        known.min_by(|a, b| a.1.middle_ns.total_cmp(&b.1.middle_ns))
    };
    let (leader, _) = fastest(|backend| backend.cost)?;
    let touched = fastest(|backend| backend.first_touch).map(|(_, cost)| cost);
    let all_touched = backends.iter().all(|backend| backend.first_touch.is_some());
    let reversed = touched.filter(|best| {
        all_touched && leader.first_touch.is_some_and(|own| own.is_clearly_slower_than(best))
    });
    let candidate = |backend: &&BackendFigures| {
        let (cost, is_fast, writes) = match reversed {
            Some(best) => {
                let own = backend.first_touch?;
                (own, !own.is_clearly_slower_than(&best), " with first writes")
            }
            None => (backend.cost?, !trace_report.is_time_apart(leader, backend), ""),
        };
        let memory = &backend.memory;
        Some(Candidate {
            name: name_of(backend),
            time: format!("{} ns a call{writes}", figure(cost.middle_ns)),
            time_ns: cost.middle_ns,
            is_fast,
            memory_bytes: [memory.peak_bytes?, memory.end_bytes?],
            memory: [memory.text(ResidentFigure::Peak)?, memory.text(ResidentFigure::End)?],
        })
    };
    backends.iter().map(candidate).collect()
}

fn sentence(all: &[Candidate], end_name: &str) -> Option<String> {
    if all.len() < 2 {
        return None;
    }
    let least =
        |at: usize| all.iter().map(|one| one.memory_bytes[at]).fold(f64::INFINITY, f64::min);
    let least = [least(0), least(1)];
    let is_small = |one: &Candidate| {
        one.memory_bytes
            .iter()
            .zip(least)
            .all(|(bytes, least)| *bytes <= EQUAL_MEMORY * least || *bytes - least <= EQUAL_BYTES)
    };
    let mut both: Vec<&Candidate> = all.iter().filter(|one| one.is_fast && is_small(one)).collect();
    both.sort_by(|a, b| a.time_ns.total_cmp(&b.time_ns));
    if both.len() == all.len() {
        return Some("Any will do: none is separably faster, or holds much less.".to_owned());
    }
    if let [first, ..] = both.as_slice() {
        let names: Vec<String> = both.iter().map(|one| one.name.clone()).collect();
        let [peak, end] = &first.memory;
        return Some(if both.len() == 1 {
            format!(
                "Choose {}: none is separably faster ({}) or holds much less ({peak} at the peak, {end} \
                 {end_name}).",
                first.name, first.time
            )
        } else {
            format!("Choose {}: none is separably faster or holds much less.", some(&names))
        });
    }
    let fast = all.iter().filter(|one| one.is_fast);
    let fast = fast.min_by(|a, b| a.memory_bytes[1].total_cmp(&b.memory_bytes[1]))?;
    let total =
        |one: &Candidate| one.memory_bytes[0] / least[0] + one.memory_bytes[1] / least[1].max(1.0);
    let small = all.iter().min_by(|a, b| total(a).total_cmp(&total(b)))?;
    let side = |one: &Candidate| {
        let [peak, end] = &one.memory;
        format!("{}, {peak} at the peak, {end} {end_name}", one.time)
    };
    Some(format!(
        "It is a trade: {} for time ({}), {} for memory ({}).",
        fast.name,
        side(fast),
        small.name,
        side(small)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Peak and end in MiB.
    fn one(name: &str, time_ns: f64, is_fast: bool, peak: f64, end: f64) -> Candidate {
        Candidate {
            name: name.into(),
            time: format!("{time_ns} ns a call"),
            time_ns,
            is_fast,
            memory_bytes: [peak * 1_048_576.0, end * 1_048_576.0],
            memory: [format!("{peak} MiB"), format!("{end} MiB")],
        }
    }

    fn words(all: &[Candidate]) -> String {
        sentence(all, "at the end").unwrap()
    }

    #[test]
    fn the_fast_and_small_one_is_chosen() {
        let (slow, quick) =
            (one("malloc", 25.0, false, 100.0, 90.0), one("pymalloc", 15.0, true, 104.0, 80.0));
        assert_eq!(
            words(&[slow.clone(), quick.clone()]),
            "Choose pymalloc: none is separably faster (15 ns a call) or holds much less (104 MiB at the \
             peak, 80 MiB at the end)."
        );
        let level = one("mimalloc", 14.0, true, 105.0, 82.0);
        assert!(words(&[slow, quick, level]).starts_with("Choose mimalloc and pymalloc:"));
    }

    #[test]
    fn a_trade_has_both_sides() {
        let all =
            [one("jemalloc", 10.0, true, 200.0, 150.0), one("malloc", 20.0, false, 100.0, 90.0)];
        assert_eq!(
            words(&all),
            "It is a trade: jemalloc for time (10 ns a call, 200 MiB at the peak, 150 MiB at the end), \
             malloc for memory (20 ns a call, 100 MiB at the peak, 90 MiB at the end)."
        );
    }

    #[test]
    fn small_differences_are_none() {
        let all = [one("a", 10.0, true, 1.0, 0.1), one("b", 10.1, true, 1.2, 0.3)];
        assert_eq!(words(&all), "Any will do: none is separably faster, or holds much less.");
        assert_eq!(sentence(&all[..1], "at the end"), None);
    }
}
