//! Room `cli`, verb `selftest`: how often the regression check cries wolf on this machine, and how
//! often it catches what was injected. Each trial is a check of one cell, as `heaplay check` makes
//! it for a suite of `--cells`; trials share nothing but the machine.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use super::check::race::{Cell, Race, Timed};
use super::check::suite::{self, Measure, Rules};
use super::children::ChildArgs;
use super::interrupt;
use super::load::{find_traces, load_traces};
use super::specs;
use super::terminal::{note, print};
use crate::backends;
use crate::bench::pairs::{Chosen, Course, Side, TAIL_SHARE, load, ratios};
use crate::bench::{self, Limits, Loaded, Settings, cancelled, fingerprint, processors};
use crate::check::{Policy, Verdict};
use crate::replay::{WARM_UP_CALLS, calls_of_an_iteration};
use crate::results::{Machine, Metric, Scope, civil_date};
use crate::stats::{Estimate, Random, clopper_pearson, quantile};

/// Show how often `heaplay check` cries wolf on this machine, and how often it catches an injected
/// slow-down, page, byte, arena, instruction or slow tail
#[derive(clap::Args)]
#[command(
    after_help = "Without --aa and --inject…, all of them. Exit status: 0 told; 2 it could not be done."
)]
pub struct SelftestArgs {
    /// Traces, or folders of traces; trials go round them
    #[arg(required = true)]
    traces: Vec<PathBuf>,
    /// The backend that is held against itself
    #[arg(long, default_value = "malloc")]
    backend: String,
    /// The backend against itself: false alarms, of both timed measures or of those named
    #[arg(long, value_enum, value_delimiter = ',', num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "time,tail", value_name = "MEASURES")]
    aa: Vec<Timed>,
    /// Slow-downs to inject, in percent
    #[arg(long, value_delimiter = ',', value_name = "PERCENT")]
    inject: Vec<f64>,
    /// Slow-downs of the tail to inject, in percent
    #[arg(long, value_delimiter = ',', value_name = "PERCENT")]
    inject_tail: Vec<f64>,
    /// Instructions to inject, in percent
    #[arg(long, value_delimiter = ',', value_name = "PERCENT")]
    inject_instructions: Vec<f64>,
    /// Injection a page, a usable byte and an arena, and nothing
    #[arg(long)]
    inject_exact: bool,
    /// Trials of each kind
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    trials: u64,
    /// Cells of the suite that each trial stands for, among which the allowed error is divided
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    cells: u64,
    /// Seconds that a trial may take
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    trial_limit: u64,
    /// One trial at a time, its pairs on all processors that --jobs allows, instead of a trial on
    /// each
    #[arg(long)]
    together: bool,
    /// From which everything is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write every trial as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    children: ChildArgs,
}

/// One trial.
#[derive(Clone, Debug, Serialize)]
struct Trial {
    trace: String,
    verdict: Verdict,
    /// Wall time to the verdict.
    seconds: f64,
    /// The estimate, in percent.
    effect_percent: Option<f64>,
    pairs: usize,
    load: Option<f64>,
    seed: u64,
    /// For exact measures: those that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
}

/// What was injected, as it was measured apart from the trials.
#[derive(Clone, Debug, Serialize)]
struct Truth {
    trace: String,
    /// The backend's word.
    injected: String,
    /// The mean effect that was measured, in percent.
    percent: f64,
    /// Its standard error.
    error_percent: f64,
}

/// Trials of one kind.
#[derive(Clone, Debug, Serialize)]
struct Kind {
    /// Such as `A/A`, `time +5 %`.
    name: String,
    /// What was really injected.
    truth: Vec<Truth>,
    /// How many ended so: a verdict's name and a count.
    verdicts: Vec<(String, u64)>,
    trials: Vec<Trial>,
}

/// Everything that is written to the file.
#[derive(Serialize)]
struct All<'a> {
    format: u32,
    heaplay: &'static str,
    date: String,
    seed: u64,
    backend: &'a str,
    cells: u64,
    trial_limit_seconds: u64,
    seconds: f64,
    machine: Machine,
    kinds: &'a [Kind],
}

/// What a trial injects, on which trace, between which sides.
struct Injected<'a> {
    trace: &'a str,
    loaded: &'a Loaded,
    sides: [Side; 2],
    truth: Option<Truth>,
    /// Kept as long as children may read it.
    _calls: Option<Chosen>,
}

