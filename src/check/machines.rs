//! In which facts two machines differ, as far as measures depend on them.

use crate::results::Machine;

/// The facts that resident pages of an allocator of the system depend on.
const EXACT_FACTS: [&str; 5] =
    ["architecture", "libc", "page_bytes", "transparent_huge_pages", "variables"];

/// The facts that times depend on.
const TIMED_FACTS: [&str; 11] = [
    "architecture",
    "libc",
    "page_bytes",
    "transparent_huge_pages",
    "processor",
    "cores",
    "hypervisor",
    "kernel",
    "address_randomisation",
    "governor",
    "memory",
];

/// A fact in which two machines differ.
struct Difference {
    fact: &'static str,
    baseline: String,
    candidate: String,
}

/// The differences in these facts, in their order.
fn differences<'m>(
    baseline: &'m Machine,
    candidate: &'m Machine,
    facts: &'m [&'static str],
) -> impl Iterator<Item = Difference> + 'm {
    let value = |machine: &Machine, fact: &str| {
        machine.facts.get(fact).cloned().unwrap_or_else(|| "unknown".to_owned())
    };
    facts.iter().filter_map(move |&fact| {
        let (baseline, candidate) = (value(baseline, fact), value(candidate, fact));
        (baseline != candidate).then_some(Difference { fact, baseline, candidate })
    })
}

/// The first difference that exact measures depend on, in a sentence.
pub fn difference_for_exact(baseline: &Machine, candidate: &Machine) -> Option<String> {
    let found = differences(baseline, candidate, &EXACT_FACTS).next()?;
    let Difference { fact, baseline, candidate } = found;
    Some(format!("{fact} is `{candidate}`, in the baseline `{baseline}`"))
}

/// The differences that times depend on, a line each.
pub fn differences_for_times(baseline: &Machine, candidate: &Machine) -> Vec<String> {
    let line = |found: Difference| {
        let Difference { fact, baseline, candidate } = found;
        format!("  {fact}: baseline `{baseline}`, here `{candidate}`")
    };
    differences(baseline, candidate, &TIMED_FACTS).map(line).collect()
}
