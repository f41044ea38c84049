//! Which sites allocated what is live at the live peak and at the end, and how much of the peak is live
//! at the end. The program's start-up, before its own first line, is counted apart.

use std::collections::BTreeMap;

use super::allocation_sites::AllocationSites;
use super::compiled::Program;
use super::instruction::Action;
use crate::trace::{frames, is_library_code};

/// What is live of a site at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveOfSite {
    /// Blocks.
    pub blocks: u64,
    /// Those that were allocated before the program's first own line.
    pub startup_blocks: u64,
    /// Requested bytes.
    pub bytes: u64,
    /// Those of the start-up.
    pub startup_bytes: u64,
}

/// What the program held at its live peak, and how much of it is live at the end, in requested bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeakSurvival {
    /// At the peak.
    pub peak_bytes: u64,
    /// Of the same blocks, at the end.
    pub end_bytes: u64,
    /// Whether blocks of the start-up are left out, where it is known which these are.
    pub is_without_startup: bool,
}

/// The live blocks of a site of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveOfSize {
    /// The number of the site.
    pub site: u32,
    /// Requested bytes of each.
    pub size_bytes: u64,
    /// How many there are.
    pub blocks: u64,
}

/// What is live at the two moments, by the number of the site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveSites {
    /// At the live peak.
    pub peak: Vec<LiveOfSite>,
    /// At the moment that counts as the end.
    pub end: Vec<LiveOfSite>,
    /// The blocks at the end by size, with the number of their site.
    pub end_sizes: Vec<LiveOfSize>,
    /// How much of the peak is live at the end; `None` where the end is not after the peak.
    pub survival: Option<PeakSurvival>,
}

/// The block in a slot.
#[derive(Clone, Copy, Default)]
struct LiveBlock {
    /// The call that allocated it, and not one that resized it; counted from 1.
    born: u64,
    site: u32,
    bytes: u64,
    is_startup: bool,
}

impl LiveSites {
    /// What is live of a site at the peak and at the end.
    pub(super) fn of_site(&self, site: usize) -> [LiveOfSite; 2] {
        [&self.peak, &self.end].map(|all| all.get(site).copied().unwrap_or_default())
    }

    /// What is live after the call that reaches the live peak, and after so many calls. `sites` are with
    /// callers. `None` of a program in parts.
    pub fn of(program: &Program, sites: &AllocationSites, end: u64) -> Option<LiveSites> {
        if !program.is_whole() {
            return None;
        }
        let (peak, end) = (program.profile().live_peak_event + 1, end.min(program.calls() as u64));
        let startup_requests = startup_requests(sites);
        let mut live = vec![LiveBlock::default(); program.slots()];
        let mut found = LiveSites::default();
        let (mut request, mut at_peak) = (0, Vec::new());
        for (index, instruction) in program.instructions().iter().enumerate() {
            let held = live.get_mut(instruction.slot())?;
            if instruction.action() == Action::Free {
                *held = LiveBlock::default();
            } else {
                let born = match instruction.action() {
                    Action::Realloc if held.born > 0 => held.born,
                    _ => index as u64 + 1,
                };
                *held = LiveBlock {
                    born,
                    site: sites.site(request),
                    bytes: program.size(index) as u64,
                    is_startup: (request as u64) < startup_requests.unwrap_or(0),
                };
                request += 1;
            }
            let done = index as u64 + 1;
            if done == peak {
                found.peak = by_site(&live, sites.number());
                at_peak.clone_from(&live);
            }
            if done == end {
                found.end = by_site(&live, sites.number());
                found.end_sizes = by_size(&live);
            }
            if done == end && end > peak {
                let is_without_startup = startup_requests.is_some();
                found.survival = Some(survival(&at_peak, &live, is_without_startup));
            }
            if done >= peak.max(end) {
                break;
            }
        }
        Some(found)
    }
}

