//! A file or an option that is refused is named with what is wrong in it, and with a next step that
//! works.

use std::path::Path;
use std::process::Command;

use heaplay::trace;
use ruzstd::encoding::CompressionLevel;

use crate::support::imports::Imports;
use crate::support::process::{both, expect, finish, heaplay, repository};
use crate::support::{interpreters, libraries};

const MTRACE: &str = "= Start\n@ ./app:[0x11b0] + 0x5599d9d342a0 0x1000\n= End\n";
const RMM: &str = "Thread,Time,Action,Pointer,Size,Stream\n1,11:00:00.5,allocate,0x10,8,0x0\n";

/// What a verb prints that refuses a file.
#[track_caller]
fn refusal(verb: &[&str], file: &Path) -> String {
    expect(2, heaplay().args(verb).arg(file))
}

#[track_caller]
fn has_all(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
}

/// Of a trace without a whole part, no verb advises to save it.
#[test]
fn a_trace_that_was_cut_before_its_first_row() {
    let imports = Imports::new();
    let bytes = std::fs::read(repository("traces/hello.trace")).unwrap();
    let cut = imports.write("cut.trace", &bytes[..30]);
    let out = imports.path("out.trace");
    let mut salvage = heaplay();
    salvage.args(["convert", "--salvage"]).arg(&cut).arg(&out);
    let mut convert = heaplay();
    convert.arg("convert").arg(&cut).arg(&out);
    let messages = [expect(2, &mut salvage), expect(2, &mut convert), refusal(&["inspect"], &cut)];
    for message in messages {
        has_all(&message, &["cut.trace: cut off", "nothing of it can be saved", "record again"]);
        assert!(!message.contains("--salvage"), "{message}");
    }
    assert!(!out.exists());
    // Of one that was cut later, the advice saves rows.
    let cut = imports.write("late.trace", &bytes[..bytes.len() - 10]);
    if let Err(error) = trace::open(&cut).and_then(|mut reader| {
        while reader.next_row()?.is_some() {}
        Ok(())
    }) {
        has_all(&error.to_string(), &["--salvage"]);
        expect(0, heaplay().args(["convert", "--salvage"]).arg(&cut).arg(&out));
    }
}

#[test]
fn a_process_is_refused_where_a_log_has_none() {
    let imports = Imports::new();
    imports.write("log", MTRACE);
    let result = imports.import_with(&["log", "--process", "77"]);
    result.refused("log: a glibc mtrace log").refused("leave out --process 77");
    imports.write("rmm", RMM);
    imports.import_with(&["rmm", "--process", "77"]).refused("names no processes");
    imports.write("fox", "7 8 malloc(64)=0x10\n7 8 free(0x10)\n");
    imports.import_with(&["fox", "--process", "7"]).trace();
}

/// The field that is wrong, and what it must look like.
#[test]
fn the_faulty_part_of_a_line() {
    let imports = Imports::new();
    for (row, found, expected) in [
        ("x,11:00:00.5,allocate,0x10,8,0x0", "Thread is `x`", "a whole number"),
        ("1,eleven,allocate,0x10,8,0x0", "Time is `eleven`", "11:42:10.025931"),
        ("1,11:00:00.5,alloc,0x10,8,0x0", "Action is `alloc`", "`allocate failure`"),
        ("1,11:00:00.5,free,here,8,0x0", "Pointer is `here`", "0x7f8a40000000"),
        ("1,11:00:00.5,allocate,0x20,-8,0x0", "Size is `-8`", "bytes"),
    ] {
        let result = imports.import(format!("{RMM}{row}\n"));
        result.refused("input:3: ").refused(found).refused(expected);
    }
    for (line, found, expected) in [
        ("9: mallocx 0x10 8", "the action `mallocx`", "thread_done"),
        ("9: malloc 0x10", "a malloc with 1 of 2 arguments", "ADDRESS SIZE"),
        ("9: malloc 0x10 many", "`many` in a malloc", "ADDRESS SIZE"),
        ("9: free zz", "`zz` in a free", "0x7f10"),
    ] {
        let result = imports.import(format!("9: malloc 0x30 8\n{line}\n"));
        result.refused("input:2: ").refused(found).refused(expected);
    }
    for (line, found) in [
        ("@ ./app:[0x1] * 0x10 0x8", "no sign"),
        ("@ ./app:[0x1] + zz 0x8", "`zz` behind `+`"),
        ("@ ./app:[0x1] + 0x10", "1 number behind `+`"),
        ("@ ./app:[0x1] - here", "`here` behind `-`"),
    ] {
        let result = imports.import(format!("= Start\n{line}\n= End\n"));
        result.refused("input:2: ").refused(found);
    }
    // A malloc-lab trace with a faulty line is still one.
    for (text, line) in [
        ("2000\n3\n4\n1\na 0 16\nb 1 16\na 2 32\nf 0\n", "input:6: "),
        ("2000\n3\n4\n1\na 0\na 1 16\na 2 32\nf 1\n", "input:5: "),
    ] {
        imports.import(text).refused(line).refused("`a ID BYTES`");
    }
    imports.import("20 men\nand a dog\n").refused("no");
}

