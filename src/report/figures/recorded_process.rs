//! The recorded process itself, beside the replay of its recording.
//!
//! The recorder read the process's resident memory. A replay on the allocator that the program ran on
//! must give the same curve. So each recording proves its own replay, or disproves it.

use crate::report::text::end_name;
use crate::results::{EndKind, EndPoint, TraceEntry};
use crate::units::{bytes, percent};

use super::backend::BackendFigures;
use super::phases::clock_at;

/// A difference beyond this share is a warning.
const LARGE_SHARE: f64 = 0.1;
/// A difference of fewer bytes is none: an interpreter has so much of its own.
const SMALL_BYTES: f64 = 2.0 * 1_048_576.0;

/// The heap of the recorded process over time.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedProcess {
    /// Allocation clock and resident bytes, in order.
    pub curve: Vec<(f64, f64)>,
    /// The largest resident memory, bytes: the kernel's high-water mark where the recording has it, which
    /// may lie between two points of the curve.
    pub peak_bytes: f64,
    /// The replay on the allocator that the program ran on; `None` where that was not replayed.
    pub own: Option<OwnReplay>,
}

/// A replay beside the process whose recording it replays, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnReplay {
    /// The backend, as pictures name it.
    pub name: String,
    /// Largest resident memory of the replay and of the process.
    pub peaks: [f64; 2],
    /// Resident memory of both at the end.
    pub ends: [f64; 2],
}

/// The recorded process of a trace; `None` where the recording did not read its memory, or no backend
/// has samples. `backends` are those of the trace.
pub fn recorded_process(
    trace: &TraceEntry,
    backends: &[BackendFigures<'_>],
) -> Option<RecordedProcess> {
    let process = trace.process.as_ref()?;
    let samples = &backends.iter().find(|backend| !backend.samples.is_empty())?.samples;
    let curve: Vec<(f64, f64)> = process
        .memory
        .iter()
        .map(|point| {
            let last = samples.last().map_or(0.0, |sample| sample.clock_bytes as f64);
            (clock_at(samples, point.event).unwrap_or(last), point.heap_bytes as f64)
        })
        .collect();
    let peak_bytes = peak_bytes(trace, &curve)?;
    let end_bytes = curve.last()?.1;
    let own = own_backend(trace, backends).and_then(|backend| {
        let (peak, end) = (backend.memory.peak_bytes?, backend.memory.end_bytes?);
        let name = backend.name().to_owned();
        Some(OwnReplay { name, peaks: [peak, peak_bytes], ends: [end, end_bytes] })
    });
    Some(RecordedProcess { curve, peak_bytes, own })
}

/// The highest point of a curve, and what the kernel's high-water mark is above it.
fn peak_bytes(trace: &TraceEntry, curve: &[(f64, f64)]) -> Option<f64> {
    let sampled_bytes = curve.iter().map(|(_, bytes)| *bytes).reduce(f64::max)?;
    // An earlier end was chosen, and the mark may be of a later moment.
    let is_whole = matches!(
        trace.end.as_ref().map(|end| &end.kind),
        None | Some(EndKind::Finalisation | EndKind::Exit)
    );
    let unsampled = trace.facts.get("unsampled_peak_bytes").filter(|_| is_whole);
    let unsampled = unsampled.and_then(|bytes| bytes.parse().ok());
    Some(sampled_bytes + unsampled.unwrap_or(0.0))
}

/// The backend that stands for the allocator that the program ran on; `None` where that is not known, or
/// was not replayed.
pub fn own_backend<'b, 'a>(
    trace: &TraceEntry,
    backends: &'b [BackendFigures<'a>],
) -> Option<&'b BackendFigures<'a>> {
    backends.iter().find(|backend| trace.is_own_backend(backend.spec))
}

fn more_or_less(share: f64) -> &'static str {
    if share < 0.0 { "less" } else { "more" }
}

