//! The version that an interpreter reports of itself.

/// The minor and micro version of CPython 3 in a text as `3.11.2` or `3.15.0a7 (main, …)`; `None` for
/// another text. A micro version that is not there is 0.
pub fn version(text: &str) -> Option<(u32, u32)> {
    let (minor, rest) = number(text.strip_prefix("3.")?)?;
    let micro = match rest.strip_prefix('.') {
        Some(rest) => number(rest)?.0,
        None => 0,
    };
    Some((minor, micro))
}

/// The number that a text begins with, and the rest.
fn number(text: &str) -> Option<(u32, &str)> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(version("3.11.2"), Some((11, 2)));
        assert_eq!(version("3.15.0a7"), Some((15, 0)));
        assert_eq!(version("3.13.0 experimental free-threading build"), Some((13, 0)));
        assert_eq!(version("3.14"), Some((14, 0)));
        assert_eq!(version("3.9+"), Some((9, 0)));
        for other in ["pypy", "2.7.18", "3.", "3.x", "3.11.", ""] {
            assert_eq!(version(other), None, "{other}");
        }
    }
}
