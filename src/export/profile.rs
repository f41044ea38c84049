//! What is exported, whatever the format: weights by stack, and series over time.

use std::collections::BTreeMap;

/// The unit of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightUnit {
    /// Bytes.
    Bytes,
    /// A number of allocations.
    Count,
}

/// One kind of weight that stacks have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    /// What it is, such as `live at the peak`.
    pub name: String,
    /// Its unit.
    pub unit: WeightUnit,
}

/// What the horizontal axis of series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeAxis {
    /// Time of the recorded program.
    Time,
    /// Calls; viewers show each as a microsecond.
    Calls,
}

/// A figure over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// Microseconds (or calls, see [`TimeAxis`]) and bytes, in order.
    pub points: Vec<(f64, f64)>,
}

/// A moment with a name: a mark of the program.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// Microseconds, or calls.
    pub at: f64,
    /// Its name.
    pub name: String,
}

/// A slow call of a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct SlowCallSpan {
    /// The backend.
    pub backend: String,
    /// Calls before it.
    pub at: f64,
    /// Its own time.
    pub nanoseconds: u64,
    /// The call and its line.
    pub name: String,
}

/// What is exported of a trace or a run.
#[derive(Clone, Debug)]
pub struct ExportedProfile {
    /// The trace's name.
    pub name: String,
    /// The weights.
    pub weights: Vec<Weight>,
    /// By stack, outermost frame first: a value for each weight. Empty where no sites are known.
    pub stacks: BTreeMap<Vec<String>, Vec<u64>>,
    /// The function of a frame, where the trace names it.
    pub functions: BTreeMap<String, String>,
    /// What the axis of the series is.
    pub axis: TimeAxis,
    /// Memory over time.
    pub series: Vec<Series>,
    /// Marks of the program.
    pub marks: Vec<Moment>,
    /// Slow calls; empty for a trace.
    pub slow_calls: Vec<SlowCallSpan>,
}

impl ExportedProfile {
    /// The name of a frame as viewers show it: its function with its line, or the frame itself.
    pub fn shown(&self, frame: &str) -> String {
        match self.functions.get(frame) {
            Some(function) => format!("{function} ({frame})"),
            None => frame.to_owned(),
        }
    }

    /// Adds to a weight of a stack.
    pub fn add(&mut self, stack: Vec<String>, weight: usize, value: u64) {
        let weights = self.weights.len();
        let values = self.stacks.entry(stack).or_insert_with(|| vec![0; weights]);
        values[weight] = values[weight].saturating_add(value);
    }
}

/// The stack of a site, outermost frame first. A site is `file:line` of the newest frame, then its
/// callers; a native function stands behind the line that reached it.
pub fn stack_of(site: &str) -> Vec<String> {
    if site.is_empty() {
        return vec!["(no line)".to_owned()];
    }
    let mut stack: Vec<String> = Vec::new();
    for frame in crate::trace::frames(site) {
        // Newest first here.
        let mut parts: Vec<&str> = frame.split(crate::trace::VIA).collect();
        parts.reverse();
        stack.extend(parts.into_iter().map(str::to_owned));
    }
    stack.reverse();
    stack
}

/// A frame as file and line; a native function has no line.
pub fn file_and_line(frame: &str) -> (&str, Option<u32>) {
    match frame.rsplit_once(':').map(|(file, line)| (file, line.parse())) {
        Some((file, Ok(line))) => (file, Some(line)),
        _ => (frame, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_a_stack_from_the_outside() {
        assert_eq!(stack_of("a.py:1"), ["a.py:1"]);
        assert_eq!(
            stack_of("a.py:1 via lib.so!f < b.py:2 < c.py:3"),
            ["c.py:3", "b.py:2", "a.py:1", "lib.so!f"]
        );
        assert_eq!(stack_of(""), ["(no line)"]);
        assert_eq!(file_and_line("a b:c.py:12"), ("a b:c.py", Some(12)));
        assert_eq!(file_and_line("lib.so!std::f"), ("lib.so!std::f", None));
    }
}
