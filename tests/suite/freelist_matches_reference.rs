//! Free lists against a second, naive implementation: vectors by class. It says which block each
//! request gets and which calls reach the layer below. By type the same, with the rules of each
//! version written down once more.
#![expect(unsafe_code, reason = "calls the backend through its table")]

use std::collections::HashMap;
use std::ffi::c_void;

use heaplay::backends::freelist::{Freelist, Limits, limits, listed};
use heaplay::backends::{self, Backend};
use heaplay::program::{Action, compile};
use heaplay::replay::{Done, Probe, Slots, Tables, free_all, replay};
use heaplay::trace::{
    Distribution, Domain, GeneratedType, Generator, Header, Row, Sites, TraceError, TraceReader,
};

use crate::support::arena_hooks::{Bases, Below, Hooked, Watch};
use crate::support::waves::{Event, Waves};

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
    let lists = Freelist::new(Box::new(Hooked(watch)), limits, vec![]);
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
                    assert!(
                        expected.is_none_or(|expected| expected == block),
                        "event {event}: {next:?}"
                    );
                    hits += usize::from(expected.is_some());
                    expected.map_or(vec![Below::Malloc(size)], |_| vec![])
                }
                Event::Calloc(elements, size) => {
                    let expected = naive.take(elements * size);
                    let block = (table.calloc)(table.ctx, elements, size);
                    live.push(block);
                    assert!(
                        expected.is_none_or(|expected| expected == block),
                        "event {event}: {next:?}"
                    );
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
    assert_eq!(
        watch.log.take().len(),
        naive.kept.values().map(Vec::len).sum::<usize>(),
        "all go back"
    );
    // SAFETY: live blocks of libc.
    live.into_iter().for_each(|block| unsafe { libc::free(block) });
}

#[test]
fn the_same_blocks_as_the_naive_lists() {
    let limits = |minor| limits((minor, u32::MAX));
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
    let places =
        ["layer 3", "float", "layer 2", "layer 0", "bump"].map(|part| told.find(part).expect(part));
    assert!(places.is_sorted(), "{told}");
    assert!(describe("freelist:limit=80").unwrap().contains("80"));
    for word in ["freelist:limit=x", "freelist@2.7", "freelist:size=1"] {
        assert!(describe(word).unwrap_err().to_string().contains("freelist"), "{word}");
    }
}

/// What a version keeps of a type, once more: the list that objects of that size share, its limit,
/// and whether it is for all sizes or never used again.
struct Kept {
    list: (String, u64),
    limit: usize,
    any_size: bool,
    hoarded: bool,
}

fn kept(minor: u32, patch: u32, name: &str, bytes: u64) -> Option<Kept> {
    let collector = if minor >= 8 {
        16
    } else if (minor, patch) >= (7, 4) {
        32
    } else {
        24
    };
    let one = |limit, size: u64| (bytes == size).then_some((limit, false, false));
    let found = match name {
        "float" => one(100, 24),
        "list" => one(80, collector + 40),
        "dict" => one(80, collector + 48),
        "dict keys" => one(80, if minor < 11 { 168 } else { 120 }),
        "slice" => one(1, collector + 40),
        "tuple" => {
            let items = bytes.checked_sub(collector + if minor < 14 { 24 } else { 32 })? / 8;
            let longest = if minor < 11 { 19 } else { 20 };
            let hoarded = items == 20 && (minor, patch) < (12, 5);
            (bytes.is_multiple_of(8) && (1..=longest).contains(&items))
                .then_some((2000, false, hoarded))
        }
        "frame" if minor <= 10 => Some((200, true, false)),
        "int" if minor == 14 => (bytes <= 32).then_some((100, true, false)),
        "method" if minor <= 7 => one(256, collector + 40),
        "method" if minor == 8 => one(256, collector + 48),
        "method" if minor == 14 => one(20, 64),
        "Context" if minor >= 7 => one(255, collector + 48),
        "range" if minor == 14 => one(6, 48),
        _ => None,
    };
    let (limit, any_size, hoarded) = found?;
    Some(Kept {
        list: (name.to_owned(), if any_size { 0 } else { bytes }),
        limit,
        any_size,
        hoarded,
    })
}

/// The naive lists by type, beside a replay: says what each call does, and which block it gets.
struct ByType<'a> {
    watch: &'static Watch,
    version: (u32, u32),
    /// Type and size of the block of each slot.
    blocks: Vec<(String, u64)>,
    /// Type of each request, in order; the row's own, not the program's kinds.
    types: std::slice::Iter<'a, String>,
    lists: HashMap<(String, u64), Vec<*mut c_void>>,
    hits: HashMap<String, u64>,
}

impl ByType<'_> {
    fn kept(&self, of: &(String, u64)) -> Option<Kept> {
        kept(self.version.0, self.version.1, &of.0, of.1)
    }

    fn request(&mut self, done: &Done, clears: bool) -> Vec<Below> {
        let of = (self.types.next().unwrap().clone(), done.size as u64);
        let kept = self.kept(&of);
        self.blocks[done.slot] = of.clone();
        let miss =
            if clears { vec![Below::Calloc(1, done.size)] } else { vec![Below::Malloc(done.size)] };
        let Some(kept) = kept.filter(|kept| !kept.hoarded) else { return miss };
        let Some(block) = self.lists.entry(kept.list).or_default().pop() else { return miss };
        *self.hits.entry(of.0.clone()).or_default() += 1;
        // It may have been resized, and have moved for that: then the log tells.
        if kept.any_size && self.watch.log.borrow().as_slice() == [Below::Realloc(done.size)] {
            return vec![Below::Realloc(done.size)];
        }
        assert!(done.new == block, "call {}: {of:?}", done.index);
        vec![]
    }
}

