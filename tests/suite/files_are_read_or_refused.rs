//! Files as people have them: each is read, with what a person must know, or refused with the reason
//! and the next step. A file is never read wrongly without a report.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use heaplay::trace::FOREIGN;

use crate::support::imports::Imports;
use crate::support::interpreters;
use crate::support::log_samples::SAMPLES;
use crate::support::process::{both, expect, finish, heaplay, repository};

/// A valid log of each text format.
const MTRACE: &str = "= Start\n@ ./app:[0x11b0] + 0x5599d9d342a0 0x1000\n= End\n";
const ANDROID: &str = "9: malloc 0x10 1000\n9: free 0x10\n";
const FIREFOX: &str = "7 8 malloc(64)=0x10\n7 8 free(0x10)\n";
const MEMRAY: &str = "HEADER magic=memray version=13 file_format=ALL_ALLOCATIONS n_allocations=2 \
                      start_time=1000 main_tid=1 command_line=app.py python_allocator=pymalloc \
                      trace_python_allocators=true\n\
                      ALLOCATION address=0x10 size=64 allocator=pymalloc_malloc native_frame_id=0\n\
                      ALLOCATION address=0x10 size=0 allocator=pymalloc_free native_frame_id=0\n\
                      TRAILER\n";

/// A log that grows while it is read ends where it ended at first. One that changes is refused.
#[test]
fn a_log_that_changes_while_it_is_read() {
    let imports = Imports::new();
    let line = "@ ./app:[0x11b0] + 0x7f0000000010 0x40\n@ ./app:[0x11b4] - 0x7f0000000010\n";
    let log = imports.write("log", format!("= Start\n{}", line.repeat(150_000)));
    let before = std::fs::metadata(&log).unwrap().len();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                file.write_all(line.as_bytes()).unwrap();
                // A slow machine reads for a while; the file does not fill its disk meanwhile.
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
        });
        let result = imports.import_with(&["log"]);
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        result.reports("while it was read");
        let rows = result.trace().rows.len() as u64;
        assert!(rows >= 150_000, "{rows}");
        // The length may be taken in the middle of a write: then the last free is not there yet.
        let calls = result.trace().calls;
        assert!(calls == 2 * rows || calls == 2 * rows - 1, "{calls} calls of {rows} blocks");
    });
    assert!(std::fs::metadata(&log).unwrap().len() > before);
    // Other bytes of the same length.
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let (is_over, log) = (&is_over, &log);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            use std::os::unix::fs::FileExt as _;
            let file = std::fs::OpenOptions::new().write(true).open(log).unwrap();
            let mut size = 0x40;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                size ^= 0x11;
                let line = format!("@ ./app:[0x11b0] + 0x7f0000000010 {size:#x}\n");
                file.write_all_at(line.as_bytes(), 8).unwrap();
                std::thread::sleep(std::time::Duration::from_micros(300));
            }
        });
        let result = imports.import_with(&["log"]);
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        // Either all bytes were the same in both readings, or the change is reported.
        if result.code != 0 {
            result.refused("changed while it was read");
        }
    });
}

/// What was compiled is what was hashed: a trace that another takes the place of meanwhile is refused.
#[test]
fn a_trace_that_is_replaced_while_it_is_read() {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    let imports = Imports::new();
    let bytes = std::fs::read(repository("traces/service.trace")).unwrap();
    let path = imports.write("a.trace", &bytes);
    let mut command = heaplay();
    command.arg("run").arg(&path).args(["-b", "null", "--passes", "footprint", "-r", "1", "-o"]);
    command.arg(imports.path("run"));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                let other = imports.write("other", &bytes);
                std::fs::rename(other, &path).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let output = command.output();
        is_over.store(true, Relaxed);
        let output = output.unwrap();
        let message = both(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains("a.trace: the file changed while it was read"), "{message}");
    });
    expect(0, &mut command);
}

