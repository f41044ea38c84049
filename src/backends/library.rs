//! `so` and `preload`: any allocator that is a shared library.
//!
//! `so:PATH[:PREFIX]` loads the library beside the system's malloc and calls its `malloc`,
//! `calloc`, `realloc` and `free`, with a prefix where it has one (`mi_`, `tc_`, `scalable_`).
//! `preload:PATH` puts the library into `LD_PRELOAD` of the child, for allocators that can only
//! replace malloc. Environment variables may follow: `so:PATH:PREFIX:NAME=VALUE,…`.
//!
//! A library is never closed: its thread-local data and its handlers would outlive it. Its calls
//! beyond the four are found by name: usable size, a trim, its version.
#![expect(unsafe_code, reason = "loads a library and calls what it finds there")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::ptr;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};

use super::allocator::{Allocator, Domains};
use super::arena_report;
use super::backend::{Backend, ThreadUse, Trim, Varies};
use super::calls::{c_aligned, c_table};
use super::elf::Machine;
use super::error::BackendError;
use super::jemalloc_arenas::{self, MallctlFn, Slabs};
use super::loader;
use super::member::{ChildEnvironment, Member, Opened};
use super::return_unit::{ReturnKind, UnitOfBlock};
use super::setting::{Setting, plain, setting};
use super::spec_checks::SpecChecks;
use crate::environment::{GLIBC_TUNABLES, LD_PRELOAD, MALLOC_CONF};
use crate::spec::{BackendSpec, PRELOAD, SO};

/// The entry of the list.
pub const SO_MEMBER: Member = Member {
    name: SO,
    summary: "so:PATH[:PREFIX], any shared library that has malloc, calloc, realloc and free",
    below: None,
    settings: &SETTINGS,
    settings_read_from: Some("the environment of the child"),
    environment: so_environment,
    details: so_details,
    open: open_so,
};

/// The entry of the list.
pub const PRELOAD_MEMBER: Member = Member {
    name: PRELOAD,
    summary: "preload:PATH, a shared library that replaces malloc in the child (LD_PRELOAD)",
    below: None,
    settings: &SETTINGS,
    settings_read_from: Some("the environment of the child"),
    environment: preload_environment,
    details: preload_details,
    open: open_preload,
};

const SETTINGS: [Setting; 1] = [setting(
    "VARIABLE",
    "text",
    "not set",
    "any environment variable in capitals that the library reads, such as MALLOC_CONF",
)];

/// Prefixes that are tried for advice when the library has no plain names.
const PREFIXES: [&str; 7] = ["mi_", "tc_", "scalable_", "je_", "rp", "sn_", "hoard_"];

type MallocFn = unsafe extern "C" fn(usize) -> *mut c_void;
type CallocFn = unsafe extern "C" fn(usize, usize) -> *mut c_void;
type ReallocFn = unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void;
type AlignedFn = unsafe extern "C" fn(usize, usize) -> *mut c_void;
type FreeFn = unsafe extern "C" fn(*mut c_void);
type UsableFn = unsafe extern "C" fn(*mut c_void) -> usize;
/// `MallocExtension_GetNumericProperty` of gperftools.
type PropertyFn = unsafe extern "C" fn(*const c_char, *mut usize) -> c_int;

/// The calls of a library, behind a table's context.
struct LibraryCalls {
    malloc: MallocFn,
    calloc: CallocFn,
    realloc: ReallocFn,
    free: FreeFn,
    /// `aligned_alloc` or `memalign`, where the library has either.
    aligned: Option<AlignedFn>,
}

/// The call by which a library returns unused memory.
#[derive(Clone, Copy)]
enum TrimCall {
    Mallctl(MallctlFn),
    Collect(unsafe extern "C" fn(bool)),
    Release(unsafe extern "C" fn()),
    Command(unsafe extern "C" fn(c_int, *mut c_void) -> c_int),
    MallocTrim(unsafe extern "C" fn(usize) -> c_int),
}

/// A library's calls besides the four.
struct Extras {
    usable: Option<UsableFn>,
    trim_call: Option<TrimCall>,
    version: String,
    varies_by_clock: bool,
    mallctl: Option<MallctlFn>,
    property: Option<PropertyFn>,
}

