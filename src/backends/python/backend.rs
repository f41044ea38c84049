//! The pools of an installed interpreter as a backend.
#![expect(unsafe_code, reason = "calls into libpython")]

use std::collections::BTreeMap;
use std::ffi::{CStr, OsString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::find;
use super::printed::{self, Printed};
use crate::backends::allocator::{Allocator, Domains};
use crate::backends::arenas::{ArenaSource, ArenaStatistics, Arenas, Bases, Geometry, Pools};
use crate::backends::backend::{Backend, Counter, PoolFigure, ThreadUse, Trim};
use crate::backends::error::BackendError;
use crate::backends::malloc;
use crate::backends::member::{ChildEnvironment, Member, Opened};
use crate::backends::setting::Setting;
use crate::backends::spec_checks::SpecChecks;
use crate::environment::{HEAPLAY_PYTHON_LIBRARY, PYTHONHOME, PYTHONMALLOC};
use crate::spec::BackendSpec;
use crate::trace::{AllocatorRequest, Domain};

/// The entry of the list.
pub const MEMBER: Member = Member {
    name: "python",
    summary: "the real pymalloc of an installed interpreter: @3.11, @/path/to/python3, \
              @libpython3.13.so",
    below: None,
    settings: &SETTINGS,
    settings_read_from: None,
    environment,
    details,
    open,
};

const SETTINGS: [Setting; 1] = [Bases::setting("kernel")];

/// The library that the parent found, for its child.
const LIBRARY: &str = HEAPLAY_PYTHON_LIBRARY;

/// CPython's codes of the domains.
const RAW: c_int = 0;
const MEM: c_int = 1;
const OBJ: c_int = 2;

/// From this minor version on, the pools belong to an interpreter.
const NEEDS_INTERPRETER: u32 = 12;

/// From this minor version on an interpreter's own arenas request huge pages.
const REQUESTS_HUGE_PAGES: u32 = 15;

/// The pools of an interpreter's library. Their state is global to the process.
struct Python {
    library: Library,
    path: PathBuf,
    minor: u32,
    /// The version that the library reports.
    reported: String,
    domains: Domains,
    geometry: Geometry,
    arenas: &'static Arenas,
}

/// A function of the library.
///
/// # Safety
/// `F` is the function's type.
unsafe fn function<F: Copy>(library: &Library, name: &str) -> Result<F, String> {
    // SAFETY: the caller's promise; the library stays loaded until the process ends.
    unsafe { library.get::<F>(name.as_bytes()) }
        .map(|symbol| *symbol)
        .map_err(|_| format!("its library has no {name}"))
}

impl Python {
    /// Loads the library and reads its tables; its pools are not touched.
    fn load(path: &Path, bases: Bases) -> Result<Python, String> {
        // SAFETY: loading CPython's library runs only the C library's start-up code.
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|error| format!("its library cannot be loaded: {error}"))?;
        // SAFETY: CPython's documented functions with their documented signatures.
        let (reported, get) = unsafe {
            let version =
                function::<unsafe extern "C" fn() -> *const c_char>(&library, "Py_GetVersion")?;
            let get = function::<unsafe extern "C" fn(c_int, *mut Allocator)>(
                &library,
                "PyMem_GetAllocator",
            )?;
            (CStr::from_ptr(version()).to_string_lossy().replace('\n', " "), get)
        };
        if reported.contains("free-threading") {
            return Err("it is a free-threaded build, which does not use pymalloc".to_owned());
        }
        let minor = reported
            .strip_prefix("3.")
            .and_then(|rest| rest.split(['.', ' ']).next()?.parse().ok());
        let minor: u32 =
            minor.ok_or_else(|| format!("its version `{reported}` is none of CPython 3"))?;
        let table = |domain| {
            let mut table = Allocator::refusing();
            // SAFETY: the function fills in the table of an existing domain.
            unsafe { get(domain, &mut table) };
            table
        };
        // Code outside of CPython's allocators calls the C library directly.
        let domains =
            Domains::new(table(RAW), table(MEM), table(OBJ)).with_libc(&malloc::c_library());
        if minor >= NEEDS_INTERPRETER {
            start_interpreter(&library, path, minor)?;
        }
        let geometry = print(&library, table(OBJ), *domains.get(Domain::Obj))?.geometry;
        let arenas = hook_arenas(&library, bases, geometry)?;
        if minor >= REQUESTS_HUGE_PAGES {
            arenas.request_huge_pages();
        }
        Ok(Python { library, path: path.to_owned(), minor, reported, domains, geometry, arenas })
    }
}

