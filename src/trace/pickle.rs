//! Reads the pickle that `tracemalloc.Snapshot.dump` writes, and no other. The reader cannot run
//! code.
//!
//! A pickle is a program for a small stack machine. Python's own reader imports and calls every name
//! in it. This reader knows only the opcodes in snapshots of CPython 3.6 to 3.14, of any protocol from
//! 0 to 5, and four names: `tracemalloc.Snapshot`, `tracemalloc._Traces`, and for protocols 0 and 1
//! `copyreg._reconstructor` and `object`. It stores values of five forms in flat tables:
//!
//! ```text
//! snapshot   object of {"traces": _Traces, "traceback_limit": int}
//! _Traces    object of {"_traces": [trace, …]}
//! trace      (domain, size, frames) or, from 3.9, (domain, size, frames, number of all frames)
//! frames     ((file, line), …), newest first; a repeated one is a reference into the memo
//! ```
//!
//! Anything else is refused, with its byte offset. Each table has a limit, so a hostile pickle costs
//! less than 1 GiB of memory. [`INPUT_LIMIT_BYTES`] limits the time to seconds. Foreign names and
//! nestings are refused before they cost memory.

use std::collections::HashMap;
use std::io::{BufRead, Read};

use super::peek_reader::PeekReader;
use super::quote::quoted;

/// Bytes of an unpacked pickle, at most.
pub const INPUT_LIMIT_BYTES: u64 = 2 << 30;
/// Traces of one snapshot, and entries of its memo, at most.
const TRACES_LIMIT: usize = 1 << 24;
/// Frames of all tracebacks of one snapshot, at most.
const FRAMES_LIMIT: usize = 1 << 25;
/// Values on the stack, at most: twice the number of frames that tracemalloc stores of one call
/// (65,535). A batch of traces needs less.
const STACK_LIMIT: usize = 1 << 17;
/// Bytes of one text, at most.
const TEXT_LIMIT_BYTES: usize = 64 << 10;
/// Bytes of all texts, at most.
const TEXTS_LIMIT_BYTES: usize = 128 << 20;

/// Why a pickle is no snapshot.
#[derive(Debug)]
pub struct PickleFault {
    /// Byte offset in the unpacked pickle.
    pub offset: u64,
    /// The finding.
    pub found: String,
    /// The expectation.
    pub expected: &'static str,
    /// The operating system's reason, where the file could not be read.
    pub source: Option<std::io::Error>,
}

/// A line of a source file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotFrame {
    /// Index of the file's name in [`Pickled::files`].
    pub file: u32,
    /// Line; 0 for none.
    pub line: u32,
}

/// One live block; tracemalloc calls it a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedBlock {
    /// Bytes.
    pub size: u64,
    /// tracemalloc's domain: 0 for Python's own, other numbers for those of extensions.
    pub domain: u32,
    /// Index of the block's traceback.
    pub frames: u32,
}

/// A snapshot's tables.
#[derive(Debug, Default)]
pub struct Pickled {
    /// The live blocks, in the order of the file.
    pub listed: Vec<ListedBlock>,
    /// The texts of the pickle: names of source files, and a few others.
    pub files: Vec<String>,
    /// Frames that tracemalloc stores of each call, if the pickle states it.
    pub traceback_limit: Option<u64>,
    frames: Vec<SnapshotFrame>,
    /// Start and length of each traceback in `frames`.
    tracebacks: Vec<(u32, u32)>,
}

impl Pickled {
    /// The frames of a traceback, newest first; not empty for the traceback of a block.
    pub fn traceback(&self, index: u32) -> &[SnapshotFrame] {
        let Some(&(start, length)) = self.tracebacks.get(index as usize) else { return &[] };
        self.frames.get(start as usize..start as usize + length as usize).unwrap_or_default()
    }

    /// The number of tracebacks.
    pub fn traceback_count(&self) -> usize {
        self.tracebacks.len()
    }
}

/// The names that a snapshot uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Snapshot,
    Traces,
    /// `object`, of protocols 0 and 1.
    Base,
    /// `copyreg._reconstructor`, which makes an object of a class in protocols 0 and 1.
    Reconstructor,
}

