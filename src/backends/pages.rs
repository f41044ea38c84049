//! Whole pages from the kernel: the only place of this module that calls `mmap`.
//!
//! All mappings are anonymous and private, so that `RssAnon` of the process counts them. Sizes are
//! in bytes. The kernel rounds them up to whole pages. Fresh pages read as zero.
#![expect(unsafe_code, reason = "calls mmap, madvise, munmap and sysconf")]

use std::ffi::c_void;
use std::io;
use std::ptr::NonNull;

/// The kernel's page size in bytes, from `sysconf(_SC_PAGESIZE)`.
pub fn page_bytes() -> usize {
    // SAFETY: sysconf only reads a number.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
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
/// The kernel aligns only to pages. An unaligned mapping is replaced by a larger one, whose ends
/// are unmapped.
///
/// # Errors
/// As [`map`].
pub fn map_aligned(bytes: usize, align: usize) -> io::Result<NonNull<u8>> {
    let start = map(bytes)?;
    if start.as_ptr().addr().is_multiple_of(align) {
        return Ok(start);
    }
    let slack = align - page_bytes();
    // SAFETY: the ranges were just mapped and nothing uses them. `bytes` from the aligned start
    // stay mapped, and the slack is large enough for that.
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

/// Maps `bytes` of address space of which only touched pages cost memory (`MAP_NORESERVE`), for
/// ranges far larger than the machine.
///
/// # Errors
/// The kernel's reason, when it refuses (address space limit, or strict overcommit).
pub fn reserve(bytes: usize) -> io::Result<NonNull<u8>> {
    map_with(bytes, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE)
}

/// As [`reserve`], from a multiple of `align` (a power of two) on.
///
/// # Errors
/// As [`reserve`].
pub fn reserve_aligned(bytes: usize, align: usize) -> io::Result<NonNull<u8>> {
    let start = reserve(bytes + align)?;
    let head = start.as_ptr().addr().next_multiple_of(align) - start.as_ptr().addr();
    // SAFETY: the range was just mapped and nothing uses it. `bytes` from the aligned start stay
    // mapped.
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
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no existing memory.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mmap returned address 0"))
}

/// Requests huge pages for a mapping. A kernel that refuses leaves small ones.
///
/// # Safety
/// `start` and `bytes` are whole pages of a mapping of this module.
pub unsafe fn request_huge(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's promise; the call changes no contents.
    let _ = unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
}

/// Maps `bytes`, as huge pages where the kernel has such, touches them and unmaps them. The next
/// mapping then gets memory that the machine already has. Under a hypervisor, pages that were free
/// for some seconds may belong to the host again. The first touch of each then costs a fault of the
/// host as well: on one such machine 4.4 ms for a huge page instead of 0.2 ms.
///
/// # Errors
/// The kernel's reason, when it refuses.
pub fn warm(bytes: usize) -> io::Result<()> {
    const HUGE_BYTES: usize = 2 << 20;
    let bytes = bytes.next_multiple_of(HUGE_BYTES);
    let start = reserve_aligned(bytes, HUGE_BYTES)?;
    // SAFETY: the range was just mapped, nothing else uses it, and it is unmapped whole.
    unsafe {
        // A refusal leaves small pages, which are warmed as well.
        request_huge(start, bytes);
        for at in (0..bytes).step_by(page_bytes()) {
            start.add(at).write_volatile(1);
        }
        unmap(start, bytes)
    }
}

/// Unmaps a mapping of this module, or a part of it.
///
/// # Errors
/// The kernel's reason, when it refuses.
///
/// # Safety
/// `start` and `bytes` are whole pages of a mapping of this module, and nothing refers to that
/// memory any more.
pub unsafe fn unmap(start: NonNull<u8>, bytes: usize) -> io::Result<()> {
    // SAFETY: the caller's promise.
    match unsafe { libc::munmap(start.as_ptr().cast::<c_void>(), bytes) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_memory_is_zero_and_can_be_unmapped() {
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
    fn aligned_mappings_are_aligned_and_whole() {
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
    fn warmed_memory_is_unmapped() {
        for _ in 0..1 << 10 {
            warm(1 << 20).unwrap(); // 2 GiB, if they stayed mapped
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
