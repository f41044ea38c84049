//! Room `report`, the contract: what a chart is, and what all pictures share: palette, type sizes,
//! the frame of title, sub-title and reading hint, and labels that keep out of each other's way.

use super::canvas::{
    Anchor, Canvas, Colour, HEIGHT, Stroke, Type, WIDTH, shorten, text_width, wrap,
};
use super::figures::TraceReport;

/// A picture of one trace: one file of this room, one line in [`super::CHARTS`].
pub struct Chart {
    /// File name after the trace's: `TRACE--NAME.png`.
    pub name: &'static str,
    /// The question that it answers at a glance.
    pub question: &'static str,
    /// How to read it, in a sentence or two, for the page.
    pub reading: &'static str,
    /// Draws it; `None` when the record has nothing to draw.
    pub draw: fn(&TraceReport) -> Option<Picture>,
}

/// A finished picture.
pub struct Picture {
    /// The verdict: what stands above it.
    pub title: String,
    /// The drawing.
    pub canvas: Canvas,
}

/// Requested bytes of live blocks.
pub const LIVE: Colour = Colour(0x00, 0x72, 0xB2);
/// Usable less requested bytes.
pub const ROUNDING: Colour = Colour(0x56, 0xB4, 0xE9);
/// Free space in pages that a live block pins.
pub const EXTERNAL_FRAGMENTATION: Colour = Colour(0xE6, 0x9F, 0x00);
/// Resident pages without a live byte.
pub const KEPT: Colour = Colour(0xCF, 0xD3, 0xD7);
/// Text.
pub const INK: Colour = Colour(0x20, 0x21, 0x24);
/// Text of the second rank.
pub const SOFT: Colour = Colour(0x5F, 0x63, 0x68);
/// Axes.
pub const AXIS: Colour = Colour(0x9A, 0xA0, 0xA6);
/// Grid lines.
pub const GRID: Colour = Colour(0xE6, 0xE8, 0xEA);
/// White.
pub const WHITE: Colour = Colour(0xFF, 0xFF, 0xFF);

/// The title.
pub const TITLE: Type = Type { size: 25.0, bold: true, colour: INK };
/// What is plotted, and how to read it.
pub const NOTE: Type = Type { size: 15.0, bold: false, colour: SOFT };
/// A panel's name.
pub const HEADING: Type = Type { size: 18.0, bold: true, colour: INK };
/// Numbers at axes and in the plot.
pub const SMALL: Type = Type { size: 14.0, bold: false, colour: SOFT };
/// The same, heavy.
pub const STRONG: Type = Type { size: 14.0, bold: true, colour: INK };
/// Asides.
pub const TINY: Type = Type { size: 12.5, bold: false, colour: SOFT };

impl Type {
    /// In another colour.
    pub fn in_colour(self, colour: Colour) -> Type {
        Type { colour, ..self }
    }

    /// In another size.
    pub fn sized(self, size: f64) -> Type {
        Type { size, ..self }
    }
}

/// Left edge of title, notes and panels.
pub const LEFT: f64 = 56.0;
/// Right edge that nothing passes.
pub const RIGHT: f64 = WIDTH as f64 - 24.0;

/// Backends with a colour of their own (Okabe and Ito's palette where it has one left).
const FAMILIES: [(&str, Colour); 9] = [
    ("malloc", Colour(0xD5, 0x5E, 0x00)),
    ("pymalloc", Colour(0x20, 0x21, 0x24)),
    ("mimalloc", Colour(0x00, 0x9E, 0x73)),
    ("tcmalloc", Colour(0xCC, 0x79, 0xA7)),
    ("jemalloc", Colour(0x00, 0x72, 0xB2)),
    ("bump", Colour(0x8C, 0x6D, 0x1F)),
    ("python", Colour(0x5B, 0x3E, 0x96)),
    ("snmalloc", Colour(0x1B, 0x8A, 0x9E)),
    ("null", Colour(0x9A, 0xA0, 0xA6)),
];

/// For backends that no one has named before.
const CYCLE: [Colour; 5] = [
    Colour(0x9C, 0x3D, 0x54),
    Colour(0x4C, 0x7A, 0x34),
    Colour(0x3D, 0x4F, 0x8F),
    Colour(0xB0, 0x86, 0x4A),
    Colour(0x7D, 0x5A, 0x7B),
];

