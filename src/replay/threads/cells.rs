//! Blocks that go from one thread to another in free order.
//!
//! Each such block has a cell of its own. The thread that allocates the block stores its address
//! there, once. The thread that ends the block takes the address, and waits if it is not there yet.
//! No cell is used twice, so a wait is always for the block's own birth. The store and the load are
//! a release and an acquire: what the allocating thread did before is visible to the ending one.
//!
//! A waiting thread spins for a short time, then sleeps. It announces itself before it looks at the
//! cell a last time, and the allocating thread looks for announcements after it has stored the
//! address. All four steps are sequentially consistent, so at least one of the two threads sees the
//! other, and no wait lasts for ever.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::time::Instant;

use super::futex;

/// Looks at a cell before a waiting thread sleeps: some microseconds.
const SPINS: u32 = 200;

/// The waits of one thread. A wait begins where a block was not there when its end came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Ends of blocks of other threads.
    pub ends: u64,
    /// Of them, those that had to wait.
    pub waits: u64,
    /// Of the waits, those that slept in the kernel.
    pub sleeps: u64,
    /// The time of all waits, in ns.
    pub waited_ns: u64,
    /// The longest wait, in ns.
    pub longest_ns: u64,
}

/// Where threads sleep that wait for blocks of one thread. On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Publisher {
    waiting: AtomicU32,
    published: AtomicU32,
}

/// The cells of all blocks that change threads.
#[derive(Debug)]
pub(super) struct Cells {
    cells: Box<[AtomicPtr<c_void>]>,
    /// By thread.
    publishers: Box<[Publisher]>,
    has_failed: AtomicBool,
}

impl Cells {
    /// So many empty cells, for blocks of so many threads.
    pub fn new(cells: usize, threads: usize) -> Cells {
        Cells {
            cells: (0..cells).map(|_| AtomicPtr::new(ptr::null_mut())).collect(),
            publishers: (0..threads).map(|_| Publisher::default()).collect(),
            has_failed: AtomicBool::new(false),
        }
    }

    /// Stores the address of a block that thread `by` has allocated.
    pub fn publish(&self, cell: usize, by: usize, block: *mut c_void) {
        self.cells[cell].store(block, Ordering::SeqCst);
        let publisher = &self.publishers[by];
        if publisher.waiting.load(Ordering::SeqCst) > 0 {
            publisher.published.fetch_add(1, Ordering::SeqCst);
            futex::wake(&publisher.published, u32::MAX >> 1);
        }
    }

    /// The address of a block that thread `by` allocates, as soon as it is there. `None` where a
    /// thread has failed, so that the block may never come.
    #[inline]
    pub fn take(&self, cell: usize, by: usize, waits: &mut Waits) -> Option<*mut c_void> {
        waits.ends += 1;
        let block = self.cells[cell].load(Ordering::Acquire);
        if block.is_null() { self.wait(cell, by, waits) } else { Some(block) }
    }

    #[cold]
    fn wait(&self, cell: usize, by: usize, waits: &mut Waits) -> Option<*mut c_void> {
        let began = Instant::now();
        let block = self.spin(cell).or_else(|| {
            waits.sleeps += 1;
            self.sleep(cell, by)
        });
        let ns = began.elapsed().as_nanos() as u64;
        waits.waits += 1;
        waits.waited_ns += ns;
        waits.longest_ns = waits.longest_ns.max(ns);
        block
    }

    fn spin(&self, cell: usize) -> Option<*mut c_void> {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            let block = self.cells[cell].load(Ordering::Acquire);
            if !block.is_null() {
                return Some(block);
            }
        }
        None
    }

    fn sleep(&self, cell: usize, by: usize) -> Option<*mut c_void> {
        let publisher = &self.publishers[by];
        publisher.waiting.fetch_add(1, Ordering::SeqCst);
        let block = loop {
            let published = publisher.published.load(Ordering::SeqCst);
            let block = self.cells[cell].load(Ordering::SeqCst);
            if !block.is_null() {
                break Some(block);
            }
            if self.has_failed.load(Ordering::SeqCst) {
                break None;
            }
            futex::wait(&publisher.published, published);
        };
        publisher.waiting.fetch_sub(1, Ordering::SeqCst);
        block
    }

    /// Lets every wait end, now and later: a thread has failed.
    pub fn fail(&self) {
        self.has_failed.store(true, Ordering::SeqCst);
        for publisher in &self.publishers {
            publisher.published.fetch_add(1, Ordering::SeqCst);
            futex::wake(&publisher.published, u32::MAX >> 1);
        }
    }
}