/// A value of the stack or the memo, in 16 bytes. Larger contents are in tables.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Mark,
    None,
    Int(u64),
    Text(u32),
    EmptyTuple,
    Frame(SnapshotFrame),
    Frames(u32),
    Trace(u32),
    List,
    Dict,
    Global(Class),
    /// The arguments for `copyreg._reconstructor`: a class, `object` and None.
    Arguments(Class),
    Object(Class),
}

impl Value {
    fn name(self) -> &'static str {
        match self {
            Value::Mark => "a mark",
            Value::None => "None",
            Value::Int(_) => "a number",
            Value::Text(_) => "a text",
            Value::EmptyTuple => "an empty tuple",
            Value::Frame(_) => "a frame",
            Value::Frames(_) => "a traceback",
            Value::Trace(_) => "a trace",
            Value::List => "a list",
            Value::Dict => "a dictionary",
            Value::Global(_) => "a class",
            Value::Arguments(_) => "the arguments for an object",
            Value::Object(_) => "an object",
        }
    }
}

/// The parts of a snapshot that were read so far.
#[derive(Debug, Default)]
struct PartsRead {
    has_list: bool,
    list_is_set: bool,
    traces_are_set: bool,
    snapshot_is_built: bool,
}

/// Reads one pickle to its end.
///
/// # Errors
/// The first byte that does not belong in a snapshot, or a file that ends before the pickle.
pub fn read(input: PeekReader) -> Result<Pickled, PickleFault> {
    let mut machine = PickleMachine {
        input,
        offset: 0,
        at: 0,
        stack: Vec::new(),
        memo: Vec::new(),
        traces: Vec::new(),
        text_bytes: 0,
        texts: HashMap::new(),
        parts: PartsRead::default(),
        out: Pickled::default(),
    };
    machine.begin()?;
    while machine.step()? {}
    machine.end()?;
    Ok(machine.out)
}

struct PickleMachine {
    input: PeekReader,
    /// Bytes read.
    offset: u64,
    /// Byte offset of the present opcode.
    at: u64,
    stack: Vec<Value>,
    memo: Vec<Value>,
    traces: Vec<ListedBlock>,
    text_bytes: usize,
    /// Earlier texts, so that repetitions cost no memory.
    texts: HashMap<String, u32>,
    parts: PartsRead,
    out: Pickled,
}

type PickleResult<T> = Result<T, PickleFault>;

const A_SNAPSHOT: &str =
    "what tracemalloc.Snapshot.dump of CPython 3.6 to 3.14 writes; is it another pickle?";
const CUT_OFF: &str = "the rest of the pickle: the file was cut off; copy or dump it again";
const SMALLER: &str =
    "a snapshot within heaplay's limits; filter it in Python (Snapshot.filter_traces)";

impl PickleMachine {
    fn fault(&self, found: impl Into<String>) -> PickleFault {
        PickleFault { offset: self.at, found: found.into(), expected: A_SNAPSHOT, source: None }
    }

