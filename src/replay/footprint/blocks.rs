//! Accounts for the live blocks: requested and usable bytes, pages in use.

use std::ffi::c_void;
use std::sync::Arc;

use super::heap_contents::{HeapContents, heap_contents};
use super::heap_map::resident_by_piece;
use super::heap_sample::HeapSample;
use super::page::{PAGE_BYTES, kernel_page_bytes, touch};
use super::page_retention::{LiveBlock, PageView, page_view};
use super::pages::PagesInUse;
use super::resident_pages::resident_pages;
use super::site_sums::SiteSums;
use super::sizes::{RequestSizes, SizeObserver};
use super::trim_prediction::predicted_bytes;
use super::unit_retention::{SiteUnits, unit_retention};
use crate::backends::{Backend, ReturnKind};
use crate::program::{Action, AllocationSites, Outline, Program, SiteCursor};
use crate::replay::probe::Done;
use crate::replay::touched::TouchedBytes;

/// The account of a live block.
#[derive(Clone, Copy, Default)]
struct BlockAccount {
    address: usize,
    /// Requested bytes that the program touches: all but of some large blocks.
    size: u64,
    /// Requested bytes that the program never touches.
    untouched: u64,
    /// Usable bytes, up to the end of the last page that the program touches.
    usable: u64,
    site: u32,
    is_live: bool,
}

/// The accounts of all live blocks. They also touch the blocks, as a program would.
pub(super) struct BlockAccounts<'a> {
    backend: &'a dyn Backend,
    backs_memory: bool,
    has_sites: bool,
    sites: SiteCursor<'a>,
    touched: TouchedBytes,
    /// By slot.
    accounts: Vec<BlockAccount>,
    pages: PagesInUse,
    sizes: SizeObserver,
    site_sums: SiteSums,
    event: u64,
    clock_bytes: u64,
    live_bytes: u64,
    untouched_bytes: u64,
    usable_bytes: u64,
}

