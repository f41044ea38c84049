//! Room `backends`, member `freelist`: layer 3, the lists that CPython keeps in front of its allocator, on any layer below.
//!
//! CPython keeps the last freed floats, tuples, lists, dicts and key tables for the next of their kind, up to a number
//! each. A trace has no types, so here the lists are kept by size class: each may hold as many as the types whose
//! objects are of that class may hold together. Only the obj domain has them. A recording was made below CPython's own
//! lists, so this is for traces that were not: generated ones, or a program run with `--without-freelists`.
//!
//! Source: the limits of Objects/{float,tuple,list,dict}object.c and Include/internal/pycore_freelist*.h; an object's
//! size is its type's with the collector's 16 bytes before it, 64-bit builds. Types kept by fewer programs (frames until
//! 3.10, methods until 3.8, contexts, generators, slices) are left out.
#![expect(unsafe_code, reason = "links free blocks through their first bytes, and calls the layer below")]

use std::cell::Cell;
use std::ffi::c_void;
use std::fmt::Write as _;
use std::ptr::{self, NonNull};

use super::allocator::{
    Allocator, Backend, BackendError, Counter, Domains, Member, Opened, Spec, Trim, no_environment,
};
use super::arenas::Pools;
use crate::trace::Domain;

/// The line in the list.
pub const MEMBER: Member = Member {
    name: "freelist",
    summary: "CPython's free lists in front of any backend, by size class; @3.6 to @3.14, or limit=N for each class",
    below: Some("pymalloc"),
    settings: &[],
    environment: no_environment,
    details,
    open,
};

/// Size classes: multiples of 16 bytes up to 512.
pub const CLASSES: usize = 32;
const STEP: usize = 16;
const OLDEST: u32 = 6;
const NEWEST: u32 = 14;

/// How many blocks each class may hold.
pub type Limits = [u32; CLASSES];

/// Types with a free list in CPython 3.`minor`: name, bytes of an object, most objects.
fn types(minor: u32) -> Vec<(String, usize, u32)> {
    let longest = if minor >= 11 { 20 } else { 19 };
    let mut all: Vec<(String, usize, u32)> =
        (1..=longest).map(|length| (format!("tuple of {length}"), 40 + 8 * length, 2000)).collect();
    // The smallest table: 8 indices and 5 entries, which have no hash for keys that are strings from 3.11 on.
    let keys = if minor >= 11 { 32 + 8 + 5 * 16 } else { 40 + 8 + 5 * 24 };
    let named = [("float", 24, 100), ("list", 56, 80), ("dict", 64, 80), ("dict's keys", keys, 80)];
    all.extend(named.map(|(name, bytes, most)| (name.to_owned(), bytes, most)));
    if minor >= 14 {
        all.push(("int of one digit".to_owned(), 28, 100));
    }
    all
}

/// The limits of CPython 3.`minor` by class.
pub fn limits(minor: u32) -> Limits {
    let mut limits = [0; CLASSES];
    for (_, bytes, most) in types(minor) {
        limits[(bytes - 1) / STEP] += most;
    }
    limits
}

/// A free block begins with the address of the one that was freed before it.
struct Node {
    next: *mut Node,
}

struct Lists {
    below: Allocator,
    backend: Box<dyn Backend>,
    limits: Limits,
    first: [Cell<*mut Node>; CLASSES],
    held: [Cell<u32>; CLASSES],
}

/// Free lists on a layer below.
pub struct Freelist(NonNull<Lists>);

impl Freelist {
    /// Empty lists on `backend`.
    pub fn new(backend: Box<dyn Backend>, limits: Limits) -> Freelist {
        let below = *backend.domains().get(Domain::Obj);
        let first = [const { Cell::new(ptr::null_mut()) }; CLASSES];
        let lists = Lists { below, backend, limits, first, held: Default::default() };
        Freelist(NonNull::from(Box::leak(Box::new(lists))))
    }

    fn lists(&self) -> &Lists {
        // SAFETY: it lives as long as this and is only ever shared.
        unsafe { self.0.as_ref() }
    }
}

