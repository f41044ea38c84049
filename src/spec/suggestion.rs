//! The known name that a mistyped one is most like.

/// The least likeness (Jaro-Winkler, 0 to 1) of a name that is suggested.
const LIKENESS: f64 = 0.75;

/// The name of `known` that is most like `name`, where one is close.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |other: &'a str| (strsim::jaro_winkler(name, other), other);
    let best = known.into_iter().map(likeness).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness > LIKENESS).map(|(_, other)| other)
}

/// ` (did you mean …?)`, or nothing where no known name is close.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let other = nearest(name, known);
    other.map(|other| format!(" (did you mean `{other}`?)")).unwrap_or_default()
}
