//! The cost of the harness, against a loop in C (`floor.c`). `cargo bench` prints the table;
//! docs/method/harness.md explains its lines.
//!
//! All iterations run in one process on one processor, interleaved in a new random order each
//! round. They are timed by the processor time of this thread. Each figure is a median over the
//! rounds, and each ratio is one of medians.
//!
//! `cargo bench -- --short` leaves out the 10^8 events, which take some minutes and 100 MB in the
//! temporary folder.
#![expect(unsafe_code, reason = "calls the yardstick in C, and frees what an iteration leaves")]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fs::{self, File};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use heaplay::program::{self, Instruction, Program};
use heaplay::replay::{
    Clock, Isolated, Nothing, SharedHeap, Slots, Tables, Ticks, free_all, replay,
};
use heaplay::results::{Metric, Run, Scope};
use heaplay::stats::Random;
use heaplay::trace::{self, Distribution, Generator};
use heaplay::{backends, bench};

/// The allocator of heaplay itself, so libc's heap belongs to the backend only.
#[global_allocator]
static HEAP: SharedHeap = SharedHeap::new();

/// The backends whose latencies are measured.
const BACKENDS: [&str; 3] = ["null", "malloc", "pymalloc"];
/// Rounds; each runs every iteration once.
const ROUNDS: usize = 15;
/// Calls of the generated traces that are timed.
const CALLS: u64 = 2_000_000;
/// Events of the trace that is replayed in parts.
const LONG_CALLS: u64 = 100_000_000;
/// The memory for that trace, in MiB.
const LONG_MIB: u64 = 256;

/// The sizes of a trace like the usual ones of yardsticks in C: sizes of Python's objects, and
/// larger blocks in one of 65 requests.
const COMMON_SIZES: &str = "24:380,28:1330,32:1045,40:285,48:1235,56:1045,64:1140,72:760,80:285,\
    88:285,96:190,104:285,112:190,120:190,136:95,152:95,184:95,208:95,232:190,272:95,360:95,416:66,\
    504:57,1-512:300,513-4096:120,4097-262144:30";
/// Its lifetimes: 78 % die young (exponentially, after 24 requests on average); of the others,
/// 100,000 live at a time and die in no order.
const COMMON_LIFETIMES: &str = "1-5:78,6-10:78,11-17:78,18-24:78,25-33:78,34-43:78,44-57:78,\
    58-76:78,77-108:78,109-141:39,142-216:31,217-325:8,326-94000:22,94001-200000:22,\
    200001-319000:22,319001-457000:22,457001-620000:22,620001-820000:22,820001-1080000:22,\
    1080001-1440000:22,1440001-2060000:22,2060001-4100000:22";

/// As the first argument: prints the resident bytes of a program and its slots.
const RESIDENT: &str = "--resident";
/// As the first argument: prints the time to load a trace in a process that has loaded nothing yet,
/// in ns an event.
const FIRST: &str = "--first";

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(FIRST) => return print_first_loading(&arguments.next().expect("a trace")),
        Some(RESIDENT) => return print_resident(&arguments.next().expect("a program's file")),
        _ => {}
    }
    // `cargo test --benches` and `cargo bench` both run this; only the second adds the argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let folder = tempfile::tempdir().expect("make a temporary folder");
    let folder = folder.path();
    stay_on_one_processor();
    let clock = Clock::calibrate();
    print_machine(&clock);
    let yardstick = Yardstick::build(folder);
    let service = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces/service.trace");
    let sound = "a generated trace is sound";
    let traces = [
        ("common", program::compile(&mut common()).expect(sound)),
        ("generated", program::compile(&mut generated()).expect(sound)),
        ("service", compile(&service)),
    ];
    for (name, program) in &traces {
        times(name, program, yardstick.as_ref(), &clock);
    }
    passes(folder, [("common", &mut common()), ("generated", &mut generated())], &service);
    loading(folder, &mut generated());
    if std::env::args().any(|argument| argument == "--short") {
        println!("parts: skipped (--short)");
    } else {
        in_parts(folder);
    }
}