/// What all trials share.
struct Lab<'a> {
    args: &'a SelftestArgs,
    settings: Settings,
    programs: Vec<(String, &'a Loaded)>,
    policy: Policy,
}

impl SelftestArgs {
    /// Runs the trials, prints the rates, writes the file.
    ///
    /// # Errors
    /// A trace or a backend that cannot be had, a file that cannot be written.
    pub fn run(mut self) -> anyhow::Result<ExitCode> {
        let began = Instant::now();
        specs::read(&self.backend)?;
        bench::version(&self.backend, None)
            .map_err(|reason| anyhow::anyhow!("{}: {reason}", self.backend))?;
        let nothing = self.inject.is_empty() && self.inject_tail.is_empty();
        if nothing
            && self.aa.is_empty()
            && self.inject_instructions.is_empty()
            && !self.inject_exact
        {
            (self.aa, self.inject_exact) = (vec![Timed::Time, Timed::Tail], true);
            (self.inject, self.inject_tail) = (vec![2.0, 5.0, 10.0], vec![8.0]);
            self.inject_instructions = vec![0.2];
        }
        let injected = [&self.inject, &self.inject_tail, &self.inject_instructions];
        if let Some(percent) =
            injected.into_iter().flatten().find(|p| !(p.is_finite() && **p > 0.0 && **p <= 200.0))
        {
            bail!("{percent} % cannot be injected; expected more than 0 and at most 200");
        }
        let (entries, programs) = load_traces(&find_traces(&self.traces)?)?;
        interrupt::install()?;
        let lab = Lab {
            args: &self,
            settings: self.children.settings(),
            programs: entries
                .iter()
                .map(|entry| (entry.name.clone(), &programs[&entry.name]))
                .collect(),
            policy: Policy::default(),
        };
        // The file is written after each kind, so that a run that is cut off keeps what it has.
        let kinds = lab.kinds(&|kinds| self.save(kinds, began))?;
        print(&tell(&kinds))?;
        Ok(if cancelled() { ExitCode::from(130) } else { ExitCode::SUCCESS })
    }

