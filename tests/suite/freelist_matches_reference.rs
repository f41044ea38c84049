//! Free lists against reference models: vectors by class, and vectors by type with the rules of
//! each version written once more. A model says which block each request gets, and which calls
//! reach the layer below.
#![expect(unsafe_code, reason = "calls the backend through its table")]

use std::collections::HashMap;
use std::ffi::c_void;

use heaplay::backends::freelist::{Freelist, ListLimits, limits};
use heaplay::backends::{self, Backend};
use heaplay::cpython::listed;
use heaplay::program::{Action, compile};
use heaplay::replay::{Done, Probe, Slots, Tables, free_all, replay};
use heaplay::trace::{
    Distribution, Domain, GeneratedType, Generator, Header, Row, Sites, TraceError, TraceReader,
};

use crate::support::arena_hooks::{Bases, Below, Hooked, Watch};
use crate::support::waves::{Event, Waves};

/// The reference model: retained blocks by class, the last freed last.
struct ClassLists {
    limits: ListLimits,
    retained: HashMap<usize, Vec<*mut c_void>>,
}

impl ClassLists {
    /// The retained block that a request gets.
    fn take(&mut self, size: usize) -> Option<*mut c_void> {
        self.retained.get_mut(&size.div_ceil(16))?.pop()
    }

    /// Whether a freed block is retained.
    fn retain(&mut self, block: *mut c_void, usable: usize) -> bool {
        let class = usable / 16;
        let limit = if (1..=32).contains(&class) { self.limits[class - 1] as usize } else { 0 };
        let retained = self.retained.entry(class).or_default();
        let is_retained = retained.len() < limit;
        if is_retained {
            retained.push(block);
        }
        is_retained
    }
}