#[test]
fn files_that_are_no_trace_have_their_next_step() {
    let imports = Imports::new();
    for (text, parts) in [
        ("{\"a\": 1}\n", ["JSON, which is no trace", "give a recording"]),
        (
            "{\"allocations\": [{\"address\": 1, \"size\": 16, \"backtrace_id\": 1}]}\n",
            ["bytehound", "export/replay"],
        ),
        ("#!/usr/bin/env python3\nprint(1)\n", ["a Python program", "record -- python3"]),
        ("import os, sys\nx = 1\n", ["a Python program", "record -- python3"]),
        ("from a.b import c\n", ["a Python program", "record -- python3"]),
    ] {
        let file = imports.write("file", text);
        for verb in ["inspect", "import"] {
            has_all(&refusal(&[verb], &file), &parts);
        }
    }
    let file = imports.write("app.py", "x = [1]\n");
    has_all(&refusal(&["inspect"], &file), &["a Python program"]);
    // The entries of `memusage --data`: both peaks first, then heap, stack and time of each call.
    let entries: [[u64; 3]; 5] =
        [[0, 96, 1000], [64, 32, 1900], [16, 0, 1100], [64, 32, 1200], [48, 16, 1900]];
    let bytes: Vec<u8> = entries.as_flattened().iter().flat_map(|n| n.to_ne_bytes()).collect();
    let file = imports.write("usage.dat", bytes);
    for verb in ["inspect", "import"] {
        has_all(&refusal(&[verb], &file), &["glibc's memusage", "heaplay record"]);
    }
    // A pickle of something else is no snapshot.
    let file = imports.write("list.pickle", b"\x80\x04]\x94(K\x01K\x02e.");
    let message = refusal(&["inspect"], &file);
    has_all(&message, &["tracemalloc"]);
    assert!(!message.contains("makes a trace of it"), "{message}");
}

/// Bytes that are no text are escaped, few, and have their place.
#[test]
fn binary_data_is_shown_as_escaped_bytes() {
    let imports = Imports::new();
    let hello = std::fs::read(repository("traces/hello.csv")).unwrap();
    let row = hello.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let header = &hello[..row];
    let faulty = String::from_utf8_lossy(header).matches(',').count();
    for (bytes, parts) in [
        (b"\xd8\x07\x1b[31m\xff\xfe ab".repeat(300), ["byte 0", "`\\xd8\\u{7}\\u{1b}[31m\\xff"]),
        (b"plain \xe9\xff".to_vec(), ["byte 6", "`plain \\xe9\\xff`"]),
        (b"plain\0".to_vec(), ["byte 5", "`plain\\0`"]),
        (
            [header, b"1,\xff\x1b".as_slice(), &b",1".repeat(faulty - 1), b"\n"].concat(),
            ["rnd.trace:2: op `\\xff\\u{1b}`", "malloc, calloc"],
        ),
    ] {
        let file = imports.write("rnd.trace", bytes);
        for verb in ["inspect", "run"] {
            let message = refusal(&[verb], &file);
            has_all(&message, &parts);
            has_all(&message, &["expected"]);
            let is_plain = |letter: char| letter == '\n' || !letter.is_control();
            assert!(message.chars().all(is_plain) && !message.contains('\u{fffd}'), "{message}");
            assert!(message.len() < 400, "{message}");
        }
    }
}

