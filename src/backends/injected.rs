//! Room `backends`, member `injected`: any layer below, made worse by a known amount. It is for
//! `heaplay selftest`, which shows how often the regression check finds what was injected.
//!
//! Instructions that are spread evenly can hide in the processor's slack. So what is injected is a
//! chain of dependent multiplications in one call out of `every`, and the call below waits for its
//! end, as its argument is made from it. With `burn=0` the layer counts and injects nothing: that is
//! the side to compare with.
#![expect(unsafe_code, reason = "calls the layer below through C function pointers")]

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::fs;
use std::hint::black_box;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use super::allocator::{
    Allocator, Backend, BackendError, Counter, Domains, Member, Opened, Setting, Trim, Varies,
    no_environment, setting,
};
use super::arenas::Pools;
use super::pages;
use crate::backends::spec_checks::SpecChecks;
use crate::spec::BackendSpec;
use crate::trace::Domain;

/// The line in the list.
pub const MEMBER: Member = Member {
    name: "injected",
    summary: "any backend made worse by a known amount (slower, a page, a byte, an arena); for `heaplay selftest`",
    below: Some("malloc"),
    settings: SETTINGS,
    environment: no_environment,
    details: |spec| {
        settings(spec)?;
        Ok("injected: the layer below, made worse by a known amount; injected+… alone injects nothing\n"
            .to_owned())
    },
    open,
};

const SETTINGS: &[Setting] = &[
    setting(
        "burn",
        "0",
        "steps of a chain of dependent multiplications, about 4 cycles each, in a call that burns",
    ),
    setting("every", "16", "one call out of so many burns"),
    setting(
        "calls",
        "none",
        "a file of call numbers (32 bits each, little-endian, rising) that burn instead",
    ),
    setting("period", "none", "after how many calls the numbers of `calls` begin again"),
    setting("page", "none", "the call, from 1, at which one more page is mapped and written to"),
    setting("byte", "none", "the call, from 1, whose block has one more usable byte"),
    setting(
        "blocks",
        "0",
        "blocks of 512 bytes that are taken from the layer below at the first call, and kept",
    ),
];

/// What is injected.
#[derive(Default)]
struct Plan {
    burn: u64,
    every: u64,
    calls: Vec<u32>,
    period: u64,
    page: u64,
    byte: u64,
    blocks: u64,
}

/// What the tables of all domains share. One thread calls.
struct State {
    plan: Plan,
    count: Cell<u64>,
    /// Calls left until the next that burns.
    left: Cell<u64>,
    /// Which of `plan.calls` is next.
    next: Cell<usize>,
    /// The block with one more usable byte.
    marked: Cell<*mut c_void>,
    /// What the last chain came to.
    chain: Cell<u64>,
    kept: RefCell<Vec<*mut c_void>>,
    pages: Cell<Option<NonNull<u8>>>,
    obj: Allocator,
}

/// The context of one domain's table.
struct Layer {
    below: Allocator,
    state: Rc<State>,
}

impl State {
    /// Called before each call; gives 0, which is only known when the chain has ended.
    #[inline]
    fn before(&self) -> usize {
        let count = self.count.get() + 1;
        self.count.set(count);
        let burns = if self.plan.calls.is_empty() {
            let left = self.left.get() - 1;
            self.left.set(if left == 0 { self.plan.every } else { left });
            left == 0
        } else {
            self.listed(count)
        };
        if count == 1 && self.plan.blocks > 0 {
            self.take_blocks();
        }
        if count == self.plan.page {
            self.take_page();
        }
        if burns { self.chain() } else { 0 }
    }

    fn chain(&self) -> usize {
        let mut value = self.chain.get();
        for _ in 0..self.plan.burn {
            value = black_box(value.wrapping_mul(0x5851_F42D_4C95_7F2D) | 1);
        }
        self.chain.set(value);
        // Odd by its last step, which no compiler sees through the black box.
        if self.plan.burn == 0 { 0 } else { (black_box(value) & 1 ^ 1) as usize }
    }

    /// Whether the call of this number, from 1, is in the list.
    fn listed(&self, count: u64) -> bool {
        let place = (count - 1) % self.plan.period;
        if place == 0 {
            self.next.set(0);
        }
        let hit =
            self.plan.calls.get(self.next.get()).is_some_and(|call| u64::from(*call) == place);
        if hit {
            self.next.set(self.next.get() + 1);
        }
        hit
    }

    #[cold]
    fn take_blocks(&self) {
        for _ in 0..self.plan.blocks {
            // SAFETY: the layer below's own table; the blocks are never given back.
            let block = unsafe { (self.obj.malloc)(self.obj.ctx, 512) };
            if !block.is_null() {
                self.kept.borrow_mut().push(block);
            }
        }
    }

    #[cold]
    fn take_page(&self) {
        if let Ok(page) = pages::map(pages::page_bytes()) {
            // SAFETY: the page was just mapped.
            unsafe { page.as_ptr().write_volatile(1) };
            self.pages.set(Some(page));
        }
    }

    fn after(&self, block: *mut c_void) -> *mut c_void {
        if self.count.get() == self.plan.byte {
            self.marked.set(block);
        }
        block
    }

    fn ends(&self, block: *mut c_void) {
        if block == self.marked.get() {
            self.marked.set(ptr::null_mut());
        }
    }
}

