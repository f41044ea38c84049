//! Iterations: the same program several times in one process, in segments that alternate with
//! another process.
//!
//! The regression check compares two sides that are alive together. Each side replays a segment
//! when it gets a time slice (`bench/pairs.rs`). One untimed iteration precedes the first segment,
//! so both sides begin on a heap in use. Between two iterations every block is freed; that is not
//! timed either.

use std::ffi::c_void;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::calls::{Slots, Tables, replay};
use super::clock::Clock;
use super::error::ReplayError;
use super::probe::Nothing;
use super::threads::RecordedOrder;
use super::ticks::Ticks;
use super::usage::{processor_ns, processor_pair_ns};
use crate::backends::Backend;
use crate::program::{Action, Program};
use crate::trace::Domain;
use crate::units::{bucket, bucket_nanoseconds};

/// The division of iterations into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iterations {
    /// Timed iterations.
    pub iterations: usize,
    /// Segments of an iteration; 1 if a segment holds whole iterations.
    pub segments: usize,
    /// Iterations of a segment, if `segments` is 1.
    pub iterations_in_segment: usize,
}

/// The times of the segments in ns, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IterationTimes {
    /// Processor time of this thread.
    pub processor_ns: Vec<u64>,
    /// Wall time of the same segments.
    pub wall_ns: Vec<u64>,
}

/// The blocks that an iteration leaves live: slot, kind, domain.
struct Leftovers(Vec<(usize, usize, Domain)>);

impl Leftovers {
    /// The blocks that are live after the last call. They are the same in every iteration.
    fn of(program: &Program) -> Leftovers {
        let mut live = vec![None; program.slots()];
        for (index, instruction) in program.instructions().iter().enumerate() {
            let is_live = instruction.action() != Action::Free;
            live[instruction.slot()] = is_live.then(|| (program.kind(index), instruction.domain()));
        }
        let leftover = |(slot, owner): (usize, Option<(usize, Domain)>)| {
            let (kind, domain) = owner?;
            Some((slot, kind, domain))
        };
        Leftovers(live.into_iter().enumerate().filter_map(leftover).collect())
    }

    #[expect(unsafe_code, reason = "calls free through a C function pointer")]
    fn free(&self, tables: &Tables, slots: &mut Slots) {
        for &(slot, kind, domain) in &self.0 {
            let (table, block): (_, *mut c_void) = (tables.get(kind, domain), slots.block(slot));
            // SAFETY: the iteration is over, so the slot holds a live block of this backend; the
            // slot is emptied at once.
            unsafe { (table.free)(table.ctx, block) };
            slots.clear(slot);
        }
        slots.restart();
    }
}

/// Calls that an iteration makes of the backend, with the frees of the blocks that it leaves live.
pub fn calls_of_an_iteration(program: &Program) -> u64 {
    (program.instructions().len() + Leftovers::of(program).0.len()) as u64
}

/// Replays once untimed, then as `plan` divides it. The function calls `await_time_slice` before
/// each segment.
///
/// # Errors
/// The backend gives no memory, or `await_time_slice` reports that no further time slice will come.
pub fn iterations(
    program: &Program,
    backend: &dyn Backend,
    plan: Iterations,
    mut await_time_slice: impl FnMut() -> Result<(), ReplayError>,
) -> Result<IterationTimes, ReplayError> {
    let calls = program.instructions().len();
    let leftovers = Leftovers::of(program);
    let tables = Tables::new(program, backend);
    let mut slots = Slots::new(program);
    let mut order = RecordedOrder::new(program.outline(), backend);
    let mut found = IterationTimes::default();
    let pair_ns = if order.is_one_run() { 0 } else { processor_pair_ns() };
    order.run(program, 0..calls, |run| replay(program, &tables, &mut slots, run, &mut Nothing))?;
    order.restart();
    leftovers.free(&tables, &mut slots);
    let segments = plan.segments.max(1);
    let (mut processor, mut wall) = (0, 0);
    for iteration in 0..plan.iterations {
        for segment in 0..segments {
            if segments > 1 || iteration % plan.iterations_in_segment.max(1) == 0 {
                await_time_slice()?;
                (processor, wall) = (0, 0);
            }
            let range = calls * segment / segments..calls * (segment + 1) / segments;
            order.run(program, range, |run| {
                let (mark, began) = (processor_ns(), Instant::now());
                replay(program, &tables, &mut slots, run, &mut Nothing)?;
                wall += began.elapsed().as_nanos() as u64;
                processor += (processor_ns() - mark).saturating_sub(pair_ns);
                Ok(())
            })?;
            if segments > 1 || (iteration + 1) % plan.iterations_in_segment.max(1) == 0 {
                found.processor_ns.push(processor);
                found.wall_ns.push(wall);
            }
        }
        order.restart();
        leftovers.free(&tables, &mut slots);
    }
    Ok(found)
}