struct LoadedLibrary {
    domains: Domains,
    extras: Extras,
    /// The target of the table's context.
    _calls: Option<Box<LibraryCalls>>,
}

impl Backend for LoadedLibrary {
    fn domains(&self) -> Domains {
        self.domains
    }

    fn thread_use(&self) -> ThreadUse {
        ThreadUse::Concurrent
    }

    fn version(&self) -> String {
        self.extras.version.clone()
    }

    unsafe fn usable_size(&self, block: *mut c_void, requested: usize) -> usize {
        // SAFETY: the caller's promise: the block is live.
        self.extras.usable.map_or(requested, |usable| unsafe { usable(block) })
    }

    fn trim(&self) -> Trim {
        let Some(trim_call) = self.extras.trim_call else { return Trim::None };
        // SAFETY: each has the signature that its library documents; none touches a live block.
        unsafe {
            match trim_call {
                TrimCall::Mallctl(mallctl) => {
                    for control in [c"thread.tcache.flush", c"arena.4096.purge"] {
                        mallctl(
                            control.as_ptr(),
                            ptr::null_mut(),
                            ptr::null_mut(),
                            ptr::null_mut(),
                            0,
                        );
                    }
                }
                TrimCall::Collect(collect) => collect(true),
                TrimCall::Release(release) => release(),
                // TBBMALLOC_CLEAN_ALL_BUFFERS
                TrimCall::Command(command) => drop(command(0, ptr::null_mut())),
                TrimCall::MallocTrim(trim) => drop(trim(0)),
            }
        }
        Trim::Done
    }

    fn returns_by(&self) -> Vec<ReturnKind> {
        match self.extras.mallctl {
            Some(_) => vec![ReturnKind::Span, ReturnKind::Page],
            None => Vec::new(),
        }
    }

    fn unit_of_block(&self) -> Option<UnitOfBlock<'_>> {
        let (slabs, usable) = (Slabs::of(self.extras.mallctl?), self.extras.usable?);
        // SAFETY: the block is live.
        Some(Box::new(move |block| slabs.of_block(block.addr(), unsafe { usable(block) })))
    }

    fn write_arenas(&self, out: RawFd) -> bool {
        match (self.extras.mallctl, self.extras.property) {
            (Some(mallctl), _) => jemalloc_arenas::write(mallctl, out),
            (None, Some(property)) => write_caches(property, out),
            (None, None) => false,
        }
    }

    fn varies(&self) -> Option<Varies> {
        self.extras.varies_by_clock.then_some(Varies::ByClock)
    }
}

unsafe extern "C" fn malloc(ctx: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the context is the boxed calls of a live backend; malloc takes any size.
    unsafe { ((*ctx.cast::<LibraryCalls>()).malloc)(size.max(1)) }
}

unsafe extern "C" fn aligned(ctx: *mut c_void, alignment: usize, size: usize) -> *mut c_void {
    // SAFETY: as in malloc; this function is in no table where the library has none. Some take whole
    // machine words only.
    unsafe {
        match (*ctx.cast::<LibraryCalls>()).aligned {
            Some(aligned) => aligned(alignment.max(size_of::<usize>()), size.max(1)),
            None => ptr::null_mut(),
        }
    }
}

unsafe extern "C" fn calloc(ctx: *mut c_void, elements: usize, element_size: usize) -> *mut c_void {
    let (elements, element_size) =
        if elements == 0 || element_size == 0 { (1, 1) } else { (elements, element_size) };
    // SAFETY: as in malloc.
    unsafe { ((*ctx.cast::<LibraryCalls>()).calloc)(elements, element_size) }
}

unsafe extern "C" fn realloc(ctx: *mut c_void, block: *mut c_void, new_size: usize) -> *mut c_void {
    // SAFETY: as in malloc; the block is one of this library or null.
    unsafe { ((*ctx.cast::<LibraryCalls>()).realloc)(block, new_size.max(1)) }
}

unsafe extern "C" fn free(ctx: *mut c_void, block: *mut c_void) {
    // SAFETY: as in realloc.
    unsafe { ((*ctx.cast::<LibraryCalls>()).free)(block) }
}

