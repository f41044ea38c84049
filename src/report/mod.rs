//! Pictures and tables drawn from a run record alone. `chart.rs` is the contract,
//! each chart is a file, this is the list.
//!
//! A record from another machine, a half-finished run and an absurd one must all draw: what is
//! missing is left out and named, nothing panics. This room reads [`crate::results`] and
//! [`crate::stats`] and nothing else.

mod axis;
mod canvas;
mod chart;
mod effect;
mod figures;
mod footprint_overlay;
mod fragmentation;
mod heap_map;
mod labels;
mod latency_heat_map;
mod latency_histogram;
mod latency_percentiles;
mod latency_sizes;
mod page;
mod page_fullness;
mod page_retention;
mod page_retention_at_marks;
mod phases;
mod scorecard;
mod scorecard_table;
mod series;
mod sizes_and_rounding;
mod summary;
mod tail;
mod terminal;
mod throughput;
mod trace_arenas;
mod trace_lifetimes;
mod trace_live;
mod trace_shape;
mod trace_sizes;
mod where_memory_went;
pub mod words;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::results::Run;

pub use canvas::{Canvas, HEIGHT, Label, WIDTH};
pub use chart::{Chart, Picture};
pub use effect::{Effect, draw as effect};
pub use figures::TraceReport;
pub use summary::draw as scorecard;
pub use terminal::summary;
pub use trace_arenas::{ArenaMap, ArenaStrip, PoolCell, draw as arenas};
pub use trace_shape::{AgeBar, AgeCurve, LiveStretch, SizeBar, TraceShape};
pub use words::bytes;

/// Every chart that is drawn for each trace, in the order of the page.
pub const CHARTS: &[Chart] = &[
    throughput::CHART,
    latency_percentiles::CHART,
    latency_heat_map::CHART,
    latency_histogram::CHART,
    latency_sizes::CHART,
    where_memory_went::CHART,
    footprint_overlay::CHART,
    heap_map::CHART,
    page_fullness::CHART,
    sizes_and_rounding::CHART,
    page_retention::CHART,
    page_retention_at_marks::CHART,
];

/// A picture of a trace by itself: its name and how it is drawn.
pub type TraceChart = (&'static str, fn(&TraceShape) -> Option<Picture>);

/// Every picture of a trace by itself, without backends.
pub const TRACE_CHARTS: &[TraceChart] = &[
    ("sizes", trace_sizes::draw),
    ("lifetimes", trace_lifetimes::draw),
    ("live", trace_live::draw),
];

/// The scorecard's file.
pub const SUMMARY: &str = "summary.png";

/// The scorecard as a table: every figure of every trace, and the geometric means.
pub const SUMMARY_CSV: &str = "summary.csv";

/// What the terminal was told, as Markdown.
pub const SUMMARY_MARKDOWN: &str = "summary.md";

/// The file of every percentile, by op and size class.
pub const PERCENTILES: &str = "percentiles.csv";

/// The page's file.
pub const PAGE: &str = "index.html";

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The operating system refused.
    #[error("{}: {source}; choose a folder that you may write to", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A picture could not be encoded.
    #[error("{}: {source}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: png::EncodingError,
    },
}

