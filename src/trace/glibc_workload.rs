//! The workload of glibc's malloc trace utilities, `.wl`, that `trace2wl` makes and `trace_run` runs.
//!
//! A number is a varint, the highest seven bits first. A header comes first, then the calls of each
//! thread, one thread behind the other:
//!
//! ```text
//! header     8 POINTERS    9 SYNCS    10 THREADS    (11 OFFSET) for each thread    1
//! thread     2 NEW SIZE           malloc           6 SYNC            sets a flag
//!            3 NEW SIZE           calloc           7 SYNC            waits for a flag
//!            4 NEW OLD SIZE       realloc          12 NEW ALIGN SIZE memalign
//!            5 OLD                free             13, 14 NEW SIZE   valloc, pvalloc
//!            0                    nothing          1                 the end of the thread
//! ```
//!
//! OFFSET is the place in the file of a thread's calls. Blocks are indices of an array of POINTERS;
//! index 0 is the null pointer. The flags are the only order between threads. Here the first thread
//! runs until it waits for a flag that no thread has set, then the next one, and so on, in the order
//! of the header. So the trace is one of the orders that the workload allows. A call that begins a
//! block where one lives frees that first, as `trace_run` does. A thread ends with its code 1.

use std::collections::HashSet;

use super::byte_input::ByteInput;
use super::event::Op;
use super::foreign::{ByteFault, ByteParser, Foreign, Log, LogParser, LogStart};

pub(super) const MEMBER: Foreign = Foreign {
    name: "glibc-workload",
    description: "a workload (.wl) of glibc's malloc trace utilities",
    sniff,
    parser: || LogParser::Bytes(Box::new(GlibcWorkload::default())),
};

/// Bytes of a workload, at most. It is read into memory.
const LIMIT_BYTES: u64 = 2 << 30;

const NOP: u8 = 0;
const DONE: u8 = 1;
const MALLOC: u8 = 2;
const CALLOC: u8 = 3;
const REALLOC: u8 = 4;
const FREE: u8 = 5;
const SET_FLAG: u8 = 6;
const AWAIT_FLAG: u8 = 7;
const POINTERS: u8 = 8;
const FLAGS: u8 = 9;
const THREADS: u8 = 10;
const START_THREAD: u8 = 11;
const MEMALIGN: u8 = 12;
const VALLOC: u8 = 13;
const PVALLOC: u8 = 14;
const POSIX_MEMALIGN: u8 = 15;

fn sniff(start: &LogStart<'_>) -> bool {
    let mut at = 0;
    let mut next = |code: u8| {
        (start.bytes.get(at) == Some(&code)).then_some(())?;
        let (number, end) = varint(start.bytes, at + 1)?;
        at = end;
        Some(number)
    };
    next(POINTERS).is_some_and(|pointers| pointers > 0)
        && next(FLAGS).is_some()
        && next(THREADS).is_some_and(|threads| threads > 0)
        && next(START_THREAD).is_some()
}

/// The number at `at`, and the place behind it.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut number = 0u64;
    for (count, byte) in bytes.get(at..)?.iter().enumerate() {
        if number >> 57 != 0 {
            return None;
        }
        number = number << 7 | u64::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            return Some((number, at + count + 1));
        }
    }
    None
}

/// A thread that runs.
struct RunningThread {
    /// Place of its next code.
    at: usize,
    /// Its number, in the order of the header from 1.
    number: u64,
    has_begun: bool,
}

#[derive(Default)]
struct GlibcWorkload {
    bytes: Option<Vec<u8>>,
    pointers: u64,
    flag_count: u64,
    flags: HashSet<u64>,
    live: HashSet<u64>,
    /// Threads that did not end, in order.
    threads: Vec<RunningThread>,
    /// Index of the thread that runs.
    running: usize,
    /// Threads in a row that wait.
    waiting: usize,
}

impl ByteParser for GlibcWorkload {
    fn record(&mut self, input: &mut ByteInput, log: &mut Log) -> Result<bool, ByteFault> {
        let Some(bytes) = self.bytes.take() else {
            let Some(bytes) = input.rest(LIMIT_BYTES)? else {
                return wrong("a workload of over 2 GiB".into(), "a smaller one");
            };
            self.header(&bytes)?;
            self.bytes = Some(bytes);
            return Ok(true);
        };
        let result = self.step(&bytes, log);
        self.bytes = Some(bytes);
        result
    }
}

fn wrong<T>(found: String, expected: &'static str) -> Result<T, ByteFault> {
    Err(ByteFault::Wrong(found, expected))
}

fn at_byte(found: &str, at: usize) -> ByteFault {
    ByteFault::Wrong(
        format!("{found} at byte {at} of the workload"),
        "codes and numbers of `trace2wl`: was the file cut off?",
    )
}

