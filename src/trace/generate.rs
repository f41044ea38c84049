//! Generates traces from a seed, with given distributions of sizes and lifetimes, for tests and for
//! scale.
//!
//! Only whole numbers are used, so a seed gives the same trace on every machine. A generated trace is
//! a [`TraceReader`] and is made row by row. Memory is proportional to live blocks.

use std::collections::{HashMap, HashSet};

use super::event::{
    Columns, Domain, Header, Op, Row, SIZE_LIMIT_BYTES, Sites, TraceError, TraceReader,
};

/// Weighted ranges `low..=high`; the distribution is uniform within a range.
///
/// The text form is `16-64:80,512:5`: 16 to 64 with weight 80, exactly 512 with weight 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    ranges: Vec<(u64, u64, u64)>,
    total_weight: u64,
}

impl Distribution {
    /// Sizes of a typical CPython program, in bytes: 95 % are at most 512, and a thin tail goes to
    /// 256 KiB.
    pub fn python_sizes() -> Distribution {
        Distribution::from_ranges(vec![
            (24, 24, 40),
            (28, 32, 250),
            (40, 48, 160),
            (56, 64, 330),
            (72, 104, 100),
            (105, 512, 75),
            (513, 4096, 30),
            (4097, 262_144, 3),
        ])
    }

    /// Lifetimes of a typical CPython program, in calls: most blocks die young, and a second mode lives
    /// for a burst of requests.
    pub fn python_lifetimes() -> Distribution {
        Distribution::from_ranges(vec![
            (1, 1, 180),
            (2, 31, 420),
            (32, 1023, 200),
            (1024, 65_535, 120),
            (65_536, 1_000_000, 80),
        ])
    }

    /// Uniform from `low` to `high`.
    pub fn range(low: u64, high: u64) -> Distribution {
        Distribution::from_ranges(vec![(low, high.max(low), 1)])
    }

    fn from_ranges(ranges: Vec<(u64, u64, u64)>) -> Distribution {
        let total_weight = ranges.iter().map(|(_, _, weight)| weight).sum();
        Distribution { ranges, total_weight }
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// A message that names the part that is neither `low-high:weight` nor `value:weight`.
    pub fn parse(text: &str, limit: u64) -> Result<Distribution, String> {
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let wrong = || {
                format!(
                    "`{part}`: expected low-high:weight with whole numbers up to {limit}, as in \
                     16-64:80"
                )
            };
            let (range, weight) = part.split_once(':').unwrap_or((part, "1"));
            let (low, high) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.trim().parse::<u64>().ok().filter(|n| *n <= limit);
            let (Some(low), Some(high)) = (number(low), number(high)) else { return Err(wrong()) };
            let weight = weight.trim().parse::<u32>().ok().filter(|w| *w > 0).ok_or_else(wrong)?;
            if low > high {
                return Err(wrong());
            }
            ranges.push((low, high, weight.into()));
        }
        Ok(Distribution::from_ranges(ranges))
    }

    fn draw(&self, random: &mut SplitMix) -> u64 {
        let mut at = random.below(self.total_weight);
        for &(low, high, weight) in &self.ranges {
            if at < weight {
                return low + random.below(high - low + 1);
            }
            at -= weight;
        }
        0
    }
}

/// Steele, Lea and Flood's SplitMix64. Its numbers are part of this format.
#[derive(Clone, Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `0..limit`, by multiplication. The bias is below 2^-40 for the limits of this file.
    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }
}

/// A type of objects in a generated trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedType {
    /// The type's name.
    pub name: String,
    /// Sizes of the objects, in bytes.
    pub sizes: Distribution,
    /// The frequency of the type, relative to the sum of all weights.
    pub weight: u64,
}

/// A trace that is generated while it is read.
pub struct Generator {
    header: Header,
    sites: Sites,
    random: SplitMix,
    sizes: Distribution,
    lifetimes: Distribution,
    /// Events of future ends.
    taken: HashSet<u64>,
    /// Those of them that are reallocs, with the domain of the block.
    resized: HashMap<u64, Domain>,
    realloc_permille: u64,
    calloc_permille: u64,
    /// Types with the running sum of their weights; empty for a trace without types.
    types: Vec<(u64, GeneratedType)>,
    event: u64,
    calls: u64,
}

impl Generator {
    /// A trace of `calls` calls; `seed` decides everything else.
    pub fn new(seed: u64, calls: u64, sizes: Distribution, lifetimes: Distribution) -> Generator {
        let mut header =
            Header { columns: Columns { domain: true, ..Columns::default() }, ..Header::default() };
        header.facts.insert(
            "synthesised".into(),
            "generated: sizes and lifetimes drawn from a distribution".into(),
        );
        header.facts.insert("seed".into(), seed.to_string());
        Generator {
            header,
            sites: Sites::default(),
            random: SplitMix(seed),
            sizes,
            lifetimes,
            taken: HashSet::new(),
            resized: HashMap::new(),
            realloc_permille: 30,
            calloc_permille: 50,
            types: Vec::new(),
            event: 0,
            calls,
        }
    }

    /// Gives 6 in 10 requests one of these types, and makes them mallocs. Reallocs and requests of
    /// `raw` get no type.
    #[must_use]
    pub fn with_types(mut self, types: Vec<GeneratedType>) -> Generator {
        let mut total = 0;
        self.header.columns.type_name = true;
        for generated in types {
            self.sites.intern_type(&generated.name); // numbered in the order of the list
            total += generated.weight;
            self.types.push((total, generated));
        }
        self
    }

