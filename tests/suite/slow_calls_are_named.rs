//! The tail of a run as its user meets it. A stall that is injected at one call is found at that
//! call in every repetition, and the tables hold each call once. Counts and sizes are compared with
//! a plain reading of the CSV.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use heaplay::results::{Run, service_class};

use crate::support::machine;
use crate::support::process::{expect, heaplay};
use crate::support::skip::skip;
use crate::support::traces::{Request, generated, requests};

const REPETITIONS: u32 = 7;
const CALLS: u64 = 20_000;

/// Calls by op and size class. A realloc ends a block, too, and is no free.
fn classes(requests: &[Request]) -> BTreeMap<(String, u64), u64> {
    let births: BTreeMap<u64, &Request> =
        requests.iter().map(|request| (request.event, request)).collect();
    let mut classes = BTreeMap::new();
    for request in requests {
        *classes.entry((request.op.clone(), service_class(request.size_bytes))).or_default() += 1;
        if let Some(end) = request.end
            && !births.contains_key(&end)
        {
            *classes.entry(("free".to_owned(), service_class(request.size_bytes))).or_default() +=
                1;
        }
    }
    classes
}

/// A run of a generated trace on a backend that stalls at one malloc.
fn stalled(folder: &Path) -> (Run, Vec<Request>, u64, String) {
    let csv = generated(folder, "small.csv", CALLS);
    let requests = requests(&csv);
    let injected = requests.iter().filter(|request| request.op == "malloc").nth(3000).unwrap();
    let numbers = folder.join("calls.bin");
    fs::write(&numbers, u32::try_from(injected.event).unwrap().to_le_bytes()).unwrap();
    // About 3 ms: two million dependent multiplications.
    let backend =
        format!("injected:burn=2000000,calls={},period=1000000+malloc", numbers.display());
    let out = folder.join("run");
    let mut command = heaplay();
    command.arg("run").arg(&csv).args(["-b", &backend, "--passes", "latency"]);
    command.args(["-r", &REPETITIONS.to_string(), "--out"]).arg(&out);
    let report = expect(0, &mut command);
    assert!(report.contains("seen in") && report.contains("7 of 7"), "{report}");
    let event = injected.event;
    (Run::load(&out).unwrap(), requests, event, backend)
}

#[test]
fn an_injected_stall_is_confirmed_in_every_repetition_and_named_by_its_call() {
    let _exclusive = machine::exclusive();
    let folder = tempfile::tempdir().unwrap();
    let (run, requests, event, backend) = stalled(folder.path());
    let injected = requests.iter().find(|request| request.event == event).unwrap();
    let found = run.slow_calls.iter().find(|call| call.backend == backend && call.event == event);
    let found = found.expect("the injected call is in the table");
    assert_eq!((found.seen, found.repetitions), (REPETITIONS, REPETITIONS), "{found:?}");
    assert_eq!((found.op.name(), found.size_bytes), ("malloc", injected.size_bytes));
    // No processor is faster: a multiplication takes three cycles, and 6 GHz is the limit.
    assert!(found.nanoseconds >= 1_000_000 && found.is_own(), "{found:?}");
    // The map has the call in the column of its share of the replay.
    let column = (event * 240 / CALLS) as usize;
    let slow =
        run.latency_map.iter().filter(|row| row.backend == backend && row.to_nanoseconds > 1e6);
    assert!(slow.flat_map(|row| row.counts()).any(|(at, _)| at == column));
    // The page and the table beside it name the call.
    let page = fs::read_to_string(folder.path().join("run/index.html")).unwrap();
    assert!(page.contains("7 of 7"), "the page names the call");
    let percentiles = fs::read_to_string(folder.path().join("run/percentiles.csv")).unwrap();
    assert!(
        percentiles
            .lines()
            .any(|line| line.contains("confirmed") && line.contains("malloc+calloc"))
    );

    // With two processors or more, the run measured interference.
    let setting = |name: &str| run.manifest.settings.get(name).cloned();
    let at_once: usize = setting("batches_at_once").expect("how many batches").parse().unwrap();
    assert!(at_once >= 1);
    if std::thread::available_parallelism().is_ok_and(|processors| processors.get() < 2) {
        skip("processors", "the machine has one processor, so nothing interferes");
    } else {
        let ratio = setting("interference_ratio").expect("a ratio");
        let first: f64 = ratio.split(' ').next().unwrap().parse().unwrap();
        assert!(
            first > 0.1 && setting("busy_processors").is_some_and(|count| count != "0"),
            "{ratio}"
        );
    }

    // Each call is in the tables once.
    let expected = classes(&requests);
    for backend in [backend.as_str(), "null"] {
        for kind in [Some(0), None] {
            let mine = run
                .service_times
                .iter()
                .filter(|row| row.backend == backend && row.repetition == kind);
            let counted: BTreeMap<(String, u64), u64> = mine
                .map(|row| {
                    (
                        (row.op.name().to_owned(), row.up_to_bytes),
                        row.pairs().map(|pair| pair.1).sum(),
                    )
                })
                .collect();
            assert_eq!(counted, expected, "{backend} {kind:?}");
        }
        let rows = run.latency_map.iter().filter(|row| row.backend == backend);
        let mut columns = vec![0; 240];
        rows.flat_map(|row| row.counts()).for_each(|(at, calls)| columns[at] += calls);
        for (at, calls) in columns.into_iter().enumerate() {
            let expected = (0..CALLS).filter(|event| (event * 240 / CALLS) as usize == at).count();
            assert_eq!(calls, expected as u64, "{backend}, column {at}");
        }
    }
}
