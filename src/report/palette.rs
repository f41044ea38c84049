//! Colours of charts: what they mean is the same in every picture.
//!
//! Backends have Okabe and Ito's palette where it has a colour left, and a fixed colour each.

use serde::{Serialize, Serializer};

use crate::spec::FLOOR;

/// A colour, as sRGB bytes; `#0072B2` where it is serialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour(pub u8, pub u8, pub u8);

impl Colour {
    /// This colour thinned with white: 0 leaves it, 1 is white. The result is opaque, so that
    /// overlaps do not darken.
    pub fn pale(self, share: f64) -> Colour {
        self.mix(WHITE, share)
    }

    /// A mixture with `other`; `share` (0 to 1) is the part of `other`.
    pub fn mix(self, other: Colour, share: f64) -> Colour {
        let one =
            |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share).round() as u8;
        Colour(one(self.0, other.0), one(self.1, other.1), one(self.2, other.2))
    }

    /// Perceived lightness, 0 (black) to 1 (white): decides whether text on it is white.
    pub fn lightness(self) -> f64 {
        (0.2126 * f64::from(self.0) + 0.7152 * f64::from(self.1) + 0.0722 * f64::from(self.2))
            / 255.0
    }
}

impl Serialize for Colour {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("#{:02X}{:02X}{:02X}", self.0, self.1, self.2))
    }
}

/// Requested bytes of live blocks.
pub const LIVE: Colour = Colour(0x00, 0x72, 0xB2);
/// Usable less requested bytes.
pub const ROUNDING: Colour = Colour(0x56, 0xB4, 0xE9);
/// Free space on pages in use.
pub const EXTERNAL_FRAGMENTATION: Colour = Colour(0xE6, 0x9F, 0x00);
/// Resident pages without a live byte.
pub const RETAINED: Colour = Colour(0xCF, 0xD3, 0xD7);
/// Over a margin, and single slow calls.
pub const WORSE: Colour = Colour(0xD5, 0x5E, 0x00);
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

/// Families of backends that have a colour of their own.
const FAMILIES: [(&str, Colour); 9] = [
    ("malloc", Colour(0xD5, 0x5E, 0x00)),
    ("pymalloc", Colour(0x20, 0x21, 0x24)),
    ("mimalloc", Colour(0x00, 0x9E, 0x73)),
    ("tcmalloc", Colour(0xCC, 0x79, 0xA7)),
    ("jemalloc", Colour(0x00, 0x72, 0xB2)),
    ("bump", Colour(0x8C, 0x6D, 0x1F)),
    ("python", Colour(0x5B, 0x3E, 0x96)),
    ("snmalloc", Colour(0x1B, 0x8A, 0x9E)),
    (FLOOR, Colour(0x9A, 0xA0, 0xA6)),
];

/// Colours for all other families.
const CYCLE: [Colour; 5] = [
    Colour(0x9C, 0x3D, 0x54),
    Colour(0x4C, 0x7A, 0x34),
    Colour(0x3D, 0x4F, 0x8F),
    Colour(0xB0, 0x86, 0x4A),
    Colour(0x7D, 0x5A, 0x7B),
];

/// The colour of the backend at `at`, and how many backends of its family are before it.
/// `families` has the family of each backend of the run.
pub fn backend_colour(families: &[&str], at: usize) -> (Colour, usize) {
    let own = families[at];
    let variant = families[..at].iter().filter(|family| **family == own).count();
    if let Some((_, colour)) = FAMILIES.iter().find(|(family, _)| *family == own) {
        return (*colour, variant);
    }
    let mut unknown: Vec<&str> = Vec::new();
    for &family in families {
        if FAMILIES.iter().all(|(known, _)| *known != family) && !unknown.contains(&family) {
            unknown.push(family);
        }
    }
    let place = unknown.iter().position(|family| *family == own).unwrap_or(0);
    (CYCLE[place % CYCLE.len()], variant)
}

/// The colour of memory of which a share (0 to 1) is live: orange, pale, blue.
pub fn fullness_colour(share: f64) -> Colour {
    const STOPS: [(f64, Colour); 5] = [
        (0.0, Colour(0xE6, 0x9F, 0x00)),
        (0.22, Colour(0xE9, 0xAE, 0x2C)),
        (0.5, Colour(0xEC, 0xE2, 0xC4)),
        (0.72, Colour(0x7F, 0xB2, 0xD6)),
        (1.0, Colour(0x00, 0x4B, 0x87)),
    ];
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    for pair in STOPS.windows(2) {
        let ((from, low), (to, high)) = (pair[0], pair[1]);
        if share <= to {
            return low.mix(high, (share - from) / (to - from));
        }
    }
    STOPS[4].1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_has_the_same_colour_beside_any_others() {
        let single = backend_colour(&["pymalloc"], 0);
        let beside = backend_colour(&["malloc", "mine", "pymalloc", "pymalloc"], 3);
        assert_eq!(single.0, beside.0);
        assert_eq!((single.1, beside.1), (0, 1));
        let unknown = backend_colour(&["mine", "yours"], 1).0;
        assert_ne!(unknown, backend_colour(&["mine", "yours"], 0).0);
    }

    #[test]
    fn fullness_goes_from_orange_to_blue_and_takes_any_number() {
        assert_eq!(fullness_colour(0.0), Colour(0xE6, 0x9F, 0x00));
        assert_eq!(fullness_colour(1.0), Colour(0x00, 0x4B, 0x87));
        for share in [f64::NAN, -1.0, 2.0, f64::INFINITY] {
            let _ = fullness_colour(share);
        }
    }

    #[test]
    fn a_colour_is_serialised_as_html_writes_it() {
        assert_eq!(serde_json::to_string(&LIVE).unwrap(), "\"#0072B2\"");
    }
}
