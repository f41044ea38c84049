//! Which of the measured allocators a program should have, in a sentence.
//!
//! A choice is about as fast as the fastest and holds about as little as the smallest. Where no
//! allocator is both, the sentence names the two sides of the trade.

use crate::report::dockerfile::{DockerfileLine, dockerfile_line};
use crate::report::figures::{BackendFigures, CallCost, ResidentFigure, TraceReport};
use crate::report::text::{list, some};
use crate::units::{bytes, figure};

/// A time within this factor of the fastest counts as equal, also where the two differ for sure.
const EQUAL_TIME: f64 = 1.05;
/// Memory within this factor of the smallest counts as equal.
const EQUAL_MEMORY: f64 = 1.1;
/// So do figures that are so many bytes apart.
const EQUAL_BYTES: f64 = 262_144.0;

/// Traces with the same choice that are all named.
const NAMED_TRACES_MAX: usize = 7;

/// An allocator that a program could have.
#[derive(Clone, Debug)]
struct Candidate {
    name: String,
    spec: String,
    /// Time a call as in the tables, with its unit.
    time: String,
    time_ns: f64,
    /// Whether no candidate is faster by more than chance and [`EQUAL_TIME`].
    is_fast: bool,
    /// Resident memory at the peak and at the end, bytes.
    memory_bytes: [f64; 2],
    /// The high end of the range of either, bytes: the figure itself without a range. Only what is
    /// above it holds clearly more than this allocator.
    memory_most_bytes: [f64; 2],
    /// The same as in the tables.
    memory: [String; 2],
    /// Resident memory after a trim at the end, in bytes and as in the tables; `None` without a trim.
    trimmed: Option<(f64, String)>,
    /// Least resident memory at the end of one that returns memory after a delay, in bytes.
    least_end_bytes: Option<f64>,
}

impl Candidate {
    /// Its time, and its memory at the peak and at the end.
    fn figures(&self, end_name: &str) -> String {
        let [peak, end] = &self.memory;
        format!("{}, {peak} at the peak, {end} {end_name}", self.time)
    }
}

/// The allocator to choose for the program of a trace, in a sentence or two; `None` where fewer than two
/// could be chosen, or none has both time and memory. `end` names the moment of the end: `at the end`.
pub fn choice(trace_report: &TraceReport) -> Option<String> {
    let all = candidates(trace_report)?;
    let end_name = trace_report.end_name();
    let verdict = Verdict::of(&all)?;
    let today = Today::of(trace_report);
    let own = today.as_ref().and_then(|today| today.candidate(&all));
    let mut sentences: Vec<String> = Vec::new();
    // What was not compared comes before any choice.
    sentences.extend(today.as_ref().filter(|_| own.is_none()).map(Today::warning));
    sentences.push(verdict.sentence(&end_name, own));
    sentences.extend(own.and_then(|own| verdict.today(own, &end_name)));
    let is_python = trace_report.trace.is_python();
    sentences.extend(verdict.dockerfile(own, &end_name, is_python));
    sentences.extend(after_trim(&all));
    sentences.extend(after_delay(&all, &end_name));
    sentences.extend(left_out(trace_report));
    Some(sentences.join(" "))
}

/// The allocators of which time or memory is not known.
fn left_out(trace_report: &TraceReport) -> Option<String> {
    let unknown =
        trace_report.allocators().filter(|backend| !backend.is_bound() && !is_measured(backend));
    let names: Vec<String> = unknown.map(name_of).collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    (!names.is_empty()).then(|| format!("{} {verb} left out: not measured.", some(&names)))
}

/// Whether both time and memory are known.
fn is_measured(backend: &BackendFigures) -> bool {
    let memory = &backend.memory;
    backend.cost.is_some() && memory.peak_bytes.is_some() && memory.end_bytes.is_some()
}

fn name_of(backend: &BackendFigures) -> String {
    backend.name().to_owned()
}