impl GlibcWorkload {
    fn header(&mut self, bytes: &[u8]) -> Result<(), ByteFault> {
        let mut at = 0;
        let mut thread_count = 0;
        loop {
            let code = *bytes.get(at).ok_or_else(|| at_byte("the end of the header", at))?;
            let number =
                if matches!(code, NOP | DONE) { Some((0, at + 1)) } else { varint(bytes, at + 1) };
            let (number, end) = number.ok_or_else(|| at_byte("no number", at))?;
            match code {
                NOP => {}
                DONE => break,
                POINTERS => self.pointers = number,
                FLAGS => self.flag_count = number,
                THREADS => thread_count = number,
                START_THREAD => {
                    let start = usize::try_from(number).unwrap_or(usize::MAX);
                    let number = self.threads.len() as u64 + 1;
                    self.threads.push(RunningThread { at: start, number, has_begun: false });
                }
                _ => return Err(at_byte(&format!("the code {code}"), at)),
            }
            at = end;
        }
        if self.threads.len() as u64 != thread_count {
            return Err(at_byte(
                &format!("{} threads where the header states {thread_count}", self.threads.len()),
                at,
            ));
        }
        Ok(())
    }

    /// Runs one code of the running thread; `false` when all threads have ended.
    fn step(&mut self, bytes: &[u8], log: &mut Log) -> Result<bool, ByteFault> {
        let count = self.threads.len();
        if count == 0 {
            return Ok(false);
        }
        self.running %= count;
        if self.waiting > count {
            let at = self.threads[self.running].at;
            return Err(at_byte("threads that all wait for each other", at));
        }
        let thread = &mut self.threads[self.running];
        let (at, number) = (thread.at, thread.number);
        if !std::mem::replace(&mut thread.has_begun, true) {
            log.thread_birth(number);
        }
        let code = *bytes.get(at).ok_or_else(|| at_byte("the end of the file", at))?;
        let numbers = match code {
            NOP | DONE => 0,
            FREE | SET_FLAG | AWAIT_FLAG => 1,
            MALLOC | CALLOC | VALLOC | PVALLOC => 2,
            REALLOC | MEMALIGN | POSIX_MEMALIGN => 3,
            _ => return Err(at_byte(&format!("the code {code}"), at)),
        };
        let (mut end, mut fields) = (at + 1, [0; 3]);
        for field in &mut fields[..numbers] {
            let read = varint(bytes, end).ok_or_else(|| at_byte("no number", end))?;
            (*field, end) = read;
        }
        log.set_thread(number);
        let [first, ..] = fields;
        match code {
            DONE => {
                log.thread_death(number);
                self.threads.remove(self.running);
                self.waiting = 0;
                return Ok(true);
            }
            AWAIT_FLAG if !self.flags.contains(&self.flag(first, at)?) => {
                self.running += 1;
                self.waiting += 1;
                return Ok(true);
            }
            NOP | AWAIT_FLAG => {}
            SET_FLAG => {
                let flag = self.flag(first, at)?;
                self.flags.insert(flag);
            }
            _ => self.call(code, fields, at, log)?,
        }
        self.waiting = 0;
        self.threads[self.running].at = end;
        Ok(true)
    }

    fn flag(&self, flag: u64, at: usize) -> Result<u64, ByteFault> {
        if flag > self.flag_count {
            return Err(at_byte(&format!("the flag {flag} of {}", self.flag_count), at));
        }
        Ok(flag)
    }

    fn call(
        &mut self,
        code: u8,
        fields: [u64; 3],
        at: usize,
        log: &mut Log,
    ) -> Result<(), ByteFault> {
        let [first, second, third] = fields;
        let blocks = if code == REALLOC { [first, second] } else { [first, 0] };
        if blocks.iter().any(|block| *block > self.pointers) {
            return Err(at_byte(
                &format!("the block {} of {}", first.max(second), self.pointers),
                at,
            ));
        }
        match code {
            FREE => {
                let is_live = self.live.remove(&first);
                log.free(if is_live { first } else { 0 });
            }
            REALLOC => {
                let old = if self.live.contains(&second) { second } else { 0 };
                if first != second && self.live.remove(&first) {
                    log.free(first);
                }
                if first != 0 || third == 0 {
                    self.live.remove(&old);
                }
                self.set_live(first);
                log.realloc(old, third, first);
            }
            _ => {
                if self.live.remove(&first) {
                    log.free(first);
                }
                self.set_live(first);
                match code {
                    CALLOC => log.birth(Op::Calloc, second, first),
                    MEMALIGN | POSIX_MEMALIGN => log.aligned_birth(second, third, first),
                    _ => log.birth(Op::Malloc, second, first),
                }
            }
        }
        Ok(())
    }

    fn set_live(&mut self, block: u64) {
        if block != 0 {
            self.live.insert(block);
        }
    }
}
