//! Which code called `operator new`, where that function called the C library.
//!
//! C++ programs allocate by `operator new`, whose only caller of `malloc` is itself. So the caller
//! that a person wants is one frame up. Unwind tables say where its return address lies on the stack.
//!
//! The loader's own functions would take its lock, so all is read from memory: `_dl_find_object` of
//! glibc 2.35 and later takes no lock and gives the loaded file of an address. Where it is missing,
//! where a table has an unknown form, and on other processors than x86-64, the caller stays
//! `operator new`.

use core::ffi::{CStr, c_void};
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::system;

/// The stack of a call of the C library. On x86-64 it is the address of the return address, elsewhere
/// the return address itself.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct CallerStack(pub u64);

impl CallerStack {
    /// The return address.
    #[inline(always)]
    pub fn return_address(self) -> u64 {
        if cfg!(target_arch = "x86_64") { self.slot(0) } else { self.0 }
    }

    /// The return address of the function that called, whose frame has so many bytes.
    #[inline(always)]
    pub fn outer(self, frame_bytes: u64) -> u64 {
        self.slot(frame_bytes)
    }

    fn slot(self, offset: u64) -> u64 {
        if self.0 == 0 {
            return 0;
        }
        // SAFETY: the stack of the present call, at or above its return address.
        unsafe { *core::ptr::with_exposed_provenance::<u64>((self.0 + offset) as usize) }
    }
}

/// The forms of `operator new` that call the C library.
const NAMES: [&CStr; 8] = [
    c"_Znwm",
    c"_Znam",
    c"_ZnwmRKSt9nothrow_t",
    c"_ZnamRKSt9nothrow_t",
    c"_ZnwmSt11align_val_t",
    c"_ZnamSt11align_val_t",
    c"_ZnwmSt11align_val_tRKSt9nothrow_t",
    c"_ZnamSt11align_val_tRKSt9nothrow_t",
];

/// `struct dl_find_object` of x86-64.
#[repr(C)]
struct FoundObject {
    flags: u64,
    start: *const c_void,
    end: *const c_void,
    link_map: *const LinkMap,
    eh_frame_header: *const u8,
    reserved: [u64; 7],
}

/// The public part of `struct link_map`.
#[repr(C)]
struct LinkMap {
    base: u64,
    name: *const u8,
    dynamic: *const [u64; 2],
}

type FindObject = unsafe extern "C" fn(*const c_void, *mut FoundObject) -> i32;

/// `_dl_find_object`, or null.
static FIND_OBJECT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

/// Finds the C library's function. In the constructor, or while nothing is recorded.
pub fn prepare() {
    if cfg!(all(target_arch = "x86_64", target_env = "gnu")) {
        FIND_OBJECT.store(system::symbol(c"_dl_find_object"), Ordering::Relaxed);
    }
}

/// The bytes from the stack pointer of `operator new` to its return address, if `address` is a return
/// address in that function; `None` for all other code.
#[cold]
pub fn frame_of_operator_new(address: u64) -> Option<u64> {
    let find = FIND_OBJECT.load(Ordering::Relaxed);
    if find.is_null() || address == 0 {
        return None;
    }
    let mut found = FoundObject {
        flags: 0,
        start: core::ptr::null(),
        end: core::ptr::null(),
        link_map: core::ptr::null(),
        eh_frame_header: core::ptr::null(),
        reserved: [0; 7],
    };
    let place = core::ptr::with_exposed_provenance(address as usize);
    // SAFETY: the function has this signature since glibc 2.35. What it finds stays loaded while the
    // present call of the program is in its code.
    unsafe {
        let find = core::mem::transmute::<*mut c_void, FindObject>(find);
        if find(place, &raw mut found) != 0 || found.eh_frame_header.is_null() {
            return None;
        }
        let function = UnwindFunction::find(found.eh_frame_header, address - 1)?;
        let symbols = Symbols::of(found.link_map)?;
        let is_new = NAMES.iter().any(|name| symbols.address(name) == Some(function.start));
        if is_new { function.frame_bytes(address - 1) } else { None }
    }
}

/// Reads a table in memory.
#[derive(Clone, Copy)]
struct TableReader {
    at: *const u8,
}

impl TableReader {
    unsafe fn byte(&mut self) -> u8 {
        // SAFETY: as the caller guarantees, the table goes on.
        unsafe {
            let byte = *self.at;
            self.at = self.at.add(1);
            byte
        }
    }

    unsafe fn bytes<const N: usize>(&mut self) -> [u8; N] {
        // SAFETY: as above.
        core::array::from_fn(|_| unsafe { self.byte() })
    }

    unsafe fn u32(&mut self) -> u32 {
        // SAFETY: as above.
        u32::from_ne_bytes(unsafe { self.bytes() })
    }

