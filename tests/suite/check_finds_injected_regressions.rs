//! The regression check as its user meets it. The tests inject each regression themselves: in a
//! backend, a run folder or a trace. They never assert a time.

use std::fs;
use std::path::{Path, PathBuf};

use heaplay::results::{Metric, Run, Scope};

use crate::support::compiler;
use crate::support::process::{both, expect, finish, heaplay, on_path};
use crate::support::skip::skip;
use crate::support::traces::{generated, generated_from};

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn verdict_of(all: &serde_json::Value, measure: &str) -> String {
    let findings = all["findings"].as_array().unwrap();
    let found = findings.iter().find(|f| f["measure"] == measure);
    found.unwrap_or_else(|| panic!("{measure} is judged"))["verdict"].as_str().unwrap().to_owned()
}

#[test]
fn one_page_and_one_byte_and_one_arena_fail_and_nothing_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "t.trace", 20_000);
    let file = folder.path().join("out.json");
    let check = |code, below: &str, injected: &str| {
        let (a, b) = (format!("injected+{below}"), format!("injected{injected}+{below}"));
        let mut command = heaplay();
        command.arg("check").arg(&trace).args(["--baseline", &a, "--candidate", &b]);
        command.args(["--measures", "exact", "--even-identical", "--json"]).arg(&file);
        let text = expect(code, &mut command);
        (text, json(&file))
    };
    let (_, nothing) = check(0, "malloc", "");
    assert_eq!(verdict_of(&nothing, Metric::ResidentEndBytes.name()), "identical");
    let (text, page) = check(1, "malloc", ":page=100");
    assert_eq!(verdict_of(&page, Metric::ResidentEndBytes.name()), "fail");
    assert!(text.contains("again: heaplay check") && text.contains("--measures exact"), "{text}");
    let (_, arena) = check(1, "pymalloc@3.9", ":blocks=1024");
    assert_eq!(verdict_of(&arena, Metric::ArenasPeak.name()), "fail");
    // The byte is added to the block of the live peak. A pass makes six calls before the trace's.
    let record = recorded(folder.path(), "run", &trace, "footprint");
    let peak =
        Run::load(&record).unwrap().values("t", "pymalloc", Scope::All, Metric::LivePeakEvent)[0];
    let (_, byte) = check(1, "pymalloc@3.9", &format!(":byte={}", peak as u64 + 7));
    let findings = byte["findings"].as_array().unwrap();
    let usable =
        findings.iter().find(|f| f["measure"] == Metric::UsableAtLivePeakBytes.name()).unwrap();
    assert_eq!(
        usable["candidate"].as_f64().unwrap() - usable["baseline"].as_f64().unwrap(),
        1.0,
        "{usable}"
    );
}

#[test]
fn times_have_all_their_figures_and_files_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "t.trace", 4_000);
    let at = |name: &str| folder.path().join(name);
    fs::write(at("m.md"), "before\n").unwrap();
    let mut command = heaplay();
    command.arg("check").arg(&trace).args(["--baseline", "injected+malloc"]);
    // Three times as slow. The verdict is not asserted.
    command.args(["--candidate", "injected:burn=60,every=1+malloc", "--measures", "time,tail"]);
    command.args(["--time-limit", "20", "--github", "--seed", "7", "--json"]).arg(at("c.json"));
    command
        .arg("--junit")
        .arg(at("j.xml"))
        .arg("--markdown")
        .arg(at("m.md"))
        .arg("--pictures")
        .arg(at("p"));
    let output = finish(&mut command);
    let text = both(&output);
    assert!(matches!(output.status.code(), Some(0..=3)), "{text}");
    let all = json(&at("c.json"));
    assert_eq!(all["seed"], 7);
    assert!(all["rule"].as_str().unwrap().contains("trimmed mean"));
    assert!(all["machine"]["facts"]["kernel"].is_string());
    let time = all["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["measure"] == "time")
        .unwrap()
        .clone();
    assert!(time["evidence"]["pairs"].as_array().unwrap().len() >= 6, "{time}");
    assert!(time["reproduce"].as_str().unwrap().contains("--seed 7"));
    let junit = fs::read_to_string(at("j.xml")).unwrap();
    assert!(
        junit.contains("name=\"time\"") && junit.trim_end().ends_with("</testsuites>"),
        "{junit}"
    );
    let markdown = fs::read_to_string(at("m.md")).unwrap();
    assert!(
        markdown.starts_with("before\n") && markdown.contains("### heaplay check"),
        "{markdown}"
    );
    if output.status.code() == Some(1) {
        assert!(text.contains("::error title=heaplay FAIL"), "{text}");
        assert!(junit.contains("<failure message="), "{junit}");
        let picture = fs::read_dir(at("p")).unwrap().flatten().next().expect("a picture");
        assert!(fs::read(picture.path()).unwrap().starts_with(b"\x89PNG"));
    }
}