/// See [`FIRST`].
fn print_first_loading(file: &str) {
    SharedHeap::not_measured(); // as in the process that loads traces
    let began = processor_ns();
    let program = compile(Path::new(file));
    println!("{}", (processor_ns() - began) as f64 / program.calls() as f64);
}

/// See [`RESIDENT`].
fn print_resident(file: &str) {
    let mut input = std::io::BufReader::new(File::open(file).expect("the program's file"));
    let before = resident_bytes();
    let program = Program::read(&mut input).expect("a sound program");
    let slots = Slots::new(&program);
    println!("{}", resident_bytes().saturating_sub(before));
    drop((slots, program));
}

fn print_machine(clock: &Clock) {
    let floor = clock.floor();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{ROUNDS} rounds; load {}; clock step {:.1} ns; an empty pair reads {:.1} ns and costs \
         {:.1}\n",
        load.split(' ').next().unwrap_or_default(),
        floor.step_ns,
        floor.pair_ns,
        floor.cost_ns
    );
}

fn generated() -> Generator {
    Generator::new(1, CALLS, Distribution::python_sizes(), Distribution::python_lifetimes())
}

fn common() -> Generator {
    let sizes = Distribution::parse(COMMON_SIZES, 1 << 20).expect("sizes");
    let lifetimes = Distribution::parse(COMMON_LIFETIMES, 1 << 40).expect("lifetimes");
    Generator::new(1, CALLS, sizes, lifetimes)
}

fn compile(path: &Path) -> Program {
    let mut reader = trace::open(path).expect("the trace is there");
    reader.skip_validation(); // as heaplay does
    program::compile(reader.as_mut()).expect("the trace is sound")
}

/// One line of the table.
fn line(trace: &str, what: &str, figure: String, bound: &str) {
    println!("{trace:<10} {what:<46} {figure:>34}   {bound}");
}

