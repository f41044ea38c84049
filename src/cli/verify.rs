//! Room `cli`, verb `verify`: proves a backend on a trace, by itself or against another.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

use super::children::ChildArgs;
use super::load::{find_traces, load_traces};
use super::terminal::{note, print};
use super::{interrupt, specs};
use crate::backends;
use crate::backends::arenas::{Bases, Geometry};
use crate::bench::{self, Loaded, Settings, Verified};
use crate::spec::BackendSpec;
use crate::trace::{ArenaEvent, Header};

/// Prove that a backend's blocks are aligned, never overlap, keep their contents and are zero after
/// calloc, for every size from 0 to beyond memory and on traces; or that a pool allocator puts
/// every block where another does (--against)
#[derive(clap::Args)]
#[command(
    after_help = "Exit status: 0 proved; 1 a rule is broken, or the two differ; 2 it could not be done; 130 interrupted."
)]
pub struct VerifyArgs {
    /// Traces, or folders of traces; with none, a backend is asked only what it is asked before any
    /// trace: every size at each boundary, resizes, requests beyond memory, refusals
    traces: Vec<PathBuf>,
    /// Backends to prove, separated by commas
    #[arg(
        short,
        long = "backends",
        visible_alias = "backend",
        default_value = "malloc,pymalloc,bump"
    )]
    backends: Vec<String>,
    /// Compare every address relative to its arena, every arena's birth and death, and the
    /// statistics at the end with this backend, such as python@3.11; or, with the word `recording`,
    /// births and deaths with those of the recorded process
    #[arg(long, value_name = "BACKEND")]
    against: Option<String>,
    /// Where both get their arenas, with --against: aligned, misaligned, bytes off such as 4KiB, or
    /// recorded: where the trace says that the recorded process had them
    #[arg(long, value_delimiter = ',', default_value = "aligned,misaligned", value_parser = parse_bases, requires = "against")]
    bases: Vec<Bases>,
    #[command(flatten)]
    children: ChildArgs,
}

fn parse_bases(text: &str) -> Result<Bases, String> {
    // Where the kernel puts them is not the same for two.
    Bases::from_name(text).filter(|bases| *bases != Bases::Kernel).ok_or_else(|| {
        "expected aligned, misaligned, recorded or bytes off such as 4KiB, one or several with commas"
            .to_owned()
    })
}

impl VerifyArgs {
    /// Verifies each backend on each trace, each in a child of its own.
    ///
    /// # Errors
    /// A trace or a backend that cannot be had. A rule that is broken is a line and the exit code
    /// 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let backends: Vec<String> =
            specs::read_list(&self.backends)?.into_iter().map(String::from).collect();
        if let Some(against) = &self.against {
            let against = Some(against).filter(|word| *word != RECORDING);
            if let Some(word) = against {
                specs::read(word)?;
            }
            for word in backends.iter().chain(against) {
                with_pools(word, Bases::Aligned)?;
            }
        }
        interrupt::install()?;
        let settings = self.children.settings();
        let mut tally = Tally::default();
        if self.against.is_none() {
            for backend in &backends {
                tally.prove("any size", backend, None, &settings)?;
            }
        }
        let (entries, programs) = match self.traces.as_slice() {
            [] if self.against.is_some() => {
                bail!("--against compares on a trace: name one, such as traces/hello.trace")
            }
            [] => Default::default(),
            traces => load_traces(&find_traces(traces)?)?,
        };
        for (entry, backend) in
            entries.iter().flat_map(|entry| backends.iter().map(move |word| (entry, word)))
        {
            let loaded = &programs[&entry.name];
            match &self.against {
                None => tally.prove(&entry.name, backend, Some(loaded), &settings)?,
                Some(against) if against == RECORDING => {
                    let header = Header { facts: entry.facts.clone(), ..Header::default() };
                    tally.compare_recording(
                        &entry.name,
                        backend,
                        &header.arenas(),
                        loaded,
                        &settings,
                    )?;
                }
                Some(against) => {
                    for &bases in &self.bases {
                        tally.compare(&entry.name, [backend, against], bases, loaded, &settings)?;
                    }
                }
            }
        }
        tally.conclude()
    }
}

/// What was tried, and how it came out.
#[derive(Default)]
struct Tally {
    tried: u32,
    broken: u32,
    unknown: u32,
}

impl Tally {
    /// Counts one more, unless all is to end.
    fn begins(&mut self) -> bool {
        let goes_on = !bench::cancelled();
        self.tried += u32::from(goes_on);
        goes_on
    }

    /// Proves a backend on a program, or on no program, and prints a line.
    fn prove(
        &mut self,
        what: &str,
        backend: &str,
        loaded: Option<&Loaded>,
        settings: &Settings,
    ) -> anyhow::Result<()> {
        if !self.begins() {
            return Ok(());
        }
        let line = match bench::verify(backend, loaded, settings) {
            Ok(Verified::Proved(calls)) => {
                format!("ok     {what}  {backend}: {calls} calls checked\n")
            }
            Ok(Verified::Broken(rule)) => {
                self.broken += 1;
                format!("BROKEN {what}  {backend}: {rule}\n")
            }
            Err(reason) => {
                self.unknown += 1;
                format!("?      {what}  {backend}: {reason}\n")
            }
        };
        print(&line)
    }