/// Starts an interpreter that does not use the pools.
fn start_interpreter(library: &Library, path: &Path, minor: u32) -> Result<(), String> {
    let variables = [(PYTHONMALLOC, Some("malloc".into())), (PYTHONHOME, find::home(path, minor))];
    for (name, value) in variables {
        if let Some(value) = value
            && std::env::var_os(name).as_deref() != Some(value.as_os_str())
        {
            // SAFETY: a child gets these from its parent, and has one thread. In any other process
            // no other thread may read the environment now, as the interpreter does.
            unsafe { std::env::set_var(name, value) };
        }
    }
    // SAFETY: a documented function, and flags that are ints.
    unsafe {
        for flag in ["Py_NoSiteFlag", "Py_DontWriteBytecodeFlag"] {
            if let Ok(flag) = library.get::<*mut c_int>(flag.as_bytes()) {
                **flag = 1;
            }
        }
        function::<unsafe extern "C" fn(c_int)>(library, "Py_InitializeEx")?(0);
    }
    Ok(())
}

fn hook_arenas(
    library: &Library,
    bases: Bases,
    geometry: Geometry,
) -> Result<&'static Arenas, String> {
    type Call = unsafe extern "C" fn(*mut ArenaSource);
    let mut own = ArenaSource::kernel::<false>();
    // SAFETY: documented functions; the hook lives until the process ends.
    unsafe {
        function::<Call>(library, "PyObject_GetArenaAllocator")?(&mut own);
        let arenas = Arenas::new(bases, geometry, own);
        function::<Call>(library, "PyObject_SetArenaAllocator")?(&mut arenas.source());
        Ok(arenas)
    }
}

/// The statistics that the library prints of its pools. It prints only while its own functions
/// serve the obj domain, so they do for the moment. `now` is the table that serves it otherwise.
fn print(library: &Library, now: Allocator, pools: Allocator) -> Result<Printed, String> {
    type Print = unsafe extern "C" fn(*mut libc::FILE) -> c_int;
    type Set = unsafe extern "C" fn(c_int, *mut Allocator);
    // SAFETY: functions of the library with their signatures; a new memory file, read back after it
    // was closed.
    unsafe {
        let print = function::<Print>(library, "_PyObject_DebugMallocStats")?;
        let set = function::<Set>(library, "PyMem_SetAllocator")?;
        let (mut start, mut length): (*mut c_char, usize) = (std::ptr::null_mut(), 0);
        let file = libc::open_memstream(&mut start, &mut length);
        if file.is_null() {
            return Err("no memory for its statistics".to_owned());
        }
        let (mut pools, mut now) = (pools, now);
        set(OBJ, &mut pools);
        print(file);
        set(OBJ, &mut now);
        libc::fclose(file);
        let text =
            String::from_utf8_lossy(std::slice::from_raw_parts(start.cast(), length)).into_owned();
        libc::free(start.cast());
        printed::read(&text)
    }
}

impl Backend for Python {
    fn domains(&self) -> Domains {
        self.domains
    }

    fn thread_use(&self) -> ThreadUse {
        // From that version on, the pools are those of the calling thread's interpreter.
        if self.minor < NEEDS_INTERPRETER { ThreadUse::OneAtATime } else { ThreadUse::Opener }
    }

    fn request(&self, request: AllocatorRequest) {
        malloc::make_request(request);
    }

    fn version(&self) -> String {
        let build =
            find::build(&self.path, self.minor).unwrap_or_else(|| "configured unknown".to_owned());
        format!("CPython {}, {build}, on {}", self.reported, malloc::version())
    }

    unsafe fn usable_size(&self, block: *mut c_void, _requested: usize) -> usize {
        // SAFETY: a live block, of an arena or else of the C library.
        unsafe { self.arenas.block_bytes(block).unwrap_or_else(|| libc::malloc_usable_size(block)) }
    }

    fn alignment(&self) -> usize {
        self.geometry.align
    }

    fn trim(&self) -> Trim {
        // Its pools have no such call; its raw domain is the C library's.
        malloc::trim()
    }

    fn flush_thread_cache(&self) -> Trim {
        malloc::flush_thread_cache()
    }

