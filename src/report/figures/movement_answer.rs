//! What moved between two sides, in a sentence or two.

use super::side_by_side::{
    BrokenDownBy, ComparedKind, MovedBreakdown, MovedMeasure, MovedPart, MovedRow,
};
use crate::report::text::{capitalised, list, short_line};
use crate::units::{CALLED_FROM, frames, percent, without_native};

/// A row with this share of the movement explains it.
const EXPLAINS: f64 = 0.5;
/// Rows that explain a movement together, at most.
const EXPLAINING_ROWS_MAX: usize = 3;
/// A row whose share of the movement is so near to 1 is all of it, in words.
const NEARLY_ALL: f64 = 0.01;
/// A second measure is worth a sentence from this share of its value on.
const WORTH_A_SENTENCE: f64 = 0.01;

impl MovedMeasure {
    /// `live at the peak: 91 MiB → 104 MiB (+13 MiB, +14 %)`.
    pub fn change(&self) -> String {
        let unit = self.unit;
        if self.difference == 0 {
            return format!("{}: {} on both sides", self.name, unit.text(self.after));
        }
        let share = match self.share() {
            Some(share) => format!(", {}", signed_percent(share)),
            None => String::new(),
        };
        format!(
            "{}: {} → {} ({}{share})",
            self.name,
            unit.text(self.before),
            unit.text(self.after),
            unit.signed(self.difference)
        )
    }

    /// The difference as a share of the value before; `None` where that is 0.
    pub fn share(&self) -> Option<f64> {
        (self.before > 0).then(|| self.difference as f64 / self.before as f64)
    }

    /// The measure in a sentence, and what made most of its movement.
    pub fn answer(&self) -> String {
        let change = capitalised(&self.change());
        match self.explanation() {
            Some(explanation) => format!("{change}; {explanation}."),
            None => format!("{change}."),
        }
    }

    fn explanation(&self) -> Option<String> {
        let order = [BrokenDownBy::Line, BrokenDownBy::Cause, BrokenDownBy::SizeClass];
        let breakdown = order.iter().find_map(|by| self.breakdown(*by))?;
        let moved: Vec<&MovedRow> =
            breakdown.rows.iter().filter(|row| row.difference != 0).collect();
        let first = *moved.first()?;
        let signed = |value| self.unit.signed(value);
        let named = |row: &MovedRow| row_name(row, breakdown);
        let total = self.difference.unsigned_abs() as f64;
        if total < 0.1 * first.difference.unsigned_abs() as f64 {
            let against =
                moved.iter().find(|row| row.difference.signum() != first.difference.signum());
            let against = against
                .map(|row| format!(", against {} at {}", signed(row.difference), named(row)));
            return Some(format!(
                "underneath, {} at {}{}",
                signed(first.difference),
                named(first),
                against.unwrap_or_default()
            ));
        }
        let same: Vec<&&MovedRow> = moved
            .iter()
            .filter(|row| row.difference.signum() == self.difference.signum())
            .collect();
        let top = **same.first()?;
        let share = top.difference.unsigned_abs() as f64 / total;
        if moved.len() == 1 {
            return Some(format!("all of it is {}", named(top)));
        }
        if (share - 1.0).abs() < NEARLY_ALL {
            return Some(format!("nearly all of it is {}", named(top)));
        }
        if share > 1.0 {
            let rest = self.difference - top.difference;
            return Some(format!(
                "{} are {}, and all others together {}",
                signed(top.difference),
                named(top),
                signed(rest)
            ));
        }
        if share >= EXPLAINS {
            return Some(format!(
                "{} of the {} are {}",
                signed(top.difference),
                signed(self.difference),
                named(top)
            ));
        }
        let firsts: Vec<&MovedRow> =
            same.iter().take(EXPLAINING_ROWS_MAX).map(|row| **row).collect();
        let text = |row: &MovedRow| format!("{} at {}", signed(row.difference), named(row));
        let together = |rows: &[&MovedRow]| rows.iter().map(|row| row.difference).sum::<i64>();
        // The fewest rows that are half of it together.
        for count in 2..=firsts.len() {
            let sum = together(&firsts[..count]);
            if sum.unsigned_abs() as f64 >= EXPLAINS * total {
                let texts: Vec<String> = firsts[..count].iter().map(|row| text(row)).collect();
                return Some(format!(
                    "{} of the {} are {}",
                    signed(sum),
                    signed(self.difference),
                    list(&texts)
                ));
            }
        }
        let texts: Vec<String> = firsts.iter().take(2).map(|row| text(row)).collect();
        Some(format!(
            "no {} stands out: the first are {}",
            breakdown.by.name(),
            texts.join(" and ")
        ))
    }
}

