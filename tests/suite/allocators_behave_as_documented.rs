//! Allocators as a person meets them: Debian's libraries where they are installed, libraries that
//! are broken in every way, and settings that change what their documentation says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use heaplay::backends;
use heaplay::results::{Metric, Run, Scope, Status};

use crate::support::child;

fn heaplay() -> Command {
    Command::new(env!("CARGO_BIN_EXE_heaplay"))
}

fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("heaplay starts")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn trace(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("traces").join(name)
}

/// Whether this build has the backend; says so when it has not.
fn built(name: &str) -> bool {
    let has = backends::BACKENDS.iter().any(|member| member.name == name);
    if !has {
        println!("skipped: this build has no {name}");
    }
    has
}

/// The path of an installed library, by the dynamic linker's list.
fn installed(name: &str) -> Option<String> {
    let told = Command::new("ldconfig").arg("-p").output().ok()?;
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let found = text
        .lines()
        .filter_map(|line| line.split_once(" => "))
        .find(|(known, _)| known.split_whitespace().next() == Some(name))
        .map(|(_, path)| path.to_owned());
    if found.is_none() {
        println!("skipped: {name} is not installed");
    }
    found
}

/// Footprints of backends on a trace; the run folder is gone afterwards.
fn footprints(trace: &Path, words: &[&str]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut command = heaplay();
    command.arg("run").arg(trace).args(["--no-floor", "--passes", "footprint", "--out"]).arg(&out);
    for word in words {
        command.args(["--backends", word]);
    }
    let output = output(&mut command);
    assert!(output.status.success(), "{}", errors(&output));
    Run::load(&out).unwrap()
}

/// One figure of a backend in MiB.
fn mib(run: &Run, backend: &str, metric: Metric) -> f64 {
    let trace = &run.manifest.traces[0].name;
    run.values(trace, backend, Scope::All, metric)[0] / f64::from(1 << 20)
}

#[test]
fn installed_libraries_keep_the_rules_and_tell_their_version() {
    // Library, prefix, what its version begins with, the same by preload.
    let libraries = [
        ("libjemalloc.so.2", "", "jemalloc ", true),
        ("libmimalloc.so.2.0", ":mi_", "mimalloc ", true),
        ("libtcmalloc_minimal.so.4", ":tc_", "gperftools tcmalloc ", true),
        ("libtbbmalloc.so.2", ":scalable_", "libtbbmalloc.so.2", false),
        ("libtbbmalloc_proxy.so.2", "", "libtbbmalloc_proxy.so.2", true),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut words = Vec::new();
    for (name, prefix, version, preload) in libraries {
        let Some(path) = installed(name) else { continue };
        if !name.contains("proxy") {
            words.push((format!("so:{path}{prefix}"), version));
        }
        if preload {
            words.push((format!("preload:{path}"), version));
        }
    }
    if words.is_empty() {
        return;
    }
    for (word, _) in &words {
        let output =
            output(heaplay().arg("verify").arg(trace("hello.trace")).args(["--backend", word]));
        assert!(output.status.success(), "{word}: {}", String::from_utf8_lossy(&output.stdout));
    }
    let out = folder.path().join("run");
    let mut command = heaplay();
    command.arg("run").arg(trace("hello.trace")).args(["-r", "1", "--out"]).arg(&out);
    for (word, _) in &words {
        command.args(["--backends", word]);
    }
    let output = output(&mut command);
    assert!(output.status.success(), "{}", errors(&output));
    let run = Run::load(&out).unwrap();
    for (word, version) in words {
        let entry = run.manifest.backends.iter().find(|entry| entry.name == word).unwrap();
        assert!(entry.version.starts_with(version), "{word}: {}", entry.version);
        assert!(run.values("hello", &word, Scope::All, Metric::UsableEndBytes).len() == 1);
    }
}

/// A shared library from C; `None` without a compiler.
fn compile(folder: &Path, name: &str, source: &str) -> Option<String> {
    let (code, library) = (folder.join(format!("{name}.c")), folder.join(format!("{name}.so")));
    fs::write(&code, source).unwrap();
    let done =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&code).status();
    match done {
        Ok(status) if status.success() => Some(library.display().to_string()),
        _ => {
            println!("skipped: no C compiler for {name}");
            None
        }
    }
}