    /// A number of seven bits a byte, the lowest first.
    unsafe fn number(&mut self) -> u64 {
        let (mut value, mut shift) = (0u64, 0u32);
        loop {
            // SAFETY: as above.
            let byte = unsafe { self.byte() };
            value |= u64::from(byte & 0x7F).checked_shl(shift).unwrap_or(0);
            shift += 7;
            if byte & 0x80 == 0 || shift > 70 {
                return value;
            }
        }
    }

    unsafe fn skip(&mut self, bytes: u64) {
        // SAFETY: as above.
        self.at = unsafe { self.at.add(bytes as usize) };
    }

    /// An address as the distance from its own place.
    unsafe fn relative(&mut self) -> u64 {
        let place = self.at.addr() as u64;
        // SAFETY: as above.
        place.wrapping_add_signed(i64::from(unsafe { self.u32() }.cast_signed()))
    }
}

/// The encodings that compilers use on x86-64: a signed 32-bit distance from its own place, an
/// unsigned 32-bit number, and a signed 32-bit distance from the table.
const RELATIVE: u8 = 0x1B;
const UNSIGNED: u8 = 0x03;
const FROM_TABLE: u8 = 0x3B;

/// A function, as an unwind table has it.
struct UnwindFunction {
    start: u64,
    /// The steps that are common to many functions, and those of this one: begin and end.
    programs: [(TableReader, *const u8); 2],
    /// The factor of distances between steps.
    code_unit: u64,
}

impl UnwindFunction {
    /// The function that `address` lies in, by the index of the loaded file's unwind table.
    ///
    /// # Safety
    /// `header` is the index of a loaded file (`PT_GNU_EH_FRAME`).
    unsafe fn find(header: *const u8, address: u64) -> Option<UnwindFunction> {
        let mut reader = TableReader { at: header };
        // SAFETY: the index has a head of 4 bytes, an address, a count, and pairs of distances.
        unsafe {
            if reader.bytes() != [1, RELATIVE, UNSIGNED, FROM_TABLE] {
                return None;
            }
            reader.skip(4);
            let (mut low, mut high) = (0, u64::from(reader.u32()));
            let entry = |at: u64| {
                let mut pair = TableReader { at: reader.at.add(at as usize * 8) };
                let base = header.addr() as u64;
                let mut distance = || base.wrapping_add_signed(i64::from(pair.u32().cast_signed()));
                (distance(), distance())
            };
            while high - low > 1 {
                let middle = low.midpoint(high);
                if entry(middle).0 <= address { low = middle } else { high = middle }
            }
            let (start, description) = entry(low);
            if high == low || start > address {
                return None;
            }
            UnwindFunction::read(core::ptr::with_exposed_provenance(description as usize), address)
        }
    }

    /// Reads the description of a function.
    unsafe fn read(description: *const u8, address: u64) -> Option<UnwindFunction> {
        let mut reader = TableReader { at: description };
        // SAFETY: the index gives the place of a description.
        unsafe {
            let length = reader.u32();
            let own_end = reader.at.add(length as usize);
            let here = reader.at;
            let common = here.sub(reader.u32() as usize);
            let (common_program, common_end, code_unit) = common_part(common)?;
            let start = reader.relative();
            let size = u64::from(reader.u32());
            if !(start..start + size).contains(&address) {
                return None;
            }
            let more = reader.number();
            reader.skip(more);
            let programs = [(common_program, common_end), (reader, own_end)];
            Some(UnwindFunction { start, programs, code_unit })
        }
    }

    /// The bytes from the stack pointer at `address` to the return address.
    unsafe fn frame_bytes(&self, address: u64) -> Option<u64> {
        /// The number of the stack pointer.
        const STACK: u64 = 7;
        let mut frame = (STACK, 8);
        let mut remembered = frame;
        let mut at = self.start;
        for &(mut reader, end) in &self.programs {
            while reader.at < end {
                // SAFETY: the steps of a loaded file's unwind table, up to their end.
                unsafe {
                    let step = reader.byte();
                    let advance = match (step >> 6, step & 0x3F) {
                        (1, distance) => u64::from(distance),
                        (2, _) => {
                            reader.number();
                            0
                        }
                        (3, _) | (0, 0x00) => 0,
                        (0, 0x02) => u64::from(reader.byte()),
                        (0, 0x03) => u64::from(u16::from_ne_bytes(reader.bytes())),
                        (0, 0x04) => u64::from(reader.u32()),
                        (0, 0x06..=0x08) | (0, 0x2E) => {
                            reader.number();
                            0
                        }
                        (0, 0x0A) => {
                            remembered = frame;
                            0
                        }
                        (0, 0x0B) => {
                            frame = remembered;
                            0
                        }
                        (0, 0x0C) => {
                            frame = (reader.number(), reader.number());
                            0
                        }
                        (0, 0x0D) => {
                            frame.0 = reader.number();
                            0
                        }
                        (0, 0x0E) => {
                            frame.1 = reader.number();
                            0
                        }
                        _ => return None,
                    };
                    at += advance * self.code_unit;
                    if at > address {
                        break;
                    }
                }
            }
        }
        // The return address lies below the frame's start. A frame of that size is small.
        (frame.0 == STACK && (8..4096).contains(&frame.1)).then_some(frame.1)
    }
}

