//! Verb `live`: runs the program itself under each allocator, in interleaved rounds, and puts what a
//! replay of its recording predicts beside it.
//!
//! `live/tables.rs` has the tables, `live/sentences.rs` the conclusion, `live/prediction.rs` the
//! replay, `live/instructions.rs` the count by valgrind, and `live/rows.rs` the CSV.

mod instructions;
mod predicted_time;
mod prediction;
mod recorded_collector;
mod recorded_threads;
mod rounds_line;
mod rows;
mod sentences;
mod signed;
mod tables;

use std::ffi::OsString;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};

use self::instructions::InstructionCounts;
use self::prediction::{Predictions, predict};
use self::rounds_line::RoundsLine;
use super::children::ChildArgs;
use super::exit::Exit;
use super::interrupt;
use super::numbers::{seed, whole};
use super::preload::{Library, OBSERVER};
use super::python_file::InterpreterArgs;
use super::record::cannot_start;
use super::record::limits::RecordedDomains;
use super::record::program::{self, ProgramKind};
use super::run::parse_time_limit;
use super::terminal::{note, print};
use super::{shell, specs};
use crate::bench;
use crate::live::{
    Candidate, Deployment, LiveError, LiveProgram, LiveRuns, RoundsPlan, Until, run_rounds,
};
use crate::spec::BackendSpec;

/// Run the program itself under each allocator, in interleaved rounds, and show what each costs it;
/// with --trace, beside what the replay predicts
#[derive(clap::Args)]
pub struct LiveArgs {
    /// Backends, separated by commas; the first is the one that the others are compared with
    /// [default: pymalloc,malloc for a Python, else malloc,malloc:MALLOC_ARENA_MAX=1]
    #[arg(short, long, visible_alias = "backend", value_name = "BACKENDS")]
    backends: Vec<String>,
    /// A recording of the same program and arguments: its replay predicts memory and time
    #[arg(long, value_name = "TRACE")]
    trace: Option<PathBuf>,
    /// Wall time for the rounds, in seconds: they end earlier when each comparison is decided. The
    /// first three are always run. The run that is not measured, the count of instructions and the
    /// replay of --trace are beside it
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "60",
        value_parser = parse_time_limit
    )]
    budget: Duration,
    /// Run exactly N rounds
    #[arg(
        short,
        long,
        value_name = "N",
        conflicts_with = "budget",
        value_parser = whole::<u16>("a number of rounds", 1..=1000, 6)
    )]
    rounds: Option<u16>,
    /// For a program that does not end: run it until it sets this mark (`heaplay.mark("NAME")` of
    /// the Python module), and end it with SIGTERM
    #[arg(long, value_name = "NAME", value_parser = mark_name)]
    until_mark: Option<String>,
    /// For a program that does not end: run it for this time, and end it with SIGTERM
    #[arg(
        long = "for",
        value_name = "SECONDS",
        conflicts_with = "until_mark",
        value_parser = seconds
    )]
    duration: Option<Duration>,
    /// Count the program's instructions too, with valgrind: exact on a machine with noise. A run of
    /// each backend takes some 50 times as long
    #[arg(long, conflicts_with_all = ["until_mark", "duration"])]
    count_instructions: bool,
    /// Write a row for each run to this CSV
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The seed of the order in a round [default: the time of day]
    #[arg(long, value_name = "NUMBER", value_parser = seed)]
    seed: Option<u64>,
    #[command(flatten)]
    children: ChildArgs,
    #[command(flatten)]
    interpreter: InterpreterArgs,
    /// The program and its arguments, after `--`
    #[arg(
        value_name = "PROGRAM",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true
    )]
    program: Vec<OsString>,
}

fn mark_name(text: &str) -> Result<String, String> {
    match text {
        "" => Err("expected the name of a mark, such as ready".to_owned()),
        _ if text.contains(';') => Err("a mark's name has no `;` here".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.01..=604_800.0).contains(seconds));
    let seconds =
        seconds.ok_or_else(|| "expected seconds from 0.01 to 604800, such as 30".to_owned())?;
    Ok(Duration::from_secs_f64(seconds))
}

