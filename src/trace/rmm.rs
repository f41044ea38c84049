//! The CSV that NVIDIA's RMM writes (`logging_resource_adaptor`, `RMM_LOG_FILE`): blocks of device
//! memory.
//!
//! ```text
//! Thread,Time,Action,Pointer,Size,Stream
//! 140573312345856,11:42:10.025931,allocate,0x7f8a40000000,1024,0x0
//! 140573312345856,11:42:10.026105,free,0x7f8a40000000,1024,0x0
//! ```
//!
//! The actions are `allocate`, `allocate failure` and `free`. Times are those of a day with
//! microseconds, or seconds since 1970; they are counted from the first one, also across midnight.
//! The logger may write lines of its own in brackets before a row.

use super::event::Op;
use super::foreign::{Foreign, LineFault, LineParser, Log, LogParser, LogStart, decimal, pointer};
use super::quote::quoted;

pub(super) const MEMBER: Foreign = Foreign {
    name: "rmm",
    description: "a CSV log of NVIDIA RMM",
    sniff,
    parser: || LogParser::Lines(Box::new(Rmm::default())),
};

const COLUMNS: &str = "Thread,Time,Action,Pointer,Size,Stream";
const ACTIONS: [&str; 3] = ["allocate", "allocate failure", "free"];
const DAY_NS: u64 = 86_400_000_000_000;

fn sniff(start: &LogStart<'_>) -> bool {
    start.lines().any(|line| line == COLUMNS || logged(line).is_some())
}

/// Thread, time in nanoseconds, action, address and size of a row.
type LoggedRow<'a> = (u64, u64, &'a str, u64, u64);

fn logged(line: &str) -> Option<LoggedRow<'_>> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [thread, time, action, address, size, _stream] = fields.as_slice() else { return None };
    let address = pointer(address)?;
    ACTIONS.contains(action).then_some(())?;
    Some((decimal(thread)?, time_of(time)?, action, address, decimal(size)?))
}

/// Why a line is no row: the first field that is wrong, where the line has six.
fn fault(line: &str) -> LineFault {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [thread, time, action, address, size, _stream] = fields.as_slice() else {
        return LineFault::Foreign;
    };
    let wrong = |name: &str, field: &str, expected| {
        LineFault::Wrong(format!("{name} is {}", quoted(field)), expected)
    };
    if decimal(thread).is_none() {
        return wrong("Thread", thread, "a whole number such as 140573312345856");
    }
    if time_of(time).is_none() {
        return wrong(
            "Time",
            time,
            "a time such as 11:42:10.025931, or seconds such as 1700000000.5",
        );
    }
    if !ACTIONS.contains(action) {
        return wrong("Action", action, "`allocate`, `allocate failure` or `free`");
    }
    if pointer(address).is_none() {
        return wrong("Pointer", address, "an address such as 0x7f8a40000000");
    }
    wrong("Size", size, "a whole number of bytes such as 1024")
}

/// Nanoseconds of `HH:MM:SS.ffffff` (older versions have a colon before the fraction) or of seconds
/// since 1970.
fn time_of(text: &str) -> Option<u64> {
    let (whole, fraction) = match text.rsplit_once('.') {
        Some(parts) => parts,
        None => text.rsplit_once(':').filter(|(whole, _)| whole.matches(':').count() == 2)?,
    };
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let fraction_ns = decimal(fraction)? * 10u64.pow(9 - fraction.len() as u32);
    let fields: Option<Vec<u64>> = whole.split(':').map(decimal).collect();
    let seconds = match *fields?.as_slice() {
        [seconds] => seconds,
        [hours, minutes, seconds] if hours < 24 && minutes < 60 && seconds < 61 => {
            (hours * 60 + minutes) * 60 + seconds
        }
        _ => return None,
    };
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction_ns)
}

#[derive(Default)]
struct Rmm {
    has_columns: bool,
    first_ns: Option<u64>,
    last_ns: u64,
    /// Midnights since the first time, in nanoseconds.
    days_ns: u64,
}

impl LineParser for Rmm {
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), LineFault> {
        let line = line.trim();
        if line == COLUMNS {
            if self.has_columns {
                return Err(LineFault::Wrong(
                    "a second header".into(),
                    "one log; give each log a file of its own",
                ));
            }
            self.has_columns = true;
            return Ok(());
        }
        let Some((thread, time_ns, action, address, size)) = logged(line) else {
            return Err(fault(line));
        };
        log.set_thread(thread);
        self.set_time(time_ns, log);
        match action {
            "allocate" => log.birth(Op::Malloc, size, address),
            "free" => log.free(address),
            _ => log.failed_call(),
        }
        Ok(())
    }
}

impl Rmm {
    /// Sets the time. Times of a day that fall by more than half a day are of the next day.
    fn set_time(&mut self, time_ns: u64, log: &mut Log) {
        let is_of_day = time_ns < DAY_NS && self.last_ns < DAY_NS;
        if is_of_day && time_ns + DAY_NS / 2 < self.last_ns {
            self.days_ns += DAY_NS;
        }
        self.last_ns = time_ns;
        let now_ns = time_ns.saturating_add(self.days_ns);
        log.set_time(now_ns, *self.first_ns.get_or_insert(now_ns));
    }
}
