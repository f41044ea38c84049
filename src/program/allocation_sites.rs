//! The line of the program that allocated each block.
//!
//! The sites are beside the program and not in it, so that a timed pass pays nothing for them: only
//! the child of the footprint pass reads them.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read, Write};
use std::sync::Arc;

use super::compiled::Program;
use super::reading::read_u64;
use crate::trace::{CALLED_FROM, SITE_LIMIT_BYTES, VIA, frames, innermost};
use crate::units::{is_frame_named, is_site_named, line_of, without_native};

/// The site of each request (malloc, calloc and realloc) in the order of the calls, and the names
/// of the sites. Where the trace has callers, a site is at first the whole chain of calls;
/// [`AllocationSites::by_line`] and [`AllocationSites::under`] group the sites by lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllocationSites {
    pub(super) sites: Vec<u32>,
    pub(super) names: Vec<String>,
    pub(super) marks: Vec<u64>,
    /// Where the requests' sites come with the parts of the program: the site of each number that
    /// the trace has, from 0 on.
    pub(super) of_recorded: Option<Arc<[u32]>>,
    /// Of sites that were grouped by lines: the same with their callers.
    pub(super) with_callers: Option<Box<AllocationSites>>,
}

const MAGIC: &[u8; 8] = b"HBIRTHS2";

/// Marks of the program at which page retention is attributed to lines: the first so many. Each
/// attribution sorts all live blocks.
pub const MARKS_LOOKED_AT: usize = 32;

impl AllocationSites {
    /// The sites of a program in parts: their names in the order of the trace, and the marks. The
    /// site of each request comes with its part.
    pub(super) fn in_parts(names: Vec<String>, marks: Vec<u64>) -> AllocationSites {
        let of_recorded = Some((0..=names.len() as u32).collect());
        AllocationSites { names, marks, of_recorded, ..AllocationSites::default() }
    }

    /// The site of each number that the trace has, for [`super::write_parts`]; `None` where the
    /// sites of the requests are here, or the trace has none.
    pub fn of_recorded(&self) -> Option<Arc<[u32]>> {
        self.of_recorded.clone().filter(|_| !self.is_empty())
    }

    /// Whether the trace has no sites.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The site of a request by its number, counted from 0 over malloc, calloc and realloc; 0 where
    /// none is known.
    pub fn site(&self, request: usize) -> u32 {
        self.sites.get(request).copied().unwrap_or(0)
    }

    /// Number of calls before each mark of the program, rising: the first [`MARKS_LOOKED_AT`].
    /// Empty where there are no sites.
    pub fn marks(&self) -> &[u64] {
        &self.marks
    }

    /// The name of a site, `file:line`; empty for 0.
    pub fn name(&self, site: u32) -> &str {
        (site as usize).checked_sub(1).and_then(|at| self.names.get(at)).map_or("", String::as_str)
    }

    /// The site of that name, or the only one whose path ends so or that a report prints so:
    /// `decoder.py:353` finds `/usr/lib/python3.11/json/decoder.py:353`.
    ///
    /// # Errors
    /// The names that end so, when there are several; none when no site does.
    pub fn find(&self, name: &str) -> Result<u32, Vec<&str>> {
        if let Some(at) = self.names.iter().position(|known| known == name) {
            return Ok(at as u32 + 1);
        }
        let is_like = |known: &String| is_site_named(known, name);
        let mut like = self.names.iter().enumerate().filter(|(_, known)| is_like(known));
        match (like.next(), like.next()) {
            (Some((at, _)), None) => Ok(at as u32 + 1),
            (Some(_), Some(_)) => {
                Err(self.names.iter().filter(|known| is_like(known)).map(String::as_str).collect())
            }
            _ => Err(vec![]),
        }
    }

    /// The lines that allocate in the file of `name`, `FILE:LINE` or the end of such a path: their numbers,
    /// the nearest first.
    pub fn near_lines(&self, name: &str) -> Vec<u64> {
        let number = |frame: &str| frame.rsplit_once(':')?.1.parse::<u64>().ok();
        let (Some((file, _)), Some(given)) = (name.rsplit_once(':'), number(name)) else {
            return vec![];
        };
        let of_file = |site: &String| {
            let frame = innermost(site);
            let line = number(frame)?;
            is_frame_named(frame, &format!("{file}:{line}")).then_some(line)
        };
        let found: BTreeSet<u64> = self.names.iter().filter_map(of_file).collect();
        let mut found: Vec<u64> = found.into_iter().collect();
        found.sort_by_key(|line| line.abs_diff(given));
        found
    }

