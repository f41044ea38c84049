//! Room `backends`, `pymalloc`: the constants of a version, and which of them can work together.
//!
//! A version's layout is a type without size, so that the compiler sees every constant; [`Custom`]
//! holds constants that were set one by one, and its heap reads them at each call.
//!
//! Source: the constants of CPython's Objects/obmalloc.c (3.6 to 3.9) and
//! Include/internal/pycore_obmalloc.h (3.10 on), 64-bit builds.

use super::owner::{AnyOwner, ArenaIndex, Owner, RadixTree};

/// Bytes of the header at the start of each pool; the same in all versions on 64-bit machines.
pub const POOL_HEADER_BYTES: usize = 48;
/// The most size classes that can be set: 512 bytes in steps of 8.
const CLASSES_MOST: usize = 64;
/// The most pools of an arena that can be set.
const POOLS_MOST: usize = 1024;
/// Fewest pools an arena is cut into: one may be lost to alignment.
const POOLS_LEAST: usize = 4;
/// Arenas are below 2 GiB: offsets in one are signed words of 4 bytes.
const ARENA_BITS_MOST: u32 = 30;
/// The smallest page of the kernel, which is the least that it maps.
const PAGE_BITS: u32 = 12;

/// How a block of the pools is told from one of the layer below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerTest {
    /// Until 3.9: the header of the pool that the block would lie in names an arena.
    ArenaIndex,
    /// From 3.10 on: a tree over so many bits of the address.
    RadixTree {
        /// 48 in 3.10, 64 later.
        address_bits: u32,
    },
}

impl OwnerTest {
    /// Bits of an address that choose among the children of the root and of a middle node, and
    /// among the entries of a leaf.
    pub const fn node_bits(self, arena_bits: u32) -> (u32, u32) {
        match self {
            OwnerTest::ArenaIndex => (0, 0),
            OwnerTest::RadixTree { address_bits } => {
                let interior = (address_bits - arena_bits).div_ceil(3);
                (interior, address_bits - arena_bits - 2 * interior)
            }
        }
    }

    /// The test in words.
    pub fn words(self, arena_bits: u32) -> String {
        match self {
            OwnerTest::ArenaIndex => "arena index in the pool's header".to_owned(),
            OwnerTest::RadixTree { address_bits } => {
                let (interior, leaf) = self.node_bits(arena_bits);
                let [node, leaf] = [8usize << interior, 8usize << leaf];
                format!(
                    "radix tree over {address_bits} address bits (nodes of {node}, {node} and {leaf} bytes)"
                )
            }
        }
    }
}

/// Sizes of blocks, pools and arenas, and the rules that changed between versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constants {
    /// Blocks are multiples of `1 << align_shift` bytes.
    pub align_shift: u32,
    /// Pools have `1 << pool_bits` bytes, and begin at a multiple of that.
    pub pool_bits: u32,
    /// Arenas have `1 << arena_bits` bytes.
    pub arena_bits: u32,
    /// Larger requests, in bytes, go to the layer below.
    pub threshold: usize,
    /// A wholly free arena goes back at once (3.8 and before), or stays while it is last in its
    /// list (3.9 on).
    pub keeps_last_empty: bool,
    /// The place of an arena among those with free pools is found by walking along the list (3.7
    /// and before), or in a table of the last arena with each number of free pools (3.8 on,
    /// bpo-37029). The order is the same; the time, with many arenas, is not.
    pub finds_by_table: bool,
    /// How a block of the pools is told from one of the layer below.
    pub owner: OwnerTest,
}

impl Constants {
    /// Bytes of the smallest block, and the alignment of all.
    #[inline(always)]
    pub const fn align(&self) -> usize {
        1 << self.align_shift
    }

    /// Bytes of a pool.
    #[inline(always)]
    pub const fn pool(&self) -> usize {
        1 << self.pool_bits
    }

    /// Bytes of an arena.
    #[inline(always)]
    pub const fn arena(&self) -> usize {
        1 << self.arena_bits
    }

