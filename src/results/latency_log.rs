//! `latencies.hlog`: a standard HdrHistogram interval log. Each interval is one histogram of
//! service times; its tag is `trace|backend|repetition|op`, percent-encoded where a tag may not
//! hold a character.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

use super::error::RecordError;
use super::file::replace;
use super::key::Operation;
use super::tables::Latency;

/// Writes histograms as an interval log.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write(path: &Path, latencies: &[Latency]) -> Result<(), RecordError> {
    replace(path, |file| {
        let mut serializer = V2DeflateSerializer::new();
        let mut writer = IntervalLogWriterBuilder::new()
            .add_comment("heaplay: service times in nanoseconds; tag = trace|backend|repetition|op")
            .begin_log_with(file, &mut serializer)?;
        for latency in latencies {
            let tag = latency_tag(latency);
            let tag =
                Tag::new(&tag).ok_or_else(|| io::Error::other("a tag with a comma or space"))?;
            writer
                .write_histogram(&latency.histogram, Duration::ZERO, Duration::ZERO, Some(tag))
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
        }
        Ok(())
    })
}

/// Percent-encodes what an interval log's tag may not hold, and the separator.
fn encode(plain: &str) -> String {
    let mut text = String::new();
    for character in plain.chars() {
        match character {
            ',' | '|' | '%' | ' ' | '\t' | '\r' | '\n' => {
                text.push_str(&format!("%{:02X}", character as u32))
            }
            other => text.push(other),
        }
    }
    text
}

fn decode(encoded: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = encoded;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let code = u8::from_str_radix(rest.get(at + 1..at + 3)?, 16).ok()?;
        text.push(char::from(code));
        rest = &rest[at + 3..];
    }
    text.push_str(rest);
    Some(text)
}

fn latency_tag(latency: &Latency) -> String {
    let repetition = latency.repetition.map_or("confirmed".to_owned(), |r| r.to_string());
    format!("{}|{}|{repetition}|{}", encode(&latency.trace), encode(&latency.backend), latency.op)
}

/// Reads an interval log; none is a log without histograms.
///
/// # Errors
/// When it cannot be read or is broken.
pub(super) fn read(path: &Path) -> Result<Vec<Latency>, RecordError> {
    let broken = |reason: String| RecordError::Broken { path: path.to_owned(), reason };
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => {
            file.read_to_end(&mut bytes)
                .map_err(|source| RecordError::Io { path: path.to_owned(), source })?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => return Err(RecordError::Io { path: path.to_owned(), source }),
    }
    let mut latencies = Vec::new();
    let mut deserializer = Deserializer::new();
    for entry in IntervalLogIterator::new(&bytes) {
        let entry = entry.map_err(|error| broken(format!("not an interval log: {error:?}")))?;
        let LogEntry::Interval(interval) = entry else { continue };
        let tag = interval.tag().map(|tag| tag.as_str().to_owned()).unwrap_or_default();
        let parts: Vec<&str> = tag.split('|').collect();
        let [trace, backend, repetition, op] = parts[..] else {
            return Err(broken(format!("interval tag `{tag}` has not four parts")));
        };
        let (Some(trace), Some(backend)) = (decode(trace), decode(backend)) else {
            return Err(broken(format!("interval tag `{tag}` is badly encoded")));
        };
        let Some(op) = Operation::find(op) else {
            return Err(broken(format!("interval tag `{tag}`: `{op}` is no operation")));
        };
        let repetition = match repetition {
            "confirmed" => None,
            number => Some(
                number
                    .parse()
                    .map_err(|_| broken(format!("interval tag `{tag}`: no repetition")))?,
            ),
        };
        let compressed = BASE64
            .decode(interval.encoded_histogram())
            .map_err(|error| broken(format!("interval `{tag}`: {error}")))?;
        let histogram: Histogram<u64> = deserializer
            .deserialize(&mut compressed.as_slice())
            .map_err(|error| broken(format!("interval `{tag}`: {error:?}")))?;
        latencies.push(Latency { trace, backend, repetition, op, histogram });
    }
    Ok(latencies)
}