    /// The same with only the line of each site: requests of one line are one site, whatever called it and
    /// whatever native functions it reached.
    #[must_use]
    pub fn by_line(self) -> AllocationSites {
        let with_callers = has_callers(&self.names).then(|| Box::new(self.clone()));
        let grouped = self.regrouped(|site| line_of(site).to_owned());
        AllocationSites { with_callers, ..grouped }
    }

    /// The sites with their callers, where the trace has some: also after [`AllocationSites::by_line`].
    pub fn with_callers(&self) -> &AllocationSites {
        self.with_callers.as_deref().unwrap_or(self)
    }

    /// The same without the callers that [`AllocationSites::by_line`] left out: they need memory.
    #[must_use]
    pub fn without_callers(self) -> AllocationSites {
        AllocationSites { with_callers: None, ..self }
    }

    /// Whether [`AllocationSites::by_line`] left out callers.
    pub(super) fn is_grouped(&self) -> bool {
        self.with_callers.is_some()
    }

    /// Whether the trace has callers of lines.
    pub fn has_callers(&self) -> bool {
        has_callers(&self.with_callers().names)
    }

    /// Number of named sites.
    pub fn number(&self) -> usize {
        self.names.len()
    }

    /// The site of each request, in order.
    pub(super) fn of_requests(&self) -> &[u32] {
        &self.sites
    }

    /// The named sites, in the order of their numbers from 1.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The same with all that the line `name`, or its callees, allocated as one site of that line,
    /// and the rest by its innermost line. `name` may be the end of a path, as in
    /// [`AllocationSites::find`], if only one frame ends so. A `name` with callers is a site of its
    /// own, and all others stay as they are; where no site is it, those that begin with it are one.
    #[must_use]
    pub fn under(self, name: &str) -> AllocationSites {
        if name.contains(CALLED_FROM) {
            return match self.find(name).is_err() {
                true => self.beginning_with(name),
                false => self,
            };
        }
        let Some(line) = self.frame(name) else { return self.by_line() };
        self.regrouped(|site| {
            let is_under = frames(site).any(|frame| frame == line || without_native(frame) == line);
            if is_under { line.clone() } else { line_of(site).to_owned() }
        })
    }

    /// The same with the sites whose newest frames are those of `name` as one site, if these frames are the
    /// same in all.
    fn beginning_with(self, name: &str) -> AllocationSites {
        let length = frames(name).count();
        let start = |site: &str| {
            let newest = frames(site).take(length).map(|frame| as_named(frame, name));
            let newest = newest.collect::<Vec<_>>().join(CALLED_FROM);
            is_site_named(&newest, name).then_some(newest)
        };
        let starts: BTreeSet<String> = self.names.iter().filter_map(|site| start(site)).collect();
        if starts.len() != 1 {
            return self;
        }
        self.regrouped(|site| start(site).unwrap_or_else(|| site.to_owned()))
    }

    /// The frame of that name, or the only one whose path ends so.
    fn frame(&self, name: &str) -> Option<String> {
        let frames = || self.names.iter().flat_map(|site| frames(site));
        let all = || frames().map(|frame| as_named(frame, name));
        if all().any(|frame| frame == name) {
            return Some(name.to_owned());
        }
        let like: BTreeSet<&str> = all().filter(|frame| is_frame_named(frame, name)).collect();
        like.first().filter(|_| like.len() == 1).map(|&only| only.to_owned())
    }

    /// The same with the sites of one group as one site of that name.
    fn regrouped(self, group: impl Fn(&str) -> String) -> AllocationSites {
        let mut regrouped = AllocationSites::default();
        let mut known: HashMap<String, u32> = HashMap::new();
        let ids: Vec<u32> = std::iter::once(0)
            .chain(self.names.iter().map(|site| {
                let name = group(site);
                *known.entry(name).or_insert_with_key(|name| {
                    regrouped.names.push(name.clone());
                    regrouped.names.len() as u32
                })
            }))
            .collect();
        let group_of = |site: &u32| ids.get(*site as usize).copied().unwrap_or(0);
        regrouped.of_recorded =
            self.of_recorded.map(|recorded| recorded.iter().map(group_of).collect());
        (regrouped.sites, regrouped.marks) = (self.sites, self.marks);
        for site in &mut regrouped.sites {
            *site = group_of(site);
        }
        regrouped
    }

