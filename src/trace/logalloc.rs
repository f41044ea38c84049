//! The log of Firefox's logalloc library (`MALLOC_LOG=FILE`), raw or prepared for replay.
//!
//! Each line is a call: `PID TID FUNCTION(ARGUMENTS)[=RESULT]`. Old logs lack TID. Blocks are
//! addresses (`0x…`) or, in a prepared log, ids (`#1`). The functions are:
//!
//! - `malloc(SIZE)`, `valloc(SIZE)`, `calloc(COUNT,SIZE)`, `realloc(BLOCK,SIZE)`, `free(BLOCK)`.
//! - `memalign`, `posix_memalign` and `aligned_alloc(ALIGNMENT,SIZE)`: mallocs with an alignment.
//!
//! Other functions, such as `jemalloc_stats()`, are counted as left out. So are the calls of every
//! process but one, because each process has its own address space. Lines that are no such call are
//! counted, too, as Firefox's own tool does. A result of `(nil)` is a call that failed.

use super::event::Op;
use super::foreign::{Foreign, LineFault, LineParser, Log, LogParser, LogStart, decimal, pointer};
use super::quote::quoted_field;

pub(super) const MEMBER: Foreign = Foreign {
    name: "logalloc",
    description: "a Firefox logalloc log",
    sniff,
    parser: || LogParser::Lines(Box::new(Logalloc)),
};

/// The functions whose calls a trace holds.
const FUNCTIONS: [&str; 8] = [
    "malloc",
    "valloc",
    "calloc",
    "realloc",
    "free",
    "memalign",
    "posix_memalign",
    "aligned_alloc",
];

fn sniff(start: &LogStart<'_>) -> bool {
    start.lines().any(|line| {
        split(line).is_some_and(|call| Logalloc::call(&call, &mut Log::default()).is_some())
    })
}

struct Logalloc;

/// A line of the log.
struct LoggedCall<'a> {
    process: u64,
    thread: u64,
    function: &'a str,
    arguments: &'a str,
    result: Option<&'a str>,
}

impl<'a> LoggedCall<'a> {
    /// The first argument or result that is no number; all arguments where each is one, since their
    /// count or their product is wrong then, or a result is missing or too much.
    fn faulty_part(&self) -> &'a str {
        if let ("free", Some(result)) = (self.function, self.result) {
            return result;
        }
        let fields = self.arguments.split(',').chain(self.result);
        fields.into_iter().find(|field| block(field).is_none()).unwrap_or(self.arguments)
    }
}

fn split(line: &str) -> Option<LoggedCall<'_>> {
    let (head, rest) = line.split_once('(')?;
    // The null pointer has brackets of its own.
    let (arguments, result) = match rest.strip_suffix("=(nil)") {
        Some(rest) => (rest.strip_suffix(')')?, Some("(nil)")),
        None => {
            let (arguments, result) = rest.rsplit_once(')')?;
            // Logs of strace and ltrace have blanks around the `=`.
            match result.trim_end() {
                "" => (arguments, None),
                result => (arguments, Some(result.strip_prefix('=')?)),
            }
        }
    };
    let mut fields = head.split_ascii_whitespace();
    let process = decimal(fields.next()?)?;
    let (thread, function) = match (fields.next()?, fields.next()) {
        (thread, Some(function)) => (decimal(thread)?, function),
        (function, None) => (process, function),
    };
    let is_identifier = function.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (fields.next().is_none() && is_identifier).then_some(LoggedCall {
        process,
        thread,
        function,
        arguments,
        result,
    })
}

/// `0x…`, `#N`, or `(nil)` as glibc prints it.
fn block(text: &str) -> Option<u64> {
    let text = text.trim();
    pointer(text.strip_prefix('#').unwrap_or(text))
}

impl LineParser for Logalloc {
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), LineFault> {
        let call = split(line).ok_or(LineFault::Foreign)?;
        if !log.is_of_process(call.process) {
            return Ok(());
        }
        if !FUNCTIONS.contains(&call.function) {
            log.tally.left_out += 1;
            return Ok(());
        }
        log.set_thread(call.thread);
        Logalloc::call(&call, log).ok_or_else(|| {
            let found = quoted_field(line, call.faulty_part());
            LineFault::Wrong(found, "`PID TID FUNCTION(ARGUMENTS)=RESULT`")
        })
    }
}

impl Logalloc {
    /// Adds a call; `None` when its arguments or its result are faulty.
    fn call(call: &LoggedCall<'_>, log: &mut Log) -> Option<()> {
        let arguments: Option<Vec<u64>> = call.arguments.split(',').map(block).collect();
        let result = call.result.map(block);
        match (call.function, arguments?.as_slice(), result) {
            ("malloc" | "valloc", &[size], Some(Some(new))) => log.birth(Op::Malloc, size, new),
            ("calloc", &[count, size], Some(Some(new))) => log.calloc(count, size, new)?,
            (
                "memalign" | "posix_memalign" | "aligned_alloc",
                &[alignment, size],
                Some(Some(new)),
            ) => log.aligned_birth(alignment, size, new),
            ("realloc", &[old, size], Some(Some(new))) => log.realloc(old, size, new),
            ("free", &[old], None) => log.free(old),
            _ => return None,
        }
        Some(())
    }
}