    /// Gives the row a type, or leaves it a buffer.
    fn draw_type(&mut self, row: &mut Row) {
        let Some(&(total, _)) = self.types.last() else { return };
        if row.op == Op::Realloc || row.domain == Domain::Raw || self.random.below(10) >= 6 {
            return;
        }
        let drawn = self.random.below(total);
        let generated = &self.types[self.types.partition_point(|(sum, _)| *sum <= drawn)].1;
        row.op = Op::Malloc;
        row.size = generated.sizes.draw(&mut self.random).min(SIZE_LIMIT_BYTES);
        row.type_id = self.sites.intern_type(&generated.name);
    }

    /// The lowest event from `wanted` on that is no end of another block; `None` past the end of the
    /// trace.
    fn choose_end(&mut self, wanted: u64) -> Option<u64> {
        let mut end = wanted;
        while self.taken.contains(&end) {
            end += 1;
        }
        if end >= self.calls {
            return None;
        }
        self.taken.insert(end);
        Some(end)
    }
}

impl TraceReader for Generator {
    fn header(&self) -> &Header {
        &self.header
    }

    fn next_row(&mut self) -> Result<Option<Row>, TraceError> {
        while self.event < self.calls {
            let event = self.event;
            self.event += 1;
            let is_end = self.taken.remove(&event);
            let resized = self.resized.remove(&event);
            if is_end && resized.is_none() {
                continue;
            }
            let op = match (is_end, self.random.below(1000) < self.calloc_permille) {
                (true, _) => Op::Realloc,
                (false, true) => Op::Calloc,
                (false, false) => Op::Malloc,
            };
            let size = self.sizes.draw(&mut self.random).min(SIZE_LIMIT_BYTES);
            let lifetime = self.lifetimes.draw(&mut self.random).max(1);
            let end = self.choose_end(event + lifetime);
            let mut row = Row::new(event, op, size, end.map(|end| end - event));
            let drawn = match self.random.below(100) {
                0..3 => Domain::Raw,
                3..25 => Domain::Mem,
                _ => Domain::Obj,
            };
            row.domain = resized.unwrap_or(drawn); // a block stays in its domain
            if let Some(end) = end
                && self.random.below(1000) < self.realloc_permille
            {
                self.resized.insert(end, row.domain);
            }
            self.draw_type(&mut row);
            return Ok(Some(row));
        }
        Ok(None)
    }

    fn sites(&self) -> &Sites {
        &self.sites
    }

    fn events_hint(&self) -> Option<u64> {
        Some(self.calls)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sequence::Sequence;
    use super::*;

    #[test]
    fn a_generated_trace_is_a_trace_and_the_same_for_a_seed() {
        let make = |seed| {
            let mut reader = Generator::new(
                seed,
                20_000,
                Distribution::python_sizes(),
                Distribution::python_lifetimes(),
            );
            let mut rows = Vec::new();
            while let Some(row) = reader.next_row().unwrap() {
                rows.push(row);
            }
            rows
        };
        let rows = make(7);
        assert_eq!(rows, make(7));
        assert_ne!(rows, make(8));
        let mut sequence = Sequence::new();
        for row in &rows {
            sequence.accept(row, |_| {}).unwrap();
        }
        assert_eq!(sequence.finish(|_| {}).unwrap(), 20_000);
        assert!(rows.iter().any(|row| row.op == Op::Realloc));
    }

    #[test]
    fn types_come_as_often_as_they_weigh() {
        let generated = |name: &str, sizes: &str, weight| GeneratedType {
            name: name.into(),
            sizes: Distribution::parse(sizes, 1 << 20).unwrap(),
            weight,
        };
        let types = vec![
            generated("float", "24", 30),
            generated("tuple", "48-56", 10),
            generated("never", "1", 0),
        ];
        let plain = || {
            Generator::new(
                7,
                50_000,
                Distribution::python_sizes(),
                Distribution::python_lifetimes(),
            )
        };
        let mut reader = plain().with_types(types);
        let mut counts = [0u32; 4];
        while let Some(row) = reader.next_row().unwrap() {
            counts[row.type_id.0 as usize] += 1;
            match reader.sites().type_name(row.type_id) {
                "float" => assert_eq!((row.size, row.op), (24, Op::Malloc)),
                "tuple" => assert!((48..=56).contains(&row.size) && row.domain != Domain::Raw),
                other => assert_eq!(other, ""),
            }
        }
        let [_, floats, tuples, never] = counts;
        assert!(never == 0 && floats > 2 * tuples && floats < 4 * tuples, "{counts:?}");
        // An empty list of types changes no draw.
        let mut same = plain().with_types(vec![]);
        let mut without = plain();
        while let Some(row) = without.next_row().unwrap() {
            assert_eq!(same.next_row().unwrap(), Some(row));
        }
    }

    #[test]
    fn the_text_form() {
        assert!(Distribution::parse("16-64:80,512:5", 1 << 47).is_ok());
        for wrong in ["", "a", "5-2:1", "1:0", "1-2:x", "999999999999999999999"] {
            assert!(Distribution::parse(wrong, 1 << 47).is_err(), "{wrong}");
        }
    }
}