    /// Number of requests of each site, by site.
    pub fn requests(&self) -> HashMap<u32, u64> {
        let mut counts = HashMap::new();
        for site in &self.sites {
            *counts.entry(*site).or_default() += 1;
        }
        counts
    }

    /// Writes them for a worker: magic, counts, marks, names with their lengths, sites;
    /// little-endian.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(MAGIC)?;
        out.write_all(&(self.names.len() as u64).to_le_bytes())?;
        out.write_all(&(self.sites.len() as u64).to_le_bytes())?;
        out.write_all(&(self.marks.len() as u64).to_le_bytes())?;
        for mark in &self.marks {
            out.write_all(&mark.to_le_bytes())?;
        }
        for name in &self.names {
            out.write_all(&(name.len() as u64).to_le_bytes())?;
            out.write_all(name.as_bytes())?;
        }
        for some in self.sites.chunks(8192) {
            let bytes: Vec<u8> = some.iter().flat_map(|site| site.to_le_bytes()).collect();
            out.write_all(&bytes)?;
        }
        Ok(())
    }

    /// Reads what [`AllocationSites::write`] wrote.
    ///
    /// # Errors
    /// When `input` ends early or holds something else.
    pub fn read(input: &mut impl Read) -> io::Result<AllocationSites> {
        let unsound = |what: &str| {
            io::Error::new(io::ErrorKind::InvalidData, format!("not a list of sites: {what}"))
        };
        let mut magic = [0; 8];
        input.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(unsound("another beginning"));
        }
        let (names, requests, marks) = (read_u64(input)?, read_u64(input)?, read_u64(input)?);
        if marks > MARKS_LOOKED_AT as u64 {
            return Err(unsound("more marks than the limit"));
        }
        let mut read = AllocationSites::default();
        for _ in 0..marks {
            read.marks.push(read_u64(input)?);
        }
        for _ in 0..names {
            let length = read_u64(input)? as usize;
            if length > SITE_LIMIT_BYTES {
                return Err(unsound("a name over the limit"));
            }
            let mut name = vec![0; length];
            input.read_exact(&mut name)?;
            read.names
                .push(String::from_utf8(name).map_err(|_| unsound("a name that is no text"))?);
        }
        let mut left = requests as usize;
        read.sites.try_reserve_exact(left).map_err(|_| unsound("more requests than memory"))?;
        let mut buffer = vec![0; 1 << 15];
        while left > 0 {
            let bytes = (4 * left).min(buffer.len());
            input.read_exact(&mut buffer[..bytes])?;
            read.sites.extend(
                buffer[..bytes].as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)),
            );
            left -= bytes / 4;
        }
        Ok(read)
    }
}

/// A frame as `name` means it: a line stands for all native functions that it reached.
fn as_named<'a>(frame: &'a str, name: &str) -> &'a str {
    if name.contains(VIA) { frame } else { without_native(frame) }
}

/// Whether any site has callers.
fn has_callers(names: &[String]) -> bool {
    names.iter().any(|name| name.contains(CALLED_FROM))
}

/// The site of each request, one after the other.
pub struct SiteCursor<'a> {
    sites: &'a AllocationSites,
    /// Those of the present part; empty where they are in `sites`.
    of_part: Vec<u32>,
    next: usize,
}