    /// Number of size classes.
    #[inline(always)]
    pub const fn classes(&self) -> usize {
        self.threshold >> self.align_shift
    }

    /// Pools of an arena that begins at a multiple of a pool.
    #[inline(always)]
    pub const fn pools(&self) -> usize {
        1 << (self.arena_bits - self.pool_bits)
    }

    /// Bytes of the blocks of a size class.
    #[inline(always)]
    pub const fn class_bytes(&self, class: usize) -> usize {
        (class + 1) << self.align_shift
    }

    /// Blocks in a pool of a size class.
    pub const fn blocks(&self, class: usize) -> usize {
        (self.pool() - POOL_HEADER_BYTES) / self.class_bytes(class)
    }

    /// Which of the rules is broken that make the constants work together; `None` when none is.
    pub const fn broken(&self) -> Option<Clash> {
        if self.align_shift < 3 || !POOL_HEADER_BYTES.is_multiple_of(self.align()) {
            return Some(Clash::Align);
        }
        if self.arena_bits > ARENA_BITS_MOST || self.arena_bits < PAGE_BITS {
            return Some(Clash::Arena);
        }
        if self.threshold == 0 || !self.threshold.is_multiple_of(self.align()) {
            return Some(Clash::Threshold);
        }
        if self.classes() > CLASSES_MOST {
            return Some(Clash::Classes);
        }
        if self.pool_bits >= self.arena_bits || POOL_HEADER_BYTES + 2 * self.threshold > self.pool()
        {
            return Some(Clash::Pool);
        }
        if self.pools() < POOLS_LEAST || self.pools() > POOLS_MOST {
            return Some(Clash::Pools);
        }
        if matches!(self.owner, OwnerTest::ArenaIndex) && self.pool_bits > PAGE_BITS {
            return Some(Clash::Owner);
        }
        None
    }
}

/// Constants that cannot work together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    /// Alignment and header.
    Align,
    /// The arena's size by itself.
    Arena,
    /// Threshold and alignment.
    Threshold,
    /// Number of classes.
    Classes,
    /// Pool and its blocks, or pool and arena.
    Pool,
    /// Pools of an arena.
    Pools,
    /// Owner test and pool.
    Owner,
}

impl Clash {
    /// The rule in words, with the figures that break it.
    pub fn words(self, constants: &Constants) -> String {
        let Constants { threshold, .. } = *constants;
        let (align, pool, arena) = (constants.align(), constants.pool(), constants.arena());
        match self {
            Clash::Align => format!(
                "blocks follow a header of {POOL_HEADER_BYTES} bytes that begins with a link, so align is 8 or 16, not {align}"
            ),
            Clash::Arena => format!(
                "an arena is mapped by itself and offsets in it are 31 bits, so it has 4096 bytes to 1 GiB, not {arena}"
            ),
            Clash::Threshold => {
                format!(
                    "size classes go up to the threshold in steps of {align}, so it is a multiple of that, not {threshold}"
                )
            }
            Clash::Classes => format!(
                "a threshold of {threshold} in steps of {align} is {} size classes, and there is room for {CLASSES_MOST}",
                constants.classes()
            ),
            Clash::Pool if pool >= arena => {
                format!("a pool of {pool} bytes does not fit into an arena of {arena}")
            }
            Clash::Pool => format!(
                "a pool holds its header of {POOL_HEADER_BYTES} bytes and at least two blocks, so with a threshold of {threshold} \
                 it has {} bytes or more, not {pool}",
                POOL_HEADER_BYTES + 2 * threshold
            ),
            Clash::Pools => format!(
                "an arena of {arena} bytes has {} pools of {pool}: {POOLS_LEAST} to {POOLS_MOST} are possible",
                arena / pool
            ),
            Clash::Owner => format!(
                "owner=index reads a header where the pool of any address would begin, also of a block of the layer below, and \
                 only its own page is surely mapped: with pools of {pool} bytes use owner=radix, or pools of 4096 or less"
            ),
        }
    }
}

