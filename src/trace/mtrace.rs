//! The log of glibc's `mtrace()`, `MALLOC_TRACE=FILE`. Since 2.34 it needs `libc_malloc_debug.so`
//! preloaded.
//!
//! The lines stand between `= Start` and `= End`. Each is `@ PLACE SIGN ADDRESS [SIZE]`, with
//! hexadecimal numbers. PLACE is `FILE:[0xOFFSET]`, `FILE:(SYMBOL+0x…)[0x…]`, or only `[0x…]`. In
//! the last form the line lacks the `@`. The signs are:
//!
//! ```text
//! +  a new block (malloc, calloc and aligned allocations: all become mallocs)
//! -  a free, and a realloc to nothing
//! <  a realloc begins: the old block      >  and ends: the new block and its size
//! !  a realloc failed: the old block lives on
//! ```
//!
//! There is no thread and no time. The site of a row is PLACE.

use super::event::{Op, SITE_LIMIT_BYTES};
use super::foreign::{Foreign, LineParser, Log, WrongLine, number};

pub(super) const MEMBER: Foreign = Foreign {
    name: "mtrace",
    description: "a glibc mtrace log",
    sniff,
    parser: || Box::new(Mtrace),
};

fn sniff(start: &str) -> bool {
    let first = start.lines().next().unwrap_or_default().trim();
    first == "= Start"
        || first.starts_with("@ ")
        || (first.starts_with("[0x") && first.contains("] "))
}

struct Mtrace;

impl LineParser for Mtrace {
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), WrongLine> {
        log.header.columns.site = true;
        if matches!(line.trim(), "= Start" | "= End") {
            return Ok(());
        }
        let wrong =
            || WrongLine(format!("`{line}`"), "`@ PLACE + ADDRESS SIZE`, or `-`, `<`, `>`, `!`");
        // PLACE may contain blanks, so the line is read from its end.
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