/// Those that could be chosen: of those that failed nothing is known. Their time is that of the calls,
/// as in the table of comparisons. Where the program's first writes clearly change who leads, it is the
/// time with those: a program makes them.
fn candidates(trace_report: &TraceReport) -> Option<Vec<Candidate>> {
    let could_be = |backend: &&BackendFigures| !backend.is_bound() && is_measured(backend);
    let backends: Vec<&BackendFigures> = trace_report.allocators().filter(could_be).collect();
    let fastest = |cost: fn(&BackendFigures) -> Option<CallCost>| {
        let known = backends.iter().filter_map(|backend| Some((*backend, cost(backend)?)));
        known.min_by(|a, b| a.1.middle_ns.total_cmp(&b.1.middle_ns))
    };
    let (leader, _) = fastest(|backend| backend.cost)?;
    let touched = fastest(|backend| backend.first_touch).map(|(_, cost)| cost);
    let all_touched = backends.iter().all(|backend| backend.first_touch.is_some());
    let reversed = touched.filter(|best| {
        all_touched && leader.first_touch.is_some_and(|own| own.is_clearly_slower_than(best))
    });
    let candidate = |backend: &&BackendFigures| {
        let (cost, is_fast, writes) = match reversed {
            Some(best) => {
                let own = backend.first_touch?;
                let is_equal = own.middle_ns <= EQUAL_TIME * best.middle_ns;
                (own, is_equal || !own.is_clearly_slower_than(&best), " with first writes")
            }
            None => {
                let ratio = trace_report.time_ratio(leader, backend);
                let is_equal = ratio.is_some_and(|ratio| ratio <= EQUAL_TIME);
                (backend.cost?, is_equal || !trace_report.is_time_apart(leader, backend), "")
            }
        };
        let memory = &backend.memory;
        let most = |which, bytes| memory.range(which).map_or(bytes, |(_, high)| high.max(bytes));
        let memory_bytes = [memory.peak_bytes?, memory.end_bytes?];
        Some(Candidate {
            name: name_of(backend),
            spec: backend.spec.to_owned(),
            time: format!("{} ns a call{writes}", figure(cost.middle_ns)),
            time_ns: cost.middle_ns,
            is_fast,
            memory_bytes,
            memory_most_bytes: [
                most(ResidentFigure::Peak, memory_bytes[0]),
                most(ResidentFigure::End, memory_bytes[1]),
            ],
            memory: [memory.text(ResidentFigure::Peak)?, memory.text(ResidentFigure::End)?],
            trimmed: memory.trimmed_bytes.zip(memory.text(ResidentFigure::Trimmed)),
            least_end_bytes: memory.range(ResidentFigure::End).map(|(low, _)| low),
        })
    };
    backends.iter().map(candidate).collect()
}

/// Which of the candidates a program should have.
enum Verdict<'a> {
    /// None is clearly better.
    Any,
    /// Those that are both fast and small, the fastest first.
    OneOf(Vec<&'a Candidate>),
    /// None is both.
    Trade { fast: &'a Candidate, small: &'a Candidate },
}

