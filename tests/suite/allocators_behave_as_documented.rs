//! Allocators by their documentation: installed libraries keep the rules and report their version,
//! broken libraries cost their own row, and settings change what their manuals say.

use std::fs;
use std::path::{Path, PathBuf};

use heaplay::backends;
use heaplay::results::{Metric, Run, Scope, Status};

use crate::support::compiler;
use crate::support::libraries::{has_backend, installed};
use crate::support::process::{both, errors, finish, heaplay, printed};
use crate::support::{child, traces};

/// Footprints of backends on a trace; the run folder is deleted afterwards.
fn footprints(trace: &Path, specs: &[&str]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut command = heaplay();
    command.arg("run").arg(trace).args(["--no-floor", "--passes", "footprint", "--out"]).arg(&out);
    for spec in specs {
        command.args(["--backends", spec]);
    }
    let output = finish(&mut command);
    assert!(output.status.success(), "{}", errors(&output));
    Run::load(&out).unwrap()
}

/// One figure of a backend in MiB.
fn mib(run: &Run, backend: &str, metric: Metric) -> f64 {
    let trace = &run.manifest.traces[0].name;
    run.values(trace, backend, Scope::All, metric)[0] / f64::from(1 << 20)
}

#[test]
fn installed_libraries_keep_the_rules_and_report_their_version() {
    // Library, prefix, what its version begins with, the same by preload.
    let libraries = [
        ("libjemalloc.so.2", "", "jemalloc ", true),
        ("libmimalloc.so.2", ":mi_", "mimalloc ", true),
        ("libtcmalloc_minimal.so.4", ":tc_", "gperftools tcmalloc ", true),
        ("libtbbmalloc.so.2", ":scalable_", "libtbbmalloc.so.2", false),
        ("libtbbmalloc_proxy.so.2", "", "libtbbmalloc_proxy.so.2", true),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut specs = Vec::new();
    for (name, prefix, version, has_preload) in libraries {
        let Some(path) = installed(name) else { continue };
        if !name.contains("proxy") {
            specs.push((format!("so:{path}{prefix}"), version));
        }
        if has_preload {
            specs.push((format!("preload:{path}"), version));
        }
    }
    if specs.is_empty() {
        return;
    }
    let hello = traces::committed("hello.trace");
    for (spec, _) in &specs {
        let output = finish(heaplay().arg("verify").arg(&hello).args(["--backend", spec]));
        assert!(output.status.success(), "{spec}: {}", printed(&output));
    }
    let out = folder.path().join("run");
    let mut command = heaplay();
    command.arg("run").arg(&hello).args(["-r", "1", "--out"]).arg(&out);
    for (spec, _) in &specs {
        command.args(["--backends", spec]);
    }
    let output = finish(&mut command);
    assert!(output.status.success(), "{}", errors(&output));
    let run = Run::load(&out).unwrap();
    for (spec, version) in specs {
        let entry = run.manifest.backends.iter().find(|entry| entry.name == spec).unwrap();
        assert!(entry.version.starts_with(version), "{spec}: {}", entry.version);
        assert!(run.values("hello", &spec, Scope::All, Metric::UsableEndBytes).len() == 1);
    }
}

/// Parent and child have a socket of their own: what a library prints, and what it reads from
/// standard input, is no part of their messages.
#[test]
fn a_library_that_prints_and_reads_disturbs_no_measurement() {
    let folder = tempfile::tempdir().unwrap();
    let source = "#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
                  static void chat(void) {\n\
                    char text[64];\n\
                    puts(\"rrrr {}\"); fflush(stdout);\n\
                    while (read(0, text, sizeof text) > 0) {}\n\
                  }\n\
                  __attribute__((constructor)) static void at_load(void) { chat(); }\n\
                  static int calls;\n\
                  void *x_malloc(size_t n) { if (++calls % 500 == 0) chat(); return malloc(n); }\n\
                  void *x_calloc(size_t n, size_t m) { return calloc(n, m); }\n\
                  void *x_realloc(void *p, size_t n) { return realloc(p, n); }\n\
                  void x_free(void *p) { free(p); }\n";
    let Some(library) = compiler::library(folder.path(), "prints", source) else { return };
    let (spec, hello) = (format!("so:{}:x_", library.display()), traces::committed("hello.trace"));
    let out = folder.path().join("run");
    let mut command = heaplay();
    command.arg("run").arg(&hello).args(["-r", "1", "-b", &spec, "--out"]).arg(&out);
    let output = finish(&mut command);
    assert!(output.status.success(), "{}", errors(&output));
    let run = Run::load(&out).unwrap();
    assert!(run.failed().is_empty() && run.missing().is_empty());
    let entry = run.manifest.backends.iter().find(|entry| entry.name == spec).unwrap();
    assert!(!entry.version.contains("rrrr"), "{}", entry.version);
    let output = finish(heaplay().args(["verify", "-b", &spec]).arg(&hello));
    assert!(output.status.success(), "{}", printed(&output));
    // Timed in pairs; the verdict is not asserted, but there is one.
    let mut command = heaplay();
    command.arg("check").arg(&hello).args(["--baseline", "malloc", "--candidate", &spec]);
    command.args(["--measures", "time,tail", "--time-limit", "2"]);
    let output = finish(&mut command);
    let text = printed(&output) + &errors(&output);
    assert!(matches!(output.status.code(), Some(0 | 1 | 3)), "{text}");
}

#[test]
fn a_broken_library_costs_its_own_row_and_the_row_has_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let calls = "#include <stdlib.h>\nvoid *x_malloc(size_t n) { return malloc(n); }\n\
                 void *x_calloc(size_t n, size_t m) { return calloc(n, m); }\n\
                 void *x_realloc(void *p, size_t n) { return realloc(p, n); }\n\
                 void x_free(void *p) { free(p); }\n";
    let at_load = |what: &str| {
        format!(
            "{calls}#include <unistd.h>\n\
             __attribute__((constructor)) static void f(void) {{ {what} }}\n"
        )
    };
    // Its addresses are 4 bytes past a multiple of 16.
    let wrong = "#include <string.h>\nstatic char range[64 << 20] __attribute__((aligned(16)));\n\
                 static char *top = range + 4;\n\
                 void *x_malloc(size_t n) { char *p = top; top += (n + 16) & ~15ul; return p; }\n\
                 void *x_calloc(size_t n, size_t m) { return x_malloc(n * m); }\n\
                 void *x_realloc(void *p, size_t n) {\n\
                   void *q = x_malloc(n); if (p) memcpy(q, p, n); return q; }\n\
                 void x_free(void *p) {}\n";
    // Its calloc multiplies without a check for overflow.
    let overflows =
        calls.replace("return calloc(n, m);", "size_t k = n * m; return calloc(k ? k : 1, 1);");
    // Fast during the checks before a run, and then a millisecond a call.
    let slow = calls.replace(
        "return malloc(n);",
        "static int k; if (++k > 2000) usleep(1000); return malloc(n);",
    );
    let slow = format!("#include <unistd.h>\n{slow}");
    let mut cases = vec![
        // A library that is there, and no allocator. One that is not there is refused before the run.
        ("so:libm.so.6".to_owned(), "missing symbol: it defines no `malloc`"),
        ("preload:libm.so.6".to_owned(), "it does not replace malloc"),
    ];
    let built = [
        ("good", calls.to_owned()),
        ("aborts", at_load("abort();")),
        ("hangs", at_load("for (;;) pause();")),
        ("wrong", wrong.to_owned()),
        ("overflows", overflows),
        ("slow", slow),
    ];
    let built: Vec<(&str, PathBuf)> = built
        .into_iter()
        .filter_map(|(name, source)| Some((name, compiler::library(folder.path(), name, &source)?)))
        .collect();
    let library = |name: &str| {
        let found = built.iter().find(|(known, _)| *known == name);
        found.map(|(_, path)| path.display().to_string())
    };
    if let (Some(good), Some(aborts), Some(hangs)) =
        (library("good"), library("aborts"), library("hangs"))
    {
        cases.push((format!("so:{good}"), "missing symbol: it defines no `malloc`"));
        cases.push((format!("preload:{good}"), "missing symbol: it does not replace malloc"));
        cases.push((format!("so:{aborts}:x_"), "SIGABRT"));
        cases.push((format!("so:{hangs}:x_"), "time limit"));
    }
    if let (Some(wrong), Some(overflows), Some(slow)) =
        (library("wrong"), library("overflows"), library("slow"))
    {
        cases.push((format!("so:{wrong}:x_"), "breaks a rule of allocators"));
        cases.push((format!("so:{overflows}:x_"), "calloc(2, 9223372036854775808): gave 0x"));
        // The row of the pass that reached the limit, and those of the passes that were not tried.
        cases.push((format!("so:{slow}:x_"), "time limit"));
    }
    let out = at("run");
    let mut command = heaplay();
    command.arg("run").arg(traces::committed("hello.trace"));
    command.args(["-r", "1", "--timeout", "5", "--backends", "malloc", "--out"]).arg(&out);
    for (spec, _) in &cases {
        command.args(["--backends", spec]);
    }
    let ended = finish(&mut command);
    assert_eq!(ended.status.code(), Some(4), "{}", errors(&ended));
    let run = Run::load(Path::new(&out)).unwrap();
    assert!(run.missing().is_empty());
    for (spec, reason) in &cases {
        let rows: Vec<_> = run.outcomes.iter().filter(|row| row.backend == *spec).collect();
        assert!(!rows.is_empty() && rows.iter().all(|row| row.status == Status::Error), "{spec}");
        assert!(rows.iter().all(|row| row.reason.contains(reason)), "{spec}: {}", rows[0].reason);
    }
    if let Some(slow) = library("slow") {
        let spec = format!("so:{slow}:x_");
        let rows = run.outcomes.iter().filter(|row| row.backend == spec);
        let (tried, spared): (Vec<_>, Vec<_>) =
            rows.partition(|row| !row.reason.starts_with("not tried again"));
        assert_eq!((tried.len(), spared.len()), (1, 4), "{tried:?} {spared:?}");
    }
    // The run went on.
    assert!(
        run.outcomes
            .iter()
            .filter(|row| row.backend == "malloc")
            .all(|row| row.status == Status::Ok)
    );
    if let Some(wrong) = library("wrong") {
        let mut command = heaplay();
        command.arg("verify").arg(traces::committed("hello.trace"));
        let ended = finish(command.args(["--backend", &format!("so:{wrong}:x_")]));
        let text = printed(&ended);
        assert!(ended.status.code() == Some(1) && text.contains("event 0"), "{text}");
    }
}

/// Without a trace: every rule, sizes at each boundary, and requests that no machine can serve.
#[test]
fn every_backend_keeps_the_rules_where_no_trace_goes() {
    for member in backends::BACKENDS {
        if ["so", "preload", "python"].contains(&member.name) {
            continue; // they need a library or an interpreter, and have tests of their own
        }
        let ended = finish(heaplay().args(["verify", "--backend", member.name]));
        // `null` gives no memory: no rule is broken, and none is proved.
        let expected = if member.name == "null" { 4 } else { 0 };
        assert_eq!(ended.status.code(), Some(expected), "{}", printed(&ended));
    }
    // A rule is neither proved nor broken where memory is refused.
    let ended = finish(heaplay().args(["verify", "--backend", "tlsf:reserve=1MiB"]));
    assert_eq!(ended.status.code(), Some(4));
    assert!(printed(&ended).contains("out of memory"));
}

#[test]
fn settings_of_malloc_follow_the_manual() {
    // mallopt(3): from M_TRIM_THRESHOLD free bytes on, memory at the top is returned. What the thread
    // cache holds at the top decides, too. Its size is that of glibc 2.36; 2.43 has 16 of a size.
    let specs = [
        "malloc:MALLOC_TRIM_THRESHOLD_=16M,glibc.malloc.tcache_count=7",
        "malloc:MALLOC_TRIM_THRESHOLD_=64K,glibc.malloc.tcache_count=7",
        "malloc:MALLOC_TOP_PAD_=64M,MALLOC_TRIM_THRESHOLD_=1G,glibc.malloc.tcache_count=7",
    ];
    let run = footprints(&traces::committed("service.trace"), &specs);
    let end = |spec: &str| mib(&run, spec, Metric::ResidentEndBytes);
    assert!(end(specs[1]) < 0.9 * end(specs[0]), "{} and {}", end(specs[1]), end(specs[0]));
    assert!(end(specs[2]) > 1.1 * end(specs[1]));
    // Tunables: fast bins merge late. Without them, freed blocks of 64 to 128 bytes merge at once.
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("merge.csv");
    // 20,000 blocks of 64 bytes end, but for one in 64. Then 1,000 blocks of 1,000 bytes begin,
    // which fit only where blocks merged.
    let mut rows = String::from("event,op,size,lifetime,thread,domain\n");
    let small = 20_000;
    for event in 0..small {
        let lifetime = if event % 64 == 0 { String::new() } else { small.to_string() };
        rows.push_str(&format!("{event},malloc,64,{lifetime},1,obj\n"));
    }
    for event in 2 * small..2 * small + 1_000 {
        rows.push_str(&format!("{},malloc,1000,,1,obj\n", event));
    }
    // The events between them are ends. Further small blocks begin at the events where a block that
    // stays would have ended.
    let mut between = Vec::new();
    for event in (small..2 * small).filter(|event| (event - small) % 64 == 0) {
        between.push(format!("{event},malloc,16,,1,obj\n"));
    }
    let mut lines: Vec<String> =
        rows.lines().skip(1).map(|line| format!("{line}\n")).chain(between).collect();
    lines.sort_by_key(|line| line.split(',').next().unwrap().parse::<u64>().unwrap());
    fs::write(&csv, format!("event,op,size,lifetime,thread,domain\n{}", lines.concat())).unwrap();
    if !has_fast_bins() {
        return;
    }
    let specs = ["malloc", "malloc:glibc.malloc.mxfast=0"];
    let run = footprints(&csv, &specs);
    let end = |spec: &str| mib(&run, spec, Metric::ResidentPeakBytes);
    assert!(end(specs[1]) <= end(specs[0]), "{} and {}", end(specs[1]), end(specs[0]));
}

#[test]
fn settings_of_c_allocators_follow_their_manuals() {
    let service = traces::committed("service.trace");
    if has_backend("jemalloc") {
        let specs = ["jemalloc:dirty_decay_ms=0", "jemalloc:dirty_decay_ms=-1"];
        let run = footprints(&service, &specs);
        let end = |spec: &str| mib(&run, spec, Metric::ResidentEndBytes);
        assert!(end(specs[0]) < 0.6 * end(specs[1]), "{} and {}", end(specs[0]), end(specs[1]));
    }
    if has_backend("mimalloc") {
        let specs = ["mimalloc:purge_delay=0", "mimalloc:purge_delay=-1"];
        let run = footprints(&service, &specs);
        let end = |spec: &str| mib(&run, spec, Metric::ResidentEndBytes);
        assert!(end(specs[0]) < 0.7 * end(specs[1]), "{} and {}", end(specs[0]), end(specs[1]));
    }
    if has_backend("tcmalloc") {
        // malloc_extension.h: above a soft limit it returns memory.
        let specs = ["tcmalloc:memory_limit=8M", "tcmalloc"];
        let run = footprints(&service, &specs);
        let end = |spec: &str| mib(&run, spec, Metric::ResidentEndBytes);
        assert!(end(specs[0]) < 0.8 * end(specs[1]), "{} and {}", end(specs[0]), end(specs[1]));
    }
    if has_backend("scudo") {
        // flags.inc: a quarantine delays the reuse of freed blocks, and takes memory for that.
        let waits = "scudo:quarantine_size_kb=16384,thread_local_quarantine_size_kb=1024,\
                     quarantine_max_chunk_size=2048";
        let run = footprints(&service, &["scudo", waits]);
        let peak = |spec: &str| mib(&run, spec, Metric::ResidentPeakBytes);
        assert!(peak(waits) > peak("scudo") + 8.0, "{} and {}", peak(waits), peak("scudo"));
    }
    // Requests beyond the reserved address space are refused.
    for spec in ["tlsf:reserve=1MiB", "talc:reserve=1MiB", "buddy:reserve=1MiB"] {
        let text =
            printed(&finish(heaplay().arg("verify").arg(&service).args(["--backend", spec])));
        assert!(text.contains("out of memory"), "{spec}: {text}");
    }
}

/// A library that is preloaded into heaplay would replace the C library's malloc below every
/// backend, and the harness's pages would be counted as the backend's.
#[test]
fn a_preloaded_library_does_not_reach_the_backends() {
    let Some(library) =
        ["libjemalloc.so.2", "libtcmalloc_minimal.so.4"].into_iter().find_map(installed)
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let footprint = |name: &str, preload: Option<&str>| {
        let out = folder.path().join(name);
        let mut command = heaplay();
        command.env_remove("LD_PRELOAD");
        command.envs(preload.map(|library| ("LD_PRELOAD", library)));
        command.arg("run").arg(traces::committed("hello.trace"));
        command.args(["--passes", "footprint", "-b", "malloc", "--out"]).arg(&out);
        let ended = finish(&mut command);
        assert_eq!(ended.status.code(), Some(0), "{}", errors(&ended));
        let run = Run::load(&out).unwrap();
        let peak = run.values("hello", "malloc", Scope::All, Metric::ResidentPeakBytes);
        (peak, errors(&ended))
    };
    let (plain, message) = footprint("plain", None);
    assert!(!message.contains("LD_PRELOAD"), "{message}");
    let (preloaded, message) = footprint("preloaded", Some(&library));
    assert_eq!(plain, preloaded);
    assert!(message.contains("LD_PRELOAD does not reach the backends"), "{message}");
}

/// What an allocator takes before the first block is its memory, however it is loaded. This one takes
/// 6 MiB when it is loaded, and none for its blocks that the C library's malloc would not take.
#[test]
fn memory_of_a_librarys_start_counts() {
    const TAKES_MEMORY: &str = r#"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
extern void *__libc_malloc(size_t); extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t); extern void __libc_free(void *);
extern void *__libc_memalign(size_t, size_t);
void *malloc(size_t n) { return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { return __libc_realloc(p, n); }
void free(void *p) { __libc_free(p); }
void *memalign(size_t a, size_t n) { return __libc_memalign(a, n); }
__attribute__((constructor)) static void take(void) {
    void *taken = mmap(0, 6 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(taken, 1, 6 << 20);
}
"#;
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compiler::library(folder.path(), "takes", TAKES_MEMORY) else { return };
    let specs = ["so", "preload"].map(|kind| format!("{kind}:{}", library.display()));
    let run = footprints(&traces::committed("hello.trace"), &["malloc", &specs[0], &specs[1]]);
    for spec in &specs {
        let own = mib(&run, spec, Metric::ResidentPeakBytes);
        let taken = own - mib(&run, "malloc", Metric::ResidentPeakBytes);
        assert!((5.9..6.6).contains(&taken), "{spec}: {taken} MiB more than malloc");
    }
}

/// `rpmalloc.h`: more spans a mapping take more address space. A process can set the number only
/// once, so the test runs itself for each value.
#[test]
#[expect(unsafe_code, reason = "takes a block")]
fn settings_of_rpmalloc_follow_its_header() {
    if !has_backend("rpmalloc") {
        return;
    }
    const SPEC: &str = "HEAPLAY_TEST_SPEC";
    if let Ok(spec) = std::env::var(SPEC) {
        let pages = || -> usize {
            let statm = fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').next().unwrap().parse().unwrap()
        };
        let before = pages();
        let backend = backends::parse(&spec).and_then(|spec| backends::open(&spec)).unwrap();
        let domains = backend.domains();
        let table = domains.get(heaplay::trace::Domain::Obj);
        // SAFETY: any allocator serves this size; the process runs nothing else.
        assert!(!unsafe { (table.malloc)(table.ctx, 64) }.is_null());
        println!("\ngrown by {} pages", pages() - before);
        return;
    }
    let grown = |spans: usize| -> usize {
        let mut child = child::of(module_path!(), "settings_of_rpmalloc_follow_its_header");
        let ended = finish(child.env(SPEC, format!("rpmalloc:span_map_count={spans}")));
        let text = printed(&ended);
        let line =
            text.lines().find_map(|line| line.strip_prefix("grown by ")?.strip_suffix(" pages"));
        line.unwrap_or_else(|| panic!("{text}{}", errors(&ended))).parse().unwrap()
    };
    let (one, by_default, many) = (grown(1), grown(64), grown(1024));
    let span = 64 * 1024 / 4096;
    assert!(
        one < 32 * span && by_default >= 64 * span && many >= 1024 * span,
        "{one} {by_default} {many}"
    );
}

/// Whether this C library is a glibc with fast bins: one before 2.43.
fn has_fast_bins() -> bool {
    let version = backends::libc_version();
    let minor =
        version.strip_prefix("glibc 2.").and_then(|rest| rest.split('.').next()?.parse().ok());
    minor.is_some_and(|minor: u32| minor < 43)
}

/// Each setting of each member, given a value that is not its default, is read back by the child.
#[test]
fn every_setting_is_accepted_or_refused() {
    let values = [
        (
            "jemalloc",
            "dirty_decay_ms=5,muzzy_decay_ms=7,narenas=3,retain=false,tcache=false,tcache_max=1024,thp=never",
        ),
        ("jemalloc", "metadata_thp=auto,oversize_threshold=1M,lg_extent_max_active_fit=4"),
        ("jemalloc", "percpu_arena=percpu,dss=disabled"),
        ("jemalloc", "experimental_tcache_gc=false,background_thread=true"),
        (
            "mimalloc",
            "purge_delay=3,purge_decommits=0,arena_eager_commit=1,allow_large_os_pages=1,generic_collect=77",
        ),
        ("mimalloc", "page_full_retain=3,page_max_candidates=9,allow_thp=0"),
        ("rpmalloc", "span_map_count=1"),
        ("rpmalloc", "span_map_count=128,enable_huge_pages=1"),
        (
            "scudo",
            "quarantine_size_kb=64,thread_local_quarantine_size_kb=32,quarantine_max_chunk_size=512",
        ),
        ("scudo", "pattern_fill_contents=true"),
        ("tcmalloc", "per_cpu=false,max_per_cpu_cache_size=64K,max_total_thread_cache_bytes=1M"),
        ("tcmalloc", "memory_limit=256M,profile_sampling_interval=4M"),
        (
            "malloc",
            "MALLOC_ARENA_MAX=2,MALLOC_ARENA_TEST=3,MALLOC_TRIM_THRESHOLD_=1M,MALLOC_TOP_PAD_=64K",
        ),
        ("malloc", "MALLOC_MMAP_THRESHOLD_=32K,MALLOC_MMAP_MAX_=9,MALLOC_PERTURB_=7"),
        ("malloc", "glibc.malloc.tcache_count=3,glibc.malloc.tcache_max=256"),
        (
            "malloc",
            "glibc.malloc.arena_max=1,glibc.malloc.hugetlb=1,glibc.malloc.tcache_unsorted_limit=4",
        ),
    ];
    let verify = |spec: &str| {
        let hello = traces::committed("hello.trace");
        let ended = finish(heaplay().arg("verify").arg(hello).args(["--backend", spec]));
        (ended.status.code(), both(&ended))
    };
    for (name, settings) in values {
        if has_backend(name) {
            let spec = format!("{name}:{settings}");
            let (code, text) = verify(&spec);
            assert_eq!(code, Some(0), "{spec}: {text}");
        }
    }
    // glibc 2.43 has no fast bins, and would ignore the setting.
    let (code, text) = verify("malloc:glibc.malloc.mxfast=0");
    assert_eq!(code == Some(0), has_fast_bins(), "{text}");
    assert_eq!(text.contains("has no fast bins"), !has_fast_bins(), "{text}");
    for (name, setting, reason) in [
        ("malloc", "glibc.malloc.tcache_max=4194281", "takes at most"),
        ("malloc", "glibc.malloc.tcache_count=65536", "takes at most 65535"),
        ("jemalloc", "narenas=many", "did not take narenas=many"),
        ("jemalloc", "colour=red", "has no setting `colour`"),
        ("mimalloc", "purge_delay=soon", "did not take"),
        ("rpmalloc", "span_map_count=some", "cannot take span_map_count=some"),
        ("rpmalloc", "span_size=4K", "has no setting `span_size`"),
        ("scudo", "quarantine_size_kb=much", "cannot take quarantine_size_kb=much"),
        ("scudo", "pattern_fill_contents=1", "write true or false"),
        ("tcmalloc", "memory_limit=much", "cannot take memory_limit=much"),
        ("malloc", "MALLOC_PERTURB_=400", "did not take MALLOC_PERTURB_=400"),
        ("malloc", "MALLOC_COLOUR=1", "has no setting"),
    ] {
        if has_backend(name) {
            let (code, text) = verify(&format!("{name}:{setting}"));
            assert!(code != Some(0) && text.contains(reason), "{name}:{setting}: {text}");
        }
    }
    // In a process without the child's environment a setting is an error, not a silent default.
    let here = backends::parse("malloc:MALLOC_ARENA_MAX=1").and_then(|spec| backends::open(&spec));
    assert!(here.err().unwrap().to_string().contains("did not take"));
}

#[test]
fn figures_that_depend_on_the_clock_do_not_gate_and_others_do() {
    if !has_backend("jemalloc") {
        return;
    }
    let settled = "jemalloc:dirty_decay_ms=0,experimental_tcache_gc=false";
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    let mut run = footprints(&traces::committed("hello.trace"), &["jemalloc", settled]);
    run.save(&first).unwrap();
    for row in run.measurements.iter_mut().filter(|row| row.metric == Metric::ResidentEndBytes) {
        row.value += 4096.0;
    }
    run.save(&second).unwrap();
    let ended = finish(heaplay().args(["check", "--all", "--baseline"]).arg(&first).arg(&second));
    let text = printed(&ended);
    assert_eq!(ended.status.code(), Some(1), "{text}");
    assert!(text.contains("1 FAIL"), "{text}");
    assert!(text.contains("after a delay in wall time"), "{text}");
}
