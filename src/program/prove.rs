//! Proves the invariants of a program that another process wrote, part by part, and derives its
//! profile a second time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::compiled::{Program, ThreadRun, WideRequest};
use super::instruction::{Action, Instruction};
use super::kinds;
use super::outline::{Outline, Profile};
use crate::trace::{ALIGNMENT_LIMIT_BYTES, Domain, SIZE_LIMIT_BYTES};

/// The state after the parts that were walked.
pub(super) struct Prover {
    outline: Arc<Outline>,
    /// By slot: its block's size, domain and kind.
    held: Vec<Option<(u64, Domain, u32)>>,
    calls: u64,
    live_bytes: u64,
    live_blocks: u64,
    profile: Profile,
}

impl Prover {
    /// Before the first call no slot is full.
    pub fn new(outline: &Arc<Outline>) -> Prover {
        Prover {
            outline: Arc::clone(outline),
            held: vec![None; outline.slots],
            calls: 0,
            live_bytes: 0,
            live_blocks: 0,
            profile: Profile::default(),
        }
    }

    /// Calls walked so far.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Walks the part that comes next. After an error nothing is proved any more.
    pub fn part(&mut self, part: &Program) -> Result<(), &'static str> {
        if part.first != self.calls || !Arc::ptr_eq(&part.outline, &self.outline) {
            return Err("a part that does not come next");
        }
        self.thread_runs(part)?;
        for (index, instruction) in part.instructions.iter().enumerate() {
            if !instruction.is_one() {
                return Err("no instruction where one should be");
            }
            let place = self.held.get_mut(instruction.slot()).ok_or("a slot out of range")?;
            let action = instruction.action();
            self.profile.calls[action as usize] += 1;
            match (instruction.ends_a_block(), place.take()) {
                (true, Some((_, domain, _)))
                    if !domain.shares_blocks_with(instruction.domain()) =>
                {
                    return Err("a block that ends in another domain than its own");
                }
                (true, Some((.., kind)))
                    if action == Action::Free && kind as usize != part.kind(index) =>
                {
                    return Err("a block that ends as another kind than its own");
                }
                (true, Some((size, ..))) => {
                    self.live_bytes = self.live_bytes.wrapping_sub(size);
                    self.live_blocks -= 1;
                }
                (false, None) => {}
                _ => {
                    return Err(
                        "a slot that is full where it should be empty, or empty where it should be full",
                    );
                }
            }
            if action != Action::Free {
                let size = part.size(index) as u64;
                if size > SIZE_LIMIT_BYTES {
                    return Err("a size over the limit");
                }
                let alignment = part.alignment(index) as u64;
                let is_sound = alignment == 0
                    || action == Action::Malloc
                        && alignment.is_power_of_two()
                        && alignment <= ALIGNMENT_LIMIT_BYTES;
                if !is_sound {
                    return Err("an alignment that is no power of two, or not of a malloc");
                }
                let kind = part.kind(index) as u32;
                if !kinds::fits(&self.outline.kinds, kind, size, instruction.domain()) {
                    return Err("a block whose kind is not its own");
                }
                *place = Some((size, instruction.domain(), kind));
                let requested = &mut self.profile.requested_bytes[action as usize];
                *requested = requested.saturating_add(size);
                self.live_bytes = self.live_bytes.wrapping_add(size);
                self.live_blocks += 1;
                if self.live_bytes > self.profile.live_peak_bytes {
                    self.profile.live_peak_bytes = self.live_bytes;
                    self.profile.live_peak_event = self.calls + index as u64;
                }
                self.profile.live_peak_blocks = self.profile.live_peak_blocks.max(self.live_blocks);
            }
        }
        self.calls += part.instructions.len() as u64;
        Ok(())
    }

    /// Proves that the runs of threads cover the calls, name threads of the outline, and lie between
    /// the first and the last call of their thread: a replay ends a thread after its last call.
    fn thread_runs(&self, part: &Program) -> Result<(), &'static str> {
        let threads = &self.outline.threads;
        let calls = part.instructions.len();
        let one = [ThreadRun { until: calls, thread: 0 }];
        let runs = match part.thread_runs.as_slice() {
            [] if threads.is_empty() => return Ok(()),
            [] => &one,
            runs => runs,
        };
        let mut before = 0;
        for run in runs {
            let thread = threads.get(run.thread as usize).filter(|_| run.until > before);
            let thread = thread.ok_or("a run of an unknown thread, or out of order")?;
            let (first, last) = (self.calls + before as u64, self.calls + run.until as u64 - 1);
            if thread.calls == 0 || first < thread.first_call || last > thread.last_call {
                return Err("a call of a thread that has not begun, or has ended");
            }
            before = run.until;
        }
        if before == calls { Ok(()) } else { Err("runs of threads that do not cover the calls") }
    }

    /// What the parts requested.
    pub fn finish(&self) -> Profile {
        Profile {
            live_end_bytes: self.live_bytes,
            live_end_blocks: self.live_blocks,
            ..self.profile.clone()
        }
    }
}

impl Program {
    /// A whole program of these instructions, proved, with the profile that they have.
    pub(super) fn proved(
        instructions: Vec<Instruction>,
        wide: BTreeMap<usize, WideRequest>,
        kind_of: Vec<u32>,
        thread_runs: Vec<ThreadRun>,
        outline: Outline,
    ) -> Result<Program, &'static str> {
        let outline = Arc::new(outline);
        let (first, request_sites) = (0, vec![]);
        let mut program =
            Program { outline, first, instructions, wide, kind_of, thread_runs, request_sites };
        let mut prover = Prover::new(&program.outline);
        prover.part(&program)?;
        let profile = prover.finish();
        let calls = program.instructions.len() as u64;
        program.outline = Arc::new(Outline { profile, calls, ..(*program.outline).clone() });
        Ok(program)
    }
}
