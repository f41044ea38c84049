//! The options of the verbs `record` and `recorder` that become the recorder's order.

#[path = "../../recorder/order.rs"]
pub mod order;

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use anyhow::bail;

use self::order::option;
use crate::cli::numbers::whole;
use crate::units::{Bytes, parse_bytes};

/// Whose calls are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RecordedDomains {
    /// Everything that the process requests: CPython's domains, and the C library's functions as
    /// called by all other code
    #[default]
    All,
    /// CPython's domains only: raw, mem and obj
    Python,
}

/// A number of frames.
fn parse_sites(text: &str) -> Result<u32, String> {
    let limit = order::SITES_LIMIT as u32;
    let number = text.parse().ok().filter(|number| (1..=limit).contains(number));
    number
        .ok_or_else(|| format!("expected a number of frames from 1 to {limit}, such as --sites=3"))
}

/// When the recording starts and ends, and how much it records. The limits hold for each recorded
/// process by itself.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LimitArgs {
    /// Record also the Python line (`file:line`) that made each call, and with N its callers, N
    /// frames in all; costs more time
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1",
        value_parser = parse_sites
    )]
    pub sites: Option<u32>,
    /// Whose calls are recorded
    #[arg(long, value_enum, value_name = "WHICH", default_value_t)]
    pub domains: RecordedDomains,
    /// End the recording after N calls; the program goes on unrecorded
    #[arg(long, value_name = "N", value_parser = whole::<u64>("a number of calls", 1..=u64::MAX, 1_000_000))]
    max_events: Option<u64>,
    /// End the recording before its raw log grows past this, such as 500M or 2G. A call takes
    /// 4 to 8 bytes in the log, and 1 in the trace
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<u64>,
    /// End the recording after this time
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<u64>,
    /// Start the recording this long after the process; frees of earlier blocks are counted and left
    /// out
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    start_after: Option<u64>,
    /// Start the recording at this mark of the program (`heaplay.mark("NAME")` of the Python
    /// module)
    #[arg(long, value_name = "NAME", conflicts_with = "start_after", value_parser = mark)]
    start_at_mark: Option<String>,
    /// End the recording at this mark
    #[arg(long, value_name = "NAME", value_parser = mark)]
    stop_at_mark: Option<String>,
}

impl LimitArgs {
    /// The mark at which the recording shall end.
    pub fn stop_at_mark(&self) -> Option<&str> {
        self.stop_at_mark.as_deref()
    }

    /// The time after which the recording ends.
    pub fn duration(&self) -> Option<Duration> {
        self.duration.map(Duration::from_nanos)
    }

    /// The limits of a recording that begins late: calls, bytes, nanoseconds; 0 for none.
    pub fn late(&self) -> (u64, u64, u64) {
        let number = |limit: Option<u64>| limit.unwrap_or(0);
        (number(self.max_events), number(self.max_bytes), number(self.duration))
    }

    /// Takes the limit of bytes out, so that the recorder does not end the recording there.
    ///
    /// # Errors
    /// With a limit of calls, which counts from the start.
    pub fn take_bytes_for_newest(&mut self) -> anyhow::Result<u64> {
        match (self.max_bytes.take(), self.max_events) {
            (_, Some(_)) => bail!("--max-events counts from the start; leave out --keep newest"),
            (Some(bytes), None) => Ok(bytes),
            (None, None) => bail!("--keep newest needs --max-bytes"),
        }
    }

    /// Whether the recording begins later than at once, or ends at a mark.
    pub fn has_start_or_mark(&self) -> bool {
        self.start_after.is_some() || self.start_at_mark.is_some() || self.stop_at_mark.is_some()
    }