/// The variables by which jemalloc returns memory at once, and never.
const JEMALLOC_ENDS: [&[(&str, &str)]; 2] = [
    &[(MALLOC_CONF, "dirty_decay_ms:0,muzzy_decay_ms:0")],
    &[(MALLOC_CONF, "dirty_decay_ms:-1,muzzy_decay_ms:-1")],
];
/// The same of mimalloc: by the names of 2.1 and later, and by those before.
const MIMALLOC_ENDS: [&[(&str, &str)]; 2] = [
    &[("MIMALLOC_PURGE_DELAY", "0"), ("MIMALLOC_DECOMMIT_DELAY", "0")],
    &[("MIMALLOC_PURGE_DELAY", "-1"), ("MIMALLOC_ALLOW_DECOMMIT", "0")],
];

/// The spec of a library that returns unused memory after a delay, with memory returned at once and
/// with memory never returned. `None` for a library whose file has no name that is known, and where
/// the spec sets the delay.
pub(super) fn delay_ends(spec: &BackendSpec) -> Option<[BackendSpec; 2]> {
    let path = spec.path()?;
    let file = fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    let name = file.file_name()?.to_string_lossy().into_owned();
    let ends = if name.contains("jemalloc") {
        JEMALLOC_ENDS
    } else if name.contains("mimalloc") {
        MIMALLOC_ENDS
    } else {
        return None;
    };
    let sets_delay = |(name, value): &(String, String)| {
        name.contains("DELAY") || name.contains("DECOMMIT") || value.contains("decay_ms")
    };
    if spec.settings().iter().any(sets_delay) {
        return None;
    }
    let [at_once, never] = ends.map(|end| with_variables(spec, end));
    Some([at_once?, never?])
}

/// The spec with further variables. A variable that it has already gets the new value behind its
/// own, as `MALLOC_CONF` takes it.
fn with_variables(spec: &BackendSpec, variables: &[(&str, &str)]) -> Option<BackendSpec> {
    let mut all = spec.settings().to_vec();
    for &(name, value) in variables {
        match all.iter_mut().find(|(known, _)| known == name) {
            Some((_, present)) => *present = format!("{present},{value}"),
            None => all.push((name.to_owned(), value.to_owned())),
        }
    }
    all.iter().try_fold(spec.without_settings(), |spec, (name, value)| {
        spec.with_setting(name, value).ok()
    })
}

/// A loaded library, and its file.
struct SharedLibrary {
    library: &'static Library,
    /// `None` when the spec has no folder, so that the loader chose the file.
    path: Option<PathBuf>,
}

impl SharedLibrary {
    /// A symbol that the library itself defines. The loader also searches the library's
    /// dependencies, and would return the C library's malloc for a library without one.
    fn find<T: Copy>(&self, name: &str) -> Option<T> {
        let name = CString::new(name).ok()?;
        // SAFETY: only the address is taken here; its caller is responsible for the signature.
        let symbol: Symbol<*mut c_void> =
            unsafe { self.library.get(name.as_bytes_with_nul()) }.ok()?;
        let address = symbol.into_raw();
        let home = file_of(address)?;
        let own = match &self.path {
            Some(path) => home == *path,
            None => {
                !home.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libc."))
            }
        };
        // SAFETY: a function pointer has the size of an address.
        own.then(|| unsafe { std::mem::transmute_copy::<*mut c_void, T>(&address) })
    }
}

/// The file that the code at `address` was loaded from.
fn file_of(address: *mut c_void) -> Option<PathBuf> {
    // SAFETY: all zeros is a value of this plain struct, which the call fills.
    let name = unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(address, &mut info) == 0 || info.dli_fname.is_null() {
            return None;
        }
        CStr::from_ptr(info.dli_fname).to_string_lossy().into_owned()
    };
    Some(fs::canonicalize(&name).unwrap_or_else(|_| PathBuf::from(name)))
}

fn path_of(spec: &BackendSpec) -> Result<&str, BackendError> {
    let path = spec.path();
    path.ok_or_else(|| {
        spec.refused(format!("needs the library's path: {}:/usr/lib/…/lib….so", spec.name()))
    })
}