    fn save(&self, kinds: &[Kind], began: Instant) -> anyhow::Result<()> {
        if let Some(path) = &self.json {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap_or_default();
            let (year, month, day) = civil_date(now.as_secs());
            let all = All {
                format: 1,
                heaplay: env!("CARGO_PKG_VERSION"),
                date: format!("{year}-{month:02}-{day:02}"),
                seed: self.seed,
                backend: &self.backend,
                cells: self.cells,
                trial_limit_seconds: self.trial_limit,
                seconds: began.elapsed().as_secs_f64(),
                machine: fingerprint(),
                kinds,
            };
            let text = serde_json::to_string(&all).context("the trials as JSON")?;
            std::fs::write(path, text.replace("{\"trace\"", "\n{\"trace\"") + "\n")
                .with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

impl Lab<'_> {
    fn kinds(&self, save: &dyn Fn(&[Kind]) -> anyhow::Result<()>) -> anyhow::Result<Vec<Kind>> {
        let mut kinds = Vec::new();
        let mut put = |kind: Result<Kind, String>| -> anyhow::Result<()> {
            match kind {
                Ok(kind) => kinds.push(kind),
                Err(reason) => note(reason),
            }
            save(&kinds)
        };
        for &timed in &self.args.aa {
            let sides = [Side::of(&self.args.backend), Side::of(&self.args.backend)];
            put(self.timed(format!("{} A/A", timed.name()), timed, |_| Ok(sides.clone())))?;
        }
        for &percent in &self.args.inject {
            put(self.injected(format!("time +{percent} %"), Timed::Time, percent))?;
        }
        for &percent in &self.args.inject_tail {
            put(self.injected(format!("tail +{percent} %"), Timed::Tail, percent))?;
        }
        if self.args.inject_exact {
            for what in ["nothing", "a page", "a byte", "an arena"] {
                put(self.exact(what))?;
            }
        }
        for &percent in &self.args.inject_instructions {
            put(self.instructions(percent))?;
        }
        Ok(kinds)
    }

    fn rules(&self) -> (Duration, Limits) {
        let limits =
            Limits { time: Duration::from_secs(600), memory_bytes: self.settings.memory_bytes };
        (Duration::from_secs(self.args.trial_limit), limits)
    }

    /// Trials between two sides by trace.
    fn timed(
        &self,
        name: String,
        timed: Timed,
        sides: impl Fn(&str) -> Result<[Side; 2], String>,
    ) -> Result<Kind, String> {
        let injected: Result<Vec<Injected>, String> = self
            .programs
            .iter()
            .map(|(trace, loaded)| {
                Ok(Injected { trace, loaded, sides: sides(trace)?, truth: None, _calls: None })
            })
            .collect();
        Ok(self.race(name, timed, &injected?))
    }

    /// Trials of a slow-down, injected in each trace so that it is really there.
    fn injected(&self, name: String, timed: Timed, percent: f64) -> Result<Kind, String> {
        let injected: Result<Vec<Injected>, String> = self
            .programs
            .iter()
            .map(|(trace, loaded)| self.inject(trace, loaded, timed, percent / 100.0))
            .collect();
        Ok(self.race(name, timed, &injected?))
    }

    /// All trials of a kind, on as many processors as there may be children's pairs at once.
    fn race(&self, name: String, timed: Timed, injected: &[Injected]) -> Kind {
        let (limit, limits) = self.rules();
        self.trials(name, injected, |injected, places, seed| {
            let rules = Rules {
                measures: &[Measure::Exact, Measure::Time, Measure::Tail],
                policy: &self.policy,
                settings: &self.settings,
                time_limit: limit,
                seed,
                reproduce: &|_, _| String::new(),
            };
            let cell = self.cell(injected);
            let gate = rules.gate(timed, self.args.cells as usize);
            let mut race = Race::new(cell, timed, gate, (limits, self.settings.clock), seed);
            let deadline = Instant::now() + limit;
            while race.verdict().is_none() {
                race.advance(places, deadline).map_err(|error| error.to_string())?;
            }
            let finding = race.finding(String::new());
            let evidence = finding.evidence.clone().unwrap_or_default();
            Ok(Trial {
                trace: injected.trace.to_owned(),
                verdict: finding.verdict,
                seconds: (race.seconds() * 1e3).round() / 1e3,
                effect_percent: finding.evidence.as_ref().map(|e| (e.effect * 1e5).round() / 1e3),
                pairs: evidence.pairs.len() + evidence.confirmation.len(),
                load: load(),
                seed,
                failed: vec![],
                why: finding.why,
            })
        })
    }

    fn cell<'p>(&self, injected: &'p Injected<'p>) -> Cell<'p> {
        Cell {
            trace: injected.trace,
            loaded: injected.loaded,
            sides: injected.sides.clone(),
            name: self.args.backend.clone(),
        }
    }

    fn trials(
        &self,
        name: String,
        injected: &[Injected],
        trial: impl Fn(&Injected, &[Option<usize>], u64) -> Result<Trial, String> + Sync,
    ) -> Kind {
        let mut places: Vec<Option<usize>> = processors().into_iter().map(Some).collect();
        places.truncate(self.settings.jobs.max(1));
        if places.is_empty() {
            places.push(None);
        }
        let lanes: Vec<&[Option<usize>]> =
            if self.args.together { vec![&places] } else { places.chunks(1).collect() };
        let mut random = Random(
            self.args.seed
                ^ name.bytes().fold(0, |sum: u64, b| sum.wrapping_mul(31).wrapping_add(b.into())),
        );
        let seeds: Vec<u64> = (0..self.args.trials).map(|_| random.bits() >> 16).collect();
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<Trial>> = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for place in lanes {
                let (next, done, seeds, trial, name) = (&next, &done, &seeds, &trial, &name);
                scope.spawn(move || {
                    while !cancelled() {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(&seed) = seeds.get(number) else { return };
                        match trial(&injected[number % injected.len()], place, seed) {
                            Ok(found) => {
                                if let Ok(mut done) = done.lock() {
                                    done.push(found);
                                    if done.len() % 50 == 0 {
                                        note(format!("{name}: {} of {}", done.len(), seeds.len()));
                                    }
                                }
                            }
                            Err(reason) if !cancelled() => note(format!("{name}: {reason}")),
                            Err(_) => {}
                        }
                    }
                });
            }
        });
        let trials = done.into_inner().unwrap_or_default();
        let verdicts = Verdict::ALL
            .into_iter()
            .map(|verdict| {
                (
                    verdict.name().to_owned(),
                    trials.iter().filter(|t| t.verdict == verdict).count() as u64,
                )
            })
            .filter(|(_, count)| *count > 0)
            .collect();
        let kind = Kind {
            name,
            truth: injected.iter().filter_map(|p| p.truth.clone()).collect(),
            verdicts,
            trials,
        };
        note(line(&kind).join(" · "));
        kind
    }

