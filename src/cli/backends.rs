//! Verb `backends`: lists the backends, or describes one layer by layer.

use std::io::Write;
use std::process::ExitCode;

use super::specs;
use crate::backends::{self, BACKENDS};
use crate::bench;
use crate::spec::{PRELOAD, SO};

/// List the backends, or describe one: its layers, constants, size classes and settings.
#[derive(clap::Args)]
pub struct BackendsArgs {
    /// A backend as in `run`: name[@version][:key=value,…][+below]
    name: Option<String>,
}

impl BackendsArgs {
    /// Prints the list or the description.
    ///
    /// # Errors
    /// When the name is no backend, or stdout cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let text = match &self.name {
            Some(name) => backends::describe(&specs::read_known(name)?)?,
            None => list(version),
        };
        anstream::stdout().lock().write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A line for each backend, with the version that a child finds on this machine.
fn list(version: impl Fn(&str) -> String) -> String {
    let width = BACKENDS.iter().map(|member| member.name.len()).max().unwrap_or(0);
    BACKENDS
        .iter()
        .map(|member| {
            format!("{:width$}  {}{}\n", member.name, member.summary, version(member.name))
        })
        .collect()
}

/// The version in brackets; nothing for the backends whose version is that of the library in their
/// spec.
fn version(name: &str) -> String {
    if [SO, PRELOAD].contains(&name) {
        return String::new();
    }
    match bench::version(name, None) {
        Ok(version) => format!(" ({version})"),
        Err(reason) => format!(" ({reason})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_a_line_for_each() {
        let list = list(|name| format!(" (version of {name})"));
        assert_eq!(list.lines().count(), BACKENDS.len());
        assert!(list.contains("(version of pymalloc)"), "{list}");
    }
}