impl Lists {
    /// Takes the block that was freed last of the smallest class that serves `size`; null when there is none.
    fn take(&self, size: usize) -> *mut c_void {
        let class = size.wrapping_sub(1) / STEP;
        let Some(first) = self.first.get(class) else { return ptr::null_mut() };
        let node = first.get();
        if !node.is_null() {
            // SAFETY: a listed block is the list's own and begins with its link.
            first.set(unsafe { (*node).next });
            self.held[class].set(self.held[class].get() - 1);
        }
        node.cast()
    }

    /// Keeps a block, if its list has room.
    ///
    /// # Safety
    /// A live block of the layer below that nobody uses any more.
    unsafe fn keep(&self, block: *mut c_void) -> bool {
        // No one says how large a block is, so the layer below is asked; CPython knows it from the type.
        // SAFETY: the block is live.
        let bytes = unsafe { self.backend.usable_size(block, 1) };
        let Some(class) = (bytes / STEP).checked_sub(1).filter(|&class| class < CLASSES) else {
            return false;
        };
        let held = self.held[class].get();
        if held >= self.limits[class] {
            return false;
        }
        // SAFETY: it has at least 16 bytes, and is the list's from now on.
        unsafe { block.cast::<Node>().write(Node { next: self.first[class].get() }) };
        self.first[class].set(block.cast());
        self.held[class].set(held + 1);
        true
    }

    /// Gives all listed blocks back, as a full collection does.
    fn clear(&self) {
        for class in 0..CLASSES {
            loop {
                let block = self.take((class + 1) * STEP);
                if block.is_null() {
                    break;
                }
                // SAFETY: a live block of the layer below that was the list's.
                unsafe { (self.below.free)(self.below.ctx, block) };
            }
        }
    }
}

/// SAFETY of each: the context is the lists of a [`Freelist`] that lives; blocks are live ones of the layer below.
mod calls {
    use super::{Lists, c_void};

    pub(super) unsafe extern "C" fn malloc(ctx: *mut c_void, size: usize) -> *mut c_void {
        let lists = unsafe { &*ctx.cast::<Lists>() };
        let block = lists.take(size);
        if block.is_null() { unsafe { (lists.below.malloc)(lists.below.ctx, size) } } else { block }
    }

    pub(super) unsafe extern "C" fn calloc(
        ctx: *mut c_void,
        elements: usize,
        element_size: usize,
    ) -> *mut c_void {
        let lists = unsafe { &*ctx.cast::<Lists>() };
        let size = elements.saturating_mul(element_size);
        let block = lists.take(size);
        if block.is_null() {
            return unsafe { (lists.below.calloc)(lists.below.ctx, elements, element_size) };
        }
        unsafe { block.cast::<u8>().write_bytes(0, size) };
        block
    }

    pub(super) unsafe extern "C" fn realloc(
        ctx: *mut c_void,
        block: *mut c_void,
        size: usize,
    ) -> *mut c_void {
        if block.is_null() {
            return unsafe { malloc(ctx, size) };
        }
        let lists = unsafe { &*ctx.cast::<Lists>() };
        unsafe { (lists.below.realloc)(lists.below.ctx, block, size) }
    }

    pub(super) unsafe extern "C" fn free(ctx: *mut c_void, block: *mut c_void) {
        let lists = unsafe { &*ctx.cast::<Lists>() };
        if !block.is_null() && !unsafe { lists.keep(block) } {
            unsafe { (lists.below.free)(lists.below.ctx, block) };
        }
    }
}