    /// Where what was injected is looked for, apart from the trials.
    fn course<'l>(&self, loaded: &'l Loaded) -> Course<'l> {
        let (_, limits) = self.rules();
        Course {
            loaded,
            processor: processors().first().copied(),
            limits,
            clock: self.settings.clock,
        }
    }

    /// How much slower the second side really is: mean and standard error, as shares.
    fn effect(
        &self,
        loaded: &Loaded,
        timed: Timed,
        sides: &[Side; 2],
        pairs: usize,
        salt: u64,
    ) -> Result<(f64, f64), String> {
        let course = self.course(loaded);
        let both = [&sides[0], &sides[1]];
        let mut random = Random(self.args.seed ^ salt);
        let told = |error: bench::pairs::PairError| error.to_string();
        let iterations = course.pilot(&both, 1).map_err(told)?;
        let (mut logs, mut iterations_of) = (Vec::new(), Vec::new());
        // A trial chooses its calls anew, and not quite the same: so do a few of these pairs.
        let mut chosen = None;
        for pair in 0..pairs {
            let seed = random.bits();
            match timed {
                Timed::Time => {
                    iterations_of.push(course.time(&both, iterations, seed).map_err(told)?)
                }
                Timed::Tail => {
                    if pair % 5 == 0 {
                        chosen = Some(
                            course
                                .slowest(both, iterations.segments, TAIL_SHARE, seed ^ 1)
                                .map_err(told)?,
                        );
                    }
                    let Some(chosen) = &chosen else { continue };
                    let times =
                        course.tail(&both, iterations.segments, chosen, seed).map_err(told)?;
                    logs.push((times[1] / times[0]).ln());
                }
            }
        }
        let pairs: Vec<_> = iterations_of.iter().map(|times| [&times[0], &times[1]]).collect();
        logs.extend(
            ratios(&pairs, iterations).unwrap_or_default().into_iter().map(|ratio| ratio.processor),
        );
        let estimate = Estimate::of(&logs).ok_or("too few pairs")?;
        Ok((estimate.mean.exp_m1(), estimate.error))
    }

    /// The calls of the tail and those that may be taken for it. Which calls are the slowest
    /// hundredth is not quite the same in each trial; a burn in just those of one pilot would miss
    /// part of those of the next, so several times as many burn, after three pilots.
    fn tail_and_more(&self, loaded: &Loaded) -> Result<Chosen, String> {
        let course = self.course(loaded);
        let side = Side::of(&injected_spec(&[], &self.args.backend));
        let iterations = course.pilot(&[&side, &side], 1).map_err(|error| error.to_string())?;
        let mut calls = Vec::new();
        for seed in 2..5 {
            let found = course.slowest([&side, &side], iterations.segments, 4.0 * TAIL_SHARE, seed);
            calls.extend(found.map_err(|error| error.to_string())?.calls);
        }
        calls.sort_unstable();
        calls.dedup();
        Chosen::new(&calls).map_err(|error| error.to_string())
    }

    /// Finds how much to burn so that the slow-down is `share`, and measures what it came to.
    fn inject<'p>(
        &self,
        trace: &'p str,
        loaded: &'p Loaded,
        timed: Timed,
        share: f64,
    ) -> Result<Injected<'p>, String> {
        let below = &self.args.backend;
        let calls = match timed {
            Timed::Time => None,
            Timed::Tail => Some(self.tail_and_more(loaded)?),
        };
        let list: Vec<(&str, String)> = match &calls {
            None => vec![("every", "64".to_owned())],
            Some(chosen) => vec![
                ("calls", chosen.path().display().to_string()),
                ("period", calls_of_an_iteration(&loaded.program).to_string()),
            ],
        };
        let word = |burn: u64| {
            let mut settings = list.clone();
            settings.push(("burn", burn.to_string()));
            injected_spec(&settings, below)
        };
        let sides = |burn: u64| [Side::of(&word(0)), Side::of(&word(burn))];
        let mut burn = 64;
        let near = share / 8.0;
        // Each round comes nearer: the first is far off, as nobody knows how long a step of the
        // chain takes.
        for pairs in [10, 15, 22, 40, 40] {
            let (found, _) = self.effect(loaded, timed, &sides(burn), pairs, 77)?;
            if pairs == 40 && (found - share).abs() < near {
                break;
            }
            let factor = (share / found.max(share / 50.0)).clamp(0.1, 10.0);
            burn = ((burn as f64 * factor).round() as u64).max(1);
        }
        // What it came to is found in pairs that had no part in the search.
        let (percent, error) = self.effect(loaded, timed, &sides(burn), 40, 78)?;
        let (percent, error_percent) = (percent * 100.0, error * 100.0);
        note(format!(
            "{trace}: injected {} {:+.1} %, really {percent:+.2} ± {error_percent:.2} % ({})",
            timed.name(),
            share * 100.0,
            word(burn)
        ));
        let truth = Truth { trace: trace.to_owned(), injected: word(burn), percent, error_percent };
        Ok(Injected { trace, loaded, sides: sides(burn), truth: Some(truth), _calls: calls })
    }

    /// Trials of the exact stage with one thing injected.
    fn exact(&self, what: &str) -> Result<Kind, String> {
        let injected: Result<Vec<Option<Injected>>, String> = self
            .programs
            .iter()
            .map(|(trace, loaded)| {
                let profile = loaded.program.profile();
                let peak = (profile.live_peak_event + 1 + WARM_UP_CALLS).to_string();
                // Arenas are of pools; the backend itself where it has them.
                let arenas = if what == "an arena" && !has_pools(&self.args.backend) {
                    "pymalloc"
                } else {
                    self.args.backend.as_str()
                };
                let (settings, measure): (Vec<(&str, String)>, Option<Metric>) = match what {
                    "a page" => (
                        vec![("page", (1 + WARM_UP_CALLS).to_string())],
                        Some(Metric::ResidentEndBytes),
                    ),
                    "a byte" => (vec![("byte", peak)], Some(Metric::UsableAtLivePeakBytes)),
                    // As many blocks of 512 bytes as an arena of the largest kind (1 MiB) has room
                    // for.
                    "an arena" => (vec![("blocks", "2048".to_owned())], Some(Metric::ArenasPeak)),
                    _ => (vec![], None),
                };
                let sides = [
                    Side::of(&injected_spec(&[], arenas)),
                    Side::of(&injected_spec(&settings, arenas)),
                ];
                let mut truth = None;
                if let Some(measure) = measure {
                    let value = |side: &Side| -> Result<f64, String> {
                        let run = bench::exact(side, trace, loaded, &self.settings)?;
                        run.values(trace, &side.backend, Scope::All, measure)
                            .first()
                            .copied()
                            .ok_or(format!("{}: has no {measure}", side.backend))
                    };
                    let (before, after) = (value(&sides[0])?, value(&sides[1])?);
                    if after <= before {
                        return Err(format!(
                            "{trace}: {what} was injected in {arenas}, and {measure} did not grow"
                        ));
                    }
                    note(format!("{trace}: injected {what}, {measure} from {before} to {after}"));
                    truth = Some(Truth {
                        trace: trace.clone(),
                        injected: sides[1].backend.clone(),
                        percent: (after / before - 1.0) * 100.0,
                        error_percent: 0.0,
                    });
                }
                Ok(Some(Injected { trace, loaded, sides, truth, _calls: None }))
            })
            .collect();
        let injected: Vec<Injected> = injected?.into_iter().flatten().collect();
        if injected.is_empty() {
            return Err(format!("{what} could be injected in no trace"));
        }
        Ok(self.trials(format!("exact: {what}"), &injected, |injected, _, seed| {
            let began = Instant::now();
            let found = suite::exact(&self.cell(injected), &self.untimed_rules(seed));
            let worst =
                found.iter().map(|finding| finding.verdict).min().unwrap_or(Verdict::Missing);
            let of = |verdict| found.iter().filter(move |finding| finding.verdict == verdict);
            Ok(Trial {
                trace: injected.trace.to_owned(),
                verdict: worst,
                seconds: began.elapsed().as_secs_f64(),
                effect_percent: None,
                pairs: 0,
                load: load(),
                seed,
                failed: of(Verdict::Fail).map(|finding| finding.measure.clone()).collect(),
                why: of(Verdict::Inconclusive).map(|f| f.sentence()).collect::<Vec<_>>().join("; "),
            })
        }))
    }

    fn untimed_rules(&self, seed: u64) -> Rules<'_> {
        Rules {
            measures: &[],
            policy: &self.policy,
            settings: &self.settings,
            time_limit: Duration::from_secs(self.args.trial_limit),
            seed,
            reproduce: &|_, _| String::new(),
        }
    }

    /// Trials of counted instructions.
    fn instructions(&self, percent: f64) -> Result<Kind, String> {
        let below = &self.args.backend;
        let (_, limits) = self.rules();
        let injected: Result<Vec<Injected>, String> = self
            .programs
            .iter()
            .map(|(trace, loaded)| {
                let side = |burn: u64, every: u64| {
                    let settings = vec![("every", every.to_string()), ("burn", burn.to_string())];
                    Side::of(&injected_spec(&settings, below))
                };
                let count = |side: &Side| {
                    bench::instructions(side, loaded, limits, 1).map(|count| count[0] as f64)
                };
                let none = count(&side(0, 64))?;
                let step = (count(&side(100, 64))? - none) / 100.0;
                if step <= 0.0 {
                    return Err(format!(
                        "{trace}: steps were injected, and no instructions came of them"
                    ));
                }
                let burn = (none * percent / 100.0 / step).round().max(1.0) as u64;
                let sides = [side(0, 64), side(burn, 64)];
                let found = (count(&sides[1])? / none - 1.0) * 100.0;
                note(format!("{trace}: injected {percent} % instructions, really {found:.4} %"));
                let truth = Truth {
                    trace: trace.clone(),
                    injected: sides[1].backend.clone(),
                    percent: found,
                    error_percent: 0.0,
                };
                Ok(Injected { trace, loaded, sides, truth: Some(truth), _calls: None })
            })
            .collect();
        let injected = injected?;
        Ok(self.trials(format!("instructions +{percent} %"), &injected, |injected, _, seed| {
            let began = Instant::now();
            let finding = suite::instructions(&self.cell(injected), &self.untimed_rules(seed));
            Ok(Trial {
                trace: injected.trace.to_owned(),
                verdict: finding.verdict,
                seconds: began.elapsed().as_secs_f64(),
                effect_percent: finding.growth().map(|growth| growth * 100.0),
                pairs: 0,
                load: load(),
                seed,
                failed: vec![],
                why: finding.why,
            })
        }))
    }
}