#[test]
fn a_forced_format_and_several_files() {
    let imports = Imports::new();
    imports.write("log", MTRACE);
    for format in ["valgrind", "tracemalloc", "bytehound"] {
        let result = imports.import_with(&["log", "--format", format]);
        let forced = format!("log: --format {format} forces");
        result.refused(&forced).refused("looks like a glibc mtrace log: leave out --format");
        assert!(!result.message.contains("record a program"), "{}", result.message);
    }
    imports.write("other", MTRACE);
    imports.write("pickle", b"\x80\x04]\x94(K\x01K\x02e.");
    for files in [["log", "other"], ["pickle", "log"]] {
        let result = imports.import_with(&files);
        result.refused("log: is a glibc mtrace log").refused("`heaplay import log -o NAME.trace`");
    }
}

#[test]
fn folders_and_cut_files() {
    let imports = Imports::new();
    let folder = imports.path("folder");
    std::fs::create_dir(&folder).unwrap();
    for verb in ["inspect", "import"] {
        let message = refusal(&[verb], &folder);
        has_all(&message, &["a folder", "name a file in it", "`heaplay run`"]);
    }
    let mut convert = heaplay();
    convert.arg("convert").arg(&folder).arg(imports.path("out.trace"));
    has_all(&expect(2, &mut convert), &["name a file in it"]);
    let lines: String = (0..20_000)
        .map(|n| format!("@ ./a:[0x{n:x}] + 0x{:x} 0x{:x}\n", n * 64 + 64, n % 97))
        .collect();
    let text = format!("= Start\n{lines}= End\n");
    let packed = ruzstd::encoding::compress_to_vec(text.as_bytes(), CompressionLevel::Fastest);
    for length in [5, 7, packed.len() / 3, packed.len() / 2, packed.len() - 3] {
        let file = imports.write("log.zst", &packed[..length]);
        let result = imports.import_with(&["log.zst"]);
        result.refused("the zstd data ends early: the file was cut off; copy it again");
        let message = expect(2, heaplay().arg("inspect").arg(&file));
        assert!(!message.contains("Error"), "{message}");
    }
}

#[test]
fn lifetimes_and_paths_of_a_csv() {
    let imports = Imports::new();
    let file = imports.write("n.csv", "op,size,lifetime\nmalloc,64,2\nmalloc,24,1\n");
    let message = refusal(&["inspect"], &file);
    has_all(&message, &["both end at event 2", "each free is a call", "change one"]);
    // `run` prints the path once.
    let file = imports.write("n.csv", "op,size,lifetime\nmalloc,64,2\nmalloc,x,1\n");
    let mut command = heaplay();
    command.args(["run", "-b", "malloc", "-o"]).arg(imports.path("run")).arg(&file);
    let message = expect(2, &mut command);
    let twice = format!("{path}: {path}", path = file.display());
    assert!(message.contains("n.csv:3: ") && !message.contains(&twice), "{message}");
}

