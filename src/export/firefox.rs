//! The Firefox profiler's processed format: a thread for each weight, and a counter for each series.

use std::time::SystemTime;

use fxprof_processed_profile::{
    CategoryHandle, CpuDelta, Frame, FrameFlags, FrameInfo, Profile, SamplingInterval, Timestamp,
    WeightType,
};

use super::error::ExportError;
use super::profile::{ExportedProfile, WeightUnit};

/// The profile as the Firefox profiler reads it.
///
/// # Errors
/// When JSON cannot be written.
pub fn firefox(exported: &ExportedProfile) -> Result<Vec<u8>, ExportError> {
    let start = SystemTime::UNIX_EPOCH.into();
    let mut profile = Profile::new("heaplay", start, SamplingInterval::from_millis(1));
    profile.set_symbolicated(true);
    let zero = Timestamp::from_nanos_since_reference(0);
    let process = profile.add_process(&exported.name, 1, zero);
    let step_ms = step_ms(exported);
    for (at, weight) in exported.weights.iter().enumerate() {
        let thread = profile.add_thread(process, at as u32 + 1, zero, at == 0);
        let unit = match weight.unit {
            WeightUnit::Bytes => WeightType::Bytes,
            WeightUnit::Count => WeightType::Samples,
        };
        profile.set_thread_name(thread, &weight.name);
        profile.set_thread_samples_weight_type(thread, unit);
        for (number, (stack, values)) in (0..).zip(&exported.stacks) {
            let frames: Vec<FrameInfo> = stack
                .iter()
                .map(|frame| FrameInfo {
                    frame: Frame::Label(profile.intern_string(&exported.shown(frame))),
                    category_pair: CategoryHandle::OTHER.into(),
                    flags: FrameFlags::empty(),
                })
                .collect();
            let stack = profile.intern_stack_frames(thread, frames.into_iter());
            // A sample has no time of its own. The viewer shows the time from the first sample to the
            // last, so they lie evenly over the time of the series.
            let time = Timestamp::from_millis_since_reference(number as f64 * step_ms);
            let mut left = values[at];
            while left > 0 {
                // A weight has 32 bits.
                let part = i32::try_from(left).unwrap_or(i32::MAX);
                profile.add_sample(thread, time, stack, CpuDelta::ZERO, part);
                left -= u64::from(part.unsigned_abs());
            }
        }
    }
    for series in &exported.series {
        let counter = profile.add_counter(process, &series.name, "Memory", &series.name);
        let mut before = 0.0;
        for (microseconds, bytes) in &series.points {
            let time = Timestamp::from_millis_since_reference(microseconds / 1e3);
            profile.add_counter_sample(counter, time, bytes - before, 1);
            before = *bytes;
        }
    }
    Ok(serde_json::to_vec(&profile)?)
}

/// The time between two stacks, so that the last one is at the end of the longest series.
fn step_ms(exported: &ExportedProfile) -> f64 {
    let ends_us = exported.series.iter().filter_map(|series| Some(series.points.last()?.0));
    let stacks = exported.stacks.len().saturating_sub(1).max(1);
    // Without a series, a microsecond: samples at one time would have no width.
    ends_us.fold(stacks as f64, f64::max) / 1e3 / stacks as f64
}
