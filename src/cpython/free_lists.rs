//! The objects that CPython stores for the next of their type after they are freed: how many, and
//! their sizes.
//!
//! Source: the limits of Objects/{float,tuple,list,dict,slice,frame,method,class,gen}object.c,
//! Python/context.c, Modules/_asynciomodule.c (3.6 to 3.12) and Include/internal/pycore_freelist*.h
//! (3.13 on). `tests/suite/freelist_matches_cpython.rs` compares the sizes and limits of 3.6 to
//! 3.13 with the interpreters of the machine; those of 3.14 are read from its headers. Sizes are
//! the requested bytes, with the collector's header, in 64-bit builds.

/// How a list is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListRule {
    /// One list for objects of exactly this size.
    OneSize,
    /// One list for all sizes: the latest freed object is resized when it is too small.
    AnySize,
    /// Freed objects stay and are never reused until the lists are cleared (gh-121439: tuples of 20
    /// before 3.12.5).
    Hoarded,
}

/// One list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The type's name in a trace.
    pub name: &'static str,
    /// The tuple's length, for tuples.
    pub length: Option<usize>,
    /// Bytes of the smallest object that the list takes.
    pub bytes_least: usize,
    /// Bytes of the largest.
    pub bytes_most: usize,
    /// Most objects in it.
    pub most: u32,
    /// How it is used.
    pub rule: ListRule,
    /// Whether nearly every program has such objects. Only these count where a trace has no types.
    /// Otherwise common blocks would get the list space of rarer types of their size.
    pub is_common: bool,
}

/// A list that stores fewer objects is no cause of memory that a person would look for.
pub const LARGE_LIST_OBJECTS: u32 = 80;

impl Listed {
    /// Its objects as text: `tuples of 3`, `floats`.
    pub fn plural(&self) -> String {
        match self.length {
            Some(length) => format!("{}s of {length}", self.name),
            None if self.name.ends_with('s') => self.name.to_owned(),
            None => format!("{}s", self.name),
        }
    }

    /// Whether so many blocks of a size are about as many objects as a full list has: at least 95 % of
    /// them, and no more than twice as many.
    pub fn is_filled_by(&self, blocks: u64, size_bytes: u64) -> bool {
        let most = u64::from(self.most);
        let is_of_its_size =
            self.bytes_least == self.bytes_most && self.bytes_most as u64 == size_bytes;
        is_of_its_size && blocks.saturating_mul(20) >= most * 19 && blocks <= most * 2
    }

    /// The list as text: `tuple of 3`.
    pub fn text(&self) -> String {
        match self.length {
            Some(length) => format!("{} of {length}", self.name),
            None => self.name.to_owned(),
        }
    }

    /// Whether an object of that type and size belongs to the list.
    pub fn takes(&self, type_name: &str, bytes: u64) -> bool {
        self.name == type_name
            && (self.bytes_least as u64..=self.bytes_most as u64).contains(&bytes)
    }
}

/// Sizes of frames in bytes: from the smallest of any version, without variables, to more than
/// functions need.
const FRAME_BYTES: (usize, usize) = (64, 1 << 16);

/// Bytes of the collector's header before an object.
pub fn collector_bytes((minor, patch): (u32, u32)) -> usize {
    match (minor, patch) {
        (8.., _) => 16,
        (7, 4..) => 32, // three words, aligned to 16 (bpo-27987)
        _ => 24,
    }
}

/// Bytes of a tuple before its items, without the collector's header. 3.14 stores the hash there.
fn tuple_bytes(minor: u32) -> usize {
    if minor >= 14 { 32 } else { 24 }
}

/// Bytes of the smallest table of keys: 8 indices and 5 entries, which have no hash for keys that
/// are strings from 3.11 on.
fn keys_bytes(minor: u32) -> usize {
    if minor >= 11 { 32 + 8 + 5 * 16 } else { 40 + 8 + 5 * 24 }
}

/// The lists of CPython 3.`minor`.`patch`.
///
/// Frames until 3.10 are stored in a list of 200, and one at each code object. A trace has no code
/// objects, so only the list is here. Until 3.10 lists belong to the process, later to the
/// interpreter. For a trace of one interpreter there is no difference.
pub fn listed(version: (u32, u32)) -> Vec<Listed> {
    let (minor, patch) = version;
    let collector = collector_bytes(version);
    let mut all = Vec::new();
    let mut put = |name, bytes: usize, most, is_common| {
        let (bytes_least, bytes_most) = (bytes, bytes);
        all.push(Listed {
            name,
            length: None,
            bytes_least,
            bytes_most,
            most,
            rule: ListRule::OneSize,
            is_common,
        });
    };
    put("float", 24, 100, true);
    put("list", 40 + collector, 80, true);
    put("dict", 48 + collector, 80, true);
    put("dict keys", keys_bytes(minor), 80, true);
    put("slice", 40 + collector, 1, false);
    if minor <= 8 {
        let function = if minor == 8 { 56 } else { 48 };
        let method = if minor == 8 { 48 } else { 40 };
        put("builtin_function_or_method", function + collector, 256, false);
        put("method", method + collector, 256, false);
    }
    if minor >= 7 {
        put("Context", 48 + collector, 255, false);
        put("FutureIter", 24 + collector, 255, false);
    }
    put("async_generator_wrapped_value", 24 + collector, 80, false);
    put("async_generator_asend", 40 + collector, 80, false);
    if minor >= 14 {
        put("builtin_function_or_method", 56 + collector, 16, false);
        put("builtin_method", 64 + collector, 16, false);
        put("method", 48 + collector, 20, false);
        put("list_iterator", 32 + collector, 10, false);
        put("tuple_iterator", 32 + collector, 10, false);
        put("range", 48, 6, false);
        put("range_iterator", 40, 6, false);
    }
    let longest = if minor >= 11 { 20 } else { 19 };
    for length in 1..=longest {
        let bytes = collector + tuple_bytes(minor) + 8 * length;
        let hoarded = length == 20 && (minor == 11 || minor == 12 && patch < 5);
        all.push(Listed {
            name: "tuple",
            length: Some(length),
            bytes_least: bytes,
            bytes_most: bytes,
            most: 2000,
            rule: if hoarded { ListRule::Hoarded } else { ListRule::OneSize },
            is_common: true,
        });
    }
    let mut any_size = |name, bytes_least, bytes_most, most, is_common| {
        let rule = ListRule::AnySize;
        all.push(Listed { name, length: None, bytes_least, bytes_most, most, rule, is_common });
    };
    if minor <= 10 {
        any_size("frame", FRAME_BYTES.0, FRAME_BYTES.1, 200, false);
    }
    if minor >= 14 {
        any_size("int", 28, 32, 100, true); // of one digit
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_object_belongs_to_two_lists() {
        for version in [
            (6, 0),
            (7, 3),
            (7, 16),
            (8, 18),
            (9, 0),
            (10, 0),
            (11, 7),
            (12, 1),
            (12, 5),
            (13, 0),
            (14, 0),
        ] {
            let all = listed(version);
            for (at, list) in all.iter().enumerate() {
                for bytes in [list.bytes_least as u64, list.bytes_most as u64] {
                    let takers = all.iter().filter(|other| other.takes(list.name, bytes)).count();
                    assert_eq!(takers, 1, "3.{version:?}: {} ({at})", list.text());
                }
            }
        }
    }
}
