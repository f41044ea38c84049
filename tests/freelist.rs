//! Free lists against a second, naive implementation: vectors by class. It says which block each request gets and which
//! calls reach the layer below.
#![expect(unsafe_code, reason = "calls the backend through its table")]

mod hooks;
mod waves;

use std::collections::HashMap;
use std::ffi::c_void;

use heaplay::backends::freelist::{Freelist, Limits, limits};
use heaplay::backends::{self, Backend};
use heaplay::trace::Domain;

use hooks::{Bases, Below, Hooked, Watch};
use waves::{Event, Waves};

/// Kept blocks by class, the last freed last.
struct Naive {
    limits: Limits,
    kept: HashMap<usize, Vec<*mut c_void>>,
}

impl Naive {
    /// The kept block that a request gets.
    fn take(&mut self, size: usize) -> Option<*mut c_void> {
        self.kept.get_mut(&size.div_ceil(16))?.pop()
    }

    /// Whether a freed block is kept.
    fn keep(&mut self, block: *mut c_void, usable: usize) -> bool {
        let class = usable / 16;
        let room = if (1..=32).contains(&class) { self.limits[class - 1] as usize } else { 0 };
        let kept = self.kept.entry(class).or_default();
        let keeps = kept.len() < room;
        if keeps {
            kept.push(block);
        }
        keeps
    }
}

fn run(limits: Limits, seed: u64, events: usize) {
    let watch = Watch::new(Bases::Aligned);
    let lists = Freelist::new(Box::new(Hooked(watch)), limits);
    let table = *lists.domains().get(Domain::Obj);
    let mut naive = Naive { limits, kept: HashMap::new() };
    let (mut waves, mut live): (_, Vec<*mut c_void>) = (Waves::new(seed), vec![]);
    let mut hits = 0;
    for event in 0..events {
        let next = waves.next(live.len());
        // SAFETY: the table's own context, live blocks.
        let below: Vec<Below> = unsafe {
            match next {
                Event::Malloc(size) | Event::ReallocNull(size) => {
                    let expected = naive.take(size);
                    let block = match next {
                        Event::Malloc(_) => (table.malloc)(table.ctx, size),
                        _ => (table.realloc)(table.ctx, std::ptr::null_mut(), size),
                    };
                    live.push(block);
                    assert!(expected.is_none_or(|expected| expected == block), "event {event}: {next:?}");
                    hits += usize::from(expected.is_some());
                    expected.map_or(vec![Below::Malloc(size)], |_| vec![])
                }
                Event::Calloc(elements, size) => {
                    let expected = naive.take(elements * size);
                    let block = (table.calloc)(table.ctx, elements, size);
                    live.push(block);
                    assert!(expected.is_none_or(|expected| expected == block), "event {event}: {next:?}");
                    let bytes = std::slice::from_raw_parts(block.cast::<u8>(), elements * size);
                    assert!(bytes.iter().all(|byte| *byte == 0), "event {event}: {next:?}");
                    expected.map_or(vec![Below::Calloc(elements, size)], |_| vec![])
                }
                Event::Realloc(at, size) => {
                    let block = live.swap_remove(at);
                    live.push((table.realloc)(table.ctx, block, size));
                    vec![Below::Realloc(size)]
                }
                Event::Free(at) => {
                    let block = live.swap_remove(at);
                    let kept = naive.keep(block, libc::malloc_usable_size(block));
                    (table.free)(table.ctx, block);
                    if kept { vec![] } else { vec![Below::Free] }
                }
                Event::FreeNull => {
                    (table.free)(table.ctx, std::ptr::null_mut());
                    vec![]
                }
            }
        };
        assert_eq!(watch.log.take(), below, "event {event}: {next:?}");
        if event % 5000 == 0 {
            lists.check().unwrap();
        }
    }
    assert_eq!(
        hits > 0,
        limits.iter().any(|limit| *limit > 0),
        "seed {seed}: {hits} hits, {} kept",
        naive.kept.len()
    );
    lists.check().unwrap();
    drop(lists);
    assert_eq!(watch.log.take().len(), naive.kept.values().map(Vec::len).sum::<usize>(), "all go back");
    // SAFETY: live blocks of libc.
    live.into_iter().for_each(|block| unsafe { libc::free(block) });
}

#[test]
fn the_same_blocks_as_the_naive_lists() {
    for (seed, limits) in
        [limits(7), limits(11), limits(14), [80; 32], [1; 32], [0; 32]].into_iter().enumerate()
    {
        run(limits, 300 + seed as u64, 100_000);
    }
}

#[test]
fn the_words_that_it_takes() {
    let describe = |word: &str| backends::describe(&backends::parse(word).unwrap());
    let told = describe("freelist@3.11+pymalloc@3.9+bump").unwrap();
    let places = ["layer 3", "float", "layer 2", "layer 0", "bump"].map(|part| told.find(part).expect(part));
    assert!(places.is_sorted(), "{told}");
    assert!(describe("freelist:limit=80").unwrap().contains("80"));
    for word in ["freelist:limit=x", "freelist@2.7", "freelist:size=1"] {
        assert!(describe(word).unwrap_err().to_string().contains("freelist"), "{word}");
    }
}
