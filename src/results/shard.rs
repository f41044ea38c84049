//! A shard: the part of a run's cells that one machine measures.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::key::{CellKey, Pass};

/// Shards of a run, at most.
const SHARDS_LIMIT: u32 = 100_000;

/// One of several equal parts of a run. A cell's shard follows from its names, so it stays the same
/// when other cells come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    /// From 1 to `count`.
    index: u32,
    count: u32,
}

impl Shard {
    /// The part `index` of `count`, counted from 1; `None` where there is no such part.
    pub fn new(index: u32, count: u32) -> Option<Shard> {
        (1..=SHARDS_LIMIT).contains(&count).then_some(())?;
        (1..=count).contains(&index).then_some(Shard { index, count })
    }

    /// Whether a cell belongs to this shard. Cells that are measured together are in one shard: all
    /// backends of a trace, pass and repetition. The repetitions of a latency pass are, too, since
    /// they confirm each other. A footprint cell is by itself.
    pub fn contains(self, cell: &CellKey) -> bool {
        Shard::of(cell, self.count) == Some(self)
    }

    /// The shard of a cell, of so many; `None` where there cannot be so many.
    pub fn of(cell: &CellKey, count: u32) -> Option<Shard> {
        let repetition = cell.repetition.to_string();
        let [third, fourth] = match cell.pass {
            Pass::Latency => ["", ""],
            Pass::Footprint | Pass::Free => [cell.backend.as_str(), ""],
            Pass::Time | Pass::Touch | Pass::Cold | Pass::Traversal => ["", repetition.as_str()],
        };
        let number = hash([cell.trace.as_str(), cell.pass.name(), third, fourth]);
        Shard::new((number % u64::from(count.max(1))) as u32 + 1, count)
    }
}

/// FNV-1a of the names with a byte between, finished by a multiply.
fn hash(names: [&str; 4]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for name in names {
        for byte in name.bytes().chain([0xFF]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
    (hash ^ hash >> 29).wrapping_mul(0x94D0_49BB_1331_11EB) >> 32
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let parts = text.split_once('/');
        let numbers = parts.and_then(|(one, other)| Some((one.parse().ok()?, other.parse().ok()?)));
        numbers.and_then(|(index, count)| Shard::new(index, count)).ok_or_else(|| {
            format!("`{}`: expected K/N with K from 1 to N, such as 2/8", text.escape_debug())
        })
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Shard, String> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> String {
        shard.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_written_as_it_is_read() {
        assert_eq!("2/8".parse::<Shard>().unwrap().to_string(), "2/8");
        for text in ["", "2", "0/8", "9/8", "1/0", "-1/8", "1/100001", "a/b", "1/2/3"] {
            assert!(text.parse::<Shard>().unwrap_err().contains("such as 2/8"), "{text}");
        }
    }

    #[test]
    fn each_cell_is_in_one_shard_and_batches_stay_together() {
        let shards: Vec<Shard> = (1..=8).map(|index| Shard::new(index, 8).unwrap()).collect();
        let mut sizes = [0; 8];
        for trace in ["churn", "service", "text", "hello", "json_round", "parse_source"] {
            for pass in Pass::RECORDED {
                for repetition in 0..5 {
                    for backend in ["malloc", "pymalloc", "bump", "null"] {
                        let key = |backend: &str| CellKey {
                            trace: trace.into(),
                            backend: backend.into(),
                            pass,
                            repetition,
                        };
                        let of = |cell: &CellKey| {
                            let mut found = shards.iter().filter(|shard| shard.contains(cell));
                            let shard = *found.next().unwrap();
                            assert!(found.next().is_none());
                            shard.index as usize - 1
                        };
                        let shard = of(&key(backend));
                        sizes[shard] += 1;
                        if pass.is_timed() {
                            assert_eq!(shard, of(&key("malloc")));
                        }
                    }
                }
            }
        }
        assert!(sizes.iter().all(|&size| size > 20), "{sizes:?}");
    }
}
