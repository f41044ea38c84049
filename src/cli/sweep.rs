//! Room `cli`, verb `sweep`: a grid of settings, run as any run; at its end what is worth choosing,
//! in a sentence.
//!
//! `jemalloc:dirty_decay_ms={0,1000}` is two backends. Each allocator without settings is measured
//! beside its variants, and `pymalloc` and `malloc` always, so that there is something to be better
//! than. Of two backends one *dominates* the other when it needs less memory and is not separably
//! slower, or as much memory and is separably faster. Times of a repetition were measured in turns,
//! so they are compared within it: separable is what differs by over 2 % the same way in every one,
//! and surely. (Rebuilding the same source moves times by up to 2 %.) What nothing dominates is the
//! Pareto set.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

use super::load::ChildArgs;
use super::print;
use super::run::{RunArgs, conclude};
use crate::backends;
use crate::report::TraceReport;
use crate::report::figures::BackendFigures;
use crate::results::{Metric, Pass, Run, Scope};
use crate::{stats, units};

/// Run a grid of settings and say which of them pay, with the line for a Dockerfile
#[derive(clap::Args)]
pub struct SweepArgs {
    /// Traces (.trace or .csv), or folders of traces
    #[arg(required = true)]
    traces: Vec<PathBuf>,
    /// A backend; braces make a grid: 'jemalloc:dirty_decay_ms={0,1000},narenas={1,4}'. May be
    /// given again
    #[arg(short, long = "backend", required = true)]
    backends: Vec<String>,
    /// The memory that counts: at exit, at its peak, or averaged over the bytes requested
    #[arg(long, default_value = "exit", value_parser = ["exit", "peak", "mean"])]
    memory: String,
    /// Repetitions of the time pass
    #[arg(short, long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(5..=255))]
    repetitions: u32,
    /// The run folder [default: reports/DATE-TIME]
    #[arg(short, long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    children: ChildArgs,
}

/// What every sweep is held against: CPython as it comes, and the C library for every call.
const BASELINES: [&str; 2] = ["pymalloc", "malloc"];
/// Backends in a grid beyond which a typing mistake is likelier than patience.
const MOST: usize = 64;
/// Times that differ by less in any repetition are not separable.
const MARGIN: f64 = 0.02;
/// Memory that differs by less is the same to a person who has to set something for it.
const SAME: f64 = 0.05;
/// The same where one of them gives memory back by the clock: its figure is that of this replay's
/// pace, and of this run.
const SAME_VARYING: f64 = 0.1;

impl SweepArgs {
    /// Expands, runs, and says what pays.
    ///
    /// # Errors
    /// A grid that is none, or what `run` could not do.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let backends = grid(&self.backends)?;
        let passes = vec![Pass::Footprint, Pass::Time];
        let args =
            RunArgs::of(self.traces, backends, passes, self.repetitions, self.out, self.children);
        let (run, folder) = args.measure()?;
        let code = conclude(&run, &folder)?;
        if run.missing().is_empty() {
            print(&advice(&run, &self.memory))?;
        }
        Ok(code)
    }
}

/// Every backend of the grid: the baselines, each allocator as it is, then the variants as written.
fn grid(words: &[String]) -> anyhow::Result<Vec<String>> {
    let mut all = BASELINES.map(str::to_owned).to_vec();
    let mut add = |word: String| {
        if !all.contains(&word) {
            all.push(word);
        }
    };
    for word in words {
        let variants = expand(word)?;
        for variant in &variants {
            add(backends::parse(variant)?.without_settings().into());
        }
        variants.into_iter().for_each(&mut add);
    }
    if all.len() > MOST {
        bail!(
            "--backend: the grid has {} backends, more than {MOST}; give fewer values",
            all.len()
        );
    }
    Ok(all)
}

