//! The verb `verify`: proves backends on traces, or compares two pool allocators call by call.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

use super::children::ChildArgs;
use super::end_choice::EndChoice;
use super::exit::Exit;
use super::load::{LineGroups, load_found};
use super::terminal::{note, print};
use super::{interrupt, specs};
use crate::backends::arenas::{Bases, Geometry};
use crate::bench::pool_specs::{size_differences, with_bases};
use crate::bench::{self, Settings, Verified, Workload};

/// Prove that a backend's blocks are aligned, never overlap, keep their contents and are zero after
/// calloc, for every size from 0 to beyond memory and on traces; or that a pool allocator puts
/// every block where another does (--against)
#[derive(clap::Args)]
#[command(after_help = "Exit status: 0 proved; 1 a rule is broken, or the two differ; 2 it could \
    not be done; 130 interrupted.")]
pub struct VerifyArgs {
    /// Traces, or folders of traces. Without any, only the calls that need no trace are checked:
    /// every size at each boundary, reallocs, requests beyond memory, refusals
    traces: Vec<PathBuf>,
    /// Backends to prove, separated by commas
    #[arg(
        short,
        long = "backends",
        visible_alias = "backend",
        default_value = "malloc,pymalloc,bump"
    )]
    backends: Vec<String>,
    /// Compare with this backend, such as python@3.11: every address relative to its arena, every
    /// arena's birth and death, and the statistics at the end. `recording` compares births and
    /// deaths of arenas with those of the recorded process
    #[arg(long, value_name = "BACKEND")]
    against: Option<String>,
    /// Where both get their arenas, with --against: aligned, misaligned, bytes off such as 4KiB, or
    /// recorded, which is where the recorded process had them by the trace
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "aligned,misaligned",
        value_parser = parse_bases,
        requires = "against"
    )]
    bases: Vec<Bases>,
    /// The order in which the threads of a trace make their calls: as recorded, one at a time; or
    /// all at once (free)
    #[arg(long, value_enum, default_value_t = ThreadOrder::Recorded, conflicts_with = "against")]
    order: ThreadOrder,
    #[command(flatten)]
    children: ChildArgs,
}

/// The order in which the threads of a trace make their calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ThreadOrder {
    /// As recorded, one call at a time
    Recorded,
    /// All threads at once; each waits only for the blocks of others that it ends
    Free,
}

fn parse_bases(text: &str) -> Result<Bases, String> {
    // The kernel chooses other bases for each of the two.
    Bases::from_name(text).filter(|bases| *bases != Bases::Kernel).ok_or_else(|| {
        "expected aligned, misaligned, recorded or bytes off such as 4KiB, one or several with \
         commas"
            .to_owned()
    })
}

/// The value of --against that stands for the recorded process.
const RECORDING: &str = "recording";

impl VerifyArgs {
    /// Verifies each backend on each trace, each in a child of its own.
    ///
    /// # Errors
    /// A trace or a backend is not available. A broken rule is no error: it is a line, and the exit
    /// status is [`Exit::Worse`].
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let backends: Vec<String> =
            specs::read_list(&self.backends)?.into_iter().map(String::from).collect();
        let against = match &self.against {
            Some(against) if against != RECORDING => Some(specs::read(against)?.to_string()),
            against => against.clone(),
        };
        if let Some(against) = &against {
            let reference = Some(against).filter(|spec| *spec != RECORDING);
            for spec in backends.iter().chain(reference) {
                with_bases(spec, Bases::Aligned)?;
            }
        }
        interrupt::install()?;
        let settings = self.children.settings();
        let found = match self.traces.as_slice() {
            [] if self.against.is_some() => {
                bail!("--against compares on a trace: name one, such as traces/hello.trace")
            }
            [] => None,
            traces => Some(load_found(traces, &EndChoice::LastCall, LineGroups::Lines, u64::MAX)?),
        };
        let counts = Counts::default();
        let mut verification = Verification { settings: &settings, order: self.order, counts };
        if self.against.is_none() {
            for backend in &backends {
                verification.prove("any size", backend, None)?;
            }
        }
        for loaded in found.iter().flat_map(|found| &found.workloads) {
            let trace = loaded.name();
            for backend in &backends {
                match against.as_deref() {
                    None => verification.prove(trace, backend, Some(loaded))?,
                    Some(RECORDING) => {
                        verification.compare_recording(trace, backend, loaded)?;
                    }
                    Some(against) => {
                        for &bases in &self.bases {
                            verification.compare(trace, [backend, against], bases, loaded)?;
                        }
                    }
                }
            }
        }
        let code = verification.counts.conclude()?;
        found.map_or(Ok(code), |found| found.unread.conclude(code))
    }
}

/// Verifies one after the other, prints a line for each, and counts the outcomes.
struct Verification<'a> {
    settings: &'a Settings,
    order: ThreadOrder,
    counts: Counts,
}

