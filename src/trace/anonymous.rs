//! A trace without names, for publication.
//!
//! Left as they are: ops, sizes, lifetimes, threads by number, domains, times, alignments, memory
//! over time, and addresses of arenas. Without these a replay would measure something else.
//! Renamed, each name to the same new one: files, lines, modules and functions of sites, types that
//! are not CPython's own, and marks. Left out: names and system ids of threads, and every fact that
//! is not in [`FACTS`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::event::{
    Columns, Header, Row, RowBatch, SiteId, Sites, TraceError, TraceReader, TypeId,
};
use super::process::ProcessRecord;
use crate::units::{CALLED_FROM, VIA, frames};

/// Facts that stay: figures, versions, and addresses. All others may hold paths, arguments, names or
/// process ids.
const FACTS: [&str; 30] = [
    "arenas",
    "arenas_left_out",
    "cut_off_at_byte",
    "domains",
    "ending",
    "forked",
    "frame_chunks",
    "free_threaded",
    "generator",
    "interpreters",
    "limit",
    "live_before",
    "lost_events",
    "marks",
    "marks_left_out",
    "newest",
    "process_peak_bytes",
    "python",
    "recorder",
    "seed",
    "snapshot_peak_bytes",
    "snapshots",
    "stated_calls",
    "synthesised",
    "traceback_limit",
    "types",
    "unsampled_peak_bytes",
    "unseen_ends",
    "unseen_frees",
    "vouched_bytes_share",
];

/// Types of CPython itself, which stay: the backend `freelist` knows blocks by them.
const TYPES: [&str; 38] = [
    "Context",
    "FutureIter",
    "async_generator_asend",
    "async_generator_wrapped_value",
    "bool",
    "builtin_function_or_method",
    "builtin_method",
    "bytearray",
    "bytes",
    "cell",
    "code",
    "complex",
    "coroutine",
    "dict",
    "dict keys",
    "dict_itemiterator",
    "dict_keyiterator",
    "float",
    "frame",
    "frozenset",
    "function",
    "generator",
    "int",
    "list",
    "list array",
    "list_iterator",
    "memoryview",
    "method",
    "module",
    "object",
    "range",
    "range_iterator",
    "set",
    "slice",
    "str",
    "tuple",
    "tuple_iterator",
    "type",
];

/// Numbers from 1 for names, in the order of their first use.
#[derive(Default)]
struct Numbering<K>(HashMap<K, usize>);

impl<K: std::hash::Hash + Eq> Numbering<K> {
    fn number(&mut self, name: K) -> usize {
        let next = self.0.len() + 1;
        *self.0.entry(name).or_insert(next)
    }
}

/// New names for those of a trace.
#[derive(Default)]
struct NewNames {
    files: Numbering<String>,
    /// Lines of each file, by its number.
    lines: HashMap<usize, Numbering<u64>>,
    modules: Numbering<String>,
    /// Functions of each module, by its number.
    functions: HashMap<usize, Numbering<String>>,
    types: Numbering<String>,
    marks: Numbering<String>,
}

impl NewNames {
    /// A site: each of its frames.
    fn site(&mut self, site: &str) -> String {
        let frames: Vec<String> = frames(site).map(|frame| self.frame(frame)).collect();
        frames.join(CALLED_FROM)
    }

    /// A frame: `file:line`, `file:line via module!function`, or `module!function`.
    fn frame(&mut self, frame: &str) -> String {
        if let Some((line, place)) = frame.split_once(VIA) {
            return format!("{}{VIA}{}", self.line(line), self.place(place));
        }
        self.line(frame)
    }

    fn line(&mut self, text: &str) -> String {
        let parts = text.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse().ok()?)));
        let Some((file, line)) = parts.filter(|_| !text.contains('!')) else {
            return self.place(text);
        };
        let file = self.files.number(file.to_owned());
        let line = self.lines.entry(file).or_default().number(line);
        format!("file{file}:{line}")
    }

    fn place(&mut self, text: &str) -> String {
        let (module, function) = match text.split_once('!') {
            Some((module, function)) => (module, Some(function)),
            None => (text, None),
        };
        let module = self.modules.number(module.to_owned());
        match function {
            None => format!("module{module}"),
            Some(function) => {
                let functions = self.functions.entry(module).or_default();
                format!("module{module}!function{}", functions.number(function.to_owned()))
            }
        }
    }

    fn type_name(&mut self, name: &str) -> String {
        if TYPES.contains(&name) {
            return name.to_owned();
        }
        format!("type{}", self.types.number(name.to_owned()))
    }

    fn mark(&mut self, name: String) -> String {
        format!("mark{}", self.marks.number(name))
    }
}

/// Reads a trace without its names.
pub struct Anonymous {
    inner: Box<dyn TraceReader>,
    header: Header,
    names: NewNames,
    sites: Sites,
    site_ids: Vec<SiteId>,
    type_ids: Vec<TypeId>,
    process: ProcessRecord,
    /// Names of facts that are left out.
    left_out: Vec<String>,
}

