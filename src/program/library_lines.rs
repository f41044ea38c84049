//! Lines of libraries that allocate, and the program's own lines that call them.
//!
//! A person cannot change `json/decoder.py:353`, but the line of the program that calls it.

use std::collections::HashMap;

use crate::trace::{CALLED_FROM, frames, innermost, is_library_code};

/// Lines at most: the ones with most requests.
const LINES_MAX: usize = 500;

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
}

/// The lines of libraries of sites that are grouped by `group`: each name with its number of requests.
/// Where no number is known, all are 0, and a line that several call has no caller.
pub fn library_lines<'a>(
    sites: impl IntoIterator<Item = (&'a str, u64)>,
    group: impl Fn(&str) -> String,
) -> Vec<LibraryLine> {
    let mut lines: HashMap<String, (u64, HashMap<&str, u64>)> = HashMap::new();
    for (site, requests) in sites.into_iter().filter(|(site, _)| is_library_code(innermost(site))) {
        let (all, own) = lines.entry(group(site)).or_default();
        *all += requests;
        if let Some(caller) = frames(site).skip(1).find(|frame| !is_library_code(frame)) {
            *own.entry(caller).or_default() += requests;
        }
    }
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort_by(|a, b| b.1.0.cmp(&a.1.0).then_with(|| a.0.cmp(&b.0)));
    lines.truncate(LINES_MAX);
    let named = |(line, (_, own)): (String, (u64, HashMap<&str, u64>))| {
        let most =
            own.iter().max_by_key(|(caller, requests)| (**requests, std::cmp::Reverse(**caller)));
        let most = most.filter(|(_, requests)| **requests > 0 || own.len() == 1);
        let caller = most.map(|(caller, _)| (*caller).to_owned());
        LibraryLine { line, caller, callers: own.len() as u32 }
    };
    lines.into_iter().map(named).collect()
}

/// Whether any site has callers.
pub fn has_callers(names: &[String]) -> bool {
    names.iter().any(|name| name.contains(CALLED_FROM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_own_caller_with_most_requests_is_named() {
        const DECODER: &str = "/usr/lib/python3.11/json/decoder.py:353";
        let inner = "/usr/lib/python3.11/json/__init__.py:346";
        let sites = [
            (format!("{DECODER} < {inner} < /srv/load.py:3 < /srv/main.py:9"), 5),
            (format!("{DECODER} < /srv/other.py:8"), 7),
            (format!("{DECODER} < {inner}"), 90),
            ("/srv/main.py:1 < /srv/main.py:9".to_owned(), 1000),
            ("<frozen abc>:123".to_owned(), 2),
        ];
        let by_line = |factor: u64| {
            let sites = sites.iter().map(|(site, requests)| (site.as_str(), requests * factor));
            library_lines(sites, |site| innermost(site).to_owned())
        };
        let line = |line: &str, caller: Option<&str>, callers| LibraryLine {
            line: line.into(),
            caller: caller.map(str::to_owned),
            callers,
        };
        let frozen = line("<frozen abc>:123", None, 0);
        assert_eq!(by_line(1), [line(DECODER, Some("/srv/other.py:8"), 2), frozen.clone()]);
        // Without numbers it is not known which of two it is.
        assert_eq!(by_line(0), [line(DECODER, None, 2), frozen]);
        let whole = library_lines([(sites[0].0.as_str(), 0)], str::to_owned);
        assert_eq!(whole, [line(&sites[0].0, Some("/srv/load.py:3"), 1)]);
    }
}
