//! Says what a pickle holds, for messages on pickles that are no snapshot.
//!
//! A small stack machine that follows only kinds, counts and a few texts. It can neither import nor
//! call anything, and it gives up after a limit of opcodes or on an opcode that it does not know.

use std::io::{BufRead, Read};

use super::peek_reader::PeekReader;
use super::quote::quoted;

/// Opcodes that are followed, at most.
const OPCODES_LIMIT: usize = 4 << 20;
/// Values on the stack and in the memo, at most.
const VALUES_LIMIT: usize = 1 << 18;
/// Keys of a dictionary that are shown, at most.
const KEYS_SHOWN: usize = 5;
/// Bytes of a text that are stored.
const TEXT_BYTES: u64 = 200;

/// A value as far as a summary shows it.
#[derive(Clone)]
enum ValueShape {
    Mark,
    Text(String),
    List(usize),
    Tuple(usize),
    Dict(usize, Vec<String>),
    Name(String),
    Object(String),
    Other(&'static str),
}

impl ValueShape {
    fn description(&self) -> String {
        match self {
            ValueShape::Mark => "nothing".into(),
            ValueShape::Text(_) => "a text".into(),
            ValueShape::List(count) => format!("a list of {count}"),
            ValueShape::Tuple(count) => format!("a tuple of {count}"),
            ValueShape::Dict(0, _) => "an empty dict".into(),
            ValueShape::Dict(count, keys) if keys.is_empty() => format!("a dict of {count}"),
            ValueShape::Dict(count, keys) => {
                let more = if *count > keys.len() { " …" } else { "" };
                format!("a dict with {}{more}", keys.join(", "))
            }
            ValueShape::Name(name) => format!("the name {}", quoted(name)),
            ValueShape::Object(name) => format!("an object of {}", quoted(name)),
            ValueShape::Other(name) => (*name).into(),
        }
    }
}

/// What a pickle holds, such as `a list of 2`; `None` where that cannot be found out.
pub(super) fn summary(input: PeekReader) -> Option<String> {
    let mut machine = SummaryMachine { input, stack: Vec::new(), memo: Vec::new() };
    for _ in 0..OPCODES_LIMIT {
        if machine.step()?.is_none() {
            break;
        }
    }
    let last = machine.stack.pop().filter(|_| machine.stack.is_empty());
    last.map(|value| value.description())
}

struct SummaryMachine {
    input: PeekReader,
    stack: Vec<ValueShape>,
    memo: Vec<ValueShape>,
}

impl SummaryMachine {
    fn number<const N: usize>(&mut self) -> Option<u64> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).ok()?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn line(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        (&mut self.input).take(1 << 16).read_until(b'\n', &mut bytes).ok()?;
        (bytes.pop()? == b'\n').then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Skips a value of `length` bytes and returns its beginning as text.
    fn skip(&mut self, length: u64) -> Option<String> {
        let mut start = Vec::new();
        let shown = length.min(TEXT_BYTES);
        (&mut self.input).take(shown).read_to_end(&mut start).ok()?;
        let rest = std::io::copy(&mut (&mut self.input).take(length - shown), &mut std::io::sink());
        (start.len() as u64 + rest.ok()? == length)
            .then(|| String::from_utf8_lossy(&start).into_owned())
    }

    fn push(&mut self, value: ValueShape) -> Option<()> {
        self.stack.push(value);
        (self.stack.len() <= VALUES_LIMIT).then_some(())
    }

    fn push_text(&mut self, length: u64) -> Option<()> {
        let text = self.skip(length)?;
        self.push(ValueShape::Text(text))
    }

    fn push_other(&mut self, name: &'static str, length: u64) -> Option<()> {
        self.skip(length)?;
        self.push(ValueShape::Other(name))
    }

    /// Removes the values above the newest mark, and the mark.
    fn since_mark(&mut self) -> Option<Vec<ValueShape>> {
        let mark = self.stack.iter().rposition(|value| matches!(value, ValueShape::Mark))?;
        let values = self.stack.split_off(mark + 1);
        self.stack.pop();
        Some(values)
    }

    fn remember(&mut self, index: u64) -> Option<()> {
        let index = usize::try_from(index).ok().filter(|index| *index < VALUES_LIMIT)?;
        if self.memo.len() <= index {
            self.memo.resize(index + 1, ValueShape::Other("a value"));
        }
        // A list or dictionary grows later, which the memo does not show.
        self.memo[index] = self.stack.last()?.clone();
        Some(())
    }

    fn recall(&mut self, index: u64) -> Option<()> {
        let index = usize::try_from(index).ok()?;
        let value = self.memo.get(index).cloned().unwrap_or(ValueShape::Other("a value"));
        self.push(value)
    }

    fn grow(&mut self, added: &[ValueShape]) -> Option<()> {
        match self.stack.last_mut()? {
            ValueShape::List(count) => *count += added.len(),
            ValueShape::Dict(count, keys) => {
                for pair in added.chunks(2) {
                    *count += 1;
                    if let ([ValueShape::Text(key), ..], true) = (pair, keys.len() < KEYS_SHOWN) {
                        keys.push(quoted(key));
                    }
                }
            }
            _ => {}
        }
        Some(())
    }

    /// Follows one opcode. `Some(None)` at the end, `None` where it cannot.
    fn step(&mut self) -> Option<Option<()>> {
        let opcode = self.number::<1>()? as u8;
        match opcode {
            b'.' => return Some(None),
            0x80 => drop(self.number::<1>()?),
            0x95 => drop(self.number::<8>()?),
            b'(' => self.push(ValueShape::Mark)?,
            b'0' => drop(self.stack.pop()?),
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let value = self.stack.last()?.clone();
                self.push(value)?;
            }
            b'N' => self.push(ValueShape::Other("None"))?,
            0x88 | 0x89 => self.push(ValueShape::Other("a truth value"))?,
            b'I' | b'L' => {
                self.line()?;
                self.push(ValueShape::Other("a number"))?;
            }
            b'F' => {
                self.line()?;
                self.push(ValueShape::Other("a number"))?;
            }
            b'K' => self.push_other("a number", 1)?,
            b'M' => self.push_other("a number", 2)?,
            b'J' => self.push_other("a number", 4)?,
            b'G' => self.push_other("a number", 8)?,
            0x8a => {
                let length = self.number::<1>()?;
                self.push_other("a number", length)?;
            }
            0x8b => {
                let length = self.number::<4>()?;
                self.push_other("a number", length)?;
            }
            0x8c | b'U' => {
                let length = self.number::<1>()?;
                self.push_text(length)?;
            }
            b'X' | b'T' => {
                let length = self.number::<4>()?;
                self.push_text(length)?;
            }
            0x8d => {
                let length = self.number::<8>()?;
                self.push_text(length)?;
            }
            b'V' | b'S' => {
                let text = self.line()?;
                self.push(ValueShape::Text(text))?;
            }
            b'C' => {
                let length = self.number::<1>()?;
                self.push_other("bytes", length)?;
            }
            b'B' => {
                let length = self.number::<4>()?;
                self.push_other("bytes", length)?;
            }
            0x8e | 0x96 => {
                let length = self.number::<8>()?;
                self.push_other("bytes", length)?;
            }
            _ => self.container(opcode)?,
        }
        Some(Some(()))
    }

