//! The canvas of a picture. plotters draws into memory at three times the final size; the result is
//! averaged in linear light and encoded as PNG without a time stamp. So the same record draws the
//! same bytes.
//!
//! Coordinates are pixels of the final picture from the upper left corner, and may be fractions.
//! The canvas remembers the box of each text ([`Canvas::labels`]), so that a test finds labels that
//! overlap or are cut off.

use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont};
use plotters::prelude::{BitMapBackend, DrawingBackend};
use plotters::style::{Color, RGBColor};

use crate::report::palette::{Colour, WHITE};

/// Width of a picture in pixels.
pub const WIDTH: u32 = 1600;
/// Height of a picture in pixels.
pub const HEIGHT: u32 = 920;
/// Sub-pixels of a pixel, along each axis. Lines of plotters have hard edges; the average of 3 × 3
/// sub-pixels has soft ones.
const FINE: u32 = 3;

/// How text is set.
#[derive(Clone, Copy, Debug)]
pub struct Type {
    /// Pixels an em.
    pub size: f64,
    /// The heavy face.
    pub bold: bool,
    /// Colour of the ink.
    pub colour: Colour,
}

/// Which point of a text is at the given place. Vertically it is always the base line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The left end.
    Left,
    /// The middle.
    Middle,
    /// The right end.
    Right,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Stroke {
    /// Pixels.
    pub width: f64,
    /// Its colour.
    pub colour: Colour,
    /// Lengths of ink and gap in pixels; `None` is solid.
    pub dash: Option<(f64, f64)>,
}

impl Stroke {
    /// A solid line.
    pub fn solid(width: f64, colour: Colour) -> Stroke {
        Stroke { width, colour, dash: None }
    }

    /// A dashed line.
    pub fn dashed(width: f64, colour: Colour, ink: f64, gap: f64) -> Stroke {
        Stroke { width, colour, dash: Some((ink, gap)) }
    }
}

/// The box that a text takes, in pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// The text.
    pub text: String,
    /// Left edge.
    pub left: f64,
    /// Top of the capitals.
    pub top: f64,
    /// Right edge.
    pub right: f64,
    /// The base line; of a text that is rotated, the lower edge.
    pub bottom: f64,
}

impl Label {
    /// Whether the two boxes overlap.
    #[cfg(feature = "internals")]
    pub fn overlaps(&self, other: &Label) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }
}

/// A picture being drawn.
pub struct Canvas {
    fine: Vec<u8>,
    labels: Vec<Label>,
}