impl<'a> BlockAccounts<'a> {
    /// No block is live. `sites` are the sites of the requests, or empty.
    pub(super) fn new(
        outline: &Arc<Outline>,
        sites: &'a AllocationSites,
        backend: &'a dyn Backend,
    ) -> BlockAccounts<'a> {
        let backs_memory = backend.backs_memory();
        BlockAccounts {
            backend,
            backs_memory,
            has_sites: !sites.is_empty(),
            sites: SiteCursor::new(sites),
            touched: TouchedBytes::new(outline),
            accounts: vec![BlockAccount::default(); outline.slots],
            pages: PagesInUse::new(resident_pages()),
            sizes: SizeObserver::new(backs_memory),
            site_sums: SiteSums::new(sites.number()),
            event: 0,
            clock_bytes: 0,
            live_bytes: 0,
            untouched_bytes: 0,
            usable_bytes: 0,
        }
    }

    /// The next calls are those of this part of the program.
    pub(super) fn begin_part(&mut self, part: &Program) {
        self.sites.begin_part(part);
    }

    /// Accounts for a call.
    pub(super) fn observe(&mut self, done: &Done) {
        match done.action {
            Action::Malloc | Action::Calloc => self.begin(done, 0),
            Action::Realloc => {
                let old_size = self.end(done.slot, done.old);
                // Realloc copied the common bytes of a block that moved, which touched them.
                self.begin(done, old_size as usize);
            }
            Action::Free => {
                self.end(done.slot, done.old);
            }
        }
        self.event = done.index as u64 + 1;
    }

    /// A block begins. The program has not touched its bytes from `untouched_from` on.
    fn begin(&mut self, done: &Done, untouched_from: usize) {
        let (block, requested) = (done.new, done.size);
        let size = self.touched.of(done.index, requested);
        let mut account = BlockAccount {
            address: block as usize,
            size: size as u64,
            untouched: (requested - size) as u64,
            usable: size as u64,
            site: self.sites.next_site(),
            is_live: true,
        };
        if self.backs_memory {
            touch(block, untouched_from, size);
            #[expect(unsafe_code, reason = "queries the backend about a block of its own")]
            // SAFETY: the backend has just returned this block.
            let usable = unsafe { self.backend.usable_size(block, requested) }.max(requested);
            // A block that was resized in place may have more than the usual bytes of its size.
            if untouched_from == 0 {
                self.sizes.fresh_block(requested, usable);
            }
            // Of a block that is touched in part, the rest has no page.
            let usable = if size < requested { size } else { usable };
            let address = block as usize;
            let page_end = (address + size.max(1)).next_multiple_of(PAGE_BYTES);
            account.usable = usable.min(page_end - address) as u64;
            self.sizes.request(account.size, account.usable);
            self.pages.add(address, size);
        }
        self.accounts[done.slot] = account;
        self.site_sums.add(account.site, account.size);
        self.live_bytes += account.size;
        self.untouched_bytes += account.untouched;
        self.usable_bytes += account.usable;
        self.clock_bytes += requested as u64;
    }

    /// The block in a slot ends. Returns its touched bytes.
    fn end(&mut self, slot: usize, block: *mut c_void) -> u64 {
        let account = std::mem::take(&mut self.accounts[slot]);
        self.site_sums.remove(account.site, account.size);
        if self.backs_memory {
            self.pages.remove(block as usize, account.size as usize);
        }
        self.live_bytes -= account.size;
        self.untouched_bytes -= account.untouched;
        self.usable_bytes -= account.usable;
        account.size
    }

    /// Calls done.
    pub(super) fn event(&self) -> u64 {
        self.event
    }

    /// L, in bytes: requested bytes that the program touches.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// The pages in use.
    pub(super) fn pages(&self) -> &PagesInUse {
        &self.pages
    }

    /// The heap now; R is 0.
    pub(super) fn sample(&self) -> HeapSample {
        HeapSample {
            event: self.event,
            clock_bytes: self.clock_bytes,
            live_bytes: self.live_bytes,
            untouched_bytes: self.untouched_bytes,
            usable_bytes: self.usable_bytes,
            pages_in_use_bytes: self.pages.bytes(),
            resident_bytes: 0,
            huge_page_bytes: 0,
            largest_sites: self.site_sums.largest(),
        }
    }

    /// The pages in use now; empty for a backend that backs no memory.
    pub(super) fn page_view(&self) -> PageView {
        if self.backs_memory { page_view(&mut self.live_blocks()) } else { PageView::default() }
    }

    /// What lies where now; empty for a backend that backs no memory.
    pub(super) fn heap_contents(&self) -> HeapContents {
        if !self.backs_memory {
            return HeapContents::default();
        }
        let page_bytes = kernel_page_bytes() as u64;
        let resident = resident_by_piece(&self.pages).into_iter();
        let resident = resident.map(|(piece, pages)| (piece, u64::from(pages) * page_bytes));
        heap_contents(&mut self.live_blocks(), resident)
    }

    /// Retention by the units in which the backend returns memory; empty where there are only pages,
    /// where heaplay does not know where the units lie, and for a trace without sites.
    pub(super) fn unit_retention(&self) -> Vec<SiteUnits> {
        let has_units = self.backend.returns_by().iter().any(|kind| *kind != ReturnKind::Page);
        if !self.backs_memory || !self.has_sites || !has_units {
            return vec![];
        }
        let Some(unit_of) = self.backend.unit_of_block() else { return vec![] };
        let resident = resident_pages();
        unit_retention(
            &mut self.live_blocks(),
            |address| unit_of(std::ptr::with_exposed_provenance_mut(address)),
            |page| resident.contains(&page),
        )
    }

    fn live_blocks(&self) -> Vec<LiveBlock> {
        self.live_blocks_by(|slot| self.accounts[slot].site)
    }

    /// The live blocks. The site of each is what `site` gives for its slot.
    pub(super) fn live_blocks_by(&self, site: impl Fn(usize) -> u32) -> Vec<LiveBlock> {
        let live = self.accounts.iter().enumerate().filter(|(_, account)| account.is_live);
        live.map(|(slot, &BlockAccount { address, size, usable, .. })| LiveBlock {
            address,
            size,
            usable,
            site: site(slot),
        })
        .collect()
    }

    /// The bytes that a trim would leave resident now, as pointers predict; `None` where the
    /// backend does not say how it returns memory.
    pub(super) fn trim_predicted_bytes(&self) -> Option<u64> {
        predicted_bytes(self.backend, &self.live_blocks(), self.pages.adopted(), |block| {
            #[expect(unsafe_code, reason = "queries the backend about a block of its own")]
            // SAFETY: the block is live.
            let usable = unsafe {
                self.backend.usable_size(block.address as *mut c_void, block.size as usize)
            };
            usable.max(block.size as usize)
        })
    }

    /// Ends every block of `live`, which are slots with their blocks. Returns the sizes of all
    /// requests; `None` if the accounts are not zero then.
    pub(super) fn finish(
        mut self,
        live: impl Iterator<Item = (usize, *mut c_void)>,
    ) -> Option<RequestSizes> {
        for (slot, block) in live {
            self.end(slot, block);
        }
        let live_bytes = self.live_bytes + self.untouched_bytes;
        let accounts = (live_bytes, self.usable_bytes, self.pages.bytes());
        (accounts == (0, 0, 0)).then(|| self.sizes.finish())
    }
}
