//! The heap of glibc on which a block lies.
//!
//! The heap of the main arena grows and shrinks at its end (`brk`). A further arena has heaps of 64
//! MiB of address space, and returns the end of the last one. In both, `free` returns what lies above
//! the topmost live block, once that is more than `M_TRIM_THRESHOLD`. Memory below that block needs
//! `malloc_trim`.
#![expect(unsafe_code, reason = "reads the header of a chunk")]

use std::ffi::c_void;
use std::ops::Range;

use crate::backends::return_unit::{ReturnKind, ReturnUnit, UnitOfBlock};

/// Flags in the size of a chunk (`malloc/malloc.c`): a mapping of its own, and not of the main arena.
const IS_MMAPPED: usize = 2;
const NON_MAIN_ARENA: usize = 4;
/// Address space of a heap of a further arena, to which it is aligned (`HEAP_MAX_SIZE`).
const HEAP_BYTES: usize = if size_of::<usize>() == 4 { 1 << 20 } else { 64 << 20 };

/// The heap of each live block of this process's C library, as long as the main heap has its size.
pub(super) fn of_block() -> UnitOfBlock<'static> {
    let main = main_heap(&std::fs::read_to_string("/proc/self/maps").unwrap_or_default());
    Box::new(move |block| {
        // SAFETY: before a live block is the size of its chunk, one machine word.
        let flags = unsafe { block.cast::<usize>().sub(1).read() };
        let range = heap_of(block, flags, main.as_ref())?;
        Some(ReturnUnit { kind: ReturnKind::Top, range })
    })
}

fn heap_of(block: *mut c_void, flags: usize, main: Option<&Range<usize>>) -> Option<Range<usize>> {
    if flags & IS_MMAPPED != 0 {
        return None;
    }
    if flags & NON_MAIN_ARENA != 0 {
        let start = block.addr() & !(HEAP_BYTES - 1);
        return Some(start..start + HEAP_BYTES);
    }
    main.filter(|heap| heap.contains(&block.addr())).cloned()
}

/// The addresses of the main heap in the text of `/proc/self/maps`.
fn main_heap(maps: &str) -> Option<Range<usize>> {
    let (range, _) = maps.lines().find(|line| line.ends_with("[heap]"))?.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_the_main_heap_one_of_its_arena_or_none() {
        let maps = "55d0-66e0 r-xp 00000000 08:01 77 /bin/x\n\
                    10000-50000 rw-p 00000000 00:00 0                          [heap]\n";
        let main = main_heap(maps);
        assert_eq!(main, Some(0x10000..0x50000));
        assert_eq!(main_heap("55d0-66e0 r-xp 00000000 08:01 77 /bin/x\n"), None);
        let heap =
            |at: usize, flags| heap_of(std::ptr::without_provenance_mut(at), flags, main.as_ref());
        assert_eq!(heap(0x20010, 0x91), main);
        assert_eq!(heap(0x60010, 0x91), None);
        assert_eq!(heap(0x20010, 0x21000 | 2), None);
        let start = 3 * HEAP_BYTES;
        assert_eq!(heap(start + 0x8b0, 0x95), Some(start..start + HEAP_BYTES));
    }
}
