//! The harness's own memory, separate from the memory that is measured.
//!
//! The program installs [`SharedHeap`] as its global allocator. It maps pages as `MAP_SHARED |
//! MAP_ANONYMOUS`, which the kernel counts as shared (`RssShmem`). So resident *private* memory and
//! the libc heap belong to the backend only. [`Resident::private_bytes`] reads that figure;
//! [`self_test`] proves the separation before a pass.
#![expect(unsafe_code, reason = "a global allocator, and the mmap under it")]

use std::alloc::{GlobalAlloc, Layout};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use dlmalloc::Dlmalloc;

use super::usage::huge_page_bytes;

/// Private mappings of at least this size, two huge pages, request huge pages.
const LARGE_BYTES: usize = 4 << 20;

/// Whether this process may be measured.
static IS_MEASURED: AtomicBool = AtomicBool::new(true);

/// Pages for [`Dlmalloc`]: anonymous, and shared unless nothing is measured in this process.
struct SharedPages;

// SAFETY: `alloc` returns fresh zeroed mappings of at least the requested size, `free` and
// `free_part` unmap exactly the given range, and there is no other guarantee.
unsafe impl dlmalloc::Allocator for SharedPages {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        let kind =
            if IS_MEASURED.load(Ordering::Relaxed) { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        // SAFETY: an anonymous mapping where the kernel likes; no other memory is touched.
        let at = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                kind | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return (ptr::null_mut(), 0, 0);
        }
        if kind == libc::MAP_PRIVATE && size >= LARGE_BYTES {
            // SAFETY: advice for the new mapping; a kernel that ignores it changes nothing.
            unsafe { libc::madvise(at, size, libc::MADV_HUGEPAGE) };
        }
        (at.cast(), size, 0)
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        ptr::null_mut() // a shared anonymous mapping cannot grow past its object
    }

    fn free_part(&self, at: *mut u8, old: usize, new: usize) -> bool {
        // SAFETY: the tail of a mapping from `alloc`, which the caller no longer uses.
        unsafe { libc::munmap(at.add(new).cast(), old - new) == 0 }
    }

    fn free(&self, at: *mut u8, size: usize) -> bool {
        // SAFETY: a mapping from `alloc`, which the caller no longer uses.
        unsafe { libc::munmap(at.cast(), size) == 0 }
    }

    fn can_release_part(&self, _: u32) -> bool {
        true
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        4096
    }
}

/// A global allocator that does not use libc's heap. In a process that may be measured it does not
/// use private memory either.
pub struct SharedHeap(Mutex<Dlmalloc<SharedPages>>);

impl SharedHeap {
    /// An empty heap, for a `static`.
    pub const fn new() -> SharedHeap {
        SharedHeap(Mutex::new(Dlmalloc::new_with_allocator(SharedPages)))
    }

    fn with<T>(&self, call: impl FnOnce(&mut Dlmalloc<SharedPages>) -> T) -> T {
        // The heap's own code does not panic, so a poisoned lock still guards a whole heap.
        call(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl SharedHeap {
    /// Declares that nothing is measured in this process. New pages are then private, and huge
    /// where the kernel has huge pages. They are faster to touch: the first touch takes a third of
    /// the time that loading a trace takes.
    pub fn not_measured() {
        IS_MEASURED.store(false, Ordering::Relaxed);
    }
}

impl Default for SharedHeap {
    fn default() -> SharedHeap {
        SharedHeap::new()
    }
}

// SAFETY: `Dlmalloc` fulfils the contract of `GlobalAlloc`, and the lock admits one caller at a
// time.
unsafe impl GlobalAlloc for SharedHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size and alignment are allowed.
        self.with(|heap| unsafe { heap.malloc(layout.size(), layout.align()) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        self.with(|heap| unsafe { heap.calloc(layout.size(), layout.align()) })
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller gives a block of this heap with its layout.
        self.with(|heap| unsafe { heap.free(at, layout.size(), layout.align()) });
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        self.with(|heap| unsafe { heap.realloc(at, layout.size(), layout.align(), size) })
    }
}

/// Resident private memory of this process at one moment, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResidentMemory {
    /// All of it.
    pub private_bytes: u64,
    /// Of it, what lies on huge pages.
    pub huge_page_bytes: u64,
}

/// Reads the resident private memory of this process.
pub struct Resident {
    statm: File,
    page_bytes: u64,
}

impl Resident {
    /// Opens `/proc/self/statm`.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn open() -> std::io::Result<Resident> {
        Ok(Resident {
            statm: File::open("/proc/self/statm")?,
            page_bytes: rustix::param::page_size() as u64,
        })
    }

    /// The resident private memory now. The kernel walks all pages for those that are huge.
    pub fn now(&self) -> ResidentMemory {
        ResidentMemory { huge_page_bytes: huge_page_bytes(), private_bytes: self.private_bytes() }
    }

    /// Anonymous private pages, in bytes: (resident − shared) × page size. One `pread`, about 1 µs.
    pub fn private_bytes(&self) -> u64 {
        let mut buffer = [0u8; 128];
        let length = self.statm.read_at(&mut buffer, 0).unwrap_or(0);
        let mut fields = buffer[..length].split(|&b| b == b' ').map(|field| {
            field
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .fold(0u64, |n, b| n * 10 + u64::from(b - b'0'))
        });
        let (_, resident, shared) =
            (fields.next(), fields.next().unwrap_or(0), fields.next().unwrap_or(0));
        resident.saturating_sub(shared) * self.page_bytes
    }
}

/// Proves, on this kernel and in this process, that the figure excludes the harness. Touching
/// private pages must raise the figure by exactly these pages; touching the harness's own memory
/// must not change it.
///
/// # Errors
/// A sentence with the figures that were found instead.
pub fn self_test(resident: &Resident) -> Result<(), String> {
    const PAGES: usize = 256;
    let bytes = PAGES * resident.page_bytes as usize;
    let before = resident.private_bytes();
    let mut own = vec![0u8; bytes];
    own.iter_mut().step_by(512).for_each(|byte| *byte = std::hint::black_box(1));
    let after_own = resident.private_bytes();
    drop(std::hint::black_box(own));
    if after_own != before {
        return Err(format!(
            "touching {bytes} bytes of the harness's own memory moved resident private memory by \
             {} bytes, expected 0",
            after_own as i128 - before as i128
        ));
    }
    // SAFETY: a private anonymous mapping of our own, written inside its length and unmapped whole.
    let grown = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let at =
            libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        if at == libc::MAP_FAILED {
            return Err("no memory for the self-test".into());
        }
        libc::madvise(at, bytes, libc::MADV_NOHUGEPAGE);
        for page in 0..PAGES {
            ptr::write_volatile(at.cast::<u8>().add(page * resident.page_bytes as usize), 1);
        }
        let grown = resident.private_bytes() - before;
        libc::munmap(at, bytes);
        grown
    };
    if grown != bytes as u64 {
        return Err(format!(
            "touching {bytes} private bytes showed as {grown} bytes resident: this kernel counts \
             inexactly"
        ));
    }
    Ok(())
}
