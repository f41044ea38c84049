//! `pymalloc` against the allocator inside each libpython of this machine.
//!
//! Both get the same requests in lockstep. Their arenas come from hooks: the n-th arena of each
//! side lies at the same place of a range of its own. So an address says which arena (by birth) and
//! which offset it is. After every event the test compares the address, the births and deaths of
//! arenas, and the calls that reached the layer below, by op and size. Those calls are requests
//! that pools do not serve, the table of arenas, and the nodes of the radix tree. At the end it
//! compares the statistics by size class with those that the interpreter prints.
//!
//! Each comparison runs in a child (this program again), where CPython's allocator is as new as in
//! a starting interpreter. Until 3.11 its functions work without `Py_Initialize`. From 3.12 on the
//! test fetches the functions first, and then initialises the interpreter on plain malloc, which
//! leaves the pools untouched.
//!
//! `HEAPLAY_ORACLE_EVENTS` sets the events of each run (default 1,000,000).
#![expect(unsafe_code, reason = "calls into libpython, and implements allocator hooks")]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::path::Path;
use std::process::Command;
use std::ptr;

use heaplay::backends::pymalloc::{
    ArenaSource, ArenaStatistics as Statistics, Cpython37, Cpython38, Cpython39, Cpython310,
    Cpython311, Layout, Pymalloc,
};
use heaplay::backends::{Allocator, Backend, open, parse};
use heaplay::trace::Domain;

use crate::support::arena_hooks::{Bases, Hooked, Watch};
use crate::support::process::{errors, finish, printed};
use crate::support::waves::{Event, Waves};
use crate::support::{child, interpreters, libraries};

const DOMAIN_RAW: c_int = 0;
const DOMAIN_OBJ: c_int = 2;

/// The allocator of a libpython, with our hooks below it.
struct Real {
    library: libloading::Library,
    table: Allocator,
    version: (u32, u32),
}

impl Real {
    fn load(path: &OsStr, watch: &'static Watch) -> Real {
        // SAFETY: CPython's documented functions with their documented signatures.
        unsafe {
            let library = libloading::Library::new(path).expect("libpython loads");
            let version = {
                let version: libloading::Symbol<unsafe extern "C" fn() -> *const c_char> =
                    library.get(b"Py_GetVersion").unwrap();
                parse_version(CStr::from_ptr(version()).to_str().unwrap())
            };
            let mut table = watch.raw();
            library
                .get::<unsafe extern "C" fn(c_int, *mut Allocator)>(b"PyMem_GetAllocator")
                .unwrap()(DOMAIN_OBJ, &mut table);
            if version.0 >= 12 {
                // PYTHONMALLOC=malloc is set, so the pools stay as they are.
                library.get::<unsafe extern "C" fn(c_int)>(b"Py_InitializeEx").unwrap()(0);
            }
            let mut arenas = watch.arenas();
            library
                .get::<unsafe extern "C" fn(*mut ArenaSource)>(b"PyObject_SetArenaAllocator")
                .unwrap()(&mut arenas);
            let real = Real { library, table, version };
            real.set_allocator(DOMAIN_RAW, watch.raw());
            real
        }
    }

    fn set_allocator(&self, domain: c_int, mut table: Allocator) {
        // SAFETY: as in load.
        unsafe {
            let set = self
                .library
                .get::<unsafe extern "C" fn(c_int, *mut Allocator)>(b"PyMem_SetAllocator");
            set.unwrap()(domain, &mut table);
        }
    }

    /// The statistics that the interpreter prints of its pools.
    fn statistics(&self) -> PoolFigures {
        // It prints only while its own functions are set.
        self.set_allocator(DOMAIN_OBJ, self.table);
        // SAFETY: a temporary file of libc, read back from its start.
        let text = unsafe {
            let file = libc::tmpfile();
            assert!(!file.is_null());
            let print = self.library.get::<unsafe extern "C" fn(*mut libc::FILE) -> c_int>(
                b"_PyObject_DebugMallocStats",
            );
            print.unwrap()(file);
            libc::rewind(file);
            let mut bytes = vec![0u8; 1 << 16];
            let read = libc::fread(bytes.as_mut_ptr().cast(), 1, bytes.len(), file);
            bytes.truncate(read);
            String::from_utf8(bytes).unwrap()
        };
        PoolFigures::parse(&text)
    }
}