/// A format is recognised by its functions, not by the shape of a line.
#[test]
fn other_tools_have_their_names() {
    let imports = Imports::new();
    for (text, part) in [
        ("12 brk(NULL) = 0x55d5c1a2b000\n", "strace"),
        ("brk(NULL)                               = 0x55d5c1a2b000\nexit_group(0) = ?\n", "strace"),
        ("[pid 77] mmap(NULL, 8192, PROT_READ) = 0x7f1200000000\n", "strace"),
        ("12:30:01.12 openat(AT_FDCWD, \"/etc/ld.so.cache\") = 3\n", "strace"),
        (
            "malloc(64)                       = 0x55d5c1a2b2a0\nfree(0x55d5c1a2b2a0)  = <void>\n",
            "ltrace",
        ),
        ("[pid 9] libc.so.6->malloc(8) = 0x55d5c1a2b2a0\n", "ltrace"),
        ("desc: --massif-out-file=x\ncmd: ./app\ntime_unit: i\n#-----------\n", "massif"),
        ("{\"dhatFileVersion\":2\n,\"mode\":\"heap\"\n", "DHAT"),
        ("heap profile:   1:   24 [  1:  24] @ heapprofile\n", "heap profile"),
        ("heap_v2/524288\n  t*: 1: 2 [0: 0]\n", "heap profile"),
        ("==7== Memcheck, a memory error detector\n==7== \n", "--trace-malloc=yes"),
        ("<!DOCTYPE html>\n<html>\n", "HTML"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        ("[{\"a\": 1}]\n", "JSON"),
    ] {
        imports.import(text).refused(part).refused("input: ");
    }
    for (bytes, part) in [
        (b"\xFF\xFEm\0a\0l\0".as_slice(), "UTF-16"),
        (b"memray\x0d\0\0\0", "memray parse"),
        (b"\x7fELF\x02\x01\x01\0", "ELF"),
        (b"7z\xBC\xAF\x27\x1C\0\x04", "7z"),
        (b"hplayraw\x02\0\0\0", "record"),
        (b"\0\x01\x02\x03", "binary data"),
        (b"", "an empty file"),
    ] {
        imports.import(bytes).refused(part);
        let path = imports.path("input");
        for verb in ["inspect", "verify"] {
            let message = expect(2, heaplay().arg(verb).arg(&path));
            assert!(message.contains(part), "{verb}: {message}");
        }
    }
    // heaplay's own files, given to the other verb.
    let own = repository("traces/hello.trace");
    let message = expect(2, heaplay().arg("import").arg(&own));
    assert!(message.contains("heaplay inspect"), "{message}");
    let csv = repository("traces/hello.csv");
    let message = expect(2, heaplay().arg("import").arg(&csv));
    assert!(message.contains("heaplay inspect"), "{message}");
    let log = imports.write("log", MTRACE);
    let message = expect(2, heaplay().arg("inspect").arg(&log));
    assert!(message.contains("mtrace") && message.contains("heaplay import"), "{message}");
}

/// A stranger's file of any kind: each verb says in one line what it is, and what to do.
#[test]
fn each_verb_names_each_file() {
    let imports = Imports::new();
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let cut = gzip(ANDROID.repeat(500).as_bytes());
    let none: [(&str, &[u8], &str, &str); 5] = [
        ("app", b"\x7fELF\x02\x01\x01\0\0\0\0\0", "ELF", "heaplay record"),
        ("plot.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG picture", "give the trace"),
        ("empty", b"", "an empty file", "record it again"),
        ("log.gz", &cut[..cut.len() / 2], "ends early", "copy it again"),
        ("package.json", b"{\"name\": \"web\"}\n", "JSON", "give a recording"),
    ];
    let mut files: Vec<(PathBuf, &str, &str)> = none
        .iter()
        .map(|(name, bytes, kind, next)| {
            let path = imports.path(name);
            std::fs::write(&path, bytes).unwrap();
            (path, *kind, *next)
        })
        .collect();
    for (format, sample) in SAMPLES {
        let foreign = FOREIGN.iter().find(|foreign| foreign.name == *format).unwrap();
        let path = repository("tests/samples").join(sample);
        files.push((path, foreign.description, "heaplay import"));
    }
    for (path, kind, next) in files {
        let out = imports.path("out.trace");
        let verbs: [(&str, Vec<&std::path::Path>); 4] = [
            ("inspect", vec![&path]),
            ("convert", vec![&path, &out]),
            ("run", vec![&path]),
            ("check", vec![&path, &path]),
        ];
        for (verb, arguments) in verbs {
            let output = finish(heaplay().arg(verb).args(arguments));
            let message = both(&output);
            assert_eq!(output.status.code(), Some(2), "{verb}: {message}");
            assert_eq!(message.trim_end().lines().count(), 1, "{verb}: {message}");
            let name = path.file_name().unwrap().to_str().unwrap();
            for part in [name, kind, next] {
                assert!(message.contains(part), "{verb}: {part} is not in {message}");
            }
        }
        assert!(!out.exists());
    }
}

/// An import without a row is an error.
#[test]
fn a_log_without_an_allocation() {
    let imports = Imports::new();
    imports.import("= Start\n= End\n").refused("no allocation");
    imports.import("7 8 jemalloc_stats()\n7 8 free(0x0)\n").refused("no allocation");
    imports
        .import("HEADER magic=memray file_format=ALL_ALLOCATIONS\nTRAILER\n")
        .refused("no alloc");
    imports.import("1\n1\n0\n1\n").refused("no allocation");
    imports.import("9: calloc 0x0 4 16\n").refused("no allocation");
}

/// A last line without its end may be cut within a number. It is left out and reported.
#[test]
fn a_last_line_without_its_end() {
    let imports = Imports::new();
    for (text, rows) in [
        ("= Start\n@ a:[0x1] + 0x10 0x20\n@ a:[0x1] + 0x90 0x1", 1),
        ("9: malloc 0x10 8\n9: malloc 0x20 10", 1),
        ("7 8 malloc(8)=0x10\n7 8 malloc(64)=0x2", 1),
        ("a 0 16\na 1 10", 1),
        ("--5-- malloc(8) = 0x10\n--5-- malloc(8) = 0x2", 1),
        ("v 10400 3\nX app\na 8 0\n+ 0\n+ 0\n+ 1", 2),
        (
            "Thread,Time,Action,Pointer,Size,Stream\n1,11:00:00.5,allocate,0x10,8,0x0\n\
             1,11:00:00.5,allocate,0x20,100,0",
            1,
        ),
    ] {
        let result = imports.import(text);
        result.reports("no line feed");
        assert_eq!(result.trace().rows.len(), rows, "{text}");
    }
    let cut = MEMRAY.split("_free").next().unwrap();
    let result = imports.import(cut);
    result.reports("no line feed").reports("no trailer");
    assert_eq!(result.trace().calls_only(), ["0 malloc 64 -"]);
    // A header that counts the requests shows that the last line is whole.
    let result = imports.import("100\n1\n2\n1\na 0 16\nf 0");
    assert!(!result.message.contains("line feed"), "{}", result.message);
    assert_eq!(result.trace().calls_only(), ["0 malloc 16 1"]);
    imports.import("100\n2\n3\n1\na 0 16\na 1 32\nf 0").trace();
}

/// A CSV whose last line has no line feed may be cut within its last field.
#[test]
fn a_csv_without_its_last_line_feed() {
    let imports = Imports::new();
    let path = imports.write("app.csv", "op,size,lifetime\nmalloc,8,\nmalloc,1000,");
    let message = expect(0, heaplay().arg("inspect").arg(&path));
    assert!(message.contains("no line feed"), "{message}");
}

#[test]
fn a_realloc_to_nothing_is_a_free() {
    let imports = Imports::new();
    let result = imports.import("0\n1\n2\n0\na 0 16\nr 0 0\n");
    assert_eq!(
        (result.trace().calls_only(), result.trace().calls),
        (vec!["0 malloc 16 1".into()], 2)
    );
    // The null pointer that it leaves is freed by nobody, and resized to a new block.
    let result = imports.import("a 0 16\nr 0 0\nf 0\nr 0 0\nr 0 24\nf 0\n");
    assert_eq!(result.trace().calls_only(), ["0 malloc 16 1", "2 malloc 24 1"]);
    assert!(!result.message.contains("no birth"), "{}", result.message);
    for text in [
        "9: malloc 0x10 16\n9: realloc 0x0 0x10 0\n",
        "7 8 malloc(16)=0x10\n7 8 realloc(0x10,0)=0x0\n",
        "7 8 malloc(16)=0x10\n7 8 realloc(0x10,0)=(nil)\n",
        "--5-- malloc(16) = 0x10\n--5-- realloc(0x10,0)free(0x10)\n--5--  = 0\n",
    ] {
        let result = imports.import(text);
        assert_eq!(result.trace().calls_only(), ["0 malloc 16 1"], "{text}");
        assert_eq!(result.trace().calls, 2, "{text}");
    }
}

/// Counts that a log states are compared with what it has.
#[test]
fn stated_counts() {
    let imports = Imports::new();
    let result = imports.import("100\n3\n2\n1\na 0 8\na 1 8\na 2 8\n");
    result.reports("states 2 calls and has 3");
    assert_eq!(result.trace().rows.len(), 3);
    imports.import("100\n3\n4\n1\na 0 8\na 1 8\na 2 8\n").refused("3 of 4 requests");
    let doubled =
        MEMRAY.replace("TRAILER", "ALLOCATION address=0x20 size=8 allocator=malloc\nTRAILER");
    imports.import(doubled).reports("states 2 calls and has 3");
}

/// Whose block it is stands in the file.
#[test]
fn domains_of_logs() {
    let imports = Imports::new();
    let added = "ALLOCATION address=0x20 size=8 allocator=malloc native_frame_id=0\n\
                 ALLOCATION address=0x30 size=8 allocator=pymalloc_calloc native_frame_id=0\n\
                 ALLOCATION address=0x40 size=8 allocator=memalign native_frame_id=0\nTRAILER";
    let result = imports.import(MEMRAY.replace("TRAILER", added));
    result.reports("requests by domain: obj 50.0 %, raw 50.0 %");
    assert_eq!(result.trace().field(6), ["obj", "raw", "obj", "raw"]);
}

/// What stands behind the end of a log is of another log.
#[test]
fn two_logs_in_one_file() {
    let imports = Imports::new();
    imports.import(MTRACE.repeat(2)).refused("input:4: ").refused("a second `= Start`");
    imports.import(format!("{MTRACE}@ a:[0x1] + 0x30 0x8\n")).refused("behind `= End`");
    imports.import(MEMRAY.repeat(2)).refused("a second header");
    imports.import(format!("{MEMRAY}CONTEXT_SWITCH tid=1\n")).refused("behind the trailer");
    let rmm = "Thread,Time,Action,Pointer,Size,Stream\n1,11:00:00.5,allocate,0x10,8,0x0\n";
    imports.import(rmm.repeat(2)).refused("a second header");
    imports.import("v 10400 3\nX a\na 8 0\n+ 0\n".repeat(2)).refused("a second version");
}

/// Arguments of a program and names of files may look like fields.
#[test]
fn free_text_is_not_searched_for_fields() {
    let imports = Imports::new();
    let text = MEMRAY
        .replace("app.py ", "app.py python_allocator=x trace_python_allocators=true ")
        .replace("trace_python_allocators=true\n", "trace_python_allocators=false\n");
    let result = imports.import(&text);
    assert_eq!(result.trace().facts["memray_saw"], "the C library's allocator only");
    let program = &result.trace().facts["program"];
    assert_eq!(program, "app.py python_allocator=x trace_python_allocators=true");
    // A field of the recording is found before the command line only.
    let text = MEMRAY.replace("app.py ", "app.py file_format=X start_time=5 ");
    imports.import(&text).trace();
    let frames = "CODE_OBJECT code_id=1 function_name=f filename=/a firstlineno=9 b/m.py \
                  firstlineno=3 linetable_size=12\nFRAME_PUSH code_object_id=1 is_entry_frame=1\n\
                  ALLOCATION address=0x10 ";
    let text = MEMRAY.replacen("ALLOCATION address=0x10 ", frames, 1);
    assert_eq!(
        imports.import(&text).trace().rows[0].split(' ').skip(7).collect::<Vec<_>>().join(" "),
        "/a firstlineno=9 b/m.py:3"
    );
    // A command line with line feeds, as `python -c` has.
    let text = MEMRAY.replace("app.py ", "-c import x\nx.go()\n\nx.stop() ");
    let result = imports.import(&text);
    assert_eq!(result.trace().facts["program"], "-c import x\nx.go()\nx.stop()");
    assert!(!result.message.contains("no call of this log"), "{}", result.message);
    let place = "= Start\n@ ./my app + 0x1 - 0x2:[0x1] + 0x10 0x8\n";
    assert_eq!(
        imports.import(place).trace().rows,
        ["0 malloc 8 - 0 0 obj ./my app + 0x1 - 0x2:[0x1]"]
    );
}

/// Numbers that are no time are not read as one.
#[test]
fn numbers_that_are_no_time() {
    let imports = Imports::new();
    let result = imports.import(
        "9: malloc 0x10 200000 7200000000000 7200000000100\n9: free 0x10 0 0 4096\n9: malloc 0x20 8\n",
    );
    assert_eq!(result.trace().field(5), ["0", "0"]);
    let present = &result.trace().process.present;
    assert_eq!((present[0].event, present[0].bytes), (0, 4096));
    let result = imports.import("9: malloc 0x10 16 0 0\n9: malloc 0x20 8 0 0\n");
    let message = expect(0, heaplay().arg("inspect").arg(imports.path("out.trace")));
    assert!(!message.contains("recorded over"), "{message}");
    assert_eq!(result.trace().field(5), ["0", "0"]);
    // A lone number is the end of a thread, and nothing else.
    imports.import("9: malloc 0x10 16 5\n").refused("begin and end");
    let text = "9: malloc 0x10 16 100 110\n9: thread_done 0x0 900\n8: malloc 0x20 8 150 160\n";
    assert_eq!(imports.import(text).trace().field(5), ["0", "50"]);
    // A time before the first one counts as that.
    let text = "9: malloc 0x10 16 100 110\n8: malloc 0x20 8 50 160\n";
    let result = imports.import(text);
    result.reports("1 time lies before the first one");
    assert_eq!(result.trace().field(5), ["0", "0"]);
}

/// Sums over 2^64 are exact or refused.
#[test]
fn sums_over_2_to_the_64() {
    let Some((_, python)) = interpreters::find_of(6..=13).pop() else { return };
    let imports = Imports::new();
    let script = "import tracemalloc as t\nrow = (0, 2 ** 47, ((\"a.py\", 1),), 1)\n\
                  s = t.Snapshot([row[:3]] * 140000, 1)\n\
                  s.traces._traces = [(0, 2 ** 47, ((\"a.py\", n % 3),)) for n in range(140000)]\n\
                  s.dump(\"big\")";
    let mut command = Command::new(python);
    command.current_dir(imports.path("")).args(["-c", script]);
    expect(0, &mut command);
    let shown = expect(0, heaplay().arg("import").arg(imports.path("big")));
    let shown: String = shown.chars().filter(|letter| !letter.is_whitespace()).collect();
    assert!(shown.contains("17920000TiB"), "{shown}");
    assert!(shown.contains("100.0%") && !shown.contains("1468"), "{shown}");
    // A trace of it has more bytes than a clock of 64 bits counts.
    imports.import_with(&["big"]).trace();
    for verb in ["inspect", "verify"] {
        let message = expect(2, heaplay().arg(verb).arg(imports.path("out.trace")));
        assert!(message.contains("2^62"), "{verb}: {message}");
    }
}

/// Ids of threads and processes have 64 bits, and the trace has them.
#[test]
fn ids_of_64_bits() {
    let imports = Imports::new();
    let id = 140_135_846_332_224_u64;
    for text in [
        format!("7 {id} malloc(64)=0x10\n7 {id} free(0x10)\n"),
        format!("{id} 9 malloc(64)=0x10\n{id} 9 free(0x10)\n").replace(" 9 ", &format!(" {id} ")),
        format!("{id}: malloc 0x10 64\n{id}: free 0x10\n"),
        MEMRAY.replace("main_tid=1", &format!("main_tid={id}")),
        format!("{id},11:00:00.5,allocate,0x10,64,0x0\n{id},11:00:00.6,free,0x10,64,0x0\n"),
    ] {
        let result = imports.import(&text);
        assert_eq!(result.trace().calls_only(), ["0 malloc 64 1"], "{text}");
        assert_eq!(result.trace().field(4), ["1"], "{text}");
        assert_eq!(result.trace().process.threads[0].id, id, "{text}");
    }
}

/// The log's own ids, names and ends of threads are in the trace.
#[test]
fn threads_of_logs() {
    let imports = Imports::new();
    let text = "5: malloc 0x10 8\n6: malloc 0x20 8\n6: thread_done 0x0 70\n5: free 0x10\n\
                6: malloc 0x30 8\n7: thread_done 0x0\n";
    let result = imports.import(text);
    let threads = &result.trace().process.threads;
    let found: Vec<_> = threads.iter().map(|thread| (thread.id, thread.death)).collect();
    // The second thread 6 is another one; thread 7 made no call.
    assert_eq!(found, [(5, None), (6, Some(2)), (6, None), (7, Some(4))]);
    assert_eq!(result.trace().field(4), ["1", "2", "3"]);
    let text = MEMRAY.replacen("\nALLOC", "\nCONTEXT_SWITCH tid=77\nTHREAD worker\nALLOC", 1);
    let result = imports.import(text);
    assert_eq!(result.trace().process.threads[0].name, "worker");
    assert_eq!(result.trace().process.threads[0].id, 77);
}

/// A call that failed changes nothing and is counted.
#[test]
fn calls_that_failed() {
    let imports = Imports::new();
    for text in [
        "= Start\n@ a:[0x1] + (nil) 0xffffffffffffff9c\n@ a:[0x1] + 0x10 0x8\n",
        "9: calloc 0x0 4611686018427387904 16\n9: malloc 0x10 8\n",
        "9: malloc 0x0 18446744073709551516\n9: malloc 0x10 8\n",
        "7 8 malloc(18446744073709551516)=(nil)\n7 8 malloc(8)=0x10\n",
        "7 8 calloc(4611686018427387904,16)=0x0\n7 8 malloc(8)=0x10\n",
        "--5-- malloc(18446744073709551516)Argument 'size' of function malloc has a fishy value\n\
         --5--  = 0x0\n--5-- malloc(8) = 0x10\n",
        "1,11:00:00.5,allocate failure,0x0,99999999999999,0x0\n1,11:00:00.6,allocate,0x10,8,0x0\n",
    ] {
        let result = imports.import(text);
        result.reports("1 call failed in the program");
        assert_eq!(result.trace().calls_only(), ["0 malloc 8 -"], "{text}");
    }
    let text = "9: malloc 0x10 8\n9: realloc 0x0 0x10 99999999999999999\n9: free 0x10\n";
    let result = imports.import(text);
    result.reports("1 call failed");
    assert_eq!(result.trace().calls_only(), ["0 malloc 8 1"]);
}

/// Courses have dialects of the malloc-lab trace.
#[test]
fn dialects_of_malloc_lab() {
    let imports = Imports::new();
    let body = "a 0 16\na 1 32\nr 0 64\nf 1\nf 0\n";
    let expected = ["0 malloc 16 2", "1 malloc 32 2", "2 realloc 64 2"];
    for text in [
        body.to_owned(),
        format!("20000\n2\n5\n1\n{body}"),
        format!("20000 2 5 1\n{body}"),
        format!("2\n5\n{body}"),
        format!("20000\n2\n5\n{body}"),
        format!("2\n5\n1\n{body}"),
        format!("20000\n2\n5\n1.0\n{body}"),
        format!("20000\n2\n5\n-1\n{body}"),
        format!("# a comment\n20000\n2 # ids\n5\n1\n\n{}", body.replace("a ", "  a ")),
        format!("20000\r\n2\r\n5\r\n1\r\n{}", body.replace('\n', "\r\n")),
        body.replacen("a 0", "r 0", 1),
        body.replace("f 1", "f 1  # the second"),
    ] {
        let result = imports.import(&text);
        assert_eq!(result.trace().calls_only(), expected, "{text}");
        assert!(!result.message.contains("states"), "{text}: {}", result.message);
    }
    imports.import(format!("2\n9\n{body}")).refused("5 of 9");
    imports.import(format!("1\n2\n3\n4\n5\n{body}")).refused("at most four numbers");
}

/// What stands before and between the lines of a log is counted and left out.
#[test]
fn lines_of_others_in_a_log() {
    let imports = Imports::new();
    for text in [MTRACE, ANDROID, FIREFOX, MEMRAY] {
        let plain = imports.import(text);
        let plain = &plain.trace().rows;
        let marked = format!("\u{feff}{text}");
        assert_eq!(&imports.import(marked).trace().rows, plain, "{text}");
        assert_eq!(&imports.import(format!("\n\n{text}")).trace().rows, plain, "{text}");
        let banner = imports.import(format!("Welcome to the app, version 3\n{text}"));
        banner.reports("1 line was left out: it is no call");
        assert_eq!(&banner.trace().rows, plain, "{text}");
        let (first, rest) = text.split_once('\n').unwrap();
        let between = imports.import(format!("{first}\nhello, world\nWARNING: (x)\n{rest}"));
        between.reports("2 lines were left out");
        assert_eq!(&between.trace().rows, plain, "{text}");
    }
}

/// Numbers as pandas writes them, and the separators of spreadsheets.
#[test]
fn csv_as_other_programs_write_it() {
    let imports = Imports::new();
    let inspect = |text: &str| {
        let path = imports.write("app.csv", text);
        let printed = expect(0, heaplay().args(["inspect", "--json"]).arg(path));
        let value: serde_json::Value = serde_json::from_str(&printed).expect("JSON only");
        (value["calls"].as_u64(), value["requested_bytes"].as_u64(), value["survivors"].as_u64())
    };
    let plain = inspect("event,op,size,lifetime,thread\n0,malloc,64,2,1\n1,malloc,24,,1\n");
    assert_eq!(plain, (Some(3), Some(88), Some(1)));
    for text in [
        "event,op,size,lifetime,thread\n0.0,malloc,64.0,2.0,1.0\n1.0,malloc,24.0,NaN,1\n",
        "event, op, size, lifetime, thread\n0, malloc, 64, 2, 1\n1, malloc, 24, , 1\n",
        "event;op;size;lifetime;thread\n0;malloc;64;2;1\n1;malloc;24;;1\n",
        "event\top\tsize\tlifetime\tthread\n0\tmalloc\t64\t2\t1\n1\tmalloc\t24\t\t1\n",
        "\u{feff}event,op,size,lifetime,thread\r\n0,malloc,64,2,1\r\n1,malloc,24,nan,1\r\n",
        "event,op,size,lifetime,thread\n0,malloc,64,2,140135846332224\n1,malloc,24,,7\n",
        "event,op,size,lifetime,thread\n0,malloc,64,2,1\n1,malloc,24,None,1\n",
        "\n\r\nevent,op,size,lifetime,thread\n0,malloc,64,2,1\n1,malloc,24,,1\n",
        "event,op,size,lifetime,thread\n0,malloc,6.4e1,2,1\n1,malloc,24,<NA>,1\n",
    ] {
        assert_eq!(inspect(text), plain, "{text}");
    }
    for (text, part) in [
        ("op,size,lifetime\nmalloc,64.5,\n", "size"),
        ("op,size,lifetime\nmalloc,NaN,\n", "size"),
        ("op,size,lifetime\nmalloc,8,inf\n", "lifetime"),
        ("op,size,lifetime\nmalloc,1e99,\n", "size"),
    ] {
        let path = imports.write("app.csv", text);
        let message = expect(2, heaplay().arg("inspect").arg(path));
        assert!(message.contains("app.csv:2: ") && message.contains(part), "{message}");
    }
}

/// One unreadable file of a folder does not end the run over all of it.
#[test]
fn an_unreadable_file_in_a_folder() {
    let imports = Imports::new();
    let folder = imports.path("traces");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("good.csv"), "op,size,lifetime\nmalloc,64,1\n").unwrap();
    std::fs::write(folder.join("bad.csv"), "op,size,lifetime\nmalloc,x,1\n").unwrap();
    std::fs::write(folder.join("other.trace"), "hello\n").unwrap();
    let out = imports.path("run");
    let mut command = heaplay();
    command.arg("run").arg(&folder).args(["-r", "1", "-o"]).arg(&out);
    let output = finish(command.args(["-b", "malloc", "--passes", "footprint", "--no-floor"]));
    let text = both(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("bad.csv:2: ") && text.contains("other.trace"), "{text}");
    assert!(text.contains("2 files were not measured, of 3"), "{text}");
    // The results begin with it, too: the reasons come after them.
    let (start, reasons) = text.split_once("good: ").expect("the results");
    assert!(start.contains("1 of 3 files is measured. Not measured: "), "{text}");
    assert!(start.contains("bad.csv and ") && start.contains("other.trace;"), "{text}");
    assert!(reasons.contains("not measured, because"), "{text}");
    let rows = std::fs::read_to_string(out.join("measurements.csv")).unwrap();
    assert!(rows.contains("good"), "{rows}");
    // A file that is named itself is refused before anything is measured.
    let mut command = heaplay();
    command
        .arg("run")
        .arg(folder.join("bad.csv"))
        .args(["-r", "1", "-o"])
        .arg(imports.path("run2"));
    let message = expect(2, &mut command);
    assert!(message.contains("bad.csv:2: "), "{message}");
    // A folder with nothing that can be read.
    std::fs::remove_file(folder.join("good.csv")).unwrap();
    let mut command = heaplay();
    command.arg("run").arg(&folder).args(["-r", "1", "-o"]).arg(imports.path("run3"));
    expect(2, &mut command);
}

