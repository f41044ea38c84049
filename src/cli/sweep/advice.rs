//! The advice of a sweep: the Pareto set of each trace, and a sentence for each allocator.

use std::collections::BTreeSet;

use crate::backends;
use crate::check::{BackendCost, best, pareto_set};
use crate::live::Deployment;
use crate::report::TraceReport;
use crate::report::figures::BackendFigures;
use crate::results::{Metric, Run, Scope};
use crate::spec::BackendSpec;
use crate::stats::Decision;
use crate::units;

/// The baselines of every sweep: CPython as it comes, and the C library for every call.
pub const BASELINES: [&str; 2] = ["pymalloc", "malloc"];

/// The Pareto set and the sentences of each trace. `metric` is the memory that counts.
pub fn advice(run: &Run, metric: Metric) -> String {
    let mut text = String::new();
    for report in TraceReport::all(run) {
        let memory = match metric {
            Metric::ResidentPeakBytes => "peak resident".to_owned(),
            Metric::ResidentMeanBytes => "mean resident".to_owned(),
            _ => format!("resident {}", report.end_name()),
        };
        let costs: Vec<BackendCost> =
            report.backends.iter().filter_map(|backend| cost(backend, &report, metric)).collect();
        let has_threads = report.backends.iter().any(|backend| {
            backend.values(Scope::All, Metric::Threads).iter().any(|threads| *threads > 1.0)
        });
        let (judged, not_judged): (Vec<BackendCost>, Vec<BackendCost>) =
            costs.into_iter().partition(|cost| has_threads || !needs_threads(cost));
        if !judged.is_empty() {
            let own = report.own_backend().map(|backend| backend.spec);
            text.push_str(&advice_on_trace(&report.trace.name, &judged, own, &memory));
        }
        if !not_judged.is_empty() {
            text.push_str(&without_threads(&not_judged));
        }
    }
    text
}

/// The settings of a spec that change something only in a program of several threads, by name.
fn settings_for_threads(name: &str) -> Vec<&'static str> {
    let spec = name.parse::<BackendSpec>();
    spec.map_or(vec![], |spec| backends::settings_for_threads(&spec))
}

/// Whether a setting of the backend changes something only in a program of several threads.
fn needs_threads(cost: &BackendCost) -> bool {
    !settings_for_threads(&cost.name).is_empty()
}

/// The line for backends that cannot be judged because the replay had one thread.
fn without_threads(costs: &[BackendCost]) -> String {
    let names: Vec<&str> = costs.iter().map(|cost| cost.name.as_str()).collect();
    let settings: BTreeSet<&str> =
        names.iter().flat_map(|name| settings_for_threads(name)).collect();
    let settings: Vec<&str> = settings.into_iter().collect();
    let has_others = names.iter().any(|name| {
        let spec = name.parse::<BackendSpec>();
        let all = spec.map_or(0, |spec| spec.layers().map(|layer| layer.settings().len()).sum());
        all > settings_for_threads(name).len()
    });
    let advice = match has_others {
        true => " To judge the other settings, leave these out of the grid.",
        false => "",
    };
    format!(
        "not judged: {}. Settings that act on threads: {}. One thread makes all calls of this trace; where \
         the program had more threads, the trace has lost them.{advice}\n",
        names.join(", "),
        settings.join(", ")
    )
}

/// The cost of a backend on a trace; `None` where a pass failed.
fn cost(backend: &BackendFigures, report: &TraceReport, metric: Metric) -> Option<BackendCost> {
    let values = |metric| backend.values(Scope::All, metric);
    Some(BackendCost {
        name: backend.spec.to_owned(),
        version: backend.label.version.clone(),
        memory_bytes: *values(metric).first()?,
        is_varying: !values(Metric::VariesBetweenRuns).is_empty(),
        median_ns: backend.cost?.middle_ns,
        times: report.evidence.times(backend.spec)?.clone(),
        looks: report.evidence.looks(),
    })
}

/// `own` is the spec of what the program has today, as recorded.
fn advice_on_trace(trace: &str, costs: &[BackendCost], own: Option<&str>, memory: &str) -> String {
    let set = pareto_set(costs);
    let mut text =
        format!("\n{trace}: best in time or in {memory}, {} of {}\n", set.len(), costs.len());
    let width = set.iter().map(|cost| cost.name.len()).max().unwrap_or(0);
    for cost in &set {
        text.push_str(&format!(
            "  {:width$}  {}{:>9}  {} ns a call\n",
            cost.name,
            if cost.is_varying { "≈" } else { " " },
            units::bytes(cost.memory_bytes),
            units::figure(cost.median_ns)
        ));
    }
    if set.iter().any(|cost| cost.is_varying) {
        text.push_str("  ≈ varies between runs\n");
    }
    text + &sentences(costs, own, memory).concat()
}