    fn too_many(&self, what: &str) -> PickleFault {
        PickleFault { expected: SMALLER, ..self.fault(format!("too many {what}")) }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> PickleResult<()> {
        match self.input.read_exact(buffer) {
            Ok(()) => {
                self.offset += buffer.len() as u64;
                if self.offset > INPUT_LIMIT_BYTES {
                    return Err(self.too_many("bytes"));
                }
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(PickleFault { expected: CUT_OFF, ..self.fault("the end of the file") })
            }
            Err(error) => {
                Err(PickleFault { source: Some(error), ..self.fault("a file that cannot be read") })
            }
        }
    }

    fn bytes<const N: usize>(&mut self) -> PickleResult<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// A little-endian number of `N` bytes.
    fn number<const N: usize>(&mut self) -> PickleResult<u64> {
        let bytes = self.bytes::<N>()?;
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// Reads the protocol. Protocols 0 and 1 do not name themselves.
    fn begin(&mut self) -> PickleResult<()> {
        let start = self.input.fill_buf().map(<[u8]>::first_chunk::<2>);
        match start {
            Ok(Some([0x80, 2..=5])) => self.bytes::<2>().map(drop),
            Ok(Some([0x80, protocol])) => {
                let found = format!("a pickle of protocol {protocol}");
                Err(self.fault(found))
            }
            Ok(Some([b'c', _])) => Ok(()),
            Ok(Some(_)) => Err(self.fault("no pickle of a snapshot")),
            Ok(None) | Err(_) => self.bytes::<2>().map(drop),
        }
    }

    /// Checks that nothing follows the pickle.
    fn end(&mut self) -> PickleResult<()> {
        self.at = self.offset;
        let next = self.input.fill_buf().map(|rest| rest.first().copied());
        match next {
            Ok(None) => Ok(()),
            Ok(Some(first)) => Err(PickleFault {
                expected: "one snapshot a file; was another one appended?",
                ..self.fault(match first {
                    0x80 | b'c' => "a second pickle",
                    _ => "bytes behind the end of the pickle",
                })
            }),
            Err(error) => {
                Err(PickleFault { source: Some(error), ..self.fault("a file that cannot be read") })
            }
        }
    }

    /// The text up to a line feed, of protocols 0 and 1.
    fn line(&mut self) -> PickleResult<String> {
        let mut bytes = Vec::new();
        let read =
            (&mut self.input).take(TEXT_LIMIT_BYTES as u64 + 1).read_until(b'\n', &mut bytes);
        if let Err(error) = read {
            return Err(PickleFault {
                source: Some(error),
                ..self.fault("a file that cannot be read")
            });
        }
        self.offset += bytes.len() as u64;
        if bytes.pop() != Some(b'\n') {
            return Err(if bytes.len() >= TEXT_LIMIT_BYTES {
                self.fault("a text of over 64 KiB")
            } else {
                PickleFault { expected: CUT_OFF, ..self.fault("the end of the file") }
            });
        }
        if self.offset > INPUT_LIMIT_BYTES {
            return Err(self.too_many("bytes"));
        }
        // Latin-1, with escapes for the other characters.
        Ok(bytes.into_iter().map(char::from).collect())
    }

    /// A number in decimal digits, of protocol 0. `suffix` may follow it.
    fn push_decimal(&mut self, suffix: &str) -> PickleResult<()> {
        let line = self.line()?;
        let number = line.strip_suffix(suffix).unwrap_or(&line).parse();
        match number {
            Ok(number) => self.push(Value::Int(number)),
            Err(_) => Err(self.fault(format!("the number {}", quoted(&line)))),
        }
    }

    /// An index of the memo in decimal digits, of protocol 0.
    fn line_index(&mut self) -> PickleResult<u64> {
        let line = self.line()?;
        line.parse().map_err(|_| self.fault(format!("the index {}", quoted(&line))))
    }

    /// Stores the topmost value in the memo at `index`.
    fn memoize_at(&mut self, index: u64) -> PickleResult<()> {
        let Some(&value) = self.stack.last().filter(|value| **value != Value::Mark) else {
            return Err(self.fault("an opcode without its value"));
        };
        let Some(index) = usize::try_from(index).ok().filter(|index| *index < TRACES_LIMIT) else {
            return Err(self.too_many("values in the memo"));
        };
        if self.memo.len() <= index {
            self.memo.resize(index + 1, Value::Mark);
        }
        self.memo[index] = value;
        Ok(())
    }

    /// Replaces the values above the newest mark by an empty list or dictionary, of protocol 0.
    fn empty(&mut self, value: Value) -> PickleResult<()> {
        if self.since_mark()? > 0 {
            return Err(self.fault(format!("{} with values", value.name())));
        }
        self.pop()?; // the mark
        match value {
            Value::List => self.list(),
            value => self.push(value),
        }
    }

    /// Makes an object by `copyreg._reconstructor`, of protocols 0 and 1. Nothing is called.
    fn reduce(&mut self) -> PickleResult<()> {
        match (self.pop()?, self.pop()?) {
            (Value::Arguments(class), Value::Global(Class::Reconstructor)) => {
                self.push(Value::Object(class))
            }
            (_, other) => Err(self.fault(format!("a call of {}", other.name()))),
        }
    }

    /// Executes one opcode; `false` at the end of the pickle.
    fn step(&mut self) -> PickleResult<bool> {
        self.at = self.offset;
        let [opcode] = self.bytes::<1>()?;
        match opcode {
            0x95 => drop(self.number::<8>()?), // FRAME: bytes to read ahead, which this reader ignores
            0x94 => self.memoize()?,
            b'q' => {
                let index = self.number::<1>()?;
                self.memoize_at(index)?;
            }
            b'r' => {
                let index = self.number::<4>()?;
                self.memoize_at(index)?;
            }
            b'p' => {
                let index = self.line_index()?;
                self.memoize_at(index)?;
            }
            b'g' => {
                let index = self.line_index()?;
                self.recall(index)?;
            }
            b'V' => {
                let line = self.line()?;
                self.intern(unescaped(&line))?;
            }
            b'I' => self.push_decimal("")?,
            b'L' => self.push_decimal("L")?,
            b'l' => self.empty(Value::List)?,
            b'd' => self.empty(Value::Dict)?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push_class(&module, &name)?;
            }
            b'R' => self.reduce()?,
            b'h' => {
                let index = self.number::<1>()?;
                self.recall(index)?;
            }
            b'j' => {
                let index = self.number::<4>()?;
                self.recall(index)?;
            }
            0x8c => {
                let length = self.number::<1>()?;
                self.text(length)?;
            }
            b'X' => {
                let length = self.number::<4>()?;
                self.text(length)?;
            }
            b'K' => self.push_number::<1>()?,
            b'M' => self.push_number::<2>()?,
            b'J' => self.push_signed()?,
            0x8a => self.push_long()?,
            b'N' => self.push(Value::None)?,
            b'(' => self.push(Value::Mark)?,
            b')' => self.push(Value::EmptyTuple)?,
            b'}' => self.push(Value::Dict)?,
            b']' => self.list()?,
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' => {
                let count = self.since_mark()?;
                self.tuple(count)?;
                let value = self.pop()?;
                self.pop()?; // the mark
                self.push(value)?;
            }
            b'a' => self.append(1, false)?,
            b'e' => {
                let count = self.since_mark()?;
                self.append(count, true)?;
            }
            b's' => self.set_item()?,
            b'u' => self.set_items()?,
            0x93 => self.class()?,
            0x81 => self.object()?,
            b'b' => self.build()?,
            b'.' => return self.stop(),
            other => return Err(self.fault(format!("the opcode {other:#04x}"))),
        }
        Ok(true)
    }