#[test]
fn a_broken_library_costs_its_own_row_and_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let calls = "#include <stdlib.h>\nvoid *x_malloc(size_t n) { return malloc(n); }\n\
                 void *x_calloc(size_t n, size_t m) { return calloc(n, m); }\n\
                 void *x_realloc(void *p, size_t n) { return realloc(p, n); }\nvoid x_free(void *p) { free(p); }\n";
    let at_load = |what: &str| {
        format!(
            "{calls}#include <unistd.h>\n__attribute__((constructor)) static void f(void) {{ {what} }}\n"
        )
    };
    // Gives one address after the other, each 4 bytes off.
    let wrong = "#include <string.h>\nstatic char room[64 << 20] __attribute__((aligned(16)));\n\
                 static char *top = room + 4;\n\
                 void *x_malloc(size_t n) { char *p = top; top += (n + 16) & ~15ul; return p; }\n\
                 void *x_calloc(size_t n, size_t m) { return x_malloc(n * m); }\n\
                 void *x_realloc(void *p, size_t n) { void *q = x_malloc(n); if (p) memcpy(q, p, n); return q; }\n\
                 void x_free(void *p) {}\n";
    // Multiplies without a look at the result.
    let overflows =
        calls.replace("return calloc(n, m);", "size_t k = n * m; return calloc(k ? k : 1, 1);");
    // Quick enough for the questions before a run, and then a millisecond a call.
    let slow = calls.replace(
        "return malloc(n);",
        "static int k; if (++k > 2000) usleep(1000); return malloc(n);",
    );
    let slow = format!("#include <unistd.h>\n{slow}");
    // An ELF file for another processor: this program's own beginning, with S/390 in its place.
    let mut foreign = fs::read(env!("CARGO_BIN_EXE_heaplay")).unwrap()[..4096].to_vec();
    foreign[18..20].copy_from_slice(&22u16.to_le_bytes());
    fs::write(at("foreign.so"), &foreign).unwrap();
    fs::write(at("text.so"), "not a library").unwrap();
    let mut cases = vec![
        (format!("so:{}", at("missing.so")), "No such file"),
        (format!("preload:{}", at("missing.so")), "No such file"),
        (format!("so:{}", at("foreign.so")), "wrong architecture: it is for S/390"),
        (format!("so:{}", at("text.so")), "not an ELF file"),
    ];
    let built = [
        ("good", calls.to_owned()),
        ("aborts", at_load("abort();")),
        ("hangs", at_load("for (;;) pause();")),
        ("wrong", wrong.to_owned()),
        ("overflows", overflows),
        ("slow", slow),
    ];
    let built: Vec<(&str, String)> = built
        .into_iter()
        .filter_map(|(name, source)| Some((name, compile(folder.path(), name, &source)?)))
        .collect();
    let library =
        |name: &str| built.iter().find(|(known, _)| *known == name).map(|(_, path)| path.clone());
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
        // The row of the pass that met the limit, and those of the passes that were spared.
        cases.push((format!("so:{slow}:x_"), "time limit"));
    }
    let out = at("run");
    let mut command = heaplay();
    command.arg("run").arg(trace("hello.trace"));
    command.args(["-r", "1", "--timeout", "5", "--backends", "malloc", "--out"]).arg(&out);
    for (word, _) in &cases {
        command.args(["--backends", word]);
    }
    let said = output(&mut command);
    assert_eq!(said.status.code(), Some(2), "{}", errors(&said));
    let run = Run::load(Path::new(&out)).unwrap();
    assert!(run.missing().is_empty());
    for (word, reason) in &cases {
        let rows: Vec<_> = run.outcomes.iter().filter(|row| row.backend == *word).collect();
        assert!(!rows.is_empty() && rows.iter().all(|row| row.status == Status::Error), "{word}");
        assert!(rows.iter().all(|row| row.reason.contains(reason)), "{word}: {}", rows[0].reason);
    }
    if let Some(slow) = library("slow") {
        let word = format!("so:{slow}:x_");
        let rows = run.outcomes.iter().filter(|row| row.backend == word);
        let (tried, spared): (Vec<_>, Vec<_>) =
            rows.partition(|row| !row.reason.starts_with("not tried again"));
        assert_eq!((tried.len(), spared.len()), (1, 2), "{tried:?} {spared:?}");
    }
    // The run went on.
    assert!(
        run.outcomes
            .iter()
            .filter(|row| row.backend == "malloc")
            .all(|row| row.status == Status::Ok)
    );
    if let Some(wrong) = library("wrong") {
        let said = output(
            heaplay()
                .arg("verify")
                .arg(trace("hello.trace"))
                .arg("--backend")
                .arg(format!("so:{wrong}:x_")),
        );
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.status.code() == Some(1) && text.contains("event 0"), "{text}");
    }
}

