//! Two runs as sides that can be compared: memory of each trace on each backend by cause, line and
//! size class, from the footprint pass.

use std::collections::BTreeMap;

use super::backend::BackendFigures;
use super::cost::CallCost;
use super::side_by_side::{
    BrokenDownBy, ComparedKind, ComparedSide, MovedPart, MovedUnit, NO_LINE, SideBySide,
    SideMeasure,
};
use super::trace_report::TraceReport;
use crate::results::{Metric, Moment, Run, Scope, TraceEntry, civil_date, reference};
use crate::units::{CALLED_FROM, bytes, figure3, line_of, ratio};

/// The parts of resident memory, from the bottom.
const CAUSES: [&str; 4] = ["live", "rounding", "free space on pages in use", "retained"];

/// The metrics of a moment: live with what was never touched, usable, pages in use, resident.
struct MomentMetrics {
    moment: Moment,
    name: &'static str,
    live: [Metric; 2],
    above: [Metric; 3],
}

const MOMENTS: [MomentMetrics; 2] = [
    MomentMetrics {
        moment: Moment::End,
        name: "the end",
        live: [Metric::LiveEndBytes, Metric::UntouchedEndBytes],
        above: [Metric::UsableEndBytes, Metric::PagesInUseEndBytes, Metric::ResidentEndBytes],
    },
    MomentMetrics {
        moment: Moment::Peak,
        name: "the live peak",
        live: [Metric::LivePeakBytes, Metric::UntouchedAtLivePeakBytes],
        above: [
            Metric::UsableAtLivePeakBytes,
            Metric::PagesInUseAtLivePeakBytes,
            Metric::ResidentAtLivePeakBytes,
        ],
    },
];

/// Why two runs have nothing to compare.
#[derive(Debug, thiserror::Error)]
#[error(
    "the runs have no trace and allocator in common that both measured (first: {before}; second: \
     {after}); run both on the same backends with the footprint pass"
)]
pub struct NothingInCommon {
    before: String,
    after: String,
}

/// Compares two runs; `names` are the folders as the person named them.
///
/// # Errors
/// When no trace was measured on the same allocator in both.
pub fn compare_runs(
    names: [&str; 2],
    before: &Run,
    after: &Run,
) -> Result<SideBySide, NothingInCommon> {
    let reports = [TraceReport::all(before), TraceReport::all(after)];
    let traces = pairs_of(&reports, |report| report.trace.name.as_str());
    let mut notes = machine_notes(before, after);
    let mut parts = Vec::new();
    let mut has_times = false;
    for [old, new] in &traces {
        notes.extend(recording_note(old.trace, new.trace));
        let own = [old, new].map(|report| report.allocators().collect::<Vec<_>>());
        let backends = pairs_of(&own, |backend| backend.spec);
        for [first, second] in backends {
            let mut part = MovedPart::between(
                part_name([old, new], [first, second]),
                &measures(old, first),
                &measures(new, second),
            );
            part.sentences.extend(memory_caution([first, second]));
            if let Some(sentence) = time_sentence([old, new], [first, second]) {
                has_times = true;
                part.sentences.push(sentence);
            }
            if !part.measures.is_empty() || !part.sentences.is_empty() {
                parts.push(part);
            }
        }
    }
    if parts.is_empty() {
        let named = |run: &Run| {
            let traces = run.manifest.traces.iter().map(|trace| trace.name.as_str());
            let backends = run.manifest.backends.iter().map(|backend| backend.name.as_str());
            let join = |names: Vec<&str>| names.join(", ");
            format!("{} on {}", join(traces.collect()), join(backends.collect()))
        };
        return Err(NothingInCommon { before: named(before), after: named(after) });
    }
    notes.extend(left_out_notes(&reports, &parts));
    if has_times {
        notes.push(
            "Times of two runs were measured at two moments, and one machine differs from itself by \
             up to 20 %. `heaplay check TRACE --baseline A --candidate B` times both in one run."
                .to_owned(),
        );
    }
    let sides = [(names[0], before), (names[1], after)].map(|(name, run)| side(name, run));
    Ok(SideBySide { kind: ComparedKind::Runs, sides, notes, parts })
}

