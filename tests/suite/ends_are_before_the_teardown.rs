//! "At the end" is the moment before a program takes itself apart: before the interpreter finalises
//! itself, and before a process exits.
//!
//! The oracles are what the programs count by their own account just before they end, and the rows of
//! the trace, counted here.

use std::path::{Path, PathBuf};
use std::process::Command;

use heaplay::results::{EndKind, Metric, Run, Scope};
use heaplay::trace::{self, Domain, EndCause, EndMoment, Row};
use tempfile::TempDir;

use crate::support::process::{expect, finish, heaplay, printed, python_module};
use crate::support::{compiler, interpreters};

/// The rows of a trace, its calls and the moment at which the process begins to end.
struct Recorded {
    rows: Vec<Row>,
    calls: u64,
    end: Option<EndMoment>,
}

impl Recorded {
    fn read(path: &Path) -> Recorded {
        let mut reader = trace::open(path).unwrap();
        let mut rows = Vec::new();
        while let Some(row) = reader.next_row().unwrap() {
            rows.push(row);
        }
        let ends = |row: &Row| row.event + row.lifetime.map_or(0, |lifetime| lifetime.get());
        let calls = rows.iter().map(ends).max().unwrap_or(0) + 1;
        Recorded { rows, calls, end: reader.process().end }
    }

    /// The rows whose blocks live after the first `event` calls.
    fn live(&self, event: u64) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| {
            let end = row.lifetime.map_or(u64::MAX, |lifetime| row.event + lifetime.get());
            row.event < event && end >= event
        })
    }

    fn live_bytes(&self, event: u64) -> u64 {
        self.live(event).map(|row| row.size).sum()
    }
}

fn recording(folder: &Path) -> Command {
    let mut command = heaplay();
    command.arg("record").arg("-o").arg(folder.join("app.trace")).arg("--");
    command.current_dir(folder).env_remove("LD_PRELOAD").env_remove("PYTHONMALLOC");
    command
}

/// Holds blocks of a size that nothing else has, and counts its blocks in a callback that runs last.
const COUNTS_ITSELF: &str = "\
import atexit, sys
def last():
    sys.stdout.write('%d %d\\n' % (sys.getsizeof(held[0]), sys.getallocatedblocks()))
atexit.register(last)
def free():
    del held[:100]
atexit.register(free)
held = [bytes(10007) for _ in range(400)]
small = [object() for _ in range(50000)]
";

#[test]
fn an_interpreter_ends_before_it_finalises_itself() {
    for (minor, python) in interpreters::find() {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("app.py"), COUNTS_ITSELF).unwrap();
        let output = finish(recording(folder.path()).arg(&python).arg("app.py"));
        let text = printed(&output);
        let numbers: Vec<u64> =
            text.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [size, allocated] = numbers[..] else { panic!("3.{minor}: {text}") };
        let recorded = Recorded::read(&folder.path().join("app.trace"));
        let end = recorded.end.expect("the moment is in the trace");
        assert_eq!(end.cause, EndCause::Finalisation, "3.{minor}");
        // The blocks of that size that the callbacks left: 300 of 400.
        let of_size = |event| recorded.live(event).filter(|row| row.size == size).count();
        assert_eq!(of_size(end.event), 300, "3.{minor}");
        assert_eq!(of_size(recorded.calls), 0, "3.{minor}: the teardown frees them");
        // The interpreter's own count, which its own printing changes by a few blocks.
        let is_counted = |row: &&Row| matches!(row.domain, Domain::Mem | Domain::Obj);
        let live = recorded.live(end.event).filter(is_counted).count() as u64;
        assert!(live.abs_diff(allocated) <= 60, "3.{minor}: {live} live, {allocated} counted");
    }
}

/// Holds 900 of 1,000 blocks when it begins to end; a callback of the exit frees 500 more.
const PROGRAM: &str = "\
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void *held[1000];
static void last(void) { for (int i = 100; i < 600; i++) free(held[i]); }
static void deep(int how) { if (how == 1) exit(3); if (how == 2) _exit(3); if (how == 3) abort(); }
int main(int count, char **arguments) {
    int how = count > 1 ? atoi(arguments[1]) : 0;
    for (int i = 0; i < 1000; i++) { held[i] = malloc(12345); memset(held[i], 1, 12345); }
    for (int i = 0; i < 100; i++) free(held[i]);
    atexit(last);
    deep(how);
    return 0;
}
";

