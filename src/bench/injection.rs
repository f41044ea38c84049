//! What a power study injects into a backend, and how large the effect really is. The effect is
//! measured in pairs that have no part in the trials.

use serde::Serialize;

use super::machine::processors;
use super::pairs::{Chosen, Course, PairError, Side, TAIL_SHARE, ratios};
use super::worker::Limits;
use super::{ClockRate, Loaded, Settings, exact, instructions};
use crate::replay::{WARM_UP_CALLS, calls_of_an_iteration};
use crate::results::{Metric, Scope, TimedMeasure};
use crate::spec::{BackendSpec, SpecError};
use crate::stats::{Estimate, Random};

/// The backend that makes the one below it worse by a known amount.
const INJECTED: &str = "injected";

/// The backend that gets an injected arena, where the studied one has no pools.
const POOLS: &str = "pymalloc";

/// What is injected into the exact measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExactInjection {
    /// Nothing: both sides are the same.
    Nothing,
    /// A page that stays resident.
    Page,
    /// A usable byte at the live peak.
    Byte,
    /// An arena.
    Arena,
}

impl ExactInjection {
    /// All of them, in the order of a study.
    pub const ALL: [ExactInjection; 4] = [
        ExactInjection::Nothing,
        ExactInjection::Page,
        ExactInjection::Byte,
        ExactInjection::Arena,
    ];

    /// What it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            ExactInjection::Nothing => "nothing",
            ExactInjection::Page => "a page",
            ExactInjection::Byte => "a byte",
            ExactInjection::Arena => "an arena",
        }
    }

    /// The metric that has to grow.
    fn metric(self) -> Option<Metric> {
        match self {
            ExactInjection::Nothing => None,
            ExactInjection::Page => Some(Metric::ResidentEndBytes),
            ExactInjection::Byte => Some(Metric::UsableAtLivePeakBytes),
            ExactInjection::Arena => Some(Metric::ArenasPeak),
        }
    }

    /// The setting of [`INJECTED`], for a program whose live peak is at a call.
    fn setting(self, live_peak_event: u64) -> Option<(&'static str, u64)> {
        match self {
            ExactInjection::Nothing => None,
            ExactInjection::Page => Some(("page", 1 + WARM_UP_CALLS)),
            ExactInjection::Byte => Some(("byte", live_peak_event + 1 + WARM_UP_CALLS)),
            // As many blocks of 512 bytes as an arena of the largest kind (1 MiB) holds.
            ExactInjection::Arena => Some(("blocks", 2048)),
        }
    }
}

/// The effect of an injection, measured apart from the trials.
#[derive(Clone, Debug, Serialize)]
pub struct InjectedEffect {
    /// The trace.
    pub trace: String,
    /// The candidate's spec.
    pub injected: BackendSpec,
    /// The mean effect, in percent.
    pub percent: f64,
    /// Its standard error, in percent.
    pub error_percent: f64,
}

/// A trace, and the two sides that a trial compares on it.
pub struct Injection<'a> {
    /// The trace's name.
    pub trace: &'a str,
    /// The trace.
    pub loaded: &'a Loaded,
    /// Baseline and candidate.
    pub sides: [Side; 2],
    /// The measured effect, where something is injected.
    pub effect: Option<InjectedEffect>,
    /// The calls that burn time. Children read the file as long as this lives.
    _calls: Option<Chosen>,
}

impl<'a> Injection<'a> {
    /// A backend against itself.
    pub fn none(trace: &'a str, loaded: &'a Loaded, backend: &BackendSpec) -> Injection<'a> {
        let sides = [Side::of(backend.as_str()), Side::of(backend.as_str())];
        Injection { trace, loaded, sides, effect: None, _calls: None }
    }
}

/// Injects into one backend.
pub struct Injector<'a> {
    /// The backend.
    pub backend: &'a BackendSpec,
    /// The bounds of children.
    pub settings: &'a Settings,
    /// The bounds of a child that is timed or counted.
    pub limits: Limits,
    /// The clock of calls.
    pub clock: ClockRate,
    /// The seed of all orders.
    pub seed: u64,
    /// Gets a note for each injection.
    pub report: &'a (dyn Fn(String) + Sync),
}

/// Pairs of each round of the search for the right amount.
const SEARCH_PAIRS: [usize; 5] = [10, 15, 22, 40, 40];
/// Pairs by which an effect is measured.
const EFFECT_PAIRS: usize = 40;
/// Pairs after which the calls of the tail are chosen again, as each trial chooses its own.
const PAIRS_OF_A_CHOICE: usize = 5;

