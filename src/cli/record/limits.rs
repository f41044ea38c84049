//! Room `cli`, verbs `record` and `recorder`: what is asked of the recorder, as options and as its
//! order.

use std::ffi::{OsStr, OsString};

use super::order;

/// When the recording starts and ends, and how much it says. Each process that is recorded counts
/// for itself.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Limits {
    /// Record also the Python line (`file:line`) that made each call, and with N the lines that
    /// called it, N frames in all; costs more time
    #[arg(
        long,
        value_name = "N",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(order::SITES_LIMIT as u32))
    )]
    pub sites: Option<u32>,
    /// End the recording after so many calls; the program goes on unrecorded
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_events: Option<u64>,
    /// End it before its raw log grows past this, such as 500M or 2G; a call takes about 8 bytes
    /// there, and 1 in the trace that is made of it
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<u64>,
    /// End it after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<u64>,
    /// Start it so many seconds after the process; frees of blocks from before are counted and left
    /// out
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    start_after: Option<u64>,
    /// Start it at this mark of the program (`heaplay.mark("NAME")`, see scripts/heaplay.py)
    #[arg(long, value_name = "NAME", conflicts_with = "start_after", value_parser = mark)]
    start_at_mark: Option<String>,
    /// End it at this mark
    #[arg(long, value_name = "NAME", value_parser = mark)]
    stop_at_mark: Option<String>,
}

impl Limits {
    /// The mark at which the recording is to end.
    pub fn stop_at_mark(&self) -> Option<&str> {
        self.stop_at_mark.as_deref()
    }

    /// The recorder's variable; its form is told in `recorder/order.rs`.
    pub fn order(&self, root: u32, base: &OsStr) -> OsString {
        let numbers = [
            ("sites", self.sites.map(u64::from)),
            ("max-events", self.max_events),
            ("max-bytes", self.max_bytes),
            ("duration-ns", self.duration),
            ("start-after-ns", self.start_after),
        ];
        let names = [("start-at-mark", &self.start_at_mark), ("stop-at-mark", &self.stop_at_mark)];
        let numbers = numbers.into_iter().filter_map(|(name, n)| Some(format!("{name}={}", n?)));
        let names = names
            .into_iter()
            .filter_map(|(name, mark)| Some(format!("{name}={}", escaped(mark.as_ref()?))));
        let options: Vec<String> = numbers.chain(names).collect();
        let mut order = OsString::from(format!("{}:{root}:{}:", order::VERSION, options.join(",")));
        order.push(base);
        order
    }
}

fn escaped(name: &str) -> String {
    name.replace('%', "%25").replace(',', "%2C").replace(':', "%3A")
}

fn mark(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("a mark has a name".into()) } else { Ok(text.to_owned()) }
}

/// Seconds, as nanoseconds.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "expected seconds above 0, such as 30 or 0.5".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    if (1e-9..1e9).contains(&seconds) { Ok((seconds * 1e9) as u64) } else { Err(wrong()) }
}

/// The least raw log: its header, its tail and one part more.
const LEAST_BYTES: u64 = 512 << 10;

/// Bytes, with K, M or G for powers of 1024.
fn size(text: &str) -> Result<u64, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(number.len()..).unwrap_or_default().to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        _ => return Err("expected bytes, such as 500M or 2G".into()),
    };
    let number: u64 =
        number.parse().map_err(|_| "expected bytes, such as 500M or 2G".to_owned())?;
    let bytes = number.checked_mul(1 << shift).ok_or("more bytes than there are")?;
    if bytes < LEAST_BYTES {
        Err(format!("a raw log needs at least {LEAST_BYTES} bytes"))
    } else {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written is what the recorder reads.
    #[test]
    fn orders_are_read_back() {
        let limits = Limits {
            sites: Some(3),
            max_events: Some(7),
            max_bytes: size("2M").ok(),
            duration: seconds("1.5").ok(),
            start_after: None,
            start_at_mark: Some("a:b,c=100%".into()),
            stop_at_mark: Some("x".repeat(80)),
        };
        let line = limits.order(42, OsStr::new("/tmp/a b:c,d"));
        let read = order::read(line.as_encoded_bytes()).unwrap();
        assert_eq!((read.root, read.sites, read.base), (42, 3, &b"/tmp/a b:c,d"[..]));
        let told = read.limits;
        assert_eq!(
            (told.max_events, told.max_bytes, told.duration_ns),
            (7, 2 << 20, 1_500_000_000)
        );
        assert!(
            told.start_at.is(b"a:b,c=100%")
                && !told.start_at.is(b"a:b,c=100")
                && !told.start_at.is(b"")
        );
        assert!(
            told.stop_at.is("x".repeat(80).as_bytes())
                && !told.stop_at.is("x".repeat(63).as_bytes())
        );
        assert_eq!(
            order::read(Limits::default().order(0, OsStr::new("b")).as_encoded_bytes())
                .unwrap()
                .sites,
            0
        );
        for line in [
            "",
            "1:2::b",
            "2:x::b",
            "2:0:sites=99:b",
            "2:0:what=1:b",
            "2:0:max-events=:b",
            "2:0:",
            "2:0::",
        ] {
            assert_eq!(order::read(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn sizes_and_times() {
        assert_eq!(size("1g"), Ok(1 << 30));
        assert_eq!(seconds("0.25"), Ok(250_000_000));
        for text in ["", "M", "10", "-1M", "1.5M", "1T", "99999999999G"] {
            assert!(size(text).is_err(), "{text}");
        }
        for text in ["", "0", "-1", "nan", "inf", "1s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