/// Words of a heap that are a table: as many as its layout needs, since CPython's own tables are no
/// longer.
///
/// # Safety
/// An array of `WORDS` words that may all be zero.
pub unsafe trait Room: 'static {
    /// Words of the table.
    const WORDS: usize;
}

// SAFETY: that array.
unsafe impl<const WORDS: usize> Room for [usize; WORDS] {
    const WORDS: usize = WORDS;
}

/// Where a heap has its constants from. They have to hold [`Constants::broken`]; a heap asserts it
/// when it is made.
pub trait Layout: Copy + 'static {
    /// How a block of the pools is told from one of the layer below.
    type Owner: Owner;

    /// Room for the heads of the class lists: two links for each class.
    type Heads: Room;

    /// Room for the table of the last arena with each number of free pools, none included; no room
    /// for a layout that walks.
    type LastWith: Room;

    /// The constants.
    fn constants(&self) -> Constants;
}

/// 3.6.0 to 3.7.3: 8-byte blocks, 4 KiB pools, 256 KiB arenas.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpython36;
/// 3.7.4 to 3.7.17: blocks of 16 bytes (bpo-27987).
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpython37;
/// 3.8: an arena's place among the usable ones is found in a table (bpo-37029).
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpython38;
/// 3.9: a wholly free arena may stay.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpython39;
/// 3.10: 16 KiB pools, 1 MiB arenas, a radix tree over 48 address bits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpython310;
/// 3.11 to 3.14: the radix tree covers 64 address bits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpython311;

const CPYTHON_36: Constants = Constants {
    align_shift: 3,
    pool_bits: 12,
    arena_bits: 18,
    threshold: 512,
    keeps_last_empty: false,
    finds_by_table: false,
    owner: OwnerTest::ArenaIndex,
};
const CPYTHON_37: Constants = Constants { align_shift: 4, ..CPYTHON_36 };
const CPYTHON_38: Constants = Constants { finds_by_table: true, ..CPYTHON_37 };
const CPYTHON_39: Constants = Constants { keeps_last_empty: true, ..CPYTHON_38 };
const CPYTHON_310: Constants = Constants {
    pool_bits: 14,
    arena_bits: 20,
    owner: OwnerTest::RadixTree { address_bits: 48 },
    ..CPYTHON_39
};
const CPYTHON_311: Constants =
    Constants { owner: OwnerTest::RadixTree { address_bits: 64 }, ..CPYTHON_310 };

macro_rules! layout {
    ($type:ty, $constants:expr, $owner:ty) => {
        const _: () = assert!($constants.broken().is_none());

        impl Layout for $type {
            type Owner = $owner;
            type Heads = [usize; 2 * $constants.classes()];
            type LastWith =
                [usize; if $constants.finds_by_table { $constants.pools() + 1 } else { 0 }];

            #[inline(always)]
            fn constants(&self) -> Constants {
                $constants
            }
        }
    };
}

layout!(Cpython36, CPYTHON_36, ArenaIndex);
layout!(Cpython37, CPYTHON_37, ArenaIndex);
layout!(Cpython38, CPYTHON_38, ArenaIndex);
layout!(Cpython39, CPYTHON_39, ArenaIndex);
layout!(Cpython310, CPYTHON_310, RadixTree<1024, 256>);
layout!(Cpython311, CPYTHON_311, RadixTree<32768, 16384>);

/// Constants set one by one.
#[derive(Clone, Copy, Debug)]
pub struct Custom(Constants);

impl Custom {
    /// A layout of these constants.
    ///
    /// # Errors
    /// Why they cannot work together, in words.
    pub fn new(constants: Constants) -> Result<Custom, String> {
        match constants.broken() {
            None => Ok(Custom(constants)),
            Some(clash) => Err(clash.words(&constants)),
        }
    }
}

impl Layout for Custom {
    type Owner = AnyOwner;
    type Heads = [usize; 2 * CLASSES_MOST];
    type LastWith = [usize; POOLS_MOST + 1];

    #[inline(always)]
    fn constants(&self) -> Constants {
        self.0
    }
}
