//! The window of the program's own time in which the allocator took most. Each call's own time is
//! inserted where the trace says that the call was made, and the program's time stands still for so
//! long. The rest of a window is the mutator's utilisation of Cheng and Blelloch, "A parallel,
//! real-time garbage collector", PLDI 2001.

use std::io::{self, Read};

use crate::program::Times;
use crate::results::Metric;
use crate::units::bucket_nanoseconds;

/// For each length of window the metrics of its allocator time and of the call with which it
/// begins, and the length in ns.
pub const METRICS: [([Metric; 2], f64); 3] = [
    ([Metric::Window1msNanoseconds, Metric::Window1msEvent], 1e6),
    ([Metric::Window10msNanoseconds, Metric::Window10msEvent], 1e7),
    ([Metric::Window100msNanoseconds, Metric::Window100msEvent], 1e8),
];

/// A window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Time in the allocator in it.
    pub nanoseconds: f64,
    /// The call with which it begins.
    pub event: usize,
}

/// The calls in order, each with the time at which it begins and the time that it takes. Between
/// two marks of the trace calls are spread evenly.
struct Timeline<'a, R> {
    marks: &'a [(u64, u64)],
    /// The marks around the next call: the one before it, and the place of the one after.
    before: (u64, u64),
    after: usize,
    /// The allocator's time so far.
    inserted: f64,
    next: usize,
    /// What the next call takes; `None` after the last.
    cost: Option<f64>,
    medians: R,
    costs: &'a [f64; 256],
}

impl<'a, R: Read> Timeline<'a, R> {
    fn new(times: &'a Times, medians: R, costs: &'a [f64; 256]) -> io::Result<Timeline<'a, R>> {
        let marks = times.marks();
        let mut timeline = Timeline {
            marks,
            before: (0, 0),
            after: 0,
            inserted: 0.0,
            next: 0,
            cost: None,
            medians,
            costs,
        };
        timeline.cost = timeline.read()?;
        Ok(timeline)
    }

    fn read(&mut self) -> io::Result<Option<f64>> {
        let mut bucket = [0];
        let is_one = self.medians.read(&mut bucket)? > 0;
        Ok(is_one.then(|| self.costs[usize::from(bucket[0])]))
    }

    /// When the next call begins.
    fn start(&mut self) -> f64 {
        while let Some(mark) = self.marks.get(self.after)
            && mark.0 <= self.next as u64
        {
            self.before = *mark;
            self.after += 1;
        }
        let program_ns = match self.marks.get(self.after) {
            Some(after) => {
                let share =
                    (self.next as u64 - self.before.0) as f64 / (after.0 - self.before.0) as f64;
                self.before.1 as f64 + (after.1 - self.before.1) as f64 * share
            }
            None => self.before.1 as f64,
        };
        program_ns + self.inserted
    }

    fn step(&mut self) -> io::Result<()> {
        self.inserted += self.cost.unwrap_or(0.0);
        self.next += 1;
        self.cost = self.read()?;
        Ok(())
    }
}

