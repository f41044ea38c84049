//! Which line of one side is which line of the other, where the source changed in between.
//!
//! A line that moved has another number, and often the same figures. The lines of a file are aligned
//! in their order: lines with the same figures are anchors, and the lines between anchors have moved
//! as far as those. Other lines are matched by their number, and what is left between two matched lines
//! by its order, where both sides have as many lines there and none moved far. Files whose folder
//! differs are matched by the end of their path.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::iter;
use std::ops::Bound::{Excluded, Unbounded};

use crate::units::without_native;

/// Pairs of lines of a file that are aligned, at most. Beyond it only numbers count.
const ALIGNED_PAIRS_MAX: usize = 4_000_000;
/// From this figure on, equal figures are no coincidence.
const TELLING_FIGURE: i64 = 4096;
/// The weights of an alignment: the same figures, and the same number.
const SAME_FIGURES: u32 = 3;
const SAME_NUMBER: u32 = 2;
/// A line whose figures changed is the same line where it moved by so many lines, at most.
const CHANGED_LINE_MOVES_MAX: u32 = 3;

/// The lines of one side by label (`file:line`), with the figures by which a line is recognised.
pub(super) type LineFigures = BTreeMap<String, Vec<i64>>;

/// The lines and files of the side before, as the side after calls them.
#[derive(Debug, Default)]
pub(super) struct LineMatching {
    lines: HashMap<String, String>,
    files: BTreeMap<String, String>,
}

impl LineMatching {
    /// Matches the lines of two sides.
    pub fn of(before: &LineFigures, after: &LineFigures) -> LineMatching {
        let [old, new] = [before, after].map(by_file);
        let files = matched_files(&old, &new);
        let mut lines = HashMap::new();
        for ((file, suffix), own) in &old {
            let named = files.get(*file).map_or(*file, String::as_str);
            let Some(others) = new.get(&(named, *suffix)) else { continue };
            for (number, other) in aligned(own, others) {
                lines
                    .insert(format!("{file}:{number}{suffix}"), format!("{named}:{other}{suffix}"));
            }
        }
        LineMatching { lines, files }
    }

    /// The label of a line on the side after; `None` for a line that the side after has not. A
    /// native function has no number, so it has its own label.
    pub fn line<'a>(&'a self, label: &'a str) -> Option<&'a str> {
        match parsed(label) {
            Some(_) => self.lines.get(label).map(String::as_str),
            None => Some(label),
        }
    }

    /// The name of a file on the side after.
    pub fn file<'a>(&'a self, file: &'a str) -> &'a str {
        self.files.get(file).map_or(file, String::as_str)
    }

    /// Files with another path on each side: before and after.
    pub fn renamed_files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(before, after)| (before.as_str(), after.as_str()))
    }
}

/// File, line number, and what follows the number; `None` for a label without a number.
fn parsed(label: &str) -> Option<(&str, u32, &str)> {
    let (line, suffix) = label.split_at(without_native(label).len());
    let (file, number) = line.rsplit_once(':')?;
    Some((file, number.parse().ok()?, suffix))
}

/// The file of a label; the library of a native function, which has no line.
pub(super) fn file_of(label: &str) -> &str {
    match parsed(label) {
        Some((file, ..)) => file,
        None => label.split_once('!').map_or(label, |(library, _)| library),
    }
}

/// The lines of a file by number, with their figures.
type NumberedLines<'a> = BTreeMap<u32, &'a [i64]>;
/// By file, and by what follows the number.
type LinesByFile<'a> = BTreeMap<(&'a str, &'a str), NumberedLines<'a>>;

fn by_file(lines: &LineFigures) -> LinesByFile<'_> {
    let mut files: LinesByFile = BTreeMap::new();
    for (label, figures) in lines {
        if let Some((file, number, suffix)) = parsed(label) {
            files.entry((file, suffix)).or_default().insert(number, figures);
        }
    }
    files
}

