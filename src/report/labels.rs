//! What backends are called in pictures and tables.
//! `so:/usr/lib/x86_64-linux-gnu/libmimalloc.so.2.0:mi_` has no room in a picture, and where it is
//! cut off it looks like every other library of that folder: it is called `so:libmimalloc`.
//!
//! A label is as short as it can be while all labels of a run differ: the library's name, its
//! file's name, the whole word.

use std::collections::HashMap;
use std::collections::HashSet;

use crate::results::Run;

/// Members whose word goes on with a path.
const BY_PATH: [&str; 3] = ["so:", "preload:", "python@"];

/// How much of a path stays.
#[derive(Clone, Copy)]
enum Length {
    /// `libmimalloc`, and no prefix of functions.
    Name,
    /// `libmimalloc.so.2.0`.
    File,
}

/// The run with every backend called by its label.
pub fn labelled(run: &Run) -> Run {
    let words: Vec<&str> =
        run.manifest.backends.iter().map(|backend| backend.name.as_str()).collect();
    let labels: HashMap<String, String> =
        words.iter().map(|word| (*word).to_owned()).zip(labels(&words)).collect();
    let mut run = run.clone();
    if labels.iter().all(|(word, label)| word == label) {
        return run;
    }
    run.rename_backends(&|name| labels.get(name).cloned());
    run
}

/// A label for each word, in their order.
fn labels(words: &[&str]) -> Vec<String> {
    for length in [Length::Name, Length::File] {
        let short: Vec<String> = words.iter().map(|word| shorten(word, length)).collect();
        if short.iter().collect::<HashSet<_>>().len() == words.len() {
            return short;
        }
    }
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The word with its paths shortened, layer by layer.
fn shorten(word: &str, length: Length) -> String {
    let head = BY_PATH.iter().filter_map(|head| {
        let at = word
            .match_indices(head)
            .map(|(at, _)| at)
            .find(|at| *at == 0 || word[..*at].ends_with('+'))?;
        Some((at, at + head.len()))
    });
    let Some((_, path_at)) = head.min() else { return word.to_owned() };
    let (before, rest) = word.split_at(path_at);
    let (path, mut after) = rest.split_at(rest.find(':').unwrap_or(rest.len()));
    let mut name = path.rsplit('/').next().unwrap_or(path);
    // `python@3.11` names a version, and an interpreter's file is all that tells it from others.
    if let (Length::Name, false) = (length, before.ends_with("python@")) {
        name = name.split_once(".so").map_or(name, |(name, _)| name);
        let prefix = after.strip_prefix(':').map(|rest| rest.split(':').next().unwrap_or(rest));
        if let Some(prefix) = prefix.filter(|prefix| !prefix.contains('=')) {
            after = &after[1 + prefix.len()..];
        }
    }
    format!("{before}{name}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short_and_differ() {
        let label = |words: &[&str]| labels(words);
        assert_eq!(
            label(&[
                "malloc",
                "so:/usr/lib/libmimalloc.so.2.0:mi_",
                "so:/usr/lib/libjemalloc.so.2"
            ]),
            ["malloc", "so:libmimalloc", "so:libjemalloc"]
        );
        assert_eq!(
            label(&["so:/a/libx.so.1:x_", "so:/a/libx.so.2:x_", "preload:/a/libx.so.1"]),
            ["so:libx.so.1:x_", "so:libx.so.2:x_", "preload:libx.so.1"]
        );
        let words = ["so:/a/libx.so", "so:/b/libx.so"];
        assert_eq!(label(&words), words);
        assert_eq!(
            label(&[
                "so:x.so:MALLOC_CONF=narenas:1",
                "so:/a/x.so:x_:A=1",
                "pymalloc+so:/usr/lib/libx.so"
            ]),
            ["so:x:MALLOC_CONF=narenas:1", "so:x:A=1", "pymalloc+so:libx"]
        );
        assert_eq!(
            label(&["python@3.11", "python@/usr/bin/python3.11"]),
            ["python@3.11", "python@python3.11"]
        );
    }
}
