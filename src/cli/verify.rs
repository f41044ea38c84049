//! Room `cli`, verb `verify`: proves a backend on a trace, by itself or against another.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

use super::load::{ChildArgs, backend_words, find_traces, load_traces};
use super::{note, print};
use crate::backends::arenas::Bases;
use crate::backends::{self, with_setting};
use crate::bench::{self, Loaded, Settings};

/// Prove that a backend's blocks are aligned, never overlap, keep their contents and are zero after calloc; or that a
/// pool allocator puts every block where another does (--against)
#[derive(clap::Args)]
#[command(
    after_help = "Exit status: 0 proved; 1 a rule is broken, or the two differ; 2 it could not be done."
)]
pub struct VerifyArgs {
    /// Traces, or folders of traces
    #[arg(required = true)]
    traces: Vec<PathBuf>,
    /// Backends to prove, separated by commas
    #[arg(short, long = "backends", visible_alias = "backend", default_value = "malloc,pymalloc,bump")]
    backends: Vec<String>,
    /// Compare every address relative to its arena, every arena's birth and death, and the statistics at the end with
    /// this backend, such as python@3.11
    #[arg(long, value_name = "BACKEND")]
    against: Option<String>,
    /// Where both get their arenas, with --against
    #[arg(long, value_delimiter = ',', default_value = "aligned,misaligned", value_parser = parse_bases, requires = "against")]
    bases: Vec<Bases>,
    #[command(flatten)]
    children: ChildArgs,
}

fn parse_bases(text: &str) -> Result<Bases, String> {
    let known = [Bases::Aligned, Bases::Misaligned];
    let found = known.into_iter().find(|bases| bases.name() == text);
    found.ok_or_else(|| "expected aligned, misaligned or both".to_owned())
}

impl VerifyArgs {
    /// Verifies each backend on each trace, each in a child of its own.
    ///
    /// # Errors
    /// A trace or a backend that cannot be had. A rule that is broken is a line and the exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let backends = backend_words(&self.backends)?;
        if let Some(against) = &self.against {
            backend_words(std::slice::from_ref(against))?;
            for word in backends.iter().chain([against]) {
                with_pools(word, Bases::Aligned)?;
            }
        }
        let (entries, programs) = load_traces(&find_traces(&self.traces)?)?;
        let settings = self.children.settings();
        let (mut broken, mut tried) = (0, 0);
        for entry in &entries {
            for backend in &backends {
                let loaded = &programs[&entry.name];
                if let Some(against) = &self.against {
                    for &bases in &self.bases {
                        tried += 1;
                        broken +=
                            u32::from(!same(&entry.name, [backend, against], bases, loaded, &settings)?);
                    }
                    continue;
                }
                tried += 1;
                match bench::verify(backend, loaded, &settings) {
                    Ok(calls) => {
                        print(&format!("ok     {}  {backend}: {calls} calls checked\n", entry.name))?
                    }
                    Err(reason) => {
                        broken += 1;
                        print(&format!("BROKEN {}  {backend}: {reason}\n", entry.name))?;
                    }
                }
            }
        }
        if broken > 0 {
            note(format!("{broken} of {tried} were not proved"));
            return Ok(ExitCode::from(1));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The word with its arenas put at `bases`.
fn with_pools(word: &str, bases: Bases) -> anyhow::Result<String> {
    let spec = backends::parse(word)?;
    if spec.setting("bases").is_some() {
        bail!("`{word}`: --against chooses the bases of both itself; leave the setting out and use --bases");
    }
    let word = with_setting(word, "bases", bases.name())?;
    backends::describe(&backends::parse(&word)?)?; // refuses one that has no such setting
    Ok(word)
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
        Some(difference) => print(&format!("DIFFERENT {names}: {}\n", difference.trim_end()))?,
        None => print(&format!(
            "same   {names}: {} calls, {} of their blocks in pools, {} arenas born and {} dead\n",
            found.calls, found.in_pools, found.births, found.deaths
        ))?,
    }
    Ok(found.difference.is_none())
}