/// `a{1,2}b{3,4}` as its four words.
fn expand(word: &str) -> anyhow::Result<Vec<String>> {
    let Some((head, rest)) = word.split_once('{') else {
        if word.contains('}') {
            bail!("--backend {word}: `}}` without `{{`");
        }
        return Ok(vec![word.to_owned()]);
    };
    let Some((values, tail)) = rest.split_once('}') else {
        bail!("--backend {word}: `{{` without `}}`")
    };
    if head.contains('}') || values.contains('{') || values.split(',').any(str::is_empty) {
        bail!("--backend {word}: expected values in braces, such as {{0,1000}}");
    }
    let tails = expand(tail)?;
    Ok(values
        .split(',')
        .flat_map(|value| tails.iter().map(move |tail| format!("{head}{value}{tail}")))
        .collect())
}

/// What a backend costs on one trace.
#[derive(Clone, Debug, PartialEq)]
struct Cost {
    name: String,
    memory_bytes: f64,
    /// Whether the memory varies between runs.
    varies: bool,
    /// ns a call, repetition by repetition.
    times_ns: Vec<f64>,
    /// As the table says it: the medians over the repetitions, stretch by stretch.
    median_ns: f64,
}

impl Cost {
    /// `None` when a pass of it failed.
    fn of(trace_report: &TraceReport, backend: &BackendFigures, metric: Metric) -> Option<Cost> {
        let calls = trace_report.trace.calls as f64;
        let values = |metric: Metric| backend.values(Scope::All, metric);
        Some(Cost {
            name: backend.spec.to_owned(),
            memory_bytes: *values(metric).first()?,
            varies: !values(Metric::VariesBetweenRuns).is_empty(),
            median_ns: backend.cost?.middle_ns,
            times_ns: values(Metric::TimeNanoseconds).iter().map(|ns| ns / calls).collect(),
        })
    }

    /// By how much the other takes longer, repetition by repetition: 0.1 is 10 %.
    fn longer(&self, other: &Cost) -> Vec<f64> {
        self.times_ns.iter().zip(&other.times_ns).map(|(own, other)| other / own - 1.0).collect()
    }

    fn separably_faster(&self, other: &Cost) -> bool {
        let ratios: Vec<f64> = self.longer(other).iter().map(|share| share + 1.0).collect();
        match stats::longer(&ratios, MARGIN) {
            Some(found) => found == std::cmp::Ordering::Greater,
            None => ratios.iter().all(|ratio| *ratio > 1.0 + MARGIN),
        }
    }

    fn needs_less(&self, other: &Cost) -> bool {
        let same = if self.varies || other.varies { SAME_VARYING } else { SAME };
        self.memory_bytes < other.memory_bytes * (1.0 - same)
    }

    fn dominates(&self, other: &Cost) -> bool {
        (self.needs_less(other) && !other.separably_faster(self))
            || (!other.needs_less(self) && self.separably_faster(other))
    }
}

/// The costs that no other dominates, least memory first.
fn pareto(costs: &[Cost]) -> Vec<&Cost> {
    let mut set: Vec<&Cost> =
        costs.iter().filter(|own| !costs.iter().any(|other| other.dominates(own))).collect();
    set.sort_by(|a, b| a.memory_bytes.total_cmp(&b.memory_bytes));
    set
}

/// For each trace the Pareto set, and a sentence for each allocator.
fn advice(run: &Run, memory: &str) -> String {
    let (metric, what) = match memory {
        "peak" => (Metric::ResidentPeakBytes, "peak resident"),
        "mean" => (Metric::ResidentMeanBytes, "mean resident"),
        _ => (Metric::ResidentEndBytes, "resident at exit"),
    };
    let mut text = String::new();
    for trace_report in TraceReport::all(run) {
        let costs: Vec<Cost> = trace_report
            .backends
            .iter()
            .filter_map(|backend| Cost::of(&trace_report, backend, metric))
            .filter(|cost| !cost.times_ns.is_empty())
            .collect();
        if costs.is_empty() {
            continue;
        }
        let set = pareto(&costs);
        text.push_str(&format!(
            "\n{}: best in time or in {what}, {} of {}\n",
            trace_report.trace.name,
            set.len(),
            costs.len()
        ));
        let width = set.iter().map(|cost| cost.name.len()).max().unwrap_or(0);
        for cost in &set {
            text.push_str(&format!(
                "  {:width$}  {}{:>9}  {} ns a call\n",
                cost.name,
                if cost.varies { "≈" } else { " " },
                units::bytes(cost.memory_bytes),
                units::figure(cost.median_ns)
            ));
        }
        if set.iter().any(|cost| cost.varies) {
            text.push_str("  ≈ varies between runs\n");
        }
        for sentence in sentences(&costs, what) {
            text.push_str(&sentence);
        }
    }
    text
}