    /// The value of the recorder's variable. `root` is the process whose child must be recorded, 0
    /// for none; `base` is the path of the raw logs. `any_program` records processes that are no
    /// Python, too.
    pub fn order(&self, root: u32, any_program: bool, base: &OsStr) -> OsString {
        let has_libc = self.domains == RecordedDomains::All;
        let numbers = [
            (option::LIBC, has_libc.then_some(1)),
            (option::ANY_PROGRAM, (has_libc && any_program).then_some(1)),
            (option::SITES, self.sites.map(u64::from)),
            (option::MAX_EVENTS, self.max_events),
            (option::MAX_BYTES, self.max_bytes),
            (option::DURATION_NS, self.duration),
            (option::START_AFTER_NS, self.start_after),
        ];
        let names = [
            (option::START_AT_MARK, self.start_at_mark.as_deref()),
            (option::STOP_AT_MARK, self.stop_at_mark.as_deref()),
        ];
        let numbers: Vec<_> = numbers.iter().filter_map(|(name, n)| Some((*name, (*n)?))).collect();
        let names: Vec<_> =
            names.iter().filter_map(|(name, mark)| Some((*name, (*mark)?))).collect();
        let mut order = OsString::from(order::line_start(root, &numbers, &names));
        order.push(base);
        order
    }
}

fn mark(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("expected the name of a mark, such as ready".into())
    } else {
        Ok(text.to_owned())
    }
}

/// Reads seconds as nanoseconds.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "expected seconds above 0, such as 30 or 0.5".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    if (1e-9..1e9).contains(&seconds) { Ok((seconds * 1e9) as u64) } else { Err(wrong()) }
}

/// Bytes of the smallest raw log: header, tail and two chunks, rounded up.
const LEAST_BYTES: u64 = 1 << 20;

/// Reads a size for a raw log.
fn size(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text).map_err(|error| error.to_string())?;
    if bytes < LEAST_BYTES {
        Err(format!("expected at least {}, such as 500M: a raw log needs that", Bytes(LEAST_BYTES)))
    } else {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recorder reads an order back as it was written.
    #[test]
    fn orders_are_read_back() {
        let limits = LimitArgs {
            sites: Some(3),
            domains: RecordedDomains::All,
            max_events: Some(7),
            max_bytes: size("2M").ok(),
            duration: seconds("1.5").ok(),
            start_after: None,
            start_at_mark: Some("a:b,c=100%".into()),
            stop_at_mark: Some("x".repeat(80)),
        };
        let line = limits.order(42, true, OsStr::new("/tmp/a b:c,d"));
        let read = order::read(line.as_encoded_bytes()).unwrap();
        assert_eq!((read.root, read.sites, read.base), (42, 3, &b"/tmp/a b:c,d"[..]));
        assert!(read.libc && read.any_program);
        let limits = read.limits;
        assert_eq!(
            (limits.max_events, limits.max_bytes, limits.duration_ns),
            (7, 2 << 20, 1_500_000_000)
        );
        assert!(
            limits.start_at.is(b"a:b,c=100%")
                && !limits.start_at.is(b"a:b,c=100")
                && !limits.start_at.is(b"")
        );
        assert!(
            limits.stop_at.is("x".repeat(80).as_bytes())
                && !limits.stop_at.is("x".repeat(63).as_bytes())
        );
        assert_eq!(
            order::read(LimitArgs::default().order(0, false, OsStr::new("b")).as_encoded_bytes())
                .unwrap()
                .sites,
            0
        );
        for line in [
            "",
            "2:0::b",
            "3:x::b",
            "3:0:sites=99:b",
            "3:0:what=1:b",
            "3:0:max-events=:b",
            "3:0:",
            "3:0::",
        ] {
            assert_eq!(order::read(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn sizes_and_times() {
        assert_eq!((size("1g"), size("1024KiB")), (Ok(1 << 30), Ok(1 << 20)));
        assert_eq!(seconds("0.25"), Ok(250_000_000));
        for text in ["", "M", "10", "1023K", "-1M", "99999999999G"] {
            assert!(size(text).is_err(), "{text}");
        }
        for text in ["", "0", "-1", "nan", "inf", "1s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
