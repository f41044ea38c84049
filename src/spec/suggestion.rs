//! The known name that a mistyped one is most like.

/// The least likeness (Jaro-Winkler, 0 to 1) of a name that is suggested.
const LIKENESS: f64 = 0.75;
/// The likeness of a name that differs by one letter, or by two adjacent ones in the wrong order.
const SLIP_LIKENESS: f64 = 0.9;

/// The name of `known` that is most like `name`, where one is close.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |other: &'a str| {
        // One slip of the fingers, such as two letters in the wrong order, makes short names unlike.
        let is_slip = name.len() > 2 && strsim::osa_distance(name, other) == 1;
        let slip = if is_slip { SLIP_LIKENESS } else { 0.0 };
        (strsim::jaro_winkler(name, other).max(slip), other)
    };
    let best = known.into_iter().map(likeness).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness > LIKENESS).map(|(_, other)| other)
}

/// ` (did you mean …?)`, or nothing where no known name is close.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let other = nearest(name, known);
    other.map(|other| format!(" (did you mean `{other}`?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_like_the_mistyped_one() {
        let verbs = ["record", "run", "report", "live"];
        for (name, near) in [
            ("rnu", Some("run")),
            ("recrod", Some("record")),
            ("liev", Some("live")),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, verbs), near, "{name}");
        }
    }
}
