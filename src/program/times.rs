//! When the calls were made. Kept beside the program and not in it, as the sites
//! are: what reads it is a replay at the program's own pace, and who puts measured times back on
//! the program's.

use std::io::{self, Read, Write};

use super::word;

/// Nanoseconds between two marks at least: a fiftieth of the shortest window that is looked at, and
/// about as often as a recorder reads the clock.
const STEP_NS: u64 = 20_000;

/// Calls with the time at which they were made, 20 µs or more apart, rising in both; empty where
/// the trace does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times(Vec<(u64, u64)>);

const MAGIC: &[u8; 8] = b"HTIMES_1";

impl Times {
    /// Takes note of a call's time. Threads' clocks may lag: time never runs backwards here.
    pub(crate) fn see(&mut self, event: u64, time_ns: u64) {
        if time_ns >= self.0.last().map_or(1, |last| last.1 + STEP_NS) {
            self.0.push((event, time_ns));
        }
    }

    /// Whether the trace has no times.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Calls (from 0) with their times since the start of the recording, in ns.
    pub fn marks(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// The last time that is known, in ns.
    pub fn last_ns(&self) -> u64 {
        self.0.last().map_or(0, |last| last.1)
    }

    /// Writes them for a worker: magic, count, calls and times; little-endian.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(MAGIC)?;
        out.write_all(&(self.0.len() as u64).to_le_bytes())?;
        for (call, time) in &self.0 {
            out.write_all(&call.to_le_bytes())?;
            out.write_all(&time.to_le_bytes())?;
        }
        Ok(())
    }

    /// Reads what [`Times::write`] wrote.
    ///
    /// # Errors
    /// When `input` ends early or holds something else.
    pub fn read(input: &mut impl Read) -> io::Result<Times> {
        let mut magic = [0; 8];
        input.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a list of times"));
        }
        let count = word(input)?;
        let mut times = Times::default();
        for _ in 0..count {
            times.0.push((word(input)?, word(input)?));
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_rise_and_survive_the_way_to_a_worker() {
        let mut times = Times::default();
        for (event, time_ns) in [(0, 0), (3, 10), (4, 20), (9, 40_000), (10, 30_000), (11, 60_010)]
        {
            times.see(event, time_ns);
        }
        assert_eq!(times.marks(), [(3, 10), (9, 40_000), (11, 60_010)]);
        let mut bytes = Vec::new();
        times.write(&mut bytes).unwrap();
        assert_eq!(Times::read(&mut bytes.as_slice()).unwrap(), times);
        assert!(Times::read(&mut &bytes[..bytes.len() - 1]).is_err());
    }
}
