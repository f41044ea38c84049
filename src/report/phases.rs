//! Room `report`, below the charts over the allocation clock: where the program said that a phase
//! begins.
//!
//! Marks are a fact of the trace (`marks`, JSON: `[[event,"name"],…]`); samples tell where on the
//! clock their calls are.

use super::axis::Panel;
use super::canvas::{Anchor, Canvas, Stroke, shorten, text_width};
use super::chart::{AXIS, SOFT, TINY, WHITE};
use crate::results::{Sample, TraceEntry};

/// More lines than this would hide what they are drawn over.
pub const MOST: usize = 24;

/// A mark of the program.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Calls made before it.
    pub event: f64,
    /// Bytes requested before it.
    pub clock_bytes: f64,
    /// As the program calls it.
    pub name: String,
}

/// The marks of a trace: the calls made before each, and its name.
pub fn marks(trace: &TraceEntry) -> Vec<(u64, String)> {
    trace.facts.get("marks").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The marks of a trace, placed by the samples of one backend, which rise by event; none where
/// there are no samples.
pub fn phases(trace: &TraceEntry, samples: &[&Sample]) -> Vec<Phase> {
    let place = |event: u64| {
        let above = samples.partition_point(|sample| sample.event < event);
        let after = samples.get(above)?;
        let before =
            above.checked_sub(1).map_or((0, 0), |at| (samples[at].event, samples[at].clock_bytes));
        let calls = after.event.saturating_sub(before.0).max(1) as f64;
        let share = event.saturating_sub(before.0) as f64 / calls;
        Some(before.1 as f64 + (after.clock_bytes.saturating_sub(before.1)) as f64 * share)
    };
    let placed = marks(trace).into_iter().filter_map(|(event, name)| {
        Some(Phase { event: event as f64, clock_bytes: place(event)?, name })
    });
    placed.take(MOST).collect()
}

/// Draws a thin line at each mark, which lies across the panel `at` its place; `named` where there
/// is room for words at the top. A name that would touch the one before it is left out.
pub fn draw(
    canvas: &mut Canvas,
    panel: &Panel,
    phases: &[Phase],
    at: impl Fn(&Phase) -> f64,
    named: bool,
) {
    for phase in phases {
        let x = panel.x(at(phase));
        canvas.line(&[(x, panel.top), (x, panel.bottom)], Stroke::dashed(1.0, AXIS, 2.0, 3.0));
    }
    let mut free_from = panel.left;
    for phase in phases.iter().filter(|_| named) {
        let x = panel.x(at(phase));
        let kind = TINY.in_colour(SOFT);
        let name = shorten(&phase.name, kind, 110.0);
        let width = text_width(&name, kind);
        if x + 3.0 >= free_from && x + 6.0 + width < panel.right {
            canvas.rectangle(x + 2.0, panel.top + 1.0, x + 6.0 + width, panel.top + 16.0, WHITE);
            canvas.text(x + 4.0, panel.top + 12.0, &name, kind, Anchor::Left);
            free_from = x + 12.0 + width;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_placed_between_its_samples() {
        let sample = |event: u64, clock_bytes: u64| Sample {
            trace: String::new(),
            backend: String::new(),
            repetition: 0,
            event,
            clock_bytes,
            live_bytes: 0,
            usable_bytes: 0,
            pages_in_use_bytes: 0,
            resident_bytes: 0,
        };
        let samples = [sample(100, 1000), sample(200, 5000)];
        let samples: Vec<&Sample> = samples.iter().collect();
        let mut trace = TraceEntry::default();
        assert!(phases(&trace, &samples).is_empty());
        trace.facts.insert("marks".into(), r#"[[50,"a"],[150,"b"],[200,"c"],[900,"late"]]"#.into());
        let found: Vec<f64> =
            phases(&trace, &samples).iter().map(|phase| phase.clock_bytes).collect();
        assert_eq!(found, [500.0, 3000.0, 5000.0]);
    }
}
