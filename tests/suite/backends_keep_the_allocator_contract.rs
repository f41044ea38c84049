//! Properties of every backend that gives memory, and `pymalloc` against a reference model of its
//! rules.
#![expect(unsafe_code, reason = "calls backends through their tables, and injects arenas")]

use std::ptr;

use heaplay::backends::pymalloc::{
    Constants, Cpython36, Cpython37, Cpython38, Cpython39, Cpython310, Cpython311, Custom, Layout,
    OwnerTest, Pymalloc,
};
use heaplay::backends::{self, Backend};
use heaplay::trace::Domain;
use proptest::prelude::*;

use crate::support::arena_hooks::{Bases, Hooked, Watch};
use crate::support::lockstep::{same_places, tiny};
use crate::support::reference_heap::{Action, ReferenceHeap};

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        1 => Just(0usize),
        12 => 1usize..=512,
        3 => 1usize..=64,
        2 => 480usize..=544,
        1 => 513usize..5000,
    ]
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

fn assert_contract(backend: &dyn Backend, align: usize, actions: &[Action]) {
    assert_matches(backend, ReferenceHeap::new(backend, align), actions);
}

fn assert_matches(backend: &dyn Backend, mut reference: ReferenceHeap<'_>, actions: &[Action]) {
    for action in actions {
        reference.act(*action);
        backend.check().unwrap_or_else(|why| panic!("after {action:?}: {why}"));
    }
    reference.free_all();
    backend.check().unwrap_or_else(|why| panic!("after all was freed: {why}"));
}

/// Backends that have a size class of 8 bytes.
const CLASSES_OF_8: [&str; 2] = ["jemalloc", "mimalloc"];

fn mixed<L: Layout>(layout: L) -> Pymalloc<L> {
    thread_local! {
        static WATCH: &'static Watch = Watch::new(Bases::Mixed);
    }
    let watch = WATCH.with(|watch| *watch);
    watch.reset();
    // SAFETY: the watch gives memory of its own range, and the heap before is gone.
    unsafe { Pymalloc::new(Box::new(Hooked(watch)), watch.arenas(), layout).unwrap() }
}

/// Any constants that work together, with arenas that the hooks can place.
fn layouts() -> impl Strategy<Value = Custom> {
    let owners = prop_oneof![
        Just(OwnerTest::ArenaIndex),
        Just(OwnerTest::RadixTree { address_bits: 64 }),
        Just(OwnerTest::RadixTree { address_bits: 48 }),
    ];
    let constants = (3u32..=4, 8u32..=17, 12u32..=20, 1usize..=64, any::<[bool; 2]>(), owners)
        .prop_map(
            |(
                align_shift,
                pool_bits,
                arena_bits,
                classes,
                [keeps_last_empty, finds_by_table],
                owner,
            )| {
                Constants {
                    align_shift,
                    pool_bits,
                    arena_bits,
                    threshold: classes << align_shift,
                    keeps_last_empty,
                    finds_by_table,
                    owner,
                }
            },
        );
    constants.prop_filter_map("they work together", |constants| {
        // The hooks take 16 KiB for a chunk of an interpreter's frame stack.
        Custom::new(constants).ok().filter(|_| constants.arena_bits != 14)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_backend_keeps_the_contract(actions in actions()) {
        let variants = [
            "pymalloc", "pymalloc@3.6", "pymalloc@3.7", "pymalloc@3.9", "pymalloc@3.10",
            "pymalloc@3.11+bump", "malloc", "bump",
        ];
        // Libraries and interpreters have tests of their own: allocators_behave_as_documented,
        // verify_matches_cpython. A process has one interpreter, and cannot renew it.
        let elsewhere = ["so", "preload", "python"];
        let listed = backends::BACKENDS.iter().map(|member| member.name);
        let listed = listed.filter(|name| !elsewhere.contains(name));
        for spec in variants.into_iter().chain(listed) {
            let backend = backends::open(&backends::parse(spec).unwrap()).unwrap();
            if backend.backs_memory() {
                let align = if spec == "pymalloc@3.6" { 8 } else { 16 };
                let small = if CLASSES_OF_8.contains(&spec) { 8 } else { align };
                let reference = ReferenceHeap::new(&*backend, align).small_blocks(small);
                assert_matches(&*backend, reference, &actions);
            }
        }
    }

    #[test]
    fn lists_of_many_arenas_stay_in_order(actions in actions()) {
        assert_contract(&mixed(tiny(true)), 16, &actions);
        assert_contract(&mixed(tiny(false)), 16, &actions);
    }

    #[test]
    fn any_settings_that_work_together_work(layout in layouts(), actions in actions()) {
        assert_contract(&mixed(layout), layout.constants().align(), &actions);
        for bases in Bases::ALL {
            same_places(layout, bases, &actions);
        }
    }

    /// A version's layout as settings: constants of the compiler, and constants that are read at
    /// each call, give the same allocator.
    #[test]
    fn settings_of_a_version_are_the_version(actions in actions()) {
        let own = [
            Cpython36.constants(),
            Cpython37.constants(),
            Cpython38.constants(),
            Cpython39.constants(),
            Cpython310.constants(),
        ];
        for constants in own {
            same_places(Custom::new(constants).unwrap(), Bases::Mixed, &actions);
        }
    }

    #[test]
    fn blocks_lie_where_the_reference_model_says(actions in actions()) {
        for bases in Bases::ALL {
            same_places(tiny(true), bases, &actions);
            same_places(tiny(false), bases, &actions);
            same_places(Cpython36, bases, &actions);
            same_places(Cpython37, bases, &actions);
            same_places(Cpython38, bases, &actions);
            same_places(Cpython39, bases, &actions);
            same_places(Cpython310, bases, &actions);
            same_places(Cpython311, bases, &actions);
        }
    }
}

/// Without arenas every request goes to the layer below, as in CPython.
#[test]
fn without_arenas_everything_comes_from_below() {
    unsafe extern "C" fn none(_ctx: *mut std::ffi::c_void, _bytes: usize) -> *mut std::ffi::c_void {
        ptr::null_mut()
    }
    let watch = Watch::new(Bases::Aligned);
    let mut source = watch.arenas();
    source.alloc = none;
    // SAFETY: the source gives nothing.
    let heap = unsafe { Pymalloc::new(Box::new(Hooked(watch)), source, Cpython311).unwrap() };
    assert_contract(&heap, 16, &[Action::Burst { size: 100, count: 100 }, Action::Free { at: 7 }]);
    assert_eq!(heap.statistics().arenas_total, 0);
}

/// Without memory below, requests fail and the heap stays as it was.
#[test]
fn a_failed_request_leaves_the_heap_as_it_was() {
    let backend = backends::open(&backends::parse("pymalloc+bump:reserve=64KiB").unwrap()).unwrap();
    let table = *backend.domains().get(Domain::Obj);
    // SAFETY: the table's own context; blocks are live.
    unsafe {
        // The radix tree's nodes do not fit below. So there is no arena, and small blocks come from
        // below.
        let block = (table.malloc)(table.ctx, 64);
        assert!(!block.is_null());
        assert!((table.malloc)(table.ctx, usize::MAX).is_null());
        assert!((table.calloc)(table.ctx, usize::MAX, 2).is_null());
        assert!((table.realloc)(table.ctx, block, 1 << 20).is_null());
        (table.free)(table.ctx, block);
    }
    backend.check().unwrap();
}
