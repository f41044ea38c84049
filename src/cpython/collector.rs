//! How often CPython's garbage collector walks along its lists.
//!
//! Source: `gc_collect_main` of 3.8 to 3.13 (`Modules/gcmodule.c`, later `Python/gc.c`). A collection
//! walks the list of the objects that it visits in `update_refs`, `subtract_refs`, `move_unreachable` and
//! `untrack_tuples`, and where it counts the survivors (`gc_list_size`). A full collection walks it once
//! more, in `untrack_dicts`. Two of the walks also look at what each object refers to. That is mostly an
//! object that was born with it, whose lines the walk reads anyway, so it counts as nothing.

use serde::{Deserialize, Serialize};

/// Walks of a collection of the middle generation.
const MIDDLE_WALKS: u64 = 5;
/// Walks of a full collection.
const FULL_WALKS: u64 = 6;

/// Collections of one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRecord {
    /// How many there were.
    pub collections: u64,
    /// Objects that they visited, over all of them.
    pub objects: u64,
}

/// A list of objects that collections walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectorList {
    /// Its objects in the mean over the collections; 0 where there were none.
    pub length: u64,
    /// How often a collection walks along it.
    pub walks: u64,
    /// Steps from one object to the next, over all walks of all collections.
    pub steps: u64,
}

/// What CPython's garbage collector visited while a process was recorded. The youngest generation is
/// left out: its objects are few and were just allocated, so that they lie in the caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectorRecord {
    /// Collections of the middle generation.
    pub middle: GenerationRecord,
    /// Full collections.
    pub oldest: GenerationRecord,
}

impl CollectorRecord {
    /// Objects of all collections.
    pub fn objects(&self) -> u64 {
        self.middle.objects.saturating_add(self.oldest.objects)
    }

    /// The lists that its collections walk: of the middle generation, and of all objects.
    pub fn lists(&self) -> [CollectorList; 2] {
        [(self.middle, MIDDLE_WALKS), (self.oldest, FULL_WALKS)].map(|(generation, walks)| {
            CollectorList {
                length: generation.objects.checked_div(generation.collections).unwrap_or(0),
                walks,
                steps: generation.objects.saturating_mul(walks),
            }
        })
    }

    /// Steps from one object to the next, over all walks.
    pub fn steps(&self) -> u64 {
        self.lists().iter().fold(0, |steps, list| steps.saturating_add(list.steps))
    }

    /// What all walks take, ns, where a step takes so many.
    pub fn walks_ns(&self, step_ns: f64) -> f64 {
        step_ns * self.steps() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_visited_object_is_a_step_of_each_walk() {
        let middle = GenerationRecord { collections: 2, objects: 1_000 };
        let oldest = GenerationRecord { collections: 1, objects: 10_000 };
        let record = CollectorRecord { middle, oldest };
        assert_eq!((record.objects(), record.steps()), (11_000, 65_000));
        let lists = record.lists().map(|list| (list.length, list.walks, list.steps));
        assert_eq!(lists, [(500, 5, 5_000), (10_000, 6, 60_000)]);
        assert_eq!(CollectorRecord::default().lists().map(|list| list.length), [0, 0]);
    }
}
