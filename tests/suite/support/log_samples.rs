//! The samples of foreign logs under `tests/samples/`. Each member of `FOREIGN` has one or more; a test
//! fails where one has none.

/// Each sample's format, as `--format` names it, and its file.
pub const SAMPLES: &[(&str, &str)] = &[
    ("rep", "exercise.rep"),
    ("mtrace", "glibc.mtrace"),
    ("logalloc", "firefox.logalloc"),
    ("logalloc", "prepared.logalloc"),
    ("android", "app.android"),
    ("memray", "app.memray"),
    ("memray", "older.memray"),
    ("heaptrack", "app.heaptrack"),
    ("heaptrack", "app.heaptrack-raw"),
    ("valgrind", "app.valgrind"),
    ("valgrind", "new.valgrind"),
    ("rmm", "app.rmm"),
    ("glibc", "app.glibc-trace"),
    ("glibc-workload", "app.wl"),
    ("bytehound", "app.bytehound"),
];
