//! Room `recorder`, the interpreter: what it needs of CPython's C interface, found by name at run
//! time, and for sites the places of a few fields, which are fixed within each minor version (taken
//! from its headers by `offsetof`).

use core::ffi::{CStr, c_char, c_int, c_void};

use crate::refusal;
use crate::system::symbol;

/// `Py_GetVersion()`; `None` in a process that is no Python.
pub fn version() -> Option<&'static [u8]> {
    let get = symbol(c"Py_GetVersion");
    if get.is_null() {
        return None;
    }
    // SAFETY: this is its signature in every version; it may be called before the interpreter is
    // initialised.
    unsafe {
        let get: unsafe extern "C" fn() -> *const c_char = core::mem::transmute(get);
        Some(CStr::from_ptr(get()).to_bytes())
    }
}

/// Whether the interpreter of this process has been initialised.
pub fn is_running() -> bool {
    let is_initialized = symbol(c"Py_IsInitialized");
    if is_initialized.is_null() {
        return false;
    }
    // SAFETY: this is its signature in every version; it may be called at any time.
    unsafe {
        core::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(is_initialized)() != 0
    }
}

/// Whether it has a function that only free-threaded builds have: counting references from other
/// threads.
pub fn is_free_threaded() -> bool {
    !symbol(c"_Py_MergeZeroLocalRefcount").is_null() || !symbol(c"_Py_DecRefShared").is_null()
}

/// Where a version keeps what a site is made of. Byte offsets; for 64-bit machines.
#[derive(Clone, Copy)]
struct Layout {
    /// In `PyThreadState`: the newest frame, or (3.11, 3.12) the `_PyCFrame` that points to it.
    thread_frame: usize,
    /// In `_PyCFrame`: the newest frame.
    cframe_frame: Option<usize>,
    /// In the frame: its code object.
    code: usize,
    /// In the frame: the instruction, as said by `Position`.
    instruction: usize,
    position: Position,
    /// In the frame: the frame before it.
    previous: usize,
    /// In the frame: the byte that tells a frame of the C stack, which has no code of its own (3.12
    /// and later).
    owner: Option<usize>,
    /// In the code object: its file's name.
    filename: usize,
}

#[derive(Clone, Copy)]
enum Position {
    /// A 32-bit index, in units of so many bytes.
    Index(i32),
    /// A pointer into the code object, whose instructions begin at this offset.
    Pointer(usize),
}

/// `FRAME_OWNED_BY_CSTACK`.
const OWNED_BY_C_STACK: u8 = 3;

/// The layout of a minor version of CPython 3.
fn layout(minor: u32) -> Option<Layout> {
    let old = |instruction, unit, filename| Layout {
        thread_frame: 24,
        cframe_frame: None,
        code: 32,
        instruction,
        position: Position::Index(unit),
        previous: 24,
        owner: None,
        filename,
    };
    Some(match minor {
        6 => old(120, 1, 96),
        7 => old(104, 1, 96),
        8 | 9 => old(104, 1, 104),
        10 => old(96, 2, 104),
        11 => Layout {
            thread_frame: 56,
            cframe_frame: Some(8),
            code: 32,
            instruction: 56,
            position: Position::Pointer(184),
            previous: 48,
            owner: None,
            filename: 112,
        },
        12 => Layout {
            thread_frame: 56,
            cframe_frame: Some(0),
            code: 0,
            instruction: 56,
            position: Position::Pointer(192),
            previous: 8,
            owner: Some(70),
            filename: 112,
        },
        13 => Layout {
            thread_frame: 72,
            cframe_frame: None,
            code: 0,
            instruction: 56,
            position: Position::Pointer(200),
            previous: 8,
            owner: Some(70),
            filename: 112,
        },
        _ => return None,
    })
}

type State = unsafe extern "C" fn() -> *const u8;
type Line = unsafe extern "C" fn(*const u8, c_int) -> c_int;
type Length = unsafe extern "C" fn(*const u8) -> isize;
type CopyText = unsafe extern "C" fn(*const u8, *mut u32, isize, c_int) -> *mut u32;

/// How to find the line that allocates.
pub struct Frames {
    layout: Layout,
    /// Before 3.12 the current thread state is one of the process, later one of the thread.
    state_of_process: bool,
    current_state: State,
    state_of_this_thread: State,
    line: Line,
    text_length: Length,
    text_copy: CopyText,
    text_type: *const c_void,
    code_type: *const c_void,
}

/// The newest Python frame's place.
#[derive(Clone, Copy)]
pub struct Place {
    /// The code object.
    pub code: *const u8,
    /// Byte offset of the instruction in it; negative before the first.
    pub instruction: i32,
}

impl Place {
    /// No place.
    pub const NONE: Place = Place { code: core::ptr::null(), instruction: 0 };
}

