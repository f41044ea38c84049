//! `injected`: any layer below, made worse by a known amount. `heaplay selftest` uses it to show
//! how often the regression check finds an injected regression.
//!
//! Evenly spread instructions can disappear in the processor's slack. So a chain of dependent
//! multiplications is injected into one call out of `every`. The call below waits for its end,
//! because its argument depends on it. With `burn=0` the layer counts and injects nothing: that is
//! the side to compare with.
#![expect(unsafe_code, reason = "calls the layer below through C function pointers")]

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::fs;
use std::hint::black_box;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::rc::Rc;

use super::allocator::{Allocator, Domains};
use super::arena_report::ArenaMemory;
use super::arenas::Pools;
use super::backend::{Backend, Counter, ThreadUse, Trim, Varies};
use super::error::BackendError;
use super::member::{Member, Opened, no_environment};
use super::pages;
use super::return_unit::{ReturnKind, UnitOfBlock};
use super::setting::{Setting, setting};
use super::spec_checks::SpecChecks;
use crate::spec::BackendSpec;
use crate::trace::{AllocatorRequest, Domain};

/// The entry of the list.
pub const MEMBER: Member = Member {
    name: "injected",
    summary: "any backend made worse by a known amount (slower, a page, a byte, an arena); \
              for `heaplay selftest`",
    below: Some("malloc"),
    settings: SETTINGS,
    settings_read_from: None,
    environment: no_environment,
    details: |spec| {
        settings(spec)?;
        Ok("injected: the layer below, made worse by a known amount; \
            without settings it injects nothing\n"
            .to_owned())
    },
    open,
};

const SETTINGS: &[Setting] = &[
    setting(
        "burn",
        "number of steps",
        "0",
        "a chain of dependent multiplications, about 4 cycles a step, in a call that burns",
    ),
    setting("every", "number of calls", "16", "one call out of so many burns"),
    setting(
        "calls",
        "a path",
        "none",
        "a file of the calls that burn instead: rising numbers of 32 bits, little-endian",
    ),
    setting("period", "number of calls", "none", "calls after which `calls` begins again"),
    setting("page", "a call, from 1", "none", "at this call one more page is mapped and written"),
    setting("byte", "a call, from 1", "none", "the block of this call has one more usable byte"),
    setting(
        "blocks",
        "number of blocks",
        "0",
        "blocks of 512 bytes that the first call allocates from the layer below and never frees",
    ),
];

/// What is injected.
#[derive(Default)]
struct InjectionPlan {
    burn: u64,
    every: u64,
    calls: Vec<u32>,
    period: u64,
    page: u64,
    byte: u64,
    blocks: u64,
}

/// The state that the tables of all domains share. One thread calls.
struct InjectedState {
    plan: InjectionPlan,
    count: Cell<u64>,
    /// Calls left until the next that burns.
    left: Cell<u64>,
    /// The next index of `plan.calls`.
    next: Cell<usize>,
    /// The block with one more usable byte.
    marked: Cell<*mut c_void>,
    /// The result of the last chain.
    chain: Cell<u64>,
    blocks: RefCell<Vec<*mut c_void>>,
    pages: Cell<Option<NonNull<u8>>>,
    obj: Allocator,
}

/// The context of one domain's table.
struct InjectedLayer {
    below: Allocator,
    state: Rc<InjectedState>,
}

