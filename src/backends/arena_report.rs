//! Memory by arena, as an allocator reports it, on its way out of the copy of a process that asks
//! for it: a line for each arena.
#![expect(unsafe_code, reason = "writes to a descriptor without the harness's heap")]

use std::fmt::{self, Write};
use std::os::fd::RawFd;

/// Memory of an arena, a thread heap or a cache, as the allocator itself reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArenaMemory {
    /// The allocator's name of it: `arena 3`, `all thread caches`.
    pub name: String,
    /// Threads that allocate from it now.
    pub threads: Option<u64>,
    /// Bytes that it has from the system and has not returned.
    pub held_bytes: Option<u64>,
    /// Bytes of blocks that it has given out, those in thread caches included.
    pub allocated_bytes: Option<u64>,
    /// Bytes of free blocks in the caches of its threads.
    pub cached_bytes: Option<u64>,
}

/// Bytes of a line, at most.
const LINE_BYTES: usize = 256;

/// A text in the making, on the stack: the copy of a process must not use the harness's heap.
pub(super) struct StackText {
    bytes: [u8; LINE_BYTES],
    length: usize,
}

impl Default for StackText {
    fn default() -> StackText {
        StackText { bytes: [0; LINE_BYTES], length: 0 }
    }
}

impl StackText {
    /// Its first byte.
    pub fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }
}

impl Write for StackText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// The figures of an arena: threads, bytes held, allocated and cached.
pub(super) type ArenaFigures = [Option<u64>; 4];

/// Writes the line of an arena. Returns whether it was written.
pub(super) fn write(out: RawFd, name: fmt::Arguments<'_>, figures: ArenaFigures) -> bool {
    let mut line = StackText::default();
    let mut put = || {
        line.write_fmt(name)?;
        for figure in figures {
            match figure {
                Some(figure) => write!(line, "\t{figure}")?,
                None => line.write_str("\t")?,
            }
        }
        line.write_str("\n")
    };
    // SAFETY: writes bytes of the stack.
    put().is_ok()
        && unsafe { libc::write(out, line.as_ptr().cast(), line.length) } == line.length as isize
}

/// Reads the lines of [`write`]; what is no such line is left out.
pub(super) fn read(text: &str) -> Vec<ArenaMemory> {
    let arena = |line: &str| {
        let mut fields = line.split('\t');
        let name = fields.next()?.to_owned();
        let mut figure = || fields.next().map(|field| field.parse().ok());
        let [threads, held_bytes, allocated_bytes, cached_bytes] =
            [figure()?, figure()?, figure()?, figure()?];
        Some(ArenaMemory { name, threads, held_bytes, allocated_bytes, cached_bytes })
    };
    text.lines().filter_map(arena).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut file = tempfile::tempfile().unwrap();
        let out = file.as_raw_fd();
        assert!(write(out, format_args!("arena {}", 3), [Some(2), None, Some(0), Some(u64::MAX)]));
        assert!(!write(out, format_args!("{}", "x".repeat(300)), [None; 4]));
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let wanted = ArenaMemory {
            name: "arena 3".to_owned(),
            threads: Some(2),
            held_bytes: None,
            allocated_bytes: Some(0),
            cached_bytes: Some(u64::MAX),
        };
        assert_eq!(read(&text), [wanted]);
        assert_eq!(read("no figures"), []);
    }
}
