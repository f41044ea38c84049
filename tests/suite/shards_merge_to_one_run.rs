//! Shards of a run have each cell once, leave batches whole, and merge to the run that one machine
//! would have made. A Slurm that the test starts hands them out, too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use heaplay::results::{CellKey, Exactness, Metric, Outcome, Pass, Run};
use tempfile::TempDir;

use crate::support::process::{expect, finish, heaplay, on_path, repository};
use crate::support::skip::skip;
use crate::support::traces::generated_from;

/// Two traces, and `heaplay run` on them.
fn traces(folder: &Path) -> Vec<std::path::PathBuf> {
    (0..2).map(|n| generated_from(folder, &format!("t{n}.trace"), 4000, n)).collect()
}

fn run(folder: &Path, out: &str, options: &[&str]) -> Command {
    let mut command = heaplay();
    command.arg("run").args(traces(folder)).args(["-r", "2", "--backends", "malloc,pymalloc,bump"]);
    command.args(["--passes", "footprint,time,latency"]).args(options);
    command.arg("--out").arg(folder.join(out));
    command
}

/// The exact figures of a run, by cell, scope and metric.
fn exact(run: &Run) -> BTreeMap<String, u64> {
    let exact = run.measurements.iter().filter(|m| m.metric.exactness() == Exactness::Trace);
    let key = |m: &heaplay::results::Measurement| {
        let (name, pass) = (m.metric.name(), m.pass.name());
        format!("{} {} {pass} {} {:?} {name}", m.trace, m.backend, m.repetition, m.op)
    };
    exact.map(|m| (key(m), m.value.to_bits())).collect()
}

fn cells(run: &Run) -> BTreeSet<CellKey> {
    run.outcomes.iter().map(Outcome::cell).collect()
}

#[test]
fn shards_are_disjoint_whole_and_merge() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    expect(0, &mut run(folder.path(), "one", &[]));
    let one = Run::load(&path("one")).unwrap();
    let mut all = BTreeSet::new();
    let mut batches: BTreeMap<(String, Pass, u32), usize> = BTreeMap::new();
    for index in 1..=3 {
        let shard = format!("{index}/3");
        expect(0, &mut run(folder.path(), &format!("shard{index}"), &["--shard", &shard]));
        let part = Run::load(&path(&format!("shard{index}"))).unwrap();
        assert!(part.missing().is_empty());
        for cell in cells(&part) {
            if cell.pass.is_timed() {
                let batch = (cell.trace.clone(), cell.pass, cell.repetition);
                assert_eq!(*batches.entry(batch).or_insert(index), index, "{cell:?}");
            }
            assert!(all.insert(cell.clone()), "{cell:?} is in two shards");
        }
    }
    assert_eq!(all, cells(&one));
    // A merge without one of the shards lacks its cells, and says so.
    let mut merge = heaplay();
    merge.arg("merge").args([path("shard1"), path("shard3")]).arg("--out").arg(path("part"));
    expect(0, &mut merge);
    let part = Run::load(&path("part")).unwrap();
    assert_eq!(part.missing().len() + part.outcomes.len(), one.outcomes.len());
    assert!(!part.missing().is_empty());
    let mut merge = heaplay();
    merge.arg("merge").args((1..=3).map(|n| path(&format!("shard{n}")))).arg("--out");
    expect(0, merge.arg(path("merged")));
    let merged = Run::load(&path("merged")).unwrap();
    assert!(merged.missing().is_empty() && merged.manifest.shard.is_none());
    assert_eq!(exact(&merged), exact(&one));
    assert!(exact(&one).keys().any(|key| key.ends_with(Metric::LivePeakBytes.name())));
    expect(0, heaplay().arg("report").arg(path("merged")));
    let mut check = heaplay();
    let checked =
        expect(0, check.arg("check").arg("--baseline").args([path("one"), path("merged")]));
    assert!(checked.contains(" 0 MISSING"), "{checked}");
    plan_lists_the_cells(folder.path(), &one);
    let mut merge = heaplay();
    merge.arg("merge").args([path("shard1"), path("shard1")]).arg("--out").arg(path("no"));
    assert!(expect(2, &mut merge).contains("is in two of them"));
}

/// `plan --json` lists the cells that the run measured, with the shard of each, and costs by that run.
fn plan_lists_the_cells(folder: &Path, one: &Run) {
    let mut plan = heaplay();
    plan.arg("plan").args(traces(folder)).args(["-r", "2", "--backends", "malloc,pymalloc,bump"]);
    plan.args(["--passes", "footprint,time,latency", "--json", "--shards", "3", "--from"]);
    let output = finish(plan.arg(folder.join("one")));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut planned = BTreeSet::new();
    for row in document["cells"].as_array().unwrap() {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let pass = Pass::RECORDED.into_iter().find(|pass| pass.name() == text("pass")).unwrap();
        let repetition = row["repetition"].as_u64().unwrap() as u32;
        let cell = CellKey { trace: text("trace"), backend: text("backend"), pass, repetition };
        assert_eq!(text("basis"), "same_cell", "{row}");
        let shard = text("shard");
        let part = Run::load(&folder.join(format!("shard{}", &shard[..1]))).unwrap();
        assert!(cells(&part).contains(&cell), "{cell:?} is not of shard {shard}");
        planned.insert(cell);
    }
    assert_eq!(planned, cells(one));
    let of_shards = document["shards"].as_array().unwrap().iter();
    let sum: u64 = of_shards.map(|shard| shard["cells"].as_u64().unwrap()).sum();
    assert_eq!(sum as usize, planned.len());
}

