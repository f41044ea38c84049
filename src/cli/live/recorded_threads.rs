//! Whether the threads of a recording may contend, so that no replay of one call at a time predicts the
//! program's time.

use crate::bench::Workload;

/// The share of its calls by other threads than the busiest up to which a program is predicted as one
/// whose calls never meet.
const FEW_OF_OTHERS: f64 = 0.05;

/// The threads of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedThreads {
    /// Those that make calls.
    pub count: usize,
    /// Whether their calls may meet: several threads make a good part of them, and no lock of the
    /// interpreter has them make one call at a time. A replay in recorded order does, so its time is
    /// not the program's.
    pub may_contend: bool,
}

impl RecordedThreads {
    /// Those of a trace.
    pub fn of(workload: &Workload) -> RecordedThreads {
        let has_gil = workload.trace.has_interpreter_lock();
        let threads = workload.program.outline().threads.iter();
        RecordedThreads::of_calls(
            &threads.map(|thread| thread.calls).collect::<Vec<u64>>(),
            has_gil,
        )
    }

    /// From the calls of each thread: none for a program of one thread.
    fn of_calls(calls: &[u64], has_gil: bool) -> RecordedThreads {
        let (all, most) = (calls.iter().sum::<u64>(), calls.iter().copied().max().unwrap_or(0));
        let of_others = (all - most) as f64 / all.max(1) as f64;
        RecordedThreads {
            count: calls.iter().filter(|calls| **calls > 0).count().max(1),
            may_contend: !has_gil && of_others > FEW_OF_OTHERS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_may_contend_have_no_predicted_time() {
        let of = |calls: &[u64], has_gil| {
            let found = RecordedThreads::of_calls(calls, has_gil);
            (found.count, found.may_contend)
        };
        assert_eq!(of(&[], false), (1, false));
        assert_eq!(of(&[1000, 0, 900, 800], false), (3, true));
        assert_eq!(of(&[1000, 900], true), (2, false));
        // One thread makes nearly all calls.
        assert_eq!(of(&[100_000, 300, 200], false), (3, false));
    }
}
