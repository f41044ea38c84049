//! The manifest, which says what was planned, on what, and with what.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::key::{CellKey, Pass};
use super::returnable::RETURNABLE_LEAST_BYTES;
use super::shard::Shard;
use super::tables::{Attribution, Moment, OTHER_SITES};
use super::time_evidence::ComparedBackends;
use crate::cpython::{CollectorRecord, version};

/// Version of the folder's layout. A reader takes this one and [`OLDEST_FORMAT`], and refuses
/// others.
///
/// Format 2 renamed columns, metrics and the table of page retention.
pub const FORMAT: u32 = 2;

/// The oldest layout that is read.
pub const OLDEST_FORMAT: u32 = 1;

/// A trace as the run knew it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceEntry {
    /// Unique in the run; the key in the tables.
    pub name: String,
    /// Where it was, as it was given; only `run --resume` reads it again, from the same directory.
    pub path: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// Calls, frees included.
    pub calls: u64,
    /// From the start of the recording to its last call, in nanoseconds; 0 where the trace has no
    /// times.
    #[serde(default, skip_serializing_if = "is_zero_ns")]
    pub recorded_ns: u64,
    /// What the trace says of itself (`program`, `python` …).
    pub facts: BTreeMap<String, String>,
    /// The program's marks, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<ProgramMark>,
    /// Whether page retention is attributed to lines with their callers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub has_callers: bool,
    /// Lines of libraries that allocate, with the program's own lines that call them; empty in an older
    /// record.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub library_lines: BTreeMap<String, LibraryLineEntry>,
    /// Calls with their times since the start of the recording in nanoseconds: some of them, so that a
    /// report can tell when a call was made. Empty where the trace has no times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub call_times: Vec<(u64, u64)>,
    /// How much of the live peak is live at the end; `None` where the end is not after the peak, for a
    /// trace that is replayed in parts, and in an older record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_survival: Option<PeakSurvivalEntry>,
    /// The lines whose blocks at the end may lie on full free lists of CPython.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub free_lists: BTreeMap<String, FreeListEntry>,
    /// The moment that counts as the end; `None` for the last call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<EndPoint>,
    /// What is known of the recorded process itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessEntry>,
    /// Threads that make calls; 0 where it was not counted, or one thread makes all of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub thread_count: u32,
    /// The threads that have a name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub threads: Vec<NamedThread>,
    /// Whether any call is of CPython's domains mem or obj, which pymalloc serves; `None` where that is
    /// not known: of an older record, and of a trace that is replayed in parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_pymalloc_calls: Option<bool>,
}

impl TraceEntry {
    /// Whether its program is a Python.
    pub fn is_python(&self) -> bool {
        self.facts.contains_key("python")
    }

    /// The version of its CPython, minor and patch; `None` for another program, and for a CPython without
    /// the GIL, whose objects have other sizes.
    pub fn gil_python(&self) -> Option<(u32, u32)> {
        let version = version(self.facts.get("python")?);
        version.filter(|_| !self.facts.contains_key("free_threaded"))
    }

    /// Whether a spec is the allocator that the program ran on, as recorded. Rules of arenas have not
    /// changed since 3.10, so the newest pymalloc stands for all of those.
    pub fn is_own_backend(&self, spec: &str) -> bool {
        let own = self.process.as_ref().map_or("", |process| process.own_backend.as_str());
        !own.is_empty() && (spec == own || spec == "pymalloc" && has_present_rules(own))
    }

    /// Whether a row is that of a line that a person can change, and that holds a notable amount at the end.
    pub fn is_holder(&self, row: &Attribution) -> bool {
        row.moment == Moment::End
            && !row.site.is_empty()
            && row.site != OTHER_SITES
            && row.live_bytes >= RETURNABLE_LEAST_BYTES
            && self.is_changeable(&row.site)
    }

