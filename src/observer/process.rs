//! What the observer reads of its process, and the page that it writes to.
//!
//! A page belongs to one process. A child that `fork` made has the mapping, too, so each access
//! compares the process's id first. Marks may come from several threads: each takes a place of its
//! own.

use core::ffi::{CStr, c_int, c_long, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::page::{self, mark, python_allocator};
use crate::{allocator, native, system};

/// [`page::VARIABLE`] for C.
const VARIABLE: &CStr = c"HEAPLAY_OBSERVE";
/// Bytes of a path, at most, with the closing zero.
const PATH_BYTES: usize = 4096;

/// The page; null where nothing is observed.
static PAGE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
/// The process whose page it is.
static PROCESS: AtomicU64 = AtomicU64::new(0);
/// The number of marks so far, of those that found no place, too.
static MARKS: AtomicU64 = AtomicU64::new(0);

/// `struct rusage`, as far as it is read.
#[repr(C)]
struct ResourceUsage {
    user: [c_long; 2],
    system: [c_long; 2],
    most_resident: c_long,
    unused: [c_long; 3],
    minor_faults: c_long,
    major_faults: c_long,
    others: [c_long; 8],
}

/// `PyMemAllocatorEx`.
#[repr(C)]
struct PythonAllocator {
    context: *mut c_void,
    functions: [*mut c_void; 4],
}

unsafe extern "C" {
    fn getrusage(who: c_int, usage: *mut ResourceUsage) -> c_int;
}

/// The order, as [`page::VARIABLE`] has it.
struct Order<'a> {
    root: u64,
    until: Option<&'a [u8]>,
    /// The program that is to end at its start.
    start: Option<&'a [u8]>,
    path: &'a [u8],
}

fn read_order<'a>(line: &'a [u8]) -> Option<Order<'a>> {
    let line = line.strip_prefix(b"root=")?;
    let end = line.iter().position(|&byte| byte == b';')?;
    let root = core::str::from_utf8(&line[..end]).ok()?.parse().ok()?;
    let rest = &line[end + 1..];
    let all = Order { root, until: None, start: None, path: rest };
    let value = |text: &'a [u8]| {
        let end = text.iter().position(|&byte| byte == b';')?;
        Some((&text[..end], &text[end + 1..]))
    };
    if let Some((file, path)) = rest.strip_prefix(b"start=").and_then(value) {
        return Some(Order { start: Some(file), path, ..all });
    }
    match rest.strip_prefix(b"until=") {
        None => Some(all),
        Some(text) => value(text).map(|(name, path)| Order { until: Some(name), path, ..all }),
    }
}

/// The order in the environment. The text stays in place: the constructor has read it before the
/// program could change it, and a mark reads it again only to compare a name.
fn order() -> Option<Order<'static>> {
    // SAFETY: the text is not written to; a program that replaces a variable leaves the old text.
    read_order(unsafe { system::environment(VARIABLE) }?)
}

/// Maps the page of this process, if it has one. In the constructor.
pub fn begin() {
    let Some(order) = order() else { return };
    // SAFETY: plain calls.
    let (parent, own) = unsafe { (system::getppid(), system::getpid()) };
    if u64::try_from(parent) != Ok(order.root) {
        return;
    }
    let Some(page) = map(order.path) else { return };
    PROCESS.store(own as u64, Ordering::Relaxed);
    PAGE.store(page, Ordering::Relaxed);
    let writer = Page(page);
    // Another image of the same process may have written here, such as a launcher's.
    writer.clear();
    writer.set(page::PROCESS, own as u64);
    writer.set(page::PYTHON_VERSION, python_version());
    if let Some(file) = allocator::file() {
        writer.text(page::MALLOC_FILE, page::MARKS - page::MALLOC_FILE, file.to_bytes());
    }
    let mut version = [0; page::MALLOC_FILE - page::ALLOCATOR_VERSION];
    let length = allocator::version(&mut version);
    writer.text(page::ALLOCATOR_VERSION, version.len(), &version[..length]);
    writer.set(page::MAGIC_AT, page::MAGIC);
    if order.start.is_some_and(is_own_program) {
        native::use_malloc();
        end(page::end::START);
        native::exit_now(0);
    }
}

/// Whether this process runs the program of that file.
fn is_own_program(file: &[u8]) -> bool {
    let mut own = [0; PATH_BYTES];
    // SAFETY: a C string, and a buffer of that length.
    let length =
        unsafe { system::readlink(c"/proc/self/exe".as_ptr(), own.as_mut_ptr().cast(), own.len()) };
    usize::try_from(length).is_ok_and(|length| own.get(..length) == Some(file))
}

fn map(path: &[u8]) -> Option<*mut u8> {
    let mut text = [0; PATH_BYTES];
    text.get_mut(..path.len()).filter(|_| path.len() < PATH_BYTES)?.copy_from_slice(path);
    // SAFETY: a C string; the descriptor is this function's own; a mapping of a whole file that
    // nobody cuts.
    unsafe {
        let flags = system::O_RDWR | system::O_CLOEXEC;
        let file = system::open(text.as_ptr().cast(), flags, 0);
        if file < 0 {
            return None;
        }
        let page = system::map(page::PAGE_LENGTH, system::MAP_SHARED, file);
        system::close(file);
        (page != system::MAP_FAILED).then_some(page.cast())
    }
}

/// The page, if this is its process.
fn own_page() -> Option<Page> {
    let page = PAGE.load(Ordering::Relaxed);
    // SAFETY: a plain call.
    let own = unsafe { system::getpid() } as u64;
    (!page.is_null() && own == PROCESS.load(Ordering::Relaxed)).then_some(Page(page))
}

/// A mapped page.
struct Page(*mut u8);

