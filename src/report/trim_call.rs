//! How a program calls the trim of the allocator that it runs on.

use std::collections::BTreeMap;

use crate::report::figures::{BackendFigures, TraceReport};
use crate::report::text::list;
use crate::spec::BackendSpec;

/// What a trim must return for its call to be named, in bytes.
const NAMED_LEAST_BYTES: f64 = 65_536.0;

/// The call of an allocator's trim in C, and by Python's `ctypes` where the allocator is the process's;
/// `None` for one without a documented call.
fn calls(family: &str) -> Option<[&'static str; 2]> {
    Some(match family {
        // CPython's pools have no trim. Larger blocks are the C library's.
        "malloc" | "pymalloc" | "python" | "freelist" => ["malloc_trim(0)", "malloc_trim(0)"],
        "jemalloc" => [
            "mallctl(\"arena.4096.purge\", NULL, NULL, NULL, 0)",
            "mallctl(b\"arena.4096.purge\", None, None, None, 0)",
        ],
        "mimalloc" => ["mi_collect(true)", "mi_collect(True)"],
        "tcmalloc" => {
            ["MallocExtension_ReleaseFreeMemory()", "MallocExtension_ReleaseFreeMemory()"]
        }
        _ => return None,
    })
}

/// A sentence with the call of each trim that returns memory; `None` where none does.
pub fn trim_calls(trace_report: &TraceReport) -> Option<String> {
    let is_python = trace_report.trace.is_python();
    let mut names: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for backend in trace_report.allocators().filter(|backend| returns(backend)) {
        let Ok(spec) = backend.spec.parse::<BackendSpec>() else { continue };
        // A trim is that of the lowest layer.
        let Some(lowest) = spec.layers().last() else { continue };
        if let Some([c, python]) = calls(lowest.family()) {
            let call = if is_python { python } else { c };
            names.entry(call).or_default().push(backend.name().to_owned());
        }
    }
    let prefix = if is_python { "ctypes.CDLL(None)." } else { "" };
    let own =
        |(call, names): (&&str, &Vec<String>)| format!("`{prefix}{call}` under {}", list(names));
    let calls: Vec<String> = names.iter().map(own).collect();
    let from = if is_python { " from Python" } else { "" };
    (!calls.is_empty()).then(|| format!("The call{from} is {}.", list(&calls)))
}

fn returns(backend: &BackendFigures) -> bool {
    let memory = &backend.memory;
    let returned = memory.end_bytes.zip(memory.trimmed_bytes).map(|(end, trimmed)| end - trimmed);
    returned.is_some_and(|bytes| bytes >= NAMED_LEAST_BYTES)
}