/// Requested bytes that are live after so many calls each, in the order of `events`; 0 of a program in parts.
pub fn live_bytes_after(program: &Program, events: &[u64]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..events.len()).collect();
    order.sort_by_key(|at| events[*at]);
    let mut waiting = order.into_iter().peekable();
    let mut sizes = vec![0; program.slots()];
    let (mut live_bytes, mut found) = (0_u64, vec![0; events.len()]);
    for (index, instruction) in program.instructions().iter().enumerate() {
        while let Some(at) = waiting.next_if(|at| events[*at] <= index as u64) {
            found[at] = live_bytes;
        }
        let Some(held) = sizes.get_mut(instruction.slot()) else { continue };
        live_bytes -= *held;
        *held = match instruction.action() {
            Action::Free => 0,
            Action::Malloc | Action::Calloc | Action::Realloc => program.size(index) as u64,
        };
        live_bytes += *held;
    }
    waiting.for_each(|at| found[at] = live_bytes);
    found
}

/// Requests before the first of the program's own code; `None` where no site has such a caller.
fn startup_requests(sites: &AllocationSites) -> Option<u64> {
    if !sites.has_callers() {
        return None;
    }
    let is_own = |site: u32| frames(sites.name(site)).any(|frame| !is_library_code(frame));
    // A site without a line is of nobody.
    let is_own: Vec<bool> = (0..=sites.number() as u32)
        .map(|site| !sites.name(site).is_empty() && is_own(site))
        .collect();
    let mut requests = sites.of_requests().iter();
    let first = requests.position(|site| is_own.get(*site as usize).copied().unwrap_or(false))?;
    Some(first as u64)
}

fn by_site(live: &[LiveBlock], sites: usize) -> Vec<LiveOfSite> {
    let mut found = vec![LiveOfSite::default(); sites + 1];
    for block in live.iter().filter(|block| block.born > 0) {
        let Some(own) = found.get_mut(block.site as usize) else { continue };
        (own.blocks, own.bytes) = (own.blocks + 1, own.bytes + block.bytes);
        if block.is_startup {
            own.startup_blocks += 1;
            own.startup_bytes += block.bytes;
        }
    }
    found
}

fn by_size(live: &[LiveBlock]) -> Vec<LiveOfSize> {
    let mut counts: BTreeMap<(u32, u64), u64> = BTreeMap::new();
    for block in live.iter().filter(|block| block.born > 0 && block.site > 0) {
        *counts.entry((block.site, block.bytes)).or_default() += 1;
    }
    let of_size = |((site, size_bytes), blocks)| LiveOfSize { site, size_bytes, blocks };
    counts.into_iter().map(of_size).collect()
}

fn survival(at_peak: &[LiveBlock], at_end: &[LiveBlock], is_without_startup: bool) -> PeakSurvival {
    let mut found = PeakSurvival { is_without_startup, ..PeakSurvival::default() };
    let blocks = at_peak.iter().zip(at_end);
    for (before, after) in blocks.filter(|(before, _)| before.born > 0 && !before.is_startup) {
        found.peak_bytes += before.bytes;
        if after.born == before.born {
            found.end_bytes += after.bytes.min(before.bytes);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::FixedRows;
    use super::*;
    use crate::trace::{Op, Row};

    #[test]
    fn of_the_peak_only_what_outlives_it_survives() {
        let row = |event, size, lifetime| Row::new(event, Op::Malloc, size, lifetime);
        // The peak is after the third call; the last block is of another time.
        let rows = [row(0, 100, None), row(1, 1000, Some(2)), row(2, 10, None), row(4, 500, None)];
        let program = FixedRows::compiled(&rows);
        let found = LiveSites::of(&program, &AllocationSites::default(), u64::MAX).unwrap();
        let survival = found.survival.unwrap();
        assert_eq!((survival.peak_bytes, survival.end_bytes), (1110, 110));
        assert!(!survival.is_without_startup);
        assert_eq!((found.peak[0].blocks, found.end[0].bytes), (3, 610));
        assert_eq!(live_bytes_after(&program, &[5, 0, 3, 4, 9]), [610, 0, 1110, 110, 610]);
        let at_peak = LiveSites::of(&program, &AllocationSites::default(), 3).unwrap();
        assert_eq!((at_peak.survival, &at_peak.peak), (None, &at_peak.end));
    }
}
