//! Room `trace`: what a program asked for. `event.rs` is the contract, each format is a file, this is the list.

mod event;

pub use event::{
    Columns, Domain, Header, Op, Row, SIZE_LIMIT_BYTES, SiteId, Sites, TraceError, TraceReader, TraceWriter,
    advice,
};