/// Each reason has a sentence of its own.
#[test]
fn each_reason_has_its_sentence() {
    let imports = Imports::new();
    let result = imports.import("9: realloc 0x20 0x10 8\n9: free 0x20\n9: free 0x30\n");
    result.reports("1 free was of a block").reports("1 realloc was of a block");
    let text = "7 7 malloc(8)=0x10\n8 8 malloc(8)=0x10\n8 8 malloc(9)=0x20\n7 7 jemalloc_stats()\n";
    let result = imports.import(text);
    result
        .reports("2 lines (50.0 %) are of process 8")
        .reports("--process 8")
        .reports("1 line or record was left out: a trace does not hold its kind");
    assert_eq!(result.trace().calls_only(), ["0 malloc 8 -"]);
    let result = imports.import_with(&["input", "--process", "8"]);
    assert_eq!(result.trace().calls_only(), ["0 malloc 8 -", "1 malloc 9 -"]);
    imports.import_with(&["input", "--process", "9"]).refused("--process");
    let text = MEMRAY.replace("TRAILER", "NEW_RECORD x=1\nTRAILER");
    imports.import(text).reports("1 line or record was left out");
}

/// Bytes of a file reach a terminal escaped and cut.
#[test]
fn bytes_of_files_are_escaped() {
    let imports = Imports::new();
    let evil = "\x1b]0;owned\x07";
    let long = "x".repeat(900_000);
    for text in [
        format!("{evil}\n"),
        format!("{long}\n"),
        format!("9: malloc 0x10 8\n9: free {evil}\n"),
        format!("9: malloc 0x10 8\n9: free {long}\n"),
        format!("@ a:[0x1] + 0x10 {evil}{long}\n@ a:[0x1] + 0x10 0x8\n"),
        format!("7 7 malloc(8)=0x10\n7 7 malloc({evil}{long})=0x20\n"),
        format!("{MEMRAY}ALLOCATION {evil}{long}\n"),
        format!("op,size,lifetime\n{evil}{long},8,\n"),
        format!("op,size,lifetime,domain\nmalloc,8,,{evil}{long}\n"),
    ] {
        imports.write("input", &text);
        let name = if text.starts_with("op,") { "inspect" } else { "import" };
        let output =
            finish(heaplay().arg(name).arg(imports.path("input")).args(if name == "import" {
                ["-o", "/dev/null/out.trace"].as_slice()
            } else {
                [].as_slice()
            }));
        let message = both(&output);
        assert_eq!(output.status.code(), Some(2));
        assert!(!message.contains('\x1b') && !message.contains('\x07'), "{message:?}");
        assert!(message.len() < 1500, "{}", message.len());
    }
    // Facts and sites of a trace that is shown.
    imports.import(format!("= Start\n@ {evil}:[0x1] + 0x10 0x8\n")).trace();
    let shown = expect(0, heaplay().arg("inspect").arg(imports.path("out.trace")));
    assert!(!shown.contains('\x1b') && shown.contains("\\u{1b}"), "{shown:?}");
    let bytes = MEMRAY.replace("app.py ", &format!("app.py {evil} "));
    imports.import(bytes).trace();
    let shown = expect(0, heaplay().arg("inspect").arg(imports.path("out.trace")));
    assert!(!shown.contains('\x1b'), "{shown:?}");
}

