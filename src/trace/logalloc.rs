//! The log of Firefox's logalloc library (`MALLOC_LOG=FILE`), raw or prepared for replay.
//!
//! Each line is a call: `PID TID FUNCTION(ARGUMENTS)[=RESULT]`. Old logs lack TID. Blocks are
//! addresses (`0x…`) or, in a prepared log, ids (`#1`). The functions are:
//!
//! - `malloc(SIZE)`, `valloc(SIZE)`, `calloc(COUNT,SIZE)`, `realloc(BLOCK,SIZE)`, `free(BLOCK)`.
//! - `memalign`, `posix_memalign` and `aligned_alloc(ALIGNMENT,SIZE)`. They become mallocs, because
//!   a trace has no alignments.
//!
//! Other functions, such as `jemalloc_stats()`, are counted as left out. So are the calls of every
//! process but the first, because each process has its own address space.

use super::event::Op;
use super::foreign::{Foreign, LineParser, Log, WrongLine, number};

pub(super) const MEMBER: Foreign = Foreign {
    name: "logalloc",
    description: "a Firefox logalloc log",
    sniff,
    parser: || Box::new(Logalloc { pid: None }),
};

fn sniff(start: &str) -> bool {
    split(start.lines().next().unwrap_or_default()).is_some()
}

struct Logalloc {
    pid: Option<u32>,
}

/// Process, thread, function, arguments, result.
fn split(line: &str) -> Option<(u32, u32, &str, &str, Option<&str>)> {
    let (head, rest) = line.split_once('(')?;
    let (arguments, result) = rest.split_once(')')?;
    let mut fields = head.split_ascii_whitespace();
    let pid = fields.next()?.parse().ok()?;
    let (tid, function) = match (fields.next()?, fields.next()) {
        (tid, Some(function)) => (tid.parse().ok()?, function),
        (function, None) => (pid, function),
    };
    let is_identifier = function.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let result = match result.trim() {
        "" => None,
        result => Some(result.strip_prefix('=')?),
    };
    (fields.next().is_none() && is_identifier).then_some((pid, tid, function, arguments, result))
}

/// `0x…`, `#N`, or `(nil)` as glibc prints it.
fn block(text: &str) -> Option<u64> {
    let text = text.trim();
    if text == "(nil" { Some(0) } else { number(text.strip_prefix('#').unwrap_or(text)) }
}

impl LineParser for Logalloc {
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), WrongLine> {
        log.header.columns.thread = true;
        log.header.columns.end_thread = true;
        let wrong = || WrongLine(format!("`{line}`"), "`PID TID FUNCTION(ARGUMENTS)=RESULT`");
        let (pid, tid, function, arguments, result) = split(line).ok_or_else(wrong)?;
        if *self.pid.get_or_insert(pid) != pid {
            log.left_out += 1;
            return Ok(());
        }
        log.thread = tid;
        let mut arguments = arguments.split(',').map(block);
        let mut argument = || arguments.next().flatten().ok_or_else(wrong);
        let result = || result.and_then(block).ok_or_else(wrong);
        match function {
            "malloc" | "valloc" => log.birth(Op::Malloc, argument()?, result()?),
            "calloc" => {
                let size = argument()?.checked_mul(argument()?).ok_or_else(wrong)?;
                log.birth(Op::Calloc, size, result()?);
            }
            "memalign" | "posix_memalign" | "aligned_alloc" => {
                argument()?; // the alignment
                log.birth(Op::Malloc, argument()?, result()?);
            }
            "realloc" => log.realloc(argument()?, argument()?, result()?),
            "free" => log.free(argument()?),
            _ => log.left_out += 1,
        }
        Ok(())
    }
}
