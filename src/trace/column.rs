//! Columns of a binary trace's part, and the varints in them: LEB128, at most 10
//! bytes.
//!
//! How long the next varint is a processor cannot foresee, and a branch on it would cost more than
//! the decoding. So columns are read by steps that are the same whatever comes: byte by byte, where
//! a varint may be long one varint by eight bytes.

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Zeros behind a part's raw bytes, so that eight bytes can be read at once wherever a column ends.
pub const PADDING: usize = 8;

/// The bits that say of each of eight bytes whether its varint goes on.
const GO_ON: u64 = 0x8080_8080_8080_8080;

/// Reads a column, which is a stretch of a part's raw bytes. Single varints may be read past its
/// end, of what follows it: a column is sound only if [`Column::is_done`] in the end.
#[derive(Clone, Copy)]
pub struct Column<'a> {
    raw: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Column<'a> {
    /// These bytes, behind which there is [`PADDING`].
    pub fn new(raw: &'a [u8], at: usize, end: usize) -> Column<'a> {
        Column { raw, at, end }
    }

    /// A varint and its length; does not go on. Those of at most 8 bytes are read without a branch
    /// on their length.
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

    /// One of 9 or 10 bytes.
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

    /// The bytes that are left.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        self.raw.get(self.at..self.end)
    }

    /// The next so many bytes, as a column.
    pub fn take(&mut self, length: u64) -> Option<Column<'a>> {
        let end =
            self.at.checked_add(usize::try_from(length).ok()?).filter(|end| *end <= self.end)?;
        Some(Column { raw: self.raw, at: std::mem::replace(&mut self.at, end), end })
    }

    /// Leaves out what is left.
    pub fn skip(&mut self) {
        self.at = self.end;
    }

    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        self.at == self.end
    }

    /// The next string of a column of them, `Some(None)` at its end; `None` when it is none.
    pub fn text(&mut self, limit: usize) -> Option<Option<&'a str>> {
        if self.is_done() {
            return Some(None);
        }
        let length = self.varint().filter(|length| (1..=limit as u64).contains(length))?;
        std::str::from_utf8(self.take(length)?.bytes()?).ok().map(Some)
    }

    /// Reads what is left, which must be so many varints, into `values` in place of what they held.
    pub fn varints(&mut self, count: usize, values: &mut Vec<u64>) -> Option<()> {
        let bytes = self.bytes()?;
        // What they held is written over.
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

/// Varints of one byte each.
#[inline(always)]
fn widen(bytes: &[u8], values: &mut [u64]) {
    for (value, byte) in values.iter_mut().zip(bytes) {
        *value = u64::from(*byte);
    }
}

/// Whether one of these varints may be longer than 7 bytes: one that is has four bytes that go on
/// at a multiple of four.
fn may_be_long(bytes: &[u8]) -> bool {
    let go_on = GO_ON as u32;
    bytes
        .as_chunks()
        .0
        .iter()
        .fold(false, |any, four| any | (u32::from_le_bytes(*four) & go_on == go_on))
}

/// Reads varints of at most 7 bytes, as many as there are `values`; `None` when there are more or
/// fewer.
#[inline(never)]
fn put_short(bytes: &[u8], values: &mut [u64]) -> Option<()> {
    // Where nearly all are of one byte, eight such come mostly together.
    let is_mostly_single = bytes.len() < values.len() + values.len() / 16;
    let mut state = Short { at: 0, value: 0, shift: 0 };
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
        let mut within = Short { at: 0, ..state };
        for byte in eight {
            within.put(*byte, &mut next[within.at & 7]);
        }
        state = Short { at: state.at + within.at, ..within };
    }
    rest.iter().try_for_each(|byte| state.step(*byte, values))?;
    (state.at == values.len() && state.shift == 0).then_some(())
}

/// What is read so far of short varints.
#[derive(Clone, Copy)]
struct Short {
    /// The varint that is being read, what is known of it, and where its next bits belong.
    at: usize,
    value: u64,
    shift: u32,
}

