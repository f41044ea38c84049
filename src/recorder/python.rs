//! The parts of CPython that the recorder reads. Functions of the C interface are found by name at
//! run time. Sites also need the offsets of a few fields. The offsets are fixed within each minor
//! version; they come from its headers, by `offsetof`.

use core::ffi::{CStr, c_char, c_int, c_void};

use crate::refusal;
use crate::system::symbol;

/// The text of `Py_GetVersion()`; `None` in a process that is no Python.
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

/// The word of the interpreter that is not 0 once it finalises itself, after the callbacks of
/// `atexit`. `None` where this version is not known.
pub fn finalising_word() -> Option<*const usize> {
    let (_, minor) = refusal::version(version()?)?;
    let present = |name| Some(symbol(name).cast_const().cast::<u8>()).filter(|at| !at.is_null());
    let (runtime, offset) = match minor {
        6 => (present(c"_Py_Finalizing")?, 0),
        // The offset of `_PyRuntimeState.finalizing`, in builds for 64-bit machines.
        7 => (present(c"_PyRuntime")?, 8),
        8..=10 => (present(c"_PyRuntime")?, 16),
        11 | 12 => (present(c"_PyRuntime")?, 24),
        _ => {
            let runtime = present(c"_PyRuntime")?;
            (runtime, described_offset(runtime, FINALISING_AT)?)
        }
    };
    cfg!(target_pointer_width = "64").then(|| runtime.wrapping_add(offset).cast())
}

/// Where 3.13 and later describe the offset of `finalizing` in their runtime: behind a cookie, a version,
/// whether the build is free-threaded, and the size of the runtime.
const FINALISING_AT: usize = 32;

/// An offset that 3.13 and later describe to debuggers, at the byte `at` of their runtime: of a field of
/// the runtime or of an interpreter.
pub fn described_offset(runtime: *const u8, at: usize) -> Option<usize> {
    /// Bytes of the runtime, and of an interpreter, at most: three times what 3.13 has.
    const LIMIT_BYTES: usize = 1 << 20;
    // SAFETY: the runtime is a static of the interpreter, and larger than its description.
    let (cookie, offset) = unsafe {
        (runtime.cast::<[u8; 8]>().read(), runtime.add(at).cast::<usize>().read_unaligned())
    };
    let is_sound = cookie == *b"xdebugpy" && offset < LIMIT_BYTES && offset % 8 == 0;
    is_sound.then_some(offset)
}

/// Whether the interpreter is a free-threaded build, by its version or by its functions: only those
/// builds count references from other threads, in functions of their own.
pub fn is_free_threaded(version: &[u8]) -> bool {
    version.windows(14).any(|part| part == b"free-threading")
        || !symbol(c"_Py_MergeZeroLocalRefcount").is_null()
        || !symbol(c"_Py_DecRefShared").is_null()
}

/// Byte offsets of the fields that make up a site, in one version of CPython on 64-bit machines.
#[derive(Clone, Copy)]
struct FrameOffsets {
    /// In `PyThreadState`: the newest frame, or (3.11, 3.12) the `_PyCFrame` that points to it.
    thread_frame: usize,
    /// In `_PyCFrame`: the newest frame.
    cframe_frame: Option<usize>,
    /// In the frame: its code object.
    code: usize,
    /// In the frame: the instruction, in the form that `form` names.
    instruction: usize,
    form: InstructionForm,
    /// In the frame: the frame before it.
    previous: usize,
    /// In the frame: the byte that marks a frame without code of its own. 3.12 and later.
    owner: Option<usize>,
    /// In the code object: the name of the source file.
    filename: usize,
    /// In every object: its type.
    object_type: usize,
}

/// How a frame stores its instruction.
#[derive(Clone, Copy)]
enum InstructionForm {
    /// A 32-bit index, in units of so many bytes.
    Index(i32),
    /// A pointer into the code object, whose instructions begin at this offset.
    Pointer(usize),
}

/// The first owner of frames that have no code: `FRAME_OWNED_BY_CSTACK` up to 3.13, and
/// `FRAME_OWNED_BY_INTERPRETER` later.
const FIRST_OWNER_WITHOUT_CODE: u8 = 3;
/// From 3.14 on these bits of the pointer to a code object say who counts the reference. Elsewhere
/// they are 0.
const TAG_BITS: usize = 7;
/// `ob_type` in builds with a GIL.
const OBJECT_TYPE: usize = 8;

/// The offsets of a minor version of CPython 3.
fn frame_offsets(minor: u32, is_free_threaded: bool) -> Option<FrameOffsets> {
    match (minor, is_free_threaded) {
        (13, true) => Some(FREE_THREADED_3_13),
        // From 3.14 on each thread may have a copy of the instructions.
        (_, true) => None,
        (_, false) => offsets_with_gil(minor),
    }
}

/// The offsets of the free-threaded build of 3.13.
const FREE_THREADED_3_13: FrameOffsets = FrameOffsets {
    thread_frame: 72,
    cframe_frame: None,
    code: 0,
    instruction: 56,
    form: InstructionForm::Pointer(216),
    previous: 8,
    owner: Some(70),
    filename: 128,
    object_type: 24,
};