fn parse_version(text: &str) -> (u32, u32) {
    let number = text.split([' ', '+']).next().unwrap();
    let mut parts = number.split('.').skip(1).map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap())
}

/// The figures of `sys._debugmallocstats`: size, pools, live and free blocks of each class in use,
/// and the totals.
#[derive(Debug, PartialEq, Eq)]
struct PoolFigures {
    classes: Vec<[u64; 4]>,
    totals: Vec<(String, u64)>,
}

/// A label in the interpreter's print, and the same figure of ours.
type Total = (&'static str, fn(&Statistics) -> u64);

const TOTALS: [Total; 10] = [
    ("arenas allocated total", |s| s.arenas_total),
    ("arenas reclaimed", |s| s.arenas_total - s.arenas_end),
    ("arenas highwater mark", |s| s.arenas_peak),
    ("arenas allocated current", |s| s.arenas_end),
    ("bytes in allocated blocks", |s| s.allocated_bytes),
    ("bytes in available blocks", |s| s.available_bytes),
    ("unused pools", |s| s.unused_pool_bytes),
    ("bytes lost to pool headers", |s| s.pool_header_bytes),
    ("bytes lost to quantization", |s| s.quantization_bytes),
    ("bytes lost to arena alignment", |s| s.arena_alignment_bytes),
];

impl PoolFigures {
    fn parse(text: &str) -> PoolFigures {
        let number = |text: &str| text.replace(',', "").parse::<u64>().ok();
        let row = |line: &str| {
            let numbers: Vec<u64> = line.split_whitespace().map_while(number).collect();
            (numbers.len() == 5 && line.split_whitespace().count() == 5)
                .then(|| [numbers[1], numbers[2], numbers[3], numbers[4]])
        };
        let total = |(label, _): &Total| {
            let line = text.lines().find(|line| line.contains(label) && line.contains('='));
            let line = line.unwrap_or_else(|| panic!("no line `{label}` in\n{text}"));
            ((*label).to_owned(), number(line.rsplit('=').next().unwrap().trim()).unwrap())
        };
        PoolFigures {
            classes: text.lines().filter_map(row).collect(),
            totals: TOTALS.iter().map(total).collect(),
        }
    }

    fn of(ours: &Statistics) -> PoolFigures {
        let used = ours.classes.iter().filter(|class| class.pools > 0);
        PoolFigures {
            classes: used.map(|class| [class.size, class.pools, class.live, class.free]).collect(),
            totals: TOTALS
                .iter()
                .map(|(label, value)| ((*label).to_owned(), value(ours)))
                .collect(),
        }
    }
}

/// Both addresses of a live block.
#[derive(Clone, Copy)]
struct BlockPair {
    real: *mut c_void,
    ours: *mut c_void,
}

struct BothHeaps<L: Layout> {
    real: Real,
    ours: Pymalloc<L>,
    table: Allocator,
    watches: [&'static Watch; 2],
    live: Vec<BlockPair>,
    event: usize,
}

impl<L: Layout> BothHeaps<L> {
    fn compare(&self, what: Event, pair: BlockPair) {
        let places = [self.watches[0].place(pair.real), self.watches[1].place(pair.ours)];
        let logs = [self.watches[0].log.borrow(), self.watches[1].log.borrow()];
        if places[0] != places[1] || *logs[0] != *logs[1] {
            panic!(
                "event {}: {what:?}: real {:?} with {:?} below, ours {:?} with {:?}",
                self.event, places[0], logs[0], places[1], logs[1]
            );
        }
        drop(logs);
        for watch in self.watches {
            watch.log.borrow_mut().clear();
        }
    }

    fn both(&self, call: impl Fn(&Allocator, bool) -> *mut c_void) -> BlockPair {
        BlockPair { real: call(&self.real.table, true), ours: call(&self.table, false) }
    }

    fn step(&mut self, event: Event) {
        // SAFETY: the tables' own contexts; blocks are live on both sides.
        let pair = unsafe {
            match event {
                Event::Malloc(size) => self.both(|t, _| (t.malloc)(t.ctx, size)),
                Event::Calloc(n, size) => self.both(|t, _| (t.calloc)(t.ctx, n, size)),
                Event::ReallocNull(size) => {
                    self.both(|t, _| (t.realloc)(t.ctx, ptr::null_mut(), size))
                }
                Event::Realloc(at, size) => {
                    let old = self.live.swap_remove(at);
                    self.both(|t, real| {
                        (t.realloc)(t.ctx, if real { old.real } else { old.ours }, size)
                    })
                }
                Event::Free(at) => {
                    let old = self.live.swap_remove(at);
                    (self.real.table.free)(self.real.table.ctx, old.real);
                    (self.table.free)(self.table.ctx, old.ours);
                    return self.compare(
                        event,
                        BlockPair { real: ptr::null_mut(), ours: ptr::null_mut() },
                    );
                }
                Event::FreeNull => {
                    (self.real.table.free)(self.real.table.ctx, ptr::null_mut());
                    (self.table.free)(self.table.ctx, ptr::null_mut());
                    return self.compare(
                        event,
                        BlockPair { real: ptr::null_mut(), ours: ptr::null_mut() },
                    );
                }
            }
        };
        self.compare(event, pair);
        self.live.push(pair);
    }
}

fn run<L: Layout + Default>(
    real: Real,
    watches: [&'static Watch; 2],
    events: usize,
    seed: u64,
) -> String {
    // SAFETY: the hooks give memory of the watch's own range.
    let ours = unsafe {
        Pymalloc::new(Box::new(Hooked(watches[1])), watches[1].arenas(), L::default()).unwrap()
    };
    let table = *ours.domains().get(Domain::Obj);
    let mut both = BothHeaps { real, ours, table, watches, live: Vec::new(), event: 0 };
    let mut waves = Waves::new(seed);
    while both.event < events {
        let event = waves.next(both.live.len());
        both.step(event);
        both.event += 1;
        if both.event.is_multiple_of(250_000) || both.event == events {
            both.ours.check().unwrap_or_else(|why| panic!("event {}: {why}", both.event));
            assert_eq!(
                both.real.statistics(),
                PoolFigures::of(&both.ours.statistics()),
                "event {}",
                both.event
            );
            // The interpreter may have used its raw domain to print.
            watches[0].log.borrow_mut().clear();
        }
    }
    let statistics = both.ours.statistics();
    let report = format!(
        "{events} events, {} arenas born, {} died, at most {} at once: same",
        statistics.arenas_total,
        statistics.arenas_total - statistics.arenas_end,
        statistics.arenas_peak
    );
    // CPython's allocator uses its hooks until the process ends.
    std::mem::forget(both);
    report
}

/// The tests below run this in a process of its own.
#[test]
#[ignore = "the child of the tests below"]
fn child() {
    let Some(library) = std::env::var_os("HEAPLAY_ORACLE_LIBRARY") else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let bases = Bases::ALL[number("HEAPLAY_ORACLE_BASES")];
    let (events, seed) = (number("HEAPLAY_ORACLE_EVENTS"), number("HEAPLAY_ORACLE_SEED") as u64);
    let watches = [Watch::new(bases), Watch::new(bases)];
    let real = Real::load(&library, watches[0]);
    let version = real.version;
    let report = match version {
        (7, 4..) => run::<Cpython37>(real, watches, events, seed),
        (8, _) => run::<Cpython38>(real, watches, events, seed),
        (9, _) => run::<Cpython39>(real, watches, events, seed),
        (10, _) => run::<Cpython310>(real, watches, events, seed),
        (11..=15, _) => run::<Cpython311>(real, watches, events, seed),
        other => panic!("no rules for 3.{}.{} here", other.0, other.1),
    };
    println!("\n== 3.{}.{}, bases {}, seed {seed}: {report}", version.0, version.1, bases.name());
    // The interpreter does not finalise: it would call our hooks.
    // SAFETY: ends the process.
    unsafe {
        use std::io::Write;
        std::io::stdout().flush().unwrap();
        libc::_exit(0);
    }
}

fn compare_in_child(library: &Path, bases: usize, events: &str, seed: u64) {
    let home = library.parent().and_then(Path::parent).unwrap_or(Path::new("/usr"));
    let mut child = child::of(module_path!(), "child");
    child.arg("--ignored");
    child.env("HEAPLAY_ORACLE_LIBRARY", library).env("HEAPLAY_ORACLE_BASES", bases.to_string());
    child.env("HEAPLAY_ORACLE_EVENTS", events).env("HEAPLAY_ORACLE_SEED", seed.to_string());
    child.env("PYTHONMALLOC", "malloc");
    // A library of the system finds its home by itself.
    if home.join("bin").is_dir() && !home.starts_with("/usr") && !home.starts_with("/lib") {
        child.env("PYTHONHOME", home);
    }
    let ended = finish(&mut child);
    let text = printed(&ended);
    let report = text.lines().find(|line| line.starts_with("== "));
    assert!(
        ended.status.success() && report.is_some(),
        "{}, bases {}: {}\n{text}\n{}",
        library.display(),
        Bases::ALL[bases].name(),
        ended.status,
        errors(&ended)
    );
    println!("{} ({})", report.unwrap_or_default(), library.display());
}

fn compare_version(minor: u32) {
    let events = std::env::var("HEAPLAY_ORACLE_EVENTS").unwrap_or_else(|_| "1000000".to_owned());
    for library in libraries::libpythons(minor) {
        for bases in 0..Bases::ALL.len() {
            compare_in_child(
                &library,
                bases,
                &events,
                20_000 + u64::from(minor) * 10 + bases as u64,
            );
        }
    }
}

macro_rules! same_addresses_as_the_real_allocator {
    ($($name:ident: $minor:expr,)*) => {
        $(#[test]
        fn $name() {
            compare_version($minor);
        })*
    };
}

// 3.6 is missing. Builds of 3.6.15 are patched to 16-byte blocks, so they prove nothing for blocks
// of 8 bytes.
same_addresses_as_the_real_allocator! {
    same_addresses_as_3_7: 7,
    same_addresses_as_3_8: 8,
    same_addresses_as_3_9: 9,
    same_addresses_as_3_10: 10,
    same_addresses_as_3_11: 11,
    same_addresses_as_3_12: 12,
    same_addresses_as_3_13: 13,
    same_addresses_as_3_14: 14,
    same_addresses_as_3_15: 15,
}

/// Prints whether the mapping of a live object has the flag of `madvise(MADV_HUGEPAGE)`, after the
/// interpreter's pools have grown by many arenas.
const HUGE_PAGE_FLAG: &str = r"
import re, sys
keep = [b'x%04d' % n for n in range(200000)]
at, flags = id(keep[-1]), None
for line in open('/proc/self/smaps'):
    span = re.match('([0-9a-f]+)-([0-9a-f]+) ', line)
    if span:
        inside = int(span.group(1), 16) <= at < int(span.group(2), 16)
    elif inside and line.startswith('VmFlags'):
        flags = line.split()
print('hg' in flags)
";

/// The pymalloc of each version requests huge pages where the interpreter of that version does.
#[test]
fn arenas_request_huge_pages_as_the_interpreter_does() {
    for (minor, python) in interpreters::find_of(7..=15) {
        let output = finish(Command::new(&python).args(["-I", "-S", "-c", HUGE_PAGE_FLAG]));
        let real = printed(&output).trim() == "True";
        assert!(output.status.success(), "3.{minor}: {}", errors(&output));
        for bases in ["", ":bases=kernel", ":bases=aligned"] {
            let spec = format!("pymalloc@3.{minor}{bases}");
            assert_eq!(has_huge_page_flag(&spec), real, "{spec}");
        }
        assert!(!has_huge_page_flag(&format!("pymalloc@3.{minor}:hugepages=none")));
        assert!(has_huge_page_flag(&format!("pymalloc@3.{minor}:hugepages=madvise")));
    }
}

/// Whether the arena of a new block of that backend has the flag of `madvise(MADV_HUGEPAGE)`.
fn has_huge_page_flag(spec: &str) -> bool {
    let backend = open(&parse(spec).unwrap()).unwrap();
    let table = *backend.domains().get(Domain::Obj);
    // SAFETY: the table's own context; the block is freed once.
    let (block, smaps) = unsafe {
        let block = (table.malloc)(table.ctx, 100);
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        (table.free)(table.ctx, block);
        (block.addr(), smaps)
    };
    let number = |text: &str| usize::from_str_radix(text, 16).ok();
    let mut is_inside = false;
    for line in smaps.lines() {
        let span = line.split(' ').next().and_then(|span| span.split_once('-'));
        if let Some((start, end)) = span.and_then(|(a, b)| Some((number(a)?, number(b)?))) {
            is_inside = (start..end).contains(&block);
        } else if is_inside && line.starts_with("VmFlags") {
            return line.split(' ').any(|flag| flag == "hg");
        }
    }
    panic!("{spec}: no mapping has the block");
}
