//! Labels in a column beside a plot, each near the line that it names.

use super::canvas::{Anchor, Canvas, Stroke, Type, shorten};

/// Distance of two labels in pixels.
const STEP: f64 = 18.0;

/// A label of a line.
#[derive(Clone, Debug)]
pub struct EndLabel {
    /// Where the line ends.
    pub y: f64,
    /// The text.
    pub text: String,
    /// How it is set.
    pub kind: Type,
}

/// Sets labels in a column at `x`, each as near to its own height as the others allow, between
/// `top` and `bottom`. A thin line leads from `from` to each label. Labels without space are left
/// out.
pub fn end_labels(
    canvas: &mut Canvas,
    (from, x): (f64, f64),
    (top, bottom): (f64, f64),
    labels: Vec<EndLabel>,
    width: f64,
) {
    let mut labels: Vec<EndLabel> =
        labels.into_iter().filter(|label| label.y.is_finite()).collect();
    let places = ((bottom - top) / STEP).floor().max(0.0) as usize + 1;
    labels.truncate(places);
    labels.sort_by(|a, b| a.y.total_cmp(&b.y));
    let wanted: Vec<f64> = labels.iter().map(|label| label.y).collect();
    let places = spread(&wanted, STEP, top, bottom);
    for (label, place) in labels.iter().zip(places) {
        let stroke = Stroke::solid(1.0, label.kind.colour.pale(0.3));
        canvas.line(&[(from, label.y), (x - 4.0, place)], stroke);
        let text = shorten(&label.text, label.kind, width);
        canvas.text(x, place + label.kind.size * 0.36, &text, label.kind, Anchor::Left);
    }
}

/// Places for `wanted` (rising) that are at least `step` apart and inside `top..=bottom`, moved as
/// little as possible in the sense of least squares. Places that collide become a group around
/// their average: the "pool adjacent violators" method on `wanted` less rank times step.
fn spread(wanted: &[f64], step: f64, top: f64, bottom: f64) -> Vec<f64> {
    let mut groups: Vec<(f64, usize)> = Vec::new();
    for (rank, place) in wanted.iter().enumerate() {
        let mut group = (place - rank as f64 * step, 1);
        while let Some(&(average, members)) = groups.last() {
            if average <= group.0 {
                break;
            }
            groups.pop();
            let total = members + group.1;
            group = ((average * members as f64 + group.0 * group.1 as f64) / total as f64, total);
        }
        groups.push(group);
    }
    let last = wanted.len().saturating_sub(1) as f64 * step;
    let most = (bottom - last).max(top);
    let mut places = Vec::with_capacity(wanted.len());
    for (average, members) in groups {
        for _ in 0..members {
            let rank = places.len() as f64;
            places.push(average.clamp(top, most) + rank * step);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_pushed_apart_and_stay_inside() {
        assert_eq!(spread(&[10.0, 50.0], 18.0, 0.0, 100.0), [10.0, 50.0]);
        assert_eq!(spread(&[50.0, 50.0], 18.0, 0.0, 100.0), [41.0, 59.0]);
        assert_eq!(spread(&[0.0, 0.0, 0.0], 18.0, 0.0, 100.0), [0.0, 18.0, 36.0]);
        assert_eq!(spread(&[100.0, 100.0], 18.0, 0.0, 100.0), [82.0, 100.0]);
        assert!(spread(&[], 18.0, 0.0, 1.0).is_empty());
    }
}