#[test]
fn equal_sides_are_not_measured() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "t.trace", 2_000);
    let text = expect(
        0,
        heaplay().arg("check").arg(&trace).args([
            "--baseline",
            "malloc",
            "--candidate",
            "malloc",
            "--all",
        ]),
    );
    assert!(text.contains("identical") && text.contains("nothing was measured"), "{text}");
    // This build and a copy of it are equal, too.
    let copy = folder.path().join("other-heaplay");
    fs::copy(env!("CARGO_BIN_EXE_heaplay"), &copy).unwrap();
    let by = |code, binary: &Path| {
        let mut command = heaplay();
        command.arg("check").arg(&trace).args(["--baseline", "pymalloc", "--measures", "exact"]);
        expect(code, command.arg("--candidate-binary").arg(binary))
    };
    by(0, &copy);
    // A copy with a byte after its end is measured, and is no worse.
    let mut bytes = fs::read(&copy).unwrap();
    bytes.push(0);
    fs::write(&copy, bytes).unwrap();
    assert!(!by(0, &copy).contains("nothing was measured"));
    let text = by(2, Path::new("/bin/true"));
    assert!(text.contains("/bin/true"), "{text}");
    // A heaplay whose jobs are others: an older one, which read them as lines.
    let old = folder.path().join("old-heaplay");
    let script = "#!/bin/sh\ncase \"$1\" in --version) echo 'heaplay 0.0.1'; exit;; esac\n\
                  read job\necho 'worker: not a job: x' >&2\nexit 2\n";
    fs::write(&old, script).unwrap();
    fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let text = by(2, &old);
    assert!(text.contains("old-heaplay") && text.contains("not a job"), "{text}");
    let mut command = heaplay();
    command.arg("check").arg(&trace).args(["--baseline", "pymalloc", "--incompatible", "skip"]);
    let text = expect(0, command.arg("--candidate-binary").arg(&old));
    assert!(text.contains("1 skipped") && text.contains("not a job"), "{text}");
}

#[test]
fn instructions_are_counted_where_valgrind_is() {
    let Some(valgrind) = on_path("valgrind") else {
        return skip("valgrind", "no valgrind on the PATH");
    };
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "t.trace", 3_000);
    let file = folder.path().join("c.json");
    // A valgrind that counts its starts.
    let starts = folder.path().join("starts");
    let counting = folder.path().join("bin/valgrind");
    fs::create_dir(folder.path().join("bin")).unwrap();
    let script = format!(
        "#!/bin/sh\necho >> '{}'\nexec '{}' \"$@\"\n",
        starts.display(),
        valgrind.display()
    );
    fs::write(&counting, script).unwrap();
    fs::set_permissions(&counting, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let check = |code, burn: u32| {
        let candidate = format!("injected:every=64,burn={burn}+malloc");
        let _ = fs::remove_file(&starts);
        let mut command = heaplay();
        command.env("PATH", counting.parent().unwrap());
        command.arg("check").arg(&trace).args(["--baseline", "injected:every=64+malloc"]);
        command
            .args(["--candidate", &candidate, "--measures", "instructions", "--json"])
            .arg(&file);
        expect(code, &mut command);
        (json(&file)["findings"][0].clone(), fs::read_to_string(&starts).unwrap().lines().count())
    };
    let (more, counted) = check(1, 40);
    let (before, after) = (more["baseline"].as_f64().unwrap(), more["candidate"].as_f64().unwrap());
    // 46 calls burn 40 steps, of at least two instructions each.
    assert!(after - before >= 46.0 * 40.0 * 2.0, "{more}");
    // Each side runs once without its calls and twice with them. Once with them suffices where the
    // difference is far from the margin.
    assert_eq!(counted, 6, "{more}");
    let (none, counted) = check(0, 0);
    assert_eq!(counted, 4, "{none}");
}

