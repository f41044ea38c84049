//! The footprint pass: what memory a program holds on a backend, and why.
//!
//! The pass touches every page of every block, accounts for all pointers, and samples the kernel's
//! figure for resident private memory. `pass.rs` runs it; `observer.rs` puts the observers
//! together:
//!
//! - `blocks.rs`: live and usable bytes, with `pages.rs` for the pages in use and `sizes.rs` for
//!   the sizes of the requests (`rounding.rs`);
//! - `samples.rs`: the heap over the trace, with `resident_reader.rs` for the kernel's figure;
//! - `heap_map.rs`: where the heap is resident and how full it is, by `resident_pages.rs`; and
//!   `heap_contents.rs`: which blocks lie where at the live peak and at the end;
//! - `moments.rs`: page views at the live peak and at marks (`page_retention.rs`), and retention by
//!   arena, span and top of a heap (`unit_retention.rs`);
//! - `end_of_life.rs`: what stays resident after a trim and after everything is freed, with
//!   `process_copy.rs` and `trim_prediction.rs`;
//! - `thread_history.rs`: who allocates, who frees, and what each thread leaves resident;
//! - `pace.rs`: the program's own pace.
//!
//! Pointers give three figures: L, the requested bytes that are live; U, their usable bytes; P, the
//! 4 KiB pages in use, which hold a byte of a live block. R is resident memory. Its parts are
//! R = L + (U − L) + (P − U) + (R − P): live, rounding, external fragmentation, retained. U of a
//! block is capped at the end of the last page that its request touches, so U ≤ P.

mod blocks;
mod end_of_life;
mod heap_contents;
mod heap_map;
mod heap_sample;
mod moments;
mod observer;
mod pace;
mod page;
mod page_retention;
mod pages;
mod pass;
mod process_copy;
mod resident_pages;
mod resident_reader;
mod rounding;
mod samples;
mod site_sums;
mod sizes;
mod thread_history;
mod trim_prediction;
mod unit_retention;

pub use end_of_life::EndOfLife;
pub use heap_contents::{HeapContents, PieceContents, SiteContents};
pub use heap_map::{EMPTY, HeapMap, Level, MapRow, NOWHERE};
pub use heap_sample::HeapSample;
pub use moments::PageViews;
pub use pace::{PaceMethod, ProgramPace};
pub(in crate::replay) use page::{touch, touch_each};
pub use page_retention::{FULLNESS_BINS, GRAINS, LiveBlock, PageView, SiteRetention, page_view};
pub use pass::{Footprint, PassCost, WARM_UP_CALLS, footprint};
pub use rounding::ClassRounding;
pub use samples::HeapSamples;
pub use site_sums::SampleSite;
pub use sizes::RequestSizes;
pub use thread_history::{
    EndedBlocks, ThreadAccount, ThreadColumn, ThreadHistory, ThreadRemains, thread_history,
};
pub use unit_retention::SiteUnits;
