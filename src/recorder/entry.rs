//! One recorded call: which thread makes it, and whether it is the program's own.
//!
//! Only the outermost call is the program's. mem and obj pass large requests on to raw, and
//! pymalloc allocates its own tables there. So a flag says whether a hook of this thread is already
//! at work. While the process has one thread, the flag is a plain variable; later each thread has
//! its own. The flag also covers allocations that looking up a site might make.

use core::cell::Cell;
use core::ffi::c_void;

use crate::placement;
use crate::rawlog::request;
use crate::shared::ProcessState;
use crate::stream::{self, Stream};
use crate::system::{self, symbol};
use crate::{ending, memory, sites};

struct EntryState {
    /// libc's byte that is not zero while the process has one thread; a zero byte where libc is too
    /// old to have it.
    is_single_threaded: *const u8,
    /// Whether a hook is at work, while there is one thread.
    is_busy: bool,
    next_thread: u32,
    /// The key whose destructor sees the end of a thread; `None` where there is none.
    end_key: Option<u32>,
}

/// Rounds that libc runs the destructors of a thread's data.
const DESTRUCTOR_ROUNDS: usize = 4;

static ZERO: u8 = 0;
static STATE: ProcessState<EntryState> = ProcessState::new(EntryState {
    is_single_threaded: &raw const ZERO,
    is_busy: false,
    next_thread: 2,
    end_key: None,
});

/// A thread's own flag, and its number (0 until its first call).
struct ThreadEntry {
    is_busy: Cell<bool>,
    number: Cell<u32>,
}

thread_local! {
    static THREAD: ThreadEntry =
        const { ThreadEntry { is_busy: Cell::new(false), number: Cell::new(0) } };
}

/// Finds libc's byte on threads. In the constructor, or with the GIL held while nothing is
/// recorded.
pub fn prepare() {
    // SAFETY: nothing is recorded, so no other thread reads the state.
    unsafe {
        let state = STATE.get();
        let mut key = 0;
        // Created early, a key is one of the first, whose values libc stores without an allocation.
        if (*state).end_key.is_none()
            && system::pthread_key_create(&raw mut key, Some(thread_ends)) == 0
        {
            (*state).end_key = Some(key);
        }
    }
    let single = symbol(c"__libc_single_threaded");
    if !single.is_null() {
        // SAFETY: nothing is recorded, so no other thread reads the state.
        unsafe { (*STATE.get()).is_single_threaded = single.cast() };
    }
}

/// Lets the only thread enter hooks again.
///
/// # Safety
/// The stream's lock is held, or there is one thread.
pub unsafe fn reset() {
    // SAFETY: as the caller guarantees.
    unsafe { (*STATE.get()).is_busy = false };
}

/// Gives this thread the number 1.
pub fn number_first_thread() {
    THREAD.with(|thread| thread.number.set(1));
}

/// Numbers threads anew. In a forked child, which has one thread.
pub fn after_fork_child() {
    // SAFETY: the child has one thread, and that is this one.
    unsafe { (*STATE.get()).next_thread = 2 };
    number_first_thread();
}

/// The right to record one outermost call.
#[derive(Clone, Copy)]
pub enum CallEntry {
    /// The process has one thread.
    OnlyThread,
    /// The process has several threads; this one has that number.
    Thread(u32),
}

/// Enters a hook: `None` inside another hook of the same thread.
#[inline(always)]
pub fn enter() -> Option<CallEntry> {
    let state = STATE.get();
    // SAFETY: `is_single_threaded` is written before anything is recorded, and libc's byte stays
    // mapped. While the byte says that there is one thread, `is_busy` belongs to this thread.
    unsafe {
        if (*state).is_single_threaded.read_volatile() != 0 {
            if (*state).is_busy {
                return None;
            }
            (*state).is_busy = true;
            return Some(CallEntry::OnlyThread);
        }
    }
    if placement::is_off() {
        return None;
    }
    THREAD.with(|thread| {
        if thread.is_busy.get() {
            return None;
        }
        thread.is_busy.set(true);
        if thread.number.get() == 0 {
            begin_thread(thread);
        }
        Some(CallEntry::Thread(thread.number.get()))
    })
}

/// Enters as the only thread of the process; `false` where there are several, or inside a hook.
#[inline(always)]
pub fn enter_as_only_thread() -> bool {
    let state = STATE.get();
    // SAFETY: as in `enter`.
    unsafe {
        let may_enter = (*state).is_single_threaded.read_volatile() != 0 && !(*state).is_busy;
        if may_enter {
            (*state).is_busy = true;
        }
        may_enter
    }
}

/// Leaves what [`enter_as_only_thread`] entered, while the recording goes on.
#[inline(always)]
pub fn leave_as_only_thread() {
    // SAFETY: entered as the only thread, and no allocator starts a thread.
    unsafe { (*STATE.get()).is_busy = false };
}

/// Writes to the stream from a function that is no hook of a domain, and may be called inside one.
pub fn between(work: impl FnOnce(&mut Stream)) {
    // SAFETY: libc's byte stays mapped. Inside a hook no code holds the stream while the real
    // allocator runs.
    let has_one_thread = unsafe { (*STATE.get()).is_single_threaded.read_volatile() != 0 };
    let entry = if has_one_thread { CallEntry::OnlyThread } else { CallEntry::Thread(0) };
    entry.write(|stream, _| work(stream));
}