#[test]
fn options_say_what_they_take() {
    let imports = Imports::new();
    let hello = repository("traces/hello.trace");
    for verb in ["check", "live"] {
        let option = if verb == "check" { "--time-limit" } else { "--budget" };
        for value in ["x", "0", "700000"] {
            let message = expect(2, heaplay().args([verb, option, value, "--", "true"]));
            has_all(&message, &["expected seconds from 1", "60 or 60s"]);
        }
    }
    // A number that is none, one out of range, and none at all.
    for (options, expected) in [
        (["run", "-r"], "a number of repetitions from 1 to 255, such as 5"),
        (["sweep", "-r"], "a number of repetitions from 5 to 255"),
        (["live", "-r"], "a number of rounds from 1 to 1000"),
        (["scale", "-r"], "a number of repetitions from 1 to 1000"),
        (["scale", "--threads"], "numbers of threads from 1 to 1024, such as 1,2,4, or `trace`"),
        (["run", "--timeout"], "whole seconds from 1 to 604800"),
        (["check", "--jobs"], "a number of children from 1 to 1024"),
        (["run", "--seed"], "a whole number of 0 or more, such as 7"),
        (["record", "--attach"], "the number of a process from 1"),
        (["inspect", "--sites"], "a number of lines of 0 or more"),
        (["generate", "--calls"], "a number of calls from 1"),
        (["plan", "--shards"], "a number of shards from 1"),
        (["calibrate", "--pairs"], "a number of pairs from 5"),
        (["selftest", "--trials"], "a number of trials from 1"),
    ] {
        for value in [&["x"][..], &["-1"], &[]] {
            let message = expect(2, heaplay().args(options).args(value));
            has_all(&message, &[&format!("expected {expected}")]);
            assert!(!message.contains("invalid digit"), "{message}");
        }
    }
    // A file in place of a run folder, or of a folder for pictures; an option that no verb has.
    for words in [["report"].as_slice(), &["run", "--resume"], &["plan", "a", "--from"]] {
        has_all(&refusal(words, &hello), &["hello.trace: not a run folder", "`heaplay run` made"]);
    }
    let png = heaplay().arg("scale").arg(&hello).arg("--png").arg(&hello).output().unwrap();
    assert!(png.stdout.is_empty(), "{}", both(&png));
    has_all(&both(&png), &["--png", "expected a folder"]);
    for verb in ["record", "live"] {
        let message = expect(2, heaplay().args([verb, "--foo", "--", "true"]));
        has_all(&message, &["unexpected argument '--foo'", "--help"]);
    }
    let message = expect(2, heaplay().args(["sweep", "a", "-b", "malloc:MALLOC_ARENA_MAX=1,4"]));
    has_all(&message, &["values of a setting stand in braces", "unknown backend `4`"]);
    // No allocator is tried before the traces are found.
    let message = expect(2, heaplay().args(["verify", "nowhere.trace"]));
    assert!(!message.contains("calls checked"), "{message}");
    // What a grid may be, where there is none.
    for backends in [&[][..], &["-b", "malloc,bump"], &["-b", "malloc"]] {
        let message = expect(2, heaplay().arg("sweep").arg(&hello).args(backends));
        has_all(
            &message,
            &["heaplay sweep TRACE -b '", "MALLOC_ARENA_MAX,", "`heaplay backends NAME`"],
        );
    }
    for (name, bytes, part) in [
        ("a.toml", b"hello\n".as_slice(), "line 1"),
        ("b.toml", b"\xFF\xFE\0".as_slice(), "no text"),
    ] {
        let policy = imports.write(name, bytes);
        let mut command = heaplay();
        command.args(["check", "--baseline", "a", "b", "--policy"]).arg(&policy);
        has_all(&expect(2, &mut command), &[name, part, "TOML", "docs/guide/check.md"]);
    }
    // A path is no backend: its name as one is shown, and whether there is a file.
    let library = imports.write("libown.so", "");
    for (path, is_there) in [(library, true), (imports.path("none.so"), false)] {
        let path = path.display().to_string();
        let mut command = heaplay();
        command.arg("run").arg(&hello).args(["-b", &path, "-o"]).arg(imports.path("run"));
        let message = expect(2, &mut command);
        has_all(&message, &["is a path, and no backend", &format!("so:{path}")]);
        assert_eq!(message.contains("there is no such file"), !is_there, "{message}");
        assert!(!message.contains("unknown backend"), "{message}");
    }
    // The path of a library is mistyped: nothing is measured, and no folder is made.
    for (family, above) in [("so", ""), ("preload", ""), ("so", "pymalloc+")] {
        let path = imports.path("none.so").display().to_string();
        let spec = format!("malloc,{above}{family}:{path}");
        let out = imports.path("run");
        let mut command = heaplay();
        command.arg("run").arg(&hello).args(["-b", &spec, "-o"]).arg(&out);
        let message = expect(2, &mut command);
        has_all(&message, &["expected a shared library at", &path, "`heaplay backends`"]);
        assert!(!out.exists(), "{message}");
    }
    let folder = format!("so:{}", imports.path(".").display());
    let message = expect(2, heaplay().arg("run").arg(&hello).args(["-b", &folder]));
    has_all(&message, &["expected a shared library at", "found a folder"]);
    let missing = imports.path("nowhere").join("a.trace");
    let message = expect(2, heaplay().args(["record", "-o"]).arg(&missing).args(["--", "true"]));
    has_all(&message, &["the trace cannot be written"]);
    assert_eq!(message.matches("nowhere").count(), 1, "{message}");
    let message = refusal(&["inspect", "--arenas", "--backend", "malloc"], &hello);
    has_all(&message, &["expected a pool allocator, such as pymalloc"]);
    for (spec, part) in [
        ("malloc:MALLOC_ARENA_MAX=abc", "MALLOC_ARENA_MAX=abc, which is no number"),
        #[cfg(feature = "jemalloc")]
        ("jemalloc:dirty_decay_ms=abc", "dirty_decay_ms=abc, which is no number (values: ms;"),
    ] {
        let out = imports.path("run");
        let mut command = heaplay();
        command.arg("run").arg(&hello).args(["-b", spec, "-o"]).arg(&out);
        let message = expect(2, &mut command);
        has_all(&message, &[part]);
        assert!(!message.contains("settings act only"), "{message}");
        assert!(!out.join("measurements.csv").exists());
    }
}

