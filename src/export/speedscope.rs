//! speedscope's JSON: a sampled profile for each weight. Source: its file format,
//! <https://www.speedscope.app/file-format-schema.json>.

use std::collections::HashMap;

use serde::Serialize;

use super::error::ExportError;
use super::profile::{ExportedProfile, WeightUnit, file_and_line};

#[derive(Serialize)]
struct SpeedscopeFile<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    name: &'a str,
    exporter: &'static str,
    shared: Shared<'a>,
    profiles: Vec<SampledProfile<'a>>,
}

#[derive(Serialize)]
struct Shared<'a> {
    frames: Vec<SharedFrame<'a>>,
}

#[derive(Serialize)]
struct SharedFrame<'a> {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SampledProfile<'a> {
    r#type: &'static str,
    name: &'a str,
    unit: &'static str,
    start_value: u64,
    end_value: u64,
    samples: Vec<&'a [usize]>,
    weights: Vec<u64>,
}

/// The profile as speedscope reads it.
///
/// # Errors
/// When JSON cannot be written.
pub fn speedscope(profile: &ExportedProfile) -> Result<Vec<u8>, ExportError> {
    let mut frames: Vec<SharedFrame> = Vec::new();
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut stacks: Vec<(Vec<usize>, &[u64])> = Vec::new();
    for (stack, values) in &profile.stacks {
        let mut number = |frame| {
            *numbers.entry(frame).or_insert_with(|| {
                let (file, line) = file_and_line(frame);
                let file = line.map(|_| file);
                frames.push(SharedFrame { name: profile.shown(frame), file, line });
                frames.len() - 1
            })
        };
        stacks.push((stack.iter().map(|frame| number(frame.as_str())).collect(), values));
    }
    let of_weight = |at: usize| {
        let heavy = || stacks.iter().filter(move |(_, values)| values[at] > 0);
        let weight = &profile.weights[at];
        SampledProfile {
            r#type: "sampled",
            name: &weight.name,
            unit: match weight.unit {
                WeightUnit::Bytes => "bytes",
                WeightUnit::Count => "none",
            },
            start_value: 0,
            end_value: heavy().map(|(_, values)| values[at]).sum(),
            samples: heavy().map(|(stack, _)| stack.as_slice()).collect(),
            weights: heavy().map(|(_, values)| values[at]).collect(),
        }
    };
    let file = SpeedscopeFile {
        schema: "https://www.speedscope.app/file-format-schema.json",
        name: &profile.name,
        exporter: concat!("heaplay@", env!("CARGO_PKG_VERSION")),
        profiles: (0..profile.weights.len()).map(of_weight).collect(),
        shared: Shared { frames },
    };
    Ok(serde_json::to_vec(&file)?)
}
