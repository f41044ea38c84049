//! Chart: how a measure moved between two sides, and which lines, size classes, domains or causes make
//! up the movement.

use serde::Serialize;

use super::contract::Caption;
use crate::report::figures::{
    BrokenDownBy, ComparedKind, MovedBreakdown, MovedMeasure, MovedPart, MovedRow, MovedUnit,
    SideBySide, short_row,
};
use crate::report::text::capitalised;
use crate::units::count;

/// The question that it answers, above its picture on the page.
pub const QUESTION: &str = "What moved, and which rows make up the movement?";
/// How to read it, for the page.
pub const READING: &str = "Each row has two bars: before is pale, after is dark. Beside them is the \
                           difference: orange is more, blue is less. The row with the largest \
                           difference comes first. All other rows are summed in one, so the \
                           differences of a panel add up to its total.";

/// The description of the chart.
#[derive(Clone, Debug, Serialize)]
pub struct SideBySideChart {
    /// Its sentences.
    pub caption: Caption,
    /// The first is the widest.
    pub panels: Vec<MovementPanel>,
}

/// A measure by one of its breakdowns.
#[derive(Clone, Debug, Serialize)]
pub struct MovementPanel {
    /// The measure.
    pub measure: String,
    /// By what.
    pub by: BrokenDownBy,
    /// Its unit.
    pub unit: MovedUnit,
    /// The sum of all rows.
    pub total: MovementBar,
    /// The largest difference first; the last one may be the sum of all others.
    pub rows: Vec<MovementBar>,
}

/// A row of a panel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MovementBar {
    /// Its name.
    pub name: String,
    /// More of its name: the folder of a line, and its label before.
    pub detail: String,
    /// Before.
    pub before: i64,
    /// After.
    pub after: i64,
}

impl MovementBar {
    /// After less before.
    pub fn difference(&self) -> i64 {
        self.after - self.before
    }
}

/// Rows of the widest panel, and of the others together, at most.
const WIDE_ROWS_MAX: usize = 12;
const NARROW_ROWS_MAX: usize = 11;

/// Describes the charts of a part, with the end of the file name of each. What did not move has none.
pub fn describe(sides: &SideBySide, part: &MovedPart) -> Vec<(String, SideBySideChart)> {
    let plans = match sides.kind {
        ComparedKind::Recordings => of_recordings(part),
        ComparedKind::Runs => of_runs(part),
    };
    let charts = plans.into_iter().filter_map(|(name, lead, panels)| {
        let is_moved = panels.iter().any(|(measure, _)| !measure.is_unmoved());
        let chart = (is_moved && !panels.is_empty()).then(|| chart(sides, part, lead, &panels))?;
        Some((name, chart))
    });
    charts.collect()
}

/// A file name's end, the measure of the title, and the panels.
type ChartPlan<'a> = (String, &'a MovedMeasure, Vec<(&'a MovedMeasure, &'a MovedBreakdown)>);

fn with(
    measure: Option<&MovedMeasure>,
    by: BrokenDownBy,
) -> Option<(&MovedMeasure, &MovedBreakdown)> {
    let measure = measure?;
    measure.breakdown(by).filter(|breakdown| !breakdown.rows.is_empty()).map(|own| (measure, own))
}

/// A chart for each measure: lines, size classes, and types or domains.
fn of_recordings(part: &MovedPart) -> Vec<ChartPlan<'_>> {
    let plan = |measure| -> ChartPlan {
        let panels = [BrokenDownBy::Line, BrokenDownBy::SizeClass]
            .map(|by| with(Some(measure), by))
            .into_iter()
            .chain([with(Some(measure), BrokenDownBy::Type)
                .or_else(|| with(Some(measure), BrokenDownBy::Domain))]);
        (file_end(&measure.name), measure, panels.flatten().collect())
    };
    part.measures.iter().map(plan).collect()
}