/// What is known to be no backend of this machine is refused before anything is measured.
#[test]
fn a_library_or_an_interpreter_that_cannot_be_had() {
    let imports = Imports::new();
    let hello = repository("traces/hello.trace");
    // The start of this program, with S/390 as the processor.
    let mut foreign = std::fs::read(env!("CARGO_BIN_EXE_heaplay")).unwrap()[..4096].to_vec();
    foreign[18..20].copy_from_slice(&22u16.to_le_bytes());
    let foreign = imports.write("foreign.so", foreign);
    for (spec, parts) in [
        ("so:/etc/passwd", ["expected a shared library at /etc/passwd", "not an ELF file"]),
        ("preload:/etc/passwd", ["expected a shared library at /etc/passwd", "not an ELF file"]),
        (&format!("so:{}", foreign.display()), ["found one for S/390", "this heaplay is for"]),
        ("python@3.4", ["CPython 3.4 is too old", "it takes 3.6 and later"]),
        ("python@3.99", ["no shared library of CPython 3.99", "--enable-shared"]),
        ("python@/no/python3", ["/no/python3: no such file", "expected an interpreter"]),
        ("python@/no/libpython3.11.so.1.0", ["no such file", "expected a shared library"]),
        ("python@python3.99", ["`python3.99`", "on PATH"]),
        ("freelist+python@3.4", ["CPython 3.4 is too old", "it takes 3.6 and later"]),
    ] {
        let out = imports.path("run");
        let mut command = heaplay();
        command.arg("run").arg(&hello).args(["-b", &format!("malloc,{spec}"), "-o"]).arg(&out);
        let message = expect(2, &mut command);
        has_all(&message, &parts);
        assert!(!out.exists() && !message.contains("--resume"), "{message}");
        // The list of those that are there.
        let is_missing_python = spec.starts_with("python@");
        if is_missing_python && (6..=14).any(|minor| libraries::libpython(minor).is_some()) {
            has_all(&message, &["found here: python@3."]);
        }
    }
    // What a backend takes is described without it.
    has_all(&expect(0, heaplay().args(["backends", "python@3.99"])), &["none here"]);
}

/// A path that is not there has the near one in its message, whatever the verb.
#[test]
fn a_near_path_is_named() {
    let imports = Imports::new();
    let trace = std::fs::read(repository("traces/hello.trace")).unwrap();
    imports.write("hello.trace", &trace);
    std::fs::create_dir(imports.path("myrun")).unwrap();
    let verbs: [&[&str]; 16] = [
        &["inspect", "helo.trace"],
        &["import", "helo.trace"],
        &["run", "helo.trace"],
        &["plan", "helo.trace"],
        &["scale", "helo.trace"],
        &["verify", "helo.trace"],
        &["sweep", "helo.trace", "-b", "malloc:MALLOC_ARENA_MAX={1,2}"],
        &["whatif", "helo.trace", "--drop-site", "a.py:1"],
        &["export", "helo.trace", "--to", "pprof"],
        &["convert", "helo.trace", "out.csv"],
        &["selftest", "helo.trace", "--aa"],
        &["calibrate", "helo.trace", "--build", "malloc"],
        &["diff", "helo.trace", "hello.trace"],
        &["check", "helo.trace", "--baseline", "malloc", "--candidate", "malloc"],
        &["check", "hello.trace", "helo.trace"],
        &["live", "--trace", "helo.trace", "--", "true"],
    ];
    for verb in verbs {
        let message = expect(2, heaplay().current_dir(imports.path(".")).args(verb));
        has_all(&message, &["helo.trace", "(did you mean `hello.trace`?)"]);
        assert_eq!(message.matches("did you mean").count(), 1, "{message}");
    }
    let verbs: [&[&str]; 7] = [
        &["report", "myrum"],
        &["run", "--resume", "myrum"],
        &["diff", "myrun", "myrum"],
        &["diff", "myrum", "hello.trace"],
        &["merge", "myrum", "myrun", "-o", "whole"],
        &["check", "--baseline", "myrum", "myrun"],
        &["traces", "myrum"],
    ];
    for verb in verbs {
        let message = expect(2, heaplay().current_dir(imports.path(".")).args(verb));
        has_all(&message, &["myrum: there is no such", "(did you mean `myrun`?)", "expected"]);
        assert!(!message.contains("is a file"), "{message}");
    }
    let message = expect(2, heaplay().arg("inspect").arg(imports.path("none.zip")));
    assert!(message.contains("check the path") && !message.contains("did you mean"), "{message}");
}

