//! Properties of every backend that gives memory, and `pymalloc` against a second, naive implementation of its rules.
#![expect(unsafe_code, reason = "calls backends through their tables, and injects arenas")]

mod hooks;
mod naive;
mod shadow;

use std::ptr;

use heaplay::backends::pymalloc::{
    Cpython36, Cpython38, Cpython39, Cpython310, Cpython311, Layout, Pymalloc, RadixTree,
};
use heaplay::backends::{self, Backend};
use heaplay::trace::Domain;
use proptest::prelude::*;

use hooks::{Bases, Hooked, Place, Watch};
use naive::Naive;
use shadow::{Action, Shadow};

/// Arenas of four small pools: lists of arenas get long after a few hundred blocks.
struct Tiny<const KEEPS: bool>;

impl<const KEEPS: bool> Layout for Tiny<KEEPS> {
    const ALIGN_SHIFT: u32 = 4;
    const POOL_BITS: u32 = 13;
    const ARENA_BITS: u32 = 15;
    const KEEPS_LAST_EMPTY: bool = KEEPS;
    type Owner = RadixTree<15, 1024, 8192>;
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![1 => Just(0usize), 12 => 1usize..=512, 3 => 1usize..=64, 2 => 480usize..=544, 1 => 513usize..5000]
}

fn domains() -> impl Strategy<Value = Domain> {
    prop_oneof![Just(Domain::Obj), Just(Domain::Mem), Just(Domain::Raw)]
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => (domains(), sizes()).prop_map(|(domain, size)| Action::Malloc { domain, size }),
        2 => (domains(), 0usize..4, sizes())
            .prop_map(|(domain, elements, size)| Action::Calloc { domain, elements, size }),
        4 => (any::<usize>(), sizes()).prop_map(|(at, size)| Action::Realloc { at: at / 2, size }),
        6 => any::<usize>().prop_map(|at| Action::Free { at: at / 2 }),
        1 => Just(Action::FreeNull),
        3 => (1usize..=512, 1usize..400).prop_map(|(size, count)| Action::Burst { size, count }),
        3 => (0usize..10_000, 1usize..5, 1usize..800)
            .prop_map(|(at, step, count)| Action::FreeMany { at, step, count }),
    ];
    prop::collection::vec(action, 1..60)
}

fn holds(backend: &dyn Backend, align: usize, actions: &[Action]) {
    let mut shadow = Shadow::new(backend, align);
    for action in actions {
        shadow.act(*action);
        backend.check().unwrap_or_else(|why| panic!("after {action:?}: {why}"));
    }
    shadow.free_all();
    backend.check().unwrap_or_else(|why| panic!("after all was freed: {why}"));
}