impl LiveArgs {
    /// Runs the rounds, replays the trace, and prints both.
    ///
    /// # Errors
    /// When the program or the trace cannot be used, or the program cannot be run under the first
    /// backend.
    pub fn run(mut self) -> anyhow::Result<ExitCode> {
        interrupt::install()?;
        self.program = self.interpreter.with_interpreter(self.program);
        let Some((name, arguments)) = self.program.split_first() else {
            bail!("no program was given");
        };
        let file = match program::resolve(name, RecordedDomains::All, true) {
            Ok(file) => file,
            Err(error) => return cannot_start(error),
        };
        let (candidates, refused) = self.candidates(file.kind)?;
        // What cannot be read or written is found before the program runs for a minute.
        let workloads = self.trace.as_deref().map(prediction::load).transpose()?;
        let mut rows = self.output.as_deref().map(rows::Rows::create).transpose()?;
        let place = self.output.as_deref().unwrap_or(Path::new("heaplay"));
        let observer = Library::beside(OBSERVER, place)?;
        note_variables();
        let program = LiveProgram {
            name: name.clone(),
            path: file.path,
            arguments: arguments.to_vec(),
            observer: observer.path(),
            input: standard_input(),
            until: self.until(),
            is_launcher: file.kind == ProgramKind::Launcher,
        };
        if program.is_launcher {
            note(format!(
                "{} is a script or a launcher. Each process that it starts loads the backend's \
                 library, and that time counts. Put the program itself after --, such as the python3 \
                 that `python3 -c 'import sys; print(sys.executable)'` prints",
                program.path.display()
            ));
        }
        let plan = RoundsPlan {
            rounds: self.rounds.map(usize::from),
            budget: self.budget,
            seed: self.seed.unwrap_or_else(time_of_day),
            limit: self.children.timeout(),
        };
        let budget = match self.rounds {
            Some(1) => "1 round".to_owned(),
            Some(rounds) => format!("{rounds} rounds"),
            None => {
                let seconds = self.budget.as_secs_f64();
                format!("rounds for up to {seconds} s, or until all is decided")
            }
        };
        let replays = workloads.as_ref().and_then(|workloads| {
            let duration = prediction::replay_duration(workloads, candidates.len())?;
            Some(format!(
                ", then a replay of the trace on each backend (on a quiet machine about {duration} in all)"
            ))
        });
        note(format!(
            "one run that is not measured, then {budget}{}; a program that does not end needs --for or \
             --until-mark",
            replays.unwrap_or_default()
        ));
        let line = RoundsLine::new(plan.rounds, plan.budget);
        let after_round = |round, passed| line.finished(round, passed);
        let all = run_rounds(&program, candidates, plan, bench::cancelled, after_round);
        drop(line);
        let all = match all {
            Err(LiveError::Cancelled) => return Ok(Exit::Interrupted.into()),
            all => all.with_context(|| name.to_string_lossy().into_owned())?,
        };
        if let Some(rows) = &mut rows {
            rows.runs(&all)?;
        }
        if let Some(base) = all.first().filter(|base| base.runs.is_empty()) {
            let why = base.failure.as_deref().unwrap_or("no round was finished");
            bail!("under {}, with which all are compared: {why}", base.candidate.name);
        }
        let counts = match self.count_instructions && !bench::cancelled() {
            true => Some(instructions::count(&program, &all)?),
            false => None,
        };
        let predictions = match &workloads {
            Some(workloads) if !bench::cancelled() => {
                let settings = self.children.settings();
                Some(predict(workloads, &all, self.count_instructions, &settings)?)
            }
            _ => None,
        };
        if let Some(rows) = &mut rows {
            if let Some(predictions) = &predictions {
                rows.predictions(&all, predictions)?;
            }
            if let Some(counts) = &counts {
                rows.instructions(&all, counts, predictions.as_ref())?;
            }
        }
        print(&self.report(&all, &refused, counts.as_ref(), predictions.as_ref()))?;
        Ok(self.exit(&all, &refused))
    }

