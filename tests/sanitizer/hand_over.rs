//! The hand-overs between threads of a replay under ThreadSanitizer: the mailbox of recorded order,
//! and the cells of free order. A program by itself, without dependencies: `scripts/check-hand-over`
//! compiles and runs it.
//!
//! What the threads exchange are plain writes to memory. The sanitizer reports them as a race unless
//! the mailbox and the cells order them.

use std::cell::UnsafeCell;
use std::ffi::c_void;

mod futex {
    use std::sync::atomic::AtomicU32;

    unsafe extern "C" {
        fn syscall(number: i64, ...) -> i64;
    }

    const FUTEX: i64 = if cfg!(target_arch = "x86_64") { 202 } else { 98 };
    /// `FUTEX_PRIVATE_FLAG` with `FUTEX_WAIT` (0) and `FUTEX_WAKE` (1).
    const PRIVATE: i32 = 128;

    pub fn wait(word: &AtomicU32, value: u32) {
        // SAFETY: the word lives; there is no time limit.
        unsafe { syscall(FUTEX, word.as_ptr(), PRIVATE, value, std::ptr::null::<u8>()) };
    }

    pub fn wake(word: &AtomicU32, count: u32) {
        // SAFETY: the word lives.
        unsafe { syscall(FUTEX, word.as_ptr(), PRIVATE | 1, count) };
    }
}

#[path = "../../src/replay/threads/cells.rs"]
mod cells;
#[path = "../../src/replay/threads/mailbox.rs"]
mod mailbox;

use cells::{Cells, Waits};
use mailbox::{FIRST_MESSAGE, Mailbox};

/// Blocks that change threads.
const BLOCKS: usize = 100_000;

/// Plain memory that two threads access, ordered by nothing of its own.
struct Plain<T>(UnsafeCell<T>);

// SAFETY: the test is whether the accesses are ordered.
unsafe impl<T> Sync for Plain<T> {}

impl<T> Plain<T> {
    fn get(&self) -> *mut T {
        self.0.get()
    }
}

/// One thread allocates, another frees: the contents that the first wrote are there.
fn cells() {
    let cells = Cells::new(BLOCKS, 2);
    let waits = std::thread::scope(|scope| {
        let one = scope.spawn(|| {
            for cell in 0..BLOCKS {
                let block = Box::into_raw(Box::new(cell * 3));
                cells.publish(cell, 0, block.cast::<c_void>());
                if cell % 1000 == 0 {
                    std::thread::yield_now();
                }
            }
        });
        let other = scope.spawn(|| {
            let mut waits = Waits::default();
            for cell in 0..BLOCKS {
                let block = cells.take(cell, 0, &mut waits).expect("nobody fails");
                // SAFETY: the block of a box that nobody else has.
                assert_eq!(*unsafe { Box::from_raw(block.cast::<usize>()) }, cell * 3);
            }
            waits
        });
        one.join().expect("the thread ends");
        other.join().expect("the thread ends")
    });
    assert_eq!(waits.ends, BLOCKS as u64);
    println!("cells: {} ends, {} waited, {} slept", waits.ends, waits.waits, waits.sleeps);
    let cells = Cells::new(1, 1);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| cells.take(0, 0, &mut Waits::default()).is_none());
        std::thread::sleep(std::time::Duration::from_millis(20));
        cells.fail();
        assert!(waiting.join().expect("the thread ends"));
    });
}

/// Threads pass a baton in a ring and count in plain memory.
fn mailboxes() {
    const THREADS: usize = 3;
    const ROUNDS: usize = 20_000;
    let mailboxes: [Mailbox; THREADS] = Default::default();
    let count = Plain(UnsafeCell::new(0_usize));
    std::thread::scope(|scope| {
        let run = |thread: usize| {
            let (mailboxes, count) = (&mailboxes, &count);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    assert_eq!(mailboxes[thread].take(), FIRST_MESSAGE);
                    // SAFETY: this thread holds the baton.
                    unsafe { *count.get() += 1 };
                    mailboxes[(thread + 1) % THREADS].post(FIRST_MESSAGE);
                }
            })
        };
        let running: Vec<_> = (0..THREADS).map(run).collect();
        mailboxes[0].post(FIRST_MESSAGE);
        // The sanitizer sees a join, and not the counter by which a scope ends.
        running.into_iter().for_each(|thread| thread.join().expect("the thread ends"));
    });
    assert_eq!(count.0.into_inner(), THREADS * ROUNDS);
    println!("mailboxes: {} hand-overs", THREADS * ROUNDS);
}

/// Two threads write the same memory without an order: the sanitizer must report it.
fn race() {
    let count = Plain(UnsafeCell::new(0_usize));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    // SAFETY: none; this is the race.
                    unsafe { *std::hint::black_box(count.get()) += 1 };
                }
            });
        }
    });
}

fn main() {
    if std::env::args().any(|argument| argument == "--race") {
        return race();
    }
    cells();
    mailboxes();
}
