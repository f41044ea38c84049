//! Which loaded file a code address belongs to, by `/proc/self/maps`.
//!
//! The loader's own functions take its lock, and a thread in the loader may allocate. So the kernel's
//! list is read instead, when an address is in no known file.

use crate::rawlog::Control;
use crate::stream::Stream;
use crate::system;
use crate::table::{HashTable, hash};

/// Executable ranges that are followed, at most.
const RANGES_LIMIT: usize = 2048;

/// Executable addresses of a file.
#[derive(Clone, Copy)]
struct ModuleRange {
    start: u64,
    end: u64,
    /// The offset in the file of the first address.
    offset: u64,
    module: u32,
}

/// The files whose code the process has mapped.
pub struct Modules {
    ranges: [ModuleRange; RANGES_LIMIT],
    count: usize,
    /// Hash of a file's name to its number.
    names: HashTable,
    last_module: u32,
}

impl Modules {
    pub const fn new() -> Modules {
        let none = ModuleRange { start: 0, end: 0, offset: 0, module: 0 };
        Modules { ranges: [none; RANGES_LIMIT], count: 0, names: HashTable::new(), last_module: 0 }
    }

    /// Forgets all files, because a new log knows none.
    pub fn forget(&mut self) {
        self.names.clear();
        (self.count, self.last_module) = (0, 0);
    }

    /// The number of the file that `address` is in, and the offset there; `None` for code that is in
    /// no file. A new file is written to the stream.
    pub fn find(&mut self, address: u64, stream: &mut Stream) -> Option<(u32, u64)> {
        if let Some(found) = self.look_up(address) {
            return Some(found);
        }
        self.read(stream);
        self.look_up(address)
    }

    fn look_up(&self, address: u64) -> Option<(u32, u64)> {
        // The kernel lists ranges in ascending order.
        let ranges = &self.ranges[..self.count];
        let at = ranges.partition_point(|range| range.end <= address);
        let range = ranges.get(at).filter(|range| range.start <= address)?;
        Some((range.module, address - range.start + range.offset))
    }

    /// Reads the kernel's list. A new file is written to the stream.
    pub fn read(&mut self, stream: &mut Stream) {
        self.count = 0;
        system::each_line(c"/proc/self/maps", |line| self.take(line, stream));
    }

    /// Takes a line: `start-end permissions offset device inode path`.
    fn take(&mut self, line: &[u8], stream: &mut Stream) {
        let mut fields = line.splitn(6, |&byte| byte == b' ');
        let mut next = || fields.next().unwrap_or_default();
        let (range, permissions, offset, _, _) = (next(), next(), next(), next(), next());
        let path = next().trim_ascii_start();
        if permissions.get(2) != Some(&b'x') || path.is_empty() || self.count == RANGES_LIMIT {
            return;
        }
        let mut ends = range.split(|&byte| byte == b'-').map(hexadecimal);
        let (start, end) = (ends.next().unwrap_or(0), ends.next().unwrap_or(0));
        let module = self.number(path, stream);
        self.ranges[self.count] = ModuleRange { start, end, offset: hexadecimal(offset), module };
        self.count += 1;
    }

    fn number(&mut self, path: &[u8], stream: &mut Stream) -> u32 {
        let digest = path.iter().fold(0xCBF2_9CE4_8422_2325, |digest: u64, &byte| {
            hash(digest ^ u64::from(byte)).wrapping_add(0x9E37_79B9_7F4A_7C15)
        });
        if let Some(module) = self.names.get(digest.max(1)) {
            return module as u32;
        }
        self.last_module += 1;
        stream.named(Control::Module, self.last_module, path);
        self.names.set(digest.max(1), u64::from(self.last_module));
        self.last_module
    }
}

fn hexadecimal(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |value, &digit| {
        value << 4 | u64::from(char::from(digit).to_digit(16).unwrap_or(0))
    })
}
