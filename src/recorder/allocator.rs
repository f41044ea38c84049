//! Which allocator serves the process, and what chooses and sets it. Written to the header of the log.

use core::ffi::{CStr, c_char, c_int, c_void};

use crate::native;
use crate::system::{self, symbol};

/// Beginnings of the names of environment variables that choose or set an allocator.
const VARIABLES: [&[u8]; 10] = [
    b"PYTHONMALLOC=",
    b"PYTHONDEVMODE=",
    b"PYTHON_PYMALLOC_",
    b"PYTHON_GIL=",
    b"LD_PRELOAD=",
    b"MALLOC_",
    b"GLIBC_TUNABLES=",
    b"MIMALLOC_",
    b"TCMALLOC_",
    b"_RJEM_MALLOC_CONF=",
];

/// Appends to a buffer; what does not fit is left out.
struct Writer<'a> {
    buffer: &'a mut [u8],
    length: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let end = (self.length + bytes.len()).min(self.buffer.len());
        let fitting = end - self.length;
        self.buffer[self.length..end].copy_from_slice(&bytes[..fitting]);
        self.length = end;
    }
}

/// Writes the variables, `NAME=value`, one to a line. Returns their length. In the constructor only:
/// the environment must not change.
pub fn variables(buffer: &mut [u8]) -> usize {
    let mut writer = Writer { buffer, length: 0 };
    // SAFETY: the environment is an array of C strings that ends with null.
    unsafe {
        let mut at = system::environ;
        while !at.is_null() && !(*at).is_null() {
            let variable = CStr::from_ptr(*at).to_bytes();
            if VARIABLES.iter().any(|name| variable.starts_with(name)) {
                writer.put(variable);
                writer.put(b"\n");
            }
            at = at.add(1);
        }
    }
    writer.length
}

/// The file of the malloc that serves the process. No lock of the recorder may be held.
pub fn file() -> Option<&'static CStr> {
    system::file_of(native::real_malloc())
}

/// Writes what the allocator reports as its version. Returns the length, 0 for none.
pub fn version(buffer: &mut [u8]) -> usize {
    let mut writer = Writer { buffer, length: 0 };
    let find = |name: &CStr| Some(symbol(name)).filter(|found| !found.is_null());
    // SAFETY: each function has the signature of its name in its library.
    unsafe {
        if native::is_c_library() {
            if let Some(found) = find(c"gnu_get_libc_version") {
                let get: unsafe extern "C" fn() -> *const c_char = core::mem::transmute(found);
                writer.put(b"glibc ");
                writer.put(CStr::from_ptr(get()).to_bytes());
            }
        } else if let Some(found) = find(c"mallctl") {
            type Control = unsafe extern "C" fn(
                *const c_char,
                *mut c_void,
                *mut usize,
                *mut c_void,
                usize,
            ) -> c_int;
            let control: Control = core::mem::transmute(found);
            let mut text: *const c_char = core::ptr::null();
            let mut length = size_of::<*const c_char>();
            let (name, none) = (c"version".as_ptr(), core::ptr::null_mut());
            let code = control(name, (&raw mut text).cast(), &raw mut length, none, 0);
            if code == 0 && !text.is_null() {
                writer.put(b"jemalloc ");
                writer.put(CStr::from_ptr(text).to_bytes());
            }
        } else if let Some(found) = find(c"mi_version") {
            let get: unsafe extern "C" fn() -> c_int = core::mem::transmute(found);
            let number = get().unsigned_abs();
            let digit = |value: u32| [b'0' + (value % 10) as u8];
            // 2.1.7 is 217, 3.0.1 is 30001.
            let (major, minor, patch) = if number >= 10_000 {
                (number / 10_000, number / 100 % 100, number % 100)
            } else {
                (number / 100, number / 10 % 10, number % 10)
            };
            writer.put(b"mimalloc ");
            for (at, part) in [major, minor, patch].into_iter().enumerate() {
                if at > 0 {
                    writer.put(b".");
                }
                if part >= 10 {
                    writer.put(&digit(part / 10));
                }
                writer.put(&digit(part));
            }
        } else if let Some(found) = find(c"tc_version") {
            type Version =
                unsafe extern "C" fn(*mut c_int, *mut c_int, *mut *const c_char) -> *const c_char;
            let get: Version = core::mem::transmute(found);
            let (mut major, mut minor, mut patch) = (0, 0, core::ptr::null());
            let text = get(&raw mut major, &raw mut minor, &raw mut patch);
            if !text.is_null() {
                writer.put(CStr::from_ptr(text).to_bytes());
            }
        }
    }
    writer.length
}