/// Of a long line, the part around the faulty field is shown, with its column.
#[test]
fn the_faulty_field_of_a_long_line_is_shown() {
    let imports = Imports::new();
    let long = "9".repeat(300);
    let blanks = " ".repeat(300);
    let name = "n".repeat(300);
    let heaptrack = "v 10300 2\nX ./app\ns libc.so\na 40 0\n";
    let functions = "1 ".repeat(200);
    let memray = |record: &str| MEMRAY.replace("TRAILER", record);
    for (log, field, column) in [
        (format!("{FIREFOX}7 8 calloc({blanks}4,x5)=0x20\n"), "x5", 314),
        (format!("{FIREFOX}7 8 malloc(8)={blanks}0xzz\n"), "0xzz", 315),
        (format!("{FIREFOX}7 8 free({blanks}0x10)=0x99\n"), "0x99", 316),
        (format!("{FIREFOX}7 8 malloc({long})=0x20\n"), "9999999999", 12),
        (format!("--7-- malloc(8) = 0x10\n--7-- calloc({blanks}4,-5) = 0x20\n"), "-5", 316),
        (format!("--7-- malloc(8) = 0x10\n--7-- malloc(8) = {blanks}0y20\n"), "0y20", 319),
        (format!("--7-- malloc(8) = 0x10\n--7-- free(0x10){blanks}?\n"), "?", 317),
        (format!("{heaptrack}i 10 1 {functions}zz\n"), "zz", 408),
        (format!("{heaptrack}t 1 {blanks}77\n"), "77", 305),
        (memray(&format!("CONTEXT_SWITCH x={name} tid=1z")), "1z", 323),
        (memray(&format!("CODE_OBJECT code_id=1 filename={name} firstlineno=q")), "q", 345),
        (memray(&format!("ALLOCATION x={name} address=0x10 size=8k allocator=a")), "8k", 333),
        (memray(&format!("ALLOCATION x={name} address=0x10 size=8 allocator=mal")), "mal", 345),
    ] {
        // The column is counted here once more, in the text itself.
        let line = log.lines().last().unwrap();
        assert_eq!(line[column - 1..].find(field), Some(0), "{line}");
        imports.write("input", &log);
        let output = finish(
            heaplay().arg("import").arg(imports.path("input")).args(["-o", "/dev/null/out.trace"]),
        );
        let message = both(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(field), "{message}");
        assert!(message.contains(&format!("at column {column} of `")), "{message}");
        assert!(message.contains(&format!("input:{}: ", log.lines().count())), "{message}");
        assert!(message.chars().count() < 600, "{message}");
    }
    // A field that is missing is named.
    imports.import(memray(&format!("ALLOCATION x={name} address=0x10"))).refused("no `size=` in");
}