impl Anonymous {
    /// Reads `inner` without its names.
    pub fn new(inner: Box<dyn TraceReader>) -> Anonymous {
        let mut names = NewNames::default();
        let allowed = BTreeSet::from(FACTS);
        let source = inner.header();
        let mut facts: BTreeMap<String, String> = BTreeMap::new();
        let mut left_out = Vec::new();
        for (name, value) in &source.facts {
            if allowed.contains(name.as_str()) {
                facts.insert(name.clone(), value.clone());
            } else {
                left_out.push(name.clone());
            }
        }
        let marks = source.marks();
        if facts.contains_key("marks") {
            let marks: Vec<(u64, String)> =
                marks.into_iter().map(|(event, name)| (event, names.mark(name))).collect();
            facts.insert("marks".into(), serde_json::to_string(&marks).unwrap_or_default());
        }
        if facts.get("limit").is_some_and(|text| text.contains("mark")) {
            // It names the mark.
            facts.insert("limit".into(), "a mark".into());
        }
        let header = Header { facts, ..source.clone() };
        Anonymous {
            inner,
            header,
            names,
            sites: Sites::default(),
            site_ids: vec![SiteId(0)],
            type_ids: vec![TypeId(0)],
            process: ProcessRecord::NONE,
            left_out,
        }
    }

    /// The names of the facts that are left out.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Enters the sites and types that the last rows brought.
    fn catch_up(&mut self) {
        let known = self.inner.sites();
        while self.site_ids.len() <= known.len() {
            let id = u32::try_from(self.site_ids.len()).unwrap_or(u32::MAX);
            let name = self.names.site(known.name(SiteId(id)));
            self.site_ids.push(self.sites.intern(&name));
        }
        while self.type_ids.len() <= known.type_count() {
            let id = u32::try_from(self.type_ids.len()).unwrap_or(u32::MAX);
            let name = self.names.type_name(known.type_name(TypeId(id)));
            self.type_ids.push(self.sites.intern_type(&name));
        }
    }

    fn site(&self, id: SiteId) -> SiteId {
        self.site_ids.get(id.0 as usize).copied().unwrap_or_default()
    }

    fn type_id(&self, id: TypeId) -> TypeId {
        self.type_ids.get(id.0 as usize).copied().unwrap_or_default()
    }

    /// Takes over what is known of the process, without names and ids of threads.
    fn end(&mut self) {
        self.process = self.inner.process().clone();
        self.process.functions.clear();
        for thread in &mut self.process.threads {
            thread.id = 0;
            thread.name.clear();
        }
    }
}

impl TraceReader for Anonymous {
    fn header(&self) -> &Header {
        &self.header
    }

    fn next_row(&mut self) -> Result<Option<Row>, TraceError> {
        let Some(mut row) = self.inner.next_row()? else {
            self.end();
            return Ok(None);
        };
        self.catch_up();
        row.site = self.site(row.site);
        row.type_id = self.type_id(row.type_id);
        Ok(Some(row))
    }

    fn next_batch(&mut self, batch: &mut RowBatch) -> Result<bool, TraceError> {
        let has_rows = self.inner.next_batch(batch)?;
        if !has_rows {
            self.end();
            return Ok(false);
        }
        self.catch_up();
        let mut sites = std::mem::take(&mut batch.sites);
        sites.iter_mut().for_each(|id| *id = self.site(*id));
        batch.sites = sites;
        let mut types = std::mem::take(&mut batch.types);
        types.iter_mut().for_each(|id| *id = self.type_id(*id));
        batch.types = types;
        Ok(true)
    }

    fn select_columns(&mut self, columns: Columns) {
        self.inner.select_columns(columns);
    }

    fn skip_validation(&mut self) {
        self.inner.skip_validation();
    }

    fn sites(&self) -> &Sites {
        &self.sites
    }

    fn process(&self) -> &ProcessRecord {
        &self.process
    }

    fn events_hint(&self) -> Option<u64> {
        self.inner.events_hint()
    }

    fn warnings(&self) -> &[String] {
        self.inner.warnings()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers_in_order_of_use() {
        let mut names = NewNames::default();
        for (site, new) in [
            ("pay.py:40", "file1:1"),
            ("pay.py:7 < app.py:3", "file1:2 < file2:1"),
            ("app.py:3 via lib/libpay.so!pay::Card::new", "file2:1 via module1!function1"),
            ("lib/libpay.so!pay::Card::new", "module1!function1"),
            ("lib/libpay.so!std::vec<int>", "module1!function2"),
            ("libc.so.6", "module2"),
            ("app.py:40 via libc.so.6", "file2:2 via module2"),
            ("libc.so.6 < pay.py:40", "module2 < file1:1"),
        ] {
            assert_eq!(names.site(site), new, "{site}");
        }
        assert_eq!(names.type_name("Card"), "type1");
        assert_eq!(names.type_name("dict keys"), "dict keys");
        assert_eq!(names.mark("pay".into()), "mark1");
    }
}