/// Iterations that give a call's own time, which is the mean of the quicker half of them. A long
/// program has many slow calls, so fewer iterations suffice.
fn tail_iteration_count(calls: usize) -> usize {
    match calls {
        0..=0x8_0000 => 8,
        0x8_0001..=0x10_0000 => 4,
        _ => 2,
    }
}

/// Times each call in [`tail_iteration_count`] iterations of so many segments. `take` gets the
/// number of each iteration and the ticks of its calls.
fn tail_iterations(
    program: &Program,
    backend: &dyn Backend,
    clock: &Clock,
    segments: usize,
    mut await_time_slice: impl FnMut() -> Result<(), ReplayError>,
    mut take: impl FnMut(usize, &[u32]),
) -> Result<(), ReplayError> {
    let calls = program.instructions().len();
    let leftovers = Leftovers::of(program);
    let tables = Tables::new(program, backend);
    let mut slots = Slots::new(program);
    let mut order = RecordedOrder::new(program.outline(), backend);
    let mut probe = Ticks::new(clock, calls);
    // A warm-up.
    order.run(program, 0..calls, |run| replay(program, &tables, &mut slots, run, &mut Nothing))?;
    order.restart();
    leftovers.free(&tables, &mut slots);
    for iteration in 0..tail_iteration_count(calls) {
        probe.begin(calls);
        for segment in 0..segments.max(1) {
            await_time_slice()?;
            let range = calls * segment / segments.max(1)..calls * (segment + 1) / segments.max(1);
            order
                .run(program, range, |run| replay(program, &tables, &mut slots, run, &mut probe))?;
        }
        take(iteration, probe.ticks());
        order.restart();
        leftovers.free(&tables, &mut slots);
    }
    Ok(())
}

/// The mean of the lower half.
fn mean_of_lower_half(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = (values.len() / 2).max(1);
    values[..half].iter().sum::<f64>() / half as f64
}

/// The own time of each call in ns, to 9 %, in order.
///
/// # Errors
/// As [`iterations`].
pub fn call_times(
    program: &Program,
    backend: &dyn Backend,
    clock: &Clock,
    segments: usize,
    await_time_slice: impl FnMut() -> Result<(), ReplayError>,
) -> Result<Vec<f32>, ReplayError> {
    let calls = program.instructions().len();
    // One byte for each call and iteration: a long trace must fit.
    let iterations = tail_iteration_count(calls);
    let mut buckets = vec![0_u8; calls * iterations];
    tail_iterations(program, backend, clock, segments, await_time_slice, |iteration, ticks| {
        for (call, &ticks) in ticks.iter().enumerate() {
            buckets[call * iterations + iteration] = bucket(clock.nanoseconds(ticks.into()));
        }
    })?;
    let own = |buckets: &[u8]| {
        let mut times: Vec<f64> =
            buckets.iter().map(|bucket| bucket_nanoseconds(*bucket)).collect();
        mean_of_lower_half(&mut times) as f32
    };
    Ok(buckets.chunks_exact(iterations).map(own).collect())
}

/// The mean of the own times of the `chosen` calls, in ns. `chosen` are indices of calls,
/// ascending.
///
/// # Errors
/// As [`iterations`].
pub fn tail(
    program: &Program,
    backend: &dyn Backend,
    clock: &Clock,
    segments: usize,
    chosen: &[u32],
    await_time_slice: impl FnMut() -> Result<(), ReplayError>,
) -> Result<f64, ReplayError> {
    let mut times = vec![Vec::new(); chosen.len()];
    tail_iterations(program, backend, clock, segments, await_time_slice, |_, ticks| {
        for (times, &call) in times.iter_mut().zip(chosen) {
            times.push(clock.nanoseconds(ticks.get(call as usize).copied().unwrap_or(0).into()));
        }
    })?;
    let sum: f64 = times.iter_mut().map(|times| mean_of_lower_half(times)).sum();
    Ok(sum / chosen.len().max(1) as f64)
}
