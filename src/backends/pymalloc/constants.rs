//! The constants of CPython's pool allocator, and which of them can work together.
//!
//! Source: Objects/obmalloc.c (3.6 to 3.9) and Include/internal/pycore_obmalloc.h (3.10 on), 64-bit
//! builds.

/// Bytes of the header at the start of each pool; the same in all versions on 64-bit machines.
pub const POOL_HEADER_BYTES: usize = 48;
/// The most size classes that can be set: 512 bytes in steps of 8.
pub(super) const CLASSES_MOST: usize = 64;
/// The most pools of an arena that can be set.
pub(super) const POOLS_MOST: usize = 1024;
/// The fewest pools of an arena: one may be lost to alignment.
const POOLS_LEAST: usize = 4;
/// Arenas are below 2 GiB: an offset in one is a signed number of 4 bytes.
const ARENA_BITS_MOST: u32 = 30;
/// The smallest page of the kernel: the least that it maps.
const PAGE_BITS: u32 = 12;

/// How the allocator distinguishes a block of the pools from one of the layer below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerTest {
    /// Until 3.9: the header at the start of the block's pool names an arena.
    ArenaIndex,
    /// From 3.10 on: a radix tree over the bits of the address.
    RadixTree {
        /// Bits of the address: 48 in 3.10, 64 later.
        address_bits: u32,
    },
}

impl OwnerTest {
    /// Bits of an address that index the children of the root and of a middle node, and those that
    /// index the entries of a leaf.
    pub const fn node_bits(self, arena_bits: u32) -> (u32, u32) {
        match self {
            OwnerTest::ArenaIndex => (0, 0),
            OwnerTest::RadixTree { address_bits } => {
                let interior = (address_bits - arena_bits).div_ceil(3);
                (interior, address_bits - arena_bits - 2 * interior)
            }
        }
    }

    /// The test as text.
    pub fn text(self, arena_bits: u32) -> String {
        match self {
            OwnerTest::ArenaIndex => "arena index in the pool's header".to_owned(),
            OwnerTest::RadixTree { address_bits } => {
                let (interior, leaf) = self.node_bits(arena_bits);
                let [node, leaf] = [8usize << interior, 8usize << leaf];
                format!(
                    "radix tree over {address_bits} address bits \
                     (nodes of {node}, {node} and {leaf} bytes)"
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
    /// A wholly free arena is unmapped immediately (3.8 and before), or stays mapped while it is
    /// the last of its list (3.9 on).
    pub keeps_last_empty: bool,
    /// The search for an arena's position in the list of those with free pools. False: it walks along
    /// the list (3.7 and before). True: it uses a table of the last arena with each number of free
    /// pools (3.8 on, bpo-37029). The order is the same; with many arenas, the time is not.
    pub finds_by_table: bool,
    /// How a block of the pools is distinguished from one of the layer below.
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

    /// The first rule that the constants break; `None` when they can work together.
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
    /// The rule as text, with the figures that break it.
    pub fn text(self, constants: &Constants) -> String {
        let Constants { threshold, .. } = *constants;
        let (align, pool, arena) = (constants.align(), constants.pool(), constants.arena());
        match self {
            Clash::Align => format!(
                "blocks follow a header of {POOL_HEADER_BYTES} bytes that begins with a link, \
                 so align is 8 or 16, not {align}"
            ),
            Clash::Arena => format!(
                "an arena is mapped by itself and offsets in it are 31 bits, \
                 so it has 4096 bytes to 1 GiB, not {arena}"
            ),
            Clash::Threshold => {
                format!(
                    "size classes go up to the threshold in steps of {align}, \
                     so it is a multiple of that, not {threshold}"
                )
            }
            Clash::Classes => format!(
                "a threshold of {threshold} in steps of {align} is {} size classes; \
                 {CLASSES_MOST} are possible",
                constants.classes()
            ),
            Clash::Pool if pool >= arena => {
                format!("a pool of {pool} bytes does not fit into an arena of {arena}")
            }
            Clash::Pool => format!(
                "a pool holds its header of {POOL_HEADER_BYTES} bytes and at least two blocks, \
                 so with a threshold of {threshold} it has {} bytes or more, not {pool}",
                POOL_HEADER_BYTES + 2 * threshold
            ),
            Clash::Pools => format!(
                "an arena of {arena} bytes has {} pools of {pool}: \
                 {POOLS_LEAST} to {POOLS_MOST} are possible",
                arena / pool
            ),
            Clash::Owner => format!(
                "owner=index reads a header where the pool of any address would begin, also for a \
                 block of the layer below, of which only its own page is surely mapped: with pools \
                 of {pool} bytes use owner=radix, or pools of 4096 or less"
            ),
        }
    }
}
