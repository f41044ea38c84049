//! Any valid trace goes from CSV to binary and back unchanged. A damaged file is an error with a
//! place, never a panic.

use std::path::Path;

use heaplay::trace::{
    self, Columns, Domain, Header, Op, Row, SIZE_LIMIT_BYTES, SiteId, Sites, TraceError,
};
use proptest::prelude::*;

/// A valid trace: its columns, rows and sites.
#[derive(Clone, Debug)]
struct Trace {
    columns: Columns,
    rows: Vec<Row>,
    sites: Sites,
}

/// The next call of the program. Indices choose a live block.
#[derive(Clone, Debug)]
enum Step {
    Begin(Op, Details),
    Resize(prop::sample::Index, Details),
    End(prop::sample::Index, Option<u32>),
}

#[derive(Clone, Debug)]
struct Details {
    size: u64,
    thread: u32,
    domain: Domain,
    time_ns: u64,
    site: String,
    type_name: String,
}

fn details() -> impl Strategy<Value = Details> {
    let any_size = any::<u64>().prop_map(|n| n % (SIZE_LIMIT_BYTES + 1));
    let sizes = prop_oneof![8 => 0u64..2000, 1 => any_size, 1 => Just(SIZE_LIMIT_BYTES)];
    let threads = prop_oneof![8 => 0u32..5, 1 => any::<u32>()];
    let domains = prop::sample::select(Domain::ALL.to_vec());
    let times = prop_oneof![4 => 0u64..100_000, 1 => any::<u64>()];
    let sites = prop_oneof![
        1 => Just(String::new()),
        4 => "[a-c]{1,2}\\.py:[0-9]{1,2}",
        2 => ".{0,12}",
        1 => "[\\s\",]{1,4}",
    ];
    let types = prop_oneof![
        1 => Just(String::new()),
        4 => "float|tuple|dict keys",
        1 => ".{0,9}",
    ];
    (sizes, threads, domains, times, sites, types).prop_map(
        |(size, thread, domain, time_ns, site, type_name)| Details {
            size,
            thread,
            domain,
            time_ns,
            site,
            type_name,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let begin = prop::sample::select(vec![Op::Malloc, Op::Calloc]);
    let thread = prop_oneof![3 => Just(None), 1 => (1u32..9).prop_map(Some)];
    let step = prop_oneof![
        4 => (begin, details()).prop_map(|(op, details)| Step::Begin(op, details)),
        1 => (any::<prop::sample::Index>(), details()).prop_map(|(at, details)| Step::Resize(at, details)),
        3 => (any::<prop::sample::Index>(), thread).prop_map(|(at, thread)| Step::End(at, thread)),
    ];
    prop::collection::vec(step, 0..120)
}

fn columns() -> impl Strategy<Value = Columns> {
    any::<[bool; 6]>().prop_map(|[thread, end_thread, domain, time_ns, site, type_name]| Columns {
        thread,
        end_thread,
        domain,
        time_ns,
        site,
        type_name,
    })
}

fn traces() -> impl Strategy<Value = Trace> {
    (columns(), steps()).prop_map(|(columns, steps)| play(columns, steps))
}

/// Runs the steps; a column that the trace does not have stays at its default.
fn play(columns: Columns, steps: Vec<Step>) -> Trace {
    let (mut rows, mut sites): (Vec<Row>, Sites) = Default::default();
    let mut live: Vec<usize> = Vec::new();
    let mut event = 0;
    for step in steps {
        match step {
            Step::Begin(op, details) => {
                live.push(rows.len());
                rows.push(row(columns, event, op, details, &mut sites));
            }
            Step::Resize(at, mut details) if !live.is_empty() => {
                let block = live.swap_remove(at.index(live.len()));
                // Raw blocks stay raw, others do not become raw.
                let old = rows[block].domain;
                if (old == Domain::Raw) != (details.domain == Domain::Raw) {
                    details.domain = old;
                }
                end(&mut rows[block], event, None, columns);
                live.push(rows.len());
                rows.push(row(columns, event, Op::Realloc, details, &mut sites));
            }
            Step::End(at, thread) if !live.is_empty() => {
                let block = live.swap_remove(at.index(live.len()));
                end(&mut rows[block], event, thread, columns);
            }
            _ => continue,
        }
        event += 1;
    }
    Trace { columns, rows, sites }
}

fn row(columns: Columns, event: u64, op: Op, details: Details, sites: &mut Sites) -> Row {
    let mut row = Row::new(event, op, details.size, None);
    if columns.thread {
        row.thread = details.thread;
    }
    if columns.domain {
        row.domain = details.domain;
    }
    if columns.time_ns {
        row.time_ns = details.time_ns;
    }
    if columns.site {
        row.site = sites.intern(&details.site);
    }
    if columns.type_name {
        row.type_id = sites.intern_type(&details.type_name);
    }
    row
}

fn end(row: &mut Row, event: u64, thread: Option<u32>, columns: Columns) {
    *row = Row { end_thread: thread.filter(|_| columns.end_thread), ..*row };
    row.lifetime = std::num::NonZeroU64::new(event - row.event);
}

fn write(path: &Path, wanted: &Trace) {
    let header = Header { columns: wanted.columns, ..Header::default() };
    let mut writer = trace::create(path, &header).unwrap();
    for row in &wanted.rows {
        writer.write_row(row, &wanted.sites).unwrap();
    }
    writer.finish().unwrap();
}

fn read(path: &Path) -> Result<Trace, TraceError> {
    let mut reader = trace::open(path)?;
    let mut rows = Vec::new();
    while let Some(row) = reader.next_row()? {
        rows.push(row);
    }
    assert_eq!(reader.next_row().unwrap(), None, "the end stays the end");
    let sites = reader.sites().clone();
    Ok(Trace { columns: reader.header().columns, rows, sites })
}

fn same(a: &Trace, b: &Trace) {
    assert_eq!(a.columns, b.columns);
    assert_eq!(a.rows.len(), b.rows.len());
    for (left, right) in a.rows.iter().zip(&b.rows) {
        // Sites are numbered by their first row, so they have to have the same numbers too.
        assert_eq!(left, right);
        assert_eq!(a.sites.name(left.site), b.sites.name(right.site));
    }
}

fn copy(from: &Path, to: &Path) {
    trace::copy(&mut *trace::open(from).unwrap(), to).unwrap();
}

proptest! {
    #[test]
    fn csv_to_binary_to_csv_gives_the_same_rows(wanted in traces()) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        write(&path("one.csv"), &wanted);
        same(&wanted, &read(&path("one.csv")).unwrap());
        copy(&path("one.csv"), &path("two.trace"));
        same(&wanted, &read(&path("two.trace")).unwrap());
        copy(&path("two.trace"), &path("three.csv"));
        let bytes = |name: &str| std::fs::read(path(name)).unwrap();
        assert_eq!(bytes("one.csv"), bytes("three.csv"));
        write(&path("direct.trace"), &wanted);
        assert_eq!(bytes("two.trace"), bytes("direct.trace"));
    }

    #[test]
    fn without_the_event_column_rows_take_the_lowest_indices(mut steps in steps()) {
        // Such a trace cannot say which block a realloc resizes, so it has none.
        steps.retain(|step| !matches!(step, Step::Resize(..)));
        let wanted = play(Columns::default(), steps);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bare.csv");
        let mut text = String::from("op,size,lifetime\n");
        for row in &wanted.rows {
            let lifetime = row.lifetime.map(|n| n.to_string()).unwrap_or_default();
            text += &format!("{},{},{lifetime}\n", row.op.name(), row.size);
        }
        std::fs::write(&path, text).unwrap();
        let events = |rows: &[Row]| rows.iter().map(|row| row.event).collect::<Vec<_>>();
        assert_eq!(events(&read(&path).unwrap().rows), events(&wanted.rows));
    }

    #[test]
    fn damage_is_an_error_or_another_trace_but_no_panic(
        wanted in traces(),
        binary in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(if binary { "a.trace" } else { "a.csv" });
        write(&path, &wanted);
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, byte, kind) in damage {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => bytes.insert(at, byte),
                _ => bytes.truncate(at),
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        match read(&path) {
            // A checksum covers every value. So rows that are read are rows that were written.
            Ok(got) if binary => same(&wanted, &got),
            Ok(_) => {}
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains(&path.display().to_string()), "no place in `{text}`");
            }
        }
        // The part that is whole, if any, is a trace.
        if let Ok(mut reader) = trace::open_salvaging(&path) {
            while let Ok(Some(_)) = reader.next_row() {}
        }
    }

    #[test]
    fn a_cut_binary_trace_is_salvaged_as_a_trace(wanted in traces(), at in any::<prop::sample::Index>()) {
        let folder = tempfile::tempdir().unwrap();
        let (path, saved) = (folder.path().join("a.trace"), folder.path().join("b.trace"));
        write(&path, &wanted);
        let bytes = std::fs::read(&path).unwrap();
        let cut = at.index(bytes.len());
        std::fs::write(&path, &bytes[..cut]).unwrap();
        assert!(read(&path).is_err());
        if let Ok(mut reader) = trace::open_salvaging(&path) {
            trace::copy(&mut *reader, &saved).unwrap();
            let rows = read(&saved).unwrap().rows;
            assert!(rows.len() <= wanted.rows.len());
        }
    }
}

/// More rows than a part holds, with sites as long as they may be.
#[test]
fn long_sites_in_every_row_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut wanted = Trace { columns: Columns::ALL, rows: Vec::new(), sites: Sites::default() };
    for event in 0..9_000 {
        let mut row = Row::new(event, Op::Malloc, 1, None);
        row.site = wanted.sites.intern(&format!("{event:0>4096}"));
        assert_ne!(row.site, SiteId(0));
        wanted.rows.push(row);
    }
    let path = folder.path().join("long.trace");
    write(&path, &wanted);
    same(&wanted, &read(&path).unwrap());
}