    /// Whether a person can change what a line holds at the end: it is one of the program's own, or one of
    /// a library that these call for it. What an import holds is the code of the module.
    pub fn is_changeable(&self, line: &str) -> bool {
        if line.starts_with(IMPORT_SYSTEM) {
            return false;
        }
        let Some(entry) = self.library_lines.get(line) else { return true };
        let own = |live: &LiveCallersEntry| live.callers > 0 && live.own_bytes > 0;
        // An older record only has who calls it most often.
        entry
            .at_end
            .as_ref()
            .map_or(entry.callers > 0, |live| own(live) && live.startup_blocks * 2 < live.blocks)
    }
}

/// The modules of CPython that import others.
const IMPORT_SYSTEM: &str = "<frozen importlib";

/// Whether a spec is a pymalloc of 3.10 or later, without settings.
fn has_present_rules(spec: &str) -> bool {
    let minor = spec.strip_prefix("pymalloc@3.").and_then(|minor| minor.parse::<u32>().ok());
    minor.is_some_and(|minor| minor >= 10)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero_ns(time_ns: &u64) -> bool {
    *time_ns == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(is_set: &bool) -> bool {
    !is_set
}

/// How much of what a program held at its live peak is live at the end, in requested bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeakSurvivalEntry {
    /// At the peak.
    pub peak_bytes: u64,
    /// Of the same blocks, at the end.
    pub end_bytes: u64,
    /// Whether blocks from before the program's first own line are left out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_without_startup: bool,
    /// Where little is left, a moment for `--at` at which the program holds much: `mark:NAME`, `plateau`
    /// or `peak`; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub held_at: String,
}

/// The blocks of a line at the end that are as many, and as large, as full free lists of CPython hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreeListEntry {
    /// How many blocks the lists can hold of them.
    pub blocks: u64,
    /// The bytes of these.
    pub bytes: u64,
    /// What the lists hold: `tuples of 3`.
    pub lists: Vec<String>,
}

/// Less of the peak than this share at the end is little: lines at the end then say nothing of it.
const LITTLE_LEFT: f64 = 0.1;
/// A program that holds less than this, in bytes, has nothing to look for.
const HELD_LEAST_BYTES: u64 = 1 << 20;

impl PeakSurvivalEntry {
    /// Whether little of the peak is live at the end: less than a tenth, of at least 1 MiB.
    pub fn is_little(&self) -> bool {
        let share = self.end_bytes as f64 / self.peak_bytes.max(1) as f64;
        self.peak_bytes >= HELD_LEAST_BYTES && share < LITTLE_LEFT
    }
}

/// Who calls a line of a library.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryLineEntry {
    /// The program's own line that is its nearest caller, of most of its requests; empty where the trace
    /// does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub caller: String,
    /// How many of the program's own lines call it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub callers: u32,
    /// Whether the trace has callers of lines at all.
    pub is_with_callers: bool,
    /// Who called it for what is live at the peak; `None` where nothing is, and in an older record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_peak: Option<LiveCallersEntry>,
    /// The same at the moment that counts as the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_end: Option<LiveCallersEntry>,
}

/// Whose calls of a library's line allocated its live blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveCallersEntry {
    /// The program's own line with most live bytes; empty where no caller is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub caller: String,
    /// Live bytes of that caller.
    pub caller_bytes: u64,
    /// How many of the program's own lines have live blocks.
    pub callers: u32,
    /// Live blocks of the line.
    pub blocks: u64,
    /// Those that were allocated before the program's first own line.
    pub startup_blocks: u64,
    /// Live bytes of the line without the start-up's.
    pub own_bytes: u64,
}

/// A thread of a trace that has a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedThread {
    /// The trace's number of it.
    pub thread: u32,
    /// Its name, as the process had it.
    pub name: String,
}

/// What is known of a recorded process, besides what it requested.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessEntry {
    /// The backend that stands for the allocator that the program ran on, as a spec; empty where none
    /// does.
    pub own_backend: String,
    /// Resident memory of its heap over time, in order.
    pub memory: Vec<ProcessMemory>,
    /// What its garbage collector visited; `None` where the trace does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collector: Option<CollectorRecord>,
}

