//! Sizes as a person writes them, and numbers as heaplay prints them: one grammar and one formatter
//! for options, settings, tables and pictures. This module imports nothing of the crate.
//!
//! `units/size_class.rs` groups sizes of requests, `units/time_bucket.rs` times of calls.
//! `units/line_name.rs` has the names of sites and of their lines.
//!
//! A size is a number with a unit: `4096`, `64K`, `512MiB`, `1.5GiB`, `2G`. The units are `B`, `K`,
//! `M`, `G` and `T`, upper or lower case, each with or without `B` or `iB`; all are powers of 1024.

mod line_name;
mod size_class;
mod time_bucket;

use std::fmt;
use std::str::FromStr;

pub use line_name::{
    CALLED_FROM, VIA, frames, innermost, is_frame_named, is_site_named, line_of, short_line,
    without_functions, without_native,
};
pub use size_class::{SMALL_SIZE_BYTES, SMALL_SIZE_CLASSES, size_class, size_class_limit};
pub use time_bucket::{bucket, bucket_nanoseconds, bucket_position_nanoseconds};

/// The units of a size by their first letter, with the power of two of each.
const UNITS: [(char, u32); 4] = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];

/// A text that is no size: what was found and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found `{found}`, expected {expected}")]
pub struct UnitError {
    /// The whole text.
    pub found: String,
    /// What should stand there.
    pub expected: &'static str,
}

/// Bytes of a size: see the head of this file for the grammar. A fraction is rounded down to whole
/// bytes.
///
/// # Errors
/// A text that is no size, a fraction of a byte, or more than 64 bits hold.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let refused = |expected| UnitError { found: text.to_owned(), expected };
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(number_end);
    let shift = shift_of(unit)
        .ok_or_else(|| refused("bytes with a unit of K, M, G or T, such as 512MiB or 2G"))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(refused("bytes, such as 4096, 64K, 512MiB or 1.5GiB"));
    }
    if number.contains('.') && shift == 0 {
        return Err(refused("a whole number of bytes"));
    }
    let too_many = || refused("a size of less than 16 EiB");
    let bytes = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(1 << shift));
    // Digit by digit from the last: exact but for what is below a 2^-64th of the unit.
    let part = fraction
        .bytes()
        .rev()
        .fold(0_u128, |part, digit| (part + (u128::from(digit - b'0') << 64)) / 10);
    let part = (part << shift) >> 64;
    bytes.and_then(|bytes| bytes.checked_add(u64::try_from(part).ok()?)).ok_or_else(too_many)
}

/// The power of two of a unit; `None` for what is no unit.
fn shift_of(unit: &str) -> Option<u32> {
    if unit.is_empty() || unit.eq_ignore_ascii_case("B") {
        return Some(0);
    }
    let mut letters = unit.chars();
    let first = letters.next()?.to_ascii_uppercase();
    let rest = letters.as_str();
    let (_, shift) = UNITS.iter().find(|(letter, _)| *letter == first)?;
    ["", "B", "iB"].iter().any(|known| rest.eq_ignore_ascii_case(known)).then_some(*shift)
}

/// A count of bytes as an option takes it: [`parse_bytes`] reads it. It prints in the largest unit
/// that leaves a whole number (`512MiB`), so that it reads back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Bytes, UnitError> {
        parse_bytes(text).map(Bytes)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, shift): &&(char, u32)| self.0 > 0 && self.0.is_multiple_of(1 << shift);
        match UNITS.iter().rev().find(whole) {
            Some((letter, shift)) => f.pad(&format!("{}{letter}iB", self.0 >> shift)),
            None => f.pad(&self.0.to_string()),
        }
    }
}

/// One count of bytes with its unit: a fixed unit for a whole axis, so that its numbers can be
/// compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ByteUnit {
    /// `B`, `KiB`, `MiB`, `GiB` or `TiB`.
    pub name: &'static str,
    /// Bytes a unit.
    pub bytes: f64,
}

/// The unit in which `largest` bytes are a number from 1 to 1023.
pub fn byte_unit(largest: f64) -> ByteUnit {
    let names = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = ByteUnit { name: names[0], bytes: 1.0 };
    for name in &names[1..] {
        if !largest.is_finite() || largest < unit.bytes * 1024.0 {
            break;
        }
        unit = ByteUnit { name, bytes: unit.bytes * 1024.0 };
    }
    unit
}