impl InjectedState {
    /// Runs before each call. Returns 0, which is known only when the chain has ended.
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
        // Odd by its last step, which no compiler can see through the black box.
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
            // SAFETY: the layer below's own table; the blocks are live until the backend is
            // dropped.
            let block = unsafe { (self.obj.malloc)(self.obj.ctx, 512) };
            if !block.is_null() {
                self.blocks.borrow_mut().push(block);
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

unsafe extern "C" fn malloc(ctx: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the context is an `InjectedLayer` of a live backend. `before` returns 0, so the size
    // is the caller's.
    unsafe {
        let layer = &*ctx.cast::<InjectedLayer>();
        let size = size + layer.state.before();
        layer.state.after((layer.below.malloc)(layer.below.ctx, size))
    }
}

unsafe extern "C" fn calloc(ctx: *mut c_void, elements: usize, size: usize) -> *mut c_void {
    // SAFETY: as in malloc.
    unsafe {
        let layer = &*ctx.cast::<InjectedLayer>();
        let size = size + layer.state.before();
        layer.state.after((layer.below.calloc)(layer.below.ctx, elements, size))
    }
}

unsafe extern "C" fn realloc(ctx: *mut c_void, block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: as in malloc; the block is a live one of the layer below or null.
    unsafe {
        let layer = &*ctx.cast::<InjectedLayer>();
        layer.state.ends(block);
        let block = block.wrapping_byte_add(layer.state.before());
        layer.state.after((layer.below.realloc)(layer.below.ctx, block, size))
    }
}

unsafe extern "C" fn free(ctx: *mut c_void, block: *mut c_void) {
    // SAFETY: as in realloc.
    unsafe {
        let layer = &*ctx.cast::<InjectedLayer>();
        layer.state.ends(block);
        let block = block.wrapping_byte_add(layer.state.before());
        (layer.below.free)(layer.below.ctx, block);
    }
}

struct InjectedBackend {
    backend: Box<dyn Backend>,
    layers: [Box<InjectedLayer>; 3],
}

impl Backend for InjectedBackend {
    fn domains(&self) -> Domains {
        let table = |at: usize| Allocator {
            ctx: ptr::from_ref::<InjectedLayer>(&self.layers[at]).cast_mut().cast(),
            malloc,
            calloc,
            realloc,
            free,
        };
        Domains::new(table(0), table(1), table(2))
    }

    fn thread_use(&self) -> ThreadUse {
        self.backend.thread_use().min(ThreadUse::OneAtATime)
    }

    fn thread_begins(&self) {
        self.backend.thread_begins();
    }

    fn thread_ends(&self) {
        self.backend.thread_ends();
    }

    fn calls_resumed(&self) {
        self.backend.calls_resumed();
    }

    fn calls_paused(&self) {
        self.backend.calls_paused();
    }

    fn request(&self, request: AllocatorRequest) {
        self.backend.request(request);
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

    fn trim(&self) -> Trim {
        self.backend.trim()
    }

    fn returns_by(&self) -> Vec<ReturnKind> {
        self.backend.returns_by()
    }

    fn unit_of_block(&self) -> Option<UnitOfBlock<'_>> {
        self.backend.unit_of_block()
    }

    fn write_arenas(&self, out: RawFd) -> bool {
        self.backend.write_arenas(out)
    }

    fn read_arenas(&self, text: &str) -> Vec<ArenaMemory> {
        self.backend.read_arenas(text)
    }

    fn flush_thread_cache(&self) -> Trim {
        self.backend.flush_thread_cache()
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

impl Drop for InjectedBackend {
    fn drop(&mut self) {
        let state = &self.layers[0].state;
        for block in state.blocks.borrow_mut().drain(..) {
            // SAFETY: it came from this table, and nothing else frees it.
            unsafe { (state.obj.free)(state.obj.ctx, block) };
        }
        if let Some(page) = state.pages.take() {
            // SAFETY: mapped by `take_page`, and nothing else uses it.
            let _ = unsafe { pages::unmap(page, pages::page_bytes()) };
        }
    }
}

fn settings(spec: &BackendSpec) -> Result<InjectionPlan, BackendError> {
    spec.takes_no_version()?;
    spec.takes_only(SETTINGS)?;
    let number = |key: &str, default: u64| match spec.setting(key) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| spec.refused(format!("has {key}={text}: expected a whole number"))),
    };
    let plan = InjectionPlan {
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
    let state = Rc::new(InjectedState {
        count: Cell::new(0),
        left: Cell::new(plan.every),
        next: Cell::new(0),
        marked: Cell::new(ptr::null_mut()),
        chain: Cell::new(1),
        blocks: RefCell::new(Vec::new()),
        pages: Cell::new(None),
        obj: *domains.get(Domain::Obj),
        plan,
    });
    let layer =
        |domain| Box::new(InjectedLayer { below: *domains.get(domain), state: Rc::clone(&state) });
    let layers = [layer(Domain::Raw), layer(Domain::Mem), layer(Domain::Obj)];
    Ok(Box::new(InjectedBackend { backend, layers }))
}
