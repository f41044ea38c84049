//! The settings that a backend takes, as data: for its checks, its description and its reference.

use crate::units::parse_bytes;

/// One setting of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key, as it stands in a backend's spec.
    pub name: &'static str,
    /// The values that it takes, with their unit (`bytes`, `ms`, `true or false`).
    pub values: &'static str,
    /// The value that the allocator uses without the setting.
    pub default: &'static str,
    /// The effect, in a line.
    pub meaning: &'static str,
    /// For a delay in wall time after which the allocator returns memory: the values for
    /// "immediately" and for "never". A real program's memory lies between these two, whatever the
    /// pace of a replay.
    pub bounds: Option<[&'static str; 2]>,
    /// Whether it changes something only in a program of several threads (the number of arenas).
    pub needs_threads: bool,
}

impl Setting {
    /// Whether the values are numbers: plain ones, sizes or times.
    pub(super) fn is_number(&self) -> bool {
        ["ms", "bytes", "number", "KiB", "a byte"].iter().any(|unit| self.values.starts_with(unit))
    }

    /// The same, as one that changes something only in a program of several threads.
    #[must_use]
    pub(super) const fn for_threads(self) -> Setting {
        Setting { needs_threads: true, ..self }
    }
}

/// A line of a table of settings.
pub(super) const fn setting(
    name: &'static str,
    values: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { name, values, default, meaning, bounds: None, needs_threads: false }
}

/// The same for a delay in milliseconds of wall time; 0 is immediately, -1 never.
pub(super) const fn delay(
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Setting {
    let values = "ms; 0 immediately, -1 never";
    Setting { name, values, default, meaning, bounds: Some(["0", "-1"]), needs_threads: false }
}

/// A value as allocators read it: a size with a unit (`64K`, `64KiB`, `2M`) becomes bytes, any
/// other text stays as it is.
pub(super) fn plain(value: &str) -> String {
    let has_unit = value.ends_with(|c: char| c.is_ascii_alphabetic());
    match parse_bytes(value) {
        Ok(bytes) if has_unit => bytes.to_string(),
        _ => value.to_owned(),
    }
}

/// Whether a value is a number as allocators read it: decimal or hexadecimal digits, or a size with a
/// unit.
pub(super) fn is_number(value: &str) -> bool {
    let is_hexadecimal = |digits: &str| u64::from_str_radix(digits, 16).is_ok();
    plain(value).parse::<i128>().is_ok() || value.strip_prefix("0x").is_some_and(is_hexadecimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_become_bytes_and_other_values_stay() {
        for (value, expected) in [
            ("64K", "65536"),
            ("2MiB", "2097152"),
            ("1.5k", "1536"),
            ("-1", "-1"),
            ("007", "007"),
            ("true", "true"),
            ("a:0,b:1", "a:0,b:1"),
        ] {
            assert_eq!(plain(value), expected);
        }
    }
}
