//! Lines of libraries that allocate, and the program's own lines that call them.
//!
//! A person cannot change `json/decoder.py:353`, but the line of the program that calls it. Which line that
//! is, what is live says: a line that called most often may hold nothing. Blocks of the start-up, such as
//! the modules that an interpreter loads for itself, have no caller.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::allocation_sites::AllocationSites;
use super::live_sites::{LiveOfSite, LiveSites};
use crate::trace::{frames, innermost, is_library_code};
use crate::units::line_of;

/// Lines at most: the ones with most requests.
const LINES_MAX: usize = 500;

/// What is known of a site.
#[derive(Clone, Copy, Debug)]
struct SiteFigures<'a> {
    /// Its name, with its callers.
    name: &'a str,
    /// Its requests; 0 where they are not known.
    requests: u64,
    /// What is live of it at the peak and at the end.
    live: [LiveOfSite; 2],
}

/// A line of a library, and who calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryLine {
    /// The site, as the tables of the run have it.
    pub line: String,
    /// The program's own line whose call it is most often, the nearest of each site's callers; `None`
    /// where the trace has no such caller.
    pub caller: Option<String>,
    /// How many of the program's own lines call it.
    pub callers: u32,
    /// Who called it for what is live at the peak and at the end; `None` where nothing is.
    pub live: [Option<LiveCallers>; 2],
}

/// Whose calls of a line allocated its live blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveCallers {
    /// The program's own line with most live bytes; `None` where no caller is known.
    pub caller: Option<String>,
    /// Live bytes of that caller.
    pub caller_bytes: u64,
    /// How many of the program's own lines have live blocks.
    pub callers: u32,
    /// Live blocks of the line.
    pub blocks: u64,
    /// Those that were allocated before the program's first own line.
    pub startup_blocks: u64,
    /// Live bytes of the line without the start-up's.
    pub own_bytes: u64,
}

/// The sites of a line.
#[derive(Default)]
struct Calls<'a> {
    requests: u64,
    by_caller: HashMap<&'a str, u64>,
    live: [LiveCalls<'a>; 2],
}

/// The live blocks of a line.
#[derive(Default)]
struct LiveCalls<'a> {
    total: LiveOfSite,
    bytes_by_caller: HashMap<&'a str, u64>,
}

impl<'a> LiveCalls<'a> {
    fn add(&mut self, site: LiveOfSite, caller: Option<&'a str>) {
        self.total.blocks += site.blocks;
        self.total.startup_blocks += site.startup_blocks;
        self.total.bytes += site.bytes;
        self.total.startup_bytes += site.startup_bytes;
        if let Some(caller) = caller.filter(|_| site.blocks > site.startup_blocks) {
            *self.bytes_by_caller.entry(caller).or_default() += site.bytes - site.startup_bytes;
        }
    }

    fn callers(&self) -> Option<LiveCallers> {
        let most = most_of(&self.bytes_by_caller);
        (self.total.blocks > 0).then(|| LiveCallers {
            caller: most.map(|(caller, _)| caller.to_owned()),
            caller_bytes: most.map_or(0, |(_, bytes)| bytes),
            callers: self.bytes_by_caller.len() as u32,
            blocks: self.total.blocks,
            startup_blocks: self.total.startup_blocks,
            own_bytes: self.total.bytes - self.total.startup_bytes,
        })
    }
}

/// The first of those with most.
fn most_of<'a>(figures: &HashMap<&'a str, u64>) -> Option<(&'a str, u64)> {
    let most = figures.iter().max_by_key(|(caller, figure)| (**figure, Reverse(**caller)));
    most.map(|(caller, figure)| (*caller, *figure))
}

/// The sites that are lines of libraries, and which of the program's own lines call each. `live` is what
/// is live of [`AllocationSites::with_callers`].
pub fn library_lines(sites: &AllocationSites, live: Option<&LiveSites>) -> Vec<LibraryLine> {
    let with_callers = sites.with_callers();
    let mut requests = vec![0_u64; with_callers.number() + 1];
    for site in with_callers.of_requests() {
        if let Some(count) = requests.get_mut(*site as usize) {
            *count += 1;
        }
    }
    let of = |site: usize| live.map(|live| live.of_site(site)).unwrap_or_default();
    let named = with_callers.names().iter().zip(1..).zip(requests.into_iter().skip(1));
    let figures =
        named.map(|((name, site), requests)| SiteFigures { name, requests, live: of(site) });
    match sites.is_grouped() {
        true => grouped_lines(figures, |site| line_of(site).to_owned()),
        false => grouped_lines(figures, str::to_owned),
    }
}