impl<'a> Verdict<'a> {
    /// `None` of fewer than two.
    fn of(all: &'a [Candidate]) -> Option<Verdict<'a>> {
        if all.len() < 2 {
            return None;
        }
        let most = |at: usize| all.iter().map(move |one| one.memory_most_bytes[at]);
        let least = [0, 1].map(|at| most(at).fold(f64::INFINITY, f64::min));
        let is_small = |one: &Candidate| {
            one.memory_bytes.iter().zip(least).all(|(bytes, least)| {
                *bytes <= EQUAL_MEMORY * least || *bytes - least <= EQUAL_BYTES
            })
        };
        let mut both: Vec<&Candidate> =
            all.iter().filter(|one| one.is_fast && is_small(one)).collect();
        both.sort_by(|a, b| a.time_ns.total_cmp(&b.time_ns));
        if both.len() == all.len() {
            return Some(Verdict::Any);
        }
        if !both.is_empty() {
            return Some(Verdict::OneOf(both));
        }
        let fast = all.iter().filter(|one| one.is_fast);
        let fast = fast.min_by(|a, b| a.memory_bytes[1].total_cmp(&b.memory_bytes[1]))?;
        let total = |one: &Candidate| {
            one.memory_bytes[0] / least[0] + one.memory_bytes[1] / least[1].max(1.0)
        };
        let small = all.iter().min_by(|a, b| total(a).total_cmp(&total(b)))?;
        Some(Verdict::Trade { fast, small })
    }

    /// With the figures that decide it. `own` is the allocator that the program has today.
    fn sentence(&self, end_name: &str, own: Option<&Candidate>) -> String {
        let is_own = |one: &Candidate| own.is_some_and(|own| own.name == one.name);
        match self {
            Verdict::Any => match own {
                Some(own) => format!(
                    "Keep what you have, {}: no other is clearly faster, or holds much less.",
                    own.name
                ),
                None => "Any will do: none is clearly faster, or holds much less.".to_owned(),
            },
            Verdict::OneOf(both) => match both.as_slice() {
                [only] => {
                    let [peak, end] = &only.memory;
                    let choose = if is_own(only) { "Keep what you have," } else { "Choose" };
                    format!(
                        "{choose} {}: no other is clearly faster ({}) or holds much less at the peak \
                         ({peak}) or {end_name} ({end}).",
                        only.name, only.time
                    )
                }
                both => match both.iter().find(|one| is_own(one)) {
                    Some(own) => format!(
                        "Keep what you have, {}: no other is clearly faster or holds much less. As good \
                         {}.",
                        own.name,
                        as_good(both, own)
                    ),
                    None => format!(
                        "Choose one of {}: no other is clearly faster or holds much less.",
                        some(&names(both))
                    ),
                },
            },
            Verdict::Trade { fast, small } => format!(
                "It is a trade: {} for time ({}), {} for memory ({}).",
                fast.name,
                fast.figures(end_name),
                small.name,
                small.figures(end_name)
            ),
        }
    }

    /// Whether the program should keep an allocator.
    fn keeps(&self, own: &Candidate) -> bool {
        match self {
            Verdict::Any => true,
            Verdict::OneOf(both) => both.iter().any(|one| one.name == own.name),
            Verdict::Trade { .. } => false,
        }
    }

    /// What the program has today, where [`Verdict::sentence`] does not say it. Its figures are named
    /// once.
    fn today(&self, own: &Candidate, end_name: &str) -> Option<String> {
        let figures = match self.has_figures_of(&own.name) {
            true => String::new(),
            false => format!(" ({})", own.figures(end_name)),
        };
        (!self.keeps(own))
            .then(|| format!("Today the program has {}, as recorded{figures}.", own.name))
    }

    /// The lines of a Dockerfile for what is chosen, and what they cost in memory at the end; that none is
    /// needed for what the program has today.
    fn dockerfile(
        &self,
        own: Option<&Candidate>,
        end_name: &str,
        is_python: bool,
    ) -> Option<String> {
        if own.is_some_and(|own| self.keeps(own)) {
            return Some("No line of a Dockerfile is needed.".to_owned());
        }
        let chosen: Vec<&Candidate> = match self {
            Verdict::Any => vec![],
            Verdict::OneOf(both) => both.iter().copied().take(1).collect(),
            Verdict::Trade { fast, small } => vec![fast, small],
        };
        let is_other = |one: &&Candidate| own.is_none_or(|own| own.name != one.name);
        let line = |one: &Candidate| {
            let rise = own.filter(|own| is_more(one.memory_bytes[1], own.memory_bytes[1]));
            let rise = rise.map_or(String::new(), |own| {
                format!(": memory {end_name} rises from {} to {}", own.memory[1], one.memory[1])
            });
            Some(match dockerfile_line(&one.spec, is_python)? {
                DockerfileLine::Env(line) => format!("`{line}` for {}{rise}", one.name),
                DockerfileLine::None => format!("none for {}{rise}", one.name),
            })
        };
        let lines: Vec<String> = chosen.into_iter().filter(is_other).filter_map(line).collect();
        (!lines.is_empty()).then(|| format!("The line of a Dockerfile: {}.", lines.join("; ")))
    }

    /// Only the names, for a list of traces.
    fn brief(&self) -> String {
        match self {
            Verdict::Any => "any will do".to_owned(),
            Verdict::OneOf(both) if both.len() == 1 => format!("choose {}", both[0].name),
            Verdict::OneOf(both) => format!("choose one of {}", some(&names(both))),
            Verdict::Trade { fast, small } => {
                format!("a trade, {} for time or {} for memory", fast.name, small.name)
            }
        }
    }

    /// Whether only that allocator is chosen.
    fn is_only(&self, name: &str) -> bool {
        matches!(self, Verdict::OneOf(both) if both.len() == 1 && both[0].name == name)
    }

    /// Whether [`Verdict::sentence`] has the figures of an allocator.
    fn has_figures_of(&self, name: &str) -> bool {
        match self {
            Verdict::Trade { fast, small } => [fast, small].iter().any(|one| one.name == name),
            Verdict::Any | Verdict::OneOf(_) => self.is_only(name),
        }
    }
}

/// The others of those that are chosen, with their verb.
fn as_good(both: &[&Candidate], own: &Candidate) -> String {
    let others: Vec<&Candidate> = both.iter().copied().filter(|one| one.name != own.name).collect();
    let verb = if others.len() == 1 { "is" } else { "are" };
    format!("{verb} {}", some(&names(&others)))
}

fn names(candidates: &[&Candidate]) -> Vec<String> {
    candidates.iter().map(|one| one.name.clone()).collect()
}

/// The allocator that a program has today, as its recording has it.
#[derive(Clone, Debug, PartialEq)]
struct Today {
    name: String,
    /// Whether the name is that of a backend, which the run could have measured.
    is_backend: bool,
}

impl Today {
    /// `None` where the recording does not say.
    fn of(trace_report: &TraceReport) -> Option<Today> {
        let backend = |name: String| Today { name, is_backend: true };
        if let Some(own) = trace_report.own_backend() {
            return Some(backend(own.name().to_owned()));
        }
        let trace = trace_report.trace;
        let spec = trace.process.as_ref().map_or("", |process| &process.own_backend);
        if !spec.is_empty() {
            return Some(backend(spec.to_owned()));
        }
        // The C library does not say what a Python has above it.
        let is_telling = |name: &&String| !name.starts_with("glibc") && *name != "not known";
        let name = trace.facts.get("allocator").filter(is_telling)?;
        Some(Today { name: name.clone(), is_backend: false })
    }