/// One sentence for each allocator that has variants, and one for the best of all against what the
/// program has today (`own`), or else against the baseline.
fn sentences(costs: &[BackendCost], own: Option<&str>, memory: &str) -> Vec<String> {
    let find = |name: &str| costs.iter().find(|cost| cost.name == name);
    let today = own.and_then(find);
    let mut sentences = Vec::new();
    for base in costs.iter().filter(|cost| without_settings(cost) == cost.name) {
        let is_variant =
            |cost: &&BackendCost| cost.name != base.name && without_settings(cost) == base.name;
        let variants: Vec<&BackendCost> = costs.iter().filter(is_variant).collect();
        if !variants.is_empty() {
            let better = best(variants.iter().copied().filter(|cost| cost.dominates(base)));
            sentences.push(match better {
                Some(better) => sentence_on_settings(base, better, today, memory),
                None => sentence_on_trades(base, &variants, today, memory),
            });
        }
    }
    let base = today.or_else(|| BASELINES.iter().find_map(|name| find(name)));
    if let Some(base) = base {
        let others = costs.iter().filter(|cost| without_settings(cost) != base.name);
        if let Some(better) = best(others.filter(|cost| cost.dominates(base))) {
            let what = match base.name.as_str() {
                name if today.is_some() => format!("{name}, which the program has today"),
                "pymalloc" => "CPython's own pymalloc".to_owned(),
                name => name.to_owned(),
            };
            let change = change(base, better, memory);
            let sentence = format!("instead of {what}, {}: {change}\n", better.name);
            sentences.push(sentence + &deployment_lines(better));
        }
    }
    sentences
}

/// The sentence for an allocator of which a variant is better. The lines for a Dockerfile follow where the
/// variant is better than what the program has today, too.
fn sentence_on_settings(
    base: &BackendCost,
    better: &BackendCost,
    today: Option<&BackendCost>,
    memory: &str,
) -> String {
    let from_base = change(base, better, memory);
    let sentence = format!("{}: set {}: {from_base}\n", base.name, settings_of(base, better));
    match today.and_then(|today| from_today(today, base, better, memory)) {
        Some(from_today) => sentence + &from_today,
        None => sentence + &deployment_lines(better),
    }
}

/// What a variant of an allocator costs from what the program has today; `None` where that is the same
/// allocator, or one that the variant beats.
fn from_today(
    today: &BackendCost,
    base: &BackendCost,
    variant: &BackendCost,
    memory: &str,
) -> Option<String> {
    (today.name != base.name && !variant.dominates(today)).then(|| {
        format!(
            "  only for a program on {}. From {}, which this one has today: {}\n",
            base.name,
            today.name,
            change(today, variant, memory)
        )
    })
}

/// The sentence for an allocator of which no variant is better in one and as good in the other: what
/// the variants with the least memory and with the least time trade.
fn sentence_on_trades(
    base: &BackendCost,
    variants: &[&BackendCost],
    today: Option<&BackendCost>,
    memory: &str,
) -> String {
    let smaller = variants.iter().copied().filter(|cost| cost.needs_less(base));
    let smaller = smaller.min_by(|a, b| a.memory_bytes.total_cmp(&b.memory_bytes));
    let faster = variants.iter().copied().filter(|cost| cost.is_separably_faster(base));
    let faster = faster.min_by(|a, b| a.median_ns.total_cmp(&b.median_ns));
    let trades: Vec<String> = [("less memory", smaller), ("less time", faster)]
        .into_iter()
        .filter_map(|(what, cost)| {
            let cost = cost?;
            let trade =
                format!("  {what}: {}: {}\n", settings_of(base, cost), change(base, cost, memory));
            let from_today = today.and_then(|today| from_today(today, base, cost, memory));
            Some(trade + &from_today.map_or(String::new(), |text| format!("  {text}")))
        })
        .collect();
    if trades.is_empty() {
        return format!("{}: no setting of this grid is better than its defaults\n", base.name);
    }
    let head = "no setting of this grid is better in time and memory; what some of them trade:";
    format!("{}: {head}\n{}", base.name, trades.concat())
}

/// The settings of a variant.
fn settings_of<'a>(base: &BackendCost, variant: &'a BackendCost) -> &'a str {
    let settings = variant.name.strip_prefix(&base.name).unwrap_or(&variant.name);
    settings.trim_start_matches(':')
}

/// The lines that give a program the backend; empty where there are none. A library that the linker
/// finds by its name may be of another version than the allocator that was measured.
fn deployment_lines(cost: &BackendCost) -> String {
    let deployment = cost.name.parse().ok().and_then(|spec| Deployment::of(&spec).ok());
    let Some(deployment) = deployment else { return String::new() };
    // A trace that was imported does not say whether its program is a Python, and no other reads this.
    let lines = deployment.lines(true);
    match &deployment.preload {
        Some(library) if !library.contains('/') => format!(
            "{lines}  measured:      {}, compiled into heaplay; {library} may be another version: measure \
             it, too, with -b preload:PATH\n",
            cost.version
        ),
        _ => lines,
    }
}

