//! What the harness itself costs, against a loop in C (`floor.c`): `cargo bench` prints the table,
//! docs/method/harness.md explains it. All in one run: what is compared takes turns in an order
//! drawn anew each round, on one processor, by the processor time of this thread; each figure is a
//! median over the rounds, each ratio one of medians.
//!
//! `cargo bench -- --short` leaves out the 10^8 events (some minutes, 100 MB in the temporary
//! folder).
#![expect(unsafe_code, reason = "calls the yardstick in C, and frees what an iteration leaves")]

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

/// As in heaplay itself, so that libc's heap is the backend's alone.
#[global_allocator]
static HEAP: SharedHeap = SharedHeap::new();

/// Those whose latencies are looked at.
const BACKENDS: [&str; 3] = ["null", "malloc", "pymalloc"];
/// Rounds of turns.
const ROUNDS: usize = 15;
/// Calls of the generated trace that is timed.
const CALLS: u64 = 2_000_000;
/// Events of the trace that is replayed in parts, and the memory for it.
const LONG_CALLS: u64 = 100_000_000;
const LONG_MIB: u64 = 256;

/// A trace like the ones that yardsticks in C are usually run on: sizes of Python's objects, and of
/// larger blocks one in 65; 78 % die young (exponentially, 24 requests on average), of the others
/// 100,000 live at a time and die in no order.
const COMMON_SIZES: &str = "24:380,28:1330,32:1045,40:285,48:1235,56:1045,64:1140,72:760,80:285,88:285,96:190,\
    104:285,112:190,120:190,136:95,152:95,184:95,208:95,232:190,272:95,360:95,416:66,504:57,1-512:300,\
    513-4096:120,4097-262144:30";
const COMMON_LIFETIMES: &str = "1-5:78,6-10:78,11-17:78,18-24:78,25-33:78,34-43:78,44-57:78,58-76:78,77-108:78,\
    109-141:39,142-216:31,217-325:8,326-94000:22,94001-200000:22,200001-319000:22,319001-457000:22,\
    457001-620000:22,620001-820000:22,820001-1080000:22,1080001-1440000:22,1440001-2060000:22,2060001-4100000:22";

/// As the first argument: prints what a program and its slots take in memory.
const RESIDENT: &str = "--resident";
/// As the first argument: prints what it takes to load a trace in a process that has loaded nothing
/// yet, in ns an event.
const FIRST: &str = "--first";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let asked = arguments.next();
    if asked.as_deref() == Some(FIRST) {
        let file = arguments.next().expect("a trace");
        SharedHeap::not_measured(); // as in the process that loads traces
        let began = processor_ns();
        let program = compile(Path::new(&file));
        println!("{}", (processor_ns() - began) as f64 / program.calls() as f64);
        return;
    }
    if asked.as_deref() == Some(RESIDENT) {
        let file = arguments.next().expect("a program's file");
        let mut input = std::io::BufReader::new(File::open(file).expect("the program's file"));
        let before = resident_bytes();
        let program = Program::read(&mut input).expect("a sound program");
        let slots = Slots::new(&program);
        println!("{}", resident_bytes().saturating_sub(before));
        drop((slots, program));
        return;
    }
    // `cargo test --benches` and `cargo bench` both run this; only the second says so.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let folder = std::env::temp_dir().join(format!("heaplay-floor-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("make a temporary folder");
    pin();
    let clock = Clock::calibrate();
    let floor = clock.floor();
    println!(
        "{} rounds; load {}; clock step {:.1} ns; an empty pair reads {:.1} ns and costs {:.1}\n",
        ROUNDS,
        fs::read_to_string("/proc/loadavg")
            .unwrap_or_default()
            .split(' ')
            .next()
            .unwrap_or_default(),
        floor.step_ns,
        floor.pair_ns,
        floor.cost_ns
    );
    let yardstick = Yardstick::build(&folder);
    let generated =
        || Generator::new(1, CALLS, Distribution::python_sizes(), Distribution::python_lifetimes());
    let service = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces/service.trace");
    let common = || {
        let sizes = Distribution::parse(COMMON_SIZES, 1 << 20).expect("sizes");
        let lifetimes = Distribution::parse(COMMON_LIFETIMES, 1 << 40).expect("lifetimes");
        Generator::new(1, CALLS, sizes, lifetimes)
    };
    let traces = [
        ("common", program::compile(&mut common()).expect("a generated trace is sound")),
        ("generated", program::compile(&mut generated()).expect("a generated trace is sound")),
        ("service", compile(&service)),
    ];
    for (name, program) in &traces {
        times(name, program, yardstick.as_ref(), &clock);
    }
    passes(&folder, [("common", &mut common()), ("generated", &mut generated())], &service);
    loading(&folder, &mut generated());
    if std::env::args().any(|argument| argument == "--short") {
        println!("parts: skipped (--short)");
    } else {
        in_parts(&folder);
    }
    let _ = fs::remove_dir_all(&folder);
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

