//! The header of an ELF file: whether a file is a shared library of this machine.

use std::fs;
use std::io::Read;
use std::path::Path;

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::FileHeader;
use object::{Endianness, FileKind};

/// Bytes of the longest header.
const HEADER_BYTES: u64 = size_of::<FileHeader64<Endianness>>() as u64;

/// The machine that a file is for. Two machines that are equal load each other's libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    has_64_bits: bool,
    is_big_endian: bool,
    processor: elf::Machine,
}

impl Machine {
    /// The machine of a file; `None` where it is no ELF file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of(path: &Path) -> std::io::Result<Option<Machine>> {
        let mut head = Vec::new();
        fs::File::open(path)?.take(HEADER_BYTES).read_to_end(&mut head)?;
        Ok(Machine::of_head(&head))
    }

    /// The machine of this program.
    pub fn own() -> Option<Machine> {
        Machine::of(Path::new("/proc/self/exe")).ok().flatten()
    }

    fn of_head(head: &[u8]) -> Option<Machine> {
        match FileKind::parse(head).ok()? {
            FileKind::Elf32 => Machine::of_header::<FileHeader32<Endianness>>(head),
            FileKind::Elf64 => Machine::of_header::<FileHeader64<Endianness>>(head),
            _ => None,
        }
    }

    fn of_header<H: FileHeader<Endian = Endianness>>(head: &[u8]) -> Option<Machine> {
        let header = H::parse(head).ok()?;
        let endian = header.endian().ok()?;
        Some(Machine {
            has_64_bits: header.is_class_64(),
            is_big_endian: header.is_big_endian(),
            processor: header.e_machine(endian),
        })
    }

    /// Its name, for a person.
    pub fn name(self) -> String {
        match self.processor {
            elf::EM_386 => "32-bit x86".to_owned(),
            elf::EM_ARM => "32-bit ARM".to_owned(),
            elf::EM_X86_64 => "x86-64".to_owned(),
            elf::EM_AARCH64 => "AArch64".to_owned(),
            elf::EM_RISCV => "RISC-V".to_owned(),
            elf::EM_S390 => "S/390".to_owned(),
            elf::EM_PPC64 => "POWER".to_owned(),
            other => format!("ELF machine {}", other.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_that_of_a_machine() {
        let own = Machine::own().unwrap();
        let mut head = fs::read("/proc/self/exe").unwrap()[..HEADER_BYTES as usize].to_vec();
        assert_eq!(Machine::of_head(&head), Some(own));
        assert_eq!(Machine::of_head(&head[..30]), None);
        assert_eq!(Machine::of_head(b"root:x:0:0:root:/root:/bin/bash"), None);
        head[18..20].copy_from_slice(&22u16.to_le_bytes());
        let other = Machine::of_head(&head).unwrap();
        assert!(other != own && other.name() == "S/390");
    }
}
