//! Columns of a binary trace's part, and their varints: LEB128, at most 10 bytes.
//!
//! A processor cannot predict the length of the next varint, and a branch on it would cost more than
//! decoding. So columns are decoded without such branches: byte by byte. A column that may hold long
//! varints is decoded varint by varint, from eight bytes at once.

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Zeros behind a part's raw bytes, so that eight bytes can be read at once at the end of a column.
pub const PADDING: usize = 8;

/// The continuation bits of eight bytes: whether the varint goes on in the next byte.
const GO_ON: u64 = 0x8080_8080_8080_8080;

/// Reads a column, a range of a part's raw bytes. Reading single varints may run past the end, into
/// the bytes that follow. So a column is sound only if [`PartColumn::is_done`] holds in the end.
#[derive(Clone, Copy)]
pub struct PartColumn<'a> {
    raw: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> PartColumn<'a> {
    /// The column of the bytes from `at` to `end`. [`PADDING`] must follow the raw bytes.
    pub fn new(raw: &'a [u8], at: usize, end: usize) -> PartColumn<'a> {
        PartColumn { raw, at, end }
    }

    /// The next varint and its length, without moving on. Varints of at most 8 bytes are read without
    /// a branch on the length.
    #[inline(always)]
    fn peek(&self) -> Option<(u64, usize)> {
        let word = u64::from_le_bytes(*self.raw.get(self.at..)?.first_chunk()?);
        let last = !word & GO_ON;
        if last == 0 {
            return self.peek_long();
        }
        let word = word & (last ^ (last - 1)) & !GO_ON;
        let word = (word & 0x007F_007F_007F_007F) | (word & 0x7F00_7F00_7F00_7F00) >> 1;
        let word = (word & 0x0000_3FFF_0000_3FFF) | (word & 0x3FFF_0000_3FFF_0000) >> 2;
        let value = (word & 0x0FFF_FFFF) | (word & 0x0FFF_FFFF_0000_0000) >> 4;
        Some((value, last.trailing_zeros() as usize / 8 + 1))
    }

    /// As [`PartColumn::peek`], for a varint of 9 or 10 bytes.
    #[cold]
    fn peek_long(&self) -> Option<(u64, usize)> {
        let mut value = 0;
        for (at, &byte) in self.raw.get(self.at..)?.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7F);
            if at == 9 && bits > 1 {
                return None;
            }
            value |= bits << (7 * at);
            if byte < 0x80 {
                return Some((value, at + 1));
            }
        }
        None
    }

    /// The next varint.
    #[inline(always)]
    pub fn varint(&mut self) -> Option<u64> {
        let (value, length) = self.peek()?;
        self.at += length;
        Some(value)
    }

    /// The remaining bytes.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        self.raw.get(self.at..self.end)
    }

    /// The next `length` bytes, as a column.
    pub fn take(&mut self, length: u64) -> Option<PartColumn<'a>> {
        let end =
            self.at.checked_add(usize::try_from(length).ok()?).filter(|end| *end <= self.end)?;
        Some(PartColumn { raw: self.raw, at: std::mem::replace(&mut self.at, end), end })
    }

    /// Skips the remaining bytes.
    pub fn skip(&mut self) {
        self.at = self.end;
    }

    /// Whether the column was read to its end, and not past it.
    pub fn is_done(&self) -> bool {
        self.at == self.end
    }

    /// The next string of a column of strings; `Some(None)` at its end, `None` for a faulty string.
    pub fn text(&mut self, limit: usize) -> Option<Option<&'a str>> {
        if self.is_done() {
            return Some(None);
        }
        let length = self.varint().filter(|length| (1..=limit as u64).contains(length))?;
        std::str::from_utf8(self.take(length)?.bytes()?).ok().map(Some)
    }

    /// The value of the remaining varints where they are `count` times the same byte, as in the column
    /// of threads of a program that has one.
    pub fn repeated_byte(&self, count: usize) -> Option<u8> {
        let bytes = self.bytes().filter(|bytes| bytes.len() == count)?;
        let first = bytes.first().copied().filter(|byte| *byte < 0x80)?;
        let differs = bytes.iter().fold(0, |differs, byte| differs | (byte ^ first));
        (differs == 0).then_some(first)
    }

    /// Replaces the contents of `values` by the remaining varints; `None` unless there are `count` of
    /// them.
    pub fn varints(&mut self, count: usize, values: &mut Vec<u64>) -> Option<()> {
        let bytes = self.bytes()?;
        // The old values need no clearing, because all are overwritten.
        values.resize(count, 0);
        if bytes.iter().fold(0, |all, byte| all | byte) < 0x80 {
            (bytes.len() == count).then(|| widen(bytes, values))?;
        } else if may_be_long(bytes) {
            for value in values {
                *value = self.varint()?;
            }
            return self.is_done().then_some(());
        } else {
            put_short(bytes, values)?;
        }
        self.skip();
        Some(())
    }
}