/// One sentence for each allocator that has variants, and one for the best of all against the
/// baseline.
fn sentences(costs: &[Cost], what: &str) -> Vec<String> {
    let plain = |cost: &Cost| -> String {
        backends::parse(&cost.name).map(|spec| spec.without_settings().into()).unwrap_or_default()
    };
    let mut said = Vec::new();
    for base in costs.iter().filter(|cost| plain(cost) == cost.name) {
        let variants: Vec<&Cost> = costs
            .iter()
            .filter(|cost| cost.name != base.name && plain(cost) == base.name)
            .collect();
        if variants.is_empty() {
            continue;
        }
        let better = best(variants.into_iter().filter(|cost| cost.dominates(base)));
        said.push(match better {
            Some(cost) => {
                let settings = cost
                    .name
                    .strip_prefix(&base.name)
                    .unwrap_or(&cost.name)
                    .trim_start_matches(':');
                format!("{}: set {settings}: {}\n", base.name, change(base, cost, what))
                    + &lines(&cost.name)
            }
            None => format!("{}: no setting of this grid is better than its defaults\n", base.name),
        });
    }
    let base = BASELINES.iter().find_map(|name| costs.iter().find(|cost| cost.name == *name));
    if let Some(base) = base
        && let Some(cost) =
            best(costs.iter().filter(|cost| plain(cost) != base.name && cost.dominates(base)))
    {
        let what_it_is =
            if base.name == "pymalloc" { "CPython's own pymalloc" } else { base.name.as_str() };
        said.push(
            format!("instead of {what_it_is}, {}: {}\n", cost.name, change(base, cost, what))
                + &lines(&cost.name),
        );
    }
    said
}

/// The one with the least memory; among equals the fastest.
fn best<'a>(costs: impl Iterator<Item = &'a Cost>) -> Option<&'a Cost> {
    costs.reduce(|best, cost| {
        let faster = !best.needs_less(cost) && cost.median_ns < best.median_ns;
        if cost.needs_less(best) || faster { cost } else { best }
    })
}

/// `resident at exit 43 → 27 MiB, time not separable (−2 to +3 %)`.
fn change(from: &Cost, to: &Cost, what: &str) -> String {
    let memory = if from.needs_less(to) || to.needs_less(from) {
        let told = |cost: &Cost| {
            format!("{}{}", if cost.varies { "≈" } else { "" }, units::bytes(cost.memory_bytes))
        };
        format!("{what} {} → {}", told(from), told(to))
    } else {
        format!("{what} the same")
    };
    let shares = from.longer(to);
    let (least, most) = stats::range(&shares).unwrap_or_default();
    let share = stats::median(&shares).unwrap_or_default();
    let percent = |share: f64| {
        format!("{}{}", if share > 0.0 { "+" } else { "" }, units::figure(share * 100.0))
    };
    let range = format!("{} to {} %", percent(least), percent(most));
    let time = if to.separably_faster(from) || from.separably_faster(to) {
        format!("time {} % ({range})", percent(share))
    } else {
        format!("time not separable ({range})")
    };
    format!("{memory}, {time}")
}

