//! What valgrind prints with `--trace-malloc=yes`, such as `valgrind --trace-malloc=yes ./app`.
//!
//! Each line is `--PID-- CALL = RESULT`, between the lines of the program and of valgrind's tool:
//!
//! ```text
//! malloc(SIZE)             _Znwm(SIZE), other mangled `operator new`
//! calloc(COUNT,SIZE)       realloc(ADDRESS,SIZE)
//! memalign(al ALIGNMENT, size SIZE), also for posix_memalign and aligned_alloc
//! free(ADDRESS)            _ZdlPv(ADDRESS), other mangled `operator delete`
//! ```
//!
//! Sizes are decimal, addresses hexadecimal. Where valgrind prints something else within a call, the
//! result follows on a line of its own, ` = RESULT`. A result of 0 is a call that failed; for a
//! realloc to 0 bytes it is a free. With `--time-stamp=yes` the time stands before PID, as
//! `DD:HH:MM:SS.MMM`. With `--trace-children=yes` a log has several processes, of which one is read.
//! There are no threads.

use std::collections::HashMap;

use super::event::Op;
use super::foreign::{Foreign, LineFault, LineParser, Log, LogParser, LogStart, decimal, number};
use super::quote::quoted_field;

pub(super) const MEMBER: Foreign = Foreign {
    name: "valgrind",
    description: "output of valgrind --trace-malloc=yes",
    sniff,
    parser: || LogParser::Lines(Box::new(Valgrind::default())),
};

fn sniff(start: &LogStart<'_>) -> bool {
    start.lines().any(|line| {
        split(line).and_then(|found| begin(found.text)).is_some_and(|call| call.is_some())
    })
}

/// A line that valgrind prints.
struct PrintedLine<'a> {
    time_ns: Option<u64>,
    process: u64,
    text: &'a str,
}

/// Splits a line into time, process and text; `None` for a line that is not valgrind's.
fn split(line: &str) -> Option<PrintedLine<'_>> {
    let rest = line.strip_prefix("--")?;
    let (head, text) = rest.split_once("-- ")?;
    let (time_ns, process) = match head.split_once(' ') {
        Some((time, process)) => (Some(time_of(time)?), process),
        None => (None, head),
    };
    Some(PrintedLine { time_ns, process: decimal(process)?, text })
}

/// Nanoseconds of `DD:HH:MM:SS.MMM`.
fn time_of(text: &str) -> Option<u64> {
    let (seconds, milliseconds) = text.split_once('.')?;
    let [days, hours, minutes, seconds] =
        *seconds.split(':').map(decimal).collect::<Option<Vec<_>>>()?.as_slice()
    else {
        return None;
    };
    let whole = days.checked_mul(24)?.checked_add(hours)?.checked_mul(60)?.checked_add(minutes)?;
    let whole = whole.checked_mul(60)?.checked_add(seconds)?.checked_mul(1000)?;
    whole.checked_add(decimal(milliseconds)?)?.checked_mul(1_000_000)
}

/// A call whose result may still be missing.
#[derive(Clone, Copy, Debug)]
enum BegunCall {
    Malloc { size: u64 },
    Calloc { count: u64, size: u64 },
    Aligned { alignment: u64, size: u64 },
    Realloc { old: u64, size: u64 },
    Free { old: u64 },
}

/// The call that a text begins with, and the text behind its bracket. The outer `None` means that
/// there is no known function, the inner one that its arguments are faulty.
fn begin(text: &str) -> Option<Option<(BegunCall, &str)>> {
    let (function, rest) = text.split_once('(')?;
    let is_new = function.starts_with("_Zn") || function == "__builtin_new";
    let is_delete = function.starts_with("_Zd") || function == "__builtin_delete";
    let names = ["malloc", "calloc", "memalign", "realloc", "free", "cfree"];
    if !is_new && !is_delete && !names.contains(&function) {
        return None;
    }
    let Some((arguments, behind)) = rest.split_once(')') else { return Some(None) };
    let arguments: Option<Vec<u64>> = arguments.split(',').map(argument).collect();
    let call = match (function, arguments.as_deref()) {
        ("malloc", Some(&[size])) => BegunCall::Malloc { size },
        ("calloc", Some(&[count, size])) => BegunCall::Calloc { count, size },
        ("realloc", Some(&[old, size])) => BegunCall::Realloc { old, size },
        ("memalign", Some(&[alignment, size])) => BegunCall::Aligned { alignment, size },
        ("free" | "cfree", Some(&[old])) => BegunCall::Free { old },
        (_, Some(&[size])) if is_new => BegunCall::Malloc { size },
        // `operator new` with an alignment names the size first.
        (_, Some(&[size, alignment])) if is_new => BegunCall::Aligned { alignment, size },
        (_, Some(&[old, ..])) if is_delete => BegunCall::Free { old },
        _ => return Some(None),
    };
    Some(Some((call, behind)))
}