/// Another pickle is described by what it holds.
#[test]
fn other_pickles_are_described() {
    let Some((_, python)) = interpreters::find_of(6..=13).pop() else { return };
    let imports = Imports::new();
    let script = r#"
import pickle, collections, tracemalloc
tracemalloc.start()
s = tracemalloc.take_snapshot()
for name, value in [("list", [1, 2]), ("dict", {"segments": [1], "device_traces": []}),
                    ("ordered", collections.OrderedDict(a=1)), ("two", [s, s])]:
    for protocol in range(5):
        with open("%s.%d" % (name, protocol), "wb") as file:
            pickle.dump(value, file, protocol=protocol)
"#;
    let mut command = Command::new(python);
    expect(0, command.current_dir(imports.path("")).args(["-c", script]));
    for (name, part) in [
        ("list", "a list of 2"),
        ("dict", "a dict with `segments`, `device_traces`"),
        ("ordered", "collections.OrderedDict"),
        ("two", "a list of 2"),
    ] {
        for protocol in 0..5 {
            let file = format!("{name}.{protocol}");
            imports.import_with(&[&file]).refused(part).refused("tracemalloc");
        }
    }
}

/// A pipe can be read only once.
#[test]
fn a_pipe_is_refused_with_the_next_step() {
    let imports = Imports::new();
    imports.write("log", MTRACE);
    for verb in ["import /dev/stdin -o out.trace", "inspect /dev/stdin", "verify /dev/stdin"] {
        let heaplay = env!("CARGO_BIN_EXE_heaplay");
        let mut command = Command::new("sh");
        command.current_dir(imports.path("")).arg("-c").arg(format!("cat log | {heaplay} {verb}"));
        let message = expect(2, &mut command);
        assert!(message.contains("a pipe") && message.contains("save its bytes"), "{message}");
    }
}

