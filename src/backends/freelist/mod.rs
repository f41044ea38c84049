//! Room `backends`, member `freelist`: layer 3, the lists that CPython keeps in front of its
//! allocator, on any layer below.
//!
//! CPython keeps the last freed floats, tuples, lists, dicts and key tables for the next of their
//! kind, up to a number each (`types.rs`). Where a trace names the types of its blocks the lists
//! are those of the version, one for each type and tuple length. Where it does not they are kept by
//! size class: each may hold as many as the common types whose objects are of that class may hold
//! together. Only the obj domain has them then; with types, the block's own domain (mem or obj,
//! which share one allocator).
//!
//! A recording was made below CPython's own lists, so this is for traces that were not: generated
//! ones, or a program run with `--without-freelists`.
#![expect(
    unsafe_code,
    reason = "links free blocks through their first bytes, and calls the layer below"
)]

mod types;

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::fmt::Write as _;
use std::ptr::{self, NonNull};

pub use types::{Listed, Rule, collector_bytes, listed};

use super::allocator::{
    Allocator, Backend, BackendError, Counter, Domains, Member, Opened, Trim, no_environment,
};
use super::arenas::Pools;
use crate::backends::spec_checks::SpecChecks;
use crate::spec::BackendSpec;
use crate::trace::{Domain, Kind};