/// The first word of a backend's name, without settings and what lies below it; of a shared library
/// the allocator that it is named after, so that `so:/usr/lib/libjemalloc.so.2` has jemalloc's
/// colour.
fn family(name: &str) -> &str {
    let Some(path) = name.strip_prefix("so:").or_else(|| name.strip_prefix("preload:")) else {
        return name.split([':', '@', '+']).next().unwrap_or(name);
    };
    let file = path.split(':').next().and_then(|path| path.rsplit('/').next()).unwrap_or(path);
    let file = file.strip_prefix("lib").unwrap_or(file);
    file.split(['.', '_', '-']).next().unwrap_or(file)
}

/// The colour of the backend at `at`, and how many of the same colour stand before it.
pub fn backend_colour(names: &[&str], at: usize) -> (Colour, usize) {
    let mine = family(names[at]);
    let variant = names[..at].iter().filter(|name| family(name) == mine).count();
    if let Some((_, colour)) = FAMILIES.iter().find(|(name, _)| *name == mine) {
        return (*colour, variant);
    }
    let mut unknown: Vec<&str> = Vec::new();
    for name in names.iter().map(|name| family(name)) {
        if FAMILIES.iter().all(|(known, _)| *known != name) && !unknown.contains(&name) {
            unknown.push(name);
        }
    }
    let place = unknown.iter().position(|name| *name == mine).unwrap_or(0);
    (CYCLE[place % CYCLE.len()], variant)
}

/// Dashes by variant of a family: the first is solid.
pub fn backend_stroke(colour: Colour, variant: usize, width: f64) -> Stroke {
    match variant {
        0 => Stroke::solid(width, colour),
        1 => Stroke::dashed(width, colour, 8.0, 4.0),
        2 => Stroke::dashed(width, colour, 3.0, 3.0),
        _ => Stroke::dashed(width, colour, 12.0, 3.0),
    }
}

/// Sets the title (at most two lines, smaller when it is long), the grey line under it and the
/// reading hint at the foot. Gives the y at which the free room begins and the y at which it ends.
pub fn frame(canvas: &mut Canvas, title: &str, plotted: &str, hint: &str) -> (f64, f64) {
    let width = RIGHT - LEFT;
    let mut kind = TITLE;
    let mut lines = wrap(title, kind, width);
    while lines.len() > 2 && kind.size > 17.0 {
        kind.size -= 1.0;
        lines = wrap(title, kind, width);
    }
    // A few words alone on the second line read badly: the break moves to the left.
    let alone = |lines: &[String]| lines.len() == 2 && text_width(&lines[1], kind) < width * 0.3;
    let mut narrow = width;
    while alone(&lines) && narrow > width * 0.6 {
        narrow -= 24.0;
        let tried = wrap(title, kind, narrow);
        if tried.len() > 2 {
            break;
        }
        lines = tried;
    }
    if lines.len() > 2 {
        let rest = lines.split_off(1).join(" ");
        lines.push(rest);
    }
    let mut y = 48.0;
    for line in &lines {
        canvas.text(LEFT, y, &shorten(line, kind, width), kind, Anchor::Left);
        y += kind.size * 1.48;
    }
    // The grey line keeps its distance from the title's last line, however small that is set.
    y += 29.0 - kind.size * 1.48;
    for line in wrap(plotted, NOTE, width).iter().take(2) {
        canvas.text(LEFT, y, &shorten(line, NOTE, width), NOTE, Anchor::Left);
        y += 22.0;
    }
    let small = NOTE.sized(14.0);
    // Whole sentences, as far as there is room: one that breaks off says nothing.
    let mut sentences = hint.split("  ").map(str::to_owned);
    let opening = sentences.next().unwrap_or_default();
    let hint = hint_of(&opening, &sentences.collect::<Vec<_>>());
    let hints = wrap(&format!("How to read.  {hint}"), small, width);
    let hints = &hints[..hints.len().min(3)];
    let mut foot = f64::from(HEIGHT) - 20.0 - 23.0 * (hints.len() as f64 - 1.0);
    let end = foot - 24.0;
    for line in hints {
        canvas.text(LEFT, foot, &shorten(line, small, width), small, Anchor::Left);
        foot += 23.0;
    }
    (y, end)
}