/// Without a trace: every rule, every size at each boundary, and what no machine can serve.
#[test]
fn every_backend_keeps_the_rules_where_no_trace_goes() {
    for member in backends::BACKENDS {
        if ["so", "preload", "python"].contains(&member.name) {
            continue; // on libraries and interpreters of this machine, which other tests look for
        }
        let said = output(heaplay().args(["verify", "--backend", member.name]));
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        // `null` gives no memory: that is no broken rule, and no proof either.
        let expected = if member.name == "null" { 2 } else { 0 };
        assert_eq!(said.status.code(), Some(expected), "{text}");
    }
    // Refused for want of memory is neither proved nor broken.
    let said = output(heaplay().args(["verify", "--backend", "tlsf:reserve=1MiB"]));
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&said.stdout).contains("out of memory"));
}

#[test]
fn settings_of_malloc_do_what_the_manual_says() {
    // mallopt(3): memory at the top goes back from M_TRIM_THRESHOLD bytes on.
    let words = [
        "malloc",
        "malloc:MALLOC_TRIM_THRESHOLD_=64K",
        "malloc:MALLOC_TOP_PAD_=64M,MALLOC_TRIM_THRESHOLD_=1G",
    ];
    let run = footprints(&trace("service.trace"), &words);
    let end = |word: &str| mib(&run, word, Metric::ResidentEndBytes);
    assert!(end(words[1]) < 0.9 * end(words[0]), "{} and {}", end(words[1]), end(words[0]));
    assert!(end(words[2]) > 1.2 * end(words[1]));
    // tunables: fast bins merge late, so without them freed blocks of 64 to 128 bytes merge into
    // larger ones at once; with neither cache every freed block does.
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("merge.csv");
    // 20,000 blocks of 64 bytes that end, one in 64 stays; then 1,000 of 1,000 bytes, which fit
    // only where blocks merged.
    let mut rows = String::from("event,op,size,lifetime,thread,domain\n");
    let small = 20_000;
    for event in 0..small {
        let lifetime = if event % 64 == 0 { String::new() } else { small.to_string() };
        rows.push_str(&format!("{event},malloc,64,{lifetime},1,obj\n"));
    }
    for event in 2 * small..2 * small + 1_000 {
        rows.push_str(&format!("{},malloc,1000,,1,obj\n", event));
    }
    // Events in between are ends; those of blocks that stay are missing, so they are taken by
    // further small blocks.
    let mut between = Vec::new();
    for event in (small..2 * small).filter(|event| (event - small) % 64 == 0) {
        between.push(format!("{event},malloc,16,,1,obj\n"));
    }
    let mut lines: Vec<String> =
        rows.lines().skip(1).map(|line| format!("{line}\n")).chain(between).collect();
    lines.sort_by_key(|line| line.split(',').next().unwrap().parse::<u64>().unwrap());
    fs::write(&csv, format!("event,op,size,lifetime,thread,domain\n{}", lines.concat())).unwrap();
    let words = ["malloc", "malloc:glibc.malloc.mxfast=0"];
    let run = footprints(&csv, &words);
    let end = |word: &str| mib(&run, word, Metric::ResidentPeakBytes);
    assert!(end(words[1]) <= end(words[0]), "{} and {}", end(words[1]), end(words[0]));
}

