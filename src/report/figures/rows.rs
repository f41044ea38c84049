//! The rows of a run, grouped once by trace and backend. Figures and charts read a backend's rows
//! from here and never search the whole run.

use std::collections::HashMap;

use crate::results::{
    ArenaRow, Attribution, Chunk, Fullness, HeapRow, HeapRowContents, Latency, LatencyRow,
    Measurement, Metric, Outcome, Rounding, Run, Sample, Scope, ServiceTimes, SizeClass, SlowCall,
    ThreadActivity, ThreadFrees, ThreadRow, UnitRetention, WhatIf,
};

/// Declares [`BackendRows`]: the tables of a run, and their rows.
macro_rules! backend_rows {
    ($($table:ident: $row:ty,)*) => {
        /// The rows of one backend on one trace, table by table, in the order of the run.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct BackendRows<'a> {
            $(pub $table: Vec<&'a $row>,)*
            /// The values of each figure, by repetition.
            values: HashMap<(Scope, Metric), Vec<f64>>,
        }

        fn group(run: &Run) -> HashMap<(&str, &str), BackendRows<'_>> {
            let mut groups: HashMap<(&str, &str), BackendRows> = HashMap::new();
            $(for row in &run.$table {
                let key = (row.trace.as_str(), row.backend.as_str());
                groups.entry(key).or_default().$table.push(row);
            })*
            groups
        }
    };
}

backend_rows! {
    measurements: Measurement,
    samples: Sample,
    fullness: Fullness,
    rounding: Rounding,
    size_classes: SizeClass,
    attributions: Attribution,
    unit_retention: UnitRetention,
    heap_map: HeapRow,
    heap_contents: HeapRowContents,
    threads: ThreadRow,
    thread_activity: ThreadActivity,
    thread_frees: ThreadFrees,
    arenas: ArenaRow,
    what_ifs: WhatIf,
    chunks: Chunk,
    service_times: ServiceTimes,
    slow_calls: SlowCall,
    latency_map: LatencyRow,
    latencies: Latency,
    outcomes: Outcome,
}

impl<'a> BackendRows<'a> {
    /// The rows of every backend on every trace. The key is the trace's name and the backend's
    /// spec, as in the tables.
    pub fn of_run(run: &'a Run) -> HashMap<(&'a str, &'a str), BackendRows<'a>> {
        let mut groups = group(run);
        groups.values_mut().for_each(BackendRows::index_values);
        groups
    }

    fn index_values(&mut self) {
        let mut rows: Vec<&Measurement> = self.measurements.clone();
        rows.sort_by_key(|row| row.repetition);
        for row in rows {
            self.values.entry((row.op, row.metric)).or_default().push(row.value);
        }
    }

    /// The values of a figure, over the repetitions, in their order.
    pub fn values(&self, scope: Scope, metric: Metric) -> &[f64] {
        self.values.get(&(scope, metric)).map_or(&[], Vec::as_slice)
    }

    /// The first value of a figure of all calls that is finite and not negative.
    pub fn first_value(&self, metric: Metric) -> Option<f64> {
        let values = self.values(Scope::All, metric);
        values.iter().copied().find(|value| value.is_finite() && *value >= 0.0)
    }

    /// What the change of a line saved in a replay; `None` where none was made.
    pub fn what_if(&self, line: &str) -> Option<&'a WhatIf> {
        self.what_ifs.iter().copied().find(|row| row.site == line)
    }
}
