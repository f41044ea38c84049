//! The log of glibc's `mtrace()` (`MALLOC_TRACE=FILE`, since 2.34 with
//! `libc_malloc_debug.so` preloaded).
//!
//! `= Start`, lines, `= End`. Each line is `@ PLACE SIGN ADDRESS [SIZE]`, numbers in hexadecimal;
//! PLACE is `FILE:[0xOFFSET]`, `FILE:(SYMBOL+0x…)[0x…]`, or `[0x…]` alone and then without the `@`:
//!
//! ```text
//! +  a new block (malloc, calloc and aligned ones alike: read as malloc)
//! -  a free, and a realloc to nothing
//! <  a realloc begins: the old block      >  and ends: the new one and its size
//! !  a realloc failed: the block stays
//! ```
//!
//! There is no thread and no time. The place is the site.

use super::foreign::{Foreign, Lines, Log, Wrong, number};
use super::{Op, SITE_LIMIT_BYTES};

pub(super) const MEMBER: Foreign =
    Foreign { name: "mtrace", words: "a glibc mtrace log", sniff, lines: || Box::new(Mtrace) };

fn sniff(start: &str) -> bool {
    let first = start.lines().next().unwrap_or_default().trim();
    first == "= Start"
        || first.starts_with("@ ")
        || (first.starts_with("[0x") && first.contains("] "))
}

struct Mtrace;

impl Lines for Mtrace {
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), Wrong> {
        log.header.columns.site = true;
        if matches!(line.trim(), "= Start" | "= End") {
            return Ok(());
        }
        let wrong =
            || Wrong(format!("`{line}`"), "`@ PLACE + ADDRESS SIZE`, or `-`, `<`, `>`, `!`");
        // A place may have blanks in it, so the line is read from its end.
        let (rest, last) = line.trim().rsplit_once(' ').ok_or_else(wrong)?;
        let (rest, before) = rest.rsplit_once(' ').ok_or_else(wrong)?;
        let (place, sign, address, size) = match before {
            "-" | "<" => (rest, before, last, "0"),
            _ => {
                let (place, sign) = rest.rsplit_once(' ').ok_or_else(wrong)?;
                (place, sign, before, last)
            }
        };
        let (address, size) = number(address).zip(number(size)).ok_or_else(wrong)?;
        let place = place.strip_prefix("@ ").unwrap_or(place);
        let place = place.get(..SITE_LIMIT_BYTES.min(place.len())).unwrap_or_default();
        match sign {
            "-" => log.free(address),
            "<" => log.give_up(address),
            "!" => log.failed(),
            "+" | ">" => {
                log.site = log.sites.intern(place);
                log.birth(if sign == "+" { Op::Malloc } else { Op::Realloc }, size, address);
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }
}
