//! Android's memory trace text, as malloc debug's `record_allocs` dumps it and
//! `memory_replay` reads it.
//!
//! A call a line, `TID: ACTION ADDRESS …`; addresses are hexadecimal, sizes decimal. Later versions
//! add when the call began and ended, in nanoseconds; the first beginning is time 0.
//!
//! ```text
//! TID: malloc ADDRESS SIZE                TID: calloc ADDRESS COUNT SIZE
//! TID: memalign ADDRESS ALIGNMENT SIZE    TID: realloc NEW OLD SIZE
//! TID: free ADDRESS                       TID: thread_done 0x0
//! ```
//!
//! A memalign is read as malloc, for a trace has no alignments; 0x0 as OLD makes a realloc a
//! malloc.

use super::Op;
use super::foreign::{Foreign, Lines, Log, Wrong, number};

pub(super) const MEMBER: Foreign = Foreign {
    name: "android",
    words: "an Android memory trace",
    sniff,
    lines: || Box::new(Android { start: None }),
};

const ACTIONS: [&str; 6] = ["malloc", "calloc", "memalign", "realloc", "free", "thread_done"];

fn sniff(start: &str) -> bool {
    let mut words = start.lines().next().unwrap_or_default().split_ascii_whitespace();
    let tid = words.next().and_then(|word| word.strip_suffix(':'));
    tid.is_some_and(|tid| tid.parse::<u32>().is_ok())
        && words.next().is_some_and(|word| ACTIONS.contains(&word))
}

struct Android {
    /// When the first timed call began.
    start: Option<u64>,
}

impl Lines for Android {
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), Wrong> {
        log.header.columns.thread = true;
        log.header.columns.end_thread = true;
        let wrong = || Wrong(format!("`{line}`"), "`TID: ACTION ADDRESS …`");
        let mut words = line.split_ascii_whitespace();
        let tid =
            words.next().and_then(|word| word.strip_suffix(':')?.parse().ok()).ok_or_else(wrong)?;
        let action = words.next().ok_or_else(wrong)?;
        let numbers: Option<Vec<u64>> = words.map(number).collect();
        let numbers = numbers.ok_or_else(wrong)?;
        let wanted = match action {
            "malloc" => 2,
            "calloc" | "memalign" | "realloc" => 3,
            "free" | "thread_done" => 1,
            _ => return Err(wrong()),
        };
        let (of, times) = numbers.split_at_checked(wanted).ok_or_else(wrong)?;
        log.thread = tid;
        if let [begun, ..] = times {
            log.header.columns.time_ns = true;
            log.time_ns = begun.saturating_sub(*self.start.get_or_insert(*begun));
        }
        match (action, of) {
            ("malloc", &[address, size]) => log.birth(Op::Malloc, size, address),
            ("calloc", &[address, count, size]) => {
                log.birth(Op::Calloc, count.checked_mul(size).ok_or_else(wrong)?, address);
            }
            ("memalign", &[address, _, size]) => log.birth(Op::Malloc, size, address),
            ("realloc", &[new, old, size]) => log.realloc(old, size, new),
            ("free", &[address]) => log.free(address),
            _ => {}
        }
        Ok(())
    }
}