/// Bytes in the unit that suits them: `8.7 MiB`. The gap before a unit does not break.
pub fn bytes(value: f64) -> String {
    let unit = byte_unit(value.abs());
    format!("{}\u{a0}{}", figure(value / unit.bytes), unit.name)
}

/// Whole bytes for a terminal, with one digit after the point from a KiB on: `999 B`, `3.0 MiB`.
pub fn plain_bytes(value: u64) -> String {
    let mut size = value as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1000.0 {
            return if unit == "B" { format!("{value} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

/// Nanoseconds in the unit that suits them: `32 µs`.
pub fn nanoseconds(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let (scale, unit) = match value.abs() {
        v if v < 999.5 => (1.0, "ns"),
        v if v < 999.5e3 => (1e3, "µs"),
        v if v < 999.5e6 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    format!("{}\u{a0}{unit}", figure(value / scale))
}

/// Two digits below 10, none after the point from 10 on: `0.17`, `8.7`, `57`, `1320`.
pub fn figure(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    let text = match size {
        0.0 => "0".to_owned(),
        s if !(0.001..1e15).contains(&s) => format!("{value:.1e}"),
        s if s < 0.0995 => format!("{value:.3}"),
        s if s < 0.995 => format!("{value:.2}"),
        s if s < 9.95 => format!("{value:.1}"),
        _ => group(&format!("{value:.0}")),
    };
    text.replacen('-', "−", usize::from(value < 0.0))
}

/// One more digit than [`figure`] from 10 to 100: `56.7`.
pub fn figure3(value: f64) -> String {
    if value.is_finite() && (9.95..99.95).contains(&value.abs()) {
        format!("{value:.1}").replacen('-', "−", 1)
    } else {
        figure(value)
    }
}

/// A duration at a tick: round values without a point.
pub fn nanosecond_tick(value: f64) -> String {
    nanoseconds(value).replacen(".0\u{a0}", "\u{a0}", 1)
}

/// A factor in a sentence, to two digits: `1.9`, `23`, `180`, `2200`.
pub fn times(value: f64) -> String {
    if !value.is_finite() || value < 99.5 {
        return figure(value);
    }
    let unit = 10_f64.powf(value.log10().floor() - 1.0);
    figure((value / unit).round() * unit)
}

/// A share (0 to 1) in per cent that never rounds to all or nothing: `40 %`, `99.7 %`, `0.02 %`.
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    let text = match value {
        v if !v.is_finite() => "–".to_owned(),
        v if v > 99.0 && v < 100.0 => {
            let digits = (-(100.0 - v).log10().floor()).clamp(0.0, 6.0) as usize;
            let unit = 10_f64.powi(digits as i32);
            format!("{:.digits$}", (v * unit).floor() / unit)
        }
        v if v > 0.0 && v < 0.0995 => format!("{v:.2}"),
        v => figure(v),
    };
    format!("{text}\u{a0}%")
}

/// A ratio: `×1.32`.
pub fn ratio(value: f64) -> String {
    match value {
        v if !v.is_finite() => "–".to_owned(),
        v if !(0.001..1e15).contains(&v) => format!("×{v:.1e}"),
        v if v < 9.95 => format!("×{v:.2}"),
        v if v < 99.5 => format!("×{v:.1}"),
        v => format!("×{}", group(&format!("{v:.0}"))),
    }
}

/// A count, in millions where it is large: `30.8 M`, `383 235`.
pub fn count(value: u64) -> String {
    match value {
        0..=999_999 => group(&value.to_string()),
        1_000_000..=999_999_999 => format!("{} M", trimmed(format!("{:.2}", value as f64 / 1e6))),
        _ => format!("{} G", trimmed(format!("{:.2}", value as f64 / 1e9))),
    }
}

fn trimmed(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Digits of more than four in groups of three, separated by a thin gap that does not break.
pub fn group(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    if digits.len() <= 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return format!("{sign}{digits}");
    }
    format!("{sign}{}", separated(digits, '\u{202f}'))
}

/// A whole number for a terminal: 1234567 as `1,234,567`.
pub fn with_commas(number: u64) -> String {
    separated(&number.to_string(), ',')
}

/// Digits in groups of three from the right.
fn separated(digits: &str, separator: char) -> String {
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(separator);
        }
        text.push(digit);
    }
    text
}

/// `10⁴` and the like.
pub fn power_of_ten(exponent: i32) -> String {
    let exponent = exponent.to_string();
    let digits = exponent.chars().map(|c| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32('⁰' as u32 + digit.to_digit(10).unwrap_or(0)).unwrap_or(digit),
    });
    std::iter::once("10".to_owned()).chain(digits.map(String::from)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("17", 17),
            ("0", 0),
            ("4096B", 4096),
            ("64K", 64 << 10),
            ("64k", 64 << 10),
            ("64KB", 64 << 10),
            ("256KiB", 256 << 10),
            ("512MiB", 512 << 20),
            ("1.5GiB", 3 << 29),
            ("2G", 2 << 30),
            ("64GiB", 64 << 30),
            ("1t", 1 << 40),
            ("0.1K", 102),
            ("0.125M", 1 << 17),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in [
            "", "K", "KiB", "-1", "+1", "1.5", "1.", ".5K", "1.2.3K", "1 K", "1KK", "1P", "1e3",
            "1mm",
        ] {
            let error = parse_bytes(text).unwrap_err();
            assert_eq!(error.found, text);
        }
        assert!(parse_bytes("99999999999TiB").unwrap_err().expected.contains("EiB"));
        assert_eq!(
            parse_bytes("12parsecs").unwrap_err().to_string(),
            "found `12parsecs`, expected bytes with a unit of K, M, G or T, such as 512MiB or 2G"
        );
    }

    #[test]
    fn bytes_print_in_their_largest_unit() {
        for text in ["0", "17", "1025", "64KiB", "512MiB", "3GiB", "1TiB", "1536MiB"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn numbers_have_few_digits_and_a_unit() {
        assert_eq!(bytes(8.7 * 1048576.0), "8.7\u{a0}MiB");
        assert_eq!(bytes(0.0), "0\u{a0}B");
        assert_eq!(bytes(f64::NAN), "–\u{a0}B");
        assert_eq!(
            (plain_bytes(999).as_str(), plain_bytes(3 << 20).as_str()),
            ("999 B", "3.0 MiB")
        );
        assert_eq!(nanoseconds(10.0), "10\u{a0}ns");
        assert_eq!(nanoseconds(999.7), "1.0\u{a0}µs");
        assert_eq!(nanoseconds(168e6), "168\u{a0}ms");
        assert_eq!(nanosecond_tick(1e3), "1\u{a0}µs");
        assert_eq!(figure(0.171), "0.17");
        assert_eq!(figure(-3.25), "−3.2");
        assert_eq!(figure3(56.68), "56.7");
        assert_eq!(times(2234.0), "2200");
        assert_eq!(ratio(1.317), "×1.32");
        assert_eq!(percent(0.9975), "99.7\u{a0}%");
        assert_eq!(percent(0.9999), "99.99\u{a0}%");
        assert_eq!(percent(0.0002), "0.02\u{a0}%");
        assert_eq!(percent(1.0), "100\u{a0}%");
        assert_eq!(count(30_804_506), "30.8 M");
        assert_eq!(count(12_921), "12\u{202f}921");
        assert_eq!((group("1234").as_str(), group("-12345").as_str()), ("1234", "-12\u{202f}345"));
        for (number, text) in [(7, "7"), (123, "123"), (1234, "1,234"), (1_234_567, "1,234,567")] {
            assert_eq!(with_commas(number), text);
        }
        assert_eq!(power_of_ten(-16), "10⁻¹⁶");
    }

    proptest! {
        #[test]
        fn bytes_read_back(bytes in any::<u64>(), shift in 0_u32..50) {
            let bytes = Bytes(bytes >> shift << (shift % 41));
            prop_assert_eq!(bytes.to_string().parse(), Ok(bytes));
        }

        #[test]
        fn no_text_is_a_fault(text in ".{0,12}") {
            let _ = parse_bytes(&text);
        }
    }
}
