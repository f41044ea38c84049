//! What recordings of one program request, by size class, by thread and by the line that allocates,
//! and in what two sides differ.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::error::{BenchError, io_error};
use super::workload::Workload;
use crate::program::{Action, Feed, Outline, Program, SiteCursor};
use crate::units::{size_class, size_class_limit};

/// Requests and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Calls that request memory.
    pub requests: i64,
    /// Bytes that they request.
    pub bytes: i64,
}

/// A key whose demand differs between two recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemandChange<K> {
    /// The size class (its largest size, in bytes) or the line.
    pub key: K,
    /// The demand of the first recording.
    pub before: Demand,
    /// The demand of the second.
    pub after: Demand,
}

/// In what two recordings differ, largest difference in bytes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemandChanges {
    /// By size class.
    pub classes: Vec<DemandChange<u64>>,
    /// By line; `None` where a recording has no lines. The empty line is what no line is known of.
    pub lines: Option<Vec<DemandChange<String>>>,
}

impl DemandChanges {
    /// Compares the means of two sides.
    pub fn between(before: &[DemandByKey], after: &[DemandByKey]) -> DemandChanges {
        let classes = [before, after].map(|side| mean(side.iter().map(|one| &one.classes)));
        let has_lines = before.iter().chain(after).all(|one| !one.lines.is_empty());
        let lines = || [before, after].map(|side| mean(side.iter().map(|one| &one.lines)));
        DemandChanges {
            classes: changes(&classes[0], &classes[1]),
            lines: has_lines.then(lines).map(|[before, after]| changes(&before, &after)),
        }
    }
}

/// The mean demand of each key, rounded down.
fn mean<'a, K: Ord + Clone + 'a>(
    sides: impl ExactSizeIterator<Item = &'a BTreeMap<K, Demand>>,
) -> BTreeMap<K, Demand> {
    let count = (sides.len() as i64).max(1);
    let mut sums: BTreeMap<K, Demand> = BTreeMap::new();
    for (key, demand) in sides.flatten() {
        let sum = sums.entry(key.clone()).or_default();
        sum.requests += demand.requests;
        sum.bytes += demand.bytes;
    }
    for sum in sums.values_mut() {
        *sum = Demand { requests: sum.requests / count, bytes: sum.bytes / count };
    }
    sums
}

/// The demand of one recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DemandByKey {
    /// By size class, named by its largest size in bytes.
    classes: BTreeMap<u64, Demand>,
    /// By thread, named by its number in the trace.
    threads: BTreeMap<u32, Demand>,
    /// By line; empty where the recording has none.
    lines: BTreeMap<String, Demand>,
}

impl DemandByKey {
    /// The demand of a recording, which may be replayed in parts.
    ///
    /// # Errors
    /// When the parts of a trace can no longer be decoded.
    pub fn of(workload: &Workload) -> Result<DemandByKey, BenchError> {
        let failed = || io_error(format!("the requests of {}", workload.trace.path));
        let (feed, decoder) = workload.feed().map_err(failed())?;
        let counted = feed.and_then(|feed| DemandCount::of(workload, feed));
        // Of a trace that can no longer be decoded the decoder knows why.
        if let Some(reason) = decoder.end(counted.is_ok()) {
            return Err(failed()(io::Error::other(reason)));
        }
        counted.map_err(failed())
    }

    /// The demand by size class, named by its largest size in bytes.
    pub fn classes(&self) -> &BTreeMap<u64, Demand> {
        &self.classes
    }

    /// The demand by thread, named by its number in the trace.
    pub fn threads(&self) -> &BTreeMap<u32, Demand> {
        &self.threads
    }

    /// The demand by line; empty where the recording has none.
    pub fn lines(&self) -> &BTreeMap<String, Demand> {
        &self.lines
    }
}

/// The demand of the parts so far.
struct DemandCount<'a> {
    found: DemandByKey,
    /// By the number of the site; the empty map where the recording has no lines.
    sites: BTreeMap<u32, Demand>,
    cursor: Option<SiteCursor<'a>>,
}

