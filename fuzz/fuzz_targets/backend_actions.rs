//! Arbitrary requests to pymalloc. Blocks obey the rules of allocators, invariants hold after every
//! request, and every block has the address that the reference model gives it. The first byte
//! chooses the layout and the addresses of arenas.
//!
//! Until 3.9 the owner test of pymalloc reads the start of the page of any block. AddressSanitizer
//! rightly reports that as a foreign read. So those layouts are tried only without it: `cargo fuzz
//! run --sanitizer none backend_actions`.
#![no_main]
#![feature(cfg_sanitize)]

#[path = "../../tests/suite/support/arena_hooks.rs"]
mod arena_hooks;
#[path = "../../tests/suite/support/lockstep.rs"]
mod lockstep;
#[path = "../../tests/suite/support/reference_heap.rs"]
mod reference_heap;
#[path = "../../tests/suite/support/reference_pools.rs"]
mod reference_pools;

use heaplay::backends;
use heaplay::backends::pymalloc::{
    Cpython36, Cpython37, Cpython38, Cpython39, Cpython310, Cpython311,
};
use heaplay::trace::Domain;

use arena_hooks::Bases;
use lockstep::{same_places, tiny};
use reference_heap::{Action, ReferenceHeap};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let actions = actions_from(&bytes[..bytes.len().min(400)]);
    let bases = Bases::ALL[usize::from(choice >> 4) % Bases::ALL.len()];
    let choices = if cfg!(sanitize = "address") { 6 } else { 11 };
    match choice % choices {
        0 => same_places(tiny(true), bases, &actions),
        1 => same_places(tiny(false), bases, &actions),
        2 => same_places(Cpython310, bases, &actions),
        3 => same_places(Cpython311, bases, &actions),
        4 => promises("pymalloc", 16, &actions),
        5 => promises("pymalloc@3.11+bump:reserve=4GiB", 16, &actions),
        6 => same_places(Cpython36, bases, &actions),
        7 => same_places(Cpython38, bases, &actions),
        8 => same_places(Cpython37, bases, &actions),
        9 => same_places(Cpython39, bases, &actions),
        _ => promises("pymalloc@3.6", 8, &actions),
    }
});

fn promises(spec: &str, align: usize, actions: &[Action]) {
    let backend = backends::open(&backends::parse(spec).unwrap()).unwrap();
    let mut reference = ReferenceHeap::new(&*backend, align);
    for action in actions {
        reference.act(*action);
        backend.check().unwrap();
    }
    reference.free_all();
    backend.check().unwrap();
}

/// Reads actions from arbitrary bytes, four bytes each.
fn actions_from(bytes: &[u8]) -> Vec<Action> {
    bytes.as_chunks::<4>().0.iter().map(|&[kind, a, b, c]| action_from([a, b, c], kind)).collect()
}

fn action_from([a, b, c]: [u8; 3], kind: u8) -> Action {
    let wide = usize::from(u16::from_le_bytes([a, b]));
    let size = if c & 1 == 0 { wide % 530 } else { wide % 5000 };
    let domain =
        if kind & 0x80 == 0 { Domain::Obj } else { Domain::ALL[usize::from(kind >> 5 & 1)] };
    match kind & 7 {
        0 | 1 => Action::Malloc { domain, size },
        2 => Action::Calloc { domain, elements: usize::from(c >> 1) % 5, size },
        3 => Action::Realloc { at: usize::from(c >> 1) * 31, size },
        4 => Action::Free { at: wide },
        5 => Action::Burst { size, count: usize::from(c >> 1) * 8 },
        6 => {
            Action::FreeMany { at: wide, step: 1 + usize::from(c >> 6), count: usize::from(c) * 8 }
        }
        _ => Action::FreeNull,
    }
}