/// This thread stays on one processor.
fn pin() {
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

type Simple = unsafe extern "C" fn(*const Instruction, usize, *mut *mut c_void);

/// The four calls of `struct calls`.
#[repr(C)]
struct Calls {
    malloc: unsafe extern "C" fn(usize) -> *mut c_void,
    calloc: unsafe extern "C" fn(usize, usize) -> *mut c_void,
    realloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
}

/// `floor.c`, compiled and loaded.
struct Yardstick {
    noop: unsafe extern "C" fn(*const Instruction, usize, *mut *mut c_void) -> u64,
    malloc: Simple,
    calls: unsafe extern "C" fn(*const Instruction, usize, *mut *mut c_void, *const Calls),
    empty: unsafe extern "C" fn() -> *const Calls,
    pairs: unsafe extern "C" fn(*const Instruction, usize, *mut *mut c_void, *mut u32) -> i32,
    _library: libloading::Library,
}

impl Yardstick {
    /// `None`, with a line that says why, where there is no C compiler.
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
        // SAFETY: the library is `floor.c`, which has these functions and runs nothing when it is
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
}

/// An iteration that is timed, then tidied up; in ns a call.
type Iteration<'a> = Box<dyn FnMut() -> f64 + 'a>;

/// Frees the blocks that an iteration of the yardstick leaves.
fn free_left(
    program: &Program,
    slots: &mut [*mut c_void],
    free: unsafe extern "C" fn(*mut c_void),
) {
    let mut live = vec![false; slots.len()];
    for instruction in program.instructions() {
        live[instruction.slot()] = !(instruction.ends_a_block() && instruction.is_second());
    }
    for (slot, _) in slots.iter_mut().zip(live).filter(|(_, live)| *live) {
        // SAFETY: the slot holds a block of this allocator, which is forgotten at once.
        unsafe { free(std::mem::replace(slot, std::ptr::null_mut())) };
    }
}

/// An iteration of heaplay's loop on a backend.
fn ours<'a>(program: &'a Program, backend: &str) -> Iteration<'a> {
    let backend =
        backends::open(&backends::parse(backend).expect("a backend's word")).expect("the backend");
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