/// Reads varints of one byte each.
#[inline(always)]
fn widen(bytes: &[u8], values: &mut [u64]) {
    for (value, byte) in values.iter_mut().zip(bytes) {
        *value = u64::from(*byte);
    }
}

/// Whether one of these varints may be longer than 7 bytes. Such a varint has four continuation bits
/// in a row at a multiple of four bytes.
fn may_be_long(bytes: &[u8]) -> bool {
    let go_on = GO_ON as u32;
    bytes
        .as_chunks()
        .0
        .iter()
        .fold(false, |any, four| any | (u32::from_le_bytes(*four) & go_on == go_on))
}

/// Reads varints of at most 7 bytes into `values`; `None` when there are more or fewer varints than
/// values.
#[inline(never)]
fn put_short(bytes: &[u8], values: &mut [u64]) -> Option<()> {
    // Where nearly all varints have one byte, most groups of eight bytes are eight varints.
    let is_mostly_single = bytes.len() < values.len() + values.len() / 16;
    let mut state = ShortVarints { at: 0, value: 0, shift: 0 };
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let Some(next) = values.get_mut(state.at..).and_then(|next| next.first_chunk_mut::<8>())
        else {
            eight.iter().try_for_each(|byte| state.step(*byte, values))?;
            continue;
        };
        if is_mostly_single && state.shift == 0 && u64::from_le_bytes(*eight) & GO_ON == 0 {
            widen(eight, next);
            state.at += 8;
            continue;
        }
        let mut within = ShortVarints { at: 0, ..state };
        for byte in eight {
            within.put(*byte, &mut next[within.at & 7]);
        }
        state = ShortVarints { at: state.at + within.at, ..within };
    }
    rest.iter().try_for_each(|byte| state.step(*byte, values))?;
    (state.at == values.len() && state.shift == 0).then_some(())
}

/// The state of reading short varints.
#[derive(Clone, Copy)]
struct ShortVarints {
    /// Index of the varint that is being read.
    at: usize,
    /// Its value so far.
    value: u64,
    /// Position of its next bits.
    shift: u32,
}

impl ShortVarints {
    /// Takes a byte and writes the value so far to `value`.
    #[inline(always)]
    fn put(&mut self, byte: u8, value: &mut u64) {
        self.value |= u64::from(byte & 0x7F) << self.shift;
        *value = self.value;
        let goes_on = i64::from(byte as i8) >> 7;
        self.value &= goes_on as u64;
        self.shift = (self.shift + 7) & goes_on as u32;
        self.at = self.at.wrapping_add_signed(goes_on as isize + 1);
    }

    #[inline(always)]
    fn step(&mut self, byte: u8, values: &mut [u64]) -> Option<()> {
        let value = values.get_mut(self.at)?;
        self.put(byte, value);
        Some(())
    }
}

/// The bitwise or of all values.
pub fn all_bits(values: &[u64]) -> u64 {
    values.iter().fold(0, |all, value| all | value)
}

/// `None` when one of the values is larger than `limit`.
pub fn at_most(limit: u64, values: &[u64]) -> Option<()> {
    (all_bits(values) <= limit || values.iter().all(|value| *value <= limit)).then_some(())
}

/// The number of bytes that have this bit.
pub fn count(bytes: &[u8], bit: u8) -> usize {
    let few =
        |bytes: &[u8]| usize::from(bytes.iter().map(|byte| u8::from(byte & bit != 0)).sum::<u8>());
    bytes.chunks(128).map(few).sum()
}

