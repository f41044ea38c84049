//! What jemalloc reports of its arenas and slabs, by `mallctl`: the one that is compiled in, and one
//! in a shared library.
#![expect(unsafe_code, reason = "calls jemalloc")]

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_void};
use std::fmt::Write;
use std::os::fd::RawFd;
use std::ptr;

use super::arena_report::{self, StackText};
use super::return_unit::{ReturnKind, ReturnUnit};

/// `mallctl` of jemalloc(3).
pub(super) type MallctlFn =
    unsafe extern "C" fn(*const c_char, *mut c_void, *mut usize, *mut c_void, usize) -> c_int;

/// A number of a control: of 8 bytes, or of 4.
fn number(mallctl: MallctlFn, name: std::fmt::Arguments<'_>) -> Option<u64> {
    let mut text = StackText::default();
    text.write_fmt(name).ok()?;
    text.write_str("\0").ok()?;
    for length in [8_usize, 4] {
        let (mut value, mut written) = (0_u64, length);
        // SAFETY: the name ends with a zero, and the place has 8 bytes. A control refuses any length
        // but its own.
        let code = unsafe {
            let place = ptr::from_mut(&mut value).cast();
            mallctl(text.as_ptr().cast(), place, &mut written, ptr::null_mut(), 0)
        };
        if code == 0 && written == length {
            return Some(value);
        }
    }
    None
}

/// Writes a line for each arena that is in use; `false` where this jemalloc counts nothing.
pub(super) fn write(mallctl: MallctlFn, out: RawFd) -> bool {
    let mut epoch = 1_u64;
    // SAFETY: the control takes a number of 8 bytes, at which jemalloc counts anew.
    unsafe {
        let place = ptr::from_mut(&mut epoch).cast();
        mallctl(c"epoch".as_ptr(), ptr::null_mut(), ptr::null_mut(), place, 8);
    }
    let arenas = number(mallctl, format_args!("arenas.narenas")).unwrap_or(0);
    let mut is_written = false;
    for arena in 0..arenas {
        macro_rules! figure {
            ($name:literal) => {
                number(mallctl, format_args!(concat!("stats.arenas.{}.", $name), arena))
            };
        }
        let (small, large) = (figure!("small.allocated"), figure!("large.allocated"));
        let Some(resident) = figure!("resident").filter(|bytes| *bytes > 0) else { continue };
        let allocated = small.zip(large).map(|(small, large)| small + large);
        let figures = [figure!("nthreads"), Some(resident), allocated, figure!("tcache_bytes")];
        is_written |= arena_report::write(out, format_args!("arena {arena}"), figures);
    }
    is_written
}

/// The slabs of small blocks: jemalloc returns one when none of its blocks lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slabs {
    page_bytes: usize,
    /// Bytes of a slab by the bytes of its blocks.
    by_block_bytes: BTreeMap<usize, usize>,
}

impl Slabs {
    /// The slabs of a library; none where it does not report them.
    pub(super) fn of(mallctl: MallctlFn) -> Slabs {
        let bytes =
            |name: std::fmt::Arguments<'_>| number(mallctl, name).map(|bytes| bytes as usize);
        let page_bytes = bytes(format_args!("arenas.page")).unwrap_or(0);
        let classes = bytes(format_args!("arenas.nbins")).unwrap_or(0);
        let slab = |class: usize| {
            let block = bytes(format_args!("arenas.bin.{class}.size"))?;
            Some((block, bytes(format_args!("arenas.bin.{class}.slab_size"))?))
        };
        // A slab of one page is returned as any page is. In a slab that ends with a block and is no
        // longer than that needs, a block's address tells where the slab begins.
        let is_found_by_block = |(block, slab): &(usize, usize)| {
            *slab > page_bytes && common_multiple(page_bytes, *block) == Some(*slab)
        };
        let by_block_bytes = (0..classes).filter_map(slab).filter(is_found_by_block).collect();
        Slabs { page_bytes, by_block_bytes }
    }

    /// The slab of a block of so many usable bytes.
    pub(super) fn of_block(&self, block: usize, usable_bytes: usize) -> Option<ReturnUnit> {
        let slab_bytes = *self.by_block_bytes.get(&usable_bytes)?;
        let page = block / self.page_bytes * self.page_bytes;
        let pages =
            (0..slab_bytes / self.page_bytes).map(|at| page.checked_sub(at * self.page_bytes));
        let start = pages.flatten().find(|start| (block - start).is_multiple_of(usable_bytes))?;
        Some(ReturnUnit { kind: ReturnKind::Span, range: start..start + slab_bytes })
    }
}

/// The least common multiple; `None` where a number is 0.
fn common_multiple(a: usize, b: usize) -> Option<usize> {
    let (mut greatest, mut rest) = (a, b);
    while rest > 0 {
        (greatest, rest) = (rest, greatest % rest);
    }
    (a > 0 && b > 0).then(|| a / greatest * b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The oracle lays the blocks of a slab out one by one.
    #[test]
    fn a_block_tells_where_its_slab_begins() {
        let by_block_bytes = BTreeMap::from([(80, 20_480), (48, 12_288), (14_336, 28_672)]);
        let slabs = Slabs { page_bytes: 4096, by_block_bytes: by_block_bytes.clone() };
        for (bytes, slab_bytes) in by_block_bytes {
            assert_eq!(common_multiple(4096, bytes), Some(slab_bytes));
            for start in [0x7f00_0000_0000, 0x7f00_0000_3000, 0x5000] {
                for block in (start..start + slab_bytes).step_by(bytes) {
                    let unit =
                        ReturnUnit { kind: ReturnKind::Span, range: start..start + slab_bytes };
                    assert_eq!(slabs.of_block(block, bytes), Some(unit));
                }
            }
        }
        assert_eq!(slabs.of_block(0x5000, 64), None, "a slab of one page");
        assert_eq!(common_multiple(0, 16), None);
    }
}