/// The embedded faces. ab_glyph sets the glyphs: the text of plotters leaves out their side
/// bearings, so that the space between words is uneven.
fn face(bold: bool) -> &'static FontRef<'static> {
    static FACES: OnceLock<[FontRef<'static>; 2]> = OnceLock::new();
    let faces = FACES.get_or_init(|| {
        [dejavu::sans_condensed::regular(), dejavu::sans_condensed::bold()]
            .map(|bytes| FontRef::try_from_slice(bytes).expect("the embedded font is whole"))
    });
    &faces[usize::from(bold)]
}

/// ab_glyph scales by the height from ascender to descender, which in DejaVu is this many ems.
const HEIGHT_OF_EM: f64 = 1.164;
/// Height of DejaVu's capitals in ems.
const CAPITAL: f64 = 0.73;

/// The glyphs of `text` in sub-pixels from its start on the base line; and its width in sub-pixels.
fn glyphs(text: &str, kind: Type) -> (Vec<ab_glyph::Glyph>, f32) {
    let scale = PxScale::from((kind.size * HEIGHT_OF_EM * f64::from(FINE)) as f32);
    let font = face(kind.bold).as_scaled(scale);
    let mut glyphs = Vec::new();
    let mut x = 0.0;
    let mut before = None;
    for character in text.chars() {
        let id = font.glyph_id(character);
        if let Some(before) = before {
            x += font.kern(before, id);
        }
        glyphs.push(id.with_scale_and_position(scale, ab_glyph::point(x, 0.0)));
        x += font.h_advance(id);
        before = Some(id);
    }
    (glyphs, x)
}

/// Width of `text` in pixels when set in `kind`.
pub fn text_width(text: &str, kind: Type) -> f64 {
    f64::from(glyphs(text, kind).1) / f64::from(FINE)
}

/// Breaks `text` at spaces into lines of at most `width` pixels. A longer word has its own line.
pub fn wrap(text: &str, kind: Type, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if text_width(&format!("{line} {word}"), kind) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The text and the type in which it fits into `space` pixels: smaller, down to `least` pixels an
/// em, and only then shortened.
pub fn fitted(text: &str, kind: Type, least: f64, space: f64) -> (String, Type) {
    let width = text_width(text, kind);
    // A little less than the ratio: letters do not shrink quite evenly.
    let size = if width > space {
        (kind.size * space / width * 0.97).max(least).min(kind.size)
    } else {
        kind.size
    };
    let kind = Type { size, ..kind };
    (shorten(text, kind, space), kind)
}

/// `text` cut, with an ellipsis, to at most `width` pixels. The number of a line and the value of a
/// setting at the end of the text stay, because texts often differ in them only.
pub fn shorten(text: &str, kind: Type, width: f64) -> String {
    if text_width(text, kind) <= width {
        return text.to_owned();
    }
    let tail = last_value(text);
    let mut letters: Vec<char> = text[..text.len() - tail.len()].chars().collect();
    while letters.len() > MIN_HEAD_CHARS || tail.is_empty() && !letters.is_empty() {
        letters.pop();
        let shorter = letters.iter().collect::<String>() + "…" + tail;
        if text_width(&shorter, kind) <= width {
            return shorter;
        }
    }
    // The tail takes too much of the space.
    let mut letters: Vec<char> = text.chars().collect();
    while letters.pop().is_some() {
        let shorter = letters.iter().collect::<String>() + "…";
        if text_width(&shorter, kind) <= width {
            return shorter;
        }
    }
    "…".to_owned()
}

/// A backend's version in at most `width` pixels: without the layer below, then without the words
/// around the numbers. Cut off, it could name another version.
pub fn short_version(version: &str, kind: Type, width: f64) -> String {
    let own = version.split_once(", on ").map_or(version, |(own, _)| own);
    let numbers = own.strip_prefix("rules of ").unwrap_or(own);
    let span = numbers.replacen(" to ", "–", 1);
    let bare = span.strip_prefix("CPython ").unwrap_or(&span);
    let forms = [version, own, numbers, &span, bare];
    let fitting = forms.into_iter().find(|form| text_width(form, kind) <= width);
    fitting.map_or_else(|| shorten(bare, kind, width), str::to_owned)
}

/// Characters that stay before the ellipsis where the end of a text stays.
const MIN_HEAD_CHARS: usize = 4;

/// `:123`, `=64K` or `  ×1.5` at the end of a text; empty where it ends otherwise.
fn last_value(text: &str) -> &str {
    const TAIL_BYTES_MAX: usize = 10;
    // A figure that follows the name.
    if let Some(figure) = text.rfind("  ×").and_then(|at| text.get(at..)) {
        return figure;
    }
    let Some(tail) = text.rfind([':', '=']).and_then(|at| text.get(at..)) else { return "" };
    let value = tail.get(1..).unwrap_or_default();
    let is_value = !value.is_empty() && value.chars().all(|letter| letter.is_ascii_alphanumeric());
    let is_line = value.chars().all(|letter| letter.is_ascii_digit());
    let is_known = is_value && (tail.starts_with('=') || is_line);
    if is_known && tail.len() <= TAIL_BYTES_MAX { tail } else { "" }
}

fn rgb(colour: Colour) -> RGBColor {
    RGBColor(colour.0, colour.1, colour.2)
}

/// Pixels in sub-pixels.
fn fine(pixels: f64) -> i32 {
    // A NaN becomes 0, and a place far outside stays outside: a strange record must not break the
    // drawing.
    (pixels * f64::from(FINE)).round().clamp(-30_000.0, 30_000.0) as i32
}

impl Canvas {
    /// A white canvas.
    pub fn new() -> Canvas {
        Canvas { fine: vec![255; (WIDTH * HEIGHT * FINE * FINE * 3) as usize], labels: Vec::new() }
    }

    /// The boxes of all texts set so far.
    #[cfg(feature = "internals")]
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    fn backend(&mut self) -> BitMapBackend<'_> {
        BitMapBackend::with_buffer(&mut self.fine, (WIDTH * FINE, HEIGHT * FINE))
    }

    /// Fills a rectangle; a sliver thinner than a third of a pixel may vanish.
    pub fn rectangle(&mut self, left: f64, top: f64, right: f64, bottom: f64, colour: Colour) {
        let (wide, high) = ((WIDTH * FINE) as i32, (HEIGHT * FINE) as i32);
        let (from, to) =
            (fine(left.min(right)).clamp(0, wide), fine(left.max(right)).clamp(0, wide));
        let (first, end) =
            (fine(top.min(bottom)).clamp(0, high), fine(top.max(bottom)).clamp(0, high));
        // plotters leaves out rectangles that are one sub-pixel wide. Areas consist of those.
        for y in first..end {
            let row = (y * wide) as usize;
            let bytes = &mut self.fine[(row + from as usize) * 3..(row + to as usize) * 3];
            for pixel in bytes.chunks_exact_mut(3) {
                pixel.copy_from_slice(&[colour.0, colour.1, colour.2]);
            }
        }
    }

    /// Fills column `at` of an area that begins at `left`. Each column is a third of a pixel wide.
    /// They meet without gap or overlap at any fraction of `left`.
    pub fn sliver(&mut self, left: f64, at: usize, top: f64, bottom: f64, colour: Colour) {
        let left = f64::from(fine(left)) + at as f64;
        let edge = |column: f64| column / f64::from(FINE);
        self.rectangle(edge(left), top, edge(left + 1.0), bottom, colour);
    }

    /// Fills a rectangle with round ends.
    pub fn bar(&mut self, left: f64, right: f64, middle: f64, thickness: f64, colour: Colour) {
        let half = thickness / 2.0;
        self.rectangle(left, middle - half, right, middle + half, colour);
        self.disc(left, middle, half, colour);
        self.disc(right, middle, half, colour);
    }

    /// Fills a circle.
    pub fn disc(&mut self, x: f64, y: f64, radius: f64, colour: Colour) {
        let radius = fine(radius).max(1) as u32;
        let _ = self.backend().draw_circle((fine(x), fine(y)), radius, &rgb(colour), true);
    }

    /// A circle with a white middle.
    pub fn ring(&mut self, x: f64, y: f64, radius: f64, thickness: f64, colour: Colour) {
        self.disc(x, y, radius, colour);
        self.disc(x, y, radius - thickness, WHITE);
    }

    /// Fills a polygon.
    pub fn polygon(&mut self, points: &[(f64, f64)], colour: Colour) {
        let points: Vec<(i32, i32)> = points.iter().map(|&(x, y)| (fine(x), fine(y))).collect();
        if points.len() > 2 {
            let _ = self.backend().fill_polygon(points, &rgb(colour));
        }
    }

    /// Draws a line through the points.
    pub fn line(&mut self, points: &[(f64, f64)], stroke: Stroke) {
        let points: Vec<(f64, f64)> =
            points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
        match stroke.dash {
            None => {
                for pair in points.windows(2) {
                    self.segment(pair[0], pair[1], stroke);
                }
                // Round joints close the wedge between two straight pieces at a bend.
                if stroke.width > 1.2 && points.len() > 2 {
                    for &(x, y) in &points[1..points.len() - 1] {
                        self.disc(x, y, stroke.width / 2.0, stroke.colour);
                    }
                }
            }
            Some((ink, gap)) => self.dashes(&points, stroke, ink.max(0.5), gap.max(0.5)),
        }
    }

    fn dashes(&mut self, points: &[(f64, f64)], stroke: Stroke, ink: f64, gap: f64) {
        let (mut inked, mut left) = (true, ink);
        for pair in points.windows(2) {
            let (mut from, to) = (pair[0], pair[1]);
            loop {
                let length = (to.0 - from.0).hypot(to.1 - from.1);
                if length <= 0.0 {
                    break;
                }
                let step = left.min(length);
                let next = (
                    from.0 + (to.0 - from.0) * step / length,
                    from.1 + (to.1 - from.1) * step / length,
                );
                if inked {
                    self.segment(from, next, stroke);
                }
                from = next;
                left -= step;
                if left <= 1e-9 {
                    inked = !inked;
                    left = if inked { ink } else { gap };
                }
                if step >= length {
                    break;
                }
            }
        }
    }

    fn segment(&mut self, from: (f64, f64), to: (f64, f64), stroke: Stroke) {
        let half = stroke.width / 2.0;
        if from.1 == to.1 {
            self.rectangle(
                from.0.min(to.0),
                from.1 - half,
                from.0.max(to.0),
                from.1 + half,
                stroke.colour,
            );
        } else if from.0 == to.0 {
            self.rectangle(
                from.0 - half,
                from.1.min(to.1),
                from.0 + half,
                from.1.max(to.1),
                stroke.colour,
            );
        } else {
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            let (across, down) =
                (-(to.1 - from.1) / length * half, (to.0 - from.0) / length * half);
            self.polygon(
                &[
                    (from.0 + across, from.1 + down),
                    (to.0 + across, to.1 + down),
                    (to.0 - across, to.1 - down),
                    (from.0 - across, from.1 - down),
                ],
                stroke.colour,
            );
        }
    }

    /// Sets a text with its base line at `y`; gives its width.
    pub fn text(&mut self, x: f64, y: f64, text: &str, kind: Type, anchor: Anchor) -> f64 {
        let text = clean(text);
        let width = text_width(&text, kind);
        let left = match anchor {
            Anchor::Left => x,
            Anchor::Middle => x - width / 2.0,
            Anchor::Right => x - width,
        };
        let top = y - kind.size * CAPITAL;
        self.ink(&text, kind, |across, down| (fine(left) + across, fine(y) + down));
        self.labels.push(Label { text, left, top, right: left + width, bottom: y });
        width
    }

    /// Sets a text rotated by 90° to the left, with its middle at `y` and its base line at `x`.
    pub fn text_upwards(&mut self, x: f64, y: f64, text: &str, kind: Type) {
        let text = clean(text);
        let width = text_width(&text, kind);
        self.ink(&text, kind, |across, down| (fine(x) + down, fine(y + width / 2.0) - across));
        let (top, bottom) = (y - width / 2.0, y + width / 2.0);
        self.labels.push(Label { text, left: x - kind.size * CAPITAL, top, right: x, bottom });
    }

    /// Draws the glyphs; `place` maps a step along and below the base line to a sub-pixel.
    fn ink(&mut self, text: &str, kind: Type, place: impl Fn(i32, i32) -> (i32, i32)) {
        let mut backend = self.backend();
        for glyph in glyphs(text, kind).0 {
            let Some(outline) = face(kind.bold).outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|x, y, cover| {
                let point = place(corner.x as i32 + x as i32, corner.y as i32 + y as i32);
                let colour = rgb(kind.colour).mix(f64::from(cover.clamp(0.0, 1.0)));
                let _ = backend.draw_pixel(point, colour.to_backend_color());
            });
        }
    }

    /// The picture as rows of RGB bytes in its final size.
    pub fn pixels(&self) -> Vec<u8> {
        let linear = linear_table();
        let back = srgb_table();
        let row = (WIDTH * FINE * 3) as usize;
        let mut pixels = vec![255_u8; (WIDTH * HEIGHT * 3) as usize];
        for (y, line) in pixels.chunks_exact_mut((WIDTH * 3) as usize).enumerate() {
            let first = y * FINE as usize * row;
            let rows = [0, 1, 2].map(|k| &self.fine[first + k * row..first + (k + 1) * row]);
            for (x, pixel) in line.chunks_exact_mut(3).enumerate() {
                let at = x * FINE as usize * 3;
                let block = rows.map(|row| &row[at..at + 9]);
                if block.iter().all(|part| part.iter().all(|&byte| byte == 255)) {
                    continue;
                }
                for (channel, byte) in pixel.iter_mut().enumerate() {
                    let sum: u32 = block
                        .iter()
                        .map(|part| {
                            linear[part[channel] as usize]
                                + linear[part[channel + 3] as usize]
                                + linear[part[channel + 6] as usize]
                        })
                        .sum();
                    *byte = back[(((sum / 9) as usize + 8) >> 4).min(4095)];
                }
            }
        }
        pixels
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    /// When the encoder is out of memory.
    pub fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, WIDTH, HEIGHT);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Balanced);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels())?;
        writer.finish()?;
        Ok(bytes)
    }
}