fn unavailable(spec: &BackendSpec, reason: String) -> BackendError {
    BackendError::Unavailable { backend: spec.to_string(), reason }
}

/// Why the loader does not load a library.
fn not_loaded(spec: &BackendSpec, path: &str, error: &libloading::Error) -> BackendError {
    let hint = match path.contains('/') {
        true => String::new(),
        false => loader::same_stem_hint(spec.name(), path),
    };
    let reported = loader::reported(error);
    let next = "give its path, or choose one of `heaplay backends`";
    unavailable(spec, format!("it cannot be loaded: {reported}{hint}; {next}"))
}

/// Checks the files of the libraries that a spec names by their paths. Nothing is loaded.
///
/// # Errors
/// The first path at which there is no library of this machine.
pub fn look_at_libraries(spec: &BackendSpec) -> Result<(), BackendError> {
    for layer in spec.layers().filter(|layer| layer.is_library()) {
        layer.path().map(|path| look_at(layer, path)).transpose()?;
    }
    Ok(())
}

/// Checks the file before the loader does, whose messages do not name the kind of file.
///
/// # Errors
/// No such file, no library, or one for another processor.
fn look_at(spec: &BackendSpec, path: &str) -> Result<Option<PathBuf>, BackendError> {
    if !path.contains('/') {
        return Ok(None);
    }
    let file = Path::new(path);
    let found = match Machine::of(file) {
        _ if file.is_dir() => "a folder".to_owned(),
        _ if file.exists() && !file.is_file() => "no regular file".to_owned(),
        Ok(machine) => match (machine, Machine::own()) {
            (None, _) => "a file that is none (not an ELF file)".to_owned(),
            (Some(found), Some(own)) if found != own => {
                format!("one for {}, and this heaplay is for {}", found.name(), own.name())
            }
            _ => return Ok(Some(fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path)))),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => "no such file".to_owned(),
        Err(error) => format!("a file that cannot be read ({error})"),
    };
    Err(unavailable(
        spec,
        format!(
            "expected a shared library at {path}, found {found}; check the path, or choose one of \
             `heaplay backends`"
        ),
    ))
}

/// Finds the library's calls besides the four.
fn extras(
    shared: &SharedLibrary,
    prefix: &str,
    spec: &BackendSpec,
) -> Result<Extras, BackendError> {
    let either = |name: &str| [format!("{prefix}{name}"), name.to_owned()];
    let mallctl = either("mallctl").iter().find_map(|name| shared.find::<MallctlFn>(name));
    let usable = [
        format!("{prefix}malloc_usable_size"),
        format!("{prefix}usable_size"),
        format!("{prefix}malloc_size"),
        format!("{prefix}msize"),
        "malloc_usable_size".to_owned(),
    ];
    let trim_call = mallctl
        .map(TrimCall::Mallctl)
        .or_else(|| shared.find("mi_collect").map(TrimCall::Collect))
        .or_else(|| shared.find("MallocExtension_ReleaseFreeMemory").map(TrimCall::Release))
        .or_else(|| shared.find("scalable_allocation_command").map(TrimCall::Command))
        .or_else(|| shared.find("malloc_trim").map(TrimCall::MallocTrim));
    let taken = match mallctl {
        Some(mallctl) => conf_taken(mallctl, spec)?,
        None => false,
    };
    let file = shared.path.as_deref().unwrap_or(Path::new(path_of(spec)?));
    let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut version = match reported(shared, mallctl) {
        Some(version) => version,
        None => format!("{file} (reports no version)"),
    };
    let unread: Vec<&str> = spec
        .settings()
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !(taken && *name == MALLOC_CONF))
        .collect();
    if !unread.is_empty() {
        version.push_str(&format!(" ({} set, cannot be read back)", unread.join(" and ")));
    }
    let varies_by_clock = match mallctl {
        Some(mallctl) => {
            ["opt.dirty_decay_ms", "opt.muzzy_decay_ms"]
                .iter()
                .any(|name| !matches!(number(mallctl, name), Some(0 | -1)))
                || number(mallctl, "opt.experimental_tcache_gc") == Some(1)
        }
        // gperftools' and TBB's return memory by count, not after a delay. Of others nothing is
        // known.
        None => {
            shared.find::<MallocFn>("tc_version").is_none()
                && shared.find::<MallocFn>("scalable_malloc").is_none()
        }
    };
    Ok(Extras {
        usable: usable.iter().find_map(|name| shared.find(name)),
        trim_call,
        version,
        varies_by_clock,
        mallctl,
        property: shared.find("MallocExtension_GetNumericProperty"),
    })
}