    /// Its figures; `None` where it was not measured.
    fn candidate<'a>(&self, all: &'a [Candidate]) -> Option<&'a Candidate> {
        all.iter().find(|one| one.name == self.name)
    }

    /// That the choice is without it.
    fn warning(&self) -> String {
        let name = &self.name;
        match self.is_backend {
            true => format!(
                "This run has not measured {name}, which the program has today, as recorded: \
                 `--backends` takes it. Of those that are measured:"
            ),
            false => format!(
                "The program has {name} today, as recorded, which is none of those that are measured."
            ),
        }
    }
}

/// The allocators to choose for several traces, a line for those with the same choice, and a line for
/// those that have the same today. Empty where none has a choice.
pub fn choices(trace_reports: &[TraceReport]) -> Vec<String> {
    let mut by_choice: Vec<(String, Vec<String>)> = Vec::new();
    let mut by_today: Vec<(String, Vec<String>)> = Vec::new();
    let add = |groups: &mut Vec<(String, Vec<String>)>, key: String, trace: &str| match groups
        .iter_mut()
        .find(|(known, _)| *known == key)
    {
        Some((_, traces)) => traces.push(trace.to_owned()),
        None => groups.push((key, vec![trace.to_owned()])),
    };
    for trace_report in trace_reports {
        let Some(all) = candidates(trace_report) else { continue };
        let Some(verdict) = Verdict::of(&all) else { continue };
        add(&mut by_choice, verdict.brief(), &trace_report.trace.name);
        if let Some(today) = Today::of(trace_report) {
            add(&mut by_today, today.name, &trace_report.trace.name);
        }
    }
    let who = |traces: &[String]| match traces.len() == trace_reports.len() {
        true => format!("all {} traces", traces.len()),
        false if traces.len() <= NAMED_TRACES_MAX => list(traces),
        false => some(traces),
    };
    let chosen = by_choice.iter().map(|(brief, traces)| format!("For {}: {brief}.", who(traces)));
    let own = by_today.iter().map(|(today, traces)| {
        let verb = if traces.len() == 1 { "has" } else { "have" };
        format!("As recorded, {} {verb} {today} today.", who(traces))
    });
    chosen.chain(own).collect()
}

/// Whether an amount of memory is clearly more than another, in bytes.
fn is_more(more: f64, less: f64) -> bool {
    more > EQUAL_MEMORY * less && more - less > EQUAL_BYTES
}

