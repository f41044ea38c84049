//! The resident pages of this process's private anonymous memory, by `/proc/self/maps` and
//! `mincore`.
//!
//! The harness's own memory is shared, so it is never part of them.

use std::collections::HashSet;

use super::page::{PAGE_BYTES, kernel_page_bytes};

/// A larger mapping is reserved address space, not used memory.
const LARGEST_USED_BYTES: usize = 128 << 30;
/// Bytes of address space in one call of `mincore`.
const WINDOW_BYTES: usize = 64 << 20;

/// The address ranges of all private anonymous mappings but stacks.
pub(super) fn private_ranges() -> Vec<(usize, usize)> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().filter_map(private_range).collect()
}

/// The range of a line of `/proc/self/maps` if the mapping is private, readable and anonymous.
fn private_range(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, rights) = (fields.next()?, fields.next()?);
    let inode = fields.nth(2)?;
    let name = fields.next().unwrap_or_default();
    let (start, end) = range.split_once('-')?;
    let is_private = rights.starts_with('r') && rights.ends_with('p') && inode == "0";
    let is_heap = !name.starts_with("[stack") && !name.starts_with("[v");
    (is_private && is_heap).then_some(())?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

/// The numbers of the pages of [`PAGE_BYTES`] that are resident now in private anonymous mappings.
pub(super) fn resident_pages() -> HashSet<usize> {
    let parts = kernel_page_bytes() / PAGE_BYTES;
    let mut found = HashSet::new();
    for (start, end) in private_ranges() {
        if end - start <= LARGEST_USED_BYTES {
            for address in resident_in(start, end) {
                found.extend((0..parts).map(|part| address / PAGE_BYTES + part));
            }
        }
    }
    found
}

/// The addresses of the kernel's pages that are resident in `start..end`.
pub(super) fn resident_in(start: usize, end: usize) -> impl Iterator<Item = usize> {
    let windows = (start..end).step_by(WINDOW_BYTES);
    windows.flat_map(move |from| resident_in_window(from, end.min(from + WINDOW_BYTES)))
}

fn resident_in_window(start: usize, end: usize) -> impl Iterator<Item = usize> {
    let page = kernel_page_bytes();
    let mut residency = vec![0_u8; (end - start).div_ceil(page)];
    #[expect(unsafe_code, reason = "mincore has no safe wrapper")]
    // SAFETY: the kernel writes one byte for each page of the range into `residency`, which has
    // that many; it reads no memory.
    let result =
        unsafe { libc::mincore(start as *mut libc::c_void, end - start, residency.as_mut_ptr()) };
    if result != 0 {
        residency.clear(); // the mapping is gone: nothing is resident there
    }
    let pages = residency.into_iter().enumerate().filter(|(_, byte)| byte & 1 != 0);
    pages.map(move |(at, _)| start + at * page)
}

#[cfg(test)]
mod tests {
    use super::private_range;

    #[test]
    fn private_anonymous_lines_of_maps_are_recognised() {
        let range = Some((0x7f0000000000, 0x7f0000021000));
        let anonymous = "7f0000000000-7f0000021000 rw-p 00000000 00:00 0 ";
        assert_eq!(private_range(anonymous), range);
        assert_eq!(private_range(&format!("{anonymous}         [heap]")), range);
        assert_eq!(private_range(&format!("{anonymous}         [stack]")), None);
        for line in [
            "7f0000000000-7f0000021000 rw-s 00000000 00:01 77         /dev/zero",
            "7f0000000000-7f0000021000 r--p 00000000 08:01 77         /lib/libc.so",
            "7f0000000000-7f0000021000 ---p 00000000 00:00 0 ",
            "",
        ] {
            assert_eq!(private_range(line), None, "{line}");
        }
    }
}