fn run(limits: ListLimits, seed: u64, events: usize) {
    let watch = Watch::new(Bases::Aligned);
    let lists = Freelist::new(Box::new(Hooked(watch)), limits, vec![]);
    let table = *lists.domains().get(Domain::Obj);
    let mut reference = ClassLists { limits, retained: HashMap::new() };
    let (mut waves, mut live): (_, Vec<*mut c_void>) = (Waves::new(seed), vec![]);
    let mut hits = 0;
    for event in 0..events {
        let next = waves.next(live.len());
        // SAFETY: the table's own context, live blocks.
        let below: Vec<Below> = unsafe {
            match next {
                Event::Malloc(size) | Event::ReallocNull(size) => {
                    let expected = reference.take(size);
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
                    let expected = reference.take(elements * size);
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
                    let is_retained = reference.retain(block, libc::malloc_usable_size(block));
                    (table.free)(table.ctx, block);
                    if is_retained { vec![] } else { vec![Below::Free] }
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
        "seed {seed}: {hits} hits, {} lists",
        reference.retained.len()
    );
    lists.check().unwrap();
    drop(lists);
    assert_eq!(
        watch.log.take().len(),
        reference.retained.values().map(Vec::len).sum::<usize>(),
        "all go back"
    );
    // SAFETY: live blocks of libc.
    live.into_iter().for_each(|block| unsafe { libc::free(block) });
}

#[test]
fn blocks_are_those_of_the_class_lists() {
    let limits = |minor| limits((minor, u32::MAX));
    for (seed, limits) in
        [limits(7), limits(11), limits(14), [80; 32], [1; 32], [0; 32]].into_iter().enumerate()
    {
        run(limits, 300 + seed as u64, 100_000);
    }
}

#[test]
fn specs_are_accepted_or_refused() {
    let describe = |spec: &str| backends::describe(&backends::parse(spec).unwrap());
    let description = describe("freelist@3.11+pymalloc@3.9+bump").unwrap();
    let places =
        ["layer 3", "float", "layer 2", "\nbump"].map(|part| description.find(part).expect(part));
    assert!(places.is_sorted(), "{description}");
    assert!(describe("freelist:limit=80").unwrap().contains("80"));
    for spec in ["freelist:limit=x", "freelist@2.7", "freelist:size=1"] {
        assert!(describe(spec).unwrap_err().to_string().contains("freelist"), "{spec}");
    }
}

/// The rule of a version for a type: the list that objects of that size share, its limit, whether
/// it is for all sizes, and whether its objects are never used again.
struct TypeRule {
    list: (String, u64),
    limit: usize,
    has_any_size: bool,
    is_hoarded: bool,
}

fn type_rule(minor: u32, patch: u32, name: &str, bytes: u64) -> Option<TypeRule> {
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
            let is_hoarded = items == 20 && (minor, patch) < (12, 5);
            (bytes.is_multiple_of(8) && (1..=longest).contains(&items))
                .then_some((2000, false, is_hoarded))
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
    let (limit, has_any_size, is_hoarded) = found?;
    Some(TypeRule {
        list: (name.to_owned(), if has_any_size { 0 } else { bytes }),
        limit,
        has_any_size,
        is_hoarded,
    })
}

/// The reference model by type, beside a replay. It says what each call does, and which block it
/// gets.
struct ByType<'a> {
    watch: &'static Watch,
    version: (u32, u32),
    /// Type and size of the block of each slot.
    blocks: Vec<(String, u64)>,
    /// The type of each request, in order, from the rows of the trace.
    types: std::slice::Iter<'a, String>,
    lists: HashMap<(String, u64), Vec<*mut c_void>>,
    hits: HashMap<String, u64>,
}

impl ByType<'_> {
    fn rule(&self, of: &(String, u64)) -> Option<TypeRule> {
        type_rule(self.version.0, self.version.1, &of.0, of.1)
    }

    fn request(&mut self, done: &Done, clears: bool) -> Vec<Below> {
        let of = (self.types.next().unwrap().clone(), done.size as u64);
        let rule = self.rule(&of);
        self.blocks[done.slot] = of.clone();
        let miss =
            if clears { vec![Below::Calloc(1, done.size)] } else { vec![Below::Malloc(done.size)] };
        let Some(rule) = rule.filter(|rule| !rule.is_hoarded) else { return miss };
        let Some(block) = self.lists.entry(rule.list).or_default().pop() else { return miss };
        *self.hits.entry(of.0.clone()).or_default() += 1;
        // A block that is too small is resized. The log shows that.
        if rule.has_any_size && self.watch.log.borrow().as_slice() == [Below::Realloc(done.size)] {
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
            Action::Free => match self.rule(&self.blocks[done.slot]) {
                Some(rule) if self.lists.get(&rule.list).map_or(0, Vec::len) < rule.limit => {
                    self.lists.entry(rule.list).or_default().push(done.old);
                    vec![]
                }
                _ => vec![Below::Free],
            },
        };
        assert_eq!(self.watch.log.take(), expected, "call {}: {:?}", done.index, done.action);
    }
}

/// A generated trace in which some typed blocks are resized or cleared.
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
    // Types whose rules are written above.
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
fn blocks_are_those_of_the_type_lists() {
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
        let lists = Freelist::new(Box::new(Hooked(watch)), limits, listed(version));
        let tables = Tables::new(&program, &lists);
        let mut reference = ByType {
            watch,
            version,
            blocks: vec![(String::new(), 0); program.slots()],
            types: reader.1.iter(),
            lists: HashMap::new(),
            hits: HashMap::new(),
        };
        let mut slots = Slots::new(&program);
        let calls = program.instructions().len();
        replay(&program, &tables, &mut slots, 0..calls, &mut reference).unwrap();
        lists.check().unwrap();
        let hits = &reference.hits;
        for common in ["float", "list", "dict", "dict keys", "tuple", "slice"] {
            assert!(
                hits.get(common).is_some_and(|hits| *hits > 20),
                "3.{version:?}: {common}: {hits:?}"
            );
        }
        assert_eq!(hits.contains_key("frame"), version.0 <= 10);
        assert_eq!(hits.contains_key("int"), version.0 == 14);
        // Live blocks go to their lists, and a trim empties the lists.
        free_all(&program, &tables, &mut slots);
        lists.check().unwrap();
        lists.trim();
        let balance = watch.log.take();
        drop(lists);
        assert!(balance.iter().all(|call| *call == Below::Free) && watch.log.take().is_empty());
    }
}