#[test]
fn a_native_program_ends_where_main_returns_or_exit_is_called() {
    let folder = TempDir::new().unwrap();
    let Some(program) = compiler::program(folder.path(), "app", PROGRAM, &["-O0"]) else { return };
    let recorded = |how: &str| {
        finish(recording(folder.path()).arg(&program).arg(how));
        Recorded::read(&folder.path().join("app.trace"))
    };
    for how in ["0", "1"] {
        let recorded = recorded(how);
        let end = recorded.end.expect("the moment is in the trace");
        let of_size = |event| recorded.live(event).filter(|row| row.size == 12345).count();
        assert_eq!(end.cause, EndCause::Exit, "{how}");
        assert_eq!((of_size(end.event), of_size(recorded.calls)), (900, 400), "{how}");
    }
    // `_exit` and a signal take nothing apart.
    for how in ["2", "3"] {
        let recorded = recorded(how);
        assert_eq!(recorded.end, None, "{how}");
        assert_eq!(recorded.live(u64::MAX).filter(|row| row.size == 12345).count(), 900, "{how}");
        let text = expect(0, heaplay().arg("inspect").arg(folder.path().join("app.trace")));
        assert!(text.contains("blocks at the end (after the last call)"), "{text}");
    }
}

/// A service in small: it fills a cache, works on it without growing, and frees it. What it does to
/// the live bytes follows from the rows, counted here.
#[test]
fn the_plateau_is_the_end_of_the_longest_level_part() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("service.csv");
    let mut rows = String::from("event,op,size,lifetime\n");
    // 1,000 blocks, 20,000 pairs of small ones, and the frees of the first.
    let (cached, pairs) = (1_000, 20_000);
    for event in 0..cached {
        rows += &format!("{event},malloc,1000,{}\n", cached + 2 * pairs);
    }
    for pair in 0..pairs {
        rows += &format!("{},malloc,64,1\n", cached + 2 * pair);
    }
    std::fs::write(&path, rows).unwrap();
    let recorded = Recorded::read(&path);
    let text = expect(0, heaplay().args(["inspect", "--at", "plateau"]).arg(&path));
    // The first level within 10 % of the highest: 1,000,064 live bytes.
    let from = (1..=recorded.calls).find(|event| 11 * recorded.live_bytes(*event) >= 10_000_640);
    let sentence = "at the end of the plateau (from call ";
    let (_, rest) = text.split_once(sentence).expect("the moment");
    let shown: u64 = rest.split(')').next().unwrap().replace([',', ' '], "").parse().unwrap();
    assert!(shown.abs_diff(from.unwrap()) <= 16, "{shown}, {from:?}");
    // `run` has the same moment, and its live bytes.
    let run = folder.path().join("run");
    let mut command = heaplay();
    command.arg("run").arg(&path).args([
        "-b",
        "malloc",
        "--at",
        "plateau",
        "--passes",
        "footprint",
    ]);
    expect(0, command.args(["-r", "1", "--no-floor", "-o"]).arg(&run));
    let run = Run::load(&run).unwrap();
    let end = run.manifest.traces[0].end.clone().expect("a moment");
    let highest = run.manifest.traces[0].calls - cached;
    assert!(end.event.abs_diff(highest) <= 120, "{end:?}");
    assert!(matches!(end.kind, EndKind::Plateau { from_event } if from_event == shown), "{end:?}");
    let live = run.values("service", "malloc", Scope::All, Metric::LiveEndBytes)[0];
    assert!((live - recorded.live_bytes(end.event) as f64).abs() < 1.0, "{live}");
    // What only grows has none.
    let path = folder.path().join("growing.csv");
    let rows =
        (0..1000).map(|event| format!("{event},malloc,{},\n", 1_u64 << (event / 40))).collect();
    let rows: String = rows;
    std::fs::write(&path, format!("event,op,size,lifetime\n{rows}")).unwrap();
    let text = expect(2, heaplay().args(["inspect", "--at", "plateau"]).arg(&path));
    assert!(text.contains("no plateau") && text.contains("--at: peak"), "{text}");
}

