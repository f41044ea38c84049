//! Two traces as sides that can be compared: what is live at the peak, at the end and at common marks,
//! and what is allocated in all.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cli::terminal::note;
use crate::report::{
    BrokenDownBy, ComparedKind, ComparedSide, MovedPart, MovedUnit, NO_LINE, SideBySide,
    SideMeasure, size_class_label, synthesised,
};
use crate::trace::{
    self, BlockCount, BlockCounts, CALLED_FROM, CountedBlocks, Domain, Header, Sites,
    TraceStatistics, TypeId,
};
use crate::units::{count, line_of, percent, size_class_limit};

/// Marks that are compared, at most: each is a count of its own.
const MARKS_MAX: usize = 16;
/// Peaks that are so far apart, as shares of the calls, are different moments of the program.
const APART_SHARE: f64 = 0.02;
/// The row of blocks that are no object of a known type.
const NO_TYPE: &str = "(no type)";

/// Facts of a trace that its side shows.
const FACTS: [&str; 4] = ["program", "python", "recorder", "allocator"];

/// One trace, counted.
struct CountedTrace {
    measures: Vec<SideMeasure>,
    side: ComparedSide,
    has_lines: bool,
    /// Whether the recording marks where its process begins to end.
    has_end: bool,
    /// The place of the live peak, as a share of the calls.
    peak_share: f64,
    header: Header,
}

/// Counts two traces and compares them.
///
/// # Errors
/// A trace that cannot be read, or whose rows contradict each other.
pub(super) fn compare([before, after]: [&Path; 2]) -> anyhow::Result<SideBySide> {
    let names = |path: &Path| -> anyhow::Result<Vec<String>> {
        let marks = trace::open(path)?.header().marks();
        Ok(marks.into_iter().map(|(_, name)| name).collect())
    };
    let (old, new) = (names(before)?, names(after)?);
    let mut common: Vec<String> = Vec::new();
    for name in old.iter().filter(|name| new.contains(name)) {
        if common.len() < MARKS_MAX && !common.contains(name) {
            common.push(name.clone());
        }
    }
    let sides = [counted(before, &common)?, counted(after, &common)?];
    let mut notes = notes(&sides);
    for (own, other, which) in [(&old, &new, "first"), (&new, &old, "second")] {
        let mut only: Vec<&str> = Vec::new();
        for name in own.iter().filter(|name| !other.contains(name)) {
            if !only.contains(&name.as_str()) {
                only.push(name);
            }
        }
        if !only.is_empty() {
            notes.push(format!("Only the {which} recording has the marks {}.", only.join(", ")));
        }
    }
    let part = MovedPart::between(String::new(), &sides[0].measures, &sides[1].measures);
    let kind = ComparedKind::Recordings;
    Ok(SideBySide { kind, sides: sides.map(|side| side.side), notes, parts: vec![part] })
}

/// What limits the comparison.
fn notes(sides: &[CountedTrace; 2]) -> Vec<String> {
    let mut notes = Vec::new();
    let ordinals = ["first", "second"];
    let named = || sides.iter().zip(ordinals);
    let without: Vec<&str> =
        named().filter(|(side, _)| !side.has_lines).map(|(_, which)| which).collect();
    let advice = "Record with `heaplay record --sites` to see what moved by line.";
    match without.as_slice() {
        [] => {}
        [one] => {
            notes.push(format!(
                "The {one} recording has no lines, so there are no rows by line. {advice}"
            ));
        }
        _ => notes.push(format!("Neither recording has lines. {advice}")),
    }
    let fact = |side: &CountedTrace| side.header.facts.get("python").cloned();
    if let [Some(old), Some(new)] = [fact(&sides[0]), fact(&sides[1])]
        && old != new
    {
        notes.push(format!(
            "The interpreters differ (CPython {old} and {new}): a part of the movement is theirs."
        ));
    }
    let [old, new] = [sides[0].peak_share, sides[1].peak_share];
    if (old - new).abs() >= APART_SHARE {
        notes.push(format!(
            "The peaks are different moments: after {} of the calls of the first recording, and {} of the \
             second. A line may have much at one of them only. Where both have a mark of a name, what is \
             live there is compared, too.",
            percent(old),
            percent(new)
        ));
    }
    if sides[0].has_end != sides[1].has_end {
        let which = if sides[0].has_end { ordinals[1] } else { ordinals[0] };
        notes.push(format!(
            "The {which} recording does not mark where its process begins to end: its end is after \
             its last call, when the process has taken itself apart."
        ));
    }
    for (side, which) in named() {
        if let Some(caveat) = synthesised(&side.header.facts) {
            notes.push(format!("The {which} recording is {caveat}."));
        }
    }
    notes
}