impl Short {
    /// Goes on by a byte, to be put into the value that is being read.
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

/// All bits that are in any of the values.
pub fn all_bits(values: &[u64]) -> u64 {
    values.iter().fold(0, |all, value| all | value)
}

/// `None` when one of the values is larger.
pub fn at_most(limit: u64, values: &[u64]) -> Option<()> {
    (all_bits(values) <= limit || values.iter().all(|value| *value <= limit)).then_some(())
}

/// How many bytes have this bit.
pub fn count(bytes: &[u8], bit: u8) -> usize {
    let few =
        |bytes: &[u8]| usize::from(bytes.iter().map(|byte| u8::from(byte & bit != 0)).sum::<u8>());
    bytes.chunks(128).map(few).sum()
}

/// Puts values that only the rows with this bit in their heads have at their rows, and 0 at the
/// others.
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

    /// One byte at a time, as the format's words have it.
    fn plainly(bytes: &[u8]) -> Option<(u64, usize)> {
        let mut value = 0_u128;
        for (at, byte) in bytes.iter().enumerate().take(10) {
            value |= u128::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                return u64::try_from(value).ok().map(|value| (value, at + 1));
            }
        }
        None
    }

    /// So many, and nothing after them.
    fn all_plainly(mut bytes: &[u8], count: usize) -> Option<Vec<u64>> {
        let mut values = Vec::new();
        for _ in 0..count {
            let (value, length) = plainly(bytes)?;
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
            // A value of any length as the writer has it; every other time with bytes that need not
            // be canonical.
            let mut raw = Vec::new();
            put_varint(&mut raw, bits.next() >> (round % 64));
            if round % 2 == 1 {
                raw.iter_mut().take(round as usize % 11).for_each(|byte| *byte |= 0x80);
                raw.extend(bits.next().to_le_bytes());
            }
            let end = raw.len();
            let expected = plainly(&raw).filter(|(_, length)| *length <= end);
            raw.extend([0; PADDING]);
            let mut column = Column::new(&raw, 0, end);
            let found = column.varint();
            match expected {
                Some((value, length)) => {
                    assert_eq!((found, column.at), (Some(value), length), "{raw:?}");
                    read += 1;
                }
                // It ends in the padding: the column is then never done, whatever was read.
                None => assert!(found.is_none() || column.at > end, "{raw:?}"),
            }
        }
        assert!(read > 15_000, "{read}");
    }

    /// Columns of all mixtures of lengths, as written or damaged, with as many values as asked for
    /// or with others.
    #[test]
    fn columns_are_their_varints_one_by_one() {
        let mut bits = Bits(12);
        let (mut sound, mut broken) = (0, 0);
        let mut values = Vec::new();
        for round in 0..20_000 {
            let count = bits.below(70) as usize;
            // In bits; now and then another, so that a column is nearly all of one length.
            let (usual, other) =
                (1 + bits.below(if round % 3 == 0 { 64 } else { 24 }), 1 + bits.below(64));
            let often = 1 + bits.below(40);
            let mut raw = vec![0xFF; 3]; // what is before it is no part of it
            for _ in 0..count {
                let length = if bits.below(often) == 0 { other } else { usual };
                put_varint(&mut raw, bits.next() >> (64 - length));
            }
            let damaged = bits.below(3) == 0 && raw.len() > 3;
            for _ in 0..if damaged { 1 + bits.below(3) } else { 0 } {
                let at = 3 + bits.below(raw.len() as u64 - 3) as usize;
                match bits.below(3) {
                    0 => raw[at] ^= 0x80,
                    1 => raw.insert(at, 0x80),
                    _ => raw[at] = bits.next() as u8,
                }
            }
            let asked = if bits.below(10) == 0 { count + bits.below(3) as usize } else { count };
            let end = raw.len();
            let expected = all_plainly(&raw[3..end], asked);
            raw.extend([if round % 2 == 0 { 0 } else { 0x81 }; PADDING]); // or of a column that follows
            let mut column = Column::new(&raw, 3, end);
            let found = column.varints(asked, &mut values).filter(|()| column.is_done());
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
