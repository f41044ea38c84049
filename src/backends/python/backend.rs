//! The pools of an installed interpreter as a backend.
#![expect(unsafe_code, reason = "calls into libpython")]

use std::collections::BTreeMap;
use std::ffi::{OsString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};

use libloading::os::unix::Library;

use super::find;
use super::interpreter::{Interpreter, MEM, OBJ, RAW, function};
use super::mimalloc::CpythonMimalloc;
use super::printed::{self, Printed};
use super::thread_states::ThreadStates;
use crate::backends::allocator::{Allocator, Domains};
use crate::backends::arenas::{ArenaSource, ArenaStatistics, Arenas, Bases, Geometry, Pools};
use crate::backends::backend::{Backend, Counter, PoolFigure, ThreadUse, Trim};
use crate::backends::error::BackendError;
use crate::backends::malloc;
use crate::backends::member::{ChildEnvironment, Member, Opened};
use crate::backends::return_unit::{ReturnKind, ReturnUnit, UnitOfBlock};
use crate::backends::setting::{Setting, setting};
use crate::backends::spec_checks::SpecChecks;
use crate::environment::{HEAPLAY_PYTHON_LIBRARY, PYTHONHOME, PYTHONMALLOC};
use crate::spec::BackendSpec;
use crate::trace::{AllocatorRequest, Domain};

/// The entry of the list.
pub const MEMBER: Member = Member {
    name: "python",
    summary: "the real pymalloc or mimalloc of an installed interpreter: @3.11, @3.13t, \
              @/path/to/python3, @libpython3.13.so",
    below: None,
    settings: &SETTINGS,
    settings_read_from: None,
    environment,
    details,
    open,
};

const SETTINGS: [Setting; 2] = [
    setting(
        "allocator",
        "pymalloc or mimalloc",
        "pymalloc; in a free-threaded build mimalloc",
        "what serves the domains mem and obj; mimalloc is there from 3.13 on",
    ),
    Bases::setting("kernel"),
];

/// The library that the parent found, for its child.
const LIBRARY: &str = HEAPLAY_PYTHON_LIBRARY;

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
    /// None where the pools are static.
    states: ThreadStates,
}

