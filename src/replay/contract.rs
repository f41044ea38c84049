//! The contract test: checks the rules of allocators one by one, without a trace.
//!
//! `verify.rs` checks the rules in the calls of a program. This test makes calls that programs
//! seldom make: sizes of 0, sizes at every boundary, sizes beyond any memory, products that
//! overflow, a realloc that is refused.
//!
//! Sources: ISO C (malloc, calloc, realloc, free), and CPython's addition to it: a request of 0
//! bytes gives a distinct block (Doc/c-api/memory.rst).

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr;

use super::error::ReplayError;
use crate::backends::{AlignedCall, Allocator, Backend};
use crate::trace::Domain;

/// Sizes of requests, in bytes. They lie on both sides of every power of two up to a mebibyte, and
/// of every multiple of 16 to just above pymalloc's threshold. No allocator serves the largest from
/// its lists.
fn sizes() -> Vec<usize> {
    let mut sizes: Vec<usize> =
        (0..=20).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]).collect();
    sizes.extend((16..=528).step_by(16).flat_map(|size| [size - 1, size, size + 1]));
    sizes.push(5 << 20);
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// Sizes that no machine can serve, in bytes: beyond the 47 bits of user addresses, at and above
/// half of all numbers.
const BEYOND: [usize; 5] =
    [1 << 48, usize::MAX / 2, usize::MAX / 2 + 1, usize::MAX - 4096, usize::MAX];

/// A live block, with the byte that fills it.
#[derive(Clone, Copy)]
struct FilledBlock {
    start: *mut u8,
    size: usize,
    filling: u8,
}

/// One domain under test.
struct DomainTest<'a> {
    table: &'a Allocator,
    aligned: AlignedCall,
    domain: Domain,
    alignment: usize,
    backend: &'a dyn Backend,
    /// Start → end of every live block; an empty block counts as a byte.
    live: BTreeMap<usize, usize>,
    calls: u64,
}

type Checked<T> = Result<T, ReplayError>;

