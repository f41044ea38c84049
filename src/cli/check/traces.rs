//! Room `cli`, verb `check`: two recordings of one program on one backend: calls, bytes, peak,
//! footprint, fragmentation, and what changed by size class and by site.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::CheckArgs;
use crate::backends;
use crate::bench::pairs::Side;
use crate::bench::{self, Loaded, fingerprint};
use crate::check::{Frame, Policy, compare};
use crate::cli::load::load_traces;
use crate::cli::print;
use crate::program::Action;
use crate::replay::class_of;
use crate::results::{BackendEntry, Manifest, Pass, Run, TraceEntry};
use crate::units;

/// Lines of what changed, of each kind.
const MOST: usize = 12;

/// Measures both and judges.
///
/// # Errors
/// A trace that cannot be read, a backend that cannot be had.
pub fn run(args: &CheckArgs, old: &Path, new: &Path, policy: &Policy) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    for path in [old, new] {
        if path.is_dir() {
            bail!(
                "{}: this is a folder; two run folders are compared with `--baseline RUN RUN`, two recordings by their files",
                path.display()
            );
        }
    }
    let settings = args.children.settings();
    let spec = backends::parse(&args.backend)?;
    backends::describe(&spec)?;
    let version =
        bench::version(&args.backend, None).map_err(|reason| anyhow::anyhow!("{reason}"))?;
    let read = |path: &Path| -> anyhow::Result<(TraceEntry, Loaded)> {
        let (mut entries, mut programs) = load_traces(&[PathBuf::from(path)])?;
        let entry = entries.pop().context("one trace")?;
        let loaded = programs.remove(&entry.name).context("its program")?;
        Ok((entry, loaded))
    };
    let (before, after) = (read(old)?, read(new)?);
    // One name for both, by which they are compared.
    let name = after.0.name.clone();
    let side = Side::of(&args.backend);
    let record = |(entry, loaded): &(TraceEntry, Loaded)| -> anyhow::Result<Run> {
        let mut run = Run::new(Manifest {
            traces: vec![TraceEntry { name: name.clone(), ..entry.clone() }],
            backends: vec![BackendEntry { name: args.backend.clone(), version: version.clone() }],
            passes: vec![Pass::Footprint],
            machine: fingerprint(),
            ..Manifest::default()
        });
        let tables = bench::exact(&side, &name, loaded, &settings)
            .map_err(|reason| anyhow::anyhow!("{} on {}: {reason}", entry.path, args.backend))?;
        run.absorb(tables);
        Ok(run)
    };
    let stored = compare(&record(&before)?, &record(&after)?, policy)?;
    let again =
        format!("heaplay check {} {} --backend {}", old.display(), new.display(), args.backend);
    let mut findings = stored.findings;
    for finding in &mut findings {
        finding.reproduce.clone_from(&again);
    }
    print(&changes(&before.1, &after.1))?;
    let frame = Frame {
        baseline: old.display().to_string(),
        candidate: new.display().to_string(),
        seconds: began.elapsed().as_secs_f64(),
        notes: stored.notes,
        ..super::output::frame(0)
    };
    args.output.tell(frame, findings, policy)
}

/// Requests and their bytes.
#[derive(Clone, Copy, Default, PartialEq)]
struct Sum {
    requests: i64,
    bytes: i64,
}

/// What is asked for, by size class and by site.
fn sums(loaded: &Loaded) -> (BTreeMap<u64, Sum>, BTreeMap<String, Sum>) {
    let (mut classes, mut sites): (BTreeMap<u64, Sum>, BTreeMap<u32, Sum>) = Default::default();
    let mut request = 0;
    for (index, instruction) in loaded.program.instructions().iter().enumerate() {
        if instruction.action() == Action::Free {
            continue;
        }
        let bytes = loaded.program.size(index) as u64;
        let add = |sum: &mut Sum| {
            sum.requests += 1;
            sum.bytes += bytes as i64;
        };
        add(classes.entry(class_of(bytes)).or_default());
        if !loaded.births.is_empty() {
            add(sites.entry(loaded.births.site(request)).or_default());
        }
        request += 1;
    }
    let named = |(site, sum): (u32, Sum)| (loaded.births.name(site).to_owned(), sum);
    (classes, sites.into_iter().map(named).collect())
}

/// The tables of what changed most, by bytes.
fn changes(before: &Loaded, after: &Loaded) -> String {
    let (old, new) = (sums(before), sums(after));
    let class = |up_to: &u64| format!("up to {}", units::bytes(*up_to as f64));
    let mut text = table("size class", changed(&old.0, &new.0), class);
    if before.births.is_empty() || after.births.is_empty() {
        let _ = writeln!(text, "By line of the program: record both with --sites to see it.");
    } else {
        let site = |name: &String| {
            if name.is_empty() { "(no line known)".to_owned() } else { name.clone() }
        };
        text.push_str(&table("line", changed(&old.1, &new.1), site));
    }
    text
}

/// What differs, most first.
fn changed<K: Ord + Clone>(old: &BTreeMap<K, Sum>, new: &BTreeMap<K, Sum>) -> Vec<(K, Sum, Sum)> {
    let mut keys: Vec<&K> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    let of = |map: &BTreeMap<K, Sum>, key: &K| map.get(key).copied().unwrap_or_default();
    let mut found: Vec<(K, Sum, Sum)> = keys
        .into_iter()
        .map(|key| (key.clone(), of(old, key), of(new, key)))
        .filter(|(_, before, after)| before != after)
        .collect();
    found.sort_by_key(|(_, before, after)| std::cmp::Reverse(before.bytes.abs_diff(after.bytes)));
    found
}

fn table<K>(kind: &str, changed: Vec<(K, Sum, Sum)>, name: impl Fn(&K) -> String) -> String {
    if changed.is_empty() {
        return format!("By {kind}: nothing changed.\n");
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([kind, "requests", "was", "change", "bytes", "was", "change"]);
    let signed = |change: i64| {
        let digits = units::count(change.unsigned_abs());
        if change < 0 { format!("-{digits}") } else { format!("+{digits}") }
    };
    for (key, before, after) in changed.iter().take(MOST) {
        table.add_row([
            name(key),
            units::count(after.requests.unsigned_abs()),
            units::count(before.requests.unsigned_abs()),
            signed(after.requests - before.requests),
            units::count(after.bytes.unsigned_abs()),
            units::count(before.bytes.unsigned_abs()),
            signed(after.bytes - before.bytes),
        ]);
    }
    for column in 1..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let rest = changed.len().saturating_sub(MOST);
    let more = if rest > 0 { format!("… and {rest} more\n") } else { String::new() };
    format!("{table}\n{more}")
}