#[test]
fn cells_of_unlike_machines_are_reported_apart() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let kernels = ["one kernel", "another kernel"];
    for (index, kernel) in (1..).zip(kernels) {
        let shard = format!("{index}/2");
        expect(0, &mut run(folder.path(), &shard.replace('/', "of"), &["--shard", &shard]));
        let mut part = Run::load(&path(&shard.replace('/', "of"))).unwrap();
        part.manifest.machine.facts.insert("kernel".into(), kernel.into());
        part.save(&path(&format!("part{index}"))).unwrap();
    }
    let mut merge = heaplay();
    merge.arg("merge").args([path("part1"), path("part2")]).arg("--out");
    expect(0, merge.arg(path("merged")));
    let merged = Run::load(&path("merged")).unwrap();
    for (index, kernel) in (1..).zip(kernels) {
        let part = Run::load(&path(&format!("part{index}"))).unwrap();
        for cell in cells(&part) {
            assert_eq!(merged.manifest.machine_of(&cell).facts["kernel"], kernel, "{cell:?}");
        }
    }
    let report = expect(0, heaplay().arg("report").arg(path("merged")));
    assert!(report.contains("measured on 2 machines"), "{report}");
    assert!(report.contains("kernel is `another kernel`, not `one kernel`"), "{report}");
    let traces_apart = report.matches("footprints are of unlike machines").count();
    // By the machines of the footprint cells themselves.
    let machines = |trace: &str| {
        let cells = merged.outcomes.iter().map(Outcome::cell);
        let footprints = cells.filter(|cell| cell.pass == Pass::Footprint && cell.trace == trace);
        let kernel = |cell: CellKey| merged.manifest.machine_of(&cell).facts["kernel"].clone();
        footprints.map(kernel).collect::<BTreeSet<String>>().len()
    };
    let apart = ["t0", "t1"].into_iter().filter(|trace| machines(trace) > 1).count();
    assert_eq!(traces_apart, apart, "{report}");
}

#[test]
fn a_shard_comes_from_the_scheduler_or_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let options = ["--passes", "footprint", "--shard"];
    let mut given = heaplay();
    given.arg("run").args(traces(folder.path())).args(options).arg("2/2");
    expect(0, given.arg("--out").arg(path("given")));
    let mut auto = heaplay();
    auto.arg("run").args(traces(folder.path())).args(options).arg("auto");
    auto.env("JOB_COMPLETION_INDEX", "1").env("HEAPLAY_SHARDS", "2");
    expect(0, auto.arg("--out").arg(path("auto")));
    let [given, auto] = ["given", "auto"].map(|name| cells(&Run::load(&path(name)).unwrap()));
    assert_eq!(given, auto);
    for (shard, message) in [("auto", "no scheduler names a shard"), ("3/2", "such as 2/8")] {
        let mut refused = heaplay();
        refused.arg("run").args(traces(folder.path())).args(options).arg(shard);
        for name in
            ["SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX", "CI_NODE_INDEX", "HEAPLAY_SHARD"]
        {
            refused.env_remove(name);
        }
        let text = expect(2, refused.arg("--out").arg(path("refused")));
        assert!(text.contains(message), "{text}");
    }
    // A shard without a cell is a whole run folder.
    let is_any_empty = (1..=50).any(|index| {
        let mut run = heaplay();
        run.arg("run").args(traces(folder.path())).args(options).arg(format!("{index}/50"));
        expect(0, run.arg("--out").arg(path(&format!("of50-{index}"))));
        let part = Run::load(&path(&format!("of50-{index}"))).unwrap();
        part.outcomes.is_empty()
    });
    assert!(is_any_empty);
}

/// An array of shards, of which one task is requeued, gives the measures of one run.
#[test]
fn slurm_hands_out_shards() {
    let missing = ["slurmctld", "slurmd", "munged", "sbatch"]
        .into_iter()
        .find(|name| on_path(name).is_none() && !Path::new("/usr/sbin").join(name).exists());
    if let Some(missing) = missing {
        skip("slurm", &format!("no program `{missing}`"));
        return;
    }
    if !is_root() {
        skip("slurm", "starting a Slurm needs root");
        return;
    }
    let folder = TempDir::new().unwrap();
    let mut test = Command::new(repository("scripts/shards/slurm-test"));
    test.arg("3").args(traces(folder.path())).args(["--passes", "footprint", "--timeout", "600"]);
    test.env("HEAPLAY", env!("CARGO_BIN_EXE_heaplay")).current_dir(folder.path());
    let path = std::env::var("PATH").unwrap_or_default();
    let output = finish(test.env("PATH", format!("{path}:/usr/sbin")));
    let text = crate::support::process::both(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("exact figures are equal"), "{text}");
}

/// Whether this process may do what root may.
fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}
