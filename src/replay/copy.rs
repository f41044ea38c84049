//! What a change would give back, tried in a copy of the process (`fork`), so that
//! nothing which is measured afterwards is disturbed by it.
//!
//! Shared memory is not copied, and the harness's heap is shared memory: the copy must neither take
//! from it nor give to it.
#![expect(unsafe_code, reason = "fork, and a page in which the copy leaves what it read")]

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::memory::Resident;

/// What the copy leaves: resident private bytes before and after, and that both are there.
#[repr(C)]
struct Found {
    before: AtomicU64,
    after: AtomicU64,
    whole: AtomicU64,
}

/// A page that both processes see.
struct Page(*mut libc::c_void);

const PAGE_BYTES: usize = 4096;

impl Page {
    fn new() -> Option<Page> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping where the kernel likes.
        let at = unsafe { libc::mmap(ptr::null_mut(), PAGE_BYTES, protection, flags, -1, 0) };
        (at != libc::MAP_FAILED).then_some(Page(at))
    }

    fn found(&self) -> &Found {
        // SAFETY: a page of zeroes, which are a `Found`; it is mapped as long as `self` lives, and
        // all access is atomic.
        unsafe { &*self.0.cast::<Found>() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, whole.
        unsafe { libc::munmap(self.0, PAGE_BYTES) };
    }
}

/// By how many bytes `change` lowers resident private memory, tried in a copy of this process;
/// below 0 where it raises it. `change` says whether there was anything to do. `None` when there
/// was not, or the copy died.
pub(super) fn given_back(change: impl FnOnce() -> bool) -> Option<i64> {
    let page = Page::new()?;
    // SAFETY: the copy touches no lock but those that the C library makes right after a fork, and
    // ends without unwinding.
    match unsafe { libc::fork() } {
        -1 => return None,
        0 => {
            if let Ok(resident) = Resident::open() {
                let found = page.found();
                found.before.store(resident.private_bytes(), Ordering::Relaxed);
                let done = change();
                found.after.store(resident.private_bytes(), Ordering::Relaxed);
                found.whole.store(u64::from(done), Ordering::Release);
            }
            // SAFETY: ends the copy without running anything of the original's.
            unsafe { libc::_exit(0) };
        }
        copy => {
            let mut status = 0;
            // SAFETY: waits for our own child.
            while unsafe { libc::waitpid(copy, &mut status, 0) } < 0 {
                if std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted {
                    return None;
                }
            }
        }
    }
    let found = page.found();
    let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed) as i64;
    (found.whole.load(Ordering::Acquire) == 1).then(|| read(&found.before) - read(&found.after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_tells_what_was_given_back_and_leaves_the_original_alone() {
        const PAGES: usize = 64;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a mapping of our own, written inside its length.
        let at = unsafe {
            let at = libc::mmap(
                ptr::null_mut(),
                PAGES * PAGE_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            );
            assert_ne!(at, libc::MAP_FAILED);
            libc::madvise(at, PAGES * PAGE_BYTES, libc::MADV_NOHUGEPAGE);
            for page in 0..PAGES {
                at.cast::<u8>().add(page * PAGE_BYTES).write(7);
            }
            at
        };
        let drop_half = || {
            // SAFETY: the first half of the mapping, in the copy.
            unsafe { libc::madvise(at, PAGES / 2 * PAGE_BYTES, libc::MADV_DONTNEED) == 0 }
        };
        assert_eq!(given_back(drop_half), Some((PAGES / 2 * PAGE_BYTES) as i64));
        // SAFETY: the mapping is still there, and its first byte was written.
        assert_eq!(unsafe { at.cast::<u8>().read() }, 7);
        assert_eq!(given_back(|| false), None);
        // SAFETY: the mapping, whole.
        unsafe { libc::munmap(at, PAGES * PAGE_BYTES) };
    }

    /// glibc keeps freed blocks of small sizes for the thread; emptied, their pages go back.
    #[test]
    #[cfg(target_env = "gnu")]
    fn a_thread_s_cache_is_emptied_however_full_it_was() {
        let mut backend =
            crate::backends::open(&crate::backends::parse("malloc").unwrap()).unwrap();
        let table = *backend.domains().get(crate::trace::Domain::Raw);
        // SAFETY: blocks of the backend's own. Of each size the first and every 40th are freed
        // last, into the cache, far from each other; all between them before, to be merged.
        unsafe {
            let blocks: Vec<_> = (0..2000).map(|_| (table.malloc)(table.ctx, 1000)).collect();
            for block in &blocks {
                block.cast::<u8>().write_bytes(1, 1000);
            }
            let held = (table.malloc)(table.ctx, 1000);
            let (last, first): (Vec<_>, Vec<_>) =
                blocks.into_iter().enumerate().partition(|(at, _)| at % 300 == 150);
            // Seven blocks fill the cache: those of `last` go in first and stay there.
            for (_, block) in last.iter().chain(&first) {
                (table.free)(table.ctx, *block);
            }
            backend.trim();
            let mut given = given_back(|| {
                let done = backend.flush_thread_cache() == crate::backends::Trim::Done;
                backend.trim();
                done
            });
            // Each lay alone on one page or across two; the thread's own books may take a page or
            // two.
            let least = (last.len() as i64 - 3) * 4096;
            assert!(given.take().is_some_and(|bytes| bytes >= least), "{given:?}");
            (table.free)(table.ctx, held);
        }
    }
}
