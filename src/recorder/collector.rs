//! What CPython's garbage collector visits.
//!
//! The interpreter counts its collections, what they freed, and how many objects are left. So the number
//! of objects that a collection of the middle or of the oldest generation visits follows from words that
//! the interpreter has anyway. Once in each block of the log the recorder reads them. For that it calls
//! one function, which returns a pointer, and allocates nothing: `gc.callbacks` would build a dictionary
//! for each collection. Objects of the youngest generation are left out: they are few, and were just
//! allocated.
//!
//! The words have fixed offsets within the collector's state. The state's own offset in the interpreter
//! is fixed within each minor version; 3.13 and later tell it to debuggers. Before anything else is read,
//! a pointer of the state to itself shows that it is there. 3.6, 3.7, the incremental collector of 3.14.0
//! to 3.14.4 and free-threaded builds have another state, and are not read.

use core::ffi::{CStr, c_void};

use crate::python::described_offset;
use crate::refusal;
use crate::system::symbol;

/// Where the state of the collector lies.
#[derive(Clone, Copy)]
enum StatePlace {
    /// At this offset of the static runtime: 3.8.
    Runtime(usize),
    /// At this offset of the main interpreter.
    Interpreter(usize),
}

/// The words of the collector's state, as byte offsets.
#[derive(Clone, Copy)]
struct StateLayout {
    /// The heads of the three generations.
    generations: usize,
    /// The pointer to the first of them.
    youngest: usize,
    counts: CountsLayout,
    /// Objects that the last full collection left.
    total: usize,
    /// Objects that collections of the middle generation have left since.
    pending: usize,
}

/// Where a state counts its collections.
#[derive(Clone, Copy)]
enum CountsLayout {
    /// Three words for each generation from this offset on: collections, objects collected, and objects
    /// that could not be collected.
    Inline(usize),
    /// A pointer to the last collections of each generation: 3.15.
    Buffers(usize),
}

/// 3.8 to 3.13.
const FIRST_LAYOUT: StateLayout = StateLayout {
    generations: 24,
    youngest: 96,
    counts: CountsLayout::Inline(128),
    total: 224,
    pending: 232,
};
/// 3.14 since 3.14.5.
const LAYOUT_3_14: StateLayout = StateLayout {
    generations: 24,
    youngest: 256,
    counts: CountsLayout::Inline(120),
    total: 240,
    pending: 248,
};
/// 3.15.
const LAYOUT_3_15: StateLayout = StateLayout {
    generations: 8,
    youngest: 168,
    counts: CountsLayout::Buffers(104),
    total: 152,
    pending: 160,
};

/// Bytes from one generation to the next, in the state and in its counts.
const GENERATION_BYTES: usize = 24;
/// In the buffers of 3.15: bytes of a collection, its collections so far, and the objects visited so far.
const ITEM_BYTES: usize = 64;
const ITEM_COLLECTIONS: usize = 16;
const ITEM_VISITED: usize = 40;
/// In the buffers of 3.15: the first collection of the middle and of the oldest generation, and how many
/// collections each buffer holds.
const OLD_BUFFERS: [usize; 2] = [712, 912];
const OLD_ITEMS: usize = 3;

/// The generations that are read: the middle one and the oldest.
const OLD: [usize; 2] = [1, 2];

type GetPointer = unsafe extern "C" fn() -> *const u8;

/// Reads the state of the collector of the process's main interpreter.
#[derive(Clone, Copy)]
pub struct Collector {
    main: GetPointer,
    runtime: *const u8,
    place: StatePlace,
    layout: StateLayout,
    /// What was read last; `None` before the collector's state was there.
    last: Option<Reading>,
}

/// Collections of one generation since the reading before.
#[derive(Clone, Copy)]
pub struct Collections {
    /// The generation: 1 is the middle one, 2 the oldest.
    pub generation: u64,
    /// How many.
    pub count: u64,
    /// Objects that they visited, those that they freed included.
    pub objects: u64,
}

/// Words of the collector's state, by generation: the middle one and the oldest.
#[derive(Clone, Copy, Default)]
struct Reading {
    collections: [u64; 2],
    /// Objects collected, or of [`CountsLayout::Buffers`] visited.
    objects: [u64; 2],
    /// Objects left by the last full collection, and by the middle ones since.
    left: [u64; 2],
}

