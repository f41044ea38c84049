//! The malloc-lab trace, `.rep`, of the exercise in Bryant and O'Hallaron's *Computer Systems*.
//!
//! A header of whole numbers comes first: suggested heap size, ids, requests, weight. Then each line
//! is a request:
//!
//! ```text
//! a ID BYTES    malloc: the block is ID
//! r ID BYTES    realloc of ID, which stays ID; without a block a malloc, to 0 bytes a free
//! f ID          free; ID -1 is the null pointer
//! ```
//!
//! Courses use dialects. The header may have fewer numbers, or none, and may stand on one line. Lines
//! may be indented, and `#` begins a comment. A weight may be `1.0` or `-1`. In a header of four
//! numbers the third one counts the requests. In a shorter header the larger one of its last two
//! numbers does. A file with fewer requests was cut off. One with more is read, and both numbers are
//! reported.

use std::collections::HashSet;

use super::event::Op;
use super::foreign::{Foreign, LineFault, LineParser, Log, LogParser, LogStart, decimal};
use super::quote::quoted;

pub(super) const MEMBER: Foreign = Foreign {
    name: "rep",
    description: "a malloc-lab trace",
    sniff,
    parser: || LogParser::Lines(Box::new(Rep::default())),
};

/// Numbers of the header, at most.
const HEADER_NUMBERS: usize = 4;

fn sniff(start: &LogStart<'_>) -> bool {
    let mut lines = start.lines().filter(|line| !line.starts_with('#'));
    let mut numbers = 0;
    let request = lines.find(|line| {
        let found = header_numbers(line).map_or(0, |found| found.len());
        numbers += found;
        found == 0
    });
    match request {
        Some(line) if numbers <= HEADER_NUMBERS && request_of(line).is_some() => true,
        Some(_) => has_mostly_requests(start),
        None => numbers == HEADER_NUMBERS,
    }
}

/// Whether most of the first lines behind a header are requests: such a file has a faulty line, which
/// the reader names.
fn has_mostly_requests(start: &LogStart<'_>) -> bool {
    const FIRST_LINES: usize = 10;
    let is_of_header = |line: &str| line.starts_with('#') || header_numbers(line).is_some();
    let lines = start.lines().filter(|line| !is_of_header(line)).take(FIRST_LINES);
    let requests: Vec<bool> = lines.map(|line| request_of(line).is_some()).collect();
    let found = requests.iter().filter(|is_request| **is_request).count();
    found >= 2 && 2 * found >= requests.len()
}

/// A line of the header.
fn header_numbers(line: &str) -> Option<Vec<f64>> {
    let fields = without_comment(line).split_ascii_whitespace();
    let numbers: Option<Vec<f64>> =
        fields.map(|field| field.parse::<f64>().ok().filter(|number| number.is_finite())).collect();
    numbers.filter(|numbers| !numbers.is_empty())
}

fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default()
}

/// Action, id and bytes of a request. The id of the null pointer is `None`.
fn request_of(line: &str) -> Option<(&str, Option<u64>, u64)> {
    let mut fields = without_comment(line).split_ascii_whitespace();
    let (action, id) = (fields.next()?, fields.next()?);
    let id = if id == "-1" { None } else { Some(decimal(id)?) };
    let size = fields.next().map(decimal);
    match (action, id, size, fields.next()) {
        ("a" | "r", Some(_), Some(Some(size)), None) => Some((action, id, size)),
        ("f", _, None, None) => Some((action, id, 0)),
        _ => None,
    }
}

#[derive(Default)]
struct Rep {
    header: Vec<f64>,
    requests_read: u64,
    /// Ids whose last request was a realloc to 0 bytes: a free of one does nothing.
    empty: HashSet<u64>,
    /// Ids with a block.
    live: HashSet<u64>,
}

impl Rep {
    /// The number of requests, where the header has it.
    fn stated(&self) -> Option<u64> {
        let stated = match self.header.as_slice() {
            [] => return None,
            [only] => *only,
            [_, _, requests, _] => *requests,
            [.., one, other] => one.max(*other),
        };
        (stated >= 0.0 && stated.fract() == 0.0).then_some(stated as u64)
    }
}

impl LineParser for Rep {
    fn line(&mut self, line: &str, log: &mut Log) -> Result<(), LineFault> {
        if without_comment(line).trim().is_empty() {
            return Ok(());
        }
        if self.requests_read == 0
            && let Some(numbers) = header_numbers(line)
        {
            self.header.extend(numbers);
            if self.header.len() > HEADER_NUMBERS {
                return Err(LineFault::Wrong(quoted(line), "a header of at most four numbers"));
            }
            return Ok(());
        }
        let (action, id, size) = request_of(line).ok_or_else(|| {
            LineFault::Wrong(quoted(line), "`a ID BYTES`, `r ID BYTES` or `f ID`")
        })?;
        self.requests_read += 1;
        let Some(id) = id else { return Ok(()) };
        // Ids begin at 0. An address is never 0, so 1 is added.
        let address =
            id.checked_add(1).ok_or_else(|| LineFault::Wrong(quoted(line), "an id below 2^64"))?;
        let was_empty = self.empty.remove(&id);
        let was_live = self.live.contains(&id);
        match (action, size) {
            ("f", _) if was_empty => {}
            ("f", _) => {
                self.live.remove(&id);
                log.free(address);
            }
            ("r", 0) => {
                self.live.remove(&id);
                self.empty.insert(id);
                log.free(if was_live { address } else { 0 });
            }
            ("r", _) if was_live => log.realloc(address, size, address),
            _ => {
                self.live.insert(id);
                log.birth(Op::Malloc, size, address);
            }
        }
        Ok(())
    }

    fn is_whole_without_end(&self, line: &str) -> bool {
        let is_request = request_of(line).is_some();
        is_request && self.stated() == Some(self.requests_read + 1)
    }

    fn end(&mut self, log: &mut Log) -> Result<(), LineFault> {
        let found = self.requests_read;
        match self.stated() {
            Some(stated) if found < stated => Err(LineFault::Wrong(
                format!("the end of the file after {found} of {stated} requests"),
                "as many as the header states; was the file cut off?",
            )),
            Some(stated) if found > stated => {
                log.tally.stated = Some((stated, found));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