/// Draws every chart of every trace and the page around them into `folder`, with the scorecard and
/// every percentile as tables; gives the page and the pictures, the page first.
///
/// # Errors
/// When a file cannot be written.
pub fn render(run: &Run, folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    fs::create_dir_all(folder)
        .map_err(|source| ReportError::Io { path: folder.to_owned(), source })?;
    let short = labels::labelled(run);
    let trace_reports = TraceReport::all(&short);
    // The scorecard first, then every chart of every trace.
    let charts = trace_reports
        .iter()
        .flat_map(|trace_report| CHARTS.iter().map(move |chart| Some((trace_report, chart))));
    let jobs: Vec<Option<(&TraceReport, &Chart)>> = std::iter::once(None).chain(charts).collect();
    let drawn: Vec<Option<page::Drawn>> = jobs
        .par_iter()
        .map(|job| {
            let (file, picture) = match job {
                None => (SUMMARY.to_owned(), summary::draw(&trace_reports)),
                Some((trace_report, chart)) => {
                    (file_name(&trace_report.trace.name, chart.name), (chart.draw)(trace_report))
                }
            };
            let Some(picture) = picture else { return Ok(None) };
            let told = match job {
                None => summary::synthesised(&trace_reports),
                Some((trace_report, _)) => words::synthesised(&trace_report.trace.facts),
            };
            let picture = declared(picture, told.as_deref());
            write_picture(&folder.join(&file), &picture)?;
            Ok(Some(page::Drawn { file, title: picture.title }))
        })
        .collect::<Result<_, ReportError>>()?;
    let drawn: Vec<page::Drawn> = drawn.into_iter().flatten().collect();
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|source| ReportError::Io { path: path.clone(), source })?;
        Ok::<PathBuf, ReportError>(path)
    };
    write(SUMMARY_CSV, scorecard_table::csv(&trace_reports))?;
    write(SUMMARY_MARKDOWN, summary(run))?;
    if !run.latencies.is_empty() {
        write(PERCENTILES, tail::percentiles_csv(&short, &trace_reports))?;
    }
    let page = write(PAGE, page::html(run, &trace_reports, &drawn))?;
    let pictures = drawn.iter().map(|picture| folder.join(&picture.file));
    Ok(std::iter::once(page).chain(pictures).collect())
}

/// Draws the pictures of a trace into `folder`; gives the files.
///
/// # Errors
/// When a file cannot be written.
pub fn render_trace(shape: &TraceShape, folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    fs::create_dir_all(folder)
        .map_err(|source| ReportError::Io { path: folder.to_owned(), source })?;
    let drawn: Vec<Option<PathBuf>> = TRACE_CHARTS
        .par_iter()
        .map(|(name, draw)| {
            let Some(picture) = draw(shape) else { return Ok(None) };
            let picture = declared(picture, shape.synthesised.as_deref());
            let path = folder.join(file_name(&shape.name, name));
            write_picture(&path, &picture)?;
            Ok(Some(path))
        })
        .collect::<Result<_, ReportError>>()?;
    Ok(drawn.into_iter().flatten().collect())
}

/// Draws a map of arenas into `folder`; gives the file, when there was an arena.
///
/// # Errors
/// When the file cannot be written.
pub fn render_arenas(map: &ArenaMap, folder: &Path) -> Result<Option<PathBuf>, ReportError> {
    let Some(picture) = arenas(map) else { return Ok(None) };
    let picture = declared(picture, map.synthesised.as_deref());
    fs::create_dir_all(folder)
        .map_err(|source| ReportError::Io { path: folder.to_owned(), source })?;
    let path = folder.join(file_name(&map.name, "arenas"));
    write_picture(&path, &picture)?;
    Ok(Some(path))
}

/// Draws timed measures of a check into `folder`; gives the files.
///
/// # Errors
/// When a file cannot be written.
pub fn render_effects(effects: &[Effect], folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    fs::create_dir_all(folder)
        .map_err(|source| ReportError::Io { path: folder.to_owned(), source })?;
    let mut files = Vec::new();
    for (number, effect) in effects.iter().enumerate() {
        let Some(picture) = effect::draw(effect) else { continue };
        let path = folder
            .join(file_name(&effect.trace, &format!("check-{}-{}", effect.measure, number + 1)));
        write_picture(&path, &picture)?;
        files.push(path);
    }
    Ok(files)
}

/// The picture with `words` at its very top, where there are some: that what it shows was not
/// recorded.
pub fn declared(mut picture: Picture, words: Option<&str>) -> Picture {
    if let Some(words) = words {
        chart::declare(&mut picture.canvas, words);
    }
    picture
}

/// `TRACE--CHART.png`, where the trace's name keeps only what every file system takes.
pub fn file_name(trace: &str, chart: &str) -> String {
    let safe: String = trace
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' })
        .collect();
    format!("{}--{chart}.png", safe.trim_start_matches('.'))
}

fn write_picture(path: &Path, picture: &Picture) -> Result<(), ReportError> {
    let bytes = picture
        .canvas
        .png()
        .map_err(|source| ReportError::Picture { path: path.to_owned(), source })?;
    fs::write(path, bytes).map_err(|source| ReportError::Io { path: path.to_owned(), source })
}