/// An option in the place of the program is heaplay's own, and unknown. One behind it is the program's.
#[test]
fn options_before_and_behind_the_program() {
    let imports = Imports::new();
    imports.write("own.trace", "");
    imports.write("own.py", "");
    let run = |code: i32, line: &str| {
        let mut command = heaplay();
        command.current_dir(imports.path(".")).args(line.split(' '));
        expect(code, &mut command)
    };
    let message = run(2, "record --site=8 -o x.trace -- python own.py");
    has_all(&message, &["unexpected argument '--site'", "'--sites'"]);
    assert!(!message.contains("own.trace"), "{message}");
    has_all(&run(2, "live --round 3 true"), &["unexpected argument '--round'", "'--rounds'"]);
    let message = run(1, "record -o x.trace false --sites=8");
    has_all(&message, &["--sites=8 stands after false", "`heaplay record --sites=8 -- false …`"]);
    let message = run(1, "record -o x.trace -- false --sites=8");
    assert!(!message.contains("stands after"), "{message}");
    has_all(&run(2, "rnu own.trace"), &["did you mean `heaplay run`?"]);
    has_all(&run(2, "run own.trace --until-mark x"), &["`heaplay live` has --until-mark"]);
}

/// The label of a library names the installed library in each verb that takes backends.
#[test]
fn a_label_names_the_installed_library() {
    let imports = Imports::new();
    let hello = repository("traces/hello.trace");
    let none = ["-b", "so:libheaplay-none"];
    let verbs: [&[&str]; 9] = [
        &["run", "TRACE", none[0], none[1]],
        &["plan", "TRACE", none[0], none[1]],
        &["sweep", "TRACE", none[0], "so:libheaplay-none:A={1,2}"],
        &["scale", "TRACE", none[0], none[1]],
        &["verify", none[0], none[1]],
        &["verify", "TRACE", "--against", none[1]],
        &["check", "TRACE", "--baseline", none[1], "--candidate", "malloc"],
        &["check", "TRACE", "TRACE", none[0], none[1]],
        &["live", none[0], none[1], "--", "true"],
    ];
    for verb in verbs {
        let mut command = heaplay();
        command.current_dir(imports.path("."));
        for argument in verb {
            match *argument {
                "TRACE" => command.arg(&hello),
                argument => command.arg(argument),
            };
        }
        let message = expect(2, &mut command);
        has_all(
            &message,
            &["libheaplay-none.so.N", "LD_LIBRARY_PATH", "so:/usr/lib/libheaplay-none"],
        );
    }
    let Some(path) = libraries::installed("libjemalloc.so.2") else { return };
    for family in ["so", "preload"] {
        let mut command = heaplay();
        command.args(["verify", "-b", &format!("{family}:libjemalloc")]);
        has_all(&expect(0, &mut command), &[&format!("{family}:{path}")]);
    }
    // A library in the current folder is no installed one.
    imports.write("libhere.so", "");
    for spec in ["so:libhere", "so:libhere.so"] {
        let mut command = heaplay();
        command.current_dir(imports.path(".")).args(["verify", "-b", spec]);
        has_all(&both(&finish(&mut command)), &["the file here is so:./libhere.so"]);
    }
    // The name of a file that is not there leads to the one that is.
    let message = expect(2, heaplay().args(["verify", "-b", "so:libjemalloc.so.none"]));
    let installed = format!("installed is so:{path}");
    has_all(&message, &["no installed library is libjemalloc.so.none", &installed]);
}