    fn counters(&self) -> Vec<Counter> {
        let pairs = [
            (PoolFigure::ArenasPeak, self.arenas.peak()),
            (PoolFigure::ArenasEnd, self.arenas.current()),
            (PoolFigure::ArenasTotal, self.arenas.births()),
        ];
        pairs.into_iter().map(|(figure, value)| Counter { figure, value: value as u64 }).collect()
    }

    fn pools(&self) -> Option<&dyn Pools> {
        Some(self)
    }
}

impl Pools for Python {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn arenas(&self) -> Option<&Arenas> {
        Some(self.arenas)
    }

    fn statistics(&self) -> Result<ArenaStatistics, String> {
        let mut now = Allocator::refusing();
        // SAFETY: as in load.
        unsafe {
            function::<unsafe extern "C" fn(c_int, *mut Allocator)>(
                &self.library,
                "PyMem_GetAllocator",
            )?(OBJ, &mut now);
        }
        Ok(print(&self.library, now, *self.domains.get(Domain::Obj))?.statistics)
    }
}

fn unavailable(reason: String) -> BackendError {
    BackendError::Unavailable { backend: "python".to_owned(), reason }
}

/// Checks the spec and finds the library: in the environment, where a parent has set it, or by a
/// search.
fn library_of(spec: &BackendSpec) -> Result<PathBuf, BackendError> {
    spec.takes_only(&SETTINGS)?;
    if let Some(path) = std::env::var_os(LIBRARY) {
        return Ok(path.into());
    }
    // The search starts programs, and a run needs the result once for each child.
    static FOUND: Mutex<BTreeMap<Option<String>, Result<PathBuf, String>>> =
        Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let search = || find::find(spec.version());
    found
        .entry(spec.version().map(str::to_owned))
        .or_insert_with(search)
        .clone()
        .map_err(unavailable)
}

fn environment(spec: &BackendSpec) -> ChildEnvironment {
    let library = library_of(spec)?;
    let minor = library.file_name().and_then(|name| {
        let rest = name.to_str()?.strip_prefix("libpython3.")?;
        rest[..rest.find(|c: char| !c.is_ascii_digit())?].parse().ok()
    });
    let mut all =
        vec![(LIBRARY, library.clone().into_os_string()), (PYTHONMALLOC, OsString::from("malloc"))];
    if let Some(home) = minor.and_then(|minor| find::home(&library, minor)) {
        all.push((PYTHONHOME, home.into_os_string()));
    }
    Ok(all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn details(spec: &BackendSpec) -> Result<String, BackendError> {
    let bases = Bases::of(spec)?.unwrap_or(Bases::Kernel);
    let mut text = format!(
        "python: the pymalloc in an interpreter's shared library, called through its own tables\n  \
         takes @3.N, @3.N.P, @/path/to/python3, @/path/to/libpython3.N.so or @libpython3.N.so\n  \
         arenas from  {}\n",
        bases.text()
    );
    match library_of(spec) {
        Ok(path) => text.push_str(&format!("  library      {}\n", path.display())),
        Err(error) => text.push_str(&format!("  none here: {error}\n")),
    }
    for path in find::all() {
        text.push_str(&format!("  installed    {}\n", path.display()));
    }
    Ok(text)
}

fn open(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    let bases = Bases::of(spec)?.unwrap_or(Bases::Kernel);
    let path = library_of(spec)?;
    // The pools are global to the process, so a second backend would find used ones.
    static FIRST: Once = Once::new();
    let mut first = false;
    FIRST.call_once(|| first = true);
    if !first {
        return Err(unavailable(
            "this process has used its one interpreter; each needs a process".to_owned(),
        ));
    }
    let python = Python::load(&path, bases)
        .map_err(|reason| unavailable(format!("{}: {reason}", path.display())))?;
    let wanted = spec.version().filter(|version| version.starts_with("3."));
    let has = python.reported.split(' ').next().unwrap_or_default();
    if let Some(wanted) = wanted
        && has != wanted
        && has
            .strip_prefix(wanted)
            .is_none_or(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    {
        return Err(unavailable(format!("{} is CPython {has}, not {wanted}", path.display())));
    }
    // Loading a library and starting an interpreter leave free pages in the C library's heap that
    // are resident already. The replay's large blocks would use them without a page fault, where
    // every other backend begins with a fresh heap.
    malloc::trim();
    Ok(Box::new(python))
}