fn counted(path: &Path, marks: &[String]) -> anyhow::Result<CountedTrace> {
    let mut first = trace::open(path)?;
    let header = first.header().clone();
    let statistics = trace::statistics(first.as_mut(), path, |_| ())?;
    for warning in first.warnings() {
        note(format!("{}: {warning}", path.display()));
    }
    // What a process holds before it takes itself apart is its own.
    let end = first.process().end.map(|end| end.event.min(statistics.calls));
    let mut choices = vec![
        ("live at the peak".to_owned(), CountedBlocks::LiveAfter(statistics.live_peak_event)),
        ("live at the end".to_owned(), CountedBlocks::LiveAfter(end.unwrap_or(statistics.calls))),
    ];
    let own = header.marks();
    for name in marks {
        if let Some((event, _)) = own.iter().find(|(_, other)| other == name) {
            choices.push((format!("live at mark {name}"), CountedBlocks::LiveAfter(*event)));
        }
    }
    choices.push(("allocated".to_owned(), CountedBlocks::Requested));
    let blocks: Vec<CountedBlocks> = choices.iter().map(|(_, blocks)| *blocks).collect();
    let mut reader = trace::open(path)?;
    let counts = trace::count_blocks(reader.as_mut(), &blocks, |_| ())?;
    let labels = Labels::of(reader.sites(), &statistics);
    let mut measures: Vec<SideMeasure> = choices
        .iter()
        .zip(&counts)
        .map(|((name, _), counts)| labels.measure(name, MovedUnit::Bytes, counts))
        .collect();
    if let Some(all) = counts.last() {
        measures.push(labels.measure("requests", MovedUnit::Requests, all));
    }
    let side = side(path, &header, &statistics);
    let has_end = end.is_some() || statistics.calls == 0;
    let peak_share = statistics.live_peak_event as f64 / statistics.calls.max(1) as f64;
    let has_lines = labels.has_lines;
    Ok(CountedTrace { measures, side, has_lines, has_end, peak_share, header })
}

fn side(path: &Path, header: &Header, statistics: &TraceStatistics) -> ComparedSide {
    let facts = FACTS.iter().filter_map(|name| {
        let value = header.facts.get(*name)?;
        // A program given on the command line may be pages long.
        let line: Vec<&str> = value.split_whitespace().collect();
        Some(((*name).to_owned(), line.join(" ").chars().take(160).collect()))
    });
    let own = [
        ("calls".to_owned(), count(statistics.calls)),
        ("most live blocks".to_owned(), count(statistics.live_peak_blocks)),
    ];
    ComparedSide { name: path.display().to_string(), facts: own.into_iter().chain(facts).collect() }
}

/// What the counts of a trace are called.
struct Labels<'a> {
    sites: &'a Sites,
    has_lines: bool,
    has_chains: bool,
    has_types: bool,
}

impl<'a> Labels<'a> {
    fn of(sites: &'a Sites, statistics: &TraceStatistics) -> Labels<'a> {
        // A trace without a call has no row to know or not to know.
        let is_empty = statistics.calls == 0;
        let has_chains = statistics.sites.iter().any(|site| site.site.contains(CALLED_FROM));
        Labels {
            sites,
            has_lines: is_empty || !statistics.sites.is_empty(),
            has_chains: is_empty || has_chains,
            has_types: is_empty || !statistics.types.is_empty(),
        }
    }

    fn measure(&self, name: &str, unit: MovedUnit, counts: &BlockCounts) -> SideMeasure {
        let value = |count: BlockCount| match unit {
            MovedUnit::Bytes => count.bytes as i64,
            MovedUnit::Requests => count.blocks as i64,
        };
        let mut measure = SideMeasure::new(name, unit, value(counts.total));
        let mut put = |by: BrokenDownBy, rows: &mut dyn Iterator<Item = (String, BlockCount)>| {
            let mut own: BTreeMap<String, i64> = BTreeMap::new();
            for (label, count) in rows.filter(|(_, count)| count.blocks > 0) {
                *own.entry(label).or_default() += value(count);
            }
            measure.rows.insert(by, own);
        };
        let named = |name: &str, without: &str| match name {
            "" => without.to_owned(),
            name => name.to_owned(),
        };
        if self.has_lines {
            let sites = counts.named_sites(self.sites);
            put(
                BrokenDownBy::Line,
                &mut sites.map(|(site, count)| (named(line_of(site), NO_LINE), count)),
            );
        }
        if self.has_chains {
            let chain = |site: &str| named(site, NO_LINE);
            let sites = counts.named_sites(self.sites);
            put(BrokenDownBy::CallChain, &mut sites.map(|(site, count)| (chain(site), count)));
        }
        if self.has_types {
            let types = (0..).zip(counts.types.iter().copied());
            let name = |id: u32| named(self.sites.type_name(TypeId(id)), NO_TYPE);
            put(BrokenDownBy::Type, &mut types.map(|(id, count)| (name(id), count)));
        }
        let classes = counts.size_classes.iter().copied().enumerate();
        let label = |class: usize| size_class_label(size_class_limit(class));
        put(BrokenDownBy::SizeClass, &mut classes.map(|(class, count)| (label(class), count)));
        let domains = Domain::ALL.iter().zip(counts.domains);
        put(
            BrokenDownBy::Domain,
            &mut domains.map(|(domain, count)| (domain.name().to_owned(), count)),
        );
        measure
    }
}
