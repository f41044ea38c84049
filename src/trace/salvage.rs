//! Reads the whole parts of a trace that was cut off, as a trace that ends there.
//!
//! A row names the end of its block, and a cut can remove that call. So the file is read twice. The
//! first reading finds the last row. The second gives the rows; blocks that end later count as live.

use std::path::Path;

use super::event::{Header, Row, Sites, TraceError, TraceReader};
use super::opening::open;
use super::process::ProcessRecord;

/// Opens a trace. Of a trace that was cut off, the reader gives the rows of the whole parts. The
/// warnings and the fact `cut_off_at_byte` report the cut.
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
        return Err(TraceError::CutOff { path: path.to_owned(), offset, rows });
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

    fn process(&self) -> &ProcessRecord {
        self.inner.process()
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