    /// Compares two on a trace and prints a line.
    fn compare(
        &mut self,
        trace: &str,
        words: [&str; 2],
        bases: Bases,
        loaded: &Loaded,
        settings: &Settings,
    ) -> anyhow::Result<()> {
        if !self.begins() {
            return Ok(());
        }
        self.broken += u32::from(!same(trace, words, bases, loaded, settings)?);
        Ok(())
    }

    /// Compares the births and deaths of arenas with the recorded ones and prints a line.
    fn compare_recording(
        &mut self,
        trace: &str,
        word: &str,
        recorded: &[ArenaEvent],
        loaded: &Loaded,
        settings: &Settings,
    ) -> anyhow::Result<()> {
        if !self.begins() {
            return Ok(());
        }
        if recorded.is_empty() {
            bail!(
                "{trace}: the trace says nothing of its arenas; record it again with this heaplay"
            );
        }
        let hooked = with_pools(word, Bases::Recorded)?;
        let found = bench::compare_recording(&hooked, recorded, loaded, settings)
            .map_err(|reason| anyhow::anyhow!("{trace}: {reason}"))?;
        let names = format!("{trace}  {word} and the recorded process");
        match &found.difference {
            Some(difference) => {
                self.broken += 1;
                print(&format!("DIFFERENT {names}: {difference}\n"))
            }
            None => print(&format!(
                "same   {names}: {} calls, {} arenas born and {} dead, each at the call where it was\n",
                found.calls, found.births, found.deaths
            )),
        }
    }

    /// The exit code, with a sentence where not all was proved.
    fn conclude(&self) -> anyhow::Result<ExitCode> {
        let Tally { tried, broken, unknown } = self;
        if bench::cancelled() {
            note(format!("interrupted after {tried}"));
            return Ok(ExitCode::from(130));
        }
        if broken + unknown > 0 {
            note(format!(
                "of {tried}, {broken} broke a rule and {unknown} could not be tried to the end"
            ));
        }
        Ok(ExitCode::from(match (broken, unknown) {
            (0, 0) => 0,
            (0, _) => 2,
            _ => 1,
        }))
    }
}

/// What stands for the recorded process after --against.
const RECORDING: &str = "recording";

/// Why two that have not the same sizes cannot agree, and the word for one that has the second's;
/// empty when they have.
fn unlike(words: [&str; 2], geometries: Option<[Geometry; 2]>) -> String {
    let Some([ours, theirs]) = geometries.filter(|[ours, theirs]| ours != theirs) else {
        return String::new();
    };
    let sizes = [
        ("align", ours.align, theirs.align),
        ("threshold", ours.threshold, theirs.threshold),
        ("pool", ours.pool, theirs.pool),
        ("arena", ours.arena, theirs.arena),
    ];
    let (mut told, mut like) = (Vec::new(), words[0].to_owned());
    for (name, ours, theirs) in sizes.into_iter().filter(|(_, ours, theirs)| ours != theirs) {
        told.push(format!("{name} {ours} and {theirs}"));
        let set = |spec: BackendSpec| spec.with_setting(name, &theirs.to_string()).ok();
        like = backends::parse(&like).ok().and_then(set).map_or(like, String::from);
    }
    let mut text = format!(
        "  They are not the same allocator: {} bytes. A version's sizes are its unpatched source's; {} was built with others.\n",
        told.join(", "),
        words[1]
    );
    if backends::parse(&like).is_ok_and(|spec| backends::describe(&spec).is_ok()) {
        text += &format!("  `{like}` has the sizes of {}.\n", words[1]);
    }
    text
}

/// The word with its arenas put at `bases`.
fn with_pools(word: &str, bases: Bases) -> anyhow::Result<String> {
    let spec = backends::parse(word)?;
    if spec.setting("bases").is_some() {
        bail!(
            "`{word}`: --against chooses the bases of both itself; leave the setting out and use --bases"
        );
    }
    let spec = spec.with_setting("bases", &bases.name())?;
    backends::describe(&spec)?; // refuses one that has no such setting
    Ok(spec.to_string())
}

/// Compares two on a trace and prints a line.
fn same(
    trace: &str,
    words: [&str; 2],
    bases: Bases,
    loaded: &Loaded,
    settings: &Settings,
) -> anyhow::Result<bool> {
    let hooked = [with_pools(words[0], bases)?, with_pools(words[1], bases)?];
    let found = bench::compare([&hooked[0], &hooked[1]], loaded, settings)
        .map_err(|reason| anyhow::anyhow!("{trace}: {reason}"))?;
    let names = format!("{trace}  {} and {}, arenas {}", words[0], words[1], bases.name());
    match &found.difference {
        Some(difference) => {
            let sizes = unlike(words, found.geometries);
            print(&format!("DIFFERENT {names}: {}\n{sizes}", difference.trim_end()))?;
        }
        None => print(&format!(
            "same   {names}: {} calls, {} of their blocks in pools, {} arenas born and {} dead\n",
            found.calls, found.in_pools, found.births, found.deaths
        ))?,
    }
    Ok(found.difference.is_none())
}