/// The offsets of a minor version of CPython 3, built with a GIL.
fn offsets_with_gil(minor: u32) -> Option<FrameOffsets> {
    let old = |instruction, unit, filename| FrameOffsets {
        thread_frame: 24,
        cframe_frame: None,
        code: 32,
        instruction,
        form: InstructionForm::Index(unit),
        previous: 24,
        owner: None,
        filename,
        object_type: OBJECT_TYPE,
    };
    Some(match minor {
        6 => old(120, 1, 96),
        7 => old(104, 1, 96),
        8 | 9 => old(104, 1, 104),
        10 => old(96, 2, 104),
        11 => FrameOffsets {
            thread_frame: 56,
            cframe_frame: Some(8),
            code: 32,
            instruction: 56,
            form: InstructionForm::Pointer(184),
            previous: 48,
            owner: None,
            filename: 112,
            object_type: OBJECT_TYPE,
        },
        12 => FrameOffsets {
            thread_frame: 56,
            cframe_frame: Some(0),
            code: 0,
            instruction: 56,
            form: InstructionForm::Pointer(192),
            previous: 8,
            owner: Some(70),
            filename: 112,
            object_type: OBJECT_TYPE,
        },
        13 => FrameOffsets {
            thread_frame: 72,
            cframe_frame: None,
            code: 0,
            instruction: 56,
            form: InstructionForm::Pointer(200),
            previous: 8,
            owner: Some(70),
            filename: 112,
            object_type: OBJECT_TYPE,
        },
        14 | 15 => FrameOffsets {
            thread_frame: 72,
            cframe_frame: None,
            code: 0,
            instruction: 56,
            form: InstructionForm::Pointer(208),
            previous: 8,
            owner: Some(74),
            filename: 112,
            object_type: OBJECT_TYPE,
        },
        _ => return None,
    })
}

type GetThreadState = unsafe extern "C" fn() -> *const u8;
type LineOf = unsafe extern "C" fn(*const u8, c_int) -> c_int;
type LengthOf = unsafe extern "C" fn(*const u8) -> isize;
type CopyText = unsafe extern "C" fn(*const u8, *mut u32, isize, c_int) -> *mut u32;

/// Finds the line that allocates.
pub struct Frames {
    offsets: FrameOffsets,
    /// In the code object: the name of the function, qualified from 3.11 on.
    function: usize,
    /// Whether the process has one current thread state (before 3.12), or each thread has its own.
    has_one_state: bool,
    current_state: GetThreadState,
    state_of_this_thread: GetThreadState,
    line: LineOf,
    text_length: LengthOf,
    text_copy: CopyText,
    text_type: *const c_void,
    code_type: *const c_void,
}

/// An instruction of a code object.
#[derive(Clone, Copy)]
pub struct CodePosition {
    /// The code object.
    pub code: *const u8,
    /// Byte offset of the instruction; negative before the first.
    pub instruction: i32,
}

impl CodePosition {
    /// No position.
    pub const NONE: CodePosition = CodePosition { code: core::ptr::null(), instruction: 0 };
}

