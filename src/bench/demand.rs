//! What two recordings of one program request, and in what they differ: by size class and by the
//! line that allocates.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::workload::Workload;
use crate::program::Action;
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
    /// Compares what two programs request.
    pub fn between(before: &Workload, after: &Workload) -> DemandChanges {
        let (old, new) = (demand_of(before), demand_of(after));
        let has_lines = !before.sites.is_empty() && !after.sites.is_empty();
        DemandChanges {
            classes: changes(&old.0, &new.0),
            lines: has_lines.then(|| changes(&old.1, &new.1)),
        }
    }
}

/// The demand by size class and by line.
fn demand_of(workload: &Workload) -> (BTreeMap<u64, Demand>, BTreeMap<String, Demand>) {
    let (mut classes, mut sites): (BTreeMap<u64, Demand>, BTreeMap<u32, Demand>) =
        Default::default();
    let mut request = 0;
    for (index, instruction) in workload.program.instructions().iter().enumerate() {
        if instruction.action() == Action::Free {
            continue;
        }
        let bytes = workload.program.size(index) as u64;
        let add = |demand: &mut Demand| {
            demand.requests += 1;
            demand.bytes += bytes as i64;
        };
        add(classes.entry(size_class_limit(size_class(bytes))).or_default());
        if !workload.sites.is_empty() {
            add(sites.entry(workload.sites.site(request)).or_default());
        }
        request += 1;
    }
    let named = |(site, demand): (u32, Demand)| (workload.sites.name(site).to_owned(), demand);
    (classes, sites.into_iter().map(named).collect())
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
}