impl Collector {
    /// `None` for a version whose state is not known, and on other machines than those of 64 bits.
    pub fn find(version: &[u8]) -> Option<Collector> {
        let (_, minor) = refusal::version(version).filter(|version| version.0 == 3)?;
        let present = |name: &CStr| Some(symbol(name)).filter(|at| !at.is_null());
        let runtime = present(c"_PyRuntime")?.cast_const().cast::<u8>();
        let described = |at| described_offset(runtime, at).map(StatePlace::Interpreter);
        let (place, layout) = match minor {
            8 => (StatePlace::Runtime(344), FIRST_LAYOUT),
            9 | 10 => (StatePlace::Interpreter(616), FIRST_LAYOUT),
            11 => (StatePlace::Interpreter(648), FIRST_LAYOUT),
            12 => (StatePlace::Interpreter(112), FIRST_LAYOUT),
            13 => (described(80)?, FIRST_LAYOUT),
            14 => (described(88)?, LAYOUT_3_14),
            15 => (described(88)?, LAYOUT_3_15),
            _ => return None,
        };
        // SAFETY: the function has this signature since 3.8.
        let main = unsafe {
            core::mem::transmute::<*mut c_void, GetPointer>(present(c"PyInterpreterState_Main")?)
        };
        let is_sound = cfg!(target_pointer_width = "64");
        is_sound.then_some(Collector { main, runtime, place, layout, last: None })
    }

    /// The collections since the last call, the middle generation's first. The first call that finds the
    /// collector gives those of before as none.
    pub fn news(&mut self) -> Option<[Collections; 2]> {
        let now = self.read()?;
        // A collection counts itself last, so the words before that belong to it.
        if self.last.is_some_and(|last| last.collections == now.collections) {
            return None;
        }
        let last = self.last.replace(now).unwrap_or(now);
        let counts = [0, 1].map(|at| now.collections[at].wrapping_sub(last.collections[at]));
        let objects = [0, 1].map(|at| now.objects[at].wrapping_sub(last.objects[at]));
        // A full collection sets the count of the middle ones back.
        let before = if counts[1] > 0 { 0 } else { last.left[1] };
        let left = [now.left[1].saturating_sub(before), now.left[0].saturating_mul(counts[1])];
        let visited = |at: usize| match self.layout.counts {
            CountsLayout::Inline(_) => objects[at].saturating_add(left[at]),
            CountsLayout::Buffers(_) => objects[at],
        };
        Some([0, 1].map(|at| Collections {
            generation: OLD[at] as u64,
            count: counts[at],
            objects: if counts[at] > 0 { visited(at) } else { 0 },
        }))
    }

    /// Reads the state. `None` where the interpreter is not there yet or no more, or has another state.
    fn read(&self) -> Option<Reading> {
        // SAFETY: the function only reads a pointer, and may be called at any time. The runtime is a
        // static, and the main interpreter lives as long as it is not null. Each word is read as a whole.
        unsafe {
            let state = match self.place {
                StatePlace::Runtime(offset) => self.runtime.add(offset),
                StatePlace::Interpreter(offset) => {
                    let main = Some((self.main)()).filter(|main| !main.is_null())?;
                    main.add(offset)
                }
            };
            let word = |at: *const u8| at.cast::<u64>().read_volatile();
            let own = |offset: usize| word(state.add(offset));
            if own(self.layout.youngest) != state.add(self.layout.generations) as u64 {
                return None;
            }
            let left = [own(self.layout.total), own(self.layout.pending)];
            Some(match self.layout.counts {
                CountsLayout::Inline(offset) => {
                    let at = OLD.map(|generation| offset + GENERATION_BYTES * generation);
                    Reading { collections: at.map(own), objects: at.map(|at| own(at + 8)), left }
                }
                CountsLayout::Buffers(offset) => {
                    let buffers = own(offset) as *const u8;
                    if buffers.is_null() {
                        return None;
                    }
                    // The newest collection has the highest counts.
                    let most = |field: usize| {
                        OLD_BUFFERS.map(|first| {
                            let items = 0..OLD_ITEMS;
                            let values = items
                                .map(|item| word(buffers.add(first + item * ITEM_BYTES + field)));
                            values.max().unwrap_or(0)
                        })
                    };
                    Reading {
                        collections: most(ITEM_COLLECTIONS),
                        objects: most(ITEM_VISITED),
                        left,
                    }
                }
            })
        }
    }
}
