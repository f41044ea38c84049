//! What all pictures share: type sizes, margins, and the frame of title, subtitle and reading
//! sentences.

use super::canvas::{Anchor, Canvas, HEIGHT, Stroke, Type, WIDTH, shorten, text_width, wrap};
use crate::report::chart::{Caption, ReadingSentence};
use crate::report::palette::{Colour, INK, SOFT};

/// The title.
pub const TITLE: Type = Type { size: 25.0, bold: true, colour: INK };
/// What is plotted.
pub const NOTE: Type = Type { size: 15.0, bold: false, colour: SOFT };
/// How to read it.
const READING: Type = Type { size: 14.0, bold: false, colour: SOFT };
/// A panel's name.
pub const HEADING: Type = Type { size: 18.0, bold: true, colour: INK };
/// Numbers at axes and in the plot.
pub const SMALL: Type = Type { size: 14.0, bold: false, colour: SOFT };
/// The same, bold.
pub const STRONG: Type = Type { size: 14.0, bold: true, colour: INK };
/// Asides.
pub const TINY: Type = Type { size: 12.5, bold: false, colour: SOFT };
/// The note on data that were not recorded.
const WARNING: Type = Type { size: 14.0, bold: true, colour: Colour(0xB3, 0x26, 0x1E) };

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

/// Left edge of title, notes and panels, in pixels.
pub const LEFT: f64 = 56.0;
/// Right edge of everything, in pixels.
pub const RIGHT: f64 = WIDTH as f64 - 24.0;

/// Lines of reading sentences at most.
const READING_LINES_MAX: usize = 3;

/// Sets the sentences of a caption: the title (at most two lines, smaller when it is long), the
/// line on what is plotted, and the reading sentences at the foot. Gives the y at which the free
/// space begins and the y at which it ends.
pub fn frame(canvas: &mut Canvas, caption: &Caption) -> (f64, f64) {
    let width = RIGHT - LEFT;
    let (lines, kind) = title_lines(&caption.title, width);
    let mut y = 48.0;
    for line in &lines {
        canvas.text(LEFT, y, &shorten(line, kind, width), kind, Anchor::Left);
        y += kind.size * 1.48;
    }
    // The distance of the next line is the same for any size of the title.
    y += 29.0 - kind.size * 1.48;
    for line in wrap(&caption.plotted, NOTE, width).iter().take(2) {
        canvas.text(LEFT, y, &shorten(line, NOTE, width), NOTE, Anchor::Left);
        y += 22.0;
    }
    let lines = reading_lines(&reading_text(&caption.reading));
    let lines = &lines[..lines.len().min(READING_LINES_MAX)];
    let mut foot = f64::from(HEIGHT) - 20.0 - 23.0 * (lines.len() as f64 - 1.0);
    let end = foot - 24.0;
    for line in lines {
        canvas.text(LEFT, foot, &shorten(line, READING, width), READING, Anchor::Left);
        foot += 23.0;
    }
    (y, end)
}

/// The title in lines, and their type.
fn title_lines(title: &str, width: f64) -> (Vec<String>, Type) {
    let mut kind = TITLE;
    let mut lines = wrap(title, kind, width);
    while lines.len() > 2 && kind.size > 17.0 {
        kind.size -= 1.0;
        lines = wrap(title, kind, width);
    }
    // A few words on a second line of their own read badly: the break moves to the left.
    let is_short = |lines: &[String]| lines.len() == 2 && text_width(&lines[1], kind) < width * 0.3;
    let mut narrow = width;
    while is_short(&lines) && narrow > width * 0.6 {
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
    (lines, kind)
}

/// The first sentence, and those of the others that there is space for as a whole.
fn reading_text(sentences: &[ReadingSentence]) -> String {
    let mut sentences = sentences.iter();
    let mut text = sentences.next().map_or(String::new(), |first| first.text.clone());
    for sentence in sentences {
        let forms = std::iter::once(&sentence.text).chain(&sentence.shorter);
        let mut longer = forms.map(|form| format!("{text}  {form}"));
        if let Some(longer) = longer.find(|form| reading_lines(form).len() <= READING_LINES_MAX) {
            text = longer;
        }
    }
    text
}

fn reading_lines(text: &str) -> Vec<String> {
    wrap(&format!("How to read.  {text}"), READING, RIGHT - LEFT)
}

/// Sets the note on data that were not recorded, at the very top.
pub fn warn(canvas: &mut Canvas, note: &str) {
    canvas.text(RIGHT, 20.0, &shorten(note, WARNING, RIGHT - LEFT), WARNING, Anchor::Right);
}

/// A row of coloured squares with names. Gives the y below it.
pub fn legend<'a>(
    canvas: &mut Canvas,
    x: f64,
    y: f64,
    entries: impl IntoIterator<Item = (Colour, &'a str)>,
) -> f64 {
    let mut x = x;
    for (colour, name) in entries {
        canvas.rectangle(x, y - 13.0, x + 18.0, y + 3.0, colour);
        let kind = SMALL.sized(14.5).in_colour(INK);
        x += 26.0 + canvas.text(x + 26.0, y, name, kind, Anchor::Left) + 40.0;
    }
    y + 16.0
}

/// Whether a text has space in `width` pixels.
pub fn fits(text: &str, kind: Type, width: f64) -> bool {
    text_width(text, kind) + 6.0 <= width
}

/// The line of a backend: the first of a family is solid, the others have dashes.
pub fn backend_stroke(colour: Colour, variant: usize, width: f64) -> Stroke {
    match variant {
        0 => Stroke::solid(width, colour),
        1 => Stroke::dashed(width, colour, 8.0, 4.0),
        2 => Stroke::dashed(width, colour, 3.0, 3.0),
        _ => Stroke::dashed(width, colour, 12.0, 3.0),
    }
}