impl<'a> SiteCursor<'a> {
    /// The first request is next.
    pub fn new(sites: &'a AllocationSites) -> SiteCursor<'a> {
        SiteCursor { sites, of_part: Vec::new(), next: 0 }
    }

    /// The next requests are those of this part. A whole program is one part.
    pub fn begin_part(&mut self, part: &Program) {
        self.of_part.clear();
        self.of_part.extend_from_slice(part.request_sites());
        self.next = 0;
    }

    /// The site of the next request; 0 where none is known.
    pub fn next_site(&mut self) -> u32 {
        let at = self.next;
        self.next += 1;
        match self.of_part.get(at) {
            Some(&site) => site,
            None => self.sites.site(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chains() -> AllocationSites {
        let names = [
            "a/x.py:1",
            "a/x.py:1 < a/m.py:9",
            "b/y.py:2 < a/x.py:1 < a/m.py:9",
            "b/y.py:2 < c/m.py:9",
        ];
        AllocationSites {
            sites: vec![1, 2, 3, 4, 0, 2],
            names: names.map(str::to_owned).to_vec(),
            marks: vec![2, 2, 5],
            of_recorded: None,
            ..AllocationSites::default()
        }
    }

    fn named(read: &AllocationSites) -> Vec<&str> {
        read.sites.iter().map(|&site| read.name(site)).collect()
    }

    #[test]
    fn native_functions_of_a_line_are_one_line() {
        let names = ["x.py:1 via l.so!f", "y.py:2", "x.py:1 via l.so+0x1 < m.py:3", "l.so!f"];
        let names = names.map(str::to_owned).to_vec();
        let sites =
            AllocationSites { sites: vec![1, 2, 3, 4], names, ..AllocationSites::default() };
        assert_eq!(named(&sites.clone().by_line()), ["x.py:1", "y.py:2", "x.py:1", "l.so!f"]);
        let under = sites.clone().under("x.py:1");
        assert_eq!(named(&under), ["x.py:1", "y.py:2", "x.py:1", "l.so!f"]);
        assert_eq!(named(&sites.under("m.py:3")), ["x.py:1", "y.py:2", "m.py:3", "l.so!f"]);
        // With their callers, too.
        let names = ["x.py:1 via l.so!f < m.py:3", "x.py:1 via l.so!g < m.py:3", "x.py:1"];
        let names = names.map(str::to_owned).to_vec();
        let sites = AllocationSites { sites: vec![1, 2, 3], names, ..AllocationSites::default() };
        let line = "x.py:1 < m.py:3";
        assert_eq!(named(&sites.under(line)), [line, line, "x.py:1"]);
    }

    #[test]
    fn lines_are_innermost_frames() {
        let lines = chains().by_line();
        assert_eq!(named(&lines), ["a/x.py:1", "a/x.py:1", "b/y.py:2", "b/y.py:2", "", "a/x.py:1"]);
        assert_eq!(lines.names.len(), 2);
        assert_eq!(lines.marks, [2, 2, 5]);
        let names = vec!["x.py:1".into(), "y.py:1".into()];
        let plain = AllocationSites { sites: vec![1, 2, 0], names, ..AllocationSites::default() };
        assert_eq!(plain.clone().by_line(), plain);
    }

    /// Sites that come with the parts are grouped as those that are here.
    #[test]
    fn sites_in_parts_get_the_groups_of_whole_ones() {
        let whole = chains();
        let in_parts = AllocationSites::in_parts(whole.names.clone(), whole.marks.clone());
        assert_eq!((whole.of_recorded(), AllocationSites::default().of_recorded()), (None, None));
        let under = |sites: AllocationSites| sites.under("a/m.py:9");
        for group in [AllocationSites::by_line, under] {
            let (grouped, of_parts) = (group(whole.clone()), group(in_parts.clone()));
            let map = of_parts.of_recorded().unwrap();
            let mapped: Vec<u32> = whole.sites.iter().map(|site| map[*site as usize]).collect();
            assert_eq!((mapped, &of_parts.names), (grouped.sites.clone(), &grouped.names));
        }
    }

    #[test]
    fn under_a_line_are_its_callees() {
        let under = chains().under("x.py:1");
        assert_eq!(named(&under), ["a/x.py:1", "a/x.py:1", "a/x.py:1", "b/y.py:2", "", "a/x.py:1"]);
        let under = chains().under("a/m.py:9");
        assert_eq!(named(&under), ["a/x.py:1", "a/m.py:9", "a/m.py:9", "b/y.py:2", "", "a/m.py:9"]);
        // A site with its callers is found as it is.
        let whole = chains().under("x.py:1 < a/m.py:9");
        assert_eq!((&whole, whole.find("x.py:1 < a/m.py:9")), (&chains(), Ok(2)));
        // Lines of the same file, the nearest first.
        assert_eq!(chains().near_lines("x.py:4"), [1]);
        assert_eq!(chains().near_lines("z.py:4"), [0; 0]);
        // Two lines end so, or none: nothing is grouped under the line.
        for name in ["m.py:9", "z.py:1"] {
            assert_eq!(chains().under(name), chains().by_line(), "{name}");
        }
    }
}
