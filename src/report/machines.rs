//! On which machines the cells of a merged run were measured, and which figures are apart for it.

use std::collections::BTreeMap;

use super::text::list;
use crate::results::{CellKey, Machine, Pass, Run};

/// Sentences for a run whose cells were measured on several machines: how many cells on each, in what
/// the machines differ, and the traces whose footprints are of unlike machines. Empty for one machine.
pub fn machine_sentences(run: &Run) -> Vec<String> {
    let machines = run.manifest.machines();
    if machines.len() < 2 {
        return vec![];
    }
    // The machine of each merged run: of its number, as cells have it.
    let merged = run.manifest.merged.iter().map(|merged| &merged.machine);
    let number_of = |machine| machines.iter().position(|known| *known == machine).unwrap_or(0);
    let machine_of_run: Vec<usize> =
        std::iter::once(&run.manifest.machine).chain(merged).map(number_of).collect();
    let runs = run.manifest.runs_of_cells();
    let machine_of = |cell: &CellKey| machine_of_run[runs.get(cell).copied().unwrap_or(0)];
    let mut cells = vec![0_usize; machines.len()];
    let mut footprints: BTreeMap<String, BTreeMap<usize, Vec<String>>> = BTreeMap::new();
    for outcome in &run.outcomes {
        let cell = outcome.cell();
        let machine = machine_of(&cell);
        cells[machine] += 1;
        if cell.pass == Pass::Footprint && outcome.is_ok() {
            let trace = footprints.entry(cell.trace).or_default();
            trace.entry(machine).or_default().push(cell.backend);
        }
    }
    let counts = (1..).zip(&cells).map(|(number, cells)| format!("{cells} on machine {number}"));
    let mut sentences = vec![format!(
        "The cells were measured on {} machines: {}. A time is compared only with times of the same \
         machine and run.",
        machines.len(),
        list(&counts.collect::<Vec<String>>())
    )];
    for (number, machine) in (1..).zip(&machines).skip(1) {
        sentences.push(format!(
            "Machine {number} differs from machine 1: {}.",
            differences(machines[0], machine).join("; ")
        ));
    }
    for (trace, backends) in footprints.iter().filter(|(_, backends)| backends.len() > 1) {
        let groups = backends
            .iter()
            .map(|(machine, names)| format!("machine {} ({})", machine + 1, list(names)));
        sentences.push(format!(
            "{trace}: footprints are of unlike machines, {}.",
            list(&groups.collect::<Vec<String>>())
        ));
    }
    sentences
}

/// The facts in which a machine differs from the first one.
fn differences(first: &Machine, machine: &Machine) -> Vec<String> {
    let mut names: Vec<&String> = first.facts.keys().chain(machine.facts.keys()).collect();
    names.sort();
    names.dedup();
    let value = |machine: &Machine, name: &String| {
        machine.facts.get(name).map_or_else(|| "unknown".to_owned(), |value| format!("`{value}`"))
    };
    let pairs = names.into_iter().map(|name| (name, value(first, name), value(machine, name)));
    pairs
        .filter(|(_, before, now)| before != now)
        .map(|(name, before, now)| format!("{name} is {now}, not {before}"))
        .collect()
}
