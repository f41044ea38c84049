//! What glibc reports of its arenas: `malloc_info(3)`, an XML text.
#![expect(unsafe_code, reason = "calls the C library")]

use std::os::fd::RawFd;

use crate::backends::arena_report::ArenaMemory;

/// Writes the report to a descriptor.
pub(super) fn write(out: RawFd) -> bool {
    // SAFETY: a stream over a descriptor of the caller, which stays open; the report walks the
    // arenas under their locks.
    unsafe {
        let stream = libc::fdopen(out, c"w".as_ptr());
        if stream.is_null() {
            return false;
        }
        libc::malloc_info(0, stream) == 0 && libc::fflush(stream) == 0
    }
}

/// Reads a report: the arenas, and the blocks that are mappings of their own.
pub(super) fn read(report: &str) -> Vec<ArenaMemory> {
    let mut arenas: Vec<ArenaMemory> = report
        .split("<heap nr=\"")
        .skip(1)
        .filter_map(|text| {
            let (number, text) = text.split_once('"')?;
            let text = text.split("</heap>").next()?;
            let held = size_of(text, "<system type=\"current\"")?;
            let fast = size_of(text, "<total type=\"fast\"").unwrap_or(0);
            let rest = size_of(text, "<total type=\"rest\"").unwrap_or(0);
            let main = if number == "0" { " (main)" } else { "" };
            Some(ArenaMemory {
                name: format!("arena {number}{main}"),
                held_bytes: Some(held),
                allocated_bytes: Some(held.saturating_sub(fast + rest)),
                ..ArenaMemory::default()
            })
        })
        .collect();
    let mapped = size_of(report, "<total type=\"mmap\"").filter(|bytes| *bytes > 0);
    arenas.extend(mapped.map(|bytes| ArenaMemory {
        name: "blocks mapped by themselves".to_owned(),
        held_bytes: Some(bytes),
        allocated_bytes: Some(bytes),
        ..ArenaMemory::default()
    }));
    arenas
}

/// The attribute `size` of the first element that begins so.
fn size_of(text: &str, element: &str) -> Option<u64> {
    let (_, rest) = text.split_once(element)?;
    let attributes = rest.split("/>").next()?;
    attributes.split_once(" size=\"")?.1.split('"').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report of glibc 2.36, shortened.
    const REPORT: &str = r#"<malloc version="1">
<heap nr="0">
<sizes>
  <size from="33" to="48" total="96" count="2"/>
  <unsorted from="1057" to="1057" total="1057" count="1"/>
</sizes>
<total type="fast" count="2" size="96"/>
<total type="rest" count="2" size="5153"/>
<system type="current" size="135168"/>
<system type="max" size="135168"/>
<aspace type="total" size="135168"/>
<aspace type="mprotect" size="135168"/>
</heap>
<heap nr="1">
<sizes>
</sizes>
<total type="fast" count="0" size="0"/>
<total type="rest" count="0" size="0"/>
<system type="current" size="139264"/>
<system type="max" size="139264"/>
</heap>
<total type="fast" count="2" size="96"/>
<total type="rest" count="2" size="5153"/>
<total type="mmap" count="1" size="1052672"/>
<system type="current" size="274432"/>
</malloc>
"#;

    #[test]
    fn arenas_and_mapped_blocks_are_read() {
        let found: Vec<(String, [u64; 2])> = read(REPORT)
            .into_iter()
            .map(|arena| (arena.name, [arena.held_bytes.unwrap(), arena.allocated_bytes.unwrap()]))
            .collect();
        let wanted = [
            ("arena 0 (main)", [135_168, 129_919]),
            ("arena 1", [139_264, 139_264]),
            ("blocks mapped by themselves", [1_052_672, 1_052_672]),
        ];
        assert_eq!(found, wanted.map(|(name, bytes)| (name.to_owned(), bytes)));
        assert_eq!(read("<malloc>"), []);
    }
}
