//! The list of logs of other recorders.

use super::foreign::Foreign;
use super::{
    android, bytehound, glibc_records, glibc_workload, heaptrack, logalloc, memray, mtrace, rep,
    rmm, valgrind,
};

/// Every format of logs of other recorders that can be read.
pub const FOREIGN: &[Foreign] = &[
    rep::MEMBER,
    mtrace::MEMBER,
    logalloc::MEMBER,
    android::MEMBER,
    memray::MEMBER,
    heaptrack::MEMBER,
    valgrind::MEMBER,
    glibc_records::MEMBER,
    glibc_workload::MEMBER,
    bytehound::MEMBER,
    rmm::MEMBER,
];