    fn report(
        &self,
        all: &[LiveRuns],
        refused: &[Refused],
        counts: Option<&InstructionCounts>,
        predictions: Option<&Predictions>,
    ) -> String {
        let mut text = sentences::failure_note(all, &self.command_line());
        text += &tables::text(all, predictions, self.duration.is_some());
        if let Some(counts) = counts {
            text += &instructions::text(all, counts, predictions);
        }
        let mut failures: Vec<(&str, &str)> =
            refused.iter().map(|(name, why)| (name.as_str(), why.as_str())).collect();
        failures.extend(all.iter().filter_map(|runs| {
            runs.failure.as_deref().map(|why| (runs.candidate.name.as_str(), why))
        }));
        for (name, why) in failures {
            text += &format!("not measured: {name}: {why}\n");
        }
        text + &sentences::text(all, predictions, self.duration.is_some())
    }

    /// The program and its arguments.
    fn command_line(&self) -> String {
        let words = self.program.iter().map(|word| word.to_string_lossy().into_owned());
        let words: Vec<String> = words.collect();
        shell::line(words.iter().map(String::as_str))
    }

    fn exit(&self, all: &[LiveRuns], refused: &[Refused]) -> ExitCode {
        if bench::cancelled() {
            note("interrupted: the tables have the rounds so far");
            return Exit::Interrupted.into();
        }
        let has_failed = |runs: &LiveRuns| {
            runs.failure.is_some() || runs.runs.iter().any(|run| run.failure().is_some())
        };
        let has_failed = !refused.is_empty() || all.iter().any(has_failed);
        if has_failed { Exit::NoResult.into() } else { Exit::Fine.into() }
    }

    fn until(&self) -> Until {
        match (&self.until_mark, self.duration) {
            (Some(name), _) => Until::Mark(name.clone()),
            (None, Some(duration)) => Until::Duration(duration),
            (None, None) => Until::End,
        }
    }

    /// The backends that a program can have, and the reason for each that it cannot.
    fn candidates(&self, kind: ProgramKind) -> anyhow::Result<(Vec<Candidate>, Vec<Refused>)> {
        let specs: Vec<BackendSpec> = if self.backends.is_empty() {
            let default = match kind {
                ProgramKind::Other => "malloc,malloc:MALLOC_ARENA_MAX=1",
                ProgramKind::Python | ProgramKind::Launcher => "pymalloc,malloc",
            };
            specs::read_list(&[default.to_owned()])?
        } else {
            specs::read_list(&self.backends)?
        };
        let (mut candidates, mut refused) = (Vec::new(), Vec::new());
        for spec in specs {
            let name = spec.as_str().to_owned();
            match Deployment::of(&spec) {
                Ok(deployment) => {
                    let label = spec.label();
                    candidates.push(Candidate { name, label, deployment });
                }
                Err(why) => refused.push((name, why.to_string())),
            }
        }
        if candidates.is_empty() {
            let whys: Vec<String> =
                refused.iter().map(|(name, why)| format!("{name}: {why}")).collect();
            bail!("--backends: a program can have none of these: {}", whys.join("; "));
        }
        Ok((candidates, refused))
    }
}

/// A backend that no program can have, and the reason.
type Refused = (String, String);

/// Prints which of the caller's variables the program does not get.
fn note_variables() {
    let names: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| crate::live::sets_allocator(name))
        .collect();
    if !names.is_empty() {
        note(format!("the program runs without {}: the backends set it", names.join(", ")));
    }
}

/// A file that standard input is read from, to be read from its start in each run. A terminal or a
/// pipe can be read once only, so every run gets an empty input instead.
fn standard_input() -> Option<PathBuf> {
    let is_pipe =
        std::fs::metadata("/proc/self/fd/0").is_ok_and(|metadata| metadata.file_type().is_fifo());
    if is_pipe {
        note(
            "standard input is a pipe, which one run could read; each run gets an empty one (< FILE)",
        );
    }
    let input = std::fs::canonicalize("/proc/self/fd/0").ok()?;
    input.is_file().then_some(input)
}

fn time_of_day() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64
}
