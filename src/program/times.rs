//! When the calls were made, in nanoseconds since the start of the recording.
//!
//! The times are beside the program, as the sites are. Two readers need them: a replay at the
//! recorded pace, and the mapping of measured times to the time of the recorded program.

use std::io::{self, Read, Write};

use super::reading::read_u64;

/// Nanoseconds between two marks at least: a fiftieth of the shortest window of the report, and
/// about the interval at which a recorder reads the clock.
const STEP_NS: u64 = 20_000;

/// Calls with their times, 20 µs or more apart; both rise. Empty where the trace has no times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times(Vec<(u64, u64)>);

const MAGIC: &[u8; 8] = b"HTIMES_1";

impl Times {
    /// Notes a call's time. Clocks of threads may lag, so a time before the last is left out.
    pub(crate) fn see(&mut self, event: u64, time_ns: u64) {
        if time_ns >= self.0.last().map_or(1, |last| last.1 + STEP_NS) {
            self.0.push((event, time_ns));
        }
    }

    /// The times of a trace in which the call at `event` has the place `place(event)`, which never
    /// falls.
    pub(super) fn moved(&self, place: impl Fn(u64) -> u64) -> Times {
        let mut moved: Vec<(u64, u64)> = Vec::with_capacity(self.0.len());
        for &(event, time_ns) in &self.0 {
            match moved.last_mut() {
                Some(last) if last.0 == place(event) => last.1 = time_ns,
                _ => moved.push((place(event), time_ns)),
            }
        }
        Times(moved)
    }

    /// Whether the trace has no times.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Calls (from 0) with their times since the start of the recording, in ns.
    pub fn marks(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// So many of the marks at most, evenly chosen, and the last: enough to tell when a call was made.
    pub fn some_marks(&self, most: usize) -> Vec<(u64, u64)> {
        let step = self.0.len().div_ceil(most.max(1)).max(1);
        let mut some: Vec<(u64, u64)> = self.0.iter().copied().step_by(step).collect();
        some.extend(self.0.last().filter(|last| some.last() != Some(last)));
        some
    }

    /// The last known time, in ns.
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
        let count = read_u64(input)?;
        let mut times = Times::default();
        for _ in 0..count {
            times.0.push((read_u64(input)?, read_u64(input)?));
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_rise_and_read_back() {
        let mut times = Times::default();
        for (event, time_ns) in [(0, 0), (3, 10), (4, 20), (9, 40_000), (10, 30_000), (11, 60_010)]
        {
            times.see(event, time_ns);
        }
        assert_eq!(times.marks(), [(3, 10), (9, 40_000), (11, 60_010)]);
        let without_call_3 = |event: u64| event - u64::from(event > 3);
        assert_eq!(times.moved(without_call_3).marks(), [(3, 10), (8, 40_000), (10, 60_010)]);
        assert_eq!(times.moved(|_| 0).marks(), [(0, 60_010)]);
        assert_eq!(times.some_marks(2), [(3, 10), (11, 60_010)]);
        assert_eq!(times.some_marks(1), [(3, 10), (11, 60_010)]);
        assert_eq!(times.some_marks(9), times.marks());
        let mut bytes = Vec::new();
        times.write(&mut bytes).unwrap();
        assert_eq!(Times::read(&mut bytes.as_slice()).unwrap(), times);
        assert!(Times::read(&mut &bytes[..bytes.len() - 1]).is_err());
    }
}