/// A chart for each moment: causes of resident memory, free space by line, and live bytes by size
/// class.
fn of_runs(part: &MovedPart) -> Vec<ChartPlan<'_>> {
    let named = |name: String| part.measures.iter().find(|measure| measure.name == name);
    let mut plans = Vec::new();
    for moment in ["the end", "the live peak"] {
        let Some(resident) = named(format!("resident at {moment}")) else { continue };
        let by_line =
            with(named(format!("free space on pages in use at {moment}")), BrokenDownBy::Line);
        let by_class = ["live", "rounding"]
            .map(|what| with(named(format!("{what} at {moment}")), BrokenDownBy::SizeClass));
        let [live, rounding] = by_class;
        // What the program requests is the same on every backend: then rounding shows more.
        let is_rounding_moved = live.is_none_or(|(measure, _)| measure.is_unmoved());
        let by_class = if is_rounding_moved { rounding.or(live) } else { live };
        let causes = with(Some(resident), BrokenDownBy::Cause);
        let panels = [by_line, causes, by_class].into_iter().flatten().collect();
        plans.push((file_end(&resident.name), resident, panels));
    }
    plans
}

/// The name of a measure as a part of a file name.
fn file_end(measure: &str) -> String {
    let letters = measure.chars().map(|letter| match letter {
        letter if letter.is_alphanumeric() => letter.to_ascii_lowercase(),
        _ => '-',
    });
    letters.collect()
}

fn chart(
    sides: &SideBySide,
    part: &MovedPart,
    lead: &MovedMeasure,
    panels: &[(&MovedMeasure, &MovedBreakdown)],
) -> SideBySideChart {
    let [before, after] = [&sides.sides[0].name, &sides.sides[1].name];
    let of_part = if part.name.is_empty() { String::new() } else { format!(", {}", part.name) };
    let plotted = format!(
        "{}{of_part}.  Before: {before}.  After: {after}.  The largest difference comes first.",
        capitalised(&lead.name)
    );
    let mut narrow = NARROW_ROWS_MAX;
    let mut described = Vec::new();
    for (at, (measure, breakdown)) in panels.iter().enumerate() {
        let most = match at {
            0 => WIDE_ROWS_MAX,
            // The last panel has few rows, and the one before it leaves space for them.
            _ if at + 1 < panels.len() => narrow - panels[at + 1].1.rows.len().clamp(1, 5),
            _ => narrow,
        };
        let panel = panel(measure, breakdown, most.max(1));
        if at > 0 {
            narrow = narrow.saturating_sub(panel.rows.len()).max(1);
        }
        described.push(panel);
    }
    SideBySideChart {
        caption: Caption::new(
            lead.answer(),
            plotted,
            &[
                "Pale bar: before; dark bar: after; the scale is that of the panel.",
                "Orange: more; blue: less.",
                "The differences of a panel add up to its total.",
            ],
        ),
        panels: described,
    }
}

fn panel(measure: &MovedMeasure, breakdown: &MovedBreakdown, most: usize) -> MovementPanel {
    let rows = &breakdown.rows;
    let shown = if rows.len() > most { most - 1 } else { rows.len() };
    let mut bars: Vec<MovementBar> =
        rows[..shown].iter().map(|row| bar(row, breakdown.by)).collect();
    let rest = &rows[shown..];
    if !rest.is_empty() {
        let sum = |of: fn(&MovedRow) -> Option<i64>| rest.iter().filter_map(of).sum();
        let kind = if rest.len() == 1 { breakdown.by.name() } else { breakdown.by.plural() };
        bars.push(MovementBar {
            name: format!("{} other {kind}", count(rest.len() as u64)),
            detail: String::new(),
            before: sum(|row| row.before),
            after: sum(|row| row.after),
        });
    }
    MovementPanel {
        measure: measure.name.clone(),
        by: breakdown.by,
        unit: measure.unit,
        total: MovementBar {
            name: "total".to_owned(),
            detail: String::new(),
            before: measure.before,
            after: measure.after,
        },
        rows: bars,
    }
}

fn bar(row: &MovedRow, by: BrokenDownBy) -> MovementBar {
    let name = short_row(&row.label, by);
    let was = row.was.as_deref().map(|was| short_row(was, by)).filter(|was| *was != name);
    let folder = match by {
        BrokenDownBy::Line => row.label.rsplit_once('/').map_or("", |(folder, _)| folder),
        _ => "",
    };
    let folder = folder.rsplit('/').next().unwrap_or_default();
    let detail = match was {
        Some(was) => format!("was {was}"),
        None => folder.to_owned(),
    };
    MovementBar { name, detail, before: row.before.unwrap_or(0), after: row.after.unwrap_or(0) }
}