/// The items of both sides with the same name. Where each side has one item left over, these two are
/// a pair, too.
fn pairs_of<T>(sides: &[Vec<T>; 2], name: impl Fn(&T) -> &str) -> Vec<[&T; 2]> {
    let other = |own: &T, side: usize| sides[side].iter().find(|item| name(item) == name(own));
    let mut pairs: Vec<[&T; 2]> =
        sides[0].iter().filter_map(|own| Some([own, other(own, 1)?])).collect();
    let left = [0, 1].map(|side| {
        let is_left = |item: &&T| other(item, 1 - side).is_none();
        sides[side].iter().filter(is_left).collect::<Vec<&T>>()
    });
    if let ([old], [new]) = (left[0].as_slice(), left[1].as_slice()) {
        pairs.push([old, new]);
    }
    pairs
}

/// `service on malloc`; both names where they differ.
fn part_name(reports: [&TraceReport; 2], backends: [&BackendFigures; 2]) -> String {
    let both = |names: [&str; 2]| match names[0] == names[1] {
        true => names[0].to_owned(),
        false => format!("{} → {}", names[0], names[1]),
    };
    let traces = both(reports.map(|report| report.trace.name.as_str()));
    format!("{traces} on {}", both(backends.map(BackendFigures::name)))
}

fn side(name: &str, run: &Run) -> ComparedSide {
    let (year, month, day) = civil_date(run.manifest.created_unix_seconds);
    let backends = run.manifest.backends.iter();
    let versions: Vec<String> =
        backends.map(|entry| format!("{} ({})", entry.name, entry.version)).collect();
    let traces = run.manifest.traces.iter();
    let recordings: Vec<String> =
        traces.map(|trace| format!("{} {:.12}", trace.name, trace.sha256)).collect();
    let facts = [
        ("measured", format!("{year}-{month:02}-{day:02}")),
        ("heaplay", run.manifest.heaplay.clone()),
        ("backends", versions.join(", ")),
        ("traces, sha256", recordings.join(", ")),
    ];
    ComparedSide {
        name: name.to_owned(),
        facts: facts.map(|(fact, value)| (fact.to_owned(), value)).into(),
    }
}

/// What the machines differ in that exact figures depend on.
fn machine_notes(before: &Run, after: &Run) -> Vec<String> {
    const FACTS: [&str; 3] = ["libc", "page_bytes", "transparent_huge_pages"];
    let fact = |run: &Run, name: &str| run.manifest.machine.facts.get(name).cloned();
    let differences = FACTS.into_iter().filter_map(|name| {
        let [old, new] = [fact(before, name)?, fact(after, name)?];
        (old != new).then(|| {
            format!(
                "The machines differ in `{name}` ({old} and {new}): memory of allocators that are \
                 not part of heaplay may differ for that reason."
            )
        })
    });
    differences.collect()
}

/// Whether the differences include what the program requested.
fn recording_note(before: &TraceEntry, after: &TraceEntry) -> Option<String> {
    (before.sha256 != after.sha256).then(|| {
        let name = &before.name;
        format!(
            "The recordings of {name} differ, so the differences include what the program requested. \
             `heaplay diff` of the two recordings shows that by itself."
        )
    })
}

/// The traces and backends that only one run has.
fn left_out_notes(reports: &[Vec<TraceReport>; 2], parts: &[MovedPart]) -> Vec<String> {
    let named = |side: usize| -> Vec<String> {
        let pairs = reports[side].iter().flat_map(|report| {
            report.allocators().map(move |backend| (&report.trace.name, backend.name()))
        });
        let is_shown = |trace: &str, backend: &str| {
            parts.iter().any(|part| {
                part.name.split_once(" on ").is_some_and(|(traces, backends)| {
                    let has = |names: &str, name: &str| names.split(" → ").any(|own| own == name);
                    has(traces, trace) && has(backends, backend)
                })
            })
        };
        let left = pairs.filter(|(trace, backend)| !is_shown(trace, backend));
        left.map(|(trace, backend)| format!("{trace} on {backend}")).collect()
    };
    let mut notes = Vec::new();
    for (side, which) in [(0, "first"), (1, "second")] {
        let left = named(side);
        if !left.is_empty() {
            notes.push(format!("Only the {which} run has {}.", left.join(", ")));
        }
    }
    notes
}

