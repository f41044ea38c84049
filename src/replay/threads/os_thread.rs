//! A thread of the operating system that stands for a thread of the recorded program.
//!
//! Its stack is shared memory, which is not counted as resident. The thread's control block and its
//! thread-local storage lie on the stack, too. Rust's own threads would allocate from the C
//! library's heap and map private memory (for signals), so they are not used.
#![expect(unsafe_code, reason = "threads with a stack of their own, through the C library")]

use std::ffi::c_void;
use std::{io, ptr};

/// Bytes of a stack, its guard page included. Allocators need a few kilobytes; thread-local storage
/// of loaded libraries lies here, too.
const STACK_BYTES: usize = 256 << 10;
/// Bytes below the stack that no access may reach.
const GUARD_BYTES: usize = 16 << 10;
/// Bytes at the stack's upper end that are touched before the thread begins, so that few of its
/// calls take a page fault there.
const TOUCHED_BYTES: usize = 64 << 10;

/// The memory of a stack.
struct Stack(*mut c_void);

impl Stack {
    fn new() -> io::Result<Stack> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping where the kernel likes; the accesses below stay inside of it.
        unsafe {
            let at = libc::mmap(ptr::null_mut(), STACK_BYTES, protection, flags, -1, 0);
            if at == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let stack = Stack(at);
            if libc::mprotect(at, GUARD_BYTES, libc::PROT_NONE) != 0 {
                return Err(io::Error::last_os_error());
            }
            for offset in (STACK_BYTES - TOUCHED_BYTES..STACK_BYTES).step_by(4096) {
                at.cast::<u8>().add(offset).write_volatile(0);
            }
            Ok(stack)
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the whole mapping of `new`; no thread uses it any more.
        unsafe { libc::munmap(self.0, STACK_BYTES) };
    }
}

/// Stacks of ended threads, for later ones.
#[derive(Default)]
pub(super) struct Stacks(Vec<Stack>);

/// A thread that runs.
pub(super) struct OsThread {
    id: libc::pthread_t,
    stack: Stack,
}

impl OsThread {
    /// Starts a thread that runs `body(argument)`.
    ///
    /// # Safety
    /// `argument` is what `body` requires, until the thread was joined.
    ///
    /// # Errors
    /// The system gives no memory for a stack, or no further thread.
    pub unsafe fn start(
        stacks: &mut Stacks,
        body: extern "C" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> io::Result<OsThread> {
        let stack = stacks.0.pop().map_or_else(Stack::new, Ok)?;
        let checked = |code: libc::c_int| match code {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        };
        // SAFETY: attributes that are initialised first, a stack that lives until the join, and an
        // argument by the caller's promise.
        unsafe {
            let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
            let mut id: libc::pthread_t = std::mem::zeroed();
            checked(libc::pthread_attr_init(&mut attributes))?;
            checked(libc::pthread_attr_setstack(
                &mut attributes,
                stack.0.byte_add(GUARD_BYTES),
                STACK_BYTES - GUARD_BYTES,
            ))?;
            let created = libc::pthread_create(&mut id, &attributes, body, argument);
            libc::pthread_attr_destroy(&mut attributes);
            checked(created)?;
            Ok(OsThread { id, stack })
        }
    }

    /// Waits until the thread has ended, with all that the allocator does at a thread's end.
    pub fn join(self, stacks: &mut Stacks) {
        // SAFETY: the thread was started joinable, and it is joined once.
        unsafe { libc::pthread_join(self.id, ptr::null_mut()) };
        stacks.0.push(self.stack);
    }
}