/// Spreads the values of the rows whose heads have this bit: each value goes to its row, and the
/// other rows get 0.
pub fn spread(values: &mut Vec<u64>, heads: &[u8], bit: u8) {
    let mut from = values.len();
    if from == heads.len() {
        return;
    }
    values.resize(heads.len(), 0);
    for (at, head) in heads.iter().enumerate().rev() {
        let is_here = head & bit != 0;
        from -= usize::from(is_here);
        values[at] = values[from] & u64::from(is_here).wrapping_neg();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A varint and its length, read byte by byte as the format specifies.
    fn read_plainly(bytes: &[u8]) -> Option<(u64, usize)> {
        let mut value = 0_u128;
        for (at, byte) in bytes.iter().enumerate().take(10) {
            value |= u128::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                return u64::try_from(value).ok().map(|value| (value, at + 1));
            }
        }
        None
    }

    /// Reads `count` varints and no byte more.
    fn read_all_plainly(mut bytes: &[u8], count: usize) -> Option<Vec<u64>> {
        let mut values = Vec::new();
        for _ in 0..count {
            let (value, length) = read_plainly(bytes)?;
            values.push(value);
            bytes = &bytes[length..];
        }
        bytes.is_empty().then_some(values)
    }

    /// Knuth's generator.
    struct Bits(u64);

    impl Bits {
        fn next(&mut self) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            self.0 ^ self.0 >> 32
        }

        fn below(&mut self, limit: u64) -> u64 {
            self.next() % limit
        }
    }

    #[test]
    fn varints_of_every_length_are_read_as_written() {
        let mut bits = Bits(11);
        let mut read = 0;
        for round in 0..20_000_u32 {
            // A value of any length, as the writer writes it. Every other round has bytes that need
            // not be canonical.
            let mut raw = Vec::new();
            put_varint(&mut raw, bits.next() >> (round % 64));
            if round % 2 == 1 {
                raw.iter_mut().take(round as usize % 11).for_each(|byte| *byte |= 0x80);
                raw.extend(bits.next().to_le_bytes());
            }
            let end = raw.len();
            let expected = read_plainly(&raw).filter(|(_, length)| *length <= end);
            raw.extend([0; PADDING]);
            let mut column = PartColumn::new(&raw, 0, end);
            let found = column.varint();
            match expected {
                Some((value, length)) => {
                    assert_eq!((found, column.at), (Some(value), length), "{raw:?}");
                    read += 1;
                }
                // The varint ends in the padding, so the column never counts as done.
                None => assert!(found.is_none() || column.at > end, "{raw:?}"),
            }
        }
        assert!(read > 15_000, "{read}");
    }

    /// Columns of all mixtures of lengths, as written or damaged, with the requested number of values
    /// or another.
    #[test]
    fn columns_are_their_varints_one_by_one() {
        let mut bits = Bits(12);
        let (mut sound, mut broken) = (0, 0);
        let mut values = Vec::new();
        for round in 0..20_000 {
            let count = bits.below(70) as usize;
            // In bits. A rare other length makes columns that have nearly one length.
            let (usual, other) =
                (1 + bits.below(if round % 3 == 0 { 64 } else { 24 }), 1 + bits.below(64));
            let often = 1 + bits.below(40);
            let mut raw = vec![0xFF; 3]; // bytes before the column
            for _ in 0..count {
                let length = if bits.below(often) == 0 { other } else { usual };
                put_varint(&mut raw, bits.next() >> (64 - length));
            }
            let is_damaged = bits.below(3) == 0 && raw.len() > 3;
            for _ in 0..if is_damaged { 1 + bits.below(3) } else { 0 } {
                let at = 3 + bits.below(raw.len() as u64 - 3) as usize;
                match bits.below(3) {
                    0 => raw[at] ^= 0x80,
                    1 => raw.insert(at, 0x80),
                    _ => raw[at] = bits.next() as u8,
                }
            }
            let wanted = if bits.below(10) == 0 { count + bits.below(3) as usize } else { count };
            let end = raw.len();
            let expected = read_all_plainly(&raw[3..end], wanted);
            raw.extend([if round % 2 == 0 { 0 } else { 0x81 }; PADDING]); // or the next column
            let mut column = PartColumn::new(&raw, 3, end);
            let found = column.varints(wanted, &mut values).filter(|()| column.is_done());
            assert_eq!(found.map(|()| &values), expected.as_ref(), "{:x?}", &raw[3..end]);
            *if expected.is_some() { &mut sound } else { &mut broken } += 1;
        }
        assert!(sound > 10_000 && broken > 3_000, "{sound} sound, {broken} broken");
    }

    #[test]
    fn values_of_some_rows_are_put_at_their_rows() {
        let mut bits = Bits(13);
        for round in 0..2_000 {
            let often = 1 + bits.below(5);
            let heads: Vec<u8> = (0..round % 300).map(|_| (bits.below(often) as u8) << 4).collect();
            let there = heads.iter().filter(|head| **head & 16 != 0).count();
            assert_eq!(count(&heads, 16), there);
            let mut values: Vec<u64> = (1..=there as u64).collect();
            spread(&mut values, &heads, 16);
            let mut next = 1..;
            let expected: Vec<u64> = heads
                .iter()
                .map(|head| if head & 16 == 0 { 0 } else { next.next().unwrap() })
                .collect();
            assert_eq!(values, expected);
        }
    }
}
