//! The threads of a footprint pass, as rows of a run folder.

use std::collections::BTreeMap;

use crate::backends::ArenaMemory;
use crate::program::Program;
use crate::replay::{self, EndedBlocks, ThreadAccount, ThreadColumn, ThreadHistory};
use crate::results::{
    ArenaRow, CellKey, Manifest, Metric, Pass, Run, Scope, ThreadActivity, ThreadFrees, ThreadRow,
    encode_numbers,
};

/// Threads with a row of their own in the tables of activity and of frees.
const THREADS_MAX: usize = 40;

/// Adds the rows of the threads. `has_memory` says that the backend backs memory.
pub fn add(run: &mut Run, cell: &CellKey, history: &ThreadHistory, has_memory: bool) {
    run.threads.extend(history.threads.iter().map(|thread| row(cell, thread, has_memory)));
    if has_memory {
        add_left_behind(run, cell, history);
    }
    let named = named(history);
    let mut rest: Vec<&ThreadAccount> = Vec::new();
    for (thread, is_named) in history.threads.iter().zip(&named) {
        match is_named {
            true => run.thread_activity.push(activity(cell, Some(thread.number), &[thread])),
            false if thread.calls > 0 => rest.push(thread),
            false => {}
        }
    }
    if !rest.is_empty() {
        run.thread_activity.push(activity(cell, None, &rest));
    }
    run.thread_frees.extend(frees(cell, history, &named));
}

/// The rows of the threads of a whole program that is not replayed.
pub fn thread_rows(program: &Program, trace: &str) -> Run {
    let mut run = Run::new(Manifest::default());
    let cell = CellKey {
        trace: trace.to_owned(),
        backend: String::new(),
        pass: Pass::Footprint,
        repetition: 0,
    };
    add(&mut run, &cell, &replay::thread_history(program), false);
    run
}

/// Adds the figures of what threads that had ended left at the end of the trace.
fn add_left_behind(run: &mut Run, cell: &CellKey, history: &ThreadHistory) {
    let ended = || history.threads.iter().filter(|thread| thread.life.end.is_some());
    let remains = || ended().map(|thread| &thread.remains);
    let figures = [
        (Metric::EndedThreads, ended().count() as u64),
        (Metric::EndedThreadsLiveBytes, remains().map(|left| left.live_bytes).sum()),
        (
            Metric::EndedThreadsInUseBytes,
            remains().map(|left| left.usable_bytes + left.external_fragmentation_bytes).sum(),
        ),
        (Metric::EndedThreadsRetainedBytes, remains().map(|left| left.retained_bytes).sum()),
    ];
    run.measurements
        .extend(figures.map(|(metric, value)| cell.measurement(Scope::All, metric, value as f64)));
}

fn row(cell: &CellKey, thread: &ThreadAccount, has_memory: bool) -> ThreadRow {
    let remains = &thread.remains;
    let memory = |bytes: u64| has_memory.then_some(bytes);
    ThreadRow {
        trace: cell.trace.clone(),
        backend: cell.backend.clone(),
        repetition: cell.repetition,
        thread: thread.number,
        begin_event: thread.life.begin,
        end_event: thread.life.end,
        calls: thread.calls,
        requested_bytes: thread.requested_bytes,
        live_end_blocks: remains.live_blocks,
        live_end_bytes: remains.live_bytes,
        usable_end_bytes: memory(remains.usable_bytes),
        external_fragmentation_end_bytes: memory(remains.external_fragmentation_bytes),
        retained_end_bytes: memory(remains.retained_bytes),
    }
}

/// By thread: whether it has a row of its own.
fn named(history: &ThreadHistory) -> Vec<bool> {
    let mut order: Vec<usize> = (0..history.threads.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(history.threads[*at].calls));
    let mut named = vec![false; history.threads.len()];
    for at in order.into_iter().take(THREADS_MAX) {
        named[at] = history.threads[at].calls > 0;
    }
    named
}

fn activity(cell: &CellKey, thread: Option<u32>, of: &[&ThreadAccount]) -> ThreadActivity {
    let columns = of.iter().map(|thread| thread.columns.len()).max().unwrap_or(0);
    let sums = |figure: fn(&ThreadColumn) -> u64| -> String {
        let sum = |column: usize| {
            of.iter().filter_map(|thread| thread.columns.get(column)).map(figure).sum()
        };
        encode_numbers(&(0..columns).map(sum).collect::<Vec<u64>>())
    };
    ThreadActivity {
        trace: cell.trace.clone(),
        backend: cell.backend.clone(),
        repetition: cell.repetition,
        thread,
        threads: of.len() as u32,
        calls: sums(|column| column.calls),
        live_bytes: sums(|column| column.live_bytes),
    }
}

fn frees(cell: &CellKey, history: &ThreadHistory, named: &[bool]) -> Vec<ThreadFrees> {
    let number = |index: u32| {
        let index = index as usize;
        named[index].then(|| history.threads[index].number)
    };
    type Pair = (Option<u32>, Option<u32>);
    let mut pairs: BTreeMap<Pair, (EndedBlocks, u64)> = BTreeMap::new();
    for (&(owner, by), ended) in &history.ended {
        let (sum, remote) = pairs.entry((number(owner), number(by))).or_default();
        sum.blocks += ended.blocks;
        sum.bytes += ended.bytes;
        *remote += if owner == by { 0 } else { ended.blocks };
    }
    let row = |((allocated_by, ended_by), (ended, remote_blocks)): (Pair, (EndedBlocks, u64))| {
        ThreadFrees {
            trace: cell.trace.clone(),
            backend: cell.backend.clone(),
            repetition: cell.repetition,
            allocated_by,
            ended_by,
            blocks: ended.blocks,
            remote_blocks,
            bytes: ended.bytes,
        }
    };
    pairs.into_iter().map(row).collect()
}

/// Adds what the allocator reports of its arenas.
pub fn add_arenas(run: &mut Run, cell: &CellKey, arenas: &[ArenaMemory]) {
    run.arenas.extend(arenas.iter().map(|arena| ArenaRow {
        trace: cell.trace.clone(),
        backend: cell.backend.clone(),
        repetition: cell.repetition,
        arena: arena.name.clone(),
        threads: arena.threads,
        held_bytes: arena.held_bytes,
        allocated_bytes: arena.allocated_bytes,
        cached_bytes: arena.cached_bytes,
    }));
}
