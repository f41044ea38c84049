//! Turns rows back into calls, and validates that the rows are a trace.
//!
//! Every index from 0 to the last is exactly one of three:
//!
//! - the `event` of a row,
//! - the end of one block,
//! - both at once: the row is a realloc, and the block is the one that it resizes.
//!
//! One pass suffices. The pending ends wait in a heap, so memory is proportional to live blocks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::event::{Op, Row};

/// One call of the program, in the order in which it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call<'a> {
    /// A row: a block begins. A realloc also ends the block `resized`.
    Request {
        /// The request.
        row: &'a Row,
        /// The block that a realloc resizes.
        resized: Option<&'a Row>,
    },
    /// A block ends.
    Free {
        /// Index of this call.
        event: u64,
        /// The row that began the block.
        block: &'a Row,
    },
}

/// Why rows are not a trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// Two blocks end at one call.
    #[error("the blocks born at events {first} and {second} both end at event {event}")]
    TwoEnds {
        /// The call.
        event: u64,
        /// One birth.
        first: u64,
        /// The other.
        second: u64,
    },
    /// A call that is neither a row nor an end.
    #[error(
        "event {event} is missing: no row has it and no block ends there (the next row is event \
         {next})"
    )]
    Gap {
        /// The call that is missing.
        event: u64,
        /// The row after it.
        next: u64,
    },
    /// Rows are not in order.
    #[error("event {event} does not follow event {last}")]
    Order {
        /// The row's event.
        event: u64,
        /// The call before.
        last: u64,
    },
    /// A row that is no realloc stands where a block ends.
    #[error("event {event} is a {op}, and the block born at event {birth} ends there")]
    Occupied {
        /// The call.
        event: u64,
        /// The row's op.
        op: &'static str,
        /// The block that ends.
        birth: u64,
    },
    /// A realloc without an old block.
    #[error("event {event} is a realloc, and no block ends there for it to resize")]
    Orphan {
        /// The call.
        event: u64,
    },
    /// A realloc in a domain that does not share blocks with the block's domain.
    #[error(
        "event {event} is a realloc in domain {domain} of the block born at event {birth} in domain \
         {born}"
    )]
    Domain {
        /// The call.
        event: u64,
        /// The domain of the realloc.
        domain: &'static str,
        /// The block.
        birth: u64,
        /// Its domain.
        born: &'static str,
    },
    /// A block that ends after the last call.
    #[error("the block born at event {birth} ends at event {end}, past the last event, {last}")]
    PastEnd {
        /// The block.
        birth: u64,
        /// Its end.
        end: u64,
        /// The last call that the rows account for.
        last: i128,
    },
}

impl SequenceError {
    /// The expectation, for messages.
    pub fn expected(&self) -> &'static str {
        match self {
            SequenceError::TwoEnds { .. } => {
                "one block to end at each event: a lifetime counts calls, and each free is a call \
                 of its own; change one of the two lifetimes"
            }
            SequenceError::Gap { .. } => "every event to be a row or the end of a block",
            SequenceError::Order { .. } => "events in ascending order, each once",
            SequenceError::Occupied { .. } => "a realloc there, or another lifetime",
            SequenceError::Orphan { .. } => {
                "a block whose lifetime ends at that event, or a malloc"
            }
            SequenceError::Domain { .. } => {
                "the block's own domain (mem and obj share blocks, raw does not)"
            }
            SequenceError::PastEnd { .. } => {
                "an empty lifetime for a block that outlives the trace; if the file was cut off, copy \
                 it again"
            }
        }
    }

    /// The calls at which the blocks begin that the error speaks of.
    pub(super) fn births(&self) -> Vec<u64> {
        match self {
            SequenceError::TwoEnds { first, second, .. } => vec![*first, *second],
            SequenceError::Occupied { birth, .. }
            | SequenceError::Domain { birth, .. }
            | SequenceError::PastEnd { birth, .. } => vec![*birth],
            SequenceError::Gap { .. }
            | SequenceError::Order { .. }
            | SequenceError::Orphan { .. } => vec![],
        }
    }
}

