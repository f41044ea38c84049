//! Chrome's trace events, as Perfetto and `chrome://tracing` read them: a counter for each series, an
//! instant event for each mark, a span for each slow call. Source: "Trace Event Format", the Chromium
//! project.

use serde_json::{Value, json};

use super::error::ExportError;
use super::profile::{ExportedProfile, TimeAxis};

/// The profile as trace events.
///
/// # Errors
/// When JSON cannot be written.
pub fn chrome_trace(profile: &ExportedProfile) -> Result<Vec<u8>, ExportError> {
    let process = |args: Value| json!({"ph": "M", "pid": 1, "name": "process_name", "args": args});
    let mut events = vec![process(json!({"name": profile.name}))];
    for series in &profile.series {
        events.extend(series.points.iter().map(|(at, bytes)| {
            json!({"ph": "C", "pid": 1, "ts": at, "name": series.name, "args": {"bytes": bytes}})
        }));
    }
    events.extend(profile.marks.iter().map(
        |mark| json!({"ph": "i", "s": "g", "pid": 1, "tid": 0, "ts": mark.at, "name": mark.name}),
    ));
    let mut backends: Vec<&str> = Vec::new();
    for call in &profile.slow_calls {
        let known = backends.iter().position(|backend| *backend == call.backend);
        let thread = known.unwrap_or_else(|| {
            backends.push(&call.backend);
            backends.len() - 1
        });
        events.push(json!({
            "ph": "X", "pid": 1, "tid": thread + 1, "ts": call.at,
            "dur": call.nanoseconds as f64 / 1e3, "name": call.name, "cat": "slow call",
        }));
    }
    for (at, backend) in backends.iter().enumerate() {
        let name = format!("slow calls: {backend}");
        events.push(json!({
            "ph": "M", "pid": 1, "tid": at + 1, "name": "thread_name", "args": {"name": name},
        }));
    }
    let axis = match profile.axis {
        TimeAxis::Time => "time of the recorded program",
        TimeAxis::Calls => "calls: one is shown as a microsecond; durations are real",
    };
    let file = json!({
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {"exporter": concat!("heaplay ", env!("CARGO_PKG_VERSION")), "axis": axis},
    });
    Ok(serde_json::to_vec(&file)?)
}
