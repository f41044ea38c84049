//! Arbitrary requests to pymalloc. Blocks obey the rules of allocators, invariants hold after every
//! request, and every block has the address that the reference model gives it. The first byte
//! chooses the layout and the addresses of arenas.
//!
//! Until 3.9 the owner test of pymalloc reads the start of the page of any block. AddressSanitizer
//! rightly reports that as a foreign read. So those layouts are tried only without it: `cargo fuzz
//! run --sanitizer none backend_actions`.
#![no_main]
#![feature(cfg_sanitize)]

#[path = "../../tests/hooks/mod.rs"]
mod hooks;
#[path = "../../tests/naive/mod.rs"]
mod naive;
#[path = "../../tests/shadow/mod.rs"]
mod shadow;
#[path = "../../tests/twins/mod.rs"]
mod twins;

use heaplay::backends;
use heaplay::backends::pymalloc::{Cpython36, Cpython37, Cpython38, Cpython39, Cpython310, Cpython311};

use hooks::Bases;
use shadow::{Action, Shadow};
use twins::{same_places, tiny};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let actions = Action::all_from(&bytes[..bytes.len().min(400)]);
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
    let mut shadow = Shadow::new(&*backend, align);
    for action in actions {
        shadow.act(*action);
        backend.check().unwrap();
    }
    shadow.free_all();
    backend.check().unwrap();
}