impl Page {
    fn clear(&self) {
        // SAFETY: the mapping has this length.
        unsafe { ptr::write_bytes(self.0, 0, page::PAGE_LENGTH) };
    }

    fn set(&self, at: usize, value: u64) {
        // SAFETY: the field lies in the mapping, aligned. The reader is another process.
        unsafe { self.0.add(at).cast::<u64>().write_volatile(value.to_le()) };
    }

    /// Writes a text with a closing zero byte; what does not fit is left out.
    fn text(&self, at: usize, length: usize, text: &[u8]) {
        let fitting = text.len().min(length - 1);
        // SAFETY: the field lies in the mapping.
        unsafe { ptr::copy_nonoverlapping(text.as_ptr(), self.0.add(at), fitting) };
    }
}

/// Writes a mark with what the process holds, and reports the mark at which it shall end.
pub fn mark(name: &[u8]) {
    let Some(page) = own_page() else { return };
    let number = MARKS.fetch_add(1, Ordering::Relaxed);
    if number < page::MARKS_LIMIT as u64 {
        let at = page::MARKS + number as usize * page::MARK_LENGTH;
        let usage = usage();
        page.set(at + mark::TIME, system::monotonic_ns());
        page.set(at + mark::ANONYMOUS, memory().anonymous);
        page.set(at + mark::USER, nanoseconds(usage.user));
        page.set(at + mark::SYSTEM, nanoseconds(usage.system));
        page.set(at + mark::FAULTS, (usage.minor_faults + usage.major_faults) as u64);
        page.text(at + mark::NAME, mark::NAME_LENGTH, name);
        page.set(page::MARK_COUNT, number + 1);
        let is_last = order().and_then(|order| order.until).is_some_and(|until| until == name);
        if is_last {
            look_at_python(&page);
            page.set(page::HIGH_WATER, high_water());
            page.set(page::UNTIL_MARK, number + 1);
        }
    }
}

/// Writes what the process holds at its end. The first end counts: `_exit` may follow destructors.
pub fn end(how: u64) {
    let Some(page) = own_page() else { return };
    let memory = memory();
    look_at_python(&page);
    page.set(page::END_ANONYMOUS, memory.anonymous);
    page.set(page::END_SHARED, memory.shared);
    page.set(page::HIGH_WATER, high_water());
    let usage = usage();
    page.set(page::OWN_PROCESSOR, nanoseconds(usage.user) + nanoseconds(usage.system));
    page.set(page::END, how);
    PAGE.store(ptr::null_mut(), Ordering::Relaxed);
}

fn usage() -> ResourceUsage {
    // SAFETY: plain data, which the call fills.
    unsafe {
        let mut usage: ResourceUsage = core::mem::zeroed();
        getrusage(0, &raw mut usage);
        usage
    }
}

/// Seconds and microseconds as nanoseconds.
fn nanoseconds([seconds, microseconds]: [c_long; 2]) -> u64 {
    seconds as u64 * 1_000_000_000 + microseconds as u64 * 1000
}

/// Resident memory, bytes.
struct Resident {
    anonymous: u64,
    shared: u64,
}

fn memory() -> Resident {
    let mut text = [0; 128];
    let length = system::read_start(c"/proc/self/statm", &mut text);
    let mut numbers = text[..length].split(|byte| !byte.is_ascii_digit()).map(decimal);
    let (all, shared) = (numbers.nth(1).unwrap_or(0), numbers.next().unwrap_or(0));
    let bytes = |pages: u64| pages * system::PAGE_BYTES as u64;
    Resident { anonymous: bytes(all.saturating_sub(shared)), shared: bytes(shared) }
}

/// `VmHWM` of the process, bytes.
fn high_water() -> u64 {
    let mut bytes = 0;
    system::each_line(c"/proc/self/status", |line| {
        if let Some(value) = line.strip_prefix(b"VmHWM:") {
            bytes = 1024 * decimal(value.trim_ascii());
        }
    });
    bytes
}

/// The number at the start of a text.
fn decimal(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |value, digit| value * 10 + u64::from(digit - b'0'))
}

/// The version of CPython in this process, as the page has it.
fn python_version() -> u64 {
    let found = system::symbol(c"Py_GetVersion");
    if found.is_null() {
        return 0;
    }
    // SAFETY: the function has this signature in every CPython, needs no interpreter, and returns a
    // C string such as `3.13.1 (main, …`.
    let version = unsafe {
        let get: unsafe extern "C" fn() -> *const core::ffi::c_char = core::mem::transmute(found);
        CStr::from_ptr(get()).to_bytes()
    };
    let mut parts = version.split(|&byte| byte == b'.').map(decimal);
    parts.next().unwrap_or(0) << 8 | parts.next().unwrap_or(0)
}

/// Writes which allocator serves CPython's object domain.
fn look_at_python(page: &Page) {
    let found = system::symbol(c"PyMem_GetAllocator");
    if found.is_null() {
        return;
    }
    type Get = unsafe extern "C" fn(c_int, *mut PythonAllocator);
    let domain = |number: c_int| {
        let mut table =
            PythonAllocator { context: ptr::null_mut(), functions: [ptr::null_mut(); 4] };
        // SAFETY: the function copies the table of a domain, since 3.4, and needs no interpreter.
        unsafe { core::mem::transmute::<*mut c_void, Get>(found)(number, &raw mut table) };
        table
    };
    // PYMEM_DOMAIN_RAW and PYMEM_DOMAIN_OBJ.
    let (raw, object) = (domain(0), domain(2));
    let is_malloc = raw.functions == object.functions && raw.context == object.context;
    let kind = if is_malloc { python_allocator::MALLOC } else { python_allocator::OWN };
    page.set(page::PYTHON_ALLOCATOR, kind);
}
