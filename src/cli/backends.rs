//! Room `cli`, verb `backends`: lists what can be measured, or tells one backend layer by layer.

use std::io::Write;
use std::process::ExitCode;

use crate::backends::{self, BACKENDS};
use crate::bench;
use crate::spec::{PRELOAD, SO};

/// Lists the backends, or shows one: its layers, constants, settings and size classes.
#[derive(clap::Args)]
pub struct BackendsArgs {
    /// A backend as written for `run`: name[@version][:key=value,…][+below]
    name: Option<String>,
}

impl BackendsArgs {
    /// Prints the list or the one.
    ///
    /// # Errors
    /// When the word names no backend, or stdout cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let text = match &self.name {
            Some(name) => backends::describe(&backends::parse(name)?)?,
            None => list(version),
        };
        anstream::stdout().lock().write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A line for each member, with the version as a child finds it on this machine.
fn list(version: impl Fn(&str) -> String) -> String {
    let width = BACKENDS.iter().map(|member| member.name.len()).max().unwrap_or(0);
    BACKENDS
        .iter()
        .map(|member| {
            format!("{:width$}  {}{}\n", member.name, member.summary, version(member.name))
        })
        .collect()
}

/// The version in brackets; nothing for members whose version is that of the file they are given.
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
