//! Chart: the threads of a trace over its calls, and a matrix of who frees whose blocks.

use serde::Serialize;

use super::axis::Axis;
use super::contract::{About, Caption};
use super::scale::Scale;
use crate::report::figures::{ThreadLane, TraceReport, TraceShape, TraceThreads};
use crate::report::text::end_name;
use crate::units::{count, percent};

/// Who allocates, who frees, and when?
pub const ABOUT: About = About {
    name: "threads",
    question: "Which thread allocates, which one frees, and when?",
    reading: "Each lane is a thread, from its birth to its death, over the calls of the trace. The \
              blue area is what lives of the blocks that it allocated. The dark strip shows when \
              it made calls. The matrix beside it has the blocks of the lane's thread, by the \
              thread that freed them. Blocks beside the diagonal are remote frees: allocators \
              return them to another thread's arena or cache. The threads with fewest calls share \
              the last lane.",
};

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct ThreadsChart {
    /// Its sentences.
    pub caption: Caption,
    /// Across the lanes: calls of the trace.
    pub calls_axis: Axis,
    /// Upwards in each lane: requested bytes live of the lane's blocks.
    pub live_axis: Axis,
    /// The moment that counts as the end.
    pub end_name: String,
    /// The lanes, and the matrix.
    pub threads: TraceThreads,
}

/// Describes the chart of a run; `None` for a trace of one thread.
pub fn describe(trace_report: &TraceReport) -> Option<ThreadsChart> {
    of_threads(&trace_report.trace.name, trace_report.threads()?, trace_report.end_name())
}

/// Describes the chart of a trace by itself; `None` for a trace of one thread.
pub fn describe_trace(shape: &TraceShape) -> Option<ThreadsChart> {
    let mut chart = of_threads(&shape.name, shape.threads.clone()?, end_name(shape.end.as_ref()))?;
    chart.caption.synthesised.clone_from(&shape.synthesised);
    Some(chart)
}

fn of_threads(name: &str, threads: TraceThreads, end_name: String) -> Option<ThreadsChart> {
    if threads.lanes.is_empty() || threads.calls == 0 {
        return None;
    }
    // All other threads together would press each single one to the foot of its lane.
    let single = threads.lanes.iter().filter(|lane| lane.number.is_some());
    let peak = single.map(ThreadLane::live_peak_bytes).max().unwrap_or(0).max(1);
    let unit = crate::units::byte_unit(peak as f64);
    let (divisor, label) = if threads.calls >= 2_000_000 {
        (1e6, "calls of the trace, millions")
    } else {
        (1.0, "calls of the trace")
    };
    let plotted = format!(
        "`{name}`: {} threads, {} calls.  Blue: requested bytes live of the blocks that the thread \
         allocated; square-root scale, the same in all lanes.  Strip: its share of the calls.",
        threads.threads,
        count(threads.calls)
    );
    let others = threads.lanes.iter().find(|lane| lane.number.is_none());
    let caption = Caption::new(verdict(&threads), plotted, &READING).with_reading(others.map_or(
        String::new(),
        |others| {
            format!(
                "Last lane: the {} threads with fewest calls, on a scale of its own.",
                others.threads
            )
        },
    ));
    Some(ThreadsChart {
        caption,
        calls_axis: Axis {
            label: label.to_owned(),
            unit: "calls".to_owned(),
            unit_size: divisor,
            scale: Scale::Linear { from: 0.0, to: threads.calls as f64 / divisor },
        },
        live_axis: Axis::bytes(format!("{} live", unit.name), unit, peak as f64),
        end_name,
        threads,
    })
}

const READING: [&str; 3] = [
    "Band: the thread's life, with a tick at its birth and at its death.",
    "Matrix: of the freed blocks that the lane's thread allocated, the per cent that each thread \
     freed; orange is a free on another thread.",
    "Realloc ends a block, too.",
];

/// The name of a lane in a sentence.
fn sentence_name(lane: &ThreadLane) -> String {
    match lane.number {
        Some(number) if lane.name.is_empty() => format!("thread {number}"),
        Some(number) => format!("thread {number} ({})", lane.name),
        None => format!("{} other threads", lane.threads),
    }
}

fn verdict(threads: &TraceThreads) -> String {
    let busiest = threads.lanes.iter().filter(|lane| lane.number.is_some());
    let busiest = busiest.max_by_key(|lane| lane.calls);
    let share = |part: u64, whole: u64| percent(part as f64 / whole.max(1) as f64);
    let mut title = busiest.map_or(String::new(), |lane| {
        // A thread is worth a name where it does more than its part.
        if lane.calls.saturating_mul(4) < threads.calls {
            let most = share(lane.calls, threads.calls);
            return format!("No thread makes more than {most} of the calls.");
        }
        let name = crate::report::text::capitalised(&sentence_name(lane));
        format!("{name} makes {} of the calls.", share(lane.calls, threads.calls))
    });
    if threads.ended_blocks == 0 {
        return title + "  Nothing is freed.";
    }
    if threads.remote_blocks == 0 {
        return title + "  Each thread frees its own blocks.";
    }
    title += &format!(
        "  {} of the frees are of another thread's blocks",
        share(threads.remote_blocks, threads.ended_blocks)
    );
    let pairs = threads.lanes.iter().enumerate().flat_map(|(at, owner)| {
        let ended = owner.ended_by.iter().enumerate().filter(move |(by, _)| *by != at);
        ended.map(move |(by, blocks)| (*blocks, owner, by))
    });
    let largest = pairs.max_by_key(|(blocks, ..)| *blocks);
    // A pair is worth a name where it has a good part of the remote frees.
    match largest {
        Some((blocks, owner, by)) if blocks.saturating_mul(5) >= threads.remote_blocks => {
            title += &format!(
                ", {} of these from {} to {}.",
                share(blocks, threads.remote_blocks),
                sentence_name(owner),
                sentence_name(&threads.lanes[by])
            );
        }
        _ => title.push('.'),
    }
    title
}