impl Probe for ByType<'_> {
    type Mark = ();
    fn before(&mut self) {}
    fn after(&mut self, (): (), done: Done) {
        let expected = match done.action {
            Action::Malloc => self.request(&done, false),
            Action::Calloc => self.request(&done, true),
            Action::Realloc => {
                self.blocks[done.slot] = (self.types.next().unwrap().clone(), done.size as u64);
                vec![Below::Realloc(done.size)]
            }
            Action::Free => match self.kept(&self.blocks[done.slot]) {
                Some(kept) if self.lists.get(&kept.list).map_or(0, Vec::len) < kept.limit => {
                    self.lists.entry(kept.list).or_default().push(done.old);
                    vec![]
                }
                _ => vec![Below::Free],
            },
        };
        assert_eq!(self.watch.log.take(), expected, "call {}: {:?}", done.index, done.action);
    }
}

/// A generated trace whose typed blocks are now and then resized or cleared, which its types alone
/// would never be.
struct Mixed(Generator, Vec<String>);

impl TraceReader for Mixed {
    fn header(&self) -> &Header {
        self.0.header()
    }
    fn next_row(&mut self) -> Result<Option<Row>, TraceError> {
        let Some(mut row) = self.0.next_row()? else { return Ok(None) };
        if row.event % 5 == 0 && row.op == heaplay::trace::Op::Malloc {
            row.op = heaplay::trace::Op::Calloc;
        }
        let name = self.0.sites().type_name(row.type_id);
        self.1.push(if row.domain == Domain::Raw { String::new() } else { name.to_owned() });
        Ok(Some(row))
    }
    fn sites(&self) -> &Sites {
        self.0.sites()
    }
}

fn types(version: (u32, u32)) -> Vec<GeneratedType> {
    let name = |name: &str, low, high, weight| GeneratedType {
        name: name.to_owned(),
        sizes: Distribution::range(low, high),
        weight,
    };
    // Those whose rules are written down above.
    let known = [
        "float",
        "list",
        "dict",
        "dict keys",
        "slice",
        "tuple",
        "frame",
        "int",
        "method",
        "Context",
        "range",
    ];
    let mut all: Vec<_> = listed(version)
        .iter()
        .filter(|list| known.contains(&list.name))
        .map(|list| {
            let most = list.bytes_most.min(list.bytes_least + 900);
            name(
                list.name,
                list.bytes_least as u64,
                most as u64,
                if list.is_common { 20 } else { 60 },
            )
        })
        .collect();
    all.extend([name("str", 50, 90, 100), name("tuple", 40, 400, 100), name("int", 28, 32, 50)]);
    all.push(name("frame", 400, 700, 100));
    all
}

#[test]
fn by_type_the_same_blocks_as_the_naive_lists() {
    for (seed, version) in [(6, 0), (7, 16), (8, 18), (10, 13), (11, 7), (12, 1), (12, 5), (14, 0)]
        .into_iter()
        .enumerate()
    {
        let sizes = Distribution::python_sizes();
        let lifetimes = Distribution::parse("1-40:60,41-4000:30,4001-40000:10", 1 << 20).unwrap();
        let made =
            Generator::new(900 + seed as u64, 150_000, sizes, lifetimes).with_types(types(version));
        let mut reader = Mixed(made, vec![]);
        let program = compile(&mut reader).unwrap();
        let watch = Watch::new(Bases::Aligned);
        let limits = limits(version);
        let mut lists = Freelist::new(Box::new(Hooked(watch)), limits, listed(version));
        let tables = Tables::new(&program, &lists);
        let mut naive = ByType {
            watch,
            version,
            blocks: vec![(String::new(), 0); program.slots()],
            types: reader.1.iter(),
            lists: HashMap::new(),
            hits: HashMap::new(),
        };
        let mut slots = Slots::new(&program);
        let calls = program.instructions().len();
        replay(&program, &tables, &mut slots, 0..calls, &mut naive).unwrap();
        lists.check().unwrap();
        let hits = &naive.hits;
        for common in ["float", "list", "dict", "dict keys", "tuple", "slice"] {
            assert!(
                hits.get(common).is_some_and(|hits| *hits > 20),
                "3.{version:?}: {common}: {hits:?}"
            );
        }
        assert_eq!(hits.contains_key("frame"), version.0 <= 10);
        assert_eq!(hits.contains_key("int"), version.0 == 14);
        // What is live goes through its own lists; a trim empties them.
        free_all(&program, &tables, &mut slots);
        lists.check().unwrap();
        lists.trim();
        let balance = watch.log.take();
        drop(lists);
        assert!(balance.iter().all(|call| *call == Below::Free) && watch.log.take().is_empty());
    }
}
