//! Names the function that a code address of a recorded process lies in, from the file on the disk:
//! `libarrow.so.2300!arrow::PoolBuffer::Resize`.

use std::collections::HashMap;
use std::path::Path;

use object::{Object, ObjectSegment, ObjectSymbol, SymbolKind};

/// The longest name of a function, in characters; templates have longer ones.
const NAME_LIMIT: usize = 120;

/// A function of a file.
#[derive(Clone, Debug)]
struct FunctionSymbol {
    address: u64,
    /// Bytes; 0 where the file does not say.
    size: u64,
    name: String,
}

/// The functions of a file, ordered by address.
#[derive(Debug, Default)]
struct ModuleSymbols {
    functions: Vec<FunctionSymbol>,
    /// Offset in the file, length, and address of each segment.
    segments: Vec<(u64, u64, u64)>,
}

/// Functions of the files that were read so far.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    modules: HashMap<String, ModuleSymbols>,
}

impl Symbols {
    /// The name of the code at that offset of a file: `file!function`, or the file and the offset
    /// where the file has no such symbol or cannot be read.
    pub fn name(&mut self, path: &str, offset: u64) -> String {
        let file = Path::new(path).file_name().map_or(path.into(), |name| name.to_string_lossy());
        let module =
            self.modules.entry(path.to_owned()).or_insert_with(|| ModuleSymbols::read(path));
        match module.function(offset) {
            Some(name) => format!("{file}!{}", demangled(name)),
            None => format!("{file}+{offset:#x}"),
        }
    }
}

impl ModuleSymbols {
    /// A file without symbols, or that cannot be read, has none.
    fn read(path: &str) -> ModuleSymbols {
        let Ok(bytes) = std::fs::read(path) else { return ModuleSymbols::default() };
        let Ok(file) = object::File::parse(bytes.as_slice()) else {
            return ModuleSymbols::default();
        };
        let segments = file
            .segments()
            .map(|segment| {
                let (offset, length) = segment.file_range();
                (offset, length, segment.address())
            })
            .collect();
        let mut functions: Vec<FunctionSymbol> = file
            .symbols()
            .chain(file.dynamic_symbols())
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
            .filter_map(|symbol| {
                let name = symbol.name().ok()?.to_owned();
                Some(FunctionSymbol { address: symbol.address(), size: symbol.size(), name })
            })
            .collect();
        functions
            .sort_by(|left, right| (left.address, &left.name).cmp(&(right.address, &right.name)));
        ModuleSymbols { functions, segments }
    }

    fn function(&self, offset: u64) -> Option<&str> {
        let &(start, _, base) = self
            .segments
            .iter()
            .find(|(start, length, _)| (*start..start.saturating_add(*length)).contains(&offset))?;
        // The address that a call returns to is behind the call.
        let address = base.checked_add(offset - start)?.checked_sub(1)?;
        let after = self.functions.partition_point(|function| function.address <= address);
        let function = self.functions.get(after.checked_sub(1)?)?;
        let is_inside = function.size == 0 || address - function.address < function.size;
        is_inside.then_some(&function.name)
    }
}

/// A name as its language writes it, cut off where it is too long.
fn demangled(name: &str) -> String {
    let name = if let Ok(rust) = rustc_demangle::try_demangle(name) {
        format!("{rust:#}")
    } else if let Ok(cpp) = cpp_demangle::Symbol::new(name) {
        let options = cpp_demangle::DemangleOptions::new().no_params().no_return_type();
        cpp.demangle_with_options(&options).unwrap_or_else(|_| name.to_owned())
    } else {
        name.to_owned()
    };
    match name.char_indices().nth(NAME_LIMIT) {
        Some((at, _)) => format!("{}…", name.get(..at).unwrap_or_default()),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rust_and_cpp_are_read() {
        assert_eq!(demangled("_ZN5arrow10PoolBuffer6ResizeElb"), "arrow::PoolBuffer::Resize");
        assert_eq!(demangled("_ZN4core3fmt5write17h0123456789abcdefE"), "core::fmt::write");
        assert_eq!(demangled("PyMem_Malloc"), "PyMem_Malloc");
        assert_eq!(demangled(&"x".repeat(200)).chars().count(), NAME_LIMIT + 1);
    }

    /// Its name is looked for. A test's own function may have no symbol: it can be inlined.
    #[inline(never)]
    fn a_function_with_a_symbol() -> u64 {
        std::hint::black_box(7)
    }

    /// The oracle: the address that the loader gave the function.
    #[test]
    fn a_function_of_this_program_is_found() {
        let function: fn() -> u64 = std::hint::black_box(a_function_with_a_symbol);
        let address = function as usize as u64;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let offset = maps.lines().find_map(|line| {
            let mut fields = line.split_whitespace();
            let (start, end) = fields.next()?.split_once('-')?;
            let hex = |text: &str| u64::from_str_radix(text, 16).ok();
            let (start, end, file_offset) = (hex(start)?, hex(end)?, hex(fields.nth(1)?)?);
            (start..end).contains(&address).then(|| address - start + file_offset)
        });
        let program = std::env::current_exe().unwrap();
        // The address that a call returns to is behind the call, hence not the first of the function.
        let name = Symbols::default().name(program.to_str().unwrap(), offset.unwrap() + 4);
        assert!(name.contains("a_function_with_a_symbol"), "{name}");
        assert_eq!(Symbols::default().name("/no/such/lib.so", 16), "lib.so+0x10");
    }
}