/// The worst window of `length_ns`, for calls whose times are medians, as buckets, less the clock's
/// `pair_ns`; they are read twice side by side. `None` where the trace has no times, or is shorter
/// than the window.
///
/// A window that begins with a call is enough to look at: as it moves on from one that is worst,
/// its time falls only when its left edge enters a call.
///
/// # Errors
/// When the medians cannot be read.
pub fn worst<R: Read>(
    times: &Times,
    medians: [R; 2],
    pair_ns: f64,
    length_ns: f64,
) -> io::Result<Option<Window>> {
    if times.is_empty() {
        return Ok(None);
    }
    let costs: [f64; 256] =
        std::array::from_fn(|bucket| bucket_nanoseconds(bucket as u8) - pair_ns);
    let [one, other] = medians;
    let (mut left, mut right) =
        (Timeline::new(times, one, &costs)?, Timeline::new(times, other, &costs)?);
    let mut worst = Window { nanoseconds: 0.0, event: 0 };
    while left.cost.is_some() {
        let from = left.start();
        // Calls that end within the window; they may end before its first does, by what the clock's
        // pair varies.
        while let Some(cost) = right.cost
            && right.start() + cost <= from + length_ns
        {
            right.step()?;
        }
        let mut nanoseconds = right.inserted - left.inserted;
        if right.cost.is_some() {
            nanoseconds += (from + length_ns - right.start()).max(0.0);
        }
        if nanoseconds > worst.nanoseconds {
            worst = Window { nanoseconds, event: left.next };
        }
        if right.next == left.next {
            right.step()?;
        }
        left.step()?;
    }
    Ok((times.last_ns() as f64 + left.inserted >= length_ns).then_some(worst))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::bucket;
    use proptest::prelude::*;

    fn times(marks: &[(u64, u64)]) -> Times {
        let mut times = Times::default();
        for (event, time_ns) in marks {
            times.see(*event, *time_ns);
        }
        times
    }

    #[test]
    fn a_stall_fills_a_window_shorter_than_itself() {
        // A call each 0.1 ms; the hundredth takes about 3 ms, the others about 1 µs.
        let marks: Vec<(u64, u64)> = (0..400).map(|k| (k, k * 100_000)).collect();
        let mut medians = vec![bucket(1000.0); 400];
        medians[100] = bucket(3e6);
        let own = bucket_nanoseconds(medians[100]);
        let small = bucket_nanoseconds(medians[0]);
        let find =
            |length| worst(&times(&marks), [medians.as_slice(); 2], 0.0, length).unwrap().unwrap();
        assert_eq!(find(1e6), Window { nanoseconds: 1e6, event: 100 });
        let ten = find(1e7);
        // 3 ms in one call, and one of the others in each 101 µs of the rest.
        let expected = own + small * ((1e7 - own) / (1e5 + small));
        assert!((ten.nanoseconds - expected).abs() < 2.0 * small, "{ten:?} {expected}");
        assert!(worst(&times(&marks), [medians.as_slice(); 2], 0.0, 1e9).unwrap().is_none());
        assert!(worst(&Times::default(), [medians.as_slice(); 2], 0.0, 1e6).unwrap().is_none());
    }

    /// Time in calls within a window, call by call.
    fn inside(calls: &[(f64, f64)], from: f64, length: f64) -> f64 {
        calls
            .iter()
            .map(|(start, cost)| ((start + cost).min(from + length) - start.max(from)).max(0.0))
            .sum()
    }

    proptest! {
        /// No window is worse, wherever it begins: compared with windows at both edges of every
        /// call and between.
        #[test]
        fn no_window_is_worse(
            calls in prop::collection::vec(
                (0_u64..90_000, prop_oneof![3 => 40..90_u8, 1 => 90..140_u8]),
                1..60,
            ),
            length in prop::sample::select(&[30_000.0, 200_000.0, 1e6][..]),
        ) {
            let mut clock = 0;
            let mut marks = Vec::new();
            for (at, (gap, _)) in calls.iter().enumerate() {
                clock += gap + 20_000; // no nearer than two marks are
                marks.push((at as u64, clock));
            }
            let medians: Vec<u8> = calls.iter().map(|call| call.1).collect();
            let mut inserted = 0.0;
            let placed: Vec<(f64, f64)> = marks.iter().zip(&medians).map(|(mark, median)| {
                let cost = bucket_nanoseconds(*median);
                inserted += cost;
                (mark.1 as f64 + inserted - cost, cost)
            }).collect();
            let mut most: f64 = 0.0;
            for (start, cost) in &placed {
                let end = start + cost;
                for from in [
                    *start, end, start - length, end - length, start + cost / 3.0,
                    start - length / 2.0,
                ] {
                    most = most.max(inside(&placed, from, length));
                }
            }
            match worst(&times(&marks), [medians.as_slice(); 2], 0.0, length).unwrap() {
                Some(found) => {
                    prop_assert!((found.nanoseconds - most).abs() < 1.0, "{found:?} {most}");
                    let own = inside(&placed, placed[found.event].0, length);
                    prop_assert!((found.nanoseconds - own).abs() < 1.0);
                }
                None => prop_assert!(clock as f64 + inserted < length),
            }
        }
    }
}
