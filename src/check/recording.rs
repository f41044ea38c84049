//! A recording of a program as the check takes it: its run record, and how often it requests memory.

use std::collections::BTreeMap;

use crate::results::Run;

/// A recording of a program.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The record of its footprint pass.
    pub run: Run,
    /// Its requests.
    pub requests: RequestCounts,
}

/// Requests and their bytes, each by the names that messages have for the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// How many there are.
    pub requests: KeyedRequests,
    /// How many bytes they request.
    pub bytes: KeyedRequests,
}

/// A number of the requests of a recording, by each kind of key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyedRequests {
    /// By size class: `129 to 144 bytes`. Empty where they were not counted.
    pub by_size: BTreeMap<String, u64>,
    /// By thread: `thread 1`. Empty where they were not counted.
    pub by_thread: BTreeMap<String, u64>,
    /// By line: `app.py:3`. Empty where the recording has no lines.
    pub by_line: BTreeMap<String, u64>,
}
