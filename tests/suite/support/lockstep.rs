//! A pymalloc heap and its reference model in lockstep. The property tests and a fuzz target share
//! it.
#![expect(unsafe_code, reason = "calls the heap through its table")]

use std::ptr;

use heaplay::backends::Backend;
use heaplay::backends::pymalloc::{Constants, Cpython311, Custom, Layout, Pymalloc};
use heaplay::trace::Domain;

use super::arena_hooks::{Bases, Hooked, Place, Watch};
use super::reference_heap::Action;
use super::reference_pools::ReferencePools;

/// Arenas of four small pools: lists of arenas get long after a few hundred blocks.
pub fn tiny(keeps_last_empty: bool) -> Custom {
    let constants =
        Constants { pool_bits: 13, arena_bits: 15, keeps_last_empty, ..Cpython311.constants() };
    Custom::new(constants).unwrap()
}

/// One heap, its reference model, and the live blocks of both.
struct Lockstep<L: Layout> {
    watch: &'static Watch,
    heap: Pymalloc<L>,
    reference: ReferencePools,
    live: Vec<(*mut std::ffi::c_void, Place)>,
}

/// Does the actions on both and compares where every block lies.
pub fn same_places<L: Layout>(layout: L, bases: Bases, actions: &[Action]) {
    thread_local! {
        static WATCHES: [&'static Watch; 3] = Bases::ALL.map(Watch::new);
    }
    let watch = WATCHES.with(|watches| watches[bases as usize]);
    watch.reset();
    // SAFETY: the watch gives memory of its own range, and the heap before is gone.
    let heap = unsafe { Pymalloc::new(Box::new(Hooked(watch)), watch.arenas(), layout).unwrap() };
    let mut both = Lockstep {
        watch,
        heap,
        reference: ReferencePools::new(&layout.constants(), bases),
        live: Vec::new(),
    };
    for action in actions {
        both.act(*action);
    }
    both.heap.check().unwrap();
    while !both.live.is_empty() {
        both.act(Action::Free { at: 0 });
    }
    assert_eq!(both.heap.statistics().arenas_end, both.reference.arenas_mapped());
}

impl<L: Layout> Lockstep<L> {
    fn act(&mut self, action: Action) {
        let table = *self.heap.domains().get(Domain::Obj);
        let pick = |at: usize, live: &Vec<_>| (!live.is_empty()).then(|| at % live.len().max(1));
        // SAFETY: the table's own context, live blocks.
        unsafe {
            match action {
                Action::Malloc { size, .. } => {
                    let expected = self.reference.malloc(size);
                    self.begin((table.malloc)(table.ctx, size), expected, action);
                }
                Action::Calloc { elements, size, .. } => {
                    let expected = self.reference.malloc(elements * size);
                    self.begin((table.calloc)(table.ctx, elements, size), expected, action);
                }
                Action::Realloc { at, size } => {
                    let (block, place) = match pick(at, &self.live) {
                        Some(at) => self.live.swap_remove(at),
                        None => (ptr::null_mut(), Place::Null),
                    };
                    let expected = self.reference.realloc(place, size);
                    self.begin((table.realloc)(table.ctx, block, size), expected, action);
                }
                Action::Free { at } => {
                    if let Some(at) = pick(at, &self.live) {
                        let (block, place) = self.live.swap_remove(at);
                        self.reference.free(place);
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