impl Default for Canvas {
    fn default() -> Canvas {
        Canvas::new()
    }
}

/// The text with a question mark for each control character: a name from a record may have any.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// sRGB byte to linear light in 16 bits, after IEC 61966-2-1.
fn linear_table() -> &'static [u32; 256] {
    static TABLE: OnceLock<[u32; 256]> = OnceLock::new();
    TABLE.get_or_init(|| {
        std::array::from_fn(|byte| {
            let value = byte as f64 / 255.0;
            let light =
                if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) };
            (light * 65535.0).round() as u32
        })
    })
}

/// The upper 12 bits of linear light to sRGB bytes.
fn srgb_table() -> &'static [u8; 4096] {
    static TABLE: OnceLock<[u8; 4096]> = OnceLock::new();
    TABLE.get_or_init(|| {
        std::array::from_fn(|light| {
            let light = light as f64 / 4095.0;
            let value = if light <= 0.003_130_8 {
                light * 12.92
            } else {
                1.055 * light.powf(1.0 / 2.4) - 0.055
            };
            (value * 255.0).round() as u8
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slivers_make_a_whole_area_at_any_start() {
        for k in 0..40 {
            let left = 100.0 + f64::from(k) / 24.0;
            let mut canvas = Canvas::new();
            for at in 0..300 {
                canvas.sliver(left, at, 50.0, 60.0, Colour(0, 0, 0));
            }
            let pixels = canvas.pixels();
            let row = &pixels[(55 * WIDTH as usize + 103) * 3..(55 * WIDTH as usize + 199) * 3];
            assert!(row.iter().all(|byte| *byte == 0), "gaps when the area begins at {left}");
        }
    }

    #[test]
    fn plain_colours_come_through_unchanged() {
        for colour in
            [Colour(0, 114, 178), Colour(32, 33, 36), Colour(1, 2, 3), Colour(254, 128, 64)]
        {
            let mut canvas = Canvas::new();
            canvas.rectangle(10.0, 10.0, 20.0, 20.0, colour);
            let at = (15 * WIDTH as usize + 15) * 3;
            let pixels = canvas.pixels();
            let found = Colour(pixels[at], pixels[at + 1], pixels[at + 2]);
            let apart = |a: u8, b: u8| a.abs_diff(b) <= 1;
            assert!(
                apart(found.0, colour.0) && apart(found.1, colour.1) && apart(found.2, colour.2),
                "{colour:?} became {found:?}"
            );
        }
    }

    #[test]
    fn text_is_wrapped_and_shortened_by_its_width() {
        let kind = Type { size: 15.0, bold: false, colour: Colour(0, 0, 0) };
        let lines = wrap("one two three four five six seven", kind, 90.0);
        assert!(
            lines.len() > 1 && lines.iter().all(|line| text_width(line, kind) <= 90.0),
            "{lines:?}"
        );
        assert!(text_width(&shorten("a name that is far too long", kind, 80.0), kind) <= 80.0);
        assert_eq!(shorten("short", kind, 80.0), "short");
        let line = shorten("importlib._bootstrap_external:1602", kind, 160.0);
        assert!(line.ends_with("…:1602") && text_width(&line, kind) <= 160.0, "{line}");
        let version = "rules of CPython 3.11 to 3.14, on glibc 2.36";
        let short = |width| short_version(version, kind, width);
        assert_eq!(short(2000.0), version);
        assert_eq!(short(text_width("CPython 3.11–3.14", kind)), "CPython 3.11–3.14");
        assert_eq!(short(text_width("3.11–3.14", kind)), "3.11–3.14");
        assert!(shorten("MALLOC_TRIM_THRESHOLD_=64K", kind, 120.0).ends_with("…=64K"));
        assert!(text_width(&shorten("a:1234567", kind, 30.0), kind) <= 30.0);
    }
}