fn tiny<const KEEPS: bool>() -> Pymalloc<Tiny<KEEPS>> {
    let watch = Watch::new(Bases::Mixed);
    // SAFETY: the watch gives memory of its own range.
    unsafe { Pymalloc::new(Box::new(Hooked(watch)), watch.arenas()).unwrap() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_backend_keeps_its_promises(actions in actions()) {
        let words = [
            "pymalloc", "pymalloc@3.6", "pymalloc@3.7", "pymalloc@3.9", "pymalloc@3.10", "pymalloc@3.11+bump",
            "malloc", "bump",
        ];
        let listed = backends::BACKENDS.iter().map(|member| member.name);
        for word in words.into_iter().chain(listed) {
            let backend = backends::open(&backends::parse(word).unwrap()).unwrap();
            if backend.backs_memory() {
                let align = if word == "pymalloc@3.6" { 8 } else { 16 };
                holds(&*backend, align, &actions);
            }
        }
    }

    #[test]
    fn lists_of_many_arenas_stay_in_order(actions in actions()) {
        holds(&tiny::<true>(), 16, &actions);
        holds(&tiny::<false>(), 16, &actions);
    }

    #[test]
    fn same_places_as_the_naive_one(actions in actions()) {
        for bases in Bases::ALL {
            same_places::<Tiny<true>>(bases, &actions);
            same_places::<Tiny<false>>(bases, &actions);
            same_places::<Cpython36>(bases, &actions);
            same_places::<Cpython38>(bases, &actions);
            same_places::<Cpython39>(bases, &actions);
            same_places::<Cpython310>(bases, &actions);
            same_places::<Cpython311>(bases, &actions);
        }
    }
}

/// One heap, its naive twin, and the live blocks of both.
struct Twins<L: Layout> {
    watch: &'static Watch,
    heap: Pymalloc<L>,
    naive: Naive,
    live: Vec<(*mut std::ffi::c_void, Place)>,
}

fn same_places<L: Layout>(bases: Bases, actions: &[Action]) {
    thread_local! {
        static WATCHES: [&'static Watch; 3] = Bases::ALL.map(Watch::new);
    }
    let watch = WATCHES.with(|watches| watches[bases as usize]);
    watch.reset();
    // SAFETY: the watch gives memory of its own range, and the heap before is gone.
    let heap: Pymalloc<L> = unsafe { Pymalloc::new(Box::new(Hooked(watch)), watch.arenas()).unwrap() };
    let mut twins = Twins { watch, heap, naive: Naive::new::<L>(bases), live: Vec::new() };
    for action in actions {
        twins.act(*action);
    }
    twins.heap.check().unwrap();
    while !twins.live.is_empty() {
        twins.act(Action::Free { at: 0 });
    }
    assert_eq!(twins.heap.statistics().arenas_end, twins.naive.arenas_mapped());
}

impl<L: Layout> Twins<L> {
    fn act(&mut self, action: Action) {
        let table = *self.heap.domains().get(Domain::Obj);
        let pick = |at: usize, live: &Vec<_>| (!live.is_empty()).then(|| at % live.len().max(1));
        // SAFETY: the table's own context, live blocks.
        unsafe {
            match action {
                Action::Malloc { size, .. } => {
                    let expected = self.naive.malloc(size);
                    self.begin((table.malloc)(table.ctx, size), expected, action);
                }
                Action::Calloc { elements, size, .. } => {
                    let expected = self.naive.malloc(elements * size);
                    self.begin((table.calloc)(table.ctx, elements, size), expected, action);
                }
                Action::Realloc { at, size } => {
                    let (block, place) = match pick(at, &self.live) {
                        Some(at) => self.live.swap_remove(at),
                        None => (ptr::null_mut(), Place::Null),
                    };
                    let expected = self.naive.realloc(place, size);
                    self.begin((table.realloc)(table.ctx, block, size), expected, action);
                }
                Action::Free { at } => {
                    if let Some(at) = pick(at, &self.live) {
                        let (block, place) = self.live.swap_remove(at);
                        self.naive.free(place);
                        (table.free)(table.ctx, block);
                    }
                }
                Action::FreeNull => (table.free)(table.ctx, ptr::null_mut()),
                Action::Burst { size, count } => {
                    (0..count).for_each(|_| self.act(Action::Malloc { domain: Domain::Obj, size }));
                }
                Action::FreeMany { at, step, count } => {
                    (0..count).for_each(|index| self.act(Action::Free { at: at + index * step }));
                }
            }
        }
    }

    fn begin(&mut self, block: *mut std::ffi::c_void, expected: Place, action: Action) {
        assert_eq!(self.watch.place(block), expected, "{action:?}");
        self.live.push((block, expected));
    }
}

/// An arena source that has nothing: every request falls to the layer below, as in CPython.
#[test]
fn without_arenas_everything_comes_from_below() {
    unsafe extern "C" fn none(_ctx: *mut std::ffi::c_void, _bytes: usize) -> *mut std::ffi::c_void {
        ptr::null_mut()
    }
    let watch = Watch::new(Bases::Aligned);
    let mut source = watch.arenas();
    source.alloc = none;
    // SAFETY: the source gives nothing.
    let heap: Pymalloc<Cpython311> = unsafe { Pymalloc::new(Box::new(Hooked(watch)), source).unwrap() };
    holds(&heap, 16, &[Action::Burst { size: 100, count: 100 }, Action::Free { at: 7 }]);
    assert_eq!(heap.statistics().arenas_total, 0);
}

/// A layer below that has nothing: requests fail, and the heap is as it was.
#[test]
fn a_failed_request_leaves_the_heap_as_it_was() {
    let backend = backends::open(&backends::parse("pymalloc+bump:reserve=64KiB").unwrap()).unwrap();
    let table = *backend.domains().get(Domain::Obj);
    // SAFETY: the table's own context; blocks are live.
    unsafe {
        // The radix tree's nodes do not fit below: no arena, and so what is small comes from below, while it lasts.
        let block = (table.malloc)(table.ctx, 64);
        assert!(!block.is_null());
        assert!((table.malloc)(table.ctx, usize::MAX).is_null());
        assert!((table.calloc)(table.ctx, usize::MAX, 2).is_null());
        assert!((table.realloc)(table.ctx, block, 1 << 20).is_null());
        (table.free)(table.ctx, block);
    }
    backend.check().unwrap();
}