/// The files that only one side has, matched by the end of their paths where that is unique.
fn matched_files(before: &LinesByFile, after: &LinesByFile) -> BTreeMap<String, String> {
    let [old, new] = [before, after]
        .map(|lines| lines.keys().map(|(file, _)| *file).collect::<BTreeSet<&str>>());
    let only_old: Vec<&str> = old.difference(&new).copied().collect();
    let only_new: Vec<&str> = new.difference(&old).copied().collect();
    let mut matched = BTreeMap::new();
    for file in &only_old {
        if let Some(other) = nearest_path(file, &only_new)
            && nearest_path(other, &only_old) == Some(file)
        {
            matched.insert((*file).to_owned(), other.to_owned());
        }
    }
    matched
}

/// The path with most parts at its end in common; `None` where several have as many.
fn nearest_path<'a>(path: &str, others: &[&'a str]) -> Option<&'a str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    // Every package has a file of such a name: its folder must agree, too.
    let needed = if name.starts_with("__") { 2 } else { 1 };
    let common = |other: &str| {
        path.rsplit('/').zip(other.rsplit('/')).take_while(|(own, other)| own == other).count()
    };
    let most = others.iter().map(|other| common(other)).max().filter(|most| *most >= needed)?;
    let mut best = others.iter().filter(|other| common(other) == most);
    let first = best.next()?;
    best.next().is_none().then_some(*first)
}

/// The numbers of the same lines of a file, before and after.
fn aligned(before: &NumberedLines, after: &NumberedLines) -> BTreeMap<u32, u32> {
    let mut pairs = anchors(before, after);
    let moved: Vec<(u32, u32)> = pairs.iter().map(|(old, new)| (*old, *new)).collect();
    for old in before.keys().filter(|old| !moved.iter().any(|pair| pair.0 == **old)) {
        let at = moved.partition_point(|pair| pair.0 < *old);
        let around = [at.checked_sub(1).and_then(|at| moved.get(at)), moved.get(at)];
        let by_anchor = around
            .into_iter()
            .flatten()
            .filter_map(|pair| old.checked_add_signed(pair.1 as i32 - pair.0 as i32));
        let new = by_anchor.chain([*old]).find(|new| {
            after.contains_key(new)
                && pairs.range(..old).next_back().is_none_or(|pair| pair.1 < new)
                && pairs.range(old..).next().is_none_or(|pair| pair.1 > new)
        });
        pairs.extend(new.map(|new| (*old, new)));
    }
    let left = left_between(&pairs, before, after);
    pairs.extend(left);
    pairs
}

/// The lines between matched lines that have no partner, paired by their order.
fn left_between(
    pairs: &BTreeMap<u32, u32>,
    before: &NumberedLines,
    after: &NumberedLines,
) -> Vec<(u32, u32)> {
    let bounds = pairs.iter().map(|(old, new)| (Excluded(*old), Excluded(*new)));
    let starts = iter::once((Unbounded, Unbounded)).chain(bounds);
    let ends = pairs.iter().map(|(old, new)| (Excluded(*old), Excluded(*new)));
    let ends = ends.chain(iter::once((Unbounded, Unbounded)));
    let mut left = Vec::new();
    for (start, end) in starts.zip(ends) {
        let old = before.range((start.0, end.0)).map(|line| *line.0);
        let new = after.range((start.1, end.1)).map(|line| *line.0);
        let found: Vec<(u32, u32)> = old.clone().zip(new.clone()).collect();
        let is_balanced = old.count() == found.len() && new.count() == found.len();
        if is_balanced
            && found.iter().all(|(old, new)| old.abs_diff(*new) <= CHANGED_LINE_MOVES_MAX)
        {
            left.extend(found);
        }
    }
    left
}