/// Binds this thread to one processor.
fn stay_on_one_processor() {
    let mut set = rustix::thread::CpuSet::new();
    if let Some(last) = bench::processors().last() {
        set.set(*last);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
}

fn processor_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A loop over the instructions, on so many slots.
type CLoop = unsafe extern "C" fn(*const Instruction, usize, *mut *mut c_void);

/// The four calls of an allocator: `struct calls`.
#[repr(C)]
struct CCalls {
    malloc: unsafe extern "C" fn(usize) -> *mut c_void,
    calloc: unsafe extern "C" fn(usize, usize) -> *mut c_void,
    realloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
}

/// `floor.c`, compiled and loaded.
struct Yardstick {
    noop: unsafe extern "C" fn(*const Instruction, usize, *mut *mut c_void) -> u64,
    malloc: CLoop,
    calls: unsafe extern "C" fn(*const Instruction, usize, *mut *mut c_void, *const CCalls),
    empty: unsafe extern "C" fn() -> *const CCalls,
    pairs: unsafe extern "C" fn(*const Instruction, usize, *mut *mut c_void, *mut u32) -> i32,
    _library: libloading::Library,
}

impl Yardstick {
    /// `None` without a C compiler; it prints the reason.
    fn build(folder: &Path) -> Option<Yardstick> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/floor.c");
        let library = folder.join("floor.so");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let mut command = Command::new(&compiler);
        command.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
        match command.status() {
            Ok(status) if status.success() => {}
            other => {
                println!("the yardstick in C: skipped ({compiler}: {other:?}; set CC)\n");
                return None;
            }
        }
        // SAFETY: the library is `floor.c`, which has these functions and runs no code when it is
        // loaded.
        unsafe {
            let library = libloading::Library::new(&library).expect("load the yardstick");
            Some(Yardstick {
                noop: *library.get(b"floor_noop").expect("floor_noop"),
                malloc: *library.get(b"floor_malloc").expect("floor_malloc"),
                calls: *library.get(b"floor_calls").expect("floor_calls"),
                empty: *library.get(b"floor_empty").expect("floor_empty"),
                pairs: *library.get(b"floor_pairs").expect("floor_pairs"),
                _library: library,
            })
        }
    }

    /// The iterations of the yardstick: without a call, on libc by name (untimed and timed), on
    /// empty functions, and on the allocators of `tables` by pointer.
    fn iterations<'a>(
        &'a self,
        program: &'a Program,
        tables: Vec<(&str, &'a CCalls)>,
    ) -> Vec<(String, Iteration<'a>)> {
        let mut iterations = vec![
            ("C noop".to_owned(), self.noop(program)),
            ("C malloc".to_owned(), self.malloc(program)),
            ("C empty".to_owned(), self.empty(program)),
            ("C malloc timed".to_owned(), self.malloc_timed(program)),
        ];
        for (name, table) in tables {
            iterations.push((name.to_owned(), self.by_pointer(program, table)));
        }
        iterations
    }

    fn noop<'a>(&'a self, program: &'a Program) -> Iteration<'a> {
        let mut slots = CSlots::of(program);
        Box::new(move || {
            slots.timed(|instructions, calls, slots| {
                // SAFETY: every slot of a program is below `program.slots()`; no call is made.
                black_box(unsafe { (self.noop)(instructions, calls, slots) });
            })
        })
    }

    fn malloc<'a>(&'a self, program: &'a Program) -> Iteration<'a> {
        let mut slots = CSlots::of(program);
        Box::new(move || {
            let ns = slots.timed(|instructions, calls, slots| {
                // SAFETY: as above, and a program ends only blocks that it began.
                unsafe { (self.malloc)(instructions, calls, slots) }
            });
            slots.free_leftovers(libc::free);
            ns
        })
    }

    fn empty<'a>(&'a self, program: &'a Program) -> Iteration<'a> {
        let mut slots = CSlots::of(program);
        Box::new(move || {
            slots.timed(|instructions, calls, slots| {
                // SAFETY: as above; the four functions do nothing.
                unsafe { (self.calls)(instructions, calls, slots, (self.empty)()) }
            })
        })
    }

    fn malloc_timed<'a>(&'a self, program: &'a Program) -> Iteration<'a> {
        let (mut slots, mut ticks) = (CSlots::of(program), vec![1_u32; program.calls()]);
        Box::new(move || {
            let mut has_counter = false;
            let ns = slots.timed(|instructions, calls, slots| {
                // SAFETY: as for malloc; `ticks` has one number for each call.
                let code = unsafe { (self.pairs)(instructions, calls, slots, ticks.as_mut_ptr()) };
                has_counter = code == 1;
            });
            black_box(&ticks);
            slots.free_leftovers(libc::free);
            if has_counter { ns } else { f64::NAN }
        })
    }

    fn by_pointer<'a>(&'a self, program: &'a Program, table: &'a CCalls) -> Iteration<'a> {
        let mut slots = CSlots::of(program);
        Box::new(move || {
            let ns = slots.timed(|instructions, calls, slots| {
                // SAFETY: as for malloc.
                unsafe { (self.calls)(instructions, calls, slots, table) }
            });
            slots.free_leftovers(table.free);
            ns
        })
    }
}

/// The slots of an iteration of the yardstick.
struct CSlots<'a> {
    program: &'a Program,
    slots: Vec<*mut c_void>,
}