/// SAFETY of each: the context is a [`Layer`] of a [`Injected`] that lives; blocks are live ones of
/// the layer below. What `before` gives is 0, so sizes and addresses are the caller's.
mod calls {
    use super::{Layer, c_void};

    pub(super) unsafe extern "C" fn malloc(ctx: *mut c_void, size: usize) -> *mut c_void {
        let layer = unsafe { &*ctx.cast::<Layer>() };
        let size = size + layer.state.before();
        layer.state.after(unsafe { (layer.below.malloc)(layer.below.ctx, size) })
    }

    pub(super) unsafe extern "C" fn calloc(
        ctx: *mut c_void,
        elements: usize,
        size: usize,
    ) -> *mut c_void {
        let layer = unsafe { &*ctx.cast::<Layer>() };
        let size = size + layer.state.before();
        layer.state.after(unsafe { (layer.below.calloc)(layer.below.ctx, elements, size) })
    }

    pub(super) unsafe extern "C" fn realloc(
        ctx: *mut c_void,
        block: *mut c_void,
        size: usize,
    ) -> *mut c_void {
        let layer = unsafe { &*ctx.cast::<Layer>() };
        layer.state.ends(block);
        let block = block.wrapping_byte_add(layer.state.before());
        layer.state.after(unsafe { (layer.below.realloc)(layer.below.ctx, block, size) })
    }

    pub(super) unsafe extern "C" fn free(ctx: *mut c_void, block: *mut c_void) {
        let layer = unsafe { &*ctx.cast::<Layer>() };
        layer.state.ends(block);
        let block = block.wrapping_byte_add(layer.state.before());
        unsafe { (layer.below.free)(layer.below.ctx, block) };
    }
}

struct Injected {
    backend: Box<dyn Backend>,
    layers: [Box<Layer>; 3],
}

impl Backend for Injected {
    fn domains(&self) -> Domains {
        let table = |at: usize| Allocator {
            ctx: ptr::from_ref::<Layer>(&self.layers[at]).cast_mut().cast(),
            malloc: calls::malloc,
            calloc: calls::calloc,
            realloc: calls::realloc,
            free: calls::free,
        };
        Domains::new(table(0), table(1), table(2))
    }

    fn version(&self) -> String {
        format!("made worse on purpose, on {}", self.backend.version())
    }

    unsafe fn usable_size(&self, block: *mut c_void, requested: usize) -> usize {
        let more = usize::from(block == self.layers[0].state.marked.get());
        // SAFETY: blocks are those of the layer below.
        more + unsafe { self.backend.usable_size(block, requested) }
    }

    fn alignment(&self) -> usize {
        self.backend.alignment()
    }

    fn trim(&mut self) -> Trim {
        self.backend.trim()
    }

    fn drain(&mut self) -> Trim {
        self.backend.drain()
    }

    fn varies(&self) -> Option<Varies> {
        self.backend.varies()
    }

    fn counters(&self) -> Vec<Counter> {
        self.backend.counters()
    }

    fn pools(&self) -> Option<&dyn Pools> {
        self.backend.pools()
    }

    fn check(&self) -> Result<(), String> {
        self.backend.check()
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        let state = &self.layers[0].state;
        for block in state.kept.borrow_mut().drain(..) {
            // SAFETY: it came from this table and was kept here alone.
            unsafe { (state.obj.free)(state.obj.ctx, block) };
        }
        if let Some(page) = state.pages.take() {
            // SAFETY: mapped by `take_page`, and nobody else knows of it.
            let _ = unsafe { pages::unmap(page, pages::page_bytes()) };
        }
    }
}

fn settings(spec: &BackendSpec) -> Result<Plan, BackendError> {
    spec.takes_no_version()?;
    spec.takes_only(SETTINGS)?;
    let number = |key: &str, default: u64| match spec.setting(key) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| spec.refused(format!("has {key}={text}: expected a whole number"))),
    };
    let plan = Plan {
        burn: number("burn", 0)?,
        every: number("every", 16)?.max(1),
        calls: Vec::new(),
        period: number("period", u64::MAX)?.max(1),
        page: number("page", 0)?,
        byte: number("byte", 0)?,
        blocks: number("blocks", 0)?,
    };
    Ok(plan)
}

fn open(spec: &BackendSpec, below: Option<Box<dyn Backend>>) -> Opened {
    let mut plan = settings(spec)?;
    let Some(backend) = below else { return Err(spec.refused("needs a layer below".to_owned())) };
    if let Some(path) = spec.setting("calls") {
        let bytes = fs::read(path).map_err(|error| BackendError::Unavailable {
            backend: spec.to_string(),
            reason: format!("{path}: {error}"),
        })?;
        let number = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        plan.calls = bytes.chunks_exact(4).map(number).collect();
    }
    let domains = backend.domains();
    let state = Rc::new(State {
        count: Cell::new(0),
        left: Cell::new(plan.every),
        next: Cell::new(0),
        marked: Cell::new(ptr::null_mut()),
        chain: Cell::new(1),
        kept: RefCell::new(Vec::new()),
        pages: Cell::new(None),
        obj: *domains.get(Domain::Obj),
        plan,
    });
    let layer = |domain| Box::new(Layer { below: *domains.get(domain), state: Rc::clone(&state) });
    let layers = [layer(Domain::Raw), layer(Domain::Mem), layer(Domain::Obj)];
    Ok(Box::new(Injected { backend, layers }))
}