impl Python {
    /// Reads the library's tables; its pools are not touched.
    fn start(interpreter: Interpreter, path: &Path, bases: Bases) -> Result<Python, String> {
        let minor = interpreter.minor;
        let tables = [RAW, MEM, OBJ].map(|domain| interpreter.table(domain));
        let [raw, mem, obj] = tables;
        // Code outside of CPython's allocators calls the C library directly.
        let domains = Domains::new(raw?, mem?, obj?).with_libc(&malloc::c_library());
        let states = if minor >= NEEDS_INTERPRETER {
            interpreter.start(path, "malloc")?;
            ThreadStates::of(&interpreter)?
        } else {
            ThreadStates::default()
        };
        let now = interpreter.table(OBJ)?;
        let Interpreter { library, reported, .. } = interpreter;
        let geometry = print(&library, now, *domains.get(Domain::Obj))?.geometry;
        let arenas = hook_arenas(&library, bases, geometry)?;
        if minor >= REQUESTS_HUGE_PAGES {
            arenas.request_huge_pages();
        }
        let path = path.to_owned();
        Ok(Python { library, path, minor, reported, domains, geometry, arenas, states })
    }
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
        ThreadUse::OneAtATime
    }

    fn thread_begins(&self) {
        self.states.begin();
    }

    fn thread_ends(&self) {
        self.states.end();
    }

    fn calls_resumed(&self) {
        self.states.attach();
    }

    fn calls_paused(&self) {
        self.states.detach();
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

    fn returns_by(&self) -> Vec<ReturnKind> {
        [ReturnKind::Arena].into_iter().chain(malloc::RETURNS_BY).collect()
    }

    fn unit_of_block(&self) -> Option<UnitOfBlock<'_>> {
        let below = malloc::unit_of_block();
        Some(Box::new(move |block| match self.arenas.range_of(block) {
            Some(range) => Some(ReturnUnit { kind: ReturnKind::Arena, range }),
            None => below.as_ref().and_then(|unit_of| unit_of(block)),
        }))
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

/// Whether a spec asks for mimalloc, by its setting or by a free-threaded library.
///
/// # Errors
/// [`BackendError::Refused`] for settings that do not go together.
fn wants_mimalloc(spec: &BackendSpec, library: &Path) -> Result<bool, BackendError> {
    let is_free_threaded = find::is_free_threaded(library);
    let wants = match spec.setting("allocator") {
        None => is_free_threaded,
        Some("mimalloc") => true,
        Some("pymalloc") if is_free_threaded => {
            let reason = "cannot have allocator=pymalloc: a free-threaded build has only mimalloc";
            return Err(spec.refused(reason.to_owned()));
        }
        Some("pymalloc") => false,
        Some(other) => {
            let reason = format!("has no allocator `{other}`: expected pymalloc or mimalloc");
            return Err(spec.refused(reason));
        }
    };
    if wants && spec.setting("bases").is_some() {
        let reason = "cannot have bases: they place arenas of pymalloc, and mimalloc has none";
        return Err(spec.refused(reason.to_owned()));
    }
    Ok(wants)
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
    let allocator = if wants_mimalloc(spec, &library)? { "mimalloc" } else { "malloc" };
    let mut all = vec![
        (LIBRARY, library.clone().into_os_string()),
        (PYTHONMALLOC, OsString::from(allocator)),
    ];
    if let Some(home) = minor.and_then(|minor| find::home(&library, minor)) {
        all.push((PYTHONHOME, home.into_os_string()));
    }
    Ok(all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn details(spec: &BackendSpec) -> Result<String, BackendError> {
    let bases = Bases::of(spec)?.unwrap_or(Bases::Kernel);
    let mut text = format!(
        "python: the pymalloc or mimalloc in an interpreter's shared library, called through its own \
         tables\n  \
         mimalloc: mem and obj have heaps of their own; raw is the C library's malloc;\n  \
         sizes of its blocks are not known, and count as requested; varies with time\n  \
         takes @3.N, @3.N.P, @3.Nt, @/path/to/python3, @/path/to/libpython3.N.so or @libpython3.N.so\n  \
         arenas from  {}\n",
        bases.text()
    );
    match library_of(spec) {
        Ok(path) => {
            let has_mimalloc = wants_mimalloc(spec, &path)?;
            let allocator = if has_mimalloc { "mimalloc" } else { "pymalloc" };
            text.push_str(&format!("  library      {}\n", path.display()));
            text.push_str(&format!("  allocator    {allocator}\n"));
        }
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
    let failed = |reason| unavailable(format!("{}: {reason}", path.display()));
    let interpreter = Interpreter::load(&path).map_err(failed)?;
    check_version(spec, &path, &interpreter)?;
    let backend: Box<dyn Backend> =
        if interpreter.is_free_threaded() || wants_mimalloc(spec, &path)? {
            Box::new(CpythonMimalloc::start(interpreter, &path).map_err(failed)?)
        } else {
            Box::new(Python::start(interpreter, &path, bases).map_err(failed)?)
        };
    // Loading a library and starting an interpreter leave free pages in the C library's heap that
    // are resident already. The replay's large blocks would use them without a page fault, where
    // every other backend begins with a fresh heap.
    malloc::trim();
    Ok(backend)
}

/// Checks that the library is of the version that the spec names.
fn check_version(
    spec: &BackendSpec,
    path: &Path,
    interpreter: &Interpreter,
) -> Result<(), BackendError> {
    let Some(wanted) = spec.version().filter(|version| version.starts_with("3.")) else {
        return Ok(());
    };
    let has = interpreter.reported.split(' ').next().unwrap_or_default();
    let (number, wants_free_threaded) = match wanted.strip_suffix('t') {
        Some(number) => (number, true),
        None => (wanted, false),
    };
    let has_number = has
        .strip_prefix(number)
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()));
    if has_number && wants_free_threaded == interpreter.is_free_threaded() {
        return Ok(());
    }
    let suffix = if interpreter.is_free_threaded() { "t" } else { "" };
    Err(unavailable(format!("{} is CPython {has}{suffix}, not {wanted}", path.display())))
}