impl<'a> CSlots<'a> {
    fn of(program: &'a Program) -> CSlots<'a> {
        CSlots { program, slots: vec![std::ptr::null_mut(); program.slots()] }
    }

    /// Runs a loop over the program's instructions; in ns a call.
    fn timed(&mut self, run: impl FnOnce(*const Instruction, usize, *mut *mut c_void)) -> f64 {
        let (instructions, calls) = (self.program.instructions().as_ptr(), self.program.calls());
        let began = processor_ns();
        run(instructions, calls, self.slots.as_mut_ptr());
        (processor_ns() - began) as f64 / calls as f64
    }

    /// Frees the blocks that the program leaves live.
    fn free_leftovers(&mut self, free: unsafe extern "C" fn(*mut c_void)) {
        let mut live = vec![false; self.slots.len()];
        for instruction in self.program.instructions() {
            live[instruction.slot()] = !(instruction.ends_a_block() && instruction.is_second());
        }
        for (slot, _) in self.slots.iter_mut().zip(live).filter(|(_, is_live)| *is_live) {
            // SAFETY: the slot holds a block of this allocator, and is emptied at once.
            unsafe { free(std::mem::replace(slot, std::ptr::null_mut())) };
        }
    }
}

/// One timed iteration, in ns a call. It then frees its blocks, untimed.
type Iteration<'a> = Box<dyn FnMut() -> f64 + 'a>;

fn open(spec: &str) -> Box<dyn backends::Backend> {
    backends::open(&backends::parse(spec).expect("a backend's spec")).expect("the backend")
}

/// An iteration of heaplay's loop on a backend.
fn ours<'a>(program: &'a Program, backend: &str) -> Iteration<'a> {
    let backend = open(backend);
    let mut slots = Slots::new(program);
    let calls = program.calls();
    Box::new(move || {
        let tables = Tables::new(program, backend.as_ref());
        let began = processor_ns();
        replay(program, &tables, &mut slots, 0..calls, &mut Nothing).expect("memory");
        let ns = (processor_ns() - began) as f64 / calls as f64;
        free_all(program, &tables, &mut slots);
        slots.restart();
        ns
    })
}

/// An iteration of heaplay's latency pass on a backend, with the clock: the mean of its two halves.
fn ours_timed<'a>(program: &'a Program, backend: &str, clock: &'a Clock) -> Iteration<'a> {
    let backend = open(backend);
    let mut slots = Slots::new(program);
    let calls = program.calls();
    Box::new(move || {
        let tables = Tables::new(program, backend.as_ref());
        let mut ns = 0;
        for half in Isolated::BOTH {
            let mut probe = Ticks::new(clock, Isolated::capacity(calls));
            let began = processor_ns();
            probe.replay(program, &tables, &mut slots, 0..calls, half).expect("memory");
            ns += processor_ns() - began;
            free_all(program, &tables, &mut slots);
            slots.restart();
        }
        ns as f64 / calls as f64 / 2.0
    })
}

/// The C library's calls. The linker's table has their addresses.
fn libc_calls() -> CCalls {
    CCalls { malloc: libc::malloc, calloc: libc::calloc, realloc: libc::realloc, free: libc::free }
}

/// A second allocator, where one is compiled in.
#[cfg(feature = "mimalloc")]
fn second_calls() -> Option<(&'static str, CCalls)> {
    use libmimalloc_sys as mi;
    let calls = CCalls {
        malloc: mi::mi_malloc,
        calloc: mi::mi_calloc,
        realloc: mi::mi_realloc,
        free: mi::mi_free,
    };
    Some(("mimalloc", calls))
}

#[cfg(not(feature = "mimalloc"))]
fn second_calls() -> Option<(&'static str, CCalls)> {
    None
}

