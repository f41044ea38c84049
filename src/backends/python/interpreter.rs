//! An interpreter's shared library: its functions, its version, and its start.
#![expect(unsafe_code, reason = "calls into libpython")]

use std::ffi::{CStr, c_char, c_int};
use std::path::Path;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::find;
use crate::backends::allocator::Allocator;
use crate::backends::loader;
use crate::cpython::version;
use crate::environment::{PYTHONHOME, PYTHONMALLOC};

/// CPython's codes of the domains.
pub(super) const RAW: c_int = 0;
pub(super) const MEM: c_int = 1;
pub(super) const OBJ: c_int = 2;

/// A loaded library, which stays loaded until the process ends.
pub(super) struct Interpreter {
    pub library: Library,
    /// The version that the library reports.
    pub reported: String,
    /// The minor version of CPython 3.
    pub minor: u32,
}

/// A function of the library.
///
/// # Safety
/// `F` is the function's type.
pub(super) unsafe fn function<F: Copy>(library: &Library, name: &str) -> Result<F, String> {
    // SAFETY: the caller's promise; the library stays loaded until the process ends.
    unsafe { library.get::<F>(name.as_bytes()) }
        .map(|symbol| *symbol)
        .map_err(|_| format!("its library has no {name}"))
}

impl Interpreter {
    /// Loads the library.
    ///
    /// # Errors
    /// Why it cannot be loaded, or is none of CPython 3.
    pub fn load(path: &Path) -> Result<Interpreter, String> {
        // SAFETY: loading CPython's library runs only the C library's start-up code.
        let library =
            unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
                let reported = loader::reported(&error);
                format!(
                    "its library cannot be loaded: {reported}; name another one: \
                     python@/path/to/libpython3.11.so.1.0"
                )
            })?;
        // SAFETY: a documented function with its documented signature.
        let reported = unsafe {
            let version =
                function::<unsafe extern "C" fn() -> *const c_char>(&library, "Py_GetVersion")?;
            CStr::from_ptr(version()).to_string_lossy().replace('\n', " ")
        };
        let (minor, _) = version(&reported)
            .ok_or_else(|| format!("its version `{reported}` is none of CPython 3"))?;
        Ok(Interpreter { library, reported, minor })
    }

    /// Whether it is a free-threaded build.
    pub fn is_free_threaded(&self) -> bool {
        self.reported.contains("free-threading")
    }

    /// The table that serves a domain now.
    ///
    /// # Errors
    /// The function that the library lacks.
    pub fn table(&self, domain: c_int) -> Result<Allocator, String> {
        let mut table = Allocator::refusing();
        // SAFETY: a documented function, which fills in the table of an existing domain.
        unsafe {
            let get = function::<unsafe extern "C" fn(c_int, *mut Allocator)>(
                &self.library,
                "PyMem_GetAllocator",
            )?;
            get(domain, &mut table);
        }
        Ok(table)
    }

    /// Starts the interpreter, with that value of `PYTHONMALLOC`.
    ///
    /// # Errors
    /// The function that the library lacks.
    pub fn start(&self, path: &Path, allocator: &str) -> Result<(), String> {
        let home = find::home(path, self.minor).map(std::path::PathBuf::into_os_string);
        for (name, value) in [(PYTHONMALLOC, Some(allocator.into())), (PYTHONHOME, home)] {
            if let Some(value) = value
                && std::env::var_os(name).as_ref() != Some(&value)
            {
                // SAFETY: a child gets these from its parent, and has one thread. In any other
                // process no other thread may read the environment now, as the interpreter does.
                unsafe { std::env::set_var(name, value) };
            }
        }
        // SAFETY: a documented function, and flags that are ints.
        unsafe {
            for flag in ["Py_NoSiteFlag", "Py_DontWriteBytecodeFlag"] {
                if let Ok(flag) = self.library.get::<*mut c_int>(flag.as_bytes()) {
                    **flag = 1;
                }
            }
            function::<unsafe extern "C" fn(c_int)>(&self.library, "Py_InitializeEx")?(0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_does_not_load_has_the_loaders_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libpython3.11.so");
        std::fs::write(&path, "no library").unwrap();
        let reason = Interpreter::load(&path).err().unwrap();
        for part in [&path.display().to_string(), "file too short", "python@/path/to/libpython"] {
            assert!(reason.contains(part), "no {part} in: {reason}");
        }
    }
}