/// The version that the library reports.
fn reported(shared: &SharedLibrary, mallctl: Option<MallctlFn>) -> Option<String> {
    // SAFETY: each has the signature that its library documents, and returns a string that lives as
    // long as the library.
    unsafe {
        if let Some(mallctl) = mallctl {
            let (mut text, mut length) = (ptr::null::<c_char>(), size_of::<*const c_char>());
            let place = ptr::from_mut(&mut text).cast();
            if mallctl(c"version".as_ptr(), place, &mut length, ptr::null_mut(), 0) == 0 {
                let text = CStr::from_ptr(text).to_string_lossy();
                return Some(format!("jemalloc {}", text.split('-').next().unwrap_or_default()));
            }
        }
        if let Some(version) = shared.find::<unsafe extern "C" fn() -> c_int>("mi_version") {
            let number = version();
            return Some(match number {
                10_000.. => {
                    format!("mimalloc {}.{}.{}", number / 10_000, number / 100 % 100, number % 100)
                }
                _ => format!("mimalloc {}.{}.{}", number / 100, number / 10 % 10, number % 10),
            });
        }
        type TcVersion =
            unsafe extern "C" fn(*mut c_int, *mut c_int, *mut *const c_char) -> *const c_char;
        let version = shared.find::<TcVersion>("tc_version")?;
        let (mut major, mut minor, mut patch) = (0, 0, ptr::null());
        let text = version(&mut major, &mut minor, &mut patch);
        let text = CStr::from_ptr(text).to_string_lossy().into_owned();
        Some(text.replace("gperftools", "gperftools tcmalloc"))
    }
}

/// A signed control of jemalloc.
fn number(mallctl: MallctlFn, name: &str) -> Option<i64> {
    let name = CString::new(name).ok()?;
    for length in [8usize, 4, 1] {
        let (mut value, mut written) = (0u64, length);
        // SAFETY: the place has 8 bytes; a control refuses any length but its own.
        let code = unsafe {
            mallctl(
                name.as_ptr(),
                ptr::from_mut(&mut value).cast(),
                &mut written,
                ptr::null_mut(),
                0,
            )
        };
        if code == 0 && written == length {
            return Some(value as i64);
        }
    }
    None
}

/// Writes what gperftools' tcmalloc reports: its caches, those of all threads in one sum, and its
/// page heap.
fn write_caches(property: PropertyFn, out: RawFd) -> bool {
    let number = |name: &CStr| {
        let mut value = 0_usize;
        // SAFETY: the property writes one machine word.
        let is_known = unsafe { property(name.as_ptr(), &mut value) } != 0;
        is_known.then_some(value as u64)
    };
    let threads = number(c"tcmalloc.current_total_thread_cache_bytes");
    let central = number(c"tcmalloc.central_cache_free_bytes");
    let transfer = number(c"tcmalloc.transfer_cache_free_bytes");
    let (heap, unmapped) =
        (number(c"generic.heap_size"), number(c"tcmalloc.pageheap_unmapped_bytes"));
    let held = heap.zip(unmapped).map(|(heap, unmapped)| heap.saturating_sub(unmapped));
    let allocated = number(c"generic.current_allocated_bytes");
    let free_pages = number(c"tcmalloc.pageheap_free_bytes");
    let parts = [
        ("whole heap", [None, held, allocated, None]),
        ("all thread caches", [None, threads, Some(0), threads]),
        ("central cache", [None, central, Some(0), None]),
        ("transfer cache", [None, transfer, Some(0), None]),
        ("free pages", [None, free_pages, Some(0), None]),
    ];
    let known = parts.into_iter().filter(|(_, figures)| figures[1].is_some());
    known.fold(false, |is_written, (name, figures)| {
        arena_report::write(out, format_args!("{name}"), figures) || is_written
    })
}

