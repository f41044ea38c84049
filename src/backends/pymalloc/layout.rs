//! Room `backends`, `pymalloc`: the geometry of one version, as a type, so that the compiler sees every constant.
//!
//! Source: the constants of CPython's Objects/obmalloc.c (3.6 to 3.9) and Include/internal/pycore_obmalloc.h (3.10 on),
//! 64-bit builds.

use super::owner::{ArenaIndex, Owner, RadixTree};

/// Bytes of the header at the start of each pool; the same in all versions on 64-bit machines.
pub const POOL_HEADER_BYTES: usize = 48;
/// Room for the size classes of every layout: 512 bytes in steps of 8.
pub const CLASSES_MOST: usize = 64;
/// Room for the pools of an arena of every layout.
pub const POOLS_MOST: usize = 1024;

/// Sizes of blocks, pools and arenas, and the rules that changed between versions.
///
/// A layout has to hold `ALIGN_SHIFT < POOL_BITS < ARENA_BITS < 31`, at most [`CLASSES_MOST`] classes, 4 to
/// [`POOLS_MOST`] pools an arena, and at least two blocks of the largest class in a pool; the heap asserts it when it
/// is compiled.
pub trait Layout: Sized + 'static {
    /// Blocks are multiples of `1 << ALIGN_SHIFT` bytes.
    const ALIGN_SHIFT: u32;
    /// Pools have `1 << POOL_BITS` bytes, and begin at a multiple of that.
    const POOL_BITS: u32;
    /// Arenas have `1 << ARENA_BITS` bytes.
    const ARENA_BITS: u32;
    /// Larger requests, in bytes, go to the layer below.
    const THRESHOLD: usize = 512;
    /// A wholly free arena goes back at once (3.8 and before), or stays while it is last in its list (3.9 on).
    const KEEPS_LAST_EMPTY: bool;
    /// How a block of the pools is told from one of the layer below.
    type Owner: Owner;

    /// Bytes of the smallest block, and the alignment of all.
    const ALIGN: usize = 1 << Self::ALIGN_SHIFT;
    /// Bytes of a pool.
    const POOL: usize = 1 << Self::POOL_BITS;
    /// Bytes of an arena.
    const ARENA: usize = 1 << Self::ARENA_BITS;
    /// Number of size classes.
    const CLASSES: usize = Self::THRESHOLD >> Self::ALIGN_SHIFT;

    /// Bytes of the blocks of a size class.
    #[inline(always)]
    fn class_bytes(class: usize) -> usize {
        (class + 1) << Self::ALIGN_SHIFT
    }

    /// Blocks in a pool of a size class.
    fn blocks(class: usize) -> usize {
        (Self::POOL - POOL_HEADER_BYTES) / Self::class_bytes(class)
    }
}

/// 3.6.0 to 3.7.3: 8-byte blocks, 4 KiB pools, 256 KiB arenas.
pub struct Cpython36;
/// 3.7.4 to 3.8: blocks of 16 bytes (bpo-27987).
pub struct Cpython38;
/// 3.9: a wholly free arena may stay.
pub struct Cpython39;
/// 3.10: 16 KiB pools, 1 MiB arenas, a radix tree over 48 address bits.
pub struct Cpython310;
/// 3.11 to 3.14: the radix tree covers 64 address bits.
pub struct Cpython311;

impl Layout for Cpython36 {
    const ALIGN_SHIFT: u32 = 3;
    const POOL_BITS: u32 = 12;
    const ARENA_BITS: u32 = 18;
    const KEEPS_LAST_EMPTY: bool = false;
    type Owner = ArenaIndex<12, 18>;
}

impl Layout for Cpython38 {
    const ALIGN_SHIFT: u32 = 4;
    const POOL_BITS: u32 = 12;
    const ARENA_BITS: u32 = 18;
    const KEEPS_LAST_EMPTY: bool = false;
    type Owner = ArenaIndex<12, 18>;
}

impl Layout for Cpython39 {
    const ALIGN_SHIFT: u32 = 4;
    const POOL_BITS: u32 = 12;
    const ARENA_BITS: u32 = 18;
    const KEEPS_LAST_EMPTY: bool = true;
    type Owner = ArenaIndex<12, 18>;
}

impl Layout for Cpython310 {
    const ALIGN_SHIFT: u32 = 4;
    const POOL_BITS: u32 = 14;
    const ARENA_BITS: u32 = 20;
    const KEEPS_LAST_EMPTY: bool = true;
    type Owner = RadixTree<20, 1024, 256>;
}

impl Layout for Cpython311 {
    const ALIGN_SHIFT: u32 = 4;
    const POOL_BITS: u32 = 14;
    const ARENA_BITS: u32 = 20;
    const KEEPS_LAST_EMPTY: bool = true;
    type Owner = RadixTree<20, 32768, 16384>;
}

/// The constants of a layout as values, for tables and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constants {
    /// Bytes of the smallest block, and the alignment of all.
    pub align: usize,
    /// Bytes of the largest request that pools serve.
    pub threshold: usize,
    /// Bytes of a pool.
    pub pool: usize,
    /// Bytes of an arena.
    pub arena: usize,
    /// Whether one wholly free arena may stay.
    pub keeps_last_empty: bool,
    /// The owner test in words.
    pub owner: &'static str,
}

impl Constants {
    /// Those of `L`.
    pub const fn of<L: Layout>() -> Constants {
        Constants {
            align: L::ALIGN,
            threshold: L::THRESHOLD,
            pool: L::POOL,
            arena: L::ARENA,
            keeps_last_empty: L::KEEPS_LAST_EMPTY,
            owner: <L::Owner as Owner>::NAME,
        }
    }
}