/// An import of many threads takes time in proportion to its length.
#[test]
fn many_threads() {
    let imports = Imports::new();
    let log: String = (0..80_000u64)
        .map(|n| format!("{}: malloc {:#x} 8\n", n * 1000 + 1, n * 16 + 16))
        .collect();
    imports.write("log", log);
    let started = std::time::Instant::now();
    let result = imports.import_with(&["log"]);
    // It took 11 seconds where it was quadratic.
    assert!(started.elapsed().as_secs() < 6, "{:?}", started.elapsed());
    assert_eq!(result.trace().process.threads.len(), 80_000);
    let shown = expect(0, heaplay().arg("inspect").arg(imports.path("out.trace")));
    assert!(shown.lines().count() < 200, "{} lines", shown.lines().count());
    assert!(shown.contains("79980 others"), "{shown}");
}

/// The table of lifetimes has every block, however many bytes a trace requests.
#[test]
fn long_lifetimes_are_in_the_table() {
    let imports = Imports::new();
    let rows =
        "malloc,8,7\nmalloc,1099511627776,1\nmalloc,1099511627776,1\nmalloc,1099511627776,1\n";
    let path = imports.write("big.csv", format!("op,size,lifetime\n{rows}"));
    let shown = expect(0, heaplay().arg("inspect").arg(path)).replace('\u{a0}', " ");
    let row =
        shown.lines().find(|line| line.contains("within 4.0 TiB") || line.contains("within 4 TiB"));
    let row = row.unwrap_or_else(|| panic!("{shown}"));
    assert!(row.contains("100.0 %"), "{shown}");
}