impl<'a> DemandCount<'a> {
    fn of(workload: &'a Workload, mut feed: Feed<'_>) -> io::Result<DemandByKey> {
        let mut count = DemandCount {
            found: DemandByKey::default(),
            sites: BTreeMap::new(),
            cursor: (!workload.sites.is_empty()).then(|| SiteCursor::new(&workload.sites)),
        };
        let outline = Arc::clone(feed.outline());
        while let Some(part) = feed.next_part()? {
            count.add(part, &outline);
        }
        let named = |(site, demand): (u32, Demand)| (workload.sites.name(site).to_owned(), demand);
        count.found.lines = count.sites.into_iter().map(named).collect();
        Ok(count.found)
    }

    /// Adds the requests of a part.
    fn add(&mut self, part: &Program, outline: &Outline) {
        let number = |index: u32| match outline.threads.get(index as usize) {
            Some(thread) => thread.number,
            None => index + 1,
        };
        let mut runs = part.thread_runs().iter();
        let (mut thread, mut until) = (number(0), 0);
        if let Some(cursor) = &mut self.cursor {
            cursor.begin_part(part);
        }
        for (index, instruction) in part.instructions().iter().enumerate() {
            if index >= until {
                let run = runs.next();
                (thread, until) = run.map_or((thread, usize::MAX), |r| (number(r.thread), r.until));
            }
            if instruction.action() == Action::Free {
                continue;
            }
            let bytes = part.size(index) as u64;
            let add = |demand: &mut Demand| {
                demand.requests += 1;
                demand.bytes += bytes as i64;
            };
            add(self.found.classes.entry(size_class_limit(size_class(bytes))).or_default());
            add(self.found.threads.entry(thread).or_default());
            if let Some(cursor) = &mut self.cursor {
                add(self.sites.entry(cursor.next_site()).or_default());
            }
        }
    }
}

/// The keys whose demand differs, largest difference in bytes first.
fn changes<K: Ord + Clone>(
    before: &BTreeMap<K, Demand>,
    after: &BTreeMap<K, Demand>,
) -> Vec<DemandChange<K>> {
    let mut keys: Vec<&K> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    let of = |map: &BTreeMap<K, Demand>, key: &K| map.get(key).copied().unwrap_or_default();
    let change =
        |key: &K| DemandChange { key: key.clone(), before: of(before, key), after: of(after, key) };
    let mut changes: Vec<DemandChange<K>> =
        keys.into_iter().map(change).filter(|change| change.before != change.after).collect();
    changes.sort_by_key(|change| Reverse(change.before.bytes.abs_diff(change.after.bytes)));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_most_comes_first() {
        let demand = |requests, bytes| Demand { requests, bytes };
        let before = [(16, demand(2, 20)), (32, demand(1, 30)), (64, demand(9, 500))];
        let after = [(16, demand(3, 25)), (64, demand(9, 500)), (128, demand(1, 100))];
        let found = changes(&before.into(), &after.into());
        assert_eq!(found.iter().map(|change| change.key).collect::<Vec<_>>(), [128, 32, 16]);
        assert_eq!((found[1].before.requests, found[1].after.requests), (1, 0));
    }

    #[test]
    fn a_side_of_several_recordings_is_their_mean() {
        let of = |classes: &[(u64, i64, i64)]| DemandByKey {
            classes: classes
                .iter()
                .map(|&(class, requests, bytes)| (class, Demand { requests, bytes }))
                .collect(),
            ..DemandByKey::default()
        };
        let before = [of(&[(16, 2, 20), (32, 4, 100)]), of(&[(16, 4, 40)])];
        let after = [of(&[(16, 3, 30), (32, 9, 200)])];
        let found = DemandChanges::between(&before, &after);
        assert_eq!(found.lines, None);
        let [change] = found.classes.as_slice() else { panic!("{found:?}") };
        assert_eq!((change.key, change.before.bytes, change.after.bytes), (32, 50, 200));
    }
}