/// Lines with the same figures, in the order of both sides.
fn anchors(before: &NumberedLines, after: &NumberedLines) -> BTreeMap<u32, u32> {
    let [old, new]: [Vec<(u32, &[i64])>; 2] =
        [before, after].map(|lines| lines.iter().map(|(at, own)| (*at, *own)).collect());
    if old.len() * new.len() > ALIGNED_PAIRS_MAX {
        return BTreeMap::new();
    }
    let is_same = |own: &[i64], other: &[i64]| own == other && own.iter().any(|value| *value != 0);
    let weight = |(number, own): (u32, &[i64]), (other_number, other): (u32, &[i64])| {
        SAME_FIGURES * u32::from(is_same(own, other))
            + SAME_NUMBER * u32::from(number == other_number)
    };
    // The largest sum of weights from a pair of places on.
    let wide = new.len() + 1;
    let mut best = vec![0_u32; (old.len() + 1) * wide];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            let paired = best[(i + 1) * wide + j + 1] + weight(old[i], new[j]);
            best[i * wide + j] = paired.max(best[(i + 1) * wide + j]).max(best[i * wide + j + 1]);
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut found: Vec<FoundPair> = Vec::new();
    while i < old.len() && j < new.len() {
        let own = weight(old[i], new[j]);
        if own > 0 && best[i * wide + j] == best[(i + 1) * wide + j + 1] + own {
            if own >= SAME_FIGURES {
                found.push((old[i].0, new[j].0, old[i].1.iter().copied().max().unwrap_or(0)));
            }
            (i, j) = (i + 1, j + 1);
        } else if best[i * wide + j] == best[(i + 1) * wide + j] {
            i += 1;
        } else {
            j += 1;
        }
    }
    supported(found, before, after)
}

/// Pairs of lines with the same figures, and the largest of these figures.
type FoundPair = (u32, u32, i64);