/// Who holds least after a trim, where one returns much: for a program that calls it, that is the
/// figure to choose by.
fn after_trim(all: &[Candidate]) -> Option<String> {
    let trimmed = || all.iter().filter_map(|one| Some((one, one.trimmed.as_ref()?)));
    if !trimmed().any(|(one, (bytes, _))| is_more(one.memory_bytes[1], *bytes)) {
        return None;
    }
    let least = trimmed().min_by(|a, b| a.1.0.total_cmp(&b.1.0))?;
    let most = trimmed().max_by(|a, b| a.1.0.total_cmp(&b.1.0))?;
    let [(least, (least_bytes, least_text)), (most, (most_bytes, most_text))] = [least, most];
    Some(if is_more(*most_bytes, *least_bytes) {
        format!(
            "After a trim {} holds least, {least_text}, and {} most, {most_text}.",
            least.name, most.name
        )
    } else if least_text == most_text {
        format!("After a trim they hold about the same, {least_text}.")
    } else {
        format!("After a trim they hold about the same, {least_text} to {most_text}.")
    })
}

/// What allocators that return memory after a delay fall to without a trim.
fn after_delay(all: &[Candidate], end_name: &str) -> Option<String> {
    let falls = |one: &&Candidate| {
        one.least_end_bytes.is_some_and(|least| is_more(one.memory_bytes[1], least))
    };
    let falling: Vec<&Candidate> = all.iter().filter(falls).collect();
    let names: Vec<String> = falling.iter().map(|one| one.name.clone()).collect();
    let least = falling.iter().filter_map(|one| Some(bytes(one.least_end_bytes?)));
    let (least, verb) = (list(&least.collect::<Vec<String>>()), plural(&names));
    (!names.is_empty()).then(|| {
        format!(
            "{} {verb} memory after a delay, without a trim: down to {least} {end_name}.",
            list(&names)
        )
    })
}