#[test]
fn two_recordings_are_compared_by_their_requests() {
    let folder = tempfile::tempdir().unwrap();
    let old = generated(folder.path(), "old.csv", 5_000);
    let new = folder.path().join("new.csv");
    let text = fs::read_to_string(&old).unwrap();
    fs::write(&new, &text).unwrap();
    let check = |code| {
        expect(
            code,
            heaplay().arg("check").arg(&old).arg(&new).args(["--backend", "pymalloc@3.11"]),
        )
    };
    assert!(check(0).contains("nothing changed"));
    // A hundred more blocks of 6,000 bytes, which are never freed.
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let header: Vec<String> = lines[0].split(',').map(str::to_owned).collect();
    let column = |name: &str| header.iter().position(|h| h == name).unwrap();
    let shape: Vec<String> = lines
        .iter()
        .skip(1)
        .map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>())
        .find(|fields| fields[column("op")] == "malloc")
        .unwrap();
    // Events are 0, 1, 2 …, ends included. The added blocks follow the last.
    let last = lines
        .iter()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            let end: u64 = fields[column("lifetime")].parse().unwrap_or(0);
            fields[column("event")].parse::<u64>().unwrap() + end
        })
        .max()
        .unwrap();
    for k in 1..=100 {
        let mut fields = shape.clone();
        fields[column("event")] = (last + k).to_string();
        fields[column("size")] = "6000".into();
        fields[column("lifetime")] = String::new();
        lines.push(fields.join(","));
    }
    fs::write(&new, lines.join("\n") + "\n").unwrap();
    let text = check(1).replace(['\u{a0}', '\u{202f}', '\u{2009}'], " ");
    assert!(text.contains("8.0 KiB") || text.contains("8 KiB"), "the size class: {text}");
    assert!(text.contains("+600,000") || text.contains("+600 000"), "its bytes: {text}");
    assert!(text.contains(Metric::LiveEndBytes.name()) && text.contains("FAIL"), "{text}");
    assert!(text.contains("--sites"), "{text}");
}

/// A run folder of a footprint pass.
fn recorded(folder: &Path, name: &str, trace: &Path, passes: &str) -> PathBuf {
    let out = folder.join(name);
    let arguments =
        ["--passes", passes, "-r", "1", "--backends", "pymalloc", "--no-floor", "--out"];
    expect(0, heaplay().arg("run").arg(trace).args(arguments).arg(&out));
    out
}

#[test]
fn a_policy_accepts_until_a_date_and_its_faults_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "t.trace", 5_000);
    let (a, b) = (
        recorded(folder.path(), "a", &trace, "footprint"),
        recorded(folder.path(), "b", &trace, "footprint"),
    );
    let mut worse = Run::load(&b).unwrap();
    for row in worse.measurements.iter_mut().filter(|row| row.metric == Metric::ResidentFreedBytes)
    {
        row.value += 4096.0;
    }
    worse.save(&b).unwrap();
    let policy = folder.path().join("policy.toml");
    let check = |code, text: &str| {
        fs::write(&policy, text).unwrap();
        let mut command = heaplay();
        command.args(["check", "--baseline"]).arg(&a).arg(&b);
        expect(code, command.arg("--policy").arg(&policy))
    };
    assert!(check(1, "").contains(Metric::ResidentFreedBytes.name()));
    let accept = |until: &str| {
        format!(
            "[[accept]]\nmeasure = \"resident_freed_bytes\"\nreason = \"agreed\"\nuntil = {until}\n"
        )
    };
    let text = check(0, &accept("2999-01-01"));
    assert!(text.contains("accepted") && text.contains("agreed"), "{text}");
    let text = check(1, &accept("2020-01-01"));
    assert!(text.contains("that is over"), "{text}");
    let text = check(2, "\n[margins]\ntmie = { fail = 3 }\n");
    assert!(text.contains("line 3") && text.contains("did you mean `time`"), "{text}");
    assert!(check(0, "[margins.resident_freed_bytes]\nfail = 100\n").contains("0 FAIL"));
    // There is no file of that name.
    let mut command = heaplay();
    command.args(["check", "--baseline"]).arg(&a).arg(&b).args(["--policy", "/no/such.toml"]);
    assert!(expect(2, &mut command).contains("/no/such.toml"));
}