/// A block that waits for its end, ordered by that end, then by birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    end: u64,
    row: Row,
}

impl Ord for Pending {
    fn cmp(&self, other: &Pending) -> std::cmp::Ordering {
        (self.end, self.row.event).cmp(&(other.end, other.row.event))
    }
}

impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Pending) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The state between rows. Feed rows to [`Sequence::accept`], then call [`Sequence::finish`].
#[derive(Debug, Default)]
pub struct Sequence {
    next: u64,
    pending: BinaryHeap<Reverse<Pending>>,
}

impl Sequence {
    /// A sequence before its first call.
    pub fn new() -> Sequence {
        Sequence::default()
    }

    /// The index of the next call.
    pub fn next_event(&self) -> u64 {
        self.next
    }

    /// Gives `on_call` every call up to this row and the row's own. `row.event` must be set.
    ///
    /// # Errors
    /// The rule that the row breaks. The sequence must not be used after an error.
    pub fn accept(
        &mut self,
        row: &Row,
        mut on_call: impl FnMut(Call<'_>),
    ) -> Result<(), SequenceError> {
        let event = row.event;
        if event < self.next {
            let last = self.next - 1;
            return Err(self.two_ends_before().unwrap_or(SequenceError::Order { event, last }));
        }
        while self.next < event {
            match self.pop_end(self.next)? {
                Some(block) => on_call(Call::Free { event: self.next, block: &block }),
                None => return Err(SequenceError::Gap { event: self.next, next: event }),
            }
            self.next += 1;
        }
        let resized = self.pop_end(event)?;
        match (&resized, row.op) {
            (Some(block), Op::Realloc) if !block.domain.shares_blocks_with(row.domain) => {
                return Err(SequenceError::Domain {
                    event,
                    domain: row.domain.name(),
                    birth: block.event,
                    born: block.domain.name(),
                });
            }
            (Some(_), Op::Realloc) | (None, Op::Malloc | Op::Calloc) => {}
            (None, Op::Realloc) => return Err(SequenceError::Orphan { event }),
            (Some(block), op) => {
                return Err(SequenceError::Occupied { event, op: op.name(), birth: block.event });
            }
        }
        on_call(Call::Request { row, resized: resized.as_ref() });
        self.next = event + 1;
        if let Some(end) = row.end() {
            self.pending.push(Reverse(Pending { end, row: *row }));
        }
        Ok(())
    }

    /// For traces without an `event` column: makes the frees before the next row. Returns the event
    /// of that row, the lowest index that no end has taken.
    ///
    /// # Errors
    /// When two blocks end at one call.
    pub fn derive_event(
        &mut self,
        mut on_call: impl FnMut(Call<'_>),
    ) -> Result<u64, SequenceError> {
        while let Some(block) = self.pop_end(self.next)? {
            on_call(Call::Free { event: self.next, block: &block });
            self.next += 1;
        }
        Ok(self.next)
    }

    /// Makes the frees after the last row. Returns the number of calls.
    ///
    /// # Errors
    /// When a block ends past the last call, or two blocks end at one call.
    pub fn finish(&mut self, mut on_call: impl FnMut(Call<'_>)) -> Result<u64, SequenceError> {
        self.derive_event(&mut on_call)?;
        match self.pending.pop() {
            None => Ok(self.next),
            Some(Reverse(first)) => Err(self.past_end(first)),
        }
    }

    /// The fault of the first end that cannot be reached. Two ends at one event are
    /// [`SequenceError::TwoEnds`]; any other end lies past the last call.
    fn past_end(&self, first: Pending) -> SequenceError {
        match self.pending.peek() {
            Some(Reverse(second)) if second.end == first.end => SequenceError::TwoEnds {
                event: first.end,
                first: first.row.event,
                second: second.row.event,
            },
            _ => SequenceError::PastEnd {
                birth: first.row.event,
                end: first.end,
                last: i128::from(self.next) - 1,
            },
        }
    }

    /// The block that ends at `event`, if one does.
    fn pop_end(&mut self, event: u64) -> Result<Option<Row>, SequenceError> {
        if let Some(error) = self.two_ends_before() {
            return Err(error);
        }
        match self.pending.peek() {
            Some(Reverse(pending)) if pending.end == event => {
                let block = pending.row;
                self.pending.pop();
                match self.pending.peek() {
                    Some(Reverse(second)) if second.end == event => Err(SequenceError::TwoEnds {
                        event,
                        first: block.event,
                        second: second.row.event,
                    }),
                    _ => Ok(Some(block)),
                }
            }
            _ => Ok(None),
        }
    }

    /// The fault of an end before the next call: another end took its event.
    fn two_ends_before(&self) -> Option<SequenceError> {
        match self.pending.peek() {
            Some(Reverse(late)) if late.end < self.next => Some(SequenceError::TwoEnds {
                event: late.end,
                first: late.row.event,
                second: late.end,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rows: &[(u64, Op, Option<u64>)]) -> Result<Vec<String>, SequenceError> {
        let mut sequence = Sequence::new();
        let mut calls = Vec::new();
        let mut note = |call: Call<'_>| {
            calls.push(match call {
                Call::Free { event, block } => format!("{event}:free({})", block.event),
                Call::Request { row, resized } => format!(
                    "{}:{}{}",
                    row.event,
                    row.op.name(),
                    resized.map(|r| format!("({})", r.event)).unwrap_or_default()
                ),
            });
        };
        for &(event, op, lifetime) in rows {
            sequence.accept(&Row::new(event, op, 8, lifetime), &mut note)?;
        }
        sequence.finish(&mut note)?;
        Ok(calls)
    }

    /// The example of the CSV format (`csv.rs`).
    const EXAMPLE: [(u64, Op, Option<u64>); 5] = [
        (0, Op::Malloc, Some(3)),
        (1, Op::Malloc, None),
        (2, Op::Calloc, Some(3)),
        (4, Op::Malloc, Some(3)),
        (5, Op::Realloc, Some(1)),
    ];

    #[test]
    fn the_worked_example() {
        assert_eq!(
            run(&EXAMPLE).unwrap(),
            [
                "0:malloc",
                "1:malloc",
                "2:calloc",
                "3:free(0)",
                "4:malloc",
                "5:realloc(2)",
                "6:free(5)",
                "7:free(4)"
            ]
        );
    }

    #[test]
    fn two_ends_are_named() {
        let mut rows = EXAMPLE;
        rows[4].2 = Some(2);
        assert_eq!(run(&rows), Err(SequenceError::TwoEnds { event: 7, first: 4, second: 5 }));
        let both = [(0, Op::Malloc, Some(2)), (1, Op::Malloc, Some(1))];
        assert_eq!(run(&both), Err(SequenceError::TwoEnds { event: 2, first: 0, second: 1 }));
    }

    #[test]
    fn faults() {
        assert_eq!(run(&[(1, Op::Malloc, None)]), Err(SequenceError::Gap { event: 0, next: 1 }));
        assert_eq!(run(&[(0, Op::Realloc, None)]), Err(SequenceError::Orphan { event: 0 }));
        assert_eq!(
            run(&[(0, Op::Malloc, None), (0, Op::Malloc, None)]),
            Err(SequenceError::Order { event: 0, last: 0 })
        );
        assert_eq!(
            run(&[(0, Op::Malloc, Some(1)), (1, Op::Malloc, None)]),
            Err(SequenceError::Occupied { event: 1, op: "malloc", birth: 0 })
        );
        assert_eq!(
            run(&[(0, Op::Malloc, Some(9))]),
            Err(SequenceError::PastEnd { birth: 0, end: 9, last: 0 })
        );
    }
}