/// What a call takes in one of the two halves of a latency pass, the clock with it; the mean of
/// both.
fn ours_timed<'a>(program: &'a Program, backend: &str, clock: &'a Clock) -> Iteration<'a> {
    let backend =
        backends::open(&backends::parse(backend).expect("a backend's word")).expect("the backend");
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

/// The C library's, whose reference count the linker keeps.
fn libc_calls() -> Calls {
    Calls { malloc: libc::malloc, calloc: libc::calloc, realloc: libc::realloc, free: libc::free }
}

/// A second allocator, where one is compiled in.
#[cfg(feature = "mimalloc")]
fn second_calls() -> Option<(&'static str, Calls)> {
    use libmimalloc_sys as mi;
    let calls = Calls {
        malloc: mi::mi_malloc,
        calloc: mi::mi_calloc,
        realloc: mi::mi_realloc,
        free: mi::mi_free,
    };
    Some(("mimalloc", calls))
}

#[cfg(not(feature = "mimalloc"))]
fn second_calls() -> Option<(&'static str, Calls)> {
    None
}

fn times(trace: &str, program: &Program, yardstick: Option<&Yardstick>, clock: &Clock) {
    let instructions = program.instructions();
    let calls = instructions.len();
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
        let mut slots = vec![std::ptr::null_mut(); program.slots()];
        iterations.push((
            "C noop".to_owned(),
            Box::new(move || {
                let began = processor_ns();
                // SAFETY: every slot of a program is below `program.slots()`; nothing is called.
                black_box(unsafe {
                    (yardstick.noop)(instructions.as_ptr(), calls, slots.as_mut_ptr())
                });
                (processor_ns() - began) as f64 / calls as f64
            }),
        ));
        let mut slots = vec![std::ptr::null_mut(); program.slots()];
        iterations.push((
            "C malloc".to_owned(),
            Box::new(move || {
                let began = processor_ns();
                // SAFETY: as above, and a program ends only blocks that it began.
                unsafe { (yardstick.malloc)(instructions.as_ptr(), calls, slots.as_mut_ptr()) };
                let ns = (processor_ns() - began) as f64 / calls as f64;
                free_left(program, &mut slots, libc::free);
                ns
            }),
        ));
        let mut slots = vec![std::ptr::null_mut(); program.slots()];
        iterations.push((
            "C empty".to_owned(),
            Box::new(move || {
                let began = processor_ns();
                // SAFETY: as above; the four functions do nothing.
                unsafe {
                    let empty = (yardstick.empty)();
                    (yardstick.calls)(instructions.as_ptr(), calls, slots.as_mut_ptr(), empty);
                }
                (processor_ns() - began) as f64 / calls as f64
            }),
        ));
        let (mut slots, mut ticks) =
            (vec![std::ptr::null_mut(); program.slots()], vec![1_u32; calls]);
        iterations.push((
            "C malloc timed".to_owned(),
            Box::new(move || {
                let began = processor_ns();
                // SAFETY: as for malloc; there is a place for the ticks of each call.
                let could = unsafe {
                    (yardstick.pairs)(
                        instructions.as_ptr(),
                        calls,
                        slots.as_mut_ptr(),
                        ticks.as_mut_ptr(),
                    )
                };
                let ns = (processor_ns() - began) as f64 / calls as f64;
                black_box(&ticks);
                free_left(program, &mut slots, libc::free);
                if could == 1 { ns } else { f64::NAN }
            }),
        ));
        let of_c = [
            Some(("C calls malloc".to_owned(), &libc)),
            second.as_ref().map(|(_, c)| ("C calls second".to_owned(), c)),
        ];
        for (name, table) in of_c.into_iter().flatten() {
            let mut slots = vec![std::ptr::null_mut(); program.slots()];
            iterations.push((
                name,
                Box::new(move || {
                    let began = processor_ns();
                    // SAFETY: as above.
                    unsafe {
                        (yardstick.calls)(instructions.as_ptr(), calls, slots.as_mut_ptr(), table)
                    };
                    let ns = (processor_ns() - began) as f64 / calls as f64;
                    free_left(program, &mut slots, table.free);
                    ns
                }),
            ));
        }
    }
    let mut taken: Vec<Vec<f64>> = vec![Vec::new(); iterations.len()];
    let mut order: Vec<usize> = (0..iterations.len()).collect();
    let mut random = Random(1);
    for round in 0..=ROUNDS {
        random.shuffle(&mut order);
        for &iteration in &order {
            let ns = (iterations[iteration].1)();
            if round > 0 {
                taken[iteration].push(ns); // the first warms up
            }
        }
    }
    let names: Vec<String> = iterations.iter().map(|(name, _)| name.clone()).collect();
    drop(iterations);
    let of = |name: &str| {
        let at = names.iter().position(|known| known == name)?;
        Some(median(&mut taken[at].clone()))
    };
    let ratio = |above: &str, below: &str| {
        let (above, below) = (of(above)?, of(below)?);
        Some((above / below, format!("{above:.2} / {below:.2} ns = {:.2}", above / below)))
    };
    let told = |what: &str, above: &str, below: &str, bound: &str| {
        if let Some((_, figure)) = ratio(above, below) {
            line(trace, what, figure, bound);
        }
    };
    told("null / C no-op", "null", "C noop", "at most 1.5");
    told(
        "null / C calling an empty function by pointer",
        "null",
        "C empty",
        "1, what the call itself costs",
    );
    told("malloc / C malloc", "malloc", "C malloc", "0.9 to 1.1");
    if let Some((name, _)) = second {
        told(&format!("{name} / malloc, here"), name, "malloc", "");
        told(&format!("{name} / malloc, in C"), "C calls second", "C calls malloc", "");
        if let (Some((here, _)), Some((there, _))) =
            (ratio(name, "malloc"), ratio("C calls second", "C calls malloc"))
        {
            line(trace, "ratio here / ratio in C", format!("{:.2}", here / there), "0.9 to 1.1");
        }
    }
    told("A/A: malloc / malloc again", "malloc", "malloc again", "0.98 to 1.02");
    let cost = clock.floor().cost_ns;
    for backend in BACKENDS {
        let (Some(time), Some(half)) = (of(backend), of(&format!("{backend} timed"))) else {
            continue;
        };
        let figure = |more: f64| format!("{more:.1} - {cost:.1} = {:.1} ns", more - cost);
        line(
            trace,
            &format!("{backend}: a latency pass's cost - clock pair"),
            figure(half - time),
            "at most 5 ns",
        );
        // Every second call is timed alone.
        let alone = 2.0 * (half - time);
        line(
            trace,
            &format!("{backend}: of a call alone, cost - clock pair"),
            figure(alone),
            "what fences take away",
        );
    }
    // The same pair around the same calls, in C: what of it is the fences' and not this loop's.
    if let (Some(timed), Some(time)) = (of("C malloc timed"), of("C malloc")) {
        let figure = format!("{:.1} - {cost:.1} = {:.1} ns", timed - time, timed - time - cost);
        line(
            trace,
            "C malloc: a fenced pair's cost - clock pair",
            figure,
            "what fences cost in C too",
        );
    }
    println!();
}