/// A reading hint of `opening` and those of `sentences`, in their order, that find room at the foot
/// as a whole.
pub fn hint_of(opening: &str, sentences: &[String]) -> String {
    let small = NOTE.sized(14.0);
    let mut text = opening.to_owned();
    for sentence in sentences.iter().filter(|sentence| !sentence.is_empty()) {
        let longer = format!("{text}  {sentence}");
        if wrap(&format!("How to read.  {longer}"), small, RIGHT - LEFT).len() <= 3 {
            text = longer;
        }
    }
    text
}

/// Says at the very top of a picture that what it shows was not recorded: see
/// [`super::words::synthesised`].
pub fn declare(canvas: &mut Canvas, words: &str) {
    let kind = STRONG.in_colour(Colour(0xB3, 0x26, 0x1E));
    canvas.text(RIGHT, 20.0, &shorten(words, kind, RIGHT - LEFT), kind, Anchor::Right);
}

/// A row of coloured squares with words. Gives the y below it.
pub fn legend(canvas: &mut Canvas, x: f64, y: f64, entries: &[(Colour, &str)]) -> f64 {
    let mut x = x;
    for (colour, words) in entries {
        canvas.rectangle(x, y - 13.0, x + 18.0, y + 3.0, *colour);
        let kind = SMALL.sized(14.5).in_colour(INK);
        x += 26.0 + canvas.text(x + 26.0, y, words, kind, Anchor::Left) + 40.0;
    }
    y + 16.0
}

/// A label that wants to stand at `y`.
#[derive(Clone, Debug)]
pub struct EndLabel {
    /// Where the thing is that it names.
    pub y: f64,
    /// The words.
    pub text: String,
    /// How they are set.
    pub kind: Type,
}

/// Sets labels in a column at `x`, each as near to its own height as the others let it, between
/// `top` and `bottom`; a thin line leads from `from` to a label that had to move. Labels for which
/// there is no room are left out.
pub fn end_labels(
    canvas: &mut Canvas,
    (from, x): (f64, f64),
    (top, bottom): (f64, f64),
    labels: Vec<EndLabel>,
    width: f64,
) {
    const STEP: f64 = 18.0;
    let mut labels: Vec<EndLabel> =
        labels.into_iter().filter(|label| label.y.is_finite()).collect();
    let room = ((bottom - top) / STEP).floor().max(0.0) as usize + 1;
    labels.truncate(room);
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

/// AddressTrace for `wanted` (rising) that are at least `step` apart and inside `top..=bottom`, moved as
/// little as possible in the sense of least squares: neighbours that collide become a block that
/// stands at its members' average.
pub fn spread(wanted: &[f64], step: f64, top: f64, bottom: f64) -> Vec<f64> {
    // Pool adjacent violators on wanted minus its rank times the step.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for (rank, place) in wanted.iter().enumerate() {
        let mut block = (place - rank as f64 * step, 1);
        while let Some(&(average, members)) = blocks.last() {
            if average <= block.0 {
                break;
            }
            blocks.pop();
            let total = members + block.1;
            block = ((average * members as f64 + block.0 * block.1 as f64) / total as f64, total);
        }
        blocks.push(block);
    }
    let last = wanted.len().saturating_sub(1) as f64 * step;
    let most = (bottom - last).max(top);
    let mut places = Vec::with_capacity(wanted.len());
    for (average, members) in blocks {
        for _ in 0..members {
            let rank = places.len() as f64;
            places.push(average.clamp(top, most) + rank * step);
        }
    }
    places
}

/// A word in a pale box is not needed where a label fits; this says whether it does.
pub fn fits(text: &str, kind: Type, width: f64) -> bool {
    text_width(text, kind) + 6.0 <= width
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

    #[test]
    fn a_backend_keeps_its_colour_whoever_stands_beside_it() {
        let alone = backend_colour(&["pymalloc@3.9"], 0);
        let beside = backend_colour(&["malloc", "mine", "pymalloc", "pymalloc@3.9"], 3);
        assert_eq!(alone.0, beside.0);
        assert_eq!((alone.1, beside.1), (0, 1));
        let unknown = backend_colour(&["mine", "yours"], 1).0;
        assert_ne!(unknown, backend_colour(&["mine", "yours"], 0).0);
    }
}