#[test]
fn settings_of_jemalloc_and_mimalloc_do_what_their_manuals_say() {
    let service = trace("service.trace");
    if built("jemalloc") {
        let words = ["jemalloc:dirty_decay_ms=0", "jemalloc:dirty_decay_ms=-1"];
        let run = footprints(&service, &words);
        let end = |word: &str| mib(&run, word, Metric::ResidentEndBytes);
        assert!(end(words[0]) < 0.6 * end(words[1]), "{} and {}", end(words[0]), end(words[1]));
    }
    if built("mimalloc") {
        let words = ["mimalloc:purge_delay=0", "mimalloc:purge_delay=-1"];
        let run = footprints(&service, &words);
        let end = |word: &str| mib(&run, word, Metric::ResidentEndBytes);
        assert!(end(words[0]) < 0.7 * end(words[1]), "{} and {}", end(words[0]), end(words[1]));
    }
    if built("tcmalloc") {
        // malloc_extension.h: beyond a soft limit it gives memory back. (Its caches by processor
        // are no matter on one.)
        let words = ["tcmalloc:memory_limit=8M", "tcmalloc"];
        let run = footprints(&service, &words);
        let end = |word: &str| mib(&run, word, Metric::ResidentEndBytes);
        assert!(end(words[0]) < 0.8 * end(words[1]), "{} and {}", end(words[0]), end(words[1]));
    }
    if built("scudo") {
        // flags.inc: a quarantine delays the use of freed blocks, and takes memory for it.
        let waits = "scudo:quarantine_size_kb=16384,thread_local_quarantine_size_kb=1024,\
                     quarantine_max_chunk_size=2048";
        let run = footprints(&service, &["scudo", waits]);
        let peak = |word: &str| mib(&run, word, Metric::ResidentPeakBytes);
        assert!(peak(waits) > peak("scudo") + 8.0, "{} and {}", peak(waits), peak("scudo"));
    }
    // Address space: what is refused beyond it.
    for word in ["tlsf:reserve=1MiB", "talc:reserve=1MiB", "buddy:reserve=1MiB"] {
        let said = output(heaplay().arg("verify").arg(&service).args(["--backend", word]));
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(text.contains("out of memory"), "{word}: {text}");
    }
}

/// A library that is preloaded into heaplay would be under every backend, and take the harness's
/// pages for the backend's.
#[test]
fn a_preloaded_library_is_kept_from_the_backends() {
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
        command.arg("run").arg(trace("hello.trace"));
        command.args(["--passes", "footprint", "-b", "malloc", "--out"]).arg(&out);
        let told = output(&mut command);
        assert_eq!(told.status.code(), Some(0), "{}", errors(&told));
        (
            Run::load(&out).unwrap().values(
                "hello",
                "malloc",
                Scope::All,
                Metric::ResidentPeakBytes,
            ),
            errors(&told),
        )
    };
    let (plain, told) = footprint("plain", None);
    assert!(!told.contains("LD_PRELOAD"), "{told}");
    let (preloaded, told) = footprint("preloaded", Some(&library));
    assert_eq!(plain, preloaded);
    assert!(told.contains("LD_PRELOAD is kept from the backends"), "{told}");
}

