//! Every percentile of a run as CSV.

use super::figures::{LatencyDistribution, OPS, TraceReport, by_class, percentiles};

/// The columns. Times have the clock pair included.
const COLUMNS: [&str; 15] = [
    "trace",
    "backend",
    "kind",
    "op",
    "up_to_bytes",
    "calls",
    "p50_nanoseconds",
    "p90_nanoseconds",
    "p99_nanoseconds",
    "p99_9_nanoseconds",
    "p99_99_nanoseconds",
    "p99_999_nanoseconds",
    "p99_9999_nanoseconds",
    "p99_99999_nanoseconds",
    "max_nanoseconds",
];

/// The percentiles by operation and size class, raw and confirmed. The size class is empty for all
/// sizes; a percentile is empty where fewer than ten calls are slower.
///
/// # Errors
/// When the encoder refuses.
pub fn csv(trace_reports: &[TraceReport]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for trace_report in trace_reports {
        for backend in &trace_report.backends {
            for (op, (name, ops)) in OPS.iter().enumerate() {
                let kinds = [("raw", &backend.raw[op]), ("confirmed", &backend.confirmed[op])];
                for (kind, all_sizes) in kinds {
                    let classes = by_class(backend, ops, kind == "confirmed");
                    let classes = classes.iter().map(|(class, times)| (class.to_string(), times));
                    for (class, times) in std::iter::once((String::new(), all_sizes)).chain(classes)
                    {
                        let op = name.replace(" / ", "+");
                        let key = [&trace_report.trace.name, backend.name(), kind, &op, &class];
                        if times.calls > 0 {
                            writer.write_record(record(&key, times))?;
                        }
                    }
                }
            }
        }
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

fn record(key: &[&str], times: &LatencyDistribution) -> Vec<String> {
    let mut record: Vec<String> = key.iter().map(|text| (*text).to_owned()).collect();
    record.push(times.calls.to_string());
    let figures = percentiles(times).into_iter().chain([times.max()]);
    record.extend(figures.map(|ns| ns.map_or(String::new(), |ns| format!("{ns:.0}"))));
    record
}