/// Runs `work` under the lock, unless a hook of this thread is at work.
pub fn outside_of_hooks(work: impl FnOnce(&mut Stream)) {
    if let Some(entry) = enter() {
        entry.write(|stream, _| work(stream));
        entry.leave();
    }
}

/// Runs `work`, whose own calls are not the program's.
pub fn hidden<T>(work: impl FnOnce() -> T) -> T {
    let entry = enter();
    let result = work();
    if let Some(entry) = entry {
        entry.leave();
    }
    result
}

/// Gives a thread its number, at its first call.
#[cold]
fn begin_thread(thread: &ThreadEntry) {
    let kernel_id = system::preserving_errno(system::thread_id);
    stream::lock();
    // SAFETY: the lock is held.
    unsafe {
        let next = &raw mut (*STATE.get()).next_thread;
        let number = *next;
        *next = number.wrapping_add(1).max(2);
        thread.number.set(number);
        stream::get().thread_birth(number, kernel_id);
    }
    stream::unlock();
    // SAFETY: the key is written before anything is recorded.
    if let Some(key) = unsafe { (*STATE.get()).end_key } {
        // The value counts the rounds of destructors. SAFETY: a value of this thread.
        unsafe { system::pthread_setspecific(key, core::ptr::without_provenance(1)) };
    }
}

/// Is called when a thread ends, in each round of destructors that its value asks for. In the last
/// round, others have freed what they hold.
unsafe extern "C" fn thread_ends(rounds: *mut c_void) {
    let round = rounds.addr();
    // SAFETY: the key is written before anything is recorded.
    let key = unsafe { (*STATE.get()).end_key };
    if let (true, Some(key)) = (round < DESTRUCTOR_ROUNDS, key) {
        // SAFETY: a value of this thread.
        unsafe { system::pthread_setspecific(key, core::ptr::without_provenance(round + 1)) };
        return;
    }
    let number = THREAD.with(|thread| thread.number.get());
    if number > 0 && !placement::is_off() {
        let name = system::thread_name();
        stream::lock();
        // SAFETY: the lock is held.
        let stream = unsafe { stream::get() };
        stream.thread_death(number, &name);
        memory::sample_peak(stream);
        stream::unlock();
    }
}

impl CallEntry {
    /// Leaves the hook.
    #[inline(always)]
    pub fn leave(self) {
        match self {
            // Once nothing is recorded any more, the thread stays busy: that is the shortest way
            // through a hook. SAFETY: entered as the only thread, and no allocator starts a thread.
            CallEntry::OnlyThread => unsafe { (*STATE.get()).is_busy = placement::is_off() },
            CallEntry::Thread(_) => THREAD.with(|thread| thread.is_busy.set(false)),
        }
    }

    /// Writes to the stream, under the lock where the process has several threads.
    #[inline(always)]
    pub fn write(self, work: impl FnOnce(&mut Stream, u32)) {
        match self {
            // SAFETY: the only thread.
            CallEntry::OnlyThread => work(unsafe { stream::get() }, 1),
            CallEntry::Thread(number) => {
                stream::lock();
                // SAFETY: the lock is held.
                work(unsafe { stream::get() }, number);
                stream::unlock();
            }
        }
    }

    /// Writes a new block of `size` bytes.
    #[inline(always)]
    pub fn birth<const DOMAIN: usize, const SITES: bool>(
        self,
        tag: u64,
        size: usize,
        block: *mut c_void,
    ) {
        if !SITES && matches!(self, CallEntry::OnlyThread) {
            // SAFETY: the only thread.
            let stream = unsafe { stream::get() };
            if stream.is_plain() && stream.quick_birth(tag + DOMAIN as u64, size, block) {
                return;
            }
        }
        self.write(|stream, thread| {
            if SITES {
                // SAFETY: `write` gives exclusive access; mem and obj are called with the GIL held.
                let site = unsafe { sites::get().current(DOMAIN != 0, stream) };
                stream.site(site);
            }
            stream.call(thread, tag + DOMAIN as u64, size as u64, block as u64);
            if size >= memory::LARGE_BYTES {
                memory::begins(block.addr(), size);
            }
        });
    }

    /// Writes that the interpreter begins to finalise itself, unless that was written.
    #[cold]
    #[inline(never)]
    fn note_finalisation(self) {
        self.write(|stream, _| {
            if ending::take_finalisation() {
                ending::write(stream, request::FINALISATION);
            }
        });
    }

    /// Writes that a block ends, or that a realloc gives it up.
    #[inline(always)]
    pub fn death<const SITES: bool>(self, gives_up: bool, block: *mut c_void) {
        if ending::is_finalising() {
            self.note_finalisation();
        }
        if !SITES
            && !gives_up
            && matches!(self, CallEntry::OnlyThread)
            && !memory::may_be_large(block.addr())
        {
            // SAFETY: the only thread.
            let stream = unsafe { stream::get() };
            if stream.is_plain() && stream.quick_end(block) {
                return;
            }
        }
        self.write(|stream, thread| {
            if SITES {
                // SAFETY: `write` gives exclusive access.
                unsafe { sites::get() }.freed(block as u64);
            }
            memory::ends(block.addr(), stream);
            if gives_up {
                stream.give_up(thread, block as u64);
            } else {
                stream.end(thread, block as u64);
            }
        });
    }
}
