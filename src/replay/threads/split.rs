//! Splits a program by thread, for free order.
//!
//! Each thread gets its own calls in their recorded order. A block that begins and ends on one
//! thread has a slot of that thread. A block that ends on another thread has a cell that is used once
//! ([`super::cells::Cells`]). So the only order between threads is from a block's birth to its end,
//! and from a block to the one that a realloc makes of it. All of it goes forward in the recorded
//! order, so threads never wait in a circle.

use crate::program::{Action, Program};
use crate::trace::Domain;

/// How the calls of a program are shared out over threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lanes {
    /// Each thread of the trace is a thread, which lives as long as in the trace.
    Recorded,
    /// The threads of the trace share so many threads.
    Threads(u32),
    /// So many threads make all calls of the program each, on blocks of their own.
    Copies(u32),
}

/// Where a block's address is while the block lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockHome {
    /// The call has no such block.
    Nowhere,
    /// A slot of the thread.
    Slot(u32),
    /// A cell, and the thread that fills it.
    Cell(u32, u32),
}

/// A call of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LaneCall {
    /// Index of the call in the trace.
    pub event: u64,
    pub action: Action,
    pub domain: Domain,
    /// Requested bytes; 0 for a free.
    pub size: usize,
    /// Requested alignment in bytes; 0 for none.
    pub alignment: u32,
    /// The block that the call ends.
    pub old: BlockHome,
    /// The block that the call begins.
    pub new: BlockHome,
}

/// The calls of one thread.
#[derive(Clone, Debug, Default)]
pub(super) struct Lane {
    pub calls: Vec<LaneCall>,
    /// Slots that its calls use.
    pub slots: usize,
    /// Slots that hold a block after its last call, with the domain of the block.
    pub live_slots: Vec<(u32, Domain)>,
    /// Slots that are free now.
    free_slots: Vec<u32>,
}

impl Lane {
    fn take_slot(&mut self) -> u32 {
        self.free_slots.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots as u32 - 1
        })
    }
}

/// A program, split by thread.
#[derive(Clone, Debug, Default)]
pub(super) struct SplitProgram {
    pub lanes: Vec<Lane>,
    /// Cells that the lanes use.
    pub cells: usize,
}

impl SplitProgram {
    /// Splits a whole program; `lane_of` has the lane of each thread of its outline, below
    /// `lanes`.
    pub fn new(program: &Program, lane_of: &[u32], lanes: usize) -> SplitProgram {
        let lane_at = lanes_of_calls(program, lane_of);
        let crosses = crossing_births(program, &lane_at);
        let (mut cell_of, cells) = first_cells(&lane_at, &crosses, lanes);
        let mut split = vec![Lane::default(); lanes];
        let mut held = vec![(BlockHome::Nowhere, Domain::Raw, 0); program.slots()];
        for (index, instruction) in program.instructions().iter().enumerate() {
            let (action, lane) = (instruction.action(), lane_at[index]);
            let place = &mut held[instruction.slot()];
            let old = if instruction.ends_a_block() { place.0 } else { BlockHome::Nowhere };
            if let BlockHome::Slot(slot) = old {
                split[lane as usize].free_slots.push(slot);
            }
            let new = if action == Action::Free {
                BlockHome::Nowhere
            } else if crosses[index] {
                let cell = cell_of[lane as usize];
                cell_of[lane as usize] += 1;
                BlockHome::Cell(cell, lane)
            } else {
                BlockHome::Slot(split[lane as usize].take_slot())
            };
            *place = (new, instruction.domain(), lane);
            let size = if action == Action::Free { 0 } else { program.size(index) };
            split[lane as usize].calls.push(LaneCall {
                event: index as u64,
                action,
                domain: instruction.domain(),
                size,
                alignment: program.alignment(index) as u32,
                old,
                new,
            });
        }
        // A block that lives to the end changes no thread, so it has a slot.
        for (place, domain, lane) in held {
            if let BlockHome::Slot(slot) = place {
                split[lane as usize].live_slots.push((slot, domain));
            }
        }
        SplitProgram { lanes: split, cells }
    }
}

/// The lane of each call.
fn lanes_of_calls(program: &Program, lane_of: &[u32]) -> Vec<u32> {
    let calls = program.instructions().len();
    let of = |thread: u32| lane_of.get(thread as usize).copied().unwrap_or(0);
    let mut lanes = Vec::with_capacity(calls);
    for run in program.thread_runs() {
        lanes.resize(run.until, of(run.thread));
    }
    lanes.resize(calls, of(0));
    lanes
}

/// Which calls begin a block that ends on another lane.
fn crossing_births(program: &Program, lane_at: &[u32]) -> Vec<bool> {
    let mut crosses = vec![false; lane_at.len()];
    let mut begun = vec![usize::MAX; program.slots()];
    for (index, instruction) in program.instructions().iter().enumerate() {
        let birth = &mut begun[instruction.slot()];
        if instruction.ends_a_block() && *birth != usize::MAX {
            crosses[*birth] = lane_at[*birth] != lane_at[index];
        }
        *birth = if instruction.action() == Action::Free { usize::MAX } else { index };
    }
    crosses
}

