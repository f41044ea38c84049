//! The header of an ELF file: whether a file is a shared library of this machine.

use std::fs;
use std::io::Read;
use std::path::Path;

/// The head of a file: class, byte order and processor.
pub type Header = [u8; 20];

/// The head of a file; zeros where the file is shorter than one.
///
/// # Errors
/// The file cannot be read.
pub fn header(path: &Path) -> std::io::Result<Header> {
    let mut header = [0; 20];
    match fs::File::open(path)?.read_exact(&mut header) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok([0; 20]),
        read => read.map(|()| header),
    }
}

/// Whether the file is ELF.
pub fn is_elf(header: &Header) -> bool {
    header.starts_with(b"\x7fELF")
}

/// The processor of a file and that of this program, where the two differ.
pub fn other_architecture(header: &Header) -> Option<[String; 2]> {
    // This program's own header has what the machine accepts: class, byte order, processor.
    let own = self::header(Path::new("/proc/self/exe")).unwrap_or(*header);
    let accepted = |header: &Header| (header[4], header[5], [header[18], header[19]]);
    (accepted(header) != accepted(&own)).then(|| [architecture(header), architecture(&own)])
}

/// The processor of an ELF header, as text.
fn architecture(header: &Header) -> String {
    let machine = if header[5] == 2 {
        u16::from_be_bytes([header[18], header[19]])
    } else {
        u16::from_le_bytes([header[18], header[19]])
    };
    match machine {
        3 => "32-bit x86".to_owned(),
        40 => "32-bit ARM".to_owned(),
        62 => "x86-64".to_owned(),
        183 => "AArch64".to_owned(),
        243 => "RISC-V".to_owned(),
        22 => "S/390".to_owned(),
        21 => "POWER".to_owned(),
        other => format!("ELF machine {other}"),
    }
}
