//! Android's memory trace text. malloc debug's `record_allocs` writes it; `memory_replay` reads it.
//!
//! Each line is a call, `TID: ACTION ADDRESS …`. Addresses are hexadecimal, sizes decimal:
//!
//! ```text
//! TID: malloc ADDRESS SIZE [BEGIN END]
//! TID: calloc ADDRESS COUNT SIZE [BEGIN END]
//! TID: memalign ADDRESS ALIGNMENT SIZE [BEGIN END]
//! TID: realloc NEW OLD SIZE [BEGIN END [PRESENT]]
//! TID: free ADDRESS [BEGIN END [PRESENT]]
//! TID: thread_done 0x0 [END]
//! ```
//!
//! BEGIN and END are nanoseconds. Both are 0 where the log has no times and only PRESENT follows. The
//! begin of the first timed call is time 0. PRESENT is the number of bytes of the ended block that were
//! in memory, or -1. A call with the address 0 failed. Lines of another shape are counted and left
//! out.

use super::event::Op;
use super::foreign::{Foreign, LineFault, LineParser, Log, LogParser, LogStart, decimal, number};
use super::quote::quoted;

pub(super) const MEMBER: Foreign = Foreign {
    name: "android",
    description: "an Android memory trace",
    sniff,
    parser: || LogParser::Lines(Box::new(Android { start_ns: None })),
};

const ACTIONS: [&str; 6] = ["malloc", "calloc", "memalign", "realloc", "free", "thread_done"];

/// The number of an action's arguments, and the form of its lines.
fn form_of(action: &str) -> Option<(usize, &'static str)> {
    Some(match action {
        "malloc" => (2, "`TID: malloc ADDRESS SIZE`, addresses such as 0x7f10, sizes in decimals"),
        "calloc" => (3, "`TID: calloc ADDRESS COUNT SIZE`, addresses such as 0x7f10"),
        "memalign" => (3, "`TID: memalign ADDRESS ALIGNMENT SIZE`, addresses such as 0x7f10"),
        "realloc" => (3, "`TID: realloc NEW OLD SIZE`, addresses such as 0x7f10"),
        "free" => (1, "`TID: free ADDRESS`, addresses such as 0x7f10"),
        "thread_done" => (1, "`TID: thread_done 0x0`"),
        _ => return None,
    })
}

/// Stands for present bytes that are not known.
const UNKNOWN: u64 = u64::MAX;

fn sniff(start: &LogStart<'_>) -> bool {
    start.lines().any(|line| {
        split(line).is_some_and(|(_, rest)| {
            let mut fields = rest.split_ascii_whitespace();
            fields.next().is_some_and(|action| ACTIONS.contains(&action))
                && fields.next().is_some_and(|address| number(address).is_some())
        })
    })
}

/// The thread, and the rest of a line: a blank and the name of an action.
fn split(line: &str) -> Option<(u64, &str)> {
    let (thread, rest) = line.trim_start().split_once(':')?;
    let action = rest.strip_prefix(' ')?.split(' ').next()?;
    let is_action = action.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    Some((decimal(thread)?, rest.trim_start())).filter(|_| is_action && !action.is_empty())
}

struct Android {
    /// When the first timed call began, in nanoseconds.
    start_ns: Option<u64>,
}

impl LineParser for Android {
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), LineFault> {
        let (thread, rest) = split(line).ok_or(LineFault::Foreign)?;
        let wrong = |expected| LineFault::Wrong(quoted(line), expected);
        let mut fields = rest.split_ascii_whitespace();
        let action = fields.next().unwrap_or_default();
        let (wanted, form) = form_of(action).ok_or_else(|| {
            LineFault::Wrong(
                format!("the action {}", quoted(action)),
                "malloc, calloc, memalign, realloc, free or thread_done",
            )
        })?;
        let number_of = |field: &str| {
            let known = if field == "-1" { Some(UNKNOWN) } else { number(field) };
            known.ok_or_else(|| LineFault::Wrong(format!("{} in a {action}", quoted(field)), form))
        };
        let numbers: Vec<u64> = fields.map(number_of).collect::<Result<_, _>>()?;
        let (arguments, times) = numbers.split_at_checked(wanted).ok_or_else(|| {
            let found = numbers.len();
            LineFault::Wrong(format!("a {action} with {found} of {wanted} arguments"), form)
        })?;
        log.set_thread(thread);
        let began_ns = match (action, times) {
            (_, []) => 0,
            ("thread_done", &[ended_ns]) => ended_ns,
            (_, &[began_ns, _]) => began_ns,
            ("free" | "realloc", &[began_ns, _, present]) => {
                let ended = arguments[if action == "free" { 0 } else { 1 }];
                if present != UNKNOWN && ended != 0 {
                    log.present(ended, present);
                }
                began_ns
            }
            _ => {
                return Err(wrong("begin and end of the call, or neither"));
            }
        };
        if began_ns > 0 {
            log.set_time(began_ns, *self.start_ns.get_or_insert(began_ns));
        }
        match (action, arguments) {
            ("malloc", &[address, size]) => log.birth(Op::Malloc, size, address),
            ("calloc", &[address, count, size]) => {
                log.calloc(count, size, address)
                    .ok_or_else(|| wrong("COUNT times SIZE below 2^64"))?;
            }
            ("memalign", &[address, alignment, size]) => {
                log.aligned_birth(alignment, size, address);
            }
            ("realloc", &[new, old, size]) => log.realloc(old, size, new),
            ("free", &[address]) => log.free(address),
            _ => log.thread_death(thread),
        }
        Ok(())
    }
}