/// The first cell of each lane, and the number of all cells. Cells of one lane are adjacent, so that
/// lanes seldom write to the same cache line.
fn first_cells(lane_at: &[u32], crosses: &[bool], lanes: usize) -> (Vec<u32>, usize) {
    let mut counts = vec![0; lanes];
    for (lane, _) in lane_at.iter().zip(crosses).filter(|(_, crosses)| **crosses) {
        counts[*lane as usize] += 1;
    }
    let mut next = 0;
    for first in &mut counts {
        let count = std::mem::replace(first, next);
        next += count;
    }
    (counts, next as usize)
}

/// Shares the threads out over so many lanes: the one with the most calls first, each to the lane
/// with the fewest calls. Lanes with the same number of calls are taken in their order.
pub(super) fn share_out(calls: &[u64], lanes: usize) -> Vec<u32> {
    let mut order: Vec<usize> = (0..calls.len()).collect();
    order.sort_by_key(|&thread| std::cmp::Reverse(calls[thread]));
    let mut loads = vec![0_u64; lanes.max(1)];
    let mut lane_of = vec![0; calls.len()];
    for thread in order {
        let lane = (0..loads.len()).min_by_key(|&lane| loads[lane]).unwrap_or(0);
        loads[lane] += calls[thread];
        lane_of[thread] = lane as u32;
    }
    lane_of
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Draw, FixedRows};
    use crate::trace::{Op, Row};
    use std::num::NonZeroU64;

    /// Random calls of some threads: mallocs, reallocs and frees, also of blocks of other threads.
    fn random(seed: u64, threads: u64, events: u64) -> Program {
        let mut draw = Draw(seed);
        let mut below = |limit: u64| draw.below(limit);
        let (mut rows, mut live): (Vec<Row>, Vec<usize>) = (Vec::new(), Vec::new());
        for event in 0..events {
            let thread = 1 + below(threads) as u32;
            let what = below(10);
            let ended = (!live.is_empty() && what < 6)
                .then(|| live.swap_remove(below(live.len() as u64) as usize));
            if let Some(at) = ended {
                let begun = &mut rows[at];
                begun.lifetime = NonZeroU64::new(event - begun.event);
                begun.end_thread = (thread != begun.thread).then_some(thread);
                if what < 4 {
                    continue;
                }
            }
            let op = if ended.is_some() { Op::Realloc } else { Op::Malloc };
            let mut row = Row::new(event, op, 1 + below(100), None);
            row.thread = thread;
            live.push(rows.len());
            rows.push(row);
        }
        FixedRows::compiled(&rows)
    }

    /// The oracle: a walk in recorded order in which each place holds the event of its block. Each
    /// end finds the block that the program ends there, each cell is filled once and by the lane
    /// that it names, and a slot is only used by its own lane.
    #[test]
    fn every_end_finds_its_block() {
        for (seed, threads, lanes) in [(1, 1, 1), (2, 2, 2), (3, 7, 7), (4, 9, 2), (5, 40, 3)] {
            let program = random(seed, threads, 5000);
            let calls: Vec<u64> =
                program.outline().threads.iter().map(|thread| thread.calls).collect();
            let lane_of = if calls.is_empty() { vec![0] } else { share_out(&calls, lanes) };
            let split = SplitProgram::new(&program, &lane_of, lanes);
            let mut at = vec![0; lanes];
            let mut cells = vec![None; split.cells];
            let mut slots: Vec<Vec<Option<usize>>> =
                split.lanes.iter().map(|lane| vec![None; lane.slots]).collect();
            let mut held = vec![None; program.slots()];
            for (index, instruction) in program.instructions().iter().enumerate() {
                let lane = lane_of[program.thread_of(index) as usize] as usize;
                let call = split.lanes[lane].calls[at[lane]];
                at[lane] += 1;
                assert_eq!((call.event, call.action), (index as u64, instruction.action()));
                let wanted: Option<usize> = held[instruction.slot()].take();
                let found = match call.old {
                    BlockHome::Nowhere => None,
                    BlockHome::Slot(slot) => slots[lane][slot as usize].take(),
                    BlockHome::Cell(cell, by) => {
                        let (block, filled_by) = cells[cell as usize].unwrap();
                        assert!(filled_by == by as usize && by as usize != lane);
                        Some(block)
                    }
                };
                assert_eq!(found, wanted, "call {index}");
                if call.action != Action::Free {
                    held[instruction.slot()] = Some(index);
                    match call.new {
                        BlockHome::Nowhere => panic!("call {index} begins a block"),
                        BlockHome::Slot(slot) => {
                            assert!(slots[lane][slot as usize].replace(index).is_none());
                        }
                        BlockHome::Cell(cell, by) => {
                            assert_eq!(by as usize, lane);
                            assert!(cells[cell as usize].replace((index, lane)).is_none());
                        }
                    }
                }
            }
            let live: usize = split.lanes.iter().map(|lane| lane.live_slots.len()).sum();
            assert_eq!(live, held.iter().flatten().count());
            assert!(split.cells > 0 || threads == 1);
        }
    }

    #[test]
    fn threads_are_shared_out_by_their_calls() {
        assert_eq!(share_out(&[5, 90, 40, 50], 2), [0, 0, 1, 1]);
        assert_eq!(share_out(&[1, 1], 5), [0, 1]);
    }
}