/// A folder that cannot be written, or not be read, is named with what to do.
#[test]
fn folders_without_permission() {
    let imports = Imports::new();
    // `reports` is a file, so no folder can be made in it, whoever runs this.
    imports.write("reports", "");
    let hello = repository("traces/hello.trace");
    let mut command = heaplay();
    command.current_dir(imports.path("")).arg("run").arg(&hello).args(["-b", "malloc"]);
    let message = expect(2, &mut command);
    let reports = imports.path("").join("reports");
    has_all(&message, &["choose a place with --out", &reports.display().to_string()]);
}

/// Blocks of a trace as CSV are named by their lines: calls without numbers cannot be looked up.
#[test]
fn faulty_lifetimes_are_named_by_their_lines() {
    let imports = Imports::new();
    let cut = imports.write("cut.csv", "op,size,lifetime\nmalloc,64,2\nmalloc,24,9\n");
    has_all(
        &refusal(&["inspect"], &cut),
        &[
            "cut.csv:3: ",
            "ends at event 10",
            "(born on line 3)",
            "if the file was cut off, copy it",
        ],
    );
    let twice = imports.write("twice.csv", "op,size,lifetime\nmalloc,64,3\nmalloc,24,2\n");
    has_all(&refusal(&["inspect"], &twice), &["twice.csv:3: ", "(born on lines 2 and 3)"]);
    // With numbers, the row that is at fault stays the place.
    let occupied = "event,op,size,lifetime\n0,malloc,64,1\n1,malloc,24,\n";
    let occupied = imports.write("occupied.csv", occupied);
    has_all(&refusal(&["inspect"], &occupied), &["occupied.csv:3: ", "(born on line 2)"]);
    let empty = imports.write("empty.csv", "op,size,lifetime\n");
    let no_call = "holds no call; record a program that allocates";
    has_all(&refusal(&["run"], &empty), &[no_call]);
    has_all(&expect(0, heaplay().arg("inspect").arg(&empty)), &[no_call]);
}

/// What a file is, and the next step, where its first bytes are those of several kinds.
#[test]
fn kinds_with_the_same_start_have_their_own_words() {
    let imports = Imports::new();
    let program = std::fs::read(env!("CARGO_BIN_EXE_heaplay")).unwrap()[..4096].to_vec();
    let mut core = program.clone();
    core[16] = 4;
    let file = imports.write("a.out", &program);
    has_all(&refusal(&["inspect"], &file), &["an ELF program or library", "record the program"]);
    let file = imports.write("core", &core);
    has_all(&refusal(&["inspect"], &file), &["a core file", "no calls", "record the program"]);
    let run = imports.path("run");
    std::fs::create_dir(&run).unwrap();
    std::fs::write(run.join("manifest.json"), "{}").unwrap();
    has_all(&refusal(&["run"], &run), &["the folder of a run", "heaplay report"]);
    // Python's own zip: two members, stored.
    let Some((_, python)) = interpreters::find_of(8..=13).into_iter().next_back() else {
        return;
    };
    let script = "import sys, zipfile, tracemalloc\n\
                  z = zipfile.ZipFile('two.zip', 'w')\n\
                  z.writestr('a.csv', 'op,size,lifetime\\n'); z.writestr('b.csv', 'x'); z.close()\n\
                  tracemalloc.start(); objects = [object() for _ in range(9)]\n\
                  tracemalloc.take_snapshot().dump('snapshot')\n";
    let mut python = Command::new(python);
    expect(0, python.current_dir(imports.path("")).args(["-c", script]));
    let message = refusal(&["inspect"], &imports.path("two.zip"));
    has_all(&message, &["several members; unpack it and give one of them"]);
    assert!(!message.contains("copy the file again"), "{message}");
    let message = refusal(&["inspect"], &imports.path("snapshot"));
    has_all(&message, &["a snapshot of tracemalloc", "heaplay import"]);
}

/// What is left out of a log is counted, and the first such line can be looked up. Valgrind's own words
/// are none of it.
#[test]
fn the_first_line_that_is_no_call_has_its_number() {
    let imports = Imports::new();
    let log = "==7== Memcheck\n--7-- malloc(16) = 0x4A5B040\nhello\n--7-- fre?(0x4A5B040)\n";
    let result = imports.import(format!("{log}--7-- malloc(8) = 0x4A5B0A0\n==7== HEAP SUMMARY:\n"));
    result.reports("2 lines were left out").reports("the first is line 3");
}