    fn push(&mut self, value: Value) -> PickleResult<()> {
        if self.stack.len() == STACK_LIMIT {
            return Err(self.too_many("values on the stack"));
        }
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> PickleResult<Value> {
        self.stack.pop().ok_or_else(|| self.fault("an opcode without its values"))
    }

    fn memoize(&mut self) -> PickleResult<()> {
        let Some(&value) = self.stack.last().filter(|value| **value != Value::Mark) else {
            return Err(self.fault("an opcode without its value"));
        };
        if self.memo.len() == TRACES_LIMIT {
            return Err(self.too_many("values in the memo"));
        }
        self.memo.push(value);
        Ok(())
    }

    fn recall(&mut self, index: u64) -> PickleResult<()> {
        let value = usize::try_from(index).ok().and_then(|index| self.memo.get(index)).copied();
        match value {
            Some(value) if value != Value::Mark => self.push(value),
            _ => Err(self.fault(format!("a reference to value {index} of {}", self.memo.len()))),
        }
    }

    fn text(&mut self, length: u64) -> PickleResult<()> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > TEXT_LIMIT_BYTES {
            return Err(self.fault(format!("a text of {length} bytes")));
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        // The name of a file that is not UTF-8 on disk has lone surrogates, which a String cannot hold.
        self.intern(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Pushes a text. Repetitions cost no memory.
    fn intern(&mut self, text: String) -> PickleResult<()> {
        let id = match self.texts.get(&text) {
            Some(&id) => id,
            None => {
                self.text_bytes += text.len();
                if self.text_bytes > TEXTS_LIMIT_BYTES || self.out.files.len() == TRACES_LIMIT / 8 {
                    return Err(self.too_many("texts"));
                }
                let id = self.out.files.len() as u32;
                self.out.files.push(text.clone());
                self.texts.insert(text, id);
                id
            }
        };
        self.push(Value::Text(id))
    }

    fn push_number<const N: usize>(&mut self) -> PickleResult<()> {
        let number = self.number::<N>()?;
        self.push(Value::Int(number))
    }

    fn push_signed(&mut self) -> PickleResult<()> {
        let number = i32::from_le_bytes(self.bytes()?);
        match u64::try_from(number) {
            Ok(number) => self.push(Value::Int(number)),
            Err(_) => Err(self.fault(format!("the number {number}"))),
        }
    }

    /// A number over 2^31: its length, then its two's complement.
    fn push_long(&mut self) -> PickleResult<()> {
        let length = self.number::<1>()? as usize;
        let mut bytes = [0; 9];
        let Some(part) = bytes.get_mut(..length) else {
            return Err(self.fault(format!("a number of {length} bytes")));
        };
        self.fill(part)?;
        let is_negative = length > 0 && bytes[length - 1] & 0x80 != 0;
        if is_negative || bytes[8] != 0 {
            return Err(self.fault("a number that is negative or over 2^64"));
        }
        let [a, b, c, d, e, f, g, h, _] = bytes;
        self.push(Value::Int(u64::from_le_bytes([a, b, c, d, e, f, g, h])))
    }

    fn list(&mut self) -> PickleResult<()> {
        if std::mem::replace(&mut self.parts.has_list, true) {
            return Err(self.fault("a second list"));
        }
        self.push(Value::List)
    }

    /// The number of values above the newest mark.
    fn since_mark(&self) -> PickleResult<usize> {
        let above = self.stack.iter().rev().position(|value| *value == Value::Mark);
        above.ok_or_else(|| self.fault("an opcode without its mark"))
    }

    /// Replaces the topmost `count` values by one of the three tuples of a snapshot.
    fn tuple(&mut self, count: usize) -> PickleResult<()> {
        let start = self.stack.len().checked_sub(count).filter(|_| count > 0);
        let Some(start) = start else { return Err(self.fault("a tuple without its values")) };
        let value = match self.stack.get(start..).unwrap_or_default() {
            &[Value::Text(file), Value::Int(line)] if line <= u64::from(u32::MAX) => {
                Value::Frame(SnapshotFrame { file, line: line as u32 })
            }
            &[Value::Int(domain), Value::Int(size), Value::Frames(frames)]
            | &[
                Value::Int(domain),
                Value::Int(size),
                Value::Frames(frames),
                Value::Int(_) | Value::None,
            ] if domain <= u64::from(u32::MAX) => {
                self.trace(ListedBlock { size, domain: domain as u32, frames })?
            }
            &[Value::Global(class), Value::Global(Class::Base), Value::None] => {
                Value::Arguments(class)
            }
            values if values.iter().all(|value| matches!(value, Value::Frame(_))) => {
                self.frames(start)?
            }
            values => {
                let names: Vec<&str> = values.iter().take(5).map(|value| value.name()).collect();
                return Err(self.fault(format!("a tuple of {}", names.join(", "))));
            }
        };
        self.stack.truncate(start);
        self.push(value)
    }

    fn trace(&mut self, trace: ListedBlock) -> PickleResult<Value> {
        if self.traces.len() == TRACES_LIMIT {
            return Err(self.too_many("traces"));
        }
        self.traces.push(trace);
        Ok(Value::Trace(self.traces.len() as u32 - 1))
    }

    fn frames(&mut self, start: usize) -> PickleResult<Value> {
        let frames = self.stack.get(start..).unwrap_or_default();
        if self.out.frames.len() + frames.len() > FRAMES_LIMIT
            || self.out.tracebacks.len() == TRACES_LIMIT
        {
            return Err(self.too_many("frames"));
        }
        self.out.tracebacks.push((self.out.frames.len() as u32, frames.len() as u32));
        let only =
            |value: &Value| if let Value::Frame(frame) = value { Some(*frame) } else { None };
        self.out.frames.extend(frames.iter().filter_map(only));
        Ok(Value::Frames(self.out.tracebacks.len() as u32 - 1))
    }

    /// Appends the topmost `count` values to the list below them, or below the mark.
    fn append(&mut self, count: usize, is_marked: bool) -> PickleResult<()> {
        let start = self.stack.len().checked_sub(count).unwrap_or(usize::MAX);
        let values = self.stack.get(start..).unwrap_or_default();
        if self.out.listed.len() + values.len() > TRACES_LIMIT {
            return Err(self.too_many("traces"));
        }
        for value in values {
            match value {
                Value::Trace(index) => {
                    let trace = self.traces.get(*index as usize).copied();
                    self.out.listed.extend(trace);
                }
                other => return Err(self.fault(format!("a list with {} in it", other.name()))),
            }
        }
        self.stack.truncate(start);
        if is_marked {
            self.pop()?;
        }
        match self.stack.last() {
            Some(Value::List) => Ok(()),
            _ => Err(self.fault("an append to no list")),
        }
    }

    fn set_items(&mut self) -> PickleResult<()> {
        let count = self.since_mark()?;
        let values = self.stack.split_off(self.stack.len() - count);
        self.pop()?; // the mark
        for pair in values.chunks(2) {
            match *pair {
                [key, value] => self.set(key, value)?,
                _ => return Err(self.fault("a key without a value")),
            }
        }
        self.expect_dict()
    }

    fn set_item(&mut self) -> PickleResult<()> {
        let value = self.pop()?;
        let key = self.pop()?;
        self.set(key, value)?;
        self.expect_dict()
    }

    fn expect_dict(&self) -> PickleResult<()> {
        match self.stack.last() {
            Some(Value::Dict) => Ok(()),
            _ => Err(self.fault("an item for no dictionary")),
        }
    }

    fn set(&mut self, key: Value, value: Value) -> PickleResult<()> {
        match (self.text_of(key), value) {
            ("_traces", Value::List) => self.parts.list_is_set = true,
            ("traces", Value::Object(Class::Traces)) => self.parts.traces_are_set = true,
            ("traceback_limit", Value::Int(limit)) => self.out.traceback_limit = Some(limit),
            (key, value) => {
                let found = format!("an attribute {} that is {}", quoted(key), value.name());
                return Err(self.fault(found));
            }
        }
        Ok(())
    }

    fn text_of(&self, value: Value) -> &str {
        match value {
            Value::Text(id) => self.out.files.get(id as usize).map_or("", String::as_str),
            _ => "",
        }
    }

    /// Names one of the two known classes. Nothing is imported.
    fn class(&mut self) -> PickleResult<()> {
        let name = self.pop()?;
        let module = self.pop()?;
        let (module, name) = (self.text_of(module).to_owned(), self.text_of(name).to_owned());
        self.push_class(&module, &name)
    }

    fn push_class(&mut self, module: &str, name: &str) -> PickleResult<()> {
        let class = match (module, name) {
            ("tracemalloc", "Snapshot") => Class::Snapshot,
            ("tracemalloc", "_Traces") => Class::Traces,
            ("builtins" | "__builtin__", "object") => Class::Base,
            ("copyreg" | "copy_reg", "_reconstructor") => Class::Reconstructor,
            (module, name) => {
                let full = quoted(&format!("{module}.{name}"));
                return Err(self.fault(format!("the name {full}")));
            }
        };
        self.push(Value::Global(class))
    }

    fn object(&mut self) -> PickleResult<()> {
        match (self.pop()?, self.pop()?) {
            (Value::EmptyTuple, Value::Global(class @ (Class::Snapshot | Class::Traces))) => {
                self.push(Value::Object(class))
            }
            (_, other) => Err(self.fault(format!("an object of {}", other.name()))),
        }
    }

    fn build(&mut self) -> PickleResult<()> {
        match (self.pop()?, self.stack.last()) {
            (Value::Dict, Some(Value::Object(Class::Traces))) if self.parts.list_is_set => Ok(()),
            (Value::Dict, Some(Value::Object(Class::Snapshot))) if self.parts.traces_are_set => {
                self.parts.snapshot_is_built = true;
                Ok(())
            }
            (state, _) => {
                Err(self.fault(format!("an object whose state is {} too early", state.name())))
            }
        }
    }

    fn stop(&mut self) -> PickleResult<bool> {
        let is_snapshot =
            self.stack == [Value::Object(Class::Snapshot)] && self.parts.snapshot_is_built;
        if !is_snapshot || !self.parts.list_is_set {
            return Err(self.fault("the end of a pickle that holds no snapshot"));
        }
        Ok(false)
    }
}

/// The text of an opcode `V`: `\\uXXXX` and `\\UXXXXXXXX` stand for characters.
fn unescaped(line: &str) -> String {
    let (mut text, mut rest) = (String::with_capacity(line.len()), line);
    while let Some((before, escape)) = rest.split_once('\\') {
        text.push_str(before);
        let digits = match escape.as_bytes().first() {
            Some(b'u') => 4,
            Some(b'U') => 8,
            _ => 0,
        };
        let code = escape.get(1..=digits).filter(|_| digits > 0);
        match code.and_then(|code| u32::from_str_radix(code, 16).ok()) {
            Some(code) => {
                text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                rest = &escape[1 + digits..];
            }
            None => {
                text.push('\\');
                rest = escape;
            }
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: impl Read + 'static) -> Result<Pickled, PickleFault> {
        super::read(PeekReader::new(Box::new(bytes)))
    }

    fn read_bytes(bytes: &[u8]) -> Result<Pickled, PickleFault> {
        read(std::io::Cursor::new(bytes.to_vec()))
    }

    /// A snapshot of two blocks with the same traceback, in protocol 4, as an interpreter writes it but
    /// without FRAME.
    fn whole() -> Vec<u8> {
        let mut pickle =
            b"\x80\x04\x8c\x0btracemalloc\x94\x8c\x08Snapshot\x94\x93\x94)\x81\x94}\x94(".to_vec();
        pickle.extend(
            b"\x8c\x06traces\x94h\x00\x8c\x07_Traces\x94\x93\x94)\x81\x94}\x94\x8c\x07_traces\x94]\x94(",
        );
        pickle.extend(b"(K\x00K\x40\x8c\x04a.py\x94K\x07\x86\x94\x85\x94K\x01t\x94");
        pickle.extend(b"(K\x00\x8a\x05\x00\x00\x00\x00\x01h\x0eK\x01t\x94");
        pickle.extend(b"esb\x8c\x0ftraceback_limit\x94K\x01ub.");
        pickle
    }

    #[test]
    fn a_snapshot() {
        let read = read_bytes(&whole()).unwrap();
        assert_eq!(read.listed.len(), 2);
        assert_eq!((read.listed[0].size, read.listed[1].size), (64, 1 << 32));
        assert_eq!(read.listed[0].frames, read.listed[1].frames);
        let frame = read.traceback(read.listed[1].frames)[0];
        assert_eq!((read.files[frame.file as usize].as_str(), frame.line), ("a.py", 7));
        assert_eq!(read.traceback_limit, Some(1));
    }

    #[test]
    fn every_cut_is_reported() {
        let whole = whole();
        for cut in 0..whole.len() {
            let fault = read_bytes(&whole[..cut]).unwrap_err();
            assert!(fault.found == "the end of the file" || fault.offset == 0, "{cut}: {fault:?}");
        }
    }

    /// A pickle that would run a command in Python names an unknown class here.
    #[test]
    fn hostile_pickles() {
        let call =
            b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94.";
        assert!(read_bytes(&call[..]).unwrap_err().found.contains("posix.system"));
        let old = b"\x80\x02cposix\nsystem\n.";
        assert!(read_bytes(&old[..]).unwrap_err().found.contains("posix.system"));
        let object = b"ccopy_reg\n_reconstructor\n(cposix\nsystem\n";
        assert!(read_bytes(&object[..]).unwrap_err().found.contains("posix.system"));
        let call = b"ccopy_reg\n_reconstructor\nctracemalloc\nSnapshot\nR.";
        assert!(read_bytes(&call[..]).unwrap_err().found.contains("a call of"));
        let huge = b"\x80\x04X\xff\xff\xff\xff";
        assert!(read_bytes(&huge[..]).unwrap_err().found.contains("a text of 4294967295 bytes"));
        for opcode in 0..=u8::MAX {
            let _ = read_bytes(&[&b"\x80\x04"[..], &[opcode; 40]].concat());
            let _ = read_bytes(&[&whole()[..60], &[opcode; 40]].concat());
        }
    }

    /// An endless pickle ends at a limit.
    #[test]
    fn enormous_pickles() {
        let endless = |unit: &'static [u8]| {
            (&b"\x80\x04"[..])
                .chain(std::io::Read::take(std::io::repeat(unit[0]), INPUT_LIMIT_BYTES))
        };
        assert!(read(endless(b"(")).unwrap_err().found.contains("too many"));
        assert!(read(endless(b"N")).unwrap_err().found.contains("too many"));
        let memo = (&b"\x80\x04N"[..]).chain(std::io::repeat(0x94));
        assert!(read(memo).unwrap_err().found.contains("too many"));
    }
}