/// `rpmalloc.h`: more spans a mapping cost address space and save system calls. A process can set
/// it only once, so the test runs itself for each value.
#[test]
#[expect(unsafe_code, reason = "takes a block")]
fn settings_of_rpmalloc_do_what_its_header_says() {
    if !built("rpmalloc") {
        return;
    }
    const WORD: &str = "HEAPLAY_TEST_WORD";
    if let Ok(word) = std::env::var(WORD) {
        let pages = || -> usize {
            let statm = fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').next().unwrap().parse().unwrap()
        };
        let before = pages();
        let backend = backends::parse(&word).and_then(|spec| backends::open(&spec)).unwrap();
        let domains = backend.domains();
        let table = domains.get(heaplay::trace::Domain::Obj);
        // SAFETY: a size that any allocator serves; nothing else runs in this process's other
        // threads that would take it.
        assert!(!unsafe { (table.malloc)(table.ctx, 64) }.is_null());
        println!("\ngrown by {} pages", pages() - before);
        return;
    }
    let grown = |spans: usize| -> usize {
        let said = output(
            child::of(module_path!(), "settings_of_rpmalloc_do_what_its_header_says")
                .env(WORD, format!("rpmalloc:span_map_count={spans}")),
        );
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let line =
            text.lines().find_map(|line| line.strip_prefix("grown by ")?.strip_suffix(" pages"));
        line.unwrap_or_else(|| panic!("{text}{}", errors(&said))).parse().unwrap()
    };
    let (one, by_default, many) = (grown(1), grown(64), grown(1024));
    let span = 64 * 1024 / 4096;
    assert!(
        one < 32 * span && by_default >= 64 * span && many >= 1024 * span,
        "{one} {by_default} {many}"
    );
}

/// Each setting of each member, given a value that is not its default, is read back by the child.
#[test]
fn every_setting_is_taken_or_refused() {
    let values = [
        (
            "jemalloc",
            "dirty_decay_ms=5,muzzy_decay_ms=7,narenas=3,retain=false,tcache=false,tcache_max=1024,thp=never",
        ),
        (
            "jemalloc",
            "metadata_thp=auto,oversize_threshold=1M,lg_extent_max_active_fit=4,percpu_arena=percpu,dss=disabled",
        ),
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
        ("malloc", "glibc.malloc.mxfast=0,glibc.malloc.tcache_count=3,glibc.malloc.tcache_max=256"),
        (
            "malloc",
            "glibc.malloc.arena_max=1,glibc.malloc.hugetlb=1,glibc.malloc.tcache_unsorted_limit=4",
        ),
    ];
    let said = |word: &str| {
        let said =
            output(heaplay().arg("verify").arg(trace("hello.trace")).arg("--backend").arg(word));
        (said.status.code(), String::from_utf8_lossy(&said.stdout).into_owned() + &errors(&said))
    };
    for (name, settings) in values {
        if built(name) {
            let word = format!("{name}:{settings}");
            let (code, text) = said(&word);
            assert_eq!(code, Some(0), "{word}: {text}");
        }
    }
    for (name, setting, reason) in [
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
        if built(name) {
            let (code, text) = said(&format!("{name}:{setting}"));
            assert!(code != Some(0) && text.contains(reason), "{name}:{setting}: {text}");
        }
    }
    // Without the child's environment a setting is an error, not a silent default.
    let here = backends::parse("malloc:MALLOC_ARENA_MAX=1").and_then(|spec| backends::open(&spec));
    assert!(here.err().unwrap().to_string().contains("did not take"));
}

#[test]
fn what_goes_by_the_clock_is_not_gated_and_what_is_pinned_is() {
    if !built("jemalloc") {
        return;
    }
    let pinned = "jemalloc:dirty_decay_ms=0,experimental_tcache_gc=false";
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    let mut run = footprints(&trace("hello.trace"), &["jemalloc", pinned]);
    run.save(&first).unwrap();
    for row in run.measurements.iter_mut().filter(|row| row.metric == Metric::ResidentEndBytes) {
        row.value += 4096.0;
    }
    run.save(&second).unwrap();
    let said = output(heaplay().args(["check", "--all", "--baseline"]).arg(&first).arg(&second));
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!(said.status.code(), Some(1), "{text}");
    assert!(text.contains("1 FAIL"), "{text}");
    assert!(text.contains("by the clock"), "{text}");
}
