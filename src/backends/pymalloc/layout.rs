//! The layouts: the constants of each version, and constants that were set one by one.
//!
//! A version's layout is a type without size, so that the compiler knows every constant. [`Custom`]
//! stores constants that were set one by one, and its heap reads them at each call.
#![expect(unsafe_code, reason = "declares the tables of a heap, which may be all zeros")]

use super::constants::{CLASSES_MOST, Constants, OwnerTest, POOLS_MOST};
use super::owner::{AnyOwner, ArenaIndex, Owner, RadixTree};

/// A table inside a heap, in machine words: as many as its layout needs, as in CPython.
///
/// # Safety
/// An array of `WORDS` words that may all be zero.
pub unsafe trait HeapTable: 'static {
    /// Words of the table.
    const WORDS: usize;
}

// SAFETY: that array.
unsafe impl<const WORDS: usize> HeapTable for [usize; WORDS] {
    const WORDS: usize = WORDS;
}

/// The constants of a heap. [`Constants::broken`] has to be `None` for them; a heap asserts that
/// when it is made.
pub trait Layout: Copy + 'static {
    /// The test of whether a block lies in the pools or in the layer below.
    type Owner: Owner;

    /// The heads of the class lists: two links for each class.
    type Heads: HeapTable;

    /// The last arena with each number of free pools, 0 included; empty for a layout that walks.
    type LastWith: HeapTable;

    /// The constants.
    fn constants(&self) -> Constants;
}

/// 3.6.0 to 3.7.3: 8-byte blocks, 4 KiB pools, 256 KiB arenas.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpython36;
/// 3.7.4 to 3.7.17: blocks of 16 bytes (bpo-27987).
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpython37;
/// 3.8: an arena's position in the usable list is found in a table (bpo-37029).
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpython38;
/// 3.9: a wholly free arena may stay mapped.
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

/// The constants of the newest version.
pub(crate) const NEWEST: Constants = CPYTHON_311;

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
    /// Why they cannot work together, as text.
    pub fn new(constants: Constants) -> Result<Custom, String> {
        match constants.broken() {
            None => Ok(Custom(constants)),
            Some(clash) => Err(clash.text(&constants)),
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
