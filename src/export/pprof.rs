//! pprof's gzipped protobuf, as `go tool pprof` and Pyroscope read it: all weights in one file, as
//! sample types. Source: profile.proto of <https://github.com/google/pprof>.

use std::collections::HashMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::encoding::{WireType, encode_key, encode_varint, int64, string, uint64};

use super::error::ExportError;
use super::profile::{ExportedProfile, WeightUnit, file_and_line};

/// Field numbers of the message `Profile`.
mod field {
    pub const SAMPLE_TYPE: u32 = 1;
    pub const SAMPLE: u32 = 2;
    pub const LOCATION: u32 = 4;
    pub const FUNCTION: u32 = 5;
    pub const STRING_TABLE: u32 = 6;
    pub const COMMENT: u32 = 13;
}

/// The strings of a profile, each once; the first is empty.
struct Strings<'a> {
    numbers: HashMap<&'a str, i64>,
    all: Vec<&'a str>,
}

impl<'a> Strings<'a> {
    fn number(&mut self, text: &'a str) -> i64 {
        *self.numbers.entry(text).or_insert_with(|| {
            self.all.push(text);
            self.all.len() as i64 - 1
        })
    }
}

/// Appends a message that is a field of the profile.
fn message(file: &mut Vec<u8>, number: u32, inner: &[u8]) {
    encode_key(number, WireType::LengthDelimited, file);
    encode_varint(inner.len() as u64, file);
    file.extend_from_slice(inner);
}

/// The profile as pprof reads it.
///
/// # Errors
/// When it cannot be compressed.
pub fn pprof(profile: &ExportedProfile) -> Result<Vec<u8>, ExportError> {
    let mut file = Vec::new();
    let mut strings = Strings { numbers: HashMap::from([("", 0)]), all: vec![""] };
    for weight in &profile.weights {
        let unit = match weight.unit {
            WeightUnit::Bytes => "bytes",
            WeightUnit::Count => "count",
        };
        let mut value_type = Vec::new();
        int64::encode(1, &strings.number(&weight.name), &mut value_type);
        int64::encode(2, &strings.number(unit), &mut value_type);
        message(&mut file, field::SAMPLE_TYPE, &value_type);
    }
    let mut locations: HashMap<&str, u64> = HashMap::new();
    for (stack, values) in &profile.stacks {
        // The newest frame comes first.
        let mut ids = Vec::with_capacity(stack.len());
        for frame in stack.iter().rev() {
            let next = locations.len() as u64 + 1;
            let id = *locations.entry(frame.as_str()).or_insert(next);
            if id == next {
                let function = profile.functions.get(frame).map_or(frame.as_str(), String::as_str);
                location(&mut file, &mut strings, (frame, function), id);
            }
            ids.push(id);
        }
        let mut sample = Vec::new();
        uint64::encode_packed(1, &ids, &mut sample);
        let values: Vec<i64> =
            values.iter().map(|value| i64::try_from(*value).unwrap_or(i64::MAX)).collect();
        int64::encode_packed(2, &values, &mut sample);
        message(&mut file, field::SAMPLE, &sample);
    }
    let comment = strings.number(concat!("heaplay ", env!("CARGO_PKG_VERSION")));
    int64::encode_packed(field::COMMENT, &[comment], &mut file);
    for text in &strings.all {
        string::encode(field::STRING_TABLE, &(*text).to_owned(), &mut file);
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&file)?;
    Ok(packed.finish()?)
}

/// A frame as a location with a function, both with the same id.
fn location<'a>(
    file: &mut Vec<u8>,
    strings: &mut Strings<'a>,
    (frame, name): (&'a str, &'a str),
    id: u64,
) {
    let (path, number) = file_and_line(frame);
    let mut line = Vec::new();
    uint64::encode(1, &id, &mut line);
    int64::encode(2, &i64::from(number.unwrap_or(0)), &mut line);
    let mut location = Vec::new();
    uint64::encode(1, &id, &mut location);
    message(&mut location, 4, &line);
    message(file, field::LOCATION, &location);
    let mut function = Vec::new();
    uint64::encode(1, &id, &mut function);
    int64::encode(2, &strings.number(name), &mut function);
    int64::encode(4, &strings.number(path), &mut function);
    message(file, field::FUNCTION, &function);
}