/// Compares the numbers of `MALLOC_CONF` with those that the library reads; whether there were any.
///
/// # Errors
/// The first option that it did not take.
fn conf_taken(mallctl: MallctlFn, spec: &BackendSpec) -> Result<bool, BackendError> {
    let Some(conf) = spec.setting(MALLOC_CONF) else { return Ok(false) };
    for pair in conf.split(',') {
        let (key, value) = pair.split_once(':').unwrap_or((pair, ""));
        let found = number(mallctl, &format!("opt.{key}"));
        let wanted = match value {
            "true" => Some(1),
            "false" => Some(0),
            number => number.parse::<i64>().ok(),
        };
        if found.is_none() || wanted.is_some_and(|wanted| found != Some(wanted)) {
            let found = found.map_or("nothing".to_owned(), |found| found.to_string());
            return Err(spec.not_taken(key, value, &found));
        }
    }
    Ok(true)
}

fn environment(spec: &BackendSpec) -> ChildEnvironment {
    let is_name = |name: &str| {
        name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
            && !name.starts_with("LD_")
    };
    spec.settings()
        .iter()
        .map(|(name, value)| match is_name(name) {
            true => Ok((name.clone(), plain(value).into())),
            false => Err(spec.refused(format!(
                "has no setting `{name}`: it takes environment variables, in capitals"
            ))),
        })
        .collect()
}

fn so_environment(spec: &BackendSpec) -> ChildEnvironment {
    let mut all = environment(spec)?;
    // Libraries with initial-exec thread-local data (jemalloc) need space in a block whose size is
    // fixed at the start.
    all.push((GLIBC_TUNABLES.to_owned(), "glibc.rtld.optional_static_tls=16384".into()));
    Ok(all)
}

fn preload_environment(spec: &BackendSpec) -> ChildEnvironment {
    let mut all = environment(spec)?;
    if let Some(path) = spec.path() {
        if path.contains([' ', ':']) {
            return Err(spec.refused(
                "takes no path with a space or a colon, which LD_PRELOAD would split".to_owned(),
            ));
        }
        all.push((LD_PRELOAD.to_owned(), path.into()));
    }
    Ok(all)
}

fn open_so(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    let path = path_of(spec)?;
    environment(spec)?;
    let file = look_at(spec, path)?;
    // SAFETY: a library's initialisers run; one that crashes ends the child, which becomes an error
    // row.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
        .map_err(|error| not_loaded(spec, path, &error))?;
    let shared = SharedLibrary { library: Box::leak(Box::new(library)), path: file };
    let prefix = spec.prefix().unwrap_or("");
    let missing = |name: &str| {
        let known = PREFIXES
            .iter()
            .find(|known| shared.find::<MallocFn>(&format!("{known}malloc")).is_some());
        let advice = match known {
            Some(known) => format!("; it has `{known}malloc`: write so:{path}:{known}"),
            None => "; if its functions have a prefix, write so:PATH:PREFIX".to_owned(),
        };
        unavailable(spec, format!("missing symbol: it defines no `{prefix}{name}`{advice}"))
    };
    let calls = Box::new(LibraryCalls {
        malloc: shared.find(&format!("{prefix}malloc")).ok_or_else(|| missing("malloc"))?,
        calloc: shared.find(&format!("{prefix}calloc")).ok_or_else(|| missing("calloc"))?,
        realloc: shared.find(&format!("{prefix}realloc")).ok_or_else(|| missing("realloc"))?,
        free: shared.find(&format!("{prefix}free")).ok_or_else(|| missing("free"))?,
        aligned: ["memalign", "aligned_alloc"]
            .iter()
            .find_map(|name| shared.find(&format!("{prefix}{name}"))),
    });
    let ctx = ptr::from_ref::<LibraryCalls>(&calls).cast_mut().cast();
    let extras = extras(&shared, prefix, spec)?;
    let domains = Domains::same(Allocator { ctx, malloc, calloc, realloc, free });
    let domains = if calls.aligned.is_some() { domains.with_aligned(aligned) } else { domains };
    Ok(Box::new(LoadedLibrary { domains, extras, _calls: Some(calls) }))
}

