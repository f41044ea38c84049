//! Page views at chosen moments: the live peak, each mark of the program, the end.

use super::blocks::BlockAccounts;
use super::heap_contents::HeapContents;
use super::heap_sample::HeapSample;
use super::page_retention::PageView;
use super::samples::Sampler;
use super::unit_retention::SiteUnits;

/// The heap page by page at chosen moments; empty for a backend that backs no memory.
#[derive(Clone, Debug, Default)]
pub struct PageViews {
    /// At the live peak.
    pub at_live_peak: PageView,
    /// After the last call.
    pub end: PageView,
    /// What lies where at the live peak.
    pub contents_at_live_peak: HeapContents,
    /// What lies where after the last call.
    pub contents_at_end: HeapContents,
    /// Retention by unit at the live peak.
    pub units_at_live_peak: Vec<SiteUnits>,
    /// Retention by unit after the last call.
    pub units_at_end: Vec<SiteUnits>,
    /// At each mark of the program, in their order.
    pub at_marks: Vec<PageView>,
}

/// Views the pages at the live peak and at marks.
pub(super) struct MomentObserver<'a> {
    /// Marks that are still to come, as numbers of calls done.
    marks: &'a [u64],
    live_peak_event: u64,
    sample_at_live_peak: HeapSample,
    views: PageViews,
}

impl<'a> MomentObserver<'a> {
    /// `live_peak_event` is the index of the call that reaches the live peak.
    pub(super) fn new(marks: &'a [u64], live_peak_event: u64) -> MomentObserver<'a> {
        MomentObserver {
            marks,
            live_peak_event,
            sample_at_live_peak: HeapSample::default(),
            views: PageViews::default(),
        }
    }

    /// Observes the marks up to the present call.
    pub(super) fn observe_marks(&mut self, blocks: &BlockAccounts, sampler: &mut Sampler) {
        while let Some((mark, rest)) = self.marks.split_first()
            && *mark <= blocks.event()
        {
            self.marks = rest;
            sampler.sample(blocks);
            self.views.at_marks.push(blocks.page_view());
        }
    }

    /// Observes the marks and the live peak after the call at `index`.
    pub(super) fn observe(&mut self, index: u64, blocks: &BlockAccounts, sampler: &mut Sampler) {
        self.observe_marks(blocks, sampler);
        if index == self.live_peak_event {
            self.sample_at_live_peak = sampler.sample_with_huge_pages(blocks);
            self.views.at_live_peak = blocks.page_view();
            self.views.contents_at_live_peak = blocks.heap_contents();
            self.views.units_at_live_peak = blocks.unit_retention();
        }
    }

    /// The views, with that at the end, and the sample at the live peak.
    pub(super) fn finish(self, blocks: &BlockAccounts) -> (PageViews, HeapSample) {
        let views = PageViews {
            end: blocks.page_view(),
            contents_at_end: blocks.heap_contents(),
            units_at_end: blocks.unit_retention(),
            ..self.views
        };
        (views, self.sample_at_live_peak)
    }
}
