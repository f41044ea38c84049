//! The first calls of a program as a program of its own: what a trace requests up to a moment.

use std::collections::BTreeMap;

use super::compiled::{Program, ThreadRun};
use super::error::ProgramError;
use super::outline::{Outline, ProgramThread};

impl Program {
    /// The program of the first `calls` calls. Slots and requests have the same numbers, so the
    /// allocation sites of the whole program are those of the new one. Blocks that are live at the end
    /// of these calls stay so.
    ///
    /// # Errors
    /// When there are no such calls, or the program is an outline.
    pub fn beginning(&self, calls: u64) -> Result<Program, ProgramError> {
        let most = self.instructions.len();
        let length = usize::try_from(calls).unwrap_or(most).min(most);
        if length == 0 {
            return Err(ProgramError::Empty);
        }
        let instructions = self.instructions[..length].to_vec();
        let wide: BTreeMap<_, _> =
            self.wide.range(..length).map(|(&at, &request)| (at, request)).collect();
        let kind_of = self.kind_of.get(..length).unwrap_or(&self.kind_of).to_vec();
        let mut thread_runs = self.thread_runs.clone();
        if thread_runs.is_empty() && !self.outline().threads.is_empty() {
            thread_runs.push(ThreadRun { until: length, thread: 0 });
        }
        let whole = thread_runs.partition_point(|run| run.until <= length);
        let is_split = whole.checked_sub(1).is_none_or(|at| thread_runs[at].until < length);
        thread_runs.truncate(whole + usize::from(is_split));
        if let Some(last) = thread_runs.last_mut() {
            last.until = length;
        }
        let end = length as u64;
        let mut outline: Outline = (**self.outline()).clone();
        outline.requests.retain(|request| request.event <= end);
        outline.present.retain(|present| present.event < end);
        for (index, thread) in (0..).zip(&mut outline.threads) {
            let mut first = 0;
            let mut counted = ProgramThread { calls: 0, ..thread.clone() };
            for run in &thread_runs {
                let (from, until) = (first, run.until as u64);
                first = until;
                if run.thread != index {
                    continue;
                }
                if counted.calls == 0 {
                    counted.first_call = from;
                }
                counted.calls += until - from;
                counted.last_call = until - 1;
            }
            counted.death = thread.death.filter(|death| *death <= end);
            *thread = counted;
        }
        Program::proved(instructions, wide, kind_of, thread_runs, outline)
            .map_err(|found| ProgramError::Unsound { event: end, found: found.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile::compile;
    use super::super::instruction::Action;
    use super::*;
    use crate::trace::{Distribution, Generator};

    /// The reference: live sizes by slot.
    fn reference(program: &Program, calls: usize) -> (u64, u64, u64) {
        let mut slots = BTreeMap::new();
        let (mut live, mut peak, mut peak_event) = (0u64, 0, 0);
        for index in 0..calls {
            let instruction = program.instructions()[index];
            live -= slots.remove(&instruction.slot()).unwrap_or(0);
            if instruction.action() != Action::Free {
                slots.insert(instruction.slot(), program.size(index) as u64);
                live += program.size(index) as u64;
            }
            if live > peak {
                (peak, peak_event) = (live, index as u64);
            }
        }
        (live, peak, peak_event)
    }

    #[test]
    fn the_first_calls_have_the_live_bytes_of_that_moment() {
        let mut generator = Generator::new(
            7,
            20_000,
            Distribution::python_sizes(),
            Distribution::python_lifetimes(),
        );
        let program = compile(&mut generator).unwrap();
        for calls in [1, 2, 777, 19_999, 20_000] {
            let first = program.beginning(calls).unwrap();
            let profile = first.profile();
            let found = (profile.live_end_bytes, profile.live_peak_bytes, profile.live_peak_event);
            assert_eq!(found, reference(&program, calls as usize), "{calls}");
            assert_eq!((first.calls() as u64, profile.total_calls()), (calls, calls));
            assert_eq!(first.instructions(), &program.instructions()[..calls as usize]);
        }
        assert!(matches!(program.beginning(0), Err(ProgramError::Empty)));
        assert_eq!(program.beginning(1 << 40).unwrap().profile(), program.profile());
    }
}
