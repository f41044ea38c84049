//! The thread of each call, where a trace has several.
//!
//! The threads are a list beside the instructions, which stay 8 bytes. A program of one thread has no
//! such list, and costs nothing more.

use std::collections::HashMap;

use super::compiled::ThreadRun;
use super::outline::ProgramThread;
use crate::trace::{ProcessRecord, RowBatch};

/// Numbers the threads while a trace is compiled. It exists from the first batch of rows that names
/// a second thread.
#[derive(Default)]
pub(super) struct ThreadsCompiler {
    /// The index of each thread, by the trace's number.
    indices: HashMap<u32, u32>,
    threads: Vec<ProgramThread>,
    /// By call, from the first that was not taken away: the index of its thread.
    of_call: Vec<u32>,
    /// Calls counted in `threads`.
    counted: u64,
}

/// Whether all calls of a batch are those of `thread`, or of any one thread where that is `None`.
/// Returns that thread.
pub(super) fn only_thread(batch: &RowBatch, thread: Option<u32>) -> Result<Option<u32>, ()> {
    let Some(&first) = batch.threads.first() else { return Ok(thread) };
    let thread = thread.unwrap_or(first);
    // Without a branch for each row, so that it takes few instructions.
    let begins = batch.threads.iter().fold(0, |differs, other| differs | (other ^ thread)) == 0;
    let ends = batch.end_threads.iter().all(|end| end.is_none_or(|other| other == thread));
    if begins && ends { Ok(Some(thread)) } else { Err(()) }
}

impl ThreadsCompiler {
    /// The state after `calls` calls, the first `counted` of them taken away, all made by the thread
    /// of that number.
    pub fn after(thread: u32, counted: u64, calls: usize) -> ThreadsCompiler {
        let mut compiler = ThreadsCompiler::default();
        compiler.index(thread);
        compiler.of_call = vec![0; calls];
        if let (Some(first), true) = (compiler.threads.first_mut(), counted > 0) {
            (first.calls, first.last_call) = (counted, counted - 1);
        }
        compiler.counted = counted;
        compiler
    }

    /// The index of the thread of that number.
    pub fn index(&mut self, number: u32) -> u32 {
        let next = self.threads.len() as u32;
        let index = *self.indices.entry(number).or_insert(next);
        if index == next {
            self.threads.push(ProgramThread { number, ..ProgramThread::default() });
        }
        index
    }

    /// Has a place for each of so many calls.
    pub fn reach(&mut self, calls: usize) {
        self.of_call.resize(calls, 0);
    }

    /// Sets the thread of the call at that place.
    pub fn put(&mut self, at: usize, index: u32) {
        if let Some(place) = self.of_call.get_mut(at) {
            *place = index;
        }
    }

    /// Drops the places of calls that do not come.
    pub fn truncate(&mut self, calls: usize) {
        self.of_call.truncate(calls);
    }

    /// Removes the first calls. Returns their runs.
    pub fn take(&mut self, first: u64, calls: usize) -> Vec<ThreadRun> {
        let rest = self.of_call.split_off(calls);
        let taken = std::mem::replace(&mut self.of_call, rest);
        self.count(first, &taken);
        runs(&taken)
    }

    /// Counts the calls of each thread, from the first that was not counted on.
    fn count(&mut self, first: u64, calls: &[u32]) {
        for (event, &index) in (first..).zip(calls) {
            let Some(thread) = self.threads.get_mut(index as usize) else { continue };
            if event < self.counted {
                continue;
            }
            if thread.calls == 0 {
                thread.first_call = event;
            }
            thread.calls += 1;
            thread.last_call = event;
        }
        self.counted = self.counted.max(first + calls.len() as u64);
    }

    /// The threads, after the last call. `first` calls were taken away.
    pub fn table(&mut self, first: u64, process: &ProcessRecord) -> Vec<ProgramThread> {
        let of_call = std::mem::take(&mut self.of_call);
        self.count(first, &of_call);
        self.of_call = of_call;
        let mut threads = self.threads.clone();
        for thread in &mut threads {
            if let Some(record) = process.thread(thread.number) {
                (thread.birth, thread.death) = (record.birth, record.death);
            }
        }
        threads
    }
}

/// The runs of calls that one thread makes.
pub(super) fn runs(of_call: &[u32]) -> Vec<ThreadRun> {
    let mut runs: Vec<ThreadRun> = Vec::new();
    for chunk in of_call.chunk_by(|left, right| left == right) {
        let before = runs.last().map_or(0, |run| run.until);
        runs.push(ThreadRun { until: before + chunk.len(), thread: chunk[0] });
    }
    runs
}

/// The threads of a worker's program, 6 numbers each: see [`ProgramThread`]. An unknown birth or
/// death is `u64::MAX`.
pub(super) fn to_numbers(threads: &[ProgramThread]) -> Vec<u64> {
    let numbers = |thread: &ProgramThread| {
        let known = |event: Option<u64>| event.unwrap_or(u64::MAX);
        [
            u64::from(thread.number),
            known(thread.birth),
            known(thread.death),
            thread.first_call,
            thread.last_call,
            thread.calls,
        ]
    };
    threads.iter().flat_map(numbers).collect()
}

/// What [`to_numbers`] made.
pub(super) fn from_numbers(numbers: [u64; 6]) -> ProgramThread {
    let [number, birth, death, first_call, last_call, calls] = numbers;
    let known = |event: u64| (event != u64::MAX).then_some(event);
    ProgramThread {
        number: number as u32,
        birth: known(birth),
        death: known(death),
        first_call,
        last_call,
        calls,
    }
}