impl Injector<'_> {
    /// Finds how many steps have to burn so that the slow-down is `share`, and measures the effect.
    ///
    /// # Errors
    /// The reason of a child that failed.
    pub fn slow_down<'p>(
        &self,
        trace: &'p str,
        loaded: &'p Loaded,
        measure: TimedMeasure,
        share: f64,
    ) -> Result<Injection<'p>, String> {
        let calls = match measure {
            TimedMeasure::Time => None,
            TimedMeasure::Tail => Some(self.tail_and_more(loaded)?),
        };
        let place = match &calls {
            None => vec![("every", "64".to_owned())],
            Some(chosen) => vec![
                ("calls", chosen.path().display().to_string()),
                ("period", calls_of_an_iteration(&loaded.program).to_string()),
            ],
        };
        let candidate = |burn: u64| {
            let mut settings = place.clone();
            settings.push(("burn", burn.to_string()));
            injected_spec(&settings, self.backend).map_err(|error| error.to_string())
        };
        let sides = |burn: u64| -> Result<[Side; 2], String> {
            Ok([Side::of(candidate(0)?.as_str()), Side::of(candidate(burn)?.as_str())])
        };
        let mut burn = 64;
        // The first round is far off: nobody knows how long a step takes. Each round comes nearer.
        for pairs in SEARCH_PAIRS {
            let (found, _) = self.effect(loaded, measure, &sides(burn)?, pairs, 77)?;
            if pairs == EFFECT_PAIRS && (found - share).abs() < share / 8.0 {
                break;
            }
            let factor = (share / found.max(share / 50.0)).clamp(0.1, 10.0);
            burn = ((burn as f64 * factor).round() as u64).max(1);
        }
        // The pairs of the search led to the amount, so fresh ones measure the effect.
        let (effect, error) = self.effect(loaded, measure, &sides(burn)?, EFFECT_PAIRS, 78)?;
        let (percent, error_percent) = (effect * 100.0, error * 100.0);
        let injected = candidate(burn)?;
        (self.report)(format!(
            "{trace}: injected {} {:+.1} %, measured {percent:+.2} ± {error_percent:.2} % ({injected})",
            measure.name(),
            share * 100.0,
        ));
        let effect = InjectedEffect { trace: trace.to_owned(), injected, percent, error_percent };
        Ok(Injection { trace, loaded, sides: sides(burn)?, effect: Some(effect), _calls: calls })
    }

    /// Injects into the exact measures, and refuses an injection that shows in none.
    ///
    /// # Errors
    /// The reason of a child that failed, or a metric that did not grow.
    pub fn exact<'p>(
        &self,
        trace: &'p str,
        loaded: &'p Loaded,
        injection: ExactInjection,
    ) -> Result<Injection<'p>, String> {
        let pools: BackendSpec = POOLS.parse().map_err(|error: SpecError| error.to_string())?;
        let below = match injection {
            ExactInjection::Arena if self.backend.name() != POOLS => &pools,
            _ => self.backend,
        };
        let setting = injection.setting(loaded.program.profile().live_peak_event);
        let settings: Vec<(&str, String)> =
            setting.into_iter().map(|(key, value)| (key, value.to_string())).collect();
        let spec = |settings: &[(&str, String)]| {
            injected_spec(settings, below).map_err(|error| error.to_string())
        };
        let (before, after) = (spec(&[])?, spec(&settings)?);
        let sides = [Side::of(before.as_str()), Side::of(after.as_str())];
        let effect = match injection.metric() {
            None => None,
            Some(metric) => {
                let percent = self.exact_effect(trace, loaded, &sides, injection, metric)?;
                let (trace, error_percent) = (trace.to_owned(), 0.0);
                Some(InjectedEffect { trace, injected: after, percent, error_percent })
            }
        };
        Ok(Injection { trace, loaded, sides, effect, _calls: None })
    }

    /// By how much a metric grows, in percent.
    fn exact_effect(
        &self,
        trace: &str,
        loaded: &Loaded,
        sides: &[Side; 2],
        injection: ExactInjection,
        metric: Metric,
    ) -> Result<f64, String> {
        let value = |side: &Side| -> Result<f64, String> {
            let run = exact(side, trace, loaded, self.settings)?;
            let values = run.values(trace, &side.backend, Scope::All, metric);
            values.first().copied().ok_or(format!("{}: has no {metric}", side.backend))
        };
        let (before, after) = (value(&sides[0])?, value(&sides[1])?);
        let what = injection.name();
        if after <= before {
            return Err(format!(
                "{trace}: {what} was injected in {}, and {metric} did not grow",
                sides[0].backend
            ));
        }
        (self.report)(format!("{trace}: injected {what}, {metric} from {before} to {after}"));
        Ok((after / before - 1.0) * 100.0)
    }

    /// Injects instructions, in percent of all.
    ///
    /// # Errors
    /// Why they could not be counted, or that the injected steps take none.
    pub fn instructions<'p>(
        &self,
        trace: &'p str,
        loaded: &'p Loaded,
        percent: f64,
    ) -> Result<Injection<'p>, String> {
        let candidate = |burn: u64| {
            let settings = [("every", "64".to_owned()), ("burn", burn.to_string())];
            injected_spec(&settings, self.backend).map_err(|error| error.to_string())
        };
        let count = |spec: &BackendSpec| {
            let side = Side::of(spec.as_str());
            instructions(&side, loaded, self.limits, 1).map(|count| count[0] as f64)
        };
        let none = candidate(0)?;
        let before = count(&none)?;
        let step = (count(&candidate(100)?)? - before) / 100.0;
        if step <= 0.0 {
            return Err(format!("{trace}: the injected steps take no instructions"));
        }
        let injected = candidate((before * percent / 100.0 / step).round().max(1.0) as u64)?;
        let found = (count(&injected)? / before - 1.0) * 100.0;
        (self.report)(format!("{trace}: injected {percent} % instructions, measured {found:.4} %"));
        let sides = [Side::of(none.as_str()), Side::of(injected.as_str())];
        let (trace_name, error_percent) = (trace.to_owned(), 0.0);
        let effect = InjectedEffect { trace: trace_name, injected, percent: found, error_percent };
        Ok(Injection { trace, loaded, sides, effect: Some(effect), _calls: None })
    }

    /// The effect of the second side over the first: mean and standard error, as shares.
    fn effect(
        &self,
        loaded: &Loaded,
        measure: TimedMeasure,
        sides: &[Side; 2],
        pairs: usize,
        salt: u64,
    ) -> Result<(f64, f64), String> {
        let logs = self.logs(loaded, measure, sides, pairs, salt);
        let estimate = Estimate::of(&logs.map_err(|error| error.to_string())?);
        let estimate = estimate.ok_or("too few pairs")?;
        Ok((estimate.mean.exp_m1(), estimate.error))
    }

    /// The logarithms of so many pairs.
    fn logs(
        &self,
        loaded: &Loaded,
        measure: TimedMeasure,
        sides: &[Side; 2],
        pairs: usize,
        salt: u64,
    ) -> Result<Vec<f64>, PairError> {
        let context = self.context(loaded);
        let both = [&sides[0], &sides[1]];
        let mut random = Random(self.seed ^ salt);
        let iterations = context.pilot(&both, 1)?;
        let (mut logs, mut times) = (Vec::new(), Vec::new());
        let mut chosen = None;
        for pair in 0..pairs {
            let seed = random.bits();
            match measure {
                TimedMeasure::Time => times.push(context.time(&both, iterations, seed)?),
                TimedMeasure::Tail => {
                    if pair % PAIRS_OF_A_CHOICE == 0 {
                        let segments = iterations.segments;
                        chosen = Some(context.slowest(both, segments, TAIL_SHARE, seed ^ 1)?);
                    }
                    let Some(chosen) = &chosen else { continue };
                    let means = context.tail(&both, iterations.segments, chosen, seed)?;
                    logs.push((means[1] / means[0]).ln());
                }
            }
        }
        let pairs: Vec<_> = times.iter().map(|times| [&times[0], &times[1]]).collect();
        let ratios = ratios(&pairs, iterations).unwrap_or_default();
        logs.extend(ratios.into_iter().map(|ratio| ratio.processor));
        Ok(logs)
    }

    /// The calls of the tail, and those that may be taken for it. Each trial finds a slightly
    /// different slowest hundredth. A burn in the calls of one pilot would miss part of the next
    /// trial's. So four times as many calls burn, of three pilots.
    fn tail_and_more(&self, loaded: &Loaded) -> Result<Chosen, String> {
        let spec = injected_spec(&[], self.backend).map_err(|error| error.to_string())?;
        let calls = self.slow_calls(loaded, &Side::of(spec.as_str()));
        let mut calls = calls.map_err(|error| error.to_string())?;
        calls.sort_unstable();
        calls.dedup();
        Chosen::new(&calls).map_err(|error| error.to_string())
    }

    fn slow_calls(&self, loaded: &Loaded, side: &Side) -> Result<Vec<u32>, PairError> {
        let context = self.context(loaded);
        let iterations = context.pilot(&[side, side], 1)?;
        let mut calls = Vec::new();
        for seed in 2..5 {
            let segments = iterations.segments;
            calls.extend(context.slowest([side, side], segments, 4.0 * TAIL_SHARE, seed)?.calls);
        }
        Ok(calls)
    }

    /// Where an effect is measured.
    fn context<'l>(&self, loaded: &'l Loaded) -> Course<'l> {
        let processor = processors().first().copied();
        Course { loaded, processor, limits: self.limits, clock: self.clock }
    }
}

/// [`INJECTED`] with these settings on a backend.
fn injected_spec(
    settings: &[(&str, String)],
    below: &BackendSpec,
) -> Result<BackendSpec, SpecError> {
    let mut spec: BackendSpec = INJECTED.parse()?;
    for (key, value) in settings {
        spec = spec.with_setting(key, value)?;
    }
    spec.on(below)
}