impl Verification<'_> {
    /// Proves a backend on a program, or without one by the contract test.
    fn prove(
        &mut self,
        what: &str,
        backend: &str,
        loaded: Option<&Workload>,
    ) -> anyhow::Result<()> {
        if !self.counts.begin() {
            return Ok(());
        }
        let verified = match loaded {
            Some(loaded) if self.order == ThreadOrder::Free => {
                bench::verify_freely(backend, loaded, self.settings)
            }
            _ => bench::verify(backend, loaded, self.settings),
        };
        print(&match verified {
            Ok(Verified::Proved(calls)) => {
                format!("ok     {what}  {backend}: {calls} calls checked\n")
            }
            Ok(Verified::Broken(rule)) => {
                self.counts.broken += 1;
                format!("BROKEN {what}  {backend}: {rule}\n")
            }
            Err(reason) => {
                self.counts.unknown += 1;
                format!("?      {what}  {backend}: {reason}\n")
            }
        })
    }

    /// Compares two pool allocators on a trace.
    fn compare(
        &mut self,
        trace: &str,
        specs: [&str; 2],
        bases: Bases,
        loaded: &Workload,
    ) -> anyhow::Result<()> {
        if !self.counts.begin() {
            return Ok(());
        }
        let placed = [with_bases(specs[0], bases)?, with_bases(specs[1], bases)?];
        let found = bench::compare([&placed[0], &placed[1]], loaded, self.settings)
            .map_err(|reason| anyhow::anyhow!("{trace}: {reason}"))?;
        let names = format!("{trace}  {} and {}, arenas {}", specs[0], specs[1], bases.name());
        print(&match &found.difference {
            Some(difference) => {
                self.counts.broken += 1;
                let sizes = size_advice(specs, found.geometries);
                format!("DIFFERENT {names}: {}\n{sizes}", difference.trim_end())
            }
            None => format!(
                "same   {names}: {} calls, {} of their blocks in pools, {} arenas born and {} \
                 dead\n",
                found.calls, found.in_pools, found.arenas_born, found.arenas_died
            ),
        })
    }

    /// Compares the births and deaths of arenas with the recorded ones.
    fn compare_recording(
        &mut self,
        trace: &str,
        spec: &str,
        loaded: &Workload,
    ) -> anyhow::Result<()> {
        if !self.counts.begin() {
            return Ok(());
        }
        if loaded.arenas.is_empty() {
            bail!("{trace}: the trace has no arenas; record it again with this heaplay");
        }
        let placed = with_bases(spec, Bases::Recorded)?;
        let found = bench::compare_recording(&placed, loaded, self.settings)
            .map_err(|reason| anyhow::anyhow!("{trace}: {reason}"))?;
        let names = format!("{trace}  {spec} and the recorded process");
        print(&match &found.difference {
            Some(difference) => {
                self.counts.broken += 1;
                format!("DIFFERENT {names}: {difference}\n")
            }
            None => format!(
                "same   {names}: {} calls, {} arenas born and {} dead, each at the call where it \
                 was\n",
                found.calls, found.arenas_born, found.arenas_died
            ),
        })
    }
}

/// Outcomes by number.
#[derive(Default)]
struct Counts {
    tried: u32,
    broken: u32,
    unknown: u32,
}

impl Counts {
    /// Counts one more; false once the run is interrupted.
    fn begin(&mut self) -> bool {
        let goes_on = !bench::cancelled();
        self.tried += u32::from(goes_on);
        goes_on
    }

    /// The exit status, with a note unless all is proved.
    fn conclude(&self) -> anyhow::Result<ExitCode> {
        let Counts { tried, broken, unknown } = self;
        if bench::cancelled() {
            note(format!("interrupted after {tried}"));
            return Ok(Exit::Interrupted.into());
        }
        if broken + unknown > 0 {
            note(format!(
                "of {tried}, {broken} broke a rule and {unknown} could not be tried to the end"
            ));
        }
        Ok(match (broken, unknown) {
            (0, 0) => Exit::Fine.into(),
            (0, _) => Exit::NoResult.into(),
            _ => Exit::Worse.into(),
        })
    }
}

/// Why two allocators with other sizes cannot agree, and the spec of one with the second's sizes;
/// empty if their sizes are equal.
fn size_advice(specs: [&str; 2], geometries: Option<[Geometry; 2]>) -> String {
    let Some(found) = geometries.and_then(|both| size_differences(specs[0], both)) else {
        return String::new();
    };
    let size = |(name, ours, theirs): &(_, _, _)| format!("{name} {ours} and {theirs}");
    let sizes: Vec<String> = found.sizes.iter().map(size).collect();
    let mut text = format!(
        "  They are not the same allocator: {} bytes. A version's sizes are its unpatched \
         source's; {} was built with others.\n",
        sizes.join(", "),
        specs[1]
    );
    if let Some(like) = found.like_second {
        text += &format!("  `{like}` has the sizes of {}.\n", specs[1]);
    }
    text
}