/// Libraries by which a program gets an allocator that is compiled into this one.
const LIBRARIES: [(&str, &str); 3] = [
    ("jemalloc", "libjemalloc.so.2"),
    ("mimalloc", "libmimalloc.so.2"),
    ("tcmalloc", "libtcmalloc_minimal.so.4"),
];

/// What to write into a Dockerfile and into a service file; empty for what is no library.
fn lines(word: &str) -> String {
    let Ok(spec) = backends::parse(word) else { return String::new() };
    let mut variables: Vec<(String, String)> = Vec::new();
    let own = match spec.below() {
        Some(below) if spec.name() == "pymalloc" => below,
        // Every call of the trace went to this backend: without pymalloc in front, as Python itself
        // would put it.
        _ => {
            variables.push(("PYTHONMALLOC".to_owned(), "malloc".to_owned()));
            &spec
        }
    };
    match (own.name(), own.path()) {
        (_, Some(path)) => variables.push(("LD_PRELOAD".to_owned(), path.to_owned())),
        ("malloc", _) => {}
        (name, _) => match LIBRARIES.iter().find(|(known, _)| *known == name) {
            Some((_, library)) => variables.push(("LD_PRELOAD".to_owned(), (*library).to_owned())),
            None => return String::new(),
        },
    }
    for (name, value) in backends::environment(own).unwrap_or_default() {
        let value = value.to_string_lossy().into_owned();
        match name.as_str() {
            "LD_PRELOAD" => {}
            "GLIBC_TUNABLES" if value.starts_with("glibc.rtld.") => {}
            // The compiled-in jemalloc has a prefix, an installed one has none.
            "_RJEM_MALLOC_CONF" => variables.push(("MALLOC_CONF".to_owned(), value)),
            _ => match variables.iter_mut().find(|(known, _)| *known == name) {
                Some((_, present)) => {
                    present.push(':');
                    present.push_str(&value);
                }
                None => variables.push((name, value)),
            },
        }
    }
    let pairs: Vec<String> =
        variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let pairs = pairs.join(" ");
    format!("  Dockerfile:    ENV {pairs}\n  service file:  Environment={pairs}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(name: &str, memory_bytes: f64, least_ns: f64, most_ns: f64) -> Cost {
        let median_ns = f64::midpoint(least_ns, most_ns);
        // The slow repetition of one is the fast one of the next: only what is apart in each is
        // separable.
        let flip = name.contains("overlapping");
        let times_ns = if flip { vec![most_ns, least_ns] } else { vec![least_ns, most_ns] };
        Cost { name: name.to_owned(), memory_bytes, varies: false, times_ns, median_ns }
    }

    #[test]
    fn braces_are_a_grid() {
        assert_eq!(
            expand("a:x={1,2},y={3,4}").unwrap(),
            ["a:x=1,y=3", "a:x=1,y=4", "a:x=2,y=3", "a:x=2,y=4"]
        );
        assert_eq!(expand("malloc").unwrap(), ["malloc"]);
        for word in ["a:x={1", "a:x=1}", "a:x={}", "a:x={1,{2}}", "a:x={1,}"] {
            assert!(expand(word).is_err(), "{word}");
        }
        let words =
            grid(&["malloc:MALLOC_ARENA_MAX={1,2}".to_owned(), "bump:reserve=1GiB".to_owned()])
                .unwrap();
        assert_eq!(
            words,
            [
                "pymalloc",
                "malloc",
                "malloc:MALLOC_ARENA_MAX=1",
                "malloc:MALLOC_ARENA_MAX=2",
                "bump",
                "bump:reserve=1GiB"
            ]
        );
        assert!(
            grid(&[
                "malloc:MALLOC_ARENA_MAX={1,2,3,4,5,6,7,8},MALLOC_ARENA_TEST={1,2,3,4,5,6,7,8,9}"
                    .to_owned()
            ])
            .is_err()
        );
    }

    #[test]
    fn what_is_not_separable_is_not_ranked() {
        let costs = [
            cost("small and slow", 10.0, 30.0, 33.0),
            cost("large and fast", 40.0, 10.0, 12.0),
            cost("same memory, overlapping", 10.0, 32.0, 36.0),
            cost("same memory, slower", 10.0, 40.0, 44.0),
            cost("larger, overlapping", 12.0, 29.0, 31.0),
            cost("middle", 20.0, 20.0, 22.0),
        ];
        let names: Vec<&str> = pareto(&costs).iter().map(|cost| cost.name.as_str()).collect();
        assert_eq!(
            names,
            ["small and slow", "same memory, overlapping", "middle", "large and fast"]
        );
    }

    #[test]
    #[cfg(feature = "jemalloc")]
    fn memory_that_varies_differs_only_by_much() {
        let varying = |cost: Cost| Cost { varies: true, ..cost };
        let costs = [
            varying(cost("jemalloc", 30.0, 10.0, 12.0)),
            varying(cost("jemalloc:dirty_decay_ms=1000", 29.0, 10.0, 12.0)),
        ];
        assert!(
            sentences(&costs, "resident at exit")
                .concat()
                .contains("no setting of this grid is better")
        );
        let costs = [costs[0].clone(), varying(cost("jemalloc:dirty_decay_ms=0", 3.0, 10.0, 12.0))];
        let said = sentences(&costs, "resident at exit").concat();
        assert!(said.contains("resident at exit ≈30"), "{said}");
    }

    #[test]
    fn the_sentence_is_one_that_a_person_would_say() {
        let mib = f64::from(1 << 20);
        let costs = [
            cost("malloc", 60.0 * mib, 15.0, 17.0),
            cost("malloc:MALLOC_ARENA_MAX=1", 60.0 * mib, 15.0, 17.0),
            cost("bump", 100.0 * mib, 50.0, 60.0),
            cost("malloc:MALLOC_TRIM_THRESHOLD_=64K", 27.0 * mib, 14.5, 18.0),
        ];
        let said = sentences(&costs, "resident at exit").concat().replace('\u{a0}', " ");
        assert!(
            said.starts_with(
                "malloc: set MALLOC_TRIM_THRESHOLD_=64K: resident at exit 60 MiB → 27 MiB, time not separable ("
            ),
            "{said}"
        );
        assert!(said.contains("ENV PYTHONMALLOC=malloc MALLOC_TRIM_THRESHOLD_=65536\n"), "{said}");
        assert!(!said.contains("instead of"), "{said}");
        // What a Python program has now is pymalloc.
        let costs = [
            cost("pymalloc", 30.0 * mib, 12.0, 13.0),
            cost("malloc", 60.0 * mib, 15.0, 17.0),
            cost("jemalloc", 20.0 * mib, 9.0, 10.0),
        ];
        let said = sentences(&costs, "resident at exit").concat().replace('\u{a0}', " ");
        assert!(
            said.starts_with(
                "instead of CPython's own pymalloc, jemalloc: resident at exit 30 MiB"
            ),
            "{said}"
        );
    }

    #[test]
    fn lines_are_what_the_program_needs() {
        let line = |word: &str| lines(word).lines().next().unwrap_or_default().trim().to_owned();
        assert_eq!(
            line("pymalloc+malloc:MALLOC_TOP_PAD_=64K"),
            "Dockerfile:    ENV MALLOC_TOP_PAD_=65536"
        );
        assert_eq!(
            line("malloc:glibc.malloc.mxfast=0,glibc.malloc.tcache_count=0"),
            "Dockerfile:    ENV PYTHONMALLOC=malloc GLIBC_TUNABLES=glibc.malloc.mxfast=0:glibc.malloc.tcache_count=0"
        );
        assert_eq!(
            line("so:/usr/lib/libx.so:x_:MALLOC_CONF=narenas:1"),
            "Dockerfile:    ENV PYTHONMALLOC=malloc LD_PRELOAD=/usr/lib/libx.so MALLOC_CONF=narenas:1"
        );
        assert_eq!(line("tlsf"), "");
    }
}
