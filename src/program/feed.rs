//! A program as a pass walks it: all of it at once, or part by part as it arrives.

use std::io::{self, Read};
use std::sync::Arc;

use super::compiled::Program;
use super::outline::Outline;
use super::parts::Parts;

/// A program as a pass walks it: all of it at once, or its parts as they arrive.
pub struct Feed<'a> {
    outline: Arc<Outline>,
    source: FeedSource<'a>,
}

enum FeedSource<'a> {
    Whole(Option<&'a Program>),
    Parts(Box<Parts<Box<dyn Read>>>, Option<Program>),
}

impl<'a> From<&'a Program> for Feed<'a> {
    fn from(program: &'a Program) -> Feed<'a> {
        Feed { outline: Arc::clone(program.outline()), source: FeedSource::Whole(Some(program)) }
    }
}

impl From<Parts<Box<dyn Read>>> for Feed<'_> {
    fn from(parts: Parts<Box<dyn Read>>) -> Self {
        let outline = Arc::clone(parts.outline());
        Feed { outline, source: FeedSource::Parts(Box::new(parts), None) }
    }
}

impl Feed<'_> {
    /// What is known of the program before its first call.
    pub fn outline(&self) -> &Arc<Outline> {
        &self.outline
    }

    /// Number of calls of the whole program.
    pub fn calls(&self) -> usize {
        self.outline.calls as usize
    }

    /// The next part, in place of the one before; `None` after the last.
    ///
    /// # Errors
    /// As [`Parts::next_part`].
    pub fn next_part(&mut self) -> io::Result<Option<&Program>> {
        match &mut self.source {
            FeedSource::Whole(program) => Ok(program.take()),
            FeedSource::Parts(parts, held) => {
                *held = None; // its memory first
                *held = parts.next_part()?;
                Ok(held.as_ref())
            }
        }
    }
}