#[test]
fn a_python_that_ends_at_once_ends_after_its_last_call() {
    let Some(python) = interpreters::any() else { return };
    let folder = TempDir::new().unwrap();
    let program = "import os\nheld = [bytes(10007) for _ in range(50)]\nos._exit(0)\n";
    finish(recording(folder.path()).arg(&python).args(["-c", program]));
    assert_eq!(Recorded::read(&folder.path().join("app.trace")).end, None);
    // A limit ends the recording before the program ends.
    let program = "held = [bytes(10007) for _ in range(50)]\n";
    let mut command = heaplay();
    command.args(["record", "--max-events", "5000", "-o"]).arg(folder.path().join("app.trace"));
    finish(command.arg("--").arg(&python).args(["-c", program]).env_remove("PYTHONMALLOC"));
    assert_eq!(Recorded::read(&folder.path().join("app.trace")).end, None);
}

/// A recording with lines and a mark: 200 blocks at the mark, 300 at the end.
fn marked(folder: &Path, python: &Path) -> (PathBuf, Recorded) {
    python_module(folder);
    let program = "\
import heaplay
held = [bytes(10007) for _ in range(200)]
heaplay.mark('loaded')
held += [bytes(10007) for _ in range(100)]
";
    std::fs::write(folder.join("app.py"), program).unwrap();
    let path = folder.join("app.trace");
    let mut command = heaplay();
    command.args(["record", "--sites", "-o"]).arg(&path).arg("--").arg(python).arg("app.py");
    command.current_dir(folder).env("PYTHONPATH", folder).env_remove("PYTHONMALLOC");
    expect(0, &mut command);
    let recorded = Recorded::read(&path);
    (path, recorded)
}

#[test]
fn every_verb_has_the_same_end() {
    let Some(python) = interpreters::any() else { return };
    let folder = TempDir::new().unwrap();
    let (path, recorded) = marked(folder.path(), &python);
    let end = recorded.end.unwrap().event;
    let mark = trace::open(&path).unwrap().header().marks()[0].0;
    for (at, event) in [("end", end), ("mark:loaded", mark), ("last-call", recorded.calls)] {
        let out = folder.path().join(at.replace(':', "-"));
        let mut run = heaplay();
        run.args([
            "run",
            "-b",
            "malloc",
            "-r",
            "1",
            "--passes",
            "footprint,time",
            "--at",
            at,
            "-o",
        ]);
        expect(0, run.arg(&out).arg(&path));
        let run = Run::load(&out).unwrap();
        let values = |metric| run.values("app", "malloc", Scope::All, metric);
        let bytes = recorded.live_bytes(event) as f64;
        assert_eq!(values(Metric::LiveEndBytes), [bytes], "{at}");
        // Time is that of all calls, whichever moment counts as the end of memory.
        assert_eq!(values(Metric::Calls), [recorded.calls as f64], "{at}");
        let kind = run.manifest.traces[0].end.as_ref().map(|end| end.kind.clone());
        let expected = match at {
            "end" => Some(EndKind::Finalisation),
            "last-call" => None,
            _ => Some(EndKind::Mark { name: "loaded".into() }),
        };
        assert_eq!(kind, expected, "{at}");
        let json = expect(0, heaplay().args(["inspect", "--json", "--at", at]).arg(&path));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let live =
            if at == "last-call" { &json["live_end_bytes"] } else { &json["end"]["live_bytes"] };
        assert_eq!(live.as_f64(), Some(bytes), "{at}");
        // 200 blocks of the second line, whose sizes have a header of Python's own.
        // The line has 200 such blocks and the list that holds them.
        let mut whatif = heaplay();
        whatif.args(["whatif", "-b", "malloc", "--drop-site", "app.py:2", "--at", at]);
        let saved = expect(0, whatif.arg(&path));
        let first = saved.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
        let expected = if at == "last-call" { 0..=0 } else { 200..=202 };
        assert!(first.is_some_and(|blocks| expected.contains(&blocks)), "{at}: {saved}");
    }
    let refused = expect(2, heaplay().args(["inspect", "--at", "mark:load"]).arg(&path));
    assert!(refused.contains("no mark `load`; it has loaded"), "{refused}");
}
