//! The four calls: [`Allocator`] is CPython's `PyMemAllocatorEx`, [`Domains`] one for each domain.
//!
//! Every backend is called through the same four function pointers, with the context first, as
//! CPython itself calls (Include/cpython/pymem.h). No backend is inlined into the loop, none gets a
//! block's size when it is freed, and each domain has a table of its own. So backends can be
//! compared with each other and with an interpreter.

use std::ffi::c_void;
use std::ptr;

use crate::trace::Domain;

/// The four calls of one domain. Layout and signatures are those of CPython's `PyMemAllocatorEx`,
/// so a table taken from an interpreter is used as it is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Allocator {
    /// The first argument of each call.
    pub ctx: *mut c_void,
    /// `malloc(ctx, size)`, size in bytes; null when there is no memory. A size of 0 returns a
    /// distinct, non-null block.
    pub malloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    /// `calloc(ctx, elements, element_size)`: as malloc, all zero.
    pub calloc: unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void,
    /// `realloc(ctx, block, new_size)`: preserves min(old, new) bytes; on null the old block is
    /// untouched.
    pub realloc: unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> *mut c_void,
    /// `free(ctx, block)`; null is allowed.
    pub free: unsafe extern "C" fn(*mut c_void, *mut c_void),
}

impl Allocator {
    /// A table that refuses every request: a place for another to be written to.
    pub fn refusing() -> Allocator {
        extern "C" fn malloc(_: *mut c_void, _: usize) -> *mut c_void {
            ptr::null_mut()
        }
        extern "C" fn calloc(_: *mut c_void, _: usize, _: usize) -> *mut c_void {
            ptr::null_mut()
        }
        extern "C" fn realloc(_: *mut c_void, _: *mut c_void, _: usize) -> *mut c_void {
            ptr::null_mut()
        }
        extern "C" fn free(_: *mut c_void, _: *mut c_void) {}
        Allocator { ctx: ptr::null_mut(), malloc, calloc, realloc, free }
    }
}

/// `aligned_alloc(ctx, alignment, size)`: as malloc; the block begins at a multiple of `alignment`
/// bytes, a power of two.
pub type AlignedMalloc = unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void;

/// The tables of the domains, indexed by [`Domain`].
#[derive(Clone, Copy, Debug)]
pub struct Domains {
    tables: [Allocator; 4],
    /// How a domain serves a request with an alignment; the context is that of its table.
    aligned: [Option<AlignedMalloc>; 4],
}

impl Domains {
    /// One table for each of CPython's domains. The domain libc has that of raw.
    pub fn new(raw: Allocator, mem: Allocator, obj: Allocator) -> Domains {
        Domains { tables: [raw, mem, obj, raw], aligned: [None; 4] }
    }

    /// The same table for all domains: an allocator without domains.
    pub fn same(allocator: Allocator) -> Domains {
        Domains { tables: [allocator; 4], aligned: [None; 4] }
    }

    /// The same tables, all of which serve requests with an alignment by this function.
    #[must_use]
    pub fn with_aligned(self, aligned: AlignedMalloc) -> Domains {
        Domains { aligned: [Some(aligned); 4], ..self }
    }

    /// The same tables, but for `domain`, which has another one.
    #[must_use]
    pub fn with(mut self, domain: Domain, table: Allocator) -> Domains {
        self.tables[domain as usize] = table;
        self.aligned[domain as usize] = None;
        self
    }

    /// The same tables, but for the domain libc, which is that of `other`.
    #[must_use]
    pub fn with_libc(mut self, other: &Domains) -> Domains {
        let libc = Domain::Libc as usize;
        (self.tables[libc], self.aligned[libc]) = (other.tables[libc], other.aligned[libc]);
        self
    }

    /// The table of one domain.
    pub fn get(&self, domain: Domain) -> &Allocator {
        &self.tables[domain as usize]
    }

    /// How a domain serves a request with an alignment.
    pub fn aligned(&self, domain: Domain) -> AlignedCall {
        AlignedCall { table: *self.get(domain), aligned: self.aligned[domain as usize] }
    }
}

/// A domain's function for requests with an alignment.
#[derive(Clone, Copy, Debug)]
pub struct AlignedCall {
    table: Allocator,
    aligned: Option<AlignedMalloc>,
}

impl AlignedCall {
    /// Whether the allocator has such a function. CPython's domains have none, and no program can
    /// request an alignment there.
    pub fn is_native(&self) -> bool {
        self.aligned.is_some()
    }

    /// A block of `size` bytes. An allocator without the function gets a plain request for as many
    /// bytes as contain such a block wherever it begins.
    ///
    /// # Safety
    /// The table's backend is alive.
    #[expect(unsafe_code, reason = "calls a C function pointer of the table")]
    pub unsafe fn call(&self, alignment: usize, size: usize) -> *mut c_void {
        // SAFETY: as the caller guarantees; both functions take any size.
        unsafe {
            match self.aligned {
                Some(aligned) => aligned(self.table.ctx, alignment, size),
                None => (self.table.malloc)(self.table.ctx, size.saturating_add(alignment)),
            }
        }
    }
}