/// The pairs that are no coincidence: others of the file moved as far, or the figures are large. Beside
/// such pairs, those count, too, whose figures as many lines have before as after.
fn supported(
    found: Vec<FoundPair>,
    before: &NumberedLines,
    after: &NumberedLines,
) -> BTreeMap<u32, u32> {
    let offset = |pair: &FoundPair| i64::from(pair.1) - i64::from(pair.0);
    let mut offsets: HashMap<i64, usize> = HashMap::new();
    for pair in &found {
        *offsets.entry(offset(pair)).or_default() += 1;
    }
    let is_supported = |pair: &FoundPair| {
        offset(pair) == 0 || offsets[&offset(pair)] > 1 || pair.2 >= TELLING_FIGURE
    };
    let [old, new] = [before, after].map(|lines| {
        let mut counts: HashMap<&[i64], usize> = HashMap::new();
        for own in lines.values() {
            *counts.entry(*own).or_default() += 1;
        }
        counts
    });
    let has_support = found.iter().any(is_supported);
    let is_balanced = |pair: &FoundPair| {
        before.get(&pair.0).is_some_and(|figures| old.get(figures) == new.get(figures))
    };
    let is_pair = |pair: &&FoundPair| is_supported(pair) || (has_support && is_balanced(pair));
    found.iter().filter(is_pair).map(|pair| (pair.0, pair.1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rows: &[(&str, i64)]) -> LineFigures {
        rows.iter().map(|(label, value)| ((*label).to_owned(), vec![*value])).collect()
    }

    fn matched(before: &[(&str, i64)], after: &[(&str, i64)]) -> Vec<(String, String)> {
        let matching = LineMatching::of(&lines(before), &lines(after));
        let label = |(label, _): &(&str, i64)| {
            ((*label).to_owned(), matching.lines.get(*label).cloned().unwrap_or_default())
        };
        before.iter().map(label).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect()
    }

    #[test]
    fn an_unchanged_file_is_matched_by_numbers() {
        // The figures of 10 and 12 changed, and 12 had before what 10 has now.
        let found = matched(
            &[("a.py:10", 100), ("a.py:12", 200), ("a.py:20", 7)],
            &[("a.py:10", 200), ("a.py:12", 300), ("a.py:20", 7)],
        );
        assert_eq!(
            found,
            pairs(&[("a.py:10", "a.py:10"), ("a.py:12", "a.py:12"), ("a.py:20", "a.py:20")])
        );
    }

    #[test]
    fn a_line_that_grew_moves_with_the_lines_around_it() {
        let found = matched(
            &[("a.py:10", 100), ("a.py:11", 200), ("a.py:42", 5000), ("a.py:50", 60)],
            &[("a.py:11", 100), ("a.py:12", 200), ("a.py:42", 9), ("a.py:43", 8000)],
        );
        assert_eq!(
            found,
            pairs(&[
                ("a.py:10", "a.py:11"),
                ("a.py:11", "a.py:12"),
                ("a.py:42", "a.py:43"),
                ("a.py:50", "")
            ])
        );
    }

    #[test]
    fn a_line_that_moved_a_little_and_changed_is_one_line() {
        let found = matched(
            &[("a.py:10", 100), ("a.py:15", 9000), ("a.py:30", 5)],
            &[("a.py:10", 100), ("a.py:16", 700), ("a.py:60", 6)],
        );
        let [first, second, third] = ["a.py:10", "a.py:15", "a.py:30"];
        assert_eq!(found, pairs(&[(first, first), (second, ""), (third, "")]), "one moved far");
        let found =
            matched(&[("a.py:10", 100), ("a.py:15", 9000)], &[("a.py:10", 100), ("a.py:16", 700)]);
        assert_eq!(found, pairs(&[(first, first), (second, "a.py:16")]));
        // A line is gone, another is new, and nothing says which.
        let found = matched(&[("a.py:15", 9000)], &[("a.py:14", 700), ("a.py:16", 600)]);
        assert_eq!(found, pairs(&[(second, "")]));
    }

    #[test]
    fn small_figures_count_beside_a_line_that_is_sure() {
        let found = matched(
            &[("a.py:5", 3), ("a.py:9", 70_000), ("a.py:33", 10), ("a.py:34", 10), ("a.py:40", 7)],
            &[("a.py:8", 3), ("a.py:14", 70_000), ("a.py:52", 10), ("a.py:57", 10), ("a.py:60", 8)],
        );
        assert_eq!(
            found,
            pairs(&[
                ("a.py:5", "a.py:8"),
                ("a.py:9", "a.py:14"),
                ("a.py:33", "a.py:52"),
                ("a.py:34", "a.py:57"),
                ("a.py:40", "")
            ])
        );
    }

    #[test]
    fn one_small_coincidence_is_no_match() {
        let found = matched(&[("a.py:30", 64), ("b.py:1", 1 << 20)], &[("a.py:80", 64)]);
        assert_eq!(found, pairs(&[("a.py:30", ""), ("b.py:1", "")]));
    }

    #[test]
    fn files_of_another_folder_are_matched_by_the_end_of_their_path() {
        let before = [
            ("/old/app.py:1", 10),
            ("/old/pkg/__init__.py:1", 20),
            ("/usr/lib/python3.11/json/decoder.py:353 via lib.so!f", 30),
            ("/old/x/same.py:1", 1),
        ];
        let after = [
            ("/new/app.py:1", 10),
            ("/new/other/__init__.py:1", 20),
            ("/usr/lib/python3.12/json/decoder.py:353 via lib.so!f", 30),
            ("/new/y/same.py:1", 1),
            ("/new/z/same.py:1", 1),
        ];
        assert_eq!(
            matched(&before, &after),
            pairs(&[
                ("/old/app.py:1", "/new/app.py:1"),
                ("/old/pkg/__init__.py:1", ""),
                (
                    "/usr/lib/python3.11/json/decoder.py:353 via lib.so!f",
                    "/usr/lib/python3.12/json/decoder.py:353 via lib.so!f"
                ),
                ("/old/x/same.py:1", ""),
            ])
        );
        assert_eq!(file_of("a b:c.py:12 via lib.so!f"), "a b:c.py");
        assert_eq!((file_of("lib.so!std::f"), file_of("")), ("lib.so", ""));
    }
}