#[test]
fn stored_runs_that_cannot_be_compared_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "t.trace", 5_000);
    let other = generated_from(folder.path(), "u.trace", 5_000, 4);
    let at = |name: &str| folder.path().join(name);
    let a = recorded(folder.path(), "a", &trace, "footprint,time");
    let check = |code, candidate: &Path| {
        expect(code, heaplay().args(["check", "--baseline"]).arg(&a).arg(candidate))
    };
    let text = check(2, &recorded(folder.path(), "u", &other, "footprint"));
    assert!(text.contains("share no trace"), "{text}");
    // Of another machine, exact measures that follow from policy are judged. Times are refused,
    // with both fingerprints.
    let copy = |name: &str, change: &dyn Fn(&mut Run)| {
        let mut run = Run::load(&a).unwrap();
        change(&mut run);
        run.save(&at(name)).unwrap();
        at(name)
    };
    let text = check(
        0,
        &copy("moved", &|run| {
            run.manifest.machine.facts.insert("processor".into(), "another one".into());
            run.manifest.machine.facts.insert("kernel".into(), "9.9".into());
        }),
    );
    assert!(
        text.contains("times are refused") && text.contains("another one") && text.contains("9.9"),
        "{text}"
    );
    let text = check(0, &copy("same", &|_| {}));
    assert!(text.contains("times of a stored run are not judged"), "{text}");
    // A table ends in the middle of a row.
    let half = copy("half", &|_| {});
    let table = fs::read(half.join("measurements.csv")).unwrap();
    fs::write(half.join("measurements.csv"), &table[..table.len() / 2]).unwrap();
    let text = check(2, &half);
    assert!(text.contains("measurements.csv") || text.contains("missing"), "{text}");
    let cells = copy("cells", &|run| run.outcomes.truncate(1));
    assert!(check(2, &cells).contains("--resume"));
    // A later format.
    let version = copy("version", &|_| {});
    let manifest = fs::read_to_string(version.join("manifest.json")).unwrap();
    fs::write(
        version.join("manifest.json"),
        manifest.replacen("\"format\": 2", "\"format\": 99", 1),
    )
    .unwrap();
    assert!(check(2, &version).contains("99"));
}

#[test]
fn sides_that_cannot_be_compared_are_refused_before_a_measurement() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "t.trace", 2_000);
    let trace = trace.display().to_string();
    let run = recorded(folder.path(), "a", Path::new(&trace), "footprint").display().to_string();
    for (arguments, parts) in [
        (vec![trace.as_str()], vec!["what is to be compared"]),
        (vec![&trace, "--candidate", "malloc"], vec!["--baseline"]),
        (vec!["--baseline", "malloc", "--candidate", "bump"], vec!["traces"]),
        (
            vec![&trace, "--baseline", "malloc", "--candidate", "mallco"],
            vec!["mallco", "did you mean `malloc`"],
        ),
        (
            vec![&trace, "--baseline", "malloc", "--candidate", "so:/no/such.so"],
            vec!["/no/such.so", "check the path"],
        ),
        (vec![&trace, "--baseline", "malloc", "--candidate", "malloc:x=1"], vec!["no setting `x`"]),
        (vec![&trace, "--baseline", "malloc"], vec!["no such run folder", "--candidate"]),
        (vec![&trace, "--baseline", &run, "--candidate", "malloc"], vec!["is a run folder"]),
        (vec![&run, &run], vec!["folder", "--baseline RUN RUN"]),
        (
            vec![&trace, "--baseline", "malloc", "--baseline", "bump", "--candidate", "malloc"],
            vec!["2 --baseline and 1 --candidate"],
        ),
        (
            vec![&trace, "--baseline", "malloc", "--candidate-binary", "/no/heaplay"],
            vec!["/no/heaplay"],
        ),
        (vec![&trace, "/no/such.trace"], vec!["/no/such.trace"]),
        (vec![&trace, &trace, "--backend", "pymaloc"], vec!["did you mean"]),
        (
            vec![&trace, "--baseline", "malloc", "--candidate", "bump", "--measures", "tmie"],
            vec!["tmie", "time"],
        ),
        (
            vec![&trace, "--baseline", "malloc", "--candidate", "bump", "--time-limit", "0"],
            vec!["time-limit"],
        ),
    ] {
        let text = expect(2, heaplay().arg("check").args(&arguments));
        for part in parts {
            assert!(text.contains(part), "{arguments:?}: {part}: {text}");
        }
    }
}

