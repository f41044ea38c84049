//! Room `backends`, below every member of our own: whole pages from the kernel. The only place of
//! this room that calls `mmap`.
//!
//! All mappings are anonymous and private, so that `RssAnon` of the process counts them. Sizes are
//! in bytes and are rounded up to whole pages by the kernel; fresh pages read as zero.
#![expect(unsafe_code, reason = "calls mmap, madvise, munmap and sysconf")]

use std::ffi::c_void;
use std::io;
use std::ptr::NonNull;

/// The kernel's page size in bytes, as `sysconf(_SC_PAGESIZE)` tells it.
pub fn page_bytes() -> usize {
    // SAFETY: sysconf only reads a number.
    let told = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(told).unwrap_or(4096)
}

/// Maps `bytes` of zeroed memory that may be read and written.
///
/// # Errors
/// The kernel's reason, when it refuses (no memory, or a limit of the process).
pub fn map(bytes: usize) -> io::Result<NonNull<u8>> {
    map_with(bytes, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS)
}

/// Maps `bytes` that begin at a multiple of `align` (a power of two); both are multiples of the
/// page size.
///
/// The kernel aligns to pages only. A misplaced mapping is made anew, larger, and its ends are
/// given back.
///
/// # Errors
/// As [`map`].
pub fn map_aligned(bytes: usize, align: usize) -> io::Result<NonNull<u8>> {
    let start = map(bytes)?;
    if start.as_ptr().addr().is_multiple_of(align) {
        return Ok(start);
    }
    let slack = align - page_bytes();
    // SAFETY: the ranges were just mapped and are used by nobody; what stays is `bytes` from the
    // aligned start, which the slack leaves room for.
    unsafe {
        unmap(start, bytes)?;
        let start = map(bytes + slack)?;
        let head = start.as_ptr().addr().next_multiple_of(align) - start.as_ptr().addr();
        let aligned = start.add(head);
        if head > 0 {
            unmap(start, head)?;
        }
        if head < slack {
            unmap(aligned.add(bytes), slack - head)?;
        }
        Ok(aligned)
    }
}

/// Maps `bytes` of address space of which only what is touched costs memory (`MAP_NORESERVE`), for
/// ranges far larger than the machine.
///
/// # Errors
/// The kernel's reason, when it refuses (address space limit, or strict overcommit).
pub fn reserve(bytes: usize) -> io::Result<NonNull<u8>> {
    map_with(bytes, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE)
}

/// The same from a multiple of `align` (a power of two) on.
///
/// # Errors
/// As [`reserve`].
pub fn reserve_aligned(bytes: usize, align: usize) -> io::Result<NonNull<u8>> {
    let start = reserve(bytes + align)?;
    let head = start.as_ptr().addr().next_multiple_of(align) - start.as_ptr().addr();
    // SAFETY: the range was just mapped and is used by nobody; what stays is `bytes` from the
    // aligned start.
    unsafe {
        let aligned = start.add(head);
        if head > 0 {
            unmap(start, head)?;
        }
        unmap(aligned.add(bytes), align - head)?;
        Ok(aligned)
    }
}

fn map_with(bytes: usize, flags: i32) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: an anonymous mapping at a place of the kernel's choice touches no memory that exists.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mmap gave address 0"))
}

/// Takes `bytes`, as huge pages where the kernel has such, touches them and gives them back, so
/// that what is mapped next is memory that the machine has at hand. Under a hypervisor, pages that
/// were free for some seconds may be the host's again, and the first touch of each costs its fault
/// as well: measured on one such machine, 4.4 ms for a huge page against 0.2.
///
/// # Errors
/// The kernel's reason, when it refuses.
pub fn warm(bytes: usize) -> io::Result<()> {
    const HUGE_BYTES: usize = 2 << 20;
    let bytes = bytes.next_multiple_of(HUGE_BYTES);
    let start = reserve_aligned(bytes, HUGE_BYTES)?;
    // SAFETY: the range was just mapped, is used by nobody else, and goes back whole.
    unsafe {
        let _ = libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE); // without such, small ones do
        for at in (0..bytes).step_by(page_bytes()) {
            start.add(at).write_volatile(1);
        }
        unmap(start, bytes)
    }
}

/// Gives back what this room mapped, or a part of it.
///
/// # Errors
/// The kernel's reason, when it refuses.
///
/// # Safety
/// `start` and `bytes` are whole pages of what this room mapped, and nothing refers to that memory
/// any more.
pub unsafe fn unmap(start: NonNull<u8>, bytes: usize) -> io::Result<()> {
    // SAFETY: the caller hands the whole mapping back.
    match unsafe { libc::munmap(start.as_ptr().cast::<c_void>(), bytes) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_memory_is_zero_and_goes_back() {
        let bytes = 3 * page_bytes();
        let start = map(bytes).unwrap();
        // SAFETY: the range was just mapped and belongs to this test.
        unsafe {
            assert!((0..bytes).all(|at| start.as_ptr().add(at).read() == 0));
            start.as_ptr().write_bytes(0xa5, bytes);
            unmap(start, bytes).unwrap();
        }
    }

    #[test]
    fn alignment_is_kept_and_the_ends_go_back() {
        let starts: Vec<_> = (0..20).map(|_| map_aligned(1 << 20, 1 << 16).unwrap()).collect();
        for start in starts {
            assert_eq!(start.as_ptr().addr() % (1 << 16), 0);
            // SAFETY: the range was just mapped and belongs to this test.
            unsafe {
                start.as_ptr().write_bytes(0xa5, 1 << 20);
                unmap(start, 1 << 20).unwrap();
            }
        }
    }

    #[test]
    fn warmed_memory_goes_back() {
        for _ in 0..1 << 10 {
            warm(1 << 20).unwrap(); // 2 GiB in all, were any of it kept
        }
        let resident = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = resident.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(pages * page_bytes() < 1 << 30, "{resident}");
    }

    #[test]
    fn an_impossible_size_is_an_error() {
        assert!(warm(1 << 62).is_err());
        assert!(map(usize::MAX - 4096).is_err());
        assert!(reserve(1 << 62).is_err());
    }
}