impl DomainTest<'_> {
    fn broken(&self, call: &str, fault: impl Into<String>) -> ReplayError {
        ReplayError::BreaksContract {
            domain: self.domain.name(),
            call: call.to_owned(),
            fault: fault.into(),
        }
    }

    /// Checks a new block of `size` bytes, notes it and fills it.
    #[expect(unsafe_code, reason = "queries and fills blocks of the backend")]
    fn accept(&mut self, call: &str, block: *mut c_void, size: usize) -> Checked<FilledBlock> {
        self.calls += 1;
        let start = block as usize;
        if block.is_null() {
            return Err(ReplayError::Withheld { call: call.to_owned() });
        }
        let wanted = if size >= 16 { self.alignment } else { 8 };
        if !start.is_multiple_of(wanted) {
            return Err(
                self.broken(call, format!("block {start:#x} is not aligned to {wanted} bytes"))
            );
        }
        let end = start + size.max(1);
        if let Some((other, other_end)) = self.live.range(..end).next_back()
            && *other_end > start
        {
            let fault = format!(
                "block {start:#x}–{end:#x} overlaps the live block {other:#x}–{other_end:#x}"
            );
            return Err(self.broken(call, fault));
        }
        // SAFETY: the block is live.
        let usable = unsafe { self.backend.usable_size(block, size) };
        if usable < size {
            return Err(self.broken(call, format!("reports {usable} usable bytes")));
        }
        self.live.insert(start, end);
        let filling = (self.calls as u8).wrapping_mul(31) | 1;
        // SAFETY: the block is live, of `size` bytes, and overlaps no other.
        unsafe { block.cast::<u8>().write_bytes(filling, size) };
        Ok(FilledBlock { start: block.cast(), size, filling })
    }

    /// Checks that the first `size` bytes of the block are unchanged.
    #[expect(unsafe_code, reason = "reads blocks of the backend")]
    fn expect_filling(&self, call: &str, block: FilledBlock, size: usize) -> Checked<()> {
        // SAFETY: a live block of at least `size` bytes.
        let bytes = unsafe { std::slice::from_raw_parts(block.start, size) };
        match bytes.iter().position(|byte| *byte != block.filling) {
            Some(at) => Err(self.broken(
                call,
                format!(
                    "byte {at} is {:#04x}, and {:#04x} was written there",
                    bytes[at], block.filling
                ),
            )),
            None => Ok(()),
        }
    }

    #[expect(unsafe_code, reason = "calls the backend")]
    fn malloc(&mut self, size: usize) -> Checked<FilledBlock> {
        // SAFETY: malloc takes any size.
        let block = unsafe { (self.table.malloc)(self.table.ctx, size) };
        self.accept(&format!("malloc({size})"), block, size)
    }

    #[expect(unsafe_code, reason = "calls the backend and reads its block")]
    fn calloc(&mut self, elements: usize, element_size: usize) -> Checked<FilledBlock> {
        let (call, size) = (format!("calloc({elements}, {element_size})"), elements * element_size);
        // SAFETY: calloc takes any sizes.
        let block = unsafe { (self.table.calloc)(self.table.ctx, elements, element_size) };
        if !block.is_null() {
            // SAFETY: the backend has just returned the block, with `size` bytes.
            let bytes = unsafe { std::slice::from_raw_parts(block.cast::<u8>(), size) };
            if let Some(at) = bytes.iter().position(|byte| *byte != 0) {
                return Err(
                    self.broken(&call, format!("byte {at} is {:#04x}, not zero", bytes[at]))
                );
            }
        }
        self.accept(&call, block, size)
    }

    #[expect(unsafe_code, reason = "calls the backend")]
    fn realloc(&mut self, old: FilledBlock, size: usize) -> Checked<FilledBlock> {
        let call = format!("realloc(block of {}, {size})", old.size);
        self.live.remove(&(old.start as usize));
        // SAFETY: the block is live, and not used again if the call returns another.
        let block = unsafe { (self.table.realloc)(self.table.ctx, old.start.cast(), size) };
        if !block.is_null() {
            self.expect_filling(
                &call,
                FilledBlock { start: block.cast(), ..old },
                old.size.min(size),
            )?;
        }
        self.accept(&call, block, size)
    }

    #[expect(unsafe_code, reason = "calls the backend")]
    fn free(&mut self, block: FilledBlock) -> Checked<()> {
        self.calls += 1;
        self.expect_filling(&format!("free(block of {})", block.size), block, block.size)?;
        self.live.remove(&(block.start as usize));
        // SAFETY: the block is live and not used again.
        unsafe { (self.table.free)(self.table.ctx, block.start.cast()) };
        Ok(())
    }

    /// Blocks of every size at once are disjoint and aligned, and their contents persist.
    fn all_sizes(&mut self) -> Checked<()> {
        let blocks: Vec<FilledBlock> =
            sizes().into_iter().map(|size| self.malloc(size)).collect::<Checked<_>>()?;
        // Every second block first, so the others lie between free blocks.
        let (even, odd): (Vec<_>, Vec<_>) =
            blocks.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
        even.into_iter().chain(odd).try_for_each(|(_, block)| self.free(block))
    }

    /// A block of calloc is zero where freed blocks held other bytes, however the product is
    /// divided.
    fn zeroes(&mut self) -> Checked<()> {
        let mut blocks = Vec::new();
        for size in sizes() {
            blocks.push(self.calloc(size, 1)?);
            blocks.push(self.calloc(1, size)?);
            if size % 4 == 0 {
                blocks.push(self.calloc(size / 4, 4)?);
            }
        }
        blocks.into_iter().try_for_each(|block| self.free(block))
    }

    /// Realloc from each size to the adjacent sizes, to the smallest and to the largest preserves
    /// the common bytes.
    fn resizes(&mut self) -> Checked<()> {
        let sizes = sizes();
        let largest = sizes[sizes.len() - 1];
        let mut block = self.malloc(0)?;
        for pair in sizes.windows(2) {
            for size in [pair[1], pair[0], pair[1]] {
                block = self.realloc(block, size)?;
            }
        }
        for size in sizes.iter().rev() {
            block = self.realloc(block, *size)?;
        }
        for size in [largest, 1, largest, 0, 512, 513, 512] {
            block = self.realloc(block, size)?;
        }
        self.free(block)
    }

    /// Blocks of every alignment begin at a multiple of it, may be resized and freed, and keep their
    /// contents. A domain without such a call gives blocks that are large enough to hold one.
    #[expect(unsafe_code, reason = "calls the backend")]
    fn alignments(&mut self) -> Checked<()> {
        let mut blocks = Vec::new();
        // rpmalloc has no larger alignment.
        for alignment in (3..=15).map(|power| 1 << power) {
            for size in [0, 1, 24, 100, 4096, 70_000] {
                // SAFETY: the call takes any power of two and any size.
                let block = unsafe { self.aligned.call(alignment, size) };
                let call = format!("aligned_alloc({alignment}, {size})");
                if self.aligned.is_native() && !block.addr().is_multiple_of(alignment) {
                    return Err(self.broken(&call, format!("block {block:p} is not aligned")));
                }
                blocks.push(self.accept(&call, block, size)?);
            }
        }
        for (at, block) in blocks.into_iter().enumerate() {
            let block = if at % 3 == 0 { self.realloc(block, block.size + 40)? } else { block };
            self.free(block)?;
        }
        Ok(())
    }

    /// `free(NULL)` does nothing, and `realloc(NULL, n)` is `malloc(n)`.
    #[expect(unsafe_code, reason = "calls the backend")]
    fn null_blocks(&mut self) -> Checked<()> {
        // SAFETY: free(NULL) does nothing; realloc(NULL, n) is malloc(n).
        let block = unsafe {
            (self.table.free)(self.table.ctx, ptr::null_mut());
            (self.table.realloc)(self.table.ctx, ptr::null_mut(), 100)
        };
        let block = self.accept("realloc(NULL, 100)", block, 100)?;
        self.free(block)
    }

    /// Makes a call that no machine can serve. It prints the call first: an allocator may crash in
    /// it.
    fn refused(&mut self, call: String, make: impl FnOnce() -> *mut c_void) -> Checked<()> {
        eprintln!("{}: {call}", self.domain.name());
        self.calls += 1;
        let block = make();
        if block.is_null() {
            return Ok(());
        }
        Err(self.broken(&call, format!("gave {block:p}, and no machine has that much")))
    }

    /// A request beyond memory is refused, and leaves the live blocks unchanged.
    #[expect(unsafe_code, reason = "calls the backend")]
    fn beyond_memory(&mut self) -> Checked<()> {
        let (small, large) = (self.malloc(100)?, self.malloc(100_000)?);
        let ctx = self.table.ctx;
        for size in BEYOND {
            // SAFETY: malloc and calloc take any size; a refused realloc leaves its block live.
            unsafe {
                self.refused(format!("malloc({size})"), || (self.table.malloc)(ctx, size))?;
                self.refused(format!("calloc({size}, 1)"), || (self.table.calloc)(ctx, size, 1))?;
                self.refused(format!("calloc(2, {size})"), || (self.table.calloc)(ctx, 2, size))?;
                for block in [small, large] {
                    let call = format!("realloc(block of {}, {size})", block.size);
                    self.refused(call, || (self.table.realloc)(ctx, block.start.cast(), size))?;
                }
            }
        }
        // The product is 2^66, which wraps around to 0.
        // SAFETY: calloc takes any sizes.
        self.refused("calloc(2^33, 2^33)".to_owned(), || unsafe {
            (self.table.calloc)(ctx, 1 << 33, 1 << 33)
        })?;
        let after = self.malloc(64)?;
        [small, large, after].into_iter().try_for_each(|block| self.free(block))
    }
}

/// Checks every rule of allocators, in each domain of the backend. Returns the number of calls.
///
/// # Errors
/// [`ReplayError::BreaksContract`] for the first rule that the backend breaks, with the call;
/// [`ReplayError::Withheld`] if it refuses a modest request; [`ReplayError::Instrument`] for a
/// backend that never gives memory.
pub fn contract_test(backend: &dyn Backend) -> Result<u64, ReplayError> {
    if !backend.backs_memory() {
        return Err(ReplayError::backs_no_memory());
    }
    let domains = backend.domains();
    let mut checked = 0;
    for domain in Domain::ALL {
        let alignment = backend.alignment();
        let mut test = DomainTest {
            table: domains.get(domain),
            aligned: domains.aligned(domain),
            domain,
            alignment,
            backend,
            live: BTreeMap::new(),
            calls: 0,
        };
        test.all_sizes()?;
        test.zeroes()?;
        test.resizes()?;
        test.null_blocks()?;
        test.alignments()?;
        test.beyond_memory()?;
        checked += test.calls;
    }
    Ok(checked)
}