/// The steps that a function shares with others: their begin and end, and the factor of distances.
unsafe fn common_part(common: *const u8) -> Option<(TableReader, *const u8, u64)> {
    let mut reader = TableReader { at: common };
    // SAFETY: the place of a common part, as a description gives it.
    unsafe {
        let length = reader.u32();
        let end = reader.at.add(length as usize);
        let (is_description, version) = (reader.u32() != 0, reader.byte());
        // `z`, then letters for what follows in the augmentation; the last is `R` or an `S`.
        let letters: [u8; 2] = reader.bytes();
        if is_description || version != 1 || letters[0] != b'z' {
            return None;
        }
        let mut letter = letters[1];
        let mut before_encoding = 0;
        while letter != 0 {
            match letter {
                b'R' => {}
                // A personality of an encoding and an address, and an encoding of other tables.
                b'P' => before_encoding += 5,
                b'L' => before_encoding += 1,
                _ => return None,
            }
            letter = reader.byte();
        }
        let code_unit = reader.number();
        reader.number(); // the factor of places on the stack
        reader.number(); // the number of the return address
        let more = reader.number();
        let mut augmentation = reader;
        augmentation.skip(before_encoding);
        if more != before_encoding + 1 || augmentation.byte() != RELATIVE {
            return None;
        }
        reader.skip(more);
        Some((reader, end, code_unit))
    }
}

/// The exported names of a loaded file, by its hash table.
struct Symbols {
    base: u64,
    names: *const u8,
    symbols: *const u8,
    hash_table: *const u32,
}

/// Bytes of a symbol.
const SYMBOL_BYTES: usize = 24;

impl Symbols {
    /// # Safety
    /// `link_map` is null or that of a loaded file.
    unsafe fn of(link_map: *const LinkMap) -> Option<Symbols> {
        const END: u64 = 0;
        const NAMES: u64 = 5;
        const SYMBOLS: u64 = 6;
        const GNU_HASH: u64 = 0x6FFF_FEF5;
        let mut found = [0u64; 3];
        // SAFETY: as the caller guarantees; the list ends with a zero.
        unsafe {
            let link_map = link_map.as_ref()?;
            let mut entry = link_map.dynamic;
            while !entry.is_null() && (*entry)[0] != END {
                let [kind, value] = *entry;
                match kind {
                    NAMES => found[0] = value,
                    SYMBOLS => found[1] = value,
                    GNU_HASH => found[2] = value,
                    _ => {}
                }
                entry = entry.add(1);
            }
            // The loader of glibc makes these addresses; values below the base are those of a file.
            if found.iter().any(|&value| value == 0 || value < link_map.base) {
                return None;
            }
            let [names, symbols, hash_table] = found.map(|value| value as usize);
            Some(Symbols {
                base: link_map.base,
                names: core::ptr::with_exposed_provenance(names),
                symbols: core::ptr::with_exposed_provenance(symbols),
                hash_table: core::ptr::with_exposed_provenance(hash_table),
            })
        }
    }

    /// The address of a name that the file defines.
    unsafe fn address(&self, name: &CStr) -> Option<u64> {
        let hash = name
            .to_bytes()
            .iter()
            .fold(5381u32, |hash, &byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte)));
        // SAFETY: a hash table of a loaded file: four numbers, a filter of 64-bit words, buckets, and
        // the hashes of each bucket's symbols, of which the last has its lowest bit set.
        unsafe {
            let [buckets, first, filter_words] =
                [0, 1, 2].map(|at| *self.hash_table.add(at) as usize);
            if buckets == 0 {
                return None;
            }
            let bucket = self.hash_table.add(4 + 2 * filter_words);
            let mut symbol = *bucket.add(hash as usize % buckets) as usize;
            if symbol < first {
                return None;
            }
            loop {
                let known = *bucket.add(buckets + symbol - first);
                let entry = self.symbols.add(symbol * SYMBOL_BYTES);
                if known | 1 == hash | 1 {
                    let name_at = entry.cast::<u32>().read_unaligned() as usize;
                    let section = entry.add(6).cast::<u16>().read_unaligned();
                    let value = entry.add(8).cast::<u64>().read_unaligned();
                    let found = CStr::from_ptr(self.names.add(name_at).cast());
                    if section != 0 && found == name {
                        return Some(self.base.wrapping_add(value));
                    }
                }
                if known & 1 != 0 {
                    return None;
                }
                symbol += 1;
            }
        }
    }
}