impl MovedPart {
    /// The part in at most two sentences: the measure that leads, and one more that moved.
    pub fn answers(&self, kind: ComparedKind) -> Vec<String> {
        let Some(lead) = self.measures.first() else { return vec![] };
        if self.measures.iter().all(MovedMeasure::is_unmoved) {
            return vec!["Nothing moved: every measure and every row is the same.".to_owned()];
        }
        let rank = |measure: &&MovedMeasure| {
            let share = measure.share().unwrap_or(if measure.difference == 0 { 0.0 } else { 1.0 });
            let by = [BrokenDownBy::Cause, BrokenDownBy::Line];
            let is_explained = by.iter().any(|by| measure.breakdown(*by).is_some());
            match kind {
                ComparedKind::Runs if !is_explained => 0.0,
                _ => share.abs(),
            }
        };
        let others = self.measures.iter().skip(1).filter(|own| rank(own) >= WORTH_A_SENTENCE);
        let second = others.max_by(|a, b| rank(a).total_cmp(&rank(b)));
        [Some(lead), second].into_iter().flatten().map(MovedMeasure::answer).collect()
    }
}

/// A row as a sentence names it.
fn row_name(row: &MovedRow, breakdown: &MovedBreakdown) -> String {
    let name = short_row(&row.label, breakdown.by);
    let name = match breakdown.by {
        BrokenDownBy::SizeClass => format!("requests of {name}"),
        _ => name,
    };
    match row.was.as_deref().map(|was| short_row(was, breakdown.by)) {
        Some(was) if was != name => format!("{name} (was {was})"),
        _ => name,
    }
}

/// The label of a row without the folders of its files.
pub fn short_row(label: &str, by: BrokenDownBy) -> String {
    match by {
        BrokenDownBy::Line | BrokenDownBy::File | BrokenDownBy::CallChain => {
            let short = frames(label).map(|frame| {
                let (line, via) = frame.split_at(without_native(frame).len());
                format!("{}{via}", short_line(line))
            });
            short.collect::<Vec<String>>().join(CALLED_FROM)
        }
        _ => label.to_owned(),
    }
}

/// `+14 %`, `−3.0 %`.
pub fn signed_percent(share: f64) -> String {
    let sign = if share < 0.0 { "−" } else { "+" };
    format!("{sign}{}", percent(share.abs()))
}

#[cfg(test)]
mod tests {
    use super::super::side_by_side::{MovedUnit, SideMeasure};
    use super::*;

    fn answer(before: &[(&str, i64)], after: &[(&str, i64)]) -> String {
        let side = |rows: &[(&str, i64)]| {
            let total = rows.iter().map(|row| row.1).sum();
            let mut measure = SideMeasure::new("live at the peak", MovedUnit::Bytes, total);
            let rows = rows.iter().map(|(label, value)| ((*label).to_owned(), *value << 20));
            measure.total <<= 20;
            measure.rows.insert(BrokenDownBy::Line, rows.collect());
            measure
        };
        let part = MovedPart::between(String::new(), &[side(before)], &[side(after)]);
        part.measures[0].answer().replace('\u{a0}', " ")
    }

    #[test]
    fn a_line_that_made_most_of_it_is_named() {
        assert_eq!(
            answer(&[("/x/a.py:1", 80), ("b.py:2", 11)], &[("/x/a.py:1", 91), ("b.py:2", 13)]),
            "Live at the peak: 91 MiB → 104 MiB (+13 MiB, +14 %); +11 MiB of the +13 MiB are a.py:1."
        );
        assert_eq!(
            answer(&[("a.py:1", 80), ("b.py:2", 11)], &[("a.py:1", 100), ("b.py:2", 4)]),
            "Live at the peak: 91 MiB → 104 MiB (+13 MiB, +14 %); +20 MiB are a.py:1, and all others \
             together −7.0 MiB."
        );
        assert_eq!(
            answer(&[("a.py:1", 80)], &[("a.py:1", 40)]),
            "Live at the peak: 80 MiB → 40 MiB (−40 MiB, −50 %); all of it is a.py:1."
        );
    }

    #[test]
    fn a_few_lines_explain_it_together() {
        let before: Vec<(&str, i64)> =
            vec![("a.py:1", 40), ("b.py:2", 30), ("c.py:3", 10), ("d.py:4", 10), ("e.py:5", 10)];
        let after: Vec<(&str, i64)> = before.iter().map(|row| (row.0, row.1 / 10)).collect();
        assert_eq!(
            answer(&before, &after),
            "Live at the peak: 100 MiB → 10 MiB (−90 MiB, −90 %); −63 MiB of the −90 MiB are −36 MiB at \
             a.py:1 and −27 MiB at b.py:2."
        );
        let labels: Vec<String> = (0..20).map(|line| format!("a.py:{line}")).collect();
        let row = |value| labels.iter().map(|label| (label.as_str(), value)).collect::<Vec<_>>();
        let text = answer(&row(10), &row(1));
        assert!(
            text.contains("no line stands out: the first are −9.0 MiB at a.py:0 and "),
            "{text}"
        );
    }

    #[test]
    fn movement_under_an_equal_sum_is_named() {
        assert_eq!(
            answer(&[("a.py:1", 80), ("b.py:2", 20)], &[("a.py:1", 70), ("b.py:2", 30)]),
            "Live at the peak: 100 MiB on both sides; underneath, −10 MiB at a.py:1, against \
             +10 MiB at b.py:2."
        );
        assert_eq!(
            answer(&[("a.py:1", 8)], &[("a.py:1", 8)]),
            "Live at the peak: 8.0 MiB on both sides."
        );
    }
}