/// Prints the lines of the loop for one trace.
fn times(trace: &str, program: &Program, yardstick: Option<&Yardstick>, clock: &Clock) {
    let second = second_calls();
    let libc = libc_calls();
    let mut iterations: Vec<(String, Iteration<'_>)> = Vec::new();
    for backend in BACKENDS {
        iterations.push((backend.to_owned(), ours(program, backend)));
        iterations.push((format!("{backend} timed"), ours_timed(program, backend, clock)));
    }
    iterations.push(("malloc again".to_owned(), ours(program, "malloc")));
    if let Some((name, _)) = second {
        iterations.push((name.to_owned(), ours(program, name)));
    }
    if let Some(yardstick) = yardstick {
        let mut tables = vec![("C calls malloc", &libc)];
        tables.extend(second.as_ref().map(|(_, calls)| ("C calls second", calls)));
        iterations.extend(yardstick.iterations(program, tables));
    }
    let medians = Medians::measure(iterations);
    loop_lines(trace, &medians, second.as_ref().map(|(name, _)| *name));
    clock_lines(trace, &medians, clock.floor().cost_ns);
    println!();
}

/// The median time of each iteration over the rounds, in ns a call, by name.
struct Medians(BTreeMap<String, f64>);

impl Medians {
    /// Runs every iteration once a round, in a new random order. The first round is a warm-up.
    fn measure(mut iterations: Vec<(String, Iteration<'_>)>) -> Medians {
        let mut taken: Vec<Vec<f64>> = vec![Vec::new(); iterations.len()];
        let mut order: Vec<usize> = (0..iterations.len()).collect();
        let mut random = Random(1);
        for round in 0..=ROUNDS {
            random.shuffle(&mut order);
            for &iteration in &order {
                let ns = (iterations[iteration].1)();
                if round > 0 {
                    taken[iteration].push(ns);
                }
            }
        }
        let names = iterations.into_iter().map(|(name, _)| name);
        Medians(names.zip(taken.iter_mut().map(|taken| median(taken))).collect())
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// A ratio, as a number and as text.
    fn ratio(&self, above: &str, below: &str) -> Option<(f64, String)> {
        let (above, below) = (self.get(above)?, self.get(below)?);
        Some((above / below, format!("{above:.2} / {below:.2} ns = {:.2}", above / below)))
    }
}

/// The lines of the loop: ratios against the yardstick, and the second allocator against malloc.
fn loop_lines(trace: &str, medians: &Medians, second: Option<&str>) {
    let ratio_line = |what: &str, above: &str, below: &str, bound: &str| {
        if let Some((_, figure)) = medians.ratio(above, below) {
            line(trace, what, figure, bound);
        }
    };
    ratio_line("null / C no-op", "null", "C noop", "at most 1.5");
    ratio_line(
        "null / C calling an empty function by pointer",
        "null",
        "C empty",
        "1, what the call itself costs",
    );
    ratio_line("malloc / C malloc", "malloc", "C malloc", "0.9 to 1.1");
    if let Some(name) = second {
        ratio_line(&format!("{name} / malloc, here"), name, "malloc", "");
        ratio_line(&format!("{name} / malloc, in C"), "C calls second", "C calls malloc", "");
        if let (Some((here, _)), Some((in_c, _))) =
            (medians.ratio(name, "malloc"), medians.ratio("C calls second", "C calls malloc"))
        {
            line(trace, "ratio here / ratio in C", format!("{:.2}", here / in_c), "0.9 to 1.1");
        }
    }
    ratio_line("A/A: malloc / malloc again", "malloc", "malloc again", "0.98 to 1.02");
}

/// The lines of the clock: the cost of a latency pass less the clock pair, which costs `pair_ns`.
fn clock_lines(trace: &str, medians: &Medians, pair_ns: f64) {
    let figure =
        |cost_ns: f64| format!("{cost_ns:.1} - {pair_ns:.1} = {:.1} ns", cost_ns - pair_ns);
    for backend in BACKENDS {
        let timed = medians.get(&format!("{backend} timed"));
        let (Some(time), Some(half)) = (medians.get(backend), timed) else { continue };
        line(
            trace,
            &format!("{backend}: a latency pass's cost - clock pair"),
            figure(half - time),
            "at most 5 ns",
        );
        // Every second call is isolated.
        line(
            trace,
            &format!("{backend}: of an isolated call, cost - clock pair"),
            figure(2.0 * (half - time)),
            "what fences take away",
        );
    }
    // The same pair around the same calls in C shows the share of the fences.
    if let (Some(timed), Some(time)) = (medians.get("C malloc timed"), medians.get("C malloc")) {
        line(
            trace,
            "C malloc: a fenced pair's cost - clock pair",
            figure(timed - time),
            "what fences cost in C too",
        );
    }
}

/// Prints the lines of heaplay's own passes, as a user runs them: the means of the latency pass
/// against the time pass. The figures are medians over repetitions.
fn passes(folder: &Path, generated: [(&str, &mut Generator); 2], service: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heaplay"));
    command.arg("run").arg(service);
    for (name, generator) in generated {
        let path = folder.join(format!("{name}.trace"));
        trace::copy(generator, &path).expect("write a trace");
        command.arg(path);
    }
    let out = folder.join("passes");
    command.args([
        "--backends",
        &BACKENDS.join(","),
        "--passes",
        "time,latency",
        "--repetitions",
        "7",
    ]);
    let output = command.args(["--jobs", "1", "--out"]).arg(&out).output().expect("start heaplay");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run = Run::load(&out).expect("a run");
    for trace in &run.manifest.traces {
        for backend in BACKENDS {
            let middle =
                |metric: Metric| median(&mut run.values(&trace.name, backend, Scope::All, metric));
            let time = middle(Metric::TimeNanoseconds) / trace.calls as f64;
            let ratio_line = |what: &str, metric: Metric, bound: &str| {
                let mean = middle(metric);
                let figure = format!("{mean:.1} / {time:.1} ns = {:.2}", mean / time);
                line(&trace.name, &format!("{backend}: {what} / time"), figure, bound);
            };
            ratio_line("latency's mean", Metric::LatencyBackToBackNanoseconds, "0.9 to 1.1");
            ratio_line(
                "an isolated call",
                Metric::LatencyIsolatedNanoseconds,
                "what fences keep from overlapping",
            );
        }
    }
    println!();
}

/// Resident bytes of this process, of all kinds.
fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Prints the lines of loading a trace.
fn loading(folder: &Path, reader: &mut Generator) {
    let binary = folder.join("loaded.trace");
    let text = folder.join("loaded.csv");
    trace::copy(reader, &binary).expect("write a trace");
    trace::copy(trace::open(&binary).expect("the trace").as_mut(), &text).expect("write a CSV");
    let service = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces/service.trace");
    let service_text = folder.join("service.csv");
    trace::copy(trace::open(&service).expect("the trace").as_mut(), &service_text)
        .expect("write a CSV");
    for (name, path, bound) in [
        ("generated", &binary, "binary: at most 10"),
        ("service", &service, "binary: at most 10"),
        ("generated", &text, "CSV: at most 120"),
        ("service", &service_text, "CSV: at most 120"),
    ] {
        let mut taken: Vec<f64> = (0..5)
            .map(|_| {
                let began = processor_ns();
                let program = compile(path);
                (processor_ns() - began) as f64 / program.calls() as f64
            })
            .collect();
        line(name, "loading, ns an event", format!("{:.1} ns", median(&mut taken)), bound);
        let mut first: Vec<f64> = (0..5).map(|_| figure_of_own(FIRST, path)).collect();
        line(
            name,
            "the same, the first in its process",
            format!("{:.1} ns", median(&mut first)),
            "",
        );
    }
    // The file that a child reads and proves.
    let program = compile(&service);
    let mut written = Vec::new();
    program.write(&mut written).expect("memory");
    let mut taken: Vec<f64> = (0..5)
        .map(|_| {
            let began = processor_ns();
            let again = Program::read(&mut written.as_slice()).expect("a sound program");
            (processor_ns() - began) as f64 / again.calls() as f64
        })
        .collect();
    line(
        "service",
        "a child reads and proves, ns an event",
        format!("{:.1} ns", median(&mut taken)),
        "",
    );
    // In a process of its own, which cannot reuse memory of this one.
    let file = folder.join("program");
    fs::write(&file, &written).expect("write the program");
    let bytes = figure_of_own(RESIDENT, &file);
    let expected = 8 * (program.calls() + program.slots()) as u64;
    let figure = format!("{bytes} / {expected} B = {:.3}", bytes / expected as f64);
    line("service", "resident / (8 an event + 8 a slot)", figure, "1, and a few pages");
    println!();
}

/// One figure of a file, from a new process of this program. `figure` is its first argument.
fn figure_of_own(figure: &str, file: &Path) -> f64 {
    let own = std::env::current_exe().expect("this program");
    let output = Command::new(own).arg(figure).arg(file).output().expect("start this program");
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(f64::NAN)
}

/// A process and all its descendants, by number.
fn family(process: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<u32> = children
        .flat_map(|list| list.split(' ').filter_map(|child| child.parse().ok()).collect::<Vec<_>>())
        .collect();
    std::iter::once(process).chain(children.into_iter().flat_map(family)).collect()
}

/// Waits for a child, and reads the memory of it and its descendants 50 times a second. Returns its
/// status, the most of a single process, and the most of all together, in MiB.
fn watched(mut child: Child) -> (ExitStatus, f64, f64) {
    let (mut largest, mut together) = (0_u64, 0);
    loop {
        if let Some(status) = child.try_wait().expect("wait for a child") {
            return (status, largest as f64 / 1024.0, together as f64 / 1024.0);
        }
        let mut all = 0;
        for process in family(child.id()) {
            let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
            let kib = |name: &str| -> u64 {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
            };
            largest = largest.max(kib("VmHWM:"));
            all += kib("VmRSS:");
        }
        together = together.max(all);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Prints the lines of a replay in parts: 10^8 events under a memory limit, by heaplay itself.
fn in_parts(folder: &Path) {
    let heaplay = env!("CARGO_BIN_EXE_heaplay");
    let (long, short): (PathBuf, PathBuf) = (folder.join("long.trace"), folder.join("short.trace"));
    let generate = |path: &Path, calls: u64| {
        let status = Command::new(heaplay)
            .arg("generate")
            .arg(path)
            .args(["--calls", &calls.to_string()])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "generate a trace of {calls} calls");
    };
    let run = |path: &Path, limit: &str, out: &str| {
        let out = folder.join(out);
        let log = File::create(folder.join("log")).expect("a log");
        let began = Instant::now();
        let child = Command::new(heaplay)
            .arg("run")
            .arg(path)
            .args(["--backends", "malloc", "--repetitions", "3", "--memory-limit", limit, "--out"])
            .arg(&out)
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        let (status, largest, together) = watched(child.expect("start heaplay"));
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(status.success(), "run {}: {log}", path.display());
        assert!(log.contains("replayed in parts") == (limit != "8GiB"), "{log}");
        let record = heaplay::results::Run::load(&out).expect("the run");
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let value = |metric| {
            record.values(&name, "malloc", Scope::All, metric).first().copied().unwrap_or(f64::NAN)
        };
        let ns = value(Metric::TimeNanoseconds) / value(Metric::Calls);
        (ns, began.elapsed().as_secs_f64(), largest, together)
    };
    // The same trace whole and in parts shows the cost of parts.
    generate(&short, 8_000_000);
    let (mut whole, mut parts): (Vec<f64>, Vec<f64>) = (vec![], vec![]);
    for round in 0..3 {
        parts.push(run(&short, "32MiB", &format!("parts-{round}")).0);
        whole.push(run(&short, "8GiB", &format!("whole-{round}")).0);
    }
    let (whole, parts) = (median(&mut whole), median(&mut parts));
    line(
        "8·10^6",
        "time in parts / whole",
        format!("{parts:.2} / {whole:.2} ns = {:.2}", parts / whole),
        "",
    );
    generate(&long, LONG_CALLS);
    let (ns, seconds, largest, together) = run(&long, &format!("{LONG_MIB}MiB"), "long");
    let figure = format!("{ns:.1} ns a call, {seconds:.0} s");
    line("10^8", "time, latency and footprint passes in parts", figure, "");
    let figure = format!("{largest:.0} MiB, {together:.0} MiB");
    line("10^8", "largest process; all at once", figure, &format!("under {LONG_MIB} MiB"));
}