/// What exact figures do not hold for.
fn memory_caution(backends: [&BackendFigures; 2]) -> Option<String> {
    let varies = backends.into_iter().find(|backend| {
        let value = backend.rows.first_value(Metric::VariesBetweenRuns);
        value.is_some_and(|value| value > 0.0)
    })?;
    Some(format!(
        "Memory of {} differs between two runs of one trace: it returns memory after a delay, or \
         places blocks at random. A small difference is no evidence.",
        varies.name()
    ))
}

/// The time a call in both runs, and relative to the reference of each run.
fn time_sentence(reports: [&TraceReport; 2], backends: [&BackendFigures; 2]) -> Option<String> {
    let [old, new] = [backends[0].cost?, backends[1].cost?];
    let is_apart = new.is_out_of_range_of(&old);
    let mut text = format!(
        "Time: {} → {} ns a call ({}); the repetitions of the two runs {}.",
        figure3(old.middle_ns),
        figure3(new.middle_ns),
        ratio(new.middle_ns / old.middle_ns),
        if is_apart { "do not overlap" } else { "overlap" }
    );
    let specs = |report: &TraceReport| -> Vec<String> {
        report.allocators().map(|backend| backend.spec.to_owned()).collect()
    };
    let (first, second) = (specs(reports[0]), specs(reports[1]));
    let common = first.iter().filter(|spec| second.contains(spec)).map(String::as_str);
    let base = reference(common)?;
    let cost = |report: &TraceReport| -> Option<CallCost> {
        report.allocators().find(|backend| backend.spec == base)?.cost
    };
    if backends[0].spec != base
        && let [Some(old_base), Some(new_base)] = reports.map(cost)
    {
        text += &format!(
            "  Relative to {base} of the same run: {} → {}.",
            ratio(old.middle_ns / old_base.middle_ns),
            ratio(new.middle_ns / new_base.middle_ns)
        );
    }
    Some(text)
}

/// The measures of a backend on a trace; empty without memory.
fn measures(report: &TraceReport, backend: &BackendFigures) -> Vec<SideMeasure> {
    let mut measures = Vec::new();
    for moment in &MOMENTS {
        measures.extend(at_moment(backend, moment).unwrap_or_default());
    }
    let known = |metric: Metric| whole_value(backend, metric);
    for (metric, name) in [
        (Metric::ResidentPeakBytes, "resident at its own peak"),
        (Metric::ResidentTrimmedBytes, "resident after a trim at the end"),
    ] {
        let total = known(metric).filter(|_| !measures.is_empty());
        measures.extend(total.map(|total| SideMeasure::new(name, MovedUnit::Bytes, total)));
    }
    measures.extend(at_marks(report, backend));
    measures
}

/// A whole figure of all calls.
fn whole_value(backend: &BackendFigures, metric: Metric) -> Option<i64> {
    let value = *backend.rows.values(Scope::All, metric).first()?;
    // Bytes in 53 bits are exact.
    (value.is_finite() && value.abs() < 9e15).then_some(value as i64)
}

fn at_moment(backend: &BackendFigures, metrics: &MomentMetrics) -> Option<Vec<SideMeasure>> {
    let at = metrics.name;
    let live =
        whole_value(backend, metrics.live[0])? - whole_value(backend, metrics.live[1]).unwrap_or(0);
    let mut levels = [live; 4];
    for (level, metric) in levels[1..].iter_mut().zip(metrics.above) {
        *level = whole_value(backend, metric)?;
    }
    let [_, usable, in_use, resident] = levels;
    let parts = [live, usable - live, in_use - usable, resident - in_use];
    let measure =
        |name: &str, total| SideMeasure::new(format!("{name} at {at}"), MovedUnit::Bytes, total);
    let mut of_resident = measure("resident", resident);
    let causes = CAUSES.iter().zip(parts).map(|(cause, value)| ((*cause).to_owned(), value));
    of_resident.rows.insert(BrokenDownBy::Cause, causes.collect());
    let mut of_free = measure(CAUSES[2], parts[2]);
    let mut of_live = measure(CAUSES[0], live);
    let mut of_rounding = measure(CAUSES[1], parts[1]);
    if let Some([live, free]) = lines_at(backend, metrics.moment) {
        put_lines(&mut of_live, live);
        put_lines(&mut of_free, free);
    }
    if let Some([live, rounding]) = size_classes_at(backend, metrics.moment) {
        of_live.rows.insert(BrokenDownBy::SizeClass, live);
        of_rounding.rows.insert(BrokenDownBy::SizeClass, rounding);
    }
    Some(vec![of_resident, of_free, of_live, of_rounding])
}

