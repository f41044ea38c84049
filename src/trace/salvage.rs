//! Reads what is whole of a trace that was cut off, as a trace that ends there.
//!
//! A row says when its block will end, and a cut can take that call away. So the file is read
//! twice: once to find the last call of which everything is known, once to give the rows, with the
//! blocks that end later counted as live.

use std::path::Path;

use super::event::{Header, Row, Sites, TraceError, TraceReader};
use super::open;

/// Opens `path`; if it is cut off, gives the rows of its whole parts and says so in the warnings
/// and the facts.
///
/// # Errors
/// As [`open`], and for any fault other than the cut.
pub fn open_salvaging(path: &Path) -> Result<Box<dyn TraceReader>, TraceError> {
    let mut reader = open(path)?;
    let mut last_event = None;
    let cut = loop {
        match reader.next_row() {
            Ok(Some(row)) => last_event = Some(row.event),
            Ok(None) => break None,
            Err(TraceError::CutOff { offset, rows, .. }) => break Some((offset, rows)),
            Err(error) => return Err(error),
        }
    };
    let inner = open(path)?;
    let Some((offset, rows)) = cut else { return Ok(inner) };
    if rows == 0 {
        return Err(TraceError::Byte {
            path: path.to_owned(),
            offset,
            found: "the end, before one part is whole".into(),
            expected: "something to keep: record again".into(),
        });
    }
    let mut header = inner.header().clone();
    header.facts.insert("cut_off_at_byte".into(), offset.to_string());
    let warning = format!("{}: cut off at byte {offset}; {rows} rows are whole", path.display());
    Ok(Box::new(Salvaged { inner, header, last_event, warnings: vec![warning] }))
}

struct Salvaged {
    inner: Box<dyn TraceReader>,
    header: Header,
    last_event: Option<u64>,
    warnings: Vec<String>,
}

impl TraceReader for Salvaged {
    fn header(&self) -> &Header {
        &self.header
    }

    fn next_row(&mut self) -> Result<Option<Row>, TraceError> {
        match self.inner.next_row() {
            Ok(Some(mut row)) => {
                if row.end() > self.last_event {
                    row.lifetime = None;
                    row.end_thread = None;
                }
                Ok(Some(row))
            }
            Err(TraceError::CutOff { .. }) => Ok(None),
            other => other,
        }
    }

    fn sites(&self) -> &Sites {
        self.inner.sites()
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