impl Drop for Freelist {
    fn drop(&mut self) {
        self.lists().clear();
        // SAFETY: it came from a box and is not used again.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Backend for Freelist {
    fn domains(&self) -> Domains {
        let below = self.lists().backend.domains();
        let listed = Allocator {
            ctx: self.0.as_ptr().cast(),
            malloc: calls::malloc,
            calloc: calls::calloc,
            realloc: calls::realloc,
            free: calls::free,
        };
        Domains::new(*below.get(Domain::Raw), *below.get(Domain::Mem), listed)
    }

    fn version(&self) -> String {
        format!("free lists by size class, on {}", self.lists().backend.version())
    }

    unsafe fn usable_size(&self, block: *mut c_void, requested: usize) -> usize {
        // SAFETY: blocks are those of the layer below.
        unsafe { self.lists().backend.usable_size(block, requested) }
    }

    fn alignment(&self) -> usize {
        self.lists().backend.alignment()
    }

    fn trim(&mut self) -> Trim {
        self.lists().clear();
        // SAFETY: only tables that hold a context point here, and none is being called.
        unsafe { self.0.as_mut() }.backend.trim()
    }

    fn counters(&self) -> Vec<Counter> {
        self.lists().backend.counters()
    }

    fn pools(&self) -> Option<&dyn Pools> {
        self.lists().backend.pools()
    }

    fn check(&self) -> Result<(), String> {
        let lists = self.lists();
        for class in 0..CLASSES {
            let (mut count, mut node) = (0, lists.first[class].get());
            while !node.is_null() && count <= lists.limits[class] {
                count += 1;
                // SAFETY: a listed block begins with its link.
                node = unsafe { (*node).next };
            }
            if count != lists.held[class].get() || count > lists.limits[class] {
                return Err(format!(
                    "the free list of class {class} has {count} blocks, {} are counted, {} allowed",
                    lists.held[class].get(),
                    lists.limits[class]
                ));
            }
        }
        lists.backend.check()
    }
}

/// The limits that a word asks for.
fn limits_of(spec: &Spec) -> Result<(Limits, u32), BackendError> {
    spec.takes_settings(&["limit"])?;
    let minor = match &spec.version {
        None => NEWEST,
        Some(text) => text
            .strip_prefix("3.")
            .and_then(|minor| minor.split('.').next()?.parse().ok())
            .filter(|minor| (OLDEST..=NEWEST).contains(minor))
            .ok_or_else(|| {
                spec.refused(format!("has no version `{text}`: it takes 3.{OLDEST} to 3.{NEWEST}"))
            })?,
    };
    let Some(limit) = spec.setting("limit") else { return Ok((limits(minor), minor)) };
    let limit: u32 = limit
        .parse()
        .map_err(|_| spec.refused(format!("has no limit `{limit}`: expected a number of blocks")))?;
    Ok(([limit; CLASSES], minor))
}

fn details(spec: &Spec) -> Result<String, BackendError> {
    let (limits, minor) = limits_of(spec)?;
    let mut text = format!(
        "freelist: what CPython 3.{minor} keeps of freed objects; versions 3.{OLDEST} to 3.{NEWEST}; settings: limit=N, most blocks of every class\n\
         layer 3, free lists of the obj domain, last in first out; a block that finds no room goes below, and a trim clears all\n     class  requests      limit  types\n"
    );
    for (class, limit) in limits.iter().enumerate().filter(|(_, limit)| **limit > 0) {
        let (from, to) = (class * STEP + 1, (class + 1) * STEP);
        let is_here = |bytes: usize| (from..=to).contains(&bytes);
        let names: Vec<String> =
            types(minor).into_iter().filter(|(_, bytes, _)| is_here(*bytes)).map(|(name, ..)| name).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "     {class:>5}  {from:>3} - {to:<3}  {limit:>9}  {}", names.join(", "));
    }
    Ok(text)
}

fn open(spec: &Spec, below: Option<Box<dyn Backend>>) -> Opened {
    let (limits, _) = limits_of(spec)?;
    let below = below.ok_or_else(|| spec.refused("needs a lower layer".to_owned()))?;
    Ok(Box::new(Freelist::new(below, limits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_their_types_hold() {
        let old = limits(10);
        assert_eq!(old[1], 100); // float
        assert_eq!(old[2], 2000); // tuple of 1
        assert_eq!(old[3], 2 * 2000 + 80 + 80); // tuples of 2 and 3, list, dict
        assert_eq!(old[10], 2 * 2000 + 80); // tuples of 16 and 17, keys of 168 bytes
        // A tuple takes 40 bytes and 8 for each item: 18 and 19 items share a class, 20 (from 3.11 on) has the next.
        assert_eq!((old[11], old[12], limits(11)[12]), (2 * 2000, 0, 2000));
        assert_eq!((limits(13)[1], limits(14)[1]), (100, 200)); // ints
        assert_eq!(old[31], 0);
    }
}