/// Rows by label.
type LabelledBytes = BTreeMap<String, i64>;

/// Puts rows of lines into a measure. Where they are lines with callers, their innermost lines are
/// summed, and the rows themselves are call chains.
fn put_lines(measure: &mut SideMeasure, rows: LabelledBytes) {
    let mut lines = LabelledBytes::new();
    for (label, bytes) in &rows {
        let line = line_of(label);
        *lines.entry(line.to_owned()).or_default() += bytes;
    }
    if lines.len() < rows.len() || rows.keys().any(|label| label.contains(CALLED_FROM)) {
        measure.rows.insert(BrokenDownBy::CallChain, rows);
    }
    measure.rows.insert(BrokenDownBy::Line, lines);
}

/// Live bytes and free space by line at a moment; `None` where the record has no lines.
fn lines_at(backend: &BackendFigures, moment: Moment) -> Option<[LabelledBytes; 2]> {
    let rows = || backend.rows.attributions.iter();
    let first = rows().map(|row| row.repetition).min()?;
    let mut lines: [LabelledBytes; 2] = Default::default();
    for row in rows().filter(|row| row.moment == moment && row.repetition == first) {
        let label = if row.site.is_empty() { NO_LINE } else { &row.site };
        for (own, bytes) in lines.iter_mut().zip([row.live_bytes, row.external_fragmentation_bytes])
        {
            *own.entry(label.to_owned()).or_default() += bytes as i64;
        }
    }
    (!lines[0].is_empty()).then_some(lines)
}

/// Live bytes and rounding by size class at a moment; `None` where the record has no classes.
fn size_classes_at(backend: &BackendFigures, moment: Moment) -> Option<[LabelledBytes; 2]> {
    let rows = || backend.rows.rounding.iter();
    let first = rows().map(|row| row.repetition).min()?;
    let mut classes: [LabelledBytes; 2] = Default::default();
    for row in rows().filter(|row| row.moment == moment && row.repetition == first) {
        let label = size_class_label(row.up_to_bytes);
        let rounding = row.usable_bytes as i64 - row.live_bytes as i64;
        for (own, bytes) in classes.iter_mut().zip([row.live_bytes as i64, rounding]) {
            *own.entry(label.clone()).or_default() += bytes;
        }
    }
    (!classes[0].is_empty()).then_some(classes)
}

/// The label of a size class by its largest request. Classes of another scheme have other limits.
pub fn size_class_label(up_to_bytes: u64) -> String {
    match up_to_bytes {
        u64::MAX => "largest".to_owned(),
        small if small < 1024 => format!("up to {small}\u{a0}B"),
        large => format!("up to {}", bytes(large as f64).replace(".0", "")),
    }
}

/// What lines hold and retain at the marks of the program.
fn at_marks(report: &TraceReport, backend: &BackendFigures) -> Vec<SideMeasure> {
    let mut measures = Vec::new();
    for (number, mark) in (1..).zip(&report.trace.marks) {
        let Some(lines) = lines_at(backend, Moment::Mark(number)) else { continue };
        for (rows, what) in lines.into_iter().zip([CAUSES[0], CAUSES[2]]) {
            let name = format!("{what} at mark {}", mark.name);
            if measures.iter().any(|known: &SideMeasure| known.name == name) {
                continue;
            }
            let mut measure = SideMeasure::new(name, MovedUnit::Bytes, rows.values().sum());
            put_lines(&mut measure, rows);
            measures.push(measure);
        }
    }
    measures
}