impl Frames {
    /// `None` where this interpreter lacks something.
    pub fn find(version: &[u8]) -> Option<Frames> {
        let (_, minor) = refusal::version(version)?;
        let layout = layout(minor).filter(|_| cfg!(target_pointer_width = "64"))?;
        let first =
            |names: &[&CStr]| names.iter().map(|name| symbol(name)).find(|at| !at.is_null());
        let current = first(&[c"PyThreadState_GetUnchecked", c"_PyThreadState_UncheckedGet"])?;
        // SAFETY: each function's signature is the same in 3.6 to 3.13.
        unsafe {
            Some(Frames {
                layout,
                state_of_process: minor < 12,
                current_state: core::mem::transmute::<*mut c_void, State>(current),
                state_of_this_thread: core::mem::transmute::<*mut c_void, State>(first(&[
                    c"PyGILState_GetThisThreadState",
                ])?),
                line: core::mem::transmute::<*mut c_void, Line>(first(&[c"PyCode_Addr2Line"])?),
                text_length: core::mem::transmute::<*mut c_void, Length>(first(&[
                    c"PyUnicode_GetLength",
                ])?),
                text_copy: core::mem::transmute::<*mut c_void, CopyText>(first(&[
                    c"PyUnicode_AsUCS4",
                ])?),
                text_type: first(&[c"PyUnicode_Type"])?,
                code_type: first(&[c"PyCode_Type"])?,
            })
        }
    }

    /// The place of the newest Python frame of this thread; `None` before the first and after the
    /// last.
    ///
    /// # Safety
    /// As [`Frames::walk`].
    #[inline(always)]
    pub unsafe fn newest(&self, holds_gil: bool) -> Option<Place> {
        let mut newest = None;
        // SAFETY: passed on.
        unsafe {
            self.walk(holds_gil, |place| {
                newest = Some(place);
                false
            });
        }
        newest
    }

    /// Gives the places of this thread's Python frames, newest first, as long as `visit` wants
    /// more.
    ///
    /// # Safety
    /// In a hook. `holds_gil` only if this thread is known to hold the GIL; else it is found out
    /// here.
    #[inline(always)]
    pub unsafe fn walk(&self, holds_gil: bool, mut visit: impl FnMut(Place) -> bool) {
        let layout = &self.layout;
        // SAFETY: with the GIL held, the thread state, its frames and their code objects belong to
        // this thread and live; the offsets are those of this version.
        unsafe {
            let state = (self.current_state)();
            // Before 3.12 the current state is whoever holds the GIL: if it is not this thread's,
            // hands off.
            if state.is_null()
                || (!holds_gil && self.state_of_process && (self.state_of_this_thread)() != state)
            {
                return;
            }
            let mut frame = pointer(state, layout.thread_frame);
            if let Some(at) = layout.cframe_frame
                && !frame.is_null()
            {
                frame = pointer(frame, at);
            }
            while !frame.is_null() {
                let code = pointer(frame, layout.code);
                let python = layout.owner.is_none_or(|at| frame.add(at).read() != OWNED_BY_C_STACK);
                if python
                    && type_of(code) == self.code_type
                    && !visit(Place { code, instruction: self.instruction(frame, code) })
                {
                    return;
                }
                frame = pointer(frame, layout.previous);
            }
        }
    }

    /// # Safety
    /// A live frame of this thread and its code.
    #[inline(always)]
    unsafe fn instruction(&self, frame: *const u8, code: *const u8) -> i32 {
        // SAFETY: as the caller says.
        unsafe {
            match self.layout.position {
                Position::Index(unit) => {
                    frame.add(self.layout.instruction).cast::<i32>().read() * unit
                }
                Position::Pointer(first) => {
                    let at = pointer(frame, self.layout.instruction) as usize;
                    at.wrapping_sub(code as usize + first) as i32
                }
            }
        }
    }

    /// The line of a place; of an instruction without one (the first of a function, say), where its
    /// code begins.
    ///
    /// # Safety
    /// `place` comes from [`Frames::newest`] in the same call of a hook.
    pub unsafe fn line(&self, place: Place) -> u32 {
        // SAFETY: a live code object; the function reads its line table and allocates nothing.
        let line = |instruction| unsafe { (self.line)(place.code, instruction) };
        let found = Some(line(place.instruction)).filter(|&line| line > 0);
        u32::try_from(found.unwrap_or_else(|| line(-1))).unwrap_or(0)
    }

    /// Copies the characters of the name of the code's file into `buffer`; `None` where they do not
    /// fit.
    ///
    /// # Safety
    /// As [`Frames::line`].
    pub unsafe fn file<'a>(&self, place: Place, buffer: &'a mut [u32]) -> Option<&'a [u32]> {
        // SAFETY: a live code object and its name; both functions only read it, and the length is
        // checked before the copy, which then cannot fail and so raises nothing.
        unsafe {
            let name = pointer(place.code, self.layout.filename);
            if name.is_null() || type_of(name) != self.text_type {
                return None;
            }
            let length = (self.text_length)(name);
            let wanted = usize::try_from(length).ok().filter(|&length| length <= buffer.len())?;
            if wanted > 0 && (self.text_copy)(name, buffer.as_mut_ptr(), length, 0).is_null() {
                return None;
            }
            buffer.get(..wanted)
        }
    }
}

/// The pointer that stands `offset` bytes into an object.
///
/// # Safety
/// It must stand there.
#[inline(always)]
unsafe fn pointer(object: *const u8, offset: usize) -> *const u8 {
    // SAFETY: as the caller says.
    unsafe { object.add(offset).cast::<*const u8>().read() }
}

/// An object's type, null for no object.
///
/// # Safety
/// Null or a live Python object.
#[inline(always)]
unsafe fn type_of(object: *const u8) -> *const c_void {
    if object.is_null() {
        return core::ptr::null();
    }
    // SAFETY: ob_type follows the reference count in every build with a GIL.
    unsafe { pointer(object, 8).cast() }
}
