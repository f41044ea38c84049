//! What one run of a program showed.

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::outputs::last_line;
use super::page::{self, PAGE_LENGTH, end, mark, python_allocator};

/// One run of a program.
#[derive(Debug)]
pub struct Observation {
    /// How it ended; `None` where it ran until a mark or for a time, and heaplay ended it.
    pub status: Option<ExitStatus>,
    /// Processor time in user mode, ns: of the program and of the processes for which it waited.
    pub user_ns: u64,
    /// The same in the kernel.
    pub system_ns: u64,
    /// Processor time of the program's own process, ns; `None` where its end was not seen.
    pub own_ns: Option<u64>,
    /// Wall time, ns.
    pub wall_ns: u64,
    /// Page faults.
    pub faults: u64,
    /// The most resident anonymous memory, bytes.
    pub peak_bytes: u64,
    /// Resident anonymous memory at the end, bytes.
    pub end_bytes: u64,
    /// The program's marks, in order.
    pub marks: Vec<MarkReading>,
    /// What the observer read of the allocator; `None` where it was not loaded.
    pub allocator: Option<LoadedAllocator>,
    /// What the program printed to standard output and to standard error.
    pub outputs: [File; 2],
}

impl Observation {
    /// Whether the program is an interpreter of Python.
    pub fn is_python(&self) -> bool {
        self.allocator.as_ref().is_some_and(|allocator| allocator.python.is_some())
    }

    /// How a run failed; `None` for one that ended well.
    pub fn failure(&self) -> Option<ProgramFailure> {
        let status = self.status.filter(|status| !status.success())?;
        Some(ProgramFailure { status, end: last_line(&self.outputs) })
    }

    /// Processor time, ns.
    pub fn processor_ns(&self) -> u64 {
        self.user_ns + self.system_ns
    }
}

/// How a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFailure {
    /// How it ended.
    pub status: ExitStatus,
    /// The last line that it printed, with the output that has it; `None` where it printed nothing.
    pub end: Option<String>,
}

/// A mark of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkReading {
    /// Its name.
    pub name: String,
    /// Nanoseconds of the monotonic clock.
    pub time_ns: u64,
    /// Resident anonymous memory, bytes.
    pub anonymous_bytes: u64,
    /// Processor time in user mode until then, ns.
    pub user_ns: u64,
    /// Processor time in the kernel until then, ns.
    pub system_ns: u64,
    /// Page faults until then.
    pub faults: u64,
}

/// The allocator that served a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedAllocator {
    /// The file of its `malloc`.
    pub file: PathBuf,
    /// The version that it reports, such as `glibc 2.36`; empty where it reports none.
    pub version: String,
    /// The version of CPython in the process, such as 3 and 11.
    pub python: Option<(u8, u8)>,
    /// Whether the object domain had another allocator than `malloc`; `None` where nobody looked,
    /// since a signal ended the process, or where there is no CPython.
    pub has_pymalloc: Option<bool>,
}

/// The page that the observer wrote, as it is in its file.
pub(super) struct PageReading(Vec<u8>);

impl PageReading {
    /// A page from the bytes of its file. A shorter file has zeros behind its end.
    pub(super) fn of(mut bytes: Vec<u8>) -> PageReading {
        bytes.resize(PAGE_LENGTH, 0);
        PageReading(bytes)
    }

    fn number(&self, at: usize) -> u64 {
        let bytes = self.0.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    }

    fn text(&self, at: usize, length: usize) -> String {
        let bytes = self.0.get(at..at + length).unwrap_or_default();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }

    /// Resident anonymous memory at the end, bytes; `None` where the end was not seen.
    pub(super) fn end_bytes(&self) -> Option<u64> {
        (self.number(page::END) != end::UNKNOWN).then(|| self.number(page::END_ANONYMOUS))
    }

    /// Whether the observer ended the process at its start.
    pub(super) fn has_ended_at_start(&self) -> bool {
        self.number(page::END) == end::START
    }

    /// Processor time of the process itself, ns; `None` where its end was not seen.
    pub(super) fn own_processor_ns(&self) -> Option<u64> {
        self.end_bytes().map(|_| self.number(page::OWN_PROCESSOR))
    }

    /// What the most resident memory of the process says about anonymous memory, bytes: at least so
    /// much was resident at one time, since the resident parts of files only grow.
    pub(super) fn peak_bytes_at_least(&self) -> u64 {
        let shared = self.number(page::END_SHARED);
        if shared == 0 { 0 } else { self.number(page::HIGH_WATER).saturating_sub(shared) }
    }

    /// The marks.
    pub(super) fn marks(&self) -> Vec<MarkReading> {
        let count = (self.number(page::MARK_COUNT) as usize).min(page::MARKS_LIMIT);
        (0..count).map(|at| self.mark(at)).collect()
    }

    fn mark(&self, number: usize) -> MarkReading {
        let at = page::MARKS + number * page::MARK_LENGTH;
        MarkReading {
            name: self.text(at + mark::NAME, mark::NAME_LENGTH),
            time_ns: self.number(at + mark::TIME),
            anonymous_bytes: self.number(at + mark::ANONYMOUS),
            user_ns: self.number(at + mark::USER),
            system_ns: self.number(at + mark::SYSTEM),
            faults: self.number(at + mark::FAULTS),
        }
    }

    /// The mark until which the program was to run, once it has come.
    pub(super) fn until_mark(&self) -> Option<MarkReading> {
        let number = self.number(page::UNTIL_MARK).checked_sub(1)?;
        Some(self.mark((number as usize).min(page::MARKS_LIMIT - 1)))
    }

    /// The allocator of the process.
    pub(super) fn allocator(&self) -> Option<LoadedAllocator> {
        if self.number(page::MAGIC_AT) != page::MAGIC {
            return None;
        }
        let python = self.number(page::PYTHON_VERSION);
        Some(LoadedAllocator {
            file: self.text(page::MALLOC_FILE, page::MARKS - page::MALLOC_FILE).into(),
            version: self
                .text(page::ALLOCATOR_VERSION, page::MALLOC_FILE - page::ALLOCATOR_VERSION),
            python: (python > 0).then_some(((python >> 8) as u8, python as u8)),
            has_pymalloc: match self.number(page::PYTHON_ALLOCATOR) {
                python_allocator::UNKNOWN => None,
                kind => Some(kind == python_allocator::OWN),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_page_has_nothing() {
        for length in [0, 7, 100, PAGE_LENGTH] {
            let page = PageReading::of(vec![0; length]);
            assert!(page.marks().is_empty() && page.until_mark().is_none());
            assert_eq!((page.end_bytes(), page.allocator()), (None, None));
            assert_eq!(page.peak_bytes_at_least(), 0);
        }
    }

    #[test]
    fn a_page_of_random_bytes_is_read() {
        let mut random = crate::stats::Random(3);
        for _ in 0..200 {
            let page = PageReading::of((0..PAGE_LENGTH).map(|_| random.bits() as u8).collect());
            assert!(page.marks().len() <= page::MARKS_LIMIT);
            drop((page.until_mark(), page.allocator(), page.end_bytes()));
        }
    }
}
