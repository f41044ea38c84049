//! The malloc-lab trace, `.rep`, of the exercise in Bryant and O'Hallaron's *Computer Systems*.
//!
//! Four lines have one whole number each: suggested heap size, ids, requests, weight. Then each line
//! is a request:
//!
//! ```text
//! a ID BYTES    malloc: the block is ID
//! r ID BYTES    realloc of ID, which stays ID
//! f ID          free; ID -1 is the null pointer
//! ```
//!
//! A file with fewer requests than its third line names was cut off.

use super::event::Op;
use super::foreign::{Foreign, LineParser, Log, WrongLine};

pub(super) const MEMBER: Foreign = Foreign {
    name: "rep",
    description: "a malloc-lab trace",
    sniff,
    parser: || Box::new(Rep::default()),
};

fn sniff(start: &str) -> bool {
    let mut lines = start.lines().filter(|line| !line.trim().is_empty());
    let numbers = lines.by_ref().take(4).filter(|line| line.trim().parse::<u64>().is_ok()).count();
    numbers == 4 && lines.next().is_none_or(|line| line.starts_with(['a', 'r', 'f']))
}

#[derive(Default)]
struct Rep {
    header: u32,
    requests: u64,
    requests_read: u64,
}

impl LineParser for Rep {
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), WrongLine> {
        if self.header < 4 {
            let wrong =
                || WrongLine(format!("`{line}`"), "a whole number in each of the first four lines");
            let number = line.trim().parse().map_err(|_| wrong())?;
            if self.header == 2 {
                self.requests = number;
            }
            self.header += 1;
            return Ok(());
        }
        let wrong = || WrongLine(format!("`{line}`"), "`a ID BYTES`, `r ID BYTES` or `f ID`");
        let mut fields = line.split_ascii_whitespace();
        let (kind, id) = (fields.next(), fields.next());
        self.requests_read += 1;
        if (kind, id) == (Some("f"), Some("-1")) {
            return Ok(());
        }
        // Ids begin at 0. An address is never 0, so 1 is added.
        let id = id.and_then(|id| id.parse::<u64>().ok()?.checked_add(1)).ok_or_else(wrong)?;
        let size = fields.next().map(str::parse::<u64>);
        match (kind, size, fields.next()) {
            (Some("a"), Some(Ok(size)), None) => log.birth(Op::Malloc, size, id),
            (Some("r"), Some(Ok(size)), None) => log.realloc(id, size, id),
            (Some("f"), None, None) => log.free(id),
            _ => return Err(wrong()),
        }
        Ok(())
    }

    fn end(&mut self, _log: &mut Log) -> Result<(), WrongLine> {
        if self.header < 4 || self.requests_read < self.requests {
            let found = format!(
                "the end of the file after {} of {} requests",
                self.requests_read, self.requests
            );
            return Err(WrongLine(found, "as many as the third line names; was the file cut off?"));
        }
        Ok(())
    }
}
