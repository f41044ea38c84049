//! Numbers as words: few digits, a unit with each.

use std::collections::BTreeMap;

use crate::results::{BackendEntry, Metric, Run, Scope};

/// What stands on each picture and table of a trace that was not recorded but made up, by the facts
/// that it tells of itself: that it was, and for how much of its bytes it vouches. `None` for a
/// recorded one.
pub fn synthesised(facts: &BTreeMap<String, String>) -> Option<String> {
    let how = facts.get("synthesised")?;
    let share = facts.get("vouched_bytes_share").and_then(|share| share.parse::<f64>().ok());
    Some(match share {
        Some(share) => {
            format!("synthesised from snapshots: vouches for {} of its bytes", percent(share))
        }
        None => format!("synthesised ({})", how.split([':', ';']).next().unwrap_or_default()),
    })
}

/// The instructions a call of each backend, where they were counted, as a sentence; those of `null`
/// are the loop's.
pub fn instructions(run: &Run, trace: &str, calls: u64) -> Option<String> {
    let of = |backend: &BackendEntry| {
        let count = *run.values(trace, &backend.name, Scope::All, Metric::Instructions).first()?;
        Some(format!("{} {:.1}", backend.name, count / calls as f64))
    };
    let counts: Vec<String> = run.manifest.backends.iter().filter_map(of).collect();
    (!counts.is_empty()).then(|| {
        format!(
            "Instructions a call, the loop's with them, counted by valgrind: {}.",
            list(&counts)
        )
    })
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

/// One more digit than [`figure`] where there is room: `56.7`.
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
        1_000_000..=999_999_999 => format!("{} M", trim(format!("{:.2}", value as f64 / 1e6))),
        _ => format!("{} G", trim(format!("{:.2}", value as f64 / 1e9))),
    }
}

fn trim(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Digits in groups of three, set apart by a thin gap that does not break.
pub fn group(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    if digits.len() <= 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return format!("{sign}{digits}");
    }
    let mut text = String::from(sign);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
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

/// `a`, `a and b`, `a, b and c`.
pub fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Like [`list`], but at most three of them by name.
pub fn some(words: &[String]) -> String {
    if words.len() <= 3 {
        return list(words);
    }
    format!("{}, {} and {} others", words[0], words[1], words.len() - 2)
}

/// Figures in words, each with the number that it goes by: all in their order, or of more than can
/// be read the two with the least and the two with the most.
pub fn all_or_ends(mut figures: Vec<(f64, String)>, between: &str) -> String {
    const READ: usize = 7;
    let join =
        |some: &[(f64, String)]| some.iter().map(|f| f.1.clone()).collect::<Vec<_>>().join(between);
    if figures.len() <= READ {
        return join(&figures);
    }
    figures.sort_by(|a, b| a.0.total_cmp(&b.0));
    format!("{} … {}", join(&figures[..2]), join(&figures[figures.len() - 2..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_few_digits_and_a_unit() {
        assert_eq!(bytes(8.7 * 1048576.0), "8.7\u{a0}MiB");
        assert_eq!(bytes(0.0), "0\u{a0}B");
        assert_eq!(bytes(f64::NAN), "–\u{a0}B");
        assert_eq!(nanoseconds(10.0), "10\u{a0}ns");
        assert_eq!(nanoseconds(999.7), "1.0\u{a0}µs");
        assert_eq!(nanoseconds(168e6), "168\u{a0}ms");
        assert_eq!(figure(0.171), "0.17");
        assert_eq!(figure(-3.25), "−3.2");
        assert_eq!(figure3(56.68), "56.7");
        assert_eq!(ratio(1.317), "×1.32");
        assert_eq!(percent(0.9975), "99.7\u{a0}%");
        assert_eq!(percent(0.9999), "99.99\u{a0}%");
        assert_eq!(percent(0.0002), "0.02\u{a0}%");
        assert_eq!(percent(1.0), "100\u{a0}%");
        assert_eq!(count(30_804_506), "30.8 M");
        assert_eq!(count(12_921), "12\u{202f}921");
        assert_eq!(power_of_ten(-16), "10⁻¹⁶");
        assert_eq!(list(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }
}
