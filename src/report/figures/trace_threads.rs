//! The threads of a trace: who allocates, who frees, and when.

use std::collections::HashMap;

use serde::Serialize;

use crate::results::{NamedThread, ThreadActivity, ThreadFrees, ThreadRow, decode_numbers};

/// Lanes of the threads with most calls, at most; all other threads share one more.
pub const LANES_MAX: usize = 15;
/// Columns of time that are read, at most.
const COLUMNS_MAX: usize = 4096;

/// A thread over the calls of the trace, or all others together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ThreadLane {
    /// The trace's number of the thread; `None` for all others.
    pub number: Option<u32>,
    /// Its name; empty where the trace has none.
    pub name: String,
    /// Threads in the lane.
    pub threads: u32,
    /// The call before which it begins.
    pub begin_event: u64,
    /// The call before which it ends; `None` where it outlives the trace.
    pub end_event: Option<u64>,
    /// Its calls.
    pub calls: u64,
    /// Its calls by column of time.
    pub column_calls: Vec<u64>,
    /// The most requested bytes live, by column, of blocks that it allocated.
    pub column_live_bytes: Vec<u64>,
    /// The same at the end of the trace.
    pub live_end_bytes: u64,
    /// By lane, blocks that it allocated and that the thread of that lane ended.
    pub ended_by: Vec<u64>,
}

impl ThreadLane {
    /// The most requested bytes live of blocks that it allocated.
    pub fn live_peak_bytes(&self) -> u64 {
        self.column_live_bytes.iter().copied().max().unwrap_or(0)
    }

    /// Blocks that it allocated and that were ended.
    pub fn ended_blocks(&self) -> u64 {
        self.ended_by.iter().fold(0, |sum, blocks| sum.saturating_add(*blocks))
    }
}

/// The threads of a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TraceThreads {
    /// Threads that make calls.
    pub threads: usize,
    /// Calls of the trace.
    pub calls: u64,
    /// Those with most calls, in the order in which they begin; all others in one lane at the end.
    pub lanes: Vec<ThreadLane>,
    /// Blocks that were ended.
    pub ended_blocks: u64,
    /// Of them, those that another thread ended than allocated them.
    pub remote_blocks: u64,
}

impl TraceThreads {
    /// The threads from the rows of one replay; `None` for a trace of one thread.
    pub fn of<'r>(
        calls: u64,
        names: &[NamedThread],
        threads: impl IntoIterator<Item = &'r ThreadRow>,
        activity: impl IntoIterator<Item = &'r ThreadActivity>,
        frees: impl IntoIterator<Item = &'r ThreadFrees>,
    ) -> Option<TraceThreads> {
        let rows: HashMap<u32, &ThreadRow> =
            threads.into_iter().map(|row| (row.thread, row)).collect();
        let mut found: Vec<ThreadLane> =
            activity.into_iter().map(|row| lane(row, &rows, names)).collect();
        let threads = found.iter().map(|lane| lane.threads as usize).sum();
        if threads < 2 {
            return None;
        }
        found.sort_by_key(|lane| (lane.number.is_none(), std::cmp::Reverse(lane.calls)));
        let named = if found.len() <= LANES_MAX + 1 { found.len() } else { LANES_MAX };
        let rest = found.split_off(named);
        let mut lanes = found;
        lanes.sort_by_key(|lane| (lane.number.is_none(), lane.begin_event, lane.number));
        if !rest.is_empty() {
            let others = rest.into_iter().reduce(join).unwrap_or_default();
            let others = ThreadLane { number: None, name: String::new(), ..others };
            match lanes.iter().position(|lane| lane.number.is_none()) {
                Some(at) => lanes[at] = join(lanes[at].clone(), others),
                None => lanes.push(others),
            }
        }
        let mut all = TraceThreads { threads, calls, lanes, ended_blocks: 0, remote_blocks: 0 };
        all.add_frees(frees);
        Some(all)
    }

    fn add_frees<'r>(&mut self, frees: impl IntoIterator<Item = &'r ThreadFrees>) {
        let lanes: HashMap<u32, usize> =
            (0..).zip(&self.lanes).filter_map(|(at, lane)| Some((lane.number?, at))).collect();
        let count = self.lanes.len();
        for lane in &mut self.lanes {
            lane.ended_by = vec![0; count];
        }
        let place = |thread: Option<u32>| {
            thread.and_then(|number| lanes.get(&number).copied()).unwrap_or(count - 1)
        };
        for row in frees {
            let (owner, by) = (place(row.allocated_by), place(row.ended_by));
            let cell = &mut self.lanes[owner].ended_by[by];
            *cell = cell.saturating_add(row.blocks);
            self.ended_blocks = self.ended_blocks.saturating_add(row.blocks);
            self.remote_blocks = self.remote_blocks.saturating_add(row.remote_blocks);
        }
    }
}

fn lane(
    row: &ThreadActivity,
    rows: &HashMap<u32, &ThreadRow>,
    names: &[NamedThread],
) -> ThreadLane {
    let column_calls = decode_numbers(&row.calls, COLUMNS_MAX);
    let column_live_bytes = decode_numbers(&row.live_bytes, COLUMNS_MAX);
    let own = row.thread.and_then(|thread| rows.get(&thread));
    let name = row.thread.and_then(|thread| names.iter().find(|named| named.thread == thread));
    ThreadLane {
        number: row.thread,
        name: name.map_or(String::new(), |named| named.name.clone()),
        threads: row.threads,
        begin_event: own.map_or(0, |row| row.begin_event),
        end_event: own.and_then(|row| row.end_event),
        calls: column_calls.iter().fold(0, |sum, calls| sum.saturating_add(*calls)),
        live_end_bytes: own
            .map_or(column_live_bytes.last().copied().unwrap_or(0), |row| row.live_end_bytes),
        column_calls,
        column_live_bytes,
        ended_by: vec![],
    }
}

/// Two lanes as one.
fn join(one: ThreadLane, other: ThreadLane) -> ThreadLane {
    let sums = |a: &[u64], b: &[u64]| -> Vec<u64> {
        let at = |column: usize, of: &[u64]| of.get(column).copied().unwrap_or(0);
        (0..a.len().max(b.len()))
            .map(|column| at(column, a).saturating_add(at(column, b)))
            .collect()
    };
    ThreadLane {
        number: None,
        name: String::new(),
        threads: one.threads.saturating_add(other.threads),
        begin_event: one.begin_event.min(other.begin_event),
        end_event: one.end_event.zip(other.end_event).map(|(a, b)| a.max(b)),
        calls: one.calls.saturating_add(other.calls),
        column_calls: sums(&one.column_calls, &other.column_calls),
        column_live_bytes: sums(&one.column_live_bytes, &other.column_live_bytes),
        live_end_bytes: one.live_end_bytes.saturating_add(other.live_end_bytes),
        ended_by: vec![],
    }
}