/// The line in the list.
pub const MEMBER: Member = Member {
    name: "freelist",
    summary: "CPython's free lists in front of any backend, by a trace's types or by size class; @3.6 to @3.14, or limit=N",
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

/// The limits of CPython 3.`minor`.`patch` by class, from its common types.
pub fn limits(version: (u32, u32)) -> Limits {
    let mut limits = [0; CLASSES];
    for list in listed(version).iter().filter(|list| list.is_common) {
        limits[(list.bytes_least - 1) / STEP] += list.most;
    }
    limits
}

/// A free block begins with the address of the one that was freed before it.
struct Node {
    next: *mut Node,
}

/// One list, the block that was freed last first.
struct List {
    first: Cell<*mut Node>,
    held: Cell<u32>,
    most: u32,
}

impl List {
    fn new(most: u32) -> List {
        List { first: Cell::new(ptr::null_mut()), held: Cell::new(0), most }
    }

    /// The block that was freed last; null when there is none.
    fn pop(&self) -> *mut c_void {
        let node = self.first.get();
        if !node.is_null() {
            // SAFETY: a listed block is the list's own and begins with its link.
            self.first.set(unsafe { (*node).next });
            self.held.set(self.held.get() - 1);
        }
        node.cast()
    }

    /// Keeps a block, if there is room.
    ///
    /// # Safety
    /// A live block of at least 8 bytes of the layer below that nobody uses any more.
    unsafe fn push(&self, block: *mut c_void) -> bool {
        let held = self.held.get();
        if held >= self.most {
            return false;
        }
        // SAFETY: the block is the list's from now on.
        unsafe { block.cast::<Node>().write(Node { next: self.first.get() }) };
        self.first.set(block.cast());
        self.held.set(held + 1);
        true
    }

    fn check(&self, of: &str) -> Result<(), String> {
        let (mut count, mut node) = (0, self.first.get());
        while !node.is_null() && count <= self.most {
            count += 1;
            // SAFETY: a listed block begins with its link.
            node = unsafe { (*node).next };
        }
        if count == self.held.get() && count <= self.most {
            return Ok(());
        }
        let (held, most) = (self.held.get(), self.most);
        Err(format!("the free list of {of} has {count} blocks, {held} are counted, {most} allowed"))
    }
}

/// What the blocks of a kind do: the context of their table. Several kinds may have one list
/// (frames of all sizes).
struct KindLists {
    lists: NonNull<Lists>,
    /// In [`Lists::by_type`].
    list: usize,
    bytes: usize,
}

struct Lists {
    below: Allocator,
    backend: Box<dyn Backend>,
    by_class: [List; CLASSES],
    /// The lists by type, with what they are; empty where the limits were set by hand.
    by_type: Vec<(Listed, List)>,
    /// The contexts that were handed out. They stay where they are as long as this lives.
    #[expect(clippy::vec_box, reason = "their addresses are in tables")]
    kinds: RefCell<Vec<Box<KindLists>>>,
}

/// Free lists on a layer below.
pub struct Freelist(NonNull<Lists>);

impl Freelist {
    /// Empty lists on `backend`: by class with those limits, by type as `types` say.
    pub fn new(backend: Box<dyn Backend>, limits: Limits, types: Vec<Listed>) -> Freelist {
        let below = *backend.domains().get(Domain::Obj);
        let by_type = types.into_iter().map(|list| (list.clone(), List::new(list.most))).collect();
        let by_class = limits.map(List::new);
        let lists = Lists { below, backend, by_class, by_type, kinds: RefCell::default() };
        Freelist(NonNull::from(Box::leak(Box::new(lists))))
    }

    fn lists(&self) -> &Lists {
        // SAFETY: it lives as long as this and is only ever shared.
        unsafe { self.0.as_ref() }
    }

    /// The table for blocks of a kind that has a list.
    fn table(&self, list: usize, kind: &Kind) -> Allocator {
        let context = Box::new(KindLists { lists: self.0, list, bytes: kind.bytes as usize });
        let table = table(&raw const *context);
        self.lists().kinds.borrow_mut().push(context);
        table
    }
}

impl Front for Lists {
    fn below(&self) -> &Allocator {
        &self.below
    }

    /// By the smallest class that serves `size`.
    fn take(&self, size: usize) -> *mut c_void {
        let class = size.wrapping_sub(1) / STEP;
        self.by_class.get(class).map_or(ptr::null_mut(), List::pop)
    }

    unsafe fn keep(&self, block: *mut c_void) -> bool {
        // No one says how large a block is, so the layer below is asked; CPython knows it from the
        // type. SAFETY: the block is live.
        let bytes = unsafe { self.backend.usable_size(block, 1) };
        let Some(class) = (bytes / STEP).checked_sub(1).filter(|&class| class < CLASSES) else {
            return false;
        };
        // SAFETY: it has at least 16 bytes.
        unsafe { self.by_class[class].push(block) }
    }
}

impl Lists {
    fn all(&self) -> impl Iterator<Item = &List> {
        self.by_class.iter().chain(self.by_type.iter().map(|(_, list)| list))
    }

    /// Gives all listed blocks back, as a full collection does.
    fn clear(&self) {
        for list in self.all() {
            while let Some(block) = NonNull::new(list.pop()) {
                // SAFETY: a live block of the layer below that was the list's.
                unsafe { (self.below.free)(self.below.ctx, block.as_ptr()) };
            }
        }
    }
}

impl KindLists {
    fn lists(&self) -> &Lists {
        // SAFETY: the context lives in the lists that it points to.
        unsafe { self.lists.as_ref() }
    }
}

impl Front for KindLists {
    fn below(&self) -> &Allocator {
        &self.lists().below
    }

    fn take(&self, size: usize) -> *mut c_void {
        let lists = self.lists();
        let (listed, list) = &lists.by_type[self.list];
        if size != self.bytes || listed.rule == Rule::Hoarded {
            return ptr::null_mut();
        }
        let block = list.pop();
        if block.is_null() || listed.rule == Rule::OneSize {
            return block;
        }
        // SAFETY: a listed block is a live one of the layer below. When it cannot be made larger it
        // goes, and a new one is asked for.
        unsafe {
            if lists.backend.usable_size(block, listed.bytes_least) >= size {
                return block;
            }
            let larger = (lists.below.realloc)(lists.below.ctx, block, size);
            if larger.is_null() {
                (lists.below.free)(lists.below.ctx, block);
            }
            larger
        }
    }

    unsafe fn keep(&self, block: *mut c_void) -> bool {
        // SAFETY: it has room for its kind, which is 8 bytes at the least.
        unsafe { self.lists().by_type[self.list].1.push(block) }
    }
}

/// Lists in front of a layer: what the context of a table does first.
trait Front {
    /// The layer below.
    fn below(&self) -> &Allocator;

    /// A listed block that serves `size`; null when there is none.
    fn take(&self, size: usize) -> *mut c_void;

    /// Keeps a block, if there is room for it.
    ///
    /// # Safety
    /// A live block of the layer below that nobody uses any more. Through a kind's table, one that
    /// was asked for with the kind's size, or resized to it, so that it has room for the next of
    /// its kind.
    unsafe fn keep(&self, block: *mut c_void) -> bool;
}

/// The table of a context, which must stay where it is.
fn table<F: Front>(context: *const F) -> Allocator {
    Allocator {
        ctx: context.cast_mut().cast(),
        malloc: calls::malloc::<F>,
        calloc: calls::calloc::<F>,
        realloc: calls::realloc::<F>,
        free: calls::free::<F>,
    }
}

/// SAFETY of each: the context is a [`Front`] of a [`Freelist`] that lives; blocks are live ones of
/// the layer below.
mod calls {
    use super::{Front, c_void};

    pub(super) unsafe extern "C" fn malloc<F: Front>(ctx: *mut c_void, size: usize) -> *mut c_void {
        let front = unsafe { &*ctx.cast::<F>() };
        let block = front.take(size);
        let below = front.below();
        if block.is_null() { unsafe { (below.malloc)(below.ctx, size) } } else { block }
    }

    pub(super) unsafe extern "C" fn calloc<F: Front>(
        ctx: *mut c_void,
        elements: usize,
        element_size: usize,
    ) -> *mut c_void {
        let front = unsafe { &*ctx.cast::<F>() };
        let size = elements.saturating_mul(element_size);
        let block = front.take(size);
        if block.is_null() {
            let below = front.below();
            return unsafe { (below.calloc)(below.ctx, elements, element_size) };
        }
        unsafe { block.cast::<u8>().write_bytes(0, size) };
        block
    }

    pub(super) unsafe extern "C" fn realloc<F: Front>(
        ctx: *mut c_void,
        block: *mut c_void,
        size: usize,
    ) -> *mut c_void {
        if block.is_null() {
            return unsafe { malloc::<F>(ctx, size) };
        }
        let below = unsafe { &*ctx.cast::<F>() }.below();
        unsafe { (below.realloc)(below.ctx, block, size) }
    }

    pub(super) unsafe extern "C" fn free<F: Front>(ctx: *mut c_void, block: *mut c_void) {
        let front = unsafe { &*ctx.cast::<F>() };
        if !block.is_null() && !unsafe { front.keep(block) } {
            let below = front.below();
            unsafe { (below.free)(below.ctx, block) };
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
        let listed = table(self.0.as_ptr());
        Domains::new(*below.get(Domain::Raw), *below.get(Domain::Mem), listed)
    }

    fn by_kind(&self, kinds: &[Kind]) -> Option<Vec<Domains>> {
        let lists = self.lists();
        if lists.by_type.is_empty() {
            return None; // limits by hand are by class, whatever the trace names
        }
        let below = lists.backend.domains();
        let of_kind = |kind: &Kind| {
            let list = lists
                .by_type
                .iter()
                .position(|(list, _)| list.takes(&kind.type_name, kind.bytes))?;
            let table = self.table(list, kind);
            Some(Domains::new(*below.get(Domain::Raw), table, table))
        };
        let listed = kinds.iter().map(|kind| of_kind(kind).unwrap_or(below));
        Some([below].into_iter().chain(listed).collect())
    }

    fn version(&self) -> String {
        format!("free lists, on {}", self.lists().backend.version())
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

    fn drain(&mut self) -> Trim {
        // SAFETY: as above.
        unsafe { self.0.as_mut() }.backend.drain()
    }

    fn counters(&self) -> Vec<Counter> {
        self.lists().backend.counters()
    }

    fn pools(&self) -> Option<&dyn Pools> {
        self.lists().backend.pools()
    }

    fn check(&self) -> Result<(), String> {
        let lists = self.lists();
        for (class, list) in lists.by_class.iter().enumerate() {
            list.check(&format!("class {class}"))?;
        }
        for (listed, list) in &lists.by_type {
            list.check(&listed.words())?;
        }
        lists.backend.check()
    }
}

/// The version of CPython that a word asks for, minor and patch; the newest when it names none.
///
/// # Errors
/// [`BackendError::Refused`] for one that is not known.
pub fn version_of(spec: &BackendSpec) -> Result<(u32, u32), BackendError> {
    match spec.version() {
        None => Ok((NEWEST, u32::MAX)),
        Some(text) => {
            spec.cpython(OLDEST, NEWEST).ok_or_else(|| spec.has_no_version(text, OLDEST, NEWEST))
        }
    }
}

/// What a word asks for.
struct Wanted {
    version: (u32, u32),
    /// For every class, when set by hand.
    limit: Option<u32>,
}

impl Wanted {
    fn of(spec: &BackendSpec) -> Result<Wanted, BackendError> {
        spec.takes_settings(&["limit"])?;
        let version = version_of(spec)?;
        let number = |text: &str| {
            text.parse().map_err(|_| {
                spec.refused(format!("has no limit `{text}`: expected a number of blocks"))
            })
        };
        Ok(Wanted { version, limit: spec.setting("limit").map(number).transpose()? })
    }

    fn limits(&self) -> Limits {
        self.limit.map_or_else(|| limits(self.version), |limit| [limit; CLASSES])
    }

    fn types(&self) -> Vec<Listed> {
        if self.limit.is_some() { vec![] } else { listed(self.version) }
    }
}

fn details(spec: &BackendSpec) -> Result<String, BackendError> {
    let wanted = Wanted::of(spec)?;
    let minor = wanted.version.0;
    let mut text = format!(
        "freelist: what CPython 3.{minor} keeps of freed objects; versions 3.{OLDEST} to 3.{NEWEST}; settings: limit=N, most blocks of every class\n\
         layer 3, free lists, last in first out; a block that finds no room goes below, and a trim clears all\n"
    );
    // Writing to a string cannot fail.
    if wanted.limit.is_none() {
        text.push_str("  for a trace with a `type` column, by type:\n     type                                bytes  limit\n");
        for list in wanted.types() {
            let bytes = match (list.bytes_least, list.bytes_most) {
                (least, most) if least == most => least.to_string(),
                (least, most) => format!("{least}-{most}"),
            };
            let rule = if list.rule == Rule::Hoarded { "  kept, never used again" } else { "" };
            let _ = writeln!(text, "     {:<30}  {bytes:>9}  {:>5}{rule}", list.words(), list.most);
        }
        text.push_str("  for a trace without, by size class, in the obj domain:\n");
    } else {
        text.push_str("  by size class, whether the trace has types or not, in the obj domain:\n");
    }
    text.push_str("     class  requests      limit  common types\n");
    let types = listed(wanted.version);
    for (class, limit) in wanted.limits().iter().enumerate().filter(|(_, limit)| **limit > 0) {
        let (from, to) = (class * STEP + 1, (class + 1) * STEP);
        let is_here = |list: &&Listed| list.is_common && (from..=to).contains(&list.bytes_least);
        let names: Vec<String> = types.iter().filter(is_here).map(Listed::words).collect();
        let _ = writeln!(
            text,
            "     {class:>5}  {from:>3} - {to:<3}  {limit:>9}  {}",
            names.join(", ")
        );
    }
    Ok(text)
}

fn open(spec: &BackendSpec, below: Option<Box<dyn Backend>>) -> Opened {
    let wanted = Wanted::of(spec)?;
    let below = below.ok_or_else(|| spec.refused("needs a lower layer".to_owned()))?;
    Ok(Box::new(Freelist::new(below, wanted.limits(), wanted.types())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_their_types_hold() {
        let limits = |minor| limits((minor, u32::MAX));
        let old = limits(10);
        assert_eq!(old[1], 100); // float
        assert_eq!(old[2], 2000); // tuple of 1
        assert_eq!(old[3], 2 * 2000 + 80 + 80); // tuples of 2 and 3, list, dict
        assert_eq!(old[10], 2 * 2000 + 80); // tuples of 16 and 17, keys of 168 bytes
        // A tuple takes 40 bytes and 8 for each item: 18 and 19 items share a class, 20 (from 3.11
        // on) has the next.
        assert_eq!((old[11], old[12], limits(11)[12]), (2 * 2000, 0, 2000));
        assert_eq!((limits(13)[1], limits(14)[1]), (100, 200)); // ints
        assert_eq!(old[31], 0);
    }

    #[test]
    fn no_object_belongs_to_two_lists() {
        for version in [
            (6, 0),
            (7, 3),
            (7, 16),
            (8, 18),
            (9, 0),
            (10, 0),
            (11, 7),
            (12, 1),
            (12, 5),
            (13, 0),
            (14, 0),
        ] {
            let all = listed(version);
            for (at, list) in all.iter().enumerate() {
                for bytes in [list.bytes_least as u64, list.bytes_most as u64] {
                    let takers = all.iter().filter(|other| other.takes(list.name, bytes)).count();
                    assert_eq!(takers, 1, "3.{version:?}: {} ({at})", list.words());
                }
            }
        }
    }
}
