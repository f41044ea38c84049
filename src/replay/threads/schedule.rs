//! When the threads of a program begin and end, and when it makes requests of its allocator besides
//! memory.
//!
//! A thread begins before its birth, where the trace has it, else before its first call. It ends
//! before its death. Where a trace has no death of any thread, each thread ends after its last call.
//! A thread without a death in a trace that has others outlives the trace.

use std::collections::HashSet;

use crate::program::{Outline, ProgramThread};
use crate::trace::AllocatorRequest;

/// What happens between two calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ThreadChange {
    /// A thread ends.
    End(u32),
    /// A thread begins.
    Begin(u32),
    /// The program requests something of its allocator, on that thread.
    Request(u32, AllocatorRequest),
}

/// The changes of a program, in order. Threads are named by their index in
/// [`Outline::threads`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Each with the call before which it happens.
    changes: Vec<(u64, ThreadChange)>,
    next: usize,
}

/// When a thread of a replay lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadLife {
    /// The call before which it begins; 0 for the first thread.
    pub begin: u64,
    /// The call before which it ends; `None` where it outlives the trace.
    pub end: Option<u64>,
}

/// The lives of the threads of a program, by index in the outline.
pub fn thread_lives(outline: &Outline) -> Vec<ThreadLife> {
    let mut lives = vec![ThreadLife::default(); outline.threads.len()];
    for (event, change) in Schedule::new(outline, &outline.threads).changes {
        match change {
            ThreadChange::Begin(thread) => lives[thread as usize].begin = event,
            ThreadChange::End(thread) => lives[thread as usize].end = Some(event),
            ThreadChange::Request(..) => {}
        }
    }
    lives
}

/// The thread that the replay's own first thread stands for: the first without a birth, since the
/// first thread of a process is there before any recording.
pub(super) fn first_thread(threads: &[ProgramThread]) -> u32 {
    threads.iter().position(|thread| thread.birth.is_none()).unwrap_or(0) as u32
}

impl Schedule {
    /// The changes of a program whose calls are made by `threads` of its outline, or all by the
    /// first thread where `threads` is empty.
    pub fn new(outline: &Outline, threads: &[ProgramThread]) -> Schedule {
        let first = first_thread(threads);
        let knows_ends = threads.iter().any(|thread| thread.death.is_some());
        let mut changes = Vec::new();
        for (index, thread) in (0..).zip(threads) {
            if index == first || thread.calls == 0 {
                continue;
            }
            let begin = thread.birth.unwrap_or(thread.first_call).min(thread.first_call);
            let after_last = thread.last_call + 1;
            let end = match thread.death {
                Some(death) => Some(death.clamp(after_last, outline.calls.max(after_last))),
                None => (!knows_ends).then_some(after_last),
            };
            changes.push((begin, ThreadChange::Begin(index)));
            changes.extend(end.map(|end| (end, ThreadChange::End(index))));
        }
        for made in &outline.requests {
            let by = threads.iter().position(|thread| thread.number == made.thread);
            let by = by.map_or(first, |index| index as u32);
            changes.push((made.event.min(outline.calls), ThreadChange::Request(by, made.request)));
        }
        // Between the same two calls: requests of threads that end, ends, births, other requests. A
        // thread never ends between the two calls between which it begins, as it makes calls.
        let ends: HashSet<(u64, u32)> = changes
            .iter()
            .filter_map(|(event, change)| match change {
                ThreadChange::End(thread) => Some((*event, *thread)),
                _ => None,
            })
            .collect();
        changes.sort_by_key(|(event, change)| {
            let rank = match change {
                ThreadChange::Request(thread, _) if ends.contains(&(*event, *thread)) => 0,
                ThreadChange::End(_) => 1,
                ThreadChange::Begin(_) => 2,
                ThreadChange::Request(..) => 3,
            };
            (*event, rank)
        });
        Schedule { changes, next: 0 }
    }

    /// Whether there is no change at all.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The next change that happens before the call of that index, or before an earlier one.
    pub fn due(&mut self, event: u64) -> Option<ThreadChange> {
        let (_, change) = self.changes.get(self.next).filter(|(at, _)| *at <= event)?;
        self.next += 1;
        Some(*change)
    }

    /// The call before which the next change happens.
    pub fn next_event(&self) -> Option<u64> {
        self.changes.get(self.next).map(|(event, _)| *event)
    }

    /// Begins again.
    pub fn restart(&mut self) {
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::AllocatorEvent;

    fn thread(number: u32, calls: [u64; 2], life: [Option<u64>; 2]) -> ProgramThread {
        ProgramThread {
            number,
            birth: life[0],
            death: life[1],
            first_call: calls[0],
            last_call: calls[1],
            calls: 2,
        }
    }

    fn changes(
        threads: &[ProgramThread],
        requests: Vec<AllocatorEvent>,
    ) -> Vec<(u64, ThreadChange)> {
        let outline = Outline { calls: 100, requests, ..Outline::default() };
        Schedule::new(&outline, threads).changes
    }

    #[test]
    fn threads_end_when_the_trace_says_so_else_after_their_last_call() {
        use ThreadChange::{Begin, End};
        let threads = [thread(1, [0, 99], [None; 2]), thread(4, [3, 9], [None; 2])];
        assert_eq!(changes(&threads, vec![]), [(3, Begin(1)), (10, End(1))]);
        let threads = [
            thread(1, [0, 99], [None; 2]),
            thread(2, [10, 20], [Some(4), Some(30)]),
            thread(3, [31, 98], [Some(30), None]),
            // A death before its last call, or after the trace, cannot be.
            thread(5, [40, 50], [Some(60), Some(45)]),
            thread(6, [70, 80], [None, Some(999)]),
        ];
        assert_eq!(
            changes(&threads, vec![]),
            [
                (4, Begin(1)),
                (30, End(1)),
                (30, Begin(2)),
                (40, Begin(3)),
                (51, End(3)),
                (70, Begin(4)),
                (100, End(4)),
            ]
        );
        assert_eq!(first_thread(&threads[1..]), 3, "the first without a birth");
    }

    #[test]
    fn requests_are_made_by_the_thread_that_made_them() {
        let request = AllocatorRequest::Trim { pad_bytes: 0 };
        let made = |event, thread| AllocatorEvent { event, thread, request };
        let threads = [thread(1, [0, 99], [None; 2]), thread(4, [3, 9], [None; 2])];
        let found = changes(&threads, vec![made(10, 4), made(3, 9), made(700, 1)]);
        assert_eq!(
            found,
            [
                (3, ThreadChange::Begin(1)),
                (3, ThreadChange::Request(0, request)),
                (10, ThreadChange::Request(1, request)),
                (10, ThreadChange::End(1)),
                (100, ThreadChange::Request(0, request)),
            ]
        );
        assert_eq!(changes(&[], vec![made(5, 1)]), [(5, ThreadChange::Request(0, request))]);
    }
}