/// The heap of a recorded process at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMemory {
    /// Calls made before it.
    pub event: u64,
    /// Resident anonymous memory, less what no replay has: data of loaded files, stacks, mappings that
    /// the program made by itself, and what was there before. Bytes.
    pub heap_bytes: u64,
    /// The rest of its resident anonymous memory, bytes. A replay does not have it, and the program
    /// has it under every allocator.
    #[serde(default)]
    pub besides_bytes: u64,
}

/// A moment before the last call that counts as the end of a trace: memory is followed up to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndPoint {
    /// Calls made before it.
    pub event: u64,
    /// Which moment it is.
    pub kind: EndKind,
}

/// Which moment counts as the end of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndKind {
    /// The interpreter begins to finalise itself.
    Finalisation,
    /// `main` has returned, or the program calls `exit`.
    Exit,
    /// The live peak, which was chosen.
    Peak,
    /// The end of the longest plateau of live bytes, which was chosen.
    Plateau {
        /// Calls made before the plateau begins.
        from_event: u64,
    },
    /// A mark of the program, which was chosen.
    Mark {
        /// As the program calls it.
        name: String,
    },
}

/// A mark of the recorded program: a phase begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramMark {
    /// Calls made before it.
    pub event: u64,
    /// As the program calls it.
    pub name: String,
}

impl TraceEntry {
    /// When a call was made, in nanoseconds since the start of the recording; between two known calls
    /// in proportion. `None` where the trace has no times.
    pub fn time_ns(&self, event: u64) -> Option<u64> {
        let after = self.call_times.partition_point(|known| known.0 < event);
        let before = after.checked_sub(1).map_or((0, 0), |at| self.call_times[at]);
        let Some(&next) = self.call_times.get(after) else {
            return self.call_times.last().map(|last| last.1);
        };
        let share = (event - before.0) as f64 / (next.0 - before.0).max(1) as f64;
        Some(before.1 + (share * (next.1.saturating_sub(before.1)) as f64) as u64)
    }

    /// Whether the lock of the program's interpreter let one thread allocate at a time. An imported
    /// trace does not say.
    pub fn has_interpreter_lock(&self) -> bool {
        let fact = |name: &str| self.facts.get(name).map(String::as_str);
        fact("python").is_some() && fact("free_threaded") != Some("true")
    }

    /// Marks as older folders have them: a fact `marks`, JSON `[[event,"name"],…]`.
    pub(super) fn read_marks_of_facts(&mut self) {
        let Some(text) = self.facts.get("marks") else { return };
        if let Ok(marks) = serde_json::from_str::<Vec<(u64, String)>>(text) {
            self.marks =
                marks.into_iter().map(|(event, name)| ProgramMark { event, name }).collect();
            self.facts.remove("marks");
        }
    }
}

/// A backend as the run knew it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendEntry {
    /// As written; the key in the tables.
    pub name: String,
    /// As the library reports itself.
    pub version: String,
}

/// The machine: what exact measures of black boxes and all times depend on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Facts by name: `processor`, `cores`, `architecture`, `kernel`, `libc`, `page_bytes`,
    /// `transparent_huge_pages` …
    pub facts: BTreeMap<String, String>,
}

/// A run that was merged into another: which cells it gave, and where they were measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MergedRun {
    /// Where they were measured.
    pub machine: Machine,
    /// Which cells.
    pub cells: Vec<CellKey>,
}

/// How long the time pass goes on beyond [`Manifest::repetitions`], until its comparisons are decided.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeBudget {
    /// Wall seconds for all further repetitions.
    pub seconds: f64,
    /// What is compared.
    pub compared: ComparedBackends,
}

/// Further repetitions of the time pass of a trace. They came into the plan while the run went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FurtherRepetitions {
    /// The trace's name.
    pub trace: String,
    /// The backends whose comparisons were open then, as specs.
    pub backends: Vec<String>,
    /// The first of the repetitions.
    pub from: u32,
    /// One more than the last.
    pub to: u32,
}

