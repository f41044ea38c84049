//! Any valid trace goes from CSV to binary and back unchanged. A damaged file is an error with a
//! place, never a panic.

use std::path::Path;

use heaplay::cpython::{CollectorRecord, GenerationRecord};
use heaplay::trace::{
    self, AllocatorEvent, AllocatorRequest, Columns, Domain, EndCause, EndMoment, Header,
    MemoryParts, MemorySample, Op, PresentBytes, ProcessRecord, Row, SIZE_LIMIT_BYTES, SiteId,
    Sites, ThreadRecord, TraceError,
};
use proptest::prelude::*;

/// A valid trace: its columns, rows and sites.
#[derive(Clone, Debug)]
struct Trace {
    columns: Columns,
    rows: Vec<Row>,
    sites: Sites,
    /// Of the process, CSV holds the threads only.
    process: ProcessRecord,
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
    /// For a malloc.
    alignment: u64,
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
    let alignments = prop_oneof![3 => Just(0), 1 => (0u32..31).prop_map(|shift| 1 << shift)];
    (sizes, threads, domains, times, sites, types, alignments).prop_map(
        |(size, thread, domain, time_ns, site, type_name, alignment)| Details {
            size,
            thread,
            domain,
            time_ns,
            site,
            type_name,
            alignment,
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
    any::<[bool; 8]>().prop_map(
        |[thread, end_thread, domain, time_ns, site, type_name, alignment, thread_names]| Columns {
            thread,
            end_thread,
            domain,
            time_ns,
            site,
            type_name,
            alignment,
            thread_names: thread && thread_names,
        },
    )
}

/// Births, deaths, ids and names of threads.
fn threads() -> impl Strategy<Value = Vec<ThreadRecord>> {
    let event = || prop::option::of(0u64..1000);
    let record = (any::<u64>(), ".{0,9}", event(), event());
    prop::collection::vec(record, 300).prop_map(|records| {
        let make = |(id, name, birth, death)| ThreadRecord { id, name, birth, death };
        records.into_iter().map(make).collect()
    })
}

fn traces() -> impl Strategy<Value = Trace> {
    (columns(), steps(), threads())
        .prop_map(|(columns, steps, threads)| play(columns, steps, &threads))
}

/// Runs the steps; a column that the trace does not have stays at its default.
fn play(columns: Columns, steps: Vec<Step>, threads: &[ThreadRecord]) -> Trace {
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
                // Blocks of raw and libc stay there, others do not become such.
                let old = rows[block].domain;
                if !old.shares_blocks_with(details.domain) {
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
    let process = ProcessRecord {
        threads: number_threads(&mut rows, columns, threads),
        ..ProcessRecord::NONE
    };
    Trace { columns, rows, sites, process }
}

/// Numbers the threads in the order in which rows name them. Returns what is known of each.
fn number_threads(rows: &mut [Row], columns: Columns, known: &[ThreadRecord]) -> Vec<ThreadRecord> {
    let mut numbers: Vec<u32> = Vec::new();
    let mut number = |id: &mut u32| {
        if *id > 0 {
            let at = numbers.iter().position(|known| known == id).unwrap_or_else(|| {
                numbers.push(*id);
                numbers.len() - 1
            });
            *id = at as u32 + 1;
        }
    };
    for row in rows {
        number(&mut row.thread);
        row.end_thread.iter_mut().for_each(&mut number);
    }
    let mut threads = known[..numbers.len()].to_vec();
    for (thread, number) in threads.iter_mut().zip(1..) {
        if !columns.thread_names {
            (thread.id, thread.name) = (number, String::new());
        }
        if !columns.thread {
            (thread.birth, thread.death) = (None, None);
        }
    }
    threads
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
    if columns.alignment && op == Op::Malloc {
        row.alignment = details.alignment;
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
    if !wanted.process.is_empty() {
        writer.write_process(&wanted.process).unwrap();
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
    let process = reader.process().clone();
    Ok(Trace { columns: reader.header().columns, rows, sites, process })
}

fn same(a: &Trace, b: &Trace) {
    assert_eq!(a.columns, b.columns);
    assert_eq!(a.rows.len(), b.rows.len());
    assert_eq!(a.process, b.process);
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
        let threads = vec![ThreadRecord::default(); 300];
        let wanted = play(Columns::default(), steps, &threads);
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
    let mut wanted = Trace {
        columns: Columns::ALL,
        rows: Vec::new(),
        sites: Sites::default(),
        process: ProcessRecord::NONE,
    };
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

/// Memory, requests and touched bytes survive the binary format; CSV leaves them out.
#[test]
fn what_is_known_of_the_process_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let row =
        Row { domain: Domain::Libc, alignment: 64, thread: 1, ..Row::new(0, Op::Malloc, 9, None) };
    let thread = ThreadRecord {
        id: 140_135_846_332_224,
        name: "ünïx, 1".into(),
        birth: Some(0),
        death: Some(1),
    };
    let sample = MemorySample {
        event: 1,
        time_ns: 7,
        anonymous_bytes: 1 << 40,
        parts: Some(MemoryParts { blocks: 1, arenas: 2, free: 3, own_mappings: 4, images: 5 }),
    };
    let trim = |event, request| AllocatorEvent { event, thread: 1, request };
    let wanted = Trace {
        columns: Columns::ALL,
        rows: vec![row],
        sites: Sites::default(),
        process: ProcessRecord {
            threads: vec![thread],
            memory: vec![sample],
            requests: vec![
                trim(1, AllocatorRequest::Trim { pad_bytes: 3 }),
                trim(1, AllocatorRequest::Option { parameter: -8, value: 1 }),
            ],
            present: vec![PresentBytes { event: 0, bytes: 4096 }],
            end: Some(EndMoment { event: 1, cause: EndCause::Finalisation }),
            collector: Some(CollectorRecord {
                middle: GenerationRecord { collections: 3, objects: 7_000 },
                oldest: GenerationRecord { collections: 1, objects: 1 << 40 },
            }),
            functions: [("a.py:1".to_owned(), "A.load".to_owned())].into(),
        },
    };
    let (one, two) = (folder.path().join("one.trace"), folder.path().join("two.csv"));
    write(&one, &wanted);
    same(&wanted, &read(&one).unwrap());
    copy(&one, &two);
    let threads = wanted.process.threads.clone();
    same(
        &Trace { process: ProcessRecord { threads, ..ProcessRecord::NONE }, ..wanted },
        &read(&two).unwrap(),
    );
}