/// Whether a backend counts arenas.
fn has_pools(word: &str) -> bool {
    backends::parse(word).is_ok_and(|spec| spec.name() == "pymalloc")
}

/// `injected` with these settings on a backend.
fn injected_spec(settings: &[(&str, String)], below: &str) -> String {
    let settings: Vec<String> =
        settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mark = if settings.is_empty() { "" } else { ":" };
    format!("injected{mark}{}+{below}", settings.join(","))
}

/// The rates of a kind: name, trials, failed, warned, inconclusive, time to the verdict.
fn line(kind: &Kind) -> Vec<String> {
    let trials = kind.trials.len() as u64;
    let count = |verdicts: &[Verdict]| {
        kind.trials.iter().filter(|trial| verdicts.contains(&trial.verdict)).count() as u64
    };
    let share = |hits: u64| {
        let (low, high) = clopper_pearson(hits, trials, 0.95);
        let percent = |share: f64| format!("{:.1}", share * 100.0);
        format!(
            "{hits} ({} %, {} to {})",
            percent(hits as f64 / trials.max(1) as f64),
            percent(low),
            percent(high)
        )
    };
    let seconds: Vec<f64> = kind.trials.iter().map(|trial| trial.seconds).collect();
    let at = |share: f64| quantile(&seconds, share).map_or("–".to_owned(), |s| format!("{s:.1}"));
    let truth: Vec<String> =
        kind.truth.iter().map(|t| format!("{:+.2}±{:.2}", t.percent, t.error_percent)).collect();
    vec![
        kind.name.clone(),
        if truth.is_empty() { "–".into() } else { truth.join(", ") },
        trials.to_string(),
        share(count(&[Verdict::Fail])),
        share(count(&[Verdict::Fail, Verdict::Warn])),
        share(count(&[Verdict::Inconclusive])),
        format!("{} / {} / {}", at(0.5), at(0.95), at(0.99)),
    ]
}

/// The table for people.
fn tell(kinds: &[Kind]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "injected",
        "really, %",
        "trials",
        "failed (95 % interval)",
        "failed or warned",
        "inconclusive",
        "seconds to the verdict: 50 / 95 / 99 %",
    ]);
    for kind in kinds {
        table.add_row(line(kind));
    }
    format!("{table}\n")
}
