//! The memory that a change would return, and the report of an allocator, tried in a copy of the
//! process (`fork`). So neither disturbs a later measurement.
//!
//! A fork does not copy shared memory, and the harness's heap is shared memory. So the copy must
//! neither allocate there nor free.
#![expect(unsafe_code, reason = "fork, and a page in which the copy leaves its figures")]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::page::PAGE_BYTES;
use crate::replay::memory::Resident;

/// The figures of the copy: resident private bytes before and after the change, and 1 if both are
/// there.
#[repr(C)]
struct CopyFigures {
    before_bytes: AtomicU64,
    after_bytes: AtomicU64,
    is_complete: AtomicU64,
}

/// A page that both processes share.
struct SharedPage(*mut libc::c_void);

impl SharedPage {
    fn new() -> Option<SharedPage> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping where the kernel likes.
        let at = unsafe { libc::mmap(ptr::null_mut(), PAGE_BYTES, protection, flags, -1, 0) };
        (at != libc::MAP_FAILED).then_some(SharedPage(at))
    }

    fn figures(&self) -> &CopyFigures {
        // SAFETY: a page of zeroes, which are valid `CopyFigures`; it is mapped as long as `self`
        // lives, and all access is atomic.
        unsafe { &*self.0.cast::<CopyFigures>() }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: the whole mapping of `new`.
        unsafe { libc::munmap(self.0, PAGE_BYTES) };
    }
}

/// Does `work` in a copy of this process, and waits for the copy's end. `None` if there is no copy.
fn in_copy(work: impl FnOnce()) -> Option<()> {
    // SAFETY: the copy touches no lock but those that the C library makes right after a fork, and
    // ends without unwinding.
    match unsafe { libc::fork() } {
        -1 => return None,
        0 => {
            work();
            // SAFETY: ends the copy without running any code of the original process.
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
    Some(())
}

/// The text that `write` writes to a descriptor in a copy of this process. `None` if it has nothing
/// to write, returns false, or the copy dies.
pub(super) fn text_of(write: impl FnOnce(RawFd) -> bool) -> Option<String> {
    // By the system call: the C library's function came with glibc 2.27, and wheels are for 2.17.
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::memfd_create("heaplay-report", flags).ok()?);
    let page = SharedPage::new()?;
    let out = file.as_raw_fd();
    in_copy(|| {
        let is_done = write(out);
        page.figures().is_complete.store(u64::from(is_done), Ordering::Release);
    })?;
    if page.figures().is_complete.load(Ordering::Acquire) != 1 {
        return None;
    }
    file.seek(SeekFrom::Start(0)).ok()?;
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    (!text.is_empty()).then_some(text)
}

/// The bytes by which `change` lowers resident private memory, tried in a copy of this process;
/// negative if it raises it. `change` returns whether there was anything to do. `None` if there was
/// not, or if the copy died.
pub(super) fn bytes_returned_by(change: impl FnOnce() -> bool) -> Option<i64> {
    let page = SharedPage::new()?;
    in_copy(|| {
        if let Ok(resident) = Resident::open() {
            let figures = page.figures();
            figures.before_bytes.store(resident.private_bytes(), Ordering::Relaxed);
            let is_done = change();
            figures.after_bytes.store(resident.private_bytes(), Ordering::Relaxed);
            figures.is_complete.store(u64::from(is_done), Ordering::Release);
        }
    })?;
    let figures = page.figures();
    let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed) as i64;
    let is_complete = figures.is_complete.load(Ordering::Acquire) == 1;
    is_complete.then(|| read(&figures.before_bytes) - read(&figures.after_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_reports_the_returned_bytes_and_leaves_the_original_unchanged() {
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
        assert_eq!(bytes_returned_by(drop_half), Some((PAGES / 2 * PAGE_BYTES) as i64));
        // SAFETY: the mapping is still there, and its first byte was written.
        assert_eq!(unsafe { at.cast::<u8>().read() }, 7);
        assert_eq!(bytes_returned_by(|| false), None);
        // SAFETY: the whole mapping.
        unsafe { libc::munmap(at, PAGES * PAGE_BYTES) };
    }

    /// glibc caches freed blocks of small sizes for the thread. After a flush their pages return.
    #[test]
    #[cfg(target_env = "gnu")]
    fn a_thread_s_cache_is_flushed_however_full_it_is() {
        let backend = crate::backends::open(&crate::backends::parse("malloc").unwrap()).unwrap();
        let table = *backend.domains().get(crate::trace::Domain::Raw);
        // SAFETY: blocks of this backend. Every 300th fills the cache, far from the others; those
        // between them are freed after it, and merged.
        unsafe {
            let blocks: Vec<_> = (0..2000).map(|_| (table.malloc)(table.ctx, 1000)).collect();
            for block in &blocks {
                block.cast::<u8>().write_bytes(1, 1000);
            }
            let held = (table.malloc)(table.ctx, 1000);
            let (last, first): (Vec<_>, Vec<_>) =
                blocks.into_iter().enumerate().partition(|(at, _)| at % 300 == 150);
            // Seven blocks fill the cache: the blocks of `last` enter first and stay.
            for (_, block) in last.iter().chain(&first) {
                (table.free)(table.ctx, *block);
            }
            backend.trim();
            let mut returned = bytes_returned_by(|| {
                let done = backend.flush_thread_cache() == crate::backends::Trim::Done;
                backend.trim();
                done
            });
            // Each block lay on a page or two without another; the thread's own records may take a
            // page or two.
            let least = (last.len() as i64 - 3) * 4096;
            assert!(returned.take().is_some_and(|bytes| bytes >= least), "{returned:?}");
            (table.free)(table.ctx, held);
        }
    }
}