fn open_preload(spec: &BackendSpec, _below: Option<Box<dyn Backend>>) -> Opened {
    let path = path_of(spec)?;
    environment(spec)?;
    let file = look_at(spec, path)?;
    let preloaded = std::env::var(LD_PRELOAD).unwrap_or_default();
    if !preloaded.split([':', ' ']).any(|part| part == path) {
        return Err(unavailable(
            spec,
            "it has to be there from the start, in a child that `heaplay` starts".to_owned(),
        ));
    }
    let home = file_of(libc::malloc as *mut c_void);
    let replaced = match (&file, &home) {
        (Some(file), Some(home)) => file == home,
        (None, Some(home)) => home.ends_with(path),
        (_, None) => false,
    };
    if !replaced {
        let home = home.map_or("unknown".to_owned(), |home| home.display().to_string());
        return Err(unavailable(
            spec,
            format!("missing symbol: it does not replace malloc, which comes from {home} still"),
        ));
    }
    // SAFETY: the library is loaded already; this only counts one more user of it.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
        .map_err(|error| not_loaded(spec, path, &error))?;
    let shared = SharedLibrary { library: Box::leak(Box::new(library)), path: file };
    let extras = extras(&shared, "", spec)?;
    let table = c_table!(libc::malloc, libc::calloc, libc::realloc, libc::free);
    let domains = Domains::same(table).with_aligned(c_aligned!(libc::memalign));
    Ok(Box::new(LoadedLibrary { domains, extras, _calls: None }))
}

fn so_details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok("so: so:PATH[:PREFIX][:VARIABLE=VALUE,…], loaded with RTLD_LOCAL and never closed\n  \
        a path ends at the first colon that a prefix or a variable follows; \\: is a colon in it\n  \
        needs PREFIXmalloc, PREFIXcalloc, PREFIXrealloc and PREFIXfree in the library itself\n  \
        usable size: PREFIXmalloc_usable_size, _usable_size, _malloc_size or _msize, \
        where it has one\n  \
        trim: mallctl purge, mi_collect, MallocExtension_ReleaseFreeMemory, \
        scalable_allocation_command or malloc_trim\n  \
        MALLOC_CONF is read back where the library has mallctl; \
        the version names other variables as not read back\n"
        .to_owned())
}

fn preload_details(_spec: &BackendSpec) -> Result<String, BackendError> {
    Ok("preload: preload:PATH[:VARIABLE=VALUE,…], LD_PRELOAD of the child\n  \
        the program's malloc, calloc, realloc and free are called; \
        heaplay checks that they are the library's\n  \
        usable size, trim and read-back as for so\n"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_with_a_delay_has_two_ends() {
        let ends = |spec: &str| {
            let ends = delay_ends(&spec.parse().unwrap())?;
            Some(ends.map(|spec| spec.to_string().replace("so:/x/lib", "")))
        };
        assert_eq!(
            ends("so:/x/libjemalloc.so.2:MALLOC_CONF=narenas:1"),
            Some([
                "jemalloc.so.2:MALLOC_CONF=narenas:1,dirty_decay_ms:0,muzzy_decay_ms:0".to_owned(),
                "jemalloc.so.2:MALLOC_CONF=narenas:1,dirty_decay_ms:-1,muzzy_decay_ms:-1"
                    .to_owned()
            ])
        );
        let mimalloc = ends("so:/x/libmimalloc.so.2.0:mi_").unwrap();
        assert!(mimalloc[0].ends_with(":mi_:MIMALLOC_PURGE_DELAY=0,MIMALLOC_DECOMMIT_DELAY=0"));
        for spec in [
            "so:/x/libtcmalloc.so.4",
            "so:/x/libjemalloc.so.2:MALLOC_CONF=dirty_decay_ms:0",
            "so:/x/libmimalloc.so.2:MIMALLOC_PURGE_DELAY=10",
        ] {
            assert_eq!(ends(spec), None, "{spec}");
        }
    }
}