fn plural(names: &[String]) -> &'static str {
    if names.len() == 1 { "returns" } else { "return" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Peak and end in MiB.
    fn one(name: &str, time_ns: f64, is_fast: bool, peak: f64, end: f64) -> Candidate {
        Candidate {
            name: name.into(),
            spec: name.into(),
            time: format!("{time_ns} ns a call"),
            time_ns,
            is_fast,
            memory_bytes: [peak * 1_048_576.0, end * 1_048_576.0],
            memory_most_bytes: [peak * 1_048_576.0, end * 1_048_576.0],
            memory: [format!("{peak} MiB"), format!("{end} MiB")],
            trimmed: None,
            least_end_bytes: None,
        }
    }

    fn words(all: &[Candidate]) -> String {
        Verdict::of(all).unwrap().sentence("at the end", None)
    }

    #[test]
    fn the_fast_and_small_one_is_chosen() {
        let (slow, quick) =
            (one("malloc", 25.0, false, 100.0, 90.0), one("pymalloc", 15.0, true, 104.0, 80.0));
        assert_eq!(
            words(&[slow.clone(), quick.clone()]),
            "Choose pymalloc: no other is clearly faster (15 ns a call) or holds much less at the peak \
             (104 MiB) or at the end (80 MiB)."
        );
        let level = one("mimalloc", 14.0, true, 105.0, 82.0);
        assert!(
            words(&[slow, quick, level])
                .starts_with("Choose one of mimalloc and pymalloc: no other")
        );
    }

    #[test]
    fn a_trade_has_both_sides() {
        let all =
            [one("jemalloc", 10.0, true, 200.0, 150.0), one("malloc", 20.0, false, 100.0, 90.0)];
        assert_eq!(
            words(&all),
            "It is a trade: jemalloc for time (10 ns a call, 200 MiB at the peak, 150 MiB at the end), \
             malloc for memory (20 ns a call, 100 MiB at the peak, 90 MiB at the end)."
        );
    }

    #[test]
    fn what_the_program_has_today_is_named_with_its_figures_once() {
        let all = [
            one("jemalloc", 10.0, true, 200.0, 150.0),
            one("malloc", 20.0, false, 100.0, 90.0),
            one("pymalloc", 30.0, false, 110.0, 99.0),
        ];
        let today = |name: &str| {
            let own = all.iter().find(|one| one.name == name).unwrap();
            Verdict::of(&all).unwrap().today(own, "at the end")
        };
        assert_eq!(today("malloc").unwrap(), "Today the program has malloc, as recorded.");
        assert_eq!(
            today("pymalloc").unwrap(),
            "Today the program has pymalloc, as recorded (30 ns a call, 110 MiB at the peak, 99 MiB at \
             the end)."
        );
        let missing = Today { name: "pymalloc@3.9".into(), is_backend: true };
        assert!(missing.candidate(&all).is_none());
        assert!(missing.warning().starts_with("This run has not measured pymalloc@3.9, which"));
        let chosen = [one("malloc", 9.0, true, 100.0, 90.0), all[2].clone()];
        let verdict = Verdict::of(&chosen).unwrap();
        assert_eq!(verdict.today(&chosen[0], "at the end"), None);
        assert_eq!(
            verdict.sentence("at the end", Some(&chosen[0])),
            "Keep what you have, malloc: no other is clearly faster (9 ns a call) or holds much less at \
             the peak (100 MiB) or at the end (90 MiB)."
        );
        assert_eq!(
            verdict.dockerfile(Some(&chosen[0]), "at the end", true).unwrap(),
            "No line of a Dockerfile is needed."
        );
        assert_eq!(
            verdict.dockerfile(Some(&chosen[1]), "at the end", true).unwrap(),
            "The line of a Dockerfile: `ENV PYTHONMALLOC=malloc` for malloc."
        );
        let rising = Verdict::of(&all).unwrap().dockerfile(Some(&all[1]), "at the end", false);
        assert_eq!(
            rising.unwrap(),
            "The line of a Dockerfile: `ENV LD_PRELOAD=libjemalloc.so.2` for jemalloc: memory at the end \
             rises from 90 MiB to 150 MiB."
        );
        assert_eq!(
            Verdict::of(&all).unwrap().brief(),
            "a trade, jemalloc for time or malloc for memory"
        );
    }

    #[test]
    fn a_range_that_reaches_higher_is_not_smaller() {
        let mut jemalloc = one("jemalloc", 14.0, false, 62.0, 52.0);
        jemalloc.memory_most_bytes = [64.0 * 1_048_576.0; 2];
        let all = [one("pymalloc", 8.8, true, 60.0, 60.0), jemalloc];
        assert!(words(&all).starts_with("Choose pymalloc: no other is clearly faster"));
    }

    #[test]
    fn memory_after_a_trim_and_after_a_delay_is_named() {
        let with = |one: Candidate, trimmed: f64, least: Option<f64>| Candidate {
            trimmed: Some((trimmed * 1_048_576.0, format!("{trimmed} MiB"))),
            least_end_bytes: least.map(|least| least * 1_048_576.0),
            ..one
        };
        let malloc = with(one("malloc", 39.0, false, 64.0, 52.0), 13.0, None);
        let jemalloc = with(one("jemalloc", 18.0, true, 62.0, 51.0), 6.9, Some(10.0));
        let all = [malloc.clone(), jemalloc];
        assert_eq!(
            after_trim(&all).unwrap(),
            "After a trim jemalloc holds least, 6.9 MiB, and malloc most, 13 MiB."
        );
        assert_eq!(
            after_delay(&all, "at the end").unwrap(),
            "jemalloc returns memory after a delay, without a trim: down to 10\u{a0}MiB at the end."
        );
        let level = [malloc, with(one("pymalloc", 17.0, true, 59.0, 42.0), 12.5, None)];
        assert_eq!(
            after_trim(&level).unwrap(),
            "After a trim they hold about the same, 12.5 MiB to 13 MiB."
        );
        assert_eq!(after_delay(&level, "at the end"), None);
        let settled = [with(one("a", 1.0, true, 9.0, 5.0), 4.9, None)];
        assert_eq!(after_trim(&settled), None);
    }

    #[test]
    fn small_differences_are_none() {
        let all = [one("a", 10.0, true, 1.0, 0.1), one("b", 10.1, true, 1.2, 0.3)];
        assert_eq!(words(&all), "Any will do: none is clearly faster, or holds much less.");
        assert!(Verdict::of(&all[..1]).is_none());
    }
}
