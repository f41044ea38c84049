//! Traces and runs for other viewers: bytes by stack, memory over time, and figures for dashboards.
//!
//! | file | what it does |
//! |---|---|
//! | `profile.rs` | what is exported, whatever the format: weights by stack, series over time |
//! | `of_trace.rs`, `of_run.rs` | a profile of a trace, and of a run |
//! | `speedscope.rs`, `pprof.rs`, `firefox.rs`, `chrome_trace.rs`, `stack_table.rs` | the formats |
//! | `bmf.rs` | the figures of a run for a dashboard |
//! | `error.rs` | why there is nothing to export |

mod bmf;
mod chrome_trace;
mod error;
mod firefox;
mod of_run;
mod of_trace;
mod pprof;
mod profile;
mod speedscope;
mod stack_table;

pub use bmf::bmf;
pub use chrome_trace::chrome_trace;
pub use error::ExportError;
pub use firefox::firefox;
pub use of_run::profile_of_run;
pub use of_trace::profile_of_trace;
pub use pprof::pprof;
pub use profile::{ExportedProfile, Moment, Series, SlowCallSpan, TimeAxis, Weight, WeightUnit};
pub use speedscope::speedscope;
pub use stack_table::stack_table;