/// The spec without its settings; empty for a name that is no spec.
fn without_settings(cost: &BackendCost) -> String {
    let spec = cost.name.parse::<BackendSpec>();
    spec.map(|spec| spec.without_settings().into()).unwrap_or_default()
}

/// `resident at the end 43 → 27 MiB, time equal within 2 % (−1 to +1 %)`.
fn change(from: &BackendCost, to: &BackendCost, memory: &str) -> String {
    let change = if from.needs_less(to) || to.needs_less(from) {
        let bytes = |cost: &BackendCost| {
            let mark = if cost.is_varying { "≈" } else { "" };
            format!("{mark}{}", units::bytes(cost.memory_bytes))
        };
        format!("{memory} {} → {}", bytes(from), bytes(to))
    } else {
        format!("{memory} the same")
    };
    let Some(comparison) = from.compare_time(to) else { return change };
    let percent = |share: f64| {
        format!("{}{}", if share > 0.0 { "+" } else { "" }, units::figure(share * 100.0))
    };
    if comparison.lower.is_infinite() {
        return format!("{change}, time not separable (too few repetitions)");
    }
    let range = format!("{} to {} %", percent(comparison.lower), percent(comparison.upper));
    match comparison.decision {
        Decision::Slower | Decision::Faster => {
            format!("{change}, time {} % ({range})", percent(comparison.change))
        }
        Decision::Equal => format!("{change}, time equal within 2 % ({range})"),
        Decision::Open => {
            let needed = comparison.pairs_needed.map_or(String::new(), |needed| {
                format!("; too few repetitions, about {needed} needed")
            });
            format!("{change}, time not separable ({range}{needed})")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{BackendTimes, TimeBatch};
    use crate::stats::LookPlan;

    fn cost(name: &str, memory_bytes: f64, least_ns: f64, most_ns: f64) -> BackendCost {
        let mut times = BackendTimes::default();
        for repetition in 0..8 {
            let ns = if repetition % 2 == 0 { least_ns } else { most_ns };
            times.add(TimeBatch { run: 0, repetition }, (1000.0 * ns) as u64);
        }
        let (name, median_ns) = (name.to_owned(), f64::midpoint(least_ns, most_ns));
        let looks = LookPlan::UntilDecided;
        let version = "9.9".to_owned();
        BackendCost { name, version, memory_bytes, is_varying: false, times, looks, median_ns }
    }

    fn words(costs: &[BackendCost], own: Option<&str>) -> String {
        sentences(costs, own, "resident at the end").concat().replace('\u{a0}', " ")
    }

    #[test]
    fn memory_that_varies_differs_only_by_much() {
        let varying = |cost: BackendCost| BackendCost { is_varying: true, ..cost };
        let costs = [
            varying(cost("jemalloc", 30.0, 10.0, 12.0)),
            varying(cost("jemalloc:dirty_decay_ms=1000", 29.0, 10.0, 12.0)),
        ];
        let text = words(&costs, None);
        assert!(text.contains("no setting of this grid is better"), "{text}");
        let costs = [costs[0].clone(), varying(cost("jemalloc:dirty_decay_ms=0", 3.0, 10.0, 12.0))];
        let text = words(&costs, None);
        assert!(text.contains("resident at the end ≈30"), "{text}");
    }

    /// A library of that name may be of another version than the allocator that was replayed.
    #[test]
    fn what_was_measured_stands_beside_the_library_to_load() {
        let costs = [cost("pymalloc", 30.0, 10.0, 10.1), cost("mimalloc", 10.0, 10.0, 10.1)];
        let text = words(&costs, None);
        assert!(text.contains("LD_PRELOAD=libmimalloc.so.2"), "{text}");
        assert!(text.contains("measured:      9.9, compiled into heaplay"), "{text}");
        let own = cost("preload:/opt/libmimalloc.so", 10.0, 10.0, 10.1);
        assert!(!deployment_lines(&own).contains("measured:"));
    }

    /// A program on pymalloc is not sent to malloc because malloc has a better setting.
    #[test]
    fn a_setting_of_another_allocator_is_held_against_todays() {
        let mib = f64::from(1 << 20);
        let costs = [
            cost("pymalloc", 25.0 * mib, 10.0, 10.1),
            cost("malloc", 40.0 * mib, 20.0, 20.2),
            cost("malloc:MALLOC_TRIM_THRESHOLD_=64K", 21.0 * mib, 20.0, 20.2),
        ];
        let text = words(&costs, Some("pymalloc"));
        assert!(text.contains("only for a program on malloc. From pymalloc, which this"), "{text}");
        assert!(text.contains("resident at the end 25 MiB → 21 MiB, time +100"), "{text}");
        assert!(!text.contains("ENV "), "{text}");
        let text = words(&costs, Some("malloc"));
        assert!(text.contains("ENV PYTHONMALLOC=malloc MALLOC_TRIM_THRESHOLD_=65536"), "{text}");
        assert!(!text.contains("only for"), "{text}");
        assert!(
            text.contains("instead of malloc, which the program has today, pymalloc"),
            "{text}"
        );
    }

    /// Less memory for more time is no "no setting is better".
    #[test]
    fn what_a_setting_trades_is_shown() {
        let mib = f64::from(1 << 20);
        let costs = [
            cost("malloc", 10.0 * mib, 10.0, 10.1),
            cost("malloc:MALLOC_TRIM_THRESHOLD_=0", 2.7 * mib, 20.0, 20.2),
            cost("malloc:MALLOC_TOP_PAD_=64M", 70.0 * mib, 8.0, 8.1),
        ];
        let text = words(&costs, None);
        assert!(
            text.starts_with("malloc: no setting of this grid is better in time and"),
            "{text}"
        );
        let less = "  less memory: MALLOC_TRIM_THRESHOLD_=0: resident at the end 10 MiB → 2.7 MiB, time +100";
        assert!(text.contains(less), "{text}");
        assert!(!text.contains("only for"), "{text}");
        // A program on pymalloc would leave it for that.
        let pymalloc = cost("pymalloc", 9.0 * mib, 5.0, 5.1);
        let text = words(&[&costs[..], &[pymalloc]].concat(), Some("pymalloc"));
        let today = "    only for a program on malloc. From pymalloc, which this one has today: resident \
                     at the end 9.0 MiB → 2.7 MiB, time +298";
        assert!(text.contains(today), "{text}");
        let text = words(&costs, None);
        let less =
            "  less time: MALLOC_TOP_PAD_=64M: resident at the end 10 MiB → 70 MiB, time −20";
        assert!(text.contains(less) || text.contains(&less.replace('−', "-")), "{text}");
    }

    #[test]
    fn arenas_are_judged_with_threads_only() {
        for (name, needs) in [
            ("malloc:MALLOC_ARENA_MAX=1", true),
            ("malloc:glibc.malloc.arena_max=2", true),
            ("pymalloc+malloc:MALLOC_ARENA_MAX=1", true),
            ("malloc:MALLOC_TRIM_THRESHOLD_=64K", false),
            ("pymalloc:arena=1MiB", false),
            ("no such spec", false),
        ] {
            assert_eq!(needs_threads(&cost(name, 1.0, 1.0, 2.0)), needs, "{name}");
        }
        let text = without_threads(&[cost("malloc:MALLOC_ARENA_MAX=1", 1.0, 1.0, 2.0)]);
        assert!(!text.contains("leave these out"), "{text}");
        assert!(text.starts_with("not judged: malloc:MALLOC_ARENA_MAX=1. "), "{text}");
        let mixed = cost("jemalloc:dirty_decay_ms=0,narenas=1", 1.0, 1.0, 2.0);
        let text = without_threads(&[mixed]);
        assert!(
            text.contains("on threads: narenas. ") && text.contains("leave these out"),
            "{text}"
        );
    }

    #[test]
    fn the_sentence_has_both_costs() {
        let mib = f64::from(1 << 20);
        let costs = [
            cost("malloc", 60.0 * mib, 15.0, 17.0),
            cost("malloc:MALLOC_ARENA_MAX=1", 60.0 * mib, 15.0, 17.0),
            cost("bump", 100.0 * mib, 50.0, 60.0),
            cost("malloc:MALLOC_TRIM_THRESHOLD_=64K", 27.0 * mib, 14.5, 18.0),
        ];
        let text = words(&costs, None);
        let start = "malloc: set MALLOC_TRIM_THRESHOLD_=64K: resident at the end 60 MiB → 27 MiB, \
                     time not separable (";
        assert!(text.starts_with(start), "{text}");
        assert!(text.contains("ENV PYTHONMALLOC=malloc MALLOC_TRIM_THRESHOLD_=65536\n"), "{text}");
        assert!(!text.contains("instead of"), "{text}");
        // A Python program has pymalloc now.
        let costs = [
            cost("pymalloc", 30.0 * mib, 12.0, 13.0),
            cost("malloc", 60.0 * mib, 15.0, 17.0),
            cost("jemalloc", 20.0 * mib, 9.0, 10.0),
        ];
        let text = words(&costs, None);
        let start = "instead of CPython's own pymalloc, jemalloc: resident at the end 30 MiB";
        assert!(text.starts_with(start), "{text}");
    }
}