/// Heaplay's own passes, as a user runs them: what the latency pass tells of the centre against the
/// time pass. Medians over repetitions.
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
            let told = |what: &str, metric: Metric, bound: &str| {
                let mean = middle(metric);
                let figure = format!("{mean:.1} / {time:.1} ns = {:.2}", mean / time);
                line(&trace.name, &format!("{backend}: {what} / time"), figure, bound);
            };
            told("latency's mean", Metric::LatencyBackToBackNanoseconds, "0.9 to 1.1");
            told(
                "a call alone",
                Metric::LatencyIsolatedNanoseconds,
                "what fences keep from overlapping",
            );
        }
    }
    println!();
}

/// Resident bytes of this process, all kinds.
fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

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
    // In a process of its own, which has no memory of the bench's to use again.
    let file = folder.join("program");
    fs::write(&file, &written).expect("write the program");
    let bytes = figure_of_own(RESIDENT, &file);
    let expected = 8 * (program.calls() + program.slots()) as u64;
    let figure = format!("{bytes} / {expected} B = {:.3}", bytes / expected as f64);
    line("service", "resident / (8 an event + 8 a slot)", figure, "1, and a few pages");
    println!();
}

/// What this program prints when it is started anew, and asked for one figure of a file.
fn figure_of_own(asked: &str, file: &Path) -> f64 {
    let own = std::env::current_exe().expect("this program");
    let output = Command::new(own).arg(asked).arg(file).output().expect("start this program");
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(f64::NAN)
}

/// A process and all below it, by number.
fn family(process: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<u32> = children
        .flat_map(|list| list.split(' ').filter_map(|child| child.parse().ok()).collect::<Vec<_>>())
        .collect();
    std::iter::once(process).chain(children.into_iter().flat_map(family)).collect()
}

/// Waits for a child, and looks 50 times a second at what it and its own children hold: how it
/// ended, the largest of them at any time, and all together, in MiB.
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

/// 10^8 events under a limit, by the program itself.
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
        let said = fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(status.success(), "run {}: {said}", path.display());
        assert!(said.contains("replayed in parts") == (limit != "8GiB"), "{said}");
        let record = heaplay::results::Run::load(&out).expect("the run");
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let value = |metric| {
            record.values(&name, "malloc", Scope::All, metric).first().copied().unwrap_or(f64::NAN)
        };
        let ns = value(Metric::TimeNanoseconds) / value(Metric::Calls);
        (ns, began.elapsed().as_secs_f64(), largest, together)
    };
    // What parts cost: the same trace, whole and in parts.
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
    let told = format!("{largest:.0} MiB, {together:.0} MiB");
    line("10^8", "largest process; all at once", told, &format!("under {LONG_MIB} MiB"));
}