/// What a run was to do and on what.
#[derive(Default, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Version of heaplay.
    pub heaplay: String,
    /// Seconds since 1970 when the run began.
    pub created_unix_seconds: u64,
    /// Traces in the order given.
    pub traces: Vec<TraceEntry>,
    /// Backends in the order given.
    pub backends: Vec<BackendEntry>,
    /// Passes.
    pub passes: Vec<Pass>,
    /// Repetitions of each pass but the footprint pass, which is exact and runs once.
    pub repetitions: u32,
    /// How long the time pass may go on beyond that; `None` where the number is fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_budget: Option<TimeBudget>,
    /// The further repetitions, in the order in which they came into the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_time: Vec<FurtherRepetitions>,
    /// The part of the cells that this run measures; `None` for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// Seed of the order in which timed cells ran.
    pub seed: u64,
    /// Settings by name: `jobs`, `timeout_seconds`, `memory_limit_bytes` …
    pub settings: BTreeMap<String, String>,
    /// Where it ran, but for the cells of [`Manifest::merged`].
    pub machine: Machine,
    /// The runs that were merged into this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<MergedRun>,
    /// The clock: `source`, `step_nanoseconds`, `pair_nanoseconds`, `cost_nanoseconds`,
    /// `ticks_per_second`.
    pub clock: BTreeMap<String, String>,
}

impl Manifest {
    /// Where a cell was, or is to be, measured.
    pub fn machine_of(&self, cell: &CellKey) -> &Machine {
        let run = self.merged.iter().find(|run| run.cells.contains(cell));
        run.map_or(&self.machine, |run| &run.machine)
    }

    /// The machines that measured cells of this run, each once; that of [`Manifest::machine`] first.
    pub fn machines(&self) -> Vec<&Machine> {
        let mut machines = vec![&self.machine];
        for run in &self.merged {
            if !machines.contains(&&run.machine) {
                machines.push(&run.machine);
            }
        }
        machines
    }

    /// The cells of runs that were merged into this one, each with the number of its run, from 1.
    /// All other cells are of run 0. Only cells of one run were measured side by side.
    pub fn runs_of_cells(&self) -> HashMap<&CellKey, usize> {
        let runs = self.merged.iter().zip(1..);
        runs.flat_map(|(run, number)| run.cells.iter().map(move |cell| (cell, number))).collect()
    }

    /// Every cell that the run should hold, in no particular order of time.
    pub fn planned(&self) -> Vec<CellKey> {
        let mut cells = Vec::new();
        for trace in &self.traces {
            // A trace of one thread has no free order.
            let has_threads = trace.thread_count > 1;
            for pass in self.passes.iter().filter(|pass| has_threads || **pass != Pass::Free) {
                let repetitions = if *pass == Pass::Footprint { 1 } else { self.repetitions };
                for repetition in 0..repetitions {
                    for backend in &self.backends {
                        cells.push(CellKey {
                            trace: trace.name.clone(),
                            backend: backend.name.clone(),
                            pass: *pass,
                            repetition,
                        });
                    }
                }
            }
        }
        cells.retain(|cell| self.shard.is_none_or(|shard| shard.contains(cell)));
        // At the end, because the place of a cell in the plan is its number in the folder.
        for further in &self.further_time {
            for repetition in further.from..further.to {
                cells.extend(further.backends.iter().map(|backend| CellKey {
                    trace: further.trace.clone(),
                    backend: backend.clone(),
                    pass: Pass::Time,
                    repetition,
                }));
            }
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_between_two_known_ones_has_its_time_in_proportion() {
        let trace = TraceEntry { call_times: vec![(10, 100), (20, 300)], ..TraceEntry::default() };
        let times = [0, 5, 10, 15, 20, 99].map(|event| trace.time_ns(event));
        assert_eq!(times, [0, 50, 100, 200, 300, 300].map(Some));
        assert_eq!(TraceEntry::default().time_ns(5), None);
    }

    #[test]
    fn the_newest_pymalloc_stands_for_those_of_the_same_rules() {
        assert!(has_present_rules("pymalloc@3.11") && has_present_rules("pymalloc@3.10"));
        assert!(!has_present_rules("pymalloc@3.9") && !has_present_rules("pymalloc@3.11+malloc"));
        assert!(!TraceEntry::default().is_own_backend(""), "no process was recorded");
    }
}
