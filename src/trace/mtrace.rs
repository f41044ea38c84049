//! The log of glibc's `mtrace()`, `MALLOC_TRACE=FILE`. Since 2.34 it needs `libc_malloc_debug.so`
//! preloaded.
//!
//! The lines stand between `= Start` and `= End`. Each is `@ PLACE SIGN ADDRESS [SIZE]`, with
//! hexadecimal numbers. PLACE is `FILE:[0xOFFSET]`, `FILE:(SYMBOL+0x…)[0x…]`, or only `[0x…]`. In
//! the last form the line lacks the `@`. The signs are:
//!
//! ```text
//! +  a new block (malloc, calloc and aligned allocations: all become mallocs)
//! -  a free, and a realloc to nothing
//! <  a realloc begins: the old block      >  and ends: the new block and its size
//! !  a realloc failed: the old block lives on
//! ```
//!
//! A `+` with the address `(nil)` is a call that failed. There is no thread and no time. The site of
//! a row is PLACE. Other lines are counted and left out. A second `= Start`, or a call behind `= End`,
//! is of another log and is refused.

use super::event::{Op, SITE_LIMIT_BYTES};
use super::foreign::{Foreign, LineFault, LineParser, Log, LogParser, LogStart, number, pointer};
use super::quote::quoted;

pub(super) const MEMBER: Foreign = Foreign {
    name: "mtrace",
    description: "a glibc mtrace log",
    sniff,
    parser: || LogParser::Lines(Box::new(Mtrace::default())),
};

fn sniff(start: &LogStart<'_>) -> bool {
    start.lines().any(|line| line == "= Start" || looks_like_call(line) && call(line).is_some())
}

#[derive(Default)]
struct Mtrace {
    has_started: bool,
    has_ended: bool,
}

/// Whether a line is meant as a call of this format.
fn looks_like_call(line: &str) -> bool {
    line.starts_with("@ ") || line.starts_with("[0x")
}

/// Place, sign, address and size of a line.
fn call(line: &str) -> Option<(&str, &str, u64, u64)> {
    // PLACE may contain blanks, so the line is read from its end.
    let (rest, last) = line.rsplit_once(' ')?;
    let (rest, before) = rest.rsplit_once(' ')?;
    let (place, sign, address, size) = match before {
        "-" | "<" => (rest, before, last, "0"),
        _ => {
            let (place, sign) = rest.rsplit_once(' ')?;
            (place, sign, before, last)
        }
    };
    let place = place.strip_prefix("@ ").unwrap_or(place);
    let is_sign = matches!(sign, "+" | "-" | "<" | ">" | "!");
    is_sign.then_some((place, sign, pointer(address)?, number(size)?))
}

/// Why a line that is meant as a call is none: its sign, and what it lacks.
fn fault(line: &str) -> LineFault {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let is_sign = |field: &&&str| matches!(**field, "+" | "-" | "<" | ">" | "!");
    let Some(at) = fields.iter().rposition(|field| is_sign(&field)) else {
        return LineFault::Wrong(
            format!("no sign in {}", quoted(line)),
            "`+`, `-`, `<`, `>` or `!` behind the place: `@ PLACE + ADDRESS SIZE`",
        );
    };
    let (sign, behind) = (fields[at], &fields[at + 1..]);
    let wrong = |found: String| match sign {
        "-" | "<" => LineFault::Wrong(found, "an address such as 0x5599d9d342a0"),
        _ => LineFault::Wrong(found, "an address and a size, such as 0x5599d9d342a0 0x40"),
    };
    match behind.iter().find(|field| pointer(field).is_none()) {
        Some(field) => wrong(format!("{} behind `{sign}`", quoted(field))),
        None => wrong(format!("{} behind `{sign}`", number_of(behind.len()))),
    }
}

impl LineParser for Mtrace {
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), LineFault> {
        log.header.columns.site = true;
        let line = line.trim();
        match line {
            "= Start" if !self.has_started => {
                self.has_started = true;
                return Ok(());
            }
            "= End" if !self.has_ended => {
                self.has_ended = true;
                return Ok(());
            }
            "= Start" | "= End" => {
                return Err(LineFault::Wrong(
                    format!("a second `{line}`"),
                    "one log of one process; give each log a file of its own",
                ));
            }
            _ if !looks_like_call(line) => return Err(LineFault::Foreign),
            _ if self.has_ended => {
                return Err(LineFault::Wrong(
                    format!("{} behind `= End`", quoted(line)),
                    "one log of one process; give each log a file of its own",
                ));
            }
            _ => {}
        }
        let (place, sign, address, size) = call(line).ok_or_else(|| fault(line))?;
        match sign {
            "-" => log.free(address),
            "<" => log.give_up(address),
            "!" => log.failed_realloc(),
            _ => {
                let end = (0..=SITE_LIMIT_BYTES.min(place.len()))
                    .rev()
                    .find(|at| place.is_char_boundary(*at));
                log.site = log.sites.intern(&place[..end.unwrap_or(0)]);
                log.birth(if sign == "+" { Op::Malloc } else { Op::Realloc }, size, address);
            }
        }
        Ok(())
    }

    fn is_whole_without_end(&self, line: &str) -> bool {
        line.trim() == "= End"
    }
}

/// `no number`, `1 number`, `3 numbers`.
fn number_of(numbers: usize) -> String {
    match numbers {
        0 => "no number".to_owned(),
        1 => "1 number".to_owned(),
        more => format!("{more} numbers"),
    }
}