#[test]
fn libraries_without_the_symbols_or_that_crash_on_load_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "t.trace", 2_000);
    let build = |name: &str, source: &str| compiler::library(folder.path(), name, source);
    let (Some(empty), Some(crash)) = (
        build("empty", "int nothing(void) { return 1; }\n"),
        build(
            "crash",
            "#include <stdlib.h>\n__attribute__((constructor)) static void go(void) { abort(); }\n",
        ),
    ) else {
        return;
    };
    for (library, part) in [(&empty, "missing symbol"), (&crash, "SIGABRT")] {
        let candidate = format!("so:{}", library.display());
        let mut command = heaplay();
        command.arg("check").arg(&trace).args(["--baseline", "malloc", "--candidate", &candidate]);
        let text = expect(2, &mut command);
        assert!(text.contains(part) && text.contains(&candidate), "{text}");
    }
}

#[test]
fn ci_files_are_written_once_and_name_what_they_use() {
    for (ci, path) in
        [("github", ".github/workflows/heaplay.yml"), ("gitlab", ".gitlab/heaplay.yml")]
    {
        let folder = tempfile::tempdir().unwrap();
        let init =
            |code| expect(code, heaplay().current_dir(folder.path()).args(["check", "--init", ci]));
        init(0);
        let text = fs::read_to_string(folder.path().join(path)).unwrap();
        for part in ["cache", "artifact", "--junit", "--markdown", "--candidate"] {
            assert!(text.contains(part), "{ci}: {part}");
        }
        assert!(!text.contains('\t'), "YAML has no tabs");
        assert!(init(2).contains("there is one already"));
    }
}

#[test]
fn the_selftest_injects_and_counts_and_calibrate_gives_a_policy() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path(), "t.trace", 3_000);
    let file = folder.path().join("s.json");
    let mut command = heaplay();
    command
        .arg("selftest")
        .arg(&trace)
        .args(["--inject-exact", "--trials", "2", "--json"])
        .arg(&file);
    let text = expect(0, &mut command);
    assert!(text.contains("exact: a page") && text.contains("2 (100.0 %"), "{text}");
    let all = json(&file);
    let page = all["kinds"]
        .as_array()
        .unwrap()
        .iter()
        .find(|kind| kind["name"] == "exact: a page")
        .unwrap();
    assert_eq!(page["trials"].as_array().unwrap().len(), 2);
    assert!(page["truth"][0]["percent"].as_f64().unwrap() > 0.0);
    let nothing = &all["kinds"][0];
    // The kernel decides about page faults: where they are not the same twice, they are left out.
    let verdicts = nothing["verdicts"].as_array().unwrap();
    let of =
        |name| verdicts.iter().find(|row| row[0] == name).map_or(0, |row| row[1].as_u64().unwrap());
    assert_eq!(of("identical") + of("skipped"), 2, "{nothing}");
    let text = expect(2, heaplay().arg("selftest").arg(&trace).args(["--aa=tale"]));
    assert!(text.contains("tail"), "{text}");
    let text = expect(2, heaplay().arg("selftest").arg(&trace).args(["--inject", "-3"]));
    assert!(text.contains("-3"), "{text}");

    let mut command = heaplay();
    command
        .arg("calibrate")
        .arg(&trace)
        .args(["--build", "malloc", "--times", "2", "--pairs", "5"]);
    let text = expect(0, &mut command);
    let policy = &text[text.find("[margins.time]").expect("a policy")..];
    let policy = heaplay::check::Policy::read(policy).expect("it is one");
    assert!(policy.margin("time").fail >= 0.02);
    assert!(expect(2, heaplay().arg("calibrate").arg(&trace)).contains("--build"));
    let mut command = heaplay();
    command.arg("calibrate").arg(&trace).args(["--rebuild", "exit 3", "--library", "x.so"]);
    assert!(expect(2, &mut command).contains("exit 3"));
}
