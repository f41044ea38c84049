//! Verb `generate`: makes a synthetic trace from a seed.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;

use super::numbers::{seed, whole};
use super::terminal::note;
use crate::backends::{self, freelist};
use crate::cpython;
use crate::trace::{self, Distribution, GeneratedType, Generator, SIZE_LIMIT_BYTES};

/// Generate a trace with given distributions of sizes and lifetimes; a seed gives the same trace on
/// every machine
#[derive(clap::Args)]
pub struct GenerateArgs {
    /// The trace to write: NAME.csv or NAME.trace
    out: PathBuf,
    /// Calls, frees included
    #[arg(
        long,
        default_value_t = 1_000_000,
        value_parser = whole::<u64>("a number of calls", 1..=1 << 40, 100_000)
    )]
    calls: u64,
    /// The seed of all random choices
    #[arg(long, default_value_t = 1, value_parser = seed)]
    seed: u64,
    /// Sizes in bytes as low-high:weight,… [default: as in CPython programs]
    #[arg(long)]
    sizes: Option<String>,
    /// Lifetimes as low-high:weight,…, in calls from the request to the free, where each request and
    /// each free is a call [default: most die young, some live for a burst]
    #[arg(long)]
    lifetimes: Option<String>,
    /// Give 6 in 10 blocks a type, for the `freelist` backend. Types have the object sizes of this
    /// version of CPython, such as 3.11: floats, tuples by length, lists, dicts and their keys, ints,
    /// frames, and rarer ones
    #[arg(long, value_name = "VERSION")]
    types: Option<String>,
}

impl GenerateArgs {
    /// Generates.
    ///
    /// # Errors
    /// A distribution that cannot be read, or a file that cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let parse = |option: &str, text: Option<&String>, limit, default: fn() -> Distribution| {
            match text {
                Some(text) => Distribution::parse(text, limit)
                    .map_err(|reason| anyhow!("--{option}: {reason}")),
                None => Ok(default()),
            }
        };
        let sizes =
            parse("sizes", self.sizes.as_ref(), SIZE_LIMIT_BYTES, Distribution::python_sizes)?;
        let lifetimes =
            parse("lifetimes", self.lifetimes.as_ref(), 1 << 40, Distribution::python_lifetimes)?;
        let mut generator = Generator::new(self.seed, self.calls, sizes, lifetimes);
        if let Some(version) = &self.types {
            let spec = backends::parse(&format!("freelist@{version}"))?;
            generator = generator.with_types(types(freelist::version_of(&spec)?));
        }
        let rows = trace::copy(&mut generator, &self.out)?;
        note(format!("{}: {} calls, {rows} of them rows", self.out.display(), self.calls));
        Ok(ExitCode::SUCCESS)
    }
}

/// The types of a version's objects, with their weights. Common types are fifty times as frequent as
/// rare ones, short tuples are more frequent than long ones, and some types have no free list.
fn types(version: (u32, u32)) -> Vec<GeneratedType> {
    let listed = cpython::listed(version);
    let has = |name: &str| listed.iter().any(|list| list.name == name);
    let made = |name: &str, low: usize, high: usize, weight| GeneratedType {
        name: name.to_owned(),
        sizes: Distribution::range(low as u64, high as u64),
        weight,
    };
    let mut all: Vec<GeneratedType> = listed
        .iter()
        .map(|list| {
            let weight = match (list.is_common, list.length) {
                (true, Some(length)) => 400 / length as u64,
                (true, None) => 200,
                (false, _) => 4,
            };
            // Frames of ordinary functions.
            let high = list.bytes_most.min(list.bytes_least + 600);
            made(list.name, list.bytes_least, high, weight)
        })
        .collect();
    all.push(made("str", 50, 120, 400));
    let longest = listed
        .iter()
        .filter(|list| list.name == "tuple")
        .map(|list| list.bytes_most)
        .max()
        .unwrap_or(0);
    all.push(made("tuple", longest + 8, longest + 160, 10));
    all.push(made("dict keys", 300, 1200, 20));
    if !has("int") {
        all.push(made("int", 28, 32, 300));
    }
    all
}
