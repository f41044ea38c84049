//! Android's memory trace text. malloc debug's `record_allocs` writes it; `memory_replay` reads it.
//!
//! Each line is a call, `TID: ACTION ADDRESS …`. Addresses are hexadecimal, sizes decimal. Later
//! versions add begin and end of the call in nanoseconds. The begin of the first call is time 0.
//!
//! ```text
//! TID: malloc ADDRESS SIZE                TID: calloc ADDRESS COUNT SIZE
//! TID: memalign ADDRESS ALIGNMENT SIZE    TID: realloc NEW OLD SIZE
//! TID: free ADDRESS                       TID: thread_done 0x0
//! ```
//!
//! A memalign becomes a malloc, because a trace has no alignments. A realloc with 0x0 as OLD becomes
//! a malloc, too.

use super::event::Op;
use super::foreign::{Foreign, LineParser, Log, WrongLine, number};

pub(super) const MEMBER: Foreign = Foreign {
    name: "android",
    description: "an Android memory trace",
    sniff,
    parser: || Box::new(Android { start_ns: None }),
};

const ACTIONS: [&str; 6] = ["malloc", "calloc", "memalign", "realloc", "free", "thread_done"];

fn sniff(start: &str) -> bool {
    let mut fields = start.lines().next().unwrap_or_default().split_ascii_whitespace();
    let tid = fields.next().and_then(|field| field.strip_suffix(':'));
    tid.is_some_and(|tid| tid.parse::<u32>().is_ok())
        && fields.next().is_some_and(|action| ACTIONS.contains(&action))
}

struct Android {
    /// When the first timed call began, in nanoseconds.
    start_ns: Option<u64>,
}

impl LineParser for Android {
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), WrongLine> {
        log.header.columns.thread = true;
        log.header.columns.end_thread = true;
        let wrong = || WrongLine(format!("`{line}`"), "`TID: ACTION ADDRESS …`");
        let mut fields = line.split_ascii_whitespace();
        let tid = fields
            .next()
            .and_then(|field| field.strip_suffix(':')?.parse().ok())
            .ok_or_else(wrong)?;
        let action = fields.next().ok_or_else(wrong)?;
        let numbers: Option<Vec<u64>> = fields.map(number).collect();
        let numbers = numbers.ok_or_else(wrong)?;
        let wanted = match action {
            "malloc" => 2,
            "calloc" | "memalign" | "realloc" => 3,
            "free" | "thread_done" => 1,
            _ => return Err(wrong()),
        };
        let (arguments, times) = numbers.split_at_checked(wanted).ok_or_else(wrong)?;
        log.thread = tid;
        if let [began_ns, ..] = times {
            log.header.columns.time_ns = true;
            log.time_ns = began_ns.saturating_sub(*self.start_ns.get_or_insert(*began_ns));
        }
        match (action, arguments) {
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