/// The number of an argument.
fn argument(text: &str) -> Option<u64> {
    let text = text.trim();
    number(text.strip_prefix("al ").or(text.strip_prefix("size ")).unwrap_or(text))
}

/// The first argument of a call that is no number; all arguments where each is one, and the rest of the
/// line where they do not end.
fn faulty_argument(text: &str) -> &str {
    let (_, rest) = text.split_once('(').unwrap_or((text, text));
    let Some((arguments, _)) = rest.split_once(')') else { return rest };
    arguments.split(',').find(|field| argument(field).is_none()).unwrap_or(arguments)
}

/// The result of ` = RESULT`.
fn result_of(text: &str) -> Option<u64> {
    let (_, result) = text.split_once("= ")?;
    number(result.trim())
}

#[derive(Default)]
struct Valgrind {
    /// The call of each process that waits for its result.
    begun: HashMap<u64, BegunCall>,
    first_ns: Option<u64>,
}

impl LineParser for Valgrind {
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), LineFault> {
        // Valgrind's own words: its banner and its summary.
        if line.starts_with("==") {
            return Ok(());
        }
        let printed = split(line).ok_or(LineFault::Foreign)?;
        let wrong_at = |part: &str| {
            let expected = "`--PID-- FUNCTION(ARGUMENTS) = RESULT`";
            LineFault::Wrong(quoted_field(line, part), expected)
        };
        let Some(call) = begin(printed.text) else {
            let text = printed.text.trim_start();
            if !text.starts_with("= ") {
                return Err(LineFault::Foreign);
            }
            if log.is_of_process(printed.process) {
                let wrong = || wrong_at(text.split_once("= ").map_or(text, |(_, result)| result));
                let call = self.begun.remove(&printed.process).ok_or_else(wrong)?;
                let result = result_of(text).ok_or_else(wrong)?;
                end(call, result, log).ok_or_else(wrong)?;
            }
            return Ok(());
        };
        let (call, behind) = call.ok_or_else(|| wrong_at(faulty_argument(printed.text)))?;
        let wrong = || wrong_at(behind.split_once("= ").map_or(behind, |(_, result)| result));
        if !log.is_of_process(printed.process) {
            return Ok(());
        }
        if let Some(now_ns) = printed.time_ns {
            log.set_time(now_ns, *self.first_ns.get_or_insert(now_ns));
        }
        match call {
            BegunCall::Free { old } if behind.trim().is_empty() => log.free(old),
            BegunCall::Free { .. } => return Err(wrong()),
            call if behind.starts_with(" = ") => {
                let result = result_of(behind).ok_or_else(wrong)?;
                // The product of the arguments is too large.
                end(call, result, log).ok_or_else(|| wrong_at(faulty_argument(printed.text)))?;
            }
            call => {
                if self.begun.insert(printed.process, call).is_some() {
                    log.tally.left_out += 1;
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, log: &mut Log) -> Result<(), LineFault> {
        if !self.begun.is_empty() {
            log.tally
                .remarks
                .push("the last call has no result and was left out: was the log cut off?".into());
        }
        Ok(())
    }
}

/// Adds a call with its result; `None` for a size that is too large.
fn end(call: BegunCall, result: u64, log: &mut Log) -> Option<()> {
    match call {
        BegunCall::Malloc { size } => log.birth(Op::Malloc, size, result),
        BegunCall::Calloc { count, size } => log.calloc(count, size, result)?,
        BegunCall::Aligned { alignment, size } => log.aligned_birth(alignment, size, result),
        BegunCall::Realloc { old, size } => log.realloc(old, size, result),
        BegunCall::Free { .. } => {}
    }
    Some(())
}