/// A block larger than memory is refused by its call, before a page of it is written.
#[test]
fn a_request_larger_than_memory() {
    let imports = Imports::new();
    let path = imports.write("big.csv", "op,size,lifetime\nmalloc,64,\nmalloc,99999999999999,\n");
    let started = std::time::Instant::now();
    let mut command = heaplay();
    command.arg("run").arg(path).args(["-r", "1", "-o"]).arg(imports.path("run"));
    let output = finish(command.args(["-b", "malloc", "--passes", "footprint", "--no-floor"]));
    let text = both(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("call 1 of the trace") && text.contains("--memory-limit"), "{text}");
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

/// The figures of resident memory say what the replay touches.
#[test]
fn written_pages_are_reported_beside_resident_memory() {
    let imports = Imports::new();
    let path = imports.write("app.csv", "op,size,lifetime\nmalloc,64,\nmalloc,100000,1\n");
    let mut command = heaplay();
    command.arg("run").arg(path).args(["-r", "1", "-o"]).arg(imports.path("run"));
    let printed = expect(0, command.args(["-b", "malloc", "--passes", "footprint", "--no-floor"]));
    assert!(printed.contains("writes every page of every block"), "{printed}");
    let pages: Vec<_> = walk(&imports.path("run"))
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "html"))
        .collect();
    assert!(!pages.is_empty());
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.contains("writes every page of every block"), "{}", page.display());
    }
}

/// All files below a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// A compressed trace is read by every verb that reads traces.
#[test]
fn compressed_traces() {
    let imports = Imports::new();
    let text = "op,size,lifetime\nmalloc,64,1\n";
    let packed = |name: &str, program: &[&str]| {
        let plain = imports.write("app.csv", text);
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(&plain).stderr(std::process::Stdio::null());
        let Ok(output) = command.output() else { return };
        imports.write(name, output.stdout);
        for verb in ["inspect", "verify"] {
            expect(0, heaplay().arg(verb).arg(imports.path(name)));
        }
    };
    packed("app.csv.gz", &["gzip", "-c"]);
    packed("app.csv.xz", &["xz", "-c"]);
    packed("app.csv.zst", &["zstd", "-c"]);
    // Packed twice.
    let once = imports.path("app.csv.gz");
    let twice = Command::new("gzip").arg("-c").arg(once).output().map(|output| output.stdout);
    if let Ok(twice) = twice {
        let path = imports.write("twice.gz", twice);
        expect(0, heaplay().arg("inspect").arg(path));
    }
}