impl Frames {
    /// `None` where this interpreter lacks a function or is of an unknown version.
    pub fn find(version: &[u8]) -> Option<Frames> {
        let (_, minor) = refusal::version(version)?;
        let offsets = frame_offsets(minor, is_free_threaded(version))
            .filter(|_| cfg!(target_pointer_width = "64"))?;
        let first =
            |names: &[&CStr]| names.iter().map(|name| symbol(name)).find(|at| !at.is_null());
        let current = first(&[c"PyThreadState_GetUnchecked", c"_PyThreadState_UncheckedGet"])?;
        // SAFETY: each function's signature is the same in 3.6 to 3.15.
        unsafe {
            Some(Frames {
                offsets,
                // The name stands behind that of the file, and the qualified name behind it.
                function: offsets.filename + if minor >= 11 { 16 } else { 8 },
                has_one_state: minor < 12,
                current_state: core::mem::transmute::<*mut c_void, GetThreadState>(current),
                state_of_this_thread: core::mem::transmute::<*mut c_void, GetThreadState>(first(
                    &[c"PyGILState_GetThisThreadState"],
                )?),
                line: core::mem::transmute::<*mut c_void, LineOf>(first(&[c"PyCode_Addr2Line"])?),
                text_length: core::mem::transmute::<*mut c_void, LengthOf>(first(&[
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

    /// The position of this thread's newest Python frame; `None` before the first frame and after
    /// the last.
    ///
    /// # Safety
    /// As [`Frames::walk`].
    #[inline(always)]
    pub unsafe fn newest(&self, holds_gil: bool) -> Option<CodePosition> {
        let mut newest = None;
        // SAFETY: passed on.
        unsafe {
            self.walk(holds_gil, |position| {
                newest = Some(position);
                false
            });
        }
        newest
    }

    /// Gives the positions of this thread's Python frames, newest first, until `visit` returns
    /// `false`.
    ///
    /// # Safety
    /// In a hook. `holds_gil` may be `true` only if this thread holds the GIL; with `false` this
    /// function finds out.
    #[inline(always)]
    pub unsafe fn walk(&self, holds_gil: bool, mut visit: impl FnMut(CodePosition) -> bool) {
        let offsets = &self.offsets;
        // SAFETY: the thread state, its frames and their code objects belong to this thread and live.
        // The offsets are those of this version.
        unsafe {
            let mut state = (self.current_state)();
            // Before 3.12 the current state belongs to the thread that holds the GIL. The frames of
            // another thread must not be read. Those of this thread live while it has released the
            // GIL, because it will return to them.
            if !holds_gil && (self.has_one_state || state.is_null()) {
                state = (self.state_of_this_thread)();
            }
            if state.is_null() {
                return;
            }
            let mut frame = pointer(state, offsets.thread_frame);
            if let Some(at) = offsets.cframe_frame
                && !frame.is_null()
            {
                frame = pointer(frame, at);
            }
            while !frame.is_null() {
                let code = pointer(frame, offsets.code).map_addr(|code| code & !TAG_BITS);
                let is_python =
                    offsets.owner.is_none_or(|at| frame.add(at).read() < FIRST_OWNER_WITHOUT_CODE);
                if is_python
                    && type_of(code, offsets.object_type) == self.code_type
                    && !visit(CodePosition { code, instruction: self.instruction(frame, code) })
                {
                    return;
                }
                frame = pointer(frame, offsets.previous);
            }
        }
    }

    /// # Safety
    /// A live frame of this thread and its code.
    #[inline(always)]
    unsafe fn instruction(&self, frame: *const u8, code: *const u8) -> i32 {
        // SAFETY: as the caller guarantees.
        unsafe {
            match self.offsets.form {
                InstructionForm::Index(unit) => {
                    frame.add(self.offsets.instruction).cast::<i32>().read() * unit
                }
                InstructionForm::Pointer(first) => {
                    let at = pointer(frame, self.offsets.instruction) as usize;
                    at.wrapping_sub(code as usize + first) as i32
                }
            }
        }
    }

    /// The line of a position. An instruction without a line, such as the first of a function, gets
    /// the line at which its code begins.
    ///
    /// # Safety
    /// `position` comes from [`Frames::newest`] in the same call of a hook.
    pub unsafe fn line(&self, position: CodePosition) -> u32 {
        // SAFETY: a live code object; the function reads the line table and allocates nothing.
        let line = |instruction| unsafe { (self.line)(position.code, instruction) };
        let found = Some(line(position.instruction)).filter(|&line| line > 0);
        u32::try_from(found.unwrap_or_else(|| line(-1))).unwrap_or(0)
    }

    /// Copies the characters of the source file's name into `buffer`; `None` where they do not fit.
    ///
    /// # Safety
    /// As [`Frames::line`].
    pub unsafe fn file<'a>(
        &self,
        position: CodePosition,
        buffer: &'a mut [u32],
    ) -> Option<&'a [u32]> {
        // SAFETY: passed on.
        unsafe { self.name_at(position, self.offsets.filename, buffer) }
    }

    /// Copies the characters of the function's name into `buffer`; `None` where they do not fit.
    ///
    /// # Safety
    /// As [`Frames::line`].
    pub unsafe fn function<'a>(
        &self,
        position: CodePosition,
        buffer: &'a mut [u32],
    ) -> Option<&'a [u32]> {
        // SAFETY: passed on.
        unsafe { self.name_at(position, self.function, buffer) }
    }

    /// Copies a text of a code object.
    ///
    /// # Safety
    /// As [`Frames::line`]; `offset` is that of a text or of null.
    unsafe fn name_at<'a>(
        &self,
        position: CodePosition,
        offset: usize,
        buffer: &'a mut [u32],
    ) -> Option<&'a [u32]> {
        // SAFETY: a live code object and its text; both functions only read the text. The length is
        // checked before the copy, so the copy cannot fail and raises no exception.
        unsafe {
            let name = pointer(position.code, offset);
            if name.is_null() || type_of(name, self.offsets.object_type) != self.text_type {
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

/// The pointer at `offset` bytes into an object.
///
/// # Safety
/// The object must hold a pointer at that offset.
#[inline(always)]
unsafe fn pointer(object: *const u8, offset: usize) -> *const u8 {
    // SAFETY: as the caller guarantees.
    unsafe { object.add(offset).cast::<*const u8>().read() }
}

/// An object's type, `offset` bytes into it; null for a null pointer.
///
/// # Safety
/// Null or a live Python object.
#[inline(always)]
unsafe fn type_of(object: *const u8, offset: usize) -> *const c_void {
    if object.is_null() {
        return core::ptr::null();
    }
    // SAFETY: the offset of ob_type in this build.
    unsafe { pointer(object, offset).cast() }
}