    /// Follows an opcode on containers, objects and the memo.
    fn container(&mut self, opcode: u8) -> Option<()> {
        match opcode {
            b']' => self.push(ValueShape::List(0))?,
            b'}' => self.push(ValueShape::Dict(0, Vec::new()))?,
            b')' => self.push(ValueShape::Tuple(0))?,
            0x8f => self.push(ValueShape::Other("a set"))?,
            b'l' | b't' | b'd' | 0x91 => {
                let values = self.since_mark()?;
                match opcode {
                    b'l' => self.push(ValueShape::List(values.len()))?,
                    b't' => self.push(ValueShape::Tuple(values.len()))?,
                    b'd' => {
                        self.push(ValueShape::Dict(0, Vec::new()))?;
                        self.grow(&values)?;
                    }
                    _ => self.push(ValueShape::Other("a frozen set"))?,
                }
            }
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                self.stack.truncate(self.stack.len().checked_sub(count)?);
                self.push(ValueShape::Tuple(count))?;
            }
            b'a' => {
                let value = self.stack.pop()?;
                self.grow(&[value])?;
            }
            b's' => {
                let pair = self.stack.split_off(self.stack.len().checked_sub(2)?);
                self.grow(&pair)?;
            }
            b'e' | b'u' | 0x90 => {
                let values = self.since_mark()?;
                self.grow(&values)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(ValueShape::Name(format!("{module}.{name}")))?;
            }
            0x93 => {
                let names = (self.stack.pop()?, self.stack.pop()?);
                let (ValueShape::Text(name), ValueShape::Text(module)) = names else { return None };
                self.push(ValueShape::Name(format!("{module}.{name}")))?;
            }
            0x81 | b'R' | 0x92 => {
                let count = if opcode == 0x92 { 2 } else { 1 };
                self.stack.truncate(self.stack.len().checked_sub(count)?);
                let object = match self.stack.pop()? {
                    ValueShape::Name(name) => ValueShape::Object(name),
                    _ => ValueShape::Other("an object"),
                };
                self.push(object)?;
            }
            b'b' => drop(self.stack.pop()?),
            0x94 => self.remember(self.memo.len() as u64)?,
            b'q' => {
                let index = self.number::<1>()?;
                self.remember(index)?;
            }
            b'r' => {
                let index = self.number::<4>()?;
                self.remember(index)?;
            }
            b'p' => {
                let index = self.line()?.parse().ok()?;
                self.remember(index)?;
            }
            b'h' => {
                let index = self.number::<1>()?;
                self.recall(index)?;
            }
            b'j' => {
                let index = self.number::<4>()?;
                self.recall(index)?;
            }
            b'g' => {
                let index = self.line()?.parse().ok()?;
                self.recall(index)?;
            }
            _ => return None,
        }
        Some(())
    }
}