/// The lines of libraries of sites that are grouped by `group`. Where no number of requests is known, all
/// are 0, and a line that several call has no caller.
fn grouped_lines<'a>(
    sites: impl IntoIterator<Item = SiteFigures<'a>>,
    group: impl Fn(&str) -> String,
) -> Vec<LibraryLine> {
    let mut lines: HashMap<String, Calls> = HashMap::new();
    for site in sites.into_iter().filter(|site| is_library_code(innermost(site.name))) {
        let calls = lines.entry(group(site.name)).or_default();
        calls.requests += site.requests;
        let caller = frames(site.name).skip(1).find(|frame| !is_library_code(frame));
        if let Some(caller) = caller {
            *calls.by_caller.entry(caller).or_default() += site.requests;
        }
        for (live, own) in calls.live.iter_mut().zip(site.live) {
            live.add(own, caller);
        }
    }
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort_by(|a, b| b.1.requests.cmp(&a.1.requests).then_with(|| a.0.cmp(&b.0)));
    lines.truncate(LINES_MAX);
    let named = |(line, calls): (String, Calls)| {
        let own = &calls.by_caller;
        let most = most_of(own).filter(|(_, requests)| *requests > 0 || own.len() == 1);
        let caller = most.map(|(caller, _)| caller.to_owned());
        let live = calls.live.map(|live| live.callers());
        LibraryLine { line, caller, callers: own.len() as u32, live }
    };
    lines.into_iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECODER: &str = "/usr/lib/python3.11/json/decoder.py:353";

    #[test]
    fn the_nearest_own_caller_with_most_requests_is_named() {
        let inner = "/usr/lib/python3.11/json/__init__.py:346";
        let sites = [
            (format!("{DECODER} < {inner} < /srv/load.py:3 < /srv/main.py:9"), 5),
            (format!("{DECODER} < /srv/other.py:8"), 7),
            (format!("{DECODER} < {inner}"), 90),
            ("/srv/main.py:1 < /srv/main.py:9".to_owned(), 1000),
            ("<frozen abc>:123".to_owned(), 2),
        ];
        let figures = |at: usize, requests: u64| {
            let live = [LiveOfSite::default(); 2];
            SiteFigures { name: &sites[at].0, requests: sites[at].1 * requests, live }
        };
        let by_line = |factor: u64| {
            let sites = (0..sites.len()).map(|at| figures(at, factor));
            grouped_lines(sites, |site| innermost(site).to_owned())
        };
        let line = |line: &str, caller: Option<&str>, callers| LibraryLine {
            line: line.into(),
            caller: caller.map(str::to_owned),
            callers,
            live: [None, None],
        };
        let frozen = line("<frozen abc>:123", None, 0);
        assert_eq!(by_line(1), [line(DECODER, Some("/srv/other.py:8"), 2), frozen.clone()]);
        // Without numbers it is not known which of two it is.
        assert_eq!(by_line(0), [line(DECODER, None, 2), frozen]);
        let whole = grouped_lines([figures(0, 0)], str::to_owned);
        assert_eq!(whole, [line(&sites[0].0, Some("/srv/load.py:3"), 1)]);
    }

    #[test]
    fn what_is_live_has_another_caller_than_most_requests() {
        let names = ["/srv/load.py:3", "/srv/keep.py:8"].map(|own| format!("{DECODER} < {own}"));
        let live = |blocks, bytes| LiveOfSite { blocks, bytes, ..LiveOfSite::default() };
        let startup =
            LiveOfSite { blocks: 40, startup_blocks: 40, bytes: 4000, startup_bytes: 4000 };
        let site = |name, requests, live| SiteFigures { name, requests, live };
        let sites = [
            site(names[0].as_str(), 900, [live(90, 900), live(0, 0)]),
            site(&names[1], 10, [live(10, 100), live(10, 100)]),
            site(DECODER, 40, [startup; 2]),
        ];
        let lines = grouped_lines(sites, |site| innermost(site).to_owned());
        let [peak, end] = &lines[0].live;
        let callers = |caller: &str, caller_bytes, callers, blocks, own_bytes| {
            let caller = Some(caller.to_owned());
            Some(LiveCallers {
                caller,
                caller_bytes,
                callers,
                blocks,
                startup_blocks: 40,
                own_bytes,
            })
        };
        assert_eq!(*peak, callers("/srv/load.py:3", 900, 2, 140, 1000));
        assert_eq!(*end, callers("/srv/keep.py:8", 100, 1, 50, 100));
        assert_eq!(lines[0].caller.as_deref(), Some("/srv/load.py:3"));
    }
}