impl OwnReplay {
    /// How near the replay comes to the process, in a sentence. `end` is the moment of the ends.
    pub fn sentence(&self, end: Option<&EndPoint>) -> String {
        let part = |[replay, process]: [f64; 2], place: &str| {
            let share = (replay - process) / process.max(1.0);
            let sign = if share < 0.0 { "−" } else { "+" };
            let [both @ .., apart] = [replay, process, (replay - process).abs()].map(bytes);
            // Two that look alike say nothing: then it is how far they are apart.
            let figures = match both {
                [replay, process] if replay != process => format!("{replay} of {process}"),
                [_, process] if apart == bytes(0.0) => process,
                [_, process] => format!("{apart} {} than {process}", more_or_less(share)),
            };
            format!("{sign}{} {place} ({figures})", percent(share.abs()))
        };
        let at_end = match end.map(|end| &end.kind) {
            // Both are of one moment.
            Some(EndKind::Peak) => String::new(),
            _ => format!(", {}", part(self.ends, &end_name(end))),
        };
        format!(
            "Replay of its own allocator ({}): {}{at_end}.",
            self.name,
            part(self.peaks, "at the peak")
        )
    }

    /// Whether the replay is so far from the process that its figures do not stand for it.
    pub fn is_far(&self) -> bool {
        [self.peaks, self.ends].iter().any(|[replay, process]| {
            let difference = (replay - process).abs();
            difference > SMALL_BYTES && difference > LARGE_SHARE * process
        })
    }

    /// The warning, with the likely cause; `None` where the replay is near.
    pub fn warning(&self, trace: &TraceEntry) -> Option<String> {
        let cause = if trace.facts.contains_key("unexplained") {
            "memory that the recording does not have"
        } else if trace.facts.get("domains").is_some_and(|domains| domains == "python") {
            "native allocations, which --domains python leaves out"
        } else if trace.thread_count > 1 {
            "threads, or memory that the allocator returns after a delay"
        } else {
            "free memory at the top of a heap, which one small block there retains in one run and not in \
             another"
        };
        self.is_far().then(|| {
            format!(
                "The replay differs from the process by more than 10 %. Likely cause: {cause}. So \
                 compare its figures with each other, and not with the memory of the process, which \
                 `heaplay live` measures under each allocator."
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(peaks: [f64; 2], ends: [f64; 2]) -> OwnReplay {
        OwnReplay { name: "malloc".into(), peaks, ends }
    }

    #[test]
    fn the_peak_is_the_kernel_s_high_water_mark() {
        let mut trace = TraceEntry::default();
        let curve = [(0.0, 10.0), (1.0, 40.0), (2.0, 20.0)];
        assert_eq!(peak_bytes(&trace, &curve), Some(40.0));
        trace.facts.insert("unsampled_peak_bytes".into(), "5".into());
        assert_eq!(peak_bytes(&trace, &curve), Some(45.0));
        assert_eq!(peak_bytes(&trace, &[]), None);
        trace.end = Some(EndPoint { event: 3, kind: EndKind::Peak });
        assert_eq!(peak_bytes(&trace, &curve), Some(40.0));
    }

    #[test]
    fn a_far_replay_is_a_warning_with_a_cause() {
        let mib = 1_048_576.0;
        let near = own([98.0 * mib, 100.0 * mib], [10.5 * mib, 10.0 * mib]);
        assert_eq!(
            near.sentence(None).replace('\u{a0}', " "),
            "Replay of its own allocator (malloc): −2.0 % at the peak (98 MiB of 100 MiB), +5.0 % at \
             the end (512 KiB more than 10 MiB)."
        );
        let plateau = EndPoint { event: 9, kind: EndKind::Plateau { from_event: 1 } };
        let level = own([98.0 * mib, 98.1 * mib], [10.0 * mib; 2]);
        assert_eq!(
            level.sentence(Some(&plateau)).replace('\u{a0}', " "),
            "Replay of its own allocator (malloc): −0.10 % at the peak (102 KiB less than 98 MiB), +0 % \
             on the plateau (10 MiB)."
        );
        let peak = EndPoint { event: 9, kind: EndKind::Peak };
        assert_eq!(
            near.sentence(Some(&peak)).replace('\u{a0}', " "),
            "Replay of its own allocator (malloc): −2.0 % at the peak (98 MiB of 100 MiB)."
        );
        let mut trace = TraceEntry::default();
        assert_eq!(near.warning(&trace), None);
        let far = own([20.0 * mib, 100.0 * mib], [10.0 * mib; 2]);
        assert!(far.warning(&trace).unwrap().contains("the top of a heap"));
        trace.thread_count = 4;
        assert!(far.warning(&trace).unwrap().contains("threads"));
        trace.facts.insert("unexplained".into(), String::new());
        assert!(far.warning(&trace).unwrap().contains("does not have"));
    }
}
